// What the metrics database knows of its metrics: shapes of rows and buckets, and how long they are kept, from the
// definitions in metrics.catalog_metric. Each version of the table is immutable and shared.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/columns/rollup.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/upkeep/span.h"

namespace pga::storage {

struct MetricShape {
  int16_t id = 0;
  std::string name;
  int32_t schema_version = 0;
  std::vector<columns::MetricColumn> columns;
  // columns_of_version[v - 1] columns have the frames of version v.
  std::vector<int32_t> columns_of_version;
  columns::Shape raw;
  columns::Shape buckets;
  RetentionDays retention;
  // Whether hours are made of it (catalog::HasHours).
  bool has_hours = true;

  const columns::Shape& ShapeOf(int level) const { return level == kRawLevel ? raw : buckets; }
};

// Metrics of the database and the zone of its days (metrics.setting, `time_zone`).
struct MetricShapes {
  std::map<int16_t, std::shared_ptr<const MetricShape>> by_id;
  bool has_zone = false;
  absl::TimeZone zone = absl::UTCTimeZone();

  // Null when there is no such metric.
  std::shared_ptr<const MetricShape> Find(int16_t id) const;
  // Levels above raw that are made of the metric's frames.
  std::vector<int> LevelsOf(const MetricShape& metric) const;
  // One of each retention that any metric has.
  std::vector<RetentionDays> Retentions() const;
};

// Thread-safe. Reads the definitions again when they are older than a minute, and when asked for one it does not know.
class MetricTable {
 public:
  // The newest that is known, read over `connection` when it is due.
  absl::StatusOr<std::shared_ptr<const MetricShapes>> Get(pg::CopyConnection& connection, clock::SteadyTime deadline);
  // Reads now. For a metric or version that is not in the table.
  absl::StatusOr<std::shared_ptr<const MetricShapes>> Reload(pg::CopyConnection& connection,
                                                             clock::SteadyTime deadline);

  // Of the newest that is known; the number when it is not there.
  std::string NameOf(int16_t metric_id) const;

 private:
  mutable absl::Mutex mutex_;
  std::shared_ptr<const MetricShapes> shapes_ ABSL_GUARDED_BY(mutex_);
  int64_t read_at_nanos_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pga::storage
