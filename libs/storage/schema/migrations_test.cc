#include "libs/storage/schema/migrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/storage/schema/catalog_schema.h"
#include "libs/storage/schema/roles.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(30);
}

struct Outcome {
  absl::Status status;
  std::vector<std::string> lines;
};

Outcome Migrate(const std::string& url, Database database, MigrateOptions options = {}) {
  Outcome run;
  if (options.layout == Layout::kAuto) options.layout = MetricsDatabase::TestLayout();
  options.progress = [&](const std::string& line) { run.lines.push_back(line); };
  run.status = MigrateUp(url, database, options);
  return run;
}

absl::StatusOr<pg::Result> ExecOn(const std::string& url, const std::string& sql) {
  auto connection = pg::CopyConnection::Connect({.url = url}, Soon());
  if (!connection.ok()) return connection.status();
  return (*connection)->Exec(sql, Soon());
}

std::string ValueOn(const std::string& url, const std::string& sql) {
  auto result = ExecOn(url, sql);
  EXPECT_TRUE(result.ok()) << result.status() << " " << sql;
  return result.ok() && !result->empty() ? std::string((*result)[0].Text(0)) : "";
}

// Everything that a migration could change.
std::string Fingerprint(const std::string& url, const std::string& schema) {
  return ValueOn(
      url, absl::StrCat("SELECT md5(string_agg(x, ',' ORDER BY x)) FROM (SELECT c.relname || c.relkind::text || "
                        "coalesce(c.relacl::text, '') || c.oid AS x FROM pg_class c JOIN pg_namespace n ON n.oid = "
                        "c.relnamespace WHERE n.nspname IN ('",
                        schema,
                        "', 'metrics_data', 'custom', 'readable') UNION ALL SELECT p.proname || p.oid || "
                        "coalesce(p.proacl::text, '') FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
                        "WHERE n.nspname = '",
                        schema, "') y"));
}

class MigrationsUp : public ::testing::TestWithParam<Database> {};

TEST_P(MigrationsUp, SecondRunChangesNothing) {
  const std::string url = MetricsDatabase::FreshUrl("migrate");
  const std::string schema = GetParam() == Database::kMetadata ? "pganalytics" : "metrics";
  const Outcome first = Migrate(url, GetParam());
  ASSERT_EQ(first.status, absl::OkStatus());
  EXPECT_THAT(first.lines.back(), HasSubstr("applied, now at version"));
  const std::string before = Fingerprint(url, schema);
  const Outcome second = Migrate(url, GetParam());
  ASSERT_EQ(second.status, absl::OkStatus());
  EXPECT_THAT(second.lines, ElementsAre(HasSubstr("nothing to do, at version")));
  EXPECT_EQ(Fingerprint(url, schema), before);
  const auto status = GetMigrationStatus(url, GetParam());
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->pending, 0);
  EXPECT_FALSE(status->newer);
  for (const MigrationEntry& entry : status->migrations) {
    EXPECT_TRUE(entry.applied && !entry.changed && !entry.unknown) << entry.name;
  }
  EXPECT_EQ(CheckMigrated(url, GetParam()), absl::OkStatus());
}

INSTANTIATE_TEST_SUITE_P(Databases, MigrationsUp, ::testing::Values(Database::kMetadata, Database::kMetrics),
                         [](const auto& test) { return test.param == Database::kMetadata ? "metadata" : "metrics"; });

TEST(Migrations, TwoAtOnceTakeTurns) {
  const std::string url = MetricsDatabase::FreshUrl("turns");
  std::vector<Outcome> runs(3);
  std::vector<std::thread> threads;
  for (Outcome& run : runs) threads.emplace_back([&] { run = Migrate(url, Database::kMetrics); });
  for (std::thread& thread : threads) thread.join();
  for (const Outcome& run : runs) EXPECT_EQ(run.status, absl::OkStatus());
  EXPECT_EQ(ValueOn(url, "SELECT count(*) FROM metrics.schema_migration"),
            absl::StrCat(internal::metrics_migrations().size()));
}

