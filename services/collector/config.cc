#include "services/collector/config.h"

#include <openssl/evp.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "libs/config/nearest.h"
#include "libs/config/values.h"
#include "libs/frame/uuid.h"
#include "libs/status/status.h"
#include "libs/token/principal.h"

namespace pga::collector {
namespace {

constexpr size_t kMaxSources = 500;
constexpr size_t kMaxConfigBytes = 1 << 20;

std::string HostName() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
  return name;
}

absl::Status AtLine(const std::string& file, const YAML::Node& node, std::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ":", node.Mark().line + 1, ": ", std::string(what)));
}

// One value of a YAML map, checked.
absl::Status ReadText(const std::string& file, const YAML::Node& node, std::string_view key, std::string* out) {
  if (!node.IsScalar()) return AtLine(file, node, absl::StrCat(std::string(key), " must be a text"));
  *out = node.Scalar();
  return absl::OkStatus();
}

absl::Status ReadInt(const std::string& file, const YAML::Node& node, std::string_view key, int64_t low, int64_t high,
                     int64_t* out) {
  if (!node.IsScalar() || !absl::SimpleAtoi(node.Scalar(), out) || *out < low || *out > high) {
    return AtLine(file, node, absl::StrCat(std::string(key), " must be a number from ", low, " to ", high));
  }
  return absl::OkStatus();
}

absl::Status ReadList(const std::string& file, const YAML::Node& node, std::string_view key,
                      std::vector<std::string>* out) {
  out->clear();
  if (node.IsScalar()) {
    *out = config::ParseList(node.Scalar());
    return absl::OkStatus();
  }
  if (!node.IsSequence()) return AtLine(file, node, absl::StrCat(std::string(key), " must be a list"));
  for (const YAML::Node& item : node) {
    std::string text;
    PGA_RETURN_IF_ERROR(ReadText(file, item, key, &text));
    out->push_back(std::move(text));
  }
  return absl::OkStatus();
}

