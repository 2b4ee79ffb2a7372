// The ruler service put together: the one place where its parts are built and joined. A program adds the network
// (main.cc), or links it beside other services over in-process channels.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/metrics/registry.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/service_identity.h"
#include "services/ruler/config.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace pga::ruler {

// What the service needs from its surroundings; nothing is owned but the channels, all must outlive the service.
struct RulerDeps {
  metrics::Registry* metrics = nullptr;
  clock::Clock* clock = nullptr;
  rpc::Authenticator* authenticator = nullptr;
  // The identity to use at query, registry and compactor.
  rpc::ServiceIdentity* identity = nullptr;
  std::shared_ptr<grpc::Channel> query;
  std::shared_ptr<grpc::Channel> registry;
  // May be null: rules about upkeep then know nothing.
  std::shared_ptr<grpc::Channel> compactor;
};

// Thread-safe. Order of the end: the gRPC server that carries services() drains first, then Drain, then the destructor.
class RulerServer {
 public:
  // Evaluation begins at once. INVALID_ARGUMENT for a bad configuration; bad rule files are logged and the others go
  // on. The database need not be there yet.
  static absl::StatusOr<std::unique_ptr<RulerServer>> Create(const RulerConfig& config, const RulerDeps& deps);
  ~RulerServer();

  // To be registered with a gRPC server; they live as long as this object.
  std::vector<grpc::Service*> services();

  // Ends evaluation and delivery, gives the lease back, lets calls finish until the deadline. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit RulerServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::ruler
