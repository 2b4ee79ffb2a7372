#include "libs/storage/catalog_schema.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "libs/catalog/metric.h"
#include "libs/pg/errors.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

using pganalytics::catalog::v1::Column;
using pganalytics::catalog::v1::Metric;
namespace catalog_pb = pganalytics::catalog::v1;

// A locked table is tried again this often, 2 s each (lock_timeout).
constexpr int kLockAttempts = 3;

struct ColumnDef {
  std::string name;
  std::string type;
};

std::string_view StoredType(catalog_pb::ColumnType type) {
  switch (type) {
    case catalog_pb::COLUMN_TYPE_BOOL:
      return "bool";
    case catalog_pb::COLUMN_TYPE_FLOAT8:
      return "float8";
    case catalog_pb::COLUMN_TYPE_TIMESTAMPTZ:
      return "timestamptz";
    default:
      return "int8";
  }
}

bool HasScope(const Metric& metric) {
  return metric.scope() == catalog_pb::SCOPE_DATABASE;
}

// Columns of raw and baseline tables that come from the catalog.
std::vector<ColumnDef> RawDefs(const Metric& metric) {
  std::vector<ColumnDef> defs;
  for (const Column& column : metric.columns()) {
    defs.push_back({column.name(), std::string(StoredType(column.type()))});
  }
  return defs;
}

std::vector<ColumnDef> RollupDefs(const Metric& metric) {
  std::vector<ColumnDef> defs;
  for (const Column& column : metric.columns()) {
    const std::string& name = column.name();
    const std::string type(StoredType(column.type()));
    if (column.kind() != catalog_pb::COLUMN_KIND_GAUGE) {
      defs.push_back({name, type});
      continue;
    }
    defs.push_back({name + "_min", type});
    defs.push_back({name + "_max", type});
    const bool whole = type == "int8" || type == "bool";
    defs.push_back({name + "_sum", whole ? "int8" : "float8"});
    defs.push_back({name + "_count", "int8"});
    defs.push_back({name + "_last", type});
  }
  return defs;
}

// Wide columns first: no padding between them.
std::string Definition(std::string_view time_column, const std::vector<ColumnDef>& defs, bool scope, bool rollup) {
  std::string sql = absl::StrCat(std::string(time_column), " timestamptz NOT NULL");
  if (rollup) absl::StrAppend(&sql, ", covered_ms int8 NOT NULL");
  for (const ColumnDef& def : defs) {
    if (def.type != "bool") absl::StrAppend(&sql, ", ", pg::QuoteIdentifier(def.name), " ", def.type);
  }
  absl::StrAppend(&sql, ", source_id int4 NOT NULL");
  if (scope) absl::StrAppend(&sql, ", scope int4 NOT NULL");
  absl::StrAppend(&sql, ", flags int2 NOT NULL");
  for (const ColumnDef& def : defs) {
    if (def.type == "bool") absl::StrAppend(&sql, ", ", pg::QuoteIdentifier(def.name), " bool");
  }
  return sql;
}

struct Table {
  std::string name;
  std::vector<ColumnDef> defs;
  bool rollup;
  std::string granularity;
  int retention_days;
  std::string kind;
};

std::vector<Table> TablesOf(const Metric& metric) {
  const KeptDays days = KeptDaysOf(metric);
  const std::string fine = metric.low_volume() ? "month" : "day";
  std::vector<Table> tables = {{metric.name(), RawDefs(metric), false, fine, days.raw, "raw"}};
  if (catalog::HasCounters(metric)) {
    // Sums of raw rows start from a keyframe: it must not go before them.
    tables.push_back({metric.name() + "_baseline", RawDefs(metric), false, "month", days.raw + 2, "baseline"});
  }
  tables.push_back({metric.name() + "_1m", RollupDefs(metric), true, fine, days.rollup_1m, "rollup"});
  tables.push_back({metric.name() + "_10m", RollupDefs(metric), true, "month", days.rollup_10m, "rollup"});
  tables.push_back({metric.name() + "_1h", RollupDefs(metric), true, "month", days.rollup_1h, "rollup"});
  return tables;
}

std::string Labels(const Metric& metric) {
  std::vector<std::string> labels;
  if (HasScope(metric)) labels.push_back("scope");
  for (const Column& column : metric.columns()) {
    if (column.kind() == catalog_pb::COLUMN_KIND_LABEL) labels.push_back(pg::QuoteIdentifier(column.name()));
  }
  return absl::StrJoin(labels, ", ");
}

