#include "services/collector/query_text.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "services/collector/postgres_lexer.h"
#include "services/collector/secret_words.h"
#include "services/collector/sql_scanner.h"

namespace pga::collector {
namespace {

// What happens to a byte; the greater wins where readings differ.
enum Fate : uint8_t { kStays = 0, kBlank = 1, kReplaced = 2 };

using Tokens = std::span<const SqlToken>;

bool IsValue(const SqlToken& token) {
  return token.kind == SqlTokenKind::kLiteral || token.kind == SqlTokenKind::kNumber;
}
bool IsName(const SqlToken& token) {
  return token.kind == SqlTokenKind::kWord || token.kind == SqlTokenKind::kQuotedIdentifier;
}

bool SameValues(const SqlReading& a, const SqlReading& b) {
  return a.end == b.end && std::equal(a.tokens.begin(), a.tokens.end(), b.tokens.begin(), b.tokens.end(),
                                      [](const SqlToken& x, const SqlToken& y) {
                                        return x.begin == y.begin && x.end == y.end && x.kind == y.kind;
                                      });
}

// Every way in which a server may read the text; at least one.
std::vector<SqlReading> Readings(std::string_view text, bool* careful) {
  std::vector<SqlReading> readings;
  std::optional<SqlReading> postgres = ScanWithPostgres(std::string(text));
  *careful = !postgres.has_value();
  SqlReading plain = ScanSql(text, {});
  // Only a backslash before a quote is read differently with standard_conforming_strings = off.
  if (text.find("\\'") != std::string_view::npos) {
    SqlReading escaped = ScanSql(text, {.backslash_escapes = true});
    if (!SameValues(plain, escaped)) {
      *careful = true;
      readings.push_back(std::move(escaped));
    }
  }
  if (postgres.has_value()) {
    readings.push_back(*std::move(postgres));
  } else {
    for (const bool escapes : {false, true}) {
      readings.push_back(ScanSql(text, {.backslash_escapes = escapes, .short_numbers = true}));
    }
  }
  readings.push_back(std::move(plain));
  return readings;
}

// One statement of a text, without comments.
class Statement {
 public:
  Statement(std::string_view text, Tokens tokens) : text_(text), tokens_(tokens) {}

  auto begin() const { return tokens_.begin(); }
  auto end() const { return tokens_.end(); }
  size_t size() const { return tokens_.size(); }
  const SqlToken& operator[](size_t i) const { return tokens_[i]; }
  std::string_view TextAt(size_t i) const {
    return i < size() ? text_.substr(tokens_[i].begin, tokens_[i].end - tokens_[i].begin) : std::string_view();
  }
  bool Is(size_t i, std::string_view lower) const {
    return i < size() && !IsValue(tokens_[i]) && IsWord(TextAt(i), lower);
  }
  bool IsAny(size_t i, std::span<const std::string_view> words) const {
    return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return Is(i, word); });
  }
  bool IsNameAt(size_t i) const { return i < size() && IsName(tokens_[i]); }
  // The first of `words` from `from` on; size() if there is none.
  size_t Find(size_t from, std::span<const std::string_view> words) const {
    while (from < size() && !IsAny(from, words)) ++from;
    return std::min(from, size());
  }
  // Behind name.name.name at `i`.
  size_t BehindName(size_t i) const {
    while (IsNameAt(i) && Is(i + 1, ".")) i += 2;
    return std::min(i + 1, size());
  }

 private:
  std::string_view text_;
  Tokens tokens_;
};

std::vector<SqlToken> WithoutComments(const SqlReading& reading) {
  std::vector<SqlToken> tokens;
  std::copy_if(reading.tokens.begin(), reading.tokens.end(), std::back_inserter(tokens),
               [](const SqlToken& token) { return token.kind != SqlTokenKind::kComment; });
  return tokens;
}

template <typename Visit>
void ForEachStatement(std::string_view text, Tokens tokens, Visit visit) {
  for (size_t begin = 0; begin < tokens.size();) {
    size_t end = begin;
    while (end < tokens.size() && text[tokens[end].begin] != ';') ++end;
    if (end > begin) visit(Statement(text, tokens.subspan(begin, end - begin)));
    begin = end + 1;
  }
}

constexpr std::string_view kAssigns[] = {"to", "="};

// Values that the grammar takes as bare words, so that no lexer tells them from names.
class BareValues {
 public:
  BareValues(const Statement& statement, std::vector<uint8_t>* fates) : s_(statement), fates_(fates) {}

