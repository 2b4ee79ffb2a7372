// Until when a call may take, whose it is, and whether its caller still waits for it.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace pga::pg {

struct CallLimit {
  clock::SteadyTime deadline = clock::SteadyTime::InfinitePast();
  // True once the caller has gone; empty = it never goes. Called often, from the threads that do the work.
  std::function<bool()> cancelled = {};
  // On whose behalf: calls of different callers take turns where they have to wait. Calls that name nobody are of one
  // caller.
  std::string caller = {};

  CallLimit() = default;
  CallLimit(clock::SteadyTime until) : deadline(until) {}  // NOLINT(google-explicit-constructor)
  CallLimit(clock::SteadyTime until, std::function<bool()> gone, std::string of = {})
      : deadline(until), cancelled(std::move(gone)), caller(std::move(of)) {}

  // CANCELLED or DEADLINE_EXCEEDED.
  absl::Status Check() const {
    if (cancelled && cancelled()) return absl::CancelledError("the caller has gone");
    if (clock::SteadyNow() >= deadline) return absl::DeadlineExceededError("the database did not answer in time");
    return absl::OkStatus();
  }
};

}  // namespace pga::pg
