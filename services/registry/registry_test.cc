// The registry on a real metadata database, called through a real in-process gRPC server; auth is played by a service
// of the test that records what it is asked.
#include "services/registry/registry.h"

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/thread_pool.h"
#include "libs/pg/pool.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/signer.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/registry/pg_collector_store.h"
#include "services/registry/server.h"

namespace pga::registry {
namespace {

namespace authpb = ::pganalytics::auth::v1;
namespace pb = ::pganalytics::registry::v1;
using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;

constexpr char kSecret[] = "a registration secret of the test";
constexpr char kAdministratorsSecret[] = "made by an administrator for the collector that it registers";

// Auth's part: one good secret, credentials with running numbers.
class AuthDouble final : public authpb::IdentityService::CallbackService {
 public:
  grpc::ServerUnaryReactor* UseRegistrationSecret(grpc::CallbackServerContext* context,
                                                  const authpb::UseRegistrationSecretRequest* request,
                                                  authpb::UseRegistrationSecretResponse*) override {
    auto* reactor = context->DefaultReactor();
    const bool good = request->secret() == kSecret || request->secret() == kAdministratorsSecret;
    if (good && request->replaces() && request->secret() != kAdministratorsSecret) {
      reactor->Finish(grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "registered already"));
      return reactor;
    }
    reactor->Finish(good ? grpc::Status::OK
                         : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "the registration secret is not good"));
    return reactor;
  }
  grpc::ServerUnaryReactor* IssueCollectorCredentials(grpc::CallbackServerContext* context,
                                                      const authpb::IssueCollectorCredentialsRequest* request,
                                                      authpb::IssueCollectorCredentialsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    issued_.push_back(*request);
    response->set_token("token-" + std::to_string(issued_.size()));
    response->set_certificate_pem("certificate");
    response->set_ca_pem("ca");
    if (request->csr_pem().empty()) response->set_private_key_pem("key");
    response->set_certificate_thumbprint("thumbprint-" + std::to_string(issued_.size()));
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* RevokeCollector(grpc::CallbackServerContext* context,
                                            const authpb::RevokeCollectorRequest* request,
                                            authpb::RevokeCollectorResponse*) override {
    absl::MutexLock lock(&mutex_);
    revoked_.push_back(request->collector_id());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  std::vector<authpb::IssueCollectorCredentialsRequest> issued() {
    absl::MutexLock lock(&mutex_);
    return issued_;
  }
  std::vector<std::string> revoked() {
    absl::MutexLock lock(&mutex_);
    return revoked_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<authpb::IssueCollectorCredentialsRequest> issued_;
  std::vector<std::string> revoked_;
};

class RegistryTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(/*limit=*/0); }

  void Start(int limit) {
    Stop();
    auto url = testing::SharedPostgres()->CreateFreshDatabase("registry");
    ASSERT_THAT(url, IsOk());
    url_ = *url;
    ASSERT_THAT(storage::MigrateUp(url_, storage::Database::kMetadata, {}), IsOk());
    auto signer = token::Signer::FromSecret("0123456789012345678901234567890123456789");
    ASSERT_THAT(signer, IsOk());
    signer_ = *std::move(signer);
    ASSERT_THAT(verifier_.SetHmacSecrets({"0123456789012345678901234567890123456789"}), IsOk());
    revocations_.Apply({}, std::numeric_limits<int64_t>::max());
    authenticator_ = std::make_unique<rpc::Authenticator>(&verifier_, &revocations_);
    identity_ = rpc::ServiceIdentity::Local(signer_.get(), "registry");
    auto auth = rpc::Server::Start(
        {.name = "auth", .listen = {}, .tls = {}, .outside_listen = {}, .outside_tls = {}, .services = {&auth_}});
    ASSERT_THAT(auth, IsOk());
    auth_server_ = *std::move(auth);
    RegistryConfig config;
    config.database_url = log::Secret(url_);
    config.max_concurrent_collectors = limit;
    auto registry = RegistryServer::Create(config, {.metrics = &metrics_,
                                                    .clock = clock::Clock::Real(),
                                                    .authenticator = authenticator_.get(),
                                                    .identity = identity_.get(),
                                                    .auth = auth_server_->InProcessChannel(),
                                                    .query = nullptr});
    ASSERT_THAT(registry, IsOk());
    registry_ = *std::move(registry);
    auto server = rpc::Server::Start({.name = "registry",
                                      .listen = {},
                                      .tls = {},
                                      .outside_listen = {},
                                      .outside_tls = {},
                                      .services = registry_->services()});
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
    stub_ = pb::RegistryService::NewStub(server_->InProcessChannel());
    enrolment_ = pb::EnrolmentService::NewStub(server_->InProcessChannel());
  }

  void Stop() {
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(5);
    if (server_ != nullptr) server_->Drain(deadline);
    if (registry_ != nullptr) registry_->Drain(deadline);
    server_.reset();
    registry_.reset();
    if (auth_server_ != nullptr) auth_server_->Drain(deadline);
    auth_server_.reset();
  }
  void TearDown() override { Stop(); }

  std::string TokenOf(token::Principal principal) {
    principal.issued_at = clock::WallNow();
    principal.expires_at = clock::WallNow() + absl::Minutes(5);
    token::Claims claims;
    claims.principal = std::move(principal);
    auto token = signer_->Sign(claims);
    EXPECT_THAT(token, IsOk());
    return *token;
  }
  std::string Person(const std::string& role) {
    token::Principal principal;
    principal.kind = token::Principal::kUser;
    principal.user_id = 7;
    principal.username = role;
    principal.role = role;
    return TokenOf(principal);
  }
  std::string CollectorToken(const std::string& id) {
    token::Principal principal;
    principal.kind = token::Principal::kCollector;
    principal.collector_id = id;
    return TokenOf(principal);
  }
  static rpc::CallOptions Options(std::string bearer, std::string secret = {}) {
    rpc::CallOptions options;
    options.deadline = clock::SteadyNow() + absl::Seconds(10);
    options.bearer = std::move(bearer);
    if (!secret.empty()) options.metadata.emplace_back("x-registration-secret", secret);
    return options;
  }
  absl::StatusOr<pb::RegisterCollectorResponse> Register(const std::string& id, const std::string& hostname,
                                                         const std::string& secret = kSecret) {
    pb::RegisterCollectorRequest request;
    request.set_collector_id(id);
    request.set_name(hostname);
    request.set_hostname(hostname);
    return rpc::Call(*stub_, &pb::RegistryService::Stub::RegisterCollector, request, Options("", secret));
  }
  absl::StatusOr<pb::ListCollectorsResponse> List(int page = 0, int page_size = 0) {
    pb::ListCollectorsRequest request;
    request.set_page(page);
    request.set_page_size(page_size);
    return rpc::Call(*stub_, &pb::RegistryService::Stub::ListCollectors, request, Options(Person("viewer")));
  }

  std::string url_;
  metrics::Registry metrics_{/*process_metrics=*/false};
  token::Verifier verifier_;
  token::RevocationSet revocations_;
  std::unique_ptr<token::Signer> signer_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<rpc::ServiceIdentity> identity_;
  AuthDouble auth_;
  std::unique_ptr<rpc::Server> auth_server_;
  std::unique_ptr<RegistryServer> registry_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<pb::RegistryService::Stub> stub_;
  std::unique_ptr<pb::EnrolmentService::Stub> enrolment_;
};

TEST_F(RegistryTest, RegistersByHostnameAndAgainWithFreshCredentials) {
  auto first = Register("", "db1");
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->collector_id(), "030d98e8-882f-58b2-bc92-7c274fe28149");
  EXPECT_EQ(first->private_key(), "key");
  auto second = Register("", "db1");
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->collector_id(), first->collector_id());
  EXPECT_NE(second->token(), first->token());
  const auto issued = auth_.issued();
  ASSERT_EQ(issued.size(), 2u);
  EXPECT_TRUE(issued[0].revoke_former());
  EXPECT_TRUE(issued[1].revoke_former());
  auto list = List();
  ASSERT_THAT(list, IsOk());
  EXPECT_EQ(list->count(), 1);
  EXPECT_EQ(list->data(0).status(), "registered");
  EXPECT_EQ(list->data(0).certificate_thumbprint(), "thumbprint-2");
  auto pool = pg::Pool::Create({.url = url_});
  ASSERT_THAT(pool, IsOk());
  auto audit = (*pool)->Exec("SELECT count(*) FROM pganalytics.audit_log", {}, clock::SteadyNow() + absl::Seconds(5));
  ASSERT_THAT(audit, IsOk());
  EXPECT_EQ((*audit)[0].Int64(0), 2);
}

