// How often a caller may be refused before it is not even heard for a while. Attempts that succeed cost nothing, so any
// number of collectors with the right secret may enrol from one address at once.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"

namespace pga::ingest {

// A token bucket per key that only refusals draw from. Thread-safe, never blocks, bounded: beyond `max_keys` that are
// not full again it forgets all.
class RefusalLimit {
 public:
  // `burst` refusals at once, then `per_minute`. The clock must outlive this.
  RefusalLimit(clock::Clock* clock, double burst, double per_minute, size_t max_keys = 10'000)
      : clock_(clock), burst_(burst), per_second_(per_minute / 60), max_keys_(max_keys) {}

  // How long `key` has to wait for its next attempt; zero = it may try.
  absl::Duration Wait(std::string_view key) const;
  void Refused(std::string_view key);

 private:
  struct Bucket {
    double left = 0;
    absl::Time at;
  };
  double LeftAt(const Bucket& bucket, absl::Time now) const;

  clock::Clock* const clock_;
  const double burst_;
  const double per_second_;
  const size_t max_keys_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::ingest
