#include "services/collector/source_runner.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/log/log.h"
#include "libs/retry/retry.h"
#include "libs/status/status.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr int64_t kSecondNs = 1000000000;
// A metric that lacks a privilege or an extension is tried again after so many of its intervals, within these limits.
constexpr int64_t kRetryMissingIntervals = 5;
constexpr int64_t kRetryMissingLeastNs = 5 * kSecondNs;
constexpr int64_t kRetryMissingMostNs = 60 * kSecondNs;
// Frames that the spool refused are read again after this, so that collection goes on soon after there is room.
constexpr int64_t kRetryRefusedNs = 3 * kSecondNs;

bool IsMissing(const absl::Status& status) {
  return status.code() == absl::StatusCode::kPermissionDenied || status.code() == absl::StatusCode::kNotFound ||
         status.code() == absl::StatusCode::kFailedPrecondition;
}

}  // namespace

SourceRunner::SourceRunner(SourceConfig config, RunnerContext* context)
    : config_(std::move(config)),
      context_(context),
      source_id_(frame::SourceUuid(context->collector_id, config_.name)),
      instance_schedule_(0, 1, ""),
      database_schedule_(0, 1, ""),
      activity_schedule_(0, 1, ""),
      instance_timer_(*context->loop),
      database_timer_(*context->loop),
      activity_timer_(*context->loop),
      sampler_(context->clock,
               [this](ingestpb::SourceInfo info, const Reading& reading, Observation observation, Outbox::Done done) {
                 return Publish(std::move(info), reading, observation, 0, std::move(done));
               }),
      texts_(context, source_id_),
      collections_(context->metrics->AddCounter("pga_collector_collections_total", "Readings taken.",
                                                {{"source", config_.name}})),
      failures_(context->metrics->AddCounter("pga_collector_collection_failures_total", "Readings that failed.",
                                             {{"source", config_.name}})),
      refused_(context->metrics->AddCounter("pga_collector_frames_refused_total",
                                            "Readings that the spool refused; the next one covers their time.",
                                            {{"source", config_.name}})),
      resets_(context->metrics->AddCounter("pga_collector_counter_resets_total", "Rows whose counters began anew.",
                                           {{"source", config_.name}})),
      up_(context->metrics->AddGauge("pga_collector_source_up", "1 while the source is connected.",
                                     {{"source", config_.name}})),
      missing_(context->metrics->AddGauge("pga_collector_metrics_missing",
                                          "Metrics left out for lack of a privilege, an extension or time.",
                                          {{"source", config_.name}})) {
  BuildTasks();
}

SourceRunner::~SourceRunner() = default;

void SourceRunner::BuildTasks() {
  const int64_t now = BootNs();
  const int64_t base = absl::ToInt64Nanoseconds(context_->interval);
  const std::string seed = absl::StrCat(context_->collector_id, "/", config_.name);
  instance_schedule_ = Schedule(now, base, seed);
  database_schedule_ = Schedule(now, base, seed);
  activity_schedule_ = Schedule(now, base, seed);
  activity_schedule_.Add(1);
  instance_tasks_.clear();
  database_tasks_.clear();
  std::shared_ptr<MetricTask> activity;
  std::shared_ptr<MetricTask> blocking;
  ++generation_;
  for (const catalogpb::Metric& metric : context_->catalog->metrics()) {
    if (context_->disabled.contains(metric.name())) continue;
    if (metric.probe() == "activity") {
      activity = std::make_shared<MetricTask>(metric);
    } else if (metric.probe() == "blocking") {
      blocking = std::make_shared<MetricTask>(metric);
    } else if (!metric.probe().empty() && metric.probe() != "statements") {
      continue;
    } else if (metric.scope() == catalogpb::SCOPE_INSTANCE) {
      instance_tasks_.push_back(std::make_shared<MetricTask>(metric));
      instance_schedule_.Add(metric.interval_factor());
    } else if (metric.scope() == catalogpb::SCOPE_DATABASE) {
      database_tasks_.push_back(std::make_shared<MetricTask>(metric));
      database_schedule_.Add(metric.interval_factor());
    }
  }
  sampler_.SetTasks(std::move(activity), std::move(blocking));
}

