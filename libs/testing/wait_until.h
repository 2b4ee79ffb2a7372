// How a test waits for what nothing signals. Tests only.
#pragma once

#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace pga::testing {

// Polls `condition` until it holds or `limit` is over; returns its last answer. For conditions that nothing signals.
template <typename Condition>
bool WaitUntil(Condition condition, absl::Duration limit = absl::Seconds(10)) {
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  while (!condition()) {
    if (clock::SteadyNow() > deadline) return condition();
    clock::SleepFor(absl::Milliseconds(5));
  }
  return true;
}

}  // namespace pga::testing
