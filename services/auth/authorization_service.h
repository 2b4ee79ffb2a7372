#pragma once

// Envoy's ext_authz: refuses early what the services would refuse anyway. The decision is libs/rpc's: rule of the
// method, token, revocation; the services decide again on the decoded message. The filter stands behind the transcoder,
// so the path is the gRPC method that will be called; any other path is refused.

#include "envoy/service/auth/v3/authorization_service.grpc.pb.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"

namespace pga::auth {

class AuthorizationServiceImpl final : public envoy::service::auth::v3::Authorization::CallbackService {
 public:
  // Both outlive the service. Opens Check to callers without identity: Envoy has none, and the answer says no more than
  // the services do.
  AuthorizationServiceImpl(rpc::Authenticator* authenticator, rpc::Dispatcher* dispatcher);

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const envoy::service::auth::v3::CheckRequest* request,
                                  envoy::service::auth::v3::CheckResponse* response) override;

 private:
  rpc::Authenticator* const authenticator_;
  rpc::Dispatcher* const dispatcher_;
};

}  // namespace pga::auth
