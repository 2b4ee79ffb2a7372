#include "services/ingest/config.h"

namespace pga::ingest {

void RegisterOptions(config::Loader& loader, IngestConfig* config) {
  loader.Secret(&config->metrics_url, "TIMESCALE_URL", "postgresql:// URL of the metrics database");
  loader.Int(&config->writers, "INGEST_WRITERS", "ingest-writers", config->writers,
             "connections that write batches, about one per core of the metrics server", "connections", 1, 64);
  loader.Int(&config->window, "INGEST_WINDOW", "ingest-window", config->window,
             "batches a collector may have unacknowledged", "batches", 1, 1000);
  loader.Int(&config->group_rows, "INGEST_GROUP_ROWS", "ingest-group-rows", config->group_rows,
             "rows after which a transaction takes no further batch", "rows", 1, 50'000);
  loader.Int(&config->rows_in_flight, "INGEST_ROWS_IN_FLIGHT", "ingest-rows-in-flight", config->rows_in_flight,
             "rows between arrival and commit over all streams; 0 = three transactions per writer", "rows", int64_t{0},
             int64_t{10'000'000});
  loader.Bytes(&config->bytes_in_flight, "INGEST_BYTES_IN_FLIGHT", "ingest-bytes-in-flight", config->bytes_in_flight,
               "memory for batches between arrival and commit", int64_t{32} << 20);
  loader.Int(&config->decode_threads, "INGEST_DECODE_THREADS", "ingest-decode-threads", config->decode_threads,
             "threads that open and check batches", "threads", 1, 256);
  loader.Int(&config->connections, "INGEST_CONNECTIONS", "ingest-connections", config->connections,
             "connections for opening streams and for pushes", "connections", 1, 200);
  loader.Int(&config->threads, "INGEST_THREADS", "ingest-threads", config->threads, "threads for pushes", "threads", 1,
             256);
  loader.Int(&config->queue, "INGEST_QUEUE", "ingest-queue", config->queue,
             "pushes that may wait for a thread; more are refused at once", "calls", 1, 100'000);
  loader.Int(&config->max_streams, "INGEST_MAX_STREAMS", "ingest-max-streams", config->max_streams,
             "streams of collectors open at once", "streams", 1, 100'000);
  loader.Int(&config->hellos_per_minute, "INGEST_HELLOS_PER_MINUTE", "ingest-hellos-per-minute",
             config->hellos_per_minute, "streams that one collector may open; 0 = any number", "streams per minute", 0,
             1'000'000);
  loader.Duration(&config->request_timeout, "REQUEST_TIMEOUT", "request-timeout", config->request_timeout,
                  "time of a call whose caller names no deadline", absl::Milliseconds(100), absl::Minutes(10));
  loader.Duration(&config->config_poll, "INGEST_CONFIG_POLL", "ingest-config-poll", config->config_poll,
                  "how often registry is asked for newer configurations of connected collectors", absl::Seconds(1),
                  absl::Hours(1));
  loader.Stage(&config->environment, config->environment,
               "production refuses a database that can lose acknowledged rows");
}

absl::Status Validate(const IngestConfig& config) {
  if (config.metrics_url.empty()) {
    return absl::InvalidArgumentError("TIMESCALE_URL is not set: give the postgresql:// URL of the metrics database");
  }
  return absl::OkStatus();
}

}  // namespace pga::ingest