  void Replace() {
    if (s_.Is(0, "set")) return OfSet();
    if (!s_.Is(0, "create") && !s_.Is(0, "alter")) return;
    OfSetClauses();
    OfDefinitions();
    OfRole();
    OfTriggerArguments();
  }

 private:
  void Mark(size_t from, size_t to) {
    if (from >= to) return;
    std::fill(fates_->begin() + static_cast<ptrdiff_t>(s_[from].begin),
              fates_->begin() + static_cast<ptrdiff_t>(s_[to - 1].end), kReplaced);
  }

  // SET [LOCAL | SESSION] name TO value, ... or name = value, ...: all of it is values.
  void OfSet() {
    static constexpr std::string_view kScopes[] = {"local", "session"};
    static constexpr std::string_view kOther[] = {"transaction", "role", "constraints",     "time",         "names",
                                                  "schema",      "xml",  "characteristics", "authorization"};
    const size_t name = s_.IsAny(1, kScopes) && s_.IsNameAt(2) ? 2 : 1;
    size_t value = s_.Find(name, kAssigns) + 1;
    if (value > s_.size()) {
      if (s_.IsAny(name, kOther)) return;
      value = s_.BehindName(name);  // not a statement of PostgreSQL, but people write it
    }
    if (value + 1 == s_.size() && s_.Is(value, "default")) return;
    Mark(value, s_.size());
  }

  // ALTER ROLE ... SET name TO value, CREATE FUNCTION ... SET name = value, ...; an UPDATE in a rule as well.
  void OfSetClauses() {
    for (size_t i = 1; i < s_.size(); ++i) {
      if (!s_.Is(i, "set") || !s_.IsNameAt(i + 1)) continue;
      size_t at = s_.BehindName(i + 1);
      if (!s_.IsAny(at, kAssigns)) continue;
      for (++at; at < s_.size(); at += 2) {
        if (s_.Is(at, "+") || s_.Is(at, "-")) ++at;
        if (at < s_.size() && !s_.Is(at, "default")) Mark(at, at + 1);
        if (!s_.Is(at + 1, ",")) break;
      }
    }
  }

  // (password = word), (initcond = word).
  void OfDefinitions() {
    static constexpr std::string_view kValues[] = {"initcond", "minitcond", "default"};
    for (size_t i = 1; i + 2 < s_.size(); ++i) {
      if (!s_.Is(i + 1, "=") || !s_.IsNameAt(i) || !s_.IsNameAt(i + 2)) continue;
      if (s_.IsAny(i, kValues) || NamesSecret(s_.TextAt(i))) Mark(i + 2, s_.BehindName(i + 2));
    }
  }

  // ALTER ROLE r PASSWORD word: an error, but people write it.
  void OfRole() {
    static constexpr std::string_view kRoles[] = {"role", "user", "group"};
    if (!s_.IsAny(1, kRoles)) return;
    for (size_t i = 3; i + 1 < s_.size(); ++i) {
      if (s_.Is(i, "password") && s_.IsNameAt(i + 1) && !s_.Is(i + 1, "null")) Mark(i + 1, i + 2);
    }
  }

  // CREATE TRIGGER ... EXECUTE FUNCTION f(word, ...): its arguments are strings.
  void OfTriggerArguments() {
    static constexpr std::string_view kTrigger[] = {"trigger"};
    static constexpr std::string_view kExecute[] = {"execute"};
    if (s_.Find(1, kTrigger) > 5) return;  // CREATE OR REPLACE CONSTRAINT TRIGGER
    const size_t execute = s_.Find(1, kExecute);
    const size_t open = s_.BehindName(execute + 2);
    if (!s_.Is(open, "(")) return;
    static constexpr std::string_view kClose[] = {")"};
    Mark(open + 1, s_.Find(open + 1, kClose));
  }

  const Statement& s_;
  std::vector<uint8_t>* fates_;
};

// What a reading replaces, added to `fates`.
void ReplaceValues(std::string_view text, const SqlReading& reading, std::vector<uint8_t>* fates) {
  for (const SqlToken& token : reading.tokens) {
    Fate fate = kStays;
    if (token.kind == SqlTokenKind::kComment) {
      fate = kBlank;
    } else if (IsValue(token)) {
      fate = kReplaced;
    } else if (token.kind == SqlTokenKind::kQuotedIdentifier) {
      // "host=h password=x": written with the wrong quotes.
      const std::string_view name = text.substr(token.begin, token.end - token.begin);
      if (name.find_first_of("=:@") != std::string_view::npos && SpeaksOfSecret(name)) fate = kReplaced;
    }
    if (fate == kStays) continue;
    for (size_t i = token.begin; i < token.end; ++i) (*fates)[i] = std::max<uint8_t>((*fates)[i], fate);
  }
  const std::vector<SqlToken> tokens = WithoutComments(reading);
  ForEachStatement(text, tokens, [fates](const Statement& statement) { BareValues(statement, fates).Replace(); });
}