void SourceRunner::Start() {
  asio::co_spawn(*context_->loop, InstanceLane(), asio::detached);
  asio::co_spawn(*context_->loop, DatabaseLane(), asio::detached);
  asio::co_spawn(*context_->loop, ActivityLane(), asio::detached);
}

void SourceRunner::Stop() {
  stopping_ = true;
  instance_timer_.cancel();
  database_timer_.cancel();
  activity_timer_.cancel();
  sampler_.Flush();
}

void SourceRunner::Reconfigure() {
  BuildTasks();
  instance_timer_.cancel();
  database_timer_.cancel();
  activity_timer_.cancel();
}

void SourceRunner::OnAck(const std::string& stream_id, int64_t last_seq) {
  texts_.OnAck(stream_id, last_seq);
}

void SourceRunner::ForgetSentTexts() {
  texts_.ForgetSent();
}

ingestpb::SourceInfo SourceRunner::Info(const SourceSession& session) const {
  return DescribeSource(config_, source_id_, session);
}

std::string SourceRunner::HomeDatabase() const {
  return config_.databases[0] == "*" ? "postgres" : config_.databases[0];
}

asio::awaitable<void> SourceRunner::Sleep(asio::steady_timer* timer, absl::Duration duration) {
  if (stopping_) co_return;
  timer->expires_after(absl::ToChronoNanoseconds(std::max(duration, absl::ZeroDuration())));
  co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
}

void SourceRunner::ForgetDatabasesBut(const std::vector<std::string>& names) {
  std::erase_if(troubles_, [&](const auto& entry) {
    const std::string& database = entry.second.database;
    if (database.empty() || std::find(names.begin(), names.end(), database) != names.end()) return false;
    PGA_LOG(info, "its database is gone", {{"source", config_.name}, {"what", entry.first}});
    return true;
  });
  missing_.Set(static_cast<double>(troubles_.size()));
}

bool SourceRunner::Report(const std::string& what, const absl::Status& status, const std::string& database) {
  const auto it = troubles_.find(what);
  if (status.ok()) {
    if (it == troubles_.end()) return false;
    PGA_LOG(info, "collected again", {{"source", config_.name}, {"what", what}});
    troubles_.erase(it);
    missing_.Set(static_cast<double>(troubles_.size()));
    return true;
  }
  const bool news = it == troubles_.end() || it->second.status.code() != status.code();
  Trouble& trouble = troubles_[what];
  trouble.status = status;
  trouble.database = database;
  if (IsMissing(status)) {
    trouble.skip_until_ns = BootNs() + std::clamp(kRetryMissingIntervals * instance_schedule_.base_interval_ns(),
                                                  kRetryMissingLeastNs, kRetryMissingMostNs);
  }
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    trouble.skip_until_ns = BootNs() + 5 * instance_schedule_.base_interval_ns();
  }
  missing_.Set(static_cast<double>(troubles_.size()));
  if (news) {
    PGA_LOG(warn, "not collected", {{"source", config_.name}, {"what", what}, {"reason", status}});
  }
  return news;
}

void SourceRunner::ReportRights(const SourceSession& session) {
  Report("rows of other users",
         session.monitor ? absl::OkStatus()
                         : absl::PermissionDeniedError(absl::StrCat(
                               "login ", config_.user,
                               " lacks the role pg_monitor, so that statements and sessions of others are hidden; run: "
                               "GRANT pg_monitor TO ",
                               QuoteIdentifier(config_.user))));
}

bool SourceRunner::Skips(const std::string& what) const {
  const auto it = troubles_.find(what);
  return it != troubles_.end() && BootNs() < it->second.skip_until_ns;
}

