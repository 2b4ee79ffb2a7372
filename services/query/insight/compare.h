// Whether a figure is another one in one window than in another: ratios of sums over buckets, tested against the
// variation between them (docs/adr/2026-11-28-insight.md). Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace pga::query {

// Part of a window: milliseconds by calls for the mean time, milliseconds by covered seconds for the load. A bucket of
// which nothing is known has divisor 0.
struct RatioBucket {
  double sum = 0;
  double divisor = 0;
};

struct RatioRules {
  // Sums of divisors below it say nothing.
  double fewest = 0;
  // Buckets before, with a divisor, below which the variation is not known.
  size_t fewest_buckets = 3;
  // Part of the ratio before, and absolute: smaller changes are none.
  double tolerance = 0.2;
  double floor = 0;
};
// Of milliseconds by calls, and of milliseconds by seconds.
RatioRules MeanTimeRules();
RatioRules LoadRules();

// changed, or which of the tests failed first.
enum class RatioReason { kChanged, kTooFew, kWithinTolerance, kWithinVariation, kWithinNoise };
std::string_view WordOf(RatioReason reason);

struct RatioChange {
  RatioReason reason = RatioReason::kTooFew;
  // Absent without a divisor.
  std::optional<double> before;
  std::optional<double> after;
  // Between the buckets before.
  double variation = 0;
  // Of the difference.
  double standard_error = 0;
  // Where it began, as an index into the buckets before followed by those after; only for kChanged.
  std::optional<size_t> began;

  double difference() const { return after.value_or(0) - before.value_or(0); }
  bool changed() const { return reason == RatioReason::kChanged; }
};

RatioChange CompareRatios(const std::vector<RatioBucket>& before, const std::vector<RatioBucket>& after,
                          const RatioRules& rules);

// What Student's t exceeds with a probability of 0.1 %, on both sides together.
double CriticalT(double degrees_of_freedom);

}  // namespace pga::query
