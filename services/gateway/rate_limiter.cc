#include "services/gateway/rate_limiter.h"

#include <algorithm>
#include <cmath>

namespace pga::gateway {

RateLimiter::RateLimiter(clock::Clock* clock, size_t max_buckets)
    : clock_(clock), max_buckets_(std::max<size_t>(max_buckets, 1)) {}

RateLimiter::Decision RateLimiter::Take(std::string_view key, int per_minute) {
  Decision decision;
  if (per_minute <= 0) return decision;
  const int64_t now = clock_->BoottimeNanos();
  const int64_t step = absl::ToInt64Nanoseconds(kRefillStep);

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
  const double per_step = per_minute * absl::ToDoubleSeconds(kRefillStep) / 60.0;
  const int64_t steps = (now - bucket.refilled_nanos) / step;
  if (steps > 0) {
    bucket.tokens = std::min<double>(per_minute, bucket.tokens + static_cast<double>(steps) * per_step);
    bucket.refilled_nanos += steps * step;
    // A full bucket starts its next step with the next request, so that a burst gets its allowance and no more.
    if (bucket.tokens >= per_minute) bucket.refilled_nanos = now;
  }
  decision.limit = per_minute;
  decision.allowed = bucket.tokens >= 1.0;
  if (decision.allowed) bucket.tokens -= 1.0;
  decision.remaining = static_cast<int>(bucket.tokens);

  const auto until = [&](double tokens) {
    const double missing = std::max(0.0, tokens - bucket.tokens);
    const auto steps_needed = static_cast<int64_t>(std::ceil(missing / per_step));
    return absl::Nanoseconds(std::max<int64_t>(0, bucket.refilled_nanos + steps_needed * step - now));
  };
  decision.reset = until(per_minute);
  if (!decision.allowed) decision.retry_after = until(1.0);
  return decision;
}

size_t RateLimiter::bucket_count() const {
  absl::MutexLock lock(&mutex_);
  return buckets_.size();
}

}  // namespace pga::gateway
