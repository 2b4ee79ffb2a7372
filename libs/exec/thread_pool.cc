#include "libs/exec/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include "libs/clock/steady.h"
#include "libs/log/log.h"

namespace pga::exec {

ThreadPool::ThreadPool(std::string name, int threads, size_t max_queue)
    : name_(std::move(name)),
      thread_count_(static_cast<size_t>(std::max(1, threads))),
      max_queue_(max_queue),
      most_running_(std::max<size_t>(1, thread_count_ * 3 / 4)) {
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
  return Submit("", thread_count_ + max_queue_, std::move(task));
}

bool ThreadPool::TrySubmit(std::string_view caller, std::function<void()> task) {
  return Submit(caller, most_running_ + (max_queue_ + 1) / 2, std::move(task));
}

bool ThreadPool::Submit(std::string_view caller, size_t most_of_caller, std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  // A place in the queue is also that of a task which a free thread takes at once.
  if (closed_ || queued_ + taken_ >= thread_count_ + max_queue_) return false;
  auto lane = lanes_.find(caller);
  if (lane == lanes_.end()) lane = lanes_.emplace(caller, Lane()).first;
  if (lane->second.waiting.size() + lane->second.running >= most_of_caller) return false;
  lane->second.waiting.push_back({++submitted_, std::move(task)});
  ++queued_;
  return true;
}

bool ThreadPool::draining() const {
  absl::MutexLock lock(&mutex_);
  return closed_;
}

size_t ThreadPool::queued() const {
  absl::MutexLock lock(&mutex_);
  return queued_;
}

ThreadPool::Lanes::iterator ThreadPool::Next() {
  auto next = lanes_.end();
  for (auto lane = lanes_.begin(); lane != lanes_.end(); ++lane) {
    const Lane& of = lane->second;
    if (of.waiting.empty() || (!lane->first.empty() && of.running >= most_running_)) continue;
    if (next == lanes_.end() || of.running < next->second.running ||
        (of.running == next->second.running && of.waiting.front().number < next->second.waiting.front().number)) {
      next = lane;
    }
  }
  return next;
}

void ThreadPool::Drain(clock::SteadyTime deadline) {
  {
    absl::MutexLock lock(&mutex_);
    closed_ = true;
    if (!clock::AwaitUntil(mutex_, absl::Condition(this, &ThreadPool::Idle), deadline)) {
      discard_ = true;
      PGA_LOG(warn, "thread pool drained by its deadline, queued work dropped",
              {{"pool", name_}, {"pending", queued_ + taken_}});
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
    std::function<void()> task;
    Lanes::iterator lane;
    bool run = false;
    {
      absl::MutexLock lock(&mutex_);
      clock::AwaitUntil(mutex_, absl::Condition(this, &ThreadPool::HasNews), clock::SteadyTime::InfiniteFuture());
      lane = Next();
      if (lane == lanes_.end()) return;
      task = std::move(lane->second.waiting.front().task);
      lane->second.waiting.pop_front();
      ++lane->second.running;
      --queued_;
      ++taken_;
      run = !discard_;
      if (run) ++busy_;
    }
    if (run) {
      try {
        task();
      } catch (const std::exception& e) {
        PGA_LOG(error, "task ended by an exception", {{"pool", name_}, {"what", e.what()}});
      } catch (...) {
        PGA_LOG(error, "task ended by an unknown exception", {{"pool", name_}});
      }
    }
    task = nullptr;  // what the task holds is gone before it counts as finished
    absl::MutexLock lock(&mutex_);
    if (run) --busy_;
    --taken_;
    if (--lane->second.running == 0 && lane->second.waiting.empty()) lanes_.erase(lane);
  }
}

}  // namespace pga::exec
