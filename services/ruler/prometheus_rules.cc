#include "services/ruler/prometheus_rules.h"

#include <algorithm>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "libs/status/status.h"
#include "services/ruler/json.h"
#include "services/ruler/quantity.h"

namespace pga::ruler {
namespace {

using Kind = Expression::Token::Kind;

std::string Span(absl::Duration span) {
  const int64_t seconds = absl::ToInt64Seconds(span);
  if (seconds % 86400 == 0 && seconds > 0) return absl::StrCat(seconds / 86400, "d");
  if (seconds % 3600 == 0 && seconds > 0) return absl::StrCat(seconds / 3600, "h");
  if (seconds % 60 == 0 && seconds > 0) return absl::StrCat(seconds / 60, "m");
  return absl::StrCat(seconds, "s");
}

// A text between single quotes of YAML.
std::string Yaml(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "''"}, {"\n", " "}}), "'");
}

// What Prometheus knows of a term.
struct Series {
  const catalog::PrometheusMetric* metric = nullptr;
  std::string name;
  double divisor = 1;
  // Label matchers that name one value, for tests, or the first of several.
  Labels fixed;
  // Labels whose matcher names no value.
  std::set<std::string> open;
  std::vector<std::string> matchers;
  std::vector<std::string> by;
};

std::string LabelName(const catalog::PrometheusMetric& metric, const std::string& column) {
  for (const catalog::PrometheusLabel& label : metric.labels) {
    if (metric.metric->columns(label.column).name() == column) return label.name;
  }
  return column;
}

absl::StatusOr<Series> SeriesOf(const Term& term, const catalog::PrometheusNames& names) {
  switch (term.from) {
    case Term::From::kSeries:
      break;
    case Term::From::kState:
      return absl::UnimplementedError("it looks at an info column, which is no series");
    case Term::From::kChanges:
    case Term::From::kPlans:
      return absl::UnimplementedError("it looks at what changed, which is no series");
    case Term::From::kSuite:
      return absl::UnimplementedError("it looks at what the suite knows of itself");
  }
  if (term.slope) return absl::UnimplementedError("it follows a line that outliers do not bend");
  Series series;
  series.metric = names.Find(term.metric);
  if (series.metric == nullptr) return absl::UnimplementedError("its metric is not exported");
  for (const catalog::PrometheusSeries& candidate : series.metric->series) {
    if (series.metric->metric->columns(candidate.column).name() != term.column || !series.name.empty()) continue;
    series.name = candidate.name;
    series.divisor = candidate.divisor;
  }
  if (series.name.empty()) return absl::UnimplementedError("its column is not exported");
  for (const std::string& filter : term.filters) {
    const size_t at = filter.find_first_of("=!~");
    const bool negative = filter[at] == '!';
    const bool regex = filter[at] == '~';
    const std::string label = LabelName(*series.metric, filter.substr(0, at));
    const std::string value = filter.substr(at + (negative ? 2 : 1));
    series.matchers.push_back(absl::StrCat(label, negative ? "!=" : (regex ? "=~" : "="), Quoted(value)));
    const std::string first = value.substr(0, regex ? value.find('|') : std::string::npos);
    if (!negative && (!regex || first.find_first_of("[](){}.*+?\\^$") == std::string::npos)) {
      series.fixed[label] = first;
    } else if (!negative) {
      series.open.insert(label);
    }
  }
  series.by = {"source", "source_group"};
  for (const std::string& label : term.group_by) series.by.push_back(LabelName(*series.metric, label));
  return series;
}

std::string PromQl(const Term& term, const Series& series, bool scaled) {
  const std::string selector =
      series.matchers.empty() ? series.name : absl::StrCat(series.name, "{", absl::StrJoin(series.matchers, ","), "}");
  const std::string back = term.offset > absl::ZeroDuration() ? absl::StrCat(" offset ", Span(term.offset)) : "";
  std::string inner;
  if (term.counter) {
    inner = absl::StrCat(term.rate ? "rate" : "increase", "(", selector, "[", Span(term.window), "]", back, ")");
  } else if (term.over_window) {
    const std::string over = term.aggregate == "min" ? "min" : (term.aggregate == "max" ? "max" : "avg");
    inner = absl::StrCat(over, "_over_time(", selector, "[", Span(term.window), "]", back, ")");
  } else {
    inner = selector + back;
  }
  const std::string join = term.counter || term.aggregate == "last" ? "sum" : term.aggregate;
  std::string text = absl::StrCat(join, " by (", absl::StrJoin(series.by, ", "), ") (", inner, ")");
  if (term.absent && term.group_by.empty()) {
    text = absl::StrCat("(", text, " or max by (source, source_group) (pg_up) * 0 + ",
                        ExactNumber(*term.absent / (scaled ? series.divisor : 1)), ")");
  }
  if (scaled && series.divisor != 1) text = absl::StrCat("(", text, ") * ", ExactNumber(series.divisor));
  return text;
}

