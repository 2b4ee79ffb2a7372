// What is asked of JSON before a parser sees it. Pure, thread-safe.
#pragma once

#include <string_view>

namespace pga::text {

// Whether arrays and objects nest at most `limit` deep. Nothing else of the grammar is checked; strings may stand in
// single quotes too, as Protobuf's parser takes them.
bool JsonDepthWithin(std::string_view json, int limit);

}  // namespace pga::text
