#include "libs/storage/series_reader.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>

#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/status/status.h"
#include "libs/storage/reader_load.h"
#include "libs/storage/reader_sql.h"
#include "libs/storage/reader_text.h"

namespace pga::storage {
namespace {

using internal::Cat;

using catalog_pb::Column;
using catalog_pb::Metric;

// Unchanged rows are left out at most until the next keyframe, which comes once a day.
constexpr absl::Duration kKeyframePeriod = absl::Hours(25);
constexpr int64_t kMaxPoints = 1000000;
// Unchanged series looked for; more do not fit into an answer anyway.
constexpr int kMaxKeyframeKeys = 5000;
// Of a row that only says that a series exists.
constexpr int kNoBucket = -1;
// Increases that are known to be too low, or not known at all.
constexpr int kLowerBoundFlags = 1 | 2;
constexpr int kInterpolatedFlag = 16;

// Columns of GaugeSql.
enum GaugeValue { kMin, kMax, kSum, kCount, kSumOfAverages, kSumOfLast, kGaugeValues };

struct GroupKey {
  int32_t source_id = 0;  // 0 when sources are added up
  std::vector<std::optional<std::string>> labels;
  bool operator<(const GroupKey& other) const {
    return std::tie(source_id, labels) < std::tie(other.source_id, other.labels);
  }
};

GroupKey KeyOf(const GroupRow& row, const Grouping& grouping) {
  return {grouping.by_source ? row.scope.first : 0, row.labels};
}

// Rows of one group by bucket.
struct Group {
  std::set<ScopeKey> scopes;
  std::vector<std::vector<const GroupRow*>> buckets;
};

absl::StatusOr<Grouping> ParseGrouping(const Metric& metric, bool counter, const std::vector<std::string>& group_by,
                                       int limit) {
  Grouping grouping;
  grouping.max_groups = limit;
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
      sums[row->scope] += *row->values[0];
      known = true;
    }
    if ((row->flags & kLowerBoundFlags) != 0) point.lower_bound = true;
    if ((row->flags & kInterpolatedFlag) != 0) point.interpolated = true;
  }
  for (const ScopeKey& scope : group.scopes) {
    const auto covering = coverage.covered_ms.find(scope);
    const double ms = covering == coverage.covered_ms.end() ? 0 : static_cast<double>(covering->second[bucket]);
    covered += ms;
    const auto sum = sums.find(scope);
    if (ms > 0) {
      const auto lower = coverage.lower_bound.find(scope);
      if (lower != coverage.lower_bound.end() && lower->second[bucket]) point.lower_bound = true;
      // Frames cover the bucket: a series without a row in it did not change, unless its increases are unknown.
      if (sum != sums.end() || std::none_of(group.buckets[bucket].begin(), group.buckets[bucket].end(),
                                            [&](const GroupRow* row) { return row->scope == scope; })) {
        known = true;
      }
    }
    if (sum == sums.end()) continue;
    value += rate ? (ms > 0 ? sum->second * 1000 / ms : 0) : sum->second;
  }
  point.covered_ms = group.scopes.empty() ? 0 : covered / static_cast<double>(group.scopes.size());
  if (known && (!rate || covered > 0)) point.value = value;
}

