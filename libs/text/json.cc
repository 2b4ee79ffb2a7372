#include "libs/text/json.h"

#include <algorithm>
#include <cstddef>

namespace pga::text {
namespace {

constexpr size_t kMostDigits = 10'000;

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

class JsonbScanner {
 public:
  explicit JsonbScanner(std::string_view json) : rest_(json) {}

  bool All(int depth) {
    if (!Value(depth)) return false;
    SkipBlanks();
    return rest_.empty();
  }

 private:
  void SkipBlanks() { rest_.remove_prefix(std::min(rest_.find_first_not_of(" \t\r\n"), rest_.size())); }
  bool Take(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool Take(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool TakeBehindBlanks(char c) {
    SkipBlanks();
    return Take(c);
  }

  // NOLINTNEXTLINE(misc-no-recursion): `depth` bounds it.
  bool Value(int depth) {
    SkipBlanks();
    if (rest_.empty()) return false;
    switch (rest_.front()) {
      case '{':
      case '[':
        return depth > 0 && Container(depth - 1);
      case '"':
        return Text();
      case 't':
        return Take("true");
      case 'f':
        return Take("false");
      case 'n':
        return Take("null");
      default:
        return Number();
    }
  }

  // NOLINTNEXTLINE(misc-no-recursion)
  bool Container(int depth) {
    const bool object = rest_.front() == '{';
    const char end = object ? '}' : ']';
    rest_.remove_prefix(1);
    if (TakeBehindBlanks(end)) return true;
    do {
      SkipBlanks();
      if (object && !(Text() && TakeBehindBlanks(':'))) return false;
      if (!Value(depth)) return false;
    } while (TakeBehindBlanks(','));
    return TakeBehindBlanks(end);
  }

  bool Text() {
    if (!Take('"')) return false;
    while (true) {
      const size_t plain = rest_.find_first_of("\"\\");
      if (plain == std::string_view::npos) return false;
      for (const char c : rest_.substr(0, plain)) {
        if (static_cast<unsigned char>(c) < 0x20) return false;
      }
      rest_.remove_prefix(plain);
      if (Take('"')) return true;
      rest_.remove_prefix(1);
      if (rest_.empty()) return false;
      const char escape = rest_.front();
      rest_.remove_prefix(1);
      if (escape != 'u') {
        if (std::string_view("\"\\/bfnrt").find(escape) == std::string_view::npos) return false;
        continue;
      }
      const int unit = Unit();
      if (unit <= 0 || (unit >= 0xdc00 && unit <= 0xdfff)) return false;
      if (unit < 0xd800 || unit > 0xdbff) continue;
      if (!Take("\\u")) return false;
      const int low = Unit();
      if (low < 0xdc00 || low > 0xdfff) return false;
    }
  }
  // Of \uXXXX; -1 when it is none.
  int Unit() {
    if (rest_.size() < 4) return -1;
    int unit = 0;
    for (const char c : rest_.substr(0, 4)) {
      const int lower = c | 0x20;
      if (!IsDigit(c) && (lower < 'a' || lower > 'f')) return -1;
      unit = unit * 16 + (IsDigit(c) ? c - '0' : lower - 'a' + 10);
    }
    rest_.remove_prefix(4);
    return unit;
  }

  size_t Digits() {
    size_t count = 0;
    while (count < rest_.size() && IsDigit(rest_[count])) ++count;
    rest_.remove_prefix(count);
    return count;
  }
  bool Number() {
    Take('-');
    const bool zero = !rest_.empty() && rest_.front() == '0';
    size_t digits = Digits();
    if (digits == 0 || (zero && digits > 1)) return false;
    if (Take('.')) {
      const size_t behind = Digits();
      if (behind == 0) return false;
      digits += behind;
    }
    if (digits > kMostDigits) return false;
    if (!Take('e') && !Take('E')) return true;
    if (!Take('+')) Take('-');
    size_t exponent = 0;
    bool any = false;
    for (; !rest_.empty() && IsDigit(rest_.front()); rest_.remove_prefix(1)) {
      exponent = std::min(exponent * 10 + static_cast<size_t>(rest_.front() - '0'), kMostDigits + 1);
      any = true;
    }
    return any && exponent <= kMostDigits;
  }

  std::string_view rest_;
};

}  // namespace

bool JsonDepthWithin(std::string_view json, int limit) {
  int depth = 0;
  char quote = 0;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (quote != 0) {
      if (c == '\\') {
        ++i;
      } else if (c == quote) {
        quote = 0;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '{' || c == '[') {
      if (++depth > limit) return false;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return true;
}

bool IsJsonb(std::string_view json, int depth) {
  return JsonbScanner(json).All(depth);
}

}  // namespace pga::text
