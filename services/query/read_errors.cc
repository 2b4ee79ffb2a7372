#include "services/query/read_errors.h"

#include <string>

#include "absl/time/time.h"
#include "libs/log/log.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"

namespace pga::query {
namespace {

// First line of the server's message without its "ERROR:  ".
std::string PlainMessage(const absl::Status& status) {
  std::string text(status.message());
  text = text.substr(0, text.find('\n'));
  constexpr std::string_view kPrefix = "ERROR:";
  if (text.rfind(kPrefix, 0) == 0) text = text.substr(text.find_first_not_of(' ', kPrefix.size()));
  return text;
}

}  // namespace

absl::Status ForCaller(const absl::Status& status) {
  const std::string state = pg::SqlStateOf(status);
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      PGA_LOG(warn, "a read failed", {{"status", status}});
      return status::WithRetryAfter(
          absl::UnavailableError("the metrics database does not answer; try again in a moment"), absl::Seconds(2));
    case absl::StatusCode::kResourceExhausted:
      PGA_LOG(warn, "a read failed", {{"status", status}});
      return status::WithRetryAfter(
          absl::ResourceExhaustedError("the metrics database has no connection or memory left; try again in a moment"),
          absl::Seconds(2));
    case absl::StatusCode::kAborted:
      PGA_LOG(warn, "a read failed", {{"status", status}});
      return status::WithRetryAfter(absl::AbortedError("the tables are being changed; try again in a moment"),
                                    absl::Seconds(2));
    case absl::StatusCode::kDeadlineExceeded:
      return absl::DeadlineExceededError(
          "the read took longer than allowed; ask for a shorter range, a larger step, fewer sources, or a later "
          "deadline");
    default:
      break;
  }
  if (state.empty()) return status;
  if (absl::IsInvalidArgument(status)) return absl::InvalidArgumentError(PlainMessage(status));
  PGA_LOG(warn, "a read failed", {{"status", status}});
  if (absl::IsNotFound(status) || absl::IsPermissionDenied(status)) {
    return absl::FailedPreconditionError(
        "the metrics database lacks a table or a right that this release needs; run `pgactl migrate up`");
  }
  return absl::InternalError("the read failed");
}

}  // namespace pga::query
