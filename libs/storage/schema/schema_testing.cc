#include "libs/storage/schema/schema_testing.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/status/status.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;

const char* ServerUrl() {
  return std::getenv("PGA_TEST_METRICS_URL");
}

absl::Status ExecOn(const std::string& url, const std::string& sql) {
  PGA_ASSIGN_OR_RETURN(const auto connection,
                       pg::CopyConnection::Connect({.url = url}, clock::SteadyNow() + absl::Seconds(10)));
  return connection->Exec(sql, clock::SteadyNow() + absl::Seconds(60)).status();
}

// Makes the database of `url` the coordinator of the workers that PGA_TEST_CITUS_WORKERS names, each with an empty
// database of the same name.
absl::Status MakeCluster(const std::string& url) {
  const char* workers = std::getenv("PGA_TEST_CITUS_WORKERS");
  if (workers == nullptr) return absl::FailedPreconditionError("the layout citus needs PGA_TEST_CITUS_WORKERS");
  PGA_ASSIGN_OR_RETURN(const std::string name, pg::ConninfoValue(url, "dbname"));
  // Workers without TLS will do; what a killed coordinator leaves prepared is settled at once.
  for (const char* setting : {"citus.node_conninfo = 'sslmode=prefer'", "citus.recover_2pc_interval = '1s'"}) {
    PGA_RETURN_IF_ERROR(ExecOn(url, absl::StrCat("ALTER SYSTEM SET ", setting)));
  }
  PGA_RETURN_IF_ERROR(ExecOn(url, "SELECT pg_reload_conf()"));
  PGA_RETURN_IF_ERROR(ExecOn(url, "CREATE EXTENSION citus"));
  for (const absl::string_view worker : absl::StrSplit(workers, ',')) {
    const std::vector<std::string> address = absl::StrSplit(worker, ':');
    if (address.size() != 2) return absl::InvalidArgumentError(absl::StrCat(worker, " is not host:port"));
    const auto at = [&](const std::string& database) {
      return absl::StrCat("postgresql://postgres@", worker, "/", database, "?sslmode=disable");
    };
    PGA_RETURN_IF_ERROR(ExecOn(at("postgres"), absl::StrCat("DROP DATABASE IF EXISTS ", name, " WITH (FORCE)")));
    PGA_RETURN_IF_ERROR(ExecOn(at("postgres"), "CREATE DATABASE " + name));
    PGA_RETURN_IF_ERROR(ExecOn(at(name), "CREATE EXTENSION citus"));
    PGA_RETURN_IF_ERROR(ExecOn(url, absl::StrCat("SELECT citus_add_node('", address[0], "', ", address[1], ")")));
  }
  return absl::OkStatus();
}

}  // namespace

Layout MetricsDatabase::TestLayout() {
  const char* name = std::getenv("PGA_TEST_LAYOUT");
  auto layout = ParseLayout(name != nullptr ? name : "native");
  EXPECT_TRUE(layout.ok()) << layout.status();
  return layout.ok() ? *layout : Layout::kNative;
}

std::string MetricsDatabase::FreshUrl(const std::string& prefix) {
  const std::string url = FreshUrlOfServer(prefix);
  EXPECT_EQ(PrepareForLayout(url), absl::OkStatus());
  return url;
}

absl::Status MetricsDatabase::PrepareForLayout(const std::string& url) {
  return TestLayout() == Layout::kCitus ? MakeCluster(url) : absl::OkStatus();
}

std::string MetricsDatabase::FreshUrlOfServer(const std::string& prefix) {
  static std::atomic<int> counter{0};
  if (ServerUrl() == nullptr) {
    // Workers serve other tests too.
    auto url = testing::SharedPostgres()->CreateFreshDatabase(
        TestLayout() == Layout::kCitus ? absl::StrCat(prefix, "_", ::getpid(), "_") : prefix);
    EXPECT_TRUE(url.ok()) << url.status();
    return url.ok() ? *url : "";
  }
  const std::string name = absl::StrCat("pga_", prefix, "_", ::getpid(), "_", ++counter);
  auto admin = pg::CopyConnection::Connect({.url = ServerUrl()}, clock::SteadyNow() + absl::Seconds(10));
  EXPECT_TRUE(admin.ok()) << admin.status();
  if (!admin.ok()) return "";
  auto created =
      (*admin)->Exec("CREATE DATABASE " + name + " TEMPLATE template0", clock::SteadyNow() + absl::Seconds(30));
  EXPECT_TRUE(created.ok()) << created.status();
  auto url = pg::WithDatabase(ServerUrl(), name);
  return url.ok() ? *url : "";
}

