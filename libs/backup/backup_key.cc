#include "libs/backup/backup_key.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <memory>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

constexpr size_t kMacBytes = 32;

struct FreeKdf {
  void operator()(EVP_KDF* kdf) const { EVP_KDF_free(kdf); }
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

unsigned char* Bytes(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

absl::StatusOr<std::string> Hkdf(std::string_view secret, std::string_view salt, std::string_view info, size_t bytes) {
  const std::unique_ptr<EVP_KDF, FreeKdf> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr));
  const std::unique_ptr<EVP_KDF_CTX, FreeKdf> context(kdf == nullptr ? nullptr : EVP_KDF_CTX_new(kdf.get()));
  std::string digest = "SHA256";
  std::string key(secret), with(salt), purpose(info);
  std::vector<OSSL_PARAM> parameters = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest.data(), digest.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.data(), key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, purpose.data(), purpose.size())};
  if (!with.empty()) {
    parameters.push_back(OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, with.data(), with.size()));
  }
  parameters.push_back(OSSL_PARAM_construct_end());
  std::string derived(bytes, '\0');
  if (context == nullptr || EVP_KDF_derive(context.get(), Bytes(derived), bytes, parameters.data()) != 1) {
    return absl::InternalError("deriving a key failed");
  }
  return derived;
}

}  // namespace

absl::StatusOr<BackupKey> BackupKey::FromText(std::string_view text) {
  const std::string trimmed(absl::StripAsciiWhitespace(absl::string_view(text.data(), text.size())));
  std::string raw;
  if (trimmed.size() == 2 * kKeyBytes && trimmed.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos) {
    raw = absl::HexStringToBytes(trimmed);
  } else if (!absl::Base64Unescape(trimmed, &raw)) {
    if (!absl::WebSafeBase64Unescape(trimmed, &raw)) raw.clear();
  }
  if (raw.size() != kKeyBytes) {
    return absl::InvalidArgumentError("it is not base64 of 32 bytes; make one with: openssl rand -base64 32");
  }
  BackupKey key;
  key.key_ = std::move(raw);
  PGA_ASSIGN_OR_RETURN(key.id_, Hkdf(key.key_, "", "pganalytics backup key id", kKeyIdBytes));
  return key;
}

absl::StatusOr<std::string> BackupKey::Derive(std::string_view purpose, std::string_view salt) const {
  return Hkdf(key_, salt, purpose, kKeyBytes);
}

absl::StatusOr<std::string> BackupKey::Authenticate(std::string_view purpose, std::string_view text) const {
  PGA_ASSIGN_OR_RETURN(const std::string key, Derive(purpose, ""));
  std::string mac(kMacBytes, '\0');
  unsigned int size = 0;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()),
           text.size(), Bytes(mac), &size) == nullptr ||
      size != kMacBytes) {
    return absl::InternalError("authenticating failed");
  }
  return mac;
}

bool SameBytes(std::string_view one, std::string_view other) {
  return one.size() == other.size() && CRYPTO_memcmp(one.data(), other.data(), one.size()) == 0;
}

}  // namespace pga::backup
