#pragma once

// A fixed number of named threads behind a bounded queue. Work that does not fit is refused, not queued without end, so
// that overload shows at the edge. An exception that escapes a task is logged and ends that task alone.

#include <cstddef>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/exec/bounded_queue.h"

namespace pga::exec {

class ThreadPool {
 public:
  // `threads` >= 1; `max_queue` tasks may wait beside those that run. The name is shown by ps and in logs.
  ThreadPool(std::string name, int threads, size_t max_queue);

  // Drains without limit: tasks still queued are run.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // False when the queue is full or the pool is draining; the task was not kept. Never blocks.
  bool TrySubmit(std::function<void()> task);

  // Refuses new work, lets queued and running tasks finish until the deadline, then drops what is still queued and
  // joins the threads (a running task is waited for: tasks carry their own deadlines). Repeating is safe. Not to be
  // called from a task of this pool.
  void Drain(clock::SteadyTime deadline);

  // Whether Drain has begun: TrySubmit refuses for good.
  bool draining() const { return queue_.closed(); }

  size_t queued() const { return queue_.size(); }
  size_t max_queue() const { return queue_.capacity(); }
  int threads() const { return static_cast<int>(thread_count_); }
  // Tasks running right now.
  int busy() const;
  const std::string& name() const { return name_; }

 private:
  void Run();
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return pending_ == 0; }

  const std::string name_;
  const size_t thread_count_;
  BoundedQueue<std::function<void()>> queue_;
  mutable absl::Mutex mutex_;
  size_t pending_ ABSL_GUARDED_BY(mutex_) = 0;  // queued and running
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool discard_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Mutex join_mutex_;
  std::vector<std::thread> workers_ ABSL_GUARDED_BY(join_mutex_);
};

}  // namespace pga::exec
