#include "libs/door/networks.h"

#include <string>

#include "gtest/gtest.h"
#include "libs/status/testing.h"

namespace pga::door {
namespace {

struct AddressCase {
  std::string peer;
  std::string forwarded;
  std::string want;
};

class Clients : public ::testing::TestWithParam<AddressCase> {};

TEST_P(Clients, AreFoundBehindTrustedProxiesOnly) {
  const auto proxies = TrustedProxies::Parse({"10.0.0.0/8", "192.168.1.1", "fd00::/9"});
  ASSERT_TRUE(proxies.ok()) << proxies.status();
  EXPECT_EQ(proxies->ClientOf(GetParam().peer, GetParam().forwarded), GetParam().want);
}

INSTANTIATE_TEST_SUITE_P(Forwarding, Clients,
                         ::testing::Values(AddressCase{"203.0.113.9", "1.2.3.4", "203.0.113.9"},
                                           AddressCase{"10.1.2.3", "", "10.1.2.3"},
                                           AddressCase{"10.1.2.3", "1.2.3.4", "1.2.3.4"},
                                           AddressCase{"10.1.2.3", "9.9.9.9, 1.2.3.4", "1.2.3.4"},
                                           AddressCase{"10.1.2.3", "1.2.3.4, 10.9.9.9, 192.168.1.1", "1.2.3.4"},
                                           AddressCase{"::ffff:10.1.2.3", "1.2.3.4", "1.2.3.4"},
                                           AddressCase{"fd00::1", "2001:db8::5", "2001:db8::5"},
                                           AddressCase{"fd80::1", "2001:db8::5", "fd80::1"},
                                           AddressCase{"10.1.2.3", "garbage", "10.1.2.3"},
                                           AddressCase{"10.1.2.3", "1.2.3.4, unknown", "10.1.2.3"},
                                           AddressCase{"192.168.1.2", "1.2.3.4", "192.168.1.2"}));

TEST(TrustedProxiesTest, BadEntriesAreNamed) {
  for (const char* bad : {"", "host", "10.0.0.0/33", "10.0.0.0/x", "10.0.0/8", "fd00::/129", "1.2.3.4/"}) {
    EXPECT_THAT(TrustedProxies::Parse({bad}), status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_))
        << bad;
  }
}

TEST(RateLimitKey, JoinsAnIpv6Network) {
  EXPECT_EQ(RateLimitKeyOf("1.2.3.4"), "1.2.3.4");
  EXPECT_EQ(RateLimitKeyOf("2001:db8:1:2:3::4"), RateLimitKeyOf("2001:db8:1:2:ffff::1"));
  EXPECT_NE(RateLimitKeyOf("2001:db8:1:2::4"), RateLimitKeyOf("2001:db8:1:3::4"));
}

}  // namespace
}  // namespace pga::door
