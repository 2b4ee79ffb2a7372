// The metrics that the database takes frames of: rows of metrics.catalog_metric. Applying a metric gives it a number
// and keeps its definition; no table and no DDL follow from it, and programs that run find it with its first frame.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// Applies the metrics, all or none. Repeating changes nothing. What is stored is a promise: INVALID_ARGUMENT names the
// column that was removed, moved, or changed in type, kind or unit, or that came without a higher schema_version. A
// metric whose stored schema_version is higher stays as it is (a newer program made it). ABORTED when the table stayed
// locked. `connection` must not be in a transaction; two callers take turns.
absl::Status ApplyCatalog(pg::CopyConnection& connection,
                          const std::vector<const pganalytics::catalog::v1::Metric*>& metrics,
                          const std::function<void(const std::string&)>& progress, clock::SteadyTime deadline);

// Checks alone: may `next` follow what was applied as `stored`? A stored column keeps its place, which is its id in
// frames and blocks; new ones come behind. CheckShape says whether a definition can be applied at all.
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
