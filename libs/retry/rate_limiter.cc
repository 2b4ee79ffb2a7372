#include "libs/retry/rate_limiter.h"

#include <algorithm>
#include <cmath>

namespace pga::retry {
namespace {

const int64_t kStepNanos = absl::ToInt64Nanoseconds(RateLimiter::kRefillStep);

double TokensPerStep(int per_minute) {
  return per_minute * absl::ToDoubleSeconds(RateLimiter::kRefillStep) / 60.0;
}

}  // namespace

RateLimiter::RateLimiter(clock::Clock* clock, size_t max_buckets)
    : clock_(clock), max_buckets_(std::max<size_t>(max_buckets, 1)) {}

void RateLimiter::Bucket::Refill(int64_t now) {
  const int64_t steps = (now - refilled_nanos) / kStepNanos;
  if (steps <= 0) return;
  tokens = std::min<double>(per_minute, tokens + static_cast<double>(steps) * TokensPerStep(per_minute));
  refilled_nanos += steps * kStepNanos;
  // A full bucket starts its next step with the next request, so that a burst gets its allowance and no more.
  if (tokens >= per_minute) refilled_nanos = now;
}

absl::Duration RateLimiter::Bucket::Until(double wanted, int64_t now) const {
  const double missing = std::max(0.0, wanted - tokens);
  if (missing == 0) return absl::ZeroDuration();
  const auto steps = static_cast<int64_t>(std::ceil(missing / TokensPerStep(per_minute)));
  return absl::Nanoseconds(std::max<int64_t>(0, refilled_nanos + steps * kStepNanos - now));
}

RateLimiter::Decision RateLimiter::Take(std::string_view key, int per_minute) {
  Decision decision;
  if (per_minute <= 0) return decision;
  const int64_t now = clock_->BoottimeNanos();
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) {
    if (buckets_.size() >= max_buckets_) {
      index_.erase(buckets_.back().key);
      buckets_.pop_back();
    }
    buckets_.push_front(Bucket{std::string(key), per_minute, static_cast<double>(per_minute), now});
    index_.emplace(buckets_.front().key, buckets_.begin());
  } else {
    buckets_.splice(buckets_.begin(), buckets_, found->second);
  }
  Bucket& bucket = buckets_.front();
  if (bucket.per_minute != per_minute) {
    bucket.per_minute = per_minute;
    bucket.tokens = per_minute;
    bucket.refilled_nanos = now;
  }
  bucket.Refill(now);
  decision.limit = per_minute;
  decision.allowed = bucket.tokens >= 1.0;
  if (decision.allowed) bucket.tokens -= 1.0;
  decision.remaining = static_cast<int>(bucket.tokens);
  decision.reset = bucket.Until(per_minute, now);
  if (!decision.allowed) decision.retry_after = bucket.Until(1.0, now);
  return decision;
}

absl::Duration RateLimiter::Wait(std::string_view key, int per_minute) const {
  if (per_minute <= 0) return absl::ZeroDuration();
  const int64_t now = clock_->BoottimeNanos();
  absl::MutexLock lock(&mutex_);
  const auto found = index_.find(key);
  if (found == index_.end() || found->second->per_minute != per_minute) return absl::ZeroDuration();
  Bucket bucket = *found->second;
  bucket.Refill(now);
  return bucket.Until(1.0, now);
}

size_t RateLimiter::bucket_count() const {
  absl::MutexLock lock(&mutex_);
  return buckets_.size();
}

}  // namespace pga::retry
