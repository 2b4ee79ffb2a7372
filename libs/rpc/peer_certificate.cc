#include "libs/rpc/peer_certificate.h"

#include <openssl/sha.h>
#include <openssl/x509v3.h>

#include <array>
#include <memory>

#include "absl/strings/escaping.h"
#include "libs/status/status.h"
#include "libs/token/pem.h"
#include "libs/token/principal.h"

namespace pga::rpc {
namespace {

using NamesPtr = std::unique_ptr<GENERAL_NAMES, token::Deleter<GENERAL_NAMES_free>>;

constexpr size_t kMaxPemBytes = 64 * 1024;

absl::Status Refuse(const char* message) {
  return status::WithReason(absl::UnauthenticatedError(message), "CERTIFICATE_INVALID");
}

absl::StatusOr<absl::Time> ToTime(const ASN1_TIME* time) {
  std::tm tm{};
  if (time == nullptr || ASN1_TIME_to_tm(time, &tm) != 1) return Refuse("client certificate: unreadable validity");
  return absl::FromTM(tm, absl::UTCTimeZone());
}

}  // namespace

absl::StatusOr<PeerCertificate> ReadCollectorCertificate(std::string_view pem, absl::Time now) {
  const token::CertificatePtr cert = pem.size() > kMaxPemBytes ? nullptr : token::ReadCertificate(pem);
  if (cert == nullptr) return Refuse("client certificate: not a certificate");
  if (X509_check_ca(cert.get()) != 0) return Refuse("client certificate: a CA certificate is no identity");

  PeerCertificate result;
  PGA_ASSIGN_OR_RETURN(result.not_before, ToTime(X509_get0_notBefore(cert.get())));
  PGA_ASSIGN_OR_RETURN(result.not_after, ToTime(X509_get0_notAfter(cert.get())));
  // A connection may outlive the certificate it was opened with.
  if (now > result.not_after) return Refuse("client certificate: expired");

  const NamesPtr names(
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
  if (!token::IsCollectorId(result.collector_id)) return Refuse("client certificate: its URI names no collector");

  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  unsigned int size = 0;
  if (X509_digest(cert.get(), EVP_sha256(), digest.data(), &size) != 1 || size != digest.size()) {
    return absl::InternalError("hashing a certificate failed");
  }
  result.thumbprint = absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), size));
  return result;
}

}  // namespace pga::rpc
