// The round: take the lease, ask what the rules that are due ask, bring the alerts to the present, write all of it in
// one transaction. Several processes may run it; the one with the lease does the work.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/metrics/registry.h"
#include "services/ruler/alert_store.h"
#include "services/ruler/delivery.h"
#include "services/ruler/questions.h"
#include "services/ruler/rule_set.h"

namespace pga::ruler {

struct EvaluatorOptions {
  // How often a rule that names no interval is evaluated.
  absl::Duration interval = absl::Minutes(1);
  // How long the lease holds without being renewed. A round begins every quarter of it.
  absl::Duration lease = absl::Seconds(20);
  // Ended alerts are kept for so long.
  absl::Duration history = absl::Hours(24 * 90);
  // Unique among processes; empty = made of host and process.
  std::string holder;
};

// Writes what is wrong with rules to the log, each problem once while it lasts.
void LogNewProblems(RuleSource* rules);

// Thread-safe.
class Evaluator {
 public:
  // All must outlive it. Nothing runs before Start.
  Evaluator(AlertStore* store, Questions* questions, RuleSource* rules, Courier* courier, clock::Clock* clock,
            metrics::Registry* metrics, EvaluatorOptions options);
  ~Evaluator();

  void Start();
  // Ends the thread and gives the lease back. Repeating is safe.
  void Stop();

  // One round. OK also where another process has the lease. For the thread and for tests.
  absl::Status RunOnce();

  // Why the rule could not be evaluated the last time, by name.
  std::map<std::string, std::string> Problems() const;
  absl::Duration interval() const { return options_.interval; }

 private:
  struct Figures;
  absl::Status Evaluate(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(round_mutex_);
  bool Due(const Rule& rule, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(round_mutex_);
  // Asked once an hour. `term.history`.
  absl::StatusOr<std::shared_ptr<const History>> HistoryOf(const Term& term, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(round_mutex_);
  std::vector<Silence> SilencesNow() ABSL_EXCLUSIVE_LOCKS_REQUIRED(round_mutex_);

  AlertStore* const store_;
  Questions* const questions_;
  RuleSource* const rules_;
  Courier* const courier_;
  clock::Clock* const clock_;
  const EvaluatorOptions options_;
  const std::string holder_;
  const std::unique_ptr<Figures> figures_;
  std::atomic<bool> stopping_{false};
  absl::Mutex round_mutex_;
  // When each rule was evaluated last.
  std::map<std::string, absl::Time> evaluated_ ABSL_GUARDED_BY(round_mutex_);
  // By the key of the term.
  std::map<std::string, std::shared_ptr<const History>> histories_ ABSL_GUARDED_BY(round_mutex_);
  clock::SteadyTime swept_at_ ABSL_GUARDED_BY(round_mutex_);
  std::vector<Silence> silences_ ABSL_GUARDED_BY(round_mutex_);
  bool leading_ ABSL_GUARDED_BY(round_mutex_) = false;
  // The round changed what receivers hear of.
  bool wake_ ABSL_GUARDED_BY(round_mutex_) = false;
  // The last round that asked anything had an answer about the sources.
  bool looked_ ABSL_GUARDED_BY(round_mutex_) = true;
  mutable absl::Mutex mutex_;
  std::map<std::string, std::string> problems_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<exec::PeriodicTask> task_;
};

}  // namespace pga::ruler
