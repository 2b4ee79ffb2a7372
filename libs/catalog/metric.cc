#include "libs/catalog/metric.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace pga::catalog {
namespace v1 = pganalytics::catalog::v1;

bool IsValidName(std::string_view name) {
  if (name.empty() || name.size() > static_cast<size_t>(kMaxNameLength)) return false;
  if (name[0] < 'a' || name[0] > 'z') return false;
  for (const char c : name) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_')) return false;
  }
  return true;
}

bool HasHours(const v1::Metric& metric) {
  constexpr int kNoHoursFrom = 30;
  const bool has_figures = std::any_of(metric.columns().begin(), metric.columns().end(), [](const v1::Column& column) {
    return column.kind() == v1::COLUMN_KIND_COUNTER || column.kind() == v1::COLUMN_KIND_GAUGE;
  });
  return has_figures && metric.interval_factor() < kNoHoursFrom;
}

bool HasCounters(const v1::Metric& metric) {
  for (const v1::Column& column : metric.columns()) {
    if (column.kind() == v1::COLUMN_KIND_COUNTER) return true;
  }
  return false;
}

std::vector<const v1::Column*> ColumnsAt(const v1::Metric& metric, int schema_version) {
  std::vector<const v1::Column*> columns;
  columns.reserve(static_cast<size_t>(metric.columns_size()));
  for (const v1::Column& column : metric.columns()) {
    if (column.since_schema_version() <= schema_version) columns.push_back(&column);
  }
  return columns;
}

std::vector<int> IdentityColumns(const v1::Metric& metric) {
  std::vector<int> indexes;
  for (int i = 0; i < metric.columns_size(); ++i) {
    const v1::Column& column = metric.columns(i);
    bool identifies = metric.identity().empty() && column.kind() == v1::COLUMN_KIND_LABEL;
    for (const std::string& name : metric.identity()) identifies |= name == column.name();
    if (identifies) indexes.push_back(i);
  }
  return indexes;
}

int CompareVersions(std::string_view a, std::string_view b) {
  while (!a.empty() || !b.empty()) {
    int64_t parts[2] = {0, 0};
    std::string_view* texts[2] = {&a, &b};
    for (int i = 0; i < 2; ++i) {
      std::string_view& text = *texts[i];
      size_t at = 0;
      while (at < text.size() && text[at] >= '0' && text[at] <= '9' && at < 9) {
        parts[i] = parts[i] * 10 + (text[at] - '0');
        ++at;
      }
      const size_t dot = text.find('.', at);
      text.remove_prefix(dot == std::string_view::npos ? text.size() : dot + 1);
    }
    if (parts[0] != parts[1]) return parts[0] < parts[1] ? -1 : 1;
  }
  return 0;
}

std::string RenderSql(const v1::Query& query, std::string_view extension_schema) {
  std::string quoted = "\"";
  for (const char c : extension_schema) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  quoted.push_back('"');
  return absl::StrReplaceAll(query.sql(), {{"@extschema@", quoted}});
}

const v1::Query* SelectQuery(const v1::Metric& metric, int server_version_num, bool in_recovery,
                             std::string_view extension_version) {
  const int major = server_version_num / 10'000;
  for (const v1::Query& query : metric.queries()) {
    if (query.min_version() != 0 && major < query.min_version()) continue;
    if (query.max_version() != 0 && major > query.max_version()) continue;
    if (query.role() == v1::SERVER_ROLE_PRIMARY && in_recovery) continue;
    if (query.role() == v1::SERVER_ROLE_STANDBY && !in_recovery) continue;
    if (!query.min_extension_version().empty() &&
        (extension_version.empty() || CompareVersions(extension_version, query.min_extension_version()) < 0)) {
      continue;
    }
    return &query;
  }
  return nullptr;
}

int TimeoutMs(const v1::Metric& metric) {
  return metric.timeout_ms() > 0 ? metric.timeout_ms() : kDefaultTimeoutMs;
}

