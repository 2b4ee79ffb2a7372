#pragma once

// The rules of people's accounts: sign-in with lock-out, sessions with rotating refresh tokens, users. No gRPC and no
// SQL: the edge is auth_service, the tables are behind AuthStore. Thread-safe; every method blocks until
// caller.deadline at most.

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/token/principal.h"
#include "libs/token/verifier.h"
#include "services/auth/auth_store.h"
#include "services/auth/password_hasher.h"
#include "services/auth/refusals.h"
#include "services/auth/token_issuer.h"

namespace pga::auth {

// Who calls, as far as rules and audit need it.
struct Caller {
  token::Principal principal;
  std::string ip_address;
  std::string request_id;
  clock::SteadyTime deadline = clock::SteadyTime::InfinitePast();
};

// An entry of the audit log with the caller's part filled in.
AuditEntry AuditOf(const Caller& caller, std::string_view action, std::string_view resource_type,
                   std::string_view resource_id);

struct SignedIn {
  IssuedToken access;
  IssuedToken refresh;
  UserRecord user;
};

struct AccountsOptions {
  // A session ends after this, however often it is refreshed.
  absl::Duration session_lifetime = absl::Hours(24 * 30);
  // Longest wait for a free password hash.
  absl::Duration hash_wait = absl::Seconds(5);
};

class Accounts {
 public:
  // What is passed in outlives the object. `on_revocation` is called after something was revoked, from any thread, and
  // must not block.
  Accounts(AuthStore* store, Refusals* refusals, PasswordHasher* hasher, const TokenIssuer* issuer,
           const token::Verifier* verifier, clock::Clock* clock, metrics::Registry* metrics, AccountsOptions options,
           std::function<void()> on_revocation);

  // UNAUTHENTICATED with one text for unknown users, wrong passwords and inactive accounts, after the same work;
  // RESOURCE_EXHAUSTED (ACCOUNT_LOCKED, retry delay) after kFailuresBeforeLock failures in a row.
  absl::StatusOr<SignedIn> Login(const Caller& caller, const std::string& username, const std::string& password);

  // Exchanges a refresh token. UNAUTHENTICATED: not a refresh token of ours, expired, ended (SESSION_ENDED), or used
  // before (REFRESH_TOKEN_REUSED), which ends the session.
  absl::StatusOr<SignedIn> Refresh(const Caller& caller, const std::string& refresh_token);

  // Ends the session of the refresh token, or else that of the access token. UNAUTHENTICATED when something was
  // presented and names no session; succeeds for a session that ended already, and for nobody at all.
  absl::Status Logout(const Caller& caller, const std::string& refresh_token, const std::string& access_token);

  // INVALID_ARGUMENT, UNAUTHENTICATED for a wrong old password (failures count as those of Login do).
  absl::Status ChangePassword(const Caller& caller, const std::string& old_password, const std::string& new_password);

  absl::StatusOr<UserRecord> CreateUser(const Caller& caller, NewUser user, const std::string& password);
  // Newest first, in pages; `visit` may end the walk with a status.
  absl::Status ListUsers(const Caller& caller, const std::function<absl::Status(const UserRecord&)>& visit);
  // INVALID_ARGUMENT when nothing is to change, PERMISSION_DENIED for the protected account.
  absl::StatusOr<UserRecord> UpdateUser(const Caller& caller, int32_t id, const std::optional<std::string>& role,
                                        const std::optional<bool>& is_active);
  absl::Status DeleteUser(const Caller& caller, int32_t id);
  struct Reset {
    std::string username;
    std::string temporary_password;
  };
  absl::StatusOr<Reset> ResetPassword(const Caller& caller, int32_t id);

 private:
  absl::StatusOr<SignedIn> SignBoth(const UserRecord& user, std::string_view session, std::string_view refresh_id,
                                    absl::Time session_end, absl::Time now) const;
  absl::StatusOr<SignedIn> TryLogin(const Caller& caller, const std::string& username, const std::string& password);
  // Counts the attempt, then compares; a status unless the password is right. `user` may be empty (unknown).
  absl::Status CheckPassword(const Caller& caller, const PasswordHasher::Slot& slot, std::string_view account_hash,
                             const std::optional<UserRecord>& user, const std::string& password, const char* action,
                             const char* message);
  clock::SteadyTime HashDeadline(const Caller& caller) const;

  AuthStore* const store_;
  Refusals* const refusals_;
  PasswordHasher* const hasher_;
  const TokenIssuer* const issuer_;
  const token::Verifier* const verifier_;
  clock::Clock* const clock_;
  const AccountsOptions options_;
  const std::function<void()> on_revocation_;
  metrics::Counter& logins_;
  metrics::Counter& logins_failed_;
  metrics::Counter& logins_locked_;
  metrics::Counter& refresh_reuse_;
};

}  // namespace pga::auth
