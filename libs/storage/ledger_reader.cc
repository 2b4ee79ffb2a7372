#include "libs/storage/ledger_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/catalog/metric.h"
#include "libs/status/status.h"
#include "libs/storage/reader_load.h"
#include "libs/storage/reader_sql.h"

namespace pga::storage {
namespace {

constexpr int64_t kDaySeconds = 86400;
constexpr absl::Duration kLongestKept = absl::Seconds(1);
constexpr absl::Duration kLongestKeptCollectors = absl::Seconds(5);
// Summing a past day is begun only if this much time is left.
constexpr absl::Duration kDayBudget = absl::Milliseconds(300);
// A past day that is not closed, because late rows are coming, is summed again after this time.
constexpr absl::Duration kOpenDayKept = absl::Minutes(1);

// Fixed counts of closed days, and a count of what lies outside them.
constexpr char kCountSql[] = "SELECT metrics.ledger_count()";

constexpr char kByMetricSql[] =
    "SELECT CASE WHEN t.source_id = 0 THEN '' ELSE s.group_name END, coalesce(c.name, ''), sum(t.frames)::int8, "
    "(extract(epoch FROM max(t.newest)) * "
    "1000000)::int8 FROM (SELECT m.source_id, m.metric_id, count(*) AS frames, max(m.time) AS newest FROM "
    "metrics.metrics m WHERE m.time >= $1::timestamptz GROUP BY 1, 2) t LEFT JOIN metrics.catalog_metric c ON c.id = "
    "t.metric_id LEFT JOIN metrics.source s ON s.id = t.source_id WHERE t.source_id = 0 OR s.id IS NOT NULL GROUP BY "
    "1, 2";

constexpr char kFreshnessSql[] =
    "SELECT s.id, c.name, (extract(epoch FROM newest.time) * 1000000)::int8, r.frames, r.rows "
    "FROM unnest($1::int4[]) AS s(id) CROSS JOIN metrics.catalog_metric c "
    "CROSS JOIN LATERAL (SELECT m.time FROM metrics.metrics m WHERE m.source_id = s.id AND m.metric_id = c.id AND "
    "(m.flags & 2) = 0 ORDER BY m.time DESC LIMIT 1) newest "
    "CROSS JOIN LATERAL (SELECT count(*) AS frames, coalesce(sum(m.rows), 0)::int8 AS rows FROM metrics.metrics m "
    "WHERE m.source_id = s.id AND m.metric_id = c.id AND m.time >= $2::timestamptz AND m.time < $3::timestamptz) r";

// Of the sources, those that ever sent the metric: a host sends no statements.
constexpr char kSendersSql[] =
    "SELECT count(*) FROM unnest($1::int4[]) AS s(id) WHERE EXISTS (SELECT FROM metrics.metrics m WHERE m.source_id = "
    "s.id "
    "AND m.metric_id = $2::int8)";

constexpr char kGapsSql[] =
    "SELECT source_id, count(*) FROM metrics.lost_interval WHERE source_id = ANY($1::int4[]) AND start_time < "
    "$3::timestamptz AND end_time > $2::timestamptz GROUP BY 1";

constexpr char kCollectorsSql[] =
    "SELECT c.id, c.collector_id, (extract(epoch FROM greatest(t.newest, (SELECT max(s.last_seen) FROM metrics.source "
    "s "
    "WHERE s.collector_id = c.id))) * 1000000)::int8, coalesce(t.day_rows, 0), coalesce(t.open_rows, 0) "
    "FROM metrics.collector c LEFT JOIN (SELECT m.collector_id, max(m.time) AS newest, "
    "(sum(m.rows) FILTER (WHERE m.time >= $2::timestamptz))::int8 AS day_rows, sum(m.rows)::int8 AS open_rows "
    "FROM metrics.metrics m WHERE m.time >= $1::timestamptz GROUP BY 1) t ON t.collector_id = c.id ORDER BY 2";

constexpr char kDaySql[] =
    "SELECT m.collector_id, sum(m.rows)::int8 FROM metrics.metrics m WHERE m.time >= $1::timestamptz AND m.time < "
    "$2::timestamptz GROUP BY 1";

// The entries named, all of them when none is.
std::vector<CollectorTotals> Chosen(const std::vector<CollectorTotals>& all, const std::vector<std::string>& names) {
  if (names.empty()) return all;
  std::vector<CollectorTotals> chosen;
  for (const CollectorTotals& entry : all) {
    if (std::find(names.begin(), names.end(), entry.collector_id) != names.end()) chosen.push_back(entry);
  }
  return chosen;
}

// Days since 1970 whose count is fixed and holds: late rows leave a mark until the day is counted again.
constexpr char kFixedDaysSql[] =
    "SELECT (l.day - date '1970-01-01')::int8, l.rows FROM metrics.ledger_day l WHERE NOT l.reopened AND NOT EXISTS "
    "(SELECT FROM metrics.rollup_dirty r WHERE r.hour >= l.day::timestamp AT TIME ZONE 'UTC' AND r.hour < (l.day + "
    "1)::timestamp AT TIME ZONE 'UTC')";

// Days since 1970; no look at the ledger itself, which has no index on time alone.
constexpr char kOldestSql[] =
    "SELECT least(min(l.day) - date '1970-01-01', $1::int8 - 32)::int8 FROM metrics.ledger_day l";

}  // namespace

LedgerReader::LedgerReader(pg::Pool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock)
    : pool_(pool),
      catalog_(std::move(catalog)),
      clock_(clock),
      count_(clock, kLongestKept),
      totals_(clock, kLongestKept),
      collectors_(clock, kLongestKeptCollectors) {}

absl::StatusOr<int64_t> LedgerReader::Count(absl::Time deadline) {
  return count_.Get(deadline, [&]() -> absl::StatusOr<int64_t> {
    PGA_ASSIGN_OR_RETURN(pg::Result result, pool_->Exec(kCountSql, {}, deadline));
    return result[0].Int64(0);
  });
}

absl::StatusOr<FrameTotals> LedgerReader::Totals(const std::vector<std::string>& groups, absl::Time deadline) {
  using ByGroup = std::map<std::string, FrameTotals>;
  PGA_ASSIGN_OR_RETURN(const ByGroup all, totals_.Get(deadline, [&]() -> absl::StatusOr<ByGroup> {
    PGA_ASSIGN_OR_RETURN(pg::Result result,
                         pool_->Exec(kByMetricSql, {TimeText(clock_->Now() - absl::Hours(24))}, deadline));
    ByGroup totals;
    for (const pg::Row& row : result) {
      FrameTotals& group = totals[std::string(row.Text(0))];
      group.by_metric[row.Text(1).empty() ? "push" : std::string(row.Text(1))] += row.Int64(2);
      group.latest = std::max(group.latest, absl::FromUnixMicros(row.Int64(3)));
    }
    return totals;
  }));
  FrameTotals totals;
  PGA_ASSIGN_OR_RETURN(totals.count, Count(deadline));
  for (const auto& [name, group] : all) {
    if (!name.empty() && std::find(groups.begin(), groups.end(), name) == groups.end()) continue;
    for (const auto& [metric, frames] : group.by_metric) totals.by_metric[metric] += frames;
    totals.latest = std::max(totals.latest, group.latest);
  }
  return totals;
}

absl::StatusOr<std::vector<FreshnessEntry>> LedgerReader::Freshness(const std::vector<SourceRef>& sources,
                                                                    absl::Time start, absl::Time end,
                                                                    absl::Time deadline) {
  std::vector<FreshnessEntry> entries;
  if (sources.empty()) return entries;
  const absl::Time now = clock_->Now();
  std::map<int32_t, SourceRef> by_id;
  for (const SourceRef& source : sources) by_id[source.id] = source;
  std::map<std::string, Coverage> coverage;
  std::map<int32_t, int64_t> gaps;
  double range_ms = 0;
  const absl::Status done = pool_->InTransaction(
      deadline,
      [&](pg::Transaction& tx) -> absl::Status {
        const pg::Params params = {ArrayOf(IdsOf(sources)), TimeText(start), TimeText(end)};
        PGA_ASSIGN_OR_RETURN(pg::Result rows, tx.Exec(kFreshnessSql, params));
        PGA_ASSIGN_OR_RETURN(pg::Result lost, tx.Exec(kGapsSql, params));
        for (const pg::Row& row : lost) gaps[row.Int32(0)] = row.Int64(1);
        for (const pg::Row& row : rows) {
          FreshnessEntry entry;
          entry.source = by_id[row.Int32(0)];
          entry.metric = std::string(row.Text(1));
          entry.last_collected_at = absl::FromUnixMicros(row.Int64(2));
          entry.frames = row.Int64(3);
          entry.rows = row.Int64(4);
          entry.gaps = gaps[entry.source.id];
          coverage[entry.metric];
          entries.push_back(std::move(entry));
        }
        // What is still to come cannot be missing.
        PGA_ASSIGN_OR_RETURN(
            const BucketPlan plan,
            PlanWholeRange(start, std::min(end, std::max(now, start + absl::Seconds(1))), RetentionDays(), now));
        for (auto& [name, covered] : coverage) {
          MetricRead read;
          read.metric = catalog_->Find(name);
          if (read.metric == nullptr) continue;
          read.source_ids = IdsOf(sources);
          read.plan = plan;
          read.plan.edges = {start, std::min(end, std::max(now, start + absl::Seconds(1)))};
          range_ms = absl::ToDoubleMilliseconds(read.plan.end() - read.plan.start());
          PGA_ASSIGN_OR_RETURN(read.metric_id, FindMetricId(tx, name));
          PGA_ASSIGN_OR_RETURN(covered, LoadCoverage(tx, read, now));
        }
        return absl::OkStatus();
      },
      pg::Isolation::kSnapshot);
  PGA_RETURN_IF_ERROR(done);
  for (FreshnessEntry& entry : entries) {
    double covered = 0;
    int scopes = 0;
    for (const auto& [scope, buckets] : coverage[entry.metric].covered_ms) {
      if (scope.first != entry.source.id) continue;
      covered += static_cast<double>(buckets[0]);
      ++scopes;
    }
    if (scopes > 0 && range_ms > 0) entry.completeness = std::min(1.0, covered / scopes / range_ms);
  }
  std::sort(entries.begin(), entries.end(), [](const FreshnessEntry& a, const FreshnessEntry& b) {
    return std::tie(a.source.name, a.source.id, a.metric) < std::tie(b.source.name, b.source.id, b.metric);
  });
  return entries;
}

absl::StatusOr<double> LedgerReader::Completeness(const std::string& metric, const std::vector<SourceRef>& sources,
                                                  absl::Time start, absl::Time end, absl::Time deadline) {
  const absl::Time now = clock_->Now();
  MetricRead read;
  read.metric = catalog_->Find(metric);
  if (read.metric == nullptr || sources.empty()) return 0.0;
  read.source_ids = IdsOf(sources);
  PGA_ASSIGN_OR_RETURN(read.plan, PlanWholeRange(start, end, RetentionOf(*read.metric), now));
  const absl::Time until = std::min(end, std::max(now, start + absl::Seconds(1)));
  const double range_ms = absl::ToDoubleMilliseconds(until - start);
  read.plan.edges = {start, until};
  Coverage coverage;
  size_t senders = 0;
  const absl::Status done = pool_->InTransaction(
      deadline,
      [&](pg::Transaction& tx) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(read.metric_id, FindMetricId(tx, metric));
        PGA_ASSIGN_OR_RETURN(pg::Result sending, tx.Exec(kSendersSql, {ArrayOf(read.source_ids), read.metric_id}));
        senders = static_cast<size_t>(sending[0].Int64(0));
        PGA_ASSIGN_OR_RETURN(coverage, LoadCoverage(tx, read, now));
        return absl::OkStatus();
      },
      pg::Isolation::kSnapshot);
  PGA_RETURN_IF_ERROR(done);
  if (senders == 0) return 0.0;
  // A source that sends the metric, but sent nothing in the range, is not covered at all.
  std::map<int32_t, std::pair<double, int>> by_source;
  for (const auto& [scope, buckets] : coverage.covered_ms) {
    by_source[scope.first].first += static_cast<double>(buckets[0]);
    by_source[scope.first].second += 1;
  }
  double share = 0;
  for (const auto& [id, covered] : by_source) share += std::min(1.0, covered.first / covered.second / range_ms);
  return share / static_cast<double>(senders);
}

