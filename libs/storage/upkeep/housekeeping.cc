#include "libs/storage/upkeep/housekeeping.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

// Rows deleted by one statement.
constexpr int64_t kDeleteRows = 20'000;
// What a row of quarantine takes besides its payload, about.
constexpr int64_t kQuarantineRow = 200;
// Streams that never carried a batch are forgotten after a week.
constexpr absl::Duration kUnusedStream = absl::Hours(24 * 7);

class Deleter {
 public:
  explicit Deleter(const JobRun& run) : run_(run) {}

  // Repeats a bounded DELETE until it finds little, or the run is over.
  absl::Status Repeat(const std::string& sql) {
    while (!run_.Over()) {
      PGA_ASSIGN_OR_RETURN(const pg::Result deleted, run_.connection->Exec(sql, clock::SteadyNow() + kStatementTime));
      rows_ += deleted.affected_rows();
      if (deleted.affected_rows() > 0) run_.At(UpkeepPoint::kCleaned);
      if (deleted.affected_rows() < kDeleteRows) break;
    }
    return absl::OkStatus();
  }
  // Rows of a plain table, found by `condition`.
  absl::Status Rows(const std::string& table, const std::string& condition) {
    return Repeat(absl::StrCat("DELETE FROM ", table, " WHERE ctid = ANY (ARRAY(SELECT ctid FROM ", table, " WHERE ",
                               condition, " LIMIT ", kDeleteRows, "))"));
  }
  int64_t rows() const { return rows_; }

 private:
  const JobRun& run_;
  int64_t rows_ = 0;
};

std::string Before(absl::Duration age) {
  return absl::StrCat("now() - interval '", absl::ToInt64Seconds(age), " seconds'");
}

// The oldest rows of quarantine that match, until `excess` bytes are gone; at most kDeleteRows of them.
std::string OldestQuarantine(const std::string& condition, int64_t excess) {
  return absl::StrCat(
      "DELETE FROM metrics.quarantine WHERE id = ANY (ARRAY(SELECT k.id FROM (SELECT o.id, sum(o.bytes + ",
      kQuarantineRow, ") OVER (ORDER BY o.id) - o.bytes - ", kQuarantineRow,
      " AS before FROM (SELECT id, bytes::int8 FROM metrics.quarantine WHERE ", condition, " ORDER BY id LIMIT ",
      kDeleteRows, ") o) k WHERE k.before < ", excess, "))");
}

absl::Status BoundQuarantine(const JobRun& run, const CleanUpOptions& options, Deleter* deleter) {
  // Sizes come from an index, not from what is in quarantine.
  PGA_ASSIGN_OR_RETURN(
      const pg::Result sizes,
      run.connection->Exec(absl::StrCat("SELECT collector_id, sum(bytes)::int8 + count(*) * ", kQuarantineRow,
                                        " FROM metrics.quarantine GROUP BY collector_id"),
                           clock::SteadyNow() + kStatementTime));
  const int64_t before = deleter->rows();
  int64_t total = 0;
  for (const pg::Row row : sizes) {
    const int64_t excess = row.Int64(1) - options.quarantine_collector_bytes;
    total += std::min(row.Int64(1), options.quarantine_collector_bytes);
    if (excess <= 0 || run.Over()) continue;
    PGA_RETURN_IF_ERROR(deleter->Repeat(OldestQuarantine(absl::StrCat("collector_id = ", row.Int64(0)), excess)));
  }
  if (total > options.quarantine_bytes && !run.Over()) {
    PGA_RETURN_IF_ERROR(deleter->Repeat(OldestQuarantine("true", total - options.quarantine_bytes)));
  }
  if (deleter->rows() > before) {
    PGA_LOG(warn, "quarantine holds too much; its oldest entries were removed",
            {{"entries", deleter->rows() - before}});
  }
  return absl::OkStatus();
}

