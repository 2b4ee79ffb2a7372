// Questions every part of the suite asks about one metric definition: which columns a schema version has, which SQL a
// server gets, what the metric is called in PostgreSQL and in Prometheus. Pure functions over catalog.v1.Metric; all
// are thread-safe and do no I/O.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::catalog {

// Longest name of a metric or column.
inline constexpr int kMaxNameLength = 40;
// Most columns a metric may have.
inline constexpr int kMaxColumns = 200;
// statement_timeout of a metric whose file names none, milliseconds.
inline constexpr int kDefaultTimeoutMs = 10'000;

// True if `name` matches [a-z][a-z0-9_]{0,39}.
bool IsValidName(std::string_view name);

// True if some column is a counter: such metrics send keyframes.
bool HasCounters(const pganalytics::catalog::v1::Metric& metric);

// True if hours of the metric are stored besides its raw readings. Not where it is read every 30 intervals or more
// rarely: two readings an hour take less than the hour made of them, and questions make hours of the readings. Nor
// where it has neither counters nor gauges, of which hours could be made. A metric cannot change from one to the other
// (CheckEvolution), so that all who write and ask agree.
bool HasHours(const pganalytics::catalog::v1::Metric& metric);

// Columns of the metric's shape at `schema_version`, in catalog order. The pointers live as long as `metric`.
std::vector<const pganalytics::catalog::v1::Column*> ColumnsAt(const pganalytics::catalog::v1::Metric& metric,
                                                               int schema_version);

// Indexes into metric.columns() of the columns that identify a row from one reading to the next: `identity`, or all
// labels where there is none. A collector keeps its last readings under these values.
std::vector<int> IdentityColumns(const pganalytics::catalog::v1::Metric& metric);

// First query that fits the server, or nullptr if the metric has none for it (or is a probe without SQL).
// `server_version_num` is PostgreSQL's own number, for example 150020. `extension_version` is pg_extension.extversion
// of the metric's extension; queries that ask for a version of it never fit without one. The pointer lives as long as
// `metric`.
const pganalytics::catalog::v1::Query* SelectQuery(const pganalytics::catalog::v1::Metric& metric,
                                                   int server_version_num, bool in_recovery,
                                                   std::string_view extension_version = {});

// The query's text with `@extschema@` replaced by the quoted name of the extension's schema.
std::string RenderSql(const pganalytics::catalog::v1::Query& query, std::string_view extension_schema = "public");

// Negative, 0 or positive as dotted version `a` is before, equal to or after `b`: 1.9 < 1.10.
int CompareVersions(std::string_view a, std::string_view b);

// statement_timeout of the metric's SQL, milliseconds.
int TimeoutMs(const pganalytics::catalog::v1::Metric& metric);

// Days that raw readings of the metric and their hours are kept, and its days: what the file says, or the product's
// defaults.
int RawDays(const pganalytics::catalog::v1::Metric& metric);
int DailyDays(const pganalytics::catalog::v1::Metric& metric);

// Type of the column in SQL as a result of the metric's query ("int8", "text", ...), and its OID in pg_type.
std::string_view SqlTypeName(pganalytics::catalog::v1::ColumnType type);
uint32_t SqlTypeOid(pganalytics::catalog::v1::ColumnType type);

// Words of the YAML files and of the documentation: "int8", "interval_us", "counter", "instance". Empty for the
// unspecified value.
std::string_view TypeWord(pganalytics::catalog::v1::ColumnType type);
std::string_view KindWord(pganalytics::catalog::v1::ColumnKind kind);
std::string_view ScopeWord(pganalytics::catalog::v1::Scope scope);

// Our own Prometheus name of a counter or gauge column, for example
// `pganalytics_statements_total_plan_time_seconds_total`: base units (us and ms become seconds), `_total` for counters.
// Empty for labels and info columns. Which columns have a name that other tools know instead is in prometheus.h.
std::string PrometheusName(const pganalytics::catalog::v1::Metric& metric,
                           const pganalytics::catalog::v1::Column& column);

}  // namespace pga::catalog
