// One side's TLS settings, the same for servers and clients. Files are re-read when they change, so that certificates
// are renewed without a restart.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace pga::rpc {

struct TlsOptions {
  bool enabled = false;

  // Own certificate chain and key, PEM files. Servers need them; clients present them when they are set.
  std::string cert_path;
  std::string key_path;
  // CA certificates that verify the other side. Servers: clients' certificates are requested, but not required, and a
  // certificate that does not verify ends the handshake; empty = not requested. Clients: empty = the system's store.
  std::string ca_path;

  // The same as text. Certificate and key come both by path or both as text; a CA as text goes with either.
  std::string cert_pem;
  std::string key_pem;
  std::string ca_pem;

  // Clients only. False accepts any server certificate: for tests and first steps.
  bool verify_server = true;
  // Clients only: the name the server's certificate must have, instead of the host of the address.
  std::string server_name;

  // How often files are looked at.
  absl::Duration reload_interval = absl::Seconds(10);
};

// INVALID_ARGUMENT names what does not go together, is missing or cannot be read as PEM; keys are never quoted.
absl::Status ValidateServerTls(const TlsOptions& tls);
absl::Status ValidateClientTls(const TlsOptions& tls);

}  // namespace pga::rpc
