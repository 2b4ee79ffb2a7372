#include "libs/storage/read/series_reader.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/status/status.h"
#include "libs/storage/read/load.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using internal::Cat;

using catalog_pb::Column;
using catalog_pb::Metric;
using columns::GroupRow;
using columns::Value;
using ScopeKey = columns::CoverageSums::Key;
using Coverage = std::map<ScopeKey, columns::CoverageSums::Scope>;

// Values of columns::GaugeReadings.
enum GaugeValue { kMin, kMax, kSum, kCount, kSumOfAverages, kSumOfLast, kGaugeValues };

struct GroupKey {
  int32_t source_id = 0;  // 0 when sources are added up
  std::vector<Value> labels;
  bool operator<(const GroupKey& other) const {
    return std::tie(source_id, labels) < std::tie(other.source_id, other.labels);
  }
};

GroupKey KeyOf(const GroupRow& row, bool by_source) {
  return {by_source ? row.source : 0, row.labels};
}

// Rows of one group by bucket.
struct Group {
  std::set<ScopeKey> scopes;
  std::vector<std::vector<const GroupRow*>> buckets;
};

// What stays apart.
struct Apart {
  std::vector<const Column*> labels;
  bool by_source = true;
};

absl::StatusOr<Apart> ParseGrouping(const Metric& metric, bool counter, const std::vector<std::string>& group_by) {
  Apart grouping;
  if (group_by.empty()) {
    grouping.labels = LabelsOf(metric);
    return grouping;
  }
  const std::vector<const Column*> labels = counter ? DimensionsOf(metric) : LabelsOf(metric);
  grouping.by_source = false;
  for (const std::string& name : group_by) {
    if (name == "none" && group_by.size() == 1) break;
    if (name == "source") {
      grouping.by_source = true;
      continue;
    }
    const auto label = std::find_if(labels.begin(), labels.end(), [&](const Column* l) { return l->name() == name; });
    if (label == labels.end()) {
      std::vector<std::string> names = {"source"};
      for (const Column* l : labels) names.push_back(l->name());
      return absl::InvalidArgumentError(Cat("group_by '", name.substr(0, 64), "' is no label of metric ", metric.name(),
                                            "; use ", absl::StrJoin(names, ", "), " or none"));
    }
    if (std::find(grouping.labels.begin(), grouping.labels.end(), *label) == grouping.labels.end()) {
      grouping.labels.push_back(*label);
    }
  }
  return grouping;
}

absl::Status CheckAggregate(const Column& column, Aggregate aggregate, bool rate) {
  const bool counter = column.kind() == catalog_pb::COLUMN_KIND_COUNTER;
  if (counter && aggregate != Aggregate::kDefault && aggregate != Aggregate::kSum) {
    return absl::InvalidArgumentError(Cat(
        column.name(), " is a counter, whose increases can only be added; leave aggregate out, or ask for rate=true"));
  }
  if (!counter && rate) {
    return absl::InvalidArgumentError(Cat(column.name(), " is a gauge and has no rate; leave rate out"));
  }
  return absl::OkStatus();
}

// The group's increase or rate in one bucket.
void FillCounterPoint(const Group& group, const Coverage& coverage, size_t bucket, bool rate, SeriesPoint& point) {
  double covered = 0;
  double value = 0;
  bool known = false;
  std::map<ScopeKey, double> sums;
  for (const GroupRow* row : group.buckets[bucket]) {
    if (row->values[0]) {
      sums[{row->source, row->scope}] += *row->values[0];
      known = true;
    }
    if ((row->flags & kTooLowFlags) != 0) point.lower_bound = true;
    if ((row->flags & columns::kInterpolatedFlag) != 0) point.interpolated = true;
  }
  for (const ScopeKey& scope : group.scopes) {
    const auto covering = coverage.find(scope);
    const double ms = covering == coverage.end() ? 0 : static_cast<double>(covering->second.covered_us[bucket]) / 1000;
    covered += ms;
    const auto sum = sums.find(scope);
    if (ms > 0) {
      if (covering->second.lower_bound[bucket] != 0) point.lower_bound = true;
      // Frames cover the bucket: a series without a row in it did not change, unless its increases are unknown.
      if (sum != sums.end() ||
          std::none_of(group.buckets[bucket].begin(), group.buckets[bucket].end(),
                       [&](const GroupRow* row) { return ScopeKey(row->source, row->scope) == scope; })) {
        known = true;
      }
    }
    if (sum == sums.end()) continue;
    value += rate ? (ms > 0 ? sum->second * 1000 / ms : 0) : sum->second;
  }
  point.covered_ms = group.scopes.empty() ? 0 : covered / static_cast<double>(group.scopes.size());
  if (known && (!rate || covered > 0)) point.value = value;
}

