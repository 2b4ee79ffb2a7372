#pragma once

// Payloads that more than one library reads.

#include <string>

#include "absl/status/status.h"

namespace pga::status {

// PostgreSQL's five-letter code: the status is a database's answer, or the failure to get one.
inline constexpr char kSqlStateUrl[] = "pganalytics/sqlstate";

// The code; empty if the status carries none.
std::string SqlStateOf(const absl::Status& status);

}  // namespace pga::status
