#include "libs/clock/steady.h"

#include <gtest/gtest.h>

#include <limits>
#include <thread>

#include "absl/synchronization/mutex.h"

namespace pga::clock {
namespace {

TEST(SteadyTime, IsOrderedAndSaturates) {
  const SteadyTime time = SteadyTime::FromNanos(1'000);
  EXPECT_EQ((time + absl::Nanoseconds(5)).nanos(), 1'005);
  EXPECT_EQ((time - absl::Nanoseconds(5)).nanos(), 995);
  EXPECT_EQ(time + absl::Seconds(1) - time, absl::Seconds(1));
  EXPECT_LT(time, time + absl::Nanoseconds(1));
  EXPECT_LT(SteadyTime::InfinitePast(), time);
  EXPECT_GT(SteadyTime::InfiniteFuture(), time);
  EXPECT_EQ(SteadyTime(), SteadyTime::InfinitePast());
}

TEST(SteadyTime, InfinityStays) {
  EXPECT_EQ(SteadyTime::InfiniteFuture() - absl::Hours(1), SteadyTime::InfiniteFuture());
  EXPECT_EQ(SteadyTime::InfinitePast() + absl::Hours(1), SteadyTime::InfinitePast());
  EXPECT_EQ(SteadyNow() + absl::InfiniteDuration(), SteadyTime::InfiniteFuture());
  EXPECT_EQ(SteadyNow() - absl::InfiniteDuration(), SteadyTime::InfinitePast());
  EXPECT_EQ(SteadyTime::InfiniteFuture() - SteadyNow(), absl::InfiniteDuration());
  EXPECT_EQ(SteadyNow() - SteadyTime::InfinitePast(), absl::InfiniteDuration());
  EXPECT_EQ(SteadyTime::FromNanos(-2) + absl::Nanoseconds(std::numeric_limits<int64_t>::min()),
            SteadyTime::InfinitePast());
}

TEST(AwaitUntil, EndsAtTheDeadlineAndNotBefore) {
  absl::Mutex mutex;
  bool never = false;
  const SteadyTime deadline = SteadyNow() + absl::Milliseconds(30);
  absl::MutexLock lock(&mutex);
  EXPECT_FALSE(AwaitUntil(mutex, absl::Condition(&never), deadline));
  EXPECT_GE(SteadyNow(), deadline);
  EXPECT_FALSE(AwaitUntil(mutex, absl::Condition(&never), SteadyTime::InfinitePast()));
}

TEST(AwaitUntil, SeesTheConditionComeTrue) {
  absl::Mutex mutex;
  bool set = false;
  std::thread setter([&] {
    absl::MutexLock lock(&mutex);
    set = true;
  });
  {
    absl::MutexLock lock(&mutex);
    EXPECT_TRUE(AwaitUntil(mutex, absl::Condition(&set), SteadyNow() + absl::Seconds(20)));
    EXPECT_TRUE(AwaitUntil(mutex, absl::Condition(&set), SteadyTime::InfiniteFuture()));
  }
  setter.join();
}

TEST(SleepFor, EndsNotBeforeItsTime) {
  const SteadyTime until = SteadyNow() + absl::Milliseconds(20);
  clock::SleepFor(absl::Milliseconds(20));
  EXPECT_GE(SteadyNow(), until);
  clock::SleepFor(-absl::Hours(1));
}

}  // namespace
}  // namespace pga::clock
