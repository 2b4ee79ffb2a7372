#include "services/query/read_errors.h"

#include <string>

#include "libs/pg/errors.h"

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
  if (absl::IsDeadlineExceeded(status)) {
    return absl::DeadlineExceededError(
        "the read took longer than allowed; ask for a shorter range, a larger step, fewer sources, or a later "
        "deadline");
  }
  if (absl::IsInvalidArgument(status) && !pg::SqlStateOf(status).empty()) {
    return absl::InvalidArgumentError(PlainMessage(status));
  }
  return status;
}

}  // namespace pga::query
