#include "services/ruler/rule_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/catalog/metric.h"
#include "libs/status/status.h"
#include "libs/storage/read/names.h"
#include "services/ruler/quantity.h"

namespace pga::ruler {
namespace {

namespace v1 = pganalytics::catalog::v1;

constexpr size_t kMaxProblems = 20;
constexpr absl::Duration kMostWindow = absl::Hours(24 * 8);
constexpr absl::Duration kLeastTrendWindow = absl::Hours(1);
constexpr absl::Duration kInterval = absl::Minutes(1);

int LineOf(const YAML::Node& node) {
  return node.Mark().line + 1;
}

class RuleParser {
 public:
  RuleParser(const catalog::Catalog& catalog, const RuleFileOptions& options) : catalog_(catalog), options_(options) {}

  absl::StatusOr<Rule> Parse(std::string_view yaml) {
    if (yaml.size() > kMaxRuleFileBytes) {
      Problem(1, absl::StrCat("the file has ", yaml.size(), " bytes; a rule file takes ", kMaxRuleFileBytes));
      return Result();
    }
    // yaml-cpp 0.7 reads text that begins with a comma without end.
    if (yaml.starts_with(",")) {
      Problem(1, "not valid YAML: a comma at the beginning");
      return Result();
    }
    try {
      const YAML::Node document = YAML::Load(std::string(yaml));
      if (!document.IsMap()) {
        Problem(1, "want one mapping with the keys name, summary, severity, terms, above or below, tests");
        return Result();
      }
      Top(document);
    } catch (const YAML::Exception& error) {
      Problem(error.mark.line + 1, absl::StrCat("not valid YAML: ", error.msg));
    }
    return Result();
  }

 private:
  using Handler = std::function<void(const YAML::Node&)>;
  using Handlers = std::vector<std::pair<std::string, Handler>>;

  void Problem(int line, const std::string& what) {
    if (problems_.size() < kMaxProblems) problems_.push_back(absl::StrCat(options_.file_name, ":", line, ": ", what));
  }

  absl::StatusOr<Rule> Result() {
    if (!problems_.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems_, "\n"));
    rule_.file = options_.file_name;
    rule_.custom = options_.custom;
    return std::move(rule_);
  }

  void Mapping(const YAML::Node& node, const std::string& where, const Handlers& handlers) {
    if (!node.IsMap()) return Problem(LineOf(node), absl::StrCat(where, "want a mapping of keys and values"));
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : std::string();
      if (!seen.insert(key).second) {
        Problem(LineOf(entry.first), absl::StrCat(where, "key \"", key, "\" is there twice; take one out"));
        continue;
      }
      const auto handler =
          std::find_if(handlers.begin(), handlers.end(), [&](const auto& known) { return known.first == key; });
      if (handler == handlers.end()) {
        std::vector<std::string> names;
        for (const auto& known : handlers) names.push_back(known.first);
        Problem(LineOf(entry.first),
                absl::StrCat(where, "unknown key \"", key, "\"; known are ", absl::StrJoin(names, ", ")));
        continue;
      }
      handler->second(entry.second);
    }
  }

  std::string Text(const YAML::Node& node, const std::string& where) {
    if (!node.IsScalar()) {
      Problem(LineOf(node), absl::StrCat(where, "want a single value"));
      return "";
    }
    return std::string(absl::StripAsciiWhitespace(node.Scalar()));
  }

  std::vector<std::string> Texts(const YAML::Node& node, const std::string& where) {
    std::vector<std::string> texts;
    if (node.IsScalar()) return {Text(node, where)};
    if (!node.IsSequence()) {
      Problem(LineOf(node), absl::StrCat(where, "want a list, as [a, b]"));
      return texts;
    }
    for (const YAML::Node& entry : node) texts.push_back(Text(entry, where));
    return texts;
  }

  absl::Duration Span(const YAML::Node& node, const std::string& where, absl::Duration most) {
    const absl::StatusOr<absl::Duration> span = ParseSpan(Text(node, where));
    if (!span.ok()) {
      Problem(LineOf(node), absl::StrCat(where, std::string(span.status().message())));
      return absl::ZeroDuration();
    }
    if (*span > most) Problem(LineOf(node), absl::StrCat(where, "at most ", absl::FormatDuration(most)));
    return *span;
  }

