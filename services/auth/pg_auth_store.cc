#include "services/auth/pg_auth_store.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"
#include "libs/token/principal.h"
#include "services/auth/certificate_authority.h"
#include "services/auth/rules.h"

namespace pga::auth {
namespace {

// pganalytics.at and pganalytics.micros turn microseconds since 1970 into timestamptz and back.
constexpr char kUserColumns[] =
    "id, username, email, full_name, role, password_hash, is_active, pganalytics.micros(last_login), "
    "pganalytics.micros(created_at), pganalytics.micros(updated_at)";

constexpr char kInsertAudit[] =
    "INSERT INTO pganalytics.audit_log (user_id, actor, action, outcome, resource_type, resource_id, changes, "
    "ip_address, request_id) VALUES (NULLIF($1::int4, 0), $2, $3, $4, $5, $6, $7::jsonb, $8, $9)";

constexpr char kBeginAttempt[] =
    "INSERT INTO pganalytics.login_failures AS f (account, address, failures, last_failure) "
    "VALUES ($1, $4, 1, pganalytics.at($2)) "
    "ON CONFLICT (account, address) DO UPDATE SET "
    "failures = CASE WHEN f.last_failure < pganalytics.at($3) THEN 1 ELSE f.failures + 1 END, "
    "last_failure = pganalytics.at($2) "
    "WHERE f.locked_until IS NULL OR f.locked_until <= pganalytics.at($2) "
    "RETURNING failures";
constexpr char kLockAccount[] =
    "UPDATE pganalytics.login_failures SET locked_until = pganalytics.at($2) WHERE account = $1 AND address = $3";
constexpr char kReadLock[] =
    "SELECT failures, pganalytics.micros(locked_until) FROM pganalytics.login_failures "
    "WHERE account = $1 AND address = $2";
constexpr char kSignedInFrom[] =
    "SELECT EXISTS (SELECT FROM pganalytics.sessions WHERE user_id = $1 AND ip_address = $2)";

// Every statement that adds revocations updates the counter's row and so waits for those before it.
constexpr char kEndUserSessions[] =
    "WITH ended AS (UPDATE pganalytics.sessions SET revoked_at = pganalytics.at($3), revoke_reason = $4 "
    "WHERE user_id = $1 AND id <> $2 AND revoked_at IS NULL AND expires_at > pganalytics.at($3) RETURNING id), "
    "n AS (UPDATE pganalytics.revocation_counter SET last_number = last_number + (SELECT count(*) FROM ended) "
    "RETURNING last_number) "
    "INSERT INTO pganalytics.revocations (number, jti, created_at, expires_at) "
    "SELECT n.last_number - row_number() OVER () + 1, ended.id, pganalytics.at($3), pganalytics.at($5) FROM ended, n";
constexpr char kEndSession[] =
    "WITH ended AS (UPDATE pganalytics.sessions SET revoked_at = pganalytics.at($2), revoke_reason = $3 "
    "WHERE id = $1 AND revoked_at IS NULL AND expires_at > pganalytics.at($2) RETURNING id), "
    "n AS (UPDATE pganalytics.revocation_counter SET last_number = last_number + (SELECT count(*) FROM ended) "
    "RETURNING last_number) "
    "INSERT INTO pganalytics.revocations (number, jti, created_at, expires_at) "
    "SELECT n.last_number, ended.id, pganalytics.at($2), pganalytics.at($4) FROM ended, n";
// Tokens bear the time their session was last used at, which another replica's clock, or a call that overtook this one,
// may have put after `now`: under the user's lock it is known.
constexpr char kRevokeUser[] =
    "WITH n AS (UPDATE pganalytics.revocation_counter SET last_number = last_number + 1 RETURNING last_number) "
    "INSERT INTO pganalytics.revocations (number, subject, issued_before, created_at, expires_at) "
    "SELECT last_number, $1, GREATEST(pganalytics.at($2), (SELECT max(last_used_at) + interval '1 microsecond' "
    "FROM pganalytics.sessions WHERE user_id = $4)), pganalytics.at($2), pganalytics.at($3) FROM n";
// A token of this time is not hit by what was revoked before, whatever the clock of the revocation was.
constexpr char kIssueTime[] =
    "SELECT pganalytics.micros(greatest(pganalytics.at($2), max(issued_before))) FROM pganalytics.revocations "
    "WHERE subject = $1";
constexpr char kRevokeSubject[] =
    "WITH n AS (UPDATE pganalytics.revocation_counter SET last_number = last_number + 1 RETURNING last_number) "
    "INSERT INTO pganalytics.revocations (number, subject, issued_before, created_at, expires_at) "
    "SELECT last_number, $1, pganalytics.at($2), pganalytics.at($2), pganalytics.at($3) FROM n";
// Certificates by thumbprint, because they say their time in whole seconds only; tokens by id where their time is not
// before the revocation's (clocks of two replicas may differ).
constexpr char kRevokeCredentials[] =
    "WITH ended AS (UPDATE pganalytics.collector_credentials SET revoked = true "
    "WHERE collector_id = $1 AND NOT revoked AND expires_at > pganalytics.at($2) "
    "RETURNING credential, kind, issued_at), "
    "listed AS (SELECT credential FROM ended WHERE kind = 'certificate' OR issued_at >= pganalytics.at($2)), "
    "n AS (UPDATE pganalytics.revocation_counter SET last_number = last_number + (SELECT count(*) FROM listed) "
    "RETURNING last_number) "
    "INSERT INTO pganalytics.revocations (number, jti, created_at, expires_at) "
    "SELECT n.last_number - row_number() OVER () + 1, listed.credential, pganalytics.at($2), pganalytics.at($3) "
    "FROM listed, n";
// What happens to one collector's credentials happens one after the other. Taken in a statement of its own: the next
// ones then see what the former transaction has added.
constexpr char kLockCollector[] = "SELECT pg_advisory_xact_lock(hashtextextended('pganalytics collector ' || $1, 0))";
constexpr char kRevokedSince[] =
    "SELECT EXISTS (SELECT FROM pganalytics.revocations WHERE subject <> '' AND subject = $1 "
    "AND issued_before > pganalytics.at($2))";

constexpr char kSecretColumns[] =
    "s.id, s.name, s.description, s.active, s.created_by, u.username, pganalytics.micros(s.created_at), "
    "pganalytics.micros(s.updated_at), pganalytics.micros(s.expires_at), s.total_registrations, "
    "pganalytics.micros(s.last_used_at), s.collector_id, s.for_many, s.source_group";
constexpr char kSecretFrom[] =
    " FROM pganalytics.registration_secrets s LEFT JOIN pganalytics.users u ON u.id = s.created_by ";

int64_t Micros(absl::Time time) {
  return absl::ToUnixMicros(time);
}

pg::Param OptMicros(const std::optional<absl::Time>& time) {
  return time.has_value() ? pg::Param(Micros(*time)) : pg::Param();
}

UserRecord ReadUser(const pg::Row& row) {
  UserRecord user;
  user.id = row.Int32(0);
  user.username = std::string(row.Text(1));
  user.email = std::string(row.Text(2));
  user.full_name = std::string(row.Text(3));
  user.role = std::string(row.Text(4));
  user.password_hash = std::string(row.Text(5));
  user.is_active = row.Bool(6);
  user.last_login = row.OptMicros(7);
  user.created_at = absl::FromUnixMicros(row.Int64(8));
  user.updated_at = absl::FromUnixMicros(row.Int64(9));
  return user;
}

RegistrationSecretRecord ReadSecret(const pg::Row& row) {
  RegistrationSecretRecord secret;
  secret.id = std::string(row.Text(0));
  secret.name = std::string(row.Text(1));
  secret.description = std::string(row.Text(2));
  secret.active = row.Bool(3);
  if (!row.IsNull(4)) secret.created_by = row.Int32(4);
  secret.created_by_username = row.OptText(5);
  secret.created_at = absl::FromUnixMicros(row.Int64(6));
  secret.updated_at = absl::FromUnixMicros(row.Int64(7));
  secret.expires_at = row.OptMicros(8);
  secret.total_registrations = row.Int32(9);
  secret.last_used_at = row.OptMicros(10);
  secret.collector_id = std::string(row.Text(11));
  secret.for_many = row.Bool(12);
  secret.group = std::string(row.Text(13));
  return secret;
}

constexpr char kTokenInForce[] = "revoked_at IS NULL AND expires_at > pganalytics.at($2)";
// Microseconds that a revocation outlives its token; clocks may differ.
constexpr int64_t kRevokedTokenMargin = int64_t{3600} * 1'000'000;

// Roles that somebody with the user's rights may hand on.
std::vector<std::string> RolesOf(const UserRecord& user) {
  std::vector<std::string> roles;
  for (const token::Role role : {token::Role::kViewer, token::Role::kUser, token::Role::kAdmin}) {
    if (user.is_active && role <= token::ParseRole(user.role)) roles.emplace_back(token::RoleName(role));
  }
  return roles;
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (hyphen ? c != '-' : !hex) return false;
  }
  return true;
}

absl::Status UserNotFound() {
  return absl::NotFoundError("User not found");
}
absl::Status SecretNotFound() {
  return absl::NotFoundError("Registration secret not found");
}

absl::Status WriteAudit(pg::Transaction& tx, const AuditEntry& entry) {
  return tx
      .Exec(kInsertAudit,
            {entry.user_id, entry.actor, entry.action, entry.success ? "success" : "refused", entry.resource_type,
             entry.resource_id, entry.changes_json, entry.ip_address, entry.request_id})
      .status();
}

// Needs a lock on the user's row.
absl::StatusOr<absl::Time> IssueTime(pg::Transaction& tx, int32_t user_id, absl::Time now) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, tx.Exec(kIssueTime, {token::UserSubject(user_id), Micros(now)}));
  return absl::FromUnixMicros(result[0].Int64(0));
}

