// The part of a collector's configuration that registry keeps and the collector applies while it runs: a subset of
// TOML. Both read it here, so that registry refuses what a collector would refuse. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace pga::config {

struct PushedConfig {
  // Absent = as configured at the collector.
  std::optional<absl::Duration> collection_interval;
  std::optional<absl::Duration> activity_interval;
  // Metric -> on or off.
  std::map<std::string, bool> metrics;
  // Line of each of `metrics` that was named itself.
  std::map<std::string, int> lines;
  struct Key {
    std::string section;
    std::string key;
    int line = 0;
    // Its value is a password, a secret or a token.
    bool secret = false;
  };
  // Keys that mean nothing to a collector.
  std::vector<Key> unknown;
};

// The TOML subset of 3.2.0: [section], key = value, remarks after # or ; . Known: collection_interval (or
// collector.interval), activity_interval, [metrics] <name> = true|false, [<name>] enabled = true|false; names are those
// of metrics and of 3.2.0's plugins. INVALID_ARGUMENT names the line; unknown keys are reported, not refused.
absl::StatusOr<PushedConfig> ParsePushedConfig(std::string_view toml);

// The same, for what is to be stored: a key that is neither known here nor one of 3.2.0's, and a metric that is none of
// `metrics`, are INVALID_ARGUMENT with the line and what was probably meant. So is a password, a secret or a token:
// whoever sees the collector reads its configuration.
absl::Status CheckPushedConfig(std::string_view toml, const std::vector<std::string>& metrics);

}  // namespace pga::config
