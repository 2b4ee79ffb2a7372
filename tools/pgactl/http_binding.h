// A call of any method as HTTP, from the google.api.http option of its descriptor: the reverse of what the gateway
// does. A new RPC needs no code here. Pure.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace pga::pgactl {

struct HttpCall {
  // GET, POST, PUT, DELETE.
  std::string verb;
  // "/api/v1/queries/42/timeline?hours=24"
  std::string target;
  // Empty for GET and DELETE.
  std::string body;
  std::string content_type = "application/json";
};

// FAILED_PRECONDITION for a method without an HTTP form; INVALID_ARGUMENT when a field of the path is empty.
absl::StatusOr<HttpCall> BindHttp(const google::protobuf::MethodDescriptor& method,
                                  const google::protobuf::Message& request);

// Gives every message of a successful answer to `on_message`: one, or the elements of an array for a streaming method.
// `prototype` makes them. DATA_LOSS for text that is not such an answer.
absl::Status ReadHttpAnswer(const google::protobuf::MethodDescriptor& method,
                            const google::protobuf::Message& prototype, std::string_view body,
                            const std::function<absl::Status(const google::protobuf::Message&)>& on_message);

// The status of an answer that is no success; the message comes from the body where it has one.
absl::Status HttpError(int http_status, std::string_view body);

}  // namespace pga::pgactl
