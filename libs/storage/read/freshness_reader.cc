#include "libs/storage/read/freshness_reader.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "libs/catalog/metric.h"
#include "libs/status/status.h"
#include "libs/storage/read/fetch.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/sent_frames.h"

namespace pga::storage {
namespace {

constexpr char kCountSql[] = "SELECT metrics.frame_count()";

constexpr char kMetricsSql[] = "SELECT id, name FROM metrics.catalog_metric";

constexpr char kPushedSql[] = "SELECT count(*), max(time) FROM metrics.pushed_element WHERE time >= $1::timestamptz";

constexpr char kGroupsSql[] = "SELECT id, group_name FROM metrics.source";

// Newest frame of each metric, whenever that was.
constexpr char kNewestSql[] =
    "SELECT t.source_id, t.metric_id, max(t.newest) FROM (SELECT f.source_id, f.metric_id, max(f.collected_at) AS "
    "newest "
    "FROM metrics.frame f WHERE f.source_id = ANY($1::int4[]) GROUP BY 1, 2 UNION ALL SELECT b.source_id, b.metric_id, "
    "max(b.last) FROM metrics.block b WHERE b.source_id = ANY($1::int4[]) AND b.level = 0 GROUP BY 1, 2) t GROUP BY 1, "
    "2";

// Of the sources, those that ever sent the metric: a host sends no statements.
constexpr char kSendersSql[] = "SELECT metrics.count_sources_with($1::int4[], $2::int2)";

constexpr char kGapsSql[] =
    "SELECT source_id, count(*) FROM metrics.lost_interval WHERE source_id = ANY($1::int4[]) AND start_time < "
    "$3::timestamptz AND end_time > $2::timestamptz GROUP BY 1";

constexpr char kCollectorsSql[] =
    "SELECT c.id, c.collector_id, max(s.last_seen) FROM metrics.collector c LEFT JOIN metrics.source s ON "
    "s.collector_id = c.id GROUP BY 1, 2 ORDER BY 2";

constexpr char kCollectorSourcesSql[] = "SELECT id, collector_id FROM metrics.source WHERE collector_id IS NOT NULL";

constexpr char kRowsSql[] =
    "SELECT f.source_id, sum(f.rows)::int8 FROM metrics.frame f GROUP BY 1 UNION ALL SELECT b.source_id, "
    "sum(b.rows)::int8 FROM metrics.block b WHERE b.level = 0 GROUP BY 1";

// Runs a statement whose rows are two integers.
absl::Status Pairs(pg::ReadTransaction& tx, const char* sql, const pg::Params& params,
                   const std::function<void(int64_t, int64_t)>& take) {
  return tx.Query(sql, params, [&](const pg::BinaryRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const int64_t first, row.Int(0));
    PGA_ASSIGN_OR_RETURN(const int64_t second, row.Int(1));
    take(first, second);
    return absl::OkStatus();
  });
}

// What is still to come cannot be missing.
absl::Time Until(absl::Time start, absl::Time end, absl::Time now) {
  return std::min(end, std::max(now, start + absl::Seconds(1)));
}

BucketPlan PlanOf(absl::Time start, absl::Time end, absl::Time now) {
  BucketPlan plan = PlanExactly(start, end);
  plan.raw_kept = start >= now - absl::Hours(24) * ReadRetention().raw;
  return plan;
}

// Share of the time that is covered per source; the mean over databases.
std::map<int32_t, double> SharesOf(const columns::CoverageSums& coverage, absl::Duration range) {
  std::map<int32_t, std::pair<double, int>> by_source;
  for (const auto& [key, scope] : coverage.scopes()) {
    by_source[key.first].first += static_cast<double>(scope.covered_us[0]);
    by_source[key.first].second += 1;
  }
  std::map<int32_t, double> shares;
  const auto range_us = static_cast<double>(absl::ToInt64Microseconds(range));
  for (const auto& [source, covered] : by_source) {
    shares[source] = std::min(1.0, covered.first / covered.second / range_us);
  }
  return shares;
}

// The entries named, all of them when none is.
std::vector<CollectorTotals> Chosen(const std::vector<CollectorTotals>& all, const std::vector<std::string>& names) {
  if (names.empty()) return all;
  std::vector<CollectorTotals> chosen;
  for (const CollectorTotals& entry : all) {
    if (std::find(names.begin(), names.end(), entry.collector_id) != names.end()) chosen.push_back(entry);
  }
  return chosen;
}

}  // namespace

