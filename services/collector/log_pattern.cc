#include "services/collector/log_pattern.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "libs/status/status.h"
#include "services/collector/log_data.h"
#include "services/collector/log_time.h"
#include "services/collector/query_text.h"

namespace pga::collector {
namespace {

absl::string_view ToAbsl(std::string_view v) {
  return {v.data(), v.size()};
}

bool IsDigit(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c));
}

bool IsWordPart(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

// "1.234" in thousandths, and how long it is; 0 if none stands there. More than three decimals are cut off.
size_t ReadThousandths(std::string_view text, int64_t* value) {
  const size_t whole = ReadDecimal(text, value);
  if (whole == 0 || *value > int64_t{1} << 50) return 0;
  *value *= 1000;
  if (whole >= text.size() || text[whole] != '.') return whole;
  size_t at = whole + 1;
  int64_t unit = 100;
  for (; at < text.size() && IsDigit(text[at]); ++at) {
    *value += (text[at] - '0') * unit;
    unit /= 10;
  }
  return at == whole + 1 ? whole : at;
}

const absl::flat_hash_set<absl::string_view>& KnownWords() {
  static const auto* const kWords = new absl::flat_hash_set<absl::string_view>(
      absl::StrSplit(ToAbsl(LogWordsText()), absl::ByAnyChar(" \n"), absl::SkipEmpty()));
  return *kWords;
}

bool IsKnown(std::string_view word) {
  if (KnownWords().contains(ToAbsl(word))) return true;
  // At the beginning of a sentence.
  if (!absl::ascii_isupper(static_cast<unsigned char>(word[0]))) return false;
  std::string lower(word);
  lower[0] = absl::ascii_tolower(static_cast<unsigned char>(lower[0]));
  return KnownWords().contains(lower);
}

// Decimal, or hexadecimal in capitals, as positions are written (0/1A2B3C4D).
bool IsNumber(std::string_view word) {
  return std::any_of(word.begin(), word.end(), IsDigit) &&
         std::all_of(word.begin(), word.end(), [](char c) { return IsDigit(c) || (c >= 'A' && c <= 'F'); });
}

void PutUnknown(std::string* out) {
  // One sign for what is unknown in a row.
  size_t end = out->size();
  while (end > 0 && (*out)[end - 1] == ' ') --end;
  if (end > 0 && (*out)[end - 1] == '?') {
    out->resize(end);
  } else {
    out->push_back('?');
  }
}

}  // namespace

std::string OnlyKnownWords(std::string_view text, bool keep_numbers) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    const bool apostrophe = c == '\'' && at > 0 && IsWordPart(text[at - 1]);
    if ((c == '"' || c == '\'') && !apostrophe) {
      const size_t end = text.find(c, at + 1);
      PutUnknown(&out);
      // Without an end all that follows may be of it.
      if (end == std::string_view::npos) return out;
      at = end + 1;
    } else if (IsWordPart(c)) {
      size_t end = at;
      while (end < text.size() && IsWordPart(text[end])) ++end;
      const std::string_view word = text.substr(at, end - at);
      if ((keep_numbers && IsNumber(word)) || IsKnown(word)) {
        out.append(word);
      } else {
        PutUnknown(&out);
      }
      at = end;
    } else {
      out.push_back(c);
      ++at;
    }
  }
  return out;
}

int64_t LogFindings::Figure(std::string_view name, int64_t otherwise) const {
  for (const auto& [found, value] : figures) {
    if (found == name) return value;
  }
  return otherwise;
}

std::string_view LogFindings::Text(std::string_view name) const {
  for (const auto& [found, value] : texts) {
    if (found == name) return value;
  }
  return {};
}

absl::StatusOr<LogPattern::Kind> LogPattern::KindOf(std::string_view name) {
  static constexpr std::pair<std::string_view, Kind> kKinds[] = {
      {"int", Kind::kInt},     {"ms", Kind::kMs},       {"s", Kind::kSeconds}, {"kb", Kind::kKb},
      {"float", Kind::kFloat}, {"word", Kind::kWord},   {"name", Kind::kName}, {"sql", Kind::kSql},
      {"plain", Kind::kPlain}, {"known", Kind::kKnown}, {"text", Kind::kText}};
  for (const auto& [known, kind] : kKinds) {
    if (known == name) return kind;
  }
  return absl::InvalidArgumentError(absl::StrCat("there is no kind of slot ", ToAbsl(name)));
}

