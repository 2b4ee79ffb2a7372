// pgactl as a whole against real servers: the query service on PostgreSQL and a stand-in for auth, over gRPC and
// through the REST gateway.
#include <arpa/inet.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/pg/copy_connection.h"
#include "libs/pg/pool.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/server.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/testing/frame_store.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/signer.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/compactor/server.h"
#include "services/gateway/server.h"
#include "services/query/server.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {
namespace {

namespace auth_pb = ::pganalytics::auth::v1;
namespace registry_pb = ::pganalytics::registry::v1;

using status::IsOk;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

std::string UserToken(absl::Duration lifetime) {
  auto signer = token::Signer::FromSecret(kSecret);
  token::Claims claims;
  claims.principal.kind = token::Principal::kUser;
  claims.principal.user_id = 7;
  claims.principal.username = "ann";
  claims.principal.role = "admin";
  claims.principal.all_groups = true;
  claims.principal.issued_at = clock::WallNow() - absl::Minutes(1);
  claims.principal.expires_at = clock::WallNow() + lifetime;
  return (*signer)->Sign(claims).value();
}

// Knows one user, whose first token lives too short to be used.
class StandInAuth final : public auth_pb::AuthService::CallbackService {
 public:
  grpc::ServerUnaryReactor* Login(grpc::CallbackServerContext* context, const auth_pb::LoginRequest* request,
                                  auth_pb::LoginResponse* response) override {
    auto* reactor = context->DefaultReactor();
    if (request->password() != "correct horse") {
      reactor->Finish(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "wrong username or password"));
      return reactor;
    }
    Fill(response, lifetime);
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* Refresh(grpc::CallbackServerContext* context, const auth_pb::RefreshRequest* request,
                                    auth_pb::LoginResponse* response) override {
    auto* reactor = context->DefaultReactor();
    ++refreshes;
    if (request->refresh_token() != "refresh-1") {
      reactor->Finish(grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "used before"));
      return reactor;
    }
    Fill(response, absl::Hours(1));
    response->set_refresh_token("refresh-2");
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* Logout(grpc::CallbackServerContext* context, const auth_pb::LogoutRequest*,
                                   auth_pb::MessageResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerWriteReactor<auth_pb::User>* ListUsers(grpc::CallbackServerContext*,
                                                     const auth_pb::ListUsersRequest*) override {
    class Reactor final : public grpc::ServerWriteReactor<auth_pb::User> {
     public:
      Reactor() { Next(); }
      void OnWriteDone(bool ok) override {
        if (ok) Next();
      }
      void OnDone() override { delete this; }

     private:
      void Next() {
        if (sent_ == 3) return Finish(grpc::Status::OK);
        ++sent_;
        user_.set_id(sent_);
        user_.set_username(sent_ == 1 ? "admin" : sent_ == 2 ? "ann \033[31m, \"]}" : "1");
        user_.set_role("admin");
        StartWrite(&user_);
      }
      int sent_ = 0;
      auth_pb::User user_;
    };
    return new Reactor();
  }

  grpc::ServerUnaryReactor* DeleteUser(grpc::CallbackServerContext* context, const auth_pb::DeleteUserRequest* request,
                                       auth_pb::MessageResponse*) override {
    deleted = request->id();
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  int refreshes = 0;
  int deleted = 0;
  absl::Duration lifetime = absl::Hours(1);

 private:
  static void Fill(auth_pb::LoginResponse* response, absl::Duration lifetime) {
    response->set_token(UserToken(absl::Hours(1)));
    response->set_refresh_token("refresh-1");
    *response->mutable_expires_at() =
        google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(clock::WallNow() + lifetime));
    response->mutable_user()->set_username("ann");
    response->mutable_user()->set_role("admin");
  }
};

// Knows one source, for callers with a token.
class StandInRegistry final : public registry_pb::RegistryService::CallbackService {
 public:
  grpc::ServerUnaryReactor* ListSources(grpc::CallbackServerContext* context, const registry_pb::ListSourcesRequest*,
                                        registry_pb::ListSourcesResponse* response) override {
    registry_pb::Source* const source = response->add_sources();
    source->set_id("00000000-0000-0000-0000-000000000001");
    source->set_name("prod");
    source->set_group("default");
    source->set_kind("server");
    source->set_state("down");
    source->mutable_since()->set_seconds(absl::ToUnixSeconds(clock::WallNow() - absl::Minutes(5)));
    source->set_message("connection refused");
    source->set_collector_id("col_001");
    source->set_server_version_num(150020);
    source->set_role("primary");
    response->set_count(1);
    return Answer(context);
  }
  grpc::ServerUnaryReactor* UpdateSource(grpc::CallbackServerContext* context,
                                         const registry_pb::UpdateSourceRequest* request,
                                         registry_pb::Source*) override {
    updated = *request;
    return Answer(context);
  }
  grpc::ServerUnaryReactor* DeleteSource(grpc::CallbackServerContext* context,
                                         const registry_pb::DeleteSourceRequest* request,
                                         registry_pb::DeleteSourceResponse*) override {
    deleted = request->id();
    return Answer(context);
  }

