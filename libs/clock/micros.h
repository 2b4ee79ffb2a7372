// Spans of time as microseconds.
#pragma once

#include <cstdint>

namespace pga::clock {

inline constexpr int64_t kSecondMicros = 1'000'000;
inline constexpr int64_t kMinuteMicros = 60 * kSecondMicros;
inline constexpr int64_t kHourMicros = 60 * kMinuteMicros;
inline constexpr int64_t kDayMicros = 24 * kHourMicros;

// The greatest multiple of `unit` that is not above the value, also of one below 0; `unit` > 0.
constexpr int64_t FloorTo(int64_t value, int64_t unit) {
  const int64_t rest = value % unit;
  return value - (rest < 0 ? rest + unit : rest);
}

}  // namespace pga::clock
