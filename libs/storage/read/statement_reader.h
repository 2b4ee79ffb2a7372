// Statements over a range and over time: sums of exact increases of metric `statements`, with texts, databases and
// users.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/cut_text.h"
#include "libs/storage/read/range.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

// Figures of a statement. Times are microseconds here.
enum class Figure {
  kCalls,
  kTotalTime,
  kRows,
  kSharedBlksHit,
  kSharedBlksRead,
  kSharedBlksDirtied,
  kSharedBlksWritten,
  kTempBlksRead,
  kTempBlksWritten,
  kWalBytes,
  kPlanTime,
  kIoTime,
};
inline constexpr size_t kFigureCount = 12;
// Whether it is in microseconds.
bool IsTime(Figure figure);

// Order of TopStatements: a figure, or total time by calls.
struct StatementOrder {
  Figure figure = Figure::kTotalTime;
  bool mean_time = false;
};
// total_time, mean_time, calls, rows, shared_blks_read ... INVALID_ARGUMENT lists them. Empty = total_time.
absl::StatusOr<StatementOrder> ParseStatementOrder(const std::string& name);

struct StatementFigures {
  std::array<double, kFigureCount> values = {};
  double Of(Figure figure) const { return values[static_cast<size_t>(figure)]; }
};

struct TopStatement {
  SourceRef source;
  int64_t query_id = 0;
  std::string database;
  std::string user;
  // Empty when not known, or not wanted.
  CutText text;
  StatementFigures figures;
  bool lower_bound = false;
};

struct TopStatementsQuery {
  std::vector<SourceRef> sources;
  absl::Time start;
  absl::Time end;
  StatementOrder order;
  int limit = 20;
  // Only this database; empty = all.
  std::string database;
  // Only these statements; empty = all.
  std::set<int64_t> query_ids;
  bool with_texts = true;
  // Most characters of each text.
  int64_t text_length = 500;
};

struct TopStatements {
  // The range that was read, as PlanWholeRange widens it.
  absl::Time start;
  absl::Time end;
  std::vector<TopStatement> statements;
  // The figure of the order over all statements that were asked for, also those beyond the limit; absent for mean time.
  std::optional<double> total;
};

struct StatementPoint {
  absl::Time time;
  // Absent where nothing is covered.
  std::optional<StatementFigures> figures;
  double covered_ms = 0;
  bool lower_bound = false;
};

struct StatementTimeline {
  // Whole.
  std::string text;
  std::vector<StatementPoint> points;
};

struct StatementBucketsQuery {
  std::vector<SourceRef> sources;
  RangeRequest range;
  // Only these statements; at least one.
  std::set<int64_t> query_ids;
  // Only this database; empty = all.
  std::string database;
};

// One statement of a source and database, of all users together.
struct StatementBuckets {
  SourceRef source;
  int64_t query_id = 0;
  std::string database;
  // One for each bucket; absent where the statement did not run.
  std::vector<std::optional<StatementFigures>> buckets;
  bool lower_bound = false;
};

struct StatementWindow {
  // edges.size() - 1 buckets.
  std::vector<absl::Time> edges;
  // By source, query id and database.
  std::vector<StatementBuckets> statements;
  // Milliseconds of each bucket that frames of a source cover, by its id.
  std::map<int32_t, std::vector<double>> covered_ms;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class StatementReader {
 public:
  // All must outlive the reader.
  StatementReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock);

  // INVALID_ARGUMENT for a bad range.
  absl::StatusOr<TopStatements> Top(const TopStatementsQuery& query, const pg::CallLimit& limit);

  // One statement per bucket, added up over the sources. NOT_FOUND when no source has it in the range and no text of it
  // is known.
  absl::StatusOr<StatementTimeline> Timeline(int64_t query_id, const std::vector<SourceRef>& sources,
                                             const RangeRequest& range, bool with_text, const pg::CallLimit& limit);

  // Statements per bucket, apart by source and database. INVALID_ARGUMENT for a bad range, and for more than fits.
  absl::StatusOr<StatementWindow> Buckets(const StatementBucketsQuery& query, const pg::CallLimit& limit);

  // Texts of statements, of longer ones the first `most` characters, by source id and query id; those that are not
  // known are left out.
  absl::StatusOr<std::map<std::pair<int32_t, int64_t>, CutText>> Texts(
      const std::vector<std::pair<int32_t, int64_t>>& statements, int64_t most, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  clock::Clock* clock_;
};

}  // namespace pga::storage