  registry_pb::UpdateSourceRequest updated;
  std::string deleted;

 private:
  static grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context) {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(context->client_metadata().find("authorization") != context->client_metadata().end()
                        ? grpc::Status::OK
                        : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "no token"));
    return reactor;
  }
};

// One suite of servers for all tests.
class Suite {
 public:
  Suite() : metrics_(false) {
    database = pga::testing::SharedPostgres()->CreateFreshDatabase("pgactl").value();
    auto catalog = catalog::Catalog::Builtin();
    storage::MigrateOptions migrate;
    migrate.layout = storage::Layout::kNative;
    for (const auto& metric : (*catalog)->metrics()) migrate.metrics.push_back(&metric);
    EXPECT_THAT(storage::MigrateUp(database, storage::Database::kMetrics, migrate), IsOk());
    FillDatabase();
    EXPECT_THAT(verifier_.SetHmacSecrets({kSecret}), IsOk());
    // News for the whole test: there is no auth that sends any.
    revocations_.Apply({}, std::numeric_limits<int64_t>::max());
    authenticator_ = std::make_unique<rpc::Authenticator>(&verifier_, &revocations_);
    query::QueryConfig config;
    config.metrics_url = log::Secret(database);
    query_ =
        query::QueryServer::Create(config, {&metrics_, clock::Clock::Real(), authenticator_.get(), nullptr, nullptr})
            .value();
    rpc::Server::Options options;
    options.name = "suite";
    options.listen = {"127.0.0.1:0"};
    options.services = query_->services();
    options.services.push_back(&auth);
    options.services.push_back(&registry);
    compactor::CompactorConfig compactor;
    compactor.metrics_url = log::Secret(database);
    compactor_ =
        compactor::CompactorServer::Create(
            compactor, {.metrics = &metrics_, .clock = clock::Clock::Real(), .authenticator = authenticator_.get()})
            .value();
    options.services.push_back(compactor_->services()[0]);
    server_ = rpc::Server::Start(std::move(options)).value();
    grpc_address = absl::StrCat("127.0.0.1:", server_->ports()[0]);
    gateway::GatewayConfig gateway;
    gateway.port = 0;
    gateway.rate_limit_per_minute = 0;
    gateway.rate_limit_user_per_minute = 0;
    gateway::GatewayService::Deps deps;
    deps.metrics = &metrics_;
    deps.verifier = &verifier_;
    deps.revocations = &revocations_;
    deps.channels = {{"pganalytics.", server_->InProcessChannel()}};
    deps.service_token = [] { return std::string(); };
    gateway_ = gateway::GatewayService::Create(gateway, deps).value();
    EXPECT_THAT(gateway_->Start(), IsOk());
    url = absl::StrCat("http://127.0.0.1:", gateway_->port());
  }
  ~Suite() {
    gateway_->Drain(clock::SteadyNow() + absl::Seconds(5));
    server_->Drain(clock::SteadyNow() + absl::Seconds(5));
    query_->Drain(clock::SteadyNow() + absl::Seconds(5));
    compactor_->Drain(clock::SteadyNow() + absl::Seconds(5));
  }
  static Suite& Get() {
    static auto* const suite = new Suite();
    return *suite;
  }

  metrics::Registry& metrics() { return metrics_; }

  std::string database;
  std::string grpc_address;
  std::string url;
  StandInAuth auth;
  StandInRegistry registry;

