#pragma once

// Names of payloads that more than one library reads.

namespace pga::status {

// PostgreSQL's five-letter code: the status is a database's answer, or the failure to get one.
inline constexpr char kSqlStateUrl[] = "pganalytics/sqlstate";

}  // namespace pga::status
