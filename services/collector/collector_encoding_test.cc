// The collector against a server whose databases have different encodings, with bytes that are no character of any.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/collector_process_testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::testing::ScopedTempDir;
using ::pga::testing::Subprocess;
using ::pga::testing::TempPostgres;
using ::pga::testing::WaitUntil;
using ::testing::HasSubstr;
using ::testing::Not;

// PGA_ENCODING_VERSIONS names versions of PostgreSQL ("13,14,15,16,17,18").
std::vector<std::string> Versions() {
  const char* chosen = std::getenv("PGA_ENCODING_VERSIONS");
  return absl::StrSplit(chosen == nullptr ? "15,18" : chosen, ',');
}

class CollectorEncoding : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    TempPostgres::Options options;
    options.version = GetParam();
    options.preload_statements = true;
    auto started = TempPostgres::Start(options);
    if (absl::IsNotFound(started.status())) GTEST_SKIP() << started.status().message();
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
    Sql("postgres", "CREATE EXTENSION pg_stat_statements");
    Sql("postgres", "CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
    Sql("postgres", "CREATE DATABASE café ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0");
  }

  void Sql(const std::string& database, const std::string& sql) { SqlIn("UTF8", database, sql); }
  // As bytes: the server takes the text as it is.
  void SqlAsBytes(const std::string& database, const std::string& sql) { SqlIn("SQL_ASCII", database, sql); }
  void SqlIn(const char* encoding, const std::string& database, const std::string& sql) {
    auto connection = server_->Connect(database);
    ASSERT_THAT(connection, IsOk());
    for (const std::string& each : {absl::StrCat("SET client_encoding = ", encoding), sql}) {
      ASSERT_THAT((*connection)->Exec(each, {}, clock::SteadyNow() + absl::Seconds(10)), IsOk()) << each;
    }
  }

  void Start() {
    auto process = StartCollector(state_, CollectorVariables(*server_, ingest_, state_, {{"POSTGRES_DATABASES", "*"}}));
    ASSERT_THAT(process, IsOk());
    collector_ = *std::move(process);
  }

  void TearDown() override {
    if (collector_ == nullptr) return;
    EXPECT_THAT(StopCollector(collector_.get()), IsOk());
    EXPECT_THAT(ingest_.violations(), ::testing::IsEmpty());
  }

  bool HasText(const std::string& part) {
    for (const auto& [id, text] : ingest_.Texts()) {
      if (text.find(part) != std::string::npos) return true;
    }
    return false;
  }

  ScopedTempDir state_;
  ScriptedIngest ingest_;
  std::unique_ptr<TempPostgres> server_;
  std::unique_ptr<Subprocess> collector_;
};

TEST_P(CollectorEncoding, OneBadByteCostsNeitherTextsNorTables) {
  Sql("bytes", "CREATE EXTENSION pg_stat_statements");
  SqlAsBytes("bytes", "CREATE TABLE bad_\xe9 (a int)");
  SqlAsBytes("bytes", "SELECT 1 AS bad_\xe9, 'hunter2\xe9'");
  // Statements of different forms: their ids tell nothing of names.
  Sql("bytes", "CREATE TABLE good (a int)");
  Sql("café", "CREATE TABLE größe (a int)");
  Sql("café", "SELECT 1, 2, 3 AS länge");
  Sql("postgres", "SELECT 1, 2, 3, 4 AS höhe");
  Start();
  EXPECT_TRUE(WaitUntil([&] { return HasText("bad_\xef\xbf\xbd"); }, absl::Seconds(60))) << collector_->Output();
  EXPECT_TRUE(HasText("AS höhe"));
  EXPECT_TRUE(HasText("AS länge"));
  EXPECT_FALSE(HasText("hunter2"));
  EXPECT_TRUE(WaitUntil(
      [&] {
        const std::set<std::string> tables = ingest_.TextValues("table_stats", "relname");
        return tables.contains("bad_\xef\xbf\xbd") && tables.contains("good") && tables.contains("größe");
      },
      absl::Seconds(60)))
      << collector_->Output();
  EXPECT_THAT(collector_->Output(), Not(HasSubstr("not collected")));
}

TEST_P(CollectorEncoding, ANameHasOneSpellingInAllMetrics) {
  Sql("café", "CREATE TABLE t (a int)");
  SqlAsBytes("café", "CREATE DATABASE \"th\xe9\" TEMPLATE template0");
  auto held = server_->Connect("café");
  ASSERT_THAT(held, IsOk());
  Start();
  for (const char* metric : {"database", "database_size", "table_stats", "table_size", "activity", "statements"}) {
    const auto names = [&] { return ingest_.TextValues(metric, "datname"); };
    EXPECT_TRUE(WaitUntil([&] { return names().contains("café"); }, absl::Seconds(60))) << metric;
    for (const std::string& name : names()) {
      if (name.starts_with("caf")) {
        EXPECT_EQ(name, "café") << metric;
      } else if (name.starts_with("th")) {
        EXPECT_EQ(name, "th\xef\xbf\xbd") << metric;
      }
    }
  }
}

TEST_P(CollectorEncoding, TextsThatCannotBeReadCostNoFiguresAndAreSaidOnce) {
  SqlAsBytes("bytes", "SELECT 1 AS bad_\xe9");
  Start();
  ASSERT_THAT(collector_->WaitForOutput("CREATE EXTENSION pg_stat_statements", clock::SteadyNow() + absl::Seconds(60)),
              IsOk());
  const int64_t frames = ingest_.Frames("statements");
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Frames("statements") >= frames + 3; }, absl::Seconds(60)));
  const std::string log = collector_->Output();
  const size_t first = log.find("not collected");
  EXPECT_NE(first, std::string::npos);
  EXPECT_EQ(log.find("not collected", first + 1), std::string::npos) << log;
  EXPECT_THAT(log, Not(HasSubstr("collected again")));
}

INSTANTIATE_TEST_SUITE_P(PostgreSQL, CollectorEncoding, ::testing::ValuesIn(Versions()),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace pga::collector
