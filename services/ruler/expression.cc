#include "services/ruler/expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"

namespace pga::ruler {
namespace {

using Token = Expression::Token;
using Kind = Token::Kind;

constexpr size_t kMostCharacters = 1000;
constexpr size_t kMostDepth = 50;

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

bool IsNameStart(char c) {
  return (c >= 'a' && c <= 'z') || c == '_';
}

int Precedence(const std::string& op) {
  if (op == "*" || op == "/") return 3;
  if (op == "+" || op == "-") return 2;
  return 1;
}

absl::Status At(size_t at, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("character ", at + 1, ": ", what));
}

absl::StatusOr<std::vector<Token>> Split(const std::string& text) {
  std::vector<Token> tokens;
  size_t i = 0;
  while (i < text.size()) {
    const char c = text[i];
    if (c == ' ') {
      ++i;
      continue;
    }
    Token token;
    if (IsDigit(c)) {
      token.kind = Kind::kNumber;
      const auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), token.number);
      if (error != std::errc()) return At(i, "not a number");
      token.text = text.substr(i, static_cast<size_t>(end - text.data()) - i);
      i = static_cast<size_t>(end - text.data());
    } else if (IsNameStart(c)) {
      token.kind = Kind::kName;
      size_t end = i;
      while (end < text.size() && (IsNameStart(text[end]) || IsDigit(text[end]))) ++end;
      token.text = text.substr(i, end - i);
      i = end;
    } else if (c == '(' || c == ')') {
      token.kind = c == '(' ? Kind::kOpen : Kind::kClose;
      token.text = std::string(1, c);
      ++i;
    } else {
      constexpr std::string_view kTwo[] = {"<=", ">=", "==", "!="};
      token.kind = Kind::kOperator;
      const std::string two = text.substr(i, 2);
      if (std::ranges::find(kTwo, two) != std::end(kTwo)) {
        token.text = two;
      } else if (std::string_view("+-*/<>").find(c) != std::string_view::npos) {
        token.text = std::string(1, c);
      } else {
        return At(i, "want a number, the name of a term, an operator (+ - * / < <= > >= == !=) or a parenthesis");
      }
      i += token.text.size();
    }
    tokens.push_back(std::move(token));
  }
  return tokens;
}

double Apply(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "/") return b == 0 ? std::nan("") : a / b;
  if (op == "<") return a < b ? 1 : 0;
  if (op == "<=") return a <= b ? 1 : 0;
  if (op == ">") return a > b ? 1 : 0;
  if (op == ">=") return a >= b ? 1 : 0;
  if (op == "==") return a == b ? 1 : 0;
  return a != b ? 1 : 0;
}

}  // namespace

absl::StatusOr<Expression> Expression::Parse(const std::string& text) {
  if (text.size() > kMostCharacters) return At(kMostCharacters, "the expression is too long");
  Expression expression;
  expression.text_ = text;
  PGA_ASSIGN_OR_RETURN(const std::vector<Token> tokens, Split(text));
  // Calls are expressions of their own; what is left has none.
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].kind != Kind::kName || i + 1 == tokens.size() || tokens[i + 1].kind != Kind::kOpen) {
      expression.tokens_.push_back(tokens[i]);
      continue;
    }
    const std::string& function = tokens[i].text;
    if (function != "usual" && function != "spread") {
      return absl::InvalidArgumentError(absl::StrCat("\"", function, "\" is no function; there are usual and spread"));
    }
    size_t end = i + 1;
    size_t depth = 0;
    do {
      depth += tokens[end].kind == Kind::kOpen ? 1 : 0;
      depth -= tokens[end].kind == Kind::kClose ? 1 : 0;
      ++end;
    } while (depth > 0 && end < tokens.size());
    if (depth > 0) return absl::InvalidArgumentError("a parenthesis is not closed");
    Expression inner;
    for (size_t k = i + 2; k + 1 < end; ++k) {
      if (tokens[k].kind == Kind::kName && tokens[k + 1].kind == Kind::kOpen) {
        return absl::InvalidArgumentError(absl::StrCat(function, "() takes no other function inside"));
      }
      inner.tokens_.push_back(tokens[k]);
      absl::StrAppend(&inner.text_, inner.text_.empty() ? "" : " ", tokens[k].text);
    }
    PGA_RETURN_IF_ERROR(inner.Place());
    Token call;
    call.kind = Kind::kCall;
    call.text = absl::StrCat(function, "(", inner.text_, ")");
    call.name = expression.calls_.size();
    expression.calls_.push_back({function == "usual" ? Call::Function::kUsual : Call::Function::kSpread,
                                 std::make_shared<const Expression>(std::move(inner))});
    expression.tokens_.push_back(std::move(call));
    i = end - 1;
  }
  PGA_RETURN_IF_ERROR(expression.Place());
  return expression;
}

absl::Status Expression::Place() {
  std::vector<Token> waiting;
  size_t depth = 0;
  bool want_value = true;
  for (Token& token : tokens_) {
    const bool begins_value = token.kind != Kind::kOperator && token.kind != Kind::kClose;
    if (begins_value != want_value) {
      return absl::InvalidArgumentError(want_value ? "a number or the name of a term is missing"
                                                   : "an operator is missing between two values");
    }
    switch (token.kind) {
      case Kind::kName: {
        const auto found = std::ranges::find(names_, token.text);
        token.name = static_cast<size_t>(found - names_.begin());
        if (found == names_.end()) names_.push_back(token.text);
        postfix_.push_back(token);
        want_value = false;
        break;
      }
      case Kind::kNumber:
      case Kind::kCall:
        postfix_.push_back(token);
        want_value = false;
        break;
      case Kind::kOpen:
        if (++depth > kMostDepth) return absl::InvalidArgumentError("too many parentheses inside each other");
        waiting.push_back(token);
        break;
      case Kind::kClose:
        while (!waiting.empty() && waiting.back().kind != Kind::kOpen) {
          postfix_.push_back(waiting.back());
          waiting.pop_back();
        }
        if (waiting.empty()) return absl::InvalidArgumentError("a parenthesis is closed that was not opened");
        waiting.pop_back();
        --depth;
        break;
      case Kind::kOperator:
        while (!waiting.empty() && waiting.back().kind == Kind::kOperator &&
               Precedence(waiting.back().text) >= Precedence(token.text)) {
          postfix_.push_back(waiting.back());
          waiting.pop_back();
        }
        waiting.push_back(token);
        want_value = true;
        break;
    }
  }
  if (want_value) return absl::InvalidArgumentError("a number or the name of a term is missing at the end");
  while (!waiting.empty()) {
    if (waiting.back().kind == Kind::kOpen) return absl::InvalidArgumentError("a parenthesis is not closed");
    postfix_.push_back(waiting.back());
    waiting.pop_back();
  }
  return absl::OkStatus();
}

std::optional<double> Expression::Evaluate(const std::function<double(size_t)>& value,
                                           const std::function<double(size_t)>& call) const {
  std::vector<double> stack;
  for (const Token& token : postfix_) {
    if (token.kind == Kind::kNumber) {
      stack.push_back(token.number);
    } else if (token.kind == Kind::kName) {
      stack.push_back(value(token.name));
    } else if (token.kind == Kind::kCall) {
      stack.push_back(call(token.name));
    } else {
      const double b = stack.back();
      stack.pop_back();
      stack.back() = Apply(token.text, stack.back(), b);
      // A comparison with nothing would say 0.
      if (std::isnan(stack.back())) return std::nullopt;
    }
  }
  if (stack.empty() || !std::isfinite(stack.back())) return std::nullopt;
  return stack.back();
}

}  // namespace pga::ruler
