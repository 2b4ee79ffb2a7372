// Sources: who owns them, what they are called, how they are listed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "services/registry/registry_fixture_testing.h"

namespace pga::registry {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;

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
  pb::ListSourcesResponse Sources() { return Sources(*stub_); }
  pb::ListSourcesResponse Sources(pb::RegistryService::Stub& stub) {
    token::Principal viewer;
    viewer.kind = token::Principal::kUser;
    viewer.user_id = 8;
    viewer.username = viewer.role = "viewer";
    viewer.all_groups = true;
    const auto answer =
        rpc::Call(stub, &pb::RegistryService::Stub::ListSources, pb::ListSourcesRequest(), Options(TokenOf(viewer)));
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

// A query service that has much to count: it never answers.
class BusyQuery final : public ::pganalytics::query::v1::QueryService::CallbackService {
 public:
  grpc::ServerUnaryReactor* CollectorActivity(grpc::CallbackServerContext*,
                                              const ::pganalytics::query::v1::CollectorActivityRequest*,
                                              ::pganalytics::query::v1::CollectorActivityResponse*) override {
    class Waiting final : public grpc::ServerUnaryReactor {
      void OnCancel() override { Finish(grpc::Status::CANCELLED); }
      void OnDone() override { delete this; }
    };
    ++asked;
    return new Waiting();
  }
  std::atomic<int> asked = 0;
};

TEST_F(SourcesTest, OnlyTheFirstCallWaitsForQueryThatIsSlow) {
  Report("one");
  BusyQuery query;
  auto query_server = rpc::Server::Start(
      {.name = "query", .listen = {}, .tls = {}, .outside_listen = {}, .outside_tls = {}, .services = {&query}});
  ASSERT_THAT(query_server, IsOk());
  RegistryConfig config;
  config.database_url = log::Secret(url_);
  metrics::Registry metrics(/*process_metrics=*/false);
  auto registry = RegistryServer::Create(config, {.metrics = &metrics,
                                                  .clock = clock::Clock::Real(),
                                                  .authenticator = authenticator_.get(),
                                                  .identity = identity_.get(),
                                                  .auth = auth_server_->InProcessChannel(),
                                                  .query = (*query_server)->InProcessChannel()});
  ASSERT_THAT(registry, IsOk());
  auto server = rpc::Server::Start({.name = "registry",
                                    .listen = {},
                                    .tls = {},
                                    .outside_listen = {},
                                    .outside_tls = {},
                                    .services = (*registry)->services()});
  ASSERT_THAT(server, IsOk());
  const auto stub = pb::RegistryService::NewStub((*server)->InProcessChannel());
  for (int call = 0; call < 4; ++call) {
    const pb::ListSourcesResponse answer = Sources(*stub);
    ASSERT_EQ(answer.sources_size(), 1);
    EXPECT_FALSE(answer.sources(0).has_frames_24h()) << "what is not known is not shown";
  }
  EXPECT_EQ(query.asked, 1);
  const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(5);
  (*server)->Drain(deadline);
  (*registry)->Drain(deadline);
  (*query_server)->Drain(deadline);
}

}  // namespace
}  // namespace pga::registry
