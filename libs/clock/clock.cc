#include "libs/clock/clock.h"

#include <time.h>

#include "absl/time/clock.h"

namespace pga::clock {
namespace {

class RealClock final : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }
  int64_t BoottimeNanos() override {
    timespec ts{};
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return static_cast<int64_t>(ts.tv_sec) * 1'000'000'000 + ts.tv_nsec;
  }
  SteadyTime Steady() override { return SteadyNow(); }
};

}  // namespace

absl::Time WallNow() {
  return absl::Now();
}

Clock* Clock::Real() {
  static RealClock clock;
  return &clock;
}

}  // namespace pga::clock
