#include "services/collector/sql_scanner.h"

#include <algorithm>
#include <iterator>

namespace pga::collector {
namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}
bool IsLetter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool IsBlank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool IsNewline(char c) {
  return c == '\n' || c == '\r';
}
char Lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Words that people write right behind a number.
constexpr std::string_view kKeywordsBehindNumbers[] = {
    "and",   "as",   "asc",   "between", "by",      "cross",  "desc",  "else",      "end",   "except", "fetch",
    "for",   "from", "full",  "group",   "having",  "in",     "inner", "intersect", "is",    "isnull", "join",
    "left",  "like", "limit", "not",     "notnull", "offset", "on",    "or",        "order", "over",   "returning",
    "right", "rows", "row",   "then",    "to",      "union",  "using", "when",      "where", "window"};

struct Quoting {
  bool escapes = false;   // \' is no end
  bool doubling = false;  // '' is no end
};

class Scanner {
 public:
  Scanner(std::string_view text, const SqlDialect& dialect) : text_(text), dialect_(dialect) {
    reading_.end = text.size();
  }

  SqlReading Run() {
    while (at_ < reading_.end) Step();
    return std::move(reading_);
  }

 private:
  char Peek(size_t at) const { return at < text_.size() ? text_[at] : '\0'; }

  void Step() {
    const char c = Peek(at_);
    if (IsBlank(c)) {
      ++at_;
    } else if (c == '-' && Peek(at_ + 1) == '-') {
      Add(EndOfLine(at_), SqlTokenKind::kComment);
    } else if (c == '/' && Peek(at_ + 1) == '*') {
      BlockComment();
    } else if (c == '\'') {
      Literal(at_, {.escapes = dialect_.backslash_escapes, .doubling = true});
    } else if (c == '"') {
      QuotedIdentifier(at_);
    } else if (c == '$') {
      Dollar();
    } else if (c == '.' && Peek(at_ + 1) == '.') {
      Add(at_ + 2, SqlTokenKind::kOther);  // 1..10
    } else if (IsDigit(c) || (c == '.' && IsDigit(Peek(at_ + 1)))) {
      Number();
    } else if (IsLetter(c)) {
      Word();
    } else {
      Add(at_ + 1, SqlTokenKind::kOther);
    }
  }

  void Add(size_t end, SqlTokenKind kind, bool continued = false) {
    reading_.tokens.push_back({at_, end, kind, continued});
    at_ = end;
  }
  // What begins at at_ has no end: the text ends there.
  void Cut() { reading_.end = at_; }

  size_t EndOfLine(size_t at) const {
    while (at < text_.size() && !IsNewline(text_[at])) ++at;
    return at;
  }
  // The end of the letters, digits and dollars from `at` on.
  size_t EndOfWord(size_t at, bool dollars) const {
    while (at < text_.size() && (IsLetter(text_[at]) || IsDigit(text_[at]) || (dollars && text_[at] == '$'))) ++at;
    return at;
  }
  size_t EndOfDigits(size_t at) const {
    while (IsDigit(Peek(at)) || (!dialect_.short_numbers && Peek(at) == '_' && IsDigit(Peek(at + 1)))) ++at;
    return at;
  }

  void BlockComment() {
    size_t depth = 0;
    for (size_t i = at_; i + 1 < text_.size(); ++i) {
      if (text_[i] == '/' && text_[i + 1] == '*') {
        ++depth;
        ++i;
      } else if (text_[i] == '*' && text_[i + 1] == '/') {
        ++i;
        if (--depth == 0) return Add(i + 1, SqlTokenKind::kComment);
      }
    }
    Cut();
  }

  // Where the part of a literal that begins behind its quote at `at` has its closing quote; npos if it has none.
  size_t ClosingQuote(size_t at, const Quoting& quoting) const {
    for (; at < text_.size(); ++at) {
      if (quoting.escapes && text_[at] == '\\') {
        ++at;
      } else if (text_[at] == '\'') {
        if (!quoting.doubling || Peek(at + 1) != '\'') return at;
        ++at;
      }
    }
    return std::string_view::npos;
  }

