#pragma once

// What auth keeps, in its own words. Every method is one transaction: it happened wholly or not at all, except that
// UNKNOWN means the connection was lost during COMMIT. Thread-safe; every method blocks until `deadline` at most.
// Instants have microsecond precision.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/token/revocation_set.h"

namespace pga::auth {

struct UserRecord {
  int32_t id = 0;
  std::string username;
  std::string email;
  std::string full_name;
  std::string role;
  std::string password_hash;
  bool is_active = false;
  std::optional<absl::Time> last_login;
  absl::Time created_at;
  absl::Time updated_at;
};

struct NewUser {
  std::string username;
  std::string email;
  std::string full_name;
  std::string role;
  std::string password_hash;
};

// Who did what, for the audit log; written in the same transaction as the deed.
struct AuditEntry {
  std::string actor;  // subject of the caller, or "anonymous"
  int32_t user_id = 0;
  std::string action;  // "login", "user.create", ...
  bool success = true;
  std::string resource_type;
  std::string resource_id;
  std::string changes_json = "{}";
  std::string ip_address;
  std::string request_id;
};

struct LoginAttempt {
  bool allowed = false;
  int failures = 0;  // including this attempt, which counts as a failure until it is a success
  absl::Duration retry_after;
};

struct NewSession {
  std::string id;
  int32_t user_id = 0;
  std::string token_hash;
  absl::Time created_at;
  absl::Time expires_at;
  std::string ip_address;
};

enum class Rotation { kRotated, kReused, kEnded };

struct RotationOutcome {
  Rotation rotation = Rotation::kEnded;
  absl::Time session_end;  // as what follows, only with kRotated
  absl::Time issue_time;   // for the new tokens: not before the last revocation of the user's tokens
  UserRecord user;
};

struct OpenedSession {
  absl::Time issue_time;  // as above
  UserRecord user;
};

struct RegistrationSecretRecord {
  std::string id;
  std::string name;
  std::string description;
  bool active = true;
  std::optional<int32_t> created_by;
  std::optional<std::string> created_by_username;
  absl::Time created_at;
  absl::Time updated_at;
  std::optional<absl::Time> expires_at;
  int32_t total_registrations = 0;
  // The one collector that it registers; empty = that of its first use, or for many.
  std::string collector_id;
  bool for_many = false;
  // Group of the sources that its collectors watch.
  std::string group = "default";
  std::optional<absl::Time> last_used_at;
};

struct SecretUse {
  std::string secret_hash;
  std::string collector_id;
  std::string collector_name;
  std::string ip_address;
  // The collector is registered already and did not ask itself.
  bool replaces = false;
  // Asked before a refusal is written to the audit table; empty = each one is.
  std::function<bool()> record_refusal = {};
};

struct ApiTokenRecord {
  std::string id;
  std::string name;
  std::string role;
  std::vector<std::string> groups;
  bool query_texts = false;
  std::optional<int32_t> created_by;
  std::optional<std::string> created_by_username;
  absl::Time created_at;
  absl::Time expires_at;
  std::optional<absl::Time> last_used_at;
  std::optional<absl::Time> revoked_at;
};

// kOther: the secret is that of another collector. kTaken: it is good, but not made for this collector, which is
// registered.
enum class SecretVerdict { kAccepted, kUnknown, kExpired, kOther, kTaken };

struct SecretUseOutcome {
  SecretVerdict verdict = SecretVerdict::kUnknown;
  std::string secret_id;
  std::string group = "default";
};

struct CollectorCredential {
  std::string kind;        // "token" or "certificate"
  std::string credential;  // token id or certificate thumbprint
  absl::Time issued_at;
  absl::Time expires_at;
};

struct SealedKey {
  std::string certificate_pem;
  std::string sealed_key;
  std::string sealed_with;  // token::SecretBox::Id() of the key
};

// For so long after a revocation a collector's credentials are not renewed: until every service knows of it,
// somebody who holds a revoked one could still get in and exchange it for a good one.
inline constexpr absl::Duration kRenewPause = absl::Seconds(10);

class AuthStore {
 public:
  virtual ~AuthStore() = default;

  virtual absl::Status Ping(clock::SteadyTime deadline) = 0;

