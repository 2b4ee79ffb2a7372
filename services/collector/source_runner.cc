#include "services/collector/source_runner.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/log/log.h"
#include "libs/pg/errors.h"
#include "libs/retry/retry.h"
#include "libs/status/status.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr int64_t kSecondNs = 1000000000;
// Longest pause after the server refused the login. A rotated password file ends it.
constexpr int64_t kRefusedLoginMostNs = 600 * kSecondNs;
constexpr int64_t kPasswordLookNs = 5 * kSecondNs;
// Frames that the spool refused are read again after this, so that collection goes on soon after there is room.
constexpr int64_t kRetryRefusedNs = 3 * kSecondNs;
// What stands for the server as a whole among the troubles.
constexpr char kConnection[] = "connection";
constexpr int kMostNotCollected = 64;
// The server's log among the troubles, how many intervals what was learnt about it holds, and how often the end of a
// local one is looked at for waits.
constexpr char kLog[] = "log";
constexpr char kLogFiles[] = "log_files";
constexpr char kLogStates[] = "SQLSTATE of log entries";
// Plans by EXPLAIN among the troubles; with " of DATABASE" what is wrong in one.
constexpr char kExplain[] = "explained plans";
constexpr int64_t kLearnLogEvery = 10;
constexpr int64_t kLogLookNs = kSecondNs / 2;

absl::Status RightsMissing(const std::string& user, const SourceSession& session) {
  const std::string login = QuoteIdentifier(user);
  const int version = session.connection->server_version();
  if (session.monitor_member) {
    return absl::PermissionDeniedError(
        absl::StrCat("login ", user,
                     " is a member of pg_monitor but does not inherit its rights, so that statements and sessions of ",
                     "others are hidden; run: ",
                     version >= 160000 ? absl::StrCat("GRANT pg_monitor TO ", login, " WITH INHERIT TRUE")
                                       : absl::StrCat("ALTER ROLE ", login, " INHERIT")));
  }
  return absl::PermissionDeniedError(
      absl::StrCat("login ", user, " lacks the role pg_monitor, so that statements and sessions of others are hidden; ",
                   "run: GRANT pg_monitor TO ", login));
}

}  // namespace

SourceRunner::SourceRunner(SourceConfig config, RunnerContext* context)
    : config_(std::move(config)),
      context_(context),
      instance_schedule_(0, 1, ""),
      database_schedule_(0, 1, ""),
      activity_schedule_(0, 1, ""),
      log_schedule_(0, 1, ""),
      instance_timer_(*context->loop),
      database_timer_(*context->loop),
      activity_timer_(*context->loop),
      log_timer_(*context->loop),
      redactor_(context->query_text, context->metrics, config_.name),
      sampler_(context->clock, &redactor_,
               [this](ingestpb::SourceInfo info, const Reading& reading, Observation observation,
                      std::vector<ingestpb::QueryText> texts, Outbox::Done done) {
                 return Publish(std::move(info), reading, observation, 0, std::move(texts), std::move(done));
               }),
      logs_(
          &config_, context, &statement_forms_, [this] { return grant_.owner_epoch; },
          [this](const MetricShape& shape) -> std::shared_ptr<const Baseline> {
            std::shared_ptr<const Baseline> baseline = DurableOf(shape);
            // Where reading goes on is known while the process lives, even if the spool had to give baselines up.
            if (shape.name() == kLogFiles) {
              if (baseline == nullptr) baseline = log_files_;
              log_files_ = baseline;
            }
            return IfOurs(std::move(baseline));
          },
          [this](const std::vector<const Reading*>& readings, Observation observation,
                 std::vector<ingestpb::QueryText> texts) {
            return PublishTogether(info_, readings, observation, 0, std::move(texts),
                                   [this](const absl::StatusOr<BatchId>& result) {
                                     if (result.ok()) return;
                                     log_schedule_.RetryAt(0, BootNs() + kRetryRefusedNs);
                                     logs_.ForgetSent();
                                   });
          }),
      explainer_(
          &config_, context, &statement_forms_, [this](const MetricShape& shape) { return IfOurs(DurableOf(shape)); },
          [this](const std::vector<const Reading*>& readings, Observation observation,
                 std::vector<ingestpb::QueryText> texts) {
            return PublishTogether(info_, readings, observation, 0, std::move(texts),
                                   [this](const absl::StatusOr<BatchId>& result) {
                                     if (!result.ok()) explainer_.Refused();
                                   });
          }),
      texts_(context, &redactor_, &statement_forms_),
      troubles_(absl::ToInt64Nanoseconds(context->IntervalOf(config_))),
      collections_(context->metrics->AddCounter("pga_collector_collections_total", "Readings taken.",
                                                {{"source", config_.name}})),
      failures_(context->metrics->AddCounter("pga_collector_collection_failures_total", "Readings that failed.",
                                             {{"source", config_.name}})),
      refused_(context->metrics->AddCounter("pga_collector_frames_refused_total",
                                            "Readings that the spool refused; the next one covers their time.",
                                            {{"source", config_.name}})),
      resets_(context->metrics->AddCounter("pga_collector_counter_resets_total", "Rows whose counters began anew.",
                                           {{"source", config_.name}})),
      lane_failures_(context->metrics->AddCounter("pga_collector_lane_failures_total",
                                                  "Times a lane ended by an exception and began again.",
                                                  {{"source", config_.name}})),
      up_(context->metrics->AddGauge("pga_collector_source_up", "1 while the source is connected.",
                                     {{"source", config_.name}})),
      missing_(context->metrics->AddGauge("pga_collector_metrics_missing",
                                          "Metrics left out for lack of a privilege, an extension or time.",
                                          {{"source", config_.name}})),
      instance_lane_(context->loop, absl::StrCat("instance of ", config_.name), &lane_failures_),
      database_lane_(context->loop, absl::StrCat("databases of ", config_.name), &lane_failures_),
      activity_lane_(context->loop, absl::StrCat("activity of ", config_.name), &lane_failures_),
      log_lane_(context->loop, absl::StrCat("log of ", config_.name), &lane_failures_) {
  info_.set_name(config_.name);
  logs_.set_on_plan([this](const std::string& database, int64_t query) { explainer_.Logged(database, query); });
  BuildTasks();
}

