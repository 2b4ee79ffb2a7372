// A small blocking HTTP/1.1 client for tests: one request per connection, plain or TLS, every wait bounded.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::integration {

struct HttpAnswer {
  int status = 0;
  // Names in lower case.
  std::map<std::string, std::string> headers = {};
  std::string body = {};
};

struct HttpRequest {
  std::string method = "GET";
  std::string path = "/";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  absl::Duration limit = absl::Seconds(40);
};

// UNAVAILABLE when nothing listens or the connection ends early, DEADLINE_EXCEEDED after `limit`. An empty `ca_pem`
// means plain text; else the server's certificate must verify against it and name "localhost".
absl::StatusOr<HttpAnswer> SendHttp(int port, const std::string& ca_pem, const HttpRequest& request);

}  // namespace pga::integration
