#include "services/auth/auth_service.h"

#include <string>

#include "libs/rpc/http_metadata.h"
#include "libs/rpc/session_cookie.h"
#include "libs/status/status.h"
#include "services/auth/proto_time.h"
#include "services/auth/session_cookie.h"

namespace pga::auth {
namespace v1 = pganalytics::auth::v1;
namespace {

void Fill(const UserRecord& user, v1::User* out) {
  out->set_id(user.id);
  out->set_username(user.username);
  out->set_email(user.email);
  out->set_full_name(user.full_name);
  out->set_role(user.role);
  out->set_is_active(user.is_active);
  if (user.last_login.has_value()) SetTimestamp(*user.last_login, out->mutable_last_login());
  SetTimestamp(user.created_at, out->mutable_created_at());
  SetTimestamp(user.updated_at, out->mutable_updated_at());
}

void Fill(const SignedIn& signed_in, v1::LoginResponse* out) {
  out->set_token(signed_in.access.token);
  out->set_refresh_token(signed_in.refresh.token);
  SetTimestamp(signed_in.access.expires_at, out->mutable_expires_at());
  Fill(signed_in.user, out->mutable_user());
}

void Fill(const RegistrationSecretRecord& secret, v1::RegistrationSecret* out) {
  out->set_id(secret.id);
  out->set_name(secret.name);
  out->set_description(secret.description);
  out->set_active(secret.active);
  if (secret.created_by.has_value()) out->set_created_by(*secret.created_by);
  if (secret.created_by_username.has_value()) out->set_created_by_username(*secret.created_by_username);
  SetTimestamp(secret.created_at, out->mutable_created_at());
  SetTimestamp(secret.updated_at, out->mutable_updated_at());
  if (secret.expires_at.has_value()) SetTimestamp(*secret.expires_at, out->mutable_expires_at());
  out->set_total_registrations(secret.total_registrations);
  out->set_collector_id(secret.collector_id);
  out->set_for_many(secret.for_many);
  out->set_group(secret.group);
  if (secret.last_used_at.has_value()) SetTimestamp(*secret.last_used_at, out->mutable_last_used_at());
}

void Fill(const ApiTokenRecord& token, v1::ApiToken* out) {
  out->set_id(token.id);
  out->set_name(token.name);
  out->set_role(token.role);
  for (const std::string& group : token.groups) out->add_groups(group);
  out->set_query_texts(token.query_texts);
  if (token.created_by.has_value()) out->set_created_by(*token.created_by);
  if (token.created_by_username.has_value()) out->set_created_by_username(*token.created_by_username);
  SetTimestamp(token.created_at, out->mutable_created_at());
  SetTimestamp(token.expires_at, out->mutable_expires_at());
  if (token.last_used_at.has_value()) SetTimestamp(*token.last_used_at, out->mutable_last_used_at());
  if (token.revoked_at.has_value()) SetTimestamp(*token.revoked_at, out->mutable_revoked_at());
}

// The access token that was presented, whether or not it is good. Empty without one.
std::string BearerOf(const rpc::CallContext& call) {
  constexpr std::string_view kScheme = "Bearer ";
  std::string_view presented = call.Find(rpc::kAuthorization).value_or("");
  if (presented.starts_with(kScheme)) presented.remove_prefix(kScheme.size());
  return std::string(presented);
}

bool IsHttps(const rpc::CallContext& call) {
  return call.Find(rpc::kForwardedProto) == "https";
}

// The refresh token of the request, or else of its cookie, which counts only with a page of the same origin: a browser
// sends it whatever page asks.
struct PresentedSession {
  std::string refresh_token;
  bool by_cookie = false;
};
absl::StatusOr<PresentedSession> SessionOf(const rpc::CallContext& call, const std::string& refresh_token) {
  if (!refresh_token.empty()) return PresentedSession{refresh_token, false};
  PresentedSession session{std::string(rpc::SessionOfCookies(call.Find(rpc::kCookie).value_or(""))), true};
  if (session.refresh_token.empty()) return PresentedSession();
  if (!IsSameOrigin(call.Find(rpc::kOrigin).value_or(""), IsHttps(call) ? "https" : "http",
                    call.Find(rpc::kForwardedHost).value_or(""))) {
    return status::WithReason(
        absl::PermissionDeniedError("A session cookie is taken from pages of the same origin only"),
        "ORIGIN_NOT_ALLOWED");
  }
  return session;
}

// The answer to a sign-in or refresh; with a cookie, scripts of the page never see the refresh token.
void Answer(rpc::CallContext& call, const SignedIn& signed_in, bool by_cookie, v1::LoginResponse* out) {
  Fill(signed_in, out);
  if (!by_cookie) return;
  out->clear_refresh_token();
  call.SetResponseMetadata(rpc::kSetCookie,
                           SessionCookie(signed_in.refresh.token,
                                         signed_in.refresh.expires_at - signed_in.refresh.issued_at, IsHttps(call)));
}

}  // namespace

Caller CallerOf(const rpc::CallContext& call) {
  return {
      .principal = call.principal, .ip_address = call.peer, .request_id = call.request_id, .deadline = call.deadline};
}

grpc::ServerUnaryReactor* AuthServiceImpl::Login(grpc::CallbackServerContext* context, const v1::LoginRequest* request,
                                                 v1::LoginResponse* response) {
  return dispatcher_->Unary<v1::LoginRequest, v1::LoginResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::LoginRequest& req, v1::LoginResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const SignedIn signed_in,
                             accounts_->Login(CallerOf(call), req.username(), req.password()));
        Answer(call, signed_in, call.Find(rpc::kSession) == "cookie", &resp);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::Logout(grpc::CallbackServerContext* context,
                                                  const v1::LogoutRequest* request, v1::MessageResponse* response) {
  return dispatcher_->Unary<v1::LogoutRequest, v1::MessageResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::LogoutRequest& req, v1::MessageResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const PresentedSession session, SessionOf(call, req.refresh_token()));
        PGA_RETURN_IF_ERROR(accounts_->Logout(CallerOf(call), session.refresh_token, BearerOf(call)));
        if (session.by_cookie) call.SetResponseMetadata(rpc::kSetCookie, EndedSessionCookie(IsHttps(call)));
        resp.set_message("Logged out successfully");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::Refresh(grpc::CallbackServerContext* context,
                                                   const v1::RefreshRequest* request, v1::LoginResponse* response) {
  return dispatcher_->Unary<v1::RefreshRequest, v1::LoginResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::RefreshRequest& req, v1::LoginResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const PresentedSession session, SessionOf(call, req.refresh_token()));
        PGA_ASSIGN_OR_RETURN(const SignedIn signed_in, accounts_->Refresh(CallerOf(call), session.refresh_token));
        Answer(call, signed_in, session.by_cookie, &resp);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::ChangePassword(grpc::CallbackServerContext* context,
                                                          const v1::ChangePasswordRequest* request,
                                                          v1::MessageResponse* response) {
  return dispatcher_->Unary<v1::ChangePasswordRequest, v1::MessageResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::ChangePasswordRequest& req, v1::MessageResponse& resp) -> absl::Status {
        PGA_RETURN_IF_ERROR(accounts_->ChangePassword(CallerOf(call), req.old_password(), req.new_password()));
        resp.set_message("Password changed successfully");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::CreateUser(grpc::CallbackServerContext* context,
                                                      const v1::CreateUserRequest* request, v1::User* response) {
  return dispatcher_->Unary<v1::CreateUserRequest, v1::User>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::CreateUserRequest& req, v1::User& resp) -> absl::Status {
        NewUser user;
        user.username = req.username();
        user.email = req.email();
        user.full_name = req.full_name();
        user.role = req.role();
        PGA_ASSIGN_OR_RETURN(const UserRecord created,
                             accounts_->CreateUser(CallerOf(call), std::move(user), req.password()));
        Fill(created, &resp);
        return absl::OkStatus();
      });
}

