// Hours of the week: which of them count, and how far they stray.
#include "libs/columns/baseline.h"

#include <gtest/gtest.h>

namespace pga::columns {
namespace {

constexpr int64_t kHour = 490'000;

TEST(BaselineOf, TakesTheSameHourOfTheWeekAndElseOfTheDay) {
  std::map<int64_t, double> values = {
      {kHour - 168, 2}, {kHour - 336, 4}, {kHour - 504, 3}, {kHour - 1, 100}, {kHour, 9}};
  Baseline baseline = BaselineOf(values, kHour);
  EXPECT_EQ(baseline.method, "hour_of_week");
  EXPECT_EQ(baseline.hours, 3);
  EXPECT_EQ(baseline.median, 3);
  EXPECT_DOUBLE_EQ(baseline.spread, 1.4826);
  // Two are too few; the days between give five.
  values.erase(kHour - 504);
  EXPECT_FALSE(BaselineOf(values, kHour).known());
  for (const int day : {1, 2, 3}) values[kHour - 24 * day] = 2;
  baseline = BaselineOf(values, kHour);
  EXPECT_EQ(baseline.method, "hour_of_day");
  EXPECT_EQ(baseline.hours, 5);
  EXPECT_EQ(baseline.median, 2);
  // Of a steady figure a tenth of the median.
  EXPECT_DOUBLE_EQ(baseline.spread, 0.2);
  EXPECT_FALSE(BaselineOf({}, kHour).known());
}

TEST(BaselineOf, MedianOfAnEvenNumberIsBetween) {
  EXPECT_EQ(BaselineOf({{kHour - 168, 1}, {kHour - 336, 2}, {kHour - 504, 4}, {kHour - 672, 8}}, kHour).median, 3);
}

}  // namespace
}  // namespace pga::columns
