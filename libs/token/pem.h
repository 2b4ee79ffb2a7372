// Keys, certificates and certificate requests of OpenSSL, with an owner, and their PEM texts (RFC 7468). Includes
// OpenSSL, so for .cc files. Stateless and thread-safe; OpenSSL's error queue is left empty.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

namespace pga::token {

template <auto free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    free(object);
  }
};
using KeyPtr = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Deleter<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;

// The first object of that kind in the text; null if there is none, if it is longer than 4 MiB, or if it has a
// passphrase: none of ours has, and a server must never ask its terminal for one.
KeyPtr ReadPrivateKey(std::string_view pem);
KeyPtr ReadPublicKey(std::string_view pem);
CertificatePtr ReadCertificate(std::string_view pem);
RequestPtr ReadCertificateRequest(std::string_view pem);

// PKCS#8, SubjectPublicKeyInfo, X.509, PKCS#10; empty if OpenSSL fails.
std::string PrivateKeyPem(const EVP_PKEY* key);
std::string PublicKeyPem(const EVP_PKEY* key);
std::string CertificatePem(const X509* certificate);
std::string CertificateRequestPem(const X509_REQ* request);

// A fresh key on P-256; null if the random source fails.
KeyPtr NewP256Key();
bool IsP256(const EVP_PKEY* key);

}  // namespace pga::token
