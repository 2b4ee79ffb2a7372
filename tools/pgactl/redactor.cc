#include "tools/pgactl/redactor.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/text/percent.h"

namespace pga::pgactl {
namespace {

constexpr size_t kShortestSecret = 6;
// A line of base64 of 32 bytes without its padding, and the shortest JSON web token that is taken for one.
constexpr size_t kKeyChars = 43;
constexpr size_t kShortestToken = 40;

bool IsWord(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
}

bool IsBase64(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '+' || c == '/';
}

bool IsTokenChar(char c) {
  return IsWord(c) || c == '.';
}

template <typename Predicate>
size_t RunOf(std::string_view text, size_t at, Predicate predicate) {
  size_t end = at;
  while (end < text.size() && predicate(text[end])) ++end;
  return end - at;
}

// Where the password of a URL stands whose "://" is at `at`: from and length; 0 = there is none.
size_t PasswordOfUrl(std::string_view text, size_t at, size_t* from) {
  size_t colon = 0;
  size_t last = 0;
  for (size_t i = at + 3; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '@') last = i;
    if (c == ':' && colon == 0) colon = i;
    // A password may hold a slash or a question mark that somebody forgot to encode: the last @ before a blank counts.
    if (absl::ascii_isspace(static_cast<unsigned char>(c)) || c == '"' || c == '\'' || c == '<' || c == '\\') break;
  }
  if (colon == 0 || last <= colon) return 0;
  *from = colon + 1;
  return last - colon - 1;
}

// The value that follows a key which ends at `at`: from and length, 0 = none follows.
size_t ValueAfterKey(std::string_view text, size_t at, bool key_alone, size_t* from) {
  size_t i = at;
  const auto skip = [&](std::string_view chars) {
    while (i < text.size() && chars.find(text[i]) != std::string_view::npos) ++i;
  };
  skip("\\\"'");
  skip(" \t");
  const bool assigned = i < text.size() && (text[i] == '=' || text[i] == ':');
  if (assigned) ++i;
  skip(" \t");
  // In a JSON text inside a JSON text quotes are escaped, and the next escaped one is the end.
  const bool nested = i < text.size() && text[i] == '\\';
  while (i < text.size() && text[i] == '\\') ++i;
  const char quote = i < text.size() && (text[i] == '"' || text[i] == '\'') ? text[i] : '\0';
  // SQL has no sign in between: PASSWORD 'x'.
  if (!assigned && !(key_alone && quote == '\'')) return 0;
  if (quote != '\0') ++i;
  *from = i;
  while (i < text.size()) {
    const char c = text[i];
    if (quote != '\0' ? c == quote
                      : absl::ascii_isspace(static_cast<unsigned char>(c)) ||
                            std::string_view(",;&)}]").find(c) != std::string_view::npos) {
      break;
    }
    if (quote != '\0' && c == '\\' && i + 1 < text.size() && (!nested || text[i + 1] != quote)) ++i;
    ++i;
  }
  size_t end = std::min(i, text.size());
  while (end > *from && text[end - 1] == '\\') --end;
  return end - *from;
}

}  // namespace

bool Redactor::NamesSecret(std::string_view name) {
  const std::string lower = absl::AsciiStrToLower(absl::string_view(name.data(), name.size()));
  for (const char* suffix : {"_file", "_path", "_dir", "_id", "_ids", "_count", "_expiration"}) {
    if (absl::EndsWith(lower, suffix)) return false;
  }
  for (const char* part : {"password", "passwd", "passphrase", "secret", "token", "authorization", "credential",
                           "cookie", "apikey", "api_key", "api-key", "private_key", "signing_key", "encryption_key",
                           "backup_key", "pagerduty_key", "slack_url", "webhook_url"}) {
    if (absl::StrContains(lower, part)) return true;
  }
  return lower == "pgpass" || absl::EndsWith(lower, "_key");
}

void Redactor::AddSecret(std::string_view value) {
  if (value.size() < kShortestSecret) return;
  secrets_.insert(std::string(value));
  secrets_.insert(text::PercentEncode(value));
}

