#pragma once

// Text of a setting to its value. Service managers hand over values with trailing blanks and with the remark that
// followed them in the file ("120  # seconds"): both are dropped first. What cannot be read is INVALID_ARGUMENT with a
// text that says what to write instead. Pure functions.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "libs/status/status.h"

namespace pga::config {

// Without surrounding blanks and without a trailing remark: `#` at the start or with a blank before or behind it, up to
// the end. systemd joins a quoted value and the remark behind it without the blank between: "86400"  # 24 hours arrives
// as 86400# 24 hours.
std::string_view StripRemark(std::string_view text);

// Decimal integer, optional sign, within [min, max].
absl::StatusOr<int64_t> ParseInt(std::string_view text, int64_t min, int64_t max);

// Finite decimal number within [min, max].
absl::StatusOr<double> ParseDouble(std::string_view text, double min, double max);

// true/false, yes/no, on/off, 1/0, in any case.
absl::StatusOr<bool> ParseBool(std::string_view text);

// "90" and "1.5" are seconds; else numbers with ms, s, m, h, d: "250ms", "1h30m", "7d". Never negative.
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);

// "1048576", "64KiB", "100MB", "2GiB" (KB/MB/GB/TB are powers of 1000; K/M/G/T and KiB... are powers of 1024).
absl::StatusOr<int64_t> ParseBytes(std::string_view text);

// Parts between commas without blanks around them; empty parts are dropped. A part in double quotes keeps commas and
// blanks ("" in it is one quote): "a,b",c.
std::vector<std::string> ParseList(std::string_view text);

}  // namespace pga::config
