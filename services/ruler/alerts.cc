#include "services/ruler/alerts.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/columns/baseline.h"
#include "services/ruler/fleet.h"
#include "services/ruler/quantity.h"

namespace pga::ruler {
namespace {

// The values of `labels` that are in `names`.
Labels Only(const Labels& labels, const std::vector<std::string>& names) {
  Labels some;
  for (const std::string& name : names) {
    if (const auto found = labels.find(name); found != labels.end()) some.insert(*found);
  }
  return some;
}

using RowKey = std::pair<std::string, Labels>;

// Values of one term by source and labels.
std::map<RowKey, std::optional<double>> ByRow(const Answer& answer) {
  std::map<RowKey, std::optional<double>> rows;
  for (const Sample& sample : answer.samples) rows.emplace(RowKey(sample.source_id, sample.labels), sample.value);
  return rows;
}

bool BelongsToSources(const Rule& rule) {
  const Term& term = rule.terms[rule.leading];
  if (term.from != Term::From::kSuite) return true;
  for (const SuiteMetric& metric : SuiteMetrics()) {
    if (metric.name == term.metric) return metric.by_source;
  }
  return true;
}

std::string DatabaseOf(const Labels& labels) {
  const auto found = labels.find("datname");
  return found == labels.end() ? std::string() : found->second;
}

// Whether everything that the rule asks of such a row was read, so that what is not there is known to be away.
bool Complete(const Rule& rule, const SourceInfo& source, const Labels& labels) {
  // What registry says of a source is known whether or not readings come.
  if (rule.terms[rule.leading].from == Term::From::kSuite) return true;
  if (!source.fresh) return false;
  return std::none_of(rule.terms.begin(), rule.terms.end(), [&](const Term& term) {
    return source.missing.hidden.contains(term.metric) || source.missing.Lacks(term.metric, DatabaseOf(labels));
  });
}

// Why a value that does not breach says nothing: the missing part may. Empty if it counts.
std::string DoubtOf(const Rule& rule, const SourceInfo& source, const Labels& labels) {
  for (const Term& term : rule.terms) {
    if (term.from == Term::From::kSuite) continue;
    if (source.missing.hidden.contains(term.metric)) return "rows of other users are hidden from the collector's login";
    const bool of_window = term.over_window || term.from == Term::From::kChanges || term.from == Term::From::kPlans;
    if (!of_window || term.offset > absl::ZeroDuration()) continue;
    if (!source.fresh) return "no readings of the source";
    if (source.missing.Lacks(term.metric, DatabaseOf(labels))) return absl::StrCat(term.metric, " is not read");
  }
  return "";
}

// The expressions of a rule for one row.
class Joiner {
 public:
  // `values` of the rule's terms; what is not known is written to `reading`.
  Joiner(const Rule& rule, const std::vector<const Answer*>& answers, const RowKey& key,
         const std::vector<std::optional<double>>& values, Reading* reading)
      : rule_(rule), answers_(answers), key_(key), values_(values), reading_(reading) {}

  std::optional<double> Of(const Expression& expression) {
    return expression.Evaluate(
        [&](size_t name) {
          const std::optional<double>& value = values_[TermOf(expression.names()[name])];
          if (!value) Unknown("no reading");
          return value.value_or(0);
        },
        [&](size_t call) { return Usual(expression.calls()[call]); });
  }
  bool lacks_history() const { return lacks_history_; }

 private:
  size_t TermOf(const std::string& name) const {
    size_t at = 0;
    while (rule_.terms[at].name != name) ++at;
    return at;
  }

  void Unknown(const char* reason) {
    if (reading_->known) reading_->reason = reason;
    reading_->known = false;
  }

  // Values of the expression in earlier weeks, by hour.
  std::map<int64_t, double> Past(const Expression& expression, const History& history) const {
    std::map<int64_t, double> past;
    for (int week = 1; week <= kWeeksOfHistory; ++week) {
      for (const int64_t hour : {history.hour - 1, history.hour}) {
        const int64_t at = hour - week * columns::kHoursOfWeek;
        bool known = true;
        const std::optional<double> value = expression.Evaluate(
            [&](size_t name) {
              const size_t term = TermOf(expression.names()[name]);
              const std::optional<double> then = Then(term, at);
              known = known && then;
              return then.value_or(0);
            },
            [](size_t) { return 0.0; });
        if (known && value) past[at] = *value;
      }
    }
    return past;
  }

