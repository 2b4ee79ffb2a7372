#include "services/gateway/config.h"

#include "libs/door/networks.h"
#include "libs/status/status.h"

namespace pga::gateway {

void GatewayConfig::Register(config::Loader& loader) {
  loader.String(
      &listen_address, "LISTEN_ADDRESS", "listen-address", listen_address,
      "IP address the HTTP port is opened on, 0.0.0.0 or :: for every one; empty = 0.0.0.0 in production with "
      "TLS, else 127.0.0.1");
  loader.Int(&port, "PORT", "port", port, "port for HTTP and for collectors; 0 takes a free one", "", 0, 65535);
  loader.Bool(&tls_enabled, "TLS_ENABLED", "tls-enabled", tls_enabled, "serve HTTPS");
  loader.String(&tls_cert_path, "TLS_CERT_PATH|TLS_CERT", "tls-cert-path", tls_cert_path,
                "PEM file with the certificate chain; read again when it changes");
  loader.String(&tls_key_path, "TLS_KEY_PATH|TLS_KEY", "tls-key-path", tls_key_path,
                "PEM file with the key of the certificate");
  loader.Stage(&environment, environment, "production adds Strict-Transport-Security and refuses default secrets");
  loader.List(&cors_allowed_origins, "CORS_ALLOWED_ORIGINS", "cors-allowed-origins", "",
              "origins that browsers may call from, such as https://ui.example.org");
  loader.List(&trusted_proxies, "TRUSTED_PROXIES", "trusted-proxies", "",
              "addresses or networks whose X-Forwarded-For is believed");
  loader.List(
      &proxy_protocol_from, "PROXY_PROTOCOL_FROM", "proxy-protocol-from", "",
      "addresses or networks of load balancers whose connections begin with a PROXY header, version 1 or 2, that "
      "says whose they are; theirs without one are closed");
  loader.Int(&rate_limit_per_minute, "RATE_LIMIT_PER_MINUTE", "rate-limit-per-minute", rate_limit_per_minute,
             "requests of one client address without a good token; 0 = no limit", "requests per minute", 0, 1'000'000);
  loader.Int(&rate_limit_user_per_minute, "RATE_LIMIT_USER_PER_MINUTE", "rate-limit-user-per-minute",
             rate_limit_user_per_minute, "requests of one signed-in user; 0 = no limit", "requests per minute", 0,
             1'000'000);
  loader.Int(&rate_limit_collector_per_minute, "RATE_LIMIT_COLLECTOR_PER_MINUTE", "rate-limit-collector-per-minute",
             rate_limit_collector_per_minute, "HTTP requests of one collector; 0 = no limit", "requests per minute", 0,
             1'000'000);
  loader.Int(&rate_limit_console_per_minute, "RATE_LIMIT_CONSOLE_PER_MINUTE", "rate-limit-console-per-minute",
             rate_limit_console_per_minute, "files of the console for one client address; 0 = no limit",
             "requests per minute", 0, 1'000'000);
  loader.Duration(&request_timeout, "REQUEST_TIMEOUT", "request-timeout", request_timeout,
                  "longest time for the body of a request, and again for the service to answer it", absl::Seconds(1),
                  absl::Hours(1));
  loader.Duration(&stream_timeout, "STREAM_TIMEOUT", "stream-timeout", stream_timeout,
                  "longest time of one streamed answer", absl::Seconds(1), absl::Hours(24));
  loader.Duration(&header_timeout, "HEADER_TIMEOUT", "header-timeout", header_timeout,
                  "longest time for a request head, from its first byte", absl::Seconds(1), absl::Minutes(5));
  loader.Duration(&idle_timeout, "IDLE_TIMEOUT", "idle-timeout", idle_timeout,
                  "how long a connection may wait between requests", absl::Seconds(1), absl::Hours(1));
  loader.Int(&max_connections, "MAX_HTTP_CONNECTIONS", "max-http-connections", max_connections,
             "HTTP connections at a time, and as many passed on to ingest; more are closed at once", "", 1, 1'000'000);
  loader.Int(&max_connections_per_address, "MAX_HTTP_CONNECTIONS_PER_ADDRESS", "max-http-connections-per-address",
             max_connections_per_address, "connections of one client address at a time", "", 1, 1'000'000);
  loader.Bytes(&max_body_bytes, "MAX_BODY_BYTES", "max-body-bytes", max_body_bytes,
               "largest request body, after unpacking", 1024, int64_t{1} << 30);
  loader.Bytes(&max_header_bytes, "MAX_HEADER_BYTES", "max-header-bytes", max_header_bytes, "largest request head",
               16 << 10, 1 << 20);
  loader.Bytes(&max_url_bytes, "MAX_URL_BYTES", "max-url-bytes", max_url_bytes, "longest URL", 256, 64 << 10);
  loader.Bytes(&max_buffered_bytes, "MAX_BUFFERED_BYTES", "max-buffered-bytes", max_buffered_bytes,
               "request bodies held in memory at a time; half of it for one caller", 1 << 20, int64_t{1} << 40);
  loader.Bytes(&max_answer_bytes, "MAX_ANSWER_BYTES", "max-answer-bytes", max_answer_bytes,
               "large answers held in memory until clients have taken them; two thirds of it for one caller", 1 << 20,
               int64_t{1} << 40);
  loader.Int(&max_calls_per_caller, "MAX_CALLS_PER_CALLER", "max-calls-per-caller", max_calls_per_caller,
             "requests of one caller that services work on at a time; more wait", "", 1, 10'000);
  loader.Bool(
      &ingest_proxy_protocol, "INGEST_PROXY_PROTOCOL", "ingest-proxy-protocol", ingest_proxy_protocol,
      "pass on to ingest the addresses of the collectors whose connections are passed on (PROXY protocol, version 2); "
      "set COLLECTOR_PROXIES of pga-ingest as well");
  loader.Int(&io_threads, "HTTP_THREADS", "http-threads", io_threads, "threads that serve HTTP", "", 1, 64);
  loader.String(&descriptor_set_file, "DESCRIPTOR_SET_FILE", "descriptor-set-file", descriptor_set_file,
                "file with the descriptor set to serve instead of the built-in one");
}

std::string GatewayConfig::ListenAddress() const {
  if (!listen_address.empty()) return listen_address;
  return environment == "production" && tls_enabled ? "0.0.0.0" : "127.0.0.1";
}

absl::Status GatewayConfig::Validate() const {
  if (tls_enabled && tls_cert_path.empty()) {
    return absl::InvalidArgumentError("TLS_ENABLED is set: set TLS_CERT_PATH to the PEM file of the certificate");
  }
  if (tls_enabled && tls_key_path.empty()) {
    return absl::InvalidArgumentError("TLS_ENABLED is set: set TLS_KEY_PATH to the PEM file of the key");
  }
  for (const std::string& origin : cors_allowed_origins) {
    const bool scheme = origin.starts_with("http://") || origin.starts_with("https://");
    const size_t host = origin.find("://") + 3;
    if (!scheme || origin.size() == host || origin.find_first_of("/*? \t", host) != std::string::npos) {
      return absl::InvalidArgumentError("CORS_ALLOWED_ORIGINS: \"" + origin +
                                        "\" is not an origin; write it as https://host or https://host:port");
    }
  }
  PGA_RETURN_IF_ERROR(door::TrustedProxies::Parse(proxy_protocol_from, "PROXY_PROTOCOL_FROM").status());
  return door::TrustedProxies::Parse(trusted_proxies).status();
}

}  // namespace pga::gateway
