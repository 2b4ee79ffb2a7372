#include "libs/pg/copy_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/pg/binary.h"
#include "libs/pg/errors.h"
#include "libs/testing/temp_postgres.h"

namespace pga::pg {
namespace {

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

class CopyConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto url = testing::SharedPostgres()->CreateFreshDatabase("copy");
    ASSERT_TRUE(url.ok()) << url.status();
    auto connection = CopyConnection::Connect({.url = *url}, Soon());
    ASSERT_TRUE(connection.ok()) << connection.status();
    connection_ = *std::move(connection);
  }
  Result Exec(const std::string& sql, const Params& params = {}) {
    auto result = connection_->Exec(sql, params, Soon());
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : Result();
  }
  std::unique_ptr<CopyConnection> connection_;
};

TEST_F(CopyConnectionTest, BinaryRowsOfEveryTypeArrive) {
  Exec("CREATE TABLE t (a int2, b int4, c int8, d float8, e bool, f timestamptz, g text, h uuid, i bytea)");
  std::string data;
  AppendCopyHeader(&data);
  AppendRowHeader(&data, 9);
  AppendInt2(&data, -2);
  AppendInt4(&data, std::numeric_limits<int32_t>::min());
  AppendInt8(&data, std::numeric_limits<int64_t>::max());
  AppendFloat8(&data, -0.5);
  AppendBool(&data, true);
  AppendTimestamptz(&data, 1'767'225'600'123'456);
  AppendText(&data, "ä\n\\");
  AppendBytes(&data, std::string(16, '\x11'));
  AppendBytes(&data, std::string("\0\xff", 2));
  AppendRowHeader(&data, 9);
  for (int i = 0; i < 5; ++i) AppendNull(&data);
  AppendTimestamptz(&data, std::numeric_limits<int64_t>::max());
  for (int i = 0; i < 3; ++i) AppendNull(&data);
  AppendRowHeader(&data, 9);
  for (int i = 0; i < 5; ++i) AppendNull(&data);
  AppendTimestamptz(&data, std::numeric_limits<int64_t>::min() + 5);
  for (int i = 0; i < 3; ++i) AppendNull(&data);
  AppendCopyTrailer(&data);
  ASSERT_TRUE(connection_->BeginCopy("COPY t FROM STDIN BINARY", Soon()).ok());
  // In small pieces: a boundary may fall anywhere.
  for (size_t at = 0; at < data.size(); at += 7) {
    ASSERT_TRUE(connection_->PutCopyData(std::string_view(data).substr(at, 7), Soon()).ok());
  }
  auto rows = connection_->EndCopy(Soon());
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ(*rows, 3);
  const Result result = Exec("SELECT a, b, c, d, e, f::text, g, h, i FROM t");
  EXPECT_EQ(result[0].Int64(0), -2);
  EXPECT_EQ(result[0].Int64(1), std::numeric_limits<int32_t>::min());
  EXPECT_EQ(result[0].Int64(2), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(result[0].Double(3), -0.5);
  EXPECT_TRUE(result[0].Bool(4));
  EXPECT_EQ(result[0].Text(5), "2026-01-01 00:00:00.123456+00");
  EXPECT_EQ(result[0].Text(6), "ä\n\\");
  EXPECT_EQ(result[0].Text(7), "11111111-1111-1111-1111-111111111111");
  EXPECT_EQ(result[0].Bytes(8), std::string("\0\xff", 2));
  EXPECT_EQ(result[1].Text(5), "infinity");
  EXPECT_EQ(result[2].Text(5), "-infinity");
}

TEST_F(CopyConnectionTest, RefusedRowFailsTheCopyAndLeavesTheConnection) {
  Exec("CREATE TABLE t (n int CHECK (n > 0))");
  ASSERT_TRUE(connection_->BeginCopy("COPY t FROM STDIN", Soon()).ok());
  ASSERT_TRUE(connection_->PutCopyData("1\n-1\n", Soon()).ok());
  EXPECT_EQ(SqlStateOf(connection_->EndCopy(Soon()).status()), "23514");
  EXPECT_TRUE(connection_->ok());
  ASSERT_TRUE(connection_->BeginCopy("COPY t FROM STDIN", Soon()).ok());
  ASSERT_TRUE(connection_->PutCopyData("5\n", Soon()).ok());
  EXPECT_TRUE(connection_->AbortCopy("changed my mind", Soon()).ok());
  EXPECT_EQ(Exec("SELECT count(*) FROM t")[0].Int64(0), 0);
}

TEST_F(CopyConnectionTest, CopyOutHandsOverEveryRow) {
  int64_t sum = 0;
  ASSERT_TRUE(connection_
                  ->CopyOut(
                      "COPY (SELECT generate_series(1, 10000)) TO STDOUT",
                      [&](std::string_view row) {
                        sum += std::atoi(std::string(row).c_str());
                        return absl::OkStatus();
                      },
                      Soon())
                  .ok());
  EXPECT_EQ(sum, 50005000);
  EXPECT_TRUE(connection_->ok());
}

TEST_F(CopyConnectionTest, ManyStatementsInOneRoundTripStopAtTheFirstError) {
  Exec("CREATE TABLE t (n int)");
  EXPECT_TRUE(connection_->ExecAll({"INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (2)"}, Soon()).ok());
  const auto status =
      connection_->ExecAll({"INSERT INTO t VALUES (3)", "SELECT 1/0", "INSERT INTO t VALUES (4)"}, Soon());
  EXPECT_EQ(SqlStateOf(status), "22012");
  EXPECT_EQ(Exec("SELECT count(*) FROM t")[0].Int64(0), 2);
}

TEST_F(CopyConnectionTest, CommitOfAFailedTransactionIsAnError) {
  Exec("BEGIN");
  EXPECT_FALSE(connection_->Exec("SELECT 1/0", Soon()).ok());
  EXPECT_TRUE(connection_->in_transaction());
  EXPECT_EQ(connection_->Commit(Soon()).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(connection_->in_transaction());
}

TEST(CopyConnectionSession, TimesAreUtcWhateverTheServerSays) {
  auto server = testing::TempPostgres::Start({.extra_conf = {"timezone = 'Asia/Tokyo'", "datestyle = 'SQL, DMY'"}});
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = (*server)->Connect();
  ASSERT_TRUE(connection.ok());
  EXPECT_EQ((*(*connection)->Exec("SELECT to_timestamp(0)", Soon()))[0].Text(0), "1970-01-01 00:00:00+00");
}

TEST_F(CopyConnectionTest, NoticesGoToTheSink) {
  std::vector<std::string> notices;
  auto connection = CopyConnection::Connect(
      {.url = testing::SharedPostgres()->Url(), .on_notice = [&](const std::string& n) { notices.push_back(n); }},
      Soon());
  ASSERT_TRUE(connection.ok());
  ASSERT_TRUE((*connection)->Exec("DO $$ BEGIN RAISE NOTICE 'hello %', 1; END $$", Soon()).ok());
  EXPECT_THAT(notices, ::testing::ElementsAre("hello 1"));
}

TEST(CopyConnectionFaults, SilentServerEndsAtTheDeadline) {
  auto server = testing::TempPostgres::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = (*server)->Connect();
  ASSERT_TRUE(connection.ok());
  ASSERT_TRUE((*connection)->Exec("CREATE TABLE t (s text)", Soon()).ok());
  ASSERT_TRUE((*connection)->BeginCopy("COPY t FROM STDIN", Soon()).ok());
  (*server)->Pause();
  // Far more than socket buffers hold.
  const std::string line(1 << 20, 'x');
  absl::Status status;
  for (int i = 0; i < 64 && status.ok(); ++i) {
    status = (*connection)->PutCopyData(line + "\n", clock::SteadyNow() + absl::Milliseconds(300));
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded) << status;
  EXPECT_FALSE((*connection)->ok());
  (*server)->Resume();
}

TEST_F(CopyConnectionTest, AnotherThreadEndsAWaitingCall) {
  const int pid = connection_->backend_pid();
  const clock::SteadyTime begun = clock::SteadyNow();
  std::thread other([&] {
    auto watcher = testing::SharedPostgres()->Connect();
    ASSERT_TRUE(watcher.ok());
    EXPECT_TRUE(testing::WaitUntil([&] {
      const auto active = (*watcher)->Exec(
          "SELECT 1 FROM pg_stat_activity WHERE pid = $1::int4 AND wait_event = 'PgSleep'", {pid}, Soon());
      return active.ok() && !active->empty();
    }));
    connection_->Interrupt();
  });
  EXPECT_TRUE(absl::IsUnavailable(connection_->Exec("SELECT pg_sleep(30)", begun + absl::Seconds(60)).status()));
  EXPECT_LT(clock::SteadyNow() - begun, absl::Seconds(25));
  EXPECT_FALSE(connection_->ok());
  other.join();
}

TEST(CopyConnectionFaults, LostCommitIsUnknown) {
  auto server = testing::TempPostgres::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  auto connection = (*server)->Connect();
  ASSERT_TRUE(connection.ok());
  ASSERT_TRUE((*connection)->Exec("BEGIN; CREATE TABLE t (n int)", Soon()).ok());
  (*server)->KillServer();
  EXPECT_EQ((*connection)->Commit(Soon()).code(), absl::StatusCode::kUnknown);
  EXPECT_EQ((*connection)->Exec("SELECT 1", Soon()).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace pga::pg
