// Signs that a text speaks of a secret: names of passwords, tokens and keys, functions and clauses that take them,
// connection strings. They err to the safe side. Pure; thread-safe.
#pragma once

#include <string_view>

namespace pga::collector {

// True if a name, such as that of a column, an option or a setting, says that its value is a secret.
bool NamesSecret(std::string_view name);

// True if any of the signs is in `text`, also when it is written with escapes (\x70, \160, \u0070, \0070). `text` is
// searched as bytes, whatever is a literal, a comment or a name in it.
bool SpeaksOfSecret(std::string_view text);

}  // namespace pga::collector