  bool Flag(const YAML::Node& node, const std::string& where) {
    const std::string text = Text(node, where);
    if (text != "true" && text != "false") Problem(LineOf(node), absl::StrCat(where, "want true or false"));
    return text == "true";
  }

  void Top(const YAML::Node& document) {
    std::string above;
    std::string below;
    std::string resolve;
    std::string value;
    std::string only_if;
    std::string unit;
    std::string together;
    YAML::Node tests;
    const auto text = [this](std::string* to, const std::string& key) {
      return std::pair<std::string, Handler>(key, [this, to, key](const YAML::Node& node) {
        lines_[key] = LineOf(node);
        *to = Text(node, absl::StrCat(key, ": "));
      });
    };
    std::string severity;
    Mapping(
        document, "",
        {text(&rule_.name, "name"),
         text(&rule_.summary, "summary"),
         text(&rule_.area, "area"),
         text(&severity, "severity"),
         {"terms", [this](const YAML::Node& node) { Terms(node); }},
         text(&value, "value"),
         text(&only_if, "only_if"),
         text(&unit, "unit"),
         text(&above, "above"),
         text(&below, "below"),
         text(&resolve, "resolve"),
         {"for", [this](const YAML::Node& node) { rule_.hold = Span(node, "for: ", absl::Hours(24 * 30)); }},
         {"interval", [this](const YAML::Node& node) { rule_.interval = Span(node, "interval: ", absl::Hours(24)); }},
         text(&together, "together"),
         text(&rule_.page, "page"),
         text(&rule_.runbook, "runbook"),
         {"tests", [&tests](const YAML::Node& node) { tests = node; }}});
    Names(severity);
    Values(value, only_if, unit);
    Threshold(above, below, resolve);
    Together(together);
    if (tests.IsDefined() && !tests.IsNull()) Tests(tests);
    if (!options_.custom && rule_.tests.size() < kLeastTests) {
      Problem(1, absl::StrCat("tests: a built-in rule has at least ", kLeastTests,
                              ": one that fires, one that does not, one at the edge"));
    }
  }

  // Of a key of the file; 1 where it is missing.
  int Line(const std::string& key) const {
    const auto found = lines_.find(key);
    return found == lines_.end() ? 1 : found->second;
  }

  void Names(const std::string& severity) {
    std::string stem = options_.file_name.substr(options_.file_name.find_last_of('/') + 1);
    if (stem.ends_with(".yaml")) stem.resize(stem.size() - 5);
    if (!catalog::IsValidName(rule_.name)) {
      Problem(Line("name"), "name: want a small letter, then small letters, digits and _, at most 40 in all");
    } else if (rule_.name != stem) {
      Problem(Line("name"), absl::StrCat("name: the file is called ", stem, ".yaml, so the name must be ", stem));
    }
    if (rule_.summary.empty()) Problem(1, "summary is missing: one sentence, as \"{source} uses {value} of its disk\"");
    if (rule_.runbook.empty()) Problem(1, "runbook is missing: what to do, in a few sentences");
    if (const std::optional<Severity> known = SeverityOf(severity)) {
      rule_.severity = *known;
    } else {
      Problem(Line("severity"), absl::StrCat("severity is \"", severity, "\"; use info, warning or critical"));
    }
    if (rule_.interval != absl::ZeroDuration() && rule_.interval < absl::Seconds(1)) {
      Problem(1, "interval: at least 1s");
    }
  }

