#include "libs/pg/errors.h"

#include "absl/strings/cord.h"
#include "libs/status/payloads.h"

namespace pga::pg {
namespace {

absl::StatusCode CodeOf(std::string_view state) {
  const std::string_view group = state.substr(0, 2);
  if (state == "57014") return absl::StatusCode::kDeadlineExceeded;
  if (state == "53300") return absl::StatusCode::kResourceExhausted;
  if (state == "40001" || state == "40P01" || state == "55P03") return absl::StatusCode::kAborted;
  if (state == "40003" || state == "08007") return absl::StatusCode::kUnknown;
  if (state == "23505") return absl::StatusCode::kAlreadyExists;
  if (state == "42501" || group == "28") return absl::StatusCode::kPermissionDenied;
  if (state == "25006" || state == "55000" || state == "55006") return absl::StatusCode::kFailedPrecondition;
  if (state == "3D000" || state == "3F000" || state == "42P01" || state == "42703" || state == "42883" ||
      state == "42704") {
    return absl::StatusCode::kNotFound;
  }
  if (group == "53") return absl::StatusCode::kResourceExhausted;
  if (group == "08" || group == "57") return absl::StatusCode::kUnavailable;
  if (group == "40") return absl::StatusCode::kAborted;
  if (group == "23") return absl::StatusCode::kFailedPrecondition;
  if (group == "22") return absl::StatusCode::kInvalidArgument;
  if (group == "58") return absl::StatusCode::kUnavailable;
  return absl::StatusCode::kInternal;
}

}  // namespace

absl::Status MakeError(std::string_view sqlstate, std::string_view message) {
  while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.remove_suffix(1);
  absl::Status error(CodeOf(sqlstate), absl::string_view(message.data(), message.size()));
  if (!sqlstate.empty())
    error.SetPayload(status::kSqlStateUrl, absl::Cord(absl::string_view(sqlstate.data(), sqlstate.size())));
  return error;
}

std::string SqlStateOf(const absl::Status& error) {
  const auto payload = error.GetPayload(status::kSqlStateUrl);
  return payload ? std::string(*payload) : std::string();
}

}  // namespace pga::pg
