// Plans of statements by what auto_explain logged (metric `plans`) and by what EXPLAIN gave (`explained_plans`), and
// when a statement got another one.
#pragma once

#include <cstdint>
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

struct PlanQuery {
  std::vector<SourceRef> sources;
  // Readings in (start, end].
  absl::Time start;
  absl::Time end;
  std::optional<int64_t> query_id;
  // Empty = any.
  std::string database;
  // Most plans, and most changes.
  int limit = 100;
  bool with_texts = true;
  // Most characters of each tree.
  int64_t text_length = 4000;
};

struct StatementPlan {
  SourceRef source;
  int64_t query_id = 0;
  int64_t plan_id = 0;
  std::string database;
  CutText tree;
  // Executions that were logged in the range, and their time.
  int64_t logged = 0;
  int64_t duration_us = 0;
  // Times that EXPLAIN gave it in the range.
  int64_t explained = 0;
  // First and last reading of the range that had any.
  absl::Time first;
  absl::Time last;
};

// A statement was logged with a plan that it had not in the 25 hours before, while it had another one; or EXPLAIN gave
// it so. The two are not compared with one another: EXPLAIN gives the plan for any values.
struct PlanChange {
  SourceRef source;
  int64_t query_id = 0;
  std::string database;
  int64_t before = 0;  // plan that was seen last before
  int64_t after = 0;
  // Last reading with `before`, first one with `after`.
  absl::Time seen_before;
  absl::Time seen_after;
};

struct PlanAnswer {
  // Most time first, then the newest.
  std::vector<StatementPlan> plans;
  int64_t plans_found = 0;
  // Newest first.
  std::vector<PlanChange> changes;
  int64_t changes_found = 0;
};

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class PlanReader {
 public:
  // All must outlive the reader.
  PlanReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock)
      : pool_(pool), catalog_(std::move(catalog)), clock_(clock) {}

  // INVALID_ARGUMENT for a range that begins before what is kept, or has too many plans.
  absl::StatusOr<PlanAnswer> Read(const PlanQuery& query, const pg::CallLimit& limit);

 private:
  pg::ReadPool* pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  clock::Clock* clock_;
};

}  // namespace pga::storage
