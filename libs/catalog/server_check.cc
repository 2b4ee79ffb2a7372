#include "libs/catalog/server_check.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/status/status.h"

namespace pga::catalog {
namespace v1 = pganalytics::catalog::v1;

absl::Status CheckResultColumns(const v1::Metric& metric, const std::vector<ResultColumn>& columns) {
  std::vector<std::string> problems;
  std::set<std::string> seen;
  for (const ResultColumn& result : columns) {
    const v1::Column* declared = nullptr;
    for (const v1::Column& column : metric.columns()) {
      if (column.name() == result.name) declared = &column;
    }
    if (declared == nullptr) {
      problems.push_back(absl::StrCat("result column ", result.name, " is no column of the metric"));
      continue;
    }
    if (!seen.insert(result.name).second) {
      problems.push_back(absl::StrCat("result column ", result.name, " is there twice"));
    }
    if (result.type_oid != SqlTypeOid(declared->type())) {
      problems.push_back(absl::StrCat("result column ", result.name, " has type OID ", result.type_oid,
                                      "; cast it: (...)::", std::string(SqlTypeName(declared->type()))));
    }
  }
  for (const v1::Column& column : metric.columns()) {
    if (column.kind() == v1::COLUMN_KIND_LABEL && !seen.contains(column.name())) {
      problems.push_back(absl::StrCat("label ", column.name(), " is missing from the result"));
    }
  }
  for (const std::string& name : metric.identity()) {
    if (!seen.contains(name)) problems.push_back(absl::StrCat("identity ", name, " is missing from the result"));
  }
  if (problems.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("metric ", metric.name(), ": ", absl::StrJoin(problems, "; ")));
}

absl::Status CheckMetricOnServer(const v1::Metric& metric, const ServerFacts& server,
                                 const DescribeFunction& describe) {
  const v1::Query* query = SelectQuery(metric, server.version_num, server.in_recovery, server.extension_version);
  if (query == nullptr) {
    return absl::NotFoundError(absl::StrCat("metric ", metric.name(), " has no query for PostgreSQL ",
                                            server.version_num / 10'000, server.in_recovery ? " (standby)" : ""));
  }
  const auto columns = describe(RenderSql(*query, server.extension_schema));
  if (!columns.ok()) return status::Annotate(columns.status(), absl::StrCat("metric ", metric.name()));
  return CheckResultColumns(metric, *columns);
}

}  // namespace pga::catalog
