// Where literals, comments, names and numbers of an SQL text are, by PostgreSQL's lexical rules (src/backend/parser/
// scan.l), for any bytes, broken and cut texts included. A text alone does not say how its server reads it: that
// depends on standard_conforming_strings and on the version, so a reading is asked for by dialect. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace pga::collector {

enum class SqlTokenKind : uint8_t {
  kWord,              // identifier or keyword
  kQuotedIdentifier,  // "x", U&"x"
  kLiteral,           // 'x' with its prefix E, U&, B or X and with its continuations; $tag$x$tag$
  kNumber,
  kParameter,  // $1
  kComment,
  kOther,  // one character of an operator or of punctuation; libpg_query gives whole operators
};

// Bytes [begin, end) of the text.
struct SqlToken {
  size_t begin = 0;
  size_t end = 0;
  SqlTokenKind kind = SqlTokenKind::kOther;
  bool continued = false;  // a literal of several parts on several lines
};

struct SqlReading {
  std::vector<SqlToken> tokens;  // in the text's order, without blanks
  size_t end = 0;                // where the text ends, or a literal, name or comment begins that has no end
};

struct SqlDialect {
  bool backslash_escapes = false;  // standard_conforming_strings = off: a backslash in '...' escapes
  // Before 15 a number ends at its last digit and what follows is a name, 0x1F included. Otherwise letters, digits and
  // underscores belong to it (16 and later; an error in 15), except a keyword such as the OR of 1OR.
  bool short_numbers = false;
};

SqlReading ScanSql(std::string_view text, const SqlDialect& dialect);

// True if ASCII letters of `word` are `lower`, whatever their case.
bool IsWord(std::string_view word, std::string_view lower);

}  // namespace pga::collector
