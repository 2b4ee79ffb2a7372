#include "services/query/config.h"

namespace pga::query {

void RegisterOptions(config::Loader& loader, QueryConfig* config) {
  loader.Secret(&config->database_url, "DATABASE_URL", "postgresql:// URL of the metadata database");
  loader.Secret(&config->metrics_url, "TIMESCALE_URL", "postgresql:// URL of the metrics database");
  loader.Int(&config->connections, "QUERY_CONNECTIONS", "query-connections", config->connections,
             "connections of the query service to the metrics database", "connections", 1, 200);
  loader.Int(&config->threads, "QUERY_THREADS", "query-threads", config->threads,
             "threads that run reads, and as many for reads of many sources", "threads", 1, 256);
  loader.Int(&config->queue, "QUERY_QUEUE", "query-queue", config->queue,
             "reads that may wait for a thread; more are refused at once", "calls", 1, 100000);
  loader.Duration(&config->request_timeout, "REQUEST_TIMEOUT", "request-timeout", config->request_timeout,
                  "time of a call whose caller names no deadline", absl::Milliseconds(100), absl::Minutes(10));
  loader.Int(&config->prometheus_max_series, "PROMETHEUS_MAX_SERIES", "prometheus-max-series",
             config->prometheus_max_series,
             "series of one source in a scrape; what it has beyond is counted and left out", "series", 1, 10'000'000);
  loader.Int(&config->prometheus_max_samples, "PROMETHEUS_MAX_SAMPLES", "prometheus-max-samples",
             config->prometheus_max_samples, "samples in one answer of Prometheus' remote read", "samples", 1000,
             2'000'000);
  loader.String(
      &config->otlp_endpoint, "OTLP_ENDPOINT", "otlp-endpoint", "",
      "receiver of OpenTelemetry to push metrics to by OTLP over gRPC, http://host:4317 or https://host:4317; "
      "empty = none");
  loader.String(&config->otlp_ca_file, "OTLP_CA_FILE", "otlp-ca-file", "",
                "PEM file of the CA of an https receiver; empty = the system's store");
  loader.String(&config->otlp_headers_file, "OTLP_HEADERS_FILE", "otlp-headers-file", "",
                "file of lines 'name: value' that go along with each push, such as a token; read each time");
  loader.Duration(&config->otlp_interval, "OTLP_INTERVAL", "otlp-interval", config->otlp_interval,
                  "time between pushes, and the longest time of one", absl::Seconds(1), absl::Hours(1));
  loader.Int(&config->otlp_max_points, "OTLP_MAX_POINTS", "otlp-max-points", config->otlp_max_points,
             "points of one source in a push; what it has beyond is counted and left out", "points", 1, 1'000'000);
  loader.String(&config->catalog_folder, "CATALOG_DIR", "catalog-dir", "",
                "folder with YAML files of custom metrics; empty = built-in metrics only");
}

}  // namespace pga::query
