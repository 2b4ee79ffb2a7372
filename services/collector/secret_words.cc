#include "services/collector/secret_words.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>

#include "absl/strings/ascii.h"

namespace pga::collector {
namespace {

// Anywhere in a name.
constexpr std::string_view kInNames[] = {
    "password",  "passwd",     "passw",      "passphrase",  "passcode", "passfile",   "pgpass",         "kennwort",
    "pwd",       "secret",     "token",      "apikey",      "api_key",  "api-key",    "bearer",         "credential",
    "accesskey", "access_key", "privatekey", "private_key", "sslkey",   "client_key", "encryption_key", "master_key",
    "authkey",   "auth_key",   "cookie",     "scram"};
// As a part of a name, between underscores, other signs and its ends.
constexpr std::string_view kPartsOfNames[] = {"pw", "pass", "pin", "psk", "otp", "totp", "salt", "cvv", "cvc", "iban"};
// Anywhere in a text: functions that take keys and passwords, clauses that take connection strings, commands or values
// for others, what begins an encoded secret.
constexpr std::string_view kInTexts[] = {
    "crypt",    "hmac",    "digest",  "pgp_",    "md5",        "dblink",         "conninfo",   "connect",
    "option",   "program", "notify",  "execute", "set_config", "security label", "identified", "authenticat",
    "authoriz", "login",   "sign_in", "signin",  "uescape",    "-----begin",     "eyj",        "akia"};

bool Contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool IsPart(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || static_cast<unsigned char>(c) >= 0x80;
}

bool NamesSecretInLowerCase(std::string_view text) {
  for (const std::string_view sign : kInNames) {
    if (Contains(text, sign)) return true;
  }
  for (size_t at = 0; at < text.size();) {
    size_t end = at;
    while (end < text.size() && IsPart(text[end])) ++end;
    const std::string_view part = text.substr(at, end - at);
    if (std::find(std::begin(kPartsOfNames), std::end(kPartsOfNames), part) != std::end(kPartsOfNames)) return true;
    at = end + 1;
  }
  return false;
}

std::string LowerCase(std::string_view text) {
  return absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
}

// A URL with user information: scheme://user:password@host.
bool HoldsUserInformation(std::string_view text) {
  const size_t scheme = text.find("://");
  return scheme != std::string_view::npos && text.find('@', scheme) != std::string_view::npos;
}

bool Speaks(std::string_view text) {
  if (NamesSecretInLowerCase(text) || HoldsUserInformation(text)) return true;
  return std::any_of(std::begin(kInTexts), std::end(kInTexts),
                     [text](std::string_view sign) { return Contains(text, sign); });
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The number of at most `most` digits of `base` at `at`, which moves behind it; -1 if there are fewer than `least`.
int Digits(std::string_view text, size_t* at, int base, int least, int most) {
  int value = 0;
  int count = 0;
  while (count < most && *at < text.size()) {
    const int digit = HexDigit(text[*at]);
    if (digit < 0 || digit >= base) break;
    value = value * base + digit;
    ++*at;
    ++count;
  }
  return count < least ? -1 : value;
}

// `text` (in lower case) with the escapes of E'' or of U&'' replaced by their characters; signs are ASCII, so that
// every other character may become the same byte.
std::string WithoutEscapes(std::string_view text, bool unicode) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '\\' || i + 1 >= text.size()) {
      out.push_back(text[i++]);
      continue;
    }
    const char kind = text[i + 1];
    size_t at = i + 1;
    int value = -1;
    if (unicode) {
      if (kind == '+') {
        ++at;
        value = Digits(text, &at, 16, 6, 6);
      } else {
        value = Digits(text, &at, 16, 4, 4);
      }
    } else if (kind == 'x' || kind == 'u') {
      ++at;
      // \U has eight digits, of which the first are zeros for ASCII; in lower case it cannot be distinguished from \u.
      const size_t digits = at;
      value = kind == 'x' ? Digits(text, &at, 16, 1, 2) : Digits(text, &at, 16, 4, 4);
      if (kind == 'u' && value == 0) {
        at = digits;
        value = Digits(text, &at, 16, 8, 8);
      }
    } else {
      value = Digits(text, &at, 8, 1, 3);
    }
    if (value < 0) {
      // \p is p; the backslash alone goes.
      ++i;
      continue;
    }
    out.push_back(value > 0 && value < 0x80 ? static_cast<char>(value) : '\x80');
    i = at;
  }
  return LowerCase(out);
}

}  // namespace

bool NamesSecret(std::string_view name) {
  return NamesSecretInLowerCase(LowerCase(name));
}

bool SpeaksOfSecret(std::string_view text) {
  const std::string lower = LowerCase(text);
  if (Speaks(lower)) return true;
  if (!Contains(lower, "\\")) return false;
  return Speaks(WithoutEscapes(lower, /*unicode=*/false)) || Speaks(WithoutEscapes(lower, /*unicode=*/true));
}

}  // namespace pga::collector
