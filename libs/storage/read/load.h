// Fetches what a question over one metric needs and runs the kernels over it. Shared by the readers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/columns/kernels.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/cut_text.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/range.h"

namespace pga::storage {

// How far back a reading is looked for that still holds: keyframes come once a day, in its first minutes.
inline constexpr absl::Duration kHoldsFor = absl::Hours(25);

// Increases that are known to be too low, or not known at all.
inline constexpr int kTooLowFlags = columns::kLowerBoundFlag | columns::kUnknownFlag;

// INVALID_ARGUMENT naming the metrics that exist, or those that resemble it.
absl::StatusOr<const catalog_pb::Metric*> FindCatalogMetric(const catalog::Catalog& catalog, const std::string& name);

// What the database calls a metric, and the zone of its days.
struct StoredMetric {
  int16_t id = 0;
  DayZone zone;
};
// FAILED_PRECONDITION when the metric was not applied to the database.
absl::StatusOr<StoredMetric> FindMetric(pg::ReadTransaction& tx, const std::string& metric);

// What to read of one metric; pointers must outlive the use.
struct MetricRead {
  const catalog_pb::Metric* metric = nullptr;
  int16_t metric_id = 0;
  std::vector<int32_t> source_ids;
  std::vector<LabelFilter> filters;
  BucketPlan plan;
};

struct MetricRows {
  columns::GroupRows rows;
  std::map<columns::CoverageSums::Key, columns::CoverageSums::Scope> coverage;
  // Of readings alone.
  columns::CoverageSums::Taken taken;
};

// Sums of increases of `columns` per group and bucket, and what is covered.
absl::StatusOr<MetricRows> LoadIncreases(pg::ReadTransaction& tx, const MetricRead& read,
                                         const std::vector<const catalog_pb::Column*>& columns,
                                         const columns::Grouping& grouping);

// The first `limit` groups of a one-bucket read by a figure: the sum of the columns `sum` (indexes into `columns`),
// divided by the column `divisor` unless that is -1.
struct TopOrder {
  std::vector<int> sum;
  int divisor = -1;
};
struct TopRows {
  std::vector<columns::GroupRow> rows;
  // Sum of the columns `sum` over all groups, not only the first.
  double total = 0;
};
absl::StatusOr<TopRows> LoadTop(pg::ReadTransaction& tx, const MetricRead& read,
                                const std::vector<const catalog_pb::Column*>& columns,
                                const columns::Grouping& grouping, const TopOrder& order, int limit);

// Readings of a gauge per group and bucket (columns::GaugeReadings), and what is covered.
absl::StatusOr<MetricRows> LoadReadings(pg::ReadTransaction& tx, const MetricRead& read,
                                        const catalog_pb::Column& column, const columns::Grouping& grouping);

// Series that stand in keyframes of the range or of kHoldsFor before it, one row each without values, bucket -1: those
// that did not change have no other row.
absl::StatusOr<std::vector<columns::GroupRow>> LoadKeyframeSeries(pg::ReadTransaction& tx, const MetricRead& read,
                                                                  const columns::Grouping& grouping);

// How much of the buckets frames cover.
absl::StatusOr<std::map<columns::CoverageSums::Key, columns::CoverageSums::Scope>> LoadCoverage(pg::ReadTransaction& tx,
                                                                                                const MetricRead& read);

// Texts of statements by (source, query id), the newest of each; of longer ones the first `most` characters.
absl::StatusOr<std::map<std::pair<int32_t, int64_t>, CutText>> LoadStatementTexts(
    pg::ReadTransaction& tx, const std::vector<std::pair<int32_t, int64_t>>& statements, int64_t most);

// INVALID_ARGUMENT with the numbers found when `rows` says that a bound of `grouping` was exceeded.
absl::Status CheckBounds(const columns::GroupRows& rows, const columns::Grouping& grouping);

}  // namespace pga::storage