  void Terms(const YAML::Node& node) {
    if (!node.IsMap() || node.size() == 0) return Problem(LineOf(node), "terms: want name: {metric: ..., column: ...}");
    for (const auto& entry : node) {
      Term term;
      term.name = entry.first.IsScalar() ? entry.first.Scalar() : "";
      term.line = LineOf(entry.first);
      const std::string where = absl::StrCat("term ", term.name, ": ");
      if (!catalog::IsValidName(term.name)) {
        Problem(term.line, absl::StrCat(where, "its name takes small letters, digits and _"));
      }
      bool windowed = false;
      std::string absent;
      std::vector<std::string> conditions;
      Mapping(entry.second, where,
              {{"metric", [&](const YAML::Node& n) { term.metric = Text(n, where); }},
               {"column", [&](const YAML::Node& n) { term.column = Text(n, where); }},
               {"filter", [&](const YAML::Node& n) { term.filters = Texts(n, where); }},
               {"aggregate", [&](const YAML::Node& n) { term.aggregate = Text(n, where); }},
               {"rate", [&](const YAML::Node& n) { term.rate = Flag(n, where); }},
               {"slope", [&](const YAML::Node& n) { term.slope = Flag(n, where); }},
               {"changes", [&](const YAML::Node& n) { term.changes = Text(n, where); }},
               {"window",
                [&](const YAML::Node& n) {
                  term.window = Span(n, where, kMostWindow);
                  windowed = true;
                }},
               {"offset", [&](const YAML::Node& n) { term.offset = Span(n, where, kMostWindow); }},
               {"group_by", [&](const YAML::Node& n) { term.group_by = Texts(n, where); }},
               {"absent", [&](const YAML::Node& n) { absent = Text(n, where); }},
               {"equals", [&](const YAML::Node& n) { term.equals = Texts(n, where); }},
               {"where", [&](const YAML::Node& n) { conditions = Texts(n, where); }},
               {"age", [&](const YAML::Node& n) { term.age = Flag(n, where); }}});
      for (const std::string& condition : conditions) {
        const size_t at = condition.find('=');
        term.where[condition.substr(0, at)] = at == std::string::npos ? "" : condition.substr(at + 1);
      }
      if (!term.changes.empty()) term.from = Term::From::kChanges;
      const bool rows = term.changes == "appeared" || term.changes == "vanished";
      if (term.changes == "switched") {
        term.from = Term::From::kPlans;
        CheckPlans(term, where);
      } else if (!term.changes.empty() && !rows && term.changes != "changed") {
        Problem(term.line,
                absl::StrCat(where, "changes is \"", term.changes, "\"; use changed, appeared, vanished or switched"));
      } else if (!term.changes.empty() && rows != term.column.empty()) {
        Problem(term.line,
                absl::StrCat(where, "changes: a column changes; rows, named without column, appear and vanish"));
      }
      Resolve(&term, where, windowed);
      if (!absent.empty()) {
        const absl::StatusOr<double> number = ParseQuantity(absent, term.unit);
        if (!number.ok()) Problem(term.line, absl::StrCat(where, "absent: ", std::string(number.status().message())));
        if (number.ok()) term.absent = *number;
      }
      rule_.terms.push_back(std::move(term));
    }
  }

  void CheckPlans(const Term& term, const std::string& where) {
    const auto known = [](const std::string& label) { return label == "query_id" || label == "datname"; };
    if (term.metric != "plans" || !term.column.empty() || !term.filters.empty() ||
        !std::all_of(term.group_by.begin(), term.group_by.end(), known)) {
      Problem(term.line, absl::StrCat(where,
                                      "changes: switched is asked of metric plans, without column and filter, and "
                                      "grouped by query_id and datname alone"));
    }
  }

