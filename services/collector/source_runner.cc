#include "services/collector/source_runner.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/frame/limits.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/log/log.h"
#include "libs/pg/errors.h"
#include "libs/retry/retry.h"
#include "libs/status/status.h"
#include "services/collector/query_text.h"

namespace pga::collector {
namespace {

namespace asio = boost::asio;

constexpr int64_t kSecondNs = 1000000000;
// A metric that lacks a privilege or an extension is tried again after this.
constexpr int64_t kRetryMissingNs = 300 * kSecondNs;
// Frames that the spool refused are read again after this, so that collection goes on soon after there is room.
constexpr int64_t kRetryRefusedNs = 3 * kSecondNs;
// Readers of the blocking tree look back 20 minutes.
constexpr int64_t kBlockingAgainNs = 900 * kSecondNs;
constexpr size_t kMaxTextsAtATime = 5000;
constexpr size_t kTextParcelBytes = 256 << 10;
constexpr int kSessionTimeoutMs = catalog::kDefaultTimeoutMs;

// Everything that names a run of the server's statistics, in one row. All of it is open to every role except the
// checkpointer's start, which needs pg_read_all_stats.
constexpr char kIdentifySql[] =
    "SELECT (SELECT c.system_identifier FROM pg_control_system() c)::int8, "
    "(SELECT c.timeline_id FROM pg_control_checkpoint() c)::int8, "
    "(SELECT a.backend_start FROM pg_stat_activity a WHERE a.backend_type = 'checkpointer' LIMIT 1), "
    "(SELECT b.stats_reset FROM pg_stat_bgwriter b), pg_is_in_recovery(), "
    "pg_has_role(current_user, 'pg_monitor', 'USAGE'), "
    "(SELECT d.oid FROM pg_database d WHERE d.datname = current_database())::int8";

constexpr char kExtensionsSql[] =
    "SELECT e.extname::text, e.extversion::text, n.nspname::text FROM pg_extension e "
    "JOIN pg_namespace n ON n.oid = e.extnamespace";

constexpr char kDatabasesSql[] =
    "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate "
    "AND has_database_privilege(oid, 'CONNECT') ORDER BY datname";

std::string ActivitySql(int version) {
  return absl::StrCat(
      "SELECT datname::text, usename::text, application_name::text, backend_type::text, ",
      version >= 140000 ? "query_id" : "NULL::int8",
      ", state::text, wait_event_type::text, wait_event::text, pid::int8, "
      "(extract(epoch FROM clock_timestamp() - xact_start) * 1000000)::int8, "
      "(CASE WHEN state = 'active' THEN extract(epoch FROM clock_timestamp() - query_start) * 1000000 END)::int8, "
      "(extract(epoch FROM clock_timestamp() - state_change) * 1000000)::int8 "
      "FROM pg_stat_activity");
}

std::string BlockingSql(int version) {
  return absl::StrCat(
      "WITH w AS MATERIALIZED (SELECT a.pid, unnest(pg_blocking_pids(a.pid)) AS blocker FROM pg_stat_activity a "
      "WHERE a.pid = ANY ($1::int4[])) "
      "SELECT DISTINCT w.pid::int8, w.blocker::int8, a.datname::text, a.usename::text, b.usename::text, "
      "a.application_name::text, b.application_name::text, a.wait_event_type::text, a.wait_event::text, a.state::text, "
      "b.state::text, ",
      version >= 140000 ? "a.query_id, b.query_id" : "NULL::int8, NULL::int8",
      ", b.xact_start, w.blocker NOT IN (SELECT v.pid FROM w v), "
      "(extract(epoch FROM clock_timestamp() - ",
      version >= 140000 ? "coalesce((SELECT min(l.waitstart) FROM pg_locks l WHERE l.pid = w.pid AND NOT l.granted), "
                          "a.query_start)"
                        : "a.query_start",
      ") * 1000000)::int8 "
      "FROM w JOIN pg_stat_activity a ON a.pid = w.pid LEFT JOIN pg_stat_activity b ON b.pid = w.blocker");
}

// Quoted for SQL; the name comes from the server's own catalog.
std::string QuoteIdentifier(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    out.push_back(c);
    if (c == '"') out.push_back('"');
  }
  out.push_back('"');
  return out;
}

// Where the columns of a result go in a reading: by name.
class RowReader {
 public:
  RowReader(Reading* reading, std::map<int, QueryTextMode> redacted)
      : reading_(reading), redacted_(std::move(redacted)) {}

