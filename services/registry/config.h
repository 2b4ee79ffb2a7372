// Settings of the registry service. The same struct serves pga-registry and the composed pganalytics-api.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"

namespace pga::registry {

struct RegistryConfig {
  // postgresql:// of the metadata database (DATABASE_URL).
  log::Secret database_url;
  // Most collectors seen within 7 days; 0 = no limit.
  int max_concurrent_collectors = 0;
  int connections = 4;
  int threads = 4;
  int queue = 128;
  absl::Duration request_timeout = absl::Seconds(30);
  // Folder with custom metrics; empty = built-in ones only.
  std::string catalog_folder;
  // Seals the passwords of managed instances; empty = none can be kept.
  log::Secret encryption_key;
  // Where managed instances may be, as net::AllowedHosts reads it; empty = no connection is tested.
  std::vector<std::string> managed_hosts;
  // PEM file that verifies their certificates.
  std::string managed_ca_file;
};

// INVALID_ARGUMENT names the setting and what to write instead.
absl::Status Validate(const RegistryConfig& config);

// Registers every setting with its default; `config` must outlive the loader's Parse().
void RegisterOptions(config::Loader& loader, RegistryConfig* config);

}  // namespace pga::registry
