#include "libs/token/services.h"

#include <cctype>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace pga::token {

std::vector<std::string_view> CallsOf(const ServiceRow& row) {
  std::vector<std::string_view> names;
  std::string_view rest = row.calls;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find(' '), rest.size());
    names.push_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return names;
}

std::string AddressVariable(std::string_view name) {
  std::string variable;
  for (const char c : name) variable.push_back(static_cast<char>(std::toupper(static_cast<unsigned char>(c))));
  return variable + "_SERVICE_ADDR";
}

absl::StatusOr<std::vector<std::string>> ParseServiceSecrets(std::string_view text) {
  constexpr size_t kMostBytes = 1024;
  std::vector<std::string> secrets;
  for (const absl::string_view line : absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    const absl::string_view secret = absl::StripAsciiWhitespace(line);
    if (secret.empty()) continue;
    if (secret.size() > kMostBytes) return absl::InvalidArgumentError("a service's secret has at most 1024 bytes");
    secrets.emplace_back(secret);
  }
  if (secrets.empty()) return absl::InvalidArgumentError("a service's secret is missing");
  if (secrets.size() > 2) {
    return absl::InvalidArgumentError("a service has one secret, or two while it is rotated, one a line");
  }
  return secrets;
}

}  // namespace pga::token
