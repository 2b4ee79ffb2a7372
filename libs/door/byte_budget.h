// Bytes that callers may make a process hold: in all, and for each caller. Memory is charged when bytes arrive, not
// when they are announced. A budget has two marks: from the first on, the holder should take no more for the moment;
// beyond the second it must give something up. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace pga::door {

class ByteBudget {
 public:
  struct Limits {
    // First and second mark of all callers together, and of one.
    int64_t wait_total = 0;
    int64_t most_total = 0;
    int64_t wait_each = 0;
    int64_t most_each = 0;
  };
  enum class Level { kFree, kWait, kOver };

  explicit ByteBudget(const Limits& limits) : limits_(limits) {}

  // Charges always, and says where that leads to; the caller gives the bytes back in every case.
  Level Charge(const std::string& key, int64_t bytes);
  // Charges only where the first marks still hold afterwards.
  bool Take(const std::string& key, int64_t bytes);
  // Gives bytes back that were charged or taken for this key.
  void Give(const std::string& key, int64_t bytes);
  // Where `key` stands now.
  Level LevelOf(const std::string& key) const;

  int64_t used() const;
  size_t keys() const;

 private:
  Level Judge(int64_t each) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  mutable absl::Mutex mutex_;
  int64_t used_ ABSL_GUARDED_BY(mutex_) = 0;
  // Holds only keys with bytes: as many as there are holders.
  absl::flat_hash_map<std::string, int64_t> each_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::door
