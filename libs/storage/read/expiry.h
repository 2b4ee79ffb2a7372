// In which partitions of metrics.block the blocks of a span stand: on which days they expire. What is not named costs
// nothing, and what is left out is not found, so this is the counterpart of ExpiresOn (upkeep/span.h). Pure functions;
// thread-safe.
#pragma once

#include <cstdint>
#include <optional>

namespace pga::storage {

// [start, end) in microseconds since 1970.
struct TimeSpan {
  int64_t start = 0;
  int64_t end = 0;
};

// Under which retentions blocks of the metrics may have been written (metrics.catalog_metric), in days.
struct Kept {
  int64_t raw_least = 0, raw_most = 0, daily_least = 0, daily_most = 0;
};

// Days since 1970, both included; no `last` = all from `first` on.
struct Expiry {
  int64_t first = 0;
  std::optional<int64_t> last;
};

// The UTC day of an instant, in days since 1970.
int64_t DayOf(int64_t us);

// Days on which the blocks of a level that reach into a span expire. Without `kept` it is not known how long they are
// kept. `today` in days since 1970: no block was written later than on that day.
Expiry ExpiryOf(int level, bool long_blocks, const TimeSpan& span, const std::optional<Kept>& kept, int64_t today);

}  // namespace pga::storage
