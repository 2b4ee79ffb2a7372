#pragma once

// The files with which a real Envoy stands in the gateway's place: tools/deploy/envoy/ filled in from the gateway's own
// settings and from the routes of the descriptor set. No sockets, no gRPC.

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "services/gateway/api_surface.h"
#include "services/gateway/config.h"

namespace pga::gateway {

struct EnvoySettings {
  // Where Envoy finds the files.
  std::string folder;
  // host:port of the services by name, "gateway" for the built-in one behind Envoy, "collectors" for where collectors'
  // connections are passed on to.
  std::map<std::string, std::string, std::less<>> addresses;
  // host:port of /metrics and /ready; empty = none.
  std::string metrics_listen;
  // The services are called over TLS, and checked by this CA's certificates.
  bool peer_tls = false;
  std::string peer_ca_path;
  // The gateway's secret at auth; empty = services see Envoy's address in place of the client's.
  std::string service_secret;
};

// Text by file name. INVALID_ARGUMENT names the setting that does not fit.
absl::StatusOr<std::map<std::string, std::string>> MakeEnvoyFiles(const GatewayConfig& config,
                                                                  const EnvoySettings& settings, const ApiSurface& api,
                                                                  const std::string& descriptor_set);

// `pga-gateway envoy FOLDER`: reads the settings of the gateway, writes the files. INVALID_ARGUMENT for settings,
// UNAVAILABLE when a file cannot be written.
absl::Status RunEnvoyCommand(int argc, char** argv);

}  // namespace pga::gateway
