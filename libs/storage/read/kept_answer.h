// An answer that many ask for and that costs much to find: one caller at a time looks for it, the others wait for what
// it finds, each for no longer than its own deadline, and such an answer is given again for a while.
#pragma once

#include <algorithm>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"

namespace pga::storage {

// Of what is asked about all sources.
inline constexpr absl::Duration kLongestKept = absl::Minutes(1);

// Thread-safe.
template <typename T>
class KeptAnswer {
 public:
  // The clock must outlive this. An answer is kept for ten times as long as it took, at most for `longest`.
  KeptAnswer(clock::Clock* clock, absl::Duration longest) : clock_(clock), longest_(longest) {}

  // The kept answer, or that of `read`, a callable without arguments that returns absl::StatusOr<T>; it is never called
  // twice at a time. DEADLINE_EXCEEDED when another caller is still reading at `deadline`.
  template <typename Read>
  absl::StatusOr<T> Get(clock::SteadyTime deadline, const Read& read) {
    {
      absl::MutexLock lock(&mutex_);
      if (!clock::AwaitUntil(mutex_, absl::Condition(this, &KeptAnswer::Idle), deadline)) {
        return absl::DeadlineExceededError("the answer is still being looked for");
      }
      if (value_ && clock_->Steady() < until_) return *value_;
      reading_ = true;
    }
    const clock::Stopwatch watch(clock_);
    absl::StatusOr<T> value = read();
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (value.ok()) {
      value_ = *value;
      until_ = clock_->Steady() + std::min(longest_, 10 * watch.Elapsed());
    }
    return value;
  }

 private:
  bool Idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !reading_; }
  clock::Clock* const clock_;
  const absl::Duration longest_;
  absl::Mutex mutex_;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<T> value_ ABSL_GUARDED_BY(mutex_);
  clock::SteadyTime until_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::storage
