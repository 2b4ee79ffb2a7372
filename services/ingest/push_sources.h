// Which sources the readings of a push belong to: the server that bears the collector's host name, and the host itself.
// Registry says whether the collector owns them, as it does for collectors that stream; every push is a report.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/storage/write/prepared_batch.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/source_directory.h"

namespace pga::ingest {

// Claims without a source are of sources that the collector does not own: another one reads them, an administrator
// removed them, or registry does not know the collector.
struct PushTargets {
  storage::SourceClaim server;
  storage::SourceClaim host;
};

// Thread-safe.
class PushSources {
 public:
  // All must outlive the object.
  PushSources(pg::Pool* pool, SourceAuthority* authority, SourceDirectory* directory, clock::Clock* clock)
      : pool_(pool), authority_(authority), directory_(directory), clock_(clock) {}

  // Blocks until `deadline` at most. UNAVAILABLE when registry does not answer and nothing was granted before.
  absl::StatusOr<PushTargets> Resolve(int32_t collector, std::string_view collector_id, std::string_view hostname,
                                      clock::SteadyTime deadline);
  // What was said of the collector's sources holds no more.
  void Forget(int32_t collector);

 private:
  struct Entry {
    PushTargets targets;
    clock::SteadyTime reported;
    absl::Duration interval;
    // Of its first push here.
    absl::Time since;
  };
  using Key = std::pair<int32_t, std::string>;

  pg::Pool* const pool_;
  SourceAuthority* const authority_;
  SourceDirectory* const directory_;
  clock::Clock* const clock_;
  absl::Mutex mutex_;
  absl::flat_hash_map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
