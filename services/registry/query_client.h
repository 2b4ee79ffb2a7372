// What registry asks of query: how active collectors are, as stored frames show it.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/rpc/service_identity.h"
#include "services/registry/collector.h"

namespace grpc {
class Channel;
}

namespace pga::registry {

// Thread-safe.
class QueryClient {
 public:
  // `identity` must outlive the client.
  QueryClient(std::shared_ptr<grpc::Channel> query, rpc::ServiceIdentity* identity);

  // Every collector that query knows. Blocks for `limit` at most.
  absl::StatusOr<std::vector<Activity>> CollectorActivity(absl::Duration limit);

 private:
  const std::shared_ptr<grpc::Channel> query_;
  rpc::ServiceIdentity* const identity_;
};

}  // namespace pga::registry
