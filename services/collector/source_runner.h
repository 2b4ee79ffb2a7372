// Watches one PostgreSQL server: three lanes on the event loop, each with a connection of its own, so that none waits
// for another: instance-wide metrics and statements; metrics of every watched database; samples of activity and
// blocking. A fourth one, without a connection, reads the server's log where it is a file here. The lane of databases
// explains statements too, where the server lets it. The lanes say when
// something is read and what becomes of it; how it is read stands in `metric_reader`, `activity_sampler` and
// `statement_text_sender`.
//
// A source that another collector owns is connected to and identified, and not read.
//
// Connections: at most three. Those of the instance and of activity stay in the home database, the lane of databases
// goes from one to the next and leaves each when its metrics are read: an idle session would make DROP DATABASE, ALTER
// DATABASE RENAME and CREATE DATABASE TEMPLATE fail. The lane of the instance alone tries a server that is away or
// refuses, with a jittered backoff; the others wait for it.
//
// Used on the event loop alone. The context outlives the runner, the runner outlives what it handed to the outbox.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/metrics/registry.h"
#include "services/collector/activity_sampler.h"
#include "services/collector/config.h"
#include "services/collector/lane.h"
#include "services/collector/log_reader.h"
#include "services/collector/metric_reader.h"
#include "services/collector/outbox.h"
#include "services/collector/ownership.h"
#include "services/collector/plan_explainer.h"
#include "services/collector/runner_context.h"
#include "services/collector/schedule.h"
#include "services/collector/source_session.h"
#include "services/collector/statement_text_sender.h"
#include "services/collector/troubles.h"

namespace pga::collector {

class SourceRunner final : public OwnedByGrant {
 public:
  SourceRunner(SourceConfig config, RunnerContext* context);
  ~SourceRunner() override;
  SourceRunner(const SourceRunner&) = delete;
  SourceRunner& operator=(const SourceRunner&) = delete;

  // Starts the lanes. Call once, on the event loop.
  void Start();
  // Hands out what was sampled and asks the lanes to end; they do at their next step.
  void Stop();
  // The lanes have ended, and nothing that was handed to the outbox is still to come back.
  bool ended() const {
    return instance_lane_.ended() && database_lane_.ended() && activity_lane_.ended() && log_lane_.ended() &&
           handed_out_ == 0 && texts_.idle();
  }
  // The interval or the set of metrics in the context has changed.
  void Reconfigure();

  // A stream's batches up to `last_seq` are stored: texts in them count as sent.
  void OnAck(const std::string& stream_id, int64_t last_seq);
  // The server lost what it had: all texts are sent again.
  void ForgetSentTexts();

  const std::string& name() const override { return config_.name; }
  const Grant& grant() const override { return grant_; }
  bool Describe(registrypb::SourceReport* report) const override;
  void TakeLogPositions(int64_t owner_epoch,
                        const google::protobuf::RepeatedPtrField<registrypb::LogPosition>& positions) override;
  void TakeGrant(const Grant& grant) override;
  int64_t skipped_ticks() const { return instance_schedule_.skipped() + database_schedule_.skipped(); }

  // What is missing for full collection, one line each.
  struct Lacks {
    std::vector<std::string> broken;
    // What the server is not set up for.
    std::vector<std::string> off;
  };
  // Connects and looks. Blocks nothing.
  boost::asio::awaitable<Lacks> Check();

 private:
  boost::asio::awaitable<void> InstanceLane();
  boost::asio::awaitable<void> DatabaseLane();
  boost::asio::awaitable<void> ActivityLane();
  boost::asio::awaitable<void> LogLane();
  // RESOURCE_EXHAUSTED while logs would take room from statistics.
  absl::Status LogsMayBeRead() const;
  // Learns where the log is, and reads it over SQL where it is no local file.
  boost::asio::awaitable<void> LogOverSession(SourceSession* session);

  // Runs the metric and hands its frames out. `item` is its number in `schedule`; `*lack`: which of the rows that were
  // read are not whole (LackOfRights).
  boost::asio::awaitable<absl::Status> Collect(SourceSession* session, std::shared_ptr<MetricTask> task,
                                               int64_t scope_id, Schedule* schedule, int item, absl::Status* lack);
  // Opens or looks after a session in the home database.
  boost::asio::awaitable<absl::Status> KeepHome(SourceSession* home, std::string* name);
  // Explains the statements that are due, database by database.
  boost::asio::awaitable<void> ExplainRound(SourceSession* home, std::string home_name);
  // Reads the due metrics of one database.
  boost::asio::awaitable<void> CollectDatabase(SourceSession* session, std::string name, std::vector<int> due);
  // Opens a session in the first database that lets in and speaks for the whole server.
  boost::asio::awaitable<absl::Status> OpenHome(SourceSession* session);
  // Waits after a failed connection: `backoff`, or long after a refusal unless the password file changes meanwhile.
  boost::asio::awaitable<void> Pause(const absl::Status& status, absl::Duration backoff, int refusals);
  boost::asio::awaitable<void> Sleep(boost::asio::steady_timer* timer, absl::Duration duration);
  // Sends the statement texts that are due, over another database if this one's encoding has no form for them.
  boost::asio::awaitable<absl::Status> SendTexts(SourceSession* session);

