#include "libs/storage/upkeep/span.h"

namespace pga::storage {
namespace {

constexpr int64_t kWeekMicros = 7 * kDayMicros;
// 1970-01-05 was a Monday.
constexpr int64_t kFirstMonday = 4;
// Retention beyond which partitions hold a week.
constexpr int32_t kDailyPartitions = 60;

int64_t FloorDay(int64_t time_us) {
  return FloorTo(time_us, kDayMicros) / kDayMicros;
}

absl::CivilDay MondayOf(absl::CivilDay day) {
  return day - static_cast<int>(absl::GetWeekday(day));
}

int64_t MidnightMicros(absl::CivilDay day, const absl::TimeZone& zone) {
  return absl::ToUnixMicros(absl::FromCivil(day, zone));
}

}  // namespace

Span SpanOf(int level, int64_t time_us, const absl::TimeZone& zone) {
  if (level == kZoneDayLevel) {
    const absl::CivilDay monday = MondayOf(absl::ToCivilDay(absl::FromUnixMicros(time_us), zone));
    return {MidnightMicros(monday, zone), MidnightMicros(monday + 7, zone)};
  }
  if (level == kDayLevel) {
    const int64_t start = FloorTo(time_us - kFirstMonday * kDayMicros, kWeekMicros) + kFirstMonday * kDayMicros;
    return {start, start + kWeekMicros};
  }
  const int64_t start = FloorTo(time_us, kDayMicros);
  return {start, start + kDayMicros};
}

Span SpanOfLast(int level, int64_t last_us, const absl::TimeZone& zone) {
  return SpanOf(level, level == kRawLevel ? last_us : last_us - 1, zone);
}

std::vector<int64_t> BucketEdges(int level, const Span& span, const absl::TimeZone& zone) {
  std::vector<int64_t> edges;
  if (level == kZoneDayLevel) {
    const absl::CivilDay monday = absl::ToCivilDay(absl::FromUnixMicros(span.start_us), zone);
    for (int day = 0; day <= 7; ++day) edges.push_back(MidnightMicros(monday + day, zone));
    return edges;
  }
  const int64_t width = level == kHourLevel ? kHourMicros : kDayMicros;
  for (int64_t edge = span.start_us; edge <= span.end_us; edge += width) edges.push_back(edge);
  return edges;
}

int32_t ExpiresOn(int level, const Span& span, const RetentionDays& retention) {
  // The UTC day behind the span.
  const int64_t day = FloorDay(span.end_us - 1) + 1;
  const int32_t kept = level >= kDayLevel ? retention.days : retention.raw;
  int64_t expires = day + kept;
  if (kept > kDailyPartitions) {
    const int64_t behind = (expires - kFirstMonday) % 7;
    if (behind != 0) expires += 7 - (behind < 0 ? behind + 7 : behind);
  }
  return static_cast<int32_t>(expires);
}

}  // namespace pga::storage
