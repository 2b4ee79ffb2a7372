#include "services/ruler/questions.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/columns/trend.h"

namespace pga::ruler {
namespace {

constexpr int kLeastTrendPoints = 12;

}  // namespace

int64_t StepOf(const Term& term) {
  const int64_t window = absl::ToInt64Seconds(term.window);
  // Enough points for a line, none shorter than the metric's own pace.
  if (term.slope) {
    return std::clamp<int64_t>(std::max<int64_t>(window / 96, int64_t{term.interval_factor} * 60) / 60 * 60, 60, 86400);
  }
  if (term.over_window) return std::clamp<int64_t>(window / 5 / 60 * 60, 60, 86400);
  // Buckets of half the time between two readings, so that a row that has gone is missed soon.
  return std::clamp<int64_t>(int64_t{term.interval_factor} * 30 / 60 * 60, 60, 86400);
}

std::optional<std::optional<double>> Reduce(const Term& term, const std::vector<SeriesPointValue>& points,
                                            absl::Time newest) {
  if (!term.over_window) {
    for (auto point = points.rbegin(); point != points.rend(); ++point) {
      if (!point->value) continue;
      if (point->time < newest) return std::nullopt;
      return point->value;
    }
    return std::nullopt;
  }
  if (term.slope) {
    std::vector<columns::TrendPoint> line;
    for (const SeriesPointValue& point : points) {
      if (point.value) line.push_back({absl::ToDoubleSeconds(point.time - points.front().time), *point.value});
    }
    const columns::Trend trend = columns::FitTrend(
        std::move(line), {.least_points = kLeastTrendPoints, .least_span = absl::ToDoubleSeconds(term.window) / 2});
    if (!trend.refused.empty()) return std::optional<double>();
    const bool both = trend.slope_low < 0 && trend.slope_high > 0;
    return std::optional<double>(both ? 0 : trend.slope);
  }
  std::optional<double> result;
  double weight = 0;
  double weighted = 0;
  for (const SeriesPointValue& point : points) {
    if (!point.value) continue;
    const double value = *point.value;
    const bool averaged = term.rate || (!term.counter && (term.aggregate == "avg" || term.aggregate == "sum"));
    if (averaged) {
      const double covered = std::max(point.covered_ms, 1.0);
      weight += covered;
      weighted += value * covered;
      result = weighted / weight;
    } else if (!result || term.aggregate == "last") {
      result = value;
    } else if (term.counter) {
      result = *result + value;
    } else {
      result = term.aggregate == "min" ? std::min(*result, value) : std::max(*result, value);
    }
  }
  return result;
}

std::optional<double> NumberOf(const Term& term, const std::string& text, absl::Time now) {
  if (!term.equals.empty()) {
    return std::find(term.equals.begin(), term.equals.end(), text) == term.equals.end() ? 0 : 1;
  }
  if (term.age) {
    absl::Time time;
    std::string problem;
    // As PostgreSQL writes instants in UTC.
    for (const char* format : {"%Y-%m-%d %H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E*S+00"}) {
      if (absl::ParseTime(format, text, &time, &problem)) return absl::ToDoubleSeconds(now - time);
    }
    return std::nullopt;
  }
  if (text == "t" || text == "true" || text == "on") return 1;
  if (text == "f" || text == "false" || text == "off") return 0;
  double number = 0;
  return absl::SimpleAtod(text, &number) ? std::optional<double>(number) : std::nullopt;
}

}  // namespace pga::ruler