struct Written {
  std::string expression;
  // The alert's value is in Prometheus' unit, not the catalog's.
  double divisor = 1;
  std::vector<Series> terms;
};

std::string Render(const Rule& rule, const Expression& expression, const std::vector<Series>& terms, bool scaled) {
  std::vector<std::string> pieces;
  for (const Expression::Token& token : expression.tokens()) {
    switch (token.kind) {
      case Kind::kName:
        for (size_t i = 0; i < rule.terms.size(); ++i) {
          if (rule.terms[i].name != token.text) continue;
          pieces.push_back(absl::StrCat("(", PromQl(rule.terms[i], terms[i], scaled), ")"));
        }
        break;
      case Kind::kNumber:
        pieces.push_back(ExactNumber(token.number));
        break;
      case Kind::kCall:
        // Write() refuses rules with calls.
        break;
      case Kind::kOpen:
        pieces.emplace_back("(");
        break;
      case Kind::kClose:
        pieces.emplace_back(")");
        break;
      case Kind::kOperator:
        pieces.push_back(token.text);
        break;
    }
  }
  return absl::StrJoin(pieces, " ");
}

absl::StatusOr<Written> Write(const Rule& rule, const catalog::PrometheusNames& names) {
  Written written;
  if (!rule.value.calls().empty() || (rule.only_if && !rule.only_if->calls().empty())) {
    return absl::UnimplementedError("it compares with the same hour of earlier weeks");
  }
  for (const Term& term : rule.terms) {
    PGA_ASSIGN_OR_RETURN(Series series, SeriesOf(term, names));
    written.terms.push_back(std::move(series));
    if (term.group_by.size() != rule.terms[rule.leading].group_by.size()) {
      return absl::UnimplementedError("its terms have different labels");
    }
  }
  const bool single = rule.value.tokens().size() == 1 && rule.value.names().size() == 1;
  if (single) {
    for (size_t i = 0; i < rule.terms.size(); ++i) {
      if (rule.terms[i].name == rule.value.names()[0]) written.divisor = written.terms[i].divisor;
    }
  }
  written.expression = absl::StrCat(Render(rule, rule.value, written.terms, !single), rule.above ? " > " : " < ",
                                    ExactNumber(rule.threshold / written.divisor));
  if (rule.only_if) {
    written.expression =
        absl::StrCat("(", written.expression, ") and (", Render(rule, *rule.only_if, written.terms, true), ")");
  }
  return written;
}

std::string Format(const Rule& rule, double divisor) {
  std::string base = rule.unit;
  if (base.ends_with("/s")) base.resize(base.size() - 2);
  if (base == "ratio") return "{{ $value | humanizePercentage }}";
  if (base == "bytes") return "{{ $value | humanize1024 }}B";
  // Times are in seconds where they were divided, and in their own unit else.
  if ((base == "us" || base == "ms") && divisor != 1) return "{{ $value | humanizeDuration }}";
  if (base == "s") return "{{ $value | humanizeDuration }}";
  if (base == "percent") return "{{ $value | humanize }} %";
  return "{{ $value | humanize }}";
}

std::string Template(const Rule& rule, const Written& written) {
  Labels words;
  words["value"] = Format(rule, written.divisor);
  words["threshold"] = FormatQuantity(rule.threshold, rule.unit);
  words["source"] = "{{ $labels.source }}";
  for (const std::string& label : rule.terms[rule.leading].group_by) {
    const std::string name = LabelName(*written.terms[rule.leading].metric, label);
    words[label] = absl::StrCat("{{ or $labels.", name, " \"(no ", label, ")\" }}");
  }
  return Fill(rule.summary, words);
}

// Tests that share no series run together: promtool evaluates every rule in each.
struct Batch {
  std::set<std::string> names;
  std::string series;
  std::string expectations;
};

