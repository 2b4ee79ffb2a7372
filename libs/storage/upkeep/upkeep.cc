#include "libs/storage/upkeep/upkeep.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/steady.h"
#include "libs/exec/periodic_task.h"
#include "libs/exec/process_name.h"
#include "libs/log/log.h"
#include "libs/pg/conninfo.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

constexpr absl::Duration kConnectTime = absl::Seconds(5);
constexpr absl::Duration kLeaseReturn = absl::Seconds(2);

struct JobRule {
  const char* name;
  absl::Duration period;
};

constexpr JobRule RuleOf(UpkeepJob job) {
  switch (job) {
    case UpkeepJob::kMerge:
      return {"merge", absl::Seconds(15)};
    case UpkeepJob::kFold:
      return {"fold", absl::Minutes(1)};
    case UpkeepJob::kPartitions:
      return {"partitions", absl::Minutes(10)};
    case UpkeepJob::kRetention:
      return {"retention", absl::Minutes(10)};
    case UpkeepJob::kCleanUp:
      return {"cleanup", absl::Minutes(10)};
    case UpkeepJob::kAccounting:
      return {"accounting", absl::Minutes(5)};
  }
  return {"", absl::Minutes(1)};
}

// All null without a registry.
struct Figures {
  explicit Figures(metrics::Registry* registry) {
    if (registry == nullptr) return;
    due = &registry->AddGauge("pga_compactor_due", "Source's metrics with frames of closed hours");
    lag = &registry->AddGauge("pga_compactor_lag_seconds",
                              "Age of the oldest frame whose hour is closed and that is in no block");
    frames = &registry->AddCounter("pga_compactor_frames_total", "Frames merged into blocks");
    rows = &registry->AddCounter("pga_compactor_rows_total", "Rows merged into blocks");
    blocks = &registry->AddCounter("pga_compactor_blocks_total", "Blocks written by merges");
    bytes = &registry->AddCounter("pga_compactor_block_bytes_total", "Bytes of blocks written by merges");
    unreadable = &registry->AddCounter("pga_compactor_unreadable_frames_total",
                                       "Frames put into quarantine because they could not be opened");
    folds = &registry->AddCounter("pga_compactor_folds_total", "Transactions that joined pieces of a span");
    folded = &registry->AddCounter("pga_compactor_folded_pieces_total", "Pieces taken by folds");
    made = &registry->AddCounter("pga_compactor_partitions_made_total", "Partitions made ahead of time");
    dropped = &registry->AddCounter("pga_compactor_partitions_dropped_total", "Partitions dropped by retention");
    cleaned = &registry->AddCounter("pga_compactor_cleaned_rows_total", "Rows deleted by age or size");
    stored_bytes = &registry->AddGauge("pga_compactor_stored_bytes", "Bytes of all blocks");
    for (int i = 0; i < kUpkeepJobs; ++i) {
      const metrics::Labels labels = {{"job", RuleOf(static_cast<UpkeepJob>(i)).name}};
      const auto at = static_cast<size_t>(i);
      leading[at] = &registry->AddGauge("pga_compactor_job_leading", "1 while this process does the job", labels);
      failures[at] = &registry->AddCounter("pga_compactor_job_failures_total",
                                           "Failed runs, and failures of single source's metrics", labels);
      resting[at] =
          &registry->AddGauge("pga_compactor_job_resting", "Source's metrics that rest after a failure", labels);
      seconds[at] = &registry->AddHistogram("pga_compactor_job_seconds", "Duration of a run", labels);
    }
    failed_metrics = [registry](const std::string& job, const std::string& metric) {
      registry
          ->AddCounter("pga_compactor_metric_failures_total", "Failures of a job by metric",
                       {{"job", job}, {"metric", metric}})
          .Increment();
    };
  }
  static void Add(metrics::Counter* counter, int64_t by) {
    if (counter != nullptr && by > 0) counter->Increment(static_cast<double>(by));
  }
  static void Set(metrics::Gauge* gauge, double value) {
    if (gauge != nullptr) gauge->Set(value);
  }

  metrics::Gauge* due = nullptr;
  metrics::Gauge* lag = nullptr;
  metrics::Counter* frames = nullptr;
  metrics::Counter* rows = nullptr;
  metrics::Counter* blocks = nullptr;
  metrics::Counter* bytes = nullptr;
  metrics::Counter* unreadable = nullptr;
  metrics::Counter* folds = nullptr;
  metrics::Counter* folded = nullptr;
  metrics::Counter* made = nullptr;
  metrics::Counter* dropped = nullptr;
  metrics::Counter* cleaned = nullptr;
  metrics::Gauge* stored_bytes = nullptr;
  std::array<metrics::Gauge*, kUpkeepJobs> leading = {};
  std::array<metrics::Counter*, kUpkeepJobs> failures = {};
  std::array<metrics::Gauge*, kUpkeepJobs> resting = {};
  std::array<metrics::Histogram*, kUpkeepJobs> seconds = {};
  std::function<void(const std::string&, const std::string&)> failed_metrics;
};

}  // namespace

