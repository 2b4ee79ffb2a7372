#include "libs/storage/read/expiry.h"

#include <algorithm>

#include "libs/clock/micros.h"

namespace pga::storage {
namespace {

using clock::kDayMicros;
using clock::kHourMicros;

// Blocks that are kept longer than this expire on Mondays (upkeep/span.h).
constexpr int64_t kDailyExpiries = 60;

}  // namespace

int64_t DayOf(int64_t us) {
  return clock::FloorTo(us, kDayMicros) / kDayMicros;
}

Expiry ExpiryOf(int level, bool long_blocks, const TimeSpan& span, const std::optional<Kept>& kept, int64_t today) {
  // Nothing expires before it was.
  if (!kept) return {DayOf(span.start) - 1, std::nullopt};
  const bool daily = level >= 2;
  const int64_t most = daily ? kept->daily_most : kept->raw_most;
  // Blocks are of one UTC day, at daily levels of a week; a week of a zone is not one of UTC. A day more on each side.
  int64_t behind = DayOf(span.end + kHourMicros) + (daily ? 8 : 1);
  // Long frames may end at any time after the span, up to the present.
  if (long_blocks) behind = std::max(behind, today + 2);
  return {DayOf(span.start) + (daily ? kept->daily_least : kept->raw_least),
          // What came when it had expired already is kept until the day after.
          std::max(behind + 1 + most + (most > kDailyExpiries ? 6 : 0), today + 2)};
}

}  // namespace pga::storage
