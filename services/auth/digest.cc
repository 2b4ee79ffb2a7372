#include "services/auth/digest.h"

#include <openssl/sha.h>

#include "absl/strings/str_cat.h"
#include "libs/token/secret_key.h"
#include "services/auth/rules.h"

namespace pga::auth {

std::string Sha256(std::string_view text) {
  std::string digest(SHA256_DIGEST_LENGTH, '\0');
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
         reinterpret_cast<unsigned char*>(digest.data()));
  return digest;
}

std::string AccountHash(std::string_view username) {
  return Sha256(absl::StrCat("account:", NormalName(username)));
}

bool SecretsEqual(std::string_view given, std::string_view expected) {
  if (given.empty() || expected.empty()) return false;
  return token::SameBytes(Sha256(given), Sha256(expected));
}

}  // namespace pga::auth