absl::StatusOr<UserRecord> LockUser(pg::Transaction& tx, int32_t id) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      tx.Exec(absl::StrCat("SELECT ", kUserColumns, " FROM pganalytics.users WHERE id = $1 FOR UPDATE"), {id}));
  if (result.empty()) return UserNotFound();
  return ReadUser(result[0]);
}

}  // namespace

RevocationHorizons HorizonsOf(const AuthConfig& config) {
  RevocationHorizons horizons;
  horizons.people = std::max(config.access_lifetime, config.refresh_lifetime) + absl::Hours(1);
  horizons.collectors = std::max(kCollectorCertificateLifetime, config.collector_lifetime) + absl::Hours(24);
  return horizons;
}

absl::Status PgAuthStore::Ping(clock::SteadyTime deadline) {
  return pool_->Ping(deadline);
}

absl::StatusOr<int64_t> PgAuthStore::CountUsers(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, pool_->Exec("SELECT count(*) FROM pganalytics.users", {}, deadline));
  return result[0].Int64(0);
}

absl::StatusOr<std::optional<UserRecord>> PgAuthStore::FindUserByName(std::string_view username,
                                                                      clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result,
                       pool_->Exec(absl::StrCat("SELECT ", kUserColumns,
                                                " FROM pganalytics.users WHERE lower(username COLLATE \"C\") = $1"),
                                   {NormalName(username)}, deadline));
  if (result.empty()) return std::optional<UserRecord>();
  return std::optional<UserRecord>(ReadUser(result[0]));
}

