#include "libs/storage/schema/catalog_schema.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/catalog/metric.h"
#include "libs/clock/steady.h"
#include "libs/pg/errors.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

using pganalytics::catalog::v1::Column;
using pganalytics::catalog::v1::Metric;
namespace catalog_pb = pganalytics::catalog::v1;

// One after the other until the end of the transaction.
constexpr char kTakeTurn[] = "SELECT pg_advisory_xact_lock(hashtext('pganalytics catalog')::int8)";
constexpr char kStore[] =
    "INSERT INTO metrics.catalog_metric AS c (id, name, schema_version, custom, definition, raw_days_least, "
    "raw_days_most, daily_days_least, daily_days_most) VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $7) ON CONFLICT (id) DO "
    "UPDATE SET schema_version = EXCLUDED.schema_version, definition = EXCLUDED.definition, applied_at = now(), "
    "raw_days_least = least(c.raw_days_least, EXCLUDED.raw_days_least), "
    "raw_days_most = greatest(c.raw_days_most, EXCLUDED.raw_days_most), "
    "daily_days_least = least(c.daily_days_least, EXCLUDED.daily_days_least), "
    "daily_days_most = greatest(c.daily_days_most, EXCLUDED.daily_days_most)";

// What public.metrics calls pushed elements, and a view of schema readable that is no metric's.
const std::set<std::string>& ReservedNames() {
  static const auto* names = new std::set<std::string>{"push", "statement_texts"};
  return *names;
}

class Applier {
 public:
  Applier(pg::CopyConnection& connection, const std::function<void(const std::string&)>& progress,
          clock::SteadyTime deadline)
      : connection_(connection), progress_(progress), deadline_(deadline) {}

  absl::Status Run(const std::vector<const Metric*>& metrics) {
    PGA_RETURN_IF_ERROR(Exec("BEGIN"));
    absl::Status applied = Apply(metrics);
    if (applied.ok()) applied = connection_.Commit(deadline_);
    if (!applied.ok() && connection_.ok() && connection_.in_transaction()) Exec("ROLLBACK").IgnoreError();
    if (applied.ok() && progress_) {
      for (const std::string& line : lines_) progress_(line);
    }
    return applied;
  }

 private:
  absl::Status Exec(const std::string& sql) { return connection_.Exec(sql, deadline_).status(); }

  absl::Status Apply(const std::vector<const Metric*>& metrics) {
    PGA_RETURN_IF_ERROR(Exec(absl::StrCat(
        "SET LOCAL lock_timeout = ", std::max<int64_t>(absl::ToInt64Milliseconds(deadline_ - clock::SteadyNow()), 1))));
    PGA_RETURN_IF_ERROR(Exec(kTakeTurn));
    PGA_ASSIGN_OR_RETURN(const pg::Result rows, connection_.Exec(kAppliedMetricsSql, deadline_));
    PGA_ASSIGN_OR_RETURN(const std::vector<AppliedMetric> applied, ParseAppliedMetrics(rows));
    std::map<std::string, const AppliedMetric*> stored;
    int16_t next_id = 1;
    for (const AppliedMetric& entry : applied) {
      stored[entry.metric.name()] = &entry;
      next_id = std::max<int16_t>(next_id, static_cast<int16_t>(entry.id + 1));
    }
    for (const Metric* metric : metrics) {
      PGA_RETURN_IF_ERROR(CheckShape(*metric));
      const auto found = stored.find(metric->name());
      const Metric* before = found != stored.end() ? &found->second->metric : nullptr;
      if (before != nullptr) {
        if (before->schema_version() > metric->schema_version()) {
          lines_.push_back(absl::StrCat("metrics: metric ", metric->name(), " stays at version ",
                                        before->schema_version(), ", which is newer"));
          continue;
        }
        PGA_RETURN_IF_ERROR(CheckEvolution(*before, *metric));
        if (before->SerializeAsString() == metric->SerializeAsString()) continue;
      }
      const int16_t id = before != nullptr ? found->second->id : next_id++;
      PGA_RETURN_IF_ERROR(status::Annotate(
          connection_
              .Exec(kStore,
                    {static_cast<int32_t>(id), metric->name(), metric->schema_version(), metric->custom(),
                     pg::Bytes{metric->SerializeAsString()}, catalog::RawDays(*metric), catalog::DailyDays(*metric)},
                    deadline_)
              .status(),
          absl::StrCat("metric ", metric->name())));
      lines_.push_back(absl::StrCat("metrics: metric ", metric->name(), before == nullptr ? " made" : " changed",
                                    " (version ", metric->schema_version(), ")"));
    }
    return absl::OkStatus();
  }

  pg::CopyConnection& connection_;
  const std::function<void(const std::string&)>& progress_;
  const clock::SteadyTime deadline_;
  // Said once it is true.
  std::vector<std::string> lines_;
};

}  // namespace