absl::StatusOr<std::vector<CollectorTotals>> LedgerReader::Collectors(const std::vector<std::string>& collector_ids,
                                                                      absl::Time deadline) {
  PGA_ASSIGN_OR_RETURN(const std::vector<CollectorTotals> all,
                       collectors_.Get(deadline, [&] { return ReadCollectors(deadline); }));
  return Chosen(all, collector_ids);
}

absl::StatusOr<std::vector<CollectorTotals>> LedgerReader::ReadCollectors(absl::Time deadline) {
  const int64_t today = absl::ToUnixSeconds(clock_->Now()) / kDaySeconds;
  // Yesterday may still grow by late frames.
  const int64_t open_from = today - 1;
  const auto day_start = [](int64_t day) { return absl::FromUnixSeconds(day * kDaySeconds); };
  PGA_ASSIGN_OR_RETURN(
      pg::Result result,
      pool_->Exec(kCollectorsSql, {TimeText(day_start(open_from)), TimeText(clock_->Now() - absl::Hours(24))},
                  deadline));
  PGA_ASSIGN_OR_RETURN(pg::Result oldest, pool_->Exec(kOldestSql, {today}, deadline));
  PGA_ASSIGN_OR_RETURN(pg::Result closed, pool_->Exec(kFixedDaysSql, {}, deadline));
  std::map<int64_t, int64_t> fixed;
  for (const pg::Row& row : closed) fixed[row.Int64(0)] = row.Int64(1);
  const int64_t first = oldest[0].Int64(0);
  past_days_.erase(past_days_.begin(), past_days_.lower_bound(first));
  // Newest first, a day at a time, so that a short deadline still gets somewhere with every call.
  for (int64_t day = open_from - 1; day >= first; --day) {
    const auto count = fixed.find(day);
    const std::optional<int64_t> now_fixed =
        count == fixed.end() ? std::optional<int64_t>() : std::optional<int64_t>(count->second);
    const auto known = past_days_.find(day);
    if (known != past_days_.end() &&
        (now_fixed ? known->second.fixed == now_fixed : clock_->Now() - known->second.summed < kOpenDayKept)) {
      continue;
    }
    if (deadline - absl::Now() < kDayBudget) break;
    PGA_ASSIGN_OR_RETURN(pg::Result rows,
                         pool_->Exec(kDaySql, {TimeText(day_start(day)), TimeText(day_start(day + 1))}, deadline));
    DaySums sums{now_fixed, clock_->Now(), {}};
    for (const pg::Row& row : rows) sums.rows[row.Int32(0)] = row.Int64(1);
    past_days_.insert_or_assign(day, std::move(sums));
  }
  std::map<int32_t, int64_t> past;
  for (const auto& [day, sums] : past_days_) {
    if (day >= open_from) continue;
    for (const auto& [collector, rows] : sums.rows) past[collector] += rows;
  }
  std::vector<CollectorTotals> totals;
  for (const pg::Row& row : result) {
    CollectorTotals entry;
    entry.collector_id = std::string(row.Text(1));
    if (!row.IsNull(2)) entry.last_seen = absl::FromUnixMicros(row.Int64(2));
    entry.rows_24h = row.Int64(3);
    entry.rows_total = row.Int64(4) + past[row.Int32(0)];
    totals.push_back(std::move(entry));
  }
  return totals;
}

}  // namespace pga::storage
