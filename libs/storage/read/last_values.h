// What every series of a source read last: gauges as they were read, counters as the server's own absolute figures. A
// frame carries increases; the absolute figure is that of the newest key frame and the increases since, which is what
// the server showed (docs/adr/2026-11-28-prometheus-counters.md). It falls where the server's counters were reset and
// nowhere else, and it is the same whoever computes it.
//
// What was put together is kept, and only what came since is read. Frames that are missing in between (they may come
// late) are waited for: what came after them is shown, and read again until they are there or another key frame is.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/last_scope.h"
#include "libs/storage/read/reading_order.h"
#include "libs/storage/read/source_reader.h"

namespace pga::storage {

// Thread-safe; blocks until the deadline at most, or until the caller has gone.
class LastValues {
 public:
  // Most rows that are kept of one source, metric and scope; both pointers must outlive this.
  LastValues(pg::ReadPool* pool, clock::Clock* clock, size_t max_rows)
      : pool_(pool), clock_(clock), max_rows_(max_rows) {}

  // Per wanted metric and source, in their order. What is not asked for within an hour is forgotten. Calls take turns;
  // what one has found until its limit the next one has.
  absl::StatusOr<std::vector<std::vector<LastSource>>> Read(const std::vector<LastWanted>& wanted,
                                                            const std::vector<SourceRef>& sources,
                                                            const pg::CallLimit& limit);

 private:
  struct Scope {
    // Everything up to here has come.
    std::shared_ptr<const LastScope> settled;
    // With what came behind a hole; else as settled.
    std::shared_ptr<const LastScope> shown;
    int64_t settled_us = 0;
    // Since when something has been missing behind it; 0 = nothing is.
    int64_t hole_since_us = 0;
  };
  struct Source {
    std::map<int64_t, Scope> scopes;
    int64_t used_us = 0;
  };
  using Sources = absl::flat_hash_map<int32_t, Source>;

  absl::Status Refresh(pg::ReadTransaction& tx, const LastWanted& wanted, const std::vector<SourceRef>& sources,
                       int64_t now_us, Sources* states);
  // Reads what was collected from `from_us` on. Sources whose hole begins before that are added to `deeper`.
  absl::Status Fetch(pg::ReadTransaction& tx, const LastWanted& wanted, int16_t metric_id,
                     const std::vector<int32_t>& sources, int64_t from_us, int64_t now_us, Sources* states,
                     std::vector<int32_t>* deeper);
  // True when what is missing was collected before `from_us`.
  bool Advance(const LastWanted& wanted, ReadingOrder* order, int64_t from_us, int64_t now_us, Source* source);
  void Forget(int64_t now_us);
  bool Idle() const { return !busy_; }

  pg::ReadPool* const pool_;
  clock::Clock* const clock_;
  const size_t max_rows_;
  absl::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  // Used by whose turn it is. By metric and columns.
  std::map<std::string, Sources> states_;
};

}  // namespace pga::storage
