#include "tools/pgactl/ranges.h"

#include "google/protobuf/util/time_util.h"
#include "libs/config/values.h"

namespace pga::pgactl {

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixMicros(google::protobuf::util::TimeUtil::TimestampToMicroseconds(time));
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(time));
}

absl::StatusOr<absl::Time> ParseInstant(const std::string& text, absl::Time now) {
  absl::Time time;
  std::string error;
  if (absl::ParseTime(absl::RFC3339_full, text, &time, &error)) return time;
  for (const char* format : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d"}) {
    if (absl::ParseTime(format, text, absl::LocalTimeZone(), &time, &error)) return time;
  }
  const std::string today = absl::FormatTime("%Y-%m-%d ", now, absl::LocalTimeZone());
  for (const char* format : {"%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"}) {
    if (absl::ParseTime(format, today + text, absl::LocalTimeZone(), &time, &error)) return time;
  }
  if (auto ago = config::ParseDuration(text); ago.ok()) return now - *ago;
  return UsageError("'" + text +
                    "' is no time; write 10:03, 2026-01-01 10:03, 2026-01-01T10:03:00Z, or 2h for two hours ago");
}

std::string RangeText(absl::Time start, absl::Time end, absl::TimeZone zone) {
  const std::string from = ZoneName(start, zone);
  const std::string to = ZoneName(end, zone);
  return Clock(start, zone) + (from == to ? "" : " " + from) + " to " + Clock(end, zone) + " " + to;
}

const std::vector<OptionSpec>& RangeOptions() {
  static const auto* const kOptions = new std::vector<OptionSpec>{
      {"hours", "N", "the last N hours (1 to 720)"},
      {"from", "TIME", "start: 10:03, 2026-01-01 10:03, 2026-01-01T10:03:00Z, or 2h for two hours ago"},
      {"to", "TIME", "end; default now"},
      {"source", "NAME", "only this source (name or id); may be repeated", true},
  };
  return *kOptions;
}

std::vector<OptionSpec> With(std::vector<OptionSpec> options, const std::vector<OptionSpec>& more) {
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

}  // namespace pga::pgactl
