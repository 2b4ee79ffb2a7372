// SQL of the metric readers, made from a catalog metric for any layout: plain statements over the metric's tables, the
// ledger (metrics.metrics) and metrics.rollup_dirty. Pure: no connection here. Identifiers come from the catalog alone,
// whose names are checked ([a-z][a-z0-9_]{0,39}) and quoted; every value is a parameter.
//
// A read is put together from cells: pieces of time that lie inside one bucket and one hour. Rollup tables answer the
// cells whose hour is not dirty for their source; raw rows answer the dirty ones, and everything when no rollup fits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/value.h"
#include "libs/storage/reader_range.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

namespace catalog_pb = ::pganalytics::catalog::v1;

struct Statement {
  std::string sql;
  pg::Params params;
};

// A condition on a label or a descriptive text: `label=value`, `label!=value` or `label~regular expression`.
struct LabelFilter {
  enum class Op { kEquals, kNotEquals, kMatches };
  const catalog_pb::Column* label = nullptr;
  Op op = Op::kEquals;
  std::string value;
};

// INVALID_ARGUMENT naming the labels that exist, or the form that is expected.
absl::StatusOr<LabelFilter> ParseLabelFilter(const catalog_pb::Metric& metric, std::string_view text);

// The catalog's retention with the product's defaults filled in.
RetentionDays RetentionOf(const catalog_pb::Metric& metric);

bool HasScope(const catalog_pb::Metric& metric);
std::vector<const catalog_pb::Column*> LabelsOf(const catalog_pb::Metric& metric);
// Labels, then info columns of type text: what filters and the grouping of counters may name.
std::vector<const catalog_pb::Column*> DimensionsOf(const catalog_pb::Metric& metric);
// INVALID_ARGUMENT listing the metric's value columns.
absl::StatusOr<const catalog_pb::Column*> FindValueColumn(const catalog_pb::Metric& metric, std::string_view name);

// What to read of one metric; pointers must outlive the use.
struct MetricRead {
  const catalog_pb::Metric* metric = nullptr;
  int32_t metric_id = 0;
  std::vector<int32_t> source_ids;
  std::vector<LabelFilter> filters;
  BucketPlan plan;
  // How far before the plan's start readings are looked up that still hold at its start; whole hours.
  absl::Duration lookback = absl::ZeroDuration();

  // Start of what is read: the plan's start less `lookback`, at a full hour unless that is zero.
  absl::Time from() const;
};

// A part of the range that one rollup table answers.
struct RollupPart {
  Resolution resolution = Resolution::k1m;
  absl::Time start;
  absl::Time end;
};

// Which tables answer the cells that are not dirty: one part, or, for one bucket over a long range, whole hours from
// the hourly table and the rest from the finer one. Empty when the plan's resolution is kRaw. The first part begins at
// the read's from().
std::vector<RollupPart> RollupParts(const MetricRead& read);

// Span that raw rows have to answer. `upper` is the newest collected_at whose interval reaches into it.
struct RawSpan {
  absl::Time start;
  absl::Time end;
  absl::Time upper;
};

// -> lowest and highest dirty hour of the read's sources in the range, NULL when none.
Statement DirtyHoursSql(const MetricRead& read);

// -> newest collected_at of a frame whose interval begins before `end` and which was collected after it; NULL when
// none.
Statement RawUpperSql(const MetricRead& read, absl::Time end);

// -> source_id, scope, bucket (from 0), covered milliseconds, frames that hold no lower bound and those that do.
// Counter metrics are covered where a delta frame's interval lies. Metrics without counters are covered for up to twice
// the usual distance of their frames before each frame.
Statement CoverageSql(const MetricRead& read);
// The same from the rollup rows themselves, for times whose ledger is gone: source_id, scope, bucket, milliseconds.
Statement RollupCoverageSql(const MetricRead& read);

struct Grouping {
  // Labels that stay apart, in order. For counters also descriptive texts (info columns).
  std::vector<const catalog_pb::Column*> labels;
  // Info columns of which any known value is given (counters only); they follow the labels in the rows.
  std::vector<const catalog_pb::Column*> infos;
  bool by_source = true;
  int max_groups = 100;
  int64_t max_rows = 500000;
};

// Sums of exact increases. -> number of groups, number of rows, then per row: source_id, scope, bucket (from 0), flags,
// one sum per column (float8, NULL when every increase is unknown), one column per grouping label (text form of the
// stored value). Over a bound the one row returned has NULL from source_id on.
Statement CounterSql(const MetricRead& read, const std::vector<const catalog_pb::Column*>& columns,
                     const Grouping& grouping, const std::optional<RawSpan>& raw);

// Series that stand in keyframes of the range or of the `period` before it: source_id, scope, one column per grouping
// label; at most `limit`. A series that did not change has no other row. For metrics with counters.
Statement KeyframeKeysSql(const MetricRead& read, const Grouping& grouping, absl::Duration period, int limit);

// The first `limit` groups of a one-bucket read, by a figure. -> as CounterSql without the two counts in front.
struct TopOrder {
  // Indexes of the columns that are added up, and of the column that divides them (-1 = none).
  std::vector<int> sum;
  int divisor = -1;
};
Statement TopSql(const MetricRead& read, const std::vector<const catalog_pb::Column*>& columns,
                 const Grouping& grouping, const std::optional<RawSpan>& raw, const TopOrder& order, int limit);

// Gauge readings per group and bucket. -> as CounterSql, with the values min, max, sum, count, sum of the series'
// averages, and sum of the series' last readings in place of the sums. A reading of a metric that skips unchanged rows
// holds for the frames after it that say "unchanged", for at most the read's lookback.
Statement GaugeSql(const MetricRead& read, const catalog_pb::Column& column, const Grouping& grouping,
                   const std::optional<RawSpan>& raw);

// Literals of array parameters.
std::string ArrayOf(const std::vector<int32_t>& values);
std::string ArrayOf(const std::vector<int64_t>& values);
std::string ArrayOf(const std::vector<absl::Time>& values);
std::string ArrayOf(const std::vector<std::string>& values);
// "2026-01-01 00:00:00.000000+00"
std::string TimeText(absl::Time time);

// "metrics"."table_stats_1m"
std::string TableOf(const catalog_pb::Metric& metric, std::string_view suffix);

// At most three candidates that resemble `name`, best first.
std::vector<std::string> NearestNames(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace pga::storage
