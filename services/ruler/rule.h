// A rule: what is asked, what of the answer is too much, and what is said then. Plain values.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "services/ruler/expression.h"

namespace pga::ruler {

using Labels = std::map<std::string, std::string>;

enum class Severity { kInfo, kWarning, kCritical };
// "info", "warning", "critical".
std::string_view NameOf(Severity severity);
std::optional<Severity> SeverityOf(std::string_view name);

// A question and the value that is taken from its answer, for every source at once.
struct Term {
  enum class From {
    kSeries,   // QuerySeries: a gauge or counter over `window`
    kState,    // GetState: an info column as it was last read
    kChanges,  // GetState over `window`: how often the info column changed, or rows came or went
    kPlans,    // ListPlans over `window`: how often a statement was logged with another plan than before
    kSuite,    // what the suite knows of itself (SuiteMetrics)
  };
  std::string name;
  From from = From::kSeries;
  std::string metric;
  // Empty with kChanges: rows that came or went, as `changes` says.
  std::string column;
  // Of kChanges: changed, appeared or vanished; of kPlans: switched.
  std::string changes;
  // As in QuerySeriesRequest.filter.
  std::vector<std::string> filters;
  // sum, avg, min, max, last; empty = sum of a counter, max of anything else.
  std::string aggregate;
  // Of a counter: per second, not the increase in the window.
  bool rate = false;
  absl::Duration window = absl::Minutes(5);
  // The value is what the window comes to, not the newest reading in it. Always so for counters.
  bool over_window = false;
  // Of a gauge: what it grows a second over the window, by the line that columns::FitTrend puts through it; 0 where it
  // has no direction, not known with less than half of the window.
  bool slope = false;
  // It stands within usual() or spread(): its hours of earlier weeks are asked for, too.
  bool history = false;
  // How far back the window lies.
  absl::Duration offset = absl::ZeroDuration();
  // Labels that stay apart, besides the source.
  std::vector<std::string> group_by;
  // The value of a source that is watched and has no such row.
  std::optional<double> absent;
  // kState: what of the column's text is the value. With `equals` 1 where the text is one of these, else 0; with `age`
  // the seconds since the instant; else the number, or 1 and 0 of true and false.
  std::vector<std::string> equals;
  bool age = false;
  // kState: only rows with these values in other info columns.
  std::map<std::string, std::string> where;
  // Of the column, with "/s" where it is a rate or a slope; "s" of an age; "1" of what is counted.
  std::string unit = "1";
  bool counter = false;
  // How often the metric is read, in collection intervals.
  int interval_factor = 1;
  int line = 0;

  // The same for terms that ask the same: what is asked, without `equals`, `age` and `absent`.
  std::string Key() const;
};

// A value of one term, or of several, at steps of a test; see RuleTest.
struct TestRow {
  Labels labels;
  std::map<std::string, std::vector<std::string>> values;
  // Of a term within usual() or spread(): this hour in earlier weeks, last week first; "_" = not known.
  std::map<std::string, std::vector<std::string>> before;
  int line = 0;
};

struct RuleTest {
  struct Expectation {
    absl::Duration at;
    std::vector<Labels> pending;
    std::vector<Labels> firing;
    // Of those firing: not known at that time.
    std::vector<Labels> unknown;
    // Of the one alert that is firing; empty = not looked at.
    std::string summary;
    // Of the alert that stands for many; empty = not looked at.
    std::vector<std::string> members;
    int line = 0;
  };
  std::string name;
  absl::Duration every = absl::Minutes(1);
  std::vector<TestRow> rows;
  std::vector<Expectation> expectations;
  int line = 0;
};

struct Rule {
  std::string name;
  // With {value}, {threshold}, {source} and {label} of the labels.
  std::string summary;
  std::string area;
  Severity severity = Severity::kWarning;
  std::vector<Term> terms;
  // Over the terms' names.
  Expression value;
  std::optional<Expression> only_if;
  // Unit of the value.
  std::string unit = "1";
  // Fires above, or below, `threshold`; ends on the other side of `resolve`.
  bool above = true;
  double threshold = 0;
  double resolve = 0;
  // As written.
  std::string threshold_text;
  // Holds for so long before it fires.
  absl::Duration hold = absl::ZeroDuration();
  // How often; zero = as the service is set.
  absl::Duration interval = absl::ZeroDuration();
  // So many at once, of one group, are one alert with its members; 0 = each is always its own.
  int together = 0;
  // What to do.
  std::string runbook;
  // Page of the console that shows it, with {source_id} and labels.
  std::string page;
  std::vector<RuleTest> tests;
  std::string file;
  // From a user's folder.
  bool custom = false;

  // Index of the term with most labels, to whose rows the others are joined.
  size_t leading = 0;
  bool Breaches(double x) const { return above ? x > threshold : x < threshold; }
  bool Persists(double x) const { return above ? x > resolve : x < resolve; }
};

// What the suite knows of itself, as metrics that rules may name.
struct SuiteMetric {
  std::string_view name;
  std::string_view label;  // empty = none but the source
  bool by_source;
  struct Column {
    std::string_view name;
    std::string_view unit;
    std::string_view description;
  };
  std::vector<Column> columns;
};
const std::vector<SuiteMetric>& SuiteMetrics();

// `text` with {name} replaced; names that are not there stay as they are.
std::string Fill(const std::string& text, const Labels& values);

}  // namespace pga::ruler
