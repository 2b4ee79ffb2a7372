#include "libs/storage/reader_range.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"

namespace pga::storage {
namespace {

constexpr int64_t kMinuteSeconds = 60;
constexpr int64_t kHourSeconds = 3600;
constexpr int64_t kDaySeconds = 86400;
constexpr int64_t kAutoBuckets = 300;
constexpr int64_t kAutoSteps[] = {60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400};
// A range that begins where a table's retention ends is still answered by it: retention drops whole days.
constexpr absl::Duration kRetentionSlack = absl::Hours(24);

int64_t FloorTo(int64_t value, int64_t unit) {
  return (value >= 0 ? value / unit : -((-value + unit - 1) / unit)) * unit;
}

int64_t CeilTo(int64_t value, int64_t unit) {
  return -FloorTo(-value, unit);
}

int64_t FloorSeconds(absl::Time time) {
  return absl::ToUnixSeconds(time);
}

int64_t CeilSeconds(absl::Time time) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  return absl::FromUnixSeconds(seconds) < time ? seconds + 1 : seconds;
}

bool Kept(Resolution resolution, const RetentionDays& retention, absl::Time start, absl::Time now) {
  return start >= now - absl::Hours(24) * retention.Of(resolution) - kRetentionSlack;
}

// The finest step that every edge of a coarser, still kept table allows; 0 when nothing coarser is kept longer.
int64_t FinestKeptStep(const RetentionDays& retention, absl::Time start, absl::Time now) {
  for (Resolution resolution : {Resolution::kRaw, Resolution::k1m, Resolution::k10m, Resolution::k1h}) {
    if (Kept(resolution, retention, start, now)) {
      return std::max<int64_t>(1, absl::ToInt64Seconds(WidthOf(resolution)));
    }
  }
  return 0;
}

absl::StatusOr<absl::TimeZone> ZoneOf(const std::string& name) {
  const bool plain = !name.empty() && name.size() <= 64 && name.front() != '/' &&
                     name.find("..") == std::string::npos && std::all_of(name.begin(), name.end(), [](unsigned char c) {
                       return std::isalnum(c) != 0 || c == '_' || c == '/' || c == '+' || c == '-';
                     });
  absl::TimeZone zone;
  if (!plain || name == "localtime" || !absl::LoadTimeZone(name, &zone)) {
    return absl::InvalidArgumentError(
        absl::StrCat("time_zone '", name.substr(0, 64), "' is not known; use an IANA name such as Europe/Zurich"));
  }
  return zone;
}

// Local edges of steps of whole hours that divide a day. A repeated local hour (end of summer time) gives two edges, a
// skipped one none of its own, so that every bucket is contiguous and none is empty.
std::vector<absl::Time> LocalEdges(int64_t start, int64_t end, int64_t step, absl::TimeZone zone) {
  const auto hours = static_cast<int>(step / kHourSeconds);
  const absl::Time first = absl::FromUnixSeconds(start);
  const absl::Time last = absl::FromUnixSeconds(end);
  const absl::CivilDay first_day = absl::ToCivilDay(first, zone) - 1;
  std::vector<absl::Time> edges;
  for (absl::CivilHour hour(first_day);; hour += hours) {
    const absl::TimeZone::TimeInfo info = zone.At(absl::CivilSecond(hour));
    edges.push_back(info.kind == absl::TimeZone::TimeInfo::SKIPPED ? info.trans : info.pre);
    if (info.kind == absl::TimeZone::TimeInfo::REPEATED) edges.push_back(info.post);
    if (edges.back() >= last && edges.back() > first) break;
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  const auto from = std::prev(std::upper_bound(edges.begin(), edges.end(), first));
  const auto to = std::max(std::lower_bound(edges.begin(), edges.end(), last), std::next(from));
  return {from, std::next(to)};
}

Resolution CoarsestFor(const std::vector<absl::Time>& edges) {
  for (Resolution resolution : {Resolution::k1h, Resolution::k10m, Resolution::k1m}) {
    const int64_t width = absl::ToInt64Seconds(WidthOf(resolution));
    if (std::all_of(edges.begin(), edges.end(), [&](absl::Time t) { return absl::ToUnixSeconds(t) % width == 0; })) {
      return resolution;
    }
  }
  return Resolution::kRaw;
}

absl::Status CheckRange(absl::Time start, absl::Time end) {
  if (start >= end) return absl::InvalidArgumentError("the range is empty: start must lie before end");
  if (end - start > kMaxRange) {
    return absl::InvalidArgumentError(
        absl::StrCat("the range is ", absl::ToInt64Hours(end - start) / 24, " days long; ask for at most 400 days"));
  }
  // Years outside of this are typing errors, and would overflow arithmetic in microseconds further on.
  if (start < absl::UnixEpoch() || end > absl::FromUnixSeconds(7258118400)) {
    return absl::InvalidArgumentError("start and end must lie between the years 1970 and 2200");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Duration WidthOf(Resolution resolution) {
  switch (resolution) {
    case Resolution::kRaw:
      return absl::ZeroDuration();
    case Resolution::k1m:
      return absl::Minutes(1);
    case Resolution::k10m:
      return absl::Minutes(10);
    case Resolution::k1h:
      return absl::Hours(1);
  }
  return absl::ZeroDuration();
}

std::string_view TableSuffix(Resolution resolution) {
  switch (resolution) {
    case Resolution::kRaw:
      return "";
    case Resolution::k1m:
      return "_1m";
    case Resolution::k10m:
      return "_10m";
    case Resolution::k1h:
      return "_1h";
  }
  return "";
}

int RetentionDays::Of(Resolution resolution) const {
  switch (resolution) {
    case Resolution::kRaw:
      return raw;
    case Resolution::k1m:
      return rollup_1m;
    case Resolution::k10m:
      return rollup_10m;
    case Resolution::k1h:
      return rollup_1h;
  }
  return 0;
}

absl::StatusOr<BucketPlan> PlanBuckets(const RangeRequest& request, const RetentionDays& retention, absl::Time now) {
  if (absl::Status status = CheckRange(request.start, request.end); !status.ok()) return status;
  if (request.step_seconds < 0 || request.step_seconds > kDaySeconds) {
    return absl::InvalidArgumentError(
        absl::StrCat("step is ", request.step_seconds, "; use 1 to 86400 seconds, or 0 to have it chosen"));
  }
  const int64_t start = FloorSeconds(request.start);
  const int64_t end = CeilSeconds(request.end);
  const int64_t finest = FinestKeptStep(retention, request.start, now);

  int64_t step = request.step_seconds;
  if (step == 0) {
    step = kDaySeconds;
    for (int64_t candidate : kAutoSteps) {
      if ((end - start + candidate - 1) / candidate <= kAutoBuckets && candidate >= finest) {
        step = candidate;
        break;
      }
    }
  }
  if ((end - start) / step > kMaxBuckets) {
    return absl::InvalidArgumentError(absl::StrCat("a step of ", step, " s cuts the range into ", (end - start) / step,
                                                   " points; use a step of at least ",
                                                   (end - start + kMaxBuckets - 1) / kMaxBuckets, " s"));
  }

  BucketPlan plan;
  plan.step_seconds = step;
  if (step >= kHourSeconds && !request.time_zone.empty() && request.time_zone != "UTC") {
    absl::StatusOr<absl::TimeZone> zone = ZoneOf(request.time_zone);
    if (!zone.ok()) return zone.status();
    if (step % kHourSeconds != 0 || kDaySeconds % step != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "step ", step, " with a time_zone must be whole hours that divide a day: 3600, 7200, 10800, 14400, 21600, ",
          "28800, 43200 or 86400"));
    }
    plan.edges = LocalEdges(start, end, step, *zone);
  } else {
    if (!request.time_zone.empty() && request.time_zone != "UTC") {
      if (absl::StatusOr<absl::TimeZone> zone = ZoneOf(request.time_zone); !zone.ok()) return zone.status();
    }
    for (int64_t edge = FloorTo(start, step); edge < CeilTo(end, step) + step; edge += step) {
      plan.edges.push_back(absl::FromUnixSeconds(edge));
      if (edge >= end) break;
    }
  }
  plan.resolution = CoarsestFor(plan.edges);
  if (!Kept(plan.resolution, retention, request.start, now) && finest > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("at ", absl::FormatTime("%Y-%m-%d", request.start, absl::UTCTimeZone()), " only buckets of ",
                     finest, " s are still kept; use a step that is a multiple of ", finest,
                     " s, or a start within the last ", retention.Of(plan.resolution), " days"));
  }
  return plan;
}

absl::StatusOr<BucketPlan> PlanWholeRange(absl::Time start, absl::Time end, const RetentionDays& retention,
                                          absl::Time now) {
  if (absl::Status status = CheckRange(start, end); !status.ok()) return status;
  const int64_t finest = FinestKeptStep(retention, start, now);
  const int64_t unit = std::max(kMinuteSeconds, finest == 0 ? kHourSeconds : finest);
  BucketPlan plan;
  plan.edges = {absl::FromUnixSeconds(FloorTo(FloorSeconds(start), unit)),
                absl::FromUnixSeconds(CeilTo(CeilSeconds(end), unit))};
  plan.step_seconds = absl::ToInt64Seconds(plan.end() - plan.start());
  plan.resolution = unit == kMinuteSeconds ? Resolution::k1m
                    : unit == kHourSeconds ? Resolution::k1h
                                           : Resolution::k10m;
  return plan;
}

std::vector<absl::Time> CellEdges(const BucketPlan& plan) {
  std::vector<absl::Time> cells = plan.edges;
  const int64_t end = absl::ToUnixSeconds(plan.end());
  for (int64_t hour = CeilTo(absl::ToUnixSeconds(plan.start()), kHourSeconds); hour < end; hour += kHourSeconds) {
    cells.push_back(absl::FromUnixSeconds(hour));
  }
  std::sort(cells.begin(), cells.end());
  cells.erase(std::unique(cells.begin(), cells.end()), cells.end());
  return cells;
}

int BucketOf(const std::vector<absl::Time>& edges, absl::Time time) {
  if (edges.size() < 2 || time < edges.front() || time >= edges.back()) return -1;
  return static_cast<int>(std::upper_bound(edges.begin(), edges.end(), time) - edges.begin()) - 1;
}

int64_t ShareBefore(int64_t delta, int64_t start_us, int64_t end_us, int64_t until_us) {
  if (until_us >= end_us) return delta;
  if (until_us <= start_us) return 0;
  const __int128 product = static_cast<__int128>(delta) * (until_us - start_us);
  const __int128 length = end_us - start_us;
  __int128 share = product / length;
  if (product % length != 0 && product < 0) --share;
  return static_cast<int64_t>(share);
}

}  // namespace pga::storage
