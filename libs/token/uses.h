// When API tokens were used last, collected in a process until it reports to auth. Bounded and thread-safe; takes one
// short lock.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace pga::token {

class Uses {
 public:
  // More tokens than this between two Take are not noted.
  static constexpr size_t kMost = 10'000;

  void Note(std::string_view token_id, absl::Time now) {
    absl::MutexLock lock(&mutex_);
    if (used_.size() >= kMost && !used_.contains(token_id)) return;
    absl::Time& last = used_.try_emplace(std::string(token_id), now).first->second;
    last = std::max(last, now);
  }

  // What was noted since the last call.
  std::vector<std::pair<std::string, absl::Time>> Take() {
    std::map<std::string, absl::Time, std::less<>> taken;
    {
      absl::MutexLock lock(&mutex_);
      taken.swap(used_);
    }
    return {taken.begin(), taken.end()};
  }

 private:
  absl::Mutex mutex_;
  std::map<std::string, absl::Time, std::less<>> used_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::token
