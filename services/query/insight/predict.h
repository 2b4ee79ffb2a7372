// How long a call of a statement will take, by its hours so far, and how good such predictions would have been
// (docs/insight.md). Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pga::query {

// An hour in which a statement ran.
struct CallHour {
  double calls = 0;
  double time_ms = 0;
  double rows = 0;

  double mean_ms() const { return time_ms / calls; }
  double rows_per_call() const { return rows / calls; }
};

// By hours since 1970 (UTC). Hours with fewer calls than kFewestPredictionCalls do not count.
using CallHours = std::map<int64_t, CallHour>;

inline constexpr double kFewestPredictionCalls = 5;
// Hours that a prediction takes at least, and tested hours without which no error is given.
inline constexpr size_t kFewestPredictionHours = 12;
inline constexpr int kFewestTestedHours = 10;

// In the order in which equals are preferred.
enum class PredictionMethod { kByRows, kHourOfWeek, kHourOfDay, kAllHours };
inline constexpr int kPredictionMethods = 4;
std::string_view NameOf(PredictionMethod method);

// A method over the hours that were tested: each was predicted from those before it.
struct MethodTest {
  PredictionMethod method = PredictionMethod::kAllHours;
  int tested = 0;
  // Median of |truth / prediction - 1|; absent for none tested.
  std::optional<double> median_error;
};

struct Prediction {
  // Why nothing is said; empty = it is.
  std::string refused;
  double ms = 0;
  double low_ms = 0;
  double high_ms = 0;
  PredictionMethod method = PredictionMethod::kAllHours;
  int hours = 0;
  int tested = 0;
  std::optional<double> median_error;
  std::optional<double> confidence;
  // Rows a call that it is made for.
  double rows = 0;
  // Every method, in the order of the enumeration.
  std::vector<MethodTest> tests;
};

// For the hour `hour`, or as of now for one that is not over; `rows` of a call, where they are known.
//
// The newest hours are predicted by each method from those before them; the one with the least median error is used, or
// the median of all hours where fewer than kFewestTestedHours were tested. The first half of the tested hours gives the
// range: between the quantiles of truth / prediction at a tenth and nine tenths. The second half gives the confidence:
// the share of it that lies within. Untested, the range is that of the hours themselves, and there is no confidence.
Prediction Predict(const CallHours& history, int64_t hour, std::optional<double> rows);

}  // namespace pga::query
