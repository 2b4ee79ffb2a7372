// The query service put together: the one place where its parts are built and joined. A program adds the network
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
#include "services/query/config.h"

namespace grpc {
class Channel;
class Service;
}  // namespace grpc

namespace pga::query {

// What the service needs from its surroundings; nothing is owned but the channel, all must outlive the service.
struct QueryDeps {
  metrics::Registry* metrics = nullptr;
  clock::Clock* clock = nullptr;
  rpc::Authenticator* authenticator = nullptr;
  // Channel to auth and the identity to use there, for the health of the metadata database. Without a channel the
  // database counts as not reachable.
  std::shared_ptr<grpc::Channel> auth;
  rpc::ServiceIdentity* identity = nullptr;
};

// Thread-safe. Order of the end: the gRPC server that carries services() drains first, then Drain, then the destructor.
class QueryServer {
 public:
  // INVALID_ARGUMENT for a bad configuration or catalog folder. The database need not be there yet.
  static absl::StatusOr<std::unique_ptr<QueryServer>> Create(const QueryConfig& config, const QueryDeps& deps);
  ~QueryServer();

  // To be registered with a gRPC server; they live as long as this object.
  std::vector<grpc::Service*> services();

  // Lets running reads finish until the deadline, drops waiting ones, joins the threads. Repeating is safe.
  void Drain(clock::SteadyTime deadline);

 private:
  struct Parts;
  explicit QueryServer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace pga::query
