#include "libs/testing/temp_postgres.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "libs/clock/steady.h"

namespace pga::testing {
namespace {

TEST(TempPostgres, EachOfItsServersStartsFastAndIsAlone) {
  ASSERT_TRUE(TempPostgres::Start().ok());  // makes the template
  const clock::SteadyTime start = clock::SteadyNow();
  auto first = TempPostgres::Start();
  ASSERT_TRUE(first.ok()) << first.status();
  const absl::Duration took = clock::SteadyNow() - start;
  RecordProperty("start_ms", static_cast<int>(absl::ToInt64Milliseconds(took)));
  auto second = TempPostgres::Start();
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_TRUE((*first)->CreateDatabase("only_here").ok());
  EXPECT_FALSE((*second)->Connect("only_here").ok());
  const std::string folder = (*first)->data_dir();
  first->reset();
  EXPECT_FALSE(std::filesystem::exists(folder));
}

class TempPostgresFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = TempPostgres::Start({.preload_statements = true});
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    ASSERT_TRUE(server_->Exec("postgres", "CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)").ok());
  }
  void ExpectKept() {
    const auto result = server_->Exec("postgres", "SELECT n FROM kept");
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ((*result)[0].Int32(0), 7);
  }
  std::unique_ptr<TempPostgres> server_;
};

TEST_F(TempPostgresFaults, StatementsAreTracked) {
  ASSERT_TRUE(server_->Exec("postgres", "CREATE EXTENSION pg_stat_statements").ok());
  EXPECT_TRUE(server_->Exec("postgres", "SELECT count(*) FROM pg_stat_statements").ok());
}

TEST_F(TempPostgresFaults, KilledServerKeepsCommittedRows) {
  server_->KillServer();
  EXPECT_FALSE(server_->running());
  EXPECT_FALSE(server_->Connect().ok());
  ASSERT_TRUE(server_->StartServer().ok());
  ExpectKept();
}

TEST_F(TempPostgresFaults, ImmediateStopAndRestartKeepCommittedRows) {
  ASSERT_TRUE(server_->StopImmediate().ok());
  ASSERT_TRUE(server_->StartServer().ok());
  ExpectKept();
  ASSERT_TRUE(server_->Restart().ok());
  ExpectKept();
}

TEST_F(TempPostgresFaults, PausedServerDoesNotAnswerButConnectionsSurvive) {
  auto connection = server_->Connect();
  ASSERT_TRUE(connection.ok());
  server_->Pause();
  auto other = pg::CopyConnection::Connect({.url = server_->Url()}, clock::SteadyNow() + absl::Milliseconds(100));
  EXPECT_EQ(other.status().code(), absl::StatusCode::kDeadlineExceeded) << other.status();
  server_->Resume();
  EXPECT_TRUE((*connection)->Exec("SELECT 1", clock::SteadyNow() + absl::Seconds(10)).ok());
}

TEST(TempPostgresVersions, OtherVersionsAreFoundOrNamed) {
  EXPECT_EQ(TempPostgres::Start({.version = "9"}).status().code(), absl::StatusCode::kNotFound);
  for (const char* version : {"13", "14", "16", "17", "18"}) {
    auto server = TempPostgres::Start({.version = version, .preload_statements = true});
    if (server.status().code() == absl::StatusCode::kNotFound) continue;
    ASSERT_TRUE(server.ok()) << server.status();
    auto result = (*server)->Exec("postgres", "SELECT current_setting('server_version_num')::int / 10000");
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ((*result)[0].Text(0), version);
    EXPECT_TRUE((*server)->Exec("postgres", "CREATE EXTENSION pg_stat_statements").ok());
  }
}

TEST(TempPostgresTcp, ListensOnAFreePort) {
  auto server = TempPostgres::Start({.extra_conf = {"password_encryption = 'scram-sha-256'"}, .tcp = true});
  ASSERT_TRUE(server.ok()) << server.status();
  ASSERT_TRUE((*server)->Exec("postgres", "ALTER ROLE postgres PASSWORD 'p'").ok());
  auto connection =
      pg::CopyConnection::Connect({.url = (*server)->TcpUrl() + "?password=p"}, clock::SteadyNow() + absl::Seconds(10));
  EXPECT_TRUE(connection.ok()) << connection.status();
}

TEST_F(TempPostgresFaults, StandbysStreamInACascadeAndArePromoted) {
  auto standby = TempPostgres::StartStandby(*server_, {.preload_statements = true});
  ASSERT_TRUE(standby.ok()) << standby.status();
  auto cascade = TempPostgres::StartStandby(**standby, {.preload_statements = true});
  ASSERT_TRUE(cascade.ok()) << cascade.status();
  ASSERT_TRUE(server_->Exec("postgres", "INSERT INTO kept VALUES (8)").ok());
  for (TempPostgres* server : {standby->get(), cascade->get()}) {
    EXPECT_TRUE(WaitUntil([&] {
      const auto rows = server->Exec("postgres", "SELECT n FROM kept");
      return rows.ok() && rows->rows() == 2;
    }));
  }
  server_->KillServer();
  ASSERT_TRUE((*standby)->Promote().ok());
  EXPECT_TRUE((*standby)->Exec("postgres", "INSERT INTO kept VALUES (9)").ok());
}

}  // namespace
}  // namespace pga::testing
