// What the query service asks of auth: whether the metadata database answers.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/rpc/service_identity.h"

namespace grpc {
class Channel;
}

namespace pga::query {

// Thread-safe.
class IdentityClient {
 public:
  // `identity` must outlive the client.
  IdentityClient(std::shared_ptr<grpc::Channel> auth, rpc::ServiceIdentity* identity);

  // OK when auth says that its database answered; UNAVAILABLE otherwise. Blocks until the deadline at most.
  absl::Status PingDatabase(clock::SteadyTime deadline);

 private:
  std::shared_ptr<grpc::Channel> auth_;
  rpc::ServiceIdentity* identity_;
};

}  // namespace pga::query
