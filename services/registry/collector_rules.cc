#include "services/registry/collector_rules.h"

#include <arpa/inet.h>
#include <openssl/evp.h>

#include <toml++/toml.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "libs/config/pushed_config.h"
#include "libs/frame/uuid.h"
#include "libs/token/names.h"
#include "libs/token/principal.h"

namespace pga::registry {

namespace {

absl::Status CheckText(std::string_view field, std::string_view value, size_t min, size_t max) {
  const bool control = token::HasInvisible(value);
  if (value.size() >= min && value.size() <= max && !control) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(absl::string_view(field.data(), field.size()), " must have ", min,
                                                 " to ", max, " characters and no control characters"));
}

}  // namespace

std::string IdOfHostname(std::string_view hostname) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(hostname.data(), hostname.size(), digest.data(), &size, EVP_md5(), nullptr);
  const std::string nil_namespace(frame::kUuidBytes, '\0');
  return frame::FormatUuid(
      frame::UuidV5(nil_namespace, std::string_view(reinterpret_cast<const char*>(digest.data()), size)));
}

absl::Status CheckRegistration(Registration* registration) {
  for (const auto& status :
       {CheckText("name", registration->name, 1, 255), CheckText("hostname", registration->hostname, 1, 255),
        CheckVersion(registration->version)}) {
    if (!status.ok()) return status;
  }
  if (!registration->address.empty()) {
    std::array<unsigned char, sizeof(in6_addr)> parsed{};
    if (inet_pton(AF_INET, registration->address.c_str(), parsed.data()) != 1 &&
        inet_pton(AF_INET6, registration->address.c_str(), parsed.data()) != 1) {
      return absl::InvalidArgumentError("address must be an IPv4 or IPv6 address, or be left out");
    }
  }
  if (registration->collector_id.empty()) {
    registration->collector_id = IdOfHostname(registration->hostname);
    return absl::OkStatus();
  }
  if (!token::IsCollectorId(registration->collector_id)) {
    return absl::InvalidArgumentError(absl::StrCat("collector_id must have ", token::kCollectorIdRule));
  }
  return absl::OkStatus();
}

absl::Status CheckVersion(std::string_view version) {
  return CheckText("version", version, 0, 63);
}

std::string_view StatusOf(const std::optional<absl::Time>& last_seen, absl::Time now) {
  if (!last_seen.has_value()) return "registered";
  return now - *last_seen > kOfflineAfter ? "offline" : "active";
}

absl::Status CheckConfigToml(std::string_view text, const std::vector<std::string>& metrics) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the configuration has ", text.size(), " bytes, at most ", kMaxConfigBytes, " are taken"));
  }
  try {
    static_cast<void>(toml::parse(text));
  } catch (const toml::parse_error& problem) {
    return absl::InvalidArgumentError(absl::StrCat("the configuration is no TOML: line ", problem.source().begin.line,
                                                   ": ", std::string(problem.description())));
  }
  return config::CheckPushedConfig(text, metrics);
}

}  // namespace pga::registry