// The term's values stay as they are in the last step of a test of the file.
bool AddTest(const Rule& rule, const Written& written, const RuleTest& test, bool fires, std::vector<Batch>* batches) {
  // History that differs from the present cannot be given by one value.
  for (const Term& term : rule.terms) {
    if (term.offset > absl::ZeroDuration()) return false;
  }
  absl::Duration window = absl::Minutes(10);
  for (const Term& term : rule.terms) window = std::max(window, term.window);
  const absl::Duration at = window + rule.hold + absl::Minutes(10);
  const int64_t steps = absl::ToInt64Minutes(at);
  std::string series;
  std::set<std::string> seen;
  std::set<std::string> metrics;
  for (const TestRow& row : test.rows) {
    for (size_t i = 0; i < rule.terms.size(); ++i) {
      const Term& term = rule.terms[i];
      const auto given = row.values.find(term.name);
      if (given == row.values.end()) continue;
      const std::string& last = given->second.back();
      if (last == "_" || last == "-") continue;
      Labels labels = written.terms[i].fixed;
      const auto source = row.labels.find("source");
      labels["source"] = source == row.labels.end() ? "db1" : source->second;
      labels["source_group"] = "default";
      for (const std::string& label : term.group_by) {
        if (const auto found = row.labels.find(label); found != row.labels.end()) {
          labels[LabelName(*written.terms[i].metric, label)] = found->second;
        }
      }
      for (const std::string& label : written.terms[i].open) {
        if (!labels.contains(label)) return false;
      }
      std::vector<std::string> parts;
      for (const auto& [name, value] : labels) parts.push_back(absl::StrCat(name, "=", Quoted(value)));
      const std::string head = absl::StrCat(written.terms[i].name, "{", absl::StrJoin(parts, ","), "}");
      if (!seen.insert(head).second) return false;
      metrics.insert(written.terms[i].name);
      double value = std::stod(last) / written.terms[i].divisor;
      std::string values;
      if (term.counter) {
        // A minute's part of the rate, or of what the window comes to.
        value = term.rate ? value * 60 : value / (absl::ToDoubleSeconds(term.window) / 60);
        values = absl::StrCat("0+", ExactNumber(value), "x", steps);
      } else {
        values = absl::StrCat(ExactNumber(value), "x", steps);
      }
      absl::StrAppend(&series, "      - series: ", Yaml(head), "\n        values: '", values, "'\n");
    }
  }
  if (series.empty()) return false;
  auto batch = std::find_if(batches->begin(), batches->end(), [&](const Batch& known) {
    return std::none_of(metrics.begin(), metrics.end(),
                        [&](const std::string& name) { return known.names.contains(name); });
  });
  if (batch == batches->end()) batch = batches->emplace(batches->end());
  batch->names.insert(metrics.begin(), metrics.end());
  batch->series += series;
  absl::StrAppend(&batch->expectations, "      # ", rule.name, " ", test.name,
                  "\n      - expr: 'count(ALERTS{alertname=\"", rule.name,
                  "\",alertstate=\"firing\"}) or vector(0)'\n        eval_time: ", Span(at),
                  "\n        exp_samples:\n          - labels: '{}'\n            value: ", fires ? 1 : 0, "\n");
  return true;
}

bool HasCounters(const Rule& rule) {
  return std::any_of(rule.terms.begin(), rule.terms.end(), [](const Term& term) { return term.counter; });
}

// The tests of the file whose last state is given by the values of the last step.
int AddTests(const Rule& rule, const Written& written, std::vector<Batch>* batches) {
  int added = 0;
  bool fired = false;
  for (const RuleTest& test : rule.tests) {
    if (test.expectations.empty()) continue;
    const RuleTest::Expectation& last = test.expectations.back();
    const bool constant = std::all_of(test.rows.begin(), test.rows.end(), [](const TestRow& row) {
      return std::all_of(row.values.begin(), row.values.end(), [](const auto& v) { return v.second.size() == 1; });
    });
    const bool fires = !last.firing.empty();
    if (fires && fired) continue;
    if (!fires && !constant) continue;
    // Prometheus extrapolates increases: what equals the threshold may lie above it.
    const bool edge = !fires && added > 0 && HasCounters(rule) && test.name.find("threshold") != std::string::npos;
    if (edge) continue;
    if (AddTest(rule, written, test, fires, batches)) ++added;
    fired = fired || fires;
  }
  return added;
}

}  // namespace

