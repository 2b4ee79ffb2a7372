// Spans of blocks and the day on which they may be dropped. Days and weeks are UTC, or of the configured zone for level
// 3. Times are microseconds since 1970. Pure functions; thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "libs/clock/micros.h"

namespace pga::storage {

// Levels of metrics.block.
inline constexpr int kRawLevel = 0;
inline constexpr int kHourLevel = 1;
inline constexpr int kDayLevel = 2;
inline constexpr int kZoneDayLevel = 3;
inline constexpr int kLevels = 4;

using clock::FloorTo;
using clock::kDayMicros;
using clock::kHourMicros;

// How long blocks are kept.
struct RetentionDays {
  // Raw rows and hours.
  int32_t raw = 30;
  // Days.
  int32_t days = 400;
};

// [start, end).
struct Span {
  int64_t start_us = 0;
  int64_t end_us = 0;
  friend bool operator==(const Span&, const Span&) = default;
  friend auto operator<=>(const Span&, const Span&) = default;
};

// The span that holds the block whose greatest `last` is this: levels above raw carry the ends of their buckets, which
// belong to the span before. Raw and hours: the UTC day; days: the week from Monday.
Span SpanOfLast(int level, int64_t last_us, const absl::TimeZone& zone);

// The span of `level` that holds an instant.
Span SpanOf(int level, int64_t time_us, const absl::TimeZone& zone);

// Edges of the buckets of a span: 25 of a day of hours, 8 of a week of days (those of the zone at level 3).
std::vector<int64_t> BucketEdges(int level, const Span& span, const absl::TimeZone& zone);

// First day (days since 1970) on which a block of the span may be dropped. Raw and hours: day of the span + retention +
// 1; days: Monday after the week + retention. Beyond 60 days of retention it is the next Monday.
int32_t ExpiresOn(int level, const Span& span, const RetentionDays& retention);

}  // namespace pga::storage