 private:
  void FillDatabase() {
    auto pool = pg::Pool::Create({.url = database}).value();
    for (const auto& [sql, params] : std::vector<std::pair<std::string, pg::Params>>{
             {"INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'col_001')", {}},
             {"INSERT INTO metrics.source (id, uuid, name, collector_id, server_version_num) VALUES (1, "
              "'00000000-0000-0000-0000-000000000001', 'prod', 1, 150020)",
              {}},
             {"INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (1, 0, 42, E'SELECT\\n "
              "\\033[31m$1')",
              {}}}) {
      const absl::Status done = pool->Exec(sql, params, clock::SteadyNow() + absl::Seconds(20)).status();
      EXPECT_THAT(done, IsOk()) << sql;
    }
    const auto catalog = catalog::Catalog::Builtin();
    ASSERT_THAT(catalog, IsOk());
    const absl::Time time = clock::WallNow() - absl::Minutes(5);
    storage::StoredFrame frame{.start = time - absl::Minutes(1), .end = time};
    frame.rows = {{{{"userid", 10},
                    {"dbid", 5},
                    {"queryid", 42},
                    {"toplevel", 1},
                    {"datname", "shop"},
                    {"username", "app"},
                    {"calls", 1234},
                    {"total_exec_time_us", 5000000}},
                   0}};
    // One of yesterday, which the compactor makes a block of.
    storage::StoredFrame closed = frame;
    closed.start -= absl::Hours(26);
    closed.end -= absl::Hours(26);
    storage::FrameStore(pool.get(), *(*catalog)->Find("statements")).Store({closed, frame});
    const auto setting = [](const char* name, const char* value, const char* source) {
      return storage::StoredRow{{{"setting_name", name}, {"setting_value", value}, {"source", source}}, 0};
    };
    storage::StoredFrame all{.start = time, .end = time, .keyframe = true};
    all.rows = {setting("work_mem", "4096", "default"), setting("port", "5432", "default")};
    storage::StoredFrame change{.start = time, .end = time + absl::Minutes(1)};
    change.rows = {setting("work_mem", "65536", "configuration file")};
    storage::FrameStore(pool.get(), *(*catalog)->Find("settings")).Store({all, change});
  }

  metrics::Registry metrics_;
  token::Verifier verifier_;
  token::RevocationSet revocations_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<query::QueryServer> query_;
  std::unique_ptr<compactor::CompactorServer> compactor_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<gateway::GatewayService> gateway_;
};

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

// Both ways to the suite.
class Pgactl : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    Suite& suite = Suite::Get();
    suite.auth.lifetime = absl::Hours(1);
    suite.auth.refreshes = 0;
    environment_["XDG_CONFIG_HOME"] = folder_.path();
    if (GetParam() == "rest") {
      environment_["PGACTL_URL"] = suite.url;
    } else {
      environment_["PGACTL_AUTH_ADDR"] = suite.grpc_address;
      environment_["PGACTL_QUERY_ADDR"] = suite.grpc_address;
      environment_["PGACTL_REGISTRY_ADDR"] = suite.grpc_address;
      environment_["PGACTL_COMPACTOR_ADDR"] = suite.grpc_address;
    }
  }
  Outcome Run(const std::vector<std::string>& words) {
    std::ostringstream out;
    std::ostringstream err;
    const int code = RunPgactl(words, environment_, out, err);
    return {code, out.str(), err.str()};
  }
  void WritePassword(const std::string& password) {
    const std::string path = folder_.path() + "/password";
    std::ofstream(path) << password << "\n";
    environment_["PGACTL_PASSWORD_FILE"] = path;
  }
  std::string LoginFile() const { return folder_.path() + "/pganalytics/pgactl.json"; }

  pga::testing::ScopedTempDir folder_;
  Environment environment_;
};