// "schema"."name"
std::string Relation(const Metric& metric, const std::string& table) {
  return absl::StrCat(pg::QuoteIdentifier(catalog::TableSchema(metric)), ".", pg::QuoteIdentifier(table));
}

std::string ReadableView(const Metric& metric) {
  std::string columns = "r.time, s.name AS source_name, r.source_id";
  std::string joins = " JOIN metrics.source s ON s.id = r.source_id";
  if (HasScope(metric)) absl::StrAppend(&columns, ", r.scope::int8 & 4294967295 AS database_oid");
  absl::StrAppend(&columns, ", r.flags AS row_flags");
  int texts = 0;
  for (const Column& column : metric.columns()) {
    const std::string name = pg::QuoteIdentifier(column.name());
    if (column.type() == catalog_pb::COLUMN_TYPE_TEXT) {
      const std::string alias = absl::StrCat("t", ++texts);
      absl::StrAppend(&columns, ", ", alias, ".value AS ", name);
      absl::StrAppend(&joins, " LEFT JOIN metrics.text ", alias, " ON ", alias, ".source_id = r.source_id AND ", alias,
                      ".id = r.", name);
    } else {
      absl::StrAppend(&columns, ", r.", name);
    }
  }
  return absl::StrCat("CREATE OR REPLACE VIEW readable.", pg::QuoteIdentifier(metric.name()), " AS SELECT ", columns,
                      " FROM ", Relation(metric, metric.name()), " r", joins);
}

// Names that our own columns, tables or views use.
const std::set<std::string>& ReservedColumns() {
  static const auto* names = new std::set<std::string>{"time",       "bucket",    "source_id",   "scope",       "flags",
                                                       "covered_ms", "row_flags", "source_name", "database_oid"};
  return *names;
}
const std::set<std::string>& ReservedTables() {
  static const auto* names =
      new std::set<std::string>{"frame",          "block",      "collector",        "source",          "catalog_metric",
                                "text",           "query_text", "ingest_watermark", "ingest_receipt",  "metrics",
                                "ledger_day",     "lease",      "quarantine",       "rollup_dirty",    "lost_interval",
                                "pushed_element", "setting",    "time_table",       "schema_migration"};
  return *names;
}

class Applier {
 public:
  Applier(pg::CopyConnection& connection, const std::function<void(const std::string&)>& progress, absl::Time deadline)
      : connection_(connection), progress_(progress), deadline_(deadline) {}

  absl::Status Run(const std::vector<const Metric*>& metrics) {
    PGA_RETURN_IF_ERROR(Exec("SET lock_timeout = '2s'"));
    PGA_RETURN_IF_ERROR(Lock());
    const absl::Status applied = RunLocked(metrics);
    if (connection_.ok()) {
      Exec("SELECT pg_advisory_unlock(hashtext('pganalytics catalog')::int8)").IgnoreError();
      Exec("RESET lock_timeout").IgnoreError();
    }
    return applied;
  }

 private:
  absl::Status Exec(const std::string& sql) { return connection_.Exec(sql, deadline_).status(); }
  void Say(const std::string& line) const {
    if (progress_) progress_(line);
  }

  absl::Status Lock() {
    while (true) {
      PGA_ASSIGN_OR_RETURN(
          pg::Result locked,
          connection_.Exec("SELECT pg_try_advisory_lock(hashtext('pganalytics catalog')::int8)", deadline_));
      if (locked[0].Bool(0)) return absl::OkStatus();
      if (absl::Now() + absl::Milliseconds(100) > deadline_) {
        return absl::DeadlineExceededError("another program is applying a catalog and did not end in time");
      }
      absl::SleepFor(absl::Milliseconds(100));
    }
  }