PrometheusRules MakePrometheusRules(const std::map<std::string, Rule>& rules, const catalog::PrometheusNames& names,
                                    const std::string& rules_file) {
  PrometheusRules made;
  std::map<std::string, std::string> groups;
  std::vector<Batch> batches;
  std::set<std::string> asked;
  for (const auto& [name, rule] : rules) {
    const absl::StatusOr<Written> written = Write(rule, names);
    if (!written.ok()) {
      made.left_out[name] = std::string(written.status().message());
      continue;
    }
    for (const Series& series : written->terms) {
      if (!series.metric->scraped) asked.insert(series.metric->metric->name());
    }
    std::string& group = groups[rule.area];
    absl::StrAppend(&group, "      - alert: ", name, "\n        expr: ", Yaml(written->expression), "\n");
    if (rule.hold > absl::ZeroDuration()) absl::StrAppend(&group, "        for: ", Span(rule.hold), "\n");
    absl::StrAppend(&group, "        labels:\n          severity: ", std::string(NameOf(rule.severity)),
                    "\n        annotations:\n          summary: ", Yaml(Template(rule, *written)),
                    "\n          runbook: ", Yaml(rule.runbook), "\n");
    ++made.written;
    made.tested += AddTests(rule, *written, &batches) > 0 ? 1 : 0;
  }
  made.rules = absl::StrCat(
      "# Alerts for Prometheus, made of services/ruler/rules by `pga-rules prometheus`; change the rules, not this "
      "file.\n",
      "# They read what GET /api/v1/export/prometheus exports (docs/prometheus.md). Metrics that a scrape has to "
      "name:\n# ",
      absl::StrJoin(asked, ", "), ".\ngroups:\n");
  for (const auto& [area, text] : groups) {
    absl::StrAppend(&made.rules, "  - name: pganalytics_", area, "\n    interval: 1m\n    rules:\n", text);
  }
  std::string tests;
  for (const Batch& batch : batches) {
    absl::StrAppend(&tests, "  - interval: 1m\n    input_series:\n", batch.series, "    promql_expr_test:\n",
                    batch.expectations);
  }
  made.tests = absl::StrCat(
      "# Tests of the generated alerts for `promtool test rules`, made by `pga-rules prometheus-tests`.\nrule_files:\n "
      " - ",
      rules_file, "\nevaluation_interval: 1m\ntests:\n", tests);
  return made;
}

namespace {

std::string Cell(const std::string& text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}, {"\n", " "}});
}

}  // namespace

std::string RulesPage(const std::map<std::string, Rule>& rules, const PrometheusRules& prometheus) {
  std::string out =
      "# Rules of alerts\n\nWritten by `tools/docs.sh` from [`services/ruler/rules`](../services/ruler/rules). How "
      "alerts "
      "work, and rules of your own: [alerts](alerts.md).\n";
  const std::vector<std::pair<std::string, std::string>> areas = {{"availability", "Availability"},
                                                                  {"replication", "Replication"},
                                                                  {"wal", "WAL, slots and archive"},
                                                                  {"host", "Host"},
                                                                  {"connections", "Connections and transactions"},
                                                                  {"vacuum", "Vacuum and bloat"},
                                                                  {"load", "Load"},
                                                                  {"logs", "What the log says"},
                                                                  {"data", "Data"},
                                                                  {"settings", "Settings and rights"},
                                                                  {"suite", "The suite itself"}};
  for (const auto& [area, title] : areas) {
    absl::StrAppend(&out, "\n## ", title, "\n\n| rule | severity | fires | for | says |\n|---|---|---|---|---|\n");
    for (const auto& [name, rule] : rules) {
      if (rule.area != area) continue;
      absl::StrAppend(
          &out, "| [`", name, "`](#", name, ") | ", std::string(NameOf(rule.severity)), " | ",
          rule.above ? "above " : "below ", Cell(rule.threshold_text),
          rule.resolve != rule.threshold ? absl::StrCat(", until ", FormatQuantity(rule.resolve, rule.unit)) : "",
          " | ", rule.hold > absl::ZeroDuration() ? Span(rule.hold) : "at once", " | ", Cell(rule.summary), " |\n");
    }
  }
  out +=
      "\n## Figures of the suite\n\nRules may look at them as at metrics.\n\n| metric | column | what "
      "|\n|---|---|---|\n";
  for (const SuiteMetric& metric : SuiteMetrics()) {
    for (const SuiteMetric::Column& column : metric.columns) {
      absl::StrAppend(&out, "| `", std::string(metric.name), "` | `", std::string(column.name), "` | ",
                      std::string(column.description), " |\n");
    }
  }
  out += "\n## Runbooks\n";
  for (const auto& [name, rule] : rules) {
    absl::StrAppend(&out, "\n### ", name, "\n\n", rule.runbook, "\n\nValue: `", rule.value.text(), "`");
    if (rule.only_if) absl::StrAppend(&out, ", where `", rule.only_if->text(), "`");
    out += ", with ";
    std::vector<std::string> terms;
    for (const Term& term : rule.terms) {
      terms.push_back(absl::StrCat("`", term.name, "` = ", term.metric, term.column.empty() ? "" : ".", term.column));
    }
    absl::StrAppend(&out, absl::StrJoin(terms, ", "), ".\n");
  }
  absl::StrAppend(
      &out, "\n## Without a form for Prometheus\n\n", prometheus.written, " of ", rules.size(),
      " rules are also [Prometheus rules](../tools/deploy/prometheus/pganalytics-alerts.yaml), which need no "
      "ruler. The others have no such form:\n\n| rule | why |\n|---|---|\n");
  for (const auto& [name, why] : prometheus.left_out) absl::StrAppend(&out, "| `", name, "` | ", why, " |\n");
  return out;
}

}  // namespace pga::ruler
