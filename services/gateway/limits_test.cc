// Rate limits, client addresses, gzip.

#include <string>

#include "gtest/gtest.h"
#include "libs/clock/fake_clock.h"
#include "libs/status/testing.h"
#include "services/gateway/client_address.h"
#include "services/gateway/gzip.h"
#include "services/gateway/rate_limiter.h"

namespace pga::gateway {
namespace {

int AllowedOf(RateLimiter& limiter, int requests, std::string_view key = "a", int per_minute = 100) {
  int allowed = 0;
  for (int i = 0; i < requests; ++i) allowed += limiter.Take(key, per_minute).allowed ? 1 : 0;
  return allowed;
}

TEST(RateLimiterTest, ATightLoopGetsItsAllowanceAndAPauseHelps) {
  clock::FakeClock clock;
  RateLimiter limiter(&clock);
  EXPECT_EQ(AllowedOf(limiter, 150), 100);
  const auto refused = limiter.Take("a", 100);
  EXPECT_FALSE(refused.allowed);
  EXPECT_EQ(refused.limit, 100);
  EXPECT_EQ(refused.remaining, 0);
  EXPECT_EQ(refused.retry_after, absl::Seconds(3));
  EXPECT_EQ(refused.reset, absl::Seconds(60));
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(AllowedOf(limiter, 10), 5);
  clock.Advance(absl::Seconds(60));
  EXPECT_EQ(AllowedOf(limiter, 150), 100);
}

TEST(RateLimiterTest, ASlowLoopOverHalfAMinuteStillRunsDry) {
  clock::FakeClock clock;
  RateLimiter limiter(&clock);
  int allowed = 0;
  for (int i = 0; i < 150; ++i) {
    allowed += limiter.Take("a", 100).allowed ? 1 : 0;
    clock.Advance(absl::Milliseconds(100));
  }
  EXPECT_GE(allowed, 100);
  EXPECT_LE(allowed, 125);
}

TEST(RateLimiterTest, CallersDoNotShareABucket) {
  clock::FakeClock clock;
  RateLimiter limiter(&clock);
  EXPECT_EQ(AllowedOf(limiter, 150, "a"), 100);
  EXPECT_EQ(AllowedOf(limiter, 150, "b"), 100);
  EXPECT_EQ(AllowedOf(limiter, 1500, "c", 1000), 1000);
  EXPECT_EQ(AllowedOf(limiter, 1500, "d", 0), 1500);
}

TEST(RateLimiterTest, BucketsAreBoundedAndTheOldestGoes) {
  clock::FakeClock clock;
  RateLimiter limiter(&clock, 3);
  EXPECT_EQ(AllowedOf(limiter, 150, "keep"), 100);
  for (int i = 0; i < 100; ++i) {
    limiter.Take("other" + std::to_string(i), 100);
    EXPECT_FALSE(limiter.Take("keep", 100).allowed);
    EXPECT_LE(limiter.bucket_count(), 3u);
  }
}

TEST(RateLimiterTest, ASmallAllowanceIsRefilledToo) {
  clock::FakeClock clock;
  RateLimiter limiter(&clock);
  EXPECT_EQ(AllowedOf(limiter, 10, "a", 5), 5);
  clock.Advance(absl::Seconds(12));
  EXPECT_EQ(AllowedOf(limiter, 10, "a", 5), 1);
}

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

std::string Gzip(const std::string& text) {
  return GzipWriter().Write(text, true);
}

TEST(GzipTest, RoundTripsWholeAndInPieces) {
  std::string text;
  for (int i = 0; i < 50000; ++i) text += std::to_string(i);
  EXPECT_EQ(*Gunzip(Gzip(text), text.size()), text);
  GzipWriter writer;
  std::string packed = writer.Write("[", false);
  packed += writer.Write(text, false);
  packed += writer.Write("]", true);
  EXPECT_EQ(*Gunzip(packed, text.size() + 2), "[" + text + "]");
  EXPECT_TRUE(LooksLikeGzip(packed));
  EXPECT_FALSE(LooksLikeGzip("{}"));
}

TEST(GzipTest, BombsAndBrokenInputAreRefused) {
  const std::string bomb = Gzip(std::string(8 << 20, 'a'));
  EXPECT_THAT(Gunzip(bomb, 1 << 20), status::StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  // Within the byte limit but beyond the ratio.
  EXPECT_THAT(Gunzip(bomb, 64 << 20), status::StatusIs(absl::StatusCode::kResourceExhausted, ::testing::_));
  const std::string good = Gzip("hello");
  for (const std::string& bad : {good.substr(0, good.size() - 1), good + "x", good + good, std::string("\x1f\x8b"),
                                 std::string("plain"), std::string()}) {
    EXPECT_THAT(Gunzip(bad, 1 << 20), status::StatusIs(absl::StatusCode::kInvalidArgument, ::testing::_));
  }
}

TEST(GzipTest, AcceptEncodingIsRead) {
  for (const char* yes : {"gzip", "deflate, gzip;q=1.0, *;q=0.5", "GZIP", "*", "br, gzip;q=0.001"}) {
    EXPECT_TRUE(AcceptsGzip(yes)) << yes;
  }
  for (const char* no : {"", "br", "gzip;q=0", "gzip;q=0.000", "identity", "*;q=0"})
    EXPECT_FALSE(AcceptsGzip(no)) << no;
}

}  // namespace
}  // namespace pga::gateway