absl::StatusOr<std::optional<UserRecord>> PgAuthStore::FindUser(int32_t id, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec(absl::StrCat("SELECT ", kUserColumns, " FROM pganalytics.users WHERE id = $1"), {id}, deadline));
  if (result.empty()) return std::optional<UserRecord>();
  return std::optional<UserRecord>(ReadUser(result[0]));
}

absl::StatusOr<std::vector<UserRecord>> PgAuthStore::ListUsers(int32_t below, int limit, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result,
                       pool_->Exec(absl::StrCat("SELECT ", kUserColumns,
                                                " FROM pganalytics.users WHERE id < $1 ORDER BY id DESC LIMIT $2"),
                                   {below, limit}, deadline));
  std::vector<UserRecord> users;
  users.reserve(result.rows());
  for (const pg::Row row : result) users.push_back(ReadUser(row));
  return users;
}

absl::StatusOr<std::optional<UserRecord>> PgAuthStore::CreateUser(const NewUser& user, bool only_if_empty,
                                                                  absl::Time now, AuditEntry audit,
                                                                  clock::SteadyTime deadline) {
  std::optional<UserRecord> created;
  const absl::Status status = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    created.reset();
    if (only_if_empty) {
      // Two replicas that start at the same time seed one account.
      PGA_RETURN_IF_ERROR(tx.Exec("LOCK TABLE pganalytics.users IN SHARE ROW EXCLUSIVE MODE"));
      PGA_ASSIGN_OR_RETURN(const pg::Result any, tx.Exec("SELECT 1 FROM pganalytics.users LIMIT 1"));
      if (!any.empty()) return absl::OkStatus();
    }
    PGA_ASSIGN_OR_RETURN(
        const pg::Result result,
        tx.Exec(absl::StrCat("INSERT INTO pganalytics.users (username, email, full_name, role, password_hash, "
                             "created_at, updated_at) VALUES ($1, $2, $3, $4, $5, pganalytics.at($6), "
                             "pganalytics.at($6)) RETURNING ",
                             kUserColumns),
                {user.username, user.email, user.full_name, user.role, user.password_hash, Micros(now)}));
    created = ReadUser(result[0]);
    audit.resource_id = absl::StrCat(created->id);
    return WriteAudit(tx, audit);
  });
  // As the API has it: a name that is taken is a wrong request (400), not a conflict.
  if (absl::IsAlreadyExists(status)) {
    return status::WithReason(absl::InvalidArgumentError("Username or email already exists"), "USER_EXISTS");
  }
  PGA_RETURN_IF_ERROR(status);
  return created;
}

absl::Status PgAuthStore::EndUserSessions(pg::Transaction& tx, int32_t user_id, std::string_view keep_session,
                                          std::string_view reason, absl::Time now) {
  return tx.Exec(kEndUserSessions, {user_id, keep_session, Micros(now), reason, Micros(now + horizons_.people)})
      .status();
}

absl::Status PgAuthStore::RevokeUserTokens(pg::Transaction& tx, int32_t user_id, absl::Time now) {
  return tx.Exec(kRevokeUser, {token::UserSubject(user_id), Micros(now), Micros(now + horizons_.people), user_id})
      .status();
}

absl::StatusOr<UserRecord> PgAuthStore::UpdateUser(int32_t id, const std::optional<std::string>& role,
                                                   const std::optional<bool>& is_active, absl::Time now,
                                                   AuditEntry audit, clock::SteadyTime deadline) {
  UserRecord updated;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const UserRecord before, LockUser(tx, id));
    PGA_ASSIGN_OR_RETURN(
        const pg::Result result,
        tx.Exec(absl::StrCat("UPDATE pganalytics.users SET role = COALESCE($2, role), is_active = COALESCE($3::bool, "
                             "is_active), updated_at = pganalytics.at($4) WHERE id = $1 RETURNING ",
                             kUserColumns),
                {id, role, is_active, Micros(now)}));
    updated = ReadUser(result[0]);
    // Sessions before the counter of revocations, as everywhere.
    if (!updated.is_active && before.is_active) {
      PGA_RETURN_IF_ERROR(EndUserSessions(tx, id, "", "deactivated", now));
    }
    if (updated.role != before.role || updated.is_active != before.is_active) {
      PGA_RETURN_IF_ERROR(RevokeUserTokens(tx, id, now));
      PGA_RETURN_IF_ERROR(RevokeApiTokensOf(tx, id, RolesOf(updated), now));
    }
    return WriteAudit(tx, audit);
  });
  PGA_RETURN_IF_ERROR(done);
  return updated;
}

absl::Status PgAuthStore::DeleteUser(int32_t id, absl::Time now, AuditEntry audit, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_RETURN_IF_ERROR(LockUser(tx, id));
    PGA_RETURN_IF_ERROR(EndUserSessions(tx, id, "", "deleted", now));
    PGA_RETURN_IF_ERROR(RevokeUserTokens(tx, id, now));
    PGA_RETURN_IF_ERROR(RevokeApiTokensOf(tx, id, {}, now));
    PGA_RETURN_IF_ERROR(tx.Exec("DELETE FROM pganalytics.users WHERE id = $1", {id}));
    return WriteAudit(tx, audit);
  });
}

