// Watches one PostgreSQL server: three lanes on the event loop, each with connections of its own, so that none waits
// for another: instance-wide metrics and statements; metrics of every watched database; samples of activity and
// blocking. A lane that loses its connection comes back with a jittered backoff.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/metrics/registry.h"
#include "libs/pg/async_connection.h"
#include "services/collector/activity.h"
#include "services/collector/config.h"
#include "services/collector/outbox.h"
#include "services/collector/schedule.h"
#include "services/collector/statement_texts.h"

namespace pga::collector {

// What all sources share. Everything outlives the runners.
struct RunnerContext {
  boost::asio::io_context* loop = nullptr;
  clock::Clock* clock = nullptr;
  std::shared_ptr<const catalog::Catalog> catalog;
  pg::HostResolver* resolver = nullptr;
  Outbox* outbox = nullptr;
  Trackers* trackers = nullptr;
  metrics::Registry* metrics = nullptr;
  std::string collector_id;
  absl::Duration interval;
  absl::Duration activity_interval;
  // Least distance of two readings of statement texts.
  absl::Duration statement_text_interval = absl::Minutes(10);
  QueryTextMode query_text = QueryTextMode::kNormalized;
  std::set<std::string> disabled;
};

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
  using Connection = std::unique_ptr<pg::AsyncConnection>;

  struct Extension {
    std::string version;
    std::string schema;
  };

  // One connection with what was learnt over it.
  struct Session {
    Connection connection;
    Epoch epoch;
    bool in_recovery = false;
    bool monitor = false;
    int64_t database_oid = 0;
    std::map<std::string, Extension> extensions;
    int64_t last_used_ns = 0;
  };

  struct Task {
    const catalogpb::Metric* metric = nullptr;
    std::unique_ptr<MetricShape> shape;
    std::unique_ptr<Reading> reading;  // reused
  };

  // Why a metric is not collected, per metric and database.
  struct Trouble {
    absl::Status status;
    int64_t skip_until_ns = 0;
  };

  boost::asio::awaitable<void> InstanceLane();
  boost::asio::awaitable<void> DatabaseLane();
  boost::asio::awaitable<void> ActivityLane();

  boost::asio::awaitable<absl::Status> Open(std::string database, Session* session);
  boost::asio::awaitable<absl::Status> Identify(Session* session);
  boost::asio::awaitable<absl::Status> ListDatabases(Session* session, std::vector<std::string>* names);
  // Runs the metric and hands its frames out. `item` is its number in `schedule`.
  boost::asio::awaitable<absl::Status> Collect(Session* session, std::shared_ptr<Task> task, int64_t scope_id,
                                               Schedule* schedule, int item);
  boost::asio::awaitable<absl::Status> ReadRows(Session* session, const catalogpb::Metric& metric, std::string sql,
                                                Reading* reading);
  boost::asio::awaitable<absl::Status> ReadStatementsInfo(Session* session, const Extension& extension,
                                                          int64_t* reset_us, int64_t* evictions);
  boost::asio::awaitable<absl::Status> SendTexts(Session* session, std::vector<StatementTexts::Id> in_use);
  boost::asio::awaitable<absl::Status> SampleActivity(Session* session);
  // `say`: the tree is published even if it is the same as before.
  boost::asio::awaitable<absl::Status> ReadBlocking(Session* session, std::string pids, bool say);
  // Runs one statement in a transaction of its own: BEGIN READ ONLY, the statement, COMMIT.
  boost::asio::awaitable<absl::Status> RunReadOnly(pg::AsyncConnection* connection, std::string sql,
                                                   std::vector<std::string> params, absl::Duration timeout,
                                                   pg::AsyncConnection::RowSink sink);
  boost::asio::awaitable<void> Sleep(boost::asio::steady_timer* timer, absl::Duration duration);

  // Compares, packs and sends one reading.
  absl::Status Publish(ingestpb::SourceInfo info, const Reading& reading, Observation observation, int64_t scope_id,
                       Outbox::Done done);
  void FlushActivity();
  bool Report(const std::string& what, const absl::Status& status);
  bool Skips(const std::string& what) const;
  ingestpb::SourceInfo Info(const Session& session) const;
  std::shared_ptr<Task> MakeTask(const catalogpb::Metric& metric) const;
  void BuildTasks();
  int64_t WallUs() const { return absl::ToUnixMicros(context_->clock->Now()); }
  int64_t BootNs() const { return context_->clock->BoottimeNanos(); }

  SourceConfig config_;
  RunnerContext* const context_;
  const std::string source_id_;
  bool stopping_ = false;
  // Grows with every new set of tasks; a lane that sees it change begins a new round.
  int generation_ = 0;
  std::vector<std::shared_ptr<Task>> instance_tasks_;
  std::vector<std::shared_ptr<Task>> database_tasks_;
  std::shared_ptr<Task> activity_task_;
  std::shared_ptr<Task> blocking_task_;
  Schedule instance_schedule_;
  Schedule database_schedule_;
  Schedule activity_schedule_;
  boost::asio::steady_timer instance_timer_;
  boost::asio::steady_timer database_timer_;
  boost::asio::steady_timer activity_timer_;
  ActivityCounts activity_;
  std::optional<ingestpb::SourceInfo> activity_info_;
  Observation activity_observation_;
  // Who was blocked by whom when that was last published by this process, and when.
  std::optional<std::set<std::pair<int64_t, int64_t>>> blocked_;
  int64_t blocked_said_ns_ = 0;
  StatementTexts texts_;
  int64_t texts_read_ns_ = 0;
  std::map<std::string, Trouble> troubles_;

  metrics::Counter& collections_;
  metrics::Counter& failures_;
  metrics::Counter& refused_;
  metrics::Counter& resets_;
  metrics::Gauge& up_;
  metrics::Gauge& missing_;
};

}  // namespace pga::collector
