#include "services/registry/managed_rules.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/frame/text.h"
#include "libs/net/allowed_hosts.h"
#include "libs/status/status.h"
#include "libs/token/names.h"
#include "libs/token/principal.h"
#include "services/registry/source_rules.h"

namespace pga::registry {
namespace {

constexpr size_t kMaxText = 255;
constexpr size_t kMaxDescription = 4'000;
constexpr size_t kMaxPassword = 1'024;
constexpr size_t kMaxTags = 50;
// A server that goes away is noticed at the next reading, and the alert rule data_stale waits so long for one.
constexpr int32_t kMaxInterval = 300;
// From the weakest.
constexpr std::array<std::string_view, 6> kModes = {"disable", "allow",     "prefer",
                                                    "require", "verify-ca", "verify-full"};
constexpr std::array<std::string_view, 4> kRoles = {"master", "read-replica", "standby", "standalone"};
constexpr std::array<std::string_view, 4> kStatuses = {"registering", "registered", "monitoring", "paused"};

absl::Status Invalid(std::string_view field, std::string_view rule) {
  return absl::InvalidArgumentError(
      absl::StrCat(absl::string_view(field.data(), field.size()), " ", absl::string_view(rule.data(), rule.size())));
}

absl::Status CheckText(std::string_view field, std::string_view value, size_t min, size_t max) {
  if (value.size() >= min && value.size() <= max && frame::IsValidText(value) && !token::HasInvisible(value)) {
    return absl::OkStatus();
  }
  return Invalid(field, absl::StrCat("must have ", min, " to ", max, " characters and no control characters"));
}

absl::Status CheckOptional(std::string_view field, const std::optional<std::string>& value, size_t max = kMaxText) {
  return value.has_value() ? CheckText(field, *value, 0, max) : absl::OkStatus();
}

absl::Status CheckRange(std::string_view field, int32_t value, int32_t low, int32_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Invalid(field, absl::StrCat("must be a number from ", low, " to ", high));
}

template <size_t N>
absl::Status CheckWord(std::string_view field, std::string_view value, const std::array<std::string_view, N>& words) {
  if (std::find(words.begin(), words.end(), value) != words.end()) return absl::OkStatus();
  std::vector<std::string> known(words.begin(), words.end());
  return Invalid(field, absl::StrCat("must be one of ", absl::StrJoin(known, ", ")));
}

size_t StrengthOf(std::string_view mode) {
  return static_cast<size_t>(std::find(kModes.begin(), kModes.end(), mode) - kModes.begin());
}

absl::Status CheckLogin(std::string_view endpoint, int32_t port, std::string_view field, std::string_view username) {
  if (!net::IsHost(endpoint)) return Invalid("endpoint", "must be one host name or address, without port");
  PGA_RETURN_IF_ERROR(CheckRange("port", port, 1, 65535));
  return CheckText(field, username, 1, 63);
}

absl::Status CheckPassword(std::string_view field, std::string_view password) {
  if (!password.empty() && password.size() <= kMaxPassword && frame::IsValidText(password)) return absl::OkStatus();
  return Invalid(field, absl::StrCat("must have 1 to ", kMaxPassword, " bytes of UTF-8"));
}

}  // namespace

absl::Status CheckManaged(const ManagedSpec& spec, bool is_new) {
  PGA_RETURN_IF_ERROR(CheckText("name", spec.name, 3, kMaxText));
  PGA_RETURN_IF_ERROR(CheckSourceName(spec.name));
  PGA_RETURN_IF_ERROR(CheckLogin(spec.endpoint, spec.port, "master_username", spec.username));
  if (is_new && !spec.password.has_value()) return Invalid("master_password", "is missing");
  if (spec.password.has_value()) PGA_RETURN_IF_ERROR(CheckPassword("master_password", spec.password->Reveal()));
  if (!is_new || !spec.status.empty()) PGA_RETURN_IF_ERROR(CheckWord("status", spec.status, kStatuses));
  PGA_RETURN_IF_ERROR(CheckWord("instance_role", spec.instance_role, kRoles));
  PGA_RETURN_IF_ERROR(CheckWord("ssl_mode", spec.ssl_mode, kModes));
  PGA_RETURN_IF_ERROR(CheckRange("monitoring_interval", spec.monitoring_interval, 1, kMaxInterval));
  PGA_RETURN_IF_ERROR(CheckRange("connection_timeout", spec.connection_timeout, 1, 300));
  PGA_RETURN_IF_ERROR(CheckRange("allocated_storage_gb", spec.allocated_storage_gb.value_or(0), 0, INT32_MAX));
  PGA_RETURN_IF_ERROR(CheckRange("backup_retention_days", spec.backup_retention_days.value_or(0), 0, 36'500));
  PGA_RETURN_IF_ERROR(CheckText("aws_region", spec.aws_region, 0, kMaxText));
  PGA_RETURN_IF_ERROR(CheckText("environment", spec.environment, 0, kMaxText));
  // Longer texts may have lines.
  if (spec.description.has_value() &&
      (spec.description->size() > kMaxDescription || !frame::IsValidText(*spec.description))) {
    return Invalid("description", absl::StrCat("must have at most ", kMaxDescription, " characters"));
  }
  PGA_RETURN_IF_ERROR(CheckOptional("engine_version", spec.engine_version));
  PGA_RETURN_IF_ERROR(CheckOptional("db_instance_class", spec.db_instance_class));
  PGA_RETURN_IF_ERROR(CheckOptional("preferred_backup_window", spec.backup_window));
  PGA_RETURN_IF_ERROR(CheckOptional("preferred_maintenance_window", spec.maintenance_window));
  if (spec.tags.size() > kMaxTags) return Invalid("tags", absl::StrCat("must be at most ", kMaxTags));
  for (const auto& [key, value] : spec.tags) {
    PGA_RETURN_IF_ERROR(CheckText("a key of tags", key, 1, 128));
    PGA_RETURN_IF_ERROR(CheckText("a value of tags", value, 0, 256));
  }
  if (spec.group.has_value()) PGA_RETURN_IF_ERROR(CheckGroup(*spec.group));
  if (spec.collector_id.has_value() && !spec.collector_id->empty() && !token::IsCollectorId(*spec.collector_id)) {
    return Invalid("collector_id", absl::StrCat("must have ", token::kCollectorIdRule, ", or be empty"));
  }
  return absl::OkStatus();
}

absl::Status CheckTarget(std::string_view endpoint, int32_t port, std::string_view username,
                         std::string_view password) {
  PGA_RETURN_IF_ERROR(CheckLogin(endpoint, port, "username", username));
  return CheckPassword("password", password);
}

std::vector<std::string> ModesToTry(std::string_view least) {
  const size_t strength = StrengthOf(least);
  if (strength > StrengthOf("require")) return {std::string(least)};
  std::vector<std::string> modes;
  for (const char* mode : {"require", "prefer", "disable"}) {
    if (StrengthOf(mode) >= strength) modes.emplace_back(mode);
  }
  return modes;
}

void Judge(const TestOutcome& test, const Source* source, bool paused, absl::Time now, ManagedInstance* instance) {
  bool watched = false;
  std::optional<absl::Time> noted_at = test.tested_at;
  std::string error = test.error;
  if (source != nullptr) {
    const State state = StateOf(*source, now);
    watched = state.word == "up" || state.word == "incomplete";
    if (source->seen_at != absl::InfinitePast()) {
      instance->last_heartbeat = std::max(instance->last_heartbeat.value_or(absl::InfinitePast()), source->seen_at);
    }
    // A silent collector says nothing about the instance.
    if (state.word != "silent" && (!noted_at.has_value() || source->renewed_at >= *noted_at)) {
      noted_at = source->renewed_at;
      error = watched ? "" : source->message.empty() ? "the collector cannot reach it" : source->message;
      if (!watched) {
        instance->last_error = error;
        instance->last_error_time = state.since;
      }
    }
  }
  if (noted_at.has_value()) instance->last_connection_status = error.empty() ? "connected" : "error";
  instance->spec.status = paused                                 ? "paused"
                          : watched                              ? "monitoring"
                          : instance->last_heartbeat.has_value() ? "registered"
                                                                 : "registering";
}

}  // namespace pga::registry
