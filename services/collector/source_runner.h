// Watches one PostgreSQL server: three lanes on the event loop, each with connections of its own, so that none waits
// for another: instance-wide metrics and statements; metrics of every watched database; samples of activity and
// blocking. A lane that loses its connection comes back with a jittered backoff. The lanes say when something is read
// and what becomes of it; how it is read stands in `metric_reader`, `activity_sampler` and `statement_text_sender`.
//
// Used on the event loop alone. The context outlives the runner, the runner outlives what it handed to the outbox.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/metrics/registry.h"
#include "services/collector/activity_sampler.h"
#include "services/collector/config.h"
#include "services/collector/metric_reader.h"
#include "services/collector/outbox.h"
#include "services/collector/runner_context.h"
#include "services/collector/schedule.h"
#include "services/collector/source_session.h"
#include "services/collector/statement_text_sender.h"

namespace pga::collector {

class SourceRunner {
 public:
  SourceRunner(SourceConfig config, RunnerContext* context);
  ~SourceRunner();
  SourceRunner(const SourceRunner&) = delete;
  SourceRunner& operator=(const SourceRunner&) = delete;

  // Starts the lanes. Call once, on the event loop.
  void Start();
  // Hands out what was sampled and asks the lanes to end; they do at their next step.
  void Stop();
  // The interval or the set of metrics in the context has changed.
  void Reconfigure();

  // A stream's batches up to `last_seq` are stored: texts in them count as sent.
  void OnAck(const std::string& stream_id, int64_t last_seq);
  // The server lost what it had: all texts are sent again.
  void ForgetSentTexts();

  const std::string& name() const { return config_.name; }
  int64_t skipped_ticks() const { return instance_schedule_.skipped() + database_schedule_.skipped(); }

  // Connects and says what is missing for full collection; one line each. Blocks nothing.
  boost::asio::awaitable<std::vector<std::string>> Check();

 private:
  // Why a metric is not collected, per metric and database.
  struct Trouble {
    absl::Status status;
    std::string database;  // empty = the whole server
    int64_t skip_until_ns = 0;
  };

  boost::asio::awaitable<void> InstanceLane();
  boost::asio::awaitable<void> DatabaseLane();
  boost::asio::awaitable<void> ActivityLane();

  // Runs the metric and hands its frames out. `item` is its number in `schedule`.
  boost::asio::awaitable<absl::Status> Collect(SourceSession* session, std::shared_ptr<MetricTask> task,
                                               int64_t scope_id, Schedule* schedule, int item);
  boost::asio::awaitable<void> Sleep(boost::asio::steady_timer* timer, absl::Duration duration);

  // Compares, packs and sends one reading.
  absl::Status Publish(ingestpb::SourceInfo info, const Reading& reading, Observation observation, int64_t scope_id,
                       Outbox::Done done);
  bool Report(const std::string& what, const absl::Status& status, const std::string& database = "");
  void ReportRights(const SourceSession& session);
  // Troubles of databases that are not among `names` are over.
  void ForgetDatabasesBut(const std::vector<std::string>& names);
  bool Skips(const std::string& what) const;
  ingestpb::SourceInfo Info(const SourceSession& session) const;
  // The database that speaks for the whole server.
  std::string HomeDatabase() const;
  void BuildTasks();
  int64_t BootNs() const { return context_->clock->BoottimeNanos(); }

  SourceConfig config_;
  RunnerContext* const context_;
  const std::string source_id_;
  bool stopping_ = false;
  // Grows with every new set of tasks; a lane that sees it change begins a new round.
  int generation_ = 0;
  std::vector<std::shared_ptr<MetricTask>> instance_tasks_;
  std::vector<std::shared_ptr<MetricTask>> database_tasks_;
  Schedule instance_schedule_;
  Schedule database_schedule_;
  Schedule activity_schedule_;
  boost::asio::steady_timer instance_timer_;
  boost::asio::steady_timer database_timer_;
  boost::asio::steady_timer activity_timer_;
  ActivitySampler sampler_;
  StatementTextSender texts_;
  std::map<std::string, Trouble> troubles_;

  metrics::Counter& collections_;
  metrics::Counter& failures_;
  metrics::Counter& refused_;
  metrics::Counter& resets_;
  metrics::Gauge& up_;
  metrics::Gauge& missing_;
};

}  // namespace pga::collector