  absl::Status operator()(const pg::AsyncRow& row) {
    if (places_.empty()) {
      for (int i = 0; i < row.columns(); ++i) places_.push_back(reading_->shape().Find(row.name(i)));
    }
    reading_->AddRow();
    for (int i = 0; i < row.columns(); ++i) {
      const int column = places_[static_cast<size_t>(i)];
      if (column < 0 || row.IsNull(i)) continue;
      PGA_RETURN_IF_ERROR(Set(row, i, column));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Set(const pg::AsyncRow& row, int i, int column) {
    switch (reading_->shape().type(column)) {
      case catalogpb::COLUMN_TYPE_BOOL: {
        PGA_ASSIGN_OR_RETURN(const bool value, row.Bool(i));
        reading_->SetBool(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_FLOAT8: {
        PGA_ASSIGN_OR_RETURN(const double value, row.Double(i));
        reading_->SetDouble(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_TEXT: {
        PGA_ASSIGN_OR_RETURN(const std::string_view value, row.Text(i));
        const auto redact = redacted_.find(column);
        if (redact == redacted_.end()) {
          reading_->SetText(column, value);
        } else {
          reading_->SetText(column, RedactQuery(value, redact->second));
        }
        break;
      }
      case catalogpb::COLUMN_TYPE_TIMESTAMPTZ: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.TimestampUs(i));
        reading_->SetInt(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_INTERVAL_US: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.IntervalUs(i));
        reading_->SetInt(column, value);
        break;
      }
      case catalogpb::COLUMN_TYPE_PG_LSN: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.Lsn(i));
        reading_->SetInt(column, value);
        break;
      }
      default: {
        PGA_ASSIGN_OR_RETURN(const int64_t value, row.Int(i));
        reading_->SetInt(column, value);
      }
    }
    return absl::OkStatus();
  }

  Reading* reading_;
  std::map<int, QueryTextMode> redacted_;
  std::vector<int> places_;
};

// Columns that hold a statement's text get the same treatment as statements.
std::map<int, QueryTextMode> TextColumns(const MetricShape& shape, QueryTextMode mode) {
  std::map<int, QueryTextMode> columns;
  for (const char* name : {"query", "blocked_query", "blocking_query", "last_query"}) {
    if (const int column = shape.Find(name); column >= 0) columns[column] = mode;
  }
  return columns;
}

std::string TextOf(const pg::AsyncRow& row, int column) {
  auto text = row.Text(column);
  return text.ok() ? std::string(*text) : std::string();
}

int64_t IntOf(const pg::AsyncRow& row, int column) {
  return row.Int(column).value_or(0);
}

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

std::shared_ptr<SourceRunner::Task> SourceRunner::MakeTask(const catalogpb::Metric& metric) const {
  auto task = std::make_shared<Task>();
  task->metric = &metric;
  task->shape = std::make_unique<MetricShape>(metric);
  task->reading = std::make_unique<Reading>(*task->shape);
  return task;
}

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
  activity_task_.reset();
  blocking_task_.reset();
  ++generation_;
  for (const catalogpb::Metric& metric : context_->catalog->metrics()) {
    if (context_->disabled.contains(metric.name())) continue;
    if (metric.probe() == "activity") {
      activity_task_ = MakeTask(metric);
    } else if (metric.probe() == "blocking") {
      blocking_task_ = MakeTask(metric);
    } else if (!metric.probe().empty() && metric.probe() != "statements") {
      continue;
    } else if (metric.scope() == catalogpb::SCOPE_INSTANCE) {
      instance_tasks_.push_back(MakeTask(metric));
      instance_schedule_.Add(metric.interval_factor());
    } else if (metric.scope() == catalogpb::SCOPE_DATABASE) {
      database_tasks_.push_back(MakeTask(metric));
      database_schedule_.Add(metric.interval_factor());
    }
  }
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
  FlushActivity();
}

void SourceRunner::Reconfigure() {
  BuildTasks();
  instance_timer_.cancel();
  database_timer_.cancel();
  activity_timer_.cancel();
}

void SourceRunner::OnAck(const std::string& stream_id, int64_t last_seq) {
  texts_.Acked(stream_id, last_seq);
}

void SourceRunner::ForgetSentTexts() {
  texts_.ForgetAll();
  texts_read_ns_ = 0;
}

ingestpb::SourceInfo SourceRunner::Info(const Session& session) const {
  ingestpb::SourceInfo info;
  info.set_source_id(source_id_);
  info.set_name(config_.name);
  info.set_owner_epoch(config_.owner_epoch);
  info.set_system_identifier(session.epoch.system_identifier);
  info.set_server_version_num(session.connection == nullptr ? 0 : session.connection->server_version());
  info.set_in_recovery(session.in_recovery);
  return info;
}

asio::awaitable<void> SourceRunner::Sleep(asio::steady_timer* timer, absl::Duration duration) {
  if (stopping_) co_return;
  timer->expires_after(absl::ToChronoNanoseconds(std::max(duration, absl::ZeroDuration())));
  co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
}

bool SourceRunner::Report(const std::string& what, const absl::Status& status) {
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
  if (IsMissing(status)) trouble.skip_until_ns = BootNs() + kRetryMissingNs;
  if (status.code() == absl::StatusCode::kDeadlineExceeded) {
    trouble.skip_until_ns = BootNs() + 5 * instance_schedule_.base_interval_ns();
  }
  missing_.Set(static_cast<double>(troubles_.size()));
  if (news) {
    PGA_LOG(warn, "not collected", {{"source", config_.name}, {"what", what}, {"reason", status}});
  }
  return news;
}

bool SourceRunner::Skips(const std::string& what) const {
  const auto it = troubles_.find(what);
  return it != troubles_.end() && BootNs() < it->second.skip_until_ns;
}

asio::awaitable<absl::Status> SourceRunner::Open(std::string database, Session* session) {
  pg::AsyncConnectOptions options;
  options.host = config_.host;
  options.port = config_.port;
  options.user = config_.user;
  options.password = config_.password.Reveal();
  options.database = std::move(database);
  options.sslmode = config_.sslmode;
  options.sslrootcert = config_.sslrootcert;
  options.application_name = "pganalytics-collector";
  options.settings = {{"search_path", "pg_catalog"},
                      {"default_transaction_read_only", "on"},
                      {"lock_timeout", "500"},
                      {"idle_in_transaction_session_timeout", "60000"},
                      {"statement_timeout", std::to_string(kSessionTimeoutMs)},
                      {"timezone", "UTC"}};
  session->connection.reset();
  auto connection = co_await pg::AsyncConnection::Connect(std::move(options), context_->resolver);
  if (!connection.ok()) co_return connection.status();
  session->connection = std::move(*connection);
  if (session->connection->server_version() < 130000) {
    co_return absl::FailedPreconditionError(absl::StrCat("the server is PostgreSQL ",
                                                         session->connection->server_version() / 10000,
                                                         "; 13 is the oldest that can be watched"));
  }
  absl::Status status = co_await Identify(session);
  if (!status.ok()) co_return status;
  session->extensions.clear();
  pg::AsyncConnection::RowSink sink = [session](const pg::AsyncRow& row) {
    session->extensions[TextOf(row, 0)] = {TextOf(row, 1), TextOf(row, 2)};
    return absl::OkStatus();
  };
  status = co_await session->connection->Query(kExtensionsSql, {}, absl::Seconds(6), std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::Identify(Session* session) {
  pg::AsyncConnection::RowSink sink = [session](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(session->epoch.system_identifier, row.Int(0));
    PGA_ASSIGN_OR_RETURN(session->epoch.timeline, row.Int(1));
    PGA_ASSIGN_OR_RETURN(session->epoch.checkpointer_start_us, row.TimestampUs(2));
    PGA_ASSIGN_OR_RETURN(session->epoch.statistics_reset_us, row.TimestampUs(3));
    PGA_ASSIGN_OR_RETURN(session->in_recovery, row.Bool(4));
    PGA_ASSIGN_OR_RETURN(session->monitor, row.Bool(5));
    PGA_ASSIGN_OR_RETURN(session->database_oid, row.Int(6));
    return absl::OkStatus();
  };
  absl::Status status = co_await session->connection->Query(kIdentifySql, {}, absl::Seconds(6), std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::ListDatabases(Session* session, std::vector<std::string>* names) {
  names->clear();
  pg::AsyncConnection::RowSink sink = [names](const pg::AsyncRow& row) {
    names->push_back(TextOf(row, 0));
    return absl::OkStatus();
  };
  absl::Status status = co_await session->connection->Query(kDatabasesSql, {}, absl::Seconds(6), std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::RunReadOnly(pg::AsyncConnection* connection, std::string sql,
                                                        std::vector<std::string> params, absl::Duration timeout,
                                                        pg::AsyncConnection::RowSink sink) {
  const absl::Duration patience = timeout + absl::Seconds(2);
  absl::Status status = co_await connection->Query("BEGIN READ ONLY", {}, absl::Seconds(5), nullptr);
  if (status.ok() && timeout != absl::Milliseconds(kSessionTimeoutMs)) {
    std::string set = absl::StrCat("SET LOCAL statement_timeout = ", absl::ToInt64Milliseconds(timeout));
    status = co_await connection->Query(std::move(set), {}, absl::Seconds(5), nullptr);
  }
  if (status.ok()) {
    status = co_await connection->Query(std::move(sql), std::move(params), patience, std::move(sink));
  }
  if (connection->broken()) co_return status;
  absl::Status end = co_await connection->Query(status.ok() ? "COMMIT" : "ROLLBACK", {}, absl::Seconds(5), nullptr);
  co_return status.ok() ? end : status;
}

asio::awaitable<absl::Status> SourceRunner::ReadRows(Session* session, const catalogpb::Metric& metric, std::string sql,
                                                     Reading* reading) {
  reading->Clear();
  RowReader reader(reading, TextColumns(reading->shape(), context_->query_text));
  const absl::Duration timeout = absl::Milliseconds(catalog::TimeoutMs(metric));
  pg::AsyncConnection::RowSink sink = std::move(reader);
  absl::Status status = co_await RunReadOnly(session->connection.get(), std::move(sql), {}, timeout, std::move(sink));
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::ReadStatementsInfo(Session* session, const Extension& extension,
                                                               int64_t* reset_us, int64_t* evictions) {
  *reset_us = 0;
  *evictions = 0;
  if (catalog::CompareVersions(extension.version, "1.9") < 0) co_return absl::OkStatus();
  std::string sql = absl::StrCat("SELECT stats_reset, dealloc FROM ", QuoteIdentifier(extension.schema),
                                 ".pg_stat_statements_info()");
  pg::AsyncConnection::RowSink sink = [reset_us, evictions](const pg::AsyncRow& row) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(*reset_us, row.TimestampUs(0));
    PGA_ASSIGN_OR_RETURN(*evictions, row.Int(1));
    return absl::OkStatus();
  };
  absl::Status status = co_await session->connection->Query(std::move(sql), {}, absl::Seconds(6), std::move(sink));
  co_return status;
}

absl::Status SourceRunner::Publish(ingestpb::SourceInfo info, const Reading& reading, Observation observation,
                                   int64_t scope_id, Outbox::Done done) {
  const std::string tracker_key = TrackerKey(source_id_, scope_id, reading.shape().name());
  Trackers::Tracker& tracker = context_->trackers->Get(tracker_key);
  if (tracker.pending) return absl::UnavailableError("the last reading is still on its way to the disk");
  PGA_ASSIGN_OR_RETURN(Step step, Advance(tracker.baseline.get(), reading, observation));
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

asio::awaitable<absl::Status> SourceRunner::Collect(Session* session, std::shared_ptr<Task> task, int64_t scope_id,
                                                    Schedule* schedule, int item) {
  const catalogpb::Metric& metric = *task->metric;
  Extension extension;
  if (!metric.extension().empty()) {
    const auto found = session->extensions.find(metric.extension());
    if (found == session->extensions.end()) {
      co_return absl::NotFoundError(absl::StrCat("extension ", metric.extension(), " is not installed"));
    }
    extension = found->second;
  }
  const catalogpb::Query* query =
      catalog::SelectQuery(metric, session->connection->server_version(), session->in_recovery, extension.version);
  if (query == nullptr) co_return absl::OkStatus();  // not for this server
  const std::string sql = catalog::RenderSql(*query, extension.schema);
  const bool statements = metric.probe() == "statements";
  Observation observation;
  int64_t reset_before = 0;
  int64_t evictions_before = 0;
  for (int attempt = 0;; ++attempt) {
    observation = Observation();
    observation.epoch = session->epoch;
    observation.epoch.partial = !metric.privilege().empty() && !session->monitor;
    absl::Status status;
    if (statements) {
      status = co_await ReadStatementsInfo(session, extension, &reset_before, &evictions_before);
      if (!status.ok()) co_return status;
    }
    observation.collected_at_us = WallUs();
    status = co_await ReadRows(session, metric, sql, task->reading.get());
    if (!status.ok()) co_return status;
    if (!statements) break;
    status = co_await ReadStatementsInfo(session, extension, &observation.view_reset_us, &observation.evictions);
    if (!status.ok()) co_return status;
    // A reset between the two readings cannot be placed: the rows may be of either side.
    if (observation.view_reset_us == reset_before) {
      observation.evicting = observation.evictions != evictions_before;
      break;
    }
    if (attempt == 2) co_return absl::AbortedError("pg_stat_statements is being reset all the time");
  }
  collections_.Increment();
  absl::Status status = Publish(
      Info(*session), *task->reading, observation, scope_id,
      [this, schedule, item, generation = generation_, name = metric.name()](const absl::StatusOr<BatchId>& result) {
        // What is too large for a batch will not fit the next time either.
        const bool never = result.status().code() == absl::StatusCode::kInvalidArgument;
        Report(absl::StrCat("batch of ", name), never ? result.status() : absl::OkStatus());
        if (!result.ok() && !never && generation == generation_) schedule->RetryAt(item, BootNs() + kRetryRefusedNs);
      });
  std::vector<StatementTexts::Id> in_use;
  if (status.ok() && statements && context_->query_text != QueryTextMode::kNone) {
    const int dbid = task->shape->Find("dbid");
    const int queryid = task->shape->Find("queryid");
    in_use.reserve(task->reading->rows());
    for (size_t row = 0; row < task->reading->rows(); ++row) {
      in_use.emplace_back(task->reading->Int(row, dbid), task->reading->Int(row, queryid));
    }
  }
  task->reading->Clear();
  if (!in_use.empty()) status = co_await SendTexts(session, std::move(in_use));
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::SendTexts(Session* session, std::vector<StatementTexts::Id> in_use) {
  const int64_t now = BootNs();
  std::vector<StatementTexts::Id> due = texts_.Due(in_use, now);
  const int64_t every_ns = absl::ToInt64Nanoseconds(context_->statement_text_interval);
  if (due.empty() || (texts_read_ns_ != 0 && now - texts_read_ns_ < every_ns)) co_return absl::OkStatus();
  texts_read_ns_ = now;
  std::set<StatementTexts::Id> wanted(due.begin(), due.end());
  std::set<int64_t> ids;
  for (const auto& [database, query] : due) {
    if (ids.size() < kMaxTextsAtATime) ids.insert(query);
  }
  const Extension extension = session->extensions["pg_stat_statements"];
  std::string sql = absl::StrCat("SELECT s.dbid::int8, s.queryid, s.query FROM ", QuoteIdentifier(extension.schema),
                                 ".pg_stat_statements(true) s WHERE s.queryid = ANY ($1::int8[])");
  std::vector<std::string> params = {absl::StrCat("{", absl::StrJoin(ids, ","), "}")};
  auto parcels = std::make_shared<std::vector<std::pair<Outbox::Parcel, std::vector<StatementTexts::Id>>>>();
  size_t bytes = kTextParcelBytes;
  pg::AsyncConnection::RowSink sink = [&, parcels](const pg::AsyncRow& row) {
    const StatementTexts::Id id(IntOf(row, 0), IntOf(row, 1));
    if (wanted.erase(id) == 0 || row.IsNull(2)) return absl::OkStatus();
    bool replaced = false;
    if (bytes >= kTextParcelBytes) {
      parcels->emplace_back();
      parcels->back().first.source = Info(*session);
      bytes = 0;
    }
    ingestpb::QueryText& text = parcels->back().first.texts.emplace_back();
    text.set_source_id(source_id_);
    text.set_database_id(id.first);
    text.set_query_id(id.second);
    // Cleaned first, because only whole characters can be told apart from literals.
    const std::string clean = frame::SanitizeText(TextOf(row, 2), frame::kMaxQueryTextBytes / 4, &replaced);
    text.set_text(RedactQuery(clean, context_->query_text));
    parcels->back().second.push_back(id);
    bytes += text.text().size() + 32;
    return absl::OkStatus();
  };
  absl::Status status = co_await RunReadOnly(session->connection.get(), std::move(sql), std::move(params),
                                             absl::Seconds(30), std::move(sink));
  if (!status.ok()) co_return status;
  for (auto& [parcel, sent] : *parcels) {
    parcel.done = [this, sent = std::move(sent)](const absl::StatusOr<BatchId>& result) {
      if (result.ok()) {
        texts_.Spooled(sent, *result, BootNs());
      } else {
        texts_read_ns_ = 0;
      }
    };
    context_->outbox->Add(std::move(parcel));
  }
  co_return absl::OkStatus();
}

asio::awaitable<void> SourceRunner::InstanceLane() {
  const std::string home = config_.databases[0] == "*" ? "postgres" : config_.databases[0];
  retry::Backoff backoff({.initial = absl::Seconds(1), .max = absl::Seconds(60), .multiplier = 2, .jitter = 0.5});
  Session session;
  while (!stopping_) {
    if (session.connection == nullptr || session.connection->broken()) {
      up_.Set(0);
      const absl::Status status = co_await Open(home, &session);
      if (stopping_) co_return;
      Report("connection", status);
      if (!status.ok()) {
        session.connection.reset();
        co_await Sleep(&instance_timer_, backoff.Next());
        continue;
      }
      backoff.Reset();
      up_.Set(1);
      Report("rows of other users", session.monitor ? absl::OkStatus()
                                                    : absl::PermissionDeniedError(absl::StrCat(
                                                          "login ", config_.user,
                                                          " lacks the role pg_monitor, so that statements and sessions "
                                                          "of others are hidden; run: GRANT pg_monitor TO ",
                                                          QuoteIdentifier(config_.user))));
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
    absl::Status status = co_await Identify(&session);
    if (!status.ok()) {
      Report("connection", status);
      session.connection.reset();
      continue;
    }
    const std::vector<int> due = instance_schedule_.TakeDue(BootNs());
    const int generation = generation_;
    for (const int item : due) {
      if (stopping_ || generation != generation_ || session.connection->broken()) break;
      const std::shared_ptr<Task> task = instance_tasks_[static_cast<size_t>(item)];
      if (Skips(task->metric->name())) continue;
      status = co_await Collect(&session, task, 0, &instance_schedule_, item);
      if (!status.ok()) failures_.Increment();
      Report(task->metric->name(), status);
    }
  }
}

asio::awaitable<void> SourceRunner::DatabaseLane() {
  const bool all = std::find(config_.databases.begin(), config_.databases.end(), "*") != config_.databases.end();
  const std::string home = config_.databases[0] == "*" ? "postgres" : config_.databases[0];
  const size_t max_sessions = static_cast<size_t>(std::max(config_.max_connections - 2, 1));
  std::map<std::string, Session> sessions;
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
      Session& session = sessions[home];
      absl::Status status;
      if (session.connection == nullptr || session.connection->broken()) status = co_await Open(home, &session);
      if (status.ok()) status = co_await ListDatabases(&session, &names);
      if (!status.ok()) {
        Report("list of databases", status);
        sessions.erase(home);
        retry();
        continue;
      }
      Report("list of databases", status);
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
      Session& session = sessions[name];
      session.last_used_ns = BootNs();
      absl::Status status;
      if (session.connection == nullptr || session.connection->broken()) {
        status = co_await Open(name, &session);
      } else {
        status = co_await Identify(&session);
      }
      Report(absl::StrCat("database ", name), status);
      if (!status.ok()) {
        sessions.erase(name);
        closed_until[name] = BootNs() + 9 * kSecondNs;
        continue;
      }
      reached = true;
      for (const int item : due) {
        if (stopping_ || generation != generation_ || session.connection->broken()) break;
        const std::shared_ptr<Task> task = database_tasks_[static_cast<size_t>(item)];
        const std::string what = absl::StrCat(task->metric->name(), " of ", name);
        if (Skips(what)) continue;
        status = co_await Collect(&session, task, session.database_oid, &database_schedule_, item);
        if (!status.ok()) failures_.Increment();
        Report(what, status);
      }
    }
    if (!reached) retry();
  }
}

asio::awaitable<absl::Status> SourceRunner::SampleActivity(Session* session) {
  std::string waiting;
  // A sample that fails half-way is none: it must not count as one with nobody in it.
  ActivityCounts counts;
  counts.BeginSample();
  pg::AsyncConnection::RowSink sink = [&counts, &waiting](const pg::AsyncRow& row) {
    SampledSession sample;
    sample.datname = TextOf(row, 0);
    sample.usename = TextOf(row, 1);
    sample.application_name = TextOf(row, 2);
    sample.backend_type = TextOf(row, 3);
    sample.query_id = IntOf(row, 4);
    sample.state = TextOf(row, 5);
    sample.wait_event_type = TextOf(row, 6);
    sample.wait_event = TextOf(row, 7);
    sample.xact_age_us = IntOf(row, 9);
    sample.query_age_us = IntOf(row, 10);
    sample.state_age_us = IntOf(row, 11);
    if (sample.wait_event_type == "Lock") absl::StrAppend(&waiting, waiting.empty() ? "" : ",", IntOf(row, 8));
    counts.Add(sample);
    return absl::OkStatus();
  };
  std::string sql = ActivitySql(session->connection->server_version());
  absl::Status status = co_await session->connection->Query(std::move(sql), {}, absl::Seconds(6), std::move(sink));
  if (!status.ok()) co_return status;
  activity_.Merge(counts);
  if (blocking_task_ == nullptr) co_return status;
  // After a start nobody knows what the last process said; a tree that lasts is said again, because readers look back
  // only so far.
  const bool say = !blocked_.has_value() || (!blocked_->empty() && BootNs() - blocked_said_ns_ > kBlockingAgainNs);
  if (say || !waiting.empty() || !blocked_->empty()) status = co_await ReadBlocking(session, std::move(waiting), say);
  co_return status;
}

asio::awaitable<absl::Status> SourceRunner::ReadBlocking(Session* session, std::string pids, bool say) {
  const std::shared_ptr<Task> task = blocking_task_;
  Reading& reading = *task->reading;
  reading.Clear();
  Observation observation;
  observation.epoch = session->epoch;
  observation.collected_at_us = WallUs();
  std::set<std::pair<int64_t, int64_t>> blocked;
  if (!pids.empty()) {
    static constexpr const char* kColumns[] = {"blocked_pid",
                                               "blocking_pid",
                                               "datname",
                                               "blocked_usename",
                                               "blocking_usename",
                                               "blocked_application_name",
                                               "blocking_application_name",
                                               "wait_event_type",
                                               "wait_event",
                                               "blocked_state",
                                               "blocking_state",
                                               "blocked_query_id",
                                               "blocking_query_id",
                                               "blocking_xact_start",
                                               "blocking_is_root",
                                               "waited_us"};
    const MetricShape& shape = *task->shape;
    pg::AsyncConnection::RowSink sink = [&](const pg::AsyncRow& row) -> absl::Status {
      if (!blocked.emplace(IntOf(row, 0), IntOf(row, 1)).second) return absl::OkStatus();
      reading.AddRow();
      for (int i = 0; i < row.columns(); ++i) {
        const int column = shape.Find(kColumns[i]);
        if (column < 0 || row.IsNull(i)) continue;
        if (shape.type(column) == catalogpb::COLUMN_TYPE_TEXT) {
          reading.SetText(column, TextOf(row, i));
        } else if (shape.type(column) == catalogpb::COLUMN_TYPE_TIMESTAMPTZ) {
          PGA_ASSIGN_OR_RETURN(const int64_t value, row.TimestampUs(i));
          reading.SetInt(column, value);
        } else {
          reading.SetInt(column, IntOf(row, i));
        }
      }
      return absl::OkStatus();
    };
    std::string sql = BlockingSql(session->connection->server_version());
    std::vector<std::string> params = {absl::StrCat("{", pids, "}")};
    absl::Status status =
        co_await session->connection->Query(std::move(sql), std::move(params), absl::Seconds(6), std::move(sink));
    if (!status.ok()) co_return status;
  }
  if (!say && blocked == blocked_) co_return absl::OkStatus();
  absl::Status status = Publish(Info(*session), reading, observation, 0, [this](const absl::StatusOr<BatchId>& result) {
    if (!result.ok()) blocked_.reset();  // the next sample sends again
  });
  if (status.ok()) {
    blocked_ = std::move(blocked);
    blocked_said_ns_ = BootNs();
  }
  co_return absl::OkStatus();
}

void SourceRunner::FlushActivity() {
  if (activity_.empty() || activity_task_ == nullptr || !activity_info_.has_value()) return;
  auto counts = std::make_shared<ActivityCounts>(std::exchange(activity_, ActivityCounts()));
  Reading& reading = *activity_task_->reading;
  reading.Clear();
  counts->Fill(&reading);
  Observation observation = activity_observation_;
  observation.collected_at_us = WallUs();
  const absl::Status status = Publish(*activity_info_, reading, observation, 0, [this, counts](const auto& result) {
    if (!result.ok()) activity_.Merge(*counts);
  });
  if (!status.ok()) activity_.Merge(*counts);
}

asio::awaitable<void> SourceRunner::ActivityLane() {
  const std::string home = config_.databases[0] == "*" ? "postgres" : config_.databases[0];
  retry::Backoff backoff({.initial = absl::Seconds(1), .max = absl::Seconds(60), .multiplier = 2, .jitter = 0.5});
  Session session;
  int64_t next_sample = BootNs();
  while (!stopping_) {
    if (activity_task_ == nullptr || context_->activity_interval <= absl::ZeroDuration()) {
      session.connection.reset();
      co_await Sleep(&activity_timer_, absl::Seconds(1));
      continue;
    }
    if (session.connection == nullptr || session.connection->broken()) {
      const absl::Status status = co_await Open(home, &session);
      if (stopping_) co_return;
      Report("activity", status);
      if (!status.ok()) {
        session.connection.reset();
        co_await Sleep(&activity_timer_, backoff.Next());
        continue;
      }
      backoff.Reset();
      activity_info_ = Info(session);
      activity_observation_.epoch = session.epoch;
    }
    const int64_t now = BootNs();
    if (now < next_sample) {
      co_await Sleep(&activity_timer_, absl::Nanoseconds(next_sample - now));
      continue;
    }
    const int64_t step = absl::ToInt64Nanoseconds(context_->activity_interval);
    next_sample += ((now - next_sample) / step + 1) * step;
    if (!Skips("activity")) {
      const absl::Status status = co_await SampleActivity(&session);
      if (stopping_) co_return;
      Report("activity", status);
    }
    if (!activity_schedule_.TakeDue(BootNs()).empty()) FlushActivity();
  }
}

asio::awaitable<std::vector<std::string>> SourceRunner::Check() {
  std::vector<std::string> lines;
  const std::string home = config_.databases[0] == "*" ? "postgres" : config_.databases[0];
  Session session;
  absl::Status status = co_await Open(home, &session);
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
  for (const std::shared_ptr<Task>& task : instance_tasks_) {
    if (!task->metric->extension().empty() && !session.extensions.contains(task->metric->extension())) continue;
    Extension extension;
    if (!task->metric->extension().empty()) extension = session.extensions[task->metric->extension()];
    const catalogpb::Query* query = catalog::SelectQuery(*task->metric, session.connection->server_version(),
                                                         session.in_recovery, extension.version);
    if (query == nullptr) continue;
    std::string sql = catalog::RenderSql(*query, extension.schema);
    status = co_await ReadRows(&session, *task->metric, std::move(sql), task->reading.get());
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