// The first `end` bytes of the text, which was read in these ways, with values replaced.
std::string Normalized(std::string_view text, size_t end, const std::vector<SqlReading>& readings) {
  std::vector<uint8_t> fates(text.size(), kStays);
  for (const SqlReading& reading : readings) ReplaceValues(text, reading, &fates);
  std::string out;
  for (size_t i = 0; i < end;) {
    if (fates[i] == kStays) {
      out.push_back(text[i++]);
      continue;
    }
    uint8_t most = kBlank;
    for (; i < end && fates[i] != kStays; ++i) most = std::max(most, fates[i]);
    if (most == kReplaced) {
      out.push_back('?');
    } else if (out.empty() || out.back() != ' ') {
      out.push_back(' ');
    }
  }
  return out;
}

// The kinds of statement that hold neither a place for a secret nor a program, by their first word or, for CREATE and
// ALTER, by what they make.
bool IsOfPlainKind(const Statement& s) {
  static constexpr std::string_view kPlain[] = {
      "select",  "with",      "values",  "table",   "insert",  "update",     "delete", "merge",    "explain",
      "declare", "fetch",     "move",    "close",   "begin",   "start",      "commit", "end",      "rollback",
      "abort",   "savepoint", "release", "reset",   "show",    "discard",    "lock",   "truncate", "vacuum",
      "analyze", "analyse",   "reindex", "cluster", "refresh", "checkpoint", "listen", "unlisten", "drop",
      "grant",   "revoke",    "comment", "copy",    "prepare", "deallocate", "call"};
  static constexpr std::string_view kDefinitions[] = {"create", "alter"};
  static constexpr std::string_view kAdjectives[] = {"or",     "replace", "temp",   "temporary", "unlogged",
                                                     "global", "local",   "unique", "recursive", "materialized"};
  static constexpr std::string_view kObjects[] = {"table",    "index",  "view",      "schema",
                                                  "sequence", "domain", "statistics"};
  size_t i = 0;
  while (s.Is(i, "(")) ++i;
  // PREPARE TRANSACTION 'x', COMMIT PREPARED 'x'.
  if (s.Is(i + 1, "transaction") || s.Is(i + 1, "prepared")) return !std::any_of(s.begin(), s.end(), IsValue);
  if (s.IsAny(i, kPlain)) return true;
  if (s.Is(i, "set")) {
    // Settings with a dot are the applications' own: what they hold is not known.
    static constexpr std::string_view kDot[] = {"."};
    return s.Find(i, kDot) >= s.Find(i, kAssigns);
  }
  if (!s.IsAny(i, kDefinitions)) return false;
  ++i;
  while (s.IsAny(i, kAdjectives)) ++i;
  return s.IsAny(i, kObjects);
}

// Whether the text may travel with its literals.
bool MayStay(std::string_view text, const std::vector<SqlReading>& readings) {
  if (SpeaksOfSecret(text)) return false;
  for (const SqlReading& reading : readings) {
    bool plain = true;
    const std::vector<SqlToken> tokens = WithoutComments(reading);
    ForEachStatement(text, tokens, [&plain](const Statement& s) { plain = plain && IsOfPlainKind(s); });
    // A sign may be spread over the parts of a literal.
    if (!plain || std::any_of(tokens.begin(), tokens.end(), [](const SqlToken& t) { return t.continued; }))
      return false;
  }
  return true;
}

}  // namespace

RedactedText RedactQuery(std::string_view text, QueryTextMode mode) {
  RedactedText result;
  if (mode == QueryTextMode::kNone) return result;
  const std::vector<SqlReading> readings = Readings(text, &result.careful);
  size_t end = text.size();
  for (const SqlReading& reading : readings) end = std::min(end, reading.end);
  const bool stays = mode == QueryTextMode::kFull && MayStay(text, readings);
  result.text = stays ? std::string(text.substr(0, end)) : Normalized(text, end, readings);
  while (!result.text.empty() && absl::ascii_isspace(static_cast<unsigned char>(result.text.back()))) {
    result.text.pop_back();
  }
  return result;
}

}  // namespace pga::collector
