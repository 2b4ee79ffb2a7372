// What pgactl shows of servers under way: who holds a snapshot, and statements of calls that end.
#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <sstream>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/pg/copy_connection.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/server.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/compactor/server.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/pgactl_testing.h"

namespace pga::pgactl {
namespace {

using status::IsOk;
using ::testing::HasSubstr;

// By a compactor whose clock is ten minutes ahead, so that nothing has to be held for five.
TEST(PgactlStorage, NamesWhoHoldsASnapshot) {
  const std::string database = pga::testing::SharedPostgres()->CreateFreshDatabase("pgactl_holders").value();
  const auto catalog = catalog::Catalog::Builtin();
  storage::MigrateOptions migrate;
  migrate.layout = storage::Layout::kNative;
  for (const auto& metric : (*catalog)->metrics()) migrate.metrics.push_back(&metric);
  ASSERT_THAT(storage::MigrateUp(database, storage::Database::kMetrics, migrate), IsOk());
  const auto soon = [] { return clock::SteadyNow() + absl::Seconds(20); };
  auto dump = pg::CopyConnection::Connect({.url = database, .application_name = "nightly_dump"}, soon());
  ASSERT_THAT(dump, IsOk());
  ASSERT_THAT((*dump)->Exec("GRANT pg_read_all_stats TO pganalytics_maintenance", soon()), IsOk());
  ASSERT_THAT((*dump)->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1", soon()), IsOk());

  metrics::Registry metrics(false);
  clock::FakeClock later(clock::WallNow() + absl::Minutes(10));
  token::Verifier verifier;
  token::RevocationSet revocations;
  ASSERT_THAT(verifier.SetHmacSecrets({kSecret}), IsOk());
  revocations.Apply({}, std::numeric_limits<int64_t>::max());
  rpc::Authenticator authenticator(&verifier, &revocations);
  compactor::CompactorConfig config;
  config.metrics_url = log::Secret(database);
  auto compactor = compactor::CompactorServer::Create(
                       config, {.metrics = &metrics, .clock = &later, .authenticator = &authenticator})
                       .value();
  rpc::Server::Options options;
  options.name = "suite";
  options.listen = {"127.0.0.1:0"};
  options.services = {compactor->services()[0]};
  auto server = rpc::Server::Start(std::move(options)).value();
  pga::testing::ScopedTempDir folder;
  const Environment environment = {{"XDG_CONFIG_HOME", folder.path()},
                                   {"PGACTL_TOKEN", UserToken(absl::Hours(1))},
                                   {"PGACTL_COMPACTOR_ADDR", absl::StrCat("127.0.0.1:", server->ports()[0])}};
  std::string shown;
  const auto storage = [&] {
    std::ostringstream out, err;
    RunPgactl({"storage"}, environment, out, err);
    shown = out.str() + err.str();
    return shown;
  };
  ASSERT_TRUE(
      pga::testing::WaitUntil([&] { return storage().find("Backlog: ") != std::string::npos; }, absl::Seconds(60)))
      << shown;
  EXPECT_THAT(shown, HasSubstr("merged frames take space as long as these stand:"));
  EXPECT_THAT(shown, ::testing::ContainsRegex(absl::StrCat("session +nightly_dump +", (*dump)->backend_pid(), " ")));
  server->Drain(soon());
  compactor->Drain(soon());
}

namespace registry_pb = ::pganalytics::registry::v1;
namespace query_pb = ::pganalytics::query::v1;

class TwoSources final : public registry_pb::RegistryService::Service {
  grpc::Status ListSources(grpc::ServerContext*, const registry_pb::ListSourcesRequest*,
                           registry_pb::ListSourcesResponse* answer) override {
    for (const auto& [id, kind] : {std::pair("1", "server"), std::pair("2", "host")}) {
      registry_pb::Source* const source = answer->add_sources();
      source->set_id(id);
      source->set_kind(kind);
    }
    return grpc::Status::OK;
  }
};

class NothingSampled final : public query_pb::QueryService::Service {
  grpc::Status GetActivity(grpc::ServerContext*, const query_pb::GetActivityRequest*,
                           query_pb::GetActivityResponse* answer) override {
    for (const auto& [id, name] : {std::pair("1", "prod"), std::pair("2", "host:prod")}) {
      query_pb::SampledSource* const source = answer->add_sources();
      source->set_source_id(id);
      source->set_source_name(name);
    }
    return grpc::Status::OK;
  }
};

TEST(PgactlActivity, SaysNothingOfHostsWhichHaveNoSessions) {
  TwoSources registry;
  NothingSampled query;
  rpc::Server::Options options;
  options.name = "suite";
  options.listen = {"127.0.0.1:0"};
  options.services = {&registry, &query};
  auto server = rpc::Server::Start(std::move(options)).value();
  pga::testing::ScopedTempDir folder;
  const std::string address = absl::StrCat("127.0.0.1:", server->ports()[0]);
  const Environment environment = {{"XDG_CONFIG_HOME", folder.path()},
                                   {"PGACTL_TOKEN", UserToken(absl::Hours(1))},
                                   {"PGACTL_QUERY_ADDR", address},
                                   {"PGACTL_REGISTRY_ADDR", address}};
  const auto shown = [&](const std::vector<std::string>& words) {
    std::ostringstream out, err;
    EXPECT_EQ(RunPgactl(words, environment, out, err), 0) << err.str();
    return out.str() + err.str();
  };
  const std::string all = shown({"activity"});
  EXPECT_THAT(all, HasSubstr("prod: nothing was sampled"));
  EXPECT_EQ(all.find("host:prod"), std::string::npos) << all;
  EXPECT_THAT(shown({"activity", "--source", "host:prod"}), HasSubstr("host:prod: nothing was sampled"));
  server->Drain(clock::SteadyNow() + absl::Seconds(5));
}

// A read that waits for a lock, of which nobody takes the answer.
class Cancellation : public ::testing::Test {
 protected:
  void SetUp() override {
    pg::CopyConnectionOptions options;
    options.url = Suite::Get().database;
    options.application_name = "cancellation-test";
    holder_ = pg::CopyConnection::Connect(options, Soon()).value();
    ASSERT_THAT(holder_->Exec("BEGIN; LOCK metrics.catalog_metric IN ACCESS EXCLUSIVE MODE", Soon()), IsOk());
    watcher_ = pg::CopyConnection::Connect(options, Soon()).value();
  }
  static clock::SteadyTime Soon() { return clock::SteadyNow() + absl::Seconds(30); }
  // Statements of the query service that wait for the lock.
  int64_t Waiting() {
    const auto found = watcher_->Exec(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = "
        "'pganalytics-query'",
        Soon());
    EXPECT_THAT(found, IsOk());
    return (*found)[0].Int64(0);
  }
  bool Await(int64_t count) {
    return pga::testing::WaitUntil([&] { return Waiting() == count; }, absl::Seconds(20));
  }
  // Which statement waits: its process and when it began.
  std::string Statement() {
    const auto found = watcher_->Exec(
        "SELECT coalesce(string_agg(pid || ' ' || query_start, ', '), '') FROM pg_stat_activity WHERE wait_event_type "
        "= 'Lock' AND application_name = 'pganalytics-query'",
        Soon());
    EXPECT_THAT(found, IsOk());
    return std::string((*found)[0].Text(0));
  }
  static double Figure(const std::string& wanted) {
    const std::string text = "\n" + Suite::Get().metrics().Render();
    const size_t at = text.find("\n" + wanted + " ");
    return at == std::string::npos ? 0 : std::stod(text.substr(at + 1 + wanted.size()));
  }
  // Calls of the method that ended with this code.
  static double Ended(const std::string& method, const std::string& code) {
    return Figure("pga_rpc_requests_total{code=\"" + code + "\",method=\"" + method + "\"}");
  }

  std::unique_ptr<pg::CopyConnection> holder_, watcher_;
};

constexpr char kTimelineMethod[] = "/pganalytics.query.v1.QueryService/QueryTimeline";

TEST_F(Cancellation, AClosedSocketEndsTheStatement) {
  const double before = Ended(kTimelineMethod, "CANCELLED");
  const int port = std::stoi(Suite::Get().url.substr(Suite::Get().url.rfind(':') + 1));
  const auto ask = [&](const std::string& more) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string request =
        "GET /api/v1/queries/42/timeline?hours=1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
        UserToken(absl::Hours(1)) + "\r\n\r\n" + more;
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    return fd;
  };
  // Two ask the same and share one statement, which goes on when the first of them leaves.
  const double in_flight = Figure("pga_rpc_in_flight");
  const int first = ask("");
  ASSERT_TRUE(Await(1));
  const std::string statement = Statement();
  const int second = ask("GET /api/v1/metrics/count HTTP/1.1\r\n");
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return Figure("pga_rpc_in_flight") >= in_flight + 2; }));
  close(first);
  EXPECT_FALSE(pga::testing::WaitUntil([&] { return Statement() != statement; }, absl::Seconds(2)));
  close(second);
  ASSERT_TRUE(Await(0)) << "the statement goes on";
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return Ended(kTimelineMethod, "CANCELLED") >= before + 2; }));
}

TEST_F(Cancellation, ACallThatIsCancelledEndsTheStatement) {
  const double before = Ended(kTimelineMethod, "CANCELLED");
  const auto channel = grpc::CreateChannel(Suite::Get().grpc_address, grpc::InsecureChannelCredentials());
  const auto stub = ::pganalytics::query::v1::QueryService::NewStub(channel);
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer " + UserToken(absl::Hours(1)));
  std::thread caller([&] {
    ::pganalytics::query::v1::QueryTimelineRequest request;
    request.set_query_hash("42");
    ::pganalytics::query::v1::QueryTimelineResponse answer;
    EXPECT_EQ(stub->QueryTimeline(&context, request, &answer).error_code(), grpc::StatusCode::CANCELLED);
  });
  EXPECT_TRUE(Await(1));
  context.TryCancel();
  caller.join();
  EXPECT_TRUE(Await(0)) << "the statement goes on";
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return Ended(kTimelineMethod, "CANCELLED") >= before + 1; }));
}

}  // namespace
}  // namespace pga::pgactl
