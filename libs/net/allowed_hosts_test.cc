#include "libs/net/allowed_hosts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/status/testing.h"

namespace pga::net {
namespace {

using ::pga::status::IsOk;
using ::pga::status::IsOkAndHolds;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;
using Names = std::vector<std::string>;

struct Case {
  Names entries;
  std::string host;
  Names addresses;
  Names allowed;
};

TEST(AllowedHosts, PassAddressesOfListedNamesAndNetworks) {
  const Case cases[] = {
      {{}, "db.example.com", {"10.0.0.5"}, {}},
      {{"db.example.com"}, "db.example.com", {"10.0.0.5", "2001:db8::5"}, {"10.0.0.5", "2001:db8::5"}},
      {{"DB.example.com."}, "db.EXAMPLE.com.", {"10.0.0.5"}, {"10.0.0.5"}},
      {{"db.example.com"}, "db2.example.com", {"10.0.0.5"}, {}},
      {{"*.example.com"}, "a.b.example.com", {"10.0.0.5"}, {"10.0.0.5"}},
      {{"*.example.com"}, "example.com", {"10.0.0.5"}, {}},
      {{"*.example.com"}, "evilexample.com", {"10.0.0.5"}, {}},
      {{"10.0.0.0/8"}, "any.name", {"10.0.0.5", "11.0.0.5"}, {"10.0.0.5"}},
      {{"10.0.0.0/8"}, "10.0.0.5", {"10.0.0.5"}, {"10.0.0.5"}},
      {{"10.0.0.0/8"}, "x", {"::ffff:10.0.0.5"}, {"::ffff:10.0.0.5"}},
      // A name that is listed and answers with what reaches this host.
      {{"db.example.com"},
       "db.example.com",
       {"127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "0.0.0.0"},
       {}},
      {{"db.example.com"}, "db.example.com", {"127.0.0.1", "10.0.0.5"}, {"10.0.0.5"}},
      // So does a network that holds everything.
      {{"0.0.0.0/0", "::/0"},
       "x",
       {"127.0.0.1", "169.254.169.254", "fe80::1", "::1", "fd00:ec2::254", "::ffff:7f00:1"},
       {}},
      {{"0.0.0.0/0", "::/0"}, "x", {"64:ff9b::7f00:1", "2002:7f00:1::1", "2001:0:7f00::1", "8.8.8.8"}, {"8.8.8.8"}},
      {{"127.0.0.0/8"}, "localhost", {"127.0.0.1", "::1"}, {"127.0.0.1"}},
      {{"127.0.0.1", "::1"}, "localhost", {"127.0.0.1", "::1", "127.0.0.2"}, {"127.0.0.1", "::1"}},
      {{"169.254.10.0/24"}, "x", {"169.254.10.1", "169.254.169.254"}, {"169.254.10.1"}},
      // Not in the one spelling that is compared.
      {{"0.0.0.0/0", "127.0.0.0/8"}, "127.1", {"127.1"}, {}},
      {{"0.0.0.0/0", "127.0.0.0/8"}, "x", {"0x7f000001", "2130706433", "fe80::1%eth0"}, {}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(::testing::PrintToString(one.entries) + " " + one.host);
    const auto hosts = AllowedHosts::Parse(one.entries, "MANAGED_INSTANCE_HOSTS");
    ASSERT_THAT(hosts, IsOk());
    const auto passed = hosts->Filter(one.host, one.addresses);
    if (one.allowed.empty()) {
      EXPECT_THAT(passed, StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("MANAGED_INSTANCE_HOSTS")));
    } else {
      EXPECT_THAT(passed, IsOkAndHolds(one.allowed));
    }
  }
}

TEST(AllowedHosts, EntriesThatAreNeitherAreNamed) {
  for (const char* bad : {"", "*", "*.", "db one", "10.0.0.0/33", "127.1", "10.0.0/8", "http://db", "db:5432", "a,b"}) {
    EXPECT_THAT(AllowedHosts::Parse({bad}, "THE_SETTING"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("THE_SETTING")))
        << bad;
  }
}

TEST(AllowedHosts, ANameIsLookedUpOnceAndNotAtAllWhereNothingIsAllowed) {
  int looked_up = 0;
  HostResolver resolver(1, 4, [&](const std::string&) -> absl::StatusOr<HostResolver::Addresses> {
    // The second answer is the one of a name that was made to change.
    return HostResolver::Addresses{++looked_up == 1 ? "10.0.0.5" : "127.0.0.1"};
  });
  const auto deadline = clock::SteadyNow() + absl::Seconds(5);
  EXPECT_THAT(AllowedHosts().Resolve("db.example.com", &resolver, deadline),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_EQ(looked_up, 0);
  const auto hosts = AllowedHosts::Parse({"db.example.com"}, "X");
  ASSERT_THAT(hosts, IsOk());
  EXPECT_THAT(hosts->Resolve("db.example.com", &resolver, deadline), IsOkAndHolds(Names{"10.0.0.5"}));
  EXPECT_THAT(hosts->Resolve("db.example.com", &resolver, deadline), StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST(Hosts, AreNamesOrPlainAddresses) {
  for (const char* good : {"db1", "db1.example.com", "db-1_a.example.com.", "10.0.0.5", "::1", "2001:db8::5"}) {
    EXPECT_TRUE(IsHost(good)) << good;
  }
  for (const char* bad :
       {"", "/tmp", "@x", "a,b", "127.1", "2130706433", "0x7f.1", "a b", "a:5432", "[::1]", "fe80::1%lo"}) {
    EXPECT_FALSE(IsHost(bad)) << bad;
  }
}

}  // namespace
}  // namespace pga::net
