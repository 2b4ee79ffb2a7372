// The range of a request by its fields start, end and hours.
#pragma once

#include <optional>

#include "libs/rpc/proto_time.h"
#include "services/query/request_rules.h"

namespace pga::query {

template <typename Request>
std::optional<absl::Time> StartOf(const Request& asked) {
  if (!asked.has_start()) return std::nullopt;
  return rpc::FromProto(asked.start());
}

template <typename Request>
std::optional<absl::Time> EndOf(const Request& asked) {
  if (!asked.has_end()) return std::nullopt;
  return rpc::FromProto(asked.end());
}

template <typename Request>
absl::StatusOr<Range> RangeOf(const Request& asked, absl::Duration default_length, absl::Time now) {
  return ResolveRange(StartOf(asked), EndOf(asked), asked.hours(), default_length, now);
}

}  // namespace pga::query
