#include "libs/storage/rollup_job.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/log/log.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

// Groups grow while they are quick and shrink when they are slow: writers that touch the same hours wait for a group.
constexpr int kFirstGroup = 2;
constexpr int kLargestGroup = 256;
constexpr absl::Duration kQuick = absl::Milliseconds(400);
constexpr absl::Duration kSlow = absl::Seconds(2);

std::string TimeText(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S+00", time, absl::UTCTimeZone());
}

struct Hour {
  int32_t source_id;
  absl::Time hour;
};

std::string SourceArray(const std::vector<Hour>& hours) {
  std::string text = "{";
  for (const Hour& hour : hours) absl::StrAppend(&text, text.size() > 1 ? "," : "", hour.source_id);
  return text + "}";
}

// Days of taken marks may have got rows: they are open, and closed again when none of their hours is dirty.
constexpr char kReopenDays[] =
    "INSERT INTO metrics.ledger_day (day, rows, reopened) SELECT DISTINCT (hour AT TIME ZONE 'UTC')::date, 0, true "
    "FROM unnest($1::timestamptz[]) AS h(hour) ORDER BY 1 ON CONFLICT (day) DO UPDATE SET reopened = true";

std::string HourArray(const std::vector<Hour>& hours) {
  std::string text = "{";
  for (const Hour& hour : hours) absl::StrAppend(&text, text.size() > 1 ? "," : "", "\"", TimeText(hour.hour), "\"");
  return text + "}";
}

// The data itself cannot be computed with (out of range, not a number where none may be).
bool IsDataError(const absl::Status& status) {
  return absl::StartsWith(pg::SqlStateOf(status), "22");
}

class Run {
 public:
  Run(pg::Pool& pool, const RollupOptions& options) : pool_(pool), options_(options) {}

  absl::StatusOr<RollupOutcome> Work() {
    const absl::Time deadline = absl::Now() + options_.group_timeout;
    PGA_ASSIGN_OR_RETURN(pg::Result definitions, pool_.Exec(kAppliedMetricsSql, {}, deadline));
    PGA_ASSIGN_OR_RETURN(const std::vector<AppliedMetric> metrics, ParseAppliedMetrics(definitions));
    std::map<int, const AppliedMetric*> by_id;
    for (const AppliedMetric& metric : metrics) by_id[metric.id] = &metric;
    PGA_ASSIGN_OR_RETURN(
        pg::Result due,
        pool_.Exec(
            "SELECT metric_id FROM metrics.rollup_dirty WHERE hour <= $1::timestamptz GROUP BY 1 ORDER BY min(hour), 1",
            {TimeText(options_.ended_before - absl::Hours(1))}, deadline));
    for (const pg::Row row : due) {
      const auto metric = by_id.find(row.Int32(0));
      PGA_RETURN_IF_ERROR(metric != by_id.end() ? WorkOn(*metric->second) : Forget(row.Int32(0)));
    }
    return outcome_;
  }

 private:
  // Marks of a metric that nobody knows.
  absl::Status Forget(int metric_id) {
    int64_t gone = 0;
    PGA_RETURN_IF_ERROR(TakeOnly(metric_id, std::numeric_limits<int32_t>::max(), &gone));
    outcome_.expired += gone;
    return absl::OkStatus();
  }

  // Takes marks whose hours are not computed.
  absl::Status TakeOnly(int metric_id, int limit, int64_t* taken) {
    return pool_.InTransaction(absl::Now() + options_.group_timeout, [&](pg::Transaction& tx) -> absl::Status {
      PGA_ASSIGN_OR_RETURN(const std::vector<Hour> hours, Take(tx, metric_id, limit));
      *taken = static_cast<int64_t>(hours.size());
      return absl::OkStatus();
    });
  }

  absl::Status WorkOn(const AppliedMetric& metric) {
    const RollupStatements statements = MakeRollupStatements(metric);
    int size = kFirstGroup;
    while (true) {
      if (absl::Now() >= options_.stop_at || (options_.cancelled != nullptr && *options_.cancelled)) {
        outcome_.complete = false;
        return absl::OkStatus();
      }
      const absl::Time start = absl::Now();
      int taken = 0;
      const absl::Status done = Group(metric, statements, size, &taken);
      if (!done.ok()) {
        if (!IsDataError(done)) return status::Annotate(done, absl::StrCat("rollups of ", metric.metric.name()));
        if (size > 1) {
          size = 1;
          continue;
        }
        PGA_LOG(error, "an hour cannot be rolled up and stays without rollups",
                {{"metric", metric.metric.name()}, {"status", done}});
        PGA_RETURN_IF_ERROR(GiveUpFirst(metric));
        continue;
      }
      if (taken == 0) return absl::OkStatus();
      const absl::Duration took = absl::Now() - start;
      if (took < kQuick) size = std::min(size * 2, kLargestGroup);
      if (took > kSlow) size = std::max(size / 2, 1);
    }
  }

