// Users, API tokens and registration secrets.
#include <charconv>

#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "pganalytics/auth/v1/auth_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace auth_pb = ::pganalytics::auth::v1;

constexpr char kAuth[] = "pganalytics.auth.v1.AuthService.";

std::optional<absl::Time> TimeOf(bool set, const google::protobuf::Timestamp& time) {
  if (!set) return std::nullopt;
  return FromProto(time);
}

absl::StatusOr<std::vector<auth_pb::User>> LoadUsers(Session& session) {
  return session.List<auth_pb::User>(std::string(kAuth) + "ListUsers", auth_pb::ListUsersRequest());
}

// A user by name, or by number.
absl::StatusOr<int32_t> FindUser(Session& session, const std::string& text) {
  PGA_ASSIGN_OR_RETURN(const std::vector<auth_pb::User> users, LoadUsers(session));
  for (const auth_pb::User& user : users) {
    if (user.username() == text) return user.id();
  }
  int32_t id = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error == std::errc() && rest == text.data() + text.size()) return id;
  return absl::NotFoundError("no user '" + text + "'; see `pgactl users list`");
}

absl::Status ListUsers(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::vector<auth_pb::User> users, LoadUsers(*session));
  if (context.json) return context.PrintJson(users);
  Table table({"ID", "USER", "ROLE", "ACTIVE", "LAST SIGN-IN", "E-MAIL", "NAME"});
  for (const auth_pb::User& user : users) {
    table.Add({std::to_string(user.id()), user.username(), user.role(), user.is_active() ? "yes" : "no",
               Ago(TimeOf(user.has_last_login(), user.last_login()), context.now), user.email(), user.full_name()});
  }
  return context.Print(table);
}

absl::Status CreateUser(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  auth_pb::CreateUserRequest request;
  PGA_ASSIGN_OR_RETURN(const std::string username, context.Word(0, "the user's name"));
  if (!context.arguments->Has("email")) return UsageError("--email is missing");
  request.set_username(username);
  request.set_email(context.arguments->Get("email"));
  request.set_full_name(context.arguments->Get("full-name"));
  request.set_role(context.arguments->Get("role", "viewer"));
  PGA_ASSIGN_OR_RETURN(const std::string password,
                       context.read_secret("password of " + username, "PGACTL_NEW_PASSWORD_FILE"));
  request.set_password(password);
  PGA_ASSIGN_OR_RETURN(const auto user, session->Call<auth_pb::User>(std::string(kAuth) + "CreateUser", request));
  if (context.json) return context.PrintJson(user);
  *context.out << "created user " << user.username() << " with id " << user.id() << " as " << user.role() << "\n";
  return absl::OkStatus();
}

absl::Status UpdateUser(Context& context, const std::function<absl::Status(auth_pb::UpdateUserRequest&)>& change) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the user's name or id"));
  auth_pb::UpdateUserRequest request;
  PGA_RETURN_IF_ERROR(change(request));
  PGA_ASSIGN_OR_RETURN(const int32_t id, FindUser(*session, name));
  request.set_id(id);
  PGA_ASSIGN_OR_RETURN(const auto user, session->Call<auth_pb::User>(std::string(kAuth) + "UpdateUser", request));
  if (context.json) return context.PrintJson(user);
  *context.out << user.username() << " is " << user.role() << (user.is_active() ? "" : ", not active") << "\n";
  return absl::OkStatus();
}

absl::Status SetRole(Context& context) {
  return UpdateUser(context, [&](auth_pb::UpdateUserRequest& request) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const std::string role, context.Word(1, "the role (admin, user or viewer)"));
    request.set_role(role);
    return absl::OkStatus();
  });
}

absl::Status SetActive(Context& context, bool active) {
  return UpdateUser(context, [active](auth_pb::UpdateUserRequest& request) -> absl::Status {
    request.set_is_active(active);
    return absl::OkStatus();
  });
}

absl::Status DeleteUser(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the user's name or id"));
  auth_pb::DeleteUserRequest request;
  PGA_ASSIGN_OR_RETURN(const int32_t id, FindUser(*session, name));
  request.set_id(id);
  PGA_RETURN_IF_ERROR(session->Call<auth_pb::MessageResponse>(std::string(kAuth) + "DeleteUser", request).status());
  *context.out << "deleted user " << name << "\n";
  return absl::OkStatus();
}