TEST_F(RegistryTest, RefusesWithoutOrWithAWrongSecret) {
  EXPECT_THAT(Register("", "db1", ""), StatusIs(absl::StatusCode::kUnauthenticated, ::testing::_));
  EXPECT_THAT(Register("", "db1", "wrong"), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("secret")));
  EXPECT_THAT(Register("bad id", "db1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("collector_id")));
  EXPECT_EQ(List()->count(), 0);
}

TEST_F(RegistryTest, LimitHoldsAgainstParallelRegistrationsAndSparesKnownOnes) {
  Start(/*limit=*/3);
  std::vector<std::thread> threads;
  std::atomic<int> taken{0}, refused{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      const auto answer = Register("c" + std::to_string(i), "host" + std::to_string(i));
      if (answer.ok()) ++taken;
      if (absl::IsPermissionDenied(answer.status())) ++refused;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 3);
  EXPECT_EQ(refused, 5);
  auto list = List();
  ASSERT_THAT(list, IsOk());
  ASSERT_EQ(list->count(), 3);
  EXPECT_THAT(Register(list->data(0).id(), "again"), IsOk());
  EXPECT_THAT(Register("one-more", "x"),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("MAX_CONCURRENT_COLLECTORS=3")));
}

TEST_F(RegistryTest, PagesAreOrderedAndBounded) {
  for (int i = 0; i < 5; ++i) ASSERT_THAT(Register("c" + std::to_string(i), "h" + std::to_string(i)), IsOk());
  auto second = List(2, 2);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->total(), 5);
  EXPECT_EQ(second->total_pages(), 3);
  ASSERT_EQ(second->data_size(), 2);
  EXPECT_EQ(second->data(0).id(), "c2");
  EXPECT_THAT(List(-1, 0), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("negative")));
  EXPECT_EQ(List(1, 5000)->page_size(), 100);
}

