#include "libs/pg/async_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <limits>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/notification.h"
#include "libs/clock/steady.h"
#include "libs/net/host_resolver.h"
#include "libs/pg/errors.h"
#include "libs/status/testing.h"
#include "libs/testing/loopback_listener.h"
#include "libs/testing/temp_postgres.h"

namespace pga::pg {
namespace {

namespace asio = boost::asio;
using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::pga::testing::TempPostgres;
using ::testing::HasSubstr;

TempPostgres* Server() {
  static TempPostgres* const server = [] {
    TempPostgres::Options options;
    options.tcp = true;
    auto started = TempPostgres::Start(options);
    EXPECT_THAT(started, IsOk());
    return started.ok() ? started->release() : nullptr;
  }();
  return server;
}

class AsyncConnectionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(Server(), nullptr);
    options_.host = Server()->socket_dir();
    options_.port = Server()->port();
    options_.user = "postgres";
    options_.database = "postgres";
    options_.application_name = "async_test";
  }

  template <typename T>
  T Run(asio::awaitable<T> work) {
    std::optional<T> result;
    loop_.restart();
    asio::co_spawn(loop_, std::move(work), [&](std::exception_ptr error, T value) {
      if (error) std::rethrow_exception(error);
      result.emplace(std::move(value));
    });
    loop_.run();
    return *std::move(result);
  }

  std::unique_ptr<AsyncConnection> Connect() {
    auto connection = Run(AsyncConnection::Connect(options_, &resolver_));
    EXPECT_THAT(connection, IsOk());
    return connection.ok() ? *std::move(connection) : nullptr;
  }

  asio::io_context loop_{1};
  net::HostResolver resolver_{2, 8};
  AsyncConnectOptions options_;
};

TEST_F(AsyncConnectionTest, ReadsEveryTypeInBinary) {
  auto connection = Connect();
  ASSERT_NE(connection, nullptr);
  int rows = 0;
  AsyncConnection::RowSink sink = [&](const AsyncRow& row) {
    ++rows;
    EXPECT_EQ(*row.Bool(0), true);
    EXPECT_EQ(*row.Int(1), -5);
    EXPECT_EQ(*row.Int(2), std::numeric_limits<int64_t>::min());
    EXPECT_DOUBLE_EQ(*row.Double(3), 2.5);
    EXPECT_EQ(*row.Text(4), "größe");
    EXPECT_EQ(*row.TimestampUs(5), 1000001);
    EXPECT_EQ(*row.IntervalUs(6), (int64_t{31} * 86400 + 1) * 1000000);
    EXPECT_EQ(*row.Lsn(7), (int64_t{1} << 32) + 16);
    EXPECT_TRUE(row.IsNull(8));
    EXPECT_EQ(*row.Int(9), 4000000000);
    EXPECT_THAT(row.Text(1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("column n")));
    return absl::OkStatus();
  };
  EXPECT_THAT(Run(connection->Query("SELECT true, -5::int2 AS n, (-9223372036854775808)::int8, 2.5::float8, 'größe', "
                                    "'1970-01-01 00:00:01.000001Z'::timestamptz, '1 mon 1 day 1 s'::interval, "
                                    "'1/10'::pg_lsn, NULL::int8, 4000000000::oid",
                                    {}, absl::Seconds(5), sink)),
              IsOk());
  EXPECT_EQ(rows, 1);
}

TEST_F(AsyncConnectionTest, LargeResultsArriveRowByRow) {
  auto connection = Connect();
  int64_t sum = 0;
  AsyncConnection::RowSink sink = [&](const AsyncRow& row) {
    sum += *row.Int(0);
    return absl::OkStatus();
  };
  EXPECT_THAT(Run(connection->Query("SELECT generate_series(1, $1::int8)", {"100000"}, absl::Seconds(20), sink)),
              IsOk());
  EXPECT_EQ(sum, int64_t{100000} * 100001 / 2);
}

TEST_F(AsyncConnectionTest, ErrorsKeepTheConnection) {
  auto connection = Connect();
  EXPECT_THAT(Run(connection->Query("SELECT 1/0", {}, absl::Seconds(5), nullptr)), ::testing::Not(IsOk()));
  EXPECT_THAT(Run(connection->Query("SELECT * FROM pg_nothing", {}, absl::Seconds(5), nullptr)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_FALSE(connection->broken());
  AsyncConnection::RowSink sink = [](const AsyncRow&) { return absl::AbortedError("no more"); };
  EXPECT_THAT(Run(connection->Query("SELECT generate_series(1, 10)", {}, absl::Seconds(5), sink)),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(Run(connection->Query("SELECT 1", {}, absl::Seconds(5), nullptr)), IsOk());
}

TEST_F(AsyncConnectionTest, ARefusalCarriesTheServersCode) {
  options_.database = "absent";
  const auto refused = Run(AsyncConnection::Connect(options_, &resolver_));
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"absent\" does not exist")));
  EXPECT_EQ(SqlStateOf(refused.status()), "3D000");
}

