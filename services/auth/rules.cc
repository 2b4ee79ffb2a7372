#include "services/auth/rules.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "libs/token/keys.h"
#include "libs/token/principal.h"

namespace pga::auth {
namespace {

// Most frequent ones of published breaches that pass the length rule, in lower case; compared without case.
constexpr std::string_view kCommonPasswords[] = {
    "00000000",    "0123456789",    "0987654321",  "11111111",   "111111111",  "1111111111", "11223344",
    "12121212",    "123123123",     "12341234",    "12344321",   "12345678",   "123456789",  "1234567890",
    "123456789a",  "1234567a",      "1234qwer",    "12qwaszx",   "147258369",  "1q2w3e4r",   "1q2w3e4r5t",
    "1qaz2wsx",    "1qazxsw2",      "20202020",    "22222222",   "31415926",   "55555555",   "66666666",
    "77777777",    "87654321",      "88888888",    "987654321",  "99999999",   "a1234567",   "a12345678",
    "aa123456",    "aaaaaaaa",      "abc12345",    "abcd1234",   "abcdefgh",   "access14",   "admin123",
    "admin1234",   "administrator", "asdf1234",    "asdfasdf",   "asdfghjk",   "asdfghjkl",  "babygirl",
    "bailey123",   "baseball",      "basketball",  "blink182",   "butterfly",  "changeme",   "changeme1",
    "charlie1",    "chocolate",     "computer",    "corvette",   "dragon123",  "drowssap",   "elephant",
    "fc123456",    "fishing1",      "football",    "football1",  "freedom1",   "fuckyou1",   "gfhjkm123",
    "google123",   "harley123",     "hello123",    "hello1234",  "iloveyou",   "iloveyou1",  "internet",
    "jennifer",    "jordan23",      "letmein1",    "letmein123", "liverpool",  "liverpool1", "lovelove",
    "marlboro",    "master123",     "maverick",    "mercedes",   "michael1",   "michelle",   "midnight",
    "monkey123",   "mustang1",      "myspace1",    "newyork1",   "nicholas",   "p@ssw0rd",   "p@ssword",
    "pa55word",    "passw0rd",      "password",    "password!",  "password1",  "password1!", "password12",
    "password123", "password1234",  "pganalytics", "pokemon123", "postgres",   "postgres1",  "postgresql",
    "princess",    "princess1",     "q1w2e3r4",    "q1w2e3r4t5", "qazwsxedc",  "qqqqqqqq",   "qwer1234",
    "qwerty12",    "qwerty123",     "qwerty1234",  "qwertyui",   "qwertyuiop", "red123456",  "root1234",
    "rush2112",    "sailormoon",    "samantha",    "scorpion",   "secret123",  "september",  "spiderman",
    "starwars",    "steelers",      "sunshine",    "sunshine1",  "superman",   "superman1",  "test1234",
    "testtest",    "trustno1",      "vmware123",   "welcome1",   "welcome123", "whatever",   "whatever1",
    "william1",    "xxxxxxxx",      "yankees1",    "zaq12wsx",   "zaq1zaq1",   "zxcvbnm1",   "zxcvbnm123",
    "zzzzzzzz"};

absl::string_view ToAbsl(std::string_view text) {
  return {text.data(), text.size()};
}

bool HasControl(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto u = static_cast<unsigned char>(c);
    return u < 0x20 || u == 0x7F;
  });
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

absl::Status ValidateUsername(std::string_view username) {
  const size_t length = Characters(username);
  if (length < 3 || length > 255) return absl::InvalidArgumentError("username must have 3 to 255 characters");
  if (HasControl(username) || absl::StripAsciiWhitespace(ToAbsl(username)).size() != username.size()) {
    return absl::InvalidArgumentError("username must not hold control characters or begin or end with a blank");
  }
  return absl::OkStatus();
}

absl::Status ValidateEmail(std::string_view email) {
  const absl::Status bad = absl::InvalidArgumentError("email must be an address such as name@example.com");
  if (email.size() > 254 || HasControl(email)) return bad;
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
  if (lower == absl::AsciiStrToLower(ToAbsl(username)) ||
      std::find(std::begin(kCommonPasswords), std::end(kCommonPasswords), std::string_view(lower)) !=
          std::end(kCommonPasswords)) {
    return absl::InvalidArgumentError("password is one of the most common ones; choose another");
  }
  return absl::OkStatus();
}

absl::Status ValidateFullName(std::string_view full_name) {
  if (Characters(full_name) > 255 || HasControl(full_name)) {
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
  if (length < 1 || length > 255 || HasControl(text)) {
    return absl::InvalidArgumentError(
        absl::StrCat(ToAbsl(what), " must have 1 to 255 characters and no control characters"));
  }
  return absl::OkStatus();
}

bool IsProtected(std::string_view username) {
  return absl::AsciiStrToLower(ToAbsl(username)) == kProtectedUsername;
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
