// From frames to buckets of time: hours, days. Additive: what is made of some frames now and of late ones later adds up
// (Merger) to what would have been made of all at once.
//
//   counters  an increase over (s, e] counts in [b, b + w) with floor(d * (min(e, b + w) - s) / (e - s)) - floor(d *
//             (max(s, b) - s) / (e - s)), so that the parts of an increase add up to it. One without length lies whole
//             in the bucket that holds its instant, as do readings of gauges.
//   gauges    least, greatest, sum, count and newest of the readings that were sent; a reading that was left out as
//             unchanged is not among them: readers hold on the newest one.
//   infos     the newest text that is known; of several pieces that of the one with the newest row
//   covered   what frames of increases cover of a bucket, whether a row was left out as unchanged or not
#pragma once

#include <cstdint>
#include <vector>

#include "libs/columns/row_set.h"

namespace pga::columns {

// Kind of each column, for turning the shape of raw rows into that of buckets.
enum class Kind : uint8_t { kLabel, kGauge, kCounter, kInfo };

struct MetricColumn {
  ColumnId id = 0;
  Type type = Type::kInt;
  Kind kind = Kind::kLabel;
};

// The shape of raw rows, and of buckets. Infos that are not texts have no place in buckets.
Shape RawShape(const std::vector<MetricColumn>& columns, ColumnId locate_by);
Shape BucketShape(const std::vector<MetricColumn>& columns, ColumnId locate_by);

// Part of `delta` over (start, end] that lies before `until`: floor(delta * (until - start) / (end - start)), clamped
// to the interval. Microseconds.
int64_t ShareBefore(int64_t delta, int64_t start_us, int64_t end_us, int64_t until_us);

// Sum that stops at the ends of int64.
int64_t AddSaturating(int64_t a, int64_t b);

// Buckets of `deltas` (frames with increases or readings) and `keyframes` (frames of absolute readings, which count as
// readings of gauges where `deltas` has no row of the same series and instant; may be null). `edges` grow, at least
// two; what lies outside of them is left out. Frames of the result are buckets per scope, in time order.
RowSet RollUp(const std::vector<MetricColumn>& columns, const RowSet& deltas, const RowSet* keyframes,
              const std::vector<int64_t>& edges);

}  // namespace pga::columns
