// Whether an hour of a statement is far from what that hour is as a rule (docs/adr/2026-11-28-insight.md). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pga::query {

// A statement's hour.
struct HourFigures {
  double calls = 0;
  double time_ms = 0;
  double blocks = 0;  // found in shared buffers and read
  double blocks_read = 0;
  double io_ms = 0;
  double covered_s = 0;
};

struct FoundAnomaly {
  std::string type;
  std::string severity;
  std::string metric;
  double value = 0;
  double baseline = 0;
  double spread = 0;
  double z = 0;
  std::string method;
  int hours = 0;
};

// Hours that a baseline takes at least: of the same hour of the week, else of the same hour of the day.
inline constexpr int kFewestOfWeek = 3;
inline constexpr int kFewestOfDay = 5;

struct Baseline {
  double median = 0;
  // 1.4826 times the median absolute deviation, a tenth of the median at least.
  double spread = 0;
  // Empty: there is too little history.
  std::string method;
  int hours = 0;

  bool known() const { return !method.empty(); }
};
// `values` by hours since 1970 (UTC); those from `hour` on do not count.
Baseline BaselineOf(const std::map<int64_t, double>& values, int64_t hour);

struct HourVerdict {
  std::vector<FoundAnomaly> anomalies;
  // A figure of the hour had no baseline.
  bool without_baseline = false;
};
// `history` by hours since 1970, the hour itself included.
HourVerdict JudgeHour(const std::map<int64_t, HourFigures>& history, int64_t hour);

}  // namespace pga::query
