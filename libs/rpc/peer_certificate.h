// The identity inside a collector's client certificate (rules of SPIFFE X509-SVID, with our own URI). The chain was
// verified by the TLS handshake; this reads what the certificate says.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::rpc {

// "pganalytics://collector/<id>".
inline constexpr char kCollectorUriPrefix[] = "pganalytics://collector/";

struct PeerCertificate {
  // [A-Za-z0-9_.-]{1,63}
  std::string collector_id;
  // SHA-256 of the certificate, lower-case hexadecimal.
  std::string thumbprint;
  absl::Time not_before;
  absl::Time not_after;
};

// UNAUTHENTICATED unless `pem` is a leaf certificate (not a CA) in its time of validity with exactly one URI among its
// subject alternative names, and that a collector's. Thread-safe, computes only.
absl::StatusOr<PeerCertificate> ReadCollectorCertificate(std::string_view pem, absl::Time now);

}  // namespace pga::rpc