SourceRunner::~SourceRunner() = default;

void SourceRunner::BuildTasks() {
  const int64_t now = BootNs();
  const int64_t base = absl::ToInt64Nanoseconds(context_->IntervalOf(config_));
  const std::string seed = absl::StrCat(context_->collector_id, "/", config_.name);
  instance_schedule_ = Schedule(now, base, seed);
  database_schedule_ = Schedule(now, base, seed);
  activity_schedule_ = Schedule(now, base, seed);
  activity_schedule_.Add(1);
  log_schedule_ = Schedule(now, base, seed);
  log_schedule_.Add(1);
  instance_tasks_.clear();
  database_tasks_.clear();
  std::shared_ptr<MetricTask> activity;
  std::shared_ptr<MetricTask> blocking;
  std::map<std::string, std::shared_ptr<MetricTask>> logs;
  std::map<std::string, std::shared_ptr<MetricTask>> explains;
  ++generation_;
  for (const catalogpb::Metric& metric : context_->catalog->metrics()) {
    if (context_->disabled.contains(metric.name())) continue;
    if (metric.probe() == "activity") {
      activity = std::make_shared<MetricTask>(metric);
    } else if (metric.probe() == "blocking") {
      blocking = std::make_shared<MetricTask>(metric);
    } else if (absl::StartsWith(metric.probe(), "log_")) {
      logs[metric.probe()] = std::make_shared<MetricTask>(metric);
    } else if (absl::StartsWith(metric.probe(), "explain_")) {
      explains[metric.probe()] = std::make_shared<MetricTask>(metric);
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
  logs_.SetTasks(std::move(logs));
  explainer_.SetTasks(std::move(explains));
}

void SourceRunner::Start() {
  instance_lane_.Start([this] { return InstanceLane(); });
  database_lane_.Start([this] { return DatabaseLane(); });
  activity_lane_.Start([this] { return ActivityLane(); });
  log_lane_.Start([this] { return LogLane(); });
}

void SourceRunner::Stop() {
  stopping_ = true;
  instance_lane_.Stop();
  database_lane_.Stop();
  activity_lane_.Stop();
  log_lane_.Stop();
  instance_timer_.cancel();
  database_timer_.cancel();
  activity_timer_.cancel();
  log_timer_.cancel();
  sampler_.Flush();
}

void SourceRunner::Reconfigure() {
  BuildTasks();
  troubles_.EndRests();
  instance_timer_.cancel();
  database_timer_.cancel();
  activity_timer_.cancel();
  log_timer_.cancel();
}

bool SourceRunner::Describe(registrypb::SourceReport* report) const {
  if (state_since_us_ == 0) return false;
  report->set_kind(registrypb::SOURCE_KIND_SERVER);
  report->set_identifier(server_.system_identifier);
  report->set_server_version_num(server_.version_num);
  report->set_in_recovery(server_.in_recovery);
  report->set_address(absl::StrCat(config_.host, ":", config_.port));
  report->set_up(up_now_);
  report->set_since_us(state_since_us_);
  const int64_t now_us = absl::ToUnixMicros(context_->clock->Now());
  const int64_t now_ns = BootNs();
  // What is about the whole server stands first: of many databases not all may find room.
  for (const bool of_database : {false, true}) {
    for (const auto& [what, trouble] : troubles_.all()) {
      if (trouble.database.empty() == of_database) continue;
      if (what == kConnection) {
        report->set_message(std::string(trouble.status.message()));
        continue;
      }
      if (report->not_collected_size() == kMostNotCollected) break;
      registrypb::NotCollected* const missing = report->add_not_collected();
      missing->set_what(what);
      missing->set_reason(std::string(trouble.status.message()));
      missing->set_database(trouble.database);
      missing->set_since_us(now_us - (now_ns - trouble.since_ns) / 1000);
      missing->set_off(IsOff(what));
    }
  }
  return true;
}

void SourceRunner::TakeLogPositions(int64_t owner_epoch,
                                    const google::protobuf::RepeatedPtrField<registrypb::LogPosition>& positions) {
  LogFilePositions former;
  for (const registrypb::LogPosition& from : positions) {
    LogFilePosition& position = former[from.head()];
    position.file = from.file();
    position.bytes_read = from.bytes();
  }
  logs_.SetFormer(owner_epoch, std::move(former));
}

void SourceRunner::TakeGrant(const Grant& grant) {
  if (grant == grant_) return;
  // What was sampled up to now was sampled under the former grant.
  if (grant_.owned) sampler_.Flush();
  grant_ = grant;
  info_.set_source_id(grant.source_id);
  info_.set_owner_epoch(grant.owner_epoch);
  if (!grant.owned) return;
  texts_.ForgetSent();
  logs_.ForgetSent();
  explainer_.ForgetSent();
  // The first readings are not put off to their place in the interval: somebody waits for them.
  instance_schedule_.BeginAt(BootNs());
  database_schedule_.BeginAt(BootNs());
  log_schedule_.BeginAt(BootNs());
  instance_timer_.cancel();
  database_timer_.cancel();
  activity_timer_.cancel();
  log_timer_.cancel();
}

void SourceRunner::SetUp(bool up) {
  up_.Set(up ? 1 : 0);
  if (state_since_us_ != 0 && up == up_now_) return;
  up_now_ = up;
  state_since_us_ = absl::ToUnixMicros(context_->clock->Now());
  if (context_->on_state) context_->on_state();
}

void SourceRunner::OnAck(const std::string& stream_id, int64_t last_seq) {
  texts_.OnAck(stream_id, last_seq);
}

void SourceRunner::ForgetSentTexts() {
  explainer_.ForgetSent();
  texts_.ForgetSent();
  logs_.ForgetSent();
}

void SourceRunner::Learnt(const SourceSession& session) {
  server_ = {session.epoch.system_identifier, session.connection->server_version(), session.in_recovery};
}

std::shared_ptr<const Baseline> SourceRunner::DurableOf(const MetricShape& shape) const {
  return context_->trackers->Get(TrackerKey(grant_.source_id, 0, shape.name())).baseline;
}

std::shared_ptr<const Baseline> SourceRunner::IfOurs(std::shared_ptr<const Baseline> baseline) const {
  return baseline != nullptr && baseline->observation().owner_epoch == grant_.owner_epoch ? baseline : nullptr;
}

bool SourceRunner::IsOff(const std::string& what) const {
  return (what == kLog && logs_.off()) || what == kLogStates || (what == kExplain && explainer_.off());
}

bool SourceRunner::WatchesAll() const {
  return std::find(config_.databases.begin(), config_.databases.end(), "*") != config_.databases.end();
}

bool SourceRunner::IsWatched(const std::string& database) const {
  return !Watched({database}).empty() && (WatchesAll() || std::find(config_.databases.begin(), config_.databases.end(),
                                                                    database) != config_.databases.end());
}

std::vector<std::string> SourceRunner::HomeCandidates() const {
  std::vector<std::string> names;
  for (const std::string& name : config_.databases) {
    if (name != "*") names.push_back(name);
  }
  if (!WatchesAll()) return names;
  for (const std::string& name : {std::string("postgres"), config_.user}) {
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

std::vector<std::string> SourceRunner::Watched(std::vector<std::string> names) const {
  std::erase_if(names, [&](const std::string& name) {
    return std::find(config_.exclude_databases.begin(), config_.exclude_databases.end(), name) !=
           config_.exclude_databases.end();
  });
  return names;
}

asio::awaitable<void> SourceRunner::Sleep(asio::steady_timer* timer, absl::Duration duration) {
  if (stopping_) co_return;
  timer->expires_after(absl::ToChronoNanoseconds(std::max(duration, absl::ZeroDuration())));
  co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
}

asio::awaitable<void> SourceRunner::Pause(const absl::Status& status, absl::Duration backoff, int refusals) {
  if (!IsRefusal(status) || refusals < 3) {
    co_await Sleep(&instance_timer_, backoff);
    co_return;
  }
  // Each refused login is a line in the server's log.
  const int64_t rest = std::min(kRefusedLoginMostNs, kSecondNs << std::min(refusals + 2, 20));
  const int64_t until = BootNs() + rest;
  const absl::StatusOr<std::string> password = PasswordNow(config_);
  while (!stopping_ && BootNs() < until) {
    co_await Sleep(&instance_timer_, absl::Nanoseconds(std::min(until - BootNs(), kPasswordLookNs)));
    if (config_.password_file.empty()) continue;
    const absl::StatusOr<std::string> now = PasswordNow(config_);
    if (now.ok() && (!password.ok() || *now != *password)) co_return;
  }
}

void SourceRunner::Report(const std::string& what, const absl::Status& status, const SourceSession* session,
                          const std::string& database) {
  const bool news =
      troubles_.Report(what, status, database, BootNs(), session == nullptr ? std::string() : session->facts);
  missing_.Set(static_cast<double>(
      std::ranges::count_if(troubles_.all(), [this](const auto& trouble) { return !IsOff(trouble.first); })));
  if (!news) return;
  if (status.ok()) {
    PGA_LOG(info, "collected again", {{"source", config_.name}, {"what", what}});
  } else if (IsOff(what)) {
    PGA_LOG(info, "the server is not set up for it", {{"source", config_.name}, {"what", what}, {"reason", status}});
  } else {
    PGA_LOG(warn, "not collected", {{"source", config_.name}, {"what", what}, {"reason", status}});
  }
}

void SourceRunner::ReportRights(const SourceSession& session) {
  Report("rows of other users", session.monitor ? absl::OkStatus() : RightsMissing(config_.user, session));
}

bool SourceRunner::Rests(const std::string& what, const SourceSession& session) const {
  return troubles_.Rests(what, BootNs(), session.facts);
}

absl::Status SourceRunner::Publish(ingestpb::SourceInfo info, const Reading& reading, Observation observation,
                                   int64_t scope_id, std::vector<ingestpb::QueryText> texts, Outbox::Done done) {
  return PublishTogether(std::move(info), {&reading}, observation, scope_id, std::move(texts), std::move(done));
}

absl::Status SourceRunner::PublishTogether(ingestpb::SourceInfo info, const std::vector<const Reading*>& readings,
                                           Observation observation, int64_t scope_id,
                                           std::vector<ingestpb::QueryText> texts, Outbox::Done done) {
  if (!grant_.owned) return absl::FailedPreconditionError("the source is another collector's");
  info.set_source_id(grant_.source_id);
  info.set_owner_epoch(grant_.owner_epoch);
  observation.owner_epoch = grant_.owner_epoch;
  for (ingestpb::QueryText& text : texts) text.set_source_id(grant_.source_id);
  Outbox::Parcel parcel;
  parcel.source = std::move(info);
  parcel.texts = std::move(texts);
  struct Advanced {
    std::string tracker;
    std::shared_ptr<const Baseline> next;
    decltype(Trackers::Tracker::generation) generation;
  };
  std::vector<Advanced> advanced;
  for (const Reading* const reading : readings) {
    const std::string tracker_key = TrackerKey(grant_.source_id, scope_id, reading->shape().name());
    const Trackers::Tracker& tracker = context_->trackers->Get(tracker_key);
    if (tracker.pending) return absl::UnavailableError("the last reading is still on its way to the disk");
    PGA_ASSIGN_OR_RETURN(Step step, Advance(tracker.baseline.get(), *reading, observation,
                                            OptionsOf(reading->shape(), tracker_key,
                                                      absl::ToInt64Microseconds(context_->IntervalOf(config_)))));
    resets_.Increment(static_cast<double>(step.resets_seen));
    for (ingestpb::Frame& frame : step.frames) {
      frame.set_source_id(grant_.source_id);
      frame.set_scope_id(scope_id);
      PGA_FRAME_STOP(frame);
      parcel.frames.push_back(std::move(frame));
    }
    parcel.baselines.push_back({tracker_key, std::move(step.patch), step.next});
    advanced.push_back({tracker_key, step.next, tracker.generation});
  }
  for (const Advanced& each : advanced) context_->trackers->Get(each.tracker).pending = true;
  parcel.done = [this, advanced = std::move(advanced), done = std::move(done)](const absl::StatusOr<BatchId>& result) {
    --handed_out_;
    for (const Advanced& each : advanced) {
      Trackers::Tracker& current = context_->trackers->Get(each.tracker);
      current.pending = false;
      if (result.ok() && each.generation == current.generation) current.baseline = each.next;
    }
    if (!result.ok()) refused_.Increment();
    if (done) done(result);
  };
  ++handed_out_;
  context_->outbox->Add(std::move(parcel));
  return absl::OkStatus();
}

asio::awaitable<absl::Status> SourceRunner::Collect(SourceSession* session, std::shared_ptr<MetricTask> task,
                                                    int64_t scope_id, Schedule* schedule, int item,
                                                    absl::Status* lack) {
  const catalogpb::Metric& metric = *task->metric;
  std::optional<Observation> observation;
  absl::Status status = co_await ReadMetric(session, task.get(), &redactor_, context_->clock, &observation);
  if (!status.ok()) co_return status;
  if (!observation.has_value()) co_return absl::OkStatus();  // not for this server
  collections_.Increment();
  *lack = LackOfRights(*session, task->reading);
  status = Publish(
      info_, task->reading, *observation, scope_id, {},
      [this, schedule, item, generation = generation_, name = metric.name()](const absl::StatusOr<BatchId>& result) {
        // What is too large for a batch will not fit the next time either.
        const bool never = result.status().code() == absl::StatusCode::kInvalidArgument;
        Report(absl::StrCat("batch of ", name), never ? result.status() : absl::OkStatus());
        if (!result.ok() && !never && generation == generation_) schedule->RetryAt(item, BootNs() + kRetryRefusedNs);
      });
  if (metric.probe() == "statements") explainer_.Observe(task->reading);
  std::vector<StatementTexts::Id> in_use;
  if (status.ok() && metric.probe() == "statements" && redactor_.mode() != QueryTextMode::kNone) {
    const int dbid = task->shape.Find("dbid");
    const int queryid = task->shape.Find("queryid");
    in_use.reserve(task->reading.rows());
    for (size_t row = 0; row < task->reading.rows(); ++row) {
      in_use.emplace_back(task->reading.Int(row, dbid), task->reading.Int(row, queryid));
    }
  }
  task->reading.Clear();
  // Its own matter: figures of statements are stored whether their texts can be read or not.
  if (!in_use.empty() && !Rests("statement texts", *session) && texts_.IsDue(in_use)) {
    const absl::Status read = co_await SendTexts(session);
    Report("statement texts", read, session);
  }
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::OpenHome(SourceSession* session) {
  absl::Status status = absl::FailedPreconditionError("no database to connect to is named");
  for (const std::string& name : HomeCandidates()) {
    status = co_await OpenSession(&config_, context_->resolver, name, session);
    if (status.ok()) home_ = name;
    // A login that one database refuses may be let into another one.
    if (status.ok() || !IsRefusal(status)) co_return status;
    session->connection.reset();
  }
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::SendTexts(SourceSession* session) {
  if (!any_texts_database_) {
    absl::Status status = co_await texts_.Send(session, info_);
    const std::string state = pg::SqlStateOf(status);
    if (state != "22021" && state != "22P05") co_return status;
  }
  // A text has no form in the encoding of this database, and the server gives all texts or none. In SQL_ASCII it gives
  // them as they are.
  std::vector<std::string> names;
  absl::Status status = co_await ListSqlAsciiDatabases(session, &names);
  if (!status.ok()) co_return status;
  any_texts_database_ = false;
  for (const std::string& name : names) {
    SourceSession other;
    status = co_await OpenSession(&config_, context_->resolver, name, &other);
    if (!status.ok() || !other.extensions.contains("pg_stat_statements")) continue;
    status = co_await texts_.Send(&other, info_);
    any_texts_database_ = status.ok();
    co_return status;
  }
  co_return absl::FailedPreconditionError(
      absl::StrCat("the text of a statement has no form in the encoding of database ", home_,
                   ", and PostgreSQL gives all texts or none; in a database in SQL_ASCII",
                   names.empty() ? std::string() : absl::StrCat(", such as ", names[0], ","),
                   " run: CREATE EXTENSION pg_stat_statements"));
}

asio::awaitable<void> SourceRunner::InstanceLane() {
  retry::Backoff backoff({.initial = absl::Seconds(1), .max = absl::Seconds(60), .multiplier = 2, .jitter = 0.5});
  int refusals = 0;
  int64_t identified_ns = 0;
  SourceSession session;
  while (!stopping_) {
    if (!session.usable()) {
      home_.clear();
      const absl::Status status = co_await OpenHome(&session);
      if (stopping_) co_return;
      Report(kConnection, status);
      if (!status.ok()) {
        SetUp(false);
        session.connection.reset();
        refusals = IsRefusal(status) ? refusals + 1 : 0;
        co_await Pause(status, backoff.Next(), refusals);
        continue;
      }
      refusals = 0;
      backoff.Reset();
      Learnt(session);
      ReportRights(session);
      SetUp(true);
      identified_ns = BootNs();
      PGA_LOG(info, "source connected",
              {{"source", config_.name},
               {"server_version", session.connection->server_version()},
               {"standby", session.in_recovery}});
    }
    // Without the grant the server is asked once an interval whether it is up and what it is.
    const int64_t next = grant_.owned ? instance_schedule_.NextDue()
                                      : identified_ns + absl::ToInt64Nanoseconds(context_->IntervalOf(config_));
    const int64_t wait = next - BootNs();
    if (wait > 0) {
      // Short waits, so that time spent asleep by the host is noticed.
      co_await Sleep(&instance_timer_, absl::Nanoseconds(std::min(wait, kSecondNs)));
      continue;
    }
    absl::Status status = co_await IdentifySession(&session);
    if (!status.ok()) {
      Report(kConnection, status);
      session.connection.reset();
      continue;
    }
    identified_ns = BootNs();
    Learnt(session);
    ReportRights(session);
    if (!grant_.owned) continue;
    const std::vector<int> due = instance_schedule_.TakeDue(BootNs());
    const int generation = generation_;
    for (const int item : due) {
      if (stopping_ || generation != generation_ || session.connection->broken() || !grant_.owned) break;
      const std::shared_ptr<MetricTask> task = instance_tasks_[static_cast<size_t>(item)];
      if (Rests(task->metric->name(), session)) continue;
      absl::Status lack;
      status = co_await Collect(&session, task, 0, &instance_schedule_, item, &lack);
      if (!status.ok()) failures_.Increment();
      Report(task->metric->name(), status.ok() ? lack : status, &session);
    }
    if (!stopping_ && grant_.owned && session.usable()) co_await LogOverSession(&session);
  }
}

asio::awaitable<void> SourceRunner::LogOverSession(SourceSession* session) {
  if (!logs_.enabled() || Rests(kLog, *session)) co_return;
  const int64_t often = kLearnLogEvery * absl::ToInt64Nanoseconds(context_->IntervalOf(config_));
  if (logs_learnt_ns_ == 0 || BootNs() - logs_learnt_ns_ > often) {
    const absl::Status status = co_await logs_.Learn(session);
    Report(kLogStates, status.ok() ? logs_.StatesTold() : absl::OkStatus());
    // That it is read again is said once it has been read.
    if (!status.ok()) {
      Report(kLog, status, session);
      co_return;
    }
    logs_learnt_ns_ = BootNs();
    log_timer_.cancel();
  }
  if (logs_.local() || log_schedule_.TakeDue(BootNs()).empty()) co_return;
  absl::Status status = LogsMayBeRead();
  if (status.ok()) status = co_await logs_.Read(session);
  if (stopping_) co_return;
  Report(kLog, status, session);
}

absl::Status SourceRunner::LogsMayBeRead() const {
  if (!context_->logs_wait || !context_->logs_wait()) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      "half of the buffer on disk waits to be sent; the log is read on once there is room (METRICS_BUFFER_SIZE)");
}

asio::awaitable<void> SourceRunner::LogLane() {
  while (!stopping_) {
    if (!logs_.enabled() || !logs_.local() || !grant_.owned) {
      co_await Sleep(&log_timer_, absl::Seconds(1));
      continue;
    }
    if (!log_schedule_.TakeDue(BootNs()).empty()) {
      absl::Status status = LogsMayBeRead();
      if (status.ok()) status = co_await logs_.ReadLocal();
      if (stopping_) co_return;
      Report(kLog, status);
    }
    if (logs_.SomebodyWaits() && sampler_.enabled()) {
      sample_now_ = true;
      activity_timer_.cancel();
    }
    co_await Sleep(&log_timer_, absl::Nanoseconds(kLogLookNs));
  }
}

asio::awaitable<void> SourceRunner::CollectDatabase(SourceSession* session, std::string name, std::vector<int> due) {
  const int generation = generation_;
  for (const int item : due) {
    if (stopping_ || generation != generation_ || session->connection->broken() || !grant_.owned) co_return;
    const std::shared_ptr<MetricTask> task = database_tasks_[static_cast<size_t>(item)];
    const std::string what = absl::StrCat(task->metric->name(), " of ", name);
    if (Rests(what, *session)) continue;
    absl::Status lack;
    const absl::Status status =
        co_await Collect(session, task, session->database_oid, &database_schedule_, item, &lack);
    if (!status.ok()) failures_.Increment();
    Report(what, status.ok() ? lack : status, session, name);
  }
}

asio::awaitable<absl::Status> SourceRunner::KeepHome(SourceSession* home, std::string* name) {
  if (*name != home_) home->connection.reset();
  *name = home_;
  absl::Status status;
  if (home->usable()) {
    status = co_await IdentifySession(home);
  } else {
    status = co_await OpenSession(&config_, context_->resolver, *name, home);
  }
  co_return status;
}

asio::awaitable<void> SourceRunner::ExplainRound(SourceSession* home, std::string home_name) {
  std::vector<std::string> names;
  absl::Status begun = co_await explainer_.Begin(
      home, [this](const std::string& name) { return IsWatched(name); }, &names);
  for (const std::string& name : names) {
    if (stopping_ || !grant_.owned || !begun.ok()) break;
    const std::string what = absl::StrCat(kExplain, " of ", name);
    if (troubles_.Rests(what, BootNs(), "")) continue;
    SourceSession other;
    SourceSession* session = home;
    absl::Status status;
    if (name != home_name || !home->usable()) {
      session = &other;
      status = co_await OpenSession(&config_, context_->resolver, name, session);
    }
    if (status.ok()) status = co_await explainer_.Explain(session, name);
    if (stopping_) co_return;
    Report(what, status, nullptr, name);
  }
  if (stopping_ || !grant_.owned) co_return;
  Report(kExplain, begun.ok() ? explainer_.End() : begun, home);
}

asio::awaitable<void> SourceRunner::DatabaseLane() {
  // The home database is held open by the other lanes anyway.
  SourceSession home;
  std::string home_name;
  std::vector<std::string> names = Watched(config_.databases);
  while (!stopping_) {
    // A grant ends the wait.
    const int64_t wait = grant_.owned ? database_schedule_.NextDue() - BootNs() : kSecondNs;
    if (grant_.owned && !home_.empty() && explainer_.due()) {
      const absl::Status kept = co_await KeepHome(&home, &home_name);
      if (stopping_) co_return;
      if (kept.ok() && !Rests(kExplain, home)) {
        co_await ExplainRound(&home, home_name);
      } else {
        explainer_.Skip();
        if (!kept.ok()) home.connection.reset();
      }
      continue;
    }
    if (wait > 0 || database_tasks_.empty() || home_.empty()) {
      co_await Sleep(&database_timer_, absl::Nanoseconds(std::clamp(wait, kSecondNs / 10, kSecondNs)));
      continue;
    }
    const std::vector<int> due = database_schedule_.TakeDue(BootNs());
    const int generation = generation_;
    const auto retry = [&] {
      if (generation != generation_) return;
      for (const int item : due) database_schedule_.RetryAt(item, BootNs() + 10 * kSecondNs);
    };
    absl::Status status = co_await KeepHome(&home, &home_name);
    if (status.ok() && WatchesAll()) {
      status = co_await ListDatabases(&home, &names);
      names = Watched(std::move(names));
    }
    Report("list of databases", status);
    if (!status.ok()) {
      home.connection.reset();
      retry();
      continue;
    }
    Learnt(home);
    if (WatchesAll()) {
      for (const std::string& what : troubles_.ForgetDatabasesBut(names)) {
        PGA_LOG(info, "its database is gone", {{"source", config_.name}, {"what", what}});
      }
    }
    bool reached = false;
    for (const std::string& name : names) {
      if (stopping_ || generation != generation_ || !grant_.owned) break;
      if (name == home_name && home.usable()) {
        co_await CollectDatabase(&home, name, due);
        reached = true;
        continue;
      }
      const std::string what = absl::StrCat("database ", name);
      if (troubles_.Rests(what, BootNs(), "")) continue;
      SourceSession session;
      status = co_await OpenSession(&config_, context_->resolver, name, &session);
      Report(what, status, nullptr, name);
      if (!status.ok()) continue;
      reached = true;
      co_await CollectDatabase(&session, name, due);
    }
    if (!reached) retry();
  }
}

asio::awaitable<void> SourceRunner::ActivityLane() {
  retry::Backoff backoff({.initial = absl::Seconds(1), .max = absl::Seconds(60), .multiplier = 2, .jitter = 0.5});
  SourceSession session;
  int64_t next_sample = BootNs();
  while (!stopping_) {
    if (!sampler_.enabled() || context_->activity_interval <= absl::ZeroDuration() || !grant_.owned) {
      session.connection.reset();
      co_await Sleep(&activity_timer_, absl::Seconds(1));
      continue;
    }
    if (!session.usable()) {
      if (home_.empty()) {
        co_await Sleep(&activity_timer_, absl::Milliseconds(100));
        continue;
      }
      const absl::Status status = co_await OpenSession(&config_, context_->resolver, home_, &session);
      if (stopping_) co_return;
      // Apart from the samples themselves: a sample that ran out of time rests, connected again or not.
      Report("connection for activity", status);
      if (!status.ok()) {
        session.connection.reset();
        co_await Sleep(&activity_timer_, backoff.Next());
        continue;
      }
      backoff.Reset();
      Learnt(session);
      sampler_.Connected(info_, session.epoch);
    }
    const int64_t now = BootNs();
    if (now < next_sample && !sample_now_) {
      co_await Sleep(&activity_timer_, absl::Nanoseconds(next_sample - now));
      continue;
    }
    sample_now_ = false;
    const int64_t step = absl::ToInt64Nanoseconds(context_->activity_interval);
    if (now >= next_sample) next_sample += ((now - next_sample) / step + 1) * step;
    if (!Rests("activity", session)) {
      const absl::Status status = co_await sampler_.Sample(&session);
      if (stopping_) co_return;
      Report("activity", status, &session);
    }
    if (!activity_schedule_.TakeDue(BootNs()).empty()) {
      // The server may have been promoted.
      if (session.usable()) {
        const absl::Status status = co_await IdentifySession(&session);
        if (stopping_) co_return;
        Report("connection for activity", status);
        if (status.ok()) Learnt(session);
      }
      sampler_.Connected(info_, session.epoch);
      sampler_.Flush();
    }
  }
}

asio::awaitable<void> SourceRunner::CheckTasks(SourceSession* session, std::string of,
                                               std::vector<std::shared_ptr<MetricTask>> tasks,
                                               std::vector<std::string>* lines) {
  for (const std::shared_ptr<MetricTask>& task : tasks) {
    absl::StatusOr<std::string> sql = SelectSql(*session, *task->metric);
    absl::Status status = sql.status();
    if (sql.ok() && !sql->empty()) {
      status = co_await ReadRows(session, task->metric, *std::move(sql), &redactor_, &task->reading);
      if (status.ok()) status = LackOfRights(*session, task->reading);
    }
    if (!status.ok()) {
      lines->push_back(absl::StrCat("metric ", task->metric->name(), of, ": ", std::string(status.message())));
    }
    if (session->connection->broken()) co_return;
  }
}

asio::awaitable<SourceRunner::Lacks> SourceRunner::Check() {
  Lacks lacks;
  std::vector<std::string>& lines = lacks.broken;
  SourceSession session;
  absl::Status status = co_await OpenHome(&session);
  if (!status.ok()) {
    lines.push_back(absl::StrCat("cannot connect: ", std::string(status.message())));
    co_return lacks;
  }
  if (!session.monitor) lines.push_back(std::string(RightsMissing(config_.user, session).message()));
  if (!session.extensions.contains("pg_stat_statements")) {
    lines.push_back(absl::StrCat("extension pg_stat_statements is not installed in database ", home_,
                                 "; run there: CREATE EXTENSION pg_stat_statements"));
  }
  // What lacks the extension is said above.
  std::vector<std::shared_ptr<MetricTask>> tasks = instance_tasks_;
  std::erase_if(tasks, [&](const auto& task) {
    return !task->metric->extension().empty() && !session.extensions.contains(task->metric->extension());
  });
  co_await CheckTasks(&session, "", std::move(tasks), &lines);
  if (logs_.enabled() && session.usable()) {
    const char* what = kLog;
    status = co_await logs_.Learn(&session);
    const bool known = status.ok();
    if (known) {
      what = kLogStates;
      status = logs_.StatesTold();
    }
    if (!status.ok()) {
      (known || logs_.off() ? lacks.off : lines).push_back(absl::StrCat(what, ": ", std::string(status.message())));
    }
  }
  std::vector<std::string> names = config_.databases;
  if (WatchesAll() && session.usable()) {
    status = co_await ListDatabases(&session, &names);
    if (!status.ok()) lines.push_back(absl::StrCat("list of databases: ", std::string(status.message())));
  }
  for (const std::string& name : Watched(std::move(names))) {
    SourceSession database;
    status = co_await OpenSession(&config_, context_->resolver, name, &database);
    if (!status.ok()) {
      lines.push_back(absl::StrCat("database ", name, ": ", std::string(status.message())));
      continue;
    }
    co_await CheckTasks(&database, absl::StrCat(" of database ", name), database_tasks_, &lines);
    if (!explainer_.enabled() || !database.usable()) continue;
    bool installed = false;
    status = co_await explainer_.Look(&database, name, &installed);
    if (!status.ok()) lines.push_back(absl::StrCat(kExplain, " of ", name, ": ", std::string(status.message())));
  }
  if (status = explainer_.Lack(); !status.ok()) {
    lacks.off.push_back(absl::StrCat(kExplain, ": ", std::string(status.message())));
  }
  co_return lacks;
}

}  // namespace pga::collector
