// Where a gauge leads to: a line through its points that outliers do not bend (Theil and Sen: the median of the slopes
// of all pairs of points), and the range that four fifths of those slopes lie in. Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace pga::columns {

struct TrendPoint {
  double x = 0;
  double y = 0;
};

struct TrendLimits {
  // Fewer points, or a shorter span of x, say nothing.
  int least_points = 24;
  double least_span = 0;
};

struct Trend {
  // Why there is no line; empty = there is one.
  std::string refused;
  int points = 0;
  double span = 0;
  // y = at_end + slope * (x - end), where end is the last x.
  double end = 0;
  double at_end = 0;
  double slope = 0;
  double slope_low = 0;
  double slope_high = 0;
  // Median distance of the points from the line, along y.
  double residual = 0;
};

// Points in any order; at most 240 of them are looked at, evenly chosen.
Trend FitTrend(std::vector<TrendPoint> points, const TrendLimits& limits);

// x - end at which the line is at `limit`, by its slope, the steepest and the least steep one of the range. Nothing
// where a slope leads away from the limit or is flat; 0 where the line is there or beyond, coming from the side on
// which the first points lie.
struct Crossing {
  std::optional<double> at;
  std::optional<double> earliest;
  std::optional<double> latest;
};
Crossing CrossingOf(const Trend& trend, double limit);

}  // namespace pga::columns
