#include "libs/rpc/status.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/duration.pb.h>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "libs/status/payloads.h"
#include "libs/status/status.h"
#include "libs/text/utf8.h"

namespace pga::rpc {
namespace {

constexpr size_t kMaxMessageBytes = 1024;
constexpr char kReplacement[] = "\xef\xbf\xbd";

std::string CleanMessage(std::string_view message) {
  std::string out;
  while (!message.empty()) {
    const size_t length = text::CharacterLength(message);
    const std::string_view piece = length == 0 ? std::string_view(kReplacement) : message.substr(0, length);
    if (out.size() + piece.size() > kMaxMessageBytes) break;
    out += piece;
    message.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

bool IsGeneric(absl::StatusCode code) {
  return code == absl::StatusCode::kInternal || code == absl::StatusCode::kUnknown ||
         code == absl::StatusCode::kDataLoss;
}

// What a caller learns of a database's failure: whether to repeat, and nothing of addresses, roles or SQL. Codes that
// speak of the caller's request elsewhere speak here of our own session with the database.
absl::Status ForCaller(const absl::Status& status) {
  const absl::optional<absl::Cord> sqlstate = status.GetPayload(status::kSqlStateUrl);
  if (!sqlstate.has_value()) return status;
  constexpr absl::Duration kRetryAfter = absl::Seconds(2);
  // Class 42: a table, column or right is missing.
  if (sqlstate->StartsWith("42") && (absl::IsNotFound(status) || absl::IsPermissionDenied(status))) {
    return status::WithRetryAfter(
        absl::UnavailableError("the database lacks a table or a right that this release needs; an administrator runs "
                               "`pgactl migrate up`"),
        kRetryAfter);
  }
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return absl::InvalidArgumentError("a value is none that the database can keep");
    case absl::StatusCode::kDeadlineExceeded:
      return absl::DeadlineExceededError("the database did not answer in time");
    case absl::StatusCode::kAborted:
      return status::WithRetryAfter(absl::AbortedError("the database is busy with the same rows; try again"),
                                    kRetryAfter);
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
      return status::WithRetryAfter(
          absl::UnavailableError("the database cannot serve this at the moment; try again in a moment"), kRetryAfter);
    default:
      return absl::InternalError("the database refused");
  }
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& failure, std::string_view request_id, std::string_view domain) {
  if (failure.ok()) return grpc::Status::OK;
  const absl::Status status = ForCaller(failure);
  const absl::StatusCode code = status.code();
  const std::string id(request_id);
  std::string message = IsGeneric(code)
                            ? absl::StrCat("internal error; the log has it under request id ", id)
                            : CleanMessage(std::string_view(status.message().data(), status.message().size()));

  google::rpc::Status details;
  details.set_code(static_cast<int>(code));
  details.set_message(message);
  google::rpc::ErrorInfo info;
  std::string reason = IsGeneric(code) ? "" : status::ReasonOf(status);
  info.set_reason(reason.empty() ? absl::StatusCodeToString(code) : reason);
  info.set_domain(std::string(domain));
  if (!id.empty()) (*info.mutable_metadata())["request_id"] = id;
  details.add_details()->PackFrom(info);
  if (const absl::Duration delay = status::RetryAfterOf(status); delay > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    const int64_t nanos = absl::ToInt64Nanoseconds(delay);
    retry.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
    retry.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
    details.add_details()->PackFrom(retry);
  }
  return {static_cast<grpc::StatusCode>(code), message, details.SerializeAsString()};
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int number = static_cast<int>(status.error_code());
  const bool canonical = number >= 1 && number <= 16;
  absl::Status result(canonical ? static_cast<absl::StatusCode>(number) : absl::StatusCode::kUnknown,
                      status.error_message());
  google::rpc::Status details;
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) return result;
  for (const google::protobuf::Any& any : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    if (any.Is<google::rpc::ErrorInfo>() && any.UnpackTo(&info)) {
      result = status::WithReason(std::move(result), info.reason());
    } else if (any.Is<google::rpc::RetryInfo>() && any.UnpackTo(&retry)) {
      result = status::WithRetryAfter(std::move(result), absl::Seconds(retry.retry_delay().seconds()) +
                                                             absl::Nanoseconds(retry.retry_delay().nanos()));
    }
  }
  return result;
}

}  // namespace pga::rpc