int RawDays(const v1::Metric& metric) {
  constexpr int kDefault = 30;
  return metric.retention().raw_days() > 0 ? metric.retention().raw_days() : kDefault;
}

int DailyDays(const v1::Metric& metric) {
  constexpr int kDefault = 400;
  return metric.retention().daily_days() > 0 ? metric.retention().daily_days() : kDefault;
}

std::string_view SqlTypeName(v1::ColumnType type) {
  switch (type) {
    case v1::COLUMN_TYPE_BOOL:
      return "bool";
    case v1::COLUMN_TYPE_INT8:
    case v1::COLUMN_TYPE_INTERVAL_US:
    case v1::COLUMN_TYPE_PG_LSN:
      return "int8";
    case v1::COLUMN_TYPE_FLOAT8:
      return "float8";
    case v1::COLUMN_TYPE_TEXT:
      return "text";
    case v1::COLUMN_TYPE_TIMESTAMPTZ:
      return "timestamptz";
    default:
      return "";
  }
}

uint32_t SqlTypeOid(v1::ColumnType type) {
  // Fixed OIDs of pg_type.dat; they never change between versions.
  switch (type) {
    case v1::COLUMN_TYPE_BOOL:
      return 16;
    case v1::COLUMN_TYPE_INT8:
    case v1::COLUMN_TYPE_INTERVAL_US:
    case v1::COLUMN_TYPE_PG_LSN:
      return 20;
    case v1::COLUMN_TYPE_FLOAT8:
      return 701;
    case v1::COLUMN_TYPE_TEXT:
      return 25;
    case v1::COLUMN_TYPE_TIMESTAMPTZ:
      return 1184;
    default:
      return 0;
  }
}

std::string_view TypeWord(v1::ColumnType type) {
  switch (type) {
    case v1::COLUMN_TYPE_INTERVAL_US:
      return "interval_us";
    case v1::COLUMN_TYPE_PG_LSN:
      return "pg_lsn";
    default:
      return SqlTypeName(type);
  }
}

std::string_view KindWord(v1::ColumnKind kind) {
  switch (kind) {
    case v1::COLUMN_KIND_LABEL:
      return "label";
    case v1::COLUMN_KIND_GAUGE:
      return "gauge";
    case v1::COLUMN_KIND_COUNTER:
      return "counter";
    case v1::COLUMN_KIND_INFO:
      return "info";
    default:
      return "";
  }
}

std::string_view ScopeWord(v1::Scope scope) {
  switch (scope) {
    case v1::SCOPE_INSTANCE:
      return "instance";
    case v1::SCOPE_DATABASE:
      return "database";
    case v1::SCOPE_HOST:
      return "host";
    default:
      return "";
  }
}

std::string PrometheusName(const v1::Metric& metric, const v1::Column& column) {
  const bool counter = column.kind() == v1::COLUMN_KIND_COUNTER;
  if (!counter && column.kind() != v1::COLUMN_KIND_GAUGE) return "";
  absl::string_view stem = column.name();
  absl::string_view unit;
  if (column.unit() == "us") {
    absl::ConsumeSuffix(&stem, "_us");
    unit = "seconds";
  } else if (column.unit() == "ms") {
    absl::ConsumeSuffix(&stem, "_ms");
    unit = "seconds";
  } else if (column.unit() == "bytes") {
    absl::ConsumeSuffix(&stem, "_bytes");
    unit = "bytes";
  } else if (column.unit() == "percent") {
    absl::ConsumeSuffix(&stem, "_percent");
    unit = "percent";
  }
  std::string name = absl::StrCat("pganalytics_", metric.name(), "_", stem);
  if (!unit.empty() && stem != unit) absl::StrAppend(&name, "_", unit);
  if (counter && !absl::EndsWith(name, "_total")) absl::StrAppend(&name, "_total");
  return name;
}

}  // namespace pga::catalog
