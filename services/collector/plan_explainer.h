// Plans of the statements with the most time, where an administrator installed function pganalytics.explain
// (explain_setup.sql): without auto_explain, and without the statement being run. Which statements, is the queue's
// matter; trees and ids are those of plans in the log.
//
// Coroutines on the event loop, one at a time; what their pointers lead to lives until they are done.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "services/collector/explain_queue.h"
#include "services/collector/log_reader.h"
#include "services/collector/log_tally.h"
#include "services/collector/metric_reader.h"
#include "services/collector/runner_context.h"
#include "services/collector/sent_texts.h"
#include "services/collector/source_session.h"
#include "services/collector/statement_forms.h"

namespace pga::collector {

// The script that installs the function, for `login`.
std::string ExplainSetupScript(const std::string& login);

class PlanExplainer {
 public:
  // `config`, `context` and `forms` outlive the explainer.
  PlanExplainer(const SourceConfig* config, RunnerContext* context, const StatementForms* forms,
                LogReader::BaselineOf baseline_of, LogReader::Publish publish);
  PlanExplainer(const PlanExplainer&) = delete;
  PlanExplainer& operator=(const PlanExplainer&) = delete;

  // The metrics that are on, by probe.
  void SetTasks(std::map<std::string, std::shared_ptr<MetricTask>> tasks) { tasks_ = std::move(tasks); }
  bool enabled() const { return tasks_.contains("explain_plans") && context_->explain.statements > 0; }

  // A reading of metric statements; a round is due.
  void Observe(const Reading& reading);
  // The log says a plan of the statement.
  void Logged(const std::string& database, int64_t query);
  bool due() const { return due_ && enabled(); }
  // It is left out this time.
  void Skip() { due_ = false; }

  // A round begins, with the session of the home database: reads the texts that are missing. The databases that are to
  // be looked at, at most kMostDatabases, of those that are watched.
  boost::asio::awaitable<absl::Status> Begin(SourceSession* home, std::function<bool(const std::string&)> watched,
                                             std::vector<std::string>* databases);
  // Explains statements of the session's database, within the database's share of what is left of the budget.
  boost::asio::awaitable<absl::Status> Explain(SourceSession* session, std::string database);
  // The round ends: what it found is handed out. FAILED_PRECONDITION, and off(), while the function is in none of the
  // databases that were looked at.
  absl::Status End();

  // Whether the function is in the session's database, and what plans depend on.
  boost::asio::awaitable<absl::Status> Look(SourceSession* session, std::string database, bool* installed);
  // FAILED_PRECONDITION with the remedy while it is in none of the databases that were looked at.
  absl::Status Lack() const;

  // The server is not set up for it, as End said last.
  bool off() const { return off_; }
  // What the last round handed out was refused: it goes with the next one.
  void Refused();
  // The backend may have lost texts: they are sent again.
  void ForgetSent() { trees_sent_.ForgetAll(); }

 private:
  static constexpr size_t kMostDatabases = 5;

  struct Outcome {
    std::string outcome;
    int64_t took_us = 0;
  };
  struct Planned {
    std::string database;
    int64_t query = 0;
    int64_t plan = 0;
  };
  struct Found {
    std::vector<Planned> plans;
    // Statements and time by database and outcome.
    std::map<std::pair<std::string, std::string>, std::pair<int64_t, int64_t>> outcomes;
    std::map<int64_t, std::string> trees;
  };

  boost::asio::awaitable<absl::Status> ReadTexts(SourceSession* session);
  boost::asio::awaitable<absl::Status> ExplainOne(SourceSession* session, std::string database,
                                                  ExplainQueue::Statement statement, bool* planned, Outcome* outcome);
  boost::asio::awaitable<absl::Status> IsAmbiguous(SourceSession* session, const ExplainQueue::Statement* statement,
                                                   bool* ambiguous);
  std::vector<ingestpb::QueryText> Texts();
  int64_t BootNs() const { return context_->clock->BoottimeNanos(); }

  const SourceConfig* const config_;
  RunnerContext* const context_;
  const StatementForms* const forms_;
  const LogReader::BaselineOf baseline_of_;
  const LogReader::Publish publish_;
  ExplainQueue queue_;
  std::map<std::string, std::shared_ptr<MetricTask>> tasks_;
  bool due_ = false;
  bool off_ = false;
  // OID of the login, 0 of a superuser: statements under another name than a superuser's are the collector's own.
  int64_t own_user_ = 0;
  int64_t texts_read_ns_ = 0;  // 0 = to be read as soon as any are missing
  size_t databases_left_ = 0;  // of the round
  // Databases without the function, and when that was found last; those with it.
  std::map<std::string, int64_t> missing_ns_;
  std::set<std::string> installed_;
  std::string home_encoding_;
  Found found_;
  // What was handed out last.
  Found sent_;
  SentTexts trees_sent_{kPlanTextsAgainNs};
};

}  // namespace pga::collector
