// Data about logs that is compiled in. Thread-safe.
#pragma once

#include <string_view>

namespace pga::collector {

// log_classes.txt; its form is in log_classes.h.
std::string_view LogClassesText();
// log_words.txt: the words of PostgreSQL's own messages (tools/logs/words.py), apart by blanks and newlines.
std::string_view LogWordsText();

}  // namespace pga::collector
