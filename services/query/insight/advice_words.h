// What the rules of advice share: names as SQL needs them, figures as people read them, facts that are not there.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/query/insight/advice.h"

namespace pga::query {

// A name, in double quotes where SQL would read it differently without them.
std::string Identifier(std::string_view name);
// schema.name, each as above.
std::string Qualified(std::string_view schema, std::string_view name);
// A text in single quotes.
std::string Literal(std::string_view text);

// "12.5 MB", of 1024.
std::string BytesText(double bytes);
// "1,234,567", or with a decimal below 100 where there is one.
std::string CountText(double count);
// "3.5 h", "2 min", "41 s".
std::string TimeText(double seconds);
// "of the 168.0 h that are covered between 2026-01-01 12:00 and …"
std::string IntervalText(const SourceFacts& facts, const Fact& fact);

// The metric where it is known. Else null, and the kinds, separated by blanks, are not judged.
const Fact* Known(const SourceFacts& facts, const std::string& metric, std::string_view kinds, Findings* findings);
// The metric, known or not; null when it was not asked for.
const Fact* Find(const SourceFacts& facts, const std::string& metric);
// Rows of the metric, none where it is not known.
const std::vector<FactRow>& RowsOf(const SourceFacts& facts, const std::string& metric);

// Objects of a kind whose values are not known, by database: how many, of how many, and what lets the login read them.
class Unread {
 public:
  // `what` is plural: "tables".
  Unread(const char* kind, const char* what) : kind_(kind), what_(what) {}

  // One object that would be judged; `known`: its values are.
  void Count(const FactRow& row, bool known, const std::string& name);
  // What is not judged for it. `otherwise` is the reason where no right is lacking.
  void Say(const std::string& otherwise, Findings* findings) const;

 private:
  struct OfDatabase {
    size_t all = 0;
    // By the command that is needed, empty where none is known.
    std::map<std::string, std::vector<std::string>> names;
  };
  const char* const kind_;
  const char* const what_;
  std::map<std::string, OfDatabase> databases_;
};

// A setting as last read: its text, and as a number in bytes or microseconds where it has a unit; -1 and other numbers
// without a unit as they are. Empty where it is not known.
std::optional<std::string> Setting(const SourceFacts& facts, const std::string& name);
std::optional<double> SettingAmount(const SourceFacts& facts, const std::string& name);

// A size for a configuration file: whole MB, rounded up to a power of two of them.
double RoundedUp(double bytes);
std::string SizeSetting(double bytes);

}  // namespace pga::query
