#include "libs/rpc/auth.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/rpc/access.h"
#include "libs/rpc/peer_certificate.h"
#include "libs/status/status.h"
#include "pganalytics/common/v1/common.pb.h"

namespace pga::rpc {
namespace {

constexpr std::string_view kBearer = "Bearer ";
constexpr size_t kRememberedServiceTokens = 64;

absl::Status Unauthenticated(const char* reason, const char* message) {
  return status::WithReason(absl::UnauthenticatedError(message), reason);
}

// "/pkg.Service/Method" -> "pkg.Service.Method".
std::string DottedName(std::string_view full_method) {
  std::string name(full_method.starts_with('/') ? full_method.substr(1) : full_method);
  std::ranges::replace(name, '/', '.');
  return name;
}

}  // namespace

Authenticator::Authenticator(const token::Verifier* verifier, const token::RevocationSet* revocations, Hooks hooks,
                             clock::Clock* clock)
    : verifier_(verifier), revocations_(revocations), hooks_(std::move(hooks)), clock_(clock) {}

absl::StatusOr<token::Principal> Authenticator::Authenticate(const Credentials& credentials) const {
  const absl::Time now = clock_->Now();
  token::Principal by_certificate;
  if (!credentials.peer_certificate_pem.empty()) {
    auto certificate = ReadCollectorCertificate(credentials.peer_certificate_pem, now);
    // A collector whose certificate ran out during the connection may still show its token.
    if (!certificate.ok() && credentials.authorization.empty()) return certificate.status();
    if (certificate.ok()) {
      by_certificate.kind = token::Principal::kCollector;
      by_certificate.collector_id = certificate->collector_id;
      by_certificate.subject = token::CollectorSubject(certificate->collector_id);
      by_certificate.from_certificate = true;
      by_certificate.all_groups = true;
      by_certificate.jti = std::move(certificate->thumbprint);
      // A certificate says when it was issued in whole seconds only; the last moment of that second is taken, so that
      // the revocation written together with its issue does not hit it. Former ones are revoked by their thumbprint.
      by_certificate.issued_at = certificate->not_before + absl::Seconds(1) - absl::Microseconds(1);
      by_certificate.expires_at = certificate->not_after;
    }
  }
  if (credentials.authorization.empty()) return by_certificate;

  if (!credentials.authorization.starts_with(kBearer)) {
    return Unauthenticated("TOKEN_MALFORMED", "Authorization must be `Bearer <token>`");
  }
  PGA_ASSIGN_OR_RETURN(token::Principal principal,
                       verifier_->Verify(credentials.authorization.substr(kBearer.size()), now));
  if (by_certificate.kind == token::Principal::kCollector &&
      (principal.kind != token::Principal::kCollector || principal.collector_id != by_certificate.collector_id)) {
    return Unauthenticated("IDENTITY_CONFLICT", "token and client certificate name different callers");
  }
  return principal;
}

absl::Status Authenticator::Authorize(std::string_view full_method, const token::Principal& principal,
                                      bool has_registration_secret) const {
  const auto access = AccessOf(full_method);
  if (!access.ok()) {
    return status::WithReason(absl::PermissionDeniedError("this method has no access rule"), "NO_ACCESS_RULE");
  }
  if (token::Allow(principal, *access)) return absl::OkStatus();
  if (access->registration_secret && has_registration_secret) return absl::OkStatus();
  if (principal.kind == token::Principal::kAnonymous) {
    return access->registration_secret ? Unauthenticated("REGISTRATION_SECRET_MISSING", "Missing registration secret")
                                       : Unauthenticated("TOKEN_MISSING", "Missing authorization");
  }
  if (principal.kind == token::Principal::kUser && access->user != token::Role::kNone) {
    return status::WithReason(
        absl::PermissionDeniedError(
            absl::StrCat("Insufficient permissions: role ", std::string(token::RoleName(access->user)), " is needed")),
        "ROLE_TOO_LOW");
  }
  return status::WithReason(absl::PermissionDeniedError("Insufficient permissions for this kind of caller"),
                            "CALLER_KIND");
}

absl::Status Authenticator::CheckRevoked(const token::Principal& principal, clock::SteadyTime deadline,
                                         bool may_wait) const {
  if (principal.kind != token::Principal::kUser && principal.kind != token::Principal::kCollector) {
    return absl::OkStatus();
  }
  const auto revoked = [] { return Unauthenticated("TOKEN_REVOKED", "Token has been revoked"); };
  if (revocations_->IsRevoked(principal)) return revoked();
  if (revocations_->HasNews(clock_->BoottimeNanos())) return absl::OkStatus();
  if (may_wait && hooks_.check_revocation) {
    const auto answer = hooks_.check_revocation(principal, std::min(deadline, clock::SteadyNow() + absl::Seconds(2)));
    if (answer.ok()) return *answer ? revoked() : absl::OkStatus();
  }
  if (principal.kind == token::Principal::kCollector) return absl::OkStatus();
  return status::WithRetryAfter(
      status::WithReason(absl::UnavailableError("whether the token is revoked is not known at the moment"),
                         "REVOCATION_UNKNOWN"),
      absl::Seconds(2));
}

absl::StatusOr<token::Principal> Authenticator::Admit(std::string_view full_method, const Credentials& credentials,
                                                      clock::SteadyTime deadline, bool may_wait) const {
  const auto access = AccessOf(full_method);
  const bool has_secret = !credentials.registration_secret.empty();
  const bool needs_no_identity = access.ok() && (access->anonymous || (access->registration_secret && has_secret));
  auto principal = Authenticate(credentials);
  absl::Status verdict = principal.status();
  if (verdict.ok()) verdict = Authorize(full_method, *principal, has_secret);
  if (verdict.ok()) verdict = CheckRevoked(*principal, deadline, may_wait);
  if (verdict.ok()) {
    if (!principal->api_token.empty()) token_uses_.Note(principal->api_token, clock_->Now());
    return principal;
  }
  if (needs_no_identity) return token::Principal();
  return verdict;
}

absl::StatusOr<token::Access> Authenticator::AccessOf(std::string_view full_method) const {
  const std::string name = DottedName(full_method);
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (const auto it = access_.find(name); it != access_.end()) return it->second;
  }
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(name);
  if (method == nullptr || !method->options().HasExtension(pganalytics::common::v1::access)) {
    return absl::NotFoundError("this method has no access rule");
  }
  const token::Access access = ToAccess(method->options().GetExtension(pganalytics::common::v1::access));
  absl::MutexLock lock(&mutex_);
  access_.emplace(name, access);
  return access;
}

