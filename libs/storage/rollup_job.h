// Computes rollups anew for the hours that rows touched (metrics.rollup_dirty): 1 minute from raw rows, 10 minutes from
// those, 1 hour from these, each hour of a metric and source as a whole and in one transaction, so that late rows are
// exact and a repeat changes nothing. Only hours that are over are computed: readers take running ones from raw rows.
// All arithmetic is done by PostgreSQL, one DELETE and one INSERT .. SELECT per group of hours.
//
// An increase over (s, e] counts in [b, b + w) with floor(d * (min(e, b + w) - s) / (e - s)) - floor(d * (max(s, b) -
// s) / (e - s)): the parts of an increase add up to it. Gauges belong to the bucket that holds their instant.
// covered_ms is what the ledger's frames cover of a bucket, whether a row was left out as unchanged or not.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/pool.h"
#include "libs/storage/schema/catalog_schema.h"

namespace pga::storage {

// The statements that compute `metric` anew for sources $1::int4[] and hours $2::timestamptz[] (element by element),
// with $3 = first of the hours and $4 = end of the last. In this order, in one transaction, time zone UTC.
struct RollupStatements {
  std::vector<std::string> deletes;
  std::string insert;
};
RollupStatements MakeRollupStatements(const AppliedMetric& metric);

struct RollupOptions {
  // Hours that ended at or before this are computed.
  absl::Time ended_before;
  // No new group is begun after this.
  absl::Time stop_at;
  // No new group is begun once this is true; may be null. Outlives the run.
  const std::atomic<bool>* cancelled = nullptr;
  // For one group, lock waits included.
  absl::Duration group_timeout = absl::Seconds(60);
};

struct RollupOutcome {
  int64_t hours = 0;     // (metric, source, hour) computed
  int64_t rows = 0;      // rows of 1 h rollups written
  int64_t expired = 0;   // marks of hours whose raw rows are gone; their rollups stay as they are
  int64_t failed = 0;    // hours that cannot be computed (logged); their marks are taken away
  bool complete = true;  // false: time was up before the work was done
};

// Works through what is due, oldest hours first. Safe to run in several processes at once: each takes hours nobody else
// holds. An error ends the run and leaves what was not done marked.
absl::StatusOr<RollupOutcome> RunRollups(pg::Pool& pool, const RollupOptions& options);

}  // namespace pga::storage
