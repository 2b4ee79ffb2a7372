#include "services/ingest/write_queue.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "libs/clock/steady.h"

namespace pga::ingest {

using storage::BatchOutcome;
using storage::BatchResult;
using storage::PreparedBatch;

struct WriteQueue::Instruments {
  explicit Instruments(metrics::Registry* registry)
      : queued_batches(registry->AddGauge("pga_ingest_queue_batches", "Batches waiting for a writer")),
        queued_rows(registry->AddGauge("pga_ingest_queue_rows", "Rows waiting for a writer")),
        refused(registry->AddCounter("pga_ingest_queue_refused_total", "Batches that a full queue refused")),
        groups(registry->AddCounter("pga_ingest_groups_total", "Transactions over one or more batches")),
        rows(registry->AddCounter("pga_ingest_rows_total", "Rows committed")),
        group_rows(registry->AddHistogram("pga_ingest_group_rows", "Rows per group", {},
                                          {10, 100, 300, 1'000, 3'000, 10'000, 30'000, 100'000})),
        group_seconds(registry->AddHistogram("pga_ingest_group_seconds", "Time to write one group")),
        wait_seconds(registry->AddHistogram("pga_ingest_queue_wait_seconds", "Time from decoding to the answer")) {
    static constexpr const char* kNames[] = {"committed", "duplicate", "quarantined", "gap",   "fork", "fenced",
                                             "locked",    "retry",     "schema",      "moved", "stale"};
    for (const char* name : kNames) {
      outcomes.push_back(
          &registry->AddCounter("pga_ingest_batches_total", "Batches by what became of them", {{"outcome", name}}));
    }
  }
  metrics::Gauge& queued_batches;
  metrics::Gauge& queued_rows;
  metrics::Counter& refused;
  metrics::Counter& groups;
  metrics::Counter& rows;
  metrics::Histogram& group_rows;
  metrics::Histogram& group_seconds;
  metrics::Histogram& wait_seconds;
  std::vector<metrics::Counter*> outcomes;
};

WriteQueue::WriteQueue(WriteQueueOptions options, std::vector<std::unique_ptr<BatchWriter>> writers,
                       metrics::Registry* metrics)
    : options_(options), instruments_(metrics == nullptr ? nullptr : std::make_unique<Instruments>(metrics)) {
  for (std::unique_ptr<BatchWriter>& writer : writers) {
    shards_.push_back(std::make_unique<Shard>());
    shards_.back()->writer = std::move(writer);
  }
  for (const std::unique_ptr<Shard>& shard : shards_) {
    shard->thread = std::thread([this, shard = shard.get()] { Run(shard); });
  }
}

WriteQueue::~WriteQueue() {
  Drain(clock::SteadyTime::InfiniteFuture());
}

bool WriteQueue::Submit(std::unique_ptr<PreparedBatch> batch, Done done) {
  const int32_t collector = batch->collector;
  Shard* shard = shards_[static_cast<uint32_t>(collector) % shards_.size()].get();
  const int64_t rows = batch->row_count;
  {
    absl::MutexLock lock(&shard->mutex);
    if (shard->stopping || shard->batches >= options_.max_queued_batches) {
      if (instruments_ != nullptr) instruments_->refused.Increment();
      return false;
    }
    Lane& lane = shard->lanes[collector];
    // A lane that is put off, or that is being written and will be looked at afterwards, is not made ready here.
    lane.entries.push_back({std::move(batch), std::move(done), clock::SteadyNow()});
    ++shard->batches;
    shard->rows += rows;
    if (!lane.ready) {
      lane.ready = true;
      shard->ready.push_back(collector);
    }
  }
  if (instruments_ != nullptr) {
    instruments_->queued_batches.Increment();
    instruments_->queued_rows.Increment(static_cast<double>(rows));
  }
  return true;
}

clock::SteadyTime WriteQueue::WakeWaiting(Shard* shard, clock::SteadyTime now) {
  clock::SteadyTime next = clock::SteadyTime::InfiniteFuture();
  for (size_t left = shard->waiting.size(); left > 0; --left) {
    const int32_t collector = shard->waiting.front();
    shard->waiting.pop_front();
    const clock::SteadyTime due = shard->lanes[collector].not_before;
    // While draining there is no time to wait for.
    if (due <= now || shard->stopping) {
      shard->ready.push_back(collector);
    } else {
      shard->waiting.push_back(collector);
      next = std::min(next, due);
    }
  }
  return next;
}

std::vector<WriteQueue::Entry> WriteQueue::TakeGroup(Shard* shard, clock::SteadyTime now) {
  std::vector<Entry> group;
  int64_t rows = 0;
  size_t bytes = 0;
  std::vector<int32_t> later;
  while (!shard->ready.empty() && group.size() < options_.max_group_batches && rows < options_.max_group_rows &&
         bytes < options_.max_group_bytes) {
    const int32_t collector = shard->ready.front();
    Lane& lane = shard->lanes[collector];
    const bool alone = lane.alone_until > now;
    if (alone && !group.empty()) {
      later.push_back(collector);
      shard->ready.pop_front();
      continue;
    }
    shard->ready.pop_front();
    while (!lane.entries.empty() && group.size() < options_.max_group_batches) {
      Entry& entry = lane.entries.front();
      if (!group.empty() && rows + entry.batch->row_count > options_.max_group_rows) break;
      rows += entry.batch->row_count;
      bytes += entry.batch->MemoryBytes();
      --shard->batches;
      shard->rows -= entry.batch->row_count;
      group.push_back(std::move(entry));
      lane.entries.pop_front();
      if (alone || bytes >= options_.max_group_bytes) break;
    }
    if (lane.entries.empty()) {
      lane.ready = false;
      if (!alone) shard->lanes.erase(collector);
    } else {
      later.push_back(collector);
      // The group is full, or the lane goes batch by batch: the others come first next time.
      if (!alone) break;
    }
    if (alone) break;
  }
  for (const int32_t collector : later) shard->ready.push_back(collector);
  return group;
}

void WriteQueue::WriteOne(Shard* shard, std::vector<Entry> group) {
  std::vector<const PreparedBatch*> batches;
  batches.reserve(group.size());
  int64_t rows = 0;
  for (const Entry& entry : group) {
    batches.push_back(entry.batch.get());
    rows += entry.batch->row_count;
  }
  const clock::SteadyTime started = clock::SteadyNow();
  std::vector<BatchResult> results = shard->writer->WriteGroup(batches);
  const clock::SteadyTime now = clock::SteadyNow();
  if (instruments_ != nullptr) {
    instruments_->groups.Increment();
    instruments_->group_rows.Observe(static_cast<double>(rows));
    instruments_->group_seconds.Observe(absl::ToDoubleSeconds(now - started));
    instruments_->queued_batches.Decrement(static_cast<double>(group.size()));
    instruments_->queued_rows.Decrement(static_cast<double>(rows));
  }

  std::vector<size_t> again;
  for (size_t i = 0; i < group.size(); ++i) {
    Entry& entry = group[i];
    if (instruments_ != nullptr) {
      instruments_->outcomes[static_cast<size_t>(results[i].outcome)]->Increment();
      if (results[i].outcome == BatchOutcome::kCommitted) {
        instruments_->rows.Increment(static_cast<double>(entry.batch->row_count));
      }
    }
    if (results[i].outcome != BatchOutcome::kLocked) continue;
    entry.locked_since = std::min(entry.locked_since, now);
    if (now - entry.locked_since < options_.max_locked_wait) again.push_back(i);
  }
  {
    absl::MutexLock lock(&shard->mutex);
    // Back to the front of their lanes in the old order, so that a stream's batches keep theirs.
    for (auto at = again.rbegin(); at != again.rend() && !shard->stopping; ++at) {
      Entry& entry = group[*at];
      const int32_t collector = entry.batch->collector;
      Lane& lane = shard->lanes[collector];
      lane.alone_until = std::max(lane.alone_until, now + absl::Seconds(1));
      lane.not_before = now + results[*at].retry_after;
      ++shard->batches;
      shard->rows += entry.batch->row_count;
      if (instruments_ != nullptr) {
        instruments_->queued_batches.Increment();
        instruments_->queued_rows.Increment(static_cast<double>(entry.batch->row_count));
      }
      lane.entries.push_front(std::move(entry));
      if (lane.ready) {
        const auto place = std::find(shard->ready.begin(), shard->ready.end(), collector);
        if (place != shard->ready.end()) {
          shard->ready.erase(place);
          shard->waiting.push_back(collector);
        }
      } else {
        lane.ready = true;
        shard->waiting.push_back(collector);
      }
    }
    for (size_t i = 0; i < group.size(); ++i) {
      if (!results[i].poison) continue;
      Lane& lane = shard->lanes[batches[i]->collector];
      lane.alone_until = now + options_.alone_after_poison;
    }
    // Lanes that were kept only for their alone_until.
    absl::erase_if(shard->lanes, [&](const auto& lane) {
      return lane.second.entries.empty() && !lane.second.ready && lane.second.alone_until <= now;
    });
  }
  for (size_t i = 0; i < group.size(); ++i) {
    if (group[i].batch == nullptr) continue;  // went back
    if (instruments_ != nullptr) instruments_->wait_seconds.Observe(absl::ToDoubleSeconds(now - group[i].queued));
    if (results[i].outcome == BatchOutcome::kLocked) {
      results[i].outcome = BatchOutcome::kRetry;
      results[i].retry_after = absl::Seconds(1);
    }
    group[i].done(results[i]);
  }
}

void WriteQueue::Run(Shard* shard) {
  while (true) {
    std::vector<Entry> group;
    {
      absl::MutexLock lock(&shard->mutex);
      while (true) {
        const clock::SteadyTime next = WakeWaiting(shard, clock::SteadyNow());
        if (shard->HasNews()) break;
        clock::AwaitUntil(shard->mutex, absl::Condition(shard, &Shard::HasNews), next);
      }
      if (shard->ready.empty() && shard->stopping) return;
      group = TakeGroup(shard, clock::SteadyNow());
    }
    bool late;
    {
      absl::MutexLock lock(&deadline_mutex_);
      late = clock::SteadyNow() >= drain_deadline_;
    }
    if (!late) {
      WriteOne(shard, std::move(group));
      continue;
    }
    for (Entry& entry : group) {
      BatchResult result;
      result.status = absl::UnavailableError("the service is stopping");
      result.retry_after = absl::Seconds(1);
      entry.done(result);
    }
  }
}

void WriteQueue::Drain(clock::SteadyTime deadline) {
  absl::MutexLock lock(&drain_mutex_);
  if (drained_) return;
  {
    absl::MutexLock deadline_lock(&deadline_mutex_);
    drain_deadline_ = deadline;
  }
  for (const std::unique_ptr<Shard>& shard : shards_) {
    absl::MutexLock shard_lock(&shard->mutex);
    shard->stopping = true;
  }
  for (const std::unique_ptr<Shard>& shard : shards_) shard->thread.join();
  drained_ = true;
}

size_t WriteQueue::queued() const {
  size_t batches = 0;
  for (const std::unique_ptr<Shard>& shard : shards_) {
    absl::MutexLock lock(&shard->mutex);
    batches += shard->batches;
  }
  return batches;
}

int64_t WriteQueue::queued_rows() const {
  int64_t rows = 0;
  for (const std::unique_ptr<Shard>& shard : shards_) {
    absl::MutexLock lock(&shard->mutex);
    rows += shard->rows;
  }
  return rows;
}

}  // namespace pga::ingest