absl::StatusOr<bool> PgAuthStore::SetPassword(int32_t id, std::string_view account_hash,
                                              const std::optional<std::string>& verified_hash,
                                              std::string_view password_hash, std::string_view keep_session,
                                              absl::Time now, AuditEntry audit, clock::SteadyTime deadline) {
  bool set = false;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const UserRecord before, LockUser(tx, id));
    set = !verified_hash.has_value() || *verified_hash == before.password_hash;
    if (!set) {
      audit.success = false;
      return WriteAudit(tx, audit);
    }
    PGA_RETURN_IF_ERROR(
        tx.Exec("UPDATE pganalytics.users SET password_hash = $2, updated_at = pganalytics.at($3) WHERE id = $1",
                {id, password_hash, Micros(now)}));
    PGA_RETURN_IF_ERROR(
        tx.Exec("DELETE FROM pganalytics.login_failures WHERE account = $1", {pg::Bytes{std::string(account_hash)}}));
    PGA_RETURN_IF_ERROR(EndUserSessions(tx, id, keep_session, "password changed", now));
    return WriteAudit(tx, audit);
  });
  PGA_RETURN_IF_ERROR(done);
  return set;
}

absl::StatusOr<LoginAttempt> PgAuthStore::BeginAttempt(std::string_view account_hash, int32_t user_id,
                                                       std::string_view address, absl::Time now,
                                                       clock::SteadyTime deadline) {
  LoginAttempt attempt;
  const pg::Bytes account{std::string(account_hash)};
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    attempt = LoginAttempt();
    PGA_ASSIGN_OR_RETURN(const pg::Result known, tx.Exec(kSignedInFrom, {user_id, address}));
    struct Counter {
      std::string address;
      int free_failures;
    };
    std::vector<Counter> counters = {{std::string(address), kFailuresBeforeLock}};
    if (!known[0].Bool(0)) counters.push_back({"", kFailuresOfStrangersBeforeLock});
    attempt.allowed = true;
    for (const Counter& counter : counters) {
      PGA_ASSIGN_OR_RETURN(
          const pg::Result counted,
          tx.Exec(kBeginAttempt, {account, Micros(now), Micros(now - kFailureMemory), counter.address}));
      if (counted.empty()) {
        PGA_ASSIGN_OR_RETURN(const pg::Result locked, tx.Exec(kReadLock, {account, counter.address}));
        if (locked.empty()) return absl::AbortedError("the account was unlocked meanwhile; try again");
        attempt.allowed = false;
        attempt.failures = locked[0].Int32(0);
        attempt.retry_after = absl::FromUnixMicros(locked[0].Int64(1)) - now;
        return absl::OkStatus();
      }
      attempt.failures = std::max(attempt.failures, counted[0].Int32(0));
      const absl::Duration lock = LockAfter(counted[0].Int32(0) - counter.free_failures + kFailuresBeforeLock);
      if (lock > absl::ZeroDuration()) {
        PGA_RETURN_IF_ERROR(tx.Exec(kLockAccount, {account, Micros(now + lock), counter.address}));
      }
    }
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  return attempt;
}

absl::StatusOr<std::optional<OpenedSession>> PgAuthStore::OpenSession(std::string_view account_hash,
                                                                      const NewSession& session,
                                                                      std::string_view verified_hash,
                                                                      std::string_view new_password_hash,
                                                                      AuditEntry audit, clock::SteadyTime deadline) {
  std::optional<OpenedSession> opened;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    // Asked again under a lock: while the password was hashed the account may have been deactivated, or given another
    // password or role.
    PGA_ASSIGN_OR_RETURN(
        const pg::Result user,
        tx.Exec(absl::StrCat("UPDATE pganalytics.users SET last_login = pganalytics.at($2), password_hash = "
                             "COALESCE(NULLIF($3, ''), password_hash) "
                             "WHERE id = $1 AND is_active AND password_hash = $4 RETURNING ",
                             kUserColumns),
                {session.user_id, Micros(session.created_at), new_password_hash, verified_hash}));
    if (user.empty()) {
      audit.success = false;
      return WriteAudit(tx, audit);
    }
    PGA_ASSIGN_OR_RETURN(const absl::Time issue_time, IssueTime(tx, session.user_id, session.created_at));
    opened = OpenedSession{.issue_time = issue_time, .user = ReadUser(user[0])};
    PGA_RETURN_IF_ERROR(tx.Exec("DELETE FROM pganalytics.login_failures WHERE account = $1 AND address IN ('', $2)",
                                {pg::Bytes{std::string(account_hash)}, session.ip_address}));
    PGA_RETURN_IF_ERROR(
        tx.Exec("INSERT INTO pganalytics.sessions (id, user_id, token_hash, created_at, last_used_at, expires_at, "
                "ip_address) VALUES ($1, $2, $3, pganalytics.at($4), pganalytics.at($5), pganalytics.at($6), $7)",
                {session.id, session.user_id, pg::Bytes{session.token_hash}, Micros(session.created_at),
                 Micros(issue_time), Micros(session.expires_at), session.ip_address}));
    return WriteAudit(tx, audit);
  });
  PGA_RETURN_IF_ERROR(done);
  return opened;
}

