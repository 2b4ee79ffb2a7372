#pragma once

// SHA-256 and comparison in constant time. Pure functions.

#include <string>
#include <string_view>

namespace pga::auth {

// 32 raw bytes.
std::string Sha256(std::string_view text);

// Key of the failures of an account: equal for all spellings of a name, and of fixed size for names that do not exist.
std::string AccountHash(std::string_view username);

// Whether both are equal, in a time that depends on neither; secrets are compared by their digests, so their lengths do
// not show either. An empty secret never matches.
bool SecretsEqual(std::string_view given, std::string_view expected);

}  // namespace pga::auth