  std::optional<double> Then(size_t term, int64_t hour) const {
    const History& history = *answers_[term]->history;
    const auto row = history.rows.find(RowKey(key_.first, Only(key_.second, rule_.terms[term].group_by)));
    if (row != history.rows.end()) {
      if (const auto found = row->second.find(hour); found != row->second.end()) return found->second;
    }
    const auto covered = history.covered.find(key_.first);
    if (covered != history.covered.end() && covered->second.contains(hour)) return rule_.terms[term].absent;
    return std::nullopt;
  }

  // The last hour touches two hours of the week. What lies between what is usual in either is usual.
  double Usual(const Expression::Call& call) {
    const std::optional<double> present = Of(*call.of);
    if (!present || !reading_->known) return std::nan("");
    const History& history = *answers_[TermOf(call.of->names().front())]->history;
    const std::map<int64_t, double> past = Past(*call.of, history);
    const columns::Baseline now = columns::BaselineOf(past, history.hour);
    const columns::Baseline before = columns::BaselineOf(past, history.hour - 1);
    if (!now.known() || !before.known()) {
      lacks_history_ = true;
      Unknown("too little history of this hour of the week");
      return std::nan("");
    }
    if (call.function == Expression::Call::Function::kSpread) return std::max(now.spread, before.spread);
    return std::clamp(*present, std::min(now.median, before.median), std::max(now.median, before.median));
  }