absl::StatusOr<RotationOutcome> PgAuthStore::RotateSession(std::string_view session, std::string_view old_hash,
                                                           std::string_view new_hash, absl::Time now, AuditEntry audit,
                                                           clock::SteadyTime deadline) {
  RotationOutcome outcome;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    outcome = RotationOutcome();
    // The user before the session, as everywhere: a new role waits, and then sees when the session was last used.
    PGA_ASSIGN_OR_RETURN(const pg::Result user,
                         tx.Exec(absl::StrCat("SELECT ", kUserColumns,
                                              " FROM pganalytics.users WHERE id = (SELECT s.user_id FROM "
                                              "pganalytics.sessions s WHERE s.id = $1) FOR SHARE"),
                                 {session}));
    if (user.empty()) return absl::OkStatus();
    PGA_ASSIGN_OR_RETURN(
        const pg::Result found,
        tx.Exec("SELECT user_id, token_hash = $2, revoked_at IS NOT NULL, expires_at <= pganalytics.at($3), "
                "pganalytics.micros(expires_at) FROM pganalytics.sessions WHERE id = $1 FOR UPDATE",
                {session, pg::Bytes{std::string(old_hash)}, Micros(now)}));
    if (found.empty() || found[0].Bool(2) || found[0].Bool(3)) return absl::OkStatus();
    const int32_t user_id = found[0].Int32(0);
    audit.user_id = user_id;
    audit.actor = token::UserSubject(user_id);
    if (!found[0].Bool(1)) {
      outcome.rotation = Rotation::kReused;
      PGA_RETURN_IF_ERROR(
          tx.Exec(kEndSession, {session, Micros(now), "refresh token used twice", Micros(now + horizons_.people)}));
      audit.success = false;
      audit.action = "refresh.reuse";
      return WriteAudit(tx, audit);
    }
    outcome.user = ReadUser(user[0]);
    if (!outcome.user.is_active) return absl::OkStatus();
    PGA_ASSIGN_OR_RETURN(outcome.issue_time, IssueTime(tx, user_id, now));
    // Never back: a token issued under a clock ahead of this one still has to be covered.
    PGA_RETURN_IF_ERROR(
        tx.Exec("UPDATE pganalytics.sessions SET token_hash = $2, generation = generation + 1, "
                "last_used_at = greatest(last_used_at, pganalytics.at($3)) WHERE id = $1",
                {session, pg::Bytes{std::string(new_hash)}, Micros(outcome.issue_time)}));
    outcome.rotation = Rotation::kRotated;
    outcome.session_end = absl::FromUnixMicros(found[0].Int64(4));
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  return outcome;
}

absl::Status PgAuthStore::EndSession(std::string_view session, int32_t user_id, absl::Time now, AuditEntry audit,
                                     clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result owned,
        tx.Exec("SELECT 1 FROM pganalytics.sessions WHERE id = $1 AND user_id = $2 FOR UPDATE", {session, user_id}));
    if (owned.empty()) return absl::OkStatus();
    PGA_RETURN_IF_ERROR(tx.Exec(kEndSession, {session, Micros(now), "logout", Micros(now + horizons_.people)}));
    return WriteAudit(tx, audit);
  });
}

absl::StatusOr<RegistrationSecretRecord> PgAuthStore::CreateSecret(const RegistrationSecretRecord& secret,
                                                                   std::string_view secret_hash, AuditEntry audit,
                                                                   clock::SteadyTime deadline) {
  RegistrationSecretRecord created = secret;
  const absl::Status status = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result result,
        tx.Exec(
            "INSERT INTO pganalytics.registration_secrets (name, secret_hash, description, created_by, created_at, "
            "updated_at, expires_at, collector_id, collector_named, for_many, source_group) VALUES ($1, $2, $3, $4, "
            "pganalytics.at($5), pganalytics.at($5), pganalytics.at($6), $7, $7 <> '', $8::bool, $9) RETURNING id",
            {secret.name, pg::Bytes{std::string(secret_hash)}, secret.description, secret.created_by,
             Micros(secret.created_at), OptMicros(secret.expires_at), secret.collector_id, secret.for_many,
             secret.group}));
    created.id = std::string(result[0].Text(0));
    audit.resource_id = created.id;
    return WriteAudit(tx, audit);
  });
  if (absl::IsAlreadyExists(status)) {
    return absl::AlreadyExistsError("A registration secret with this name already exists");
  }
  PGA_RETURN_IF_ERROR(status);
  return created;
}

absl::StatusOr<std::vector<RegistrationSecretRecord>> PgAuthStore::ListSecrets(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, pool_->Exec(absl::StrCat("SELECT ", kSecretColumns, kSecretFrom,
                                                                         "ORDER BY s.created_at DESC, s.id LIMIT 1000"),
                                                            {}, deadline));
  std::vector<RegistrationSecretRecord> secrets;
  secrets.reserve(result.rows());
  for (const pg::Row row : result) secrets.push_back(ReadSecret(row));
  return secrets;
}

absl::StatusOr<RegistrationSecretRecord> PgAuthStore::GetSecret(std::string_view id, clock::SteadyTime deadline) {
  if (!IsUuid(id)) return SecretNotFound();
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec(absl::StrCat("SELECT ", kSecretColumns, kSecretFrom, "WHERE s.id = $1::uuid"), {id}, deadline));
  if (result.empty()) return SecretNotFound();
  return ReadSecret(result[0]);
}

absl::StatusOr<RegistrationSecretRecord> PgAuthStore::UpdateSecret(std::string_view id, std::string_view name,
                                                                   std::string_view description,
                                                                   const std::optional<bool>& active, absl::Time now,
                                                                   AuditEntry audit, clock::SteadyTime deadline) {
  if (!IsUuid(id)) return SecretNotFound();
  RegistrationSecretRecord updated;
  const absl::Status status = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result changed,
                         tx.Exec("UPDATE pganalytics.registration_secrets SET name = $2, description = $3, "
                                 "active = COALESCE($4::bool, active), updated_at = pganalytics.at($5) "
                                 "WHERE id = $1::uuid RETURNING id",
                                 {id, name, description, active, Micros(now)}));
    if (changed.empty()) return SecretNotFound();
    PGA_ASSIGN_OR_RETURN(const pg::Result result,
                         tx.Exec(absl::StrCat("SELECT ", kSecretColumns, kSecretFrom, "WHERE s.id = $1::uuid"), {id}));
    updated = ReadSecret(result[0]);
    return WriteAudit(tx, audit);
  });
  if (absl::IsAlreadyExists(status)) {
    return absl::AlreadyExistsError("A registration secret with this name already exists");
  }
  PGA_RETURN_IF_ERROR(status);
  return updated;
}

