#include "libs/storage/maintenance.h"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/pg/conninfo.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

// How long a statement of a step may take.
constexpr absl::Duration kStatement = absl::Seconds(50);
// Partitions dropped, and rows deleted, per table and run.
constexpr int kDropLimit = 10;
constexpr int kDeleteLimit = 20'000;
constexpr int kCompressLimit = 2;

std::string DefaultHolder() {
  char host[256] = "host";
  ::gethostname(host, sizeof host - 1);
  return absl::StrCat(host, ":", ::getpid(), ":", std::random_device()());
}

}  // namespace

struct Maintenance::Step {
  const char* name;
  absl::Duration every;
  absl::Status (Maintenance::*run)();
  absl::Time next = absl::InfinitePast();
};

// All null without a registry.
struct Maintenance::Figures {
  explicit Figures(metrics::Registry* registry) {
    if (registry == nullptr) return;
    leader = &registry->AddGauge("pga_storage_maintenance_leader",
                                 "1 while this process keeps the metrics database in order");
    backlog = &registry->AddGauge("pga_storage_rollup_due_hours",
                                  "Hours (of a metric and source) that wait for their rollups");
    oldest = &registry->AddGauge("pga_storage_rollup_lag_seconds", "Age of the oldest hour that waits for its rollups");
    hours = &registry->AddCounter("pga_storage_rollup_hours_total", "Hours (of a metric and source) rolled up");
    expired = &registry->AddCounter("pga_storage_rollup_expired_total",
                                    "Hours left as they were, because their raw rows are gone");
    failed = &registry->AddCounter("pga_storage_rollup_failed_total", "Hours that could not be rolled up");
    made = &registry->AddCounter("pga_storage_partitions_made_total", "Partitions made ahead of time");
    dropped = &registry->AddCounter("pga_storage_partitions_dropped_total", "Partitions dropped by retention");
    compressed = &registry->AddCounter("pga_storage_chunks_compressed_total", "Chunks compressed");
    closed = &registry->AddCounter("pga_storage_ledger_days_closed_total", "Days of the ledger whose count was fixed");
    corrected = &registry->AddCounter("pga_storage_ledger_corrected_rows_total",
                                      "Rows by which fixed counts of the ledger were wrong when counted again");
    quarantine_dropped = &registry->AddCounter("pga_storage_quarantine_dropped_total",
                                               "Batches removed from quarantine because their collector had too many");
    run_seconds = &registry->AddHistogram("pga_storage_maintenance_run_seconds", "Duration of a maintenance run");
    for (const char* step :
         {"lease", "partitions", "rollups", "ledger", "retention", "compression", "quarantine", "cleanup"}) {
      failures[step] = &registry->AddCounter("pga_storage_maintenance_failures_total", "Maintenance steps that failed",
                                             {{"step", step}});
    }
  }
  static void Add(metrics::Counter* counter, int64_t by) {
    if (counter != nullptr && by > 0) counter->Increment(static_cast<double>(by));
  }
  static void Set(metrics::Gauge* gauge, double value) {
    if (gauge != nullptr) gauge->Set(value);
  }
  void Failed(const std::string& step) {
    if (const auto found = failures.find(step); found != failures.end()) found->second->Increment();
  }

  metrics::Gauge* leader = nullptr;
  metrics::Gauge* backlog = nullptr;
  metrics::Gauge* oldest = nullptr;
  metrics::Counter* hours = nullptr;
  metrics::Counter* expired = nullptr;
  metrics::Counter* failed = nullptr;
  metrics::Counter* made = nullptr;
  metrics::Counter* dropped = nullptr;
  metrics::Counter* compressed = nullptr;
  metrics::Counter* closed = nullptr;
  metrics::Counter* corrected = nullptr;
  metrics::Counter* quarantine_dropped = nullptr;
  metrics::Histogram* run_seconds = nullptr;
  std::map<std::string, metrics::Counter*> failures;
};