absl::Status ReadSource(const std::string& file, const YAML::Node& node, SourceConfig* source) {
  if (!node.IsMap()) return AtLine(file, node, "a source must be a map with name, host, user, ...");
  for (const auto& pair : node) {
    const std::string key = pair.first.Scalar();
    const YAML::Node& value = pair.second;
    int64_t number = 0;
    std::string text;
    if (key == "name") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &source->name));
    } else if (key == "host") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &source->host));
    } else if (key == "port") {
      PGA_RETURN_IF_ERROR(ReadInt(file, value, key, 1, 65535, &number));
      source->port = static_cast<int>(number);
    } else if (key == "user") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &source->user));
    } else if (key == "password") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &text));
      source->password = log::Secret(text);
    } else if (key == "password_file") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &source->password_file));
      if (const auto password = config::ReadSecretFile(source->password_file); !password.ok()) {
        return AtLine(file, value, absl::StrCat("password_file: ", password.status().message()));
      }
    } else if (key == "databases") {
      PGA_RETURN_IF_ERROR(ReadList(file, value, key, &source->databases));
    } else if (key == "sslmode") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &source->sslmode));
    } else if (key == "sslrootcert") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &source->sslrootcert));
    } else if (key == "log_path") {
      PGA_RETURN_IF_ERROR(ReadText(file, value, key, &source->log_path));
    } else if (key == "exclude_databases") {
      PGA_RETURN_IF_ERROR(ReadList(file, value, key, &source->exclude_databases));
    } else {
      return AtLine(file, pair.first,
                    absl::StrCat("unknown key ", key,
                                 "; known: name, host, port, user, password, password_file, databases, sslmode, "
                                 "sslrootcert, exclude_databases, log_path"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSource(const SourceConfig& source) {
  static const std::set<std::string> kModes = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full"};
  if (!kModes.contains(source.sslmode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("source ", source.name, ": sslmode ", source.sslmode,
                     " is not one of disable, allow, prefer, require, verify-ca, verify-full (POSTGRES_SSLMODE)"));
  }
  if (source.databases.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("source ", source.name, ": name at least one database, or * for all (POSTGRES_DATABASES)"));
  }
  if (source.name.size() > 255) return absl::InvalidArgumentError("a source's name is longer than 255 characters");
  return absl::OkStatus();
}

bool ParseSwitch(std::string_view text, bool* on) {
  const std::string lower = absl::AsciiStrToLower(absl::string_view(text.data(), text.size()));
  if (lower == "true" || lower == "yes" || lower == "on" || lower == "1") {
    *on = true;
  } else if (lower == "false" || lower == "no" || lower == "off" || lower == "0") {
    *on = false;
  } else {
    return false;
  }
  return true;
}

}  // namespace

void RegisterOptions(config::Loader& loader, CollectorConfig* config) {
  loader.String(&config->collector_id, "COLLECTOR_ID", "collector-id", "",
                "identity of this collector, [A-Za-z0-9_.-]{1,63}; empty = derived from the host's name");
  loader.String(&config->collector_name, "COLLECTOR_NAME", "collector-name", "",
                "name shown to people; empty = host's");
  loader.String(&config->backend_url, "BACKEND_URL", "backend-url", "https://localhost:8080",
                "where batches go: https://host:port, or http:// on the same host");
  loader.String(&config->backend_ca_file, "BACKEND_CA_FILE", "backend-ca-file", "",
                "PEM file of the CA that signed the backend's certificate; empty = the system's");
  loader.Bool(&config->backend_tls_verify, "BACKEND_TLS_VERIFY", "backend-tls-verify", true,
              "verify the backend's certificate");
  loader.Bool(&config->backend_allow_plaintext, "BACKEND_ALLOW_PLAINTEXT", "backend-allow-plaintext", false,
              "allow http:// to other hosts");
  loader.Duration(&config->backend_retry_max, "BACKEND_RETRY_MAX", "backend-retry-max", absl::Seconds(60),
                  "longest pause before connecting to the backend again", absl::Seconds(1), absl::Hours(1));
  loader.Secret(&config->registration_secret, "REGISTRATION_SECRET", "presented once, to get own credentials");
  loader.String(&config->state_dir, "STATE_DIR", "state-dir", "/var/lib/pganalytics-collector",
                "folder of the spool, the key and the certificate");
  loader.Duration(&config->collection_interval, "COLLECTION_INTERVAL", "collection-interval", absl::Seconds(60),
                  "base interval; metrics are read at multiples of it", absl::Seconds(1), absl::Hours(24));
  loader.Duration(&config->activity_interval, "ACTIVITY_SAMPLE_INTERVAL", "activity-sample-interval", absl::Seconds(1),
                  "distance of samples of pg_stat_activity; 0 = off", absl::ZeroDuration(), absl::Minutes(10));
  loader.Duration(&config->statement_text_interval, "STATEMENT_TEXT_INTERVAL", "statement-text-interval",
                  absl::Minutes(10), "texts of new statements are read at most this often", absl::Seconds(1),
                  absl::Hours(24));
  loader.Int(
      &config->explain.statements, "EXPLAIN_STATEMENTS", "explain-statements", 20,
      "statements that a server may be asked for the plan of in a minute, where pganalytics.explain is installed "
      "(--explain-setup); 0 = none",
      "statements", 0, 600);
  loader.Duration(&config->explain_time, "EXPLAIN_TIME", "explain-time", absl::Milliseconds(500),
                  "time of the server that this may take in a minute", absl::Milliseconds(1), absl::Seconds(30));
  loader.Duration(&config->explain_timeout, "EXPLAIN_TIMEOUT", "explain-timeout", absl::Milliseconds(200),
                  "time of the server that one statement may take", absl::Milliseconds(10), absl::Seconds(10));
  loader.Duration(&config->explain_again, "EXPLAIN_AGAIN", "explain-again", absl::Hours(1),
                  "a plan is asked for again after this, or when an index or a setting has changed, or the statement "
                  "takes twice as long",
                  absl::Seconds(1), absl::Hours(24));
  loader.Bytes(&config->spool_limit_bytes, "METRICS_BUFFER_SIZE", "metrics-buffer-size", 52428800,
               "bytes of the spool on disk", 1 << 20, int64_t{1} << 40);
  loader.Bool(&config->spool_drop_oldest, "SPOOL_DROP_OLDEST", "spool-drop-oldest", false,
              "when the spool is full drop the oldest batches instead of refusing new ones");
  loader.String(&config->query_text, "QUERY_TEXT", "query-text", "normalized",
                "statement texts: normalized (no literals), full (passwords removed), none");
  loader.String(&config->catalog_dir, "CATALOG_DIR", "catalog-dir", "", "folder of custom metrics (*.yaml)");
  loader.Listen(&config->metrics_listen, "METRICS_LISTEN", "metrics-listen", "127.0.0.1:9187",
                "address of /metrics, or off");
  loader.Listen(&config->health_listen, "HEALTH_LISTEN", "health-listen", "",
                "address of the gRPC health service; empty = off");
  loader.Duration(&config->shutdown_timeout, "SHUTDOWN_TIMEOUT", "shutdown-timeout", absl::Seconds(10),
                  "how long the last flush may take", absl::Seconds(1), absl::Minutes(5));
  loader.String(&config->log_level, "LOG_LEVEL", "log-level", "info", "debug, info, warn, error");
  loader.Bool(&config->host_metrics, "HOST_METRICS", "host-metrics", true, "read what the collector's host does");
  loader.String(&config->host_root, "HOST_ROOT", "host-root", "/",
                "folder under which the host's /proc and /sys are; in a container a mount of the host's root");
  loader.List(&config->disabled_metrics, "DISABLED_METRICS", "disabled-metrics", "", "metrics that are not collected");
  loader.List(&config->enabled_metrics, "ENABLED_METRICS", "enabled-metrics", "",
              "optional metrics that are collected (docs/metrics.md names them)");
  loader.String(&config->config_file, "COLLECTOR_CONFIG", "config", "",
                "YAML file with many sources; the POSTGRES_ variables are not used then");
  loader.Bool(&config->check_only, "COLLECTOR_CHECK", "check", false,
              "connect to every source, say what is missing, and end");
  loader.List(
      &config->managed_hosts, "MANAGED_INSTANCE_HOSTS", "managed-instance-hosts", "",
      "hosts of managed instances that this collector watches: names, *.example.com, addresses, networks; empty = "
      "it takes none");
  loader.String(&config->managed_ca_file, "MANAGED_INSTANCE_CA_FILE", "managed-instance-ca-file",
                "/etc/ssl/certs/ca-certificates.crt",
                "PEM file that verifies managed instances of ssl_mode verify-ca and verify-full");
  loader.Bool(&config->explain_setup, "COLLECTOR_EXPLAIN_SETUP", "explain-setup", false,
              "print the script that lets POSTGRES_USER see plans without auto_explain, for psql, and end");
  SourceConfig& source = config->environment_source;
  loader.String(&source.name, "SOURCE_NAME", "source-name", "", "name of the watched server; empty = host:port");
  loader.String(&source.host, "POSTGRES_HOST", "postgres-host", "localhost",
                "name or address of the watched server, or the folder of its socket");
  loader.Int(&source.port, "POSTGRES_PORT", "postgres-port", 5432, "its port", "port", 1, 65535);
  loader.String(&source.user, "POSTGRES_USER", "postgres-user", "postgres", "login with the role pg_monitor");
  loader.Secret(&source.password, "POSTGRES_PASSWORD", "its password; a file is read again at every connection",
                &source.password_file);
  loader.List(&source.databases, "POSTGRES_DATABASES|POSTGRES_DB", "postgres-databases", "postgres",
              "watched databases; * = all");
  loader.String(&source.sslmode, "POSTGRES_SSLMODE", "postgres-sslmode", "prefer",
                "disable, allow, prefer, require, verify-ca, verify-full");
  loader.String(&source.sslrootcert, "POSTGRES_SSLROOTCERT", "postgres-sslrootcert", "",
                "PEM file of the CA that signed the server's certificate");
  loader.String(
      &source.log_path, "POSTGRES_LOG_PATH", "postgres-log-path", "",
      "folder or pattern (*) of the server's log files on this host; empty = where the server says, or over SQL");
  loader.List(&source.exclude_databases, "POSTGRES_EXCLUDE_DATABASES", "postgres-exclude-databases", "",
              "databases that * leaves out");
}

absl::Status ApplyYaml(std::string_view text, const std::string& file, CollectorConfig* config) {
  if (text.size() > kMaxConfigBytes) return absl::InvalidArgumentError(absl::StrCat(file, " is larger than 1 MiB"));
  YAML::Node root;
  try {
    root = YAML::Load(std::string(text));
    if (!root.IsMap()) return absl::InvalidArgumentError(absl::StrCat(file, ":1: the file must be a map"));
    for (const auto& pair : root) {
      const std::string key = pair.first.Scalar();
      const YAML::Node& value = pair.second;
      int64_t number = 0;
      if (key == "collector_id") {
        PGA_RETURN_IF_ERROR(ReadText(file, value, key, &config->collector_id));
      } else if (key == "collector_name") {
        PGA_RETURN_IF_ERROR(ReadText(file, value, key, &config->collector_name));
      } else if (key == "backend_url") {
        PGA_RETURN_IF_ERROR(ReadText(file, value, key, &config->backend_url));
      } else if (key == "collection_interval") {
        PGA_RETURN_IF_ERROR(ReadInt(file, value, key, 1, 86400, &number));
        config->collection_interval = absl::Seconds(number);
      } else if (key == "query_text") {
        PGA_RETURN_IF_ERROR(ReadText(file, value, key, &config->query_text));
      } else if (key == "metrics") {
        if (!value.IsMap()) return AtLine(file, value, "metrics must be a map of name: on or off");
        for (const auto& metric : value) {
          bool on = true;
          if (!metric.second.IsScalar() || !ParseSwitch(metric.second.Scalar(), &on)) {
            return AtLine(file, metric.first, "a metric is on or off");
          }
          (on ? config->enabled_metrics : config->disabled_metrics).push_back(metric.first.Scalar());
        }
      } else if (key == "sources") {
        if (!value.IsSequence() || value.size() == 0) return AtLine(file, value, "sources must be a list of servers");
        if (value.size() > kMaxSources) {
          return AtLine(file, value, absl::StrCat("more than ", kMaxSources, " sources; use another collector"));
        }
        std::set<std::string> names;
        for (const YAML::Node& item : value) {
          SourceConfig source;
          PGA_RETURN_IF_ERROR(ReadSource(file, item, &source));
          if (source.name.empty()) source.name = absl::StrCat(source.host, ":", source.port);
          if (!names.insert(source.name).second) {
            return AtLine(file, item, absl::StrCat("two sources are named ", source.name));
          }
          if (absl::Status status = CheckSource(source); !status.ok()) {
            return AtLine(file, item, std::string(status.message()));
          }
          config->sources.push_back(std::move(source));
        }
      } else {
        return AtLine(file, pair.first,
                      absl::StrCat("unknown key ", key,
                                   "; known: collector_id, collector_name, backend_url, collection_interval, "
                                   "query_text, metrics, sources"));
      }
    }
  } catch (const YAML::Exception& problem) {
    return absl::InvalidArgumentError(absl::StrCat(file, ":", problem.mark.line + 1, ": ", problem.msg));
  }
  if (config->sources.empty() && config->managed_hosts.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": sources is missing; only with MANAGED_INSTANCE_HOSTS it may be left out"));
  }
  return absl::OkStatus();
}

