// The tables of the catalog's metrics: made from pganalytics.catalog.v1.Metric, never written by hand. A metric M gets
//   M            raw rows: time, source_id, [scope], flags, one column per catalog column (texts as int8 ids)
//   M_baseline   the same shape, absolute readings of keyframes (metrics with counters only)
//   M_1m M_10m M_1h  rollups: bucket, source_id, [scope], labels, flags, covered_ms, and per column
//                counter c -> c (sum); gauge g -> g_min g_max g_sum g_count g_last; info i -> i (last)
//   readable.M   view: texts instead of ids, names instead of numbers
// in schema `metrics`, or `custom` for metrics of a user's folder.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/copy_connection.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// Days each kind of table is kept, with the product's defaults in place of zeros.
struct KeptDays {
  int raw;
  int rollup_1m;
  int rollup_10m;
  int rollup_1h;
};
KeptDays KeptDaysOf(const pganalytics::catalog::v1::Metric& metric);

// Applies every metric, each in a transaction of its own, and makes partitions for the next week. Repeating changes
// nothing. What is stored is a promise: INVALID_ARGUMENT names the column that was removed or changed in type, kind or
// unit, or that came without a higher schema_version. A metric whose stored schema_version is higher stays as it is (a
// newer program made it). ABORTED when a table stayed locked. `connection` must not be in a transaction; two callers
// take turns.
absl::Status ApplyCatalog(pg::CopyConnection& connection,
                          const std::vector<const pganalytics::catalog::v1::Metric*>& metrics,
                          const std::function<void(const std::string&)>& progress, absl::Time deadline);

// Checks alone: may `next` follow what was applied as `stored`? Also refuses names that clash with our own columns.
absl::Status CheckEvolution(const pganalytics::catalog::v1::Metric& stored,
                            const pganalytics::catalog::v1::Metric& next);
absl::Status CheckShape(const pganalytics::catalog::v1::Metric& metric);

// A metric as the database knows it.
struct AppliedMetric {
  int16_t id = 0;
  pganalytics::catalog::v1::Metric metric;
};
// In order of id. Works over Pool and CopyConnection alike: run kAppliedMetricsSql, then parse.
inline constexpr char kAppliedMetricsSql[] = "SELECT id, name, definition FROM metrics.catalog_metric ORDER BY id";
absl::StatusOr<std::vector<AppliedMetric>> ParseAppliedMetrics(const pg::Result& rows);

}  // namespace pga::storage
