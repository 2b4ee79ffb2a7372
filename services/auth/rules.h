#pragma once

// Rules of accounts that need neither a database nor a network: what a valid name is, how long a lock lasts, what a
// temporary password looks like. Pure functions.

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace pga::auth {

inline constexpr size_t kMinPasswordBytes = 8;
inline constexpr size_t kMaxPasswordBytes = 256;
inline constexpr char kProtectedUsername[] = "admin";

// Failures in a row after which an account is locked for a while, for the address they came from: nobody can lock
// somebody else out.
inline constexpr int kFailuresBeforeLock = 10;
// The same over all addresses from which the account has not been signed in to: a guess a time from many addresses.
inline constexpr int kFailuresOfStrangersBeforeLock = 100;
// Failures older than this are forgotten.
inline constexpr absl::Duration kFailureMemory = absl::Hours(24);

// How long an account is locked after so many failures in a row: zero below kFailuresBeforeLock, then 30 s, doubled
// with each further failure up to 15 min. The limit keeps a stranger from locking somebody out for long.
absl::Duration LockAfter(int failures);

// The one form by which accounts are found and counted: names that people take for equal are one account.
std::string NormalName(std::string_view username);

// INVALID_ARGUMENT with a text for the caller that says the rule. Usernames: 3 to 255 of a-z, A-Z, 0-9 and . _ - @ +,
// so that no two look alike. Passwords: 8 to 256 bytes, four different characters, none of the most common ones, below
// 16 bytes no common word with digits and signs around it, not the username.
absl::Status ValidateUsername(std::string_view username);
absl::Status ValidateEmail(std::string_view email);
absl::Status ValidatePassword(std::string_view password, std::string_view username);
absl::Status ValidateFullName(std::string_view full_name);
absl::Status ValidateRole(std::string_view role);
// 1 to 255 characters, UTF-8, without control and invisible characters; `what` names the field.
absl::Status ValidateLabel(std::string_view text, std::string_view what);

// Whether the account is the one whose role and activity nobody may change.
bool IsProtected(std::string_view username);

// 16 characters from a secure generator with lower and upper case letters and digits in them, none that look alike.
std::string TemporaryPassword();

// URL-safe base64 without padding of 32 random bytes: 43 characters.
std::string RandomSecret();

}  // namespace pga::auth
