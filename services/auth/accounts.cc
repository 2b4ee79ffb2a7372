#include "services/auth/accounts.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"
#include "services/auth/address.h"
#include "services/auth/digest.h"
#include "services/auth/rules.h"

namespace pga::auth {
namespace {

constexpr int kUsersPerPage = 500;

absl::Status WrongPair() {
  return status::WithReason(absl::UnauthenticatedError("Invalid credentials"), "INVALID_CREDENTIALS");
}

absl::Status SessionEnded() {
  return status::WithReason(absl::UnauthenticatedError("Invalid or expired refresh token"), "SESSION_ENDED");
}

absl::Status Protected(std::string_view what) {
  return status::WithReason(
      absl::PermissionDeniedError(absl::StrCat("The account admin cannot be ", std::string(what))),
      "PROTECTED_ACCOUNT");
}

std::string TokenHash(std::string_view jti) {
  return Sha256(absl::StrCat("refresh:", std::string(jti)));
}

std::string JsonText(std::string_view text) {
  std::string json;
  log::AppendJsonString(text, &json);
  return json;
}

}  // namespace

AuditEntry AuditOf(const Caller& caller, std::string_view action, std::string_view resource_type,
                   std::string_view resource_id) {
  AuditEntry entry;
  entry.actor = caller.principal.subject.empty() ? "anonymous" : caller.principal.subject;
  entry.user_id = caller.principal.user_id;
  entry.action = std::string(action);
  entry.resource_type = std::string(resource_type);
  entry.resource_id = std::string(resource_id);
  entry.ip_address = caller.ip_address;
  entry.request_id = caller.request_id;
  return entry;
}

Accounts::Accounts(AuthStore* store, Refusals* refusals, PasswordHasher* hasher, const TokenIssuer* issuer,
                   const token::Verifier* verifier, clock::Clock* clock, metrics::Registry* metrics,
                   AccountsOptions options, std::function<void()> on_revocation)
    : store_(store),
      refusals_(refusals),
      hasher_(hasher),
      issuer_(issuer),
      verifier_(verifier),
      clock_(clock),
      options_(options),
      on_revocation_(std::move(on_revocation)),
      logins_(metrics->AddCounter("pga_auth_logins_total", "Sign-ins by outcome.", {{"outcome", "success"}})),
      logins_failed_(metrics->AddCounter("pga_auth_logins_total", "Sign-ins by outcome.", {{"outcome", "refused"}})),
      logins_locked_(metrics->AddCounter("pga_auth_logins_total", "Sign-ins by outcome.", {{"outcome", "locked"}})),
      refresh_reuse_(metrics->AddCounter("pga_auth_refresh_reuse_total",
                                         "Sessions ended because a refresh token was used twice.")) {}

clock::SteadyTime Accounts::HashDeadline(const Caller& caller) const {
  return std::min(caller.deadline, clock::SteadyNow() + options_.hash_wait);
}

absl::Status Accounts::CheckPassword(const Caller& caller, const PasswordHasher::Slot& slot,
                                     std::string_view account_hash, const std::optional<UserRecord>& user,
                                     const std::string& password, const char* action, const char* message) {
  PGA_ASSIGN_OR_RETURN(const LoginAttempt attempt,
                       store_->BeginAttempt(account_hash, user.has_value() ? user->id : 0, AddressOf(caller.ip_address),
                                            clock_->Now(), caller.deadline));
  AuditEntry audit = AuditOf(caller, action, "user", user.has_value() ? absl::StrCat(user->id) : "");
  if (user.has_value()) audit.user_id = user->id;
  if (!attempt.allowed) {
    audit.changes_json = R"({"reason":"locked"})";
    PGA_RETURN_IF_ERROR(refusals_->Audit(audit, caller.deadline));
    return status::WithRetryAfter(
        status::WithReason(absl::ResourceExhaustedError("Too many failed sign-ins; try again later"), "ACCOUNT_LOCKED"),
        attempt.retry_after);
  }
  // An unknown user costs the same hash as a known one, and an inactive one is found out only after it.
  const bool matches = hasher_->Verify(slot, user.has_value() ? user->password_hash : std::string(), password);
  if (matches && user->is_active) return absl::OkStatus();
  audit.changes_json = absl::StrCat(R"({"failures":)", attempt.failures, "}");
  PGA_RETURN_IF_ERROR(refusals_->Audit(audit, caller.deadline));
  return status::WithReason(absl::UnauthenticatedError(message), "INVALID_CREDENTIALS");
}

absl::StatusOr<SignedIn> Accounts::Login(const Caller& caller, const std::string& username,
                                         const std::string& password) {
  absl::StatusOr<SignedIn> signed_in = TryLogin(caller, username, password);
  if (signed_in.ok()) {
    logins_.Increment();
  } else if (status::ReasonOf(signed_in.status()) == "ACCOUNT_LOCKED") {
    logins_locked_.Increment();
  } else if (absl::IsUnauthenticated(signed_in.status())) {
    logins_failed_.Increment();
  }
  return signed_in;
}

absl::StatusOr<SignedIn> Accounts::TryLogin(const Caller& caller, const std::string& username,
                                            const std::string& password) {
  if (username.empty() || password.empty()) {
    return absl::InvalidArgumentError("username and password are required");
  }
  if (username.size() > 1024 || password.size() > kMaxPasswordBytes) return WrongPair();
  PGA_ASSIGN_OR_RETURN(const PasswordHasher::Slot slot, hasher_->Acquire(HashDeadline(caller)));
  PGA_ASSIGN_OR_RETURN(const std::optional<UserRecord> user, store_->FindUserByName(username, caller.deadline));
  const std::string account = AccountHash(username);
  PGA_RETURN_IF_ERROR(CheckPassword(caller, slot, account, user, password, "login", "Invalid credentials"));

  std::string new_hash;
  if (hasher_->NeedsRehash(user->password_hash)) {
    PGA_ASSIGN_OR_RETURN(new_hash, hasher_->Hash(slot, password));
  }
  const absl::Time now = clock_->Now();
  const std::string refresh_id = token::RandomHex(16);
  NewSession session;
  session.id = token::RandomHex(16);
  if (session.id.empty() || refresh_id.empty()) return absl::InternalError("the random number generator failed");
  session.user_id = user->id;
  session.token_hash = TokenHash(refresh_id);
  session.created_at = now;
  session.expires_at = now + options_.session_lifetime;
  session.ip_address = AddressOf(caller.ip_address);
  AuditEntry audit = AuditOf(caller, "login", "user", absl::StrCat(user->id));
  audit.actor = token::UserSubject(user->id);
  audit.user_id = user->id;
  PGA_ASSIGN_OR_RETURN(const std::optional<OpenedSession> opened,
                       store_->OpenSession(account, session, user->password_hash, new_hash, audit, caller.deadline));
  if (!opened.has_value()) return WrongPair();
  return SignBoth(opened->user, session.id, refresh_id, session.expires_at, opened->issue_time);
}

absl::StatusOr<SignedIn> Accounts::SignBoth(const UserRecord& user, std::string_view session,
                                            std::string_view refresh_id, absl::Time session_end, absl::Time now) const {
  SignedIn signed_in;
  signed_in.user = user;
  PGA_ASSIGN_OR_RETURN(signed_in.access, issuer_->Access(user, session, session_end, now));
  PGA_ASSIGN_OR_RETURN(signed_in.refresh, issuer_->Refresh(user, session, refresh_id, session_end, now));
  return signed_in;
}

absl::StatusOr<SignedIn> Accounts::Refresh(const Caller& caller, const std::string& refresh_token) {
  if (refresh_token.empty()) return absl::InvalidArgumentError("refresh_token is required");
  const absl::Time now = clock_->Now();
  const absl::StatusOr<token::Claims> claims = verifier_->VerifyClaims(refresh_token, token::TokenType::kRefresh, now);
  if (!claims.ok() || claims->principal.kind != token::Principal::kUser || claims->principal.session.empty()) {
    return SessionEnded();
  }
  const std::string& session = claims->principal.session;
  const std::string refresh_id = token::RandomHex(16);
  if (refresh_id.empty()) return absl::InternalError("the random number generator failed");
  PGA_ASSIGN_OR_RETURN(const RotationOutcome outcome,
                       store_->RotateSession(session, TokenHash(claims->principal.jti), TokenHash(refresh_id), now,
                                             AuditOf(caller, "refresh", "session", session), caller.deadline));
  switch (outcome.rotation) {
    case Rotation::kRotated:
      break;
    case Rotation::kReused:
      PGA_LOG(warn, "refresh token used twice, session ended",
              {{"user_id", claims->principal.user_id}, {"peer", caller.ip_address}});
      refresh_reuse_.Increment();
      on_revocation_();
      return status::WithReason(absl::UnauthenticatedError("Invalid or expired refresh token"), "REFRESH_TOKEN_REUSED");
    case Rotation::kEnded:
      return SessionEnded();
  }
  return SignBoth(outcome.user, session, refresh_id, outcome.session_end, outcome.issue_time);
}

absl::Status Accounts::Logout(const Caller& caller, const std::string& refresh_token, const std::string& access_token) {
  std::string session;
  int32_t user_id = 0;
  // Whether the token was revoked is not asked: to end an ended session does no harm, and must not wait for news.
  const auto find = [&](const std::string& token, token::TokenType type) {
    if (token.empty() || !session.empty()) return;
    const auto claims = verifier_->VerifyClaims(token, type, clock_->Now());
    if (!claims.ok() || claims->principal.kind != token::Principal::kUser) return;
    session = claims->principal.session;
    user_id = claims->principal.user_id;
  };
  find(refresh_token, token::TokenType::kRefresh);
  find(access_token, token::TokenType::kAccess);
  if (session.empty()) {
    if (refresh_token.empty() && access_token.empty()) return absl::OkStatus();
    return status::WithReason(
        absl::UnauthenticatedError("No session was ended: the token is expired or not one of a session"),
        "SESSION_NOT_FOUND");
  }
  AuditEntry audit = AuditOf(caller, "logout", "session", session);
  audit.actor = token::UserSubject(user_id);
  audit.user_id = user_id;
  PGA_RETURN_IF_ERROR(store_->EndSession(session, user_id, clock_->Now(), audit, caller.deadline));
  on_revocation_();
  return absl::OkStatus();
}

absl::Status Accounts::ChangePassword(const Caller& caller, const std::string& old_password,
                                      const std::string& new_password) {
  const int32_t id = caller.principal.user_id;
  if (!caller.principal.api_token.empty()) {
    return status::WithReason(absl::PermissionDeniedError("An API token changes no password; sign in"), "API_TOKEN");
  }
  PGA_ASSIGN_OR_RETURN(const std::optional<UserRecord> user, store_->FindUser(id, caller.deadline));
  if (!user.has_value()) return absl::UnauthenticatedError("User not found");
  if (old_password.empty()) return absl::InvalidArgumentError("old_password and new_password are required");
  PGA_RETURN_IF_ERROR(ValidatePassword(new_password, user->username));
  if (old_password == new_password) {
    return absl::InvalidArgumentError("new_password must differ from old_password");
  }
  if (old_password.size() > kMaxPasswordBytes) return absl::UnauthenticatedError("Old password is incorrect");
  PGA_ASSIGN_OR_RETURN(const PasswordHasher::Slot slot, hasher_->Acquire(HashDeadline(caller)));
  PGA_RETURN_IF_ERROR(CheckPassword(caller, slot, AccountHash(user->username), user, old_password, "password.change",
                                    "Old password is incorrect"));
  PGA_ASSIGN_OR_RETURN(const std::string hash, hasher_->Hash(slot, new_password));
  PGA_ASSIGN_OR_RETURN(const bool set, store_->SetPassword(id, AccountHash(user->username), user->password_hash, hash,
                                                           caller.principal.session, clock_->Now(),
                                                           AuditOf(caller, "password.change", "user", absl::StrCat(id)),
                                                           caller.deadline));
  if (!set) {
    return status::WithReason(absl::UnauthenticatedError("Old password is incorrect"), "INVALID_CREDENTIALS");
  }
  on_revocation_();
  return absl::OkStatus();
}

absl::StatusOr<UserRecord> Accounts::CreateUser(const Caller& caller, NewUser user, const std::string& password) {
  PGA_RETURN_IF_ERROR(ValidateUsername(user.username));
  PGA_RETURN_IF_ERROR(ValidateEmail(user.email));
  PGA_RETURN_IF_ERROR(ValidatePassword(password, user.username));
  PGA_RETURN_IF_ERROR(ValidateFullName(user.full_name));
  PGA_RETURN_IF_ERROR(ValidateRole(user.role));
  {
    PGA_ASSIGN_OR_RETURN(const PasswordHasher::Slot slot, hasher_->Acquire(HashDeadline(caller)));
    PGA_ASSIGN_OR_RETURN(user.password_hash, hasher_->Hash(slot, password));
  }
  AuditEntry audit = AuditOf(caller, "user.create", "user", "");
  audit.changes_json =
      absl::StrCat(R"({"username":)", JsonText(user.username), R"(,"role":)", JsonText(user.role), "}");
  PGA_ASSIGN_OR_RETURN(std::optional<UserRecord> created,
                       store_->CreateUser(user, /*only_if_empty=*/false, clock_->Now(), audit, caller.deadline));
  if (!created.has_value()) return absl::InternalError("the new user was not returned");
  return *std::move(created);
}

absl::Status Accounts::ListUsers(const Caller& caller, const std::function<absl::Status(const UserRecord&)>& visit) {
  int32_t below = std::numeric_limits<int32_t>::max();
  while (true) {
    PGA_ASSIGN_OR_RETURN(const std::vector<UserRecord> page, store_->ListUsers(below, kUsersPerPage, caller.deadline));
    for (const UserRecord& user : page) PGA_RETURN_IF_ERROR(visit(user));
    if (page.size() < kUsersPerPage) return absl::OkStatus();
    below = page.back().id;
  }
}

absl::StatusOr<UserRecord> Accounts::UpdateUser(const Caller& caller, int32_t id,
                                                const std::optional<std::string>& role,
                                                const std::optional<bool>& is_active) {
  if (!role.has_value() && !is_active.has_value()) {
    return absl::InvalidArgumentError("nothing to update: give role or is_active");
  }
  if (role.has_value()) PGA_RETURN_IF_ERROR(ValidateRole(*role));
  PGA_ASSIGN_OR_RETURN(const std::optional<UserRecord> user, store_->FindUser(id, caller.deadline));
  if (!user.has_value()) return absl::NotFoundError("User not found");
  if (IsProtected(user->username)) {
    if (role.has_value() && *role != user->role) return Protected("given another role");
    if (is_active.has_value() && !*is_active) return Protected("disabled");
  }
  AuditEntry audit = AuditOf(caller, "user.update", "user", absl::StrCat(id));
  audit.changes_json =
      absl::StrCat("{", role.has_value() ? absl::StrCat(R"("role":)", JsonText(*role)) : "",
                   role.has_value() && is_active.has_value() ? "," : "",
                   is_active.has_value() ? absl::StrCat(R"("is_active":)", *is_active ? "true" : "false") : "", "}");
  PGA_ASSIGN_OR_RETURN(UserRecord updated,
                       store_->UpdateUser(id, role, is_active, clock_->Now(), audit, caller.deadline));
  on_revocation_();
  return updated;
}

absl::Status Accounts::DeleteUser(const Caller& caller, int32_t id) {
  if (id <= 0) return absl::InvalidArgumentError("id must be a positive number");
  PGA_ASSIGN_OR_RETURN(const std::optional<UserRecord> user, store_->FindUser(id, caller.deadline));
  if (!user.has_value()) return absl::NotFoundError("User not found");
  if (IsProtected(user->username)) return Protected("deleted");
  PGA_RETURN_IF_ERROR(
      store_->DeleteUser(id, clock_->Now(), AuditOf(caller, "user.delete", "user", absl::StrCat(id)), caller.deadline));
  on_revocation_();
  return absl::OkStatus();
}

absl::StatusOr<Accounts::Reset> Accounts::ResetPassword(const Caller& caller, int32_t id) {
  if (id <= 0) return absl::InvalidArgumentError("id must be a positive number");
  PGA_ASSIGN_OR_RETURN(const std::optional<UserRecord> user, store_->FindUser(id, caller.deadline));
  if (!user.has_value()) return absl::NotFoundError("User not found");
  Reset reset{user->username, TemporaryPassword()};
  std::string hash;
  {
    PGA_ASSIGN_OR_RETURN(const PasswordHasher::Slot slot, hasher_->Acquire(HashDeadline(caller)));
    PGA_ASSIGN_OR_RETURN(hash, hasher_->Hash(slot, reset.temporary_password));
  }
  PGA_RETURN_IF_ERROR(store_->SetPassword(id, AccountHash(user->username), std::nullopt, hash, "", clock_->Now(),
                                          AuditOf(caller, "password.reset", "user", absl::StrCat(id)),
                                          caller.deadline));
  on_revocation_();
  return reset;
}

}  // namespace pga::auth
