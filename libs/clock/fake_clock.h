#pragma once

// A clock that stands still until it is set. Thread-safe. For tests and for replaying recorded input.

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"

namespace pga::clock {

class FakeClock final : public Clock {
 public:
  // Starts at 2026-01-01 00:00:00 UTC unless another time is given, so that printed times are readable.
  explicit FakeClock(absl::Time start = absl::FromUnixSeconds(1'767'225'600)) : now_(start) {}

  absl::Time Now() override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  int64_t BoottimeNanos() override {
    absl::MutexLock lock(&mutex_);
    return boottime_nanos_;
  }

  // A point on the same clock as BoottimeNanos.
  SteadyTime Steady() override { return SteadyTime::FromNanos(BoottimeNanos()); }

  // Moves both clocks forward (a negative duration moves the wall clock alone, as a correction of the host would).
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
    if (by > absl::ZeroDuration()) boottime_nanos_ += absl::ToInt64Nanoseconds(by);
  }

  // Sets the wall clock alone.
  void SetNow(absl::Time now) {
    absl::MutexLock lock(&mutex_);
    now_ = now;
  }

 private:
  absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_);
  int64_t boottime_nanos_ ABSL_GUARDED_BY(mutex_) = 1'000'000'000;
};

}  // namespace pga::clock
