#pragma once

// HTTP request -> request message, answer message -> HTTP body, as Envoy's grpc_json_transcoder does it with
// preserve_proto_field_names, always_print_primitive_fields, and strict methods, parameters and binding collisions.
// Stateless apart from the API it was given; thread-safe; never blocks.

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "services/gateway/api_surface.h"
#include "services/gateway/http_error.h"

namespace pga::gateway {

// Whether the body becomes a google.api.HttpBody as it is.
bool TakesRawBody(const ApiRoute& route);

class Transcoder {
 public:
  struct Limits {
    size_t query_parameters = 100;
    int json_depth = 100;
  };
  // A serialised request message in two parts. The bytes of a google.api.HttpBody, which may be many, are the second
  // part and never copied.
  struct Payload {
    std::string head;
    std::string body;
  };
  // One answer message as HTTP.
  struct Piece {
    // Not JSON: `data` is the body (google.api.HttpBody).
    bool raw = false;
    std::string content_type;
    std::string data;
  };

  // `api` outlives the transcoder.
  explicit Transcoder(const ApiSurface* api, Limits limits);
  explicit Transcoder(const ApiSurface* api) : Transcoder(api, Limits()) {}

  // The serialised request message, or a refusal (400) that says what to change.
  std::variant<Payload, HttpError> Request(const ApiRoute& route,
                                           const std::vector<PathMatcher::Binding>& path_bindings,
                                           std::string_view query, std::string_view content_type,
                                           std::string body) const;

  // Internal if the answer cannot be written, for example an Any of a type that nobody knows.
  absl::StatusOr<Piece> Response(const ApiRoute& route, const std::string& payload) const;

 private:
  absl::Status ParseBody(const ApiRoute& route, std::string_view content_type, std::string_view body,
                         google::protobuf::Message& message) const;
  absl::Status ParseJson(std::string_view json, google::protobuf::Message& message) const;

  const ApiSurface* const api_;
  const Limits limits_;
};

}  // namespace pga::gateway
