// Between decoding and the database: one bounded queue per writer, group commit without linger. A collector belongs to
// one writer, so its batches commit in order; a writer takes whatever waits as soon as it is idle. Batches that must
// not share a transaction (their watermark is locked, their collector was poison lately) are written alone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/storage/write/group_writer.h"
#include "libs/storage/write/prepared_batch.h"

namespace pga::ingest {

// What writes groups: storage::GroupWriter, or a fake in tests. Used by one thread.
class BatchWriter {
 public:
  virtual ~BatchWriter() = default;
  virtual std::vector<storage::BatchResult> WriteGroup(const std::vector<const storage::PreparedBatch*>& batches) = 0;
};

struct WriteQueueOptions {
  // A group takes no further batch once it has this many rows or bytes.
  int64_t max_group_rows = 10'000;
  size_t max_group_bytes = size_t{32} << 20;
  size_t max_group_batches = 500;
  // Batches that one writer's queue holds; Submit refuses beyond it.
  size_t max_queued_batches = 20'000;
  // After the database refused a batch, its collector's batches share no transaction for this long.
  absl::Duration alone_after_poison = absl::Minutes(1);
  // How long a batch whose watermark is locked is tried before its collector is asked to repeat it.
  absl::Duration max_locked_wait = absl::Seconds(10);
};

// Thread-safe.
class WriteQueue {
 public:
  // Called once per submitted batch, on a writer's thread; must not block.
  using Done = std::function<void(const storage::BatchResult&)>;

  // One thread per writer. `metrics` may be null and must outlive the queue.
  WriteQueue(WriteQueueOptions options, std::vector<std::unique_ptr<BatchWriter>> writers, metrics::Registry* metrics);
  // Drains without limit.
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  // Never blocks. False when the queue is full or draining; `done` is then not called and the batch is gone.
  bool Submit(std::unique_ptr<storage::PreparedBatch> batch, Done done);

  // Refuses new batches, writes what is queued until `deadline`, answers the rest with kRetry, and joins the threads (a
  // group under way is waited for). Repeating is safe.
  void Drain(clock::SteadyTime deadline);

  size_t queued() const;
  int64_t queued_rows() const;

 private:
  struct Entry {
    std::unique_ptr<storage::PreparedBatch> batch;
    Done done;
    clock::SteadyTime queued;
    clock::SteadyTime locked_since = clock::SteadyTime::InfiniteFuture();
  };
  // The batches of one collector, in order.
  struct Lane {
    std::deque<Entry> entries;
    clock::SteadyTime alone_until;
    clock::SteadyTime not_before;
    bool ready = false;  // is in Shard::ready
  };
  struct Shard {
    mutable absl::Mutex mutex;
    absl::flat_hash_map<int32_t, Lane> lanes ABSL_GUARDED_BY(mutex);
    std::deque<int32_t> ready ABSL_GUARDED_BY(mutex);    // lanes with entries that may be written now
    std::deque<int32_t> waiting ABSL_GUARDED_BY(mutex);  // lanes with entries and a not_before
    size_t batches ABSL_GUARDED_BY(mutex) = 0;
    int64_t rows ABSL_GUARDED_BY(mutex) = 0;
    bool stopping ABSL_GUARDED_BY(mutex) = false;
    std::unique_ptr<BatchWriter> writer;
    std::thread thread;
    bool HasNews() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return stopping || !ready.empty(); }
  };
  struct Instruments;

  void Run(Shard* shard);
  // Moves lanes whose time has come from `waiting` to `ready`; returns when the next one is due.
  clock::SteadyTime WakeWaiting(Shard* shard, clock::SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard->mutex);
  std::vector<Entry> TakeGroup(Shard* shard, clock::SteadyTime now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard->mutex);
  void WriteOne(Shard* shard, std::vector<Entry> group);

  const WriteQueueOptions options_;
  std::vector<std::unique_ptr<Shard>> shards_;
  std::unique_ptr<Instruments> instruments_;
  absl::Mutex drain_mutex_;
  bool drained_ ABSL_GUARDED_BY(drain_mutex_) = false;
  mutable absl::Mutex deadline_mutex_;
  clock::SteadyTime drain_deadline_ ABSL_GUARDED_BY(deadline_mutex_) = clock::SteadyTime::InfiniteFuture();
};

}  // namespace pga::ingest
