// What every series of a source read last: gauges as they were read, counters as the server's own absolute figures. A
// frame carries increases; the absolute figure is that of the newest key frame and the increases since, which is what
// the server showed (docs/adr/2026-11-28-prometheus-counters.md). It falls where the server's counters were reset and
// nowhere else, and it is the same whoever computes it.
//
// What was put together is kept, and only what came since is read. Frames that are missing in between (they may come
// late) are waited for: what came after them is shown, and read again until they are there or another key frame is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
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
#include "libs/columns/row_set.h"
#include "libs/pg/call_limit.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/reading_order.h"
#include "libs/storage/read/source_reader.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// Which columns of a metric.
struct LastWanted {
  const ::pganalytics::catalog::v1::Metric* metric = nullptr;
  // Indexes of columns; their texts are LastRow::labels.
  std::vector<int> labels;
  // Indexes of counters and gauges.
  std::vector<int> values;
};

struct LastRow {
  // NULL is empty.
  std::vector<std::string> labels;
  // In stored units; NaN = not known.
  std::vector<double> values;
};

// One scope (the server, or a database) of a source. Immutable.
struct LastScope {
  // Newest reading, microseconds; 0 = none.
  int64_t newest_us = 0;
  // What the last reading and the one before cover; 0 = not known.
  int64_t length_us = 0;
  int64_t length_before_us = 0;
  // By identity, whose bytes order them; labels may change.
  std::map<std::string, LastRow> rows;
  // Counters are absolute: a key frame was seen.
  bool anchored = false;
  // A counter of some row may have begun anew: it is not known until the next key frame.
  bool uncertain = false;
  // Hashes of the keys of rows beyond the bound.
  std::set<size_t> beyond;

  // Distance of readings; that of a single long one after an outage does not count. 0 = not known.
  int64_t interval_us() const { return length_before_us == 0 ? length_us : std::min(length_us, length_before_us); }
};

// Scopes of one source and metric.
using LastSource = std::vector<std::shared_ptr<const LastScope>>;

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

// Brings one scope forward by readings, each later than the one before. Pure; for LastValues and its tests.
class LastScopeBuilder {
 public:
  // `wanted` and `order` must outlive this. Begins with `before`, which may be null.
  LastScopeBuilder(const LastWanted& wanted, size_t max_rows, std::shared_ptr<const LastScope> before);
  void Apply(const ReadingOrder& order, const ReadingOrder::Reading& reading);
  std::shared_ptr<const LastScope> Finish() const;

 private:
  std::vector<std::string> LabelsOf(const columns::RowSet& rows, size_t row) const;
  std::string KeyOf(const columns::RowSet& rows, size_t row) const;
  void ApplyRow(const columns::RowSet& rows, size_t row, bool absolute);
  void Drop(const columns::RowSet& rows, size_t row);

  const LastWanted& wanted_;
  const size_t max_rows_;
  LastScope state_;
  std::vector<int> identity_, label_columns_;
  bool identity_is_labels_ = false;
  std::vector<uint8_t> counter_;
};

}  // namespace pga::storage
