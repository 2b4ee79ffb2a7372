#include "libs/columns/trend.h"

#include <algorithm>
#include <cmath>

namespace pga::columns {
namespace {

constexpr size_t kMostPoints = 240;
constexpr double kLowShare = 0.1;
constexpr double kHighShare = 0.9;

// The value below which `share` of the values lie; `values` is put in another order.
double Quantile(std::vector<double>* values, double share) {
  const auto at = static_cast<size_t>(share * static_cast<double>(values->size() - 1) + 0.5);
  const auto middle = values->begin() + static_cast<std::ptrdiff_t>(at);
  std::nth_element(values->begin(), middle, values->end());
  return *middle;
}

std::optional<double> Reach(double from, double slope, double limit) {
  if (slope == 0) return std::nullopt;
  const double x = (limit - from) / slope;
  return x >= 0 ? std::optional<double>(x) : std::nullopt;
}

}  // namespace

Trend FitTrend(std::vector<TrendPoint> points, const TrendLimits& limits) {
  Trend trend;
  std::sort(points.begin(), points.end(), [](const TrendPoint& a, const TrendPoint& b) { return a.x < b.x; });
  trend.points = static_cast<int>(points.size());
  if (!points.empty()) trend.span = points.back().x - points.front().x;
  if (trend.points < std::max(limits.least_points, 2) || trend.span <= 0 || trend.span < limits.least_span) {
    trend.refused = "too little history";
    return trend;
  }
  trend.end = points.back().x;
  if (points.size() > kMostPoints) {
    std::vector<TrendPoint> chosen;
    for (size_t i = 0; i < kMostPoints; ++i) chosen.push_back(points[i * (points.size() - 1) / (kMostPoints - 1)]);
    points = std::move(chosen);
  }
  std::vector<double> slopes;
  slopes.reserve(points.size() * (points.size() - 1) / 2);
  for (size_t i = 0; i < points.size(); ++i) {
    for (size_t j = i + 1; j < points.size(); ++j) {
      if (points[j].x > points[i].x) slopes.push_back((points[j].y - points[i].y) / (points[j].x - points[i].x));
    }
  }
  trend.slope = Quantile(&slopes, 0.5);
  trend.slope_low = Quantile(&slopes, kLowShare);
  trend.slope_high = Quantile(&slopes, kHighShare);
  std::vector<double> rest;
  for (const TrendPoint& point : points) rest.push_back(point.y - trend.slope * (point.x - trend.end));
  trend.at_end = Quantile(&rest, 0.5);
  for (double& value : rest) value = std::abs(value - trend.at_end);
  trend.residual = Quantile(&rest, 0.5);
  return trend;
}

Crossing CrossingOf(const Trend& trend, double limit) {
  Crossing crossing;
  if (!trend.refused.empty()) return crossing;
  const double first = trend.at_end - trend.slope * trend.span;
  // At the limit, or beyond it.
  if (trend.at_end == limit || (first - limit) * (trend.at_end - limit) < 0) {
    crossing.at = crossing.earliest = crossing.latest = 0;
    return crossing;
  }
  crossing.at = Reach(trend.at_end, trend.slope, limit);
  const std::optional<double> low = Reach(trend.at_end, trend.slope_low, limit);
  const std::optional<double> high = Reach(trend.at_end, trend.slope_high, limit);
  crossing.earliest = low && high ? std::min(*low, *high) : low ? low : high;
  if (low && high) crossing.latest = std::max(*low, *high);
  return crossing;
}

}  // namespace pga::columns
