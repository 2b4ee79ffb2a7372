// The registry on a real metadata database, called through a real in-process gRPC server; auth is played by a service
// of the test that records what it is asked.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/registry/registry_fixture_testing.h"

namespace pga::registry {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;

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

// A collector is seen by whom its group, or that of one of its sources, is open to.
TEST_F(RegistryTest, OtherGroupsSeeNeitherCollectorNorConfiguration) {
  ASSERT_THAT(Register("c1", "h1"), IsOk());
  pb::PutConfigRequest put;
  put.set_collector_id("c1");
  put.mutable_body()->set_data("[collector]\ninterval = 30\n");
  ASSERT_THAT(rpc::Call(*stub_, &pb::RegistryService::Stub::PutConfig, put, Options(Person("admin"))), IsOk());
  struct Case {
    std::vector<std::string> groups;
    bool seen;
  };
  for (const Case& c :
       std::vector<Case>{{{"default"}, true}, {{"others", "default"}, true}, {{"others"}, false}, {{}, false}}) {
    SCOPED_TRACE(c.groups.empty() ? "none" : c.groups[0]);
    token::Principal viewer;
    viewer.kind = token::Principal::kUser;
    viewer.user_id = 9;
    viewer.username = viewer.role = "viewer";
    viewer.groups = c.groups;
    const rpc::CallOptions options = Options(TokenOf(viewer));
    EXPECT_EQ(
        rpc::Call(*stub_, &pb::RegistryService::Stub::ListCollectors, pb::ListCollectorsRequest(), options)->total(),
        c.seen ? 1 : 0);
    pb::GetCollectorRequest one;
    one.set_id("c1");
    pb::GetConfigRequest config;
    config.set_collector_id("c1");
    EXPECT_EQ(rpc::Call(*stub_, &pb::RegistryService::Stub::GetCollector, one, options).ok(), c.seen);
    const auto read = rpc::Call(*stub_, &pb::RegistryService::Stub::GetConfig, config, options);
    if (c.seen) {
      EXPECT_THAT(read, IsOk());
    } else {
      EXPECT_THAT(read, StatusIs(absl::StatusCode::kNotFound, HasSubstr("no collector")));
    }
  }
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

TEST_F(RegistryTest, RenewalSaysWhichVersionRuns) {
  ASSERT_THAT(Register("c1", "h1"), IsOk());
  pb::GetCollectorRequest request;
  request.set_id("c1");
  struct Case {
    std::string version;
    absl::StatusCode code;
    std::string shown;
  };
  for (const Case& one : {Case{"9.9.1", absl::StatusCode::kOk, "9.9.1"}, Case{"", absl::StatusCode::kOk, "9.9.1"},
                          Case{std::string(64, '1'), absl::StatusCode::kInvalidArgument, "9.9.1"},
                          Case{"9.9.2", absl::StatusCode::kOk, "9.9.2"}}) {
    pb::RenewRequest renew;
    renew.set_csr_pem("request");
    renew.set_version(one.version);
    const auto renewed =
        rpc::Call(*enrolment_, &pb::EnrolmentService::Stub::Renew, renew, Options(CollectorToken("c1")));
    EXPECT_EQ(renewed.status().code(), one.code) << one.version << ": " << renewed.status();
    const auto shown = rpc::Call(*stub_, &pb::RegistryService::Stub::GetCollector, request, Options(Person("viewer")));
    ASSERT_THAT(shown, IsOk());
    EXPECT_EQ(shown->version(), one.shown) << one.version;
  }
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
  EXPECT_EQ(store.Get("c1", std::nullopt, deadline)->hostname, "h1");
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
  const auto collector = store.Get("null", std::nullopt, deadline);
  ASSERT_THAT(collector, IsOk());
  EXPECT_EQ(collector->metrics_count_total, 7);
}

}  // namespace
}  // namespace pga::registry
