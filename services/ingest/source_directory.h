// Integer ids of sources, and whether a collector may write them. Remembers answers, so that only new or changed
// sources cost a query; the writer's transaction checks ownership again under a lock.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "services/ingest/ingest_store.h"

namespace pga::ingest {

// Thread-safe.
class SourceDirectory {
 public:
  // The store must outlive the directory.
  explicit SourceDirectory(IngestStore* store, size_t max_entries = 200'000)
      : store_(store), max_entries_(max_entries) {}

  // One answer per description, in order; blocks until `deadline` at most, and only for what is not remembered.
  absl::StatusOr<std::vector<ResolvedSource>> Resolve(int32_t collector, std::string_view collector_id,
                                                      const std::vector<SourceDescription>& sources,
                                                      clock::SteadyTime deadline);

  // Forgets what is known of a collector's sources, after the database was found to hold something else.
  void Forget(int32_t collector);
  // Forgets all: another database has taken the place of the one that was asked.
  void Clear();

  // Sources resolved since the last call, for their last_seen.
  std::vector<int32_t> TakeActive();

 private:
  struct Entry {
    SourceDescription description;
    ResolvedSource answer;
  };
  using Key = std::pair<int32_t, std::string>;
  IngestStore* const store_;
  const size_t max_entries_;
  absl::Mutex mutex_;
  absl::flat_hash_map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<int32_t> active_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