absl::Status ResetPassword(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the user's name or id"));
  auth_pb::ResetUserPasswordRequest request;
  PGA_ASSIGN_OR_RETURN(const int32_t id, FindUser(*session, name));
  request.set_id(id);
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<auth_pb::ResetUserPasswordResponse>(
                                              std::string(kAuth) + "ResetUserPassword", request));
  if (context.json) return context.PrintJson(answer);
  *context.out << "temporary password of " << answer.username() << ", shown once: " << answer.temp_password() << "\n";
  return absl::OkStatus();
}

absl::Status ListSecrets(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<auth_pb::ListRegistrationSecretsResponse>(
                           std::string(kAuth) + "ListRegistrationSecrets", auth_pb::ListRegistrationSecretsRequest()));
  if (context.json) return context.PrintJson(answer);
  Table table({"NAME", "ACTIVE", "USED", "LAST USED", "EXPIRES", "CREATED BY", "ID", "DESCRIPTION"});
  for (const auth_pb::RegistrationSecret& secret : answer.secrets()) {
    const auto expires = TimeOf(secret.has_expires_at(), secret.expires_at());
    table.Add({secret.name(), secret.active() ? "yes" : "no", std::to_string(secret.total_registrations()),
               Ago(TimeOf(secret.has_last_used_at(), secret.last_used_at()), context.now),
               expires ? Minute(*expires) : "never", secret.created_by_username(), secret.id(), secret.description()});
  }
  return context.Print(table, "no registration secrets; make one with `pgactl secrets create NAME`");
}

absl::Status CreateSecret(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the secret's name"));
  auth_pb::CreateRegistrationSecretRequest request;
  request.set_name(name);
  request.set_description(context.arguments->Get("description"));
  request.set_collector_id(context.arguments->Get("collector"));
  request.set_for_many(context.arguments->Has("many"));
  request.set_group(context.arguments->Get("group"));
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<auth_pb::CreateRegistrationSecretResponse>(
                                              std::string(kAuth) + "CreateRegistrationSecret", request));
  if (context.json) return context.PrintJson(answer);
  *context.out << "registration secret " << name << ", shown once: " << answer.secret_value() << "\n";
  return absl::OkStatus();
}

absl::Status SetSecretActive(Context& context, bool active) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the secret's id"));
  auth_pb::GetRegistrationSecretRequest get;
  get.set_id(id);
  PGA_ASSIGN_OR_RETURN(const auto secret,
                       session->Call<auth_pb::RegistrationSecret>(std::string(kAuth) + "GetRegistrationSecret", get));
  // Name and description are sent as they are, so that only the activity changes.
  auth_pb::UpdateRegistrationSecretRequest request;
  request.set_id(id);
  request.set_name(secret.name());
  request.set_description(secret.description());
  request.set_active(active);
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<auth_pb::RegistrationSecret>(
                                              std::string(kAuth) + "UpdateRegistrationSecret", request));
  if (context.json) return context.PrintJson(answer);
  *context.out << answer.name() << (answer.active() ? " is active" : " is not active any more") << "\n";
  return absl::OkStatus();
}

absl::Status DeleteSecret(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the secret's id"));
  auth_pb::DeleteRegistrationSecretRequest request;
  request.set_id(id);
  PGA_RETURN_IF_ERROR(
      session->Call<auth_pb::MessageResponse>(std::string(kAuth) + "DeleteRegistrationSecret", request).status());
  *context.out << "deleted registration secret " << id << "\n";
  return absl::OkStatus();
}

absl::Status ListTokens(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<auth_pb::ListApiTokensResponse>(
                                              std::string(kAuth) + "ListApiTokens", auth_pb::ListApiTokensRequest()));
  if (context.json) return context.PrintJson(answer);
  Table table({"NAME", "ROLE", "GROUPS", "TEXTS", "LAST USED", "EXPIRES", "STATE", "CREATED BY", "ID"});
  for (const auth_pb::ApiToken& token : answer.tokens()) {
    const absl::Time expires = TimeOf(true, token.expires_at()).value_or(absl::UnixEpoch());
    table.Add({token.name(), token.role(), token.groups().empty() ? "all" : absl::StrJoin(token.groups(), ", "),
               token.query_texts() ? "yes" : "no",
               Ago(TimeOf(token.has_last_used_at(), token.last_used_at()), context.now), Minute(expires),
               token.has_revoked_at()  ? "revoked"
               : expires < context.now ? "expired"
                                       : "in force",
               token.created_by_username(), token.id()});
  }
  return context.Print(table, "no API tokens; make one with `pgactl tokens create NAME`");
}

