// Rules about collectors that need no database: ids, fields, status, configuration texts. Pure and thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/registry/collector.h"

namespace pga::registry {

// A collector that was not seen for this long is offline.
inline constexpr absl::Duration kOfflineAfter = absl::Seconds(300);
// Collectors seen within this time count for MAX_CONCURRENT_COLLECTORS.
inline constexpr absl::Duration kCountedFor = absl::Hours(24 * 7);
inline constexpr size_t kMaxConfigBytes = 256 * 1024;

// The id of a collector that brings none: UUIDv5 in the nil namespace over the 16 bytes of MD5(hostname), as 3.x
// clients expect. Two hosts of one name are one collector.
std::string IdOfHostname(std::string_view hostname);

// Fills collector_id from the hostname if it is empty. INVALID_ARGUMENT names the field and what it may hold: id
// [A-Za-z0-9_][A-Za-z0-9_.-]{0,62}, name and hostname 1 to 255 bytes without control characters, address an IP address
// or empty, version as CheckVersion says.
absl::Status CheckRegistration(Registration* registration);

// INVALID_ARGUMENT unless it has at most 63 bytes without control characters.
absl::Status CheckVersion(std::string_view version);

// registered, active or offline.
std::string_view StatusOf(const std::optional<absl::Time>& last_seen, absl::Time now);

// INVALID_ARGUMENT unless the text is TOML of at most kMaxConfigBytes that a collector would apply
// (config::CheckPushedConfig); the message names the line and what to change. `metrics` are the names of the catalog.
absl::Status CheckConfigToml(std::string_view text, const std::vector<std::string>& metrics);

}  // namespace pga::registry