class MigrationFiles : public ::testing::Test {
 protected:
  Outcome Up() {
    MigrateOptions options;
    options.files = &files_;
    return Migrate(url_, Database::kMetadata, options);
  }
  std::string url_ = MetricsDatabase::FreshUrl("files");
  std::vector<internal::EmbeddedMigration> files_ = {{1, "0001_one", "CREATE TABLE pganalytics.one (n int)"},
                                                     {2, "0002_two", "CREATE TABLE pganalytics.two (n int)"}};
};

TEST_F(MigrationFiles, ChangedAppliedFileIsRefusedByName) {
  ASSERT_EQ(Up().status, absl::OkStatus());
  files_[0].sql += " ";
  const Outcome again = Up();
  EXPECT_EQ(again.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(again.status.message()), HasSubstr("0001_one.sql was changed"));
  const auto status = GetMigrationStatus(url_, Database::kMetadata, &files_);
  ASSERT_TRUE(status.ok());
  EXPECT_TRUE(status->migrations[0].changed);
  EXPECT_FALSE(status->migrations[1].changed);
}

TEST_F(MigrationFiles, FailingFileLeavesNothingAndIsNamed) {
  files_.push_back({3, "0003_bad", "CREATE TABLE pganalytics.three (n int); SELECT 1/0"});
  const Outcome run = Up();
  EXPECT_THAT(std::string(run.status.message()), AllOf(HasSubstr("0003_bad.sql"), HasSubstr("division by zero")));
  EXPECT_EQ(ValueOn(url_, "SELECT to_regclass('pganalytics.three') IS NULL"), "t");
  EXPECT_EQ(ValueOn(url_, "SELECT to_regclass('pganalytics.two') IS NOT NULL"), "t");
  files_.back().sql = "CREATE TABLE pganalytics.three (n int)";
  EXPECT_THAT(Up().lines.back(), HasSubstr("1 migration applied, now at version 3"));
}

TEST_F(MigrationFiles, NewerDatabaseIsRefusedForUpAndToleratedForRun) {
  files_.push_back({3, "0003_newer", "SELECT 1"});
  ASSERT_EQ(Up().status, absl::OkStatus());
  files_.pop_back();
  const Outcome run = Up();
  EXPECT_EQ(run.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(run.status.message()), HasSubstr("0003_newer"));
  const auto status = GetMigrationStatus(url_, Database::kMetadata, &files_);
  ASSERT_TRUE(status.ok());
  EXPECT_TRUE(status->newer);
  EXPECT_EQ(status->pending, 0);
}

TEST_F(MigrationFiles, FileSlippedInBetweenIsRefused) {
  const auto two = files_[1];
  files_ = {files_[0], {3, "0003_three", "SELECT 1"}};
  ASSERT_EQ(Up().status, absl::OkStatus());
  files_.insert(files_.begin() + 1, two);
  EXPECT_THAT(std::string(Up().status.message()), HasSubstr("0002_two.sql is older"));
}

TEST(Migrations, UnmigratedDatabaseIsToldWhatToRun) {
  const std::string url = MetricsDatabase::FreshUrl("empty");
  for (const Database database : {Database::kMetadata, Database::kMetrics}) {
    const auto status = CheckMigrated(url, database);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("pgactl migrate up"));
  }
}