absl::Status CreateToken(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string name, context.Word(0, "the token's name"));
  auth_pb::CreateApiTokenRequest request;
  request.set_name(name);
  request.set_role(context.arguments->Get("role"));
  for (const std::string& group : context.arguments->All("group")) request.add_groups(group);
  request.set_query_texts(context.arguments->Has("texts"));
  PGA_ASSIGN_OR_RETURN(const int days, context.arguments->Int("days", 90, 1, 366));
  request.mutable_expires_at()->set_seconds(absl::ToUnixSeconds(context.now + absl::Hours(24 * days)));
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<auth_pb::CreateApiTokenResponse>(std::string(kAuth) + "CreateApiToken", request));
  if (context.json) return context.PrintJson(answer);
  *context.out << "API token " << name << " (" << answer.api_token().role() << ", until "
               << Minute(TimeOf(true, answer.api_token().expires_at()).value_or(context.now))
               << "), shown once: " << answer.token() << "\n";
  return absl::OkStatus();
}

absl::Status RevokeToken(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const std::string wanted, context.Word(0, "the token's name or id"));
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<auth_pb::ListApiTokensResponse>(
                                              std::string(kAuth) + "ListApiTokens", auth_pb::ListApiTokensRequest()));
  auth_pb::RevokeApiTokenRequest request;
  request.set_id(wanted);
  for (const auth_pb::ApiToken& token : answer.tokens()) {
    if (!token.has_revoked_at() && token.name() == wanted) request.set_id(token.id());
  }
  PGA_RETURN_IF_ERROR(session->Call<auth_pb::MessageResponse>(std::string(kAuth) + "RevokeApiToken", request).status());
  *context.out << "revoked API token " << wanted << "\n";
  return absl::OkStatus();
}

}  // namespace

std::vector<Command> AdminCommands() {
  return {
      {"users list", "", "people who may sign in", {}, ListUsers, true},
      {"users create",
       "NAME",
       "add a person",
       {{"email", "ADDRESS", "required"},
        {"role", "ROLE", "admin, user or viewer (default)"},
        {"full-name", "TEXT", ""}},
       CreateUser},
      {"users set-role", "USER ROLE", "change a person's role", {}, SetRole},
      {"users enable", "USER", "let a person sign in again", {}, [](Context& c) { return SetActive(c, true); }},
      {"users disable",
       "USER",
       "end a person's sessions and refuse new ones",
       {},
       [](Context& c) { return SetActive(c, false); }},
      {"users delete", "USER", "remove a person", {}, DeleteUser},
      {"users reset-password", "USER", "set a temporary password, shown once", {}, ResetPassword},
      {"secrets list", "", "registration secrets", {}, ListSecrets, true},
      {"secrets create",
       "NAME",
       "make a registration secret, shown once",
       {{"description", "TEXT", "what it is for"},
        {"collector", "ID", "for this collector, also in the place of a lost one; else for the first that uses it"},
        {"many", "", "for any number of collectors"},
        {"group", "NAME", "group of the sources that its collectors watch (default)"}},
       CreateSecret},
      {"secrets activate", "ID", "accept it again", {}, [](Context& c) { return SetSecretActive(c, true); }},
      {"secrets deactivate", "ID", "accept it no more", {}, [](Context& c) { return SetSecretActive(c, false); }},
      {"tokens list", "", "tokens of Grafana, Prometheus and scripts", {}, ListTokens, true},
      {"tokens create",
       "NAME",
       "make a token for a program, shown once",
       {{"role", "ROLE", "admin, user or viewer (default)"},
        {"group", "GROUP", "only sources of this group; may be repeated", true},
        {"texts", "", "may read texts of statements"},
        {"days", "DAYS", "how long it is good, up to 366; default 90"}},
       CreateToken},
      {"tokens revoke", "NAME", "end a token at once, by its name or id", {}, RevokeToken},
      {"secrets delete", "ID", "remove it; collectors keep their credentials", {}, DeleteSecret},
  };
}

}  // namespace pga::pgactl
