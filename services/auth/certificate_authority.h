#pragma once

// Our own certificate authority for collectors: a P-256 key that never leaves auth. It signs certificate requests into
// leaf certificates (SPIFFE X509-SVID rules): not a CA, digitalSignature, clientAuth, exactly one URI
// pganalytics://collector/<id>, 90 days. Whatever else a request asks for is ignored.

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::auth {

inline constexpr absl::Duration kCollectorCertificateLifetime = absl::Hours(24 * 90);

struct IssuedCertificate {
  std::string certificate_pem;
  std::string private_key_pem;  // only when the key was made here
  std::string thumbprint;       // SHA-256 of the DER form, lower-case hexadecimal
  absl::Time not_before;
  absl::Time not_after;
};

// Immutable and thread-safe; signing takes well under a millisecond.
class CertificateAuthority {
 public:
  struct Pem {
    std::string certificate;
    std::string private_key;
  };

  // A fresh key with a self-signed certificate of 10 years.
  static absl::StatusOr<Pem> Generate(absl::Time now);

  // INVALID_ARGUMENT unless both fit together and the key is on P-256.
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> Load(const Pem& pem);
  ~CertificateAuthority();

  // Signs a PEM request (at most 16 KiB) whose own signature is good and whose key is EC P-256, P-384 or RSA of 3072
  // bits or more; INVALID_ARGUMENT otherwise. not_before is `now` cut to whole seconds.
  absl::StatusOr<IssuedCertificate> SignRequest(std::string_view csr_pem, std::string_view collector_id,
                                                absl::Time now) const;

  // Makes a P-256 key pair and its certificate, for clients that send no request.
  absl::StatusOr<IssuedCertificate> IssueWithKey(std::string_view collector_id, absl::Time now) const;

  const std::string& certificate_pem() const { return certificate_pem_; }

 private:
  struct Keys;
  CertificateAuthority(std::unique_ptr<Keys> keys, std::string certificate_pem);
  std::unique_ptr<Keys> keys_;
  std::string certificate_pem_;
};

}  // namespace pga::auth