  // Reads each of `tasks` once; adds a line for each that fails. `of` names its database.
  boost::asio::awaitable<void> CheckTasks(SourceSession* session, std::string of,
                                          std::vector<std::shared_ptr<MetricTask>> tasks,
                                          std::vector<std::string>* lines);

  // Compares, packs and sends one reading.
  absl::Status Publish(ingestpb::SourceInfo info, const Reading& reading, Observation observation, int64_t scope_id,
                       std::vector<ingestpb::QueryText> texts, Outbox::Done done);
  // Likewise several metrics of the whole server, which become durable together or not at all.
  absl::Status PublishTogether(ingestpb::SourceInfo info, const std::vector<const Reading*>& readings,
                               Observation observation, int64_t scope_id, std::vector<ingestpb::QueryText> texts,
                               Outbox::Done done);
  void Report(const std::string& what, const absl::Status& status, const SourceSession* session = nullptr,
              const std::string& database = "");
  void ReportRights(const SourceSession& session);
  // The connection came or went.
  void SetUp(bool up);
  // Keeps what a session has just learnt about the server for all lanes.
  void Learnt(const SourceSession& session);
  bool Rests(const std::string& what, const SourceSession& session) const;
  // Databases that may speak for the whole server, the first choice first.
  std::vector<std::string> HomeCandidates() const;
  // The last reading of a metric of the whole server that became durable, whoever took it.
  std::shared_ptr<const Baseline> DurableOf(const MetricShape& shape) const;
  // Null for what was read under another grant: another collector may have read on meanwhile.
  std::shared_ptr<const Baseline> IfOurs(std::shared_ptr<const Baseline> baseline) const;
  // Whether this is missing because the server is not set up for it: nothing is broken.
  bool IsOff(const std::string& what) const;
  bool WatchesAll() const;
  bool IsWatched(const std::string& database) const;
  // Leaves out what is excluded.
  std::vector<std::string> Watched(std::vector<std::string> names) const;
  void BuildTasks();
  int64_t BootNs() const { return context_->clock->BoottimeNanos(); }

  SourceConfig config_;
  RunnerContext* const context_;
  Grant grant_;
  bool stopping_ = false;
  // Parcels that the outbox has not answered.
  int handed_out_ = 0;
  // Grows with every new set of tasks; a lane that sees it change begins a new round.
  int generation_ = 0;
  std::vector<std::shared_ptr<MetricTask>> instance_tasks_;
  std::vector<std::shared_ptr<MetricTask>> database_tasks_;
  Schedule instance_schedule_;
  Schedule database_schedule_;
  Schedule activity_schedule_;
  Schedule log_schedule_;
  boost::asio::steady_timer instance_timer_;
  boost::asio::steady_timer database_timer_;
  boost::asio::steady_timer activity_timer_;
  boost::asio::steady_timer log_timer_;
  TextRedactor redactor_;
  ActivitySampler sampler_;
  StatementForms statement_forms_;
  LogReader logs_;
  PlanExplainer explainer_;
  int64_t logs_learnt_ns_ = 0;
  // How far the log is read, as it last became durable.
  std::shared_ptr<const Baseline> log_files_;
  // The log says that somebody waits for a lock: a sample is due now.
  bool sample_now_ = false;
  StatementTextSender texts_;
  bool any_texts_database_ = false;  // texts are read over a database in SQL_ASCII
  Troubles troubles_;
  // What batches say about the source.
  ingestpb::SourceInfo info_;
  // What reports say about the server: learnt last, whichever lane it was. 0 = not known.
  struct Server {
    int64_t system_identifier = 0;
    int version_num = 0;
    bool in_recovery = false;
  };
  Server server_;
  // The database of the instance's session; empty while there is none.
  std::string home_;
  // Whether the server is reachable and since when, microseconds; 0 = not tried yet.
  bool up_now_ = false;
  int64_t state_since_us_ = 0;

  metrics::Counter& collections_;
  metrics::Counter& failures_;
  metrics::Counter& refused_;
  metrics::Counter& resets_;
  metrics::Counter& lane_failures_;
  metrics::Gauge& up_;
  metrics::Gauge& missing_;
  Lane instance_lane_;
  Lane database_lane_;
  Lane activity_lane_;
  Lane log_lane_;
};

}  // namespace pga::collector
