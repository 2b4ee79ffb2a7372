#include "libs/storage/read/range.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "libs/clock/micros.h"

namespace pga::storage {
namespace {

constexpr int64_t kMinuteSeconds = 60;
constexpr int64_t kHourSeconds = 3600;
constexpr int64_t kDaySeconds = 86400;
constexpr int64_t kAutoBuckets = 300;
constexpr int64_t kAutoSteps[] = {60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400};
// A range that begins where a table's retention ends is still answered by it: retention drops whole days.
constexpr absl::Duration kRetentionSlack = absl::Hours(24);

using clock::FloorTo;

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

bool Kept(int days, absl::Time start, absl::Time now) {
  return start >= now - absl::Hours(24) * days - kRetentionSlack;
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

bool AtMidnight(absl::Time time, absl::TimeZone zone) {
  return absl::FromCivil(absl::ToCivilDay(time, zone), zone) == time;
}

Resolution CoarsestFor(const BucketPlan& plan) {
  const auto all = [&](auto fits) { return std::all_of(plan.edges.begin(), plan.edges.end(), fits); };
  if (all([&](absl::Time t) { return AtMidnight(t, plan.days); })) return Resolution::k1d;
  if (all([](absl::Time t) { return absl::ToUnixSeconds(t) % kHourSeconds == 0; })) return Resolution::k1h;
  return Resolution::kRaw;
}

// Appends [start, end) of one bucket, cut into what the levels have.
class Cutter {
 public:
  Cutter(const BucketPlan& plan, bool cut_raw, bool has_hours, columns::Cells* cells)
      : plan_(plan), cut_raw_(cut_raw), hour_level_(has_hours ? 1 : 0), cells_(cells) {
    const absl::Duration range = plan.end() - plan.start();
    hours_ = plan.raw_kept && range >= kReadHoursFrom;
    days_ = !plan.raw_kept || range >= kReadDaysFrom;
  }

  void Cut(absl::Time start, absl::Time end, int32_t bucket) {
    if (!days_) return CutByHours(start, end, bucket, hours_);
    absl::CivilDay day = absl::ToCivilDay(start, plan_.days);
    if (absl::FromCivil(day, plan_.days) < start) ++day;
    absl::Time at = start;
    for (absl::Time next = absl::FromCivil(day, plan_.days); next <= end; next = absl::FromCivil(++day, plan_.days)) {
      if (next == at) continue;
      if (at == start && !AtMidnight(start, plan_.days)) {
        CutByHours(at, next, bucket, hours_);
      } else {
        Add(at, next, bucket, plan_.zone_days ? 3 : 2);
      }
      at = next;
    }
    if (at < end) CutByHours(at, end, bucket, hours_);
  }

  void CutByHours(absl::Time start, absl::Time end, int32_t bucket, bool hours) {
    const auto first = absl::FromUnixSeconds(CeilTo(CeilSeconds(start), kHourSeconds));
    const auto last = absl::FromUnixSeconds(FloorTo(FloorSeconds(end), kHourSeconds));
    if (first > last || (!hours && !cut_raw_)) {
      Add(start, end, bucket, 0);
      return;
    }
    if (start < first) Add(start, first, bucket, 0);
    for (absl::Time hour = first; hour < last; hour += absl::Hours(1)) {
      Add(hour, hour + absl::Hours(1), bucket, hours ? hour_level_ : 0);
    }
    if (last < end) Add(last, end, bucket, 0);
  }

 private:
  void Add(absl::Time start, absl::Time end, int32_t bucket, int8_t level) {
    if (start < end) cells_->push_back({absl::ToUnixMicros(start), absl::ToUnixMicros(end), bucket, level});
  }

  const BucketPlan& plan_;
  const bool cut_raw_;
  const int8_t hour_level_;
  columns::Cells* const cells_;
  bool hours_ = false;
  bool days_ = false;
};

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

absl::StatusOr<BucketPlan> PlanBuckets(const RangeRequest& request, const ReadRetention& retention,
                                       const DayZone& day_zone, absl::Time now) {
  if (absl::Status status = CheckRange(request.start, request.end); !status.ok()) return status;
  if (request.step_seconds < 0 || request.step_seconds > kDaySeconds) {
    return absl::InvalidArgumentError(
        absl::StrCat("step is ", request.step_seconds, "; use 1 to 86400 seconds, or 0 to have it chosen"));
  }
  const int64_t start = FloorSeconds(request.start);
  const int64_t end = CeilSeconds(request.end);
  const bool raw_kept = Kept(retention.raw, request.start, now);
  const int64_t finest = raw_kept ? 1 : kDaySeconds;

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
    // What began before these days do is put together from hours and raw rows, as in any other zone.
    if (request.time_zone == day_zone.name && plan.edges.front() >= day_zone.since) {
      plan.zone_days = true;
      plan.days = *zone;
    }
  } else {
    if (!request.time_zone.empty() && request.time_zone != "UTC") {
      if (absl::StatusOr<absl::TimeZone> zone = ZoneOf(request.time_zone); !zone.ok()) return zone.status();
    }
    for (int64_t edge = FloorTo(start, step); edge < CeilTo(end, step) + step; edge += step) {
      plan.edges.push_back(absl::FromUnixSeconds(edge));
      if (edge >= end) break;
    }
  }
  plan.resolution = CoarsestFor(plan);
  plan.raw_kept = raw_kept;
  if (!raw_kept && Kept(retention.days, request.start, now) && plan.resolution != Resolution::k1d) {
    const std::string day = absl::FormatTime("%Y-%m-%d", request.start, absl::UTCTimeZone());
    if (step == kDaySeconds && request.time_zone == day_zone.name && !day_zone.name.empty() && !plan.zone_days) {
      return absl::InvalidArgumentError(absl::StrCat(
          "at ", day, " only days of UTC are still kept: time_zone of the metrics database was set to ", day_zone.name,
          " later, and its days are kept from ", absl::FormatTime("%Y-%m-%d", day_zone.since, day_zone.zone),
          " on; use UTC, or a start from then on, or within the last ", retention.raw, " days"));
    }
    if (step == kDaySeconds && !plan.zone_days) {
      return absl::InvalidArgumentError(absl::StrCat(
          "at ", day, " only days of UTC", day_zone.name.empty() ? "" : absl::StrCat(" and ", day_zone.name),
          " are still kept; use one of these as time_zone, or a start within the last ", retention.raw, " days"));
    }
    return absl::InvalidArgumentError(absl::StrCat("at ", day, " only buckets of ", kDaySeconds,
                                                   " s are still kept; use a step that is a multiple of ", kDaySeconds,
                                                   " s, or a start within the last ", retention.raw, " days"));
  }
  return plan;
}

absl::StatusOr<BucketPlan> PlanWholeRange(absl::Time start, absl::Time end, const ReadRetention& retention,
                                          absl::Time now) {
  if (absl::Status status = CheckRange(start, end); !status.ok()) return status;
  BucketPlan plan;
  plan.raw_kept = Kept(retention.raw, start, now);
  const int64_t unit = plan.raw_kept ? kMinuteSeconds : kDaySeconds;
  // A part of an hour at the start would cost as much as days: a piece of up to eight hours of raw rows of each source.
  const int64_t start_unit = plan.raw_kept && end - start >= kReadHoursFrom ? kHourSeconds : unit;
  plan.edges = {absl::FromUnixSeconds(FloorTo(FloorSeconds(start), start_unit)),
                absl::FromUnixSeconds(CeilTo(CeilSeconds(end), unit))};
  plan.step_seconds = absl::ToInt64Seconds(plan.end() - plan.start());
  plan.resolution = CoarsestFor(plan);
  return plan;
}

BucketPlan PlanExactly(absl::Time start, absl::Time end) {
  BucketPlan plan;
  plan.edges = {start, end};
  plan.step_seconds = absl::ToInt64Seconds(end - start);
  return plan;
}

columns::Cells CellsOfIncreases(const BucketPlan& plan, bool has_hours) {
  columns::Cells cells;
  Cutter cutter(plan, /*cut_raw=*/false, has_hours, &cells);
  for (int bucket = 0; bucket < plan.buckets(); ++bucket) {
    cutter.Cut(plan.edges[static_cast<size_t>(bucket)], plan.edges[static_cast<size_t>(bucket) + 1], bucket);
  }
  return cells;
}

columns::Cells CellsOfReadings(const BucketPlan& plan, absl::Duration lookback, bool has_hours) {
  columns::Cells cells;
  Cutter cutter(plan, /*cut_raw=*/true, has_hours, &cells);
  if (lookback > absl::ZeroDuration()) {
    const absl::Time start = plan.start();
    if (plan.raw_kept) {
      // Hours are exact here: no bucket is cut.
      cutter.CutByHours(absl::FromUnixSeconds(FloorTo(FloorSeconds(start - lookback), kHourSeconds)), start, -1, true);
    } else {
      cutter.Cut(absl::FromCivil(absl::ToCivilDay(start - lookback, plan.days), plan.days), start, -1);
    }
  }
  for (int bucket = 0; bucket < plan.buckets(); ++bucket) {
    cutter.Cut(plan.edges[static_cast<size_t>(bucket)], plan.edges[static_cast<size_t>(bucket) + 1], bucket);
  }
  return cells;
}

int BucketOf(const std::vector<absl::Time>& edges, absl::Time time) {
  if (edges.size() < 2 || time < edges.front() || time >= edges.back()) return -1;
  return static_cast<int>(std::upper_bound(edges.begin(), edges.end(), time) - edges.begin()) - 1;
}

}  // namespace pga::storage
