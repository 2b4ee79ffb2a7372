#include "libs/pg/connect.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "libs/clock/steady.h"
#include "libs/net/host_resolver.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/errors.h"
#include "libs/pg/pool.h"
#include "libs/testing/loopback_listener.h"
#include "libs/testing/temp_postgres.h"

namespace pga::pg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

// A refusal means the same in each language of the server, for both kinds of connection.
class RefusalTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto server = testing::TempPostgres::Start({.tcp = true, .messages = GetParam()});
    if (server.status().code() == absl::StatusCode::kNotFound) GTEST_SKIP() << server.status();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    for (const char* sql : {"CREATE ROLE plain LOGIN PASSWORD 'right'", "CREATE ROLE few LOGIN CONNECTION LIMIT 0",
                            "CREATE DATABASE closed", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC"}) {
      const auto done = server_->Exec("postgres", sql);
      ASSERT_TRUE(done.ok()) << done.status();
    }
  }
  void Expect(const std::string& url, absl::StatusCode code, const std::string& sqlstate) {
    SCOPED_TRACE(sqlstate);
    const absl::Status copy = CopyConnection::Connect({.url = url}, Soon()).status();
    EXPECT_EQ(copy.code(), code) << copy;
    EXPECT_EQ(SqlStateOf(copy), sqlstate) << copy;
    PoolOptions options;
    options.url = url;
    auto pool = Pool::Create(std::move(options));
    ASSERT_TRUE(pool.ok()) << pool.status();
    const absl::Status pooled = (*pool)->Exec("SELECT 1", {}, Soon()).status();
    EXPECT_EQ(pooled.code(), code) << pooled;
    EXPECT_EQ(SqlStateOf(pooled), sqlstate) << pooled;
  }
  std::unique_ptr<testing::TempPostgres> server_;
};

TEST_P(RefusalTest, CarriesTheServersCode) {
  Expect(server_->Url("nowhere"), absl::StatusCode::kNotFound, "3D000");
  Expect(server_->UrlAs("few", "postgres"), absl::StatusCode::kResourceExhausted, "53300");
  Expect(server_->UrlAs("plain", "closed"), absl::StatusCode::kPermissionDenied, "42501");
  Expect(server_->UrlAs("nobody", "postgres"), absl::StatusCode::kPermissionDenied, "28000");
  const std::string tcp = absl::StrCat("host=127.0.0.1 dbname=postgres user=plain port=", server_->tcp_port());
  Expect(tcp + " password=wrong", absl::StatusCode::kPermissionDenied, "28P01");
  Expect(tcp, absl::StatusCode::kPermissionDenied, "28P01");
  EXPECT_TRUE(CopyConnection::Connect({.url = tcp + " password=right"}, Soon()).ok());
}

TEST_P(RefusalTest, SaysItInTheServersWordsWithoutItsInnards) {
  const absl::Status status = CopyConnection::Connect({.url = server_->Url("nowhere")}, Soon()).status();
  EXPECT_THAT(status.message(), HasSubstr(GetParam().empty() ? "database \"nowhere\" does not exist"
                                                             : "Datenbank \xc2\xbbnowhere\xc2\xab existiert nicht"));
  EXPECT_THAT(status.message(), Not(HasSubstr("3D000")));
  EXPECT_THAT(status.message(), Not(HasSubstr("postinit.c")));
  // What a statement says later is as short as ever.
  auto connection = CopyConnection::Connect({.url = server_->Url()}, Soon());
  ASSERT_TRUE(connection.ok()) << connection.status();
  EXPECT_THAT((*connection)->Exec("SELECT nothing", Soon()).status().message(), Not(HasSubstr(".c:")));
}

INSTANTIATE_TEST_SUITE_P(Languages, RefusalTest, ::testing::Values("", "de_DE"),
                         [](const auto& test) { return test.param.empty() ? "English" : test.param; });

TEST(OpenConnection, NobodyThereIsUnavailable) {
  const absl::Status status = OpenConnection("host=/nonexistent dbname=x", Soon()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(SqlStateOf(status), "08001");
}

// A host that takes the connection and says nothing costs its share of the time and no more.
TEST(OpenConnection, SilentHostLeavesTimeForTheNext) {
  auto server = testing::TempPostgres::Start({});
  ASSERT_TRUE(server.ok()) << server.status();
  const testing::LoopbackListener listener;
  const std::string conninfo = absl::StrCat(
      "host=/nonexistent,127.0.0.1,", (*server)->socket_dir(), " port=5432,", listener.port(), ",", (*server)->port(),
      " user=postgres dbname=postgres sslmode=disable gssencmode=disable connect_timeout=2");
  const clock::SteadyTime started = clock::SteadyNow();
  const auto connection = OpenConnection(conninfo, Soon());
  EXPECT_TRUE(connection.ok()) << connection.status();
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(10));
  // Of a host that refuses, the others are not asked: they would say the same.
  const absl::Status refused =
      OpenConnection(absl::StrCat("host=", (*server)->socket_dir(), ",127.0.0.1 port=", (*server)->port(), ",",
                                  listener.port(), " user=postgres dbname=nowhere"),
                     Soon())
          .status();
  EXPECT_EQ(SqlStateOf(refused), "3D000") << refused;
}

// Names that the resolver never answers cost their share of the time and no more, whoever asks.
TEST(OpenConnection, NameThatIsNeverAnsweredEndsWithTheDeadline) {
  auto server = testing::TempPostgres::Start({.tcp = true});
  ASSERT_TRUE(server.ok()) << server.status();
  auto never = std::make_shared<absl::Notification>();
  const absl::Cleanup end = [&] { never->Notify(); };
  net::HostResolver resolver(2, 8, [never](const std::string& host) -> absl::StatusOr<net::HostResolver::Addresses> {
    if (host == "server") return net::HostResolver::Addresses{"127.0.0.77", "127.0.0.1"};
    never->WaitForNotification();
    return absl::NotFoundError("late");
  });
  const std::string rest = absl::StrCat(" port=", (*server)->tcp_port(), " user=postgres dbname=postgres");
  const clock::SteadyTime started = clock::SteadyNow();
  const absl::Status silent = OpenConnection("host=silent" + rest, started + absl::Seconds(1), &resolver).status();
  EXPECT_EQ(silent.code(), absl::StatusCode::kDeadlineExceeded) << silent;
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(10));
  // connect_timeout bounds the look-up as well. Nothing listens at the first address of the next host.
  const auto next = OpenConnection("host=silent,server connect_timeout=2" + rest, Soon(), &resolver);
  EXPECT_EQ(SqlStateOf(next.status()), "28P01") << "the server wants a password: " << next.status();
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(15));
  const auto standby = OpenConnection("host=silent,server target_session_attrs=prefer-standby connect_timeout=3" + rest,
                                      Soon(), &resolver);
  EXPECT_EQ(SqlStateOf(standby.status()), "28P01") << standby.status();
}

TEST(OpenConnection, NameWithoutAddressIsUnavailable) {
  net::HostResolver resolver(1, 8, [](const std::string&) { return absl::NotFoundError("no such host"); });
  const absl::Status status = OpenConnection("host=nowhere dbname=x", Soon(), &resolver).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_EQ(SqlStateOf(status), "08001");
}

}  // namespace
}  // namespace pga::pg
