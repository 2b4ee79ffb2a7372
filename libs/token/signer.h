// Makes tokens: HS256 with a shared secret (the 3.2.0 form), or ES256 with a P-256 key that others verify by key set.
// Immutable after creation and thread-safe; signing computes only (about 0.1 ms for ES256) and never blocks.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "libs/token/claims.h"
#include "libs/token/keys.h"

namespace pga::token {

// kid of tokens signed with the shared secret.
inline constexpr char kHmacKid[] = "hs256";

class Signer {
 public:
  // HS256. INVALID_ARGUMENT if the secret is empty or longer than 4096 bytes; its strength is the caller's to judge.
  static absl::StatusOr<std::unique_ptr<Signer>> FromSecret(std::string_view secret);
  // ES256. INVALID_ARGUMENT unless it is a PEM private key on P-256.
  static absl::StatusOr<std::unique_ptr<Signer>> FromPrivateKeyPem(std::string_view pem);

  ~Signer();
  Signer(const Signer&) = delete;
  Signer& operator=(const Signer&) = delete;

  // The compact token. INVALID_ARGUMENT if the claims have no identity, no issue or no expiry time; INTERNAL if the
  // crypto library fails. Two calls never give the same token unless the caller sets jti.
  absl::StatusOr<std::string> Sign(const Claims& claims) const;

  const std::string& kid() const { return kid_; }
  // The public key, where there is one.
  const std::optional<EcPublicKey>& public_key() const { return public_key_; }

 private:
  Signer() = default;

  bool hmac_ = false;
  std::string key_;
  std::string kid_;
  std::optional<EcPublicKey> public_key_;
};

}  // namespace pga::token