  // ---- People ----
  virtual absl::StatusOr<int64_t> CountUsers(clock::SteadyTime deadline) = 0;
  virtual absl::StatusOr<std::optional<UserRecord>> FindUserByName(std::string_view username,
                                                                   clock::SteadyTime deadline) = 0;
  virtual absl::StatusOr<std::optional<UserRecord>> FindUser(int32_t id, clock::SteadyTime deadline) = 0;
  // Users with an id below `below`, highest (newest) first.
  virtual absl::StatusOr<std::vector<UserRecord>> ListUsers(int32_t below, int limit, clock::SteadyTime deadline) = 0;
  // ALREADY_EXISTS for a taken username or e-mail. With `only_if_empty` nothing is made, and nullopt returned, when
  // there are users already.
  virtual absl::StatusOr<std::optional<UserRecord>> CreateUser(const NewUser& user, bool only_if_empty, absl::Time now,
                                                               AuditEntry audit, clock::SteadyTime deadline) = 0;
  // NOT_FOUND. Every access token of the user becomes invalid when something changes; losing activity ends the
  // sessions. Tokens of programs that the user made end with their activity, and those of a role that the user has no
  // more.
  virtual absl::StatusOr<UserRecord> UpdateUser(int32_t id, const std::optional<std::string>& role,
                                                const std::optional<bool>& is_active, absl::Time now, AuditEntry audit,
                                                clock::SteadyTime deadline) = 0;
  // NOT_FOUND. Ends the sessions, and the tokens of programs that the user made.
  virtual absl::Status DeleteUser(int32_t id, absl::Time now, AuditEntry audit, clock::SteadyTime deadline) = 0;
  // NOT_FOUND. Ends all sessions but `keep_session`, forgets failures of sign-in. With `verified_hash` nothing is done,
  // and false returned, when the password is no longer the one that was verified.
  virtual absl::StatusOr<bool> SetPassword(int32_t id, std::string_view account_hash,
                                           const std::optional<std::string>& verified_hash,
                                           std::string_view password_hash, std::string_view keep_session,
                                           absl::Time now, AuditEntry audit, clock::SteadyTime deadline) = 0;

  // ---- Sign-in ----
  // Counts an attempt on an account (known or not) before the password is looked at, so that attempts at the same time
  // are all counted: for its address, and, unless the user (0 = unknown) has signed in from there within the life of
  // sessions, for all such strangers together. Not allowed while either is locked.
  virtual absl::StatusOr<LoginAttempt> BeginAttempt(std::string_view account_hash, int32_t user_id,
                                                    std::string_view address, absl::Time now,
                                                    clock::SteadyTime deadline) = 0;
  // A good password: forgets the failures of the session's address and of strangers, opens the session, notes the time;
  // the user as he is then. `new_password_hash` may be empty. nullopt, with the refusal noted, when the account is not
  // active, or its password no longer the one that was verified.
  virtual absl::StatusOr<std::optional<OpenedSession>> OpenSession(std::string_view account_hash,
                                                                   const NewSession& session,
                                                                   std::string_view verified_hash,
                                                                   std::string_view new_password_hash, AuditEntry audit,
                                                                   clock::SteadyTime deadline) = 0;
  // Exchanges the refresh token's hash. A hash that was exchanged before ends the session.
  virtual absl::StatusOr<RotationOutcome> RotateSession(std::string_view session, std::string_view old_hash,
                                                        std::string_view new_hash, absl::Time now, AuditEntry audit,
                                                        clock::SteadyTime deadline) = 0;
  // Ends a session of the user if it is open.
  virtual absl::Status EndSession(std::string_view session, int32_t user_id, absl::Time now, AuditEntry audit,
                                  clock::SteadyTime deadline) = 0;