TEST(Migrations, WhatWasBegunAndHasNotEndedIsTold) {
  const std::string url = MetricsDatabase::FreshUrl("begun");
  ASSERT_EQ(Migrate(url, Database::kMetrics).status, absl::OkStatus());
  EXPECT_FALSE(GetMigrationStatus(url, Database::kMetrics)->unfinished);
  // All files are applied; the catalog is not.
  const catalog_pb::Metric nameless;
  EXPECT_NE(Migrate(url, Database::kMetrics, {.metrics = {&nameless}}).status, absl::OkStatus());
  EXPECT_TRUE(GetMigrationStatus(url, Database::kMetrics)->unfinished);
  EXPECT_THAT(std::string(CheckMigrated(url, Database::kMetrics).message()),
              AllOf(HasSubstr("has not ended"), HasSubstr("pgactl migrate up")));
  ASSERT_EQ(Migrate(url, Database::kMetrics).status, absl::OkStatus());
  EXPECT_FALSE(GetMigrationStatus(url, Database::kMetrics)->unfinished);
  EXPECT_EQ(CheckMigrated(url, Database::kMetrics), absl::OkStatus());
}

TEST(Migrations, TablesInDatabasePostgresAreTold) {
  const std::string url = MetricsDatabase::FreshUrl("misplaced");
  const std::string postgres = *pg::WithDatabase(url, "postgres");
  ASSERT_EQ(Migrate(postgres, Database::kMetadata).status, absl::OkStatus());
  const absl::Status misplaced = CheckMigrated(url, Database::kMetadata);
  const auto dropped = ExecOn(postgres, "DROP SCHEMA pganalytics CASCADE");
  EXPECT_TRUE(dropped.ok()) << dropped.status();
  EXPECT_EQ(misplaced.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(misplaced.message()), HasSubstr("database postgres of the same server has them"));
}

TEST(Migrations, TheUrlOfTheOtherDatabaseIsTold) {
  const std::string url = MetricsDatabase::FreshUrl("exchanged");
  ASSERT_EQ(Migrate(url, Database::kMetrics).status, absl::OkStatus());
  const absl::Status exchanged = CheckMigrated(url, Database::kMetadata);
  EXPECT_EQ(exchanged.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(exchanged.message()),
              HasSubstr("has the tables of the metrics database and none of the metadata database; name another one"));
}

TEST(Layouts, ChoiceIsRecordedAndCannotBeSwitched) {
  const std::string url = MetricsDatabase::FreshUrl("layout");
  const Layout mine = MetricsDatabase::TestLayout();
  const Layout other = mine == Layout::kNative ? Layout::kTimescaledb : Layout::kNative;
  ASSERT_EQ(Migrate(url, Database::kMetrics, {.layout = mine}).status, absl::OkStatus());
  EXPECT_EQ(GetMigrationStatus(url, Database::kMetrics)->layout, LayoutName(mine));
  const Outcome switched = Migrate(url, Database::kMetrics, {.layout = other});
  EXPECT_EQ(switched.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(switched.status.message()), HasSubstr("cannot be switched"));
  // auto goes on with what was recorded.
  EXPECT_EQ(MigrateUp(url, Database::kMetrics, {}), absl::OkStatus());
  EXPECT_EQ(GetMigrationStatus(url, Database::kMetrics)->layout, LayoutName(mine));
}

TEST(Layouts, AutoFitsTheServer) {
  const std::string url = MetricsDatabase::FreshUrl("auto");
  ASSERT_EQ(MigrateUp(url, Database::kMetrics, {}), absl::OkStatus());
  const Layout mine = MetricsDatabase::TestLayout();
  // Citus is taken only when it is asked for.
  EXPECT_EQ(GetMigrationStatus(url, Database::kMetrics)->layout,
            LayoutName(mine == Layout::kCitus ? Layout::kNative : mine));
}

TEST(Layouts, TimescaleWithoutTheExtensionIsRefusedAndLeavesNoChoice) {
  if (MetricsDatabase::TestLayout() != Layout::kNative) GTEST_SKIP() << "the server has TimescaleDB";
  const std::string url = MetricsDatabase::FreshUrl("nots");
  const Outcome run = Migrate(url, Database::kMetrics, {.layout = Layout::kTimescaledb});
  EXPECT_EQ(run.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(run.status.message()), HasSubstr("not preloaded"));
  EXPECT_EQ(Migrate(url, Database::kMetrics, {.layout = Layout::kNative}).status, absl::OkStatus());
}