absl::Status DeleteSource(const JobRun& run, int64_t source_id) {
  Deleter deleter(run);
  const std::string of_source = absl::StrCat("source_id = ", source_id);
  PGA_ASSIGN_OR_RETURN(
      const pg::Result metrics,
      run.connection->Exec("SELECT id FROM metrics.catalog_metric ORDER BY id", clock::SteadyNow() + kStatementTime));
  for (const pg::Row metric : metrics) {
    if (run.Over()) return absl::OkStatus();
    for (const char* table : {"metrics.frame", "metrics.block"}) {
      PGA_ASSIGN_OR_RETURN(const pg::Result deleted,
                           run.connection->Exec(absl::StrCat("DELETE FROM ", table, " WHERE ", of_source,
                                                             " AND metric_id = ", metric.Int64(0)),
                                                clock::SteadyNow() + kStatementTime));
      if (deleted.affected_rows() > 0) run.At(UpkeepPoint::kCleaned);
    }
  }
  for (const char* table : {"metrics.query_text", "metrics.lost_interval", "metrics.superseded", "metrics.carried",
                            "metrics.counter_run", "metrics.push_reading"}) {
    PGA_RETURN_IF_ERROR(deleter.Rows(table, of_source));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyReadable(const JobRun& run) {
  return run.connection->Exec("SELECT metrics.apply_readable()", clock::SteadyNow() + kStatementTime).status();
}

absl::StatusOr<int64_t> MakePartitions(const JobRun& run, absl::Duration ahead) {
  PGA_ASSIGN_OR_RETURN(const std::shared_ptr<const MetricShapes> metrics,
                       run.metrics->Reload(*run.connection, clock::SteadyNow() + kStatementTime));
  const int64_t now_us = NowMicros(run.clock);
  std::set<int32_t> days;
  for (const RetentionDays& retention : metrics->Retentions()) {
    for (int64_t at = now_us - kDayMicros; at <= now_us + absl::ToInt64Microseconds(ahead); at += kDayMicros) {
      for (int level = kRawLevel; level < kLevels; ++level) {
        if (level == kZoneDayLevel && !metrics->has_zone) continue;
        days.insert(ExpiresOn(level, SpanOf(level, at, metrics->zone), retention));
      }
    }
  }
  int64_t made = 0;
  absl::Status first;
  for (const int32_t day : days) {
    if (run.Over()) break;
    const auto done = run.connection->Exec(
        absl::StrCat("SELECT metrics.ensure_block_partitions(", DateLiteral(day), ", ", DateLiteral(day), ")"),
        clock::SteadyNow() + kStatementTime);
    if (!done.ok()) {
      if (IsServerWide(done.status(), *run.connection)) return done.status();
      if (first.ok()) first = done.status();
      continue;
    }
    made += (*done)[0].Int64(0);
    if ((*done)[0].Int64(0) > 0) run.At(UpkeepPoint::kPartitionMade);
  }
  if (!first.ok()) return first;
  return made;
}

absl::StatusOr<int64_t> DropExpired(const JobRun& run) {
  // The server's own day: it is its clock that the function compares with.
  absl::Status first;
  int64_t dropped = 0;
  while (!run.Over()) {
    const auto done = run.connection->Exec("SELECT metrics.drop_expired_blocks((now() AT TIME ZONE 'UTC')::date, 10)",
                                           clock::SteadyNow() + kStatementTime);
    if (!done.ok()) {
      if (IsServerWide(done.status(), *run.connection)) return done.status();
      first = done.status();
      break;
    }
    if ((*done)[0].Int64(0) == 0) break;
    dropped += (*done)[0].Int64(0);
    run.At(UpkeepPoint::kPartitionDropped);
  }
  PGA_ASSIGN_OR_RETURN(const pg::Result removed,
                       run.connection->Exec("SELECT id FROM metrics.source WHERE removed_at IS NOT NULL ORDER BY id",
                                            clock::SteadyNow() + kStatementTime));
  for (const pg::Row source : removed) {
    if (run.Over()) break;
    const absl::Status deleted = DeleteSource(run, source.Int64(0));
    if (deleted.ok()) continue;
    if (IsServerWide(deleted, *run.connection)) return deleted;
    if (first.ok()) first = deleted;
  }
  if (!first.ok()) return first;
  return dropped;
}

absl::StatusOr<int64_t> CleanUp(const JobRun& run, const CleanUpOptions& options) {
  PGA_ASSIGN_OR_RETURN(const std::shared_ptr<const MetricShapes> metrics,
                       run.metrics->Get(*run.connection, clock::SteadyNow() + kStatementTime));
  int32_t raw_days = 40, longest_days = 400;
  for (const RetentionDays& retention : metrics->Retentions()) {
    raw_days = std::max(raw_days, retention.raw + 2);
    longest_days = std::max({longest_days, retention.raw, retention.days});
  }
  // Blocks go by the week, so they may outlive their retention by some days.
  const absl::Duration longest = absl::Hours(24 * (longest_days + 9));
  Deleter deleter(run);
  absl::Status first;
  const auto keep = [&](absl::Status done, const char* what) {
    if (!done.ok() && first.ok()) first = status::Annotate(std::move(done), what);
    return run.connection->ok();
  };
  // Every frame of a stream that has not moved for longer than raw rows are kept is older than ingest takes: should the
  // stream come back after all, its batches go to quarantine instead of being stored twice.
  const struct {
    const char* table;
    std::string condition;
  } by_age[] = {
      {"metrics.ingest_receipt", absl::StrCat("received_at < ", Before(options.receipts))},
      {"metrics.pushed_element", absl::StrCat("time < ", Before(options.pushed_elements))},
      {"metrics.push_receipt", absl::StrCat("received_at < ", Before(options.receipts))},
      {"metrics.push_reading", absl::StrCat("collected_at < ", Before(options.pushed_elements))},
      {"metrics.lost_interval", absl::StrCat("received_at < ", Before(longest))},
      {"metrics.superseded", absl::StrCat("received_at < ", Before(longest))},
      {"metrics.ingest_watermark", absl::StrCat("sealed AND updated_at < ", Before(absl::Hours(24 * raw_days)),
                                                " OR last_seq = 0 AND updated_at < ", Before(kUnusedStream))},
  };
  for (const auto& [table, condition] : by_age) {
    if (!keep(deleter.Rows(table, condition), table)) return first;
  }
  // No right to the whole row is needed, which holds what was refused.
  if (!keep(deleter.Repeat(absl::StrCat("DELETE FROM metrics.quarantine WHERE id = ANY (ARRAY(SELECT id FROM "
                                        "metrics.quarantine WHERE received_at < ",
                                        Before(options.quarantine_age), " LIMIT ", kDeleteRows, "))")),
            "metrics.quarantine")) {
    return first;
  }
  if (!keep(BoundQuarantine(run, options, &deleter), "metrics.quarantine")) return first;
  // Texts in use are noted every day. By source, whose rows stand together: there is no index by age.
  PGA_ASSIGN_OR_RETURN(const pg::Result sources, run.connection->Exec("SELECT id FROM metrics.source ORDER BY random()",
                                                                      clock::SteadyNow() + kStatementTime));
  for (const pg::Row source : sources) {
    if (run.Over()) break;
    if (!keep(deleter.Rows("metrics.query_text",
                           absl::StrCat("source_id = ", source.Int64(0), " AND last_seen < ", Before(longest))),
              "metrics.query_text")) {
      return first;
    }
  }
  if (!first.ok()) return first;
  return deleter.rows();
}

}  // namespace pga::storage
