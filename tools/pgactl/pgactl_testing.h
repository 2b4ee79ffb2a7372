// The query service on PostgreSQL, a gateway, and stand-ins for auth and registry. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
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
#include "pganalytics/registry/v1/managed_instance_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/compactor/server.h"
#include "services/gateway/server.h"
#include "services/query/server.h"
#include "tools/pgactl/command.h"

namespace pga::pgactl {

namespace auth_pb = ::pganalytics::auth::v1;
namespace registry_pb = ::pganalytics::registry::v1;

inline constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

inline std::string UserToken(absl::Duration lifetime) {
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

// Keeps the managed instances that it is given.
class StandInManaged final : public registry_pb::ManagedInstanceService::CallbackService {
 public:
  grpc::ServerUnaryReactor* CreateManagedInstance(grpc::CallbackServerContext* context,
                                                  const registry_pb::CreateManagedInstanceRequest* request,
                                                  registry_pb::ManagedInstance* response) override {
    password = request->instance().master_password();
    Keep(static_cast<int>(instances.size()) + 1, request->instance(), response);
    return Answer(context);
  }
  grpc::ServerUnaryReactor* UpdateManagedInstance(grpc::CallbackServerContext* context,
                                                  const registry_pb::UpdateManagedInstanceRequest* request,
                                                  registry_pb::ManagedInstance* response) override {
    updated = request->instance();
    password = request->instance().master_password();
    Keep(request->id(), request->instance(), response);
    return Answer(context);
  }
  grpc::ServerUnaryReactor* DeleteManagedInstance(grpc::CallbackServerContext* context,
                                                  const registry_pb::DeleteManagedInstanceRequest* request,
                                                  registry_pb::DeleteManagedInstanceResponse*) override {
    instances.erase(request->id());
    return Answer(context);
  }
  grpc::ServerUnaryReactor* TestConnection(grpc::CallbackServerContext* context,
                                           const registry_pb::TestConnectionRequest* request,
                                           registry_pb::TestConnectionResponse* response) override {
    response->set_success(request->id() == 1);
    if (!response->success()) response->set_error("nobody listens there");
    return Answer(context);
  }
  grpc::ServerUnaryReactor* TestConnectionDirect(grpc::CallbackServerContext* context,
                                                 const registry_pb::TestConnectionDirectRequest* request,
                                                 registry_pb::TestConnectionResponse* response) override {
    password = request->password();
    response->set_success(request->port() == 5432);
    return Answer(context);
  }
  grpc::ServerWriteReactor<registry_pb::ManagedInstance>* ListManagedInstances(
      grpc::CallbackServerContext*, const registry_pb::ListManagedInstancesRequest*) override {
    class Reactor final : public grpc::ServerWriteReactor<registry_pb::ManagedInstance> {
     public:
      explicit Reactor(const std::map<int, registry_pb::ManagedInstance>& all) {
        for (const auto& [id, instance] : all) left_.push_back(instance);
        Next();
      }
      void OnWriteDone(bool ok) override {
        if (ok) Next();
      }
      void OnDone() override { delete this; }

     private:
      void Next() {
        if (sent_ == left_.size()) return Finish(grpc::Status::OK);
        StartWrite(&left_[sent_++]);
      }
      size_t sent_ = 0;
      std::vector<registry_pb::ManagedInstance> left_;
    };
    return new Reactor(instances);
  }

  std::map<int, registry_pb::ManagedInstance> instances;
  registry_pb::ManagedInstanceSpec updated;
  std::string password;

 private:
  void Keep(int id, const registry_pb::ManagedInstanceSpec& spec, registry_pb::ManagedInstance* response) {
    response->set_id(id);
    response->set_name(spec.name());
    response->set_endpoint(spec.endpoint());
    response->set_port(spec.port());
    response->set_master_username(spec.master_username());
    response->set_ssl_mode(spec.ssl_mode());
    response->set_monitoring_interval(spec.monitoring_interval());
    response->set_connection_timeout(spec.connection_timeout());
    response->mutable_tags()->insert(spec.tags().begin(), spec.tags().end());
    response->set_group(spec.has_group() ? spec.group() : "default");
    response->set_status(spec.status() == "paused" ? "paused" : "registering");
    response->set_last_connection_status("error");
    response->set_last_error_message("nobody listens \033[31mthere");
    instances[id] = *response;
  }
  static grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context) {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
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
    EXPECT_THAT(storage::MigrateUp(database, storage::Database::kMetrics, migrate), status::IsOk());
    FillDatabase();
    EXPECT_THAT(verifier_.SetHmacSecrets({kSecret}), status::IsOk());
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
    options.services.push_back(&managed);
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
    EXPECT_THAT(gateway_->Start(), status::IsOk());
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
  StandInManaged managed;

 private:
  void FillDatabase() {
    auto pool = pg::Pool::Create({.url = database}).value();
    for (const auto& [sql, params] : std::vector<std::pair<std::string, pg::Params>>{
             {"INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'col_001')", {}},
             {"INSERT INTO metrics.source (id, uuid, name, collector_id) VALUES (1, "
              "'00000000-0000-0000-0000-000000000001', 'prod', 1)",
              {}},
             {"INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (1, 0, 42, E'SELECT\\n "
              "\\033[31m$1')",
              {}}}) {
      const absl::Status done = pool->Exec(sql, params, clock::SteadyNow() + absl::Seconds(20)).status();
      EXPECT_THAT(done, status::IsOk()) << sql;
    }
    const auto catalog = catalog::Catalog::Builtin();
    ASSERT_THAT(catalog, status::IsOk());
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

}  // namespace pga::pgactl
