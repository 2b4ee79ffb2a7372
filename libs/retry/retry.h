#pragma once

// Waiting longer and longer between attempts, with jitter, so that a fleet does not come back in step.

#include <atomic>
#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"

namespace pga::retry {

struct BackoffPolicy {
  absl::Duration initial = absl::Milliseconds(100);
  absl::Duration max = absl::Seconds(30);
  double multiplier = 2.0;
  double jitter = 0.2;  // share of the delay that is random, 0..1: the delay is base * [1 - jitter, 1]
};

// The delays of one sequence of attempts. Not thread-safe.
class Backoff {
 public:
  explicit Backoff(BackoffPolicy policy = {}) : policy_(policy), base_(policy.initial) {}

  // Delay before the next attempt; each call grows the following one up to `max`.
  absl::Duration Next();

  // Starts over, to be called after a success.
  void Reset() { base_ = policy_.initial; }

 private:
  BackoffPolicy policy_;
  absl::Duration base_;
};

// How a loop waits. Injected, so that tests do not.
class Sleeper {
 public:
  virtual ~Sleeper() = default;
  // Waits for `duration`; false when interrupted, after which the loop gives up.
  virtual bool Sleep(absl::Duration duration) = 0;
};

// Really waits, until Interrupt() is called by any thread. Thread-safe.
class InterruptibleSleeper final : public Sleeper {
 public:
  bool Sleep(absl::Duration duration) override;
  // Ends running and all later waits.
  void Interrupt();

 private:
  absl::Mutex mutex_;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
};

struct RetryPolicy {
  int max_attempts = 3;  // including the first; 0 = until the deadline
  BackoffPolicy backoff;
  clock::SteadyTime deadline = clock::SteadyTime::InfiniteFuture();  // no attempt starts, and no wait ends, after it
};

// UNAVAILABLE, ABORTED and RESOURCE_EXHAUSTED: what the codes say may be repeated as it is.
bool IsTransient(const absl::Status& status);

// Calls `fn` until it succeeds, fails with something `is_retryable` denies, attempts or deadline are used up, or the
// sleeper is interrupted; returns the last status. A delay attached by status::WithRetryAfter is the least wait. Blocks
// for the waits and for fn.
absl::Status RetryLoop(const RetryPolicy& policy, const std::function<bool(const absl::Status&)>& is_retryable,
                       Sleeper* sleeper, clock::Clock* clock, const std::function<absl::Status()>& fn);

// As above on the real clock.
absl::Status RetryLoop(const RetryPolicy& policy, const std::function<bool(const absl::Status&)>& is_retryable,
                       Sleeper* sleeper, const std::function<absl::Status()>& fn);

}  // namespace pga::retry
