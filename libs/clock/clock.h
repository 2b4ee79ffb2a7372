#pragma once

// The wall clock, and a clock for ages that tests can move. Code that decides by time takes a Clock*, so that tests can
// use FakeClock (libs/clock/fake_clock.h). All members are thread-safe and do not block.

#include <cstdint>

#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace pga::clock {

// The wall clock now: for what is shown or stored, never for a wait, an age or an interval (libs/clock/steady.h). Where
// tests have to choose it, code takes a Clock*.
absl::Time WallNow();

class Clock {
 public:
  virtual ~Clock() = default;

  // Wall clock (CLOCK_REALTIME). May jump when the host's time is set.
  virtual absl::Time Now() = 0;

  // Nanoseconds of CLOCK_BOOTTIME: never goes back, goes on while the host sleeps. Only differences mean something,
  // and only within one boot.
  virtual int64_t BoottimeNanos() = 0;

  // SteadyNow(), unless a test moves it.
  virtual SteadyTime Steady() = 0;

  // The real clock; lives for ever.
  static Clock* Real();
};

// A point on CLOCK_BOOTTIME to measure spans that must not be bent by a changed wall clock.
class Stopwatch {
 public:
  explicit Stopwatch(Clock* clock) : clock_(clock), start_nanos_(clock->BoottimeNanos()) {}
  absl::Duration Elapsed() const { return absl::Nanoseconds(clock_->BoottimeNanos() - start_nanos_); }
  void Restart() { start_nanos_ = clock_->BoottimeNanos(); }

 private:
  Clock* clock_;
  int64_t start_nanos_;
};

}  // namespace pga::clock
