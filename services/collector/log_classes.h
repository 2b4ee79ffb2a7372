// What an entry of a log is about, what figures are in it, and what of it may be kept.
//
// The table (log_classes.txt) has a statement a line; blanks at its beginning say nothing, # begins a remark:
//
//   state 23505 NAME     class of an SQLSTATE
//   category 23 NAME     class of its first two characters
//   class NAME [counted] class of messages; `counted`: its entries are counted and not kept
//   says PATTERN         a message of the class; the first pattern of the table that fits decides
//   means 28P01|none     the SQLSTATE of the messages of the class from here on, for logs that do not tell it
//   parts NAME           a set of parts
//   part PATTERN         figures anywhere in a message
//   uses NAME            the class takes the figures of this set
//   line PATTERN         a line of a detail, hint or context
//
// A class that has the name of a state takes only entries of that state, and those that tell none. Patterns:
// log_pattern.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "services/collector/config.h"
#include "services/collector/log_entry.h"
#include "services/collector/log_pattern.h"

namespace pga::collector {

struct LogClass {
  std::string name;
  bool kept = true;
  // The SQLSTATE of the same name, empty if there is none.
  std::string state;
  std::vector<LogPattern> patterns;
  // For each pattern the SQLSTATE that goes with it, empty where it may be one or another.
  std::vector<std::string> means;
  const std::vector<LogPattern>* parts = nullptr;
};

// What Classify found. Views lead into the table and the entry.
struct LogVerdict {
  const LogClass* log_class = nullptr;  // never null
  const LogPattern* pattern = nullptr;  // null if the message has no known form
  LogFindings findings;
};

// An entry's texts without what must not be kept.
struct LogTexts {
  std::string message;
  std::string detail;
  std::string hint;
  std::string context;
  std::string statement;
};

// Immutable; thread-safe.
class LogClasses {
 public:
  // INVALID_ARGUMENT names the line.
  static absl::StatusOr<std::unique_ptr<const LogClasses>> Parse(std::string_view table);
  // The table that is compiled in.
  static const LogClasses& Builtin();

  LogVerdict Classify(const LogEntry& entry) const;
  // The entry's SQLSTATE, and where the log does not tell it, that of an error with such a message. Empty if it is not
  // known. `verdict` is the entry's.
  std::string StateOf(const LogEntry& entry, const LogVerdict& verdict) const;
  // Texts of the entry are valid UTF-8 without NUL (MakeUtf8). `verdict` is the entry's.
  LogTexts Redact(const LogEntry& entry, const LogVerdict& verdict, QueryTextMode mode) const;

  const std::map<std::string, std::unique_ptr<LogClass>>& all() const { return classes_; }

 private:
  struct Form {
    const LogClass* log_class;
    const LogPattern* pattern;
  };

  absl::Status ReadLine(std::string_view line);
  void BuildIndex();
  LogClass* Get(std::string_view name);
  const LogClass* ByState(const LogEntry& entry) const;
  bool MatchForms(const std::vector<Form>& forms, const LogEntry& entry, LogVerdict* verdict) const;
  std::string RedactText(std::string_view text, QueryTextMode mode) const;
  std::string RedactLines(std::string_view text, QueryTextMode mode) const;
  const LogPattern* LineOf(std::string_view line) const;

  std::map<std::string, std::unique_ptr<LogClass>> classes_;
  absl::flat_hash_map<std::string, const LogClass*> states_;
  absl::flat_hash_map<std::string, const LogClass*> categories_;
  std::map<std::string, std::vector<LogPattern>> parts_;
  std::vector<LogPattern> lines_;
  // Classes in the order of the table.
  std::vector<LogClass*> order_;
  // Forms by their first bytes, and those that begin with a slot or with less.
  absl::flat_hash_map<std::string, std::vector<Form>> by_beginning_;
  std::vector<Form> others_;
  // Of entries that nothing else tells.
  std::map<LogSeverity, LogClass> by_severity_;
  LogClass foreign_;
  // While the table is read.
  LogClass* current_ = nullptr;
  std::string current_means_;
  std::vector<LogPattern>* current_parts_ = nullptr;
};

// Replaces what is no UTF-8, and NUL, in all texts of the entry.
void MakeUtf8(LogEntry* entry);

}  // namespace pga::collector
