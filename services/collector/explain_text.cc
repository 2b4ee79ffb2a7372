#include "services/collector/explain_text.h"

#include <algorithm>
#include <array>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/collector/sql_scanner.h"

namespace pga::collector {
namespace {

// Names of types that a constant may follow. Before a parameter none of them can be anything else.
constexpr std::array<std::string_view, 41> kTypes = {
    "bigint",   "bit",   "bool",    "boolean",  "box",      "bytea",  "char",        "character", "cidr",
    "circle",   "date",  "dec",     "decimal",  "float",    "float4", "float8",      "inet",      "int",
    "int2",     "int4",  "int8",    "integer",  "json",     "jsonb",  "macaddr",     "money",     "name",
    "numeric",  "point", "real",    "regclass", "smallint", "text",   "timestamptz", "timetz",    "tsquery",
    "tsvector", "uuid",  "varchar", "xml",      "interval"};
constexpr std::array<std::string_view, 6> kFields = {"year", "month", "day", "hour", "minute", "second"};
// What stands for the other elements of a list of constants since 18.
constexpr std::string_view kMore = "/*, ... */";

absl::string_view ToAbsl(std::string_view v) {
  return {v.data(), v.size()};
}

class Rewriter {
 public:
  Rewriter(std::string_view text, int version) : text_(text), version_(version), tokens_(ScanSql(text, {}).tokens) {}

  std::string Run() {
    for (size_t i = 0; i < tokens_.size();) {
      const size_t next = TypedConstant(i, TimeOfDay(i));
      if (next > i) {
        i = next;
        continue;
      }
      i = std::max({Extract(i), List(i), i + 1});
    }
    out_.append(text_.substr(copied_));
    return std::move(out_);
  }

 private:
  std::string_view Text(size_t i) const {
    return i < tokens_.size() ? text_.substr(tokens_[i].begin, tokens_[i].end - tokens_[i].begin) : std::string_view();
  }
  bool Is(size_t i, std::string_view lower) const {
    return i < tokens_.size() && tokens_[i].kind == SqlTokenKind::kWord && IsWord(Text(i), lower);
  }
  bool IsParameter(size_t i) const { return i < tokens_.size() && tokens_[i].kind == SqlTokenKind::kParameter; }
  template <size_t N>
  bool IsOneOf(size_t i, const std::array<std::string_view, N>& words) const {
    return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return Is(i, word); });
  }

  // Writes `with` in place of the tokens [from, to) and returns `to`.
  size_t Replace(size_t from, size_t to, const std::string& with) {
    out_.append(text_.substr(copied_, tokens_[from].begin - copied_));
    out_.append(with);
    copied_ = tokens_[to - 1].end;
    return to;
  }

  // Behind timestamp or time at `i`, with what belongs to it; `i` where there is none.
  size_t TimeOfDay(size_t i) const {
    if (!Is(i, "timestamp") && !Is(i, "time")) return i;
    size_t end = i + 1;
    if (Text(end) == "(" && Text(end + 2) == ")") end += 3;
    if ((Is(end, "with") || Is(end, "without")) && Is(end + 1, "time") && Is(end + 2, "zone")) end += 3;
    return end;
  }

  // date $1, timestamp with time zone $1, interval $1 day: behind it, or `i`.
  size_t TypedConstant(size_t i, size_t end) {
    if (i > 0 && Text(i - 1) == ".") return i;
    if (end == i && Is(i, "double") && Is(i + 1, "precision")) end = i + 2;
    if (end == i && IsOneOf(i, kTypes)) end = i + 1;
    if (end == i || !IsParameter(end)) return i;
    std::string type(text_.substr(tokens_[i].begin, tokens_[end - 1].end - tokens_[i].begin));
    const std::string parameter(Text(end));
    size_t to = end + 1;
    if (Is(i, "interval") && IsOneOf(to, kFields)) {
      absl::StrAppend(&type, " ", ToAbsl(Text(to)));
      ++to;
      if (Is(to, "to") && IsOneOf(to + 1, kFields)) {
        absl::StrAppend(&type, " to ", ToAbsl(Text(to + 1)));
        to += 2;
      }
    }
    return Replace(i, to, absl::StrCat("CAST(", parameter, " AS ", type, ")"));
  }

  // extract($1 FROM x): the function that this is another form of.
  size_t Extract(size_t i) {
    if (!Is(i, "extract") || Text(i + 1) != "(" || !IsParameter(i + 2) || !Is(i + 3, "from")) return i;
    const std::string parameter(Text(i + 2));
    return Replace(
        i, i + 4,
        absl::StrCat(version_ >= 140000 ? "pg_catalog.\"extract\"(" : "pg_catalog.date_part(", parameter, ","));
  }

  // IN ($1 /*, ... */): a list of unknown length, which is planned as an array, not as one value.
  size_t List(size_t i) {
    const bool negated = Is(i, "not") && Is(i + 1, "in");
    const size_t open = i + (negated ? 2 : 1);
    if ((!negated && !Is(i, "in")) || Text(open) != "(" || !IsParameter(open + 1) || Text(open + 2) != kMore ||
        Text(open + 3) != ")") {
      return i;
    }
    const std::string parameter(Text(open + 1));
    return Replace(i, open + 4, absl::StrCat(negated ? "<> ALL (" : "= ANY (", parameter, ")"));
  }

  const std::string_view text_;
  const int version_;
  const std::vector<SqlToken> tokens_;
  std::string out_;
  size_t copied_ = 0;
};

}  // namespace

std::string ExplainableText(std::string_view text, int version) {
  return Rewriter(text, version).Run();
}

bool MayHavePlan(std::string_view text) {
  for (const SqlToken& token : ScanSql(text, {}).tokens) {
    const std::string_view bytes = text.substr(token.begin, token.end - token.begin);
    if (token.kind == SqlTokenKind::kComment || bytes == "(") continue;
    for (const std::string_view word : {"select", "insert", "update", "delete", "merge", "with"}) {
      if (token.kind == SqlTokenKind::kWord && IsWord(bytes, word)) return true;
    }
    return false;
  }
  return false;
}

std::vector<std::string> NamesIn(std::string_view text) {
  std::set<std::string> names;
  for (const SqlToken& token : ScanSql(text, {}).tokens) {
    const std::string_view bytes = text.substr(token.begin, token.end - token.begin);
    if (token.kind == SqlTokenKind::kWord) {
      names.insert(absl::AsciiStrToLower(ToAbsl(bytes)));
    } else if (token.kind == SqlTokenKind::kQuotedIdentifier && bytes.size() > 2 && bytes[0] == '"') {
      names.emplace(bytes.substr(1, bytes.size() - 2));
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace pga::collector
