// Managed instances on a real metadata database, whose server is the one that connections are tested to: passwords, the
// hosts that are reached, and who is handed what.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/testing/loopback_listener.h"
#include "services/registry/connection_tester.h"
#include "services/registry/managed_fixture_testing.h"
#include "services/registry/managed_rules.h"

namespace pga::registry {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// Whether somebody has connected within the time.
bool Connected(const testing::LoopbackListener& listener, int milliseconds) {
  pollfd waits{listener.fd(), POLLIN, 0};
  return poll(&waits, 1, milliseconds) > 0;
}

TEST_F(ManagedInstancesTest, AreAddedTriedChangedAndDeleted) {
  pb::ManagedInstanceSpec spec = Spec();
  (*spec.mutable_tags())["team"] = "sh\"op";
  const auto made = Create(spec);
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->status(), "registered");
  EXPECT_EQ(made->last_connection_status(), "connected");
  EXPECT_TRUE(made->has_last_heartbeat());
  EXPECT_EQ(made->aws_region(), "us-east-1");
  EXPECT_EQ(made->environment(), "development");
  EXPECT_EQ(made->monitoring_interval(), 60);
  EXPECT_EQ(made->connection_timeout(), 30);
  EXPECT_EQ(made->created_by(), 7);
  EXPECT_EQ(made->tags().at("team"), "sh\"op");
  EXPECT_TRUE(made->is_active() && made->ssl_enabled() && made->has_secret_id() && !made->has_description());
  EXPECT_THAT(Create(spec), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("orders")));
  ASSERT_THAT(Create(Spec("billing")), IsOk());
  EXPECT_THAT(Names(Admin()), ElementsAre("billing", "orders"));

  spec.clear_master_password();
  spec.clear_tags();
  spec.set_status("paused");
  const auto paused = Update(made->id(), spec);
  ASSERT_THAT(paused, IsOk());
  EXPECT_EQ(paused->status(), "paused");
  EXPECT_EQ(paused->secret_id(), made->secret_id());
  EXPECT_TRUE(paused->tags().empty());
  EXPECT_TRUE(Test(made->id())->success());

  spec.set_master_password("another one");
  spec.set_status("registered");
  const auto changed = Update(made->id(), spec);
  ASSERT_THAT(changed, IsOk());
  EXPECT_NE(changed->secret_id(), made->secret_id());
  const auto refused = Test(made->id());
  ASSERT_THAT(refused, IsOk());
  EXPECT_FALSE(refused->success());
  EXPECT_THAT(refused->error(), HasSubstr("monitor"));
  EXPECT_EQ(Get(made->id())->last_connection_status(), "error");
  EXPECT_EQ(Get(made->id())->last_error_message(), refused->error());
  EXPECT_TRUE(Test(made->id(), "monitor", kPassword)->success());
  EXPECT_EQ(Get(made->id())->last_connection_status(), "connected");
  EXPECT_THAT(Test(made->id(), "postgres"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("password")));
  EXPECT_THAT(Update(made->id() + 100, spec), StatusIs(absl::StatusCode::kNotFound));
  // The stored password goes nowhere else.
  pb::ManagedInstanceSpec elsewhere = spec;
  elsewhere.clear_master_password();
  elsewhere.set_endpoint("127.0.0.2");
  EXPECT_THAT(Update(made->id(), elsewhere),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("master_password is missing")));
  EXPECT_THAT(Update(made->id() + 100, elsewhere), StatusIs(absl::StatusCode::kNotFound));
  spec.set_name("billing");
  EXPECT_THAT(Update(made->id(), spec), StatusIs(absl::StatusCode::kAlreadyExists));

  pb::DeleteManagedInstanceRequest gone;
  gone.set_id(made->id());
  EXPECT_THAT(rpc::Call(*Instances(), &ManagedStub::DeleteManagedInstance, gone, Options(Admin())), IsOk());
  EXPECT_THAT(rpc::Call(*Instances(), &ManagedStub::DeleteManagedInstance, gone, Options(Admin())),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Get(made->id()), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Names(Admin()), ElementsAre("billing"));
  EXPECT_EQ(Sql("SELECT count(*) FROM pganalytics.managed_secrets"), "1");
  EXPECT_THAT(Create(Spec()), IsOk());
  EXPECT_THAT(
      Sql("SELECT string_agg(DISTINCT action, ' ' ORDER BY action) FROM pganalytics.audit_log"),
      HasSubstr("managed_instance.create managed_instance.delete managed_instance.test managed_instance.update"));
}

