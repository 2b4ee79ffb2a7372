// log_line_prefix as a parser: what stands before the severity of every line of a log in the form stderr.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/collector/log_entry.h"
#include "services/collector/log_severity.h"
#include "services/collector/log_time.h"

namespace pga::collector {

// Immutable; thread-safe.
class LogLinePrefix {
 public:
  // Takes what the server takes: escapes of PostgreSQL 13 to 18 with their padding; what is no escape of its version
  // writes nothing. `server_version_num` as the server says it (180001).
  LogLinePrefix(std::string_view setting, int server_version_num);

  // What begins with a line.
  struct Head {
    LogWord word;
    std::string_view sqlstate;  // of log_error_verbosity = verbose
    std::string_view text;
  };
  // Fills the fields of `entry` that the prefix tells and returns what follows. Nothing, if the line does not begin
  // with the prefix and a word of a log; `entry` is then undefined. Where a name holds the prefix's own separators the
  // first way to read the line counts.
  std::optional<Head> Match(std::string_view line, const LogClock& clock, LogEntry* entry) const;

  // Whether two lines of different times differ in it, so that a first line tells files apart.
  bool tells_time() const { return tells_time_; }
  // Whether lines of all processes have their SQLSTATE in it.
  bool tells_state() const { return tells_state_; }

 private:
  struct Item {
    char field = 0;  // letter of the escape, or 0 for a literal
    bool padded = false;
    std::string literal;
  };
  struct Attempt;

  bool MatchFrom(size_t item, std::string_view rest, Attempt* attempt) const;
  bool MatchFree(size_t item, std::string_view rest, Attempt* attempt) const;

  std::vector<Item> items_;
  bool tells_time_ = false;
  bool tells_state_ = false;
};

}  // namespace pga::collector
