#include "libs/clock/clock.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "libs/clock/fake_clock.h"

namespace pga::clock {
namespace {

TEST(RealClock, FollowsTheSystemAndNeverGoesBack) {
  EXPECT_LT(absl::AbsDuration(Clock::Real()->Now() - absl::Now()), absl::Seconds(5));
  const int64_t first = Clock::Real()->BoottimeNanos();
  EXPECT_GE(Clock::Real()->BoottimeNanos(), first);
}

TEST(FakeClock, MovesOnlyWhenTold) {
  FakeClock clock;
  const absl::Time start = clock.Now();
  Stopwatch watch(&clock);
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(absl::Seconds(3));
  EXPECT_EQ(clock.Now() - start, absl::Seconds(3));
  EXPECT_EQ(watch.Elapsed(), absl::Seconds(3));
}

TEST(FakeClock, CorrectedWallClockLeavesBoottimeAlone) {
  FakeClock clock;
  Stopwatch watch(&clock);
  clock.Advance(-absl::Hours(1));
  clock.SetNow(absl::UnixEpoch());
  EXPECT_EQ(watch.Elapsed(), absl::ZeroDuration());
  watch.Restart();
  clock.Advance(absl::Milliseconds(5));
  EXPECT_EQ(watch.Elapsed(), absl::Milliseconds(5));
}

}  // namespace
}  // namespace pga::clock
