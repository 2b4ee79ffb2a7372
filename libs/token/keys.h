// Keys of tokens: P-256 keys as PEM and as JSON Web Keys (RFC 7517, 7638), and the strict base64url of RFC 7515.
// Everything here is stateless and thread-safe; nothing blocks.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::token {

// One public P-256 key.
struct EcPublicKey {
  // RFC 7638 thumbprint unless the key set says otherwise; 1 to 128 characters.
  std::string kid;
  // SubjectPublicKeyInfo.
  std::string pem;
  // Coordinates, 32 bytes each.
  std::string x;
  std::string y;
};

// The public half of a PEM private or public key. INVALID_ARGUMENT unless it is one EC key on P-256; the message
// never quotes the key.
absl::StatusOr<EcPublicKey> PublicKeyFromPem(std::string_view pem);

// RFC 7517 text of the keys: {"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid",...}]}.
std::string JwksFromKeys(std::span<const EcPublicKey> keys);

// Reads a key set of at most 64 KiB and 16 keys. Keys of other types or uses are left out; a P-256 key that is not
// on the curve, has no kid, or repeats one makes the whole set INVALID_ARGUMENT.
absl::StatusOr<std::vector<EcPublicKey>> KeysFromJwks(std::string_view json);

// A fresh P-256 private key as PEM (PKCS#8). INTERNAL if the random source fails.
absl::StatusOr<std::string> GenerateKeyPem();

// base64url without padding. Decoding accepts the one canonical spelling only: no padding, no other alphabet, unused
// bits zero; everything else is nullopt.
std::string Base64UrlEncode(std::string_view bytes);
std::optional<std::string> Base64UrlDecode(std::string_view text);

// `bytes` random bytes from the system, in lower-case hexadecimal; empty if the random source fails.
std::string RandomHex(int bytes);

}  // namespace pga::token
