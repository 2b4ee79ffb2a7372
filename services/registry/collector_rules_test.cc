#include "services/registry/collector_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/status/testing.h"

namespace pga::registry {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;

TEST(IdOfHostname, IsWhatClientsOfThreePointTwoExpect) {
  EXPECT_EQ(IdOfHostname("db1"), "030d98e8-882f-58b2-bc92-7c274fe28149");
  EXPECT_NE(IdOfHostname("db2"), IdOfHostname("db1"));
}

struct RegistrationCase {
  std::string name;
  Registration registration;
  std::string complaint;  // empty = accepted
};

class CheckRegistrationTest : public ::testing::TestWithParam<RegistrationCase> {};

TEST_P(CheckRegistrationTest, NamesTheField) {
  Registration registration = GetParam().registration;
  const absl::Status status = CheckRegistration(&registration);
  if (GetParam().complaint.empty()) {
    EXPECT_THAT(status, IsOk());
    EXPECT_FALSE(registration.collector_id.empty());
  } else {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().complaint)));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Table, CheckRegistrationTest,
    ::testing::Values(RegistrationCase{"given_id", {"col_prod_001", "a", "db1", "", ""}, ""},
                      RegistrationCase{"id_of_hostname", {"", "a", "db1", "10.0.0.1", "3.2.0"}, ""},
                      RegistrationCase{"ipv6", {"", "a", "db1", "::1", ""}, ""},
                      RegistrationCase{"no_name", {"", "", "db1", "", ""}, "name"},
                      RegistrationCase{"no_hostname", {"", "a", "", "", ""}, "hostname"},
                      RegistrationCase{"long_name", {"", std::string(256, 'n'), "db1", "", ""}, "name"},
                      RegistrationCase{"control_character", {"", "a\nb", "db1", "", ""}, "name"},
                      RegistrationCase{"bad_address", {"", "a", "db1", "db1.example.com", ""}, "address"},
                      RegistrationCase{"id_with_blank", {"col 1", "a", "db1", "", ""}, "collector_id"},
                      RegistrationCase{"id_too_long", {std::string(64, 'x'), "a", "db1", "", ""}, "collector_id"},
                      RegistrationCase{"id_with_slash", {"../x", "a", "db1", "", ""}, "collector_id"}),
    [](const auto& tested) { return tested.param.name; });

TEST(StatusOf, FollowsLastSeen) {
  const absl::Time now = absl::FromUnixSeconds(1000000);
  EXPECT_EQ(StatusOf(std::nullopt, now), "registered");
  EXPECT_EQ(StatusOf(now - absl::Seconds(300), now), "active");
  EXPECT_EQ(StatusOf(now - absl::Seconds(301), now), "offline");
}

TEST(CheckConfigToml, TakesTomlAndNamesTheLineOfWhatIsNot) {
  EXPECT_THAT(CheckConfigToml("[collector]\ninterval = 30\n", {"wal"}), IsOk());
  EXPECT_THAT(CheckConfigToml("", {}), IsOk());
  EXPECT_THAT(CheckConfigToml("[collector]\ninterval = = 30\n", {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2")));
  EXPECT_THAT(CheckConfigToml("[metrics]\nwall = false\n", {"wal"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean wal")));
  EXPECT_THAT(CheckConfigToml(std::string(kMaxConfigBytes + 1, '#'), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("bytes")));
}

}  // namespace
}  // namespace pga::registry
