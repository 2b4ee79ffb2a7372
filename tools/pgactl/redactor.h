// Takes secrets out of texts that leave the house: values that are known, and whatever looks like one. Rather too much
// than too little. Pure; not thread-safe.
#pragma once

#include <set>
#include <string>
#include <string_view>

namespace pga::pgactl {

inline constexpr std::string_view kRedacted = "<redacted>";

class Redactor {
 public:
  // A value that is taken out wherever it stands, also percent-encoded. Shorter ones than six characters are not: they
  // would tear words apart.
  void AddSecret(std::string_view value);
  // Learns the secrets of a setting: the value if the name is that of a secret, and the password of a URL.
  void LearnSetting(std::string_view name, std::string_view value);

  // The text without them: known values; passwords in URLs and in key=value, key: value and JSON forms whose key is
  // that of a secret; bearer and basic credentials, JSON web tokens, Argon2 hashes, private keys, and 32 bytes in
  // base64.
  std::string Redact(std::string_view text) const;

  // PASSWORD, SECRET, TOKEN, ..._KEY and their like; not names of files (..._FILE, ..._PATH).
  static bool NamesSecret(std::string_view name);

 private:
  std::set<std::string, std::greater<>> secrets_;
};

}  // namespace pga::pgactl