absl::StatusOr<LogPattern> LogPattern::Compile(std::string_view text) {
  LogPattern pattern;
  std::string literal;
  const auto end_literal = [&] {
    if (literal.empty()) return;
    if (pattern.items_.empty()) pattern.begins_ = literal;
    pattern.items_.push_back({Kind::kLiteral, std::exchange(literal, {})});
  };
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '{') {
      literal.push_back(text[at++]);
      continue;
    }
    const size_t end = text.find('}', at);
    const size_t colon = text.find(':', at);
    if (end == std::string_view::npos || colon == std::string_view::npos || colon > end) {
      return absl::InvalidArgumentError("a slot is {NAME:KIND}");
    }
    end_literal();
    if (!pattern.items_.empty() && pattern.items_.back().kind != Kind::kLiteral) {
      return absl::InvalidArgumentError("two slots need something between them");
    }
    PGA_ASSIGN_OR_RETURN(const Kind kind, KindOf(text.substr(colon + 1, end - colon - 1)));
    pattern.items_.push_back({kind, std::string(text.substr(at + 1, colon - at - 1))});
    at = end + 1;
  }
  end_literal();
  if (pattern.items_.empty()) return absl::InvalidArgumentError("the pattern is empty");
  return pattern;
}

bool LogPattern::open_ended() const {
  const Kind last = items_.back().kind;
  return last == Kind::kSql || last == Kind::kPlain || last == Kind::kKnown || last == Kind::kText;
}

bool LogPattern::ReadSlot(const Item& item, std::string_view text, size_t* size, LogFindings* findings) {
  int64_t value = 0;
  *size = 0;
  switch (item.kind) {
    case Kind::kInt:
      *size = ReadDecimal(text, &value);
      break;
    case Kind::kMs:
      *size = ReadThousandths(text, &value);
      break;
    case Kind::kSeconds:
      *size = ReadThousandths(text, &value);
      value *= 1000;
      break;
    case Kind::kKb:
      *size = ReadDecimal(text, &value);
      if (value > int64_t{1} << 50) return false;
      value *= 1024;
      break;
    case Kind::kFloat:
      *size = ReadThousandths(text, &value);
      return *size != 0;
    default: {
      while (*size < text.size() && text[*size] != ' ' && text[*size] != '\n' && text[*size] != ',' &&
             text[*size] != ';' && text[*size] != '"') {
        ++*size;
      }
      if (*size > 0 && item.text != "_") findings->texts.emplace_back(item.text, text.substr(0, *size));
      return *size != 0;
    }
  }
  if (*size != 0 && item.text != "_") findings->figures.emplace_back(item.text, value);
  return *size != 0;
}

bool LogPattern::MatchItems(std::string_view text, bool whole, QueryTextMode mode, LogFindings* findings,
                            std::string* kept) const {
  const auto keep = [kept](std::string_view part) {
    if (kept != nullptr) kept->append(part);
  };
  std::string_view rest = text;
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.kind == Kind::kLiteral) {
      if (rest.substr(0, item.text.size()) != item.text) return false;
      keep(item.text);
      rest.remove_prefix(item.text.size());
      continue;
    }
    if (item.kind < Kind::kName) {
      size_t size = 0;
      if (!ReadSlot(item, rest, &size, findings)) return false;
      keep(rest.substr(0, size));
      rest.remove_prefix(size);
      continue;
    }
    size_t end = rest.size();
    if (i + 1 < items_.size()) {
      const std::string& next = items_[i + 1].text;
      if (whole && i + 2 == items_.size()) {
        if (rest.size() < next.size() || rest.substr(rest.size() - next.size()) != next) return false;
        end = rest.size() - next.size();
      } else {
        end = rest.find(next);
        if (end == std::string_view::npos) return false;
      }
    } else if (!whole) {
      end = std::min(rest.find('\n'), rest.size());
    }
    const std::string_view value = rest.substr(0, end);
    if (item.kind == Kind::kName && value.find('\n') != std::string_view::npos) return false;
    if (item.text != "_") findings->texts.emplace_back(item.text, value);
    if (kept != nullptr) {
      if (item.kind == Kind::kName) {
        kept->append(value);
      } else if (item.kind == Kind::kSql) {
        kept->append(RedactQuery(value, mode).text);
      } else if (item.kind == Kind::kKnown) {
        kept->append(OnlyKnownWords(value));
      } else if (item.kind == Kind::kPlain) {
        kept->append(OnlyKnownWords(value, /*keep_numbers=*/true));
      } else if (!value.empty()) {
        kept->push_back('?');
      }
    }
    rest.remove_prefix(end);
  }
  return !whole || rest.empty();
}

bool LogPattern::Match(std::string_view text, QueryTextMode mode, LogFindings* findings, std::string* kept) const {
  if (kept != nullptr) kept->clear();
  return MatchItems(text, /*whole=*/true, mode, findings, kept);
}

bool LogPattern::Find(std::string_view text, LogFindings* findings) const {
  if (begins_.empty()) return false;
  for (size_t at = text.find(begins_); at != std::string_view::npos; at = text.find(begins_, at + 1)) {
    LogFindings found;
    if (!MatchItems(text.substr(at), /*whole=*/false, QueryTextMode::kNone, &found, nullptr)) continue;
    findings->figures.insert(findings->figures.end(), found.figures.begin(), found.figures.end());
    findings->texts.insert(findings->texts.end(), found.texts.begin(), found.texts.end());
    return true;
  }
  return false;
}

}  // namespace pga::collector