void Redactor::LearnSetting(std::string_view name, std::string_view value) {
  if (NamesSecret(name)) AddSecret(value);
  for (size_t at = value.find("://"); at != std::string_view::npos; at = value.find("://", at + 3)) {
    size_t from = 0;
    if (const size_t length = PasswordOfUrl(value, at, &from); length > 0) AddSecret(value.substr(from, length));
  }
}

std::string Redactor::Redact(std::string_view text) const {
  std::string known(text);
  // The longest first: one may be a part of another.
  std::vector<std::pair<absl::string_view, absl::string_view>> replacements;
  for (const std::string& secret : secrets_)
    replacements.emplace_back(secret, absl::string_view(kRedacted.data(), kRedacted.size()));
  known = absl::StrReplaceAll(known, replacements);

  const std::string_view in(known);
  std::string out;
  out.reserve(in.size());
  size_t i = 0;
  const auto take_out = [&](size_t from, size_t length) {
    out.append(in.substr(i, from - i));
    out.append(kRedacted);
    i = from + length;
  };
  while (i < in.size()) {
    const std::string_view rest = in.substr(i);
    const bool begins = i == 0 || !IsWord(in[i - 1]);
    if (rest.starts_with("-----BEGIN ") && rest.substr(0, 60).find("PRIVATE KEY") != std::string_view::npos) {
      const size_t end = rest.find("-----END ");
      const size_t length = end == std::string_view::npos ? rest.size() : end;
      take_out(i, length);
      continue;
    }
    if (rest.starts_with("://")) {
      size_t from = 0;
      if (const size_t length = PasswordOfUrl(in, i, &from); length > 0) {
        take_out(from, length);
        continue;
      }
    }
    if (rest.starts_with("$argon2")) {
      take_out(i, RunOf(in, i, [](char c) { return IsBase64(c) || c == '$' || c == '=' || c == ','; }));
      continue;
    }
    if (begins && IsWord(in[i])) {
      if (rest.starts_with("eyJ")) {
        if (const size_t length = RunOf(in, i, IsTokenChar); length >= kShortestToken) {
          take_out(i, length);
          continue;
        }
      }
      const size_t word = RunOf(in, i, IsWord);
      const std::string_view name = in.substr(i, word);
      if (const absl::string_view scheme(name.data(), name.size());
          absl::EqualsIgnoreCase(scheme, "bearer") || absl::EqualsIgnoreCase(scheme, "basic")) {
        const size_t from = i + word + 1;
        const size_t length =
            RunOf(in, from, [](char c) { return IsBase64(c) || IsTokenChar(c) || c == '=' || c == '~'; });
        if (from < in.size() && in[from - 1] == ' ' && length >= kShortestSecret) {
          take_out(from, length);
          continue;
        }
      }
      if (NamesSecret(name)) {
        size_t from = 0;
        const bool alone = absl::EqualsIgnoreCase(absl::string_view(name.data(), name.size()), "password");
        if (size_t length = ValueAfterKey(in, i + word, alone, &from); length > 0) {
          const absl::string_view value(in.data() + from, length);
          if ((absl::EqualsIgnoreCase(value, "bearer") || absl::EqualsIgnoreCase(value, "basic")) &&
              from + length < in.size() && in[from + length] == ' ') {
            from += length + 1;
            length = RunOf(in, from, [](char c) {
              return !absl::ascii_isspace(static_cast<unsigned char>(c)) && c != '"' && c != '\'';
            });
          }
          take_out(from, length);
          continue;
        }
      }
    }
    if ((i == 0 || !IsBase64(in[i - 1])) && IsBase64(in[i])) {
      const size_t run = RunOf(in, i, IsBase64);
      if (run == kKeyChars && i + run < in.size() && in[i + run] == '=') {
        take_out(i, run + 1);
        continue;
      }
    }
    out.push_back(in[i++]);
  }
  return out;
}

}  // namespace pga::pgactl