absl::Status SourceRunner::Publish(ingestpb::SourceInfo info, const Reading& reading, Observation observation,
                                   int64_t scope_id, Outbox::Done done) {
  const std::string tracker_key = TrackerKey(source_id_, scope_id, reading.shape().name());
  Trackers::Tracker& tracker = context_->trackers->Get(tracker_key);
  if (tracker.pending) return absl::UnavailableError("the last reading is still on its way to the disk");
  PGA_ASSIGN_OR_RETURN(Step step,
                       Advance(tracker.baseline.get(), reading, observation,
                               OptionsOf(reading.shape(), tracker_key, absl::ToInt64Microseconds(context_->interval))));
  resets_.Increment(static_cast<double>(step.resets_seen));
  Outbox::Parcel parcel;
  parcel.source = std::move(info);
  for (ingestpb::Frame& frame : step.frames) {
    frame.set_source_id(source_id_);
    frame.set_scope_id(scope_id);
    PGA_FRAME_STOP(frame);
  }
  parcel.frames = std::move(step.frames);
  parcel.baselines.push_back({tracker_key, std::move(step.patch), step.next});
  parcel.done = [this, tracker_key, next = step.next, done = std::move(done),
                 generation = tracker.generation](const absl::StatusOr<BatchId>& result) {
    Trackers::Tracker& current = context_->trackers->Get(tracker_key);
    current.pending = false;
    if (result.ok()) {
      if (generation == current.generation) current.baseline = next;
    } else {
      refused_.Increment();
    }
    if (done) done(result);
  };
  tracker.pending = true;
  context_->outbox->Add(std::move(parcel));
  return absl::OkStatus();
}

asio::awaitable<absl::Status> SourceRunner::Collect(SourceSession* session, std::shared_ptr<MetricTask> task,
                                                    int64_t scope_id, Schedule* schedule, int item) {
  const catalogpb::Metric& metric = *task->metric;
  std::optional<Observation> observation;
  absl::Status status = co_await ReadMetric(session, task.get(), context_->query_text, context_->clock, &observation);
  if (!status.ok()) co_return status;
  if (!observation.has_value()) co_return absl::OkStatus();  // not for this server
  collections_.Increment();
  status = Publish(
      Info(*session), task->reading, *observation, scope_id,
      [this, schedule, item, generation = generation_, name = metric.name()](const absl::StatusOr<BatchId>& result) {
        // What is too large for a batch will not fit the next time either.
        const bool never = result.status().code() == absl::StatusCode::kInvalidArgument;
        Report(absl::StrCat("batch of ", name), never ? result.status() : absl::OkStatus());
        if (!result.ok() && !never && generation == generation_) schedule->RetryAt(item, BootNs() + kRetryRefusedNs);
      });
  std::vector<StatementTexts::Id> in_use;
  if (status.ok() && metric.probe() == "statements" && context_->query_text != QueryTextMode::kNone) {
    const int dbid = task->shape.Find("dbid");
    const int queryid = task->shape.Find("queryid");
    in_use.reserve(task->reading.rows());
    for (size_t row = 0; row < task->reading.rows(); ++row) {
      in_use.emplace_back(task->reading.Int(row, dbid), task->reading.Int(row, queryid));
    }
  }
  task->reading.Clear();
  if (!in_use.empty()) status = co_await texts_.Send(session, Info(*session), std::move(in_use));
  co_return status;
}

