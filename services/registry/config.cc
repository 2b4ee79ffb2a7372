#include "services/registry/config.h"

#include "libs/net/allowed_hosts.h"
#include "libs/status/status.h"
#include "libs/token/secret_box.h"

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
  loader.Secret(&config->encryption_key, "ENCRYPTION_KEY",
                "base64 of 32 bytes: seals the CA key and the passwords of managed instances in the database");
  loader.List(&config->managed_hosts, "MANAGED_INSTANCE_HOSTS", "managed-instance-hosts", "",
              "hosts at which managed instances may be: names, *.example.com, addresses, networks; empty = none");
  loader.String(&config->managed_ca_file, "MANAGED_INSTANCE_CA_FILE", "managed-instance-ca-file",
                "/etc/ssl/certs/ca-certificates.crt",
                "PEM file that verifies managed instances of ssl_mode verify-ca and verify-full");
}

absl::Status Validate(const RegistryConfig& config) {
  if (!config.encryption_key.empty()) {
    const auto box = token::SecretBox::FromText(config.encryption_key.Reveal());
    if (!box.ok()) return status::Annotate(box.status(), "ENCRYPTION_KEY");
  }
  return net::AllowedHosts::Parse(config.managed_hosts, "MANAGED_INSTANCE_HOSTS").status();
}

}  // namespace pga::registry
