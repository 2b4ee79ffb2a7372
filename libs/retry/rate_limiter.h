// Token buckets per caller. A bucket holds one minute's allowance and is refilled in steps of three seconds, so that a
// tight loop sees exactly its allowance and a caller who waited a moment is served again. Buckets are bounded in
// number: the one unused for longest goes first. Time is CLOCK_BOOTTIME: a wall clock that is set changes nothing.
// Thread-safe; never blocks beyond a short lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"

namespace pga::retry {

class RateLimiter {
 public:
  struct Decision {
    bool allowed = true;
    // Tokens per minute; 0 = not limited, the other fields mean nothing.
    int limit = 0;
    int remaining = 0;
    // Until the bucket is full again.
    absl::Duration reset;
    // Until the next token is there; zero when allowed.
    absl::Duration retry_after;
  };

  static constexpr size_t kDefaultMaxBuckets = 65536;
  static constexpr absl::Duration kRefillStep = absl::Seconds(3);

  explicit RateLimiter(clock::Clock* clock, size_t max_buckets = kDefaultMaxBuckets);

  // Takes one token of `key`'s bucket of `per_minute` tokens; per_minute <= 0 always allows. A key whose allowance
  // changed starts with a full bucket.
  Decision Take(std::string_view key, int per_minute);

  // How long `key` has to wait until Take would allow; takes nothing. For limits that count only what went wrong: ask
  // first, Take afterwards.
  absl::Duration Wait(std::string_view key, int per_minute) const;

  size_t bucket_count() const;

 private:
  struct Bucket {
    std::string key;
    int per_minute;
    double tokens;
    // BoottimeNanos of the last refill step.
    int64_t refilled_nanos;

    // Adds the steps that have passed.
    void Refill(int64_t now);
    // From `now` until the bucket holds `wanted` tokens.
    absl::Duration Until(double wanted, int64_t now) const;
  };

  clock::Clock* const clock_;
  const size_t max_buckets_;
  mutable absl::Mutex mutex_;
  // Most recently used first.
  std::list<Bucket> buckets_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<std::string_view, std::list<Bucket>::iterator> index_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::retry
