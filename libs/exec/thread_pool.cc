#include "libs/exec/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "libs/clock/steady.h"
#include "libs/log/log.h"

namespace pga::exec {

ThreadPool::ThreadPool(std::string name, int threads, size_t max_queue)
    : name_(std::move(name)),
      thread_count_(static_cast<size_t>(std::max(1, threads))),
      // The queue also carries the tasks that a free thread takes at once.
      queue_(max_queue + thread_count_) {
  absl::MutexLock lock(&join_mutex_);
  workers_.reserve(thread_count_);
  for (size_t i = 0; i < thread_count_; ++i) {
    workers_.emplace_back([this] { Run(); });
    pthread_setname_np(workers_.back().native_handle(), name_.substr(0, 15).c_str());
  }
}

ThreadPool::~ThreadPool() {
  Drain(clock::SteadyTime::InfiniteFuture());
}

bool ThreadPool::TrySubmit(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  if (pending_ >= queue_.capacity() || !queue_.TryPush(std::move(task))) return false;
  ++pending_;
  return true;
}

void ThreadPool::Drain(clock::SteadyTime deadline) {
  queue_.Close();
  {
    absl::MutexLock lock(&mutex_);
    if (!clock::AwaitUntil(mutex_, absl::Condition(this, &ThreadPool::Idle), deadline)) {
      discard_ = true;
      PGA_LOG(warn, "thread pool drained by its deadline, queued work dropped",
              {{"pool", name_}, {"pending", pending_}});
    }
  }
  absl::MutexLock lock(&join_mutex_);
  for (std::thread& worker : workers_) {
    if (worker.joinable()) worker.join();
  }
}

int ThreadPool::busy() const {
  absl::MutexLock lock(&mutex_);
  return busy_;
}

void ThreadPool::Run() {
  while (true) {
    std::optional<std::function<void()>> task = queue_.Pop(clock::SteadyTime::InfiniteFuture());
    if (!task.has_value()) return;
    bool run = false;
    {
      absl::MutexLock lock(&mutex_);
      run = !discard_;
      if (run) ++busy_;
    }
    if (run) {
      try {
        (*task)();
      } catch (const std::exception& e) {
        PGA_LOG(error, "task ended by an exception", {{"pool", name_}, {"what", e.what()}});
      } catch (...) {
        PGA_LOG(error, "task ended by an unknown exception", {{"pool", name_}});
      }
    }
    task.reset();  // what the task holds is gone before it counts as finished
    absl::MutexLock lock(&mutex_);
    if (run) --busy_;
    --pending_;
  }
}

}  // namespace pga::exec
