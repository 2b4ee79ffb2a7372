#include "services/auth/api_tokens.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"
#include "services/auth/digest.h"
#include "services/auth/rules.h"

namespace pga::auth {
namespace {

constexpr size_t kMostGroups = 64;

// 122 random bits in the form of a UUID of version 4.
std::string RandomUuid() {
  std::string hex = token::RandomHex(16);
  if (hex.size() != 32) return "";
  hex[12] = '4';
  hex[16] = "89ab"[hex[16] % 4];
  for (const size_t at : {8, 13, 18, 23}) hex.insert(at, "-");
  return hex;
}

absl::Status CheckGroups(const std::vector<std::string>& groups) {
  const bool plain = std::ranges::all_of(groups, [](const std::string& group) {
    return !group.empty() && group.size() <= 128 && std::ranges::all_of(group, [](char c) {
      return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\' && c != 0x7F;
    });
  });
  if (plain && groups.size() <= kMostGroups) return absl::OkStatus();
  return absl::InvalidArgumentError("groups must be at most 64 names of 1 to 128 characters");
}

std::string ChangesOf(const ApiTokenRecord& token) {
  std::string json = R"({"name":)";
  log::AppendJsonString(token.name, &json);
  absl::StrAppend(&json, R"(,"role":")", token.role, R"(","query_texts":)", token.query_texts ? "true" : "false",
                  R"(,"groups":[)");
  for (size_t i = 0; i < token.groups.size(); ++i) {
    if (i > 0) json.push_back(',');
    log::AppendJsonString(token.groups[i], &json);
  }
  absl::StrAppend(&json, R"(],"expires_at":")",
                  absl::FormatTime(absl::RFC3339_sec, token.expires_at, absl::UTCTimeZone()), R"("})");
  return json;
}

}  // namespace

ApiTokens::ApiTokens(AuthStore* store, const TokenIssuer* issuer, clock::Clock* clock,
                     std::function<void()> on_revocation)
    : store_(store), issuer_(issuer), clock_(clock), on_revocation_(std::move(on_revocation)) {}

absl::StatusOr<ApiTokens::Created> ApiTokens::Create(const Caller& caller, const Wanted& wanted) {
  if (!caller.principal.api_token.empty()) {
    return status::WithReason(absl::PermissionDeniedError("An API token makes no API tokens; sign in"), "API_TOKEN");
  }
  PGA_RETURN_IF_ERROR(ValidateLabel(wanted.name, "name"));
  PGA_RETURN_IF_ERROR(CheckGroups(wanted.groups));
  Created created;
  ApiTokenRecord& token = created.record;
  token.role = wanted.role.empty() ? "viewer" : wanted.role;
  PGA_RETURN_IF_ERROR(ValidateRole(token.role));
  const absl::Time now = clock_->Now();
  token.expires_at = wanted.expires_at.value_or(now + kDefaultLifetime);
  if (token.expires_at <= now || token.expires_at > now + kLongestLifetime) {
    return absl::InvalidArgumentError("expires_at must be in the future, at most 366 days ahead");
  }
  token.id = RandomUuid();
  if (token.id.empty()) return absl::InternalError("the random number generator failed");
  token.name = wanted.name;
  token.groups = wanted.groups;
  token.query_texts = wanted.query_texts;
  token.created_by = caller.principal.user_id;
  token.created_by_username = caller.principal.username;
  PGA_ASSIGN_OR_RETURN(const IssuedToken issued, issuer_->ApiToken(token, now));
  token.created_at = issued.issued_at;
  token.expires_at = issued.expires_at;
  AuditEntry audit = AuditOf(caller, "api_token.create", "api_token", token.id);
  audit.changes_json = ChangesOf(token);
  PGA_RETURN_IF_ERROR(store_->AddApiToken(token, Sha256(issued.token), audit, caller.deadline));
  created.value = issued.token;
  return created;
}

absl::StatusOr<std::vector<ApiTokenRecord>> ApiTokens::List(const Caller& caller) {
  return store_->ListApiTokens(clock_->Now() - kListEndedFor, caller.deadline);
}

absl::Status ApiTokens::Revoke(const Caller& caller, const std::string& id) {
  PGA_RETURN_IF_ERROR(
      store_->RevokeApiToken(id, clock_->Now(), AuditOf(caller, "api_token.revoke", "api_token", id), caller.deadline));
  on_revocation_();
  return absl::OkStatus();
}

}  // namespace pga::auth
