// What is asked of JSON before a parser sees it. Pure, thread-safe.
#pragma once

#include <string_view>

namespace pga::text {

// Whether arrays and objects nest at most `limit` deep. Nothing else of the grammar is checked; strings may stand in
// single quotes too, as Protobuf's parser takes them.
bool JsonDepthWithin(std::string_view json, int limit);

// Whether `json`, which is valid UTF-8, is one value that PostgreSQL's jsonb takes: the grammar of RFC 8259 with at
// most `depth` levels, no NUL and no half of a surrogate pair in any text, numbers of at most 10,000 digits and
// exponents.
bool IsJsonb(std::string_view json, int depth);

}  // namespace pga::text
