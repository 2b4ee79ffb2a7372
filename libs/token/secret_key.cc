#include "libs/token/secret_key.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"

namespace pga::token {
namespace {

struct FreeKdf {
  void operator()(EVP_KDF* kdf) const { EVP_KDF_free(kdf); }
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

}  // namespace

absl::StatusOr<std::string> SecretKeyFromText(std::string_view text) {
  const std::string trimmed(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  std::string key;
  if (trimmed.size() == 2 * kSecretKeyBytes &&
      trimmed.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos) {
    key = absl::HexStringToBytes(trimmed);
  } else if (!absl::Base64Unescape(trimmed, &key)) {
    if (!absl::WebSafeBase64Unescape(trimmed, &key)) key.clear();
  }
  if (key.size() != kSecretKeyBytes) {
    return absl::InvalidArgumentError("write base64 or hexadecimal of 32 random bytes: openssl rand -base64 32");
  }
  return key;
}

absl::StatusOr<std::string> DeriveKey(std::string_view secret, std::string_view salt, std::string_view purpose,
                                      size_t bytes) {
  const std::unique_ptr<EVP_KDF, FreeKdf> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const std::unique_ptr<EVP_KDF_CTX, FreeKdf> context(kdf == nullptr ? nullptr : EVP_KDF_CTX_new(kdf.get()));
  std::string digest = "SHA256";
  std::string key(secret), with(salt), info(purpose);
  std::vector<OSSL_PARAM> parameters = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), digest.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.data(), key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size())};
  if (!with.empty()) {
    parameters.push_back(OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, with.data(), with.size()));
  }
  parameters.push_back(OSSL_PARAM_construct_end());
  std::string derived(bytes, '\0');
  if (context == nullptr ||
      EVP_KDF_derive(context.get(), reinterpret_cast<unsigned char*>(derived.data()), bytes, parameters.data()) != 1) {
    return absl::InternalError("deriving a key failed");
  }
  return derived;
}

bool SameBytes(std::string_view one, std::string_view other) {
  return one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

}  // namespace pga::token
