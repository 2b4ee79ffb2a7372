#include "libs/storage/upkeep/metric_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/column_type.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;

constexpr absl::Duration kMaxAge = absl::Minutes(1);

std::shared_ptr<const MetricShape> ShapeOfMetric(int16_t id, const catalog_pb::Metric& metric) {
  auto shape = std::make_shared<MetricShape>();
  shape->id = id;
  shape->name = metric.name();
  shape->schema_version = std::max(metric.schema_version(), 1);
  shape->columns_of_version.assign(static_cast<size_t>(shape->schema_version), 0);
  columns::ColumnId locate_by = 0;
  for (const catalog_pb::Column& column : metric.columns()) {
    const auto column_id = static_cast<columns::ColumnId>(shape->columns.size() + 1);
    shape->columns.push_back({column_id, frame::TypeOf(column.type()), frame::KindOf(column.kind())});
    if (!metric.locate_by().empty() && column.name() == metric.locate_by()) locate_by = column_id;
    for (int version = std::max(column.since_schema_version(), 1); version <= shape->schema_version; ++version) {
      ++shape->columns_of_version[static_cast<size_t>(version - 1)];
    }
  }
  shape->raw = columns::RawShape(shape->columns, locate_by);
  shape->buckets = columns::BucketShape(shape->columns, locate_by);
  shape->has_hours = catalog::HasHours(metric);
  if (metric.retention().raw_days() > 0) shape->retention.raw = metric.retention().raw_days();
  if (metric.retention().daily_days() > 0) shape->retention.days = metric.retention().daily_days();
  return shape;
}

}  // namespace

std::shared_ptr<const MetricShape> MetricShapes::Find(int16_t id) const {
  const auto found = by_id.find(id);
  return found == by_id.end() ? nullptr : found->second;
}

std::vector<int> MetricShapes::LevelsOf(const MetricShape& metric) const {
  std::vector<int> levels;
  for (int level = kHourLevel; level < kLevels; ++level) {
    if ((level != kHourLevel || metric.has_hours) && (level != kZoneDayLevel || has_zone)) levels.push_back(level);
  }
  return levels;
}

std::vector<RetentionDays> MetricShapes::Retentions() const {
  std::map<std::pair<int32_t, int32_t>, RetentionDays> distinct;
  for (const auto& [id, shape] : by_id) distinct[{shape->retention.raw, shape->retention.days}] = shape->retention;
  std::vector<RetentionDays> retentions;
  for (const auto& [key, retention] : distinct) retentions.push_back(retention);
  return retentions;
}

std::string MetricTable::NameOf(int16_t metric_id) const {
  absl::MutexLock lock(&mutex_);
  const auto metric = shapes_ == nullptr ? nullptr : shapes_->Find(metric_id);
  return metric == nullptr ? absl::StrCat(metric_id) : metric->name;
}

absl::StatusOr<std::shared_ptr<const MetricShapes>> MetricTable::Get(pg::CopyConnection& connection,
                                                                     clock::SteadyTime deadline) {
  {
    absl::MutexLock lock(&mutex_);
    if (shapes_ != nullptr && absl::Nanoseconds(clock::Clock::Real()->BoottimeNanos() - read_at_nanos_) < kMaxAge) {
      return shapes_;
    }
  }
  return Reload(connection, deadline);
}

absl::StatusOr<std::shared_ptr<const MetricShapes>> MetricTable::Reload(pg::CopyConnection& connection,
                                                                        clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      connection.Exec("SELECT id, definition, NULL FROM metrics.catalog_metric UNION ALL SELECT NULL, NULL, value FROM "
                      "metrics.setting WHERE name = 'time_zone'",
                      deadline));
  auto shapes = std::make_shared<MetricShapes>();
  for (const pg::Row row : rows) {
    if (row.IsNull(0)) {
      const std::string name(row.Text(2));
      shapes->has_zone = absl::LoadTimeZone(name, &shapes->zone);
      if (!shapes->has_zone) {
        shapes->zone = absl::UTCTimeZone();
        PGA_LOG(warn, "the time zone of days is not known; days are made in UTC alone", {{"time_zone", name}});
      }
      continue;
    }
    catalog_pb::Metric metric;
    if (!metric.ParseFromString(row.Bytes(1))) {
      PGA_LOG(warn, "a metric's definition in the database cannot be read", {{"metric_id", row.Int64(0)}});
      continue;
    }
    const auto id = static_cast<int16_t>(row.Int64(0));
    shapes->by_id[id] = ShapeOfMetric(id, metric);
  }
  absl::MutexLock lock(&mutex_);
  shapes_ = std::move(shapes);
  read_at_nanos_ = clock::Clock::Real()->BoottimeNanos();
  return shapes_;
}

}  // namespace pga::storage
