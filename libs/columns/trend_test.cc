#include "libs/columns/trend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace pga::columns {
namespace {

using ::testing::DoubleNear;
using ::testing::Optional;

std::vector<TrendPoint> Line(int points, double from, double slope) {
  std::vector<TrendPoint> line;
  for (int i = 0; i < points; ++i) line.push_back({static_cast<double>(i), from + slope * i});
  return line;
}

TEST(Trend, FollowsALine) {
  const Trend trend = FitTrend(Line(48, 100, -2), {.least_points = 24, .least_span = 24});
  EXPECT_EQ(trend.refused, "");
  EXPECT_EQ(trend.points, 48);
  EXPECT_EQ(trend.span, 47);
  EXPECT_DOUBLE_EQ(trend.slope, -2);
  EXPECT_DOUBLE_EQ(trend.at_end, 6);
  EXPECT_DOUBLE_EQ(trend.residual, 0);
  const Crossing crossing = CrossingOf(trend, 0);
  EXPECT_THAT(crossing.at, Optional(DoubleNear(3, 1e-9)));
  EXPECT_THAT(crossing.earliest, Optional(DoubleNear(3, 1e-9)));
  EXPECT_THAT(crossing.latest, Optional(DoubleNear(3, 1e-9)));
  EXPECT_FALSE(CrossingOf(trend, 1000).at);
}

TEST(Trend, OutliersDoNotBendIt) {
  std::vector<TrendPoint> points = Line(100, 1000, 5);
  // A quarter of the readings is nonsense.
  std::mt19937 random(7);
  for (int i = 0; i < 25; ++i) points[static_cast<size_t>(i) * 4].y = static_cast<double>(random() % 100'000);
  const Trend trend = FitTrend(points, {});
  EXPECT_THAT(trend.slope, DoubleNear(5, 0.6));
  EXPECT_THAT(trend.at_end, DoubleNear(1495, 40));
  EXPECT_LT(trend.slope_low, 5);
  EXPECT_GT(trend.slope_high, 5);
}

TEST(Trend, NoiseWithoutDirectionHasSlopesOfBothSigns) {
  std::vector<TrendPoint> points;
  std::mt19937 random(3);
  for (int i = 0; i < 168; ++i) points.push_back({static_cast<double>(i), 50.0 + static_cast<double>(random() % 100)});
  const Trend trend = FitTrend(points, {});
  EXPECT_LT(trend.slope_low, 0);
  EXPECT_GT(trend.slope_high, 0);
  EXPECT_FALSE(CrossingOf(trend, 10'000).latest);
}

TEST(Trend, RefusesTooLittle) {
  EXPECT_EQ(FitTrend({}, {}).refused, "too little history");
  EXPECT_EQ(FitTrend(Line(23, 0, 1), {.least_points = 24}).refused, "too little history");
  EXPECT_EQ(FitTrend(Line(24, 0, 1), {.least_points = 24, .least_span = 23.5}).refused, "too little history");
  EXPECT_EQ(FitTrend(Line(24, 0, 1), {.least_points = 24, .least_span = 23}).refused, "");
  EXPECT_FALSE(CrossingOf(FitTrend({}, {}), 0).at);
}

TEST(Trend, FlatReachesNothing) {
  const Trend trend = FitTrend(Line(30, 8, 0), {});
  EXPECT_EQ(trend.slope, 0);
  EXPECT_FALSE(CrossingOf(trend, 0).at);
  EXPECT_THAT(CrossingOf(trend, 8).at, Optional(0.0));
}

TEST(Trend, BeyondTheLimitIsNow) {
  EXPECT_THAT(CrossingOf(FitTrend(Line(30, 80, 1), {}), 100).at, Optional(0.0));
}

TEST(Trend, ManyPointsAreChosenEvenly) {
  const Trend trend = FitTrend(Line(10'000, 0, 0.5), {});
  EXPECT_EQ(trend.points, 10'000);
  EXPECT_DOUBLE_EQ(trend.slope, 0.5);
  EXPECT_DOUBLE_EQ(trend.at_end, 4999.5);
}

}  // namespace
}  // namespace pga::columns