absl::Status PgAuthStore::DeleteSecret(std::string_view id, AuditEntry audit, clock::SteadyTime deadline) {
  if (!IsUuid(id)) return SecretNotFound();
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result deleted,
        tx.Exec("DELETE FROM pganalytics.registration_secrets WHERE id = $1::uuid RETURNING id", {id}));
    if (deleted.empty()) return SecretNotFound();
    return WriteAudit(tx, audit);
  });
}

absl::StatusOr<SecretUseOutcome> PgAuthStore::UseSecret(const SecretUse& use, bool accept_anyway, absl::Time now,
                                                        clock::SteadyTime deadline) {
  SecretUseOutcome outcome;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    outcome = SecretUseOutcome();
    PGA_ASSIGN_OR_RETURN(
        const pg::Result found,
        tx.Exec("UPDATE pganalytics.registration_secrets SET "
                "total_registrations = total_registrations + 1, last_used_at = pganalytics.at($2), "
                "collector_id = CASE WHEN for_many THEN '' ELSE $3 END "
                "WHERE secret_hash = $1 AND active AND (expires_at IS NULL OR expires_at > pganalytics.at($2)) "
                "AND (for_many OR collector_id IN ('', $3)) "
                "AND (NOT $4::bool OR (collector_named AND collector_id = $3)) RETURNING id, source_group",
                {pg::Bytes{use.secret_hash}, Micros(now), use.collector_id, use.replaces}));
    if (!found.empty()) {
      outcome.verdict = SecretVerdict::kAccepted;
      outcome.secret_id = std::string(found[0].Text(0));
      outcome.group = std::string(found[0].Text(1));
    } else if (accept_anyway) {
      outcome.verdict = use.replaces ? SecretVerdict::kTaken : SecretVerdict::kAccepted;
    } else {
      PGA_ASSIGN_OR_RETURN(
          const pg::Result refused,
          tx.Exec("SELECT id, active AND (expires_at IS NULL OR expires_at > pganalytics.at($2)), "
                  "for_many OR collector_id IN ('', $3) FROM pganalytics.registration_secrets WHERE secret_hash = $1",
                  {pg::Bytes{use.secret_hash}, Micros(now), use.collector_id}));
      if (!refused.empty()) {
        outcome.verdict = !refused[0].Bool(1)  ? SecretVerdict::kExpired
                          : refused[0].Bool(2) ? SecretVerdict::kTaken
                                               : SecretVerdict::kOther;
        outcome.secret_id = std::string(refused[0].Text(0));
      }
    }
    if (outcome.verdict != SecretVerdict::kAccepted && use.record_refusal && !use.record_refusal()) {
      return absl::OkStatus();
    }
    const char* status = outcome.verdict == SecretVerdict::kAccepted  ? "success"
                         : outcome.verdict == SecretVerdict::kExpired ? "expired"
                                                                      : "failed";
    return tx
        .Exec(
            "INSERT INTO pganalytics.registration_secret_audit (secret_id, collector_id, collector_name, status, "
            "error_message, ip_address, used_at) VALUES (NULLIF($1, '')::uuid, $2, $3, $4, $5, $6, "
            "pganalytics.at($7))",
            {outcome.secret_id, use.collector_id, use.collector_name, status,
             outcome.verdict == SecretVerdict::kAccepted  ? ""
             : outcome.verdict == SecretVerdict::kExpired ? "inactive or expired"
             : outcome.verdict == SecretVerdict::kOther   ? "the secret of another collector"
             : outcome.verdict == SecretVerdict::kTaken   ? "the collector is registered already"
                                                          : "unknown secret",
             use.ip_address, Micros(now)})
        .status();
  });
  PGA_RETURN_IF_ERROR(done);
  return outcome;
}

absl::Status PgAuthStore::RevokeFormer(pg::Transaction& tx, std::string_view collector_id, absl::Time now) {
  const int64_t forget_at = Micros(now + horizons_.collectors);
  PGA_RETURN_IF_ERROR(tx.Exec(kRevokeSubject, {token::CollectorSubject(collector_id), Micros(now), forget_at}));
  return tx.Exec(kRevokeCredentials, {collector_id, Micros(now), forget_at}).status();
}

absl::Status PgAuthStore::AddCredentials(std::string_view collector_id,
                                         const std::vector<CollectorCredential>& credentials, bool revoke_former,
                                         absl::Time now, AuditEntry audit, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_RETURN_IF_ERROR(tx.Exec(kLockCollector, {collector_id}));
    if (revoke_former) {
      PGA_RETURN_IF_ERROR(RevokeFormer(tx, collector_id, now));
    } else {
      PGA_ASSIGN_OR_RETURN(const pg::Result recent,
                           tx.Exec(kRevokedSince, {token::CollectorSubject(collector_id), Micros(now - kRenewPause)}));
      if (recent[0].Bool(0)) return absl::AbortedError("credentials were revoked a moment ago");
    }
    for (const CollectorCredential& credential : credentials) {
      PGA_RETURN_IF_ERROR(
          tx.Exec("INSERT INTO pganalytics.collector_credentials (collector_id, kind, credential, issued_at, "
                  "expires_at) VALUES ($1, $2, $3, pganalytics.at($4), pganalytics.at($5))",
                  {collector_id, credential.kind, credential.credential, Micros(credential.issued_at),
                   Micros(credential.expires_at)}));
    }
    return WriteAudit(tx, audit);
  });
}

