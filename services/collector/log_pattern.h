// A message of the server as it is written, with slots for what changes: its figures and names, and the message without
// what must not be kept.
//
//   could not extend file "{object:name}": {_:known}
//
//   {NAME:int}      a number; figure NAME
//   {NAME:ms}       milliseconds with decimals; figure NAME in microseconds
//   {NAME:s}        seconds with decimals; figure NAME in microseconds
//   {NAME:kb}       kilobytes; figure NAME in bytes
//   {NAME:float}    a number with decimals, no figure
//   {NAME:word}     letters, digits and signs without a blank; text NAME
//   {NAME:name}     anything up to what follows, such as a name; text NAME
//   {NAME:sql}      a statement
//   {NAME:plain}    words of the server, numbers and positions; other words are taken out
//   {NAME:known}    words of the server; numbers and other words are taken out
//   {NAME:text}     anything; taken out
//
// NAME _ is no figure and no text. A slot ends where the literal after it is found first; after the last literal it is
// found last. So a match takes time proportional to the text, whatever is in it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/collector/config.h"

namespace pga::collector {

// What was found in a text. Views lead into the pattern (names) and the text.
struct LogFindings {
  std::vector<std::pair<std::string_view, int64_t>> figures;
  std::vector<std::pair<std::string_view, std::string_view>> texts;

  // The first figure of a name, or `otherwise`.
  int64_t Figure(std::string_view name, int64_t otherwise = 0) const;
  std::string_view Text(std::string_view name) const;
};

// Immutable; thread-safe.
class LogPattern {
 public:
  // INVALID_ARGUMENT says what is wrong.
  static absl::StatusOr<LogPattern> Compile(std::string_view text);

  // Whether `text` as a whole is of this form. Adds to `findings`; what is added by a text that is not of the form
  // means nothing. `kept`, if wanted, becomes the text without what must not be kept.
  bool Match(std::string_view text, QueryTextMode mode, LogFindings* findings, std::string* kept) const;
  // Whether the form is found anywhere in `text`; its last slot is then one with a form of its own, or ends at the end
  // of a line.
  bool Find(std::string_view text, LogFindings* findings) const;

  // What every text of this form begins with.
  std::string_view begins() const { return begins_; }
  // The last slot takes whatever follows, over lines too.
  bool open_ended() const;

 private:
  enum class Kind { kLiteral, kInt, kMs, kSeconds, kKb, kFloat, kWord, kName, kSql, kPlain, kKnown, kText };
  struct Item {
    Kind kind = Kind::kLiteral;
    std::string text;  // literal, or the slot's name
  };
  static absl::StatusOr<Kind> KindOf(std::string_view name);
  static bool ReadSlot(const Item& item, std::string_view text, size_t* size, LogFindings* findings);
  bool MatchItems(std::string_view text, bool whole, QueryTextMode mode, LogFindings* findings,
                  std::string* kept) const;

  std::vector<Item> items_;
  std::string begins_;
};

// `text` without everything that PostgreSQL's own messages do not say: what is in quotes, numbers and unknown words
// become ?; numbers stay where `keep_numbers`, hexadecimal in capitals too.
std::string OnlyKnownWords(std::string_view text, bool keep_numbers = false);

}  // namespace pga::collector
