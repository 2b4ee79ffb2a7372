// Which columns of PostgreSQL's statistics views the catalog collects, and why the others are left out. The answers
// stand in a reviewed file (coverage.yaml); the views and the shapes of the metrics come from real servers, so that a
// view or column that a version adds shows as uncovered until somebody decides. The server is behind functions, so that
// this library needs no database driver.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/server_check.h"

namespace pga::catalog {

// What the file says of one column of a view.
struct CoveredColumn {
  std::string metric;
  std::string column;
  // SQL over the view `v` that gives what the metric's column holds; empty = made from the view's type.
  std::string value;
};

// What the file says of one view.
struct CoveredView {
  // How it counts: one of the statistics views, another view worth reading, or rows that another view has as well.
  enum class Kind { kStatistics, kOther, kDuplicate };
  Kind kind = Kind::kStatistics;
  // Metric of all columns that name none.
  std::string metric;
  // Columns of the metric that distinguish its rows; the view's rows are found by them.
  std::vector<std::string> match;
  // SQL condition over the view `v`: rows that the metric keeps; empty = every one.
  std::string rows;
  // Why values cannot be compared row by row; empty = they are.
  std::string not_compared;
  std::map<std::string, CoveredColumn> columns;
  // Column to reason.
  std::map<std::string, std::string> left_out;
  // Of a duplicate, or of a view that is left out as a whole.
  std::string reason;
};

using Coverage = std::map<std::string, CoveredView>;

// INVALID_ARGUMENT names line and remedy, at the first problem. Thread-safe.
absl::StatusOr<Coverage> ParseCoverage(std::string_view yaml, const std::string& file_name);

// One column of one view on one server.
struct ColumnCoverage {
  std::string view;
  std::string column;
  CoveredView::Kind kind = CoveredView::Kind::kStatistics;
  // Where it is stored; empty if it is not.
  std::string metric;
  std::string metric_column;
  // Why not; with both empty nobody has decided.
  std::string left_out;
};

// Rows of a result, values as text.
using RowsFunction = std::function<absl::StatusOr<std::vector<std::vector<std::string>>>(const std::string& sql)>;

// Columns of all statistics views of the server and of the others that the file names, ordered by view and position.
// `describe` gets the statements of the metrics. FAILED_PRECONDITION if the file names a metric or a column that does
// not exist.
absl::StatusOr<std::vector<ColumnCoverage>> CoverageOnServer(const Coverage& coverage, const Catalog& catalog,
                                                             const ServerFacts& server, const RowsFunction& rows,
                                                             const DescribeFunction& describe);

// A statement that compares every column of `view` with what the metric's statement gives in the same snapshot: one row
// per column with the names of view and column, rows compared, rows that differ, and an example of a difference. Empty
// if the file says that values are not compared, or if the metric is not for this server. `covered` is an answer of
// CoverageOnServer for the same server.
absl::StatusOr<std::string> CompareSql(const Coverage& coverage, const Catalog& catalog, const ServerFacts& server,
                                       const std::string& view, const std::vector<ColumnCoverage>& covered,
                                       const RowsFunction& rows);

// docs/coverage.md from the answers of several servers by major version.
std::string CoveragePage(const std::map<int, std::vector<ColumnCoverage>>& by_major);

}  // namespace pga::catalog
