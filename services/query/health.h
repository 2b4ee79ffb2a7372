// Whether the databases answer. Each probe has at most one attempt under way, so that a server that does not answer
// costs one thread, however many ask.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/exec/thread_pool.h"

namespace pga::query {

// Thread-safe.
class HealthProbe {
 public:
  // `probe` blocks until its deadline at most. It runs on `pool`, which is drained before the probe is destroyed.
  HealthProbe(std::string name, exec::ThreadPool* pool, std::function<absl::Status(clock::SteadyTime)> probe)
      : name_(std::move(name)), pool_(pool), probe_(std::move(probe)) {}

  // Starts an attempt unless one is under way. Never waits.
  void Start(clock::SteadyTime deadline);

  // Start, then waits for an attempt's outcome until `deadline`. DEADLINE_EXCEEDED when it takes longer.
  absl::Status Check(clock::SteadyTime deadline);

 private:
  bool Idle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !running_; }

  const std::string name_;
  exec::ThreadPool* const pool_;
  const std::function<absl::Status(clock::SteadyTime)> probe_;
  absl::Mutex mutex_;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  clock::SteadyTime finished_at_ ABSL_GUARDED_BY(mutex_) = clock::SteadyTime::InfinitePast();
  absl::Status last_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::query
