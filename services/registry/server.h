// The registry service put together: the one place where its parts are built and joined. A program adds the network
// (main.cc), or links it beside other services over in-process channels.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/service_identity.h"
#include "services/registry/config.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace pga::registry {

// What the service needs from its surroundings; nothing is owned but the channels, all must outlive the service.
struct RegistryDeps {
  metrics::Registry* metrics = nullptr;
  clock::Clock* clock = nullptr;
  rpc::Authenticator* authenticator = nullptr;
  // The identity to use at auth and query.
  rpc::ServiceIdentity* identity = nullptr;
  std::shared_ptr<grpc::Channel> auth;
  // May be null: collectors then show the activity last known.
  std::shared_ptr<grpc::Channel> query;
};

// Thread-safe. Order of the end: the gRPC server that carries services() drains first, then Drain, then the destructor.
class RegistryServer {
 public:
  // INVALID_ARGUMENT for a bad configuration or catalog folder. The database need not be there yet.
  static absl::StatusOr<std::unique_ptr<RegistryServer>> Create(const RegistryConfig& config, const RegistryDeps& deps);
  ~RegistryServer();

  // To be registered with a gRPC server; they live as long as this object.
  std::vector<grpc::Service*> services();

  // Lets running calls finish until the deadline, drops waiting ones, joins the threads. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit RegistryServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::registry