FreshnessReader::FreshnessReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog,
                                 SentInLastDay* sent, clock::Clock* clock)
    : pool_(pool),
      catalog_(std::move(catalog)),
      sent_(sent),
      clock_(clock),
      count_(clock, kLongestKept),
      totals_(clock, kLongestKept),
      collectors_(clock, kLongestKept) {}

absl::StatusOr<int64_t> FreshnessReader::Count(const pg::CallLimit& limit) {
  return count_.Get(limit.deadline, [&]() -> absl::StatusOr<int64_t> {
    int64_t count = 0;
    PGA_RETURN_IF_ERROR(pool_->Read(limit, [&](pg::ReadTransaction& tx) {
      return tx.Query(kCountSql, {}, [&](const pg::BinaryRow& row) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(count, row.Int(0));
        return absl::OkStatus();
      });
    }));
    return count;
  });
}

absl::StatusOr<FrameTotals> FreshnessReader::Totals(const std::vector<std::string>& groups,
                                                    const pg::CallLimit& limit) {
  using ByGroup = std::map<std::string, FrameTotals>;
  PGA_ASSIGN_OR_RETURN(const ByGroup all, totals_.Get(limit.deadline, [&]() -> absl::StatusOr<ByGroup> {
    ByGroup totals;
    const absl::Time since = clock_->Now() - absl::Hours(24);
    const absl::Status done = pool_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
      std::map<int64_t, std::string> names;
      std::map<int64_t, std::string> group_of;
      const auto into = [&tx](std::map<int64_t, std::string>* map, const char* sql) {
        return tx.Query(sql, {}, [map](const pg::BinaryRow& row) -> absl::Status {
          PGA_ASSIGN_OR_RETURN(const int64_t id, row.Int(0));
          (*map)[id] = std::string(row.Bytes(1));
          return absl::OkStatus();
        });
      };
      PGA_RETURN_IF_ERROR(into(&names, kMetricsSql));
      PGA_RETURN_IF_ERROR(into(&group_of, kGroupsSql));
      PGA_ASSIGN_OR_RETURN(const SentInLastDay::Answer sent, sent_->Get(tx, limit.deadline));
      for (const SentFrames& frames : *sent) {
        const auto group = group_of.find(frames.source_id);
        const auto name = names.find(frames.metric_id);
        if (group == group_of.end() || name == names.end() || frames.frames == 0) continue;
        FrameTotals& of_group = totals[group->second];
        of_group.by_metric[name->second] += frames.frames;
        of_group.latest = std::max(of_group.latest, absl::FromUnixMicros(frames.newest_us));
      }
      return tx.Query(kPushedSql, {TimeText(since)}, [&](const pg::BinaryRow& row) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t count, row.Int(0));
        if (count == 0) return absl::OkStatus();
        PGA_ASSIGN_OR_RETURN(const int64_t newest, row.UnixMicros(1));
        totals[""].by_metric["push"] += count;
        totals[""].latest = std::max(totals[""].latest, absl::FromUnixMicros(newest));
        return absl::OkStatus();
      });
    });
    PGA_RETURN_IF_ERROR(done);
    return totals;
  }));
  FrameTotals totals;
  PGA_ASSIGN_OR_RETURN(totals.count, Count(limit));
  for (const auto& [name, group] : all) {
    if (!name.empty() && std::find(groups.begin(), groups.end(), name) == groups.end()) continue;
    for (const auto& [metric, frames] : group.by_metric) totals.by_metric[metric] += frames;
    totals.latest = std::max(totals.latest, group.latest);
  }
  return totals;
}

