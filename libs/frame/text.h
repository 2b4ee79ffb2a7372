// Texts in frames: valid UTF-8 without NUL, as PostgreSQL's `text` demands, and the 64-bit ids they are stored under.
// All functions are pure and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace pga::frame {

// True if `text` is valid UTF-8 (no surrogates, no overlong forms) and holds no NUL.
bool IsValidText(std::string_view text);

// `text` with every maximal invalid part and every NUL replaced by U+FFFD, then cut to at most `max_bytes` at a
// character's edge. `*replaced` becomes true if a part was replaced (never set to false); cutting alone does not set
// it.
std::string SanitizeText(std::string_view text, size_t max_bytes, bool* replaced);

// Id of a text in metrics.text: the first eight bytes of its SHA-256, big-endian, as a signed integer. Equal texts have
// equal ids everywhere, so rows need no look-up.
int64_t TextId(std::string_view text);

}  // namespace pga::frame