Maintenance::Maintenance(MaintenanceOptions options)
    : options_(std::move(options)),
      holder_(options_.holder.empty() ? DefaultHolder() : options_.holder),
      steps_({
          {"partitions", absl::Minutes(10), &Maintenance::MakePartitions},
          {"rollups", absl::ZeroDuration(), &Maintenance::Rollups},
          {"ledger", absl::Minutes(5), &Maintenance::Ledger},
          {"retention", absl::Minutes(10), &Maintenance::Retention},
          {"compression", absl::Minutes(10), &Maintenance::Compression},
          {"quarantine", absl::Minutes(1), &Maintenance::Quarantine},
          {"cleanup", absl::Hours(1), &Maintenance::CleanUp},
      }),
      figures_(std::make_unique<Figures>(options_.registry)) {}

std::unique_ptr<Maintenance> Maintenance::Create(MaintenanceOptions options) {
  return std::unique_ptr<Maintenance>(new Maintenance(std::move(options)));
}

std::unique_ptr<Maintenance> Maintenance::Start(MaintenanceOptions options) {
  auto maintenance = Create(std::move(options));
  maintenance->StartThread();
  return maintenance;
}

void Maintenance::StartThread() {
  task_ = std::make_unique<exec::PeriodicTask>("maintenance", options_.period, options_.clock, [this] {
    const auto done = RunOnce();
    if (!done.ok()) PGA_LOG(warn, "maintenance of the metrics database is incomplete", {{"status", done.status()}});
  });
  task_->Wake();
}

absl::StatusOr<std::unique_ptr<Maintenance>> Maintenance::StartOn(const std::string& url, MaintenanceOptions options) {
  pg::PoolOptions pool_options;
  PGA_ASSIGN_OR_RETURN(pool_options.url, pg::WritableConninfo(url));
  pool_options.application_name = "pganalytics-maintenance";
  pool_options.role = "pganalytics_maintenance";
  pool_options.size = 2;
  PGA_ASSIGN_OR_RETURN(auto pool, pg::Pool::Create(std::move(pool_options)));
  options.pool = pool.get();
  auto maintenance = Create(std::move(options));
  maintenance->own_pool_ = std::move(pool);
  maintenance->StartThread();
  return maintenance;
}

Maintenance::~Maintenance() {
  if (task_ == nullptr) return;
  stopping_ = true;
  task_->Stop();
  Exec("DELETE FROM metrics.lease WHERE name = 'maintenance' AND holder = $1", {holder_}).status().IgnoreError();
}

void Maintenance::Wake() {
  if (task_ != nullptr) task_->Wake();
}

absl::StatusOr<pg::Result> Maintenance::Exec(const std::string& sql, const pg::Params& params) {
  return options_.pool->Exec(sql, params, absl::Now() + kStatement);
}

absl::StatusOr<bool> Maintenance::RunOnce(bool force) {
  absl::MutexLock lock(&run_mutex_);
  const clock::Stopwatch watch(options_.clock);
  const auto leased = TakeLease();
  Figures::Set(figures_->leader, leased.ok() && *leased ? 1 : 0);
  if (!leased.ok()) {
    figures_->Failed("lease");
    return status::Annotate(leased.status(), "lease");
  }
  if (!*leased) return false;
  absl::Status first;
  for (Step& step : steps_) {
    const absl::Time now = options_.clock->Now();
    if (stopping_) break;
    if (!force && now < step.next) continue;
    const absl::Status done = (this->*step.run)();
    if (done.ok()) {
      step.next = now + step.every;
      continue;
    }
    figures_->Failed(step.name);
    PGA_LOG(warn, "a maintenance step failed and will be repeated", {{"step", step.name}, {"status", done}});
    if (first.ok()) first = status::Annotate(done, step.name);
    // Without the server the other steps would only wait as long.
    if (done.code() == absl::StatusCode::kUnavailable) break;
  }
  if (figures_->run_seconds != nullptr) figures_->run_seconds->Observe(absl::ToDoubleSeconds(watch.Elapsed()));
  if (!first.ok()) return first;
  return true;
}

