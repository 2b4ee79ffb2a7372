#include "libs/retry/rate_limiter.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "libs/clock/fake_clock.h"

namespace pga::retry {
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

TEST(RateLimiterTest, WaitTellsWithoutTaking) {
  clock::FakeClock clock;
  RateLimiter limiter(&clock);
  EXPECT_EQ(limiter.Wait("a", 10), absl::ZeroDuration());
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(limiter.Wait("a", 10), absl::ZeroDuration());
    limiter.Take("a", 10);
  }
  EXPECT_EQ(limiter.Wait("a", 10), absl::Seconds(6));
  EXPECT_EQ(limiter.Wait("b", 10), absl::ZeroDuration());
  EXPECT_EQ(limiter.Wait("a", 0), absl::ZeroDuration());
  clock.Advance(absl::Seconds(6));
  EXPECT_EQ(limiter.Wait("a", 10), absl::ZeroDuration());
  EXPECT_EQ(limiter.bucket_count(), 1u);
}

}  // namespace
}  // namespace pga::retry