TEST(Layouts, CitusWithoutTheExtensionIsRefusedAndLeavesNoChoice) {
  if (MetricsDatabase::TestLayout() == Layout::kCitus) GTEST_SKIP() << "the server has Citus";
  const std::string url = MetricsDatabase::FreshUrl("nocitus");
  const Outcome run = Migrate(url, Database::kMetrics, {.layout = Layout::kCitus});
  EXPECT_EQ(run.status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(run.status.message()), AllOf(HasSubstr("no extension citus"), HasSubstr("citus_add_node")));
  EXPECT_EQ(Migrate(url, Database::kMetrics, {.layout = MetricsDatabase::TestLayout()}).status, absl::OkStatus());
}

TEST(Layouts, NamesAreParsed) {
  EXPECT_EQ(*ParseLayout("native"), Layout::kNative);
  EXPECT_EQ(*ParseLayout("timescaledb"), Layout::kTimescaledb);
  EXPECT_EQ(*ParseLayout(""), Layout::kAuto);
  EXPECT_EQ(*ParseLayout("citus"), Layout::kCitus);
  EXPECT_FALSE(ParseLayout("Native").ok());
}

TEST(Durability, UnsafeServerIsRefusedUnlessAllowed) {
  auto unsafe = testing::TempPostgres::Start({.extra_conf = {"synchronous_commit = off", "full_page_writes = off"}});
  ASSERT_TRUE(unsafe.ok()) << unsafe.status();
  const auto refused = CheckDurability((*unsafe)->Url(), false);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("fsync, full_page_writes, synchronous_commit = off"));
  EXPECT_EQ(CheckDurability((*unsafe)->Url(), true), absl::OkStatus());
  auto safe = testing::TempPostgres::Start({.durable = true});
  ASSERT_TRUE(safe.ok()) << safe.status();
  EXPECT_EQ(CheckDurability((*safe)->Url(), false), absl::OkStatus());
}

// A metric of each kind, applied.
class Roles : public ::testing::Test {
 protected:
  void SetUp() override {
    metric_ = MakeMetric("probe", catalog_pb::SCOPE_DATABASE, {"name text label", "calls int8 counter"});
    custom_ = MakeMetric("own", catalog_pb::SCOPE_INSTANCE, {"size int8 gauge"});
    custom_.set_custom(true);
    database_ = MetricsDatabase::Create({&metric_, &custom_});
    ASSERT_NE(database_, nullptr);
  }
  // The code with which PostgreSQL refuses; empty = allowed.
  std::string As(const std::string& role, const std::string& sql) {
    auto connection = pg::CopyConnection::Connect({.url = database_->url(), .role = role}, Soon());
    EXPECT_TRUE(connection.ok()) << connection.status();
    EXPECT_TRUE((*connection)->Exec("BEGIN", Soon()).ok());
    const auto result = (*connection)->Exec(sql, Soon());
    return result.ok() ? "" : pg::SqlStateOf(result.status());
  }
  catalog_pb::Metric metric_, custom_;
  std::unique_ptr<MetricsDatabase> database_;
};

