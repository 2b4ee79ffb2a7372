#include "services/ruler/evaluator.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/columns/baseline.h"
#include "libs/exec/process_name.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::ruler {
namespace {

constexpr absl::Duration kDatabaseTime = absl::Seconds(15);
// Also of a lease that is short: less would be spent on what a round needs besides.
constexpr absl::Duration kLeastRound = absl::Seconds(5);
constexpr absl::Duration kSweep = absl::Minutes(10);

clock::SteadyTime Soon() {
  return clock::SteadyNow() + kDatabaseTime;
}

}  // namespace

void LogNewProblems(RuleSource* rules) {
  for (const std::string& problem : rules->TakeNewProblems()) {
    PGA_LOG(warn, "a rule of alerts is refused, the others go on", {{"problem", problem}});
  }
}

struct Evaluator::Figures {
  explicit Figures(metrics::Registry* registry)
      : leading(registry->AddGauge("pga_ruler_leading", "1 while this process evaluates the rules")),
        rules(registry->AddGauge("pga_ruler_rules", "Rules in force")),
        refused(registry->AddGauge("pga_ruler_rule_problems", "Problems of rule files that were refused")),
        evaluations(registry->AddCounter("pga_ruler_evaluations_total", "Evaluations of a rule")),
        failures(registry->AddCounter("pga_ruler_failures_total", "Evaluations of a rule that had no answer")),
        questions(registry->AddCounter("pga_ruler_questions_total", "Questions to other services")),
        seconds(registry->AddHistogram("pga_ruler_round_seconds", "Duration of a round with rules that were due")),
        firing(registry->AddGauge("pga_ruler_alerts", "Alerts that have not ended", {{"state", "firing"}})),
        pending(registry->AddGauge("pga_ruler_alerts", "Alerts that have not ended", {{"state", "pending"}})),
        unknown(registry->AddGauge("pga_ruler_unknown_alerts", "Alerts of which nothing is known now")) {}

  void Show(const AlertBook& book) {
    int fires = 0;
    int waits = 0;
    int unclear = 0;
    for (const auto& [key, alert] : book) {
      fires += alert.phase == Phase::kFiring ? 1 : 0;
      waits += alert.phase == Phase::kPending ? 1 : 0;
      unclear += alert.unknown_since ? 1 : 0;
    }
    firing.Set(fires);
    pending.Set(waits);
    unknown.Set(unclear);
  }

  metrics::Gauge& leading;
  metrics::Gauge& rules;
  metrics::Gauge& refused;
  metrics::Counter& evaluations;
  metrics::Counter& failures;
  metrics::Counter& questions;
  metrics::Histogram& seconds;
  metrics::Gauge& firing;
  metrics::Gauge& pending;
  metrics::Gauge& unknown;
};

Evaluator::Evaluator(AlertStore* store, Questions* questions, RuleSource* rules, Courier* courier, clock::Clock* clock,
                     metrics::Registry* metrics, EvaluatorOptions options)
    : store_(store),
      questions_(questions),
      rules_(rules),
      courier_(courier),
      clock_(clock),
      options_(std::move(options)),
      holder_(options_.holder.empty() ? exec::UniqueProcessName() : options_.holder),
      figures_(std::make_unique<Figures>(metrics)) {}

Evaluator::~Evaluator() {
  Stop();
}

void Evaluator::Start() {
  task_ = std::make_unique<exec::PeriodicTask>("ruler-evaluation", options_.lease / 4, clock_, [this] {
    const absl::Status status = RunOnce();
    if (!status.ok() && !stopping_) PGA_LOG(warn, "rules were not evaluated", {{"status", status}});
  });
  task_->Wake();
}

void Evaluator::Stop() {
  if (task_ == nullptr) return;
  stopping_ = true;
  questions_->Cancel();
  task_->Stop();
  task_.reset();
  store_->ReturnLease(holder_, clock::SteadyNow() + absl::Seconds(2)).IgnoreError();
}

std::map<std::string, std::string> Evaluator::Problems() const {
  absl::MutexLock lock(&mutex_);
  return problems_;
}

bool Evaluator::Due(const Rule& rule, absl::Time now) {
  const absl::Duration interval = rule.interval == absl::ZeroDuration() ? options_.interval : rule.interval;
  const auto before = evaluated_.find(rule.name);
  // Also after a clock that was set back.
  return before == evaluated_.end() || now < before->second || now - before->second >= interval;
}

absl::StatusOr<std::shared_ptr<const History>> Evaluator::HistoryOf(const Term& term, absl::Time now) {
  const int64_t hour = absl::ToUnixSeconds(now) / 3600;
  std::erase_if(histories_, [hour](const auto& entry) { return entry.second->hour != hour; });
  const std::string key = absl::StrCat(term.Key(), "\n", term.absent.has_value());
  if (const auto known = histories_.find(key); known != histories_.end()) return known->second;
  figures_->questions.Increment();
  PGA_ASSIGN_OR_RETURN(History history, questions_->AskHistory(term, hour));
  return histories_[key] = std::make_shared<const History>(std::move(history));
}

std::vector<Silence> Evaluator::SilencesNow() {
  absl::StatusOr<std::vector<Silence>> silences =
      courier_->has_alertmanager() ? courier_->AlertmanagerSilences() : store_->Silences(Soon());
  // The last ones known stay in force.
  if (silences.ok()) silences_ = *std::move(silences);
  return silences_;
}

