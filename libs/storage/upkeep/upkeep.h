// Keeps the metrics database in order: merges, folds, partitions, retention, clean-up, accounting. Each job has a
// thread and a connection of its own, so that one that fails or waits leaves the others alone. Any number of processes
// may run it: a lease per job lets one of them work and another take over when that one is gone. Leases save work; that
// nothing is done twice follows from the transactions.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/storage/upkeep/accounting.h"
#include "libs/storage/upkeep/fold_job.h"
#include "libs/storage/upkeep/housekeeping.h"
#include "libs/storage/upkeep/job.h"
#include "libs/storage/upkeep/merge_job.h"

namespace pga::storage {

enum class UpkeepJob { kMerge, kFold, kPartitions, kRetention, kCleanUp, kAccounting };
inline constexpr int kUpkeepJobs = 6;
std::string_view NameOf(UpkeepJob job);

struct UpkeepOptions {
  // Of the metrics database; a login that may be or become pganalytics_maintenance.
  std::string url;
  // Wall time of hours and days; waits use boot time. Outlives the object.
  clock::Clock* clock = clock::Clock::Real();
  // pga_compactor_* figures; may be null. Outlives the object.
  metrics::Registry* registry = nullptr;
  // Who works, for the lease rows; empty = host name, process id and a random number.
  std::string holder = {};
  // Without leases every process works on everything: for tests of the transactions.
  bool leases = true;
  // How long one run may begin new steps.
  absl::Duration budget = absl::Seconds(40);
  absl::Duration partitions_ahead = absl::Hours(24 * 7);
  MergeOptions merge;
  FoldOptions fold;
  CleanUpOptions clean_up;
  // Called at the moments of UpkeepPoint, on the jobs' threads; for tests.
  std::function<void(UpkeepPoint)> on_point = {};
};

// A job as this process sees it.
struct JobState {
  std::string name;
  // Whether this process does it, as of its last try.
  bool leading = false;
  // Runs that did something here, the last one's beginning (infinite past = none) and length.
  int64_t runs = 0;
  absl::Time last_run = absl::InfinitePast();
  absl::Duration last_duration;
  // Failures of runs and of single source's metrics, and the last one.
  int64_t failures = 0;
  absl::Status last_failure;
  // Source's metrics that rest after a failure.
  int64_t resting = 0;
};

// A row of metrics.lease.
struct LeaseHolder {
  std::string holder;
  absl::Time expires_at;
};

// Thread-safe.
class Upkeep {
 public:
  // Without threads: RunJob is called by the owner.
  static std::unique_ptr<Upkeep> Create(UpkeepOptions options);
  // With threads; the first runs begin at once. The server need not be there yet.
  static std::unique_ptr<Upkeep> Start(UpkeepOptions options);
  // Stops.
  ~Upkeep();

  // Ends running statements, joins the threads, gives the leases back (waits for that at most 2 s). Repeating is safe.
  void Stop();

  // One run on the calling thread. False when another holder has the lease. With `force` everything is looked at, due
  // or resting, until nothing is left. The error is the first failure of the run.
  absl::StatusOr<bool> RunJob(UpkeepJob job, bool force = false);

  std::vector<JobState> States() const;
  // Null before the first accounting.
  std::shared_ptr<const StorageUsage> Usage() const;
  // By job's name.
  absl::StatusOr<std::map<std::string, LeaseHolder>> Leases(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit Upkeep(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::storage
