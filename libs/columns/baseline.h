// What a figure is as a rule at an hour of the week: the median of that hour in earlier weeks, and how far it strays.
// Pure; thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pga::columns {

// Hours that a baseline takes at least: of the same hour of the week, else of the same hour of the day.
inline constexpr int kFewestOfWeek = 3;
inline constexpr int kFewestOfDay = 5;
inline constexpr int64_t kHoursOfDay = 24;
inline constexpr int64_t kHoursOfWeek = 168;
// An hour of which less is covered counts neither as history nor as present.
inline constexpr double kLeastCoveredSeconds = 1800;

// Of an even number of values the mean of the two in the middle. `values` is not empty.
double MedianOf(std::vector<double> values);

struct Baseline {
  double median = 0;
  // 1.4826 times the median absolute deviation, a tenth of the median at least.
  double spread = 0;
  // hour_of_week or hour_of_day; empty: there is too little history.
  std::string method;
  int hours = 0;

  bool known() const { return !method.empty(); }
};
// `values` by hours since 1970 (UTC); those from `hour` on do not count.
Baseline BaselineOf(const std::map<int64_t, double>& values, int64_t hour);

}  // namespace pga::columns
