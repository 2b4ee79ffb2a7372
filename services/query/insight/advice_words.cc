#include "services/query/insight/advice_words.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace pga::query {
namespace {

// Words that SQL reserves, of those that people use as names.
const std::set<std::string, std::less<>>& Reserved() {
  static const auto* const words = new std::set<std::string, std::less<>>{
      "all",          "analyse",    "analyze",       "and",          "any",          "array",        "as",
      "asc",          "both",       "case",          "cast",         "check",        "collate",      "column",
      "create",       "default",    "desc",          "do",           "else",         "end",          "false",
      "for",          "foreign",    "from",          "grant",        "group",        "having",       "in",
      "into",         "is",         "join",          "left",         "like",         "limit",        "natural",
      "not",          "null",       "offset",        "on",           "only",         "or",           "order",
      "outer",        "primary",    "right",         "select",       "some",         "table",        "then",
      "to",           "true",       "union",         "unique",       "user",         "using",        "values",
      "verbose",      "when",       "where",         "window",       "with",         "binary",       "freeze",
      "full",         "inner",      "cross",         "lateral",      "returning",    "references",   "placing",
      "leading",      "trailing",   "symmetric",     "variadic",     "current_user", "current_date", "current_time",
      "session_user", "localtime",  "authorization", "concurrently", "fetch",        "except",       "intersect",
      "distinct",     "constraint", "initially",     "deferrable",   "asymmetric",   "tablesample",  "similar",
      "overlaps",     "notnull",    "isnull",        "ilike"};
  return *words;
}

std::string Fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

double UnitFactor(std::string_view unit) {
  if (unit == "B") return 1;
  if (unit == "kB") return 1024;
  if (unit == "8kB") return 8192;
  if (unit == "MB") return 1024.0 * 1024;
  if (unit == "us") return 1;
  if (unit == "ms") return 1e3;
  if (unit == "s") return 1e6;
  if (unit == "min") return 60e6;
  return 1;
}

}  // namespace

std::string Identifier(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || (c >= '0' && c <= '9'); };
  if (!name.empty() && std::all_of(name.begin(), name.end(), plain) && (name[0] < '0' || name[0] > '9') &&
      Reserved().count(name) == 0) {
    return std::string(name);
  }
  return absl::StrCat("\"", absl::StrReplaceAll(std::string(name), {{"\"", "\"\""}}), "\"");
}

std::string Qualified(std::string_view schema, std::string_view name) {
  return absl::StrCat(Identifier(schema), ".", Identifier(name));
}

std::string Literal(std::string_view text) {
  const bool escaped = text.find('\\') != std::string_view::npos;
  return absl::StrCat(escaped ? "E'" : "'", absl::StrReplaceAll(std::string(text), {{"'", "''"}, {"\\", "\\\\"}}), "'");
}

std::string BytesText(double bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  size_t unit = 0;
  while (std::abs(bytes) >= 1024 && unit + 1 < kUnits.size()) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(Fixed(bytes, unit == 0 ? 0 : 1), " ", kUnits[unit]);
}

std::string CountText(double count) {
  if (std::abs(count) < 100 && count != std::floor(count)) return Fixed(count, 1);
  std::string digits = Fixed(std::abs(std::round(count)), 0);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), ",");
  return count < 0 ? "-" + digits : digits;
}

std::string TimeText(double seconds) {
  if (seconds < 1) return absl::StrCat(Fixed(seconds * 1000, 1), " ms");
  if (seconds < 120) return absl::StrCat(Fixed(seconds, 1), " s");
  if (seconds < 7200) return absl::StrCat(Fixed(seconds / 60, 1), " min");
  if (seconds < 2 * 86400) return absl::StrCat(Fixed(seconds / 3600, 1), " h");
  return absl::StrCat(Fixed(seconds / 86400, 1), " d");
}

std::string IntervalText(const SourceFacts& facts, const Fact& fact) {
  const auto minute = [](absl::Time at) { return absl::FormatTime("%Y-%m-%d %H:%M", at, absl::UTCTimeZone()); };
  return absl::StrCat("in the ", TimeText(fact.covered_hours * 3600), " covered between ", minute(facts.start), " and ",
                      minute(facts.end), " UTC");
}

const Fact* Find(const SourceFacts& facts, const std::string& metric) {
  const auto found = facts.metrics.find(metric);
  return found == facts.metrics.end() ? nullptr : &found->second;
}

const Fact* Known(const SourceFacts& facts, const std::string& metric, std::string_view kinds, Findings* findings) {
  const Fact* const fact = Find(facts, metric);
  if (fact != nullptr && fact->unknown.empty()) return fact;
  for (const std::string& kind : std::vector<std::string>(absl::StrSplit(std::string(kinds), ' '))) {
    findings->not_judged.push_back(
        {kind, "", "", absl::StrCat(metric, ": ", fact == nullptr ? "not asked for" : fact->unknown)});
  }
  return nullptr;
}

const std::vector<FactRow>& RowsOf(const SourceFacts& facts, const std::string& metric) {
  static const auto* const none = new std::vector<FactRow>();
  const Fact* const fact = Find(facts, metric);
  return fact == nullptr ? *none : fact->rows;
}

void Unread::Count(const FactRow& row, bool known, const std::string& name) {
  OfDatabase& database = databases_[row.Text("datname")];
  ++database.all;
  if (!known) database.names[row.Text("grant_needed")].push_back(name);
}

void Unread::Say(const std::string& otherwise, Findings* findings) const {
  constexpr size_t kMostNames = 3;
  for (const auto& [name, database] : databases_) {
    for (const auto& [command, names] : database.names) {
      const auto end = names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kMostNames));
      findings->not_judged.push_back(
          {kind_, name, "",
           absl::StrCat("values of ", names.size(), " of ", database.all, " ", what_, " are not known (",
                        absl::StrJoin(names.begin(), end, ", "), names.size() > kMostNames ? ", ..." : "", "): ",
                        command.empty() ? otherwise
                                        : absl::StrCat("the collector's login may not read them; run in that database "
                                                       "on the primary: ",
                                                       command))});
    }
  }
}

namespace {

const FactRow* SettingRow(const SourceFacts& facts, const std::string& name) {
  for (const FactRow& row : RowsOf(facts, "settings")) {
    if (row.Text("setting_name") == name) return row.texts.count("setting_value") == 0 ? nullptr : &row;
  }
  return nullptr;
}

}  // namespace

std::optional<std::string> Setting(const SourceFacts& facts, const std::string& name) {
  const FactRow* const row = SettingRow(facts, name);
  if (row == nullptr) return std::nullopt;
  return row->Text("setting_value");
}

std::optional<double> SettingAmount(const SourceFacts& facts, const std::string& name) {
  const FactRow* const row = SettingRow(facts, name);
  double value = 0;
  if (row == nullptr || !absl::SimpleAtod(row->Text("setting_value"), &value)) return std::nullopt;
  return value < 0 ? value : value * UnitFactor(row->Text("setting_unit"));
}

double RoundedUp(double bytes) {
  double megabytes = 1;
  while (megabytes * 1024 * 1024 < bytes) megabytes *= 2;
  return megabytes * 1024 * 1024;
}

std::string SizeSetting(double bytes) {
  return absl::StrCat(static_cast<int64_t>(bytes / 1024 / 1024), "MB");
}

}  // namespace pga::query
