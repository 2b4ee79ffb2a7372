#pragma once

// How failures travel inside the process: absl::Status with context added once per layer, a machine-readable reason
// and a hint when to try again. Status becomes grpc::Status in libs/rpc alone. Everything here is thread-safe (pure
// functions) and never blocks.

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::status {

// "<context>: <message>" with code and payloads kept. An OK status is returned unchanged.
absl::Status Annotate(absl::Status status, std::string_view context);

// Attaches a reason in UPPER_SNAKE (such as "REFRESH_TOKEN_REUSED") that callers and clients may branch on. A second
// call replaces the first. OK stays OK.
absl::Status WithReason(absl::Status status, std::string_view reason);

// The reason attached by WithReason, or an empty string.
std::string ReasonOf(const absl::Status& status);

// Attaches the time after which repeating makes sense; stored with millisecond precision, never negative. OK stays OK.
absl::Status WithRetryAfter(absl::Status status, absl::Duration delay);

// The delay attached by WithRetryAfter, or zero.
absl::Duration RetryAfterOf(const absl::Status& status);

namespace internal {
inline const absl::Status& AsStatus(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& AsStatus(const absl::StatusOr<T>& status_or) {
  return status_or.status();
}
}  // namespace internal

}  // namespace pga::status

// Evaluates `expr` (Status or StatusOr) and returns its status from the enclosing function unless it is OK.
#define PGA_RETURN_IF_ERROR(expr)                                 \
  do {                                                            \
    const auto& pga_status_value = (expr);                        \
    if (!pga_status_value.ok()) [[unlikely]]                      \
      return ::pga::status::internal::AsStatus(pga_status_value); \
  } while (false)

#define PGA_STATUS_CONCAT_INNER(a, b) a##b
#define PGA_STATUS_CONCAT(a, b) PGA_STATUS_CONCAT_INNER(a, b)
#define PGA_ASSIGN_OR_RETURN_IMPL(result, decl, ...) \
  auto result = (__VA_ARGS__);                       \
  if (!result.ok()) [[unlikely]]                     \
    return result.status();                          \
  decl = *std::move(result)

// Evaluates the StatusOr expression, returns its status on failure, else assigns the value:
//   PGA_ASSIGN_OR_RETURN(Lease lease, pool.Acquire(deadline));
#define PGA_ASSIGN_OR_RETURN(decl, ...) \
  PGA_ASSIGN_OR_RETURN_IMPL(PGA_STATUS_CONCAT(pga_status_or_, __LINE__), decl, __VA_ARGS__)
