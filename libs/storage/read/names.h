// What callers may name of a metric: labels, columns, filters. Pure.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/columns/kernels.h"
#include "libs/columns/rollup.h"
#include "libs/storage/read/range.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

namespace catalog_pb = ::pganalytics::catalog::v1;

// Longest value of a filter.
inline constexpr size_t kMaxFilterBytes = 8192;

// A condition on a label or a descriptive text: `label=value`, `label!=value` or `label~regular expression`. The
// expression is RE2's and has to match some part of the value.
struct LabelFilter {
  enum class Op { kEquals, kNotEquals, kMatches, kAmong };
  const catalog_pb::Column* label = nullptr;
  Op op = Op::kEquals;
  std::string value;
  // Of kAmong, which no text says: a whole number is one of these.
  std::set<int64_t> numbers = {};
};

// INVALID_ARGUMENT naming the labels that exist, or the form that is expected.
absl::StatusOr<LabelFilter> ParseLabelFilter(const catalog_pb::Metric& metric, std::string_view text);
// The filter for the kernels.
columns::RowFilter RowFilterOf(const catalog_pb::Metric& metric, const LabelFilter& filter);

// The catalog's retention with the product's defaults filled in.
ReadRetention RetentionOf(const catalog_pb::Metric& metric);

// Place in the definition, from 1.
columns::ColumnId IdOf(const catalog_pb::Metric& metric, const catalog_pb::Column& column);
std::vector<columns::MetricColumn> ColumnsOf(const catalog_pb::Metric& metric);
// 0 = none.
columns::ColumnId LocateBy(const catalog_pb::Metric& metric);

std::vector<const catalog_pb::Column*> LabelsOf(const catalog_pb::Metric& metric);
// Labels, then info columns of type text that are not restricted: what filters and the grouping of counters may name.
std::vector<const catalog_pb::Column*> DimensionsOf(const catalog_pb::Metric& metric);
// INVALID_ARGUMENT listing the metric's value columns.
absl::StatusOr<const catalog_pb::Column*> FindValueColumn(const catalog_pb::Metric& metric, std::string_view name);

// A value as PostgreSQL writes it; NULL is empty.
std::string TextOf(const columns::Value& value, catalog_pb::ColumnType type);

// Literals of array parameters.
std::string ArrayOf(const std::vector<int32_t>& values);
std::string ArrayOf(const std::vector<int64_t>& values);
// "2026-01-01 00:00:00.000000+00"
std::string TimeText(absl::Time time);

}  // namespace pga::storage
