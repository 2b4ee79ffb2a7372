#include "services/registry/auth_client.h"

#include <utility>

#include "libs/rpc/client.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"

namespace pga::registry {

namespace pb = ::pganalytics::auth::v1;
using Stub = pb::IdentityService::Stub;

namespace {

constexpr absl::Duration kLimit = absl::Seconds(5);

using rpc::FromProto;

}  // namespace

AuthClient::AuthClient(std::shared_ptr<grpc::Channel> auth, rpc::ServiceIdentity* identity)
    : auth_(std::move(auth)), identity_(identity) {}

absl::StatusOr<std::string> AuthClient::UseRegistrationSecret(const rpc::CallContext& call, const std::string& secret,
                                                              const std::string& collector_id,
                                                              const std::string& collector_name, bool replaces) {
  pb::UseRegistrationSecretRequest request;
  request.set_secret(secret);
  request.set_collector_id(collector_id);
  request.set_collector_name(collector_name);
  request.set_peer_address(call.peer);
  request.set_replaces(replaces);
  const auto stub = pb::IdentityService::NewStub(auth_);
  PGA_ASSIGN_OR_RETURN(
      const pb::UseRegistrationSecretResponse used,
      rpc::Call(*stub, &Stub::UseRegistrationSecret, request, rpc::OnBehalfOf(call, kLimit, identity_)));
  return used.group().empty() ? "default" : used.group();
}

absl::StatusOr<Credentials> AuthClient::IssueCredentials(const rpc::CallContext& call, const std::string& collector_id,
                                                         const std::string& hostname, const std::string& csr_pem,
                                                         bool revoke_former) {
  pb::IssueCollectorCredentialsRequest request;
  request.set_collector_id(collector_id);
  request.set_hostname(hostname);
  request.set_csr_pem(csr_pem);
  request.set_revoke_former(revoke_former);
  const auto stub = pb::IdentityService::NewStub(auth_);
  PGA_ASSIGN_OR_RETURN(
      pb::IssueCollectorCredentialsResponse response,
      rpc::Call(*stub, &Stub::IssueCollectorCredentials, request, rpc::OnBehalfOf(call, kLimit, identity_)));
  Credentials credentials;
  credentials.token = std::move(*response.mutable_token());
  credentials.token_expires_at = FromProto(response.token_expires_at());
  credentials.certificate_pem = std::move(*response.mutable_certificate_pem());
  credentials.private_key_pem = std::move(*response.mutable_private_key_pem());
  credentials.ca_pem = std::move(*response.mutable_ca_pem());
  credentials.certificate_expires_at = FromProto(response.certificate_expires_at());
  credentials.certificate_thumbprint = std::move(*response.mutable_certificate_thumbprint());
  return credentials;
}

absl::Status AuthClient::Revoke(const rpc::CallContext& call, const std::string& collector_id,
                                const std::string& reason) {
  pb::RevokeCollectorRequest request;
  request.set_collector_id(collector_id);
  request.set_reason(reason);
  const auto stub = pb::IdentityService::NewStub(auth_);
  return rpc::Call(*stub, &Stub::RevokeCollector, request, rpc::OnBehalfOf(call, kLimit, identity_)).status();
}

}  // namespace pga::registry
