// Decides who a caller is and whether they may call a method, for every call of every service. Rules stand in the
// protos: the option pganalytics.common.v1.access of the method. A method without the option is refused.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/token/principal.h"
#include "libs/token/revocation_set.h"
#include "libs/token/services.h"
#include "libs/token/uses.h"
#include "libs/token/verifier.h"

namespace pga::rpc {

// What a caller presents. Views into the call.
struct Credentials {
  // Metadata "authorization", whole: "Bearer <token>".
  std::string_view authorization = {};
  // Metadata "x-registration-secret"; only its presence matters here.
  std::string_view registration_secret = {};
  // PEM of the client certificate that the TLS handshake verified.
  std::string_view peer_certificate_pem = {};
};

// Thread-safe. Methods that may wait say so.
class Authenticator {
 public:
  struct Hooks {
    // Asks auth whether a credential is revoked now; used while RevocationSet has no news. May wait until the deadline.
    // A failure means "could not ask".
    std::function<absl::StatusOr<bool>(const token::Principal&, clock::SteadyTime deadline)> check_revocation;
  };

  // Verifier, set and clock must outlive the authenticator.
  Authenticator(const token::Verifier* verifier, const token::RevocationSet* revocations, Hooks hooks = {},
                clock::Clock* clock = clock::Clock::Real());
  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;

  // The verified identity: a token's, else the certificate's, else anonymous when nothing is presented. UNAUTHENTICATED
  // when what is presented does not verify, or when token and certificate name different collectors. Never waits, and
  // does not look at revocation.
  absl::StatusOr<token::Principal> Authenticate(const Credentials& credentials) const;

  // Whether the principal may call the method ("/pkg.Service/Method" or "pkg.Service.Method"). UNAUTHENTICATED when a
  // caller without identity needs one, PERMISSION_DENIED otherwise. Never waits.
  absl::Status Authorize(std::string_view full_method, const token::Principal& principal,
                         bool has_registration_secret = false) const;

  // UNAUTHENTICATED (TOKEN_REVOKED) for a revoked credential. Without fresh news from auth: asks per call when
  // `may_wait`; if that fails, or may not be done, people are refused with UNAVAILABLE and collectors are let in
  // (outages of auth never stop deliveries).
  absl::Status CheckRevoked(const token::Principal& principal, clock::SteadyTime deadline, bool may_wait) const;

  // All of it, in the right order. Where the method is open to anybody, or to a registration secret that is presented,
  // a credential that is no good makes the caller anonymous instead of failing the call.
  absl::StatusOr<token::Principal> Admit(std::string_view full_method, const Credentials& credentials,
                                         clock::SteadyTime deadline, bool may_wait) const;

  // The rule of a method; NOT_FOUND when it has none.
  absl::StatusOr<token::Access> AccessOf(std::string_view full_method) const;

  // The rule of a method whose proto is not ours (Envoy's Authorization). To be set before serving.
  void SetAccess(std::string_view full_method, const token::Access& access);

  // The service of ours whose token `authorization` is; null for anything else. Says whose word on other callers is
  // believed. Services show the same token for minutes, so a good one is remembered until it expires.
  const token::ServiceRow* ServiceOf(std::string_view authorization) const;

  // Which API tokens were let in, for their owners to see.
  token::Uses* token_uses() const { return &token_uses_; }

  // Whether Authenticate costs no public-key operation for this value of "authorization"; for limits that are asked
  // before strangers may cost one.
  bool AuthenticatesCheaply(std::string_view authorization) const;

 private:
  const token::Verifier* const verifier_;
  const token::RevocationSet* const revocations_;
  const Hooks hooks_;
  clock::Clock* const clock_;
  mutable absl::Mutex mutex_;
  // By "pkg.Service.Method"; holds existing methods only, so it cannot grow without bound.
  mutable absl::flat_hash_map<std::string, token::Access> access_ ABSL_GUARDED_BY(mutex_);
  struct ServiceToken {
    const token::ServiceRow* service = nullptr;
    absl::Time expires_at;
  };
  mutable token::Uses token_uses_;
  // Verified service tokens; a handful, emptied when it is more.
  mutable absl::flat_hash_map<std::string, ServiceToken> service_tokens_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::rpc
