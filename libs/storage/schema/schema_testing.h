// A migrated metrics database for tests: on the test binary's own server, or on the one that PGA_TEST_METRICS_URL names
// (a superuser's connection string), in the layout that PGA_TEST_LAYOUT names (default native). For the layout citus
// the server preloads it and PGA_TEST_CITUS_WORKERS names its workers, "host:port,host:port", which trust user
// postgres. Tests only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/pg/pool.h"
#include "libs/pg/value.h"
#include "libs/storage/schema/migrations.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

class MetricsDatabase {
 public:
  // Creates, migrates and applies `metrics`; null after a reported failure.
  static std::unique_ptr<MetricsDatabase> Create(const std::vector<const pganalytics::catalog::v1::Metric*>& metrics);
  ~MetricsDatabase();

  // URL of an empty database on the same server.
  static std::string FreshUrl(const std::string& prefix);
  static Layout TestLayout();
  // Gives an empty database what TestLayout needs before it is migrated.
  static absl::Status PrepareForLayout(const std::string& url);

  const std::string& url() const { return url_; }
  pg::Pool& pool() { return *pool_; }
  // Runs SQL as superuser; a failure is a test failure and gives an empty result.
  pg::Result Exec(const std::string& sql, const pg::Params& params = {});
  // First column of the first row.
  std::string Value(const std::string& sql, const pg::Params& params = {});

 private:
  static std::string FreshUrlOfServer(const std::string& prefix);

  std::string url_;
  std::unique_ptr<pg::Pool> pool_;
};

// "2026-01-01 00:00:00.123456+00"
std::string SqlTime(absl::Time time);

// A metric from one line per column: "name type kind", for example "calls int8 counter".
pganalytics::catalog::v1::Metric MakeMetric(const std::string& name, pganalytics::catalog::v1::Scope scope,
                                            const std::vector<std::string>& columns, int schema_version = 1);

}  // namespace pga::storage
