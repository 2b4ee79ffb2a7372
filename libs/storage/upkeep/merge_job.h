// Closed hours of metrics.frame become blocks: per source and metric, in one transaction, frames are taken by DELETE
// ... RETURNING and written as raw blocks and as pieces of hours and days. A snapshot sees each frame once, as itself
// or in blocks of every level; a second process that works at the same time gets nothing. Frames that cannot be opened
// go to metrics.quarantine in the same transaction.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <set>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/storage/upkeep/job.h"

namespace pga::storage {

struct MergeOptions {
  // An hour is closed this long after its end: frames that end in it have arrived by then, as a rule.
  absl::Duration settle = absl::Minutes(2);
  // Values (rows x columns) of one transaction, which bounds its memory: about 30 bytes each at the peak. The frames of
  // one instant are never parted.
  int64_t max_values = 8'000'000;
};

// What steps did; adds up.
struct MergeOutcome {
  int64_t frames = 0;
  int64_t rows = 0;
  int64_t blocks = 0;
  int64_t bytes = 0;
  int64_t quarantined = 0;
};

// Not thread-safe.
class MergeJob {
 public:
  // Called for each transaction: what it did, and how it ended.
  using Observer = std::function<void(const SourceMetric&, const MergeOutcome&, const absl::Status&)>;

  MergeJob(MergeOptions options, clock::Clock* clock, Observer observer);

  // Works until nothing is due or the run is over. True: there is more to do at once. A failure of one source's metric
  // lets that rest and is reported to the observer; the returned error is one that concerns the server.
  absl::StatusOr<bool> Run(const JobRun& run);

  // Of the last look at the queue: source's metrics with closed frames, and the oldest of these (us since 1970; 0 =
  // none).
  int64_t due() const { return due_; }
  int64_t oldest_us() const { return oldest_us_; }
  // Source's metrics that rest after a failure.
  int64_t resting() const { return static_cast<int64_t>(rests_.size()); }

 private:
  struct Due {
    SourceMetric key;
    int64_t oldest_us = 0;
  };
  // Fills queue_ with what is due, oldest first, by a scan that jumps over the frames of each key.
  absl::Status Look(const JobRun& run);
  // One transaction for one source's metric; true when more of it is due.
  absl::StatusOr<bool> Step(const JobRun& run, const SourceMetric& key, int64_t max_values, MergeOutcome* outcome);

  const MergeOptions options_;
  clock::Clock* const clock_;
  const Observer observer_;
  Rests rests_;
  std::deque<Due> queue_;
  int64_t next_look_nanos_ = 0;
  int64_t due_ = 0;
  int64_t oldest_us_ = 0;
  // Days whose partition is known to be there.
  std::set<int32_t> partitions_;
};

}  // namespace pga::storage