// The database's clock decides: holders need not agree on the time.
absl::StatusOr<bool> Maintenance::TakeLease() {
  const int64_t seconds =
      absl::ToInt64Seconds(std::max(2 * options_.period + options_.budget + kStatement, absl::Minutes(3)));
  PGA_ASSIGN_OR_RETURN(
      pg::Result taken,
      Exec("INSERT INTO metrics.lease AS l (name, holder, expires_at) VALUES ('maintenance', $1, now() + $2::int8 * "
           "interval '1 "
           "second') ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at WHERE "
           "l.holder = EXCLUDED.holder OR l.expires_at < now() RETURNING 1",
           {holder_, seconds}));
  return !taken.empty();
}

absl::Status Maintenance::MakePartitions() {
  PGA_ASSIGN_OR_RETURN(pg::Result tables, Exec("SELECT name FROM metrics.time_table ORDER BY name"));
  for (const pg::Row table : tables) {
    PGA_ASSIGN_OR_RETURN(
        pg::Result made,
        Exec("SELECT metrics.ensure_partitions($1, now() - interval '1 hour', now() + $2::int8 * interval '1 second')",
             {std::string(table.Text(0)), absl::ToInt64Seconds(options_.partitions_ahead)}));
    Figures::Add(figures_->made, made[0].Int64(0));
  }
  return absl::OkStatus();
}

absl::Status Maintenance::Rollups() {
  RollupOptions run;
  run.ended_before = options_.clock->Now() - options_.settle;
  run.stop_at = absl::Now() + options_.budget;
  run.cancelled = &stopping_;
  const auto outcome = RunRollups(*options_.pool, run);
  if (outcome.ok()) {
    Figures::Add(figures_->hours, outcome->hours);
    Figures::Add(figures_->expired, outcome->expired);
    Figures::Add(figures_->failed, outcome->failed);
  }
  PGA_ASSIGN_OR_RETURN(pg::Result due, Exec("SELECT count(*), coalesce(extract(epoch FROM now() - min(hour)), 0)::int8 "
                                            "FROM metrics.rollup_dirty WHERE hour <= "
                                            "now() - interval '1 hour'"));
  Figures::Set(figures_->backlog, static_cast<double>(due[0].Int64(0)));
  Figures::Set(figures_->oldest, static_cast<double>(due[0].Int64(1)));
  return outcome.status();
}

absl::Status Maintenance::Ledger() {
  PGA_ASSIGN_OR_RETURN(pg::Result closed, Exec("SELECT metrics.close_ledger_days(now(), 10)"));
  Figures::Add(figures_->closed, closed[0].Int64(0));
  PGA_ASSIGN_OR_RETURN(pg::Result corrected, Exec("SELECT metrics.recheck_ledger_day(now(), interval '12 hours')"));
  if (const int64_t rows = corrected[0].Int64(0); rows > 0) {
    PGA_LOG(warn, "a closed day of the ledger was counted again and put right", {{"rows", rows}});
    Figures::Add(figures_->corrected, rows);
  }
  return absl::OkStatus();
}

absl::Status Maintenance::Retention() {
  PGA_ASSIGN_OR_RETURN(
      pg::Result tables,
      Exec("SELECT name FROM metrics.time_table WHERE retention_days IS NOT NULL ORDER BY kind = 'ledger', name"));
  absl::Status first;
  for (const pg::Row table : tables) {
    if (stopping_) break;
    const std::string name(table.Text(0));
    // A table that readers hold is left for the next run; it must not keep them waiting for long.
    absl::Status dropped =
        options_.pool->InTransaction(absl::Now() + kStatement, [&](pg::Transaction& tx) -> absl::Status {
          PGA_RETURN_IF_ERROR(tx.Exec("SET LOCAL lock_timeout = '2s'").status());
          PGA_ASSIGN_OR_RETURN(
              pg::Result count,
              tx.Exec(
                  "SELECT metrics.drop_partitions(name, now() - make_interval(days => retention_days), $2::int4) FROM "
                  "metrics.time_table WHERE name = $1",
                  {name, kDropLimit}));
          if (!count.empty()) Figures::Add(figures_->dropped, count[0].Int64(0));
          return absl::OkStatus();
        });
    if (!dropped.ok() && first.ok()) first = status::Annotate(dropped, name);
    if (dropped.code() == absl::StatusCode::kUnavailable) break;
  }
  return first;
}