TEST_F(ManagedInstancesTest, PasswordsAreSealedInTheDatabaseAndBoundToTheirInstance) {
  const auto one = Create(Spec());
  const auto other = Create(Spec("billing"));
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT(one->DebugString(), Not(HasSubstr(kPassword)));
  EXPECT_EQ(Sql(absl::StrCat("SELECT count(*) FROM pganalytics.managed_secrets WHERE position('", kPassword,
                             "'::bytea IN sealed) > 0 OR get_byte(sealed, 0) <> 1")),
            "0");
  EXPECT_EQ(
      Sql("SELECT count(*) FROM pganalytics.managed_secrets a, pganalytics.managed_secrets b WHERE a.id < b.id AND "
          "a.sealed = b.sealed"),
      "0");
  // Whoever may write the table cannot have another instance's password sent where he likes.
  Sql(absl::StrCat(
      "UPDATE pganalytics.managed_secrets SET sealed = (SELECT sealed FROM pganalytics.managed_secrets WHERE "
      "instance_id = ",
      one->id(), ") WHERE instance_id = ", other->id()));
  EXPECT_THAT(Test(other->id()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cannot be opened")));
  EXPECT_THAT(Test(one->id()), IsOk());
}

TEST_F(ManagedInstancesTest, PeopleSeeTheInstancesOfTheirGroups) {
  pb::ManagedInstanceSpec spec = Spec("of the shop");
  spec.set_group("shop");
  const auto made = Create(spec);
  ASSERT_THAT(made, IsOk());
  ASSERT_THAT(Create(Spec("of all")), IsOk());
  EXPECT_THAT(Names(OfGroups("viewer", {"shop"})), ElementsAre("of the shop"));
  EXPECT_THAT(Get(made->id(), OfGroups("viewer", {"other"})), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Get(made->id(), OfGroups("viewer", {"shop"})), IsOk());
}

TEST_F(ManagedInstancesTest, WithoutAKeyWhatNeedsOneSaysSo) {
  config_.encryption_key = {};
  Start(0);
  EXPECT_THAT(Create(Spec()), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("ENCRYPTION_KEY")));
  EXPECT_THAT(Names(Admin()), ElementsAre());
  EXPECT_TRUE(TestDirect("127.0.0.1", watched_->tcp_port())->success());
  config_.encryption_key = log::Secret("short");
  EXPECT_THAT(Validate(config_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ENCRYPTION_KEY")));
  config_.encryption_key = log::Secret(kKey);
  config_.managed_hosts = {"not a host"};
  EXPECT_THAT(Validate(config_), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("MANAGED_INSTANCE_HOSTS")));
}

TEST_F(ManagedInstancesTest, TestsReachOnlyWhatIsAllowed) {
  EXPECT_TRUE(TestDirect("127.0.0.1", watched_->tcp_port())->success());
  const auto wrong = TestDirect("127.0.0.1", watched_->tcp_port(), "wrong");
  ASSERT_THAT(wrong, IsOk());
  EXPECT_FALSE(wrong->success());
  // Nobody must connect here, whatever the address is called.
  const testing::LoopbackListener listener;
  config_.managed_hosts = {"localhost", "10.0.0.0/8", "0.0.0.0/0"};
  Start(0);
  for (const char* host :
       {"127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1", "0.0.0.0", "127.0.0.2", "169.254.169.254"}) {
    const auto tested = TestDirect(host, listener.port());
    ASSERT_THAT(tested, IsOk()) << host;
    EXPECT_FALSE(tested->success()) << host;
    EXPECT_THAT(tested->error(), HasSubstr("MANAGED_INSTANCE_HOSTS")) << host;
  }
  for (const char* host : {"127.1", "2130706433", "0x7f000001", "/tmp", "127.0.0.1,10.0.0.1", "[::1]"}) {
    EXPECT_THAT(TestDirect(host, listener.port()), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("endpoint")))
        << host;
  }
  config_.managed_hosts = {};
  Start(0);
  EXPECT_THAT(TestDirect("127.0.0.1", listener.port())->error(), HasSubstr("MANAGED_INSTANCE_HOSTS"));
  // An instance there is kept all the same.
  const auto made = Create(Spec());
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->status(), "registering");
  EXPECT_THAT(made->last_error_message(), HasSubstr("MANAGED_INSTANCE_HOSTS"));
  EXPECT_FALSE(Connected(listener, 0));
}

