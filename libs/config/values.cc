#include "libs/config/values.h"

#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pga::config {
namespace {

absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}

bool IsBlank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

bool IsNumberChar(char c) {
  return (c >= '0' && c <= '9') || c == '.';
}

std::string_view StripBlanks(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

// Of a number or a word that cannot hold a `#` itself.
std::string_view BareWord(std::string_view text) {
  return StripBlanks(text.substr(0, text.find('#')));
}

// Reads the number at the start of `rest` and drops it; false when there is none.
bool TakeNumber(std::string_view* rest, double* number) {
  size_t length = 0;
  while (length < rest->size() && IsNumberChar((*rest)[length])) ++length;
  if (length == 0 || !absl::SimpleAtod(ToAbsl(rest->substr(0, length)), number)) return false;
  rest->remove_prefix(length);
  return std::isfinite(*number);
}

}  // namespace

std::string_view StripRemark(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '#' && (i == 0 || IsBlank(text[i - 1]) || (i + 1 < text.size() && IsBlank(text[i + 1])))) {
      return StripBlanks(text.substr(0, i));
    }
  }
  return StripBlanks(text);
}

absl::StatusOr<int64_t> ParseInt(std::string_view text, int64_t min, int64_t max) {
  const std::string_view bare = BareWord(text);
  int64_t value = 0;
  if (!absl::SimpleAtoi(ToAbsl(bare), &value) || value < min || value > max) {
    return absl::InvalidArgumentError(absl::StrCat("write a whole number from ", min, " to ", max));
  }
  return value;
}

absl::StatusOr<double> ParseDouble(std::string_view text, double min, double max) {
  const std::string_view bare = BareWord(text);
  double value = 0;
  if (!absl::SimpleAtod(ToAbsl(bare), &value) || !std::isfinite(value) || value < min || value > max) {
    return absl::InvalidArgumentError(absl::StrCat("write a number from ", min, " to ", max));
  }
  return value;
}

absl::StatusOr<bool> ParseBool(std::string_view text) {
  const std::string lower = absl::AsciiStrToLower(ToAbsl(BareWord(text)));
  if (lower == "true" || lower == "yes" || lower == "on" || lower == "1") return true;
  if (lower == "false" || lower == "no" || lower == "off" || lower == "0") return false;
  return absl::InvalidArgumentError("write true or false");
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  const absl::Status bad =
      absl::InvalidArgumentError("write seconds as a plain number, or a duration such as 250ms, 30s, 5m, 24h, 7d");
  std::string_view rest = BareWord(text);
  if (rest.empty()) return bad;
  absl::Duration total;
  bool first = true;
  while (!rest.empty()) {
    double number = 0;
    if (!TakeNumber(&rest, &number)) return bad;
    if (rest.empty()) {
      if (!first) return bad;  // "1h30": minutes or seconds? Better ask.
      total = absl::Seconds(number);
      break;
    }
    absl::Duration unit;
    if (rest.starts_with("ms")) {
      unit = absl::Milliseconds(1);
      rest.remove_prefix(2);
    } else {
      switch (rest.front()) {
        case 's':
          unit = absl::Seconds(1);
          break;
        case 'm':
          unit = absl::Minutes(1);
          break;
        case 'h':
          unit = absl::Hours(1);
          break;
        case 'd':
          unit = absl::Hours(24);
          break;
        default:
          return bad;
      }
      rest.remove_prefix(1);
    }
    total += number * unit;
    first = false;
  }
  // A thousand years: keeps every later sum and conversion to milliseconds in range.
  if (total > absl::Hours(24.0 * 365 * 1000)) return bad;
  return total;
}

absl::StatusOr<int64_t> ParseBytes(std::string_view text) {
  const absl::Status bad =
      absl::InvalidArgumentError("write bytes as a plain number, or a size such as 64KiB, 100MB, 2GiB");
  std::string_view rest = BareWord(text);
  double number = 0;
  if (!TakeNumber(&rest, &number)) return bad;
  while (!rest.empty() && IsBlank(rest.front())) rest.remove_prefix(1);
  const std::string unit = absl::AsciiStrToLower(ToAbsl(rest));
  double factor = 1;
  if (!unit.empty() && unit != "b") {
    static constexpr std::string_view kPowers = "kmgt";
    const size_t power = kPowers.find(unit[0]);
    if (power == std::string_view::npos) return bad;
    const std::string tail = unit.substr(1);
    if (tail.empty() || tail == "ib") {
      factor = std::pow(1024.0, static_cast<double>(power + 1));
    } else if (tail == "b") {
      factor = std::pow(1000.0, static_cast<double>(power + 1));
    } else {
      return bad;
    }
  }
  const double bytes = number * factor;
  if (bytes > 9.0e18 || std::floor(bytes) != bytes) return bad;
  return static_cast<int64_t>(bytes);
}

std::vector<std::string> ParseList(std::string_view text) {
  std::vector<std::string> parts;
  std::string part;
  bool quoted = false;
  bool was_quoted = false;
  const auto finish = [&] {
    while (!was_quoted && !part.empty() && IsBlank(part.back())) part.pop_back();
    if (!part.empty()) parts.push_back(part);
    part.clear();
    was_quoted = false;
  };
  const std::string_view rest = StripRemark(text);
  for (size_t i = 0; i < rest.size(); ++i) {
    const char c = rest[i];
    if (quoted) {
      if (c != '"') {
        part.push_back(c);
      } else if (i + 1 < rest.size() && rest[i + 1] == '"') {
        part.push_back(rest[++i]);
      } else {
        quoted = false;
      }
    } else if (c == ',') {
      finish();
    } else if (c == '"' && part.empty()) {
      quoted = was_quoted = true;
    } else if (!(IsBlank(c) && (part.empty() || was_quoted))) {
      part.push_back(c);
    }
  }
  finish();
  return parts;
}

}  // namespace pga::config