asio::awaitable<void> SourceRunner::InstanceLane() {
  const std::string home = HomeDatabase();
  retry::Backoff backoff({.initial = absl::Seconds(1), .max = absl::Seconds(60), .multiplier = 2, .jitter = 0.5});
  SourceSession session;
  while (!stopping_) {
    if (!session.usable()) {
      up_.Set(0);
      const absl::Status status = co_await OpenSession(&config_, context_->resolver, home, &session);
      if (stopping_) co_return;
      Report("connection", status);
      if (!status.ok()) {
        session.connection.reset();
        co_await Sleep(&instance_timer_, backoff.Next());
        continue;
      }
      backoff.Reset();
      up_.Set(1);
      ReportRights(session);
      PGA_LOG(info, "source connected",
              {{"source", config_.name},
               {"server_version", session.connection->server_version()},
               {"standby", session.in_recovery}});
    }
    const int64_t wait = instance_schedule_.NextDue() - BootNs();
    if (wait > 0) {
      // Short naps, so that time spent asleep by the host is noticed.
      co_await Sleep(&instance_timer_, absl::Nanoseconds(std::min(wait, kSecondNs)));
      continue;
    }
    absl::Status status = co_await IdentifySession(&session);
    if (!status.ok()) {
      Report("connection", status);
      session.connection.reset();
      continue;
    }
    ReportRights(session);
    const std::vector<int> due = instance_schedule_.TakeDue(BootNs());
    const int generation = generation_;
    for (const int item : due) {
      if (stopping_ || generation != generation_ || session.connection->broken()) break;
      const std::shared_ptr<MetricTask> task = instance_tasks_[static_cast<size_t>(item)];
      if (Skips(task->metric->name())) continue;
      status = co_await Collect(&session, task, 0, &instance_schedule_, item);
      if (!status.ok()) failures_.Increment();
      Report(task->metric->name(), status);
    }
  }
}

asio::awaitable<void> SourceRunner::DatabaseLane() {
  const bool all = std::find(config_.databases.begin(), config_.databases.end(), "*") != config_.databases.end();
  const std::string home = HomeDatabase();
  const size_t max_sessions = static_cast<size_t>(std::max(config_.max_connections - 2, 1));
  std::map<std::string, SourceSession> sessions;
  std::map<std::string, int64_t> closed_until;  // databases that did not let us in
  std::vector<std::string> names = config_.databases;
  while (!stopping_) {
    const int64_t wait = database_schedule_.NextDue() - BootNs();
    if (wait > 0 || database_tasks_.empty()) {
      co_await Sleep(&database_timer_, absl::Nanoseconds(std::clamp(wait, kSecondNs / 10, kSecondNs)));
      continue;
    }
    const std::vector<int> due = database_schedule_.TakeDue(BootNs());
    const int generation = generation_;
    const auto retry = [&] {
      if (generation != generation_) return;
      for (const int item : due) database_schedule_.RetryAt(item, BootNs() + 10 * kSecondNs);
    };
    bool reached = false;
    if (all) {
      SourceSession& session = sessions[home];
      absl::Status status;
      if (!session.usable()) status = co_await OpenSession(&config_, context_->resolver, home, &session);
      if (status.ok()) status = co_await ListDatabases(&session, &names);
      if (!status.ok()) {
        Report("list of databases", status);
        sessions.erase(home);
        retry();
        continue;
      }
      Report("list of databases", status);
      ForgetDatabasesBut(names);
      const auto gone = [&](const auto& entry) {
        return entry.first != home && std::find(names.begin(), names.end(), entry.first) == names.end();
      };
      std::erase_if(sessions, gone);
      std::erase_if(closed_until, gone);
    }
    for (const std::string& name : names) {
      if (stopping_ || generation != generation_) break;
      if (closed_until[name] > BootNs()) continue;
      // The connection that was used longest ago makes room.
      while (sessions.size() >= max_sessions && !sessions.contains(name)) {
        auto oldest = sessions.begin();
        for (auto it = sessions.begin(); it != sessions.end(); ++it) {
          if (it->second.last_used_ns < oldest->second.last_used_ns) oldest = it;
        }
        sessions.erase(oldest);
      }
      SourceSession& session = sessions[name];
      session.last_used_ns = BootNs();
      absl::Status status;
      if (!session.usable()) {
        status = co_await OpenSession(&config_, context_->resolver, name, &session);
      } else {
        status = co_await IdentifySession(&session);
      }
      Report(absl::StrCat("database ", name), status, name);
      if (!status.ok()) {
        sessions.erase(name);
        closed_until[name] = BootNs() + 9 * kSecondNs;
        continue;
      }
      reached = true;
      for (const int item : due) {
        if (stopping_ || generation != generation_ || session.connection->broken()) break;
        const std::shared_ptr<MetricTask> task = database_tasks_[static_cast<size_t>(item)];
        const std::string what = absl::StrCat(task->metric->name(), " of ", name);
        if (Skips(what)) continue;
        status = co_await Collect(&session, task, session.database_oid, &database_schedule_, item);
        if (!status.ok()) failures_.Increment();
        Report(what, status, name);
      }
    }
    if (!reached) retry();
  }
}