  absl::Status RunLocked(const std::vector<const Metric*>& metrics) {
    PGA_ASSIGN_OR_RETURN(pg::Result rows, connection_.Exec(kAppliedMetricsSql, deadline_));
    PGA_ASSIGN_OR_RETURN(const std::vector<AppliedMetric> applied, ParseAppliedMetrics(rows));
    std::map<std::string, const AppliedMetric*> stored;
    int16_t next_id = 1;
    for (const AppliedMetric& entry : applied) {
      stored[entry.metric.name()] = &entry;
      next_id = std::max<int16_t>(next_id, static_cast<int16_t>(entry.id + 1));
    }
    // Nothing is done before all of it is known to be right.
    for (const Metric* metric : metrics) {
      PGA_RETURN_IF_ERROR(CheckShape(*metric));
      const auto found = stored.find(metric->name());
      if (found != stored.end() && found->second->metric.schema_version() <= metric->schema_version()) {
        PGA_RETURN_IF_ERROR(CheckEvolution(found->second->metric, *metric));
      }
    }
    int changed = 0;
    for (const Metric* metric : metrics) {
      const auto found = stored.find(metric->name());
      const Metric* before = found != stored.end() ? &found->second->metric : nullptr;
      if (before != nullptr) {
        if (before->schema_version() > metric->schema_version()) {
          Say(absl::StrCat("metrics: metric ", metric->name(), " stays at version ", before->schema_version(),
                           ", which is newer"));
          continue;
        }
        if (before->SerializeAsString() == metric->SerializeAsString()) continue;
      }
      const int16_t id = before != nullptr ? found->second->id : next_id++;
      PGA_RETURN_IF_ERROR(status::Annotate(ApplyOne(*metric, before, id), absl::StrCat("metric ", metric->name())));
      Say(absl::StrCat("metrics: metric ", metric->name(), before == nullptr ? " made" : " changed", " (version ",
                       metric->schema_version(), ")"));
      ++changed;
    }
    if (changed > 0) {
      PGA_RETURN_IF_ERROR(
          Exec("UPDATE metrics.time_table SET retention_days = 1 + (SELECT max(t.retention_days) FROM "
               "metrics.time_table t WHERE "
               "t.kind = 'raw') WHERE kind = 'ledger'; SELECT metrics.apply_grants()"));
    }
    return MakePartitions();
  }

  absl::Status MakePartitions() {
    PGA_ASSIGN_OR_RETURN(pg::Result tables,
                         connection_.Exec("SELECT name FROM metrics.time_table ORDER BY 1", deadline_));
    for (const pg::Row table : tables) {
      PGA_RETURN_IF_ERROR(
          connection_
              .Exec("SELECT metrics.ensure_partitions($1, now() - interval '1 hour', now() + interval '7 days')",
                    {std::string(table.Text(0))}, deadline_)
              .status());
    }
    return absl::OkStatus();
  }

  absl::Status ApplyOne(const Metric& metric, const Metric* before, int16_t id) {
    absl::Status status;
    for (int attempt = 0; attempt < kLockAttempts; ++attempt) {
      status = Attempt(metric, before, id);
      if (status.ok()) return status;
      if (connection_.ok()) Exec("ROLLBACK").IgnoreError();
      if (pg::SqlStateOf(status) != "55P03") return status;
      Say(absl::StrCat("metrics: tables of ", metric.name(), " are locked, trying again"));
    }
    return status;
  }

  absl::Status Attempt(const Metric& metric, const Metric* before, int16_t id) {
    const std::string schema(catalog::TableSchema(metric));
    PGA_RETURN_IF_ERROR(Exec("BEGIN"));
    PGA_RETURN_IF_ERROR(
        connection_
            .Exec("INSERT INTO metrics.catalog_metric (id, name, schema_version, custom, definition) VALUES ($1, $2, "
                  "$3, $4, "
                  "$5) ON CONFLICT (id) DO UPDATE SET schema_version = EXCLUDED.schema_version, definition = "
                  "EXCLUDED.definition, applied_at = now()",
                  {static_cast<int32_t>(id), metric.name(), metric.schema_version(), metric.custom(),
                   pg::Bytes{metric.SerializeAsString()}},
                  deadline_)
            .status());
    const std::vector<Table> tables = TablesOf(metric);
    std::map<std::string, std::vector<ColumnDef>> existing;
    if (before != nullptr) {
      for (Table& table : TablesOf(*before)) existing[table.name] = std::move(table.defs);
    }
    for (const Table& table : tables) {
      const auto found = existing.find(table.name);
      if (found == existing.end()) {
        const std::string time_column = table.rollup ? "bucket" : "time";
        PGA_RETURN_IF_ERROR(
            connection_
                .Exec("SELECT metrics.create_time_table($1, $2, $3, $4, $5, $6, $7, $8::int2, $9, $10)",
                      {schema, table.name, Definition(time_column, table.defs, HasScope(metric), table.rollup),
                       time_column, table.granularity, table.retention_days, table.kind, static_cast<int32_t>(id),
                       "source_id, " + time_column, Labels(metric)},
                      deadline_)
                .status());
        continue;
      }
      std::set<std::string> there;
      for (const ColumnDef& def : found->second) there.insert(def.name);
      std::vector<std::string> added;
      for (const ColumnDef& def : table.defs) {
        if (!there.contains(def.name))
          added.push_back(absl::StrCat("ADD COLUMN ", pg::QuoteIdentifier(def.name), " ", def.type));
      }
      if (!added.empty()) {
        PGA_RETURN_IF_ERROR(
            Exec(absl::StrCat("ALTER TABLE ", Relation(metric, table.name), " ", absl::StrJoin(added, ", "))));
      }
      PGA_RETURN_IF_ERROR(connection_
                              .Exec("UPDATE metrics.time_table SET retention_days = $2 WHERE name = $1",
                                    {table.name, table.retention_days}, deadline_)
                              .status());
    }
    std::string comments = absl::StrCat(ReadableView(metric), "; COMMENT ON TABLE ", Relation(metric, metric.name()),
                                        " IS ", pg::QuoteLiteral(metric.description()));
    for (const Column& column : metric.columns()) {
      absl::StrAppend(
          &comments, "; COMMENT ON COLUMN ", Relation(metric, metric.name()), ".", pg::QuoteIdentifier(column.name()),
          " IS ",
          pg::QuoteLiteral(column.unit().empty() ? column.description()
                                                 : absl::StrCat(column.description(), " [", column.unit(), "]")));
    }
    PGA_RETURN_IF_ERROR(Exec(comments));
    return connection_.Commit(deadline_);
  }

