#include "services/query/identity_client.h"

#include <utility>

#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/status/status.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"

namespace pga::query {

namespace auth_pb = ::pganalytics::auth::v1;

IdentityClient::IdentityClient(std::shared_ptr<grpc::Channel> auth, rpc::ServiceIdentity* identity)
    : auth_(std::move(auth)), identity_(identity) {}

absl::Status IdentityClient::PingDatabase(clock::SteadyTime deadline) {
  const auto stub = auth_pb::IdentityService::NewStub(auth_);
  rpc::CallOptions options;
  options.deadline = deadline;
  options.identity = identity_;
  PGA_ASSIGN_OR_RETURN(const auth_pb::PingResponse answer,
                       rpc::Call(*stub, &auth_pb::IdentityService::Stub::Ping, auth_pb::PingRequest(), options));
  if (!answer.database_ok()) return absl::UnavailableError("auth does not reach the metadata database");
  return absl::OkStatus();
}

}  // namespace pga::query
