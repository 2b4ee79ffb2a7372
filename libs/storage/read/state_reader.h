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
  // Restricted columns are among all; without it PERMISSION_DENIED when one is named.
  bool with_texts = true;
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

struct RowsQuery {
  std::string metric;
  std::vector<SourceRef> sources;
  // As SeriesQuery::filters.
  std::vector<std::string> filters;
  // Any but labels; empty = all of them.
  std::vector<std::string> columns;
  // As StateQuery::with_texts.
  bool with_texts = true;
  // Counters are added up over the range as PlanWholeRange widens it; readings are those of its end, looked for in the
  // 25 hours before.
  absl::Time start;
  absl::Time end;
  // A label or one of the columns, with a minus before it the largest first; what is not known comes last. Empty = by
  // source and labels.
  std::string sort;
  // Most rows. Fewer where their labels take more than kMostLabelBytes.
  int limit = 1000;
  // Most characters of each text.
  int64_t text_length = 1000;
};

struct MetricRow {
  SourceRef source;
  StateValues labels;
  // Gauges and counters; instants as seconds since 1970. What is not known is left out.
  std::map<std::string, double> numbers;
  // Info columns.
  StateValues texts;
  // Those whose text is cut, by name.
  std::vector<std::string> truncated;
  absl::Time collected_at;
  // Sums are lower bounds.
  bool lower_bound = false;
};

struct RowsAnswer {
  // The range that was added up, as PlanWholeRange widens it.
  absl::Time start;
  absl::Time end;
  // Those that were asked for, in the catalog's order; they live as long as the catalog.
  std::vector<const ::pganalytics::catalog::v1::Column*> columns;
  std::vector<MetricRow> rows;
  int64_t rows_found = 0;
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

  // Rows that were there at the end of a range, several columns side by side. Errors as those of Read.
  absl::StatusOr<RowsAnswer> Rows(const RowsQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  clock::Clock* clock_;
};

}  // namespace pga::storage
