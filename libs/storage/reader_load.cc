#include "libs/storage/reader_load.h"

#include <algorithm>

#include "libs/catalog/metric.h"
#include "libs/status/status.h"
#include "libs/storage/reader_text.h"

namespace pga::storage {

using internal::Cat;

absl::Status PrepareRead(pg::Transaction& tx) {
  return tx.Exec("SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true)").status();
}

absl::StatusOr<int32_t> FindMetricId(pg::Transaction& tx, const std::string& metric) {
  PGA_ASSIGN_OR_RETURN(pg::Result result, tx.Exec("SELECT id FROM metrics.catalog_metric WHERE name = $1", {metric}));
  if (result.empty()) {
    return absl::FailedPreconditionError(
        Cat("the metrics database has no tables for metric ", metric, " yet; run `pgactl migrate up`"));
  }
  return result[0].Int32(0);
}

absl::StatusOr<std::optional<RawSpan>> FindRawSpan(pg::Transaction& tx, const MetricRead& read) {
  RawSpan span{read.from(), read.plan.end(), read.plan.end()};
  if (read.plan.resolution != Resolution::kRaw) {
    const Statement dirty = DirtyHoursSql(read);
    PGA_ASSIGN_OR_RETURN(pg::Result hours, tx.Exec(dirty.sql, dirty.params));
    if (hours.empty() || hours[0].IsNull(0)) return std::optional<RawSpan>();
    span.start = std::max(span.start, absl::FromUnixSeconds(hours[0].Int64(0)));
    span.end = std::min(span.end, absl::FromUnixSeconds(hours[0].Int64(1)) + absl::Hours(1));
    span.upper = span.end;
  }
  if (catalog::HasCounters(*read.metric)) {
    const Statement upper = RawUpperSql(read, span.end);
    PGA_ASSIGN_OR_RETURN(pg::Result newest, tx.Exec(upper.sql, upper.params));
    if (!newest.empty() && !newest[0].IsNull(0)) {
      span.upper = std::max(span.upper, absl::FromUnixMicros(newest[0].Int64(0)));
    }
  }
  return std::optional<RawSpan>(span);
}

absl::StatusOr<Coverage> LoadCoverage(pg::Transaction& tx, const MetricRead& read, absl::Time now) {
  const auto buckets = static_cast<size_t>(read.plan.buckets());
  Coverage coverage;
  const auto slot = [&](const pg::Row& row) -> std::vector<int64_t>& {
    std::vector<int64_t>& covered = coverage.covered_ms[{row.Int32(0), row.Int32(1)}];
    covered.resize(buckets);
    return covered;
  };
  const Statement ledger = CoverageSql(read);
  PGA_ASSIGN_OR_RETURN(pg::Result frames, tx.Exec(ledger.sql, ledger.params));
  for (const pg::Row& row : frames) {
    const auto bucket = static_cast<size_t>(row.Int32(2));
    if (bucket >= buckets) continue;
    slot(row)[bucket] += row.Int64(3);
    if (row.Int64(5) > 0) {
      std::vector<bool>& lower = coverage.lower_bound[{row.Int32(0), row.Int32(1)}];
      lower.resize(buckets);
      lower[bucket] = true;
    }
  }
  const absl::Time ledger_start = now - absl::Hours(24) * (RetentionOf(*read.metric).raw - 1);
  if (read.plan.start() < ledger_start && read.plan.resolution != Resolution::kRaw) {
    const Statement rolled = RollupCoverageSql(read);
    PGA_ASSIGN_OR_RETURN(pg::Result rows, tx.Exec(rolled.sql, rolled.params));
    for (const pg::Row& row : rows) {
      const auto bucket = static_cast<size_t>(row.Int32(2));
      if (bucket >= buckets) continue;
      int64_t& covered = slot(row)[bucket];
      covered = std::max(covered, row.Int64(3));
    }
  }
  return coverage;
}

absl::StatusOr<GroupRows> LoadGroupRows(pg::Transaction& tx, const Statement& statement, size_t value_count,
                                        size_t label_count) {
  constexpr size_t kFirstValue = 6;
  PGA_ASSIGN_OR_RETURN(pg::Result result, tx.Exec(statement.sql, statement.params));
  GroupRows rows;
  if (result.empty()) return rows;
  rows.groups_found = result[0].Int64(0);
  rows.rows_found = result[0].Int64(1);
  if (result[0].IsNull(2)) return rows;
  rows.rows.reserve(result.rows());
  for (const pg::Row& row : result) {
    GroupRow group;
    group.scope = {row.Int32(2), row.Int32(3)};
    group.bucket = row.Int32(4);
    group.flags = row.Int32(5);
    for (size_t i = 0; i < value_count; ++i) group.values.push_back(row.OptDouble(kFirstValue + i));
    for (size_t i = 0; i < label_count; ++i) group.labels.push_back(row.OptText(kFirstValue + value_count + i));
    rows.rows.push_back(std::move(group));
  }
  return rows;
}

absl::StatusOr<std::map<int64_t, std::string>> LoadTexts(pg::Transaction& tx, const std::vector<int32_t>& source_ids,
                                                         const std::vector<int64_t>& ids) {
  std::map<int64_t, std::string> texts;
  if (ids.empty()) return texts;
  PGA_ASSIGN_OR_RETURN(
      pg::Result result,
      tx.Exec("SELECT DISTINCT ON (id) id, value FROM metrics.text WHERE source_id = ANY($1::int4[]) AND "
              "id = ANY($2::int8[]) ORDER BY id",
              {ArrayOf(source_ids), ArrayOf(ids)}));
  for (const pg::Row& row : result) texts[row.Int64(0)] = std::string(row.Text(1));
  return texts;
}

absl::Status CheckBounds(const GroupRows& rows, const Grouping& grouping) {
  if (rows.groups_found > grouping.max_groups) {
    return absl::InvalidArgumentError(
        Cat("the answer has ", rows.groups_found, " series, more than the limit of ", grouping.max_groups,
            "; raise limit (at most 1000), add a filter, or name fewer labels in group_by"));
  }
  if (rows.rows_found > grouping.max_rows) {
    return absl::InvalidArgumentError(Cat("the answer has ", rows.rows_found, " values, more than ", grouping.max_rows,
                                          "; use a larger step or a shorter range"));
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
