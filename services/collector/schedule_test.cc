#include "services/collector/schedule.h"

#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"

namespace pga::collector {
namespace {

constexpr int64_t kSecond = 1000000000;

TEST(Schedule, FirstTickLiesWithinOneBaseIntervalAndIsSpread) {
  std::set<int64_t> phases;
  for (int i = 0; i < 100; ++i) {
    Schedule schedule(1000 * kSecond, 60 * kSecond, absl::StrCat("collector-", i));
    schedule.Add(10);
    const int64_t phase = schedule.NextDue() - 1000 * kSecond;
    EXPECT_GE(phase, 0);
    EXPECT_LT(phase, 60 * kSecond);
    phases.insert(phase / (6 * kSecond));
  }
  EXPECT_EQ(phases.size(), 10u);  // every tenth of the interval is used
}

TEST(Schedule, TicksKeepTheirPhase) {
  Schedule schedule(0, 10 * kSecond, "a");
  const int item = schedule.Add(1);
  const int64_t first = schedule.NextDue();
  for (int i = 0; i < 5; ++i) {
    const int64_t due = schedule.NextDue();
    EXPECT_EQ(due, first + i * 10 * kSecond);
    EXPECT_TRUE(schedule.TakeDue(due - 1).empty());
    EXPECT_EQ(schedule.TakeDue(due + kSecond), std::vector<int>{item});
  }
  EXPECT_EQ(schedule.skipped(), 0);
}

TEST(Schedule, LateTicksAreSkippedAndCounted) {
  Schedule schedule(0, 10 * kSecond, "a");
  schedule.Add(1);
  const int64_t first = schedule.NextDue();
  EXPECT_EQ(schedule.TakeDue(first + 35 * kSecond).size(), 1u);
  EXPECT_EQ(schedule.skipped(), 3);
  EXPECT_EQ(schedule.NextDue(), first + 40 * kSecond);
}

TEST(Schedule, FactorStretchesTheInterval) {
  Schedule schedule(0, 10 * kSecond, "a");
  const int often = schedule.Add(1);
  const int seldom = schedule.Add(3);
  const int64_t first = schedule.NextDue();
  EXPECT_EQ(schedule.TakeDue(first), (std::vector<int>{often, seldom}));
  EXPECT_EQ(schedule.TakeDue(first + 10 * kSecond), std::vector<int>{often});
  EXPECT_EQ(schedule.TakeDue(first + 20 * kSecond), std::vector<int>{often});
  EXPECT_EQ(schedule.TakeDue(first + 30 * kSecond), (std::vector<int>{often, seldom}));
}

TEST(Schedule, ABeginningLeavesOutTheTickRightBehindIt) {
  for (const int64_t ahead : {2 * kSecond, 7 * kSecond}) {
    Schedule schedule(0, 10 * kSecond, "a");
    const int item = schedule.Add(1);
    const int64_t tick = schedule.NextDue() + 10 * kSecond;
    ASSERT_EQ(schedule.TakeDue(schedule.NextDue()), std::vector<int>{item});
    schedule.BeginAt(tick - ahead);
    EXPECT_EQ(schedule.TakeDue(tick - ahead), std::vector<int>{item});
    EXPECT_EQ(schedule.NextDue(), ahead < 5 * kSecond ? tick + 10 * kSecond : tick);
    EXPECT_EQ(schedule.skipped(), 0);
  }
}

TEST(Schedule, RetryComesBeforeTheNextTickAndMovesNothing) {
  Schedule schedule(0, 60 * kSecond, "a");
  const int item = schedule.Add(1);
  const int64_t first = schedule.NextDue();
  schedule.TakeDue(first);
  schedule.RetryAt(item, first + 3 * kSecond);
  EXPECT_EQ(schedule.NextDue(), first + 3 * kSecond);
  EXPECT_EQ(schedule.TakeDue(first + 3 * kSecond), std::vector<int>{item});
  EXPECT_EQ(schedule.NextDue(), first + 60 * kSecond);
  schedule.RetryAt(item, first + 90 * kSecond);  // later than the tick: nothing to gain
  EXPECT_EQ(schedule.NextDue(), first + 60 * kSecond);
}

}  // namespace
}  // namespace pga::collector
