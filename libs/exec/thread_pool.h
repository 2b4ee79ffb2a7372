#pragma once

// A fixed number of named threads behind a bounded queue. Work that does not fit is refused, not queued without end, so
// that overload shows at the edge. An exception that escapes a task is logged and ends that task alone. Callers share
// the threads: one who asks for much leaves threads and places in the queue to the others.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"

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

  // The same for a task of one of many callers. The next task that runs is of the caller with the fewest running ones,
  // and of those that came first. Where there is more than one thread, a caller's tasks take at most three quarters of
  // the threads, and half of the places in the queue.
  bool TrySubmit(std::string_view caller, std::function<void()> task);

  // Refuses new work, lets queued and running tasks finish until the deadline, then drops what is still queued and
  // joins the threads (a running task is waited for: tasks carry their own deadlines). Repeating is safe. Not to be
  // called from a task of this pool.
  void Drain(clock::SteadyTime deadline);

  // Whether Drain has begun: TrySubmit refuses for good.
  bool draining() const;

  // Tasks that wait for a thread.
  size_t queued() const;
  size_t max_queue() const { return max_queue_; }
  int threads() const { return static_cast<int>(thread_count_); }
  // Tasks running right now.
  int busy() const;
  const std::string& name() const { return name_; }

 private:
  struct Waiting {
    uint64_t number = 0;
    std::function<void()> task;
  };
  // Tasks of one caller; none is kept without any.
  struct Lane {
    std::deque<Waiting> waiting;
    size_t running = 0;
  };
  using Lanes = std::map<std::string, Lane, std::less<>>;

  bool Submit(std::string_view caller, size_t most_of_caller, std::function<void()> task);
  void Run();
  Lanes::iterator Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasNews() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return (closed_ && queued_ == 0) || Next() != lanes_.end(); }
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queued_ + taken_ == 0; }

  const std::string name_;
  const size_t thread_count_;
  const size_t max_queue_;
  // Threads that tasks of one caller take.
  const size_t most_running_;
  mutable absl::Mutex mutex_;
  Lanes lanes_ ABSL_GUARDED_BY(mutex_);
  uint64_t submitted_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t queued_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t taken_ ABSL_GUARDED_BY(mutex_) = 0;  // by threads that have not finished them
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool discard_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Mutex join_mutex_;
  std::vector<std::thread> workers_ ABSL_GUARDED_BY(join_mutex_);
};

}  // namespace pga::exec