absl::Status PgAuthStore::RevokeCollector(std::string_view collector_id, absl::Time now, AuditEntry audit,
                                          clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_RETURN_IF_ERROR(tx.Exec(kLockCollector, {collector_id}));
    PGA_RETURN_IF_ERROR(RevokeFormer(tx, collector_id, now));
    return WriteAudit(tx, audit);
  });
}

absl::Status PgAuthStore::AddApiToken(const ApiTokenRecord& token, std::string_view token_hash, AuditEntry audit,
                                      clock::SteadyTime deadline) {
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    // Under the creator's lock, so that a token made at the same time as the creator is disabled does not stay.
    const absl::StatusOr<UserRecord> creator = LockUser(tx, token.created_by.value_or(0));
    if (absl::IsNotFound(creator.status()) ||
        (creator.ok() && (!creator->is_active || token::ParseRole(creator->role) < token::ParseRole(token.role)))) {
      return absl::PermissionDeniedError("a token has no more rights than the person who makes it");
    }
    PGA_RETURN_IF_ERROR(creator);
    PGA_RETURN_IF_ERROR(
        tx.Exec("INSERT INTO pganalytics.api_tokens (id, name, token_hash, role, groups, query_texts, created_by, "
                "created_at, expires_at) VALUES ($1::uuid, $2, $3, $4, $5::text[], $6::bool, $7::int4, "
                "pganalytics.at($8), pganalytics.at($9))",
                {token.id, token.name, pg::Bytes{std::string(token_hash)}, token.role, pg::ArrayOf(token.groups),
                 token.query_texts, token.created_by, Micros(token.created_at), Micros(token.expires_at)}));
    return WriteAudit(tx, audit);
  });
  if (absl::IsAlreadyExists(done)) return absl::AlreadyExistsError("A token with this name is in force already");
  return done;
}

absl::StatusOr<std::vector<ApiTokenRecord>> PgAuthStore::ListApiTokens(absl::Time ended_since,
                                                                       clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec("SELECT t.id, t.name, t.role, array_to_string(t.groups, E'\\n'), t.query_texts, t.created_by, "
                  "u.username, pganalytics.micros(t.created_at), pganalytics.micros(t.expires_at), "
                  "pganalytics.micros(t.last_used_at), pganalytics.micros(t.revoked_at) FROM pganalytics.api_tokens t "
                  "LEFT JOIN pganalytics.users u ON u.id = t.created_by "
                  "WHERE t.expires_at > pganalytics.at($1) AND (t.revoked_at IS NULL OR t.revoked_at > "
                  "pganalytics.at($1)) ORDER BY t.created_at DESC, t.id LIMIT 1000",
                  {Micros(ended_since)}, deadline));
  std::vector<ApiTokenRecord> tokens;
  tokens.reserve(result.rows());
  for (const pg::Row row : result) {
    ApiTokenRecord& token = tokens.emplace_back();
    token.id = std::string(row.Text(0));
    token.name = std::string(row.Text(1));
    token.role = std::string(row.Text(2));
    // Names of groups hold no line ends.
    const std::string groups(row.Text(3));
    if (!groups.empty()) token.groups = absl::StrSplit(groups, '\n');
    token.query_texts = row.Bool(4);
    if (!row.IsNull(5)) token.created_by = row.Int32(5);
    token.created_by_username = row.OptText(6);
    token.created_at = absl::FromUnixMicros(row.Int64(7));
    token.expires_at = absl::FromUnixMicros(row.Int64(8));
    token.last_used_at = row.OptMicros(9);
    token.revoked_at = row.OptMicros(10);
  }
  return tokens;
}

absl::Status PgAuthStore::RevokeApiToken(std::string_view id, absl::Time now, AuditEntry audit,
                                         clock::SteadyTime deadline) {
  const absl::Status unknown = absl::NotFoundError("Token not found, or ended already");
  if (!IsUuid(id)) return unknown;
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result ended,
                         tx.Exec(absl::StrCat("UPDATE pganalytics.api_tokens SET revoked_at = pganalytics.at($2) "
                                              "WHERE id = $1::uuid AND ",
                                              kTokenInForce, " RETURNING id, pganalytics.micros(expires_at)"),
                                 {id, Micros(now)}));
    if (ended.empty()) return unknown;
    PGA_RETURN_IF_ERROR(tx.Exec(kRevokeSubject, {token::ApiTokenSubject(ended[0].Text(0)), ended[0].Int64(1),
                                                 ended[0].Int64(1) + kRevokedTokenMargin}));
    return WriteAudit(tx, audit);
  });
}

absl::Status PgAuthStore::RevokeApiTokensOf(pg::Transaction& tx, int32_t user_id,
                                            const std::vector<std::string>& kept_roles, absl::Time now) {
  PGA_ASSIGN_OR_RETURN(const pg::Result ended,
                       tx.Exec(absl::StrCat("UPDATE pganalytics.api_tokens SET revoked_at = pganalytics.at($2) "
                                            "WHERE created_by = $1 AND role <> ALL ($3::text[]) AND ",
                                            kTokenInForce, " RETURNING id, pganalytics.micros(expires_at)"),
                               {user_id, Micros(now), pg::ArrayOf(kept_roles)}));
  for (const pg::Row row : ended) {
    PGA_RETURN_IF_ERROR(tx.Exec(
        kRevokeSubject, {token::ApiTokenSubject(row.Text(0)), row.Int64(1), row.Int64(1) + kRevokedTokenMargin}));
  }
  return absl::OkStatus();
}