absl::Status CheckMetricNames(const CollectorConfig& config, const catalog::Catalog& catalog) {
  std::vector<std::string> known;
  for (const auto& metric : catalog.metrics()) known.push_back(metric.name());
  for (const auto& [setting, names] : {std::pair("DISABLED_METRICS", &config.disabled_metrics),
                                       std::pair("ENABLED_METRICS", &config.enabled_metrics)}) {
    for (const std::string& name : *names) {
      if (std::find(known.begin(), known.end(), name) != known.end()) continue;
      const std::vector<std::string> near = config::NearestNames(name, known);
      return absl::InvalidArgumentError(absl::StrCat(
          setting, config.config_file.empty() ? "" : absl::StrCat(" or metrics of ", config.config_file), ": \"", name,
          "\" is no metric",
          near.empty() ? "; docs/metrics.md lists them" : absl::StrCat("; similar: ", absl::StrJoin(near, ", "))));
    }
  }
  return absl::OkStatus();
}

std::set<std::string> DisabledMetrics(const CollectorConfig& config, const catalog::Catalog& catalog) {
  std::set<std::string> disabled(config.disabled_metrics.begin(), config.disabled_metrics.end());
  for (const auto& metric : catalog.metrics()) {
    const auto& on = config.enabled_metrics;
    if (metric.optional() && std::find(on.begin(), on.end(), metric.name()) == on.end()) disabled.insert(metric.name());
  }
  return disabled;
}

