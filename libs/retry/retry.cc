#include "libs/retry/retry.h"

#include <algorithm>
#include <functional>

#include "absl/random/random.h"

namespace pga::retry {

absl::Duration Backoff::Next() {
  thread_local absl::BitGen generator;
  const double jitter = std::clamp(policy_.jitter, 0.0, 1.0);
  const absl::Duration delay = base_ * absl::Uniform(absl::IntervalClosed, generator, 1.0 - jitter, 1.0);
  base_ = std::min(policy_.max, base_ * std::max(1.0, policy_.multiplier));
  return std::min(delay, policy_.max);
}

bool InterruptibleSleeper::Sleep(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&interrupted_), duration);
}

void InterruptibleSleeper::Interrupt() {
  absl::MutexLock lock(&mutex_);
  interrupted_ = true;
}

bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsAborted(status) || absl::IsResourceExhausted(status);
}

absl::Status RetryLoop(const RetryPolicy& policy, const std::function<bool(const absl::Status&)>& is_retryable,
                       Sleeper* sleeper, clock::Clock* clock, const std::function<absl::Status()>& fn) {
  Backoff backoff(policy.backoff);
  for (int attempt = 1;; ++attempt) {
    absl::Status status = fn();
    if (status.ok() || !is_retryable(status)) return status;
    if (policy.max_attempts > 0 && attempt >= policy.max_attempts) return status;
    const absl::Duration delay = std::max(backoff.Next(), status::RetryAfterOf(status));
    if (clock->Steady() + delay >= policy.deadline) return status;
    if (!sleeper->Sleep(delay)) return status;
  }
}

absl::Status RetryLoop(const RetryPolicy& policy, const std::function<bool(const absl::Status&)>& is_retryable,
                       Sleeper* sleeper, const std::function<absl::Status()>& fn) {
  return RetryLoop(policy, is_retryable, sleeper, clock::Clock::Real(), fn);
}

}  // namespace pga::retry
