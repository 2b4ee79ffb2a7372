// What a metric describes: labels and info columns of its rows as they were last read, and what of them changed in a
// range (settings, slots, tables, roles of servers).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/cut_text.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

struct StateQuery {
  std::string metric;
  std::vector<SourceRef> sources;
  // As SeriesQuery::filters.
  std::vector<std::string> filters;
  // Info columns; empty = all.
  std::vector<std::string> columns;
  // State at `end`; with `changes` what changed in (start, end]. Rows are looked for in the 25 hours before.
  absl::Time start;
  absl::Time end;
  bool changes = false;
  // Most rows and changes. Fewer where their labels take more than kMostLabelBytes.
  int limit = 1000;
  // Most characters of each value.
  int64_t text_length = 1000;
};
inline constexpr size_t kMostLabelBytes = size_t{4} << 20;

// Texts are as PostgreSQL writes values; NULL is left out.
using StateValues = std::map<std::string, std::string>;

struct StateRow {
  SourceRef source;
  StateValues labels;
  StateValues values;
  // Columns whose value is cut, by name.
  std::vector<std::string> truncated;
  // Newest frame of its database that says so.
  absl::Time collected_at;
};

struct StateChange {
  enum class What { kChanged, kAppeared, kVanished };
  What what = What::kChanged;
  SourceRef source;
  StateValues labels;
  // Empty unless kChanged.
  std::string column;
  std::optional<CutText> before;
  std::optional<CutText> after;
  // Last reading with the value before, first one with that after.
  absl::Time seen_before;
  absl::Time seen_after;
};

struct StateAnswer {
  // By source and labels.
  std::vector<StateRow> rows;
  int64_t rows_found = 0;
  // Newest first.
  std::vector<StateChange> changes;
  int64_t changes_found = 0;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class StateReader {
 public:
  // All must outlive the reader.
  StateReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock)
      : pool_(pool), catalog_(std::move(catalog)), clock_(clock) {}

  // INVALID_ARGUMENT says what to change: unknown metric, column or label, a metric that describes nothing, a range
  // before what is kept, too many readings. FAILED_PRECONDITION when the database does not know the metric yet.
  absl::StatusOr<StateAnswer> Read(const StateQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  clock::Clock* clock_;
};

}  // namespace pga::storage
