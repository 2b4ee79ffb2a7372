// Points in time for waits, deadlines, ages and intervals. A wall clock that is set, by an hour or a day, neither
// lengthens nor shortens what is measured with them.
//
// Linking this library also makes every timed wait of Abseil in the process, gRPC's included, one on CLOCK_MONOTONIC
// (steady.cc): Abseil 20220623 waits for a point on the wall clock, and after a step back by an hour would wait that
// hour.
#pragma once

#include <cstdint>
#include <limits>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace pga::clock {

// A point on CLOCK_MONOTONIC, in nanoseconds; means something only within one run of one host. It does not convert to
// or from absl::Time, which is a point on the wall clock and is shown or stored, never waited for. A value type;
// arithmetic saturates at InfinitePast() and InfiniteFuture().
class SteadyTime {
 public:
  // InfinitePast().
  constexpr SteadyTime() = default;

  // Nanoseconds of CLOCK_MONOTONIC.
  static constexpr SteadyTime FromNanos(int64_t nanos) { return SteadyTime(nanos); }
  static constexpr SteadyTime InfinitePast() { return SteadyTime(std::numeric_limits<int64_t>::min()); }
  // As a deadline: none.
  static constexpr SteadyTime InfiniteFuture() { return SteadyTime(std::numeric_limits<int64_t>::max()); }

  constexpr int64_t nanos() const { return nanos_; }
  bool infinite() const { return *this == InfiniteFuture() || *this == InfinitePast(); }

  friend constexpr auto operator<=>(SteadyTime, SteadyTime) = default;

  friend SteadyTime operator+(SteadyTime time, absl::Duration by) {
    if (time.infinite()) return time;
    if (by == absl::InfiniteDuration()) return InfiniteFuture();
    if (by == -absl::InfiniteDuration()) return InfinitePast();
    int64_t sum = 0;
    if (!__builtin_add_overflow(time.nanos_, absl::ToInt64Nanoseconds(by), &sum)) return SteadyTime(sum);
    return by > absl::ZeroDuration() ? InfiniteFuture() : InfinitePast();
  }
  friend SteadyTime operator-(SteadyTime time, absl::Duration by) { return time + -by; }
  friend absl::Duration operator-(SteadyTime to, SteadyTime from) {
    if (to == from) return absl::ZeroDuration();
    if (to == InfiniteFuture() || from == InfinitePast()) return absl::InfiniteDuration();
    if (to == InfinitePast() || from == InfiniteFuture()) return -absl::InfiniteDuration();
    return absl::Nanoseconds(to.nanos_) - absl::Nanoseconds(from.nanos_);
  }
  SteadyTime& operator+=(absl::Duration by) { return *this = *this + by; }

 private:
  constexpr explicit SteadyTime(int64_t nanos) : nanos_(nanos) {}
  int64_t nanos_ = std::numeric_limits<int64_t>::min();
};

// The point now. Never blocks.
SteadyTime SteadyNow();

// Waits, with `mutex` held, until `condition` holds or `deadline` comes; whether it holds at the end. The mutex is
// released during the wait and held again at the return, which a busy mutex can delay.
bool AwaitUntil(absl::Mutex& mutex, const absl::Condition& condition, SteadyTime deadline)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);

// Blocks the thread for `duration`. For programs of the tests and for waits that nothing has to interrupt, of at most
// a second; everything else waits for a condition.
void SleepFor(absl::Duration duration);

}  // namespace pga::clock
