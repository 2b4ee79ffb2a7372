// Settings of pganalytics-api: those of the seven services, and what belongs to the process.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"
#include "services/auth/config.h"
#include "services/compactor/config.h"
#include "services/gateway/config.h"
#include "services/ingest/config.h"
#include "services/query/config.h"
#include "services/registry/config.h"
#include "services/ruler/config.h"

namespace pga::api {

struct ApiConfig {
  auth::AuthConfig auth;
  registry::RegistryConfig registry;
  ingest::IngestConfig ingest;
  query::QueryConfig query;
  compactor::CompactorConfig compactor;
  ruler::RulerConfig ruler;
  gateway::GatewayConfig gateway;

  log::Secret database_url;
  log::Secret metrics_url;
  std::string log_level = "info";
  // host:port of /metrics in Prometheus form; empty = none.
  std::string metrics_listen;
  absl::Duration shutdown_timeout = absl::Seconds(10);
  // How long the start waits for the databases.
  absl::Duration startup_timeout = absl::Seconds(60);
  // auto, native, timescaledb or citus; read by `migrate up`.
  std::string storage_layout = "auto";
  // Folder with custom metrics; empty = built-in ones only.
  std::string catalog_folder;
};

// Registers every setting with its default; `config` must outlive the loader's Parse().
void RegisterOptions(config::Loader& loader, ApiConfig* config);

}  // namespace pga::api
