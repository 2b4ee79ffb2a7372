#include "services/collector/query_text.h"

#include <cctype>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace pga::collector {
namespace {

bool IsIdentifierStart(char c) {
  return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}
bool IsIdentifier(char c) {
  return IsIdentifierStart(c) || absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '$';
}
bool IsDigit(char c) {
  return absl::ascii_isdigit(static_cast<unsigned char>(c));
}

bool SameWord(std::string_view a, std::string_view b) {
  return absl::EqualsIgnoreCase(absl::string_view(a.data(), a.size()), absl::string_view(b.data(), b.size()));
}

bool HoldsWord(std::string_view text, std::string_view word) {
  const std::string lower = absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
  return absl::StrContains(lower, absl::string_view(word.data(), word.size()));
}

// Words after which a literal is a secret: CREATE ROLE ... PASSWORD 'x', OPTIONS (password 'x'), SET x = ...
bool NamesSecret(std::string_view word) {
  for (const char* hint : {"password", "passwd", "secret", "token", "passphrase", "api_key", "apikey"}) {
    if (HoldsWord(word, hint)) return true;
  }
  return false;
}

// A literal that carries a secret whatever stands before it: a connection string or URL with a password.
bool CarriesSecret(std::string_view literal) {
  if (HoldsWord(literal, "password=") || HoldsWord(literal, "password =") || HoldsWord(literal, "passwd=")) return true;
  const size_t scheme = literal.find("://");
  if (scheme == std::string_view::npos) return false;
  const size_t at = literal.find('@', scheme);
  return at != std::string_view::npos && literal.find(':', scheme + 3) < at;
}

class Redactor {
 public:
  Redactor(std::string_view text, QueryTextMode mode) : text_(text), mode_(mode) {}

  std::string Run() {
    while (at_ < text_.size() && !cut_) Step();
    while (!out_.empty() && absl::ascii_isspace(static_cast<unsigned char>(out_.back()))) out_.pop_back();
    return std::move(out_);
  }

 private:
  char Peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool normalized() const { return mode_ == QueryTextMode::kNormalized; }

  void Step() {
    const char c = Peek();
    if (c == '-' && Peek(1) == '-') return LineComment();
    if (c == '/' && Peek(1) == '*') return BlockComment();
    if (c == '\'') return Literal(at_, /*escapes=*/false);
    if (c == '"') return QuotedIdentifier();
    if (c == '$') return Dollar();
    if (IsDigit(c) || (c == '.' && IsDigit(Peek(1)))) return Number();
    if (IsIdentifierStart(c)) return Word();
    if (c == ';' || c == ',' || c == ')') secret_next_ = false;
    out_.push_back(c);
    ++at_;
  }

  void LineComment() {
    const size_t end = text_.find('\n', at_);
    Comment(end == std::string_view::npos ? text_.size() : end);
  }

  void BlockComment() {
    size_t depth = 0;
    for (size_t i = at_; i + 1 < text_.size(); ++i) {
      if (text_[i] == '/' && text_[i + 1] == '*') {
        ++depth;
        ++i;
      } else if (text_[i] == '*' && text_[i + 1] == '/') {
        ++i;
        if (--depth == 0) return Comment(i + 1);
      }
    }
    cut_ = true;
  }

  void Comment(size_t end) {
    const std::string_view comment = text_.substr(at_, end - at_);
    if (normalized() || NamesSecret(comment) || CarriesSecret(comment)) {
      if (out_.empty() || out_.back() != ' ') out_.push_back(' ');
    } else {
      out_.append(comment);
    }
    at_ = end;
  }

  // A quoted literal that begins (with its prefix) at `begin`; at_ stands on the quote.
  void Literal(size_t begin, bool escapes) {
    size_t i = at_ + 1;
    for (; i < text_.size(); ++i) {
      if (escapes && text_[i] == '\\') {
        ++i;
      } else if (text_[i] == '\'') {
        if (i + 1 < text_.size() && text_[i + 1] == '\'') {
          ++i;
        } else {
          break;
        }
      }
    }
    if (i >= text_.size()) {
      cut_ = true;
      return;
    }
    Emit(text_.substr(begin, i + 1 - begin), text_.substr(at_ + 1, i - at_ - 1));
    at_ = i + 1;
  }

  void Emit(std::string_view whole, std::string_view content) {
    if (secret_next_ || CarriesSecret(content)) {
      out_.append("'***'");
    } else if (normalized()) {
      out_.push_back('?');
    } else {
      out_.append(whole);
    }
    secret_next_ = false;
  }

  void QuotedIdentifier() {
    size_t i = at_ + 1;
    for (; i < text_.size(); ++i) {
      if (text_[i] != '"') continue;
      if (i + 1 < text_.size() && text_[i + 1] == '"') {
        ++i;
      } else {
        break;
      }
    }
    if (i >= text_.size()) {
      cut_ = true;
      return;
    }
    const std::string_view identifier = text_.substr(at_, i + 1 - at_);
    secret_next_ = NamesSecret(identifier);
    out_.append(identifier);
    at_ = i + 1;
  }

  // $1, $$text$$ or $tag$text$tag$.
  void Dollar() {
    if (IsDigit(Peek(1))) {
      out_.push_back('$');
      ++at_;
      while (IsDigit(Peek())) out_.push_back(text_[at_++]);
      secret_next_ = false;
      return;
    }
    size_t i = at_ + 1;
    while (i < text_.size() && text_[i] != '$' && IsIdentifier(text_[i])) ++i;
    if (i >= text_.size() || text_[i] != '$') {
      out_.push_back('$');
      ++at_;
      return;
    }
    const std::string_view tag = text_.substr(at_, i + 1 - at_);
    const size_t end = text_.find(tag, i + 1);
    if (end == std::string_view::npos) {
      cut_ = true;
      return;
    }
    Emit(text_.substr(at_, end + tag.size() - at_), text_.substr(i + 1, end - i - 1));
    at_ = end + tag.size();
  }

  void Number() {
    const size_t begin = at_;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      const bool exponent_sign =
          (c == '+' || c == '-') && (text_[at_ - 1] == 'e' || text_[at_ - 1] == 'E') && at_ > begin && IsDigit(Peek(1));
      if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && !exponent_sign) break;
      ++at_;
    }
    if (normalized() || secret_next_) {
      out_.push_back('?');
    } else {
      out_.append(text_.substr(begin, at_ - begin));
    }
    secret_next_ = false;
  }

  void Word() {
    const size_t begin = at_;
    while (at_ < text_.size() && IsIdentifier(text_[at_])) ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (Peek() == '\'' && (SameWord(word, "e") || SameWord(word, "b") || SameWord(word, "x") || SameWord(word, "n"))) {
      return Literal(begin, SameWord(word, "e"));
    }
    if (SameWord(word, "u") && Peek() == '&' && Peek(1) == '\'') {
      ++at_;
      return Literal(begin, false);
    }
    out_.append(word);
    // PASSWORD 'x', password = 'x', SET my.password TO 'x': words between the name and the literal keep it.
    if (NamesSecret(word)) {
      secret_next_ = true;
    } else if (!SameWord(word, "to") && !SameWord(word, "is")) {
      secret_next_ = false;
    }
  }

  std::string_view text_;
  QueryTextMode mode_;
  size_t at_ = 0;
  bool cut_ = false;
  bool secret_next_ = false;
  std::string out_;
};

}  // namespace

std::string RedactQuery(std::string_view text, QueryTextMode mode) {
  if (mode == QueryTextMode::kNone) return std::string();
  return Redactor(text, mode).Run();
}

}  // namespace pga::collector