  // What the catalog says of the term's metric and column.
  void Resolve(Term* term, const std::string& where, bool windowed) {
    for (const SuiteMetric& suite : SuiteMetrics()) {
      if (suite.name == term->metric) return ResolveSuite(suite, term, where);
    }
    const v1::Metric* const metric = catalog_.Find(term->metric);
    if (metric == nullptr) {
      std::vector<std::string> own;
      for (const SuiteMetric& suite : SuiteMetrics()) own.emplace_back(suite.name);
      return Problem(term->line,
                     absl::StrCat(where, "metric \"", term->metric,
                                  "\" is not in the catalog (docs/metrics.md), nor one of ", absl::StrJoin(own, ", ")));
    }
    term->interval_factor = std::max(1, metric->interval_factor());
    if (!windowed) term->window = kInterval * (2 * term->interval_factor + 3);
    std::set<std::string> labels;
    const v1::Column* column = nullptr;
    std::vector<std::string> columns;
    for (const v1::Column& candidate : metric->columns()) {
      if (candidate.kind() == v1::COLUMN_KIND_LABEL) {
        labels.insert(candidate.name());
      } else {
        columns.push_back(candidate.name());
      }
      if (candidate.name() == term->column) column = &candidate;
    }
    for (const std::string& label : term->group_by) {
      if (label == "source") {
        Problem(term->line, absl::StrCat(where, "group_by: every rule keeps sources apart; leave source out"));
      } else if (!labels.contains(label)) {
        Problem(term->line, absl::StrCat(where, "group_by: \"", label, "\" is no label of ", term->metric, "; use ",
                                         absl::StrJoin(labels, ", ")));
      }
    }
    for (const std::string& filter : term->filters) {
      const std::string label = filter.substr(0, filter.find_first_of("=!~"));
      if (!labels.contains(label)) {
        Problem(term->line, absl::StrCat(where, "filter: \"", label, "\" is no label of ", term->metric, "; use ",
                                         absl::StrJoin(labels, ", ")));
      } else if (const auto asked = storage::ParseLabelFilter(*metric, filter); !asked.ok()) {
        // What query would refuse in every round.
        Problem(term->line, absl::StrCat(where, "filter: ", std::string(asked.status().message())));
      }
    }
    const bool events = term->from == Term::From::kChanges || term->from == Term::From::kPlans;
    if (column == nullptr && !(term->column.empty() && events)) {
      return Problem(term->line, absl::StrCat(where, "column \"", term->column, "\" is no column of ", term->metric,
                                              "; use ", absl::StrJoin(columns, ", ")));
    }
    for (const auto& [name, value] : term->where) {
      const auto known = std::find_if(metric->columns().begin(), metric->columns().end(),
                                      [&](const v1::Column& candidate) { return candidate.name() == name; });
      if (known == metric->columns().end() || known->kind() != v1::COLUMN_KIND_INFO || value.empty()) {
        Problem(term->line, absl::StrCat(where, "where: \"", name, "\" is to be an info column of ", term->metric,
                                         ", as column=value"));
      }
    }
    const bool info = column == nullptr || column->kind() == v1::COLUMN_KIND_INFO;
    term->counter = column != nullptr && column->kind() == v1::COLUMN_KIND_COUNTER;
    if (events) {
      if (!term->where.empty()) Problem(term->line, absl::StrCat(where, "where: changes take none; leave it out"));
      if (!info) Problem(term->line, absl::StrCat(where, "changes: only columns of kind info change; leave it out"));
      if (term->window < absl::Minutes(1)) Problem(term->line, absl::StrCat(where, "window: at least 1m"));
      term->unit = "1";
      return;
    }
    if (!info && !term->where.empty()) {
      Problem(term->line, absl::StrCat(where, "where: is for columns of kind info; use filter"));
    }
    if (info) {
      term->from = Term::From::kState;
      term->unit = term->age ? "s" : (term->equals.empty() && !column->unit().empty() ? column->unit() : "1");
      if (term->age && column->type() != v1::COLUMN_TYPE_TIMESTAMPTZ) {
        Problem(term->line, absl::StrCat(where, "age: ", term->column, " is no instant"));
      }
    } else if (term->age || !term->equals.empty()) {
      Problem(term->line, absl::StrCat(where, "age and equals are for columns of kind info"));
    } else {
      term->unit = term->rate || term->slope ? absl::StrCat(column->unit(), "/s") : column->unit();
    }
    if (term->rate && !term->counter) {
      Problem(term->line, absl::StrCat(where, "rate: ", term->column, " is no counter; leave it out"));
    }
    if (term->slope && (term->counter || info)) {
      Problem(term->line, absl::StrCat(where, "slope: ", term->column, " is no gauge; leave it out"));
    } else if (term->slope && (!windowed || term->window < kLeastTrendWindow)) {
      Problem(term->line, absl::StrCat(where, "slope: needs a window of 1h or more"));
    }
    if (term->window < absl::Minutes(1)) Problem(term->line, absl::StrCat(where, "window: at least 1m"));
    term->over_window = windowed || term->counter;
    CheckAggregate(term, where);
  }

