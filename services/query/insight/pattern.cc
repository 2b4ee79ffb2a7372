#include "services/query/insight/pattern.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "libs/columns/baseline.h"
#include "services/query/insight/quantiles.h"

namespace pga::query {
namespace {

constexpr double kCovered = 1800;  // seconds of an hour
constexpr size_t kFewestHoursOfDay = 20;
// A slot is clear from one standard deviation on, and where its median differs by a fifth of the mean at least: the
// smallest ripple of an even load has a standard deviation as well.
constexpr double kClear = 1;
constexpr double kOfMean = 0.2;
// What is so on fewer days is chance.
constexpr double kLeastDaysSeen = 0.7;
constexpr int kHours = 24;
constexpr int kWeekdays = 7;
constexpr std::array<const char*, kWeekdays> kNames = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                       "Thursday", "Friday", "Saturday"};

struct Day {
  std::array<std::optional<double>, kHours> hours;
  double mean = 0;
};

// Medians of slots and how far each is from their mean.
struct Slots {
  std::vector<std::optional<double>> median;
  double mean = 0;
  double deviation = 0;
};

Slots SlotsOf(const std::vector<std::vector<double>>& values, size_t fewest) {
  Slots slots;
  double sum = 0;
  double squares = 0;
  double known = 0;
  for (const std::vector<double>& of : values) {
    if (of.size() < fewest) {
      slots.median.emplace_back();
      continue;
    }
    const double median = columns::MedianOf(of);
    slots.median.emplace_back(median);
    sum += median;
    squares += median * median;
    ++known;
  }
  if (known < 2) return slots;
  slots.mean = sum / known;
  slots.deviation = std::sqrt(std::max(0.0, squares / known - slots.mean * slots.mean));
  return slots;
}

// 1 for a peak, -1 for a quiet slot, 0 for neither.
int SignOf(const Slots& slots, size_t slot) {
  const std::optional<double>& median = slots.median[slot];
  if (!median || slots.deviation <= 0) return 0;
  const double off = *median - slots.mean;
  if (std::abs(off) < kClear * slots.deviation || std::abs(off) < kOfMean * slots.mean) return 0;
  return off > 0 ? 1 : -1;
}

std::vector<Day> DaysOf(const std::map<int64_t, LoadHour>& hours, absl::TimeZone zone,
                        std::vector<int>* weekday_of_day) {
  std::map<absl::CivilDay, Day> days;
  for (const auto& [hour, figures] : hours) {
    if (figures.covered_s < kCovered) continue;
    const absl::CivilSecond at = absl::ToCivilSecond(absl::FromUnixSeconds(hour * 3600), zone);
    days[absl::CivilDay(at)].hours[static_cast<size_t>(at.hour())] = figures.load;
  }
  std::vector<Day> found;
  for (auto& [date, day] : days) {
    double sum = 0;
    size_t known = 0;
    for (const std::optional<double>& load : day.hours) {
      if (!load) continue;
      sum += *load;
      ++known;
    }
    if (known < kFewestHoursOfDay) continue;
    day.mean = sum / static_cast<double>(known);
    found.push_back(day);
    // absl::Weekday begins with Monday.
    weekday_of_day->push_back((static_cast<int>(absl::GetWeekday(date)) + 1) % kWeekdays);
  }
  return found;
}

void FindHours(const std::vector<Day>& days, std::vector<Pattern>* found) {
  std::vector<std::vector<double>> values(kHours);
  for (const Day& day : days) {
    for (size_t hour = 0; hour < kHours; ++hour) {
      if (day.hours[hour]) values[hour].push_back(*day.hours[hour]);
    }
  }
  const Slots slots = SlotsOf(values, kFewestPatternDays);
  std::array<int, kHours> signs = {};
  for (size_t hour = 0; hour < kHours; ++hour) signs[hour] = SignOf(slots, hour);
  // Neighbours of one kind are one span; it may go over midnight.
  const auto before = [&](size_t hour) { return signs[(hour + kHours - 1) % kHours]; };
  for (size_t first = 0; first < kHours; ++first) {
    const int sign = signs[first];
    if (sign == 0 || before(first) == sign) continue;
    size_t length = 1;
    while (signs[(first + length) % kHours] == sign) ++length;
    Pattern pattern;
    pattern.type = sign > 0 ? "hourly_peak" : "hourly_quiet";
    pattern.method = "median_by_hour_of_day";
    pattern.start_hour = static_cast<int>(first);
    pattern.end_hour = static_cast<int>((first + length - 1) % kHours) + 1;
    pattern.when = absl::StrFormat("%02d:00–%02d:00", pattern.start_hour, pattern.end_hour);
    pattern.mean = slots.mean;
    for (size_t i = 0; i < length; ++i) {
      const size_t hour = (first + i) % kHours;
      const double z = (*slots.median[hour] - slots.mean) / slots.deviation;
      if (std::abs(z) <= std::abs(pattern.z)) continue;
      pattern.z = z;
      pattern.load = *slots.median[hour];
    }
    // On a day it was so when its hours of the span were on the same side of that day's mean.
    for (const Day& day : days) {
      double sum = 0;
      int known = 0;
      for (size_t i = 0; i < length; ++i) {
        const std::optional<double>& load = day.hours[(first + i) % kHours];
        if (!load) continue;
        sum += *load - day.mean;
        ++known;
      }
      if (known == 0) continue;
      ++pattern.days;
      if (sum * sign > 0) ++pattern.days_seen;
    }
    if (pattern.confidence() >= kLeastDaysSeen) found->push_back(std::move(pattern));
  }
}

void FindWeekdays(const std::vector<Day>& days, const std::vector<int>& weekdays, std::vector<Pattern>* found) {
  std::vector<std::vector<double>> values(kWeekdays);
  for (size_t i = 0; i < days.size(); ++i) values[static_cast<size_t>(weekdays[i])].push_back(days[i].mean);
  const Slots slots = SlotsOf(values, kFewestPatternWeeks);
  // A week has seven days: with some unknown there is nothing to be far from.
  if (std::any_of(slots.median.begin(), slots.median.end(), [](const auto& median) { return !median; })) return;
  for (size_t weekday = 0; weekday < kWeekdays; ++weekday) {
    const int sign = SignOf(slots, weekday);
    if (sign == 0) continue;
    Pattern pattern;
    pattern.type = sign > 0 ? "weekday_peak" : "weekday_quiet";
    pattern.method = "median_by_day_of_week";
    pattern.weekday = static_cast<int>(weekday);
    pattern.when = kNames[weekday];
    pattern.load = *slots.median[weekday];
    pattern.mean = slots.mean;
    pattern.z = (pattern.load - slots.mean) / slots.deviation;
    for (const double load : values[weekday]) {
      ++pattern.days;
      if ((load - slots.mean) * sign > 0) ++pattern.days_seen;
    }
    if (pattern.confidence() >= kLeastDaysSeen) found->push_back(std::move(pattern));
  }
}

}  // namespace

PatternVerdict FindPatterns(const std::map<int64_t, LoadHour>& hours, absl::TimeZone zone) {
  PatternVerdict verdict;
  std::vector<int> weekdays;
  const std::vector<Day> days = DaysOf(hours, zone, &weekdays);
  if (days.size() < static_cast<size_t>(kFewestPatternDays)) {
    verdict.too_few_days = true;
    return verdict;
  }
  FindHours(days, &verdict.patterns);
  FindWeekdays(days, weekdays, &verdict.patterns);
  std::stable_sort(verdict.patterns.begin(), verdict.patterns.end(),
                   [](const Pattern& a, const Pattern& b) { return std::abs(a.z) > std::abs(b.z); });
  return verdict;
}

}  // namespace pga::query