void FillGaugePoint(const Group& group, const Coverage& coverage, const columns::CoverageSums::Taken& taken,
                    size_t bucket, Aggregate aggregate, bool absent_is_zero, SeriesPoint& point) {
  double covered = 0;
  // Scopes that were read in the bucket, and those that were read before and after it alone.
  bool read = false;
  bool between = false;
  for (const ScopeKey& scope : group.scopes) {
    const auto covering = coverage.find(scope);
    const double ms = covering == coverage.end() ? 0 : static_cast<double>(covering->second.covered_us[bucket]) / 1000;
    covered += ms;
    const auto reading = taken.find(scope);
    if (reading != taken.end() && reading->second[bucket] != 0) {
      read = true;
    } else if (ms > 0) {
      between = true;
    }
  }
  point.covered_ms = group.scopes.empty() ? 0 : covered / static_cast<double>(group.scopes.size());
  double sum = 0;
  double count = 0;
  double averages = 0;
  std::optional<double> lowest;
  std::optional<double> highest;
  double last = 0;
  for (const GroupRow* row : group.buckets[bucket]) {
    if (!row->values[kCount] || *row->values[kCount] <= 0) continue;
    sum += row->values[kSum].value_or(0);
    count += *row->values[kCount];
    averages += row->values[kSumOfAverages].value_or(0);
    if (row->values[kMin] && (!lowest || *row->values[kMin] < *lowest)) lowest = row->values[kMin];
    if (row->values[kMax] && (!highest || *row->values[kMax] > *highest)) highest = row->values[kMax];
    last += row->values[kSumOfLast].value_or(0);
  }
  // Between two readings nothing is known of the number.
  if (count <= 0 && (!absent_is_zero || !read || covered <= 0)) return;
  const bool added = aggregate != Aggregate::kAvg && aggregate != Aggregate::kMin && aggregate != Aggregate::kMax;
  if (added && between) point.lower_bound = true;
  if (count <= 0) {
    point.value = 0;
    return;
  }
  switch (aggregate) {
    case Aggregate::kAvg:
      point.value = sum / count;
      break;
    case Aggregate::kDefault:
    case Aggregate::kSum:
      point.value = averages;
      break;
    case Aggregate::kMin:
      point.value = lowest;
      break;
    case Aggregate::kMax:
      point.value = highest;
      break;
    case Aggregate::kLast:
      point.value = last;
      break;
  }
}

// Where all series of a scope are one: sources of which a scope that frames cover has no row, or that have none at all.
std::vector<int32_t> WithoutRows(const std::vector<int32_t>& source_ids, const MetricRows& loaded) {
  std::set<ScopeKey> scopes;
  std::set<int32_t> with_rows, wanted;
  for (const GroupRow& row : loaded.rows.rows) {
    scopes.insert({row.source, row.scope});
    with_rows.insert(row.source);
  }
  for (const auto& [scope, covering] : loaded.coverage) {
    if (!scopes.contains(scope)) wanted.insert(scope.first);
  }
  std::vector<int32_t> without;
  for (const int32_t source : source_ids) {
    if (wanted.contains(source) || !with_rows.contains(source)) without.push_back(source);
  }
  return without;
}

}  // namespace

SeriesReader::SeriesReader(pg::ReadPool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock)
    : pool_(pool), catalog_(std::move(catalog)), clock_(clock) {}

