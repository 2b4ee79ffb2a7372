#pragma once

// Envoy's ext_authz: refuses early what the services would refuse anyway. The decision is libs/rpc's: rule of the
// method, token, revocation; the services decide again on the decoded message. The route names the gRPC method that
// will be called; without it the path is taken for one, and any other path is refused. An Envoy that shows the
// gateway's secret gets the gateway's token, by which services believe its word on clients' addresses.

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "envoy/service/auth/v3/authorization_service.grpc.pb.h"
#include "libs/clock/clock.h"
#include "libs/rpc/auth.h"
#include "libs/rpc/unary.h"
#include "services/auth/service_secrets.h"
#include "services/auth/token_issuer.h"

namespace pga::auth {

class AuthorizationServiceImpl final : public envoy::service::auth::v3::Authorization::CallbackService {
 public:
  // All outlive the service. Opens Check to callers without identity: Envoy has none, and the answer says no more than
  // the services do.
  AuthorizationServiceImpl(rpc::Authenticator* authenticator, rpc::Dispatcher* dispatcher, ServiceSecrets* secrets,
                           const TokenIssuer* issuer, clock::Clock* clock);

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const envoy::service::auth::v3::CheckRequest* request,
                                  envoy::service::auth::v3::CheckResponse* response) override;

 private:
  rpc::Authenticator* const authenticator_;
  // The gateway's token, made anew before it ends.
  absl::StatusOr<std::string> GatewayToken();

  rpc::Dispatcher* const dispatcher_;
  ServiceSecrets* const secrets_;
  const TokenIssuer* const issuer_;
  clock::Clock* const clock_;
  absl::Mutex mutex_;
  IssuedToken token_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pga::auth
