// Texts in frames: valid UTF-8 without NUL, as PostgreSQL's `text` demands. All functions are
// pure and thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pga::frame {

// True if `text` is valid UTF-8 (no surrogates, no overlong forms) and holds no NUL.
bool IsValidText(std::string_view text);

// `text` with every maximal invalid part and every NUL replaced by U+FFFD, then cut to at most `max_bytes` at a
// character's edge. `*replaced` becomes true if a part was replaced (never set to false); cutting alone does not set
// it.
std::string SanitizeText(std::string_view text, size_t max_bytes, bool* replaced);

}  // namespace pga::frame
