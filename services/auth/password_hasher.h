#pragma once

// Argon2id (RFC 9106) with 19 MiB, two passes, one lane (OWASP's second recommendation of equal strength). Each hash
// costs its memory, so only a few run at a time and a bounded number waits: sign-in must not be a memory bomb.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"

namespace pga::auth {

struct PasswordHasherOptions {
  uint32_t memory_kib = 19 * 1024;
  uint32_t passes = 2;
  uint32_t lanes = 1;
  int max_concurrent = 2;  // hashes at a time
  int max_waiting = 16;    // callers that wait for one
};

// Thread-safe.
class PasswordHasher {
 public:
  explicit PasswordHasher(PasswordHasherOptions options = {});

  // The right to compute one hash; released by the destructor.
  class Slot {
   public:
    Slot(Slot&& other) noexcept : hasher_(other.hasher_) { other.hasher_ = nullptr; }
    Slot& operator=(Slot&&) = delete;
    ~Slot();

   private:
    friend class PasswordHasher;
    explicit Slot(PasswordHasher* hasher) : hasher_(hasher) {}
    PasswordHasher* hasher_;
  };

  // Waits for a free slot. RESOURCE_EXHAUSTED with a retry delay when too many wait already or the deadline comes
  // first.
  absl::StatusOr<Slot> Acquire(clock::SteadyTime deadline);

  // Encoded hash ($argon2id$v=19$m=...,t=...,p=...$salt$hash) with a fresh salt. Takes some 30 ms.
  absl::StatusOr<std::string> Hash(const Slot& slot, std::string_view password) const;

  // Whether the password belongs to the encoded hash. An empty or unreadable hash takes the same time as a good one and
  // never matches: that is how unknown users are checked.
  bool Verify(const Slot& slot, std::string_view encoded, std::string_view password) const;

  // Whether the hash was made with other costs than today's and should be made anew at the next sign-in.
  bool NeedsRehash(std::string_view encoded) const;

 private:
  void Release();
  bool HasFree() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return running_ < options_.max_concurrent; }

  const PasswordHasherOptions options_;
  const std::string prefix_;
  std::string dummy_;  // hash of a random password; what unknown users are compared with
  absl::Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pga::auth
