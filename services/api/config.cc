#include "services/api/config.h"

#include "libs/exec/shutdown.h"

namespace pga::api {

void RegisterOptions(config::Loader& loader, ApiConfig* config) {
  loader.Secret(&config->database_url, "DATABASE_URL", "postgresql:// URL of the metadata database");
  loader.Secret(&config->metrics_url, "TIMESCALE_URL", "postgresql:// URL of the metrics database");
  config->gateway.Register(loader);
  auth::RegisterOptions(loader, &config->auth);
  registry::RegisterOptions(loader, &config->registry);
  ingest::RegisterOptions(loader, &config->ingest);
  query::RegisterOptions(loader, &config->query);
  compactor::RegisterOptions(loader, &config->compactor);
  ruler::RegisterOptions(loader, &config->ruler);
  loader.String(&config->log_level, "LOG_LEVEL", "log-level", config->log_level, "debug, info, warn or error");
  loader.Listen(&config->metrics_listen, "METRICS_LISTEN", "metrics-listen", "",
                "host:port of /metrics in Prometheus form; empty or off = none");
  loader.Duration(&config->shutdown_timeout, "SHUTDOWN_TIMEOUT", "shutdown-timeout", config->shutdown_timeout,
                  exec::kShutdownTimeoutHelp, absl::Seconds(1), absl::Minutes(10));
  loader.Duration(&config->startup_timeout, "STARTUP_TIMEOUT", "startup-timeout", config->startup_timeout,
                  "how long the start waits for the databases", absl::ZeroDuration(), absl::Hours(1));
  loader.Choice(&config->storage_layout, "STORAGE_LAYOUT", "storage-layout", config->storage_layout,
                {"auto", "native", "timescaledb", "citus"}, "chosen at the first `migrate up` and kept");
  loader.String(&config->catalog_folder, "CATALOG_DIR", "catalog-dir", "",
                "folder with YAML files of custom metrics; empty = built-in metrics only");
}

}  // namespace pga::api
