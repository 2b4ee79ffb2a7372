// Runs the statements of reader_sql.h inside one snapshot and brings their rows into memory, bounded. Shared by the
// series and the statement readers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/pg/pool.h"
#include "libs/storage/reader_sql.h"

namespace pga::storage {

// What is covered: a source, and a database of it (0 = the whole server).
using ScopeKey = std::pair<int32_t, int32_t>;

struct Coverage {
  // Milliseconds per bucket.
  std::map<ScopeKey, std::vector<int64_t>> covered_ms;
  // A frame in the bucket said that its increases are lower bounds.
  std::map<ScopeKey, std::vector<bool>> lower_bound;
};

// One row of CounterSql or GaugeSql.
struct GroupRow {
  ScopeKey scope;
  int bucket = 0;
  int flags = 0;
  std::vector<std::optional<double>> values;
  // Stored values of the grouping labels in text form; nullopt = NULL.
  std::vector<std::optional<std::string>> labels;
};

struct GroupRows {
  int64_t groups_found = 0;
  int64_t rows_found = 0;
  // Empty when a bound was exceeded.
  std::vector<GroupRow> rows;
};

// Settings of the transaction: memory for sums over many series, and no just-in-time compiler, whose work is worth more
// than these statements.
absl::Status PrepareRead(pg::Transaction& tx);

// The catalog id that the database gave the metric. FAILED_PRECONDITION if its tables were not applied.
absl::StatusOr<int32_t> FindMetricId(pg::Transaction& tx, const std::string& metric);

// The span that raw rows answer: everything when no rollup fits, the dirty hours otherwise, nullopt when there are
// none.
absl::StatusOr<std::optional<RawSpan>> FindRawSpan(pg::Transaction& tx, const MetricRead& read);

// From the ledger, and from the rollups where the range begins before what the ledger keeps.
absl::StatusOr<Coverage> LoadCoverage(pg::Transaction& tx, const MetricRead& read, absl::Time now);

// Runs CounterSql or GaugeSql. `value_count` is the number of value columns.
absl::StatusOr<GroupRows> LoadGroupRows(pg::Transaction& tx, const Statement& statement, size_t value_count,
                                        size_t label_count);

// Texts of dictionary ids; ids without a text are left out.
absl::StatusOr<std::map<int64_t, std::string>> LoadTexts(pg::Transaction& tx, const std::vector<int32_t>& source_ids,
                                                         const std::vector<int64_t>& ids);

// INVALID_ARGUMENT with the numbers found when `rows` says that a bound of `grouping` was exceeded.
absl::Status CheckBounds(const GroupRows& rows, const Grouping& grouping);

}  // namespace pga::storage