grpc::ServerWriteReactor<v1::User>* AuthServiceImpl::ListUsers(grpc::CallbackServerContext* context,
                                                               const v1::ListUsersRequest* request) {
  return dispatcher_->Stream<v1::ListUsersRequest, v1::User>(
      context, request,
      [this](rpc::CallContext& call, const v1::ListUsersRequest&, rpc::StreamWriter<v1::User>& writer) {
        return accounts_->ListUsers(CallerOf(call), [&writer](const UserRecord& user) {
          v1::User message;
          Fill(user, &message);
          return writer.Write(std::move(message));
        });
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::UpdateUser(grpc::CallbackServerContext* context,
                                                      const v1::UpdateUserRequest* request, v1::User* response) {
  return dispatcher_->Unary<v1::UpdateUserRequest, v1::User>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::UpdateUserRequest& req, v1::User& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(
            const UserRecord updated,
            accounts_->UpdateUser(CallerOf(call), req.id(),
                                  req.has_role() ? std::optional<std::string>(req.role()) : std::nullopt,
                                  req.has_is_active() ? std::optional<bool>(req.is_active()) : std::nullopt));
        Fill(updated, &resp);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::DeleteUser(grpc::CallbackServerContext* context,
                                                      const v1::DeleteUserRequest* request,
                                                      v1::MessageResponse* response) {
  return dispatcher_->Unary<v1::DeleteUserRequest, v1::MessageResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::DeleteUserRequest& req, v1::MessageResponse& resp) -> absl::Status {
        PGA_RETURN_IF_ERROR(accounts_->DeleteUser(CallerOf(call), req.id()));
        resp.set_message("User deleted");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::ResetUserPassword(grpc::CallbackServerContext* context,
                                                             const v1::ResetUserPasswordRequest* request,
                                                             v1::ResetUserPasswordResponse* response) {
  return dispatcher_->Unary<v1::ResetUserPasswordRequest, v1::ResetUserPasswordResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::ResetUserPasswordRequest& req,
             v1::ResetUserPasswordResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Accounts::Reset reset, accounts_->ResetPassword(CallerOf(call), req.id()));
        resp.set_username(reset.username);
        resp.set_temp_password(reset.temporary_password);
        resp.set_message("Password reset successfully. The temporary password is shown once; please change it soon.");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::CreateRegistrationSecret(grpc::CallbackServerContext* context,
                                                                    const v1::CreateRegistrationSecretRequest* request,
                                                                    v1::CreateRegistrationSecretResponse* response) {
  return dispatcher_->Unary<v1::CreateRegistrationSecretRequest, v1::CreateRegistrationSecretResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::CreateRegistrationSecretRequest& req,
             v1::CreateRegistrationSecretResponse& resp) -> absl::Status {
        std::optional<absl::Time> expires_at;
        if (req.has_expires_at()) expires_at = FromTimestamp(req.expires_at());
        PGA_ASSIGN_OR_RETURN(const CollectorAccess::CreatedSecret created,
                             access_->CreateSecret(CallerOf(call), req.name(), req.description(), expires_at,
                                                   req.collector_id(), req.for_many(), req.group()));
        resp.set_id(created.record.id);
        resp.set_name(created.record.name);
        resp.set_secret_value(created.value);
        resp.set_description(created.record.description);
        resp.set_active(created.record.active);
        SetTimestamp(created.record.created_at, resp.mutable_created_at());
        resp.set_message("Store this secret now: it will not be shown again.");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::ListRegistrationSecrets(grpc::CallbackServerContext* context,
                                                                   const v1::ListRegistrationSecretsRequest* request,
                                                                   v1::ListRegistrationSecretsResponse* response) {
  return dispatcher_->Unary<v1::ListRegistrationSecretsRequest, v1::ListRegistrationSecretsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::ListRegistrationSecretsRequest&,
             v1::ListRegistrationSecretsResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<RegistrationSecretRecord> secrets, access_->ListSecrets(CallerOf(call)));
        for (const RegistrationSecretRecord& secret : secrets) Fill(secret, resp.add_secrets());
        resp.set_count(resp.secrets_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::GetRegistrationSecret(grpc::CallbackServerContext* context,
                                                                 const v1::GetRegistrationSecretRequest* request,
                                                                 v1::RegistrationSecret* response) {
  return dispatcher_->Unary<v1::GetRegistrationSecretRequest, v1::RegistrationSecret>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::GetRegistrationSecretRequest& req,
             v1::RegistrationSecret& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const RegistrationSecretRecord secret, access_->GetSecret(CallerOf(call), req.id()));
        Fill(secret, &resp);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::UpdateRegistrationSecret(grpc::CallbackServerContext* context,
                                                                    const v1::UpdateRegistrationSecretRequest* request,
                                                                    v1::RegistrationSecret* response) {
  return dispatcher_->Unary<v1::UpdateRegistrationSecretRequest, v1::RegistrationSecret>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::UpdateRegistrationSecretRequest& req,
             v1::RegistrationSecret& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(
            const RegistrationSecretRecord secret,
            access_->UpdateSecret(CallerOf(call), req.id(), req.name(), req.description(),
                                  req.has_active() ? std::optional<bool>(req.active()) : std::nullopt));
        Fill(secret, &resp);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::DeleteRegistrationSecret(grpc::CallbackServerContext* context,
                                                                    const v1::DeleteRegistrationSecretRequest* request,
                                                                    v1::MessageResponse* response) {
  return dispatcher_->Unary<v1::DeleteRegistrationSecretRequest, v1::MessageResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::DeleteRegistrationSecretRequest& req,
             v1::MessageResponse& resp) -> absl::Status {
        PGA_RETURN_IF_ERROR(access_->DeleteSecret(CallerOf(call), req.id()));
        resp.set_message("Registration secret deleted successfully");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::CreateApiToken(grpc::CallbackServerContext* context,
                                                          const v1::CreateApiTokenRequest* request,
                                                          v1::CreateApiTokenResponse* response) {
  return dispatcher_->Unary<v1::CreateApiTokenRequest, v1::CreateApiTokenResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::CreateApiTokenRequest& req,
             v1::CreateApiTokenResponse& resp) -> absl::Status {
        ApiTokens::Wanted wanted;
        wanted.name = req.name();
        wanted.role = req.role();
        wanted.groups.assign(req.groups().begin(), req.groups().end());
        wanted.query_texts = req.query_texts();
        if (req.has_expires_at()) wanted.expires_at = FromTimestamp(req.expires_at());
        PGA_ASSIGN_OR_RETURN(const ApiTokens::Created created, tokens_->Create(CallerOf(call), wanted));
        resp.set_token(created.value);
        Fill(created.record, resp.mutable_api_token());
        resp.set_message("Store this token now: it will not be shown again.");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::ListApiTokens(grpc::CallbackServerContext* context,
                                                         const v1::ListApiTokensRequest* request,
                                                         v1::ListApiTokensResponse* response) {
  return dispatcher_->Unary<v1::ListApiTokensRequest, v1::ListApiTokensResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::ListApiTokensRequest&, v1::ListApiTokensResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<ApiTokenRecord> tokens, tokens_->List(CallerOf(call)));
        for (const ApiTokenRecord& token : tokens) Fill(token, resp.add_tokens());
        resp.set_count(resp.tokens_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::RevokeApiToken(grpc::CallbackServerContext* context,
                                                          const v1::RevokeApiTokenRequest* request,
                                                          v1::MessageResponse* response) {
  return dispatcher_->Unary<v1::RevokeApiTokenRequest, v1::MessageResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::RevokeApiTokenRequest& req, v1::MessageResponse& resp) -> absl::Status {
        PGA_RETURN_IF_ERROR(tokens_->Revoke(CallerOf(call), req.id()));
        resp.set_message("Token revoked");
        return absl::OkStatus();
      });
}

}  // namespace pga::auth
