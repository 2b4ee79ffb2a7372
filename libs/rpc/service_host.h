// What the programs of services that run alone share: settings, identity, verification of callers, /metrics, the gRPC
// server, signals, and the order of start and stop. (pganalytics-api joins the services itself.)
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/config/config.h"
#include "libs/log/log.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/server.h"
#include "libs/rpc/service_identity.h"
#include "libs/rpc/tls.h"
#include "libs/token/revocation_set.h"
#include "libs/token/verifier.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace pga::rpc {

// What surrounds a service; everything lives until the service has drained.
class ServiceHost {
 public:
  ServiceHost();
  ~ServiceHost();
  ServiceHost(const ServiceHost&) = delete;
  ServiceHost& operator=(const ServiceHost&) = delete;

  metrics::Registry* metrics();
  clock::Clock* clock() { return clock::Clock::Real(); }
  token::Verifier* verifier();
  token::RevocationSet* revocations();
  Authenticator* authenticator();
  ServiceIdentity* identity();
  // Channel to a service that the program's row of token::kServices names in `calls`, with the TLS settings of
  // PEER_TLS_*; null for any other.
  std::shared_ptr<grpc::Channel> channel(std::string_view service);
  // Its address as configured, host:port; empty for any other.
  std::string address(std::string_view service);
  // Certificate of the CA that signs collectors' certificates, asked of auth; waits for auth until the deadline. For
  // the TLS settings of a server that collectors reach.
  absl::StatusOr<std::string> FetchCollectorCa(clock::SteadyTime deadline);

 private:
  friend int RunService(int argc, char** argv, struct ServiceProgram program);
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

// A service, as the host runs it.
struct RunningService {
  // Keeps the service's parts alive.
  std::shared_ptr<void> owner;
  // Callback services to be served on GRPC_LISTEN.
  std::vector<grpc::Service*> services;
  // Called before the gRPC server drains; may be empty.
  std::function<void()> prepare_drain;
  // Called after the gRPC server has drained.
  std::function<void(clock::SteadyTime deadline)> drain;
};

struct ServiceProgram {
  // Name of a row of token::kServices, which says what it calls and where it listens.
  std::string name;
  // One sentence for --help.
  std::string description;
  // Adds the service's own settings.
  std::function<void(config::Loader&)> register_options;
  // Builds the service. `server` holds the limits of the gRPC server to come and may be changed.
  std::function<absl::StatusOr<RunningService>(ServiceHost& host, Server::Options* server)> create;
};

// Runs the program until SIGTERM or SIGINT and returns its exit code: 0 after a drain, 2 for settings that cannot be
// read, 1 when it cannot start. Problems go to standard error as one sentence.
int RunService(int argc, char** argv, ServiceProgram program);

}  // namespace pga::rpc
