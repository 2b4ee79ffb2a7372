#include "services/auth/token_issuer.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "libs/status/status.h"
#include "libs/token/keys.h"

namespace pga::auth {
namespace {

token::Claims UserClaims(const UserRecord& user, std::string_view session, token::TokenType type) {
  token::Claims claims;
  claims.type = type;
  claims.email = user.email;
  claims.principal.kind = token::Principal::kUser;
  claims.principal.user_id = user.id;
  claims.principal.subject = token::UserSubject(user.id);
  claims.principal.username = user.username;
  claims.principal.role = user.role;
  claims.principal.all_groups = true;
  claims.principal.session = std::string(session);
  return claims;
}

}  // namespace

absl::StatusOr<IssuedToken> TokenIssuer::Sign(token::Claims claims, absl::Time now, absl::Time expires_at) const {
  IssuedToken issued;
  issued.jti = claims.principal.jti.empty() ? token::RandomHex(16) : claims.principal.jti;
  if (issued.jti.empty()) return absl::InternalError("the random number generator failed");
  // The database keeps microseconds; the token must say the same instant.
  issued.issued_at = absl::FromUnixMicros(absl::ToUnixMicros(now));
  issued.expires_at = absl::FromUnixSeconds(absl::ToUnixSeconds(expires_at));
  claims.principal.jti = issued.jti;
  claims.principal.issued_at = issued.issued_at;
  claims.principal.expires_at = issued.expires_at;
  PGA_ASSIGN_OR_RETURN(issued.token, signer_->Sign(claims));
  return issued;
}

absl::StatusOr<IssuedToken> TokenIssuer::Access(const UserRecord& user, std::string_view session,
                                                absl::Time session_end, absl::Time now) const {
  return Sign(UserClaims(user, session, token::TokenType::kAccess), now,
              std::min(session_end, now + lifetimes_.access));
}

absl::StatusOr<IssuedToken> TokenIssuer::Refresh(const UserRecord& user, std::string_view session, std::string_view jti,
                                                 absl::Time session_end, absl::Time now) const {
  token::Claims claims = UserClaims(user, session, token::TokenType::kRefresh);
  claims.principal.jti = std::string(jti);
  return Sign(std::move(claims), now, std::min(session_end, now + lifetimes_.refresh));
}

absl::StatusOr<IssuedToken> TokenIssuer::ApiToken(const ApiTokenRecord& token, absl::Time now) const {
  token::Claims claims;
  claims.principal.kind = token::Principal::kUser;
  claims.principal.api_token = token.id;
  claims.principal.jti = token.id;
  claims.principal.subject = token::ApiTokenSubject(token.id);
  claims.principal.user_id = token.created_by.value_or(0);
  claims.principal.username = token.name;
  claims.principal.role = token.role;
  claims.principal.query_texts = token.query_texts;
  claims.principal.all_groups = token.groups.empty();
  claims.principal.groups = token.groups;
  return Sign(std::move(claims), now, token.expires_at);
}

absl::StatusOr<IssuedToken> TokenIssuer::Collector(std::string_view collector_id, std::string_view hostname,
                                                   absl::Time now) const {
  token::Claims claims;
  claims.principal.kind = token::Principal::kCollector;
  claims.principal.collector_id = std::string(collector_id);
  claims.principal.hostname = std::string(hostname);
  claims.principal.subject = token::CollectorSubject(collector_id);
  return Sign(std::move(claims), now, now + lifetimes_.collector);
}

absl::StatusOr<IssuedToken> TokenIssuer::Service(std::string_view service, absl::Time now) const {
  token::Claims claims;
  claims.principal.kind = token::Principal::kService;
  claims.principal.service = std::string(service);
  claims.principal.subject = token::ServiceSubject(service);
  return Sign(std::move(claims), now, now + lifetimes_.service);
}

}  // namespace pga::auth
