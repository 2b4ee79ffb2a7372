// The time side of a read: which buckets a range is cut into, and which level answers which piece of it. Pure
// functions; every reader starts here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/columns/kernels.h"

namespace pga::storage {

// What is kept of a metric, finest first.
enum class Resolution { kRaw, k1h, k1d };

// How long it is kept: raw rows and hours, and days.
struct ReadRetention {
  int raw = 30;
  int days = 400;
};

inline constexpr absl::Duration kMaxRange = absl::Hours(24 * 400);
// Most buckets of one series.
inline constexpr int kMaxBuckets = 11000;
// Ranges from here on read hours, and days.
inline constexpr absl::Duration kReadHoursFrom = absl::Hours(24);
inline constexpr absl::Duration kReadDaysFrom = absl::Hours(7 * 24);

// What a caller asks. `end` is exclusive.
struct RangeRequest {
  absl::Time start;
  absl::Time end;
  // Seconds, 1 to 86400; 0 = chosen: the smallest round step of at least a minute that gives at most 300 buckets and is
  // still kept for the whole range.
  int64_t step_seconds = 0;
  // IANA name; used for steps of an hour or more, whose buckets then begin at local midnight. Empty = UTC.
  std::string time_zone;
};

// Zone of the days of level 3; empty name = there are none.
struct DayZone {
  std::string name;
  absl::TimeZone zone = absl::UTCTimeZone();
  // Days that begin from then on are complete; those before are of another zone or of none.
  absl::Time since = absl::InfinitePast();
};

// Buckets of a read. Bucket i is [edges[i], edges[i+1]).
struct BucketPlan {
  // Growing, at least two, whole seconds. The asked range is widened to whole buckets.
  std::vector<absl::Time> edges;
  int64_t step_seconds = 0;
  // Coarsest of what is kept whose buckets never cross an edge.
  Resolution resolution = Resolution::kRaw;
  // Raw rows and hours are still there for the whole range.
  bool raw_kept = true;
  // Days are those of the configured zone (level 3), else of UTC (level 2).
  bool zone_days = false;
  absl::TimeZone days = absl::UTCTimeZone();

  int buckets() const { return static_cast<int>(edges.size()) - 1; }
  absl::Time start() const { return edges.front(); }
  absl::Time end() const { return edges.back(); }
};

// INVALID_ARGUMENT, saying what to change, for an empty or too long range, a step out of bounds or too fine for the
// range, an unknown time zone, and a step or zone finer than what is still kept at `start`.
absl::StatusOr<BucketPlan> PlanBuckets(const RangeRequest& request, const ReadRetention& retention,
                                       const DayZone& day_zone, absl::Time now);

// One bucket over [start, end), widened to whole minutes, at the start of a range of kReadHoursFrom or more to a whole
// hour; or to whole days of UTC where only those are still kept.
absl::StatusOr<BucketPlan> PlanWholeRange(absl::Time start, absl::Time end, const ReadRetention& retention,
                                          absl::Time now);

// One bucket over exactly [start, end), from raw rows and, where they fit, hours and days.
BucketPlan PlanExactly(absl::Time start, absl::Time end);

// The pieces of time from which buckets are put together, each with the level that answers it: whole days for ranges of
// kReadDaysFrom, whole hours for those of kReadHoursFrom, raw rows for the rest. Of a metric without stored hours
// (catalog::HasHours) the same pieces of time, hours from raw rows.
columns::Cells CellsOfIncreases(const BucketPlan& plan, bool has_hours = true);
// The same, with raw pieces cut at full hours too, and from `lookback` before the plan on, down to a full hour, cells
// of bucket -1.
columns::Cells CellsOfReadings(const BucketPlan& plan, absl::Duration lookback, bool has_hours = true);

// Index of the bucket that holds `time`, or -1 outside.
int BucketOf(const std::vector<absl::Time>& edges, absl::Time time);

}  // namespace pga::storage
