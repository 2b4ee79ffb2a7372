// pga-query as a process of its own: network, keys and revocations from auth, figures for Prometheus, shutdown.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"
#include "services/query/config.h"

namespace pga::query {

struct StandaloneConfig {
  QueryConfig query;
  std::string listen;
  std::string auth_address;
  log::Secret service_secret;
  std::string metrics_listen;
  std::string log_level;
  absl::Duration shutdown_timeout = absl::Seconds(30);
};

void RegisterOptions(config::Loader& loader, StandaloneConfig* config);

// Serves until SIGTERM or SIGINT (ShutdownSignal must be installed), then drains. Errors name the setting to change.
absl::Status RunStandalone(const StandaloneConfig& config);

}  // namespace pga::query
