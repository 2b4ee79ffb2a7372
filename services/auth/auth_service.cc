#include "services/auth/auth_service.h"

#include <string>

#include "libs/rpc/http_metadata.h"
#include "libs/status/status.h"
#include "services/auth/proto_time.h"

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
  if (secret.last_used_at.has_value()) SetTimestamp(*secret.last_used_at, out->mutable_last_used_at());
}

// The access token that was presented, whether or not it is good. Empty without one.
std::string BearerOf(const rpc::CallContext& call) {
  constexpr std::string_view kScheme = "Bearer ";
  std::string_view presented = call.Find(rpc::kAuthorization).value_or("");
  if (presented.starts_with(kScheme)) presented.remove_prefix(kScheme.size());
  return std::string(presented);
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
        Fill(signed_in, &resp);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::Logout(grpc::CallbackServerContext* context,
                                                  const v1::LogoutRequest* request, v1::MessageResponse* response) {
  return dispatcher_->Unary<v1::LogoutRequest, v1::MessageResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::LogoutRequest& req, v1::MessageResponse& resp) -> absl::Status {
        PGA_RETURN_IF_ERROR(accounts_->Logout(CallerOf(call), req.refresh_token(), BearerOf(call)));
        resp.set_message("Logged out successfully");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AuthServiceImpl::Refresh(grpc::CallbackServerContext* context,
                                                   const v1::RefreshRequest* request, v1::LoginResponse* response) {
  return dispatcher_->Unary<v1::RefreshRequest, v1::LoginResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const v1::RefreshRequest& req, v1::LoginResponse& resp) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const SignedIn signed_in, accounts_->Refresh(CallerOf(call), req.refresh_token()));
        Fill(signed_in, &resp);
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
                             access_->CreateSecret(CallerOf(call), req.name(), req.description(), expires_at));
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

}  // namespace pga::auth
