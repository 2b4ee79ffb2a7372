#include "services/collector/schedule.h"

#include <algorithm>
#include <limits>

#include "services/collector/bytes.h"

namespace pga::collector {

Schedule::Schedule(int64_t start_ns, int64_t base_interval_ns, std::string_view phase_seed)
    : origin_ns_(start_ns), base_ns_(std::max<int64_t>(base_interval_ns, 1)), phase_hash_(StableHash(phase_seed)) {}

int Schedule::Add(int factor) {
  Item item;
  item.factor = std::max(factor, 1);
  item.tick_ns = origin_ns_ + phase_ns();
  items_.push_back(item);
  return static_cast<int>(items_.size()) - 1;
}

std::vector<int> Schedule::TakeDue(int64_t now_ns) {
  std::vector<int> due;
  for (size_t i = 0; i < items_.size(); ++i) {
    Item& item = items_[i];
    const bool retry = item.retry_ns != 0 && item.retry_ns <= now_ns;
    if (item.tick_ns > now_ns && !retry) continue;
    due.push_back(static_cast<int>(i));
    item.retry_ns = 0;
    if (item.tick_ns > now_ns) continue;
    const int64_t interval = base_ns_ * item.factor;
    const int64_t passed = (now_ns - item.tick_ns) / interval;
    skipped_ += passed;
    item.tick_ns += (passed + 1) * interval;
  }
  return due;
}

int64_t Schedule::NextDue() const {
  int64_t next = std::numeric_limits<int64_t>::max();
  for (const Item& item : items_) {
    next = std::min(next, item.tick_ns);
    if (item.retry_ns != 0) next = std::min(next, item.retry_ns);
  }
  return next;
}

void Schedule::RetryAt(int item, int64_t at_ns) {
  Item& it = items_[static_cast<size_t>(item)];
  if (at_ns < it.tick_ns) it.retry_ns = at_ns;
}

void Schedule::BeginAt(int64_t at_ns) {
  for (Item& it : items_) {
    if (at_ns >= it.tick_ns) continue;
    it.retry_ns = at_ns;
    if (it.tick_ns - at_ns < base_ns_ / 2) it.tick_ns += it.factor * base_ns_;
  }
}

}  // namespace pga::collector
