#pragma once

// Edge of IdentityService: what our own services ask of auth.

#include <string>

#include "libs/log/log.h"
#include "libs/rpc/unary.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "services/auth/collector_access.h"
#include "services/auth/refusals.h"
#include "services/auth/revocation_feed.h"
#include "services/auth/service_secrets.h"
#include "services/auth/token_issuer.h"

namespace pga::auth {

class IdentityServiceImpl final : public pganalytics::auth::v1::IdentityService::CallbackService {
 public:
  struct Parts {
    CollectorAccess* access = nullptr;
    const TokenIssuer* issuer = nullptr;
    AuthStore* store = nullptr;
    RevocationFeed* feed = nullptr;
    clock::Clock* clock = nullptr;
    rpc::Dispatcher* dispatcher = nullptr;
    // Public keys as RFC 7517 text.
    std::string jwks_json;
    // Certificate of the collectors' CA.
    std::string ca_pem;
    // What services present to get their tokens.
    ServiceSecrets* service_secrets = nullptr;
    Refusals* refusals = nullptr;
  };

  // What the parts point to outlives the service.
  explicit IdentityServiceImpl(Parts parts) : parts_(std::move(parts)) {}

  grpc::ServerUnaryReactor* GetJwks(grpc::CallbackServerContext* context,
                                    const pganalytics::auth::v1::GetJwksRequest* request,
                                    pganalytics::auth::v1::GetJwksResponse* response) override;
  grpc::ServerUnaryReactor* GetCollectorCa(grpc::CallbackServerContext* context,
                                           const pganalytics::auth::v1::GetCollectorCaRequest* request,
                                           pganalytics::auth::v1::GetCollectorCaResponse* response) override;
  grpc::ServerUnaryReactor* IssueServiceToken(grpc::CallbackServerContext* context,
                                              const pganalytics::auth::v1::IssueServiceTokenRequest* request,
                                              pganalytics::auth::v1::IssueServiceTokenResponse* response) override;
  grpc::ServerUnaryReactor* UseRegistrationSecret(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::UseRegistrationSecretRequest* request,
      pganalytics::auth::v1::UseRegistrationSecretResponse* response) override;
  grpc::ServerUnaryReactor* IssueCollectorCredentials(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::IssueCollectorCredentialsRequest* request,
      pganalytics::auth::v1::IssueCollectorCredentialsResponse* response) override;
  grpc::ServerUnaryReactor* RevokeCollector(grpc::CallbackServerContext* context,
                                            const pganalytics::auth::v1::RevokeCollectorRequest* request,
                                            pganalytics::auth::v1::RevokeCollectorResponse* response) override;
  grpc::ServerWriteReactor<pganalytics::auth::v1::RevocationBatch>* WatchRevocations(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::WatchRevocationsRequest* request) override;
  grpc::ServerUnaryReactor* CheckRevocation(grpc::CallbackServerContext* context,
                                            const pganalytics::auth::v1::CheckRevocationRequest* request,
                                            pganalytics::auth::v1::CheckRevocationResponse* response) override;
  grpc::ServerUnaryReactor* NoteTokenUse(grpc::CallbackServerContext* context,
                                         const pganalytics::auth::v1::NoteTokenUseRequest* request,
                                         pganalytics::auth::v1::NoteTokenUseResponse* response) override;
  grpc::ServerUnaryReactor* Ping(grpc::CallbackServerContext* context,
                                 const pganalytics::auth::v1::PingRequest* request,
                                 pganalytics::auth::v1::PingResponse* response) override;

 private:
  const Parts parts_;
};

}  // namespace pga::auth