absl::StatusOr<SeriesAnswer> SeriesReader::Read(const SeriesQuery& query, const pg::CallLimit& limit) {
  PGA_ASSIGN_OR_RETURN(const Metric* metric, FindCatalogMetric(*catalog_, query.metric));
  PGA_ASSIGN_OR_RETURN(const Column* column, FindValueColumn(*metric, query.column));
  PGA_RETURN_IF_ERROR(CheckAggregate(*column, query.aggregate, query.rate));
  if (query.limit < 1 || query.limit > kMostSeries) {
    return absl::InvalidArgumentError(Cat("limit is ", query.limit, "; use 1 to ", kMostSeries));
  }
  if (query.filters.size() > 32) return absl::InvalidArgumentError("more than 32 filters; join them");
  const bool counter = column->kind() == catalog_pb::COLUMN_KIND_COUNTER;
  PGA_ASSIGN_OR_RETURN(const Apart apart, ParseGrouping(*metric, counter, query.group_by));
  columns::Grouping grouping;
  grouping.by_source = apart.by_source;
  grouping.max_groups = static_cast<size_t>(query.limit);
  for (const Column* label : apart.labels) grouping.by.push_back(IdOf(*metric, *label));
  const absl::Time now = clock_->Now();

  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(query.sources);
  for (const std::string& text : query.filters) {
    PGA_ASSIGN_OR_RETURN(LabelFilter filter, ParseLabelFilter(*metric, text));
    read.filters.push_back(std::move(filter));
  }
  // What is wrong with the range is answered without the database, as far as it can be.
  PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(query.range, RetentionOf(*metric), {query.range.time_zone, {}}, now));

  SeriesAnswer answer;
  answer.step_seconds = read.plan.step_seconds;
  answer.unit = query.rate ? column->unit() + "/s" : column->unit();
  if (query.sources.empty()) return answer;

  MetricRows loaded;
  std::vector<GroupRow> unchanged;
  const absl::Status done = pool_->Read(limit, WidthOf(query.sources), [&](pg::ReadTransaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const StoredMetric stored, FindMetric(tx, metric->name()));
    read.metric_id = stored.id;
    PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(query.range, RetentionOf(*metric), stored.zone, now));
    if (counter) {
      PGA_ASSIGN_OR_RETURN(loaded, LoadIncreases(tx, read, {column}, grouping));
    } else {
      PGA_ASSIGN_OR_RETURN(loaded, LoadReadings(tx, read, *column, grouping));
    }
    PGA_RETURN_IF_ERROR(CheckBounds(loaded.rows, grouping));
    const auto found = static_cast<int64_t>(loaded.rows.groups_found);
    if (found * read.plan.buckets() > kMostSeriesPoints) {
      return absl::InvalidArgumentError(Cat("the answer has ", found, " series of ", read.plan.buckets(),
                                            " points; at most ", kMostSeriesPoints,
                                            " points are given: use a larger step or a lower limit"));
    }
    if (!counter || !metric->skip_unchanged() || found >= query.limit) return absl::OkStatus();
    // Series that did not change are 0, not missing, as far as the limit of series allows.
    MetricRead of_unchanged = read;
    if (grouping.by.empty() && read.filters.empty()) of_unchanged.source_ids = WithoutRows(read.source_ids, loaded);
    PGA_ASSIGN_OR_RETURN(unchanged, LoadKeyframeSeries(tx, of_unchanged, grouping));
    std::set<GroupKey> all;
    for (const GroupRow& row : loaded.rows.rows) all.insert(KeyOf(row, apart.by_source));
    for (const GroupRow& row : unchanged) all.insert(KeyOf(row, apart.by_source));
    const auto together = static_cast<int64_t>(all.size());
    if (together > query.limit || together * read.plan.buckets() > kMostSeriesPoints) unchanged.clear();
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  const Coverage& coverage = loaded.coverage;
  std::vector<GroupRow>& rows = loaded.rows.rows;
  rows.insert(rows.end(), std::make_move_iterator(unchanged.begin()), std::make_move_iterator(unchanged.end()));

  std::map<GroupKey, Group> groups;
  for (const GroupRow& row : rows) {
    Group& group = groups[KeyOf(row, apart.by_source)];
    group.buckets.resize(static_cast<size_t>(read.plan.buckets()));
    group.scopes.insert({row.source, row.scope});
    if (row.bucket < 0) continue;
    group.buckets[static_cast<size_t>(row.bucket)].push_back(&row);
  }
  std::map<int32_t, std::string> uuids;
  for (const SourceRef& source : query.sources) uuids[source.id] = source.uuid;
  for (const auto& [key, group] : groups) {
    SeriesData series;
    if (key.source_id != 0) series.source_uuid = uuids[key.source_id];
    for (size_t i = 0; i < apart.labels.size(); ++i) {
      series.labels[apart.labels[i]->name()] = TextOf(key.labels[i], apart.labels[i]->type());
    }
    series.points.resize(group.buckets.size());
    for (size_t bucket = 0; bucket < series.points.size(); ++bucket) {
      SeriesPoint& point = series.points[bucket];
      point.time = read.plan.edges[bucket];
      if (counter) {
        FillCounterPoint(group, coverage, bucket, query.rate, point);
      } else {
        FillGaugePoint(group, coverage, loaded.taken, bucket, query.aggregate, column->absent_is_zero(), point);
      }
    }
    answer.series.push_back(std::move(series));
  }
  return answer;
}

}  // namespace pga::storage
