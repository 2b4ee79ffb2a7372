// Turns a token into a Principal, or refuses it. The key id picks the key, and with it the one algorithm, before any
// claim is read: the token has no say in how it is checked (RFC 8725). Tokens without a key id are those of 3.2.0:
// HS256 with the shared secret, allowed only where there is one.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/token/claims.h"

namespace pga::token {

// Thread-safe; checking computes only and never blocks on anything but a short lock. What it costs: token_benchmark.
class Verifier {
 public:
  // Longest token looked at, in bytes.
  static constexpr size_t kMaxTokenBytes = 8 * 1024;
  // How far clocks may differ.
  static constexpr absl::Duration kLeeway = absl::Seconds(60);

  Verifier();
  ~Verifier();
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;

  // Replaces the shared secrets of HS256: the first is today's, further ones are former secrets that stay good while
  // they are rotated out. At most 4, none empty: else INVALID_ARGUMENT and nothing changes. Empty list = no HS256.
  absl::Status SetHmacSecrets(const std::vector<std::string>& secrets);

  // Replaces the ES256 keys by those of a key set (KeysFromJwks); INVALID_ARGUMENT leaves the former keys in force.
  absl::Status SetJwks(std::string_view json);

  // Called, without locks held, whenever a token names a key this verifier does not have, so that a fresh key set can
  // be asked for. Set before the first Verify; the function must return at once and be thread-safe. A verifier with
  // this function follows a key set: until SetJwks has brought the first, it cannot know whether a token of ES256 is
  // good.
  void OnUnknownKey(std::function<void()> hook);

  // The principal of an access token at the instant `now`. UNAUTHENTICATED with a reason (status::ReasonOf):
  // TOKEN_MALFORMED, TOKEN_KEY_UNKNOWN, TOKEN_SIGNATURE, TOKEN_EXPIRED, TOKEN_NOT_YET_VALID, TOKEN_CLAIMS; UNAVAILABLE,
  // TOKEN_KEYS_NOT_READ with a delay to try again (status::RetryAfterOf), while the key set that is followed has not
  // come. Revocation is not looked at: see RevocationSet.
  absl::StatusOr<Principal> Verify(std::string_view token, absl::Time now) const;

  // The same for a token of the given type, with the claims that only auth needs.
  absl::StatusOr<Claims> VerifyClaims(std::string_view token, TokenType type, absl::Time now) const;

  // Whether Verify needs no public-key operation for this token: its signature was found good a moment ago, or it is
  // refused or checked without one. For callers that ask a limit before they let a stranger cost half a millisecond.
  bool VerifiesCheaply(std::string_view token) const;

 private:
  class GoodSignatures;
  struct KeySet;
  std::shared_ptr<const KeySet> keys() const;

  mutable absl::Mutex mutex_;
  std::shared_ptr<const KeySet> keys_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_unknown_key_;
};

}  // namespace pga::token
