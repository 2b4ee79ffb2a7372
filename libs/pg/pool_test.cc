#include "libs/pg/pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <limits>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/errors.h"
#include "libs/testing/loopback_listener.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_postgres.h"

namespace pga::pg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

std::unique_ptr<Pool> MakePool(const std::string& url, int size = 2) {
  PoolOptions options;
  options.url = url;
  options.application_name = "pool-test";
  options.size = size;
  auto pool = Pool::Create(options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return *std::move(pool);
}

class PoolTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto url = testing::SharedPostgres()->CreateFreshDatabase("pool");
    ASSERT_TRUE(url.ok()) << url.status();
    url_ = *url;
    pool_ = MakePool(url_);
  }
  Result Exec(const std::string& sql, const Params& params = {}) {
    auto result = pool_->Exec(sql, params, Soon());
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : Result();
  }
  std::string url_;
  std::unique_ptr<Pool> pool_;
};

TEST_F(PoolTest, ValuesOfEveryKindComeBackAsTheyWent) {
  const std::string bytes("a\0b\\\xff", 5);
  const Result result = Exec(
      "SELECT $1::int8, $2::float8, $3::bool, $4::text, $5::bytea, $6::text, $7::float8, $8::float8, $9::int8, "
      "''::text",
      {std::numeric_limits<int64_t>::min(), 0.1, true, "it's \\ \"ä\"", Bytes{bytes}, std::nullopt,
       std::numeric_limits<double>::infinity(), std::nan(""), std::optional<int64_t>()});
  ASSERT_EQ(result.rows(), 1u);
  const Row row = result[0];
  EXPECT_EQ(row.Int64(0), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(row.Double(1), 0.1);
  EXPECT_TRUE(row.Bool(2));
  EXPECT_EQ(row.Text(3), "it's \\ \"ä\"");
  EXPECT_EQ(row.Bytes(4), bytes);
  EXPECT_TRUE(row.IsNull(5));
  EXPECT_EQ(row.OptText(5), std::nullopt);
  EXPECT_TRUE(std::isinf(row.Double(6)));
  EXPECT_TRUE(std::isnan(row.Double(7)));
  EXPECT_EQ(row.OptInt64(8), std::nullopt);
  EXPECT_EQ(row.OptText(9), "");
}

TEST_F(PoolTest, TextWithNulIsRefused) {
  EXPECT_EQ(pool_->Exec("SELECT $1", {std::string("a\0b", 3)}, Soon()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

struct ErrorCase {
  const char* name;
  const char* sql;
  absl::StatusCode code;
  const char* sqlstate;
};

class PoolErrors : public PoolTest, public ::testing::WithParamInterface<ErrorCase> {};

TEST_P(PoolErrors, AreMappedAlikeByBothKindsOfConnection) {
  Exec("CREATE TABLE t (n int PRIMARY KEY CHECK (n > 0)); INSERT INTO t VALUES (1)");
  const auto failed = pool_->Exec(GetParam().sql, {}, Soon()).status();
  EXPECT_EQ(failed.code(), GetParam().code) << failed;
  EXPECT_EQ(SqlStateOf(failed), GetParam().sqlstate) << failed;
  EXPECT_THAT(std::string(failed.message()), Not(HasSubstr("ERROR:")));
  auto connection = CopyConnection::Connect({.url = url_}, Soon());
  ASSERT_TRUE(connection.ok());
  const auto again = (*connection)->Exec(GetParam().sql, Soon()).status();
  EXPECT_EQ(again.code(), GetParam().code) << again;
  EXPECT_EQ(SqlStateOf(again), GetParam().sqlstate) << again;
  EXPECT_TRUE(pool_->Ping(Soon()).ok());
}

INSTANTIATE_TEST_SUITE_P(
    All, PoolErrors,
    ::testing::Values(
        ErrorCase{"Unique", "INSERT INTO t VALUES (1)", absl::StatusCode::kAlreadyExists, "23505"},
        ErrorCase{"Check", "INSERT INTO t VALUES (-1)", absl::StatusCode::kFailedPrecondition, "23514"},
        ErrorCase{"NotNull", "INSERT INTO t VALUES (NULL)", absl::StatusCode::kFailedPrecondition, "23502"},
        ErrorCase{"Range", "SELECT 99999999999::int4", absl::StatusCode::kInvalidArgument, "22003"},
        ErrorCase{"Table", "SELECT * FROM nowhere", absl::StatusCode::kNotFound, "42P01"},
        ErrorCase{"Column", "SELECT nothing FROM t", absl::StatusCode::kNotFound, "42703"},
        ErrorCase{"Function", "SELECT nothing()", absl::StatusCode::kNotFound, "42883"},
        ErrorCase{"Syntax", "SELEC 1", absl::StatusCode::kInternal, "42601"},
        ErrorCase{"ReadOnly", "SELECT set_config('transaction_read_only', 'on', true); INSERT INTO t VALUES (2)",
                  absl::StatusCode::kFailedPrecondition, "25006"}),
    [](const auto& test) { return test.param.name; });

TEST_F(PoolTest, TransactionCommitsOrRollsBack) {
  Exec("CREATE TABLE t (n int)");
  EXPECT_EQ(
      pool_->InTransaction(Soon(), [](Transaction& tx) { return tx.Exec("INSERT INTO t VALUES ($1)", {1}).status(); }),
      absl::OkStatus());
  EXPECT_EQ(pool_
                ->InTransaction(Soon(),
                                [](Transaction& tx) {
                                  tx.Exec("INSERT INTO t VALUES (2)").IgnoreError();
                                  return absl::AbortedError("changed my mind");
                                })
                .code(),
            absl::StatusCode::kAborted);
  // A body that overlooks an error does not commit.
  EXPECT_EQ(pool_
                ->InTransaction(Soon(),
                                [](Transaction& tx) {
                                  tx.Exec("INSERT INTO t VALUES (3)").IgnoreError();
                                  tx.Exec("SELECT 1/0").IgnoreError();
                                  return absl::OkStatus();
                                })
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Exec("SELECT array_agg(n) FROM t")[0].Text(0), "{1}");
}

TEST_F(PoolTest, SnapshotSeesOneState) {
  Exec("CREATE TABLE t (n int)");
  auto other = MakePool(url_);
  EXPECT_TRUE(pool_
                  ->InTransaction(
                      Soon(),
                      [&](Transaction& tx) -> absl::Status {
                        EXPECT_EQ((*tx.Exec("SELECT count(*) FROM t"))[0].Int64(0), 0);
                        EXPECT_TRUE(other->Exec("INSERT INTO t VALUES (1)", {}, Soon()).ok());
                        EXPECT_EQ((*tx.Exec("SELECT count(*) FROM t"))[0].Int64(0), 0);
                        EXPECT_FALSE(tx.Exec("INSERT INTO t VALUES (2)").ok());
                        return absl::OkStatus();
                      },
                      Isolation::kSnapshot)
                  .code() == absl::StatusCode::kFailedPrecondition);
}

TEST_F(PoolTest, StatementEndsAtItsDeadline) {
  const clock::SteadyTime start = clock::SteadyNow();
  EXPECT_EQ(pool_->Exec("SELECT pg_sleep(30)", {}, clock::SteadyNow() + absl::Milliseconds(200)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(clock::SteadyNow() - start, absl::Seconds(5));
  EXPECT_TRUE(pool_->Ping(Soon()).ok());
}

TEST_F(PoolTest, AcquireIsBounded) {
  auto first = pool_->Acquire(Soon());
  auto second = pool_->Acquire(Soon());
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(pool_->Acquire(clock::SteadyNow() + absl::Milliseconds(50)).status().code(),
            absl::StatusCode::kResourceExhausted);
  std::thread other([&] { EXPECT_TRUE(pool_->Ping(Soon()).ok()); });
  EXPECT_TRUE(testing::WaitUntil([&] { return pool_->stats().waiting == 1; }));
  { Lease done = *std::move(first); }
  other.join();
  EXPECT_EQ(pool_->stats().open, 2);
}

TEST_F(PoolTest, RoleIsTakenWhenTheLoginIsAMember) {
  testing::SharedPostgres()
      ->Exec("postgres", "DROP ROLE IF EXISTS pool_reader; CREATE ROLE pool_reader NOLOGIN")
      .IgnoreError();
  for (const auto& [role, user] :
       std::vector<std::pair<std::string, std::string>>{{"pool_reader", "pool_reader"}, {"no_such_role", "postgres"}}) {
    PoolOptions options;
    options.url = url_;
    options.role = role;
    auto pool = Pool::Create(options);
    ASSERT_TRUE(pool.ok());
    auto name = (*pool)->Exec("SELECT current_user", {}, Soon());
    ASSERT_TRUE(name.ok()) << name.status();
    EXPECT_EQ((*name)[0].Text(0), user);
  }
}

TEST(PoolFaults, SurvivesRestartCrashAndPause) {
  auto started = testing::TempPostgres::Start();
  ASSERT_TRUE(started.ok()) << started.status();
  testing::TempPostgres& server = **started;
  auto pool = MakePool(server.Url());
  ASSERT_TRUE(pool->Ping(Soon()).ok());
  ASSERT_TRUE(server.Restart().ok());
  EXPECT_TRUE(pool->Ping(Soon()).ok()) << "a connection that the server closed is replaced unseen";
  server.KillServer();
  EXPECT_EQ(pool->Ping(Soon()).code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(server.StartServer().ok());
  EXPECT_TRUE(pool->Ping(Soon()).ok());
  // A server that does not answer at all cannot end the statement: the socket is shut.
  auto lease = pool->Acquire(Soon());
  ASSERT_TRUE(lease.ok());
  server.Pause();
  const clock::SteadyTime start = clock::SteadyNow();
  EXPECT_EQ(lease->Exec("SELECT 1", {}, clock::SteadyNow() + absl::Milliseconds(100)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(clock::SteadyNow() - start, absl::Seconds(10));
  server.Resume();
  { Lease done = *std::move(lease); }
  EXPECT_TRUE(pool->Ping(Soon()).ok());
  EXPECT_EQ(pool->stats().leased, 0);
}

// A server that keeps its connections open and answers nothing, from each call on that a pool makes. The pool is used
// again as soon as the server goes on.
TEST(PoolFaults, EveryCallEndsWhenTheServerIsPaused) {
  auto started = testing::TempPostgres::Start();
  ASSERT_TRUE(started.ok()) << started.status();
  testing::TempPostgres& server = **started;
  // The limit of a call, the watchdog's grace and the time for rolling back.
  constexpr absl::Duration kAtMost = absl::Seconds(10);
  const auto soon = [] { return clock::SteadyNow() + absl::Milliseconds(300); };
  const auto body = [](Transaction& tx) { return tx.Exec("SELECT 1").status(); };
  using Call = std::function<absl::Status(Pool*, Lease*)>;
  const std::vector<std::pair<std::string, Call>> calls = {
      {"BEGIN",
       [&](Pool*, Lease* lease) {
         server.Pause();
         return lease->InTransaction(soon(), body);
       }},
      {"BEGIN of a snapshot",
       [&](Pool*, Lease* lease) {
         server.Pause();
         return lease->InTransaction(soon(), body, Isolation::kSnapshot);
       }},
      {"statement of a transaction",
       [&](Pool*, Lease* lease) {
         return lease->InTransaction(clock::SteadyNow() + absl::Seconds(1), [&](Transaction& tx) {
           server.Pause();
           return tx.Exec("SELECT 1").status();
         });
       }},
      {"COMMIT",
       [&](Pool*, Lease* lease) {
         return lease->InTransaction(clock::SteadyNow() + absl::Seconds(1), [&](Transaction& tx) {
           const absl::Status status = tx.Exec("SELECT 1").status();
           server.Pause();
           return status;
         });
       }},
      {"COMMIT without time left",
       [&](Pool*, Lease* lease) {
         const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(1);
         return lease->InTransaction(deadline, [&](Transaction& tx) {
           const absl::Status status = tx.Exec("SELECT 1").status();
           server.Pause();
           testing::WaitUntil([&] { return clock::SteadyNow() > deadline; });
           return status;
         });
       }},
      {"ROLLBACK",
       [&](Pool*, Lease* lease) {
         return lease->InTransaction(soon(), [&](Transaction& tx) {
           tx.Exec("SELECT 1").status().IgnoreError();
           server.Pause();
           return absl::DataLossError("no");
         });
       }},
      {"connect",
       [&](Pool* pool, Lease*) {
         server.Pause();
         return pool->Ping(soon());
       }},
  };
  for (const auto& [name, call] : calls) {
    SCOPED_TRACE(name);
    auto pool = MakePool(server.Url());
    auto lease = pool->Acquire(Soon());
    ASSERT_TRUE(lease.ok()) << lease.status();
    const clock::SteadyTime start = clock::SteadyNow();
    EXPECT_FALSE(call(pool.get(), &*lease).ok());
    { Lease done = *std::move(lease); }
    EXPECT_LT(clock::SteadyNow() - start, kAtMost);
    server.Resume();
    EXPECT_TRUE(pool->InTransaction(Soon(), body).ok());
    EXPECT_EQ(pool->stats().leased, 0);
  }
}

// A process that ends does not wait for a server that does not answer, however much time the callers gave.
TEST(PoolFaults, TheEndOfTheProcessEndsEveryWait) {
  auto started = testing::TempPostgres::Start();
  ASSERT_TRUE(started.ok()) << started.status();
  testing::TempPostgres& server = **started;
  auto pool = MakePool(server.Url());
  auto lease = pool->Acquire(Soon());
  ASSERT_TRUE(lease.ok()) << lease.status();
  auto copy = CopyConnection::Connect({.url = server.Url()}, Soon());
  ASSERT_TRUE(copy.ok()) << copy.status();
  auto reading = CopyConnection::Connect({.url = server.Url()}, Soon());
  ASSERT_TRUE(reading.ok()) << reading.status();
  auto other = pool->Acquire(Soon());
  ASSERT_TRUE(other.ok()) << other.status();
  const clock::SteadyTime late = clock::SteadyNow() + absl::Seconds(50);
  absl::Notification in_transaction, rolled_back;
  // Fails at its own pace, when the time for a ROLLBACK is over.
  const auto fail_late = [&](Transaction& tx) -> absl::Status {
    EXPECT_TRUE(tx.Exec("SELECT 1").ok());
    in_transaction.Notify();
    EXPECT_TRUE(
        testing::WaitUntil([] { return clock::SteadyNow() >= exec::ProcessEnd::waits_until(); }, absl::Seconds(30)));
    return absl::DataLossError("no");
  };
  std::thread transaction([&] {
    EXPECT_FALSE(other->InTransaction(late, fail_late).ok());
    rolled_back.Notify();
  });
  in_transaction.WaitForNotification();
  server.Pause();
  const clock::SteadyTime begun = clock::SteadyNow();
  std::thread statement([&] { EXPECT_TRUE(absl::IsDeadlineExceeded(lease->Exec("SELECT 1", {}, late).status())); });
  std::thread query([&] {
    EXPECT_TRUE(absl::IsDeadlineExceeded((*reading)->Query(
        "SELECT 1", {}, [](const BinaryRow&) { return absl::OkStatus(); }, CallLimit(late))));
  });
  std::thread copying([&] { EXPECT_TRUE(absl::IsDeadlineExceeded((*copy)->Exec("SELECT 1", late).status())); });
  std::thread connecting([&] { EXPECT_FALSE(CopyConnection::Connect({.url = server.Url()}, late).ok()); });
  exec::ProcessEnd::Begin(absl::Seconds(1));
  EXPECT_TRUE(testing::WaitUntil([&] { return rolled_back.HasBeenNotified(); }, absl::Seconds(15)))
      << "a ROLLBACK waits for the server";
  statement.join();
  query.join();
  copying.join();
  connecting.join();
  EXPECT_LT(clock::SteadyNow() - begun, absl::Seconds(15));
  exec::ProcessEnd::ResetForTest();
  server.Resume();
  transaction.join();
}

TEST(PoolFaults, BodyThatThrowsLeavesNoTransactionOpen) {
  auto pool = MakePool(testing::SharedPostgres()->Url("postgres"), 1);
  ASSERT_TRUE(pool->Exec("CREATE TABLE thrown (n int)", {}, Soon()).ok());
  EXPECT_THROW((void)pool->InTransaction(Soon(),
                                         [](Transaction& tx) -> absl::Status {
                                           (void)tx.Exec("INSERT INTO thrown VALUES (1)");
                                           throw std::bad_alloc();
                                         }),
               std::bad_alloc);
  const auto rows = pool->Exec("SELECT count(*) FROM thrown", {}, Soon());
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_EQ((*rows)[0].Text(0), "0");
}

TEST(PoolFaults, ConnectingEndsWithTheCallersTime) {
  // The kernel completes the handshake; nobody ever answers.
  const testing::LoopbackListener listener;
  PoolOptions options;
  options.url = absl::StrCat("host=127.0.0.1 sslmode=disable dbname=x port=", listener.port());
  options.connect_timeout = absl::Seconds(30);
  auto pool = Pool::Create(options);
  ASSERT_TRUE(pool.ok());
  const clock::SteadyTime start = clock::SteadyNow();
  EXPECT_EQ((*pool)->Ping(clock::SteadyNow() + absl::Seconds(1)).code(), absl::StatusCode::kUnavailable);
  EXPECT_LT(clock::SteadyNow() - start, absl::Seconds(15));
}

TEST(PoolFaults, LostCommitIsUnknown) {
  auto started = testing::TempPostgres::Start();
  ASSERT_TRUE(started.ok()) << started.status();
  auto pool = MakePool((*started)->Url());
  ASSERT_TRUE(pool->Ping(Soon()).ok());
  const auto status = pool->InTransaction(Soon(), [&](Transaction& tx) -> absl::Status {
    auto made = tx.Exec("CREATE TABLE t (n int)");
    (*started)->KillServer();
    return made.status();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnknown) << status;
}

TEST(Conninfo, PasswordNeverAppearsInErrors) {
  for (const char* url : {"postgresql://u:hunter2%zz@host/db", "postgresql://u:hunter2@host/db?nonsense=1",
                          "host=h password='hunter2", "hunter2"}) {
    const auto pool = Pool::Create({.url = url});
    EXPECT_FALSE(pool.ok());
    EXPECT_THAT(pool.status().ToString(), Not(HasSubstr("hunter2")));
  }
}

TEST(Conninfo, MergesAndQuotes) {
  auto merged = MergeConninfo("postgresql://u:p%20'x@h:1/db?connect_timeout=9",
                              {{"connect_timeout", "3", false}, {"application_name", "a b\\c", true}});
  ASSERT_TRUE(merged.ok()) << merged.status();
  EXPECT_EQ(*ConninfoValue(*merged, "connect_timeout"), "9");
  EXPECT_EQ(*ConninfoValue(*merged, "application_name"), "a b\\c");
  EXPECT_EQ(*ConninfoValue(*merged, "password"), "p 'x");
  auto other = WithDatabase(*merged, "o'ther");
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(*ConninfoValue(*other, "dbname"), "o'ther");
  EXPECT_FALSE(MergeConninfo("", {}).ok());
}

}  // namespace
}  // namespace pga::pg
