#include "services/query/insight/anomaly.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "libs/columns/baseline.h"

namespace pga::query {
namespace {

constexpr double kLow = 3.5;
constexpr double kMedium = 5;
constexpr double kHigh = 8;
// Fewer calls tell nothing of a mean.
constexpr double kFewestCalls = 5;

std::string SeverityOf(double z) {
  return z >= kHigh ? "high" : z >= kMedium ? "medium" : "low";
}

using Figure = std::function<std::optional<double>(const HourFigures&)>;

}  // namespace

HourVerdict JudgeHour(const std::map<int64_t, HourFigures>& history, int64_t hour) {
  HourVerdict verdict;
  const auto now = history.find(hour);
  if (now == history.end() || now->second.covered_s < columns::kLeastCoveredSeconds) return verdict;
  const HourFigures& figures = now->second;
  // `least`: how much more than the baseline it is at least.
  const auto judge = [&](const char* type, const char* metric, const Figure& of,
                         const std::function<double(double baseline)>& least) {
    const std::optional<double> value = of(figures);
    if (!value) return;
    std::map<int64_t, double> values;
    for (const auto& [at, past] : history) {
      if (past.covered_s < columns::kLeastCoveredSeconds) continue;
      if (const std::optional<double> one = of(past)) values[at] = *one;
    }
    const columns::Baseline baseline = columns::BaselineOf(values, hour);
    if (!baseline.known()) {
      verdict.without_baseline = true;
      return;
    }
    const double z = (*value - baseline.median) / baseline.spread;
    if (z < kLow || *value - baseline.median < least(baseline.median)) return;
    verdict.anomalies.push_back(
        {type, SeverityOf(z), metric, *value, baseline.median, baseline.spread, z, baseline.method, baseline.hours});
  };
  const auto per_call = [](double HourFigures::*sum) -> Figure {
    return [sum](const HourFigures& of) -> std::optional<double> {
      if (of.calls < kFewestCalls) return std::nullopt;
      return of.*sum / of.calls;
    };
  };
  const double calls = std::max(figures.calls, 1.0);
  judge("execution_time_spike", "mean_time", per_call(&HourFigures::time_ms), [](double) { return 0.005; });
  judge(
      "call_rate_spike", "calls",
      [](const HourFigures& of) -> std::optional<double> { return of.calls / of.covered_s; },
      // Twice as many, and one in a minute more; a statement that as a rule does not run then is new, not more
      // frequent.
      [](double baseline) {
        return baseline > 0 ? std::max(baseline, 1.0 / 60) : std::numeric_limits<double>::infinity();
      });
  // A tenth of the blocks of a call, and one block; a fifth of its time.
  judge("cache_degradation", "blocks_read", per_call(&HourFigures::blocks_read),
        [&](double) { return std::max(1.0, 0.1 * figures.blocks / calls); });
  judge("io_increase", "io_time", per_call(&HourFigures::io_ms),
        [&](double) { return std::max(0.005, 0.2 * figures.time_ms / calls); });
  return verdict;
}

}  // namespace pga::query
