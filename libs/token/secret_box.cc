#include "libs/token/secret_box.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "libs/status/status.h"
#include "libs/token/secret_key.h"

namespace pga::token {
namespace {

constexpr size_t kIdBytes = 8;
constexpr size_t kNonceBytes = 12;
constexpr size_t kTagBytes = 16;
constexpr char kVersion = 1;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

}  // namespace

absl::StatusOr<SecretBox> SecretBox::FromText(std::string_view key) {
  PGA_ASSIGN_OR_RETURN(std::string raw, SecretKeyFromText(key));
  return SecretBox(std::move(raw));
}

absl::StatusOr<SecretBox> SecretBox::Derive(std::string_view secret) {
  PGA_ASSIGN_OR_RETURN(std::string key, DeriveKey(secret, "", "pganalytics sealing key", kSecretKeyBytes));
  return SecretBox(std::move(key));
}

absl::StatusOr<std::string> SecretBox::Id() const {
  PGA_ASSIGN_OR_RETURN(const std::string id, DeriveKey(key_, "", "pganalytics key id", kIdBytes));
  return absl::BytesToHexString(absl::string_view(id.data(), id.size()));
}

absl::StatusOr<std::string> SecretBox::Seal(std::string_view plain, std::string_view name) const {
  std::string sealed(1 + kNonceBytes + plain.size() + kTagBytes, '\0');
  sealed[0] = kVersion;
  unsigned char* nonce = Bytes(sealed) + 1;
  unsigned char* cipher = nonce + kNonceBytes;
  unsigned char* tag = cipher + plain.size();
  Context context(EVP_CIPHER_CTX_new());
  int length = 0;
  if (context == nullptr || RAND_bytes(nonce, kNonceBytes) != 1 ||
      EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(std::string_view(key_)), nonce) != 1 ||
      EVP_EncryptUpdate(context.get(), nullptr, &length, Bytes(name), static_cast<int>(name.size())) != 1 ||
      EVP_EncryptUpdate(context.get(), cipher, &length, Bytes(plain), static_cast<int>(plain.size())) != 1 ||
      EVP_EncryptFinal_ex(context.get(), cipher + length, &length) != 1 ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, tag) != 1) {
    return absl::InternalError("sealing failed");
  }
  return sealed;
}

absl::StatusOr<std::string> SecretBox::Open(std::string_view sealed, std::string_view name) const {
  const absl::Status bad = absl::FailedPreconditionError("it was sealed with another key, or is damaged");
  if (sealed.size() < 1 + kNonceBytes + kTagBytes || sealed[0] != kVersion) return bad;
  const std::string_view nonce = sealed.substr(1, kNonceBytes);
  const std::string_view cipher = sealed.substr(1 + kNonceBytes, sealed.size() - 1 - kNonceBytes - kTagBytes);
  std::string tag(sealed.substr(sealed.size() - kTagBytes));
  std::string plain(cipher.size(), '\0');
  Context context(EVP_CIPHER_CTX_new());
  int length = 0;
  if (context == nullptr ||
      EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(std::string_view(key_)), Bytes(nonce)) != 1 ||
      EVP_DecryptUpdate(context.get(), nullptr, &length, Bytes(name), static_cast<int>(name.size())) != 1 ||
      EVP_DecryptUpdate(context.get(), Bytes(plain), &length, Bytes(cipher), static_cast<int>(cipher.size())) != 1 ||
      EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) != 1 ||
      EVP_DecryptFinal_ex(context.get(), Bytes(plain) + length, &length) != 1) {
    return bad;
  }
  return plain;
}

}  // namespace pga::token