TEST_P(Pgactl, CountNeedsNoLogin) {
  const Outcome outcome = Run({"count"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "4\n");
  EXPECT_THAT(Run({"count", "-o", "json"}).out, HasSubstr("\"count\": 4"));
}

TEST_P(Pgactl, SaysHowToSignIn) {
  const Outcome outcome = Run({"sources"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("pgactl login"));
}

TEST_P(Pgactl, KeepsTheTokenForItsOwnerAlone) {
  WritePassword("correct horse");
  const Outcome login = Run({"login", "ann"});
  ASSERT_EQ(login.code, 0) << login.err;
  EXPECT_THAT(login.out, HasSubstr("as ann (admin)"));
  struct stat info {};
  ASSERT_EQ(stat(LoginFile().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  environment_.erase("PGACTL_PASSWORD_FILE");
  const Outcome sources = Run({"sources"});
  EXPECT_EQ(sources.code, 0) << sources.err;
  EXPECT_THAT(sources.out, HasSubstr("prod"));
  EXPECT_EQ(Suite::Get().auth.refreshes, 0);

  chmod(LoginFile().c_str(), 0644);
  EXPECT_EQ(Run({"sources"}).code, 1);
  chmod(LoginFile().c_str(), 0600);
  EXPECT_EQ(Run({"logout"}).code, 0);
  EXPECT_EQ(Run({"sources"}).code, 1);
}

TEST_P(Pgactl, ShowsAndChangesSources) {
  WritePassword("correct horse");
  environment_["PGACTL_USERNAME"] = "ann";
  const Outcome listed = Run({"sources"});
  EXPECT_EQ(listed.code, 0) << listed.err;
  EXPECT_THAT(listed.out, AllOf(HasSubstr("prod"), HasSubstr("down since"), HasSubstr("connection refused")));
  const Outcome renamed = Run({"sources", "rename", "prod", "orders"});
  EXPECT_EQ(renamed.code, 0) << renamed.err;
  EXPECT_EQ(Suite::Get().registry.updated.id(), "00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(Suite::Get().registry.updated.name(), "orders");
  EXPECT_EQ(Run({"sources", "move", "prod", "eu"}).code, 0);
  EXPECT_EQ(Suite::Get().registry.updated.group(), "eu");
  EXPECT_EQ(Run({"sources", "delete", "prod"}).code, 0);
  EXPECT_EQ(Suite::Get().registry.deleted, "00000000-0000-0000-0000-000000000001");
  EXPECT_THAT(Run({"sources", "delete", "other"}).err, HasSubstr("no source 'other'"));
}

TEST_P(Pgactl, RefusesAWrongPassword) {
  WritePassword("wrong");
  const Outcome login = Run({"login", "ann"});
  EXPECT_EQ(login.code, 1);
  EXPECT_THAT(login.err, HasSubstr("wrong username or password"));
  EXPECT_THAT(login.err + login.out, Not(HasSubstr("correct horse")));
  EXPECT_FALSE(std::filesystem::exists(LoginFile()));
}

TEST_P(Pgactl, ExchangesATokenThatIsAboutToExpireOnce) {
  Suite::Get().auth.lifetime = absl::Seconds(5);
  WritePassword("correct horse");
  ASSERT_EQ(Run({"login", "ann"}).code, 0);
  EXPECT_EQ(Run({"sources"}).code, 0);
  EXPECT_EQ(Run({"sources"}).code, 0);
  EXPECT_EQ(Suite::Get().auth.refreshes, 1);
}

TEST_P(Pgactl, SignsInByItselfWithUsernameAndPasswordFile) {
  WritePassword("correct horse");
  environment_["PGACTL_USERNAME"] = "ann";
  const Outcome outcome = Run({"sources"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST_P(Pgactl, ShowsTopStatementsWithoutControlCharacters) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome outcome = Run({"top", "--hours", "1", "--by", "calls"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("1,234"));
  EXPECT_THAT(outcome.out, HasSubstr("5.0 s"));
  EXPECT_THAT(outcome.out, HasSubstr("SELECT [31m$1"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("\033")));
  EXPECT_THAT(Run({"top", "--by", "nonsense"}).err, HasSubstr("mean_time, calls"));
}

TEST_P(Pgactl, DrawsSeries) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome outcome = Run({"series", "statements", "calls", "--by", "datname", "--hours", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("datname=shop"));
  EXPECT_THAT(outcome.out, HasSubstr("█"));
  EXPECT_THAT(outcome.out, HasSubstr(ZoneName(clock::WallNow())));
  const Outcome csv = Run({"series", "statements", "calls", "--hours", "1", "--csv"});
  EXPECT_THAT(csv.out, HasSubstr("time,series,value,unit,covered_ms,lower_bound\r\n"));
  EXPECT_THAT(csv.out, HasSubstr("source=prod"));
  const Outcome json = Run({"series", "statements", "calls", "--filter", "queryid=42", "-o", "json"});
  EXPECT_EQ(json.code, 0) << json.err;
  EXPECT_THAT(json.out, HasSubstr("\"column\": \"calls\""));
  const Outcome unknown = Run({"series", "statments", "calls"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean statements"));
}

TEST_P(Pgactl, ShowsAStatementOverTimeAndTwoWindows) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome timeline = Run({"timeline", "42", "--hours", "1"});
  ASSERT_EQ(timeline.code, 0) << timeline.err;
  // 5 s of 1,234 calls; a minute's edge may lie between.
  EXPECT_THAT(timeline.out, AllOf(HasSubstr("MEAN"), HasSubstr("  4.0")));
  EXPECT_THAT(timeline.out, HasSubstr("SELECT [31m$1"));
  const Outcome compare = Run({"compare"});
  ASSERT_EQ(compare.code, 0) << compare.err;
  EXPECT_THAT(compare.out, HasSubstr("before: "));
  EXPECT_THAT(compare.out, HasSubstr("new"));
}

TEST_P(Pgactl, ShowsSettingsAndWhatChanged) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome settings = Run({"settings"});
  ASSERT_EQ(settings.code, 0) << settings.err;
  EXPECT_THAT(settings.out, AllOf(HasSubstr("work_mem"), HasSubstr("65536"), Not(HasSubstr("port"))));
  EXPECT_THAT(Run({"settings", "--all"}).out, HasSubstr("port"));
  const Outcome changed = Run({"settings", "--changed", "--hours", "1"});
  EXPECT_THAT(changed.out, AllOf(HasSubstr("work_mem"), HasSubstr("4096"), HasSubstr("65536")));
  EXPECT_THAT(Run({"state", "settings", "--column", "setting_value", "--csv"}).out, HasSubstr("prod,work_mem,65536"));
  EXPECT_THAT(Run({"state", "activity"}).err, HasSubstr("no info columns"));
}

TEST_P(Pgactl, ListsUsersFromAStream) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome outcome = Run({"users", "list"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("ann [31m, \"]}"));
}

TEST_P(Pgactl, NameOfDigitsIsNotTakenForAnId) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  for (const auto& [word, id] : {std::pair("1", 3), std::pair("2", 2)}) {
    const Outcome outcome = Run({"users", "delete", word});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(Suite::Get().auth.deleted, id);
  }
}

TEST_P(Pgactl, TellsWhatIsStored) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  // The first account may be taken before the compactor has made blocks of closed hours, or after.
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return Run({"storage"}).out.find("frames") != std::string::npos; },
                                      absl::Seconds(60)));
  const std::string told = Run({"storage", "--by-source"}).out;
  EXPECT_THAT(told, AnyOf(HasSubstr("Backlog: 4 frames"), AllOf(HasSubstr("prod"), HasSubstr("Backlog: 3 frames")),
                          AllOf(HasSubstr("prod"), HasSubstr("Backlog: 0 frames"))));
  for (const char* part : {"merge", "partitions", "Texts of statements: 1", "frame "}) {
    EXPECT_THAT(told, HasSubstr(part));
  }
  EXPECT_THAT(Run({"storage", "-o", "json"}).out, HasSubstr("\"complete\""));
  EXPECT_EQ(Run({"storage", "--sources", "x"}).code, 2);
}

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
  std::string told;
  const auto storage = [&] {
    std::ostringstream out, err;
    RunPgactl({"storage"}, environment, out, err);
    told = out.str() + err.str();
    return told;
  };
  ASSERT_TRUE(
      pga::testing::WaitUntil([&] { return storage().find("Backlog: ") != std::string::npos; }, absl::Seconds(60)))
      << told;
  EXPECT_THAT(told, HasSubstr("merged frames take room as long as these stand:"));
  EXPECT_THAT(told, ::testing::ContainsRegex(absl::StrCat("session +nightly_dump +", (*dump)->backend_pid(), " ")));
  server->Drain(soon());
  compactor->Drain(soon());
}

TEST_P(Pgactl, ReportsFreshnessActivityAndHealth) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  EXPECT_THAT(Run({"freshness"}).out, HasSubstr("statements"));
  EXPECT_THAT(Run({"activity", "--at", "5m"}).out, HasSubstr("prod: nothing was sampled at "));
  // There is no metadata database behind the test.
  const Outcome health = Run({"health"});
  EXPECT_EQ(health.code, 1);
  EXPECT_THAT(health.out, HasSubstr("metrics database answers"));
}

TEST_P(Pgactl, DoctorNamesWhatToChange) {
  environment_["TIMESCALE_URL"] = Suite::Get().database;
  const Outcome outcome = Run({"doctor", "--server", pga::testing::SharedPostgres()->Url()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.out, HasSubstr("ok    endpoint: "));
  EXPECT_THAT(outcome.out, HasSubstr("FAIL  metadata database of the suite: does not answer"));
  EXPECT_THAT(outcome.out, HasSubstr("skip  token: not signed in"));
  EXPECT_THAT(outcome.out, HasSubstr("ok    metrics database: schema: up to date"));
  // Test servers run without fsync.
  EXPECT_THAT(outcome.out, HasSubstr("FAIL  metrics database: durability: "));
  EXPECT_THAT(outcome.out, HasSubstr("ok    watched server: preload"));
  EXPECT_THAT(outcome.out, HasSubstr("CREATE EXTENSION pg_stat_statements"));
  EXPECT_THAT(outcome.out, HasSubstr("ok    clock"));
}

// The password that one signs in with must not become somebody else's.
TEST_P(Pgactl, AsksForANewUsersOwnPassword) {
  WritePassword("correct horse");
  const Outcome outcome = Run({"users", "create", "ann", "--email", "ann@example.com"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("PGACTL_NEW_PASSWORD_FILE"));
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

INSTANTIATE_TEST_SUITE_P(Ways, Pgactl, ::testing::Values("rest", "grpc"), [](const auto& test) { return test.param; });

TEST(PgactlAlone, SaysWhenNothingAnswers) {
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunPgactl({"count"}, {{"PGACTL_URL", "http://127.0.0.1:1"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("nothing answers at http://127.0.0.1:1"));
  err.str("");
  EXPECT_EQ(RunPgactl({"count"}, {{"PGACTL_QUERY_ADDR", "127.0.0.1:1"}, {"PGACTL_TIMEOUT", "2s"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("query service at 127.0.0.1:1"));
  err.str("");
  EXPECT_EQ(RunPgactl({"users", "list"}, {{"PGACTL_QUERY_ADDR", "127.0.0.1:1"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("PGACTL_AUTH_ADDR"));
  err.str("");
  EXPECT_EQ(RunPgactl({"count"}, {{"PGACTL_URL", "ftp://x"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("http:// or https://"));
}

TEST(PgactlAlone, MigratesAndTellsWhatIsMissing) {
  const std::string url = pga::testing::SharedPostgres()->CreateFreshDatabase("migrate").value();
  const Environment environment = {{"TIMESCALE_URL", url}};
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunPgactl({"migrate", "status", "--only", "metrics"}, environment, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("pgactl migrate up"));
  EXPECT_EQ(RunPgactl({"migrate", "up", "--only", "metrics", "--layout", "native"}, environment, out, err), 0)
      << err.str();
  EXPECT_EQ(RunPgactl({"migrate", "status", "--only", "metrics"}, environment, out, err), 0) << err.str();
  EXPECT_EQ(RunPgactl({"migrate", "up"}, environment, out, err), 2);
  EXPECT_THAT(err.str(), HasSubstr("DATABASE_URL is not set"));
}

TEST(PgactlAlone, ChecksAMetricOnAServer) {
  const pga::testing::ScopedTempDir folder;
  const std::string yaml =
      "name: queue\nschema_version: 1\ndescription: Jobs by state.\nscope: database\nqueries:\n  - sql: |\n"
      "      SELECT current_database()::text AS datname, 'new'::text AS state, 7::int8 AS jobs\ncolumns:\n"
      "  - {name: datname, type: text, kind: label, description: Database.}\n"
      "  - {name: state, type: text, kind: label, description: State.}\n"
      "  - {name: jobs, type: int8, kind: gauge, unit: \"1\", description: Jobs.}\n";
  std::ofstream(folder.path() + "/queue.yaml") << yaml;
  std::ostringstream out;
  std::ostringstream err;
  const std::string url = pga::testing::SharedPostgres()->Url();
  EXPECT_EQ(RunPgactl({"catalog", "check", folder.path() + "/queue.yaml", "--url", url}, {}, out, err), 0) << err.str();
  EXPECT_EQ(RunPgactl({"catalog", "check", "--dir", folder.path(), "--url", url}, {}, out, err), 0) << err.str();
  std::string wrong = yaml;
  wrong.replace(wrong.find("7::int8"), 7, "7::int4");
  std::ofstream(folder.path() + "/queue.yaml") << wrong;
  EXPECT_EQ(RunPgactl({"catalog", "check", "--dir", folder.path(), "--url", url}, {}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("jobs"));
  EXPECT_THAT(err.str(), HasSubstr("int8"));
}

}  // namespace
}  // namespace pga::pgactl
