// The words that begin the lines of a log: severities, and parts of an entry. PostgreSQL writes them in the language of
// lc_messages. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <string_view>

#include "services/collector/log_entry.h"

namespace pga::collector {

enum class LogPart { kMessage, kDetail, kHint, kQuery, kContext, kLocation, kStatement, kBacktrace };

struct LogWord {
  LogPart part = LogPart::kMessage;
  LogSeverity severity = LogSeverity::kUnknown;  // of kMessage
};

// The severity that a word stands for, kUnknown if it is of no language that is known.
LogSeverity SeverityOf(std::string_view word);

// Reads a word with its colon and two blanks at the beginning of `text` ("ERROR:  "). Returns how many bytes it takes,
// 0 if none stands there.
size_t ReadLogWord(std::string_view text, LogWord* word);

}  // namespace pga::collector
