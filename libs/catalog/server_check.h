// Compares a metric's SQL with what a real server makes of it: names and types of the result. The server is behind a
// function, so that this library needs no database driver; tests and `pgactl catalog check` supply it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::catalog {

struct ResultColumn {
  std::string name;
  uint32_t type_oid = 0;
};

// Runs or describes one statement and returns its result columns.
using DescribeFunction = std::function<absl::StatusOr<std::vector<ResultColumn>>(const std::string& sql)>;

struct ServerFacts {
  // For example 150020.
  int version_num = 0;
  bool in_recovery = false;
  // Installed version and schema of the metric's extension; empty if it is not installed.
  std::string extension_version;
  std::string extension_schema;
};

// FAILED_PRECONDITION if the result does not have exactly columns of the metric: unknown or repeated names, a type
// other than the declared one, a label left out. The message names the column and the cast to write.
absl::Status CheckResultColumns(const pganalytics::catalog::v1::Metric& metric,
                                const std::vector<ResultColumn>& columns);

// Picks the metric's query for the server, renders it, asks `describe`, and compares. NOT_FOUND if the metric has no
// query for such a server (that may be intended: pg_stat_io before 16). Errors of `describe` come back annotated.
absl::Status CheckMetricOnServer(const pganalytics::catalog::v1::Metric& metric, const ServerFacts& server,
                                 const DescribeFunction& describe);

}  // namespace pga::catalog
