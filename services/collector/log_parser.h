// The three forms of PostgreSQL's log as a stream of entries: stderr with a log_line_prefix, csvlog (13 and later),
// jsonlog (15 and later). Pure code without I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "services/collector/log_entry.h"
#include "services/collector/log_line_prefix.h"
#include "services/collector/log_time.h"

namespace pga::collector {

enum class LogFormat { kStderr, kCsv, kJson };

// What follows the bytes that are given.
enum class LogEnd {
  kOpen,   // perhaps more of the last entry
  kQuiet,  // nothing for now: the last entry is whole if its last line is
  kFull,   // the reader's buffer is full: an entry that does not fit is cut
};

struct LogParseCounts {
  int64_t entries = 0;
  int64_t foreign_lines = 0;
  // Lines of no known form, parts of an entry whose beginning is missing.
  int64_t unreadable_lines = 0;
};

// Has no memory of what it parsed before: a position at the beginning of an entry is all that has to be kept.
// Thread-compatible.
class LogParser {
 public:
  using Sink = std::function<void(const LogEntry& entry)>;

  virtual ~LogParser() = default;
  // Hands out the entries in `bytes`, which begin where an entry begins, and adds to `counts`. Returns how many bytes
  // are done: up to the end of the last entry that is whole. With kFull it is at least one, if there are any.
  virtual size_t Parse(std::string_view bytes, LogEnd end, const Sink& sink, LogParseCounts* counts) const = 0;
};

std::unique_ptr<LogParser> MakeStderrParser(LogLinePrefix prefix, LogClock clock);
std::unique_ptr<LogParser> MakeCsvParser(LogClock clock);
std::unique_ptr<LogParser> MakeJsonParser(LogClock clock);

}  // namespace pga::collector
