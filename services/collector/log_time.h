// Times as PostgreSQL writes them into its log: in the zone log_timezone, followed by that zone's abbreviation.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace pga::collector {

// Thread-compatible.
class LogClock {
 public:
  // `zone` is the server's log_timezone. Without a time zone database only UTC and numeric abbreviations are known.
  explicit LogClock(const std::string& zone);

  // Reads "2026-11-28 12:35:13[.123] ABC" at the beginning of `text` and returns how many bytes it takes, 0 if there is
  // none. `*at_us` is microseconds since 1970, 0 if the abbreviation is of a zone that is not known. In an hour that a
  // clock shows twice the abbreviation decides.
  size_t Read(std::string_view text, int64_t* at_us) const;

 private:
  absl::TimeZone zone_;
  bool known_ = false;
};

// Bytes of a decimal number at the beginning of `text`, 0 if there is none or it does not fit. A sign is taken.
size_t ReadDecimal(std::string_view text, int64_t* value);

}  // namespace pga::collector