  const Rule& rule_;
  const std::vector<const Answer*>& answers_;
  const RowKey& key_;
  const std::vector<std::optional<double>>& values_;
  Reading* const reading_;
  bool lacks_history_ = false;
};

}  // namespace

Outcome Join(const Rule& rule, const std::vector<const Answer*>& answers, const Sources& sources) {
  Outcome outcome;
  std::vector<std::map<RowKey, std::optional<double>>> terms;
  for (const Answer* answer : answers) {
    if (!answer->status.ok()) {
      outcome.status = answer->status;
      return outcome;
    }
    terms.push_back(ByRow(*answer));
  }
  const bool of_sources = BelongsToSources(rule);
  const auto complete = [&](const RowKey& key) {
    const auto source = sources.find(key.first);
    return source == sources.end() ? !of_sources : Complete(rule, source->second, key.second);
  };

  std::set<RowKey> keys;
  for (const auto& [key, value] : terms[rule.leading]) keys.insert(key);
  if (rule.terms[rule.leading].absent && rule.terms[rule.leading].group_by.empty()) {
    for (const auto& [id, source] : sources) {
      if (of_sources && Complete(rule, source, {})) keys.insert(RowKey(id, {}));
    }
    if (!of_sources) keys.insert(RowKey("", {}));
  }
  for (const RowKey& key : keys) {
    const auto source = sources.find(key.first);
    // A source that was removed while the answer was on its way.
    if (of_sources && source == sources.end()) continue;
    Reading reading;
    reading.source_id = key.first;
    reading.labels = key.second;
    if (of_sources) reading.labels["source"] = source->second.name;
    std::vector<std::optional<double>> values;
    for (size_t i = 0; i < rule.terms.size(); ++i) {
      const Term& term = rule.terms[i];
      const auto found = terms[i].find(RowKey(key.first, Only(key.second, term.group_by)));
      if (found != terms[i].end()) {
        values.push_back(found->second);
      } else if (term.absent && complete(key)) {
        values.push_back(term.absent);
      } else {
        values.push_back(std::nullopt);
      }
    }
    reading.known = true;
    Joiner joiner(rule, answers, key, values, &reading);
    reading.value = joiner.Of(rule.value);
    if (rule.only_if) {
      const std::optional<double> applies = joiner.Of(*rule.only_if);
      if (applies.value_or(0) == 0) reading.value.reset();
    }
    if (reading.known && of_sources && !(reading.value && rule.Breaches(*reading.value))) {
      reading.reason = DoubtOf(rule, source->second, key.second);
      reading.known = reading.reason.empty();
    }
    if (!reading.known) reading.value.reset();
    if (joiner.lacks_history()) ++outcome.without_baseline;
    outcome.readings.push_back(std::move(reading));
  }
  return outcome;
}

namespace {

void Tell(const Rule& rule, Alert* alert) {
  Labels words = alert->labels;
  words["value"] = alert->value ? FormatQuantity(*alert->value, rule.unit) : "?";
  words["threshold"] = FormatQuantity(rule.threshold, rule.unit);
  for (auto& [label, text] : words) {
    if (text.empty()) text = absl::StrCat("(no ", label, ")");
  }
  alert->summary = Fill(rule.summary, words);
}

void MarkUnknown(const std::string& reason, absl::Time now, Alert* alert, std::vector<Change>* changes) {
  if (alert->unknown_since && alert->unknown_reason == reason) return;
  if (!alert->unknown_since) alert->unknown_since = now;
  alert->unknown_reason = reason;
  changes->push_back({Change::Kind::kUpdated, *alert, ""});
}

Change End(const Alert& alert, std::string reason) {
  return {alert.phase == Phase::kPending ? Change::Kind::kDropped : Change::Kind::kResolved, alert, std::move(reason)};
}

}  // namespace

AlertKey KeyOf(const Alert& alert) {
  return {alert.rule, {alert.source_id, alert.labels}};
}

std::vector<Change> Advance(const Rule& rule, const Outcome& outcome, const Sources& sources, absl::Time now,
                            AlertBook* book) {
  std::vector<Change> changes;
  const auto begin = book->lower_bound(AlertKey(rule.name, {}));
  const auto is_end = [&](const auto& at) { return at == book->end() || at->first.first != rule.name; };
  if (!outcome.status.ok()) {
    for (auto at = begin; !is_end(at); ++at) {
      MarkUnknown(std::string(outcome.status.message()), now, &at->second, &changes);
    }
    return changes;
  }
  std::map<RowKey, const Reading*> readings;
  for (const Reading& reading : outcome.readings) readings[{reading.source_id, reading.labels}] = &reading;

  for (auto at = begin; !is_end(at);) {
    Alert& alert = at->second;
    if (alert.fleet) {
      ++at;
      continue;
    }
    const auto found = readings.find(at->first.second);
    if (found == readings.end()) {
      const auto source = sources.find(alert.source_id);
      const bool gone = !alert.source_id.empty() && source == sources.end();
      if (gone || alert.source_id.empty() || Complete(rule, source->second, alert.labels)) {
        changes.push_back(End(alert, gone ? "the source was removed" : "it is there no more"));
        at = book->erase(at);
        continue;
      }
      MarkUnknown("no readings of the source", now, &alert, &changes);
      ++at;
      continue;
    }
    const Reading& reading = *found->second;
    if (!reading.known) {
      MarkUnknown(reading.reason, now, &alert, &changes);
      ++at;
      continue;
    }
    const bool holds = reading.value &&
                       (alert.phase == Phase::kPending ? rule.Breaches(*reading.value) : rule.Persists(*reading.value));
    if (!holds) {
      if (reading.value) alert.value = reading.value;
      alert.seen = now;
      alert.unknown_since.reset();
      alert.unknown_reason.clear();
      Tell(rule, &alert);
      changes.push_back(End(alert, "the value is back"));
      at = book->erase(at);
      continue;
    }
    const bool fires = alert.phase == Phase::kPending && now - alert.began >= rule.hold;
    const bool differs = alert.value != reading.value || alert.unknown_since.has_value();
    alert.value = reading.value;
    alert.seen = now;
    alert.unknown_since.reset();
    alert.unknown_reason.clear();
    Tell(rule, &alert);
    if (fires) {
      alert.phase = Phase::kFiring;
      alert.fired = now;
      changes.push_back({Change::Kind::kFired, alert, ""});
    } else if (differs) {
      changes.push_back({Change::Kind::kUpdated, alert, ""});
    }
    ++at;
  }

  for (const auto& [row, reading] : readings) {
    if (!reading->known || !reading->value || !rule.Breaches(*reading->value)) continue;
    const auto [at, is_new] = book->try_emplace(AlertKey(rule.name, row));
    if (!is_new) continue;
    Alert& alert = at->second;
    alert.rule = rule.name;
    alert.labels = reading->labels;
    alert.source_id = reading->source_id;
    if (const auto source = sources.find(reading->source_id); source != sources.end()) {
      alert.source_group = source->second.group;
    }
    alert.began = now;
    alert.seen = now;
    alert.value = reading->value;
    Tell(rule, &alert);
    if (rule.hold == absl::ZeroDuration()) {
      alert.phase = Phase::kFiring;
      alert.fired = now;
    }
    changes.push_back({alert.phase == Phase::kFiring ? Change::Kind::kFired : Change::Kind::kBegan, alert, ""});
  }
  Gather(rule, sources, now, book, &changes);
  return changes;
}

std::vector<Change> EndRule(const std::string& rule, AlertBook* book) {
  std::vector<Change> changes;
  auto at = book->lower_bound(AlertKey(rule, {}));
  while (at != book->end() && at->first.first == rule) {
    changes.push_back(End(at->second, "the rule is there no more"));
    at = book->erase(at);
  }
  return changes;
}

namespace {

// An hour, since 1970, in which tests run.
constexpr int64_t kTestHour = 490'000;

// Value of a test's row at a step; the last one stays.
const std::string& StepOf(const std::vector<std::string>& steps, size_t step) {
  return steps[std::min(step, steps.size() - 1)];
}

std::string Listed(const std::vector<Labels>& alerts) {
  std::string text = "[";
  for (const Labels& labels : alerts) {
    absl::StrAppend(&text, text.size() > 1 ? ", {" : "{");
    bool first = true;
    for (const auto& [name, value] : labels) {
      absl::StrAppend(&text, first ? "" : ", ", name, ": ", value);
      first = false;
    }
    absl::StrAppend(&text, "}");
  }
  return absl::StrCat(text, "]");
}

std::vector<Labels> InPhase(const AlertBook& book, Phase phase, bool unknown) {
  std::vector<Labels> labels;
  for (const auto& [key, alert] : book) {
    // Of what is joined people hear by the alert that stands for it.
    if (alert.joined) continue;
    if (alert.phase == phase && (!unknown || alert.unknown_since)) labels.push_back(key.second.second);
  }
  std::sort(labels.begin(), labels.end());
  return labels;
}

// What a test's row says of a term's earlier weeks, for both hours that the present one touches.
void Remember(const TestRow& row, const Term& term, const Sample& sample, History* history) {
  const auto given = row.before.find(term.name);
  if (given == row.before.end()) return;
  for (size_t week = 0; week < given->second.size(); ++week) {
    if (given->second[week] == "_") continue;
    for (const int64_t hour : {history->hour - 1, history->hour}) {
      history->rows[{sample.source_id, sample.labels}][hour - static_cast<int64_t>(week + 1) * columns::kHoursOfWeek] =
          std::stod(given->second[week]);
    }
  }
}

// Answers to the rule's terms at a step, and the sources that the rows name.
void Given(const Rule& rule, const RuleTest& test, size_t step, std::vector<Answer>* answers, Sources* sources) {
  answers->assign(rule.terms.size(), Answer());
  sources->clear();
  std::set<std::string> unknown;
  std::vector<History> histories(rule.terms.size(), History{kTestHour, {}, {}});
  for (const TestRow& row : test.rows) {
    const auto named = row.labels.find("source");
    const std::string source = named == row.labels.end() ? "" : named->second;
    if (!source.empty()) {
      SourceInfo& info = (*sources)[source];
      info.id = source;
      info.name = source;
      info.group = "default";
      info.fresh = true;
    }
    for (size_t i = 0; i < rule.terms.size(); ++i) {
      const Term& term = rule.terms[i];
      const auto given = row.values.find(term.name);
      if (given == row.values.end()) continue;
      const std::string& text = StepOf(given->second, step);
      if (text == "-") continue;
      // What is not known is not in the answer, and its source brings no readings.
      if (text == "_") {
        unknown.insert(source);
        // What the suite says of a source is an answer, whether readings come or not.
        if (term.from == Term::From::kSuite) (*answers)[i].status = absl::UnavailableError("not known");
        continue;
      }
      Sample sample;
      sample.source_id = source;
      sample.labels = Only(row.labels, term.group_by);
      sample.value = std::stod(text);
      if (term.history) Remember(row, term, sample, &histories[i]);
      (*answers)[i].samples.push_back(std::move(sample));
    }
  }
  for (size_t i = 0; i < rule.terms.size(); ++i) {
    if (rule.terms[i].history) (*answers)[i].history = std::make_shared<const History>(std::move(histories[i]));
  }
  for (const std::string& source : unknown) {
    if (const auto found = sources->find(source); found != sources->end()) found->second.fresh = false;
    // Without a source it is the answer that is missing.
    if (source.empty()) {
      for (Answer& answer : *answers) answer.status = absl::UnavailableError("not known");
    }
  }
}

}  // namespace

std::vector<std::string> RunTests(const Rule& rule) {
  std::vector<std::string> failures;
  for (const RuleTest& test : rule.tests) {
    AlertBook book;
    const absl::Time begin = absl::FromUnixSeconds(1'767'225'600);
    const auto fail = [&](int line, const std::string& what) {
      failures.push_back(absl::StrCat(rule.file, ":", line, ": test \"", test.name, "\": ", what));
    };
    std::vector<RuleTest::Expectation> expectations = test.expectations;
    std::stable_sort(expectations.begin(), expectations.end(),
                     [](const auto& a, const auto& b) { return a.at < b.at; });
    size_t step = 0;
    const auto evaluate = [&] {
      std::vector<Answer> answers;
      Sources sources;
      Given(rule, test, step, &answers, &sources);
      std::vector<const Answer*> given;
      for (const Answer& answer : answers) given.push_back(&answer);
      Advance(rule, Join(rule, given, sources), sources, begin + test.every * static_cast<int64_t>(step), &book);
      ++step;
    };
    for (const RuleTest::Expectation& expected : expectations) {
      while (test.every * static_cast<int64_t>(step) <= expected.at) evaluate();
      const std::string at = absl::StrCat("at ", absl::FormatDuration(expected.at), ": ");
      const auto compare = [&](const char* what, const std::vector<Labels>& found, const std::vector<Labels>& wanted) {
        if (found != wanted) fail(expected.line, absl::StrCat(at, what, " ", Listed(found), ", not ", Listed(wanted)));
      };
      compare("pending", InPhase(book, Phase::kPending, false), expected.pending);
      compare("firing", InPhase(book, Phase::kFiring, false), expected.firing);
      compare("unknown", InPhase(book, Phase::kFiring, true), expected.unknown);
      if (!expected.members.empty()) {
        std::vector<std::string> members;
        for (const auto& [key, alert] : book) {
          if (alert.fleet) members = alert.members;
        }
        if (members != expected.members) {
          fail(expected.line, absl::StrCat(at, "members ", absl::StrJoin(members, ", "), ", not ",
                                           absl::StrJoin(expected.members, ", ")));
        }
      }
      if (expected.summary.empty()) continue;
      const auto firing = std::find_if(book.begin(), book.end(), [](const auto& entry) {
        return entry.second.phase == Phase::kFiring && !entry.second.joined;
      });
      const std::string summary = firing == book.end() ? "no alert" : firing->second.summary;
      if (summary != expected.summary) {
        fail(expected.line, absl::StrCat(at, "it says \"", summary, "\", not \"", expected.summary, "\""));
      }
    }
  }
  return failures;
}

}  // namespace pga::ruler
