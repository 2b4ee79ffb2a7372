// What requests of the query service may say: ranges, limits, and which groups of sources a caller sees. Pure
// functions; every refusal says what to change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/token/principal.h"

namespace pga::query {

struct Range {
  absl::Time start;
  absl::Time end;
};

// `hours` (1 to 720) is a range that ends now, and excludes start and end. Start alone ends now; end alone has the
// default length; nothing at all is the default length up to now.
absl::StatusOr<Range> ResolveRange(std::optional<absl::Time> start, std::optional<absl::Time> end, int hours,
                                   absl::Duration default_length, absl::Time now);

// Hours up to now: 0 means `fallback`; INVALID_ARGUMENT outside least..kMostHours.
inline constexpr int kMostHours = 720;
absl::StatusOr<int> ResolveHours(int hours, int fallback, int least);

// 0 means `fallback`; INVALID_ARGUMENT outside 1..max.
absl::StatusOr<int> ResolveLimit(int limit, int fallback, int max);

// Characters of a text in an answer, and of all texts of one answer.
inline constexpr int kMostTextLength = 65'536;
inline constexpr int kMostTextCharacters = 1'000'000;

// How many characters of each text an answer of at most `limit` entries holds. 0 means `fallback`, or less with many
// entries; INVALID_ARGUMENT outside 1..kMostTextLength, and where all entries could exceed kMostTextCharacters.
absl::StatusOr<int> ResolveTextLength(int text_length, int limit, int fallback);

// A 64-bit id in decimal text, as they stand in answers.
absl::StatusOr<int64_t> ParseId(std::string_view text, std::string_view what);

// Those of `groups` that the caller may see under the method's rule.
std::vector<std::string> VisibleGroups(const token::Principal& principal, const token::Access& access,
                                       const std::vector<std::string>& groups);

}  // namespace pga::query
