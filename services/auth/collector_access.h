#pragma once

// The rules of how collectors get in: registration secrets and their credentials. No gRPC, no SQL. Thread-safe; every
// method blocks until the caller's deadline at most.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "services/auth/accounts.h"
#include "services/auth/auth_store.h"
#include "services/auth/certificate_authority.h"
#include "services/auth/refusals.h"
#include "services/auth/token_issuer.h"

namespace pga::auth {

struct CollectorCredentials {
  IssuedToken token;
  IssuedCertificate certificate;
  std::string ca_pem;
};

class CollectorAccess {
 public:
  // What is passed in outlives the object. `registration_secret` is that of the settings; empty = none.
  // `on_revocation` is called after something was revoked and must not block.
  CollectorAccess(AuthStore* store, Refusals* refusals, const TokenIssuer* issuer,
                  const CertificateAuthority* authority, clock::Clock* clock, std::string registration_secret,
                  std::function<void()> on_revocation);

  struct CreatedSecret {
    RegistrationSecretRecord record;
    std::string value;  // shown once, kept nowhere
  };
  absl::StatusOr<CreatedSecret> CreateSecret(const Caller& caller, const std::string& name,
                                             const std::string& description, std::optional<absl::Time> expires_at,
                                             const std::string& collector_id, bool for_many, const std::string& group);
  absl::StatusOr<std::vector<RegistrationSecretRecord>> ListSecrets(const Caller& caller);
  absl::StatusOr<RegistrationSecretRecord> GetSecret(const Caller& caller, const std::string& id);
  absl::StatusOr<RegistrationSecretRecord> UpdateSecret(const Caller& caller, const std::string& id,
                                                        const std::string& name, const std::string& description,
                                                        std::optional<bool> active);
  absl::Status DeleteSecret(const Caller& caller, const std::string& id);

  // Whether it is accepted, with the id of the stored secret ("" for that of the settings) and its group.
  // UNAUTHENTICATED for any other, and for that of another collector; ALREADY_EXISTS (COLLECTOR_EXISTS) for a good one
  // that was not made for a collector which it would replace. Uses and refusals are in the audit table.
  absl::StatusOr<SecretUseOutcome> UseSecret(const Caller& caller, const std::string& secret,
                                             const std::string& collector_id, const std::string& collector_name,
                                             const std::string& peer_address, bool replaces);

  // Token and certificate; `csr_pem` empty = the key is made here. INVALID_ARGUMENT for a bad id or request,
  // UNAVAILABLE (RENEWED_TOO_SOON) for a renewal within kRenewPause of a revocation.
  absl::StatusOr<CollectorCredentials> Issue(const Caller& caller, const std::string& collector_id,
                                             const std::string& hostname, const std::string& csr_pem,
                                             bool revoke_former);

  absl::Status Revoke(const Caller& caller, const std::string& collector_id, const std::string& reason);

 private:
  AuthStore* const store_;
  Refusals* const refusals_;
  const TokenIssuer* const issuer_;
  const CertificateAuthority* const authority_;
  clock::Clock* const clock_;
  const std::string registration_secret_;
  const std::function<void()> on_revocation_;
};

}  // namespace pga::auth
