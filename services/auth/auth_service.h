#pragma once

// Edge of AuthService: messages to domain words and back. No rules, no SQL.

#include "libs/rpc/unary.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "services/auth/accounts.h"
#include "services/auth/api_tokens.h"
#include "services/auth/collector_access.h"

namespace pga::auth {

// The caller as rules and audit see it.
Caller CallerOf(const rpc::CallContext& call);

class AuthServiceImpl final : public pganalytics::auth::v1::AuthService::CallbackService {
 public:
  // What is passed in outlives the service. Calls that hash passwords run on `people`, so that a wave of sign-ins takes
  // no thread from the others.
  AuthServiceImpl(Accounts* accounts, CollectorAccess* access, ApiTokens* tokens, rpc::Dispatcher* people)
      : accounts_(accounts), access_(access), tokens_(tokens), dispatcher_(people) {}

  grpc::ServerUnaryReactor* Login(grpc::CallbackServerContext* context,
                                  const pganalytics::auth::v1::LoginRequest* request,
                                  pganalytics::auth::v1::LoginResponse* response) override;
  grpc::ServerUnaryReactor* Logout(grpc::CallbackServerContext* context,
                                   const pganalytics::auth::v1::LogoutRequest* request,
                                   pganalytics::auth::v1::MessageResponse* response) override;
  grpc::ServerUnaryReactor* Refresh(grpc::CallbackServerContext* context,
                                    const pganalytics::auth::v1::RefreshRequest* request,
                                    pganalytics::auth::v1::LoginResponse* response) override;
  grpc::ServerUnaryReactor* ChangePassword(grpc::CallbackServerContext* context,
                                           const pganalytics::auth::v1::ChangePasswordRequest* request,
                                           pganalytics::auth::v1::MessageResponse* response) override;
  grpc::ServerUnaryReactor* CreateUser(grpc::CallbackServerContext* context,
                                       const pganalytics::auth::v1::CreateUserRequest* request,
                                       pganalytics::auth::v1::User* response) override;
  grpc::ServerWriteReactor<pganalytics::auth::v1::User>* ListUsers(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::ListUsersRequest* request) override;
  grpc::ServerUnaryReactor* UpdateUser(grpc::CallbackServerContext* context,
                                       const pganalytics::auth::v1::UpdateUserRequest* request,
                                       pganalytics::auth::v1::User* response) override;
  grpc::ServerUnaryReactor* DeleteUser(grpc::CallbackServerContext* context,
                                       const pganalytics::auth::v1::DeleteUserRequest* request,
                                       pganalytics::auth::v1::MessageResponse* response) override;
  grpc::ServerUnaryReactor* ResetUserPassword(grpc::CallbackServerContext* context,
                                              const pganalytics::auth::v1::ResetUserPasswordRequest* request,
                                              pganalytics::auth::v1::ResetUserPasswordResponse* response) override;
  grpc::ServerUnaryReactor* CreateRegistrationSecret(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::CreateRegistrationSecretRequest* request,
      pganalytics::auth::v1::CreateRegistrationSecretResponse* response) override;
  grpc::ServerUnaryReactor* ListRegistrationSecrets(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::ListRegistrationSecretsRequest* request,
      pganalytics::auth::v1::ListRegistrationSecretsResponse* response) override;
  grpc::ServerUnaryReactor* GetRegistrationSecret(grpc::CallbackServerContext* context,
                                                  const pganalytics::auth::v1::GetRegistrationSecretRequest* request,
                                                  pganalytics::auth::v1::RegistrationSecret* response) override;
  grpc::ServerUnaryReactor* UpdateRegistrationSecret(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::UpdateRegistrationSecretRequest* request,
      pganalytics::auth::v1::RegistrationSecret* response) override;
  grpc::ServerUnaryReactor* DeleteRegistrationSecret(
      grpc::CallbackServerContext* context, const pganalytics::auth::v1::DeleteRegistrationSecretRequest* request,
      pganalytics::auth::v1::MessageResponse* response) override;
  grpc::ServerUnaryReactor* CreateApiToken(grpc::CallbackServerContext* context,
                                           const pganalytics::auth::v1::CreateApiTokenRequest* request,
                                           pganalytics::auth::v1::CreateApiTokenResponse* response) override;
  grpc::ServerUnaryReactor* ListApiTokens(grpc::CallbackServerContext* context,
                                          const pganalytics::auth::v1::ListApiTokensRequest* request,
                                          pganalytics::auth::v1::ListApiTokensResponse* response) override;
  grpc::ServerUnaryReactor* RevokeApiToken(grpc::CallbackServerContext* context,
                                           const pganalytics::auth::v1::RevokeApiTokenRequest* request,
                                           pganalytics::auth::v1::MessageResponse* response) override;

 private:
  Accounts* const accounts_;
  CollectorAccess* const access_;
  ApiTokens* const tokens_;
  rpc::Dispatcher* const dispatcher_;
};

}  // namespace pga::auth
