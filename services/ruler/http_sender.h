// Requests to receivers of alerts, by libcurl.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/log/log.h"

namespace pga::ruler {

struct HttpRequest {
  std::string method = "POST";
  // May hold a key, as Slack's do: never logged, never part of a Status.
  log::Secret url;
  std::string body;
  // Value of the Authorization header; empty = none.
  log::Secret authorization;
  absl::Duration limit = absl::Seconds(10);
};

struct HttpResponse {
  int status = 0;
  // At most 1 MiB.
  std::string body;
};

// Thread-safe.
class HttpSender {
 public:
  // `ca_path`: PEM of the authorities that are trusted; empty = the system's.
  explicit HttpSender(std::string ca_path);

  // Blocks for request.limit at most. UNAVAILABLE, DEADLINE_EXCEEDED or CANCELLED where there is no answer.
  // Redirections are not followed.
  absl::StatusOr<HttpResponse> Send(const HttpRequest& request) const;
  // The same where every status but 2xx is a failure, with the beginning of what the receiver says: RESOURCE_EXHAUSTED
  // for 429, UNAVAILABLE for 5xx, NOT_FOUND for 404, else FAILED_PRECONDITION.
  absl::StatusOr<HttpResponse> Deliver(const HttpRequest& request) const;

  // Ends running requests and all later ones.
  void Stop() { stopping_ = true; }
  const std::atomic<bool>& stopping() const { return stopping_; }

 private:
  const std::string ca_path_;
  std::atomic<bool> stopping_{false};
};

}  // namespace pga::ruler
