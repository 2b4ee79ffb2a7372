// Statement texts without what must not leave the server: literals (normalized) and passwords (always). Works on tokens
// of PostgreSQL's lexical rules, not on grammar, so that it holds for every version and for broken statements. Pure.
#pragma once

#include <string>
#include <string_view>

#include "services/collector/config.h"

namespace pga::collector {

// `text` as the mode allows: kNone gives an empty text, kFull replaces only secrets by '***', kNormalized also replaces
// every literal by ?. Comments are removed in kNormalized, because they may hold anything. An unterminated literal or
// comment is cut at its beginning.
std::string RedactQuery(std::string_view text, QueryTextMode mode);

}  // namespace pga::collector