  // The quote that continues a literal whose part ended before `at`: on another line, with nothing but blanks and line
  // comments between. npos if there is none.
  size_t Continuation(size_t at) const {
    bool line = false;
    for (;;) {
      const char c = Peek(at);
      if (at >= text_.size()) return std::string_view::npos;
      if (IsBlank(c)) {
        line = line || IsNewline(c);
        ++at;
      } else if (c == '-' && Peek(at + 1) == '-') {
        at = EndOfLine(at);
      } else {
        return line && c == '\'' ? at : std::string_view::npos;
      }
    }
  }

  // A literal from at_ on (its prefix included) whose first quote is at `quote`.
  void Literal(size_t quote, const Quoting& quoting) {
    bool continued = false;
    for (;;) {
      const size_t close = ClosingQuote(quote + 1, quoting);
      if (close == std::string_view::npos) return Cut();
      const size_t next = Continuation(close + 1);
      if (next == std::string_view::npos) return Add(close + 1, SqlTokenKind::kLiteral, continued);
      continued = true;
      quote = next;
    }
  }

  void QuotedIdentifier(size_t quote) {
    for (size_t i = quote + 1; i < text_.size(); ++i) {
      if (text_[i] != '"') continue;
      if (Peek(i + 1) != '"') return Add(i + 1, SqlTokenKind::kQuotedIdentifier);
      ++i;
    }
    Cut();
  }

  // $1, $$text$$ or $tag$text$tag$; any other dollar stands alone.
  void Dollar() {
    if (IsDigit(Peek(at_ + 1))) {
      size_t end = at_ + 1;
      while (IsDigit(Peek(end))) ++end;
      return Add(end, SqlTokenKind::kParameter);
    }
    const size_t tag_end = EndOfWord(at_ + 1, /*dollars=*/false);
    if (Peek(tag_end) != '$') return Add(at_ + 1, SqlTokenKind::kOther);
    const std::string_view tag = text_.substr(at_, tag_end + 1 - at_);
    const size_t close = text_.find(tag, tag_end + 1);
    if (close == std::string_view::npos) return Cut();
    Add(close + tag.size(), SqlTokenKind::kLiteral);
  }

  void Number() {
    size_t end = EndOfDigits(at_);
    if (Peek(end) == '.' && Peek(end + 1) != '.') end = EndOfDigits(end + 1);
    if (Lower(Peek(end)) == 'e') {
      const size_t digits = end + (Peek(end + 1) == '+' || Peek(end + 1) == '-' ? 2 : 1);
      if (IsDigit(Peek(digits))) end = EndOfDigits(digits);
    }
    if (!dialect_.short_numbers) {
      const size_t behind = EndOfWord(end, /*dollars=*/false);
      const std::string_view word = text_.substr(end, behind - end);
      const bool keyword = std::any_of(std::begin(kKeywordsBehindNumbers), std::end(kKeywordsBehindNumbers),
                                       [word](std::string_view each) { return IsWord(word, each); });
      const bool prefix = Peek(behind) == '\'' || Peek(behind) == '&';
      if (!keyword && !prefix) end = behind;
    }
    Add(end, SqlTokenKind::kNumber);
  }

  void Word() {
    const char first = Lower(Peek(at_));
    const char second = Peek(at_ + 1);
    if (second == '\'' && first == 'e') return Literal(at_ + 1, {.escapes = true, .doubling = true});
    if (second == '\'' && (first == 'b' || first == 'x')) return Literal(at_ + 1, {});
    if (first == 'u' && second == '&' && Peek(at_ + 2) == '\'') return Literal(at_ + 2, {.doubling = true});
    if (first == 'u' && second == '&' && Peek(at_ + 2) == '"') return QuotedIdentifier(at_ + 2);
    Add(EndOfWord(at_, /*dollars=*/true), SqlTokenKind::kWord);
  }

  const std::string_view text_;
  const SqlDialect dialect_;
  SqlReading reading_;
  size_t at_ = 0;
};

}  // namespace

SqlReading ScanSql(std::string_view text, const SqlDialect& dialect) {
  return Scanner(text, dialect).Run();
}

bool IsWord(std::string_view word, std::string_view lower) {
  return word.size() == lower.size() &&
         std::equal(word.begin(), word.end(), lower.begin(), [](char a, char b) { return Lower(a) == b; });
}

}  // namespace pga::collector
