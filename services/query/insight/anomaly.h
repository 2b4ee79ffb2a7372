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

struct HourVerdict {
  std::vector<FoundAnomaly> anomalies;
  // A figure of the hour had no baseline.
  bool without_baseline = false;
};
// `history` by hours since 1970, the hour itself included.
HourVerdict JudgeHour(const std::map<int64_t, HourFigures>& history, int64_t hour);

}  // namespace pga::query