absl::Status FinishConfig(CollectorConfig* config) {
  PGA_RETURN_IF_ERROR(net::AllowedHosts::Parse(config->managed_hosts, "MANAGED_INSTANCE_HOSTS").status());
  if (!config->config_file.empty()) {
    std::ifstream in(config->config_file, std::ios::binary);
    if (!in) {
      return absl::InvalidArgumentError(absl::StrCat("COLLECTOR_CONFIG=", config->config_file, " cannot be read"));
    }
    std::stringstream text;
    text << in.rdbuf();
    PGA_RETURN_IF_ERROR(ApplyYaml(text.str(), config->config_file, config));
  } else {
    SourceConfig source = config->environment_source;
    if (source.name.empty()) source.name = absl::StrCat(source.host, ":", source.port);
    PGA_RETURN_IF_ERROR(CheckSource(source));
    config->sources.push_back(std::move(source));
  }
  if (config->query_text == "normalized") {
    config->query_text_mode = QueryTextMode::kNormalized;
  } else if (config->query_text == "full") {
    config->query_text_mode = QueryTextMode::kFull;
  } else if (config->query_text == "none") {
    config->query_text_mode = QueryTextMode::kNone;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("QUERY_TEXT=", config->query_text, " is not one of normalized, full, none"));
  }
  config->explain.time_us = absl::ToInt64Microseconds(config->explain_time);
  config->explain.again_ns = absl::ToInt64Nanoseconds(config->explain_again);
  if (config->collector_name.empty()) config->collector_name = HostName();
  if (config->collector_id.empty()) config->collector_id = DefaultCollectorId(HostName());
  if (!token::IsCollectorId(config->collector_id)) {
    return absl::InvalidArgumentError(absl::StrCat("COLLECTOR_ID must have ", token::kCollectorIdRule));
  }
  PGA_ASSIGN_OR_RETURN(const BackendAddress backend, ParseBackendUrl(config->backend_url));
  if (!backend.tls && !backend.loopback && !config->backend_allow_plaintext) {
    return absl::InvalidArgumentError(absl::StrCat(
        "BACKEND_URL=", config->backend_url,
        " would send data unencrypted to another host; use https://, or set BACKEND_ALLOW_PLAINTEXT=true"));
  }
  if (const std::string& file = config->backend_ca_file; !file.empty() && !std::ifstream(file)) {
    return absl::InvalidArgumentError(absl::StrCat("BACKEND_CA_FILE=", file, " cannot be read"));
  }
  return absl::OkStatus();
}

