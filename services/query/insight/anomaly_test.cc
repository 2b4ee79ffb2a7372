// Hours against what they are as a rule: pure functions.
#include "services/query/insight/anomaly.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace pga::query {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kHour = 490'000;

// Four weeks of one hour, and the hour itself.
std::map<int64_t, HourFigures> Weeks(const HourFigures& as_ever, const HourFigures& now) {
  std::map<int64_t, HourFigures> history;
  for (int week = 1; week <= 4; ++week) history[kHour - 168 * week] = as_ever;
  history[kHour] = now;
  return history;
}
const HourFigures kAsEver{
    .calls = 600, .time_ms = 1200, .blocks = 30'000, .blocks_read = 600, .io_ms = 60, .covered_s = 3600};

TEST(JudgeHour, NamesTheFigureAndHowFarItIs) {
  EXPECT_THAT(JudgeHour(Weeks(kAsEver, kAsEver), kHour).anomalies, IsEmpty());
  HourFigures now = kAsEver;
  now.time_ms = 2400;
  const HourVerdict slow = JudgeHour(Weeks(kAsEver, now), kHour);
  ASSERT_THAT(slow.anomalies, SizeIs(1));
  EXPECT_EQ(slow.anomalies[0].type, "execution_time_spike");
  EXPECT_EQ(slow.anomalies[0].metric, "mean_time");
  EXPECT_EQ(slow.anomalies[0].value, 4);
  EXPECT_EQ(slow.anomalies[0].baseline, 2);
  EXPECT_DOUBLE_EQ(slow.anomalies[0].z, 10);
  EXPECT_EQ(slow.anomalies[0].severity, "high");
  now.time_ms = 1920;  // z = 6
  EXPECT_EQ(JudgeHour(Weeks(kAsEver, now), kHour).anomalies.at(0).severity, "medium");
  now.time_ms = 1680;  // z = 4
  EXPECT_EQ(JudgeHour(Weeks(kAsEver, now), kHour).anomalies.at(0).severity, "low");
  now.time_ms = 1600;  // z = 3.3
  EXPECT_THAT(JudgeHour(Weeks(kAsEver, now), kHour).anomalies, IsEmpty());
  // Faster is none.
  now.time_ms = 100;
  EXPECT_THAT(JudgeHour(Weeks(kAsEver, now), kHour).anomalies, IsEmpty());
}

TEST(JudgeHour, OfCallsCacheAndDisk) {
  HourFigures now = kAsEver;
  now.calls *= 5;
  now.time_ms *= 5;
  now.blocks *= 5;
  now.blocks_read *= 5;
  now.io_ms *= 5;
  EXPECT_EQ(JudgeHour(Weeks(kAsEver, now), kHour).anomalies.at(0).type, "call_rate_spike");
  now = kAsEver;
  now.blocks_read = 20'000;
  EXPECT_EQ(JudgeHour(Weeks(kAsEver, now), kHour).anomalies.at(0).type, "cache_degradation");
  // Far by its spread, and of no weight: two blocks of fifty.
  now.blocks_read = 1800;
  EXPECT_THAT(JudgeHour(Weeks(kAsEver, now), kHour).anomalies, IsEmpty());
  now = kAsEver;
  now.io_ms = 600;
  EXPECT_EQ(JudgeHour(Weeks(kAsEver, now), kHour).anomalies.at(0).type, "io_increase");
}

TEST(JudgeHour, AStatementThatDidNotRunBeforeIsNoSpike) {
  EXPECT_THAT(JudgeHour(Weeks({.covered_s = 3600}, kAsEver), kHour).anomalies, IsEmpty());
}

TEST(JudgeHour, SaysThatItHasNoBaseline) {
  EXPECT_TRUE(JudgeHour({{kHour, kAsEver}}, kHour).without_baseline);
  EXPECT_FALSE(JudgeHour(Weeks(kAsEver, kAsEver), kHour).without_baseline);
  // An hour that is covered for less than half says nothing, neither now nor as history.
  HourFigures half = kAsEver;
  half.covered_s = 1000;
  half.time_ms *= 50;
  EXPECT_THAT(JudgeHour(Weeks(kAsEver, half), kHour).anomalies, IsEmpty());
  EXPECT_TRUE(JudgeHour(Weeks(half, kAsEver), kHour).without_baseline);
}

// Hours of the same statement, with a load that follows hour and day: at most one figure in a hundred is called one.
TEST(JudgeHour, OrdinaryHoursAreNone) {
  std::mt19937_64 random(3);
  int found = 0;
  int judged = 0;
  for (int trial = 0; trial < 200; ++trial) {
    std::map<int64_t, HourFigures> history;
    std::lognormal_distribution<double> noise(0, 0.15);
    for (int64_t hour = kHour - 672; hour < kHour + 24; ++hour) {
      const double load = 1 + static_cast<double>(hour % 24) * (hour / 24 % 7 < 5 ? 1 : 0.2);
      HourFigures& figures = history[hour];
      figures.calls = 100 * load * noise(random);
      figures.time_ms = figures.calls * 2 * noise(random);
      figures.blocks = figures.calls * 50;
      figures.blocks_read = figures.calls * noise(random);
      figures.io_ms = figures.calls * 0.1 * noise(random);
      figures.covered_s = 3600;
    }
    for (int64_t hour = kHour; hour < kHour + 24; ++hour) {
      found += static_cast<int>(JudgeHour(history, hour).anomalies.size());
      judged += 4;
    }
  }
  std::printf("ordinary hours: %d of %d figures called an anomaly\n", found, judged);
  EXPECT_LE(found * 100, judged);
}

}  // namespace
}  // namespace pga::query
