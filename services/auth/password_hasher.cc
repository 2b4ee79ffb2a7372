#include "services/auth/password_hasher.h"

#include <argon2.h>
#include <openssl/rand.h>

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"
#include "services/auth/rules.h"

namespace pga::auth {
namespace {

constexpr size_t kSaltBytes = 16;
constexpr size_t kHashBytes = 32;

absl::Status Busy() {
  return status::WithRetryAfter(
      status::WithReason(absl::ResourceExhaustedError("too many sign-ins at the moment; try again"), "SIGN_IN_BUSY"),
      absl::Seconds(2));
}

}  // namespace

PasswordHasher::Slot::~Slot() {
  if (hasher_ != nullptr) hasher_->Release();
}

PasswordHasher::PasswordHasher(PasswordHasherOptions options)
    : options_(options),
      prefix_(absl::StrCat("$argon2id$v=19$m=", options.memory_kib, ",t=", options.passes, ",p=", options.lanes, "$")) {
  // A slot by hand: no other thread knows this object yet.
  ++running_;
  const Slot slot(this);
  dummy_ = Hash(slot, RandomSecret()).value_or("");
}

absl::StatusOr<PasswordHasher::Slot> PasswordHasher::Acquire(clock::SteadyTime deadline) {
  absl::MutexLock lock(&mutex_);
  if (!HasFree() && waiting_ >= options_.max_waiting) return Busy();
  ++waiting_;
  const bool free = clock::AwaitUntil(mutex_, absl::Condition(this, &PasswordHasher::HasFree), deadline);
  --waiting_;
  if (!free) return Busy();
  ++running_;
  return Slot(this);
}

void PasswordHasher::Release() {
  absl::MutexLock lock(&mutex_);
  --running_;
}

absl::StatusOr<std::string> PasswordHasher::Hash(const Slot&, std::string_view password) const {
  std::array<unsigned char, kSaltBytes> salt{};
  if (RAND_bytes(salt.data(), static_cast<int>(salt.size())) != 1) {
    return absl::InternalError("the random number generator failed");
  }
  std::string encoded(
      argon2_encodedlen(options_.passes, options_.memory_kib, options_.lanes, kSaltBytes, kHashBytes, Argon2_id), '\0');
  const int code =
      argon2id_hash_encoded(options_.passes, options_.memory_kib, options_.lanes, password.data(), password.size(),
                            salt.data(), salt.size(), kHashBytes, encoded.data(), encoded.size());
  if (code != ARGON2_OK) return absl::InternalError(absl::StrCat("password hash: ", argon2_error_message(code)));
  encoded.resize(encoded.find('\0'));
  return encoded;
}

bool PasswordHasher::Verify(const Slot&, std::string_view encoded, std::string_view password) const {
  // Costs come from our own database, yet a hash with absurd ones must not be computed.
  const bool known =
      encoded.size() < 512 && encoded.starts_with("$argon2id$v=19$m=") && encoded.find("m=") != std::string_view::npos;
  const std::string text(known ? encoded : std::string_view(dummy_));
  const int code = argon2id_verify(text.c_str(), password.data(), password.size());
  return known && code == ARGON2_OK;
}

bool PasswordHasher::NeedsRehash(std::string_view encoded) const {
  return !encoded.starts_with(prefix_);
}

}  // namespace pga::auth
