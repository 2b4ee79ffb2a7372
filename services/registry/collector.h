// A collector as the registry keeps it, and what it stores about one. Plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace pga::registry {

struct Collector {
  std::string id;
  std::string name;
  std::string description;
  std::string hostname;
  std::string address;
  std::string version;
  std::optional<absl::Time> last_seen;
  std::string certificate_thumbprint;
  std::optional<absl::Time> certificate_expires_at;
  int32_t config_version = 1;
  // Rows stored since registration and within 24 hours, as query last said.
  int64_t metrics_count_total = 0;
  int64_t metrics_count_24h = 0;
  int32_t health_check_interval_seconds = 60;
  absl::Time created_at;
  absl::Time updated_at;
  bool config_stored = false;
};

// What a collector says of itself when it registers.
struct Registration {
  std::string collector_id;
  std::string name;
  std::string hostname;
  std::string address;
  std::string version;
  // Of its sources; from the registration secret, never from the collector.
  std::string group = "default";
};

// What query says of a collector's stored frames.
struct Activity {
  std::string collector_id;
  std::optional<absl::Time> last_seen;
  int64_t rows_total = 0;
  int64_t rows_24h = 0;
};

// A stored configuration.
struct StoredConfig {
  int32_t version = 0;
  std::string toml;
};

// A line of the audit log.
struct AuditEntry {
  std::string actor;
  std::string action;
  bool refused = false;
  std::string resource_type = "collector";
  std::string resource_id;
  std::string ip_address;
  std::string request_id;
};

}  // namespace pga::registry
