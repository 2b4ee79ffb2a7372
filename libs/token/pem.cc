#include "libs/token/pem.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <array>

namespace pga::token {
namespace {

using BioPtr = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

constexpr size_t kMaxPemBytes = 4 << 20;

int NoPassphrase(char*, int, int, void*) {
  return -1;
}

template <typename T>
T* Read(std::string_view pem, T* (*read)(BIO*, T**, pem_password_cb*, void*)) {
  if (pem.empty() || pem.size() > kMaxPemBytes) return nullptr;
  const BioPtr in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  T* object = in == nullptr ? nullptr : read(in.get(), nullptr, NoPassphrase, nullptr);
  ERR_clear_error();
  return object;
}

template <typename Write>
std::string Text(Write write) {
  const BioPtr out(BIO_new(BIO_s_mem()));
  char* data = nullptr;
  std::string text;
  if (out != nullptr && write(out.get()) == 1) {
    const long size = BIO_get_mem_data(out.get(), &data);
    if (size > 0) text.assign(data, static_cast<size_t>(size));
  }
  ERR_clear_error();
  return text;
}

}  // namespace

KeyPtr ReadPrivateKey(std::string_view pem) {
  return KeyPtr(Read<EVP_PKEY>(pem, PEM_read_bio_PrivateKey));
}

KeyPtr ReadPublicKey(std::string_view pem) {
  return KeyPtr(Read<EVP_PKEY>(pem, PEM_read_bio_PUBKEY));
}

CertificatePtr ReadCertificate(std::string_view pem) {
  return CertificatePtr(Read<X509>(pem, PEM_read_bio_X509));
}

RequestPtr ReadCertificateRequest(std::string_view pem) {
  return RequestPtr(Read<X509_REQ>(pem, PEM_read_bio_X509_REQ));
}

std::string PrivateKeyPem(const EVP_PKEY* key) {
  return Text([key](BIO* out) {
    return PEM_write_bio_PKCS8PrivateKey(out, const_cast<EVP_PKEY*>(key), nullptr, nullptr, 0, nullptr, nullptr);
  });
}

std::string PublicKeyPem(const EVP_PKEY* key) {
  return Text([key](BIO* out) { return PEM_write_bio_PUBKEY(out, const_cast<EVP_PKEY*>(key)); });
}

std::string CertificatePem(const X509* certificate) {
  return Text([certificate](BIO* out) { return PEM_write_bio_X509(out, const_cast<X509*>(certificate)); });
}

std::string CertificateRequestPem(const X509_REQ* request) {
  return Text([request](BIO* out) { return PEM_write_bio_X509_REQ(out, const_cast<X509_REQ*>(request)); });
}

KeyPtr NewP256Key() {
  KeyPtr key(EVP_EC_gen(SN_X9_62_prime256v1));
  ERR_clear_error();
  return key;
}

bool IsP256(const EVP_PKEY* key) {
  std::array<char, 64> group{};
  size_t length = 0;
  return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_group_name(key, group.data(), group.size(), &length) == 1 &&
         std::string_view(group.data(), length) == SN_X9_62_prime256v1;
}

}  // namespace pga::token
