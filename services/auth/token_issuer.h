#pragma once

// What tokens auth hands out and for how long; the form and the signature are libs/token's.

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/token/signer.h"
#include "services/auth/auth_store.h"

namespace pga::auth {

struct TokenLifetimes {
  absl::Duration access = absl::Minutes(15);
  absl::Duration refresh = absl::Hours(24);
  absl::Duration collector = absl::Hours(24);
  absl::Duration service = absl::Minutes(10);
};

struct IssuedToken {
  std::string token;
  std::string jti;
  absl::Time issued_at;
  absl::Time expires_at;
};

// Immutable and thread-safe.
class TokenIssuer {
 public:
  // `signer` outlives the issuer.
  TokenIssuer(const token::Signer* signer, TokenLifetimes lifetimes) : signer_(signer), lifetimes_(lifetimes) {}

  // Both expire with the session at the latest. `jti` is the refresh token's id, which the session's row knows already.
  absl::StatusOr<IssuedToken> Access(const UserRecord& user, std::string_view session, absl::Time session_end,
                                     absl::Time now) const;
  absl::StatusOr<IssuedToken> Refresh(const UserRecord& user, std::string_view session, std::string_view jti,
                                      absl::Time session_end, absl::Time now) const;
  // Of the record's id, until the record's expires_at.
  absl::StatusOr<IssuedToken> ApiToken(const ApiTokenRecord& token, absl::Time now) const;
  absl::StatusOr<IssuedToken> Collector(std::string_view collector_id, std::string_view hostname, absl::Time now) const;
  absl::StatusOr<IssuedToken> Service(std::string_view service, absl::Time now) const;

  const TokenLifetimes& lifetimes() const { return lifetimes_; }

 private:
  absl::StatusOr<IssuedToken> Sign(token::Claims claims, absl::Time now, absl::Time expires_at) const;

  const token::Signer* signer_;
  TokenLifetimes lifetimes_;
};

}  // namespace pga::auth