TEST_F(Roles, DoWhatTheyMustAndNoMore) {
  struct Case {
    const char* role;
    const char* sql;
    bool allowed;
  };
  const char* kIngest = "pganalytics_ingest";
  const char* kQuery = "pganalytics_query";
  const char* kMaintenance = "pganalytics_maintenance";
  const char* kFrame =
      "INSERT INTO metrics.frame VALUES (1, 1, 0, 1, 0, 0, 1, now(), now(), now(), 1, 0, 0, '{0,0}', '')";
  for (const Case& c : std::vector<Case>{
           {kIngest, "INSERT INTO metrics.collector (collector_id) VALUES ('x') RETURNING id", true},
           {kIngest, kFrame, true},
           {kIngest, "COPY metrics.ingest_receipt FROM STDIN BINARY", true},
           {kIngest, "CREATE TEMPORARY TABLE staged (n int)", true},
           {kIngest,
            "INSERT INTO metrics.query_text VALUES (1, 1, 1, 'x') ON CONFLICT (source_id, database_id, query_id) "
            "DO UPDATE SET text = EXCLUDED.text",
            true},
           {kIngest, "SELECT * FROM metrics.ingest_watermark FOR UPDATE SKIP LOCKED", true},
           {kIngest, "SELECT * FROM metrics.source FOR SHARE", true},
           {kIngest, "SELECT hash FROM metrics.ingest_receipt", true},
           {kIngest, "SELECT * FROM metrics.frame, metrics.block", true},
           {kIngest, "UPDATE metrics.frame SET rows = 0", false},
           {kIngest, "DELETE FROM metrics.frame", false},
           {kIngest, "INSERT INTO metrics.catalog_metric VALUES (9, 'x', 1, true, '')", false},
           {kIngest, "DELETE FROM metrics.block", false},
           {kIngest, "SELECT payload FROM metrics.quarantine", false},
           {kIngest, "SELECT metrics.ensure_block_partitions(current_date, current_date)", false},
           {kIngest, "SELECT metrics.drop_expired_blocks(current_date, 1)", false},
           {kIngest, "CREATE TABLE metrics.x (n int)", false},
           {kQuery, "SELECT * FROM metrics.frame, metrics.block", true},
           {kQuery, "SELECT metrics.frame_count()", true},
           {kQuery, "SELECT text FROM metrics.query_text", true},
           {kQuery, "SELECT reason FROM metrics.quarantine", true},
           {kQuery, "SELECT payload FROM metrics.quarantine", false},
           {kQuery, kFrame, false},
           {kQuery, "DELETE FROM metrics.frame", false},
           {kQuery, "SELECT metrics.ensure_block_partitions(current_date, current_date)", false},
           {kMaintenance, "DELETE FROM metrics.frame RETURNING *", true},
           {kMaintenance, "SELECT metrics.ensure_block_partitions(current_date, current_date + 400)", true},
           {kMaintenance, "DELETE FROM metrics.block", true},
           {kMaintenance, "DELETE FROM metrics.ingest_receipt WHERE received_at < now()", true},
           {kMaintenance, "SELECT metrics.drop_expired_blocks(current_date, 1)", true},
           {kMaintenance, kFrame, false},
           {kMaintenance, "UPDATE metrics.block SET rows = 0", false},
           {kMaintenance, "DROP TABLE metrics.block", false},
           {kMaintenance, "SELECT metrics.drop_expired_blocks(current_date + 2, 1)", false},
       }) {
    const std::string state = As(c.role, c.sql);
    if (c.allowed) {
      EXPECT_EQ(state, "") << c.role << ": " << c.sql;
    } else {
      EXPECT_THAT(state, ::testing::AnyOf("42501", "22023")) << c.role << ": " << c.sql;
    }
  }
}

TEST_F(Roles, PublicGetsNothing) {
  database_->Exec("DROP ROLE IF EXISTS pga_test_stranger; CREATE ROLE pga_test_stranger NOLOGIN");
  for (const char* sql : {"SELECT * FROM metrics.frame", "SELECT * FROM metrics.block", "SELECT metrics.frame_count()",
                          "SELECT metrics.ensure_block_partitions(current_date, current_date)"}) {
    EXPECT_EQ(As("pga_test_stranger", sql), "42501") << sql;
  }
}

class BlockPartitions : public ::testing::Test {
 protected:
  void SetUp() override {
    if (MetricsDatabase::TestLayout() != Layout::kNative) GTEST_SKIP() << "the layout has no partitions";
    database_ = MetricsDatabase::Create({});
    ASSERT_NE(database_, nullptr);
  }
  void Block(const std::string& expires_on, int level, int part, int frames) {
    database_->Exec(absl::StrCat("INSERT INTO metrics.block VALUES (", expires_on, ", 1, 1, ", level, ", 1, ", part,
                                 ", false, now(), now(), now(), ", frames,
                                 ", 1, 1, 0, 1, NULL, NULL, '{1}', '{0,2}', '\\x0102')"));
  }
  std::unique_ptr<MetricsDatabase> database_;
};