TEST_F(RegistryTest, ConfigurationHasVersionsAndAnOwner) {
  ASSERT_THAT(Register("c1", "h1"), IsOk());
  pb::GetConfigRequest get;
  get.set_collector_id("c1");
  const auto read = [&](const std::string& bearer) {
    return rpc::Call(*stub_, &pb::RegistryService::Stub::GetConfig, get, Options(bearer));
  };
  EXPECT_THAT(read(Person("viewer")), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no configuration")));
  pb::PutConfigRequest put;
  put.set_collector_id("c1");
  put.mutable_body()->set_data("[collector]\ninterval = 30\n");
  const auto write = [&](const std::string& bearer) {
    return rpc::Call(*stub_, &pb::RegistryService::Stub::PutConfig, put, Options(bearer));
  };
  EXPECT_THAT(write(Person("user")), StatusIs(absl::StatusCode::kPermissionDenied, ::testing::_));
  EXPECT_FALSE(List(1, 10)->data(0).config_stored());
  EXPECT_EQ(write(Person("admin"))->version(), 1);
  EXPECT_TRUE(List(1, 10)->data(0).config_stored());
  EXPECT_EQ(write(Person("admin"))->version(), 2);
  EXPECT_THAT(read(CollectorToken("c1")), IsOk());
  EXPECT_THAT(read(CollectorToken("c2")), StatusIs(absl::StatusCode::kPermissionDenied, ::testing::_));
  pb::FetchConfigRequest fetch;
  fetch.set_known_version(1);
  auto newer = rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::FetchConfig, fetch, Options(CollectorToken("c1")));
  ASSERT_THAT(newer, IsOk());
  EXPECT_EQ(newer->version(), 2);
  fetch.set_known_version(2);
  EXPECT_EQ(
      rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::FetchConfig, fetch, Options(CollectorToken("c1")))->version(),
      0);
  // What no registration gives as an id is a wrong request, what it may have given is nobody.
  put.set_collector_id("not-a-uuid");
  EXPECT_THAT(write(Person("admin")), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
  put.set_collector_id("00000000-0000-4000-8000-000000000001");
  EXPECT_THAT(write(Person("admin")), StatusIs(absl::StatusCode::kNotFound));
  put.set_collector_id("c1");
  put.mutable_body()->set_data("= no toml");
  EXPECT_THAT(write(Person("admin")), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 1")));
}

// Of two databases: a backup of one alone is none.
TEST_F(RegistryTest, ShowsWhenTheNewestBackupOfBothDatabasesEnded) {
  const auto pool = pg::Pool::Create({.url = url_});
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT(
      (*pool)->Exec("INSERT INTO pganalytics.backups SELECT i::text, now(), pganalytics.at(i * 1000000), CASE i "
                    "WHEN 3000 THEN '{metrics}'::text[] ELSE '{metadata,metrics}' END, 1 FROM unnest(ARRAY[1000, "
                    "2000, 3000]::int8[]) i",
                    {}, clock::SteadyNow() + absl::Seconds(10)),
      IsOk());
  RegistryConfig config;
  config.database_url = log::Secret(url_);
  metrics::Registry metrics(/*process_metrics=*/false);
  const auto registry = RegistryServer::Create(config, {.metrics = &metrics,
                                                        .clock = clock::Clock::Real(),
                                                        .authenticator = authenticator_.get(),
                                                        .identity = identity_.get(),
                                                        .auth = auth_server_->InProcessChannel(),
                                                        .query = nullptr});
  ASSERT_THAT(registry, IsOk());
  EXPECT_TRUE(testing::WaitUntil([&] {
    return metrics.Render().find("\npga_backup_last_success_timestamp_seconds 2000\n") != std::string::npos;
  })) << metrics.Render();
}

class SourcesTest : public RegistryTest {
 protected:
  void SetUp() override {
    RegistryTest::SetUp();
    for (const char* id : {"one", "two"}) ASSERT_THAT(Register(id, id), IsOk());
  }
  // What `collector` says of its source "db", held under `held` if it was granted before.
  pb::SourceStanding Report(const std::string& collector, const pb::SourceStanding* held = nullptr,
                            int64_t identifier = 77, bool release = false, const std::string& name = "db") {
    pb::ReportSourcesRequest request;
    request.set_interval_ms(60'000);
    pb::SourceReport* const report = request.add_sources();
    report->set_name(name);
    report->set_kind(pb::SOURCE_KIND_SERVER);
    report->set_identifier(identifier);
    report->set_server_version_num(150020);
    report->set_address("db1:5432");
    report->set_up(true);
    report->set_release(release);
    if (held != nullptr) {
      report->set_source_id(held->source_id());
      report->set_owner_epoch(held->owner_epoch());
    }
    pb::NotCollected* const log = report->add_not_collected();
    log->set_what("log");
    log->set_off(true);
    pb::NotCollected* const missing = report->add_not_collected();
    missing->set_what("statements");
    missing->set_reason("run: CREATE EXTENSION pg_stat_statements");
    missing->set_since_us(1'000'000);
    const auto answer =
        rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::ReportSources, request, Options(CollectorToken(collector)));
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? answer->sources(0) : pb::SourceStanding();
  }
  pb::ListSourcesResponse Sources() {
    token::Principal viewer;
    viewer.kind = token::Principal::kUser;
    viewer.user_id = 8;
    viewer.username = viewer.role = "viewer";
    viewer.all_groups = true;
    const auto answer =
        rpc::Call(*stub_, &pb::RegistryService::Stub::ListSources, pb::ListSourcesRequest(), Options(TokenOf(viewer)));
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? *answer : pb::ListSourcesResponse();
  }
};

TEST_F(SourcesTest, FirstCollectorOwnsAndTheSecondWaitsUntilItIsReleased) {
  const pb::SourceStanding first = Report("one");
  EXPECT_EQ(first.standing(), pb::STANDING_OWNER);
  EXPECT_EQ(first.owner_epoch(), 1);
  EXPECT_EQ(Report("one", &first).owner_epoch(), 1);
  const pb::SourceStanding second = Report("two");
  EXPECT_EQ(second.standing(), pb::STANDING_STANDBY);
  EXPECT_EQ(second.owner(), "one");
  const pb::ListSourcesResponse listed = Sources();
  ASSERT_EQ(listed.count(), 1);
  const pb::Source& source = listed.sources(0);
  EXPECT_EQ(source.name(), "db");
  EXPECT_EQ(source.group(), "default");
  EXPECT_EQ(source.state(), "incomplete");
  EXPECT_EQ(source.not_collected(0).what(), "statements");
  ASSERT_EQ(source.not_collected_size(), 2);
  EXPECT_EQ(source.not_collected(1).what(), "log");
  EXPECT_TRUE(source.not_collected(1).off());
  EXPECT_EQ(source.collector_id(), "one");
  EXPECT_EQ(source.role(), "primary");
  EXPECT_THAT(source.standby_collectors(), ::testing::ElementsAre("two"));

  Report("one", &first, 77, /*release=*/true);
  EXPECT_EQ(Sources().sources(0).state(), "silent");
  const pb::SourceStanding next = Report("two");
  EXPECT_EQ(next.standing(), pb::STANDING_OWNER);
  EXPECT_EQ(next.owner_epoch(), 2);
  EXPECT_EQ(next.source_id(), first.source_id());
  EXPECT_EQ(Report("one", &first).standing(), pb::STANDING_STANDBY);
}

TEST_F(SourcesTest, AnotherServerUnderTheNameAndNamesLikeIdsAreRefused) {
  Report("one");
  const pb::SourceStanding other = Report("two", nullptr, 78);
  EXPECT_EQ(other.standing(), pb::STANDING_REFUSED);
  EXPECT_THAT(other.message(), HasSubstr("db1:5432, which collector one watches"));
  const pb::SourceStanding id = Report("two", nullptr, 79, false, "0b5a3c1e-7d34-4a0e-9d5a-2f0f9f0c1a01");
  EXPECT_EQ(id.standing(), pb::STANDING_REFUSED);
  EXPECT_THAT(id.message(), HasSubstr("look like an id"));
  EXPECT_EQ(Sources().count(), 1);
}

// Standbys have their primary's identifier; only one address under two names is one server twice.
TEST_F(SourcesTest, AStandbyIsOfThePrimarysClusterAndAnotherServer) {
  pb::ReportSourcesRequest request;
  request.set_interval_ms(60'000);
  const auto add = [&](const char* name, const char* address, bool in_recovery) {
    pb::SourceReport* const report = request.add_sources();
    report->set_name(name);
    report->set_kind(pb::SOURCE_KIND_SERVER);
    report->set_identifier(77);
    report->set_server_version_num(150020);
    report->set_address(address);
    report->set_in_recovery(in_recovery);
    report->set_up(true);
  };
  add("primary", "db1:5432", false);
  add("standby", "db2:5432", true);
  add("other standby", "db3:5432", true);
  add("standby again", "db2:5432", true);
  ASSERT_THAT(
      rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::ReportSources, request, Options(CollectorToken("one"))),
      IsOk());
  const pb::ListSourcesResponse listed = Sources();
  std::map<std::string, std::string> names;
  for (const pb::Source& source : listed.sources()) names[source.id()] = source.name();
  std::map<std::string, std::set<std::string>> same_server;
  for (const pb::Source& source : listed.sources()) {
    for (const std::string& id : source.same_server_as()) same_server[source.name()].insert(names[id]);
    EXPECT_EQ(source.same_server_as_size() + source.same_cluster_as_size(), 3) << source.name();
  }
  EXPECT_EQ(same_server, (std::map<std::string, std::set<std::string>>{{"standby", {"standby again"}},
                                                                       {"standby again", {"standby"}}}));
}

TEST_F(SourcesTest, ServersHaveTheFormOfTheFormerApi) {
  Report("one");
  token::Principal viewer;
  viewer.kind = token::Principal::kUser;
  viewer.user_id = 8;
  viewer.username = viewer.role = "viewer";
  viewer.all_groups = true;
  const auto list = [&](int page, int size) {
    pb::ListServersRequest request;
    request.set_page(page);
    request.set_page_size(size);
    return rpc::Call(*stub_, &pb::RegistryService::Stub::ListServers, request, Options(TokenOf(viewer)));
  };
  const auto listed = list(0, 0);
  ASSERT_THAT(listed, IsOk());
  ASSERT_EQ(listed->data_size(), 1);
  EXPECT_EQ(listed->total(), 1);
  EXPECT_EQ(listed->page_size(), 20);
  EXPECT_EQ(listed->total_pages(), 1);
  const pb::Server& server = listed->data(0);
  const pb::Source source = Sources().sources(0);
  EXPECT_EQ(server.id(), source.id());
  EXPECT_EQ(server.name(), source.name());
  EXPECT_EQ(server.environment(), source.group());
  EXPECT_EQ(server.address(), source.address());
  EXPECT_EQ(absl::StrCat(server.hostname(), ":5432"), server.address());
  EXPECT_EQ(server.collector_id(), "one");
  EXPECT_TRUE(server.is_active());
  EXPECT_THAT(server.description(), ::testing::EndsWith(", primary"));
  EXPECT_EQ(list(2, 1)->data_size(), 0);
  EXPECT_THAT(list(-1, 0).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("page")));

  const auto get = [&](const std::string& id) {
    pb::GetServerRequest request;
    request.set_id(id);
    return rpc::Call(*stub_, &pb::RegistryService::Stub::GetServer, request, Options(TokenOf(viewer)));
  };
  ASSERT_THAT(get(server.id()), IsOk());
  EXPECT_EQ(get(server.id())->name(), server.name());
  EXPECT_THAT(get("prod").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UUID")));
  EXPECT_THAT(get("00000000-0000-0000-0000-000000000000").status(),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));

  viewer.all_groups = false;
  viewer.groups = {"others"};
  EXPECT_EQ(list(0, 0)->data_size(), 0);
  EXPECT_THAT(get(server.id()).status(), StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

TEST_F(SourcesTest, RenamedMovedAndDeleted) {
  const pb::SourceStanding first = Report("one");
  const std::string id = Sources().sources(0).id();
  pb::UpdateSourceRequest update;
  update.set_id(id);
  update.set_name("orders");
  update.set_group("eu");
  const auto call = [&](const std::string& role) {
    return rpc::Call(*stub_, &pb::RegistryService::Stub::UpdateSource, update, Options(Person(role)));
  };
  EXPECT_THAT(call("user"), StatusIs(absl::StatusCode::kPermissionDenied, ::testing::_));
  ASSERT_THAT(call("admin"), IsOk());
  // The collector's own name for it stays good, and changes nothing.
  EXPECT_EQ(Report("one", &first).source_id(), first.source_id());
  EXPECT_EQ(Sources().sources(0).name(), "orders");
  EXPECT_EQ(Sources().sources(0).group(), "eu");
  Report("two", nullptr, 80, false, "other");
  pb::UpdateSourceRequest taken;
  const auto listed = Sources();
  for (const pb::Source& source : listed.sources()) {
    if (source.name() == "other") taken.set_id(source.id());
  }
  taken.set_name("orders");
  taken.set_group("eu");
  EXPECT_THAT(rpc::Call(*stub_, &pb::RegistryService::Stub::UpdateSource, taken, Options(Person("admin"))),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("has that name")));

  pb::DeleteSourceRequest remove;
  remove.set_id(id);
  ASSERT_THAT(rpc::Call(*stub_, &pb::RegistryService::Stub::DeleteSource, remove, Options(Person("admin"))), IsOk());
  EXPECT_EQ(Sources().count(), 1);
  const pb::SourceStanding deleted = Report("one", &first);
  EXPECT_EQ(deleted.standing(), pb::STANDING_REFUSED);
  EXPECT_THAT(deleted.message(), HasSubstr("was deleted"));
  // Another collector's source of that name is another source.
  const pb::SourceStanding anew = Report("two");
  EXPECT_EQ(anew.standing(), pb::STANDING_OWNER);
  EXPECT_NE(anew.source_id(), first.source_id());
}

TEST_F(RegistryTest, DatabaseThatIsBeingRestoredDeletesNobody) {
  auto pool = pg::Pool::Create({.url = url_});
  ASSERT_THAT(pool, IsOk());
  ASSERT_THAT((*pool)->Exec("ALTER SCHEMA pganalytics RENAME TO away", {}, clock::SteadyNow() + absl::Seconds(10)),
              IsOk());
  const auto renewed =
      rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::Renew, pb::RenewRequest(), Options(CollectorToken("c1")));
  EXPECT_FALSE(renewed.ok());
  EXPECT_NE(status::ReasonOf(renewed.status()), "COLLECTOR_DELETED");
  EXPECT_FALSE(absl::IsUnauthenticated(renewed.status())) << renewed.status();
}

