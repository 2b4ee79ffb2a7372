#pragma once

// AuthStore on the metadata database, schema pganalytics (migrations in libs/storage/schema/migrations/metadata).

#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "services/auth/auth_store.h"
#include "services/auth/config.h"

namespace pga::auth {

struct RevocationHorizons {
  // How long a revocation has to be remembered: as long as what it revokes could live.
  absl::Duration people = absl::Hours(25);
  absl::Duration collectors = absl::Hours(24 * 91);
};

RevocationHorizons HorizonsOf(const AuthConfig& config);

class PgAuthStore final : public AuthStore {
 public:
  // `pool` outlives the store.
  PgAuthStore(pg::Pool* pool, RevocationHorizons horizons) : pool_(pool), horizons_(horizons) {}

  absl::Status Ping(clock::SteadyTime deadline) override;
  absl::StatusOr<int64_t> CountUsers(clock::SteadyTime deadline) override;
  absl::StatusOr<std::optional<UserRecord>> FindUserByName(std::string_view username,
                                                           clock::SteadyTime deadline) override;
  absl::StatusOr<std::optional<UserRecord>> FindUser(int32_t id, clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<UserRecord>> ListUsers(int32_t below, int limit, clock::SteadyTime deadline) override;
  absl::StatusOr<std::optional<UserRecord>> CreateUser(const NewUser& user, bool only_if_empty, absl::Time now,
                                                       AuditEntry audit, clock::SteadyTime deadline) override;
  absl::StatusOr<UserRecord> UpdateUser(int32_t id, const std::optional<std::string>& role,
                                        const std::optional<bool>& is_active, absl::Time now, AuditEntry audit,
                                        clock::SteadyTime deadline) override;
  absl::Status DeleteUser(int32_t id, absl::Time now, AuditEntry audit, clock::SteadyTime deadline) override;
  absl::StatusOr<bool> SetPassword(int32_t id, std::string_view account_hash,
                                   const std::optional<std::string>& verified_hash, std::string_view password_hash,
                                   std::string_view keep_session, absl::Time now, AuditEntry audit,
                                   clock::SteadyTime deadline) override;
  absl::StatusOr<LoginAttempt> BeginAttempt(std::string_view account_hash, int32_t user_id, std::string_view address,
                                            absl::Time now, clock::SteadyTime deadline) override;
  absl::StatusOr<std::optional<OpenedSession>> OpenSession(std::string_view account_hash, const NewSession& session,
                                                           std::string_view verified_hash,
                                                           std::string_view new_password_hash, AuditEntry audit,
                                                           clock::SteadyTime deadline) override;
  absl::StatusOr<RotationOutcome> RotateSession(std::string_view session, std::string_view old_hash,
                                                std::string_view new_hash, absl::Time now, AuditEntry audit,
                                                clock::SteadyTime deadline) override;
  absl::Status EndSession(std::string_view session, int32_t user_id, absl::Time now, AuditEntry audit,
                          clock::SteadyTime deadline) override;
  absl::StatusOr<RegistrationSecretRecord> CreateSecret(const RegistrationSecretRecord& secret,
                                                        std::string_view secret_hash, AuditEntry audit,
                                                        clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<RegistrationSecretRecord>> ListSecrets(clock::SteadyTime deadline) override;
  absl::StatusOr<RegistrationSecretRecord> GetSecret(std::string_view id, clock::SteadyTime deadline) override;
  absl::StatusOr<RegistrationSecretRecord> UpdateSecret(std::string_view id, std::string_view name,
                                                        std::string_view description, const std::optional<bool>& active,
                                                        absl::Time now, AuditEntry audit,
                                                        clock::SteadyTime deadline) override;
  absl::Status DeleteSecret(std::string_view id, AuditEntry audit, clock::SteadyTime deadline) override;
  absl::StatusOr<SecretUseOutcome> UseSecret(const SecretUse& use, bool accept_anyway, absl::Time now,
                                             clock::SteadyTime deadline) override;
  absl::Status AddCredentials(std::string_view collector_id, const std::vector<CollectorCredential>& credentials,
                              bool revoke_former, absl::Time now, AuditEntry audit,
                              clock::SteadyTime deadline) override;
  absl::Status RevokeCollector(std::string_view collector_id, absl::Time now, AuditEntry audit,
                               clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<token::Revocation>> ListRevocations(int64_t after, int limit,
                                                                 clock::SteadyTime deadline) override;
  absl::StatusOr<int64_t> LastRevocation(clock::SteadyTime deadline) override;
  absl::StatusOr<bool> IsRevoked(std::string_view subject, std::string_view jti, std::string_view session,
                                 absl::Time issued_at, clock::SteadyTime deadline) override;
  absl::Status AddApiToken(const ApiTokenRecord& token, std::string_view token_hash, AuditEntry audit,
                           clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<ApiTokenRecord>> ListApiTokens(absl::Time ended_since,
                                                            clock::SteadyTime deadline) override;
  absl::Status RevokeApiToken(std::string_view id, absl::Time now, AuditEntry audit,
                              clock::SteadyTime deadline) override;
  absl::Status NoteTokenUses(const std::vector<std::pair<std::string, absl::Time>>& uses,
                             clock::SteadyTime deadline) override;
  absl::StatusOr<std::optional<SealedKey>> FindSealedKey(std::string_view name, clock::SteadyTime deadline) override;
  absl::StatusOr<SealedKey> AddSealedKey(std::string_view name, const SealedKey& key, absl::Time now,
                                         clock::SteadyTime deadline) override;
  absl::Status Audit(AuditEntry audit, clock::SteadyTime deadline) override;
  absl::StatusOr<int64_t> DeleteExpired(absl::Time now, clock::SteadyTime deadline) override;
  absl::StatusOr<int64_t> SealAudit(clock::SteadyTime deadline) override;
  absl::StatusOr<int64_t> PruneAudit(absl::Time before, clock::SteadyTime deadline) override;

 private:
  absl::Status EndUserSessions(pg::Transaction& tx, int32_t user_id, std::string_view keep_session,
                               std::string_view reason, absl::Time now);
  // Tokens of programs that the user made and whose role is none of `kept_roles`.
  absl::Status RevokeApiTokensOf(pg::Transaction& tx, int32_t user_id, const std::vector<std::string>& kept_roles,
                                 absl::Time now);
  absl::Status RevokeUserTokens(pg::Transaction& tx, int32_t user_id, absl::Time now);
  absl::Status RevokeFormer(pg::Transaction& tx, std::string_view collector_id, absl::Time now);

  pg::Pool* const pool_;
  const RevocationHorizons horizons_;
};

}  // namespace pga::auth
