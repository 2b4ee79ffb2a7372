#include "services/query/insight/predict.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <utility>

#include "libs/columns/baseline.h"
#include "libs/columns/trend.h"
#include "services/query/insight/quantiles.h"

namespace pga::query {
namespace {

constexpr int kMostTested = 48;
constexpr double kLow = 0.1;
constexpr double kHigh = 0.9;
// A line over rows needs rows that differ.
constexpr double kLeastRowsRatio = 1.2;

using Method = PredictionMethod;

struct Past {
  std::map<int64_t, double> means;
  std::map<int64_t, double> rows;
  std::vector<columns::TrendPoint> by_rows;

  void Add(int64_t hour, const CallHour& of) {
    means[hour] = of.mean_ms();
    rows[hour] = of.rows_per_call();
    by_rows.push_back({of.rows_per_call(), of.mean_ms()});
  }
};

std::vector<double> ValuesOf(const std::map<int64_t, double>& of) {
  std::vector<double> values;
  values.reserve(of.size());
  for (const auto& [hour, value] : of) values.push_back(value);
  return values;
}

// Rows of a call in such hours.
double ExpectedRows(const Past& past, int64_t hour) {
  const columns::Baseline baseline = columns::BaselineOf(past.rows, hour);
  return baseline.known() ? baseline.median : columns::MedianOf(ValuesOf(past.rows));
}

// Nothing where the method has too little history.
std::optional<double> ByMethod(Method method, const Past& past, int64_t hour, double rows) {
  if (past.means.size() < kFewestPredictionHours) return std::nullopt;
  switch (method) {
    case Method::kAllHours:
      return columns::MedianOf(ValuesOf(past.means));
    case Method::kHourOfWeek:
    case Method::kHourOfDay: {
      // A baseline is of the same hour of the week where there are enough of them.
      const columns::Baseline baseline = columns::BaselineOf(past.means, hour);
      if (baseline.method != NameOf(method)) return std::nullopt;
      return baseline.median;
    }
    case Method::kByRows:
      break;
  }
  const auto [least, most] = std::minmax_element(past.by_rows.begin(), past.by_rows.end(),
                                                 [](const auto& a, const auto& b) { return a.x < b.x; });
  if (most->x < kLeastRowsRatio * least->x || most->x <= 0) return std::nullopt;
  const columns::Trend trend =
      columns::FitTrend(past.by_rows, {.least_points = static_cast<int>(kFewestPredictionHours), .least_span = 0});
  if (!trend.refused.empty() || trend.slope <= 0) return std::nullopt;
  // Below the smallest size that was seen the line may lead below zero.
  return std::max(trend.at_end + trend.slope * (rows - trend.end), 0.001);
}

}  // namespace

std::string_view NameOf(PredictionMethod method) {
  constexpr std::array<std::string_view, kPredictionMethods> kNames = {"by_rows", "hour_of_week", "hour_of_day",
                                                                       "all_hours"};
  return kNames[static_cast<size_t>(method)];
}

Prediction Predict(const CallHours& history, int64_t hour, std::optional<double> rows) {
  Prediction prediction;
  Past past;
  std::vector<std::pair<int64_t, CallHour>> known;
  for (const auto& [at, of] : history) {
    if (at < hour && of.calls >= kFewestPredictionCalls && of.time_ms > 0) known.emplace_back(at, of);
  }
  prediction.hours = static_cast<int>(known.size());
  if (known.size() < kFewestPredictionHours) {
    prediction.refused = "fewer than " + std::to_string(kFewestPredictionHours) + " hours with " +
                         std::to_string(static_cast<int>(kFewestPredictionCalls)) + " calls are known";
    return prediction;
  }
  // Truth / prediction of the tested hours, in their order, by method.
  std::array<std::vector<double>, kPredictionMethods> ratios;
  const size_t first = known.size() - std::min<size_t>(known.size() - kFewestPredictionHours, kMostTested);
  for (size_t i = 0; i < known.size(); ++i) {
    const auto& [at, of] = known[i];
    if (i >= first) {
      // What a caller knows of an hour before it: its rows are those that it came to have.
      for (size_t method = 0; method < kPredictionMethods; ++method) {
        const auto said = ByMethod(static_cast<Method>(method), past, at, of.rows_per_call());
        if (said && *said > 0) ratios[method].push_back(of.mean_ms() / *said);
      }
    }
    past.Add(at, of);
  }
  prediction.rows = rows.value_or(ExpectedRows(past, hour));
  std::array<std::optional<double>, kPredictionMethods> said;
  size_t chosen = static_cast<size_t>(Method::kAllHours);
  for (size_t method = 0; method < kPredictionMethods; ++method) {
    said[method] = ByMethod(static_cast<Method>(method), past, hour, prediction.rows);
    MethodTest& test = prediction.tests.emplace_back();
    test.method = static_cast<Method>(method);
    test.tested = static_cast<int>(ratios[method].size());
    if (test.tested == 0) continue;
    std::vector<double> errors;
    for (const double ratio : ratios[method]) errors.push_back(std::abs(ratio - 1));
    test.median_error = columns::MedianOf(std::move(errors));
  }
  for (size_t method = 0; method < kPredictionMethods; ++method) {
    const MethodTest& test = prediction.tests[method];
    const MethodTest& best = prediction.tests[chosen];
    if (!said[method] || test.tested < kFewestTestedHours) continue;
    if (best.tested < kFewestTestedHours || *test.median_error < *best.median_error) chosen = method;
  }
  const MethodTest& used = prediction.tests[chosen];
  prediction.method = used.method;
  prediction.ms = *said[chosen];
  prediction.tested = used.tested;
  if (used.tested < kFewestTestedHours) {
    prediction.low_ms = std::min(prediction.ms, QuantileOf(ValuesOf(past.means), kLow));
    prediction.high_ms = std::max(prediction.ms, QuantileOf(ValuesOf(past.means), kHigh));
    return prediction;
  }
  prediction.median_error = used.median_error;
  const std::vector<double>& all = ratios[chosen];
  const auto half = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  const std::vector<double> older(all.begin(), half);
  const double low = QuantileOf(older, kLow);
  const double high = QuantileOf(older, kHigh);
  const auto within = std::count_if(half, all.end(), [&](double ratio) { return ratio >= low && ratio <= high; });
  prediction.confidence = static_cast<double>(within) / static_cast<double>(std::distance(half, all.end()));
  prediction.low_ms = prediction.ms * low;
  prediction.high_ms = prediction.ms * high;
  return prediction;
}

}  // namespace pga::query
