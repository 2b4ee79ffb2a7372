// Everything that keeps the metrics database in order, on one thread: partitions made ahead, rollups, closed days of
// the ledger, retention, compression, clean-up. Many processes may run it; a lease row lets one work at a time, and
// another takes over when that one is gone. Each run does a bounded amount of work and leaves the rest to the next.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/exec/periodic_task.h"
#include "libs/metrics/registry.h"
#include "libs/pg/pool.h"
#include "libs/storage/rollup_job.h"

namespace pga::storage {

struct MaintenanceOptions {
  // Connections of role pganalytics_maintenance; two are enough. Outlives the object.
  pg::Pool* pool = nullptr;
  clock::Clock* clock = clock::Clock::Real();
  // pga_storage_* figures; may be null. Outlives the object.
  metrics::Registry* registry = nullptr;
  // Who works, for the lease row; empty = host name, process id and a random number.
  std::string holder = {};
  absl::Duration period = absl::Minutes(1);
  // Rollups of one run end here; the other steps are short.
  absl::Duration budget = absl::Seconds(40);
  // An hour is computed this long after its end: frames that end in it have arrived by then, as a rule.
  absl::Duration settle = absl::Minutes(2);
  absl::Duration partitions_ahead = absl::Hours(24 * 7);
  // TimescaleDB: chunks that ended this long ago are compressed.
  absl::Duration compress_after = absl::Hours(24 * 3);
  // Bytes that quarantine keeps of one collector; the oldest batches go first.
  int64_t quarantine_bytes = int64_t{256} << 20;
};

class Maintenance {
 public:
  // Starts the thread; the first run begins at once.
  static std::unique_ptr<Maintenance> Start(MaintenanceOptions options);
  // The same with a pool of its own: two connections to `url` in role pganalytics_maintenance. INVALID_ARGUMENT when
  // the URL cannot be parsed; the server need not be there yet.
  static absl::StatusOr<std::unique_ptr<Maintenance>> StartOn(const std::string& url, MaintenanceOptions options);
  // Without a thread: RunOnce is called by the owner (tests).
  static std::unique_ptr<Maintenance> Create(MaintenanceOptions options);
  // Stops: waits for the statement that runs (rollups work in groups of about two seconds, no statement takes more than
  // 50) and gives the lease back.
  ~Maintenance();

  // One run on the calling thread: every step that is due, or all when `force`. False when another holder has the
  // lease. The first error of a step is returned after all steps have had their turn.
  absl::StatusOr<bool> RunOnce(bool force = false);

  // Asks the thread for a run as soon as possible.
  void Wake();

 private:
  struct Step;
  explicit Maintenance(MaintenanceOptions options);
  void StartThread();
  absl::StatusOr<bool> TakeLease();
  absl::Status MakePartitions();
  absl::Status Rollups();
  absl::Status Ledger();
  absl::Status Retention();
  absl::Status Compression();
  absl::Status Quarantine();
  absl::Status CleanUp();
  absl::StatusOr<pg::Result> Exec(const std::string& sql, const pg::Params& params = {});

  std::unique_ptr<pg::Pool> own_pool_;  // of StartOn
  const MaintenanceOptions options_;
  const std::string holder_;
  std::atomic<bool> stopping_{false};
  absl::Mutex run_mutex_;  // RunOnce from the thread and from the owner take turns
  std::vector<Step> steps_ ABSL_GUARDED_BY(run_mutex_);
  struct Figures;
  std::unique_ptr<Figures> figures_;
  std::unique_ptr<exec::PeriodicTask> task_;
};

}  // namespace pga::storage