asio::awaitable<void> SourceRunner::ActivityLane() {
  const std::string home = HomeDatabase();
  retry::Backoff backoff({.initial = absl::Seconds(1), .max = absl::Seconds(60), .multiplier = 2, .jitter = 0.5});
  SourceSession session;
  int64_t next_sample = BootNs();
  while (!stopping_) {
    if (!sampler_.enabled() || context_->activity_interval <= absl::ZeroDuration()) {
      session.connection.reset();
      co_await Sleep(&activity_timer_, absl::Seconds(1));
      continue;
    }
    if (!session.usable()) {
      const absl::Status status = co_await OpenSession(&config_, context_->resolver, home, &session);
      if (stopping_) co_return;
      // Apart from the samples themselves: a sample that ran out of time rests, connected again or not.
      Report("connection for activity", status);
      if (!status.ok()) {
        session.connection.reset();
        co_await Sleep(&activity_timer_, backoff.Next());
        continue;
      }
      backoff.Reset();
      sampler_.Connected(Info(session), session.epoch);
    }
    const int64_t now = BootNs();
    if (now < next_sample) {
      co_await Sleep(&activity_timer_, absl::Nanoseconds(next_sample - now));
      continue;
    }
    const int64_t step = absl::ToInt64Nanoseconds(context_->activity_interval);
    next_sample += ((now - next_sample) / step + 1) * step;
    if (!Skips("activity")) {
      const absl::Status status = co_await sampler_.Sample(&session);
      if (stopping_) co_return;
      Report("activity", status);
    }
    if (!activity_schedule_.TakeDue(BootNs()).empty()) sampler_.Flush();
  }
}

asio::awaitable<std::vector<std::string>> SourceRunner::Check() {
  std::vector<std::string> lines;
  const std::string home = HomeDatabase();
  SourceSession session;
  absl::Status status = co_await OpenSession(&config_, context_->resolver, home, &session);
  if (!status.ok()) {
    lines.push_back(absl::StrCat("cannot connect: ", std::string(status.message())));
    co_return lines;
  }
  if (!session.monitor) {
    lines.push_back(absl::StrCat("login ", config_.user, " lacks the role pg_monitor; run: GRANT pg_monitor TO ",
                                 QuoteIdentifier(config_.user)));
  }
  if (!session.extensions.contains("pg_stat_statements")) {
    lines.push_back(absl::StrCat("extension pg_stat_statements is not installed in database ", home,
                                 "; run there: CREATE EXTENSION pg_stat_statements"));
  }
  for (const std::shared_ptr<MetricTask>& task : instance_tasks_) {
    absl::StatusOr<std::string> sql = SelectSql(session, *task->metric);
    if (!sql.ok() || sql->empty()) continue;
    status = co_await ReadRows(&session, task->metric, *std::move(sql), context_->query_text, &task->reading);
    if (!status.ok()) {
      lines.push_back(absl::StrCat("metric ", task->metric->name(), ": ", std::string(status.message())));
    }
    if (session.connection->broken()) break;
  }
  std::vector<std::string> names;
  if (!session.connection->broken()) status = co_await ListDatabases(&session, &names);
  for (const std::string& name : config_.databases) {
    if (name == "*" || std::find(names.begin(), names.end(), name) != names.end()) continue;
    lines.push_back(absl::StrCat("database ", name, " does not exist or may not be connected to"));
  }
  co_return lines;
}

}  // namespace pga::collector