absl::Status Maintenance::Compression() {
  PGA_ASSIGN_OR_RETURN(pg::Result layout, Exec("SELECT metrics.layout()"));
  if (layout[0].Text(0) != "timescaledb") return absl::OkStatus();
  PGA_ASSIGN_OR_RETURN(pg::Result tables,
                       Exec("SELECT name FROM metrics.time_table WHERE kind <> 'record' ORDER BY name"));
  const absl::Time stop = absl::Now() + options_.budget;
  for (const pg::Row table : tables) {
    if (stopping_ || absl::Now() > stop) break;
    PGA_ASSIGN_OR_RETURN(
        pg::Result count,
        Exec("SELECT metrics.compress_chunks($1, now() - $2::int8 * interval '1 second', $3::int4)",
             {std::string(table.Text(0)), absl::ToInt64Seconds(options_.compress_after), kCompressLimit}));
    Figures::Add(figures_->compressed, count[0].Int64(0));
  }
  return absl::OkStatus();
}

// A collector that sends nothing but refused batches must not fill the disk: its oldest ones go.
absl::Status Maintenance::Quarantine() {
  PGA_ASSIGN_OR_RETURN(
      pg::Result dropped,
      Exec("DELETE FROM metrics.quarantine WHERE id = ANY (ARRAY(SELECT k.id FROM (SELECT q.id, sum(q.bytes) OVER "
           "(PARTITION BY q.collector_id ORDER BY q.id DESC) AS newer FROM metrics.quarantine q) k WHERE k.newer > "
           "$1::int8 ORDER BY k.id LIMIT $2::int8))",
           {options_.quarantine_bytes, kDeleteLimit}));
  if (const int64_t batches = dropped.affected_rows(); batches > 0) {
    PGA_LOG(warn, "quarantine holds too much of a collector; its oldest batches were removed", {{"batches", batches}});
    Figures::Add(figures_->quarantine_dropped, batches);
  }
  return absl::OkStatus();
}

// What is not cut by time goes by the row, a bounded number at once.
absl::Status Maintenance::CleanUp() {
  const std::string limit = absl::StrCat(" LIMIT ", kDeleteLimit, "))");
  PGA_RETURN_IF_ERROR(
      Exec(absl::StrCat("DELETE FROM metrics.quarantine WHERE id = ANY (ARRAY(SELECT id FROM metrics.quarantine "
                        "WHERE received_at < now() - interval '30 days'",
                        limit))
          .status());
  const auto expired = [&](const char* table, const char* condition) {
    return absl::StrCat("DELETE FROM metrics.", table, " WHERE ctid = ANY (ARRAY(SELECT ctid FROM metrics.", table,
                        " WHERE ", condition, limit);
  };
  // Rollups, which name texts, live for at most this long.
  PGA_ASSIGN_OR_RETURN(
      pg::Result kept,
      Exec("SELECT coalesce(max(retention_days), 400) FROM metrics.time_table WHERE kind <> 'record'"));
  const std::string longest = absl::StrCat("now() - interval '", kept[0].Int64(0) + 2, " days'");
  // Every frame of a stream that has not moved for longer than raw rows are kept is older than ingest takes: should the
  // stream come back after all, its batches go to quarantine instead of being stored twice.
  PGA_ASSIGN_OR_RETURN(
      pg::Result raw,
      Exec("SELECT greatest(coalesce(max(retention_days), 30) + 2, 40) FROM metrics.time_table WHERE kind = 'raw'"));
  const std::string drained = absl::StrCat("sealed AND updated_at < now() - interval '", raw[0].Int64(0), " days'");
  for (const std::string& sql : {
           expired("lost_interval", absl::StrCat("received_at < ", longest).c_str()),
           // Texts in use are sent again every day, all of them with the daily keyframes.
           expired("query_text", absl::StrCat("last_seen < ", longest).c_str()),
           expired("text", absl::StrCat("last_seen < ", longest).c_str()),
           expired("ingest_watermark", drained.c_str()),
       }) {
    PGA_RETURN_IF_ERROR(Exec(sql).status());
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
