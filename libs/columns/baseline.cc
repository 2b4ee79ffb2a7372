#include "libs/columns/baseline.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace pga::columns {
namespace {

constexpr double kOfMedian = 0.1;
// Of the smallest figures a spread of nothing would make everything unusual.
constexpr double kLeastSpread = 1e-6;

}  // namespace

double MedianOf(std::vector<double> values) {
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  const double upper = values[middle];
  if (values.size() % 2 == 1) return upper;
  return (upper + *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle))) / 2;
}

Baseline BaselineOf(const std::map<int64_t, double>& values, int64_t hour) {
  Baseline baseline;
  const auto take = [&](int64_t period, int fewest, const char* method) {
    std::vector<double> same;
    for (const auto& [at, value] : values) {
      if (at < hour && (hour - at) % period == 0) same.push_back(value);
    }
    if (same.size() < static_cast<size_t>(fewest)) return;
    baseline.method = method;
    baseline.hours = static_cast<int>(same.size());
    baseline.median = MedianOf(same);
    for (double& value : same) value = std::abs(value - baseline.median);
    baseline.spread = std::max({1.4826 * MedianOf(same), kOfMedian * std::abs(baseline.median), kLeastSpread});
  };
  take(kHoursOfWeek, kFewestOfWeek, "hour_of_week");
  if (!baseline.known()) take(kHoursOfDay, kFewestOfDay, "hour_of_day");
  return baseline;
}

}  // namespace pga::columns