std::string_view NameOf(UpkeepJob job) {
  return RuleOf(job).name;
}

struct Upkeep::Parts {
  // A job's connection, kept between runs, and what is logged of it.
  struct Lane {
    // Held by the run.
    absl::Mutex run_mutex;
    absl::Mutex mutex;
    std::shared_ptr<pg::CopyConnection> connection ABSL_GUARDED_BY(mutex);
    JobState state ABSL_GUARDED_BY(mutex);
    std::unique_ptr<exec::PeriodicTask> task;
  };

  explicit Parts(UpkeepOptions with)
      : options(std::move(with)),
        holder(options.holder.empty() ? exec::UniqueProcessName() : options.holder),
        figures(options.registry),
        merge(options.merge, options.clock,
              [this](const SourceMetric& key, const MergeOutcome& did, const absl::Status& status) {
                Merged(key, did, status);
              }),
        fold(options.fold, options.clock, &hints,
             [this](const SourceMetric& key, const FoldOutcome& did, const absl::Status& status) {
               Figures::Add(figures.folds, did.folds);
               Figures::Add(figures.folded, did.pieces);
               if (!status.ok()) FailedOne(UpkeepJob::kFold, key, status);
             }) {}

  void Merged(const SourceMetric& key, const MergeOutcome& did, const absl::Status& status) {
    if (!status.ok()) return FailedOne(UpkeepJob::kMerge, key, status);
    Figures::Add(figures.frames, did.frames);
    Figures::Add(figures.rows, did.rows);
    Figures::Add(figures.blocks, did.blocks);
    Figures::Add(figures.bytes, did.bytes);
    Figures::Add(figures.unreadable, did.quarantined);
    if (did.blocks > 0) hints.Written(key);
    if (did.quarantined > 0) {
      PGA_LOG(warn, "frames that cannot be opened were put into quarantine",
              {{"source_id", key.first}, {"metric", table.NameOf(key.second)}, {"frames", did.quarantined}});
    }
  }

  void FailedOne(UpkeepJob job, const SourceMetric& key, const absl::Status& status) {
    PGA_LOG(warn, "a source's metric failed and rests; the others go on",
            {{"job", RuleOf(job).name},
             {"source_id", key.first},
             {"metric", table.NameOf(key.second)},
             {"status", status}});
    if (figures.failed_metrics) figures.failed_metrics(RuleOf(job).name, table.NameOf(key.second));
    Failed(job, status);
  }

  void Failed(UpkeepJob job, const absl::Status& status) {
    Lane& lane = lanes[static_cast<size_t>(job)];
    if (auto* counter = figures.failures[static_cast<size_t>(job)]; counter != nullptr) counter->Increment();
    absl::MutexLock lock(&lane.mutex);
    ++lane.state.failures;
    lane.state.last_failure = status;
  }

  absl::StatusOr<std::shared_ptr<pg::CopyConnection>> Connect(Lane& lane) {
    {
      absl::MutexLock lock(&lane.mutex);
      if (lane.connection != nullptr && lane.connection->ok()) return lane.connection;
    }
    pg::CopyConnectionOptions to;
    PGA_ASSIGN_OR_RETURN(to.url, pg::WritableConninfo(options.url));
    to.application_name = "pga-compactor";
    to.role = "pganalytics_maintenance";
    to.statement_timeout = kStatementTime;
    to.lock_timeout = absl::Seconds(5);
    to.idle_in_transaction_timeout = kTransactionTime;
    PGA_ASSIGN_OR_RETURN(std::shared_ptr<pg::CopyConnection> connection,
                         pg::CopyConnection::Connect(to, clock::SteadyNow() + kConnectTime));
    absl::MutexLock lock(&lane.mutex);
    lane.connection = connection;
    if (stopping) return absl::CancelledError("the process ends");
    return connection;
  }