  void CheckAggregate(Term* term, const std::string& where) {
    if (term->aggregate.empty()) {
      term->aggregate = term->counter ? "sum" : "max";
      return;
    }
    static const auto* const known = new std::set<std::string>{"sum", "avg", "min", "max", "last"};
    if (!known->contains(term->aggregate)) {
      Problem(term->line,
              absl::StrCat(where, "aggregate is \"", term->aggregate, "\"; use sum, avg, min, max or last"));
    } else if (term->counter && term->aggregate != "sum") {
      Problem(term->line, absl::StrCat(where, "aggregate: increases of a counter can only be added; leave it out"));
    }
  }

  void ResolveSuite(const SuiteMetric& suite, Term* term, const std::string& where) {
    const bool series_keys = term->from == Term::From::kChanges || term->rate || term->slope || term->age ||
                             !term->filters.empty() || !term->where.empty() || !term->equals.empty() ||
                             !term->group_by.empty();
    term->from = Term::From::kSuite;
    if (series_keys) Problem(term->line, absl::StrCat(where, "a figure of the suite takes metric and column alone"));
    std::vector<std::string> names;
    for (const SuiteMetric::Column& column : suite.columns) {
      names.emplace_back(column.name);
      if (column.name == term->column) term->unit = std::string(column.unit);
    }
    if (std::find(names.begin(), names.end(), term->column) == names.end()) {
      Problem(term->line, absl::StrCat(where, "column \"", term->column, "\" is no column of ", term->metric, "; use ",
                                       absl::StrJoin(names, ", ")));
    }
    if (!suite.label.empty()) term->group_by = {std::string(suite.label)};
  }

  std::optional<Expression> Parsed(const std::string& key, const std::string& text) {
    absl::StatusOr<Expression> parsed = Expression::Parse(text);
    if (!parsed.ok()) {
      Problem(Line(key), absl::StrCat(key, ": ", std::string(parsed.status().message())));
      return std::nullopt;
    }
    if (!NamesTerms(key, parsed->names())) return std::nullopt;
    for (const Expression::Call& call : parsed->calls()) {
      if (!NamesTerms(key, call.of->names())) return std::nullopt;
      if (call.of->names().empty()) {
        Problem(Line(key), absl::StrCat(key, ": usual() and spread() take an expression over terms"));
        return std::nullopt;
      }
      for (const std::string& name : call.of->names()) NeedHistory(name);
    }
    return *std::move(parsed);
  }

