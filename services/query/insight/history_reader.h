// Stored hours of statements and of databases, as predictions and patterns read them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/call_limit.h"
#include "services/query/insight/pattern.h"
#include "services/query/insight/predict.h"
#include "services/query/readers.h"

namespace pga::query {

// Hours since 1970 (UTC).
int64_t HourOf(absl::Time time);

// Full hours that are still kept of what was asked for.
struct HistorySpan {
  absl::Time start;
  absl::Time end;
};
// `days` before the last full hour, or as many as hours are kept.
HistorySpan HistoryBefore(absl::Time now, int days);

// Figures of a statement over the span, of all sources and users together.
struct CallTotals {
  double calls = 0;
  double time_ms = 0;
  double rows = 0;
  double blocks = 0;
  double blocks_read = 0;
  double io_ms = 0;
};

struct StatementHistory {
  CallHours hours;
  CallTotals totals;
};

// By query id; those that did not run are left out. `database` may be empty: all.
absl::StatusOr<std::map<int64_t, StatementHistory>> ReadCallHours(const Readers& readers,
                                                                  const std::vector<storage::SourceRef>& sources,
                                                                  const std::set<int64_t>& query_ids,
                                                                  const std::string& database, const HistorySpan& span,
                                                                  const pg::CallLimit& limit);

struct DatabaseLoad {
  // UUID.
  std::string source_id;
  std::string database;
  // By hours since 1970.
  std::map<int64_t, LoadHour> hours;
};
// Databases in which statements ran. `database` may be empty: all.
absl::StatusOr<std::vector<DatabaseLoad>> ReadLoadHours(const Readers& readers,
                                                        const std::vector<storage::SourceRef>& sources,
                                                        const std::string& database, const HistorySpan& span,
                                                        const pg::CallLimit& limit);

}  // namespace pga::query
