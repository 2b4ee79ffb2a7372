// The time side of a read: which buckets a range is cut into, and which of a metric's tables can answer it.
// Pure functions; every reader of libs/storage starts here. Rules: rollups 1 min -> 10 min -> 1 h are aligned to UTC,
// so a table fits a set of buckets only if every edge is a multiple of its width.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::storage {

// Tables of one metric, finest first.
enum class Resolution { kRaw, k1m, k10m, k1h };

// Width of a rollup's buckets; zero for kRaw.
absl::Duration WidthOf(Resolution resolution);
// "", "_1m", "_10m", "_1h".
std::string_view TableSuffix(Resolution resolution);

// How long each table of a metric is kept.
struct RetentionDays {
  int raw = 30;
  int rollup_1m = 30;
  int rollup_10m = 90;
  int rollup_1h = 400;
  int Of(Resolution resolution) const;
};

inline constexpr absl::Duration kMaxRange = absl::Hours(24 * 400);
// Most buckets of one series.
inline constexpr int kMaxBuckets = 11000;

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

// Buckets of a read. Bucket i is [edges[i], edges[i+1]).
struct BucketPlan {
  // Growing, at least two, whole seconds. The asked range is widened to whole buckets.
  std::vector<absl::Time> edges;
  int64_t step_seconds = 0;
  // Coarsest table whose buckets never cross an edge.
  Resolution resolution = Resolution::kRaw;

  int buckets() const { return static_cast<int>(edges.size()) - 1; }
  absl::Time start() const { return edges.front(); }
  absl::Time end() const { return edges.back(); }
};

// INVALID_ARGUMENT, saying what to change, for an empty or too long range, a step out of bounds or too fine for the
// range, an unknown time zone, and a step finer than what is still kept at `start`.
absl::StatusOr<BucketPlan> PlanBuckets(const RangeRequest& request, const RetentionDays& retention, absl::Time now);

// Edges of the pieces from which buckets are put together: the plan's edges and every full hour between them (rollups
// are renewed by the hour, so a bucket may be half rollup, half raw).
std::vector<absl::Time> CellEdges(const BucketPlan& plan);

// Index of the bucket that holds `time`, or -1 outside.
int BucketOf(const std::vector<absl::Time>& edges, absl::Time time);

// One bucket over [start, end), widened to whole minutes, or to the buckets of the finest table still kept at `start`.
absl::StatusOr<BucketPlan> PlanWholeRange(absl::Time start, absl::Time end, const RetentionDays& retention,
                                          absl::Time now);

// Part of a counter's increase `delta` over (start, end] that falls before `until`: floor(delta * (until - start) /
// (end - start)), clamped to the interval; microseconds. The same rule fills the rollups, so that pieces of one
// increase always add up to it.
int64_t ShareBefore(int64_t delta, int64_t start_us, int64_t end_us, int64_t until_us);

}  // namespace pga::storage
