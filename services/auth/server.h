#pragma once

// The auth service put together: the one place where its parts are built and joined. A program adds the network
// (main.cc), or links it beside other services over in-process channels.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/token/revocation_set.h"
#include "libs/token/signer.h"
#include "libs/token/verifier.h"
#include "services/auth/config.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace pga::auth {

// What the service needs from its surroundings; nothing is owned, all must outlive the service.
struct AuthDeps {
  metrics::Registry* metrics = nullptr;
  clock::Clock* clock = nullptr;
  // Auth puts its keys into it and checks tokens with it; in one process all services share it.
  token::Verifier* verifier = nullptr;
  // Kept up to date from the database.
  token::RevocationSet* revocations = nullptr;
  rpc::Authenticator* authenticator = nullptr;
};

// Thread-safe. Order of the end: PrepareDrain, then the gRPC server that carries services() drains, then Drain, then
// the destructor.
class AuthServer {
 public:
  // Waits for the database up to startup_timeout, makes or loads the keys, seeds the account `admin` if there are no
  // users. INVALID_ARGUMENT for a bad configuration, FAILED_PRECONDITION when keys do not fit, UNAVAILABLE without
  // database.
  static absl::StatusOr<std::unique_ptr<AuthServer>> Create(const AuthConfig& config, const AuthDeps& deps);
  ~AuthServer();

  // To be registered with a gRPC server; they live as long as this object.
  std::vector<grpc::Service*> services();

  // The key that signs tokens; for service identities inside the process.
  const token::Signer* signer() const;
  // Whether there was anybody who can sign in when it started.
  bool has_people() const;
  // Certificate of the CA that signs collectors' certificates (PEM); servers verify clients by it.
  const std::string& ca_certificate_pem() const;

  // Whether a credential is revoked, asked of the database: rpc::Authenticator::Hooks::check_revocation.
  absl::StatusOr<bool> CheckRevocation(const token::Principal& principal, clock::SteadyTime deadline);

  // Ends the streams of revocations, which would otherwise hold a draining server to its deadline. Repeating is safe.
  void PrepareDrain();

  // Lets running calls finish until the deadline, drops waiting ones, joins the threads. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit AuthServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::auth
