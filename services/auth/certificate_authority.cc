#include "services/auth/certificate_authority.h"

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "libs/token/pem.h"
#include "libs/token/principal.h"

namespace pga::auth {
namespace {

using Extension = std::unique_ptr<X509_EXTENSION, token::Deleter<X509_EXTENSION_free>>;

constexpr size_t kMaxRequestBytes = 16 * 1024;

absl::Status CryptoFailure(std::string_view what) {
  return absl::InternalError(absl::StrCat("certificate authority: ", absl::string_view(what.data(), what.size())));
}

absl::StatusOr<token::KeyPtr> NewKey() {
  token::KeyPtr key = token::NewP256Key();
  if (key == nullptr) return CryptoFailure("making a key");
  return key;
}

absl::StatusOr<std::string> Written(std::string pem) {
  if (pem.empty()) return CryptoFailure("writing PEM");
  return pem;
}

bool SetRandomSerial(X509* certificate) {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return false;
  bytes[0] = static_cast<unsigned char>((bytes[0] & 0x7FU) | 0x40U);  // positive, always of full length
  BIGNUM* number = BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr);
  const bool ok = number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return ok;
}

bool SetName(X509_NAME* name, std::string_view common_name) {
  const auto add = [name](const char* field, std::string_view value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  return add("O", "pgAnalytics") && add("OU", "Collectors") && add("CN", common_name);
}

bool AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1;
}

bool SetTimes(X509* certificate, absl::Time not_before, absl::Time not_after) {
  return ASN1_TIME_set(X509_getm_notBefore(certificate), absl::ToTimeT(not_before)) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), absl::ToTimeT(not_after)) != nullptr;
}

std::string Thumbprint(X509* certificate) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  unsigned int size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest.data(), &size) != 1) return {};
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), size});
}

bool IsStrongKey(EVP_PKEY* key) {
  if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA) {
    const int bits = EVP_PKEY_get_bits(key);
    return bits >= 3072 && bits <= 8192;
  }
  std::array<char, 64> group{};
  size_t length = 0;
  if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key, group.data(), group.size(), &length) != 1) {
    return false;
  }
  const std::string_view name(group.data(), length);
  return name == "prime256v1" || name == "secp384r1";
}

}  // namespace

struct CertificateAuthority::Keys {
  token::KeyPtr key;
  token::CertificatePtr certificate;

  absl::StatusOr<IssuedCertificate> Issue(EVP_PKEY* subject_key, std::string_view collector_id, absl::Time now) const {
    const token::CertificatePtr leaf(X509_new());
    IssuedCertificate issued;
    issued.not_before = absl::FromUnixSeconds(absl::ToUnixSeconds(now));
    issued.not_after = issued.not_before + kCollectorCertificateLifetime;
    const std::string uri = absl::StrCat("URI:pganalytics://collector/", std::string(collector_id));
    if (leaf == nullptr || X509_set_version(leaf.get(), X509_VERSION_3) != 1 || !SetRandomSerial(leaf.get()) ||
        !SetName(X509_get_subject_name(leaf.get()), collector_id) ||
        X509_set_issuer_name(leaf.get(), X509_get_subject_name(certificate.get())) != 1 ||
        !SetTimes(leaf.get(), issued.not_before, issued.not_after) || X509_set_pubkey(leaf.get(), subject_key) != 1 ||
        !AddExtension(leaf.get(), certificate.get(), NID_basic_constraints, "critical,CA:FALSE") ||
        !AddExtension(leaf.get(), certificate.get(), NID_key_usage, "critical,digitalSignature") ||
        !AddExtension(leaf.get(), certificate.get(), NID_ext_key_usage, "clientAuth") ||
        !AddExtension(leaf.get(), certificate.get(), NID_subject_key_identifier, "hash") ||
        !AddExtension(leaf.get(), certificate.get(), NID_authority_key_identifier, "keyid") ||
        !AddExtension(leaf.get(), certificate.get(), NID_subject_alt_name, uri) ||
        X509_sign(leaf.get(), key.get(), EVP_sha256()) == 0) {
      return CryptoFailure("signing a certificate");
    }
    PGA_ASSIGN_OR_RETURN(issued.certificate_pem, Written(token::CertificatePem(leaf.get())));
    issued.thumbprint = Thumbprint(leaf.get());
    if (issued.thumbprint.empty()) return CryptoFailure("hashing a certificate");
    return issued;
  }
};

