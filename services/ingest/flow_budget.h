// Bounds the rows and bytes of batches between arrival and commit, over all streams. A stream that gets no room is not
// read on, so that its collector's spool fills instead of our memory.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace pga::ingest {

// Thread-safe. First come, first served.
class FlowBudget {
 public:
  FlowBudget(int64_t max_rows, int64_t max_bytes) : max_rows_(max_rows), max_bytes_(max_bytes) {}

  // True: reserved. False: `granted` is called later, on a thread that releases, once the reservation is made; it must
  // not block. A batch larger than the whole budget is let through alone.
  bool Acquire(int64_t rows, int64_t bytes, std::function<void()> granted);
  // Gives back a reservation and grants those that waited for it.
  void Release(int64_t rows, int64_t bytes);

  int64_t rows() const;
  int64_t bytes() const;
  size_t waiting() const;

 private:
  struct Waiter {
    int64_t rows;
    int64_t bytes;
    std::function<void()> granted;
  };
  bool Fits(int64_t rows, int64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return batches_ == 0 || (rows_ + rows <= max_rows_ && bytes_ + bytes <= max_bytes_);
  }
  const int64_t max_rows_;
  const int64_t max_bytes_;
  mutable absl::Mutex mutex_;
  int64_t batches_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t rows_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
