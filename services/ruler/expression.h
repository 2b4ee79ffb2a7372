// Arithmetic over named terms: + - * / with the usual precedence, comparisons (1 where they hold, else 0), parentheses,
// numbers. What a rule's `value` and `only_if` say.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::ruler {

// Immutable, thread-safe.
class Expression {
 public:
  struct Token {
    enum class Kind { kNumber, kName, kOperator, kOpen, kClose };
    Kind kind = Kind::kNumber;
    double number = 0;
    // Name of a term, or the operator: + - * / < <= > >= == !=.
    std::string text;
    // Of a name: index into names().
    size_t name = 0;
  };

  Expression() = default;
  // INVALID_ARGUMENT says what is wrong and at which character, from 1. At most 1,000 characters and 50 parentheses
  // deep.
  static absl::StatusOr<Expression> Parse(const std::string& text);

  // Names in the order of their first use.
  const std::vector<std::string>& names() const { return names_; }
  // As written, left to right.
  const std::vector<Token>& tokens() const { return tokens_; }
  const std::string& text() const { return text_; }

  // `value` gives the value of names()[i]. Empty where a division by zero leaves nothing to say.
  std::optional<double> Evaluate(const std::function<double(size_t)>& value) const;

 private:
  std::string text_;
  std::vector<std::string> names_;
  std::vector<Token> tokens_;
  std::vector<Token> postfix_;
};

}  // namespace pga::ruler
