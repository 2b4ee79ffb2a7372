#include "services/auth/rules.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <set>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/token/keys.h"
#include "libs/token/names.h"
#include "libs/token/principal.h"
#include "services/auth/common_passwords.h"

namespace pga::auth {
namespace {

// What people choose for this product, beside the common ones.
constexpr std::string_view kOwnWords[] = {"admin",    "administrator", "pganalytics",
                                          "postgres", "postgresql",    "timescale"};

absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}

bool IsCommon(std::string_view lower) {
  const auto common = CommonPasswords();
  return std::binary_search(common.begin(), common.end(), lower);
}

// From so many bytes on a password may be made of a word and an ornament.
constexpr size_t kLongEnoughForWords = 16;

// The middle of the password, from its first letter to its last; digits and signs within stay.
std::string WithoutOrnament(std::string_view lower) {
  const auto is_letter = [](char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || (c & 0x80) != 0; };
  const auto first = std::ranges::find_if(lower, is_letter);
  const auto last = std::find_if(lower.rbegin(), lower.rend(), is_letter);
  return first == lower.end() ? std::string() : std::string(first, last.base());
}

// 12345678, hgfedcba.
bool IsSequence(std::string_view text) {
  for (const int step : {1, -1}) {
    bool row = true;
    for (size_t i = 1; row && i < text.size(); ++i) row = text[i] - text[i - 1] == step;
    if (row) return true;
  }
  return false;
}

// Characters of valid UTF-8 (protobuf strings are), which is what people count.
size_t Characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

void RandomBytes(unsigned char* out, size_t size) {
  // Without random numbers nothing here is safe to hand out.
  if (RAND_bytes(out, static_cast<int>(size)) != 1) std::abort();
}

}  // namespace

absl::Duration LockAfter(int failures) {
  if (failures < kFailuresBeforeLock) return absl::ZeroDuration();
  const int doublings = std::min(failures - kFailuresBeforeLock, 5);
  return std::min(absl::Minutes(15), absl::Seconds(30) * (int64_t{1} << doublings));
}

std::string NormalName(std::string_view username) {
  return absl::AsciiStrToLower(ToAbsl(username));
}

absl::Status ValidateUsername(std::string_view username) {
  if (username.size() < 3 || username.size() > 255) {
    return absl::InvalidArgumentError("username must have 3 to 255 characters");
  }
  const bool plain = std::ranges::all_of(username, [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("._-@+").find(c) != std::string_view::npos;
  });
  if (!plain) {
    return absl::InvalidArgumentError(
        "username must be made of letters a-z, digits and . _ - @ +; full_name takes any name");
  }
  return absl::OkStatus();
}

absl::Status ValidateEmail(std::string_view email) {
  const absl::Status bad = absl::InvalidArgumentError("email must be an address such as name@example.com");
  if (email.size() > 254 || token::HasInvisible(email)) return bad;
  const size_t at = email.find('@');
  if (at == 0 || at == std::string_view::npos || at > 64 || email.find('@', at + 1) != std::string_view::npos)
    return bad;
  const std::string_view local = email.substr(0, at);
  const std::string_view domain = email.substr(at + 1);
  if (local.find_first_of(" \"(),:;<>[\\]") != std::string_view::npos || local.front() == '.' || local.back() == '.' ||
      local.find("..") != std::string_view::npos) {
    return bad;
  }
  if (domain.empty() || domain.size() > 253) return bad;
  size_t label = 0;
  for (size_t i = 0; i <= domain.size(); ++i) {
    if (i == domain.size() || domain[i] == '.') {
      if (label == 0 || label > 63 || domain[i - 1] == '-') return bad;
      label = 0;
      continue;
    }
    const auto c = static_cast<unsigned char>(domain[i]);
    if (std::isalnum(c) == 0 && c < 0x80 && !(c == '-' && label > 0)) return bad;
    ++label;
  }
  return absl::OkStatus();
}

absl::Status ValidatePassword(std::string_view password, std::string_view username) {
  if (password.size() < kMinPasswordBytes) {
    return absl::InvalidArgumentError(absl::StrCat("password must have at least ", kMinPasswordBytes, " characters"));
  }
  if (password.size() > kMaxPasswordBytes) {
    return absl::InvalidArgumentError(absl::StrCat("password must have at most ", kMaxPasswordBytes, " bytes"));
  }
  const std::string lower = absl::AsciiStrToLower(ToAbsl(password));
  if (lower == NormalName(username)) return absl::InvalidArgumentError("password must not be the username");
  if (std::set<char>(lower.begin(), lower.end()).size() < 4) {
    return absl::InvalidArgumentError("password must have at least four different characters");
  }
  if (IsSequence(lower)) {
    return absl::InvalidArgumentError("password must not be a row of neighbouring characters, such as 12345678");
  }
  if (IsCommon(lower)) {
    return absl::InvalidArgumentError("password is one of the most common ones; choose another");
  }
  if (lower.size() < kLongEnoughForWords) {
    const std::string word = WithoutOrnament(lower);
    if (word.empty()) {
      return absl::InvalidArgumentError("password must hold letters, or have at least 16 characters");
    }
    if (IsCommon(word) || word == NormalName(username) || std::ranges::find(kOwnWords, word) != std::end(kOwnWords)) {
      return absl::InvalidArgumentError(
          "password is a common word or the username with digits and signs around it; use several words or a longer "
          "random one");
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateFullName(std::string_view full_name) {
  if (Characters(full_name) > 255 || token::HasInvisible(full_name)) {
    return absl::InvalidArgumentError("full_name must have at most 255 characters and no control characters");
  }
  return absl::OkStatus();
}

absl::Status ValidateRole(std::string_view role) {
  if (token::ParseRole(role) == token::Role::kNone) {
    return absl::InvalidArgumentError("role must be admin, user or viewer");
  }
  return absl::OkStatus();
}

absl::Status ValidateLabel(std::string_view text, std::string_view what) {
  const size_t length = Characters(text);
  if (length < 1 || length > 255 || token::HasInvisible(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat(ToAbsl(what), " must have 1 to 255 characters and no control characters"));
  }
  return absl::OkStatus();
}

bool IsProtected(std::string_view username) {
  return NormalName(username) == kProtectedUsername;
}

std::string TemporaryPassword() {
  static constexpr std::string_view kSets[] = {"abcdefghijkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789"};
  static constexpr std::string_view kAll = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
  constexpr size_t kLength = 16;
  while (true) {
    std::string password;
    while (password.size() < kLength) {
      unsigned char byte = 0;
      RandomBytes(&byte, 1);
      // Values past the last whole multiple are thrown away: every character is equally likely.
      if (byte < 256 / kAll.size() * kAll.size()) password.push_back(kAll[byte % kAll.size()]);
    }
    const bool all_kinds = std::all_of(std::begin(kSets), std::end(kSets), [&](std::string_view set) {
      return password.find_first_of(set) != std::string::npos;
    });
    if (all_kinds) return password;
  }
}

std::string RandomSecret() {
  std::array<unsigned char, 32> bytes{};
  RandomBytes(bytes.data(), bytes.size());
  return token::Base64UrlEncode({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

}  // namespace pga::auth
