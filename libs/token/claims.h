// What a token says: the principal, what the token is for, and the claims that services do not need.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "libs/token/principal.h"

namespace pga::token {

inline constexpr char kIssuer[] = "pganalytics";
inline constexpr char kUserAudience[] = "pganalytics";
inline constexpr char kCollectorAudience[] = "pganalytics-collector";
inline constexpr char kServiceAudience[] = "pganalytics-service";

// A refresh token is only good for asking auth for another pair; no method accepts it as identity.
enum class TokenType { kAccess, kRefresh };

struct Claims {
  TokenType type = TokenType::kAccess;
  // kind decides which fields are written; subject is derived from them when it is empty. issued_at (microseconds are
  // kept) and expires_at must be set; an empty jti is replaced by 128 random bits.
  Principal principal = {};
  // People only; may be empty.
  std::string email = {};
};

}  // namespace pga::token
