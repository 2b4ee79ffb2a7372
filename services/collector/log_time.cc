#include "services/collector/log_time.h"

#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "absl/time/civil_time.h"

namespace pga::collector {
namespace {

bool IsDigit(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c));
}

// Exactly `digits` digits at `at`, or -1.
int Fixed(std::string_view text, size_t at, size_t digits) {
  if (at + digits > text.size()) return -1;
  int value = 0;
  for (size_t i = at; i < at + digits; ++i) {
    if (!IsDigit(text[i])) return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

}  // namespace

size_t ReadDecimal(std::string_view text, int64_t* value) {
  size_t at = !text.empty() && text[0] == '-' ? 1 : 0;
  const bool negative = at == 1;
  const size_t begin = at;
  int64_t sum = 0;
  for (; at < text.size() && IsDigit(text[at]); ++at) {
    const int digit = text[at] - '0';
    if (sum > (std::numeric_limits<int64_t>::max() - digit) / 10) return 0;
    sum = sum * 10 + digit;
  }
  if (at == begin) return 0;
  *value = negative ? -sum : sum;
  return at;
}

LogClock::LogClock(const std::string& zone) {
  known_ = absl::LoadTimeZone(absl::string_view(zone), &zone_);
}

size_t LogClock::Read(std::string_view text, int64_t* at_us) const {
  const int year = Fixed(text, 0, 4);
  const int month = Fixed(text, 5, 2);
  const int day = Fixed(text, 8, 2);
  const int hour = Fixed(text, 11, 2);
  const int minute = Fixed(text, 14, 2);
  const int second = Fixed(text, 17, 2);
  if (year < 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour < 0 || hour > 23 || minute < 0 ||
      minute > 59 || second < 0 || second > 60 || text[4] != '-' || text[7] != '-' || text[10] != ' ' ||
      text[13] != ':' || text[16] != ':') {
    return 0;
  }
  size_t at = 19;
  int64_t micros = 0;
  if (at < text.size() && text[at] == '.') {
    const int millis = Fixed(text, at + 1, 3);
    if (millis < 0) return 0;
    micros = int64_t{millis} * 1000;
    at += 4;
  }
  if (at >= text.size() || text[at] != ' ') return 0;
  const size_t begin = ++at;
  const bool numeric = at < text.size() && (text[at] == '+' || text[at] == '-');
  if (numeric) ++at;
  while (at < text.size() &&
         (numeric ? IsDigit(text[at]) : absl::ascii_isalpha(static_cast<unsigned char>(text[at])))) {
    ++at;
  }
  const std::string_view name = text.substr(begin, at - begin);
  if (name.size() < (numeric ? 3 : 1)) return 0;
  const absl::CivilSecond civil(year, month, day, hour, minute, second);
  absl::TimeZone zone = absl::UTCTimeZone();
  *at_us = 0;
  if (numeric) {
    int64_t offset = 0;
    const std::string_view digits = name.substr(1);
    if (ReadDecimal(digits, &offset) == 0) return 0;
    const int64_t minutes = digits.size() <= 2 ? offset * 60 : offset / 100 * 60 + offset % 100;
    zone = absl::FixedTimeZone(static_cast<int>((name[0] == '-' ? -minutes : minutes) * 60));
  } else if (name != "UTC" && name != "GMT") {
    if (!known_) return at;
    const absl::TimeZone::TimeInfo info = zone_.At(civil);
    absl::Time time = info.pre;
    if (info.kind == absl::TimeZone::TimeInfo::REPEATED &&
        absl::string_view(zone_.At(info.pre).zone_abbr) != absl::string_view(name.data(), name.size())) {
      time = info.post;
    }
    *at_us = absl::ToUnixMicros(time) + micros;
    return at;
  }
  *at_us = absl::ToUnixMicros(absl::FromCivil(civil, zone)) + micros;
  return at;
}

}  // namespace pga::collector
