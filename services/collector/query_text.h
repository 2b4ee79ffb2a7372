// Statement texts without what must not leave the server. The rule, its places and its limits: docs/privacy.md. Pure;
// thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "services/collector/config.h"

namespace pga::collector {

struct RedactedText {
  std::string text;
  // PostgreSQL's lexer refused the text, or settings that the text does not tell decide what is a literal in it.
  // Whatever is one in any reading is gone.
  bool careful = false;
};

// `text` is valid UTF-8 without NUL.
// kNone gives an empty text.
// kNormalized replaces literals, numbers and bare values of settings by ?, and removes comments.
// kFull leaves the text as it is, if nothing in it speaks of a secret and it is of a kind that has no place for one;
// otherwise it is treated as in kNormalized.
// A literal, name or comment without an end is cut at its beginning in either mode.
RedactedText RedactQuery(std::string_view text, QueryTextMode mode);

}  // namespace pga::collector
