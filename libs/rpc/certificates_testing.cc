#include "libs/rpc/certificates_testing.h"

#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <cstdlib>

#include "libs/rpc/peer_certificate.h"
#include "libs/token/pem.h"

namespace pga::rpc {
namespace {

void Must(bool ok) {
  if (!ok) std::abort();
}

void AddExtension(X509* cert, const X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, const_cast<X509*>(issuer), cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  Must(extension != nullptr && X509_add_ext(cert, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

}  // namespace

TestCa::TestCa(const std::string& name) : key_(token::NewP256Key()) {
  own_ = Sign({.common_name = name, .is_ca = true}, key_.get(), key_.get(), nullptr);
  cert_ = token::ReadCertificate(own_.cert_pem);
}

TestCertificate TestCa::Issue(const Request& request) const {
  const token::KeyPtr key = token::NewP256Key();
  return Sign(request, key.get(), key_.get(), cert_.get());
}

TestCertificate TestCa::Server() const {
  return Issue({.dns = {"localhost"}, .ips = {"127.0.0.1"}});
}

TestCertificate TestCa::Collector(const std::string& collector_id) const {
  return Issue({.uris = {kCollectorUriPrefix + collector_id}});
}

TestCertificate TestCa::Sign(const Request& request, EVP_PKEY* key, EVP_PKEY* issuer_key, const X509* issuer) {
  const token::CertificatePtr cert(X509_new());
  Must(X509_set_version(cert.get(), 2) == 1);
  unsigned char serial[16];
  Must(RAND_bytes(serial, sizeof(serial)) == 1);
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial, sizeof(serial), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert.get()));
  BN_free(number);
  ASN1_TIME_set(X509_getm_notBefore(cert.get()), absl::ToTimeT(request.not_before));
  ASN1_TIME_set(X509_getm_notAfter(cert.get()), absl::ToTimeT(request.not_after));
  X509_NAME* subject = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(request.common_name.c_str()), -1, -1, 0);
  X509_set_issuer_name(cert.get(), issuer == nullptr ? subject : X509_get_subject_name(issuer));
  Must(X509_set_pubkey(cert.get(), key) == 1);
  const X509* signer = issuer == nullptr ? cert.get() : issuer;
  AddExtension(cert.get(), signer, NID_basic_constraints, request.is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  AddExtension(cert.get(), signer, NID_key_usage,
               request.is_ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  if (!request.is_ca) AddExtension(cert.get(), signer, NID_ext_key_usage, "serverAuth,clientAuth");
  std::string names;
  const auto add = [&names](const char* kind, const std::vector<std::string>& values) {
    for (const std::string& value : values) names += (names.empty() ? "" : ",") + std::string(kind) + value;
  };
  add("DNS:", request.dns);
  add("IP:", request.ips);
  add("URI:", request.uris);
  if (!names.empty()) AddExtension(cert.get(), signer, NID_subject_alt_name, names);
  Must(X509_sign(cert.get(), issuer_key, EVP_sha256()) > 0);

  return {token::CertificatePem(cert.get()), token::PrivateKeyPem(key)};
}

}  // namespace pga::rpc
