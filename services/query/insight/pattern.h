// What recurs in the load of a database: hours of the day and days of the week that are far from the others. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace pga::query {

// An hour of a database.
struct LoadHour {
  // Seconds of statements in each second.
  double load = 0;
  double covered_s = 0;
};

struct Pattern {
  // hourly_peak, hourly_quiet, weekday_peak or weekday_quiet.
  std::string type;
  // Of hours: first, and the one after the last, 0 to 24; a span over midnight ends before it starts.
  int start_hour = 0;
  int end_hour = 0;
  // Of days: 0 = Sunday.
  int weekday = 0;
  // "09:00–11:00", "Monday".
  std::string when;
  double load = 0;
  double mean = 0;
  double z = 0;
  int days = 0;
  int days_seen = 0;
  std::string method;

  double confidence() const { return days > 0 ? static_cast<double>(days_seen) / days : 0; }
};

// Days that patterns of hours, and weeks that those of days, take at least.
inline constexpr int kFewestPatternDays = 7;
inline constexpr int kFewestPatternWeeks = 3;

struct PatternVerdict {
  // Clearest first.
  std::vector<Pattern> patterns;
  // Fewer than kFewestPatternDays days are known.
  bool too_few_days = false;
};
// `hours` by hours since 1970 (UTC); hours and days are those of `zone`. An hour that is covered for less than half,
// and a day of which fewer than 20 hours are, do not count.
PatternVerdict FindPatterns(const std::map<int64_t, LoadHour>& hours, absl::TimeZone zone);

}  // namespace pga::query