void Authenticator::SetAccess(std::string_view full_method, const token::Access& access) {
  absl::MutexLock lock(&mutex_);
  access_[DottedName(full_method)] = access;
}

const token::ServiceRow* Authenticator::ServiceOf(std::string_view authorization) const {
  if (!authorization.starts_with(kBearer) || authorization.size() > token::Verifier::kMaxTokenBytes) return nullptr;
  const std::string token(authorization.substr(kBearer.size()));
  const absl::Time now = clock_->Now();
  {
    absl::ReaderMutexLock lock(&mutex_);
    if (const auto it = service_tokens_.find(token); it != service_tokens_.end()) {
      return now < it->second.expires_at ? it->second.service : nullptr;
    }
  }
  const auto principal = verifier_->Verify(token, now);
  if (!principal.ok() || principal->kind != token::Principal::kService) return nullptr;
  const token::ServiceRow* const service = token::FindService(principal->service);
  if (service == nullptr) return nullptr;
  absl::MutexLock lock(&mutex_);
  if (service_tokens_.size() >= kRememberedServiceTokens) service_tokens_.clear();
  service_tokens_[token] = {service, principal->expires_at};
  return service;
}

bool Authenticator::AuthenticatesCheaply(std::string_view authorization) const {
  return !authorization.starts_with(kBearer) || verifier_->VerifiesCheaply(authorization.substr(kBearer.size()));
}

}  // namespace pga::rpc
