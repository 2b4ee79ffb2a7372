#pragma once

// One thread that runs a function every period, and at once when woken. Runs never overlap; a run that takes longer
// than the period delays the next one (no catching up).

#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"

namespace pga::exec {

class PeriodicTask {
 public:
  // The first run is one period after the start unless Wake() comes earlier. The period is kept in real time whatever
  // `clock` says; with a FakeClock drive the task by Wake(). `clock` measures the runs and outlives the task. An
  // exception of `run` is logged and does not end the task.
  PeriodicTask(std::string name, absl::Duration period, clock::Clock* clock, std::function<void()> run);

  // Stops.
  ~PeriodicTask();
  PeriodicTask(const PeriodicTask&) = delete;
  PeriodicTask& operator=(const PeriodicTask&) = delete;

  // Asks for a run as soon as possible; several calls before that run count once. Never blocks.
  void Wake();

  // Waits for a running run, then ends the thread. Repeating is safe. Not to be called from the run itself.
  void Stop();

  // Finished runs so far.
  int64_t runs() const;

  // Waits until at least `runs` runs are finished; false when the deadline came first.
  bool AwaitRuns(int64_t runs, clock::SteadyTime deadline) const;

 private:
  void Loop();
  bool Due() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || woken_; }

  const std::string name_;
  const absl::Duration period_;
  clock::Clock* const clock_;
  const std::function<void()> run_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t runs_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Mutex join_mutex_;
  std::thread thread_ ABSL_GUARDED_BY(join_mutex_);
};

}  // namespace pga::exec