absl::Status PgAuthStore::NoteTokenUses(const std::vector<std::pair<std::string, absl::Time>>& uses,
                                        clock::SteadyTime deadline) {
  std::vector<std::string> ids;
  std::vector<std::string> times;
  for (const auto& [id, at] : uses) {
    if (!IsUuid(id)) continue;
    ids.push_back(id);
    times.push_back(absl::StrCat(Micros(at)));
  }
  if (ids.empty()) return absl::OkStatus();
  return pool_
      ->Exec(
          "UPDATE pganalytics.api_tokens t SET last_used_at = GREATEST(t.last_used_at, pganalytics.at(u.at)) "
          "FROM unnest($1::uuid[], $2::int8[]) AS u (id, at) WHERE t.id = u.id",
          {pg::ArrayOf(ids), pg::ArrayOf(times)}, deadline)
      .status();
}

absl::StatusOr<std::vector<token::Revocation>> PgAuthStore::ListRevocations(int64_t after, int limit,
                                                                            clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec("SELECT number, subject, pganalytics.micros(issued_before), jti FROM pganalytics.revocations "
                  "WHERE number > $1 ORDER BY number LIMIT $2",
                  {after, limit}, deadline));
  std::vector<token::Revocation> revocations;
  revocations.reserve(result.rows());
  for (const pg::Row row : result) {
    token::Revocation revocation;
    revocation.number = row.Int64(0);
    revocation.subject = std::string(row.Text(1));
    if (!row.IsNull(2)) revocation.issued_before = absl::FromUnixMicros(row.Int64(2));
    revocation.jti = std::string(row.Text(3));
    revocations.push_back(std::move(revocation));
  }
  return revocations;
}

absl::StatusOr<int64_t> PgAuthStore::LastRevocation(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result,
                       pool_->Exec("SELECT last_number FROM pganalytics.revocation_counter", {}, deadline));
  return result.empty() ? 0 : result[0].Int64(0);
}

absl::StatusOr<bool> PgAuthStore::IsRevoked(std::string_view subject, std::string_view jti, std::string_view session,
                                            absl::Time issued_at, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec("SELECT EXISTS (SELECT FROM pganalytics.revocations WHERE subject <> '' AND subject = $1 "
                  "AND issued_before > pganalytics.at($4)) OR EXISTS (SELECT FROM pganalytics.revocations "
                  "WHERE jti <> '' AND jti IN ($2, $3))",
                  {subject, jti, session, Micros(issued_at)}, deadline));
  return result[0].Bool(0);
}

absl::StatusOr<std::optional<SealedKey>> PgAuthStore::FindSealedKey(std::string_view name, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec("SELECT certificate_pem, sealed_key, sealed_with FROM pganalytics.sealed_keys WHERE name = $1",
                  {name}, deadline));
  if (result.empty()) return std::optional<SealedKey>();
  return std::optional<SealedKey>(
      SealedKey{std::string(result[0].Text(0)), result[0].Bytes(1), std::string(result[0].Text(2))});
}

absl::StatusOr<SealedKey> PgAuthStore::AddSealedKey(std::string_view name, const SealedKey& key, absl::Time now,
                                                    clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(
      pool_->Exec("INSERT INTO pganalytics.sealed_keys (name, certificate_pem, sealed_key, sealed_with, created_at) "
                  "VALUES ($1, $2, $3, $4, pganalytics.at($5)) ON CONFLICT (name) DO NOTHING",
                  {name, key.certificate_pem, pg::Bytes{key.sealed_key}, key.sealed_with, Micros(now)}, deadline));
  PGA_ASSIGN_OR_RETURN(std::optional<SealedKey> stored, FindSealedKey(name, deadline));
  if (!stored.has_value()) return absl::InternalError("a sealed key is gone right after it was stored");
  return *std::move(stored);
}

absl::Status PgAuthStore::Audit(AuditEntry audit, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) { return WriteAudit(tx, audit); });
}

absl::StatusOr<int64_t> PgAuthStore::DeleteExpired(absl::Time now, clock::SteadyTime deadline) {
  int64_t deleted = 0;
  // One transaction each: a long backlog in one table does not hold up the others.
  const auto run = [&](const char* sql, absl::Time limit) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result result, pool_->Exec(sql, {Micros(limit)}, deadline));
    deleted += result.affected_rows();
    return absl::OkStatus();
  };
  PGA_RETURN_IF_ERROR(
      run("DELETE FROM pganalytics.sessions WHERE expires_at < pganalytics.at($1)", now - absl::Hours(24)));
  PGA_RETURN_IF_ERROR(
      run("DELETE FROM pganalytics.login_failures WHERE last_failure < pganalytics.at($1) "
          "AND (locked_until IS NULL OR locked_until < pganalytics.at($1))",
          now - kFailureMemory));
  PGA_RETURN_IF_ERROR(
      run("DELETE FROM pganalytics.api_tokens WHERE expires_at < pganalytics.at($1)", now - absl::Hours(24 * 400)));
  PGA_RETURN_IF_ERROR(run("DELETE FROM pganalytics.revocations WHERE expires_at < pganalytics.at($1)", now));
  PGA_RETURN_IF_ERROR(run("DELETE FROM pganalytics.collector_credentials WHERE expires_at < pganalytics.at($1)", now));
  return deleted;
}

absl::StatusOr<int64_t> PgAuthStore::SealAudit(clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, pool_->Exec("SELECT pganalytics.seal_audit()", {}, deadline));
  return result[0].Int64(0);
}

absl::StatusOr<int64_t> PgAuthStore::PruneAudit(absl::Time before, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, pool_->Exec("SELECT pganalytics.prune_audit(pganalytics.at($1))::int8",
                                                            {Micros(before)}, deadline));
  return result[0].Int64(0);
}

}  // namespace pga::auth