  pg::CopyConnection& connection_;
  const std::function<void(const std::string&)>& progress_;
  const absl::Time deadline_;
};

}  // namespace

KeptDays KeptDaysOf(const Metric& metric) {
  const auto& kept = metric.retention();
  const auto days = [](int own, int product) { return own > 0 ? own : product; };
  return {days(kept.raw_days(), 30), days(kept.rollup_1m_days(), 30), days(kept.rollup_10m_days(), 90),
          days(kept.rollup_1h_days(), 400)};
}

absl::Status CheckShape(const Metric& metric) {
  if (!catalog::IsValidName(metric.name())) {
    return absl::InvalidArgumentError(
        absl::StrCat("metric name ", metric.name(), " does not match [a-z][a-z0-9_]{0,39}"));
  }
  if (ReservedTables().contains(metric.name())) {
    return absl::InvalidArgumentError(absl::StrCat("metric name ", metric.name(), " is taken by the product"));
  }
  for (const char* suffix : {"_baseline", "_1m", "_10m", "_1h"}) {
    const std::string_view name = metric.name();
    if (name.size() > std::string_view(suffix).size() && name.ends_with(suffix)) {
      return absl::InvalidArgumentError(absl::StrCat("metric name ", metric.name(), " ends like a rollup table"));
    }
  }
  if (metric.schema_version() < 1) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", metric.name(), " has no schema_version"));
  }
  for (const auto& defs : {RawDefs(metric), RollupDefs(metric)}) {
    std::set<std::string> seen;
    for (const ColumnDef& def : defs) {
      if (ReservedColumns().contains(def.name)) {
        return absl::InvalidArgumentError(
            absl::StrCat("column ", metric.name(), ".", def.name, " has a name that the product uses"));
      }
      if (!seen.insert(def.name).second) {
        return absl::InvalidArgumentError(absl::StrCat("metric ", metric.name(), " has two columns named ", def.name));
      }
    }
  }
  for (const Column& column : metric.columns()) {
    const std::string name = absl::StrCat("column ", metric.name(), ".", column.name());
    if (!catalog::IsValidName(column.name())) {
      return absl::InvalidArgumentError(absl::StrCat(name, " does not match [a-z][a-z0-9_]{0,39}"));
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
  }
  return absl::OkStatus();
}

absl::Status CheckEvolution(const Metric& stored, const Metric& next) {
  const auto refuse = [&](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("metric ", next.name(), ": ", what,
                                                   "; stored metrics only gain columns, make a new metric instead"));
  };
  if (stored.scope() != next.scope()) return refuse("its scope was changed");
  if (stored.custom() != next.custom()) return refuse("it was moved between the built-in and the custom metrics");
  std::map<std::string, const Column*> columns;
  for (const Column& column : next.columns()) columns[column.name()] = &column;
  for (const Column& before : stored.columns()) {
    const auto found = columns.find(before.name());
    if (found == columns.end()) return refuse(absl::StrCat("column ", before.name(), " was removed"));
    const Column& after = *found->second;
    if (before.type() != after.type()) return refuse(absl::StrCat("column ", before.name(), " has another type"));
    if (before.kind() != after.kind()) return refuse(absl::StrCat("column ", before.name(), " has another kind"));
    if (before.unit() != after.unit()) return refuse(absl::StrCat("column ", before.name(), " has another unit"));
    if (before.since_schema_version() != after.since_schema_version()) {
      return refuse(absl::StrCat("column ", before.name(), " has another since_schema_version"));
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
                          const std::function<void(const std::string&)>& progress, absl::Time deadline) {
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
