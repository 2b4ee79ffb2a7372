// UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF. Pure, thread-safe.
#pragma once

#include <cstddef>
#include <string_view>

namespace pga::text {

// Bytes of the character at the beginning of `text`, which is not empty: 1 to 4, or 0 if none begins there; then
// `*skip`, if wanted, is the length of the maximal invalid part (Unicode 3.9, table 3-8), at least 1.
size_t CharacterLength(std::string_view text, size_t* skip = nullptr);

// Whether all of `text` is UTF-8. NUL is a character like others.
bool IsUtf8(std::string_view text);

// The first `most` characters of `text`; less where something is no character.
std::string_view FirstCharacters(std::string_view text, size_t most);

}  // namespace pga::text