  // The database's clock decides: holders need not agree on the time.
  absl::StatusOr<bool> TakeLease(pg::CopyConnection& connection, UpkeepJob job) {
    if (!options.leases || job == UpkeepJob::kAccounting) return true;
    const JobRule rule = RuleOf(job);
    const int64_t seconds = absl::ToInt64Seconds(2 * rule.period + options.budget + 2 * kTransactionTime);
    PGA_ASSIGN_OR_RETURN(
        const pg::Result taken,
        connection.Exec("INSERT INTO metrics.lease AS l (name, holder, expires_at) VALUES ($1, $2, now() + $3::int8 * "
                        "interval '1 second') ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = "
                        "EXCLUDED.expires_at WHERE l.holder = EXCLUDED.holder OR l.expires_at < now() RETURNING 1",
                        {std::string(rule.name), holder, seconds}, clock::SteadyNow() + kStatementTime));
    return !taken.empty();
  }

  // True: there is more to do at once.
  absl::StatusOr<bool> Work(UpkeepJob job, const JobRun& run) {
    switch (job) {
      case UpkeepJob::kMerge: {
        auto more = merge.Run(run);
        Figures::Set(figures.due, static_cast<double>(merge.due()));
        Figures::Set(figures.lag, merge.oldest_us() == 0
                                      ? 0
                                      : static_cast<double>(NowMicros(options.clock) - merge.oldest_us()) / 1e6);
        return more;
      }
      case UpkeepJob::kFold:
        return fold.Run(run);
      case UpkeepJob::kPartitions: {
        PGA_ASSIGN_OR_RETURN(const int64_t made, MakePartitions(run, options.partitions_ahead));
        Figures::Add(figures.made, made);
        PGA_RETURN_IF_ERROR(ApplyReadable(run));
        return false;
      }
      case UpkeepJob::kRetention: {
        PGA_ASSIGN_OR_RETURN(const int64_t dropped, DropExpired(run));
        Figures::Add(figures.dropped, dropped);
        return false;
      }
      case UpkeepJob::kCleanUp: {
        PGA_ASSIGN_OR_RETURN(const int64_t rows, CleanUp(run, options.clean_up));
        Figures::Add(figures.cleaned, rows);
        return false;
      }
      case UpkeepJob::kAccounting: {
        PGA_ASSIGN_OR_RETURN(const bool left, accounting.Run(run));
        int64_t bytes = 0;
        for (const StorageUsage::Entry& entry : accounting.Get()->entries) bytes += entry.usage.bytes;
        Figures::Set(figures.stored_bytes, static_cast<double>(bytes));
        return left;
      }
    }
    return false;
  }

  // One run; `more` says whether there is more to do at once.
  absl::StatusOr<bool> Run(UpkeepJob job, bool force, bool* more) {
    *more = false;
    const auto at = static_cast<size_t>(job);
    Lane& lane = lanes[at];
    absl::MutexLock run_lock(&lane.run_mutex);
    if (stopping) return absl::CancelledError("the process ends");
    const auto connection = Connect(lane);
    const auto leads = connection.ok() ? TakeLease(**connection, job) : absl::StatusOr<bool>(connection.status());
    const bool leading = leads.ok() && *leads;
    Figures::Set(figures.leading[at], leading ? 1 : 0);
    {
      absl::MutexLock lock(&lane.mutex);
      lane.state.leading = leading;
    }
    if (!leads.ok()) {
      Failed(job, leads.status());
      return status::Annotate(leads.status(), "lease");
    }
    if (!*leads) return false;
    const clock::Stopwatch watch(options.clock);
    const absl::Time begun = options.clock->Now();
    JobRun run;
    run.connection = connection->get();
    run.metrics = &table;
    run.clock = options.clock;
    run.stop_at_nanos = options.clock->BoottimeNanos() + absl::ToInt64Nanoseconds(options.budget);
    run.cancelled = &stopping;
    run.force = force;
    run.on_point = options.on_point;
    int64_t failures_before = 0;
    {
      absl::MutexLock lock(&lane.mutex);
      failures_before = lane.state.failures;
    }
    const auto done = Work(job, run);
    const int64_t resting = job == UpkeepJob::kMerge ? merge.resting() : (job == UpkeepJob::kFold ? fold.resting() : 0);
    Figures::Set(figures.resting[at], static_cast<double>(resting));
    if (figures.seconds[at] != nullptr) figures.seconds[at]->Observe(absl::ToDoubleSeconds(watch.Elapsed()));
    if (!done.ok() && !stopping) Failed(job, done.status());
    absl::MutexLock lock(&lane.mutex);
    ++lane.state.runs;
    lane.state.last_run = begun;
    lane.state.last_duration = watch.Elapsed();
    lane.state.resting = resting;
    // A statement that failed may have left the session in a state that nobody knows.
    if (!done.ok()) lane.connection.reset();
    if (!done.ok()) return done.status();
    *more = *done;
    if (lane.state.failures > failures_before) return lane.state.last_failure;
    return true;
  }