absl::StatusOr<CertificateAuthority::Pem> CertificateAuthority::Generate(absl::Time now) {
  PGA_ASSIGN_OR_RETURN(const token::KeyPtr key, NewKey());
  const token::CertificatePtr root(X509_new());
  // A day before: a certificate made on one host is used at once by others whose clocks differ.
  if (root == nullptr || X509_set_version(root.get(), X509_VERSION_3) != 1 || !SetRandomSerial(root.get()) ||
      !SetName(X509_get_subject_name(root.get()), "pgAnalytics collector CA") ||
      X509_set_issuer_name(root.get(), X509_get_subject_name(root.get())) != 1 ||
      !SetTimes(root.get(), now - absl::Hours(24), now + absl::Hours(24 * 3650)) ||
      X509_set_pubkey(root.get(), key.get()) != 1 ||
      !AddExtension(root.get(), root.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
      !AddExtension(root.get(), root.get(), NID_key_usage, "critical,keyCertSign,cRLSign") ||
      !AddExtension(root.get(), root.get(), NID_subject_key_identifier, "hash") ||
      X509_sign(root.get(), key.get(), EVP_sha256()) == 0) {
    return CryptoFailure("signing the root certificate");
  }
  Pem pem;
  PGA_ASSIGN_OR_RETURN(pem.certificate, Written(token::CertificatePem(root.get())));
  PGA_ASSIGN_OR_RETURN(pem.private_key, Written(token::PrivateKeyPem(key.get())));
  return pem;
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> CertificateAuthority::Load(const Pem& pem) {
  auto keys = std::make_unique<Keys>();
  keys->key = token::ReadPrivateKey(pem.private_key);
  keys->certificate = token::ReadCertificate(pem.certificate);
  if (keys->key == nullptr || keys->certificate == nullptr) {
    return absl::InvalidArgumentError("the CA's key or certificate is not readable PEM");
  }
  if (!token::IsP256(keys->key.get())) return absl::InvalidArgumentError("the CA's key is not on curve P-256");
  if (X509_check_private_key(keys->certificate.get(), keys->key.get()) != 1) {
    return absl::InvalidArgumentError("the CA's key and certificate do not belong together");
  }
  return std::unique_ptr<CertificateAuthority>(new CertificateAuthority(std::move(keys), pem.certificate));
}

CertificateAuthority::CertificateAuthority(std::unique_ptr<Keys> keys, std::string certificate_pem)
    : keys_(std::move(keys)), certificate_pem_(std::move(certificate_pem)) {}

CertificateAuthority::~CertificateAuthority() = default;

absl::StatusOr<IssuedCertificate> CertificateAuthority::SignRequest(std::string_view csr_pem,
                                                                    std::string_view collector_id,
                                                                    absl::Time now) const {
  if (!token::IsCollectorId(collector_id)) return absl::InvalidArgumentError("collector_id is not valid");
  if (csr_pem.size() > kMaxRequestBytes) return absl::InvalidArgumentError("csr_pem is larger than 16 KiB");
  const token::RequestPtr request = token::ReadCertificateRequest(csr_pem);
  if (request == nullptr) return absl::InvalidArgumentError("csr_pem is not a PEM certificate request");
  EVP_PKEY* key = X509_REQ_get0_pubkey(request.get());
  if (key == nullptr || !IsStrongKey(key)) {
    return absl::InvalidArgumentError("csr_pem must hold a key on P-256 or P-384, or RSA of 3072 bits or more");
  }
  if (X509_REQ_verify(request.get(), key) != 1) {
    return absl::InvalidArgumentError("csr_pem is not signed by its own key");
  }
  return keys_->Issue(key, collector_id, now);
}

absl::StatusOr<IssuedCertificate> CertificateAuthority::IssueWithKey(std::string_view collector_id,
                                                                     absl::Time now) const {
  if (!token::IsCollectorId(collector_id)) return absl::InvalidArgumentError("collector_id is not valid");
  PGA_ASSIGN_OR_RETURN(const token::KeyPtr key, NewKey());
  PGA_ASSIGN_OR_RETURN(IssuedCertificate issued, keys_->Issue(key.get(), collector_id, now));
  PGA_ASSIGN_OR_RETURN(issued.private_key_pem, Written(token::PrivateKeyPem(key.get())));
  return issued;
}

}  // namespace pga::auth
