#include "libs/config/pushed_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/config/nearest.h"
#include "libs/status/testing.h"

namespace pga::config {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

TEST(PushedConfig, ReadsBothForms) {
  const auto config = ParsePushedConfig(R"(
# from registry
[collector]
interval = 120   # seconds
[metrics]
settings = false
wal = "on"
[pg_query_stats]
enabled = no
[somewhere]
key = "value"
)");
  ASSERT_THAT(config, IsOk());
  EXPECT_EQ(config->collection_interval, absl::Seconds(120));
  EXPECT_EQ(config->metrics.at("settings"), false);
  EXPECT_EQ(config->metrics.at("wal"), true);
  EXPECT_EQ(config->metrics.at("statements"), false);
  ASSERT_EQ(config->unknown.size(), 1u);
  EXPECT_EQ(config->unknown[0].section, "somewhere");
  EXPECT_EQ(config->unknown[0].line, 11);
}

TEST(PushedConfig, ErrorsNameTheLine) {
  for (const char* text : {"\ncollection_interval = soon", "\n[metrics", "\nnonsense", "\n[metrics]\nx = maybe",
                           "\ncollection_interval = 0", "\nx = \"open"}) {
    EXPECT_THAT(ParsePushedConfig(text), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line ")));
  }
}

TEST(CheckPushedConfig, RefusesWhatACollectorWouldNotUse) {
  const std::vector<std::string> metrics = {"settings", "statements", "wal"};
  const auto invalid = [](const char* text) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(text)); };
  EXPECT_THAT(CheckPushedConfig("collection_interval = \"abc\"", metrics),
              invalid("line 1: collection_interval must be"));
  EXPECT_THAT(CheckPushedConfig("\ncollection_interval = 0", metrics), invalid("line 2: collection_interval must be"));
  EXPECT_THAT(CheckPushedConfig("colection_interval = 30", metrics), invalid("did you mean collection_interval"));
  EXPECT_THAT(CheckPushedConfig("[metrics]\nsetings = false", metrics),
              invalid("line 2: metric 'setings' is not known; did you mean settings?"));
  EXPECT_THAT(CheckPushedConfig("[wal]\nenable = false", metrics), invalid("did you mean enabled"));
  EXPECT_THAT(CheckPushedConfig("[collector]\nintervall = 30", metrics), invalid("did you mean interval"));
  // Whoever sees the collector reads its configuration.
  for (const char* secret :
       {"[postgres]\npassword = \"x\"", "[postgres]\nPGPASSWORD = x", "[registration]\nsecret = 'x'",
        "[backend]\nauth_token = x", "[postgres]\nurl = \"postgres://u:x@h/db\""}) {
    EXPECT_THAT(CheckPushedConfig(secret, metrics), invalid("holds a secret")) << secret;
  }
  for (const char* none : {"[postgres]\npassword = \"\"", "[postgres]\npassword_file = \"/run/p\"",
                           "[postgres]\nurl = \"postgres://u@h/db\"", "[backend]\nurl = \"https://h:8080\""}) {
    EXPECT_THAT(CheckPushedConfig(none, metrics), IsOk()) << none;
  }
  // Files of 3.2.0.
  EXPECT_THAT(CheckPushedConfig("[collector]\nid = \"c\"\nhostname = \"h\"\ninterval = 60\npush_interval = 60\n"
                                "[backend]\nurl = \"https://x\"\n[postgres]\nhost = \"localhost\"\nport = 5432\n"
                                "[pg_stats]\nenabled = true\ninterval = 60\n[pg_log]\nenabled = false\n",
                                metrics),
              IsOk());
}

TEST(NearestNames, ListsWhatResembles) {
  const std::vector<std::string> names = {"database", "table_stats", "index_stats", "statements", "database_size"};
  EXPECT_THAT(NearestNames("databse", names), ::testing::ElementsAre("database", "database_size"));
  EXPECT_THAT(NearestNames("statement", names), ::testing::Contains("statements"));
  EXPECT_THAT(NearestNames("zzzzzzzzzz", names), ::testing::IsEmpty());
}

}  // namespace
}  // namespace pga::config
