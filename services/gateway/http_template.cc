#include "services/gateway/http_template.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "absl/status/status.h"
#include "libs/status/status.h"

namespace pga::gateway {
namespace {

constexpr size_t kMaxSegments = 64;

bool IsIdentifierStart(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool IsIdentifierPart(char c) {
  return IsIdentifierStart(c) || std::isdigit(static_cast<unsigned char>(c)) != 0;
}

// pchar of RFC 3986 without ':' (a verb) and '*' (a wildcard).
bool IsLiteralPart(char c) {
  constexpr std::string_view kOther = "-._~%!$&'()+,;=@";
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || kOther.find(c) != std::string_view::npos;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  absl::StatusOr<HttpTemplate> Parse() {
    if (!Take('/')) return Error("a template starts with '/'");
    PGA_RETURN_IF_ERROR(ParseSegments(/*in_variable=*/false));
    if (Take(':')) {
      PGA_ASSIGN_OR_RETURN(result_.verb, ParseLiteral());
    }
    if (position_ != text_.size()) return Error("unexpected character");
    const auto wildcard = std::find(result_.segments.begin(), result_.segments.end(), "**");
    if (wildcard != result_.segments.end() &&
        std::any_of(std::next(wildcard), result_.segments.end(), [](const auto& s) { return s == "*" || s == "**"; })) {
      return Error("only literals may follow '**'");
    }
    for (auto& variable : result_.variables) {
      const auto begin = result_.segments.begin();
      variable.multi_segment = variable.end - variable.start > 1 || *(begin + variable.start) == "**";
      const auto same = std::count_if(result_.variables.begin(), result_.variables.end(),
                                      [&](const auto& other) { return other.field_path == variable.field_path; });
      if (same > 1) return Error("a field is bound twice");
    }
    return std::move(result_);
  }

 private:
  absl::Status ParseSegments(bool in_variable) {
    do {
      PGA_RETURN_IF_ERROR(ParseSegment(in_variable));
      if (result_.segments.size() > kMaxSegments) return Error("more than 64 segments");
    } while (Take('/'));
    return absl::OkStatus();
  }

  absl::Status ParseSegment(bool in_variable) {
    if (Take('*')) {
      result_.segments.emplace_back(Take('*') ? "**" : "*");
      return absl::OkStatus();
    }
    if (Take('{')) {
      if (in_variable) return Error("variables do not nest");
      return ParseVariable();
    }
    PGA_ASSIGN_OR_RETURN(std::string literal, ParseLiteral());
    result_.segments.push_back(std::move(literal));
    return absl::OkStatus();
  }

  absl::Status ParseVariable() {
    HttpTemplate::Variable variable;
    do {
      const size_t begin = position_;
      if (position_ < text_.size() && IsIdentifierStart(text_[position_])) {
        while (position_ < text_.size() && IsIdentifierPart(text_[position_])) ++position_;
      }
      if (position_ == begin) return Error("a field name is expected");
      variable.field_path.emplace_back(text_.substr(begin, position_ - begin));
    } while (Take('.'));
    variable.start = static_cast<int>(result_.segments.size());
    if (Take('=')) {
      PGA_RETURN_IF_ERROR(ParseSegments(/*in_variable=*/true));
    } else {
      result_.segments.emplace_back("*");
    }
    variable.end = static_cast<int>(result_.segments.size());
    if (!Take('}')) return Error("'}' is expected");
    result_.variables.push_back(std::move(variable));
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> ParseLiteral() {
    const size_t begin = position_;
    while (position_ < text_.size() && IsLiteralPart(text_[position_])) ++position_;
    if (position_ == begin) return Error("a literal, '*', '**' or a variable is expected");
    return std::string(text_.substr(begin, position_ - begin));
  }

  bool Take(char c) {
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  absl::Status Error(const char* what) const {
    return absl::InvalidArgumentError("path template \"" + std::string(text_) + "\", character " +
                                      std::to_string(position_ + 1) + ": " + what);
  }

  std::string_view text_;
  size_t position_ = 0;
  HttpTemplate result_;
};

}  // namespace

absl::StatusOr<HttpTemplate> ParseHttpTemplate(std::string_view text) {
  return Parser(text).Parse();
}

}  // namespace pga::gateway
