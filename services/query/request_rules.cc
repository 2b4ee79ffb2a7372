#include "services/query/request_rules.h"

#include <algorithm>
#include <charconv>

#include "libs/status/status.h"

namespace pga::query {

absl::StatusOr<Range> ResolveRange(std::optional<absl::Time> start, std::optional<absl::Time> end, int hours,
                                   absl::Duration default_length, absl::Time now) {
  if (hours != 0) {
    PGA_RETURN_IF_ERROR(ResolveHours(hours, hours, 1).status());
    if (start || end) {
      return absl::InvalidArgumentError("hours is a range that ends now; use either hours, or start and end");
    }
    return Range{now - absl::Hours(hours), now};
  }
  Range range;
  range.end = end.value_or(now);
  range.start = start.value_or(range.end - default_length);
  if (range.start >= range.end) {
    return absl::InvalidArgumentError("the range is empty: start must lie before end (and before now)");
  }
  if (range.end - range.start > absl::Hours(24 * 400)) {
    return absl::InvalidArgumentError("the range is longer than 400 days; move start or end");
  }
  return range;
}

absl::StatusOr<int> ResolveHours(int hours, int fallback, int least) {
  if (hours == 0) return fallback;
  if (hours < least || hours > kMostHours) {
    return absl::InvalidArgumentError("hours is " + std::to_string(hours) + "; use " + std::to_string(least) + " to " +
                                      std::to_string(kMostHours));
  }
  return hours;
}

absl::StatusOr<int> ResolveLimit(int limit, int fallback, int max) {
  if (limit == 0) return fallback;
  if (limit < 1 || limit > max) {
    return absl::InvalidArgumentError("limit is " + std::to_string(limit) + "; use 1 to " + std::to_string(max));
  }
  return limit;
}

absl::StatusOr<int> ResolveTextLength(int text_length, int limit, int fallback) {
  const int most = kMostTextCharacters / limit;
  if (text_length == 0) return std::min(fallback, most);
  if (text_length < 1 || text_length > kMostTextLength) {
    return absl::InvalidArgumentError("text_length is " + std::to_string(text_length) + "; use 1 to " +
                                      std::to_string(kMostTextLength));
  }
  if (text_length > most) {
    return absl::InvalidArgumentError("limit times text_length is more than " + std::to_string(kMostTextCharacters) +
                                      "; ask for fewer entries or shorter texts");
  }
  return text_length;
}

absl::StatusOr<int64_t> ParseId(std::string_view text, std::string_view what) {
  int64_t id = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || rest != text.data() + text.size() || text.empty()) {
    return absl::InvalidArgumentError(std::string(what) + " must be a whole number of 64 bits in decimal text");
  }
  return id;
}

std::vector<std::string> VisibleGroups(const token::Principal& principal, const token::Access& access,
                                       const std::vector<std::string>& groups) {
  std::vector<std::string> visible;
  for (const std::string& group : groups) {
    if (token::Allow(principal, access, group)) visible.push_back(group);
  }
  return visible;
}

}  // namespace pga::query
