#pragma once

// First-in first-out queue between threads with a fixed capacity: producers never wait, they get an answer when it is
// full.

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace pga::exec {

// Thread-safe for any number of producers and consumers.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(size_t capacity) : capacity_(capacity) {}
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  // False, with `item` untouched, when the queue is full or closed. Never blocks.
  bool TryPush(T&& item) {
    absl::MutexLock lock(&mutex_);
    if (closed_ || items_.size() >= capacity_) return false;
    items_.push_back(std::move(item));
    return true;
  }
  bool TryPush(const T& item) {
    T copy(item);
    return TryPush(std::move(copy));
  }

  // Waits until an item is there, the queue is closed and empty, or the deadline passed. What was pushed before Close
  // is still handed out.
  std::optional<T> Pop(clock::SteadyTime deadline) {
    absl::MutexLock lock(&mutex_);
    clock::AwaitUntil(mutex_, absl::Condition(this, &BoundedQueue::HasNews), deadline);
    if (items_.empty()) return std::nullopt;
    std::optional<T> item(std::move(items_.front()));
    items_.pop_front();
    return item;
  }

  // Refuses further items and wakes all who wait. May be repeated.
  void Close() {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
  }

  bool closed() const {
    absl::MutexLock lock(&mutex_);
    return closed_;
  }

 private:
  bool HasNews() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closed_ || !items_.empty(); }

  const size_t capacity_;
  mutable absl::Mutex mutex_;
  std::deque<T> items_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pga::exec
