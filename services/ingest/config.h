// Settings of the ingest service. The same struct serves pga-ingest and the composed pganalytics-api.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"

namespace pga::ingest {

struct IngestConfig {
  // postgresql:// of the metrics database (TIMESCALE_URL).
  log::Secret metrics_url;
  // Connections that write groups; about one per core of PostgreSQL.
  int writers = 2;
  // Batches that a collector may have unacknowledged.
  int window = 16;
  // A group takes no further batch once it has this many rows.
  int group_rows = 10'000;
  // Rows between arrival and commit over all streams; 0 = three groups per writer.
  int64_t rows_in_flight = 0;
  // The same in bytes.
  int64_t bytes_in_flight = int64_t{256} << 20;
  // Threads that open, check and encode batches.
  int decode_threads = 2;
  // Connections for everything but writing groups.
  int connections = 4;
  // Threads for pushes, and pushes that may wait for one.
  int threads = 4;
  int queue = 128;
  int max_streams = 10'000;
  // Streams that one collector may open a minute; 0 = any number.
  int hellos_per_minute = 60;
  absl::Duration request_timeout = absl::Seconds(30);
  absl::Duration config_poll = absl::Seconds(15);
  // "production" refuses a database whose settings can lose what was acknowledged.
  std::string environment = "development";
};

// Registers every setting with its default; `config` must outlive the loader's Parse().
void RegisterOptions(config::Loader& loader, IngestConfig* config);

// INVALID_ARGUMENT lists what is missing.
absl::Status Validate(const IngestConfig& config);

}  // namespace pga::ingest
