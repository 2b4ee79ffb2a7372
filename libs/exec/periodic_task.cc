#include "libs/exec/periodic_task.h"

#include <pthread.h>

#include <exception>
#include <functional>
#include <string>
#include <utility>

#include "libs/clock/steady.h"
#include "libs/log/log.h"

namespace pga::exec {

PeriodicTask::PeriodicTask(std::string name, absl::Duration period, clock::Clock* clock, std::function<void()> run)
    : name_(std::move(name)), period_(period), clock_(clock), run_(std::move(run)) {
  absl::MutexLock lock(&join_mutex_);
  thread_ = std::thread([this] { Loop(); });
  pthread_setname_np(thread_.native_handle(), name_.substr(0, 15).c_str());
}

PeriodicTask::~PeriodicTask() {
  Stop();
}

void PeriodicTask::Wake() {
  absl::MutexLock lock(&mutex_);
  woken_ = true;
}

void PeriodicTask::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  absl::MutexLock lock(&join_mutex_);
  if (thread_.joinable()) thread_.join();
}

int64_t PeriodicTask::runs() const {
  absl::MutexLock lock(&mutex_);
  return runs_;
}

bool PeriodicTask::AwaitRuns(int64_t runs, clock::SteadyTime deadline) const {
  absl::MutexLock lock(&mutex_);
  const auto reached = [this, runs]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return runs_ >= runs; };
  return clock::AwaitUntil(mutex_, absl::Condition(&reached), deadline);
}

void PeriodicTask::Loop() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(this, &PeriodicTask::Due), period_);
      if (stopping_) return;
      woken_ = false;
    }
    const clock::Stopwatch watch(clock_);
    try {
      run_();
    } catch (const std::exception& e) {
      PGA_LOG(error, "periodic task ended by an exception", {{"task", name_}, {"what", e.what()}});
    } catch (...) {
      PGA_LOG(error, "periodic task ended by an unknown exception", {{"task", name_}});
    }
    if (watch.Elapsed() > period_) {
      PGA_LOG(debug, "periodic task took longer than its period", {{"task", name_}, {"seconds", watch.Elapsed()}});
    }
    absl::MutexLock lock(&mutex_);
    ++runs_;
  }
}

}  // namespace pga::exec