TEST_F(BlockPartitions, AreMadeOncePerDay) {
  EXPECT_EQ(database_->Value("SELECT metrics.ensure_block_partitions(current_date, current_date + 2)"), "3");
  EXPECT_EQ(database_->Value("SELECT metrics.ensure_block_partitions(current_date + 1, current_date + 3)"), "1");
  Block("current_date + 3", 0, 0, 1);
  EXPECT_EQ(database_->Value("SELECT attstorage FROM pg_attribute WHERE attname = 'data' AND attrelid = "
                             "('metrics_data.block_p' || to_char(current_date + 3, 'YYYYMMDD'))::regclass"),
            "e");
  for (const char* wrong :
       {"NULL, current_date", "current_date, current_date - 1", "current_date, current_date + 9000"}) {
    EXPECT_EQ(
        pg::SqlStateOf(
            ExecOn(database_->url(), absl::StrCat("SELECT metrics.ensure_block_partitions(", wrong, ")")).status()),
        "22023")
        << wrong;
  }
}

TEST_F(BlockPartitions, MakersAtTheSameTimeTakeTurns) {
  std::vector<std::string> made(6);
  std::vector<std::thread> threads;
  for (std::string& one : made) {
    threads.emplace_back([&] {
      one = ValueOn(database_->url(), "SELECT metrics.ensure_block_partitions(current_date, current_date + 20)");
    });
  }
  for (std::thread& thread : threads) thread.join();
  int64_t sum = 0;
  for (const std::string& one : made) sum += std::atoi(one.c_str());
  EXPECT_EQ(sum, 21);
}

TEST_F(BlockPartitions, ExpiredOnesGoOneByOneOldestFirst) {
  database_->Exec("SELECT metrics.ensure_block_partitions(current_date - 2, current_date + 1)");
  for (const char* day : {"current_date - 2", "current_date - 1", "current_date", "current_date + 1"})
    Block(day, 0, 0, 1);
  EXPECT_EQ(database_->Value("SELECT metrics.drop_expired_blocks(current_date, 0)"), "0");
  EXPECT_EQ(database_->Value("SELECT metrics.drop_expired_blocks(current_date, 10)"), "1");
  EXPECT_EQ(database_->Value("SELECT min(expires_on) = current_date - 1 FROM metrics.block"), "t");
  EXPECT_EQ(database_->Value("SELECT metrics.drop_expired_blocks(current_date, 10)"), "1");
  EXPECT_EQ(database_->Value("SELECT metrics.drop_expired_blocks(current_date, 10)"), "1");
  EXPECT_EQ(database_->Value("SELECT metrics.drop_expired_blocks(current_date, 10)"), "0");
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.block"), "1");
}

TEST_F(BlockPartitions, ReaderIsNotWaitedForLong) {
  database_->Exec("SELECT metrics.ensure_block_partitions(current_date, current_date)");
  auto reader = pg::CopyConnection::Connect({.url = database_->url()}, Soon());
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE((*reader)->Exec("BEGIN; SELECT count(*) FROM metrics.block", Soon()).ok());
  const clock::SteadyTime started = clock::SteadyNow();
  EXPECT_EQ(pg::SqlStateOf(ExecOn(database_->url(), "SELECT metrics.drop_expired_blocks(current_date, 1)").status()),
            "55P03");
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(15));
  // Makers do not wait for readers at all.
  EXPECT_EQ(ValueOn(database_->url(), "SELECT metrics.ensure_block_partitions(current_date + 1, current_date + 1)"),
            "1");
}