std::unique_ptr<MetricsDatabase> MetricsDatabase::Create(const std::vector<const catalog_pb::Metric*>& metrics) {
  auto database = std::make_unique<MetricsDatabase>();
  database->url_ = FreshUrl("metrics");
  MigrateOptions options;
  options.layout = TestLayout();
  options.metrics = metrics;
  const absl::Status migrated = MigrateUp(database->url_, Database::kMetrics, options);
  EXPECT_TRUE(migrated.ok()) << migrated;
  if (!migrated.ok()) return nullptr;
  pg::PoolOptions pool;
  pool.url = database->url_;
  pool.role = "pganalytics_maintenance";
  auto created = pg::Pool::Create(pool);
  EXPECT_TRUE(created.ok()) << created.status();
  if (!created.ok()) return nullptr;
  database->pool_ = *std::move(created);
  return database;
}

MetricsDatabase::~MetricsDatabase() {
  pool_.reset();
  if (ServerUrl() == nullptr || url_.empty()) return;
  auto name = pg::ConninfoValue(url_, "dbname");
  auto admin = pg::CopyConnection::Connect({.url = ServerUrl()}, clock::SteadyNow() + absl::Seconds(10));
  if (name.ok() && admin.ok()) {
    (*admin)
        ->Exec("DROP DATABASE IF EXISTS " + *name + " WITH (FORCE)", clock::SteadyNow() + absl::Seconds(30))
        .IgnoreError();
  }
}

pg::Result MetricsDatabase::Exec(const std::string& sql, const pg::Params& params) {
  auto connection = pg::CopyConnection::Connect({.url = url_}, clock::SteadyNow() + absl::Seconds(10));
  EXPECT_TRUE(connection.ok()) << connection.status();
  if (!connection.ok()) return {};
  auto result = (*connection)->Exec(sql, params, clock::SteadyNow() + absl::Seconds(60));
  EXPECT_TRUE(result.ok()) << result.status() << "\n" << sql.substr(0, 1000);
  return result.ok() ? *std::move(result) : pg::Result();
}

std::string MetricsDatabase::Value(const std::string& sql, const pg::Params& params) {
  const pg::Result result = Exec(sql, params);
  return result.empty() ? "" : std::string(result[0].Text(0));
}

std::string SqlTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%E6S+00", time, absl::UTCTimeZone());
}

catalog_pb::Metric MakeMetric(const std::string& name, catalog_pb::Scope scope, const std::vector<std::string>& columns,
                              int schema_version) {
  catalog_pb::Metric metric;
  metric.set_name(name);
  metric.set_scope(scope);
  metric.set_schema_version(schema_version);
  metric.set_interval_factor(1);
  metric.set_description("Made by a test.");
  for (const std::string& line : columns) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    catalog_pb::Column* column = metric.add_columns();
    column->set_name(words[0]);
    std::string upper = words[1];
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    catalog_pb::ColumnType type{};
    EXPECT_TRUE(catalog_pb::ColumnType_Parse("COLUMN_TYPE_" + upper, &type)) << line;
    column->set_type(type);
    upper = words[2];
    for (char& c : upper) c = static_cast<char>(std::toupper(c));
    catalog_pb::ColumnKind kind{};
    EXPECT_TRUE(catalog_pb::ColumnKind_Parse("COLUMN_KIND_" + upper, &kind)) << line;
    column->set_kind(kind);
    column->set_unit("1");
    column->set_description("Column.");
    column->set_since_schema_version(words.size() > 3 ? std::atoi(words[3].c_str()) : 1);
  }
  return metric;
}

}  // namespace pga::storage