  void RunOnThread(UpkeepJob job) {
    bool more = false;
    const auto done = Run(job, false, &more);
    if (!done.ok() && !stopping) {
      PGA_LOG(warn, "upkeep of the metrics database is incomplete",
              {{"job", RuleOf(job).name}, {"status", done.status()}});
    }
    if (more) lanes[static_cast<size_t>(job)].task->Wake();
  }

  void Stop() {
    stopping = true;
    bool threads = false;
    for (Lane& lane : lanes) {
      absl::MutexLock lock(&lane.mutex);
      if (lane.connection != nullptr) lane.connection->Interrupt();
    }
    for (Lane& lane : lanes) {
      if (lane.task == nullptr) continue;
      threads = true;
      lane.task->Stop();
    }
    for (Lane& lane : lanes) {
      absl::MutexLock lock(&lane.mutex);
      lane.connection.reset();
    }
    if (!threads || !options.leases || returned.exchange(true)) return;
    const clock::SteadyTime deadline = clock::SteadyNow() + kLeaseReturn;
    pg::CopyConnectionOptions to;
    to.url = options.url;
    to.application_name = "pga-compactor";
    to.role = "pganalytics_maintenance";
    auto connection = pg::CopyConnection::Connect(to, deadline);
    if (!connection.ok()) return;
    (*connection)->Exec("DELETE FROM metrics.lease WHERE holder = $1", {holder}, deadline).status().IgnoreError();
  }

  const UpkeepOptions options;
  const std::string holder;
  std::atomic<bool> stopping{false};
  std::atomic<bool> returned{false};
  Figures figures;
  MetricTable table;
  FoldHints hints;
  MergeJob merge;
  FoldJob fold;
  Accounting accounting;
  std::array<Lane, kUpkeepJobs> lanes;
};

Upkeep::Upkeep(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {
  for (int i = 0; i < kUpkeepJobs; ++i) {
    Parts::Lane& lane = parts_->lanes[static_cast<size_t>(i)];
    absl::MutexLock lock(&lane.mutex);
    lane.state.name = RuleOf(static_cast<UpkeepJob>(i)).name;
  }
}

std::unique_ptr<Upkeep> Upkeep::Create(UpkeepOptions options) {
  return std::unique_ptr<Upkeep>(new Upkeep(std::make_unique<Parts>(std::move(options))));
}

std::unique_ptr<Upkeep> Upkeep::Start(UpkeepOptions options) {
  auto upkeep = Create(std::move(options));
  Parts* const parts = upkeep->parts_.get();
  for (int i = 0; i < kUpkeepJobs; ++i) {
    const auto job = static_cast<UpkeepJob>(i);
    parts->lanes[static_cast<size_t>(i)].task =
        std::make_unique<exec::PeriodicTask>(absl::StrCat("upkeep-", RuleOf(job).name), RuleOf(job).period,
                                             parts->options.clock, [parts, job] { parts->RunOnThread(job); });
  }
  for (Parts::Lane& lane : parts->lanes) lane.task->Wake();
  return upkeep;
}

Upkeep::~Upkeep() {
  Stop();
}

void Upkeep::Stop() {
  parts_->Stop();
}

absl::StatusOr<bool> Upkeep::RunJob(UpkeepJob job, bool force) {
  bool more = true;
  absl::StatusOr<bool> done = true;
  while (more && done.ok() && *done) {
    done = parts_->Run(job, force, &more);
    if (!force) break;
  }
  return done;
}

std::vector<JobState> Upkeep::States() const {
  std::vector<JobState> states;
  for (Parts::Lane& lane : parts_->lanes) {
    absl::MutexLock lock(&lane.mutex);
    states.push_back(lane.state);
  }
  return states;
}

std::shared_ptr<const StorageUsage> Upkeep::Usage() const {
  return parts_->accounting.Get();
}

absl::StatusOr<std::map<std::string, LeaseHolder>> Upkeep::Leases(clock::SteadyTime deadline) {
  pg::CopyConnectionOptions to;
  to.url = parts_->options.url;
  to.application_name = "pga-compactor";
  to.role = "pganalytics_maintenance";
  PGA_ASSIGN_OR_RETURN(const std::unique_ptr<pg::CopyConnection> connection, pg::CopyConnection::Connect(to, deadline));
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       connection->Exec("SELECT name, holder, (extract(epoch FROM expires_at) * 1000000)::int8 FROM "
                                        "metrics.lease WHERE expires_at > now()",
                                        deadline));
  std::map<std::string, LeaseHolder> leases;
  for (const pg::Row row : rows) {
    leases[std::string(row.Text(0))] = {std::string(row.Text(1)), absl::FromUnixMicros(row.Int64(2))};
  }
  return leases;
}

}  // namespace pga::storage
