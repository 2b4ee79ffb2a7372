// Names that people can distinguish by looking at them. Pure, thread-safe.
#pragma once

#include <string_view>

namespace pga::token {

// Whether UTF-8 text holds what shows nothing or turns text around: control characters, soft hyphens, zero-width and
// bidirectional marks.
bool HasInvisible(std::string_view text);

}  // namespace pga::token
