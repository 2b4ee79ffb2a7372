// The open connections of a port, by address and by whether their caller is known. Callers that nobody knows yet are
// bounded in number; a further one takes the place of the one that has waited longest, so that a flood of silent
// connections does not keep others out. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace pga::door {

class ConnectionTable {
 public:
  struct Limits {
    // Of all connections, and of those from one address.
    int total = 10'000;
    int per_address = 2'000;
    // Of connections whose caller is not known.
    int unknown_total = 1'024;
    int unknown_per_address = 256;
    // Of connections that are known to be one caller's; further ones of it are as those of nobody. 0 = no limit.
    int known_per_caller = 0;
  };
  struct Entry {
    // 0 when the connection is refused.
    uint64_t id = 0;
    // Ends the connection whose place this one took; null when there is none. To be called without locks held.
    std::function<void()> evict;
  };

  explicit ConnectionTable(const Limits& limits) : limits_(limits) {}

  // Enters a connection of a caller not known yet. `close` ends it, is called at most once, by whoever opens another
  // one, and may come after Close. `address` is what counts as one caller.
  Entry Open(const std::string& address, std::function<void()> close);
  // The caller is known now; an empty one is not counted. False when the connection has been evicted meanwhile.
  bool Known(uint64_t id, const std::string& caller = {});
  // The connection has ended; also for evicted ones, and repeating is safe.
  void Close(uint64_t id);

  int size() const;
  int unknown() const;

 private:
  struct Connection {
    std::string address;
    std::function<void()> close;
    bool known = false;
    std::string caller;
    // In arrival order: place among the unknown ones of the address.
    std::list<uint64_t>::iterator place;
  };
  struct Address {
    int total = 0;
    std::list<uint64_t> unknown;
  };
  void Remove(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Those of the address with most unknown connections; among equals, of the one that has waited longest.
  const std::list<uint64_t>* Busiest() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  mutable absl::Mutex mutex_;
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 1;
  int unknown_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<uint64_t, Connection> connections_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, Address> addresses_ ABSL_GUARDED_BY(mutex_);
  // Known connections by caller.
  absl::flat_hash_map<std::string, int> callers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::door
