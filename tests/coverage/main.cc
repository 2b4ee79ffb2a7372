// pga-catalog-coverage: which columns of the statistics views of PostgreSQL 13 to 18 the catalog collects, and why not
// the others; docs/coverage.md on standard output. Each version runs as a private server for a moment.
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/coverage.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "libs/testing/temp_postgres.h"

namespace pga::catalog {
namespace {

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(60);
}

absl::StatusOr<std::vector<ColumnCoverage>> CoverageOf(const std::string& version, const Coverage& coverage,
                                                       const Catalog& catalog) {
  pga::testing::TempPostgresOptions options;
  options.version = version;
  options.preload_statements = true;
  PGA_ASSIGN_OR_RETURN(const auto server, pga::testing::TempPostgres::Start(options));
  PGA_ASSIGN_OR_RETURN(const auto connection, server->Connect());
  PGA_RETURN_IF_ERROR(
      connection->Exec("CREATE EXTENSION pg_stat_statements; SET search_path = pg_catalog", Soon()).status());
  PGA_ASSIGN_OR_RETURN(const pg::Result extension,
                       connection->Exec("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = "
                                        "'pg_stat_statements'",
                                        Soon()));
  const ServerFacts facts = {.version_num = connection->server_version_num(),
                             .extension_version = std::string(extension[0].Text(0)),
                             .extension_schema = "public"};
  return CoverageOnServer(
      coverage, catalog, facts,
      [&](const std::string& sql) -> absl::StatusOr<std::vector<std::vector<std::string>>> {
        PGA_ASSIGN_OR_RETURN(const pg::Result result, connection->Exec(sql, Soon()));
        std::vector<std::vector<std::string>> rows;
        for (const pg::Row row : result) {
          std::vector<std::string>& texts = rows.emplace_back();
          for (size_t i = 0; i < result.columns(); ++i) texts.emplace_back(row.Text(i));
        }
        return rows;
      },
      [&](const std::string& sql) -> absl::StatusOr<std::vector<ResultColumn>> {
        PGA_ASSIGN_OR_RETURN(const pg::Result result, connection->Exec(sql, Soon()));
        std::vector<ResultColumn> columns;
        for (size_t i = 0; i < result.columns(); ++i)
          columns.push_back({result.column_name(i), result.column_type_oid(i)});
        return columns;
      });
}

absl::StatusOr<std::string> Page(const std::string& path) {
  std::ifstream in(path);
  if (!in) return absl::NotFoundError(path + " cannot be read");
  PGA_ASSIGN_OR_RETURN(const Coverage coverage,
                       ParseCoverage(std::string(std::istreambuf_iterator<char>(in), {}), path));
  PGA_ASSIGN_OR_RETURN(const auto catalog, Catalog::Builtin());
  std::map<int, std::vector<ColumnCoverage>> by_major;
  for (int major = 13; major <= 18; ++major) {
    auto covered = CoverageOf(std::to_string(major), coverage, *catalog);
    if (!covered.ok()) return status::Annotate(covered.status(), "PostgreSQL " + std::to_string(major));
    by_major[major] = *std::move(covered);
  }
  return CoveragePage(by_major);
}

}  // namespace
}  // namespace pga::catalog

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: pga-catalog-coverage libs/catalog/coverage.yaml\n";
    return 2;
  }
  const auto page = pga::catalog::Page(argv[1]);
  if (!page.ok()) {
    std::cerr << page.status().message() << "\n";
    return 1;
  }
  std::cout << *page;
  return std::cout.good() ? 0 : 1;
}
