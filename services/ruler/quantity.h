// Numbers with units as people write them in rules and read them in alerts. Pure, thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::ruler {

// `text` in `unit` of the catalog ("bytes", "us", "ms", "s", "percent", ...), "ratio", or one of these with "/s". A
// plain number is in that unit; else with B, KiB, MiB, GiB, TiB for bytes; us, ms, s, m, h, d for times; % for ratio
// and percent. INVALID_ARGUMENT says what to write.
absl::StatusOr<double> ParseQuantity(const std::string& text, const std::string& unit);

// "12.5 GiB", "5 min", "87.2 %", "1,234": at most four significant digits below 1,000.
std::string FormatQuantity(double value, const std::string& unit);

// The shortest text that is this number.
std::string ExactNumber(double value);

// "90s", "5m", "1h", "2d"; INVALID_ARGUMENT else.
absl::StatusOr<absl::Duration> ParseSpan(const std::string& text);

}  // namespace pga::ruler
