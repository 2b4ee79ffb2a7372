// BACKUP_KEY: 32 random bytes from which every key of a backup is derived (HKDF with SHA-256, RFC 5869), each for one
// purpose and with the salt of one file, so that no two files share a key.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/token/secret_key.h"

namespace pga::backup {

inline constexpr size_t kKeyBytes = token::kSecretKeyBytes;
inline constexpr size_t kKeyIdBytes = 8;

// Immutable and thread-safe; never printed.
class BackupKey {
 public:
  // As token::SecretKeyFromText.
  static absl::StatusOr<BackupKey> FromText(std::string_view text);

  // Names the key without telling it: kKeyIdBytes bytes.
  const std::string& id() const { return id_; }
  // The key of one purpose; `salt` may be empty. INTERNAL when the crypto library fails.
  absl::StatusOr<std::string> Derive(std::string_view purpose, std::string_view salt) const;
  // HMAC-SHA256 over `text` under a key of its own: 32 bytes. INTERNAL when the crypto library fails.
  absl::StatusOr<std::string> Authenticate(std::string_view purpose, std::string_view text) const;

 private:
  BackupKey() = default;
  std::string key_;
  std::string id_;
};

}  // namespace pga::backup
