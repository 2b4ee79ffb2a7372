// Settings of the collector: environment and flags for one source (the guide's variables), or a YAML file
// (COLLECTOR_CONFIG) with many. What registry may change while it runs is in
// libs/config/pushed_config.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/config/config.h"
#include "libs/net/allowed_hosts.h"
#include "services/collector/explain_limits.h"

namespace pga::collector {

// What becomes of statement texts before they reach the spool.
enum class QueryTextMode { kNormalized, kFull, kNone };

struct SourceConfig {
  // Unique within the collector; default host:port.
  std::string name;
  std::string host = "localhost";
  int port = 5432;
  std::string user = "postgres";
  log::Secret password;
  // File whose first line is the password, read at every connection; empty = `password` holds.
  std::string password_file;
  // Watched databases; "*" = every one that accepts connections. The first one that is named and lets the login in is
  // the home of instance-wide metrics; after the named ones, with "*", "postgres" and the login's own are tried.
  std::vector<std::string> databases = {"postgres"};
  // Databases that "*" leaves out.
  std::vector<std::string> exclude_databases;
  std::string sslmode = "prefer";
  std::string sslrootcert;
  // Folder or pattern of paths of the server's log on this host; empty = where the server says, else over SQL.
  std::string log_path;
  absl::Duration connect_timeout = absl::Seconds(5);
  // Distance of readings of a managed instance; zero = the collector's.
  absl::Duration interval;
  // Of a managed instance: where it may be. Null = anywhere.
  std::shared_ptr<const net::AllowedHosts> allowed_hosts;
};

struct CollectorConfig {
  std::string collector_id;
  std::string collector_name;
  std::string backend_url;
  std::string backend_ca_file;
  bool backend_tls_verify = true;
  bool backend_allow_plaintext = false;
  absl::Duration backend_retry_max = absl::Seconds(60);
  log::Secret registration_secret;
  std::string state_dir;
  absl::Duration collection_interval = absl::Seconds(60);
  absl::Duration activity_interval = absl::Seconds(1);
  // Least distance of two readings of statement texts.
  absl::Duration statement_text_interval = absl::Minutes(10);
  // Of pganalytics.explain, in each server.
  ExplainLimits explain;
  absl::Duration explain_time;
  absl::Duration explain_again;
  // One statement.
  absl::Duration explain_timeout = absl::Milliseconds(200);
  int64_t spool_limit_bytes = 0;
  bool spool_drop_oldest = false;
  std::string query_text = "normalized";
  QueryTextMode query_text_mode = QueryTextMode::kNormalized;
  std::string catalog_dir;
  std::string metrics_listen;
  std::string health_listen;
  absl::Duration shutdown_timeout = absl::Seconds(10);
  std::string log_level;
  bool host_metrics = true;
  // Folder under which the watched host's /proc and /sys are mounted.
  std::string host_root = "/";
  bool check_only = false;
  bool explain_setup = false;
  std::string config_file;
  // Metrics that are off, and optional ones that are on; what is in both is off.
  std::vector<std::string> disabled_metrics;
  std::vector<std::string> enabled_metrics;
  std::vector<SourceConfig> sources;
  // Where managed instances may be that this collector watches; none = it takes none.
  std::vector<std::string> managed_hosts;
  std::string managed_ca_file;

  // The environment's own source.
  SourceConfig environment_source;
};

// INVALID_ARGUMENT if a metric is turned on or off that `catalog` has not got.
absl::Status CheckMetricNames(const CollectorConfig& config, const catalog::Catalog& catalog);

// Names of the metrics of `catalog` that are not read: those that are off, and optional ones that nobody turned on.
std::set<std::string> DisabledMetrics(const CollectorConfig& config, const catalog::Catalog& catalog);

// Registers every setting; `config` outlives the loader.
void RegisterOptions(config::Loader& loader, CollectorConfig* config);

// After loader.Parse(): reads the YAML file if one is named, derives what is not set (ids, names), checks the rest.
// INVALID_ARGUMENT says what to change. Reads files and the host's name.
absl::Status FinishConfig(CollectorConfig* config);

// Applies a YAML file's text. INVALID_ARGUMENT names the line. Exposed for tests.
absl::Status ApplyYaml(std::string_view text, const std::string& file_name, CollectorConfig* config);

// Where batches go: "host:port" and whether over TLS. INVALID_ARGUMENT for anything but http(s)://host[:port].
struct BackendAddress {
  std::string target;
  std::string host;
  bool tls = false;
  bool loopback = false;
};
absl::StatusOr<BackendAddress> ParseBackendUrl(std::string_view url);

// Deterministic id of a collector that was given none: UUIDv5 over the nil namespace and the MD5 of the host's name.
std::string DefaultCollectorId(std::string_view hostname);

}  // namespace pga::collector
