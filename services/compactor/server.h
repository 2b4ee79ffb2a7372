// The compactor service put together: the one place where its parts are built and joined. A program adds the network
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
#include "services/compactor/config.h"

namespace grpc {
class Service;
}

namespace pga::compactor {

// What the service needs from its surroundings; nothing is owned, all must outlive the service.
struct CompactorDeps {
  metrics::Registry* metrics = nullptr;
  clock::Clock* clock = nullptr;
  rpc::Authenticator* authenticator = nullptr;
};

// Thread-safe. Order of the end: the gRPC server that carries services() drains first, then Drain, then the destructor.
class CompactorServer {
 public:
  // Upkeep begins at once. INVALID_ARGUMENT for a bad configuration. The database need not be there yet.
  static absl::StatusOr<std::unique_ptr<CompactorServer>> Create(const CompactorConfig& config,
                                                                 const CompactorDeps& deps);
  ~CompactorServer();

  // To be registered with a gRPC server; they live as long as this object.
  std::vector<grpc::Service*> services();

  // Ends what upkeep is doing (its transaction is undone), lets calls finish until the deadline. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit CompactorServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::compactor
