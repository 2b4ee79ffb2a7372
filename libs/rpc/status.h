// absl::Status <-> grpc::Status: the one place where failures cross the wire (AIP-193). Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

namespace pga::rpc {

inline constexpr char kErrorDomain[] = "pganalytics";

// Code, message and google.rpc.Status details: ErrorInfo (reason of status::WithReason, or the code's name; domain;
// metadata request_id) and RetryInfo where status::WithRetryAfter was set. INTERNAL, UNKNOWN and DATA_LOSS leave with a
// generic text and the request id only; the log has the rest. Messages are cut to 1 KiB and made valid UTF-8.
grpc::Status ToGrpc(const absl::Status& status, std::string_view request_id, std::string_view domain = kErrorDomain);

// The reverse, with reason and retry delay attached. A code outside the canonical ones becomes UNKNOWN.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace pga::rpc
