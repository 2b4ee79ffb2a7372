// Settings of the compactor service. The same struct serves pga-compactor and the composed pganalytics-api.
#pragma once

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"

namespace pga::compactor {

struct CompactorConfig {
  // postgresql:// of the metrics database (TIMESCALE_URL).
  log::Secret metrics_url;
  // An hour is merged this long after its end.
  absl::Duration settle = absl::Minutes(2);
  // MiB that quarantine keeps in all.
  int quarantine_mib = 1024;
  // Longest time of a call whose caller names no deadline.
  absl::Duration request_timeout = absl::Seconds(30);
};

// Registers every setting with its default; `config` must outlive the loader's Parse().
void RegisterOptions(config::Loader& loader, CompactorConfig* config);

}  // namespace pga::compactor