  bool NamesTerms(const std::string& key, const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (std::none_of(rule_.terms.begin(), rule_.terms.end(), [&](const Term& t) { return t.name == name; })) {
        Problem(Line(key), absl::StrCat(key, ": there is no term called ", name));
        return false;
      }
    }
    return true;
  }

  // A term whose earlier weeks are asked for, by hours.
  void NeedHistory(const std::string& name) {
    const auto term =
        std::find_if(rule_.terms.begin(), rule_.terms.end(), [&](const Term& t) { return t.name == name; });
    term->history = true;
    if (term->from != Term::From::kSeries || term->slope || term->offset > absl::ZeroDuration()) {
      Problem(term->line, absl::StrCat("term ", name,
                                       ": usual() and spread() need a counter or gauge without slope and "
                                       "offset"));
    } else if (!term->over_window || term->window != absl::Hours(1)) {
      Problem(term->line,
              absl::StrCat("term ", name, ": within usual() and spread() a term has window: 1h, as its history has"));
    }
  }

  void Values(const std::string& value, const std::string& only_if, const std::string& unit) {
    if (rule_.terms.empty()) return Problem(1, "terms are missing: name: {metric: ..., column: ...}");
    if (value.empty() && rule_.terms.size() > 1) {
      Problem(1, "value is missing: with several terms it says what is made of them, as used / total");
    }
    const std::string text = value.empty() ? rule_.terms.front().name : value;
    if (auto parsed = Parsed("value", text)) rule_.value = *std::move(parsed);
    if (!only_if.empty()) rule_.only_if = Parsed("only_if", only_if);
    rule_.unit = rule_.value.tokens().size() == 1 ? rule_.terms.front().unit : "1";
    for (const Term& term : rule_.terms) {
      if (rule_.value.text() == term.name) rule_.unit = term.unit;
    }
    if (!unit.empty()) rule_.unit = unit;
    for (size_t i = 0; i < rule_.terms.size(); ++i) {
      if (rule_.terms[i].group_by.size() > rule_.terms[rule_.leading].group_by.size()) rule_.leading = i;
    }
    const std::vector<std::string>& labels = rule_.terms[rule_.leading].group_by;
    for (const Term& term : rule_.terms) {
      for (const std::string& label : term.group_by) {
        if (std::find(labels.begin(), labels.end(), label) == labels.end()) {
          Problem(term.line, absl::StrCat("term ", term.name, ": group_by: term ", rule_.terms[rule_.leading].name,
                                          " lacks the label ", label, ", so their rows cannot be joined"));
        }
      }
    }
  }

  void Threshold(const std::string& above, const std::string& below, const std::string& resolve) {
    if (above.empty() == below.empty()) return Problem(1, "want above or below, one of both: the threshold");
    rule_.above = below.empty();
    rule_.threshold_text = rule_.above ? above : below;
    const absl::StatusOr<double> threshold = ParseQuantity(rule_.threshold_text, rule_.unit);
    if (!threshold.ok()) {
      return Problem(Line(rule_.above ? "above" : "below"),
                     absl::StrCat(rule_.above ? "above: " : "below: ", std::string(threshold.status().message())));
    }
    rule_.threshold = *threshold;
    rule_.resolve = *threshold;
    if (resolve.empty()) return;
    const absl::StatusOr<double> end = ParseQuantity(resolve, rule_.unit);
    if (!end.ok()) return Problem(Line("resolve"), absl::StrCat("resolve: ", std::string(end.status().message())));
    rule_.resolve = *end;
    if (rule_.above ? *end > *threshold : *end < *threshold) {
      Problem(Line("resolve"), absl::StrCat("resolve: lies ", rule_.above ? "above" : "below",
                                            " the threshold; the alert ends there, so it lies on the other side"));
    }
  }

  void Together(const std::string& text) {
    if (text.empty()) return;
    if (!absl::SimpleAtoi(text, &rule_.together) || rule_.together < 2 || rule_.together > 10000) {
      Problem(Line("together"), "together: want how many at once are one alert, 2 to 10000");
    } else if (rule_.hold < kInterval) {
      Problem(Line("together"),
              "together: needs for of 1m or more, so that those which come together are seen before one "
              "of them fires");
    }
  }

  // A list of alerts by their labels: [{source: a}], or [] for none.
  std::vector<Labels> Alerts(const YAML::Node& node, const std::string& where) {
    std::vector<Labels> alerts;
    if (!node.IsSequence()) {
      Problem(LineOf(node), absl::StrCat(where, "want a list of alerts by their labels, as [{source: a}]"));
      return alerts;
    }
    for (const YAML::Node& entry : node) {
      Labels labels;
      if (!entry.IsMap()) {
        Problem(LineOf(entry), absl::StrCat(where, "want labels, as {source: a}"));
        continue;
      }
      for (const auto& label : entry) labels[label.first.Scalar()] = Text(label.second, where);
      alerts.push_back(std::move(labels));
    }
    std::sort(alerts.begin(), alerts.end());
    return alerts;
  }

  // "1 20x10 _ -": numbers with units, xN = N times; _ = not known, - = no such row.
  std::vector<std::string> Sequence(const YAML::Node& node, const Term& term, const std::string& where) {
    std::vector<std::string> steps;
    std::string word;
    const std::string text = absl::StrCat(Text(node, where), " ");
    for (const char c : text) {
      if (c != ' ') {
        word += c;
        continue;
      }
      if (word.empty()) continue;
      int times = 1;
      if (const size_t x = word.find_last_of('x'); x != std::string::npos) {
        if (!absl::SimpleAtoi(word.substr(x + 1), &times) || times < 1 || times > 10000) {
          Problem(LineOf(node), absl::StrCat(where, "\"", word, "\": after x comes how often, 1 to 10000"));
          times = 1;
        }
        word.resize(x);
      }
      if (word != "_" && word != "-") {
        const absl::StatusOr<double> number = ParseQuantity(word, term.unit);
        if (!number.ok()) Problem(LineOf(node), absl::StrCat(where, std::string(number.status().message())));
        if (number.ok()) word = ExactNumber(*number);
      }
      steps.insert(steps.end(), static_cast<size_t>(times), word);
      word.clear();
    }
    if (steps.empty()) Problem(LineOf(node), absl::StrCat(where, "no values"));
    return steps;
  }

  void Tests(const YAML::Node& node) {
    if (!node.IsSequence()) return Problem(LineOf(node), "tests: want a list");
    for (const YAML::Node& entry : node) {
      RuleTest test;
      test.line = LineOf(entry);
      const std::string where = "tests: ";
      Mapping(entry, where,
              {{"name", [&](const YAML::Node& n) { test.name = Text(n, where); }},
               {"every", [&](const YAML::Node& n) { test.every = Span(n, where, absl::Hours(24)); }},
               {"rows", [&](const YAML::Node& n) { TestRows(n, &test); }},
               {"expect", [&](const YAML::Node& n) { Expectations(n, &test); }}});
      if (test.name.empty()) Problem(test.line, "tests: name is missing");
      if (test.every < absl::Seconds(1)) Problem(test.line, "tests: every: at least 1s");
      if (test.expectations.empty()) Problem(test.line, "tests: expect is missing: [{at: 5m, firing: [{source: a}]}]");
      rule_.tests.push_back(std::move(test));
    }
  }

  // The term whose earlier weeks a test gives by `key`: TERM_before.
  const Term* RememberedBy(const std::string& key) const {
    for (const Term& term : rule_.terms) {
      if (term.history && key == absl::StrCat(term.name, "_before")) return &term;
    }
    return nullptr;
  }

  void TestRows(const YAML::Node& node, RuleTest* test) {
    if (!node.IsSequence()) return Problem(LineOf(node), "tests: rows: want a list");
    for (const YAML::Node& entry : node) {
      TestRow row;
      row.line = LineOf(entry);
      if (!entry.IsMap()) {
        Problem(row.line, "tests: rows: want {source: a, term: values}");
        continue;
      }
      for (const auto& cell : entry) {
        const std::string key = cell.first.Scalar();
        const auto term =
            std::find_if(rule_.terms.begin(), rule_.terms.end(), [&](const Term& t) { return t.name == key; });
        if (term != rule_.terms.end()) {
          row.values[key] = Sequence(cell.second, *term, absl::StrCat("tests: rows: ", key, ": "));
        } else if (const Term* past = RememberedBy(key); past != nullptr) {
          row.before[past->name] = Sequence(cell.second, *past, absl::StrCat("tests: rows: ", key, ": "));
        } else {
          row.labels[key] = Text(cell.second, "tests: rows: ");
        }
      }
      if (row.values.empty()) Problem(row.line, "tests: rows: no values of a term");
      test->rows.push_back(std::move(row));
    }
  }

  void Expectations(const YAML::Node& node, RuleTest* test) {
    if (!node.IsSequence()) return Problem(LineOf(node), "tests: expect: want a list");
    for (const YAML::Node& entry : node) {
      RuleTest::Expectation expected;
      expected.line = LineOf(entry);
      bool at = false;
      const std::string where = "tests: expect: ";
      Mapping(entry, where,
              {{"at",
                [&](const YAML::Node& n) {
                  expected.at = Span(n, where, absl::Hours(24 * 30));
                  at = true;
                }},
               {"pending", [&](const YAML::Node& n) { expected.pending = Alerts(n, where); }},
               {"firing", [&](const YAML::Node& n) { expected.firing = Alerts(n, where); }},
               {"unknown", [&](const YAML::Node& n) { expected.unknown = Alerts(n, where); }},
               {"members", [&](const YAML::Node& n) { expected.members = Texts(n, where); }},
               {"summary", [&](const YAML::Node& n) { expected.summary = Text(n, where); }}});
      if (!at) Problem(expected.line, "tests: expect: at is missing");
      test->expectations.push_back(std::move(expected));
    }
  }

  const catalog::Catalog& catalog_;
  const RuleFileOptions& options_;
  Rule rule_;
  std::map<std::string, int> lines_;
  std::vector<std::string> problems_;
};

}  // namespace

absl::StatusOr<Rule> ParseRuleFile(std::string_view yaml, const catalog::Catalog& catalog,
                                   const RuleFileOptions& options) {
  return RuleParser(catalog, options).Parse(yaml);
}

}  // namespace pga::ruler
