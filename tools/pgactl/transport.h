// How pgactl reaches the suite: over the REST gateway (one URL), or gRPC straight to the services (their addresses).
// Both are driven by the same descriptors.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace pga::pgactl {

class Transport {
 public:
  virtual ~Transport() = default;
  // One call; blocks until its end or `timeout`. `token` may be empty. UNAVAILABLE names the endpoint that was not
  // reached and why.
  virtual absl::Status Call(const google::protobuf::MethodDescriptor& method, const google::protobuf::Message& request,
                            const google::protobuf::Message& prototype, const std::string& token,
                            absl::Duration timeout,
                            const std::function<absl::Status(const google::protobuf::Message&)>& on_message) = 0;
  // For people: "https://pga.example.com:8080".
  virtual std::string Describe() const = 0;
};

struct RestOptions {
  // http:// or https://, without a path.
  std::string url;
  // PEM file of CAs for https; empty = the system's.
  std::string ca_file;
  // False accepts any certificate.
  bool verify = true;
};
// INVALID_ARGUMENT for a URL of another form.
absl::StatusOr<std::unique_ptr<Transport>> MakeRestTransport(RestOptions options);

struct GrpcOptions {
  // "auth", "registry", "query" -> host:port or unix:/path.
  std::map<std::string, std::string> addresses;
  bool tls = false;
  std::string ca_file;
  bool verify = true;
};
absl::StatusOr<std::unique_ptr<Transport>> MakeGrpcTransport(GrpcOptions options);

}  // namespace pga::pgactl
