// When what is due: fixed phases on CLOCK_BOOTTIME, so that intervals are not bent by a changed wall clock or a
// sleeping host, and collectors that start together do not read together. Late ticks are skipped and counted, never
// caught up. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pga::collector {

class Schedule {
 public:
  // `phase_seed` decides the first start within one base interval: the collector's id and the source's name.
  Schedule(int64_t start_ns, int64_t base_interval_ns, std::string_view phase_seed);

  // Adds an item that is due every `factor` base intervals, first within the first base interval. Returns its number.
  int Add(int factor);

  // Items that are due at `now_ns`, in the order they were added. Each is moved to its next tick after now; ticks that
  // passed in between are counted as skipped.
  std::vector<int> TakeDue(int64_t now_ns);

  // The next instant at which something is due.
  int64_t NextDue() const;

  // Makes an item due again at `at_ns` if that is before its next tick; later ticks stay where they were.
  void RetryAt(int item, int64_t at_ns);

  // Makes every item due at `at_ns`, ahead of its place in the interval; a tick that would follow within half a base
  // interval is left out.
  void BeginAt(int64_t at_ns);

  int64_t base_interval_ns() const { return base_ns_; }
  int64_t skipped() const { return skipped_; }

 private:
  struct Item {
    int factor = 1;
    int64_t tick_ns = 0;
    int64_t retry_ns = 0;  // 0 = none
  };

  int64_t phase_ns() const { return static_cast<int64_t>(phase_hash_ % static_cast<uint64_t>(base_ns_)); }

  int64_t origin_ns_;
  int64_t base_ns_;
  uint64_t phase_hash_;
  std::vector<Item> items_;
  int64_t skipped_ = 0;
};

}  // namespace pga::collector
