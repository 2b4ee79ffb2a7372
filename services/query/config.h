// Settings of the query service. The same struct serves pga-query and the composed pganalytics-api.
#pragma once

#include <string>

#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"

namespace pga::query {

struct QueryConfig {
  // postgresql:// of the metrics database (TIMESCALE_URL).
  log::Secret metrics_url;
  // postgresql:// of the metadata database (DATABASE_URL); empty = no snapshots and no anomalies.
  log::Secret database_url;
  // Connections, each used by one read at a time.
  int connections = 8;
  // Threads that run reads, and reads that may wait for one.
  int threads = 8;
  int queue = 128;
  // Longest time of a read whose caller names no deadline; statements end by the caller's deadline.
  absl::Duration request_timeout = absl::Seconds(30);
  // Most series of one source in a scrape, and most samples of one answer of remote read.
  int prometheus_max_series = 5000;
  int prometheus_max_samples = 2'000'000;
  // Where metrics are pushed to by OTLP, http(s)://host:port; empty = nowhere. CA certificates and headers are files.
  std::string otlp_endpoint;
  std::string otlp_ca_file;
  std::string otlp_headers_file;
  absl::Duration otlp_interval = absl::Minutes(1);
  // Most points of one source in a push.
  int otlp_max_points = 5000;
  // Folder with custom metrics; empty = built-in ones only.
  std::string catalog_folder;
};

// Registers every setting with its default; `config` must outlive the loader's Parse().
void RegisterOptions(config::Loader& loader, QueryConfig* config);

}  // namespace pga::query