absl::StatusOr<std::vector<FreshnessEntry>> FreshnessReader::Freshness(const std::vector<SourceRef>& sources,
                                                                       absl::Time start, absl::Time end,
                                                                       const pg::CallLimit& limit) {
  std::vector<FreshnessEntry> entries;
  if (sources.empty()) return entries;
  const absl::Time now = clock_->Now();
  PGA_RETURN_IF_ERROR(PlanWholeRange(start, end, ReadRetention(), now).status());
  const BucketPlan plan = PlanOf(start, Until(start, end, now), now);
  std::map<int32_t, SourceRef> by_id;
  for (const SourceRef& source : sources) by_id[source.id] = source;
  const std::vector<int32_t> ids = IdsOf(sources);
  std::map<std::pair<int64_t, int64_t>, FreshnessEntry> found;
  const absl::Status done = pool_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    std::map<int64_t, std::string> names;
    PGA_RETURN_IF_ERROR(tx.Query(kMetricsSql, {}, [&](const pg::BinaryRow& row) -> absl::Status {
      PGA_ASSIGN_OR_RETURN(const int64_t id, row.Int(0));
      names[id] = std::string(row.Bytes(1));
      return absl::OkStatus();
    }));
    std::map<int64_t, int64_t> gaps;
    PGA_RETURN_IF_ERROR(Pairs(tx, kGapsSql, {ArrayOf(ids), TimeText(start), TimeText(end)},
                              [&](int64_t source, int64_t count) { gaps[source] = count; }));
    std::set<int16_t> metric_ids;
    PGA_RETURN_IF_ERROR(tx.Query(kNewestSql, {ArrayOf(ids)}, [&](const pg::BinaryRow& row) -> absl::Status {
      PGA_ASSIGN_OR_RETURN(const int64_t source, row.Int(0));
      PGA_ASSIGN_OR_RETURN(const int64_t metric, row.Int(1));
      PGA_ASSIGN_OR_RETURN(const int64_t newest, row.UnixMicros(2));
      if (names.count(metric) == 0) return absl::OkStatus();
      FreshnessEntry& entry = found[{source, metric}];
      entry.source = by_id[static_cast<int32_t>(source)];
      entry.metric = names[metric];
      entry.last_collected_at = absl::FromUnixMicros(newest);
      entry.gaps = gaps[source];
      metric_ids.insert(static_cast<int16_t>(metric));
      return absl::OkStatus();
    }));
    PGA_ASSIGN_OR_RETURN(const std::vector<SentFrames> sent, LoadSentFrames(tx, &ids, start, end));
    for (const SentFrames& frames : sent) {
      const auto entry = found.find({frames.source_id, frames.metric_id});
      if (entry == found.end()) continue;
      entry->second.frames += frames.frames;
      entry->second.rows += frames.rows;
    }
    // Metrics with hours, and those without.
    for (const bool has_hours : {true, false}) {
      const columns::Cells cells = CellsOfIncreases(plan, has_hours);
      FetchSpec spec;
      for (const int16_t id : metric_ids) {
        const catalog_pb::Metric* const metric = catalog_->Find(names[id]);
        if ((metric == nullptr || catalog::HasHours(*metric)) == has_hours) spec.metric_ids.push_back(id);
      }
      if (spec.metric_ids.empty()) continue;
      spec.source_ids = ids;
      spec.cells = &cells;
      spec.frames_only = true;
      std::map<int16_t, columns::CoverageSums> coverage;
      PGA_RETURN_IF_ERROR(FetchRows(tx, spec, [&](Fetched& fetched) {
        coverage.try_emplace(fetched.metric_id, cells, 1)
            .first->second.Add(fetched.source_id, fetched.level, fetched.rows.frames);
        return absl::OkStatus();
      }));
      for (const auto& [metric, sums] : coverage) {
        for (const auto& [source, share] : SharesOf(sums, plan.end() - plan.start())) {
          const auto entry = found.find({source, metric});
          if (entry != found.end()) entry->second.completeness = share;
        }
      }
    }
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  for (auto& [key, entry] : found) entries.push_back(std::move(entry));
  std::sort(entries.begin(), entries.end(), [](const FreshnessEntry& a, const FreshnessEntry& b) {
    return std::tie(a.source.name, a.source.id, a.metric) < std::tie(b.source.name, b.source.id, b.metric);
  });
  return entries;
}