  // ---- Registration secrets ----
  // ALREADY_EXISTS for a taken name.
  virtual absl::StatusOr<RegistrationSecretRecord> CreateSecret(const RegistrationSecretRecord& secret,
                                                                std::string_view secret_hash, AuditEntry audit,
                                                                clock::SteadyTime deadline) = 0;
  virtual absl::StatusOr<std::vector<RegistrationSecretRecord>> ListSecrets(clock::SteadyTime deadline) = 0;
  // NOT_FOUND.
  virtual absl::StatusOr<RegistrationSecretRecord> GetSecret(std::string_view id, clock::SteadyTime deadline) = 0;
  // NOT_FOUND, ALREADY_EXISTS.
  virtual absl::StatusOr<RegistrationSecretRecord> UpdateSecret(std::string_view id, std::string_view name,
                                                                std::string_view description,
                                                                const std::optional<bool>& active, absl::Time now,
                                                                AuditEntry audit, clock::SteadyTime deadline) = 0;
  virtual absl::Status DeleteSecret(std::string_view id, AuditEntry audit, clock::SteadyTime deadline) = 0;
  // Looks the secret up and, if it is good, counts its use. `accept_anyway` says that the secret of the settings
  // matched.
  virtual absl::StatusOr<SecretUseOutcome> UseSecret(const SecretUse& use, bool accept_anyway, absl::Time now,
                                                     clock::SteadyTime deadline) = 0;

  // ---- Collectors' credentials ----
  // Notes new credentials; with `revoke_former` every one issued before is revoked in the same transaction, without it
  // ABORTED within kRenewPause of a revocation.
  virtual absl::Status AddCredentials(std::string_view collector_id,
                                      const std::vector<CollectorCredential>& credentials, bool revoke_former,
                                      absl::Time now, AuditEntry audit, clock::SteadyTime deadline) = 0;
  virtual absl::Status RevokeCollector(std::string_view collector_id, absl::Time now, AuditEntry audit,
                                       clock::SteadyTime deadline) = 0;

  // ---- Revocations ----
  // In order of their numbers, from the first after `after`.
  virtual absl::StatusOr<std::vector<token::Revocation>> ListRevocations(int64_t after, int limit,
                                                                         clock::SteadyTime deadline) = 0;
  virtual absl::StatusOr<int64_t> LastRevocation(clock::SteadyTime deadline) = 0;
  virtual absl::StatusOr<bool> IsRevoked(std::string_view subject, std::string_view jti, std::string_view session,
                                         absl::Time issued_at, clock::SteadyTime deadline) = 0;

  // ---- Tokens of programs ----
  // ALREADY_EXISTS for a name in force. PERMISSION_DENIED when the creator is not active any more, or has a lower role.
  virtual absl::Status AddApiToken(const ApiTokenRecord& token, std::string_view token_hash, AuditEntry audit,
                                   clock::SteadyTime deadline) = 0;
  // Newest first; without those that ended before `ended_since`.
  virtual absl::StatusOr<std::vector<ApiTokenRecord>> ListApiTokens(absl::Time ended_since,
                                                                    clock::SteadyTime deadline) = 0;
  // NOT_FOUND for one that is unknown or ended.
  virtual absl::Status RevokeApiToken(std::string_view id, absl::Time now, AuditEntry audit,
                                      clock::SteadyTime deadline) = 0;
  virtual absl::Status NoteTokenUses(const std::vector<std::pair<std::string, absl::Time>>& uses,
                                     clock::SteadyTime deadline) = 0;

  // ---- Keys and upkeep ----
  virtual absl::StatusOr<std::optional<SealedKey>> FindSealedKey(std::string_view name, clock::SteadyTime deadline) = 0;
  // Keeps the first one: returns what is stored afterwards.
  virtual absl::StatusOr<SealedKey> AddSealedKey(std::string_view name, const SealedKey& key, absl::Time now,
                                                 clock::SteadyTime deadline) = 0;
  // A refusal on its own.
  virtual absl::Status Audit(AuditEntry audit, clock::SteadyTime deadline) = 0;
  // Deletes what has expired; the number of rows.
  virtual absl::StatusOr<int64_t> DeleteExpired(absl::Time now, clock::SteadyTime deadline) = 0;
  // Deletes audit rows from before that instant, of the last 30 days none; at most 10,000 of each audit table. Returns
  // how many went.
  // Seals audit rows that are some minutes old; how many. A chain: pgactl audit verify.
  virtual absl::StatusOr<int64_t> SealAudit(clock::SteadyTime deadline) = 0;
  virtual absl::StatusOr<int64_t> PruneAudit(absl::Time before, clock::SteadyTime deadline) = 0;
};

}  // namespace pga::auth
