// Which credentials were revoked, as far as auth has reported to this process. Bounded and thread-safe; every call
// takes one short lock and never waits for anything else.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/token/principal.h"

namespace pga::token {

// Credentials of `subject` issued before `issued_before` are invalid; or, where `jti` is set, the one token with that
// id or all of the refresh family with that id. For a client certificate the id is its SHA-256 in lower-case hex.
struct Revocation {
  int64_t number = 0;
  std::string subject = {};
  absl::Time issued_before = absl::InfinitePast();
  std::string jti = {};
};

class RevocationSet {
 public:
  // Without news for this long people's tokens are no longer taken on trust (see rpc::Authenticator).
  static constexpr absl::Duration kNewsWithin = absl::Seconds(5);
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::min();
  static constexpr size_t kDefaultMaxEntries = 1'000'000;

  explicit RevocationSet(size_t max_entries = kDefaultMaxEntries) : max_entries_(max_entries) {}
  RevocationSet(const RevocationSet&) = delete;
  RevocationSet& operator=(const RevocationSet&) = delete;

  // The points in time of this class are clock::Clock::BoottimeNanos: a wall clock that is set makes no news older or
  // younger, and time the host slept counts.

  // Takes in a batch received at `now`; an empty one is news as well. Repeats and any order are fine.
  void Apply(std::span<const Revocation> batch, int64_t now);

  // Drops token ids received before `before`: their tokens have expired. Subjects stay: there are few.
  void Forget(int64_t before);

  // Whether a credential is known to be revoked. Services' tokens never are: they live for minutes.
  bool IsRevoked(const Principal& principal) const;

  // Whether the set can be trusted to be complete at `now`: news came within kNewsWithin and everything fitted.
  bool HasNews(int64_t now) const;

  // Start and end of a stretch without reliable news are the owner's to mark: after a lost subscription HasNews is
  // false until the next Apply.
  void LoseNews();

  // When news came last; kNever before any.
  int64_t last_news() const;
  // Highest number taken in; where to resume the subscription.
  int64_t last_number() const;
  size_t size() const;

 private:
  const size_t max_entries_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, absl::Time> issued_before_ ABSL_GUARDED_BY(mutex_);
  // Token or family id -> when it was received.
  absl::flat_hash_map<std::string, int64_t> ids_ ABSL_GUARDED_BY(mutex_);
  int64_t last_news_ ABSL_GUARDED_BY(mutex_) = kNever;
  int64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  bool overflowed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pga::token