  // Takes marks first and reads rows after: a writer whose rows are not visible yet either holds the mark, and then it
  // is not taken, or sets it anew after our commit.
  static std::string TakeSql() {
    return "DELETE FROM metrics.rollup_dirty d USING (SELECT metric_id, source_id, hour FROM metrics.rollup_dirty "
           "WHERE "
           "metric_id = $1::int4 AND hour <= $2::timestamptz ORDER BY hour, source_id LIMIT $3::int8 FOR UPDATE SKIP "
           "LOCKED) k "
           "WHERE d.metric_id = k.metric_id AND d.source_id = k.source_id AND d.hour = k.hour RETURNING d.source_id, "
           "extract(epoch FROM d.hour)::int8";
  }

  absl::StatusOr<std::vector<Hour>> Take(pg::Transaction& tx, int metric_id, int limit) {
    PGA_ASSIGN_OR_RETURN(pg::Result marks,
                         tx.Exec(TakeSql(), {metric_id, TimeText(options_.ended_before - absl::Hours(1)), limit}));
    std::vector<Hour> hours;
    for (const pg::Row mark : marks) hours.push_back({mark.Int32(0), absl::FromUnixSeconds(mark.Int64(1))});
    if (!hours.empty()) PGA_RETURN_IF_ERROR(tx.Exec(kReopenDays, {HourArray(hours)}).status());
    return hours;
  }

  absl::Status Group(const AppliedMetric& metric, const RollupStatements& statements, int size, int* taken) {
    RollupOutcome group;
    const absl::Status done =
        pool_.InTransaction(absl::Now() + options_.group_timeout, [&](pg::Transaction& tx) -> absl::Status {
          // Partitions are read by their index: the planner cannot know how few rows the hours name.
          PGA_RETURN_IF_ERROR(
              tx.Exec("SET LOCAL enable_seqscan = off; SET LOCAL jit = off; SET LOCAL work_mem = '32MB'; "
                      "SET LOCAL timezone = 'UTC'")
                  .status());
          PGA_ASSIGN_OR_RETURN(const std::vector<Hour> marks, Take(tx, metric.id, size));
          *taken = static_cast<int>(marks.size());
          if (marks.empty()) return absl::OkStatus();
          PGA_ASSIGN_OR_RETURN(
              pg::Result floor,
              tx.Exec("SELECT CASE WHEN isfinite(dropped_before) THEN extract(epoch FROM dropped_before)::int8 ELSE 0 "
                      "END FROM metrics.time_table WHERE name = $1",
                      {metric.metric.name()}));
          const absl::Time raw_from = absl::FromUnixSeconds(floor.empty() ? 0 : floor[0].Int64(0));
          std::vector<Hour> hours;
          absl::Time first = absl::InfiniteFuture(), last = absl::InfinitePast();
          for (const Hour& hour : marks) {
            // Computing it anew without its raw rows would wipe it out.
            if (hour.hour < raw_from) {
              ++group.expired;
              continue;
            }
            first = std::min(first, hour.hour);
            last = std::max(last, hour.hour);
            hours.push_back(hour);
          }
          if (hours.empty()) return absl::OkStatus();
          const std::string from = TimeText(first), to = TimeText(last + absl::Hours(1));
          const pg::Params params = {SourceArray(hours), HourArray(hours), from, to};
          for (const char* suffix : {"_1m", "_10m", "_1h"}) {
            PGA_RETURN_IF_ERROR(tx.Exec("SELECT metrics.ensure_partitions($1, $2::timestamptz, $3::timestamptz)",
                                        {metric.metric.name() + suffix, from, to})
                                    .status());
          }
          for (const std::string& sql : statements.deletes) PGA_RETURN_IF_ERROR(tx.Exec(sql, params).status());
          PGA_ASSIGN_OR_RETURN(pg::Result inserted, tx.Exec(statements.insert, params));
          group.rows += inserted.affected_rows();
          group.hours += static_cast<int64_t>(hours.size());
          return absl::OkStatus();
        });
    PGA_RETURN_IF_ERROR(done);
    outcome_.hours += group.hours;
    outcome_.rows += group.rows;
    outcome_.expired += group.expired;
    return absl::OkStatus();
  }

  absl::Status GiveUpFirst(const AppliedMetric& metric) {
    int64_t gone = 0;
    PGA_RETURN_IF_ERROR(TakeOnly(metric.id, 1, &gone));
    outcome_.failed += gone;
    return absl::OkStatus();
  }

  pg::Pool& pool_;
  const RollupOptions options_;
  RollupOutcome outcome_;
};

}  // namespace

absl::StatusOr<RollupOutcome> RunRollups(pg::Pool& pool, const RollupOptions& options) {
  return Run(pool, options).Work();
}

}  // namespace pga::storage
