// Bounds the rows and bytes of batches between arrival and commit, over all streams. A stream that gets no share is not
// read on, so that its collector's spool fills instead of our memory.
//
// A batch larger than the whole budget would have to wait until all others are gone, and they behind it. It takes
// nothing from the budget instead: one such batch at a time is on its way beside the others, which neither waits for
// them nor they for it. What is in memory is therefore at most the budget and one batch of the greatest size.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace pga::ingest {

// Thread-safe. First come, first served, among batches within the budget and among those beyond it.
class FlowBudget {
 public:
  FlowBudget(int64_t max_rows, int64_t max_bytes) : max_rows_(max_rows), max_bytes_(max_bytes) {}

  // True: reserved. False: `granted` is called later, on a thread that releases, once the reservation is made; it must
  // not block.
  bool Acquire(int64_t rows, int64_t bytes, std::function<void()> granted);
  // Gives back a reservation, with the numbers it was made with, and grants those that waited for it.
  void Release(int64_t rows, int64_t bytes);

  // Of all reservations.
  int64_t rows() const;
  int64_t bytes() const;
  size_t waiting() const;

 private:
  struct Waiter {
    int64_t rows;
    int64_t bytes;
    std::function<void()> granted;
  };
  // Batches within the budget, or those beyond it.
  struct Line {
    int64_t batches = 0;
    int64_t rows = 0;
    int64_t bytes = 0;
    std::deque<Waiter> waiters;
  };
  bool Oversized(int64_t rows, int64_t bytes) const { return rows > max_rows_ || bytes > max_bytes_; }
  Line& LineOf(int64_t rows, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return Oversized(rows, bytes) ? oversized_ : within_;
  }
  bool Fits(const Line& line, int64_t rows, int64_t bytes) const {
    return line.batches == 0 || (line.rows + rows <= max_rows_ && line.bytes + bytes <= max_bytes_);
  }

  const int64_t max_rows_;
  const int64_t max_bytes_;
  mutable absl::Mutex mutex_;
  Line within_ ABSL_GUARDED_BY(mutex_);
  Line oversized_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