TEST_F(AsyncConnectionTest, AScriptEndsAtItsFirstError) {
  auto connection = Connect();
  EXPECT_THAT(Run(connection->Script("BEGIN; SELECT 1/0; SELECT 1", absl::Seconds(5))), ::testing::Not(IsOk()));
  EXPECT_FALSE(connection->broken());
  EXPECT_THAT(Run(connection->Script("ROLLBACK", absl::Seconds(5))), IsOk());
}

TEST_F(AsyncConnectionTest, OneStatementAtATime) {
  auto connection = Connect();
  EXPECT_THAT(Run(connection->Query("SELECT 1; DROP TABLE x", {}, absl::Seconds(5), nullptr)), ::testing::Not(IsOk()));
}

TEST_F(AsyncConnectionTest, TimeoutClosesTheConnection) {
  auto connection = Connect();
  const clock::SteadyTime began = clock::SteadyNow();
  EXPECT_THAT(Run(connection->Query("SELECT pg_sleep(30)", {}, absl::Milliseconds(200), nullptr)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_LT(clock::SteadyNow() - began, absl::Seconds(5));
  EXPECT_TRUE(connection->broken());
  EXPECT_THAT(Run(connection->Query("SELECT 1", {}, absl::Seconds(5), nullptr)),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(AsyncConnectionTest, ServersOwnTimeoutKeepsTheConnection) {
  auto connection = Connect();
  EXPECT_THAT(Run(connection->Script("SELECT 1; SET statement_timeout = 100", absl::Seconds(5))), IsOk());
  EXPECT_THAT(Run(connection->Query("SELECT pg_sleep(30)", {}, absl::Seconds(10), nullptr)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_FALSE(connection->broken());
}

TEST_F(AsyncConnectionTest, HostThatDoesNotAnswerDelaysNobody) {
  // A socket that accepts and says nothing.
  const testing::LoopbackListener listener;
  AsyncConnectOptions silent = options_;
  silent.host = "127.0.0.1";
  silent.port = listener.port();
  silent.connect_timeout = absl::Seconds(3);
  absl::Status silent_status;
  bool other_first = false;
  bool silent_done = false;
  asio::co_spawn(loop_, AsyncConnection::Connect(silent, &resolver_), [&](std::exception_ptr, auto connection) {
    silent_status = connection.status();
    silent_done = true;
  });
  asio::co_spawn(loop_, AsyncConnection::Connect(options_, &resolver_), [&](std::exception_ptr, auto connection) {
    EXPECT_THAT(connection, IsOk());
    other_first = !silent_done;
  });
  loop_.run();
  EXPECT_TRUE(other_first);
  EXPECT_THAT(silent_status, StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(AsyncConnectionTest, NamesAreResolvedAndFailuresSaySo) {
  options_.host = "localhost";
  options_.port = Server()->tcp_port();
  auto connection = Run(AsyncConnection::Connect(options_, &resolver_));
  EXPECT_TRUE(connection.ok() || connection.status().code() == absl::StatusCode::kPermissionDenied)
      << connection.status();
  options_.host = "no-such-host.invalid";
  EXPECT_FALSE(Run(AsyncConnection::Connect(options_, &resolver_)).ok());
  options_.host = "127.0.0.1";
  options_.port = 1;
  EXPECT_THAT(Run(AsyncConnection::Connect(options_, &resolver_)), StatusIs(absl::StatusCode::kUnavailable));
}

// The look-up goes on when the coroutine, and even its loop, has gone.
TEST_F(AsyncConnectionTest, NameThatIsNeverAnsweredEndsWithTheTimeout) {
  auto never = std::make_shared<absl::Notification>();
  net::HostResolver resolver(1, 8, [never](const std::string&) -> absl::StatusOr<net::HostResolver::Addresses> {
    never->WaitForNotification();
    return net::HostResolver::Addresses{"127.0.0.1"};
  });
  const absl::Cleanup end = [&] { never->Notify(); };
  options_.host = "silent";
  options_.connect_timeout = absl::Milliseconds(50);
  EXPECT_THAT(Run(AsyncConnection::Connect(options_, &resolver)), StatusIs(absl::StatusCode::kDeadlineExceeded));
  options_.connect_timeout = absl::Hours(1);
  asio::io_context short_lived;
  asio::co_spawn(short_lived, AsyncConnection::Connect(options_, &resolver), [](std::exception_ptr, auto) {});
  short_lived.poll();
}

TEST_F(AsyncConnectionTest, KilledBackendIsALostConnection) {
  auto connection = Connect();
  ASSERT_THAT(
      Server()->Exec("postgres", "SELECT pg_terminate_backend(" + std::to_string(connection->backend_pid()) + ")"),
      IsOk());
  EXPECT_FALSE(Run(connection->Query("SELECT 1", {}, absl::Seconds(5), nullptr)).ok());
  EXPECT_TRUE(connection->broken());
}

}  // namespace
}  // namespace pga::pg
