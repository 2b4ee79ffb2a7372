// Keys of 32 random bytes that people write in settings (ENCRYPTION_KEY, BACKUP_KEY), and what is derived from them.
// Pure functions; thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pga::token {

inline constexpr size_t kSecretKeyBytes = 32;

// Base64 (standard or URL-safe) or hexadecimal of kSecretKeyBytes bytes, blanks around it ignored. INVALID_ARGUMENT
// otherwise; the message says how to make one and does not repeat the text.
absl::StatusOr<std::string> SecretKeyFromText(std::string_view text);

// HKDF with SHA-256 (RFC 5869): `bytes` bytes of one purpose, so that no two purposes and no two salts share a key.
// `salt` may be empty. INTERNAL when the crypto library fails.
absl::StatusOr<std::string> DeriveKey(std::string_view secret, std::string_view salt, std::string_view purpose,
                                      size_t bytes);

// In a time that does not depend on where they differ; that their lengths differ shows.
bool SameBytes(std::string_view one, std::string_view other);

}  // namespace pga::token
