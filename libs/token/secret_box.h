#pragma once

// Sealing of what lies in the database but must not be readable there: AES-256-GCM. A sealed text is version byte 1,
// 12 byte nonce, cipher text, 16 byte tag; the name of the thing is authenticated along with it.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace pga::token {

// Immutable and thread-safe.
class SecretBox {
 public:
  // `key` is base64 (standard or URL-safe) or hexadecimal of 32 bytes; INVALID_ARGUMENT otherwise.
  static absl::StatusOr<SecretBox> FromText(std::string_view key);
  // The key is derived from a secret that has another purpose: HKDF with SHA-256 (RFC 5869), so that neither gives away
  // the other. `secret` is not empty. INTERNAL when the crypto library fails.
  static absl::StatusOr<SecretBox> Derive(std::string_view secret);

  // Names the key without telling it: 16 hexadecimal digits. INTERNAL when the crypto library fails.
  absl::StatusOr<std::string> Id() const;

  // INTERNAL when the crypto library fails.
  absl::StatusOr<std::string> Seal(std::string_view plain, std::string_view name) const;
  // FAILED_PRECONDITION when the text was not sealed with this key and name.
  absl::StatusOr<std::string> Open(std::string_view sealed, std::string_view name) const;

 private:
  explicit SecretBox(std::string key) : key_(std::move(key)) {}
  std::string key_;
};

}  // namespace pga::token