absl::StatusOr<BackendAddress> ParseBackendUrl(std::string_view url) {
  absl::string_view rest(url.data(), url.size());
  BackendAddress address;
  const auto refuse = [&] {
    return absl::InvalidArgumentError(
        absl::StrCat("BACKEND_URL=", std::string(url), " is not a URL like https://pganalytics.example.com:8080"));
  };
  if (absl::ConsumePrefix(&rest, "https://")) {
    address.tls = true;
  } else if (!absl::ConsumePrefix(&rest, "http://")) {
    return refuse();
  }
  while (absl::ConsumeSuffix(&rest, "/")) {
  }
  if (rest.empty() || absl::StrContains(rest, "/") || absl::StrContains(rest, "@") || absl::StrContains(rest, " ")) {
    return refuse();
  }
  absl::string_view host = rest;
  absl::string_view port = address.tls ? "443" : "80";
  const size_t colon = rest.rfind(':');
  const size_t bracket = rest.rfind(']');
  if (colon != absl::string_view::npos && (bracket == absl::string_view::npos || colon > bracket)) {
    host = rest.substr(0, colon);
    port = rest.substr(colon + 1);
  }
  int number = 0;
  if (host.empty() || !absl::SimpleAtoi(port, &number) || number < 1 || number > 65535) return refuse();
  address.target = absl::StrCat(host, ":", number);
  absl::ConsumePrefix(&host, "[");
  absl::ConsumeSuffix(&host, "]");
  address.host = std::string(host);
  address.loopback = host == "localhost" || host == "::1" || absl::StartsWith(host, "127.");
  return address;
}

std::string DefaultCollectorId(std::string_view hostname) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(hostname.data(), hostname.size(), digest, &size, EVP_md5(), nullptr);
  const std::string nil(16, '\0');
  return frame::FormatUuid(frame::UuidV5(nil, std::string_view(reinterpret_cast<const char*>(digest), 16)));
}

}  // namespace pga::collector
