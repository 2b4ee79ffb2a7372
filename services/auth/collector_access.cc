#include "services/auth/collector_access.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "services/auth/digest.h"
#include "services/auth/rules.h"

namespace pga::auth {
namespace {

constexpr size_t kMaxDescriptionBytes = 4096;
constexpr size_t kMaxSecretBytes = 1024;

std::string SecretHash(const std::string& value) {
  return Sha256(absl::StrCat("registration:", value));
}

absl::Status CheckDescription(const std::string& description) {
  if (description.size() > kMaxDescriptionBytes) {
    return absl::InvalidArgumentError("description must have at most 4096 bytes");
  }
  return absl::OkStatus();
}

std::string Json(std::string_view key, std::string_view value) {
  std::string json = "{";
  log::AppendJsonString(key, &json);
  json.push_back(':');
  log::AppendJsonString(value, &json);
  json.push_back('}');
  return json;
}

}  // namespace

CollectorAccess::CollectorAccess(AuthStore* store, Refusals* refusals, const TokenIssuer* issuer,
                                 const CertificateAuthority* authority, clock::Clock* clock,
                                 std::string registration_secret, std::function<void()> on_revocation)
    : store_(store),
      refusals_(refusals),
      issuer_(issuer),
      authority_(authority),
      clock_(clock),
      registration_secret_(std::move(registration_secret)),
      on_revocation_(std::move(on_revocation)) {}

absl::StatusOr<CollectorAccess::CreatedSecret> CollectorAccess::CreateSecret(
    const Caller& caller, const std::string& name, const std::string& description, std::optional<absl::Time> expires_at,
    const std::string& collector_id, bool for_many, const std::string& group) {
  PGA_RETURN_IF_ERROR(ValidateLabel(name, "name"));
  PGA_RETURN_IF_ERROR(CheckDescription(description));
  const absl::Time now = clock_->Now();
  if (expires_at.has_value() && *expires_at <= now) {
    return absl::InvalidArgumentError("expires_at must be in the future");
  }
  if (!collector_id.empty() && (for_many || !token::IsCollectorId(collector_id))) {
    return absl::InvalidArgumentError("collector_id must be the id of one collector, without for_many");
  }
  // The same characters as a collector's id.
  if (!group.empty() && !token::IsCollectorId(group)) {
    return absl::InvalidArgumentError(absl::StrCat("group must have ", token::kCollectorIdRule));
  }
  CreatedSecret created;
  created.record.collector_id = collector_id;
  created.record.for_many = for_many;
  created.value = RandomSecret();
  created.record.name = name;
  created.record.description = description;
  created.record.created_at = now;
  created.record.updated_at = now;
  created.record.expires_at = expires_at;
  if (!group.empty()) created.record.group = group;
  if (caller.principal.user_id > 0) created.record.created_by = caller.principal.user_id;
  PGA_ASSIGN_OR_RETURN(
      created.record,
      store_->CreateSecret(created.record, SecretHash(created.value),
                           AuditOf(caller, "registration_secret.create", "registration_secret", ""), caller.deadline));
  return created;
}

absl::StatusOr<std::vector<RegistrationSecretRecord>> CollectorAccess::ListSecrets(const Caller& caller) {
  return store_->ListSecrets(caller.deadline);
}

absl::StatusOr<RegistrationSecretRecord> CollectorAccess::GetSecret(const Caller& caller, const std::string& id) {
  return store_->GetSecret(id, caller.deadline);
}

absl::StatusOr<RegistrationSecretRecord> CollectorAccess::UpdateSecret(const Caller& caller, const std::string& id,
                                                                       const std::string& name,
                                                                       const std::string& description,
                                                                       std::optional<bool> active) {
  PGA_RETURN_IF_ERROR(ValidateLabel(name, "name"));
  PGA_RETURN_IF_ERROR(CheckDescription(description));
  return store_->UpdateSecret(id, name, description, active, clock_->Now(),
                              AuditOf(caller, "registration_secret.update", "registration_secret", id),
                              caller.deadline);
}

absl::Status CollectorAccess::DeleteSecret(const Caller& caller, const std::string& id) {
  return store_->DeleteSecret(id, AuditOf(caller, "registration_secret.delete", "registration_secret", id),
                              caller.deadline);
}

absl::StatusOr<SecretUseOutcome> CollectorAccess::UseSecret(const Caller& caller, const std::string& secret,
                                                            const std::string& collector_id,
                                                            const std::string& collector_name,
                                                            const std::string& peer_address, bool replaces) {
  const absl::Status refused =
      status::WithReason(absl::UnauthenticatedError("Invalid registration secret"), "REGISTRATION_SECRET_INVALID");
  if (secret.empty() || secret.size() > kMaxSecretBytes) return refused;
  SecretUse use;
  use.secret_hash = SecretHash(secret);
  use.collector_id = collector_id;
  use.collector_name = collector_name;
  use.ip_address = peer_address;
  use.replaces = replaces;
  use.record_refusal = [&] { return refusals_->Record(peer_address); };
  PGA_ASSIGN_OR_RETURN(
      const SecretUseOutcome outcome,
      store_->UseSecret(use, SecretsEqual(secret, registration_secret_), clock_->Now(), caller.deadline));
  if (outcome.verdict == SecretVerdict::kAccepted) return outcome;
  if (outcome.verdict == SecretVerdict::kTaken) {
    return status::WithReason(absl::AlreadyExistsError(absl::StrCat(
                                  "collector ", collector_id,
                                  " is registered already and renews by its own credentials. If they are lost, an "
                                  "administrator deletes it, or "
                                  "makes a registration secret for it (pgactl secrets create NAME --collector ID)")),
                              "COLLECTOR_EXISTS");
  }
  if (outcome.verdict == SecretVerdict::kOther) {
    return status::WithReason(
        absl::UnauthenticatedError(
            "This registration secret is that of another collector; an administrator makes one for "
            "each, or one for many (pgactl secrets create NAME --many)"),
        "REGISTRATION_SECRET_OF_ANOTHER");
  }
  PGA_LOG(
      warn, "registration refused: bad secret",
      {{"collector", collector_name}, {"peer", peer_address}, {"stale", outcome.verdict == SecretVerdict::kExpired}});
  return refused;
}

absl::StatusOr<CollectorCredentials> CollectorAccess::Issue(const Caller& caller, const std::string& collector_id,
                                                            const std::string& hostname, const std::string& csr_pem,
                                                            bool revoke_former) {
  if (!token::IsCollectorId(collector_id)) {
    return absl::InvalidArgumentError(absl::StrCat("collector_id must have ", token::kCollectorIdRule));
  }
  const absl::Time now = clock_->Now();
  CollectorCredentials credentials;
  PGA_ASSIGN_OR_RETURN(credentials.certificate, csr_pem.empty() ? authority_->IssueWithKey(collector_id, now)
                                                                : authority_->SignRequest(csr_pem, collector_id, now));
  PGA_ASSIGN_OR_RETURN(credentials.token, issuer_->Collector(collector_id, hostname, now));
  credentials.ca_pem = authority_->certificate_pem();
  const absl::Status added = store_->AddCredentials(
      collector_id,
      {{"token", credentials.token.jti, credentials.token.issued_at, credentials.token.expires_at},
       {"certificate", credentials.certificate.thumbprint, credentials.certificate.not_before,
        credentials.certificate.not_after}},
      revoke_former, credentials.token.issued_at,
      AuditOf(caller, revoke_former ? "collector.register" : "collector.renew", "collector", collector_id),
      caller.deadline);
  if (absl::IsAborted(added) && !revoke_former) {
    return status::WithRetryAfter(
        status::WithReason(absl::UnavailableError("the collector's credentials were revoked a moment ago; renew later"),
                           "RENEWED_TOO_SOON"),
        kRenewPause);
  }
  PGA_RETURN_IF_ERROR(added);
  if (revoke_former) on_revocation_();
  return credentials;
}

absl::Status CollectorAccess::Revoke(const Caller& caller, const std::string& collector_id, const std::string& reason) {
  if (!token::IsCollectorId(collector_id)) return absl::InvalidArgumentError("collector_id is not valid");
  AuditEntry audit = AuditOf(caller, "collector.revoke", "collector", collector_id);
  audit.changes_json = Json("reason", reason.substr(0, 1024));
  // A credential issued in this very microsecond is revoked as well.
  PGA_RETURN_IF_ERROR(
      store_->RevokeCollector(collector_id, clock_->Now() + absl::Microseconds(1), audit, caller.deadline));
  on_revocation_();
  return absl::OkStatus();
}

}  // namespace pga::auth
