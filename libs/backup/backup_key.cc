#include "libs/backup/backup_key.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "libs/status/status.h"

namespace pga::backup {
namespace {

constexpr size_t kMacBytes = 32;

unsigned char* Bytes(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

}  // namespace

absl::StatusOr<BackupKey> BackupKey::FromText(std::string_view text) {
  BackupKey key;
  PGA_ASSIGN_OR_RETURN(key.key_, token::SecretKeyFromText(text));
  PGA_ASSIGN_OR_RETURN(key.id_, token::DeriveKey(key.key_, "", "pganalytics backup key id", kKeyIdBytes));
  return key;
}

absl::StatusOr<std::string> BackupKey::Derive(std::string_view purpose, std::string_view salt) const {
  return token::DeriveKey(key_, salt, purpose, kKeyBytes);
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

}  // namespace pga::backup
