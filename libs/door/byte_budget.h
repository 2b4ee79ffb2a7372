// Bytes that callers may make a process hold: in all, and for each caller. Memory is charged when bytes arrive, not
// when they are announced. A budget has two marks: from the first on, the holder should take no more for the moment;
// beyond the second it must give something up. Callers may wait below the first marks; those of one key get what they
// wait for in the order in which they came. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

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
  struct Waiter;
  using Ticket = std::shared_ptr<Waiter>;

  explicit ByteBudget(const Limits& limits) : limits_(limits) {}

  // Charges always, and says where that leads to; the caller gives the bytes back in every case.
  Level Charge(const std::string& key, int64_t bytes);
  // Charges only where the first marks still hold afterwards and nobody of this key waits.
  bool Take(const std::string& key, int64_t bytes);
  // The same, and otherwise a ticket, which the holder must hand to Leave in the end. `ready` is called once when the
  // bytes are charged, by whoever gave bytes back, without locks held; it must not wait. nullptr: they are charged.
  Ticket TakeOrWait(const std::string& key, int64_t bytes, std::function<void()> ready);
  // Whether the ticket's bytes are charged.
  bool Granted(const Ticket& ticket) const;
  // Ends the wait. Whether the ticket's bytes are charged; they are given back as others are.
  bool Leave(const Ticket& ticket);
  // Gives bytes back that were charged or taken for this key.
  void Give(const std::string& key, int64_t bytes);
  // Where `key` stands now.
  Level LevelOf(const std::string& key) const;

  int64_t used() const;
  size_t keys() const;
  size_t waiting() const;

 private:
  struct Holder {
    int64_t bytes = 0;
    std::list<Ticket> waiters;
  };
  bool Fits(const Holder& holder, int64_t bytes) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Charges where it fits and nobody of the key waits.
  bool TakeNow(const std::string& key, int64_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Charges what waits for this key and fits now; what became of them is appended.
  void Serve(Holder& holder, std::vector<Ticket>* granted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Level Judge(int64_t each) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  mutable absl::Mutex mutex_;
  int64_t used_ ABSL_GUARDED_BY(mutex_) = 0;
  // Holds only keys with bytes or waiters: as many as there are holders.
  absl::flat_hash_map<std::string, Holder> each_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pga::door
