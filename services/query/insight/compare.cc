#include "services/query/insight/compare.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

namespace pga::query {
namespace {

// Part of the pairs of buckets in the direction of the change, from which on windows are apart whatever their spread.
constexpr double kApart = 0.95;

struct Summary {
  size_t buckets = 0;  // with a divisor
  double sum = 0;
  double divisor = 0;
  double ratio = 0;
  // Square of the variation between buckets, and of the error of the ratio; 0 with fewer than two buckets.
  double variance = 0;
  double error = 0;
};

Summary Summarize(const std::vector<RatioBucket>& buckets) {
  Summary found;
  for (const RatioBucket& bucket : buckets) {
    if (bucket.divisor <= 0) continue;
    ++found.buckets;
    found.sum += bucket.sum;
    found.divisor += bucket.divisor;
  }
  if (found.divisor <= 0) return found;
  found.ratio = found.sum / found.divisor;
  if (found.buckets < 2) return found;
  double weighted = 0;
  double squares = 0;
  for (const RatioBucket& bucket : buckets) {
    if (bucket.divisor <= 0) continue;
    const double rest = bucket.sum - found.ratio * bucket.divisor;
    squares += rest * rest;
    weighted += rest * rest / bucket.divisor;
  }
  const double correction = static_cast<double>(found.buckets) / static_cast<double>(found.buckets - 1);
  found.variance = correction * weighted / found.divisor;
  found.error = correction * squares / (found.divisor * found.divisor);
  return found;
}

// The split with the least squared error, weighted by divisors; 0 when there is none.
size_t SplitOf(const std::vector<RatioBucket>& buckets) {
  double all_sum = 0;
  double all_divisor = 0;
  for (const RatioBucket& bucket : buckets) {
    if (bucket.divisor <= 0) continue;
    all_sum += bucket.sum;
    all_divisor += bucket.divisor;
  }
  double best = 0;
  size_t split = 0;
  double sum = 0;
  double divisor = 0;
  for (size_t i = 0; i + 1 < buckets.size(); ++i) {
    if (buckets[i].divisor > 0) {
      sum += buckets[i].sum;
      divisor += buckets[i].divisor;
    }
    const double rest = all_divisor - divisor;
    if (divisor <= 0 || rest <= 0 || buckets[i + 1].divisor <= 0) continue;
    // What the split explains: the squared error without it less that with it.
    const double gap = sum / divisor - (all_sum - sum) / rest;
    const double explained = gap * gap * divisor * rest / all_divisor;
    if (explained > best) {
      best = explained;
      split = i + 1;
    }
  }
  return split;
}

// Of the pairs of one bucket of either window, the part in which that of `more` is the larger one; equal ones are half.
double PartAbove(const std::vector<RatioBucket>& more, const std::vector<RatioBucket>& less) {
  double above = 0;
  double pairs = 0;
  for (const RatioBucket& high : more) {
    for (const RatioBucket& low : less) {
      if (high.divisor <= 0 || low.divisor <= 0) continue;
      const double difference = high.sum / high.divisor - low.sum / low.divisor;
      above += difference > 0 ? 1 : difference == 0 ? 0.5 : 0;
      ++pairs;
    }
  }
  return pairs > 0 ? above / pairs : 0;
}

// Mann and Whitney's test, two-sided at 0.1 %, by its normal form, which is on the safe side for few buckets and ties.
bool RanksDiffer(double part_above, double before, double after) {
  constexpr double kCritical = 3.2905;
  const double pairs = before * after;
  return (part_above - 0.5) * pairs > kCritical * std::sqrt(pairs * (before + after + 1) / 12);
}

}  // namespace

RatioRules MeanTimeRules() {
  return {.fewest = 5, .floor = 0.005};
}

RatioRules LoadRules() {
  // A thousandth of one session at work: 1 ms in a second.
  return {.fewest = 60, .floor = 1};
}

std::string_view WordOf(RatioReason reason) {
  switch (reason) {
    case RatioReason::kChanged:
      return "changed";
    case RatioReason::kTooFew:
      return "too_few_calls";
    case RatioReason::kWithinTolerance:
      return "within_tolerance";
    case RatioReason::kWithinVariation:
      return "within_variation";
    case RatioReason::kWithinNoise:
      return "within_noise";
  }
  return "";
}

double CriticalT(double degrees_of_freedom) {
  // Degrees of freedom, quantile of 0.9995.
  constexpr std::pair<double, double> kTable[] = {{1, 636.62}, {2, 31.599}, {3, 12.924}, {4, 8.610},  {5, 6.869},
                                                  {6, 5.959},  {7, 5.408},  {8, 5.041},  {9, 4.781},  {10, 4.587},
                                                  {12, 4.318}, {15, 4.073}, {20, 3.850}, {30, 3.646}, {60, 3.460}};
  // The next lower entry: never too small.
  double critical = kTable[0].second;
  for (const auto& [degrees, quantile] : kTable) {
    if (degrees <= degrees_of_freedom) critical = quantile;
  }
  return critical;
}

RatioChange CompareRatios(const std::vector<RatioBucket>& before, const std::vector<RatioBucket>& after,
                          const RatioRules& rules) {
  const Summary then = Summarize(before);
  const Summary now = Summarize(after);
  RatioChange change;
  if (then.divisor > 0) change.before = then.ratio;
  if (now.divisor > 0) change.after = now.ratio;
  change.variation = std::sqrt(then.variance);
  // The error of a single bucket is not known from itself: that of the window before stands for it.
  const double now_error = now.buckets >= 2 ? now.error : then.variance;
  change.standard_error = std::sqrt(then.error + now_error);
  if (then.divisor < rules.fewest || now.divisor < rules.fewest || then.buckets < rules.fewest_buckets) return change;
  const double difference = std::abs(change.difference());
  if (difference < rules.tolerance * std::abs(then.ratio) || difference < rules.floor) {
    change.reason = RatioReason::kWithinTolerance;
    return change;
  }
  const double part_above = change.difference() > 0 ? PartAbove(after, before) : PartAbove(before, after);
  if (difference <= 2 * change.variation && part_above < kApart) {
    change.reason = RatioReason::kWithinVariation;
    return change;
  }
  // Welch and Satterthwaite.
  const double then_freedom = static_cast<double>(then.buckets - 1);
  const double now_freedom = now.buckets >= 2 ? static_cast<double>(now.buckets - 1) : then_freedom;
  const double errors = then.error + now_error;
  const double parts = then.error * then.error / then_freedom + now_error * now_error / now_freedom;
  const bool means_differ = errors <= 0 || difference > CriticalT(errors * errors / parts) * change.standard_error;
  const bool ranks_differ =
      RanksDiffer(part_above, static_cast<double>(then.buckets), static_cast<double>(now.buckets));
  if (!means_differ && !ranks_differ) {
    change.reason = RatioReason::kWithinNoise;
    return change;
  }
  change.reason = RatioReason::kChanged;
  std::vector<RatioBucket> all = before;
  all.insert(all.end(), after.begin(), after.end());
  change.began = SplitOf(all);
  return change;
}

}  // namespace pga::query
