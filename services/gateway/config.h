#pragma once

// Settings of the gateway, with the names of the deployment guide. Filled by config::Loader.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/config/config.h"

namespace pga::gateway {

struct GatewayConfig {
  // Empty = by the rule of ListenAddress().
  std::string listen_address;
  // 0 takes a free port.
  int port = 8080;

  bool tls_enabled = false;
  std::string tls_cert_path;
  std::string tls_key_path;

  // "production" switches HSTS on.
  std::string environment = "development";
  std::vector<std::string> cors_allowed_origins;
  std::vector<std::string> trusted_proxies;
  // Networks whose connections begin with a PROXY header that is believed.
  std::vector<std::string> proxy_protocol_from;

  // Requests per minute; 0 = no limit.
  int rate_limit_per_minute = 100;
  int rate_limit_user_per_minute = 3'000;
  int rate_limit_collector_per_minute = 1000;
  // Files of the console, of one address.
  int rate_limit_console_per_minute = 600;

  absl::Duration request_timeout = absl::Seconds(30);
  absl::Duration stream_timeout = absl::Minutes(5);
  absl::Duration header_timeout = absl::Seconds(10);
  absl::Duration idle_timeout = absl::Seconds(60);

  int max_connections = 2000;
  // Of one client address; connections of trusted proxies are counted together only.
  int max_connections_per_address = 500;
  int64_t max_body_bytes = int64_t{10} << 20;
  int64_t max_header_bytes = int64_t{64} << 10;
  int64_t max_url_bytes = int64_t{8} << 10;
  // Request bodies held in memory at a time, from their arrival until the service has answered: all together, and half
  // of it for one caller.
  int64_t max_buffered_bytes = int64_t{24} << 20;
  // The same for large answers, until the client has taken them.
  int64_t max_answer_bytes = int64_t{20} << 20;
  // Requests of one caller that services work on at a time; more wait.
  int max_calls_per_caller = 6;
  // Whether connections that are passed on to ingest over the network begin with a PROXY header.
  bool ingest_proxy_protocol = false;
  int io_threads = 2;

  // Serialised FileDescriptorSet to use instead of the built-in one; empty = built-in.
  std::string descriptor_set_file;

  // The address to open: listen_address; if that is empty every address in production with TLS, else loopback.
  std::string ListenAddress() const;
  // Names every setting to the loader; `this` outlives loader.Parse().
  void Register(config::Loader& loader);
  // What the loader cannot know: settings that do not fit together. INVALID_ARGUMENT names the variable.
  absl::Status Validate() const;
};

}  // namespace pga::gateway
