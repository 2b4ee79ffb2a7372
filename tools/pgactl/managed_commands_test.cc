// Managed instances by pgactl, over REST and gRPC: what is asked, what is kept by a change, where passwords come from.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tools/pgactl/pgactl_testing.h"

namespace pga::pgactl {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class PgactlManaged : public Pgactl {
 protected:
  void SetUp() override {
    Pgactl::SetUp();
    Instances().instances.clear();
    environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
    const std::string path = folder_.path() + "/instance-password";
    std::ofstream(path) << "of the instance\n";
    environment_["PGACTL_INSTANCE_PASSWORD_FILE"] = path;
  }
  static StandInManaged& Instances() { return Suite::Get().managed; }
  Outcome Add(const std::string& name) {
    return Run({"managed", "add", name, "--endpoint", "db.example.com", "--user", "monitor", "--ssl-mode",
                "verify-full", "--interval", "15", "--tag", "team=shop", "--group", "eu"});
  }
};

TEST_P(PgactlManaged, AreAddedShownChangedAndDeleted) {
  EXPECT_THAT(Run({"managed", "list"}).out, HasSubstr("no managed instances"));
  const Outcome made = Add("orders");
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(Instances().password, "of the instance");
  EXPECT_THAT(made.out, AllOf(HasSubstr("db.example.com:5432"), HasSubstr("verify-full"), HasSubstr("15 s"),
                              HasSubstr("team=shop")));
  EXPECT_THAT(made.out + made.err, Not(HasSubstr("of the instance")));
  const Outcome listed = Run({"managed", "list"});
  EXPECT_THAT(listed.out, AllOf(HasSubstr("orders"), HasSubstr("nobody listens"), Not(HasSubstr("\033"))));
  EXPECT_THAT(Run({"managed", "show", "orders", "-o", "json"}).out, HasSubstr("\"monitoring_interval\": 15"));
  EXPECT_THAT(Run({"managed", "list", "-o", "json"}).out, HasSubstr("\"name\": \"orders\""));

  // A change keeps the rest, and the password.
  const Outcome changed = Run({"managed", "update", "orders", "--port", "6432"});
  ASSERT_EQ(changed.code, 0) << changed.err;
  EXPECT_EQ(Instances().updated.port(), 6432);
  EXPECT_EQ(Instances().updated.ssl_mode(), "verify-full");
  EXPECT_EQ(Instances().updated.monitoring_interval(), 15);
  EXPECT_EQ(Instances().updated.tags().at("team"), "shop");
  EXPECT_EQ(Instances().updated.group(), "eu");
  EXPECT_FALSE(Instances().updated.has_master_password());
  // The stored one was given for the former host.
  environment_["PGACTL_INSTANCE_PASSWORD"] = "of the environment";
  EXPECT_EQ(Run({"managed", "update", "1", "--endpoint", "other.example.com"}).code, 0);
  EXPECT_EQ(Instances().updated.endpoint(), "other.example.com");
  EXPECT_EQ(Instances().password, "of the environment");
  EXPECT_EQ(Run({"managed", "update", "orders", "--password"}).code, 0);
  EXPECT_EQ(Instances().password, "of the environment");

  EXPECT_EQ(Run({"managed", "pause", "orders"}).code, 0);
  EXPECT_EQ(Instances().updated.status(), "paused");
  EXPECT_EQ(Run({"managed", "update", "orders", "--timeout", "5"}).code, 0);
  EXPECT_EQ(Instances().updated.status(), "paused");
  EXPECT_EQ(Run({"managed", "resume", "orders"}).code, 0);
  EXPECT_EQ(Instances().updated.status(), "registered");
  EXPECT_EQ(Run({"managed", "delete", "orders"}).code, 0);
  EXPECT_TRUE(Instances().instances.empty());
  EXPECT_THAT(Run({"managed", "delete", "orders"}).err, HasSubstr("no managed instance 'orders'"));
}

TEST_P(PgactlManaged, AreTested) {
  ASSERT_EQ(Add("orders").code, 0);
  ASSERT_EQ(Add("billing").code, 0);
  EXPECT_THAT(Run({"managed", "test", "orders"}).out, HasSubstr("orders: registry connects"));
  const Outcome failed = Run({"managed", "test", "billing"});
  EXPECT_EQ(failed.code, 1);
  EXPECT_THAT(failed.err, HasSubstr("billing: nobody listens there"));
  EXPECT_EQ(Run({"managed", "test", "--endpoint", "new.example.com", "--user", "monitor"}).code, 0);
  EXPECT_EQ(Instances().password, "of the instance");
  EXPECT_EQ(Run({"managed", "test", "--endpoint", "new.example.com", "--user", "monitor", "--port", "1"}).code, 1);
}

TEST_P(PgactlManaged, SayWhatIsWrong) {
  ASSERT_EQ(Add("orders").code, 0);
  ASSERT_EQ(Add("orders").code, 0);
  EXPECT_THAT(Run({"managed", "show", "orders"}).err, HasSubstr("give its id: 1 (eu), 2 (eu)"));
  const struct {
    std::vector<std::string> words;
    std::string says;
  } cases[] = {
      {{"managed", "add", "x", "--user", "monitor"}, "--endpoint is missing"},
      {{"managed", "add", "x", "--endpoint", "h"}, "--user is missing"},
      {{"managed", "add", "x", "--endpoint", "h", "--user", "u", "--interval", "301"}, "1 to 300"},
      {{"managed", "add", "x", "--endpoint", "h", "--user", "u", "--tag", "=v"}, "is no tag"},
      {{"managed", "add", "x", "--endpoint", "h", "--user", "u", "--password", "secret"}, "--password"},
      {{"managed", "test"}, "--endpoint and --user"},
      {{"managed", "test", "2", "--endpoint", "h"}, "leave out --endpoint"},
  };
  for (const auto& one : cases) {
    const Outcome outcome = Run(one.words);
    EXPECT_EQ(outcome.code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(one.says));
  }
  EXPECT_THAT(Run({"completion", "bash"}).out,
              AllOf(HasSubstr("'managed') words='add delete list pause resume show test update'"),
                    HasSubstr("'managed update') options='--name --password --endpoint")));
}

INSTANTIATE_TEST_SUITE_P(Both, PgactlManaged, ::testing::Values("rest", "grpc"),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace pga::pgactl
