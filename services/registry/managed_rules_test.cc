#include "services/registry/managed_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "libs/status/testing.h"

namespace pga::registry {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ManagedSpec Good() {
  ManagedSpec spec;
  spec.name = "orders";
  spec.endpoint = "orders.example.com";
  spec.port = 5432;
  spec.username = "monitor";
  spec.password = log::Secret("p");
  spec.status = "registered";
  return spec;
}

TEST(CheckManaged, NamesTheField) {
  EXPECT_THAT(CheckManaged(Good(), true), IsOk());
  struct Case {
    const char* field;
    std::function<void(ManagedSpec&)> change;
  };
  const Case cases[] = {
      {"name", [](ManagedSpec& s) { s.name = "ab"; }},
      {"name", [](ManagedSpec& s) { s.name = std::string(256, 'n'); }},
      {"name", [](ManagedSpec& s) { s.name = "a\nbc"; }},
      {"id", [](ManagedSpec& s) { s.name = "030d98e8-882f-58b2-bc92-7c274fe28149"; }},
      {"endpoint", [](ManagedSpec& s) { s.endpoint = ""; }},
      {"endpoint", [](ManagedSpec& s) { s.endpoint = "/var/run/postgresql"; }},
      {"endpoint", [](ManagedSpec& s) { s.endpoint = "a.example.com,b.example.com"; }},
      {"endpoint", [](ManagedSpec& s) { s.endpoint = "db1 password=x"; }},
      {"port", [](ManagedSpec& s) { s.port = 0; }},
      {"port", [](ManagedSpec& s) { s.port = 65536; }},
      {"master_username", [](ManagedSpec& s) { s.username = ""; }},
      {"master_password", [](ManagedSpec& s) { s.password = log::Secret(""); }},
      {"master_password", [](ManagedSpec& s) { s.password.reset(); }},
      {"status", [](ManagedSpec& s) { s.status = "on"; }},
      {"ssl_mode", [](ManagedSpec& s) { s.ssl_mode = "yes"; }},
      {"instance_role", [](ManagedSpec& s) { s.instance_role = "king"; }},
      {"monitoring_interval", [](ManagedSpec& s) { s.monitoring_interval = 0; }},
      {"monitoring_interval must be a number from 1 to 300", [](ManagedSpec& s) { s.monitoring_interval = 301; }},
      {"connection_timeout", [](ManagedSpec& s) { s.connection_timeout = 301; }},
      {"tags", [](ManagedSpec& s) { s.tags[""] = "x"; }},
      {"group", [](ManagedSpec& s) { s.group = "a b"; }},
      {"collector_id", [](ManagedSpec& s) { s.collector_id = "../x"; }},
  };
  for (const Case& one : cases) {
    ManagedSpec spec = Good();
    one.change(spec);
    EXPECT_THAT(CheckManaged(spec, true), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(one.field)));
  }
  ManagedSpec change = Good();
  change.password.reset();
  EXPECT_THAT(CheckManaged(change, false), IsOk());
  change.status.clear();
  EXPECT_THAT(CheckManaged(change, false), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("status")));
}

TEST(ModesToTry, NeverUndercutTheInstance) {
  EXPECT_THAT(ModesToTry("disable"), ElementsAre("require", "prefer", "disable"));
  EXPECT_THAT(ModesToTry("allow"), ElementsAre("require", "prefer"));
  EXPECT_THAT(ModesToTry("prefer"), ElementsAre("require", "prefer"));
  EXPECT_THAT(ModesToTry("require"), ElementsAre("require"));
  EXPECT_THAT(ModesToTry("verify-full"), ElementsAre("verify-full"));
}

TEST(Judge, StatusFollowsWhatIsKnown) {
  const absl::Time now = absl::FromUnixSeconds(1'000'000);
  Source up;
  up.up = true;
  up.interval = absl::Seconds(60);
  up.renewed_at = up.seen_at = now - absl::Seconds(10);
  Source down = up;
  down.up = false;
  down.message = "no route";
  down.seen_at = now - absl::Hours(1);
  Source silent = up;
  silent.renewed_at = silent.seen_at = now - absl::Minutes(10);
  struct Case {
    TestOutcome test;
    const Source* source;
    bool paused;
    std::string status, connection;
    std::optional<absl::Time> heartbeat;
  };
  const absl::Time tested = now - absl::Seconds(30);
  const Case cases[] = {
      {{}, nullptr, false, "registering", "unknown", std::nullopt},
      {{tested, "refused"}, nullptr, false, "registering", "error", std::nullopt},
      {{tested, "refused"}, &up, false, "monitoring", "connected", up.seen_at},
      {{}, &up, false, "monitoring", "connected", up.seen_at},
      {{}, &up, true, "paused", "connected", up.seen_at},
      {{}, &down, false, "registered", "error", down.seen_at},
      // A newer test is what counts.
      {{now, ""}, &down, false, "registered", "connected", down.seen_at},
      {{}, &silent, false, "registered", "unknown", silent.seen_at},
      {{now - absl::Hours(1), "refused"}, &silent, false, "registered", "error", silent.seen_at},
  };
  int number = 0;
  for (const Case& one : cases) {
    SCOPED_TRACE(number++);
    ManagedInstance instance;
    Judge(one.test, one.source, one.paused, now, &instance);
    EXPECT_EQ(instance.spec.status, one.status);
    EXPECT_EQ(instance.last_connection_status, one.connection);
    EXPECT_EQ(instance.last_heartbeat, one.heartbeat);
    if (one.source == &down && !one.test.tested_at) {
      EXPECT_EQ(instance.last_error, "no route");
    }
  }
}

}  // namespace
}  // namespace pga::registry
