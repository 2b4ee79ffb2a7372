#include "services/compactor/config.h"

namespace pga::compactor {

void RegisterOptions(config::Loader& loader, CompactorConfig* config) {
  loader.Secret(&config->metrics_url, "TIMESCALE_URL", "postgresql:// URL of the metrics database");
  loader.Duration(&config->settle, "COMPACTOR_SETTLE", "compactor-settle", config->settle,
                  "how long after its end an hour is merged into blocks", absl::ZeroDuration(), absl::Hours(1));
  loader.Int(&config->quarantine_mib, "QUARANTINE_SIZE", "quarantine-size", config->quarantine_mib,
             "size that quarantine keeps in all; a quarter of it per collector", "MiB", 1, 1'000'000);
  loader.Duration(&config->request_timeout, "REQUEST_TIMEOUT", "request-timeout", config->request_timeout,
                  "time of a call whose caller names no deadline", absl::Milliseconds(100), absl::Minutes(10));
}

}  // namespace pga::compactor
