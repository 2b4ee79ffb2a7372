// Arithmetic over named terms: + - * / with the usual precedence, comparisons (1 where they hold, else 0), parentheses,
// numbers, and usual(...) and spread(...): what an expression is as a rule at this hour of the week, and how far it
// strays. What a rule's `value` and `only_if` say.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::ruler {

// Immutable, thread-safe.
class Expression {
 public:
  struct Token {
    enum class Kind { kNumber, kName, kOperator, kOpen, kClose, kCall };
    Kind kind = Kind::kNumber;
    double number = 0;
    // Name of a term, the operator: + - * / < <= > >= == !=, or what is called, as written.
    std::string text;
    // Of a name: index into names(). Of a call: index into calls().
    size_t name = 0;
  };
  // What history says of an expression without calls.
  struct Call {
    enum class Function { kUsual, kSpread };
    Function function = Function::kUsual;
    std::shared_ptr<const Expression> of;
  };

  Expression() = default;
  // INVALID_ARGUMENT says what is wrong and at which character, from 1. At most 1,000 characters and 50 parentheses
  // deep.
  static absl::StatusOr<Expression> Parse(const std::string& text);

  // Names in the order of their first use, those within calls left out.
  const std::vector<std::string>& names() const { return names_; }
  // As written, left to right.
  const std::vector<Token>& tokens() const { return tokens_; }
  const std::string& text() const { return text_; }
  const std::vector<Call>& calls() const { return calls_; }

  // `value` gives the value of names()[i], `call` that of calls()[i]. Empty where a division by zero leaves nothing to
  // say.
  std::optional<double> Evaluate(const std::function<double(size_t)>& value,
                                 const std::function<double(size_t)>& call) const;

 private:
  // Reads tokens_: names_ and postfix_.
  absl::Status Place();

  std::string text_;
  std::vector<std::string> names_;
  std::vector<Token> tokens_;
  std::vector<Token> postfix_;
  std::vector<Call> calls_;
};

}  // namespace pga::ruler