absl::Status Evaluator::RunOnce() {
  absl::MutexLock lock(&round_mutex_);
  const absl::StatusOr<bool> leads = store_->TakeLease(holder_, options_.lease, Soon());
  const bool leading = leads.ok() && *leads;
  figures_->leading.Set(leading ? 1 : 0);
  if (leading && !leading_) {
    // What another process evaluated is not known here.
    evaluated_.clear();
    PGA_LOG(info, "this process evaluates the rules of alerts", {{"holder", holder_}});
  }
  leading_ = leading;
  if (!leading) {
    courier_->SetState(false, false);
    return leads.status();
  }
  const absl::Status done = Evaluate(clock_->Now());
  courier_->SetState(true, done.ok() && looked_);
  if (std::exchange(wake_, false)) courier_->Wake();
  if (!stopping_ && clock::SteadyNow() >= swept_at_) {
    swept_at_ = clock::SteadyNow() + kSweep;
    const absl::Status pruned = store_->Prune(clock_->Now() - options_.history, Soon());
    if (!pruned.ok()) PGA_LOG(warn, "old alerts could not be deleted", {{"status", pruned}});
  }
  return done;
}

absl::Status Evaluator::Evaluate(absl::Time now) {
  if (const absl::Status read = rules_->Reload(); !read.ok()) return read;
  LogNewProblems(rules_);
  const std::shared_ptr<const RuleSet> set = rules_->current();
  figures_->rules.Set(static_cast<double>(set->rules.size()));
  figures_->refused.Set(static_cast<double>(set->problems.size()));
  std::vector<const Rule*> due;
  for (const auto& [name, rule] : set->rules) {
    if (Due(rule, now)) due.push_back(&rule);
  }
  if (due.empty()) return absl::OkStatus();
  // Who waited longest is first: a round may end before all were asked.
  std::stable_sort(due.begin(), due.end(), [this](const Rule* a, const Rule* b) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    const auto last = [this](const Rule* rule) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      const auto found = evaluated_.find(rule->name);
      return found == evaluated_.end() ? absl::InfinitePast() : found->second;
    };
    return last(a) < last(b);
  });
  const clock::Stopwatch watch(clock_);
  // What is not asked by then is due in the next round: the lease has to hold until all is written.
  const clock::SteadyTime until = clock::SteadyNow() + std::max(options_.lease / 2, kLeastRound);
  PGA_ASSIGN_OR_RETURN(AlertBook book, store_->LoadOpen(Soon()));
  Commit commit;
  commit.now = now;
  commit.rules = &set->rules;
  const absl::StatusOr<World> looked = questions_->Look(now);
  looked_ = looked.ok();
  const World world = looked.ok() ? *looked : World();
  commit.sources = &world.sources;
  std::map<std::string, Answer> answers;
  std::map<std::string, std::string> problems = Problems();
  for (const Rule* rule : due) {
    if (clock::SteadyNow() >= until && looked.ok()) break;
    Outcome outcome;
    if (!looked.ok()) {
      outcome.status = looked.status();
    } else {
      std::vector<const Answer*> given;
      for (const Term& term : rule->terms) {
        // A question is asked once a round, whoever asks; what is made of the text is the term's own.
        const std::string key =
            term.from == Term::From::kState ? absl::StrCat(term.Key(), "\n", rule->name, "\n", term.name) : term.Key();
        const auto [at, is_new] = answers.try_emplace(key);
        if (is_new) {
          at->second = questions_->Ask(term, world, now);
          figures_->questions.Increment();
        }
        if (term.history && at->second.status.ok()) {
          absl::StatusOr<std::shared_ptr<const History>> history = HistoryOf(term, now);
          if (history.ok()) {
            at->second.history = *std::move(history);
          } else {
            at->second.status = history.status();
          }
        }
        given.push_back(&at->second);
      }
      outcome = Join(*rule, given, world.sources);
    }
    figures_->evaluations.Increment();
    problems.erase(rule->name);
    if (!outcome.status.ok()) {
      figures_->failures.Increment();
      problems[rule->name] = std::string(outcome.status.message());
    } else if (outcome.without_baseline > 0) {
      problems[rule->name] = absl::StrCat(outcome.without_baseline, " of ", outcome.readings.size(),
                                          " have no baseline: it takes this hour of ", columns::kFewestOfWeek,
                                          " of the last ", kWeeksOfHistory, " weeks");
    }
    std::vector<Change> changes = Advance(*rule, outcome, world.sources, now, &book);
    std::move(changes.begin(), changes.end(), std::back_inserter(commit.changes));
    // A rule that is asked once an hour does not wait an hour because nobody could be asked.
    if (looked.ok()) evaluated_[rule->name] = now;
  }
  // Questions that were ended say nothing about what they ask.
  if (stopping_) return absl::CancelledError("the process stops");
  std::set<std::string> gone;
  for (const auto& [key, alert] : book) {
    if (!set->rules.contains(key.first)) gone.insert(key.first);
  }
  for (const std::string& rule : gone) {
    std::vector<Change> changes = EndRule(rule, &book);
    std::move(changes.begin(), changes.end(), std::back_inserter(commit.changes));
  }
  std::set<int64_t> changed;
  for (const Change& change : commit.changes) changed.insert(change.alert.id);
  for (const auto& [key, alert] : book) {
    if (alert.id != 0 && alert.seen == now && !changed.contains(alert.id)) commit.seen.push_back(alert.id);
  }
  {
    absl::MutexLock lock(&mutex_);
    problems_ = std::move(problems);
  }
  const std::vector<Silence> silences = SilencesNow();
  const absl::Status written = store_->Write(holder_, commit, silences, Soon());
  if (!written.ok()) {
    // Nothing of this round counts: all of it is evaluated again.
    evaluated_.clear();
    return status::Annotate(written, "alerts");
  }
  figures_->Show(book);
  figures_->seconds.Observe(absl::ToDoubleSeconds(watch.Elapsed()));
  wake_ = !commit.changes.empty();
  return looked.status();
}

}  // namespace pga::ruler
