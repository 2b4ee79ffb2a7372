// What to change about one statement: how it is written, and its parameters. By the rules of advice, by what its text
// says, and by its logged plans, each with the figures that speak for it. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/query/insight/advice.h"
#include "services/query/insight/shape.h"

namespace pga::query {

// A statement as one database of a source has it.
struct SuggestedStatement {
  int64_t query_id = 0;
  std::string database;
  StatementShape shape;
  // Statements with the same fingerprint there, this one included; 0 = the fingerprint is not known.
  int variants = 0;
};

struct Suggestion {
  std::string type;
  // A way to write it, or a parameter.
  bool rewrite = true;
  Advice advice;
};

struct Suggestions {
  // The surest first.
  std::vector<Suggestion> found;
  std::vector<NotJudged> not_judged;
};

Suggestions SuggestFor(const SourceFacts& facts, const SuggestedStatement& statement);

}  // namespace pga::query
