#pragma once

// The rules of tokens for programs: who makes them, what they may do, for how long. A token is signed like a person's
// and verified alike; only its hash is stored. No gRPC, no SQL. Thread-safe; every method blocks until the caller's
// deadline at most.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "services/auth/accounts.h"
#include "services/auth/auth_store.h"
#include "services/auth/token_issuer.h"

namespace pga::auth {

class ApiTokens {
 public:
  static constexpr absl::Duration kDefaultLifetime = absl::Hours(24 * 90);
  static constexpr absl::Duration kLongestLifetime = absl::Hours(24 * 366);
  // Ended tokens are listed for so long.
  static constexpr absl::Duration kListEndedFor = absl::Hours(24 * 30);

  // What is passed in outlives the object. `on_revocation` is called after something was revoked and must not block.
  ApiTokens(AuthStore* store, const TokenIssuer* issuer, clock::Clock* clock, std::function<void()> on_revocation);

  struct Wanted {
    std::string name;
    // Empty = viewer.
    std::string role;
    std::vector<std::string> groups;
    bool query_texts = false;
    std::optional<absl::Time> expires_at;
  };
  struct Created {
    ApiTokenRecord record;
    std::string value;  // shown once, kept nowhere
  };
  // INVALID_ARGUMENT for a field, ALREADY_EXISTS for a name in force, PERMISSION_DENIED (API_TOKEN) for a caller that
  // shows such a token itself: what was revoked must leave nothing behind.
  absl::StatusOr<Created> Create(const Caller& caller, const Wanted& wanted);
  absl::StatusOr<std::vector<ApiTokenRecord>> List(const Caller& caller);
  absl::Status Revoke(const Caller& caller, const std::string& id);

 private:
  AuthStore* const store_;
  const TokenIssuer* const issuer_;
  clock::Clock* const clock_;
  const std::function<void()> on_revocation_;
};

}  // namespace pga::auth