TEST_F(BlockPartitions, FramesAreCountedOnce) {
  database_->Exec("SELECT metrics.ensure_block_partitions(current_date, current_date)");
  Block("current_date", 0, 0, 60);
  Block("current_date", 0, 1, 0);
  Block("current_date", 1, 0, 60);
  database_->Exec(
      "INSERT INTO metrics.frame SELECT 1, 1, 0, 1, p, 0, 1, now(), now(), now(), 1, 0, 0, '{0,0}', '' FROM "
      "generate_series(0, 2) p; INSERT INTO metrics.pushed_element VALUES (now(), 'c', 'h', 't', '{}'), (now(), 'c', "
      "'h', 't', '{}')");
  EXPECT_EQ(database_->Value("SELECT metrics.frame_count()"), "63");
}

// Managed servers hand out logins without CREATEROLE.
TEST(ManagedServer, LoginWithoutCreateRoleGoesOnAndIsTold) {
  // A server of its own: roles that another test made would be there already.
  auto server = testing::TempPostgres::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  ASSERT_TRUE((*server)->Exec("postgres", "CREATE ROLE app LOGIN").ok());
  ASSERT_TRUE((*server)->Exec("postgres", "CREATE DATABASE metrics OWNER app").ok());
  const std::string url = (*server)->UrlAs("app", "metrics");
  const auto metric = MakeMetric("probe", catalog_pb::SCOPE_INSTANCE, {"calls int8 counter"});
  const Outcome run = Migrate(url, Database::kMetrics, {.layout = Layout::kNative, .metrics = {&metric}});
  ASSERT_EQ(run.status, absl::OkStatus());
  EXPECT_THAT(run.lines, Contains(AllOf(HasSubstr("notice: role pganalytics_ingest was not created"),
                                        HasSubstr("pganalytics-api migrate roles"))));
  EXPECT_THAT(Migrate(url, Database::kMetrics, {.layout = Layout::kNative, .metrics = {&metric}}).lines.back(),
              HasSubstr("nothing to do"));
  EXPECT_TRUE(ExecOn(url, "SELECT metrics.ensure_block_partitions(current_date, current_date)").ok());
  EXPECT_EQ(Migrate(url, Database::kMetadata).status, absl::OkStatus());
}

// What an administrator runs once: the login that migrates needs no right to make roles, which before PostgreSQL 16 is
// the right to become whoever may run programs on the server.
TEST(Administrator, MakesRolesSoThatTheLoginNeedsNoCreateRole) {
  for (const char* version : {"13", "15", "18"}) {
    auto server = testing::TempPostgres::Start({.version = version});
    if (server.status().code() == absl::StatusCode::kNotFound) continue;
    ASSERT_TRUE(server.ok()) << server.status();
    const std::vector<std::pair<Database, std::string>> databases = {
        {Database::kMetadata, (*server)->UrlAs("it's%20%22app%22", "meta%20data", "never-in-a-statement")},
        {Database::kMetrics, (*server)->UrlAs("it's%20%22app%22", "metrics", "never-in-a-statement")}};
    const testing::ScopedTempDir dir;
    for (int round = 0; round < 2; ++round) {
      for (const auto& [database, url] : databases) {
        const auto sql = AdministratorSql(url, database);
        ASSERT_TRUE(sql.ok()) << sql.status();
        EXPECT_THAT(*sql, Not(HasSubstr("never-in-a-statement")));
        const std::string file = dir / "roles.sql";
        ASSERT_TRUE(testing::WriteFile(file, *sql).ok());
        const auto ran = testing::RunCommand(
            {.argv = {"psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", (*server)->Url(), "-f", file}});
        ASSERT_TRUE(ran.ok()) << ran.status();
        EXPECT_EQ(ran->exit_code, 0) << ran->output;
        if (round == 0) {
          EXPECT_EQ(Migrate(url, database).status, absl::OkStatus()) << version;
        }
      }
    }
    EXPECT_EQ(ValueOn((*server)->Url(), "SELECT rolcreaterole::text FROM pg_roles WHERE rolname = 'it''s \"app\"'"),
              "false");
    for (const auto& [role, url] :
         {std::pair("pganalytics_auth", databases[0].second), std::pair("pganalytics_registry", databases[0].second),
          std::pair("pganalytics_ruler", databases[0].second), std::pair("pganalytics_insight", databases[0].second),
          std::pair("pganalytics_ingest", databases[1].second), std::pair("pganalytics_query", databases[1].second),
          std::pair("pganalytics_maintenance", databases[1].second)}) {
      auto connection = pg::CopyConnection::Connect({.url = url, .role = role}, Soon());
      ASSERT_TRUE(connection.ok()) << version << " " << connection.status();
      EXPECT_EQ((*(*connection)->Exec("SELECT current_user", Soon()))[0].Text(0), role);
    }
    // What belongs to a superuser is taken from everybody by the administrator's part, whatever the rights of the
    // login.
    EXPECT_EQ(ValueOn(databases[1].second,
                      "SELECT coalesce(string_agg(oid::regprocedure::text, ' '), '') FROM pg_proc WHERE pronamespace = "
                      "'pg_catalog'::regnamespace AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea') AND "
                      "has_function_privilege('pganalytics_query', oid, 'EXECUTE')"),
              "")
        << version;
    // The owner of what readers read is not one of them.
    EXPECT_EQ(ValueOn(databases[1].second, "SELECT pg_has_role('pganalytics_reader', 'MEMBER')::text"), "false");
  }
}

