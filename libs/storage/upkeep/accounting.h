// What the stored data takes: bytes, rows and blocks per source, metric, level and kind; the queue of frames; the
// tables as the server counts them. Sums of a partition of metrics.block are kept and read again only after the
// partition has changed, so that a look at all of it is cheap.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/storage/upkeep/job.h"

namespace pga::storage {

// Sums over blocks.
struct BlockUsage {
  int64_t blocks = 0;
  // Bytes of their columns and some 220 of each row besides.
  int64_t bytes = 0;
  int64_t frames = 0;
  int64_t rows = 0;
  // Greatest and least instant, us since 1970; 0 = none.
  int64_t oldest_us = 0;
  int64_t newest_us = 0;
};

struct StorageUsage {
  struct Entry {
    int32_t source_id = 0;
    // Both empty when the source is removed.
    std::string source;
    std::string group;
    int16_t metric_id = 0;
    std::string metric;
    int16_t level = 0;
    // FrameKind.
    int16_t kind = 0;
    BlockUsage usage;
  };
  // In order of source, metric, level, kind.
  std::vector<Entry> entries;
  // Texts of statements per source.
  struct Texts {
    int32_t source_id = 0;
    std::string source;
    std::string group;
    int64_t texts = 0;
    int64_t bytes = 0;
  };
  std::vector<Texts> texts;
  // Bytes of tables with their indexes and TOAST; metrics.block with all its partitions.
  std::map<std::string, int64_t> tables;
  // The queue: frames (about, when there are many), the oldest (us since 1970, 0 = none). Its bytes are those of table
  // "frame".
  int64_t queue_frames = 0;
  int64_t queue_oldest_us = 0;
  // Frames that are merged and still take space (about), and what keeps them: who has held a snapshot for more than
  // five minutes that may still ask for them, the longest first, at most 20.
  int64_t queue_dead_frames = 0;
  struct Holder {
    // "session", "prepared transaction" or "replication slot".
    std::string kind;
    // 0 without a process.
    int32_t pid = 0;
    // application_name, identifier or name of the slot.
    std::string name;
    std::string user;
    // Address; empty for a Unix socket, and where the login may not see it.
    std::string client;
    // Since when, as far as it is known; us since 1970.
    int64_t since_us = 0;
    // Transactions that the server has begun since.
    int64_t transactions = 0;
  };
  std::vector<Holder> holders;
  // When this was true; us since 1970.
  int64_t at_us = 0;
  // False while partitions have not been read for the first time.
  bool complete = false;
};

// One thread runs it, any may ask.
class Accounting {
 public:
  // Reads what has changed until the run is over; true when partitions are left.
  absl::StatusOr<bool> Run(const JobRun& run);
  // The last answer; null before the first run.
  std::shared_ptr<const StorageUsage> Get() const;

 private:
  // source, metric, level, kind
  using Key = std::tuple<int32_t, int16_t, int16_t, int16_t>;
  struct Day {
    // Tuples that were ever written to or deleted from the partition; what differs has changed.
    std::string state;
    int64_t read_at_nanos = 0;
    std::map<Key, BlockUsage> usage;
  };

  // Who holds a snapshot, by kind, process and name: the snapshot's oldest transaction, and since when it is held.
  using HolderKey = std::tuple<std::string, int32_t, std::string>;
  struct Held {
    std::string xmin;
    int64_t since_us = 0;
  };

  // Leaves a transaction open.
  absl::StatusOr<bool> ReadUsage(const JobRun& run);
  absl::Status FindHolders(const JobRun& run, StorageUsage* usage);

  std::map<int32_t, Day> days_;
  std::map<HolderKey, Held> held_;
  int64_t texts_at_nanos_ = 0;
  std::vector<StorageUsage::Texts> texts_;
  mutable absl::Mutex mutex_;
  std::shared_ptr<const StorageUsage> last_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::storage