absl::Status CheckShape(const Metric& metric) {
  if (!catalog::IsValidName(metric.name())) {
    return absl::InvalidArgumentError(
        absl::StrCat("metric name ", metric.name(), " does not match [a-z][a-z0-9_]{0,39}"));
  }
  if (ReservedNames().contains(metric.name())) {
    return absl::InvalidArgumentError(absl::StrCat("metric name ", metric.name(), " is taken by the product"));
  }
  if (metric.schema_version() < 1 || metric.schema_version() > INT16_MAX) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", metric.name(), " has no schema_version"));
  }
  if (metric.columns_size() > catalog::kMaxColumns) {
    return absl::InvalidArgumentError(
        absl::StrCat("metric ", metric.name(), " has more than ", catalog::kMaxColumns, " columns"));
  }
  std::set<std::string> seen;
  int since = 1;
  for (const Column& column : metric.columns()) {
    const std::string name = absl::StrCat("column ", metric.name(), ".", column.name());
    if (!catalog::IsValidName(column.name())) {
      return absl::InvalidArgumentError(absl::StrCat(name, " does not match [a-z][a-z0-9_]{0,39}"));
    }
    if (!seen.insert(column.name()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("metric ", metric.name(), " has two columns named ", column.name()));
    }
    if (column.type() == catalog_pb::COLUMN_TYPE_UNSPECIFIED || column.kind() == catalog_pb::COLUMN_KIND_UNSPECIFIED) {
      return absl::InvalidArgumentError(absl::StrCat(name, " has no type or no kind"));
    }
    if (column.kind() == catalog_pb::COLUMN_KIND_COUNTER && column.type() != catalog_pb::COLUMN_TYPE_INT8) {
      return absl::InvalidArgumentError(absl::StrCat(name, " is a counter and must be int8"));
    }
    if (column.kind() == catalog_pb::COLUMN_KIND_GAUGE && column.type() == catalog_pb::COLUMN_TYPE_TEXT) {
      return absl::InvalidArgumentError(absl::StrCat(name, " is text and cannot be a gauge"));
    }
    // Frames of an older version have the first columns and no hole.
    const int own = std::max(column.since_schema_version(), 1);
    if (own < since || own > metric.schema_version()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " is of schema_version ", own, ", which is ",
                       own < since ? "before that of the column before it" : "after the metric's"));
    }
    since = own;
  }
  return absl::OkStatus();
}

absl::Status CheckEvolution(const Metric& stored, const Metric& next) {
  const auto refuse = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", next.name(), ": ", what,
                                                   "; stored metrics only gain columns, make a new metric instead"));
  };
  if (stored.scope() != next.scope()) return refuse("its scope was changed");
  if (catalog::HasHours(stored) != catalog::HasHours(next)) {
    return refuse(absl::StrCat("its interval_factor went from ", stored.interval_factor(), " to ",
                               next.interval_factor(), "; hours are stored of metrics below 30 alone"));
  }
  if (stored.custom() != next.custom()) return refuse("it was moved between the built-in and the custom metrics");
  std::map<std::string, const Column*> columns;
  for (const Column& column : next.columns()) columns[column.name()] = &column;
  for (int i = 0; i < stored.columns_size(); ++i) {
    const Column& before = stored.columns(i);
    const auto found = columns.find(before.name());
    if (found == columns.end()) return refuse(absl::StrCat("column ", before.name(), " was removed"));
    const Column& after = *found->second;
    if (before.type() != after.type()) return refuse(absl::StrCat("column ", before.name(), " has another type"));
    if (before.kind() != after.kind()) return refuse(absl::StrCat("column ", before.name(), " has another kind"));
    if (before.unit() != after.unit()) return refuse(absl::StrCat("column ", before.name(), " has another unit"));
    if (before.since_schema_version() != after.since_schema_version()) {
      return refuse(absl::StrCat("column ", before.name(), " has another since_schema_version"));
    }
    if (next.columns(i).name() != before.name()) {
      return refuse(absl::StrCat("column ", before.name(), " has another place"));
    }
    columns.erase(found);
  }
  for (const auto& [name, column] : columns) {
    if (column->kind() == catalog_pb::COLUMN_KIND_LABEL) return refuse(absl::StrCat("label ", name, " was added"));
    if (column->since_schema_version() <= stored.schema_version()) {
      return refuse(
          absl::StrCat("column ", name, " was added without a higher schema_version than ", stored.schema_version()));
    }
  }
  return absl::OkStatus();
}

absl::Status ApplyCatalog(pg::CopyConnection& connection, const std::vector<const Metric*>& metrics,
                          const std::function<void(const std::string&)>& progress, clock::SteadyTime deadline) {
  return Applier(connection, progress, deadline).Run(metrics);
}

absl::StatusOr<std::vector<AppliedMetric>> ParseAppliedMetrics(const pg::Result& rows) {
  std::vector<AppliedMetric> metrics;
  for (const pg::Row row : rows) {
    AppliedMetric entry;
    entry.id = static_cast<int16_t>(row.Int32(0));
    if (!entry.metric.ParseFromString(row.Bytes(2))) {
      return absl::DataLossError(
          absl::StrCat("the stored definition of metric ", std::string(row.Text(1)), " is damaged"));
    }
    metrics.push_back(std::move(entry));
  }
  return metrics;
}

}  // namespace pga::storage
