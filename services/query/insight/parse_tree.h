// The parse tree of a statement's text as libpg_query writes it. Not for headers: it brings the JSON parser along.
#pragma once

#include <simdjson.h>

#include <string_view>

namespace pga::query {

// Not empty, not longer than kMostFingerprintBytes, without a zero byte.
bool Parsable(std::string_view text);

// False for a text that is not in the grammar, and for a tree deeper than the parser goes. The tree lives as long as
// the parser does.
bool ParseTreeOf(std::string_view text, simdjson::dom::parser* parser, simdjson::dom::element* tree);

// A field that is a text; empty where there is none.
std::string_view FieldText(const simdjson::dom::element& object, const char* key);

}  // namespace pga::query