TEST_F(ManagedInstancesTest, ATestGoesToTheAddressThatWasCheckedAndEndsInTime) {
  int looked_up = 0;
  // The name shows its other face to whoever asks twice.
  net::HostResolver resolver(1, 4, [&](const std::string&) -> absl::StatusOr<net::HostResolver::Addresses> {
    return net::HostResolver::Addresses{++looked_up == 1 ? "127.0.0.1" : "127.0.0.9"};
  });
  const auto allowed = net::AllowedHosts::Parse({"127.0.0.1"}, "MANAGED_INSTANCE_HOSTS");
  ASSERT_THAT(allowed, IsOk());
  ConnectionTester tester(*allowed, "", 1, &resolver);
  ConnectionTarget target{"db.example.com", watched_->tcp_port(), "monitor", log::Secret(kPassword),
                          ModesToTry("disable")};
  EXPECT_THAT(tester.Test(target, clock::SteadyNow() + absl::Seconds(20)), IsOk());
  EXPECT_EQ(looked_up, 1);
  EXPECT_THAT(tester.Test(target, clock::SteadyNow() + absl::Seconds(20)),
              StatusIs(absl::StatusCode::kPermissionDenied));

  // A server that never answers holds a test until its deadline, and one place.
  const testing::LoopbackListener silent;
  target.host = "127.0.0.1";
  target.port = silent.port();
  const clock::SteadyTime began = clock::SteadyNow();
  absl::Status first;
  std::thread waits([&] { first = tester.Test(target, began + absl::Milliseconds(700)); });
  EXPECT_TRUE(Connected(silent, 10'000));
  EXPECT_THAT(tester.Test(target, began + absl::Seconds(20)), StatusIs(absl::StatusCode::kResourceExhausted));
  waits.join();
  EXPECT_THAT(first, StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_LT(clock::SteadyNow() - began, absl::Seconds(10));
}

TEST_F(ManagedInstancesTest, ACollectorOfTheGroupIsHandedTheInstanceAndItsPasswordOnce) {
  for (const char* id : {"one", "two"}) ASSERT_THAT(Register(id, id), IsOk());
  const auto made = Create(Spec());
  ASSERT_THAT(made, IsOk());
  pb::ManagedInstanceSpec elsewhere = Spec("elsewhere");
  elsewhere.set_group("shop");
  ASSERT_THAT(Create(elsewhere), IsOk());
  EXPECT_EQ(Report("two", /*takes=*/false).instances_size(), 0);

  const pb::ReportSourcesResponse first = Report("one");
  ASSERT_EQ(first.instances_size(), 1);
  const pb::WatchedInstance& handed = first.instances(0);
  EXPECT_EQ(handed.name(), "orders");
  EXPECT_EQ(handed.host(), "127.0.0.1");
  EXPECT_EQ(handed.port(), watched_->tcp_port());
  EXPECT_EQ(handed.user(), "monitor");
  EXPECT_EQ(handed.password(), kPassword);
  EXPECT_EQ(handed.sslmode(), "prefer");
  EXPECT_EQ(handed.connect_timeout_s(), 30);
  EXPECT_EQ(handed.interval_s(), 60);
  EXPECT_EQ(Get(made->id())->assigned_collector_id(), "one");
  EXPECT_EQ(Get(made->id())->status(), "registered");
  // Nobody else gets it, and the same collector gets the password of a revision once.
  EXPECT_EQ(Report("two").instances_size(), 0);
  pb::HeldInstance held;
  held.set_id(handed.id());
  held.set_revision(handed.revision());
  const pb::ReportSourcesResponse again = Report("one", true, {held}, {"orders"});
  ASSERT_EQ(again.instances_size(), 1);
  EXPECT_EQ(again.instances(0).id(), handed.id());
  EXPECT_EQ(again.instances(0).password(), "");
  EXPECT_EQ(Get(made->id())->status(), "monitoring");
  EXPECT_EQ(Get(made->id())->last_connection_status(), "connected");

  // Of a source of the name that another collector watches the instance says nothing.
  pb::ManagedInstanceSpec spec = Spec();
  spec.set_status("registered");
  spec.set_collector_id("two");
  ASSERT_THAT(Update(made->id(), spec), IsOk());
  EXPECT_EQ(Get(made->id())->status(), "registered");
  EXPECT_EQ(Report("one", true, {held}).instances_size(), 0);
  EXPECT_EQ(Report("two").instances(0).password(), kPassword);

  spec.set_status("paused");
  ASSERT_THAT(Update(made->id(), spec), IsOk());
  EXPECT_EQ(Report("two").instances_size(), 0);
  spec.set_status("monitoring");
  spec.set_master_password("new");
  ASSERT_THAT(Update(made->id(), spec), IsOk());
  EXPECT_EQ(Report("two").instances(0).password(), "new");
  // Whoever stops, gives back.
  EXPECT_EQ(Report("two", /*takes=*/false).instances_size(), 0);
  EXPECT_EQ(Get(made->id())->assigned_collector_id(), "");
}

TEST_F(ManagedInstancesTest, InstancesAreSharedAndPassOnWhenTheirCollectorIsSilent) {
  for (const char* id : {"one", "two"}) ASSERT_THAT(Register(id, id), IsOk());
  EXPECT_EQ(Report("one").instances_size(), 0);
  EXPECT_EQ(Report("two").instances_size(), 0);
  for (int i = 0; i < 3; ++i) ASSERT_THAT(Create(Spec(absl::StrCat("instance ", i))), IsOk());
  EXPECT_EQ(Report("one").instances_size(), 2);
  EXPECT_EQ(Report("two").instances_size(), 1);
  EXPECT_EQ(Report("one").instances_size(), 2);
  Sql("UPDATE pganalytics.managed_collectors SET lease_until = now() - INTERVAL '1 s' WHERE collector_id = 'one'");
  EXPECT_EQ(Report("two").instances_size(), 3);
  EXPECT_EQ(Report("one").instances_size(), 0);
  // A collector that was deleted watches nothing.
  Sql("DELETE FROM pganalytics.collectors WHERE id = 'two'");
  EXPECT_EQ(Report("one").instances_size(), 3);
  // What cannot be opened is handed to nobody, and said.
  Sql("UPDATE pganalytics.managed_secrets SET sealed_with = 'a former key', sealed = '\\x01'");
  EXPECT_EQ(Report("one").instances_size(), 0);
  EXPECT_THAT(Get(std::stoi(Sql("SELECT min(id)::text FROM pganalytics.managed_instances")))->last_error_message(),
              HasSubstr("a former key"));
}

}  // namespace
}  // namespace pga::registry