TEST(ManagedServer, LoginWithCreateRoleMayStepDownToEachRole) {
  for (const char* version : {"15", "18"}) {
    auto server = testing::TempPostgres::Start({.version = version});
    if (server.status().code() == absl::StatusCode::kNotFound) continue;
    ASSERT_TRUE(server.ok()) << server.status();
    ASSERT_TRUE((*server)->Exec("postgres", "CREATE ROLE app LOGIN CREATEROLE").ok());
    ASSERT_TRUE((*server)->Exec("postgres", "CREATE DATABASE metrics OWNER app").ok());
    const std::string url = (*server)->UrlAs("app", "metrics");
    ASSERT_EQ(Migrate(url, Database::kMetrics, {.layout = Layout::kNative}).status, absl::OkStatus());
    for (const char* role : {"pganalytics_ingest", "pganalytics_query", "pganalytics_maintenance"}) {
      auto connection = pg::CopyConnection::Connect({.url = url, .role = role}, Soon());
      ASSERT_TRUE(connection.ok()) << version << " " << connection.status();
      EXPECT_EQ((*(*connection)->Exec("SELECT current_user", Soon()))[0].Text(0), role);
    }
  }
}

TEST(Versions, SchemaFitsOtherServers) {
  for (const char* version : {"13", "14", "16", "17", "18"}) {
    auto server = testing::TempPostgres::Start({.version = version});
    if (server.status().code() == absl::StatusCode::kNotFound) continue;
    ASSERT_TRUE(server.ok()) << server.status();
    const auto metric = MakeMetric("probe", catalog_pb::SCOPE_INSTANCE, {"calls int8 counter", "size float8 gauge"});
    const Outcome run =
        Migrate((*server)->Url(), Database::kMetrics, {.layout = Layout::kNative, .metrics = {&metric}});
    EXPECT_EQ(run.status, absl::OkStatus()) << version;
    EXPECT_EQ(ValueOn((*server)->Url(), "SELECT metrics.ensure_block_partitions(current_date, current_date + 1)"), "2")
        << version;
    EXPECT_EQ(ValueOn((*server)->Url(), "SELECT metrics.frame_count()"), "0") << version;
    EXPECT_EQ(Migrate((*server)->Url(), Database::kMetadata).status, absl::OkStatus()) << version;
  }
}

}  // namespace
}  // namespace pga::storage
