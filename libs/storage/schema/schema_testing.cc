#include "libs/storage/schema/schema_testing.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;

const char* ServerUrl() {
  return std::getenv("PGA_TEST_METRICS_URL");
}

}  // namespace

Layout MetricsDatabase::TestLayout() {
  const char* name = std::getenv("PGA_TEST_LAYOUT");
  auto layout = ParseLayout(name != nullptr ? name : "native");
  EXPECT_TRUE(layout.ok()) << layout.status();
  return layout.ok() ? *layout : Layout::kNative;
}

std::string MetricsDatabase::FreshUrl(const std::string& prefix) {
  static std::atomic<int> counter{0};
  if (ServerUrl() == nullptr) {
    auto url = testing::SharedPostgres()->CreateFreshDatabase(prefix);
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