TEST_F(RegistryTest, DeletedCollectorIsRevokedAndMustRegisterAgain) {
  ASSERT_THAT(Register("c1", "h1"), IsOk());
  pb::RenewRequest renew;
  renew.set_csr_pem("request");
  EXPECT_THAT(rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::Renew, renew, Options(CollectorToken("c1"))), IsOk());
  EXPECT_FALSE(auth_.issued().back().revoke_former());
  pb::DeleteCollectorRequest request;
  request.set_id("c1");
  EXPECT_THAT(rpc::Call(*stub_, &pb::RegistryService::Stub::DeleteCollector, request, Options(Person("viewer"))),
              StatusIs(absl::StatusCode::kPermissionDenied, ::testing::_));
  EXPECT_THAT(rpc::Call(*stub_, &pb::RegistryService::Stub::DeleteCollector, request, Options(Person("admin"))),
              IsOk());
  EXPECT_THAT(auth_.revoked(), ::testing::ElementsAre("c1"));
  EXPECT_THAT(rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::Renew, renew, Options(CollectorToken("c1"))),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("register again")));
  EXPECT_THAT(rpc::Call(*stub_, &pb::RegistryService::Stub::DeleteCollector, request, Options(Person("admin"))),
              StatusIs(absl::StatusCode::kNotFound, ::testing::_));
}