void FillGaugePoint(const Group& group, const Coverage& coverage, size_t bucket, Aggregate aggregate,
                    SeriesPoint& point) {
  double covered = 0;
  for (const ScopeKey& scope : group.scopes) {
    const auto covering = coverage.covered_ms.find(scope);
    if (covering != coverage.covered_ms.end()) covered += static_cast<double>(covering->second[bucket]);
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
  if (count <= 0) return;
  switch (aggregate) {
    case Aggregate::kDefault:
    case Aggregate::kAvg:
      point.value = sum / count;
      break;
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

}  // namespace

SeriesReader::SeriesReader(pg::Pool* pool, std::shared_ptr<const catalog::Catalog> catalog, clock::Clock* clock)
    : pool_(pool), catalog_(std::move(catalog)), clock_(clock) {}

absl::StatusOr<SeriesAnswer> SeriesReader::Read(const SeriesQuery& query, absl::Time deadline) {
  const Metric* metric = catalog_->Find(query.metric);
  if (metric == nullptr) {
    std::vector<std::string> names;
    for (const Metric& known : catalog_->metrics()) names.push_back(known.name());
    const std::vector<std::string> nearest = NearestNames(query.metric, names);
    return absl::InvalidArgumentError(Cat("metric '", query.metric.substr(0, 64), "' is not known; ",
                                          nearest.empty() ? "known are " + absl::StrJoin(names, ", ")
                                                          : "did you mean " + absl::StrJoin(nearest, ", ") + "?"));
  }
  PGA_ASSIGN_OR_RETURN(const Column* column, FindValueColumn(*metric, query.column));
  PGA_RETURN_IF_ERROR(CheckAggregate(*column, query.aggregate, query.rate));
  if (query.limit < 1 || query.limit > 1000) {
    return absl::InvalidArgumentError(Cat("limit is ", query.limit, "; use 1 to 1000"));
  }
  if (query.filters.size() > 32) return absl::InvalidArgumentError("more than 32 filters; join them");
  const bool counter = column->kind() == catalog_pb::COLUMN_KIND_COUNTER;
  PGA_ASSIGN_OR_RETURN(const Grouping grouping, ParseGrouping(*metric, counter, query.group_by, query.limit));
  const absl::Time now = clock_->Now();

  MetricRead read;
  read.metric = metric;
  read.source_ids = IdsOf(query.sources);
  PGA_ASSIGN_OR_RETURN(read.plan, PlanBuckets(query.range, RetentionOf(*metric), now));
  for (const std::string& text : query.filters) {
    PGA_ASSIGN_OR_RETURN(LabelFilter filter, ParseLabelFilter(*metric, text));
    read.filters.push_back(std::move(filter));
  }
  if (!counter && metric->skip_unchanged()) read.lookback = kKeyframePeriod;

  SeriesAnswer answer;
  answer.step_seconds = read.plan.step_seconds;
  answer.unit = query.rate ? column->unit() + "/s" : column->unit();
  if (query.sources.empty()) return answer;

  GroupRows rows;
  Coverage coverage;
  std::map<int64_t, std::string> texts;
  const absl::Status done = pool_->InTransaction(
      deadline,
      [&](pg::Transaction& tx) -> absl::Status {
        PGA_RETURN_IF_ERROR(PrepareRead(tx));
        PGA_ASSIGN_OR_RETURN(read.metric_id, FindMetricId(tx, metric->name()));
        PGA_ASSIGN_OR_RETURN(const std::optional<RawSpan> raw, FindRawSpan(tx, read));
        PGA_ASSIGN_OR_RETURN(coverage, LoadCoverage(tx, read, now));
        const Statement statement =
            counter ? CounterSql(read, {column}, grouping, raw) : GaugeSql(read, *column, grouping, raw);
        PGA_ASSIGN_OR_RETURN(rows, LoadGroupRows(tx, statement, counter ? 1 : kGaugeValues, grouping.labels.size()));
        PGA_RETURN_IF_ERROR(CheckBounds(rows, grouping));
        if (rows.groups_found * read.plan.buckets() > kMaxPoints) {
          return absl::InvalidArgumentError(Cat("the answer has ", rows.groups_found, " series of ",
                                                read.plan.buckets(), " points; at most ", kMaxPoints,
                                                " points are given: use a larger step or a lower limit"));
        }
        if (counter && metric->skip_unchanged() && rows.groups_found < grouping.max_groups) {
          // Series that did not change are 0, not missing, as far as there is room for them.
          const Statement keys = KeyframeKeysSql(read, grouping, kKeyframePeriod, kMaxKeyframeKeys);
          PGA_ASSIGN_OR_RETURN(pg::Result found, tx.Exec(keys.sql, keys.params));
          std::vector<GroupRow> unchanged;
          std::set<GroupKey> all;
          for (const GroupRow& row : rows.rows) all.insert(KeyOf(row, grouping));
          for (const pg::Row& key : found) {
            GroupRow row;
            row.scope = {key.Int32(0), key.Int32(1)};
            row.bucket = kNoBucket;
            for (size_t i = 0; i < grouping.labels.size(); ++i) row.labels.push_back(key.OptText(2 + i));
            all.insert(KeyOf(row, grouping));
            unchanged.push_back(std::move(row));
          }
          if (static_cast<int64_t>(all.size()) <= grouping.max_groups &&
              static_cast<int64_t>(all.size()) * read.plan.buckets() <= kMaxPoints) {
            rows.rows.insert(rows.rows.end(), unchanged.begin(), unchanged.end());
          }
        }
        std::set<int64_t> ids;
        for (const GroupRow& row : rows.rows) {
          for (size_t i = 0; i < grouping.labels.size(); ++i) {
            int64_t id = 0;
            if (grouping.labels[i]->type() == catalog_pb::COLUMN_TYPE_TEXT && row.labels[i]) {
              std::from_chars(row.labels[i]->data(), row.labels[i]->data() + row.labels[i]->size(), id);
              ids.insert(id);
            }
          }
        }
        PGA_ASSIGN_OR_RETURN(texts, LoadTexts(tx, read.source_ids, {ids.begin(), ids.end()}));
        return absl::OkStatus();
      },
      pg::Isolation::kSnapshot);
  PGA_RETURN_IF_ERROR(done);

  std::map<GroupKey, Group> groups;
  for (const GroupRow& row : rows.rows) {
    if (row.bucket >= read.plan.buckets()) continue;
    Group& group = groups[KeyOf(row, grouping)];
    group.buckets.resize(static_cast<size_t>(read.plan.buckets()));
    group.scopes.insert(row.scope);
    if (row.bucket == kNoBucket) continue;
    group.buckets[static_cast<size_t>(row.bucket)].push_back(&row);
  }
  std::map<int32_t, std::string> uuids;
  for (const SourceRef& source : query.sources) uuids[source.id] = source.uuid;
  for (const auto& [key, group] : groups) {
    SeriesData series;
    if (key.source_id != 0) series.source_uuid = uuids[key.source_id];
    for (size_t i = 0; i < grouping.labels.size(); ++i) {
      std::string value = key.labels[i].value_or("");
      if (grouping.labels[i]->type() == catalog_pb::COLUMN_TYPE_TEXT && key.labels[i]) {
        int64_t id = 0;
        std::from_chars(value.data(), value.data() + value.size(), id);
        const auto text = texts.find(id);
        value = text == texts.end() ? "" : text->second;
      }
      series.labels[grouping.labels[i]->name()] = std::move(value);
    }
    series.points.resize(group.buckets.size());
    for (size_t bucket = 0; bucket < series.points.size(); ++bucket) {
      SeriesPoint& point = series.points[bucket];
      point.time = read.plan.edges[bucket];
      if (counter) {
        FillCounterPoint(group, coverage, bucket, query.rate, point);
      } else {
        FillGaugePoint(group, coverage, bucket, query.aggregate, point);
      }
    }
    answer.series.push_back(std::move(series));
  }
  return answer;
}

}  // namespace pga::storage
