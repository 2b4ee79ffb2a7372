#include "libs/rpc/peer_certificate.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <array>
#include <memory>

#include "absl/strings/escaping.h"
#include "libs/status/status.h"

namespace pga::rpc {
namespace {

struct Free {
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
};

constexpr size_t kMaxPemBytes = 64 * 1024;

absl::Status Refuse(const char* message) {
  return status::WithReason(absl::UnauthenticatedError(message), "CERTIFICATE_INVALID");
}

absl::StatusOr<absl::Time> ToTime(const ASN1_TIME* time) {
  std::tm tm{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &tm) != 1) return Refuse("client certificate: unreadable validity");
  return absl::FromTM(tm, absl::UTCTimeZone());
}

bool IsCollectorId(std::string_view id) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  return !id.empty() && id.size() <= 63 && id.find_first_not_of(kAllowed) == std::string_view::npos;
}

}  // namespace

absl::StatusOr<PeerCertificate> ReadCollectorCertificate(std::string_view pem, absl::Time now) {
  if (pem.empty() || pem.size() > kMaxPemBytes) return Refuse("client certificate: not a certificate");
  std::unique_ptr<BIO, Free> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  std::unique_ptr<X509, Free> cert(in == nullptr ? nullptr : PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (cert == nullptr) return Refuse("client certificate: not a certificate");
  if (X509_check_ca(cert.get()) != 0) return Refuse("client certificate: a CA certificate is no identity");

  PeerCertificate result;
  PGA_ASSIGN_OR_RETURN(result.not_before, ToTime(X509_get0_notBefore(cert.get())));
  PGA_ASSIGN_OR_RETURN(result.not_after, ToTime(X509_get0_notAfter(cert.get())));
  // A connection may outlive the certificate it was opened with.
  if (now > result.not_after) return Refuse("client certificate: expired");

  std::unique_ptr<GENERAL_NAMES, Free> names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(cert.get(), NID_subject_alt_name, nullptr, nullptr)));
  int uris = 0;
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI) continue;
    ++uris;
    const ASN1_IA5STRING* text = name->d.uniformResourceIdentifier;
    const std::string_view uri(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                               static_cast<size_t>(ASN1_STRING_length(text)));
    if (uri.starts_with(kCollectorUriPrefix)) {
      result.collector_id = std::string(uri.substr(sizeof(kCollectorUriPrefix) - 1));
    }
  }
  if (uris != 1) return Refuse("client certificate: needs exactly one URI as subject alternative name");
  if (!IsCollectorId(result.collector_id)) return Refuse("client certificate: its URI names no collector");

  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  unsigned int size = 0;
  if (X509_digest(cert.get(), EVP_sha256(), digest.data(), &size) != 1 || size != digest.size()) {
    return absl::InternalError("hashing a certificate failed");
  }
  result.thumbprint = absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), size));
  return result;
}

}  // namespace pga::rpc
