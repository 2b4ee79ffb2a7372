#include "services/registry/config.h"

namespace pga::registry {

void RegisterOptions(config::Loader& loader, RegistryConfig* config) {
  loader.Secret(&config->database_url, "DATABASE_URL", "postgresql:// URL of the metadata database");
  loader.Int(&config->max_concurrent_collectors, "MAX_CONCURRENT_COLLECTORS", "max-concurrent-collectors",
             config->max_concurrent_collectors,
             "most collectors seen within 7 days; registering one more is refused; 0 = no limit", "collectors", 0,
             1000000);
  loader.Int(&config->connections, "REGISTRY_CONNECTIONS", "registry-connections", config->connections,
             "connections of the registry service to the metadata database", "connections", 1, 200);
  loader.Int(&config->threads, "REGISTRY_THREADS", "registry-threads", config->threads,
             "threads that serve the registry's calls", "threads", 1, 256);
  loader.Int(&config->queue, "REGISTRY_QUEUE", "registry-queue", config->queue,
             "calls that may wait for a thread; more are refused at once", "calls", 1, 100000);
  loader.Duration(&config->request_timeout, "REQUEST_TIMEOUT", "request-timeout", config->request_timeout,
                  "time of a call whose caller names no deadline", absl::Milliseconds(100), absl::Minutes(10));
  loader.String(&config->catalog_folder, "CATALOG_DIR", "catalog-dir", "",
                "folder with YAML files of custom metrics; empty = built-in metrics only");
}

}  // namespace pga::registry
