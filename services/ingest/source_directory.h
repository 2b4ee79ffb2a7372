// Integer ids of sources, and whether a collector may write them. Remembers answers, so that only new or changed
// sources cost a query; the writer's transaction checks the owner epoch again under a lock. What the database does not
// know yet it learns from registry.
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

// Reason (status::ReasonOf) of UNAVAILABLE when registry has not said yet that the collector owns a source.
inline constexpr char kReasonOwnership[] = "OWNERSHIP_NOT_KNOWN";

// Thread-safe.
class SourceDirectory {
 public:
  // Store and authority must outlive the directory.
  SourceDirectory(IngestStore* store, SourceAuthority* authority, size_t max_entries = 200'000)
      : store_(store), authority_(authority), max_entries_(max_entries) {}

  // One answer per description, in order; blocks until `deadline` at most, and only for what is not remembered.
  // UNAVAILABLE with kReasonOwnership while it is not known whether the collector owns one of them.
  absl::StatusOr<std::vector<ResolvedSource>> Resolve(int32_t collector, std::string_view collector_id,
                                                      const std::vector<SourceDescription>& sources,
                                                      clock::SteadyTime deadline);

  // Forgets what is known of these sources (UUIDs), of which registry says something else now.
  void ForgetSources(const std::vector<std::string>& uuids);
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
  // Asks registry for what the database does not know, and carries counters over, until all `answers` can be used.
  absl::Status Settle(int32_t collector, std::string_view collector_id, const std::vector<SourceDescription>& sources,
                      clock::SteadyTime deadline, std::vector<ResolvedSource>* answers);

  IngestStore* const store_;
  SourceAuthority* const authority_;
  const size_t max_entries_;
  absl::Mutex mutex_;
  absl::flat_hash_map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<int32_t> active_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