absl::StatusOr<double> FreshnessReader::Completeness(const std::string& metric, const std::vector<SourceRef>& sources,
                                                     absl::Time start, absl::Time end, const pg::CallLimit& limit) {
  const absl::Time now = clock_->Now();
  const catalog_pb::Metric* const definition = catalog_->Find(metric);
  if (definition == nullptr || sources.empty()) return 0.0;
  PGA_RETURN_IF_ERROR(PlanWholeRange(start, end, ReadRetention(), now).status());
  const BucketPlan plan = PlanOf(start, Until(start, end, now), now);
  const columns::Cells cells = CellsOfIncreases(plan, catalog::HasHours(*definition));
  columns::CoverageSums coverage(cells, 1);
  int64_t senders = 0;
  const absl::Status done = pool_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric));
    FetchSpec spec;
    spec.metric_ids = {stored.id};
    spec.source_ids = IdsOf(sources);
    spec.cells = &cells;
    spec.frames_only = true;
    PGA_RETURN_IF_ERROR(tx.Query(kSendersSql, {ArrayOf(spec.source_ids), static_cast<int64_t>(stored.id)},
                                 [&](const pg::BinaryRow& row) -> absl::Status {
                                   PGA_ASSIGN_OR_RETURN(senders, row.Int(0));
                                   return absl::OkStatus();
                                 }));
    return FetchRows(tx, spec, [&](Fetched& fetched) {
      coverage.Add(fetched.source_id, fetched.level, fetched.rows.frames);
      return absl::OkStatus();
    });
  });
  PGA_RETURN_IF_ERROR(done);
  if (senders == 0) return 0.0;
  // A source that sends the metric, but sent nothing in the range, is not covered at all.
  double share = 0;
  for (const auto& [source, covered] : SharesOf(coverage, plan.end() - plan.start())) share += covered;
  return share / static_cast<double>(senders);
}

absl::StatusOr<std::vector<CollectorTotals>> FreshnessReader::Collectors(const std::vector<std::string>& collector_ids,
                                                                         const pg::CallLimit& limit) {
  using All = std::vector<CollectorTotals>;
  PGA_ASSIGN_OR_RETURN(const All all, collectors_.Get(limit.deadline, [&]() -> absl::StatusOr<All> {
    All totals;
    const absl::Status done = pool_->Read(limit, [&](pg::ReadTransaction& tx) -> absl::Status {
      std::map<int64_t, size_t> of_collector;
      PGA_RETURN_IF_ERROR(tx.Query(kCollectorsSql, {}, [&](const pg::BinaryRow& row) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t id, row.Int(0));
        PGA_ASSIGN_OR_RETURN(const int64_t last_seen, row.UnixMicros(2));
        of_collector[id] = totals.size();
        CollectorTotals& entry = totals.emplace_back();
        entry.collector_id = std::string(row.Bytes(1));
        if (!row.IsNull(2)) entry.last_seen = absl::FromUnixMicros(last_seen);
        return absl::OkStatus();
      }));
      std::map<int64_t, CollectorTotals*> of_source;
      PGA_RETURN_IF_ERROR(Pairs(tx, kCollectorSourcesSql, {}, [&](int64_t source, int64_t collector) {
        const auto at = of_collector.find(collector);
        if (at != of_collector.end()) of_source[source] = &totals[at->second];
      }));
      PGA_RETURN_IF_ERROR(Pairs(tx, kRowsSql, {}, [&](int64_t source, int64_t rows) {
        if (const auto at = of_source.find(source); at != of_source.end()) at->second->rows_total += rows;
      }));
      PGA_ASSIGN_OR_RETURN(const SentInLastDay::Answer sent, sent_->Get(tx, limit.deadline));
      for (const SentFrames& frames : *sent) {
        const auto at = of_source.find(frames.source_id);
        if (at == of_source.end()) continue;
        at->second->rows_24h += frames.rows;
        at->second->last_seen = std::max(at->second->last_seen, absl::FromUnixMicros(frames.newest_us));
      }
      return absl::OkStatus();
    });
    PGA_RETURN_IF_ERROR(done);
    return totals;
  }));
  return Chosen(all, collector_ids);
}

}  // namespace pga::storage