// A registration secret is no way to another's id: that takes the collector's own credentials or an administrator.
TEST_F(RegistryTest, CollectorAtWorkIsNotReplacedByAnybodyWithASecret) {
  ASSERT_THAT(Register("c1", "h1"), IsOk());
  EXPECT_THAT(Register("c1", "h1"), IsOk()) << "its answer may have been lost";
  auto pool = pg::Pool::Create({.url = url_});
  ASSERT_THAT(pool, IsOk());
  PgCollectorStore store(pool->get());
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(5);
  ASSERT_THAT(store.NoteActivity({{.collector_id = "c1", .last_seen = clock::WallNow()}}, deadline), IsOk());
  const size_t issued = auth_.issued().size();
  EXPECT_THAT(Register("c1", "thief"), StatusIs(absl::StatusCode::kAlreadyExists, ::testing::_));
  EXPECT_EQ(auth_.issued().size(), issued);
  EXPECT_EQ(store.Get("c1", deadline)->hostname, "h1");
  // By itself, through ingest, and by an administrator's act.
  const auto ingest = rpc::ServiceIdentity::Local(signer_.get(), "ingest");
  pb::EnrolRequest request;
  request.set_collector_id("c1");
  request.set_name("c1");
  request.set_hostname("h1");
  request.set_csr_pem("request");
  rpc::CallOptions by_itself = Options(ingest->Token(), kSecret);
  by_itself.metadata.emplace_back(rpc::kCollectorId, "c1");
  EXPECT_THAT(rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::Enrol, request, by_itself), IsOk());
  rpc::CallOptions by_another = Options(ingest->Token(), kSecret);
  by_another.metadata.emplace_back(rpc::kCollectorId, "c2");
  EXPECT_THAT(rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::Enrol, request, by_another),
              StatusIs(absl::StatusCode::kAlreadyExists, ::testing::_));
  EXPECT_THAT(Register("c1", "h2", kAdministratorsSecret), IsOk());
  // One that was registered long ago and never sent anything is somebody's, too.
  ASSERT_THAT(Register("silent", "h3"), IsOk());
  ASSERT_THAT((*pool)->Exec("UPDATE pganalytics.collectors SET created_at = created_at - interval '2 hours' WHERE id = "
                            "'silent'",
                            {}, deadline),
              IsOk());
  EXPECT_THAT(Register("silent", "thief"), StatusIs(absl::StatusCode::kAlreadyExists, ::testing::_));
}

TEST_F(RegistryTest, ActivityOfACollectorNamedNullIsNoted) {
  ASSERT_THAT(Register("null", "h1"), IsOk());
  auto pool = pg::Pool::Create({.url = url_});
  ASSERT_THAT(pool, IsOk());
  PgCollectorStore store(pool->get());
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(5);
  ASSERT_THAT(store.NoteActivity(
                  {{.collector_id = "null", .last_seen = clock::WallNow(), .rows_total = 7, .rows_24h = 3}}, deadline),
              IsOk());
  const auto collector = store.Get("null", deadline);
  ASSERT_THAT(collector, IsOk());
  EXPECT_EQ(collector->metrics_count_total, 7);
}

}  // namespace
}  // namespace pga::registry
