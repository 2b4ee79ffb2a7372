#include "tools/pgactl/session.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "libs/clock/clock.h"
#include "libs/config/values.h"
#include "libs/status/status.h"
#include "pganalytics/auth/v1/auth_service.pb.h"
#include "tools/pgactl/ranges.h"

namespace pga::pgactl {

namespace auth_pb = ::pganalytics::auth::v1;

namespace {

constexpr char kLoginMethod[] = "pganalytics.auth.v1.AuthService.Login";
constexpr char kRefreshMethod[] = "pganalytics.auth.v1.AuthService.Refresh";
constexpr char kLogoutMethod[] = "pganalytics.auth.v1.AuthService.Logout";
// A token is exchanged when it has less time than this.
constexpr absl::Duration kRefreshAhead = absl::Seconds(30);

std::string Get(const Environment& environment, const std::string& name) {
  const auto found = environment.find(name);
  return found == environment.end() ? std::string() : found->second;
}

absl::StatusOr<bool> Switch(const Environment& environment, const std::string& name, bool fallback) {
  const std::string text = Get(environment, name);
  if (text.empty()) return fallback;
  absl::StatusOr<bool> value = config::ParseBool(text);
  if (!value.ok()) return status::Annotate(value.status(), name);
  return value;
}

StoredLogin FromAnswer(const auth_pb::LoginResponse& answer) {
  return {answer.token(), answer.refresh_token(), FromProto(answer.expires_at()), answer.user().username()};
}

}  // namespace

absl::StatusOr<std::string> ReadSecretFile(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError("cannot read the file " + path);
  std::string secret;
  std::getline(file, secret);
  if (!secret.empty() && secret.back() == '\r') secret.pop_back();
  if (secret.empty()) return absl::InvalidArgumentError("the first line of " + path + " is empty");
  return secret;
}

std::string LoginStore::DefaultPath(const Environment& environment) {
  std::string folder = Get(environment, "XDG_CONFIG_HOME");
  if (folder.empty()) folder = Get(environment, "HOME") + "/.config";
  return folder + "/pganalytics/pgactl.json";
}

LoginStore::Lock::Lock(const LoginStore& store) : fd_(-1) {
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(store.path_).parent_path(), ignored);
  fd_ = open((store.path_ + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd_ >= 0) flock(fd_, LOCK_EX);
}

LoginStore::Lock::~Lock() {
  if (fd_ >= 0) close(fd_);
}

absl::StatusOr<std::map<std::string, StoredLogin>> LoginStore::LoadAll() const {
  std::map<std::string, StoredLogin> logins;
  struct stat info {};
  if (stat(path_.c_str(), &info) != 0) return logins;
  if ((info.st_mode & 077) != 0) {
    return absl::FailedPreconditionError("others may read " + path_ + ", which holds tokens; run: chmod 600 " + path_);
  }
  std::ifstream file(path_);
  std::stringstream text;
  text << file.rdbuf();
  google::protobuf::Struct content;
  if (!google::protobuf::util::JsonStringToMessage(text.str(), &content).ok()) {
    return absl::FailedPreconditionError(path_ + " is damaged; remove it and sign in again with `pgactl login`");
  }
  for (const auto& [endpoint, value] : content.fields()) {
    const auto& fields = value.struct_value().fields();
    const auto text_of = [&](const char* key) {
      const auto field = fields.find(key);
      return field == fields.end() ? std::string() : field->second.string_value();
    };
    StoredLogin login{text_of("token"), text_of("refresh_token"), absl::InfinitePast(), text_of("username")};
    std::string error;
    absl::ParseTime(absl::RFC3339_full, text_of("expires_at"), &login.expires_at, &error);
    logins[endpoint] = std::move(login);
  }
  return logins;
}

absl::Status LoginStore::SaveAll(const std::map<std::string, StoredLogin>& logins) const {
  google::protobuf::Struct content;
  for (const auto& [endpoint, login] : logins) {
    auto& fields = *(*content.mutable_fields())[endpoint].mutable_struct_value()->mutable_fields();
    fields["token"].set_string_value(login.token);
    fields["refresh_token"].set_string_value(login.refresh_token);
    fields["expires_at"].set_string_value(absl::FormatTime(absl::RFC3339_full, login.expires_at, absl::UTCTimeZone()));
    fields["username"].set_string_value(login.username);
  }
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  if (!google::protobuf::util::MessageToJsonString(content, &json, options).ok()) {
    return absl::InternalError("the login cannot be written as JSON");
  }
  const std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return absl::FailedPreconditionError("cannot make folder " + folder.string() + ": " + error.message());
  const std::string fresh = path_ + ".new";
  unlink(fresh.c_str());
  const int fd = open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return absl::FailedPreconditionError("cannot write " + fresh + ": " + std::strerror(errno));
  const bool written = write(fd, json.data(), json.size()) == static_cast<ssize_t>(json.size()) && fsync(fd) == 0;
  close(fd);
  if (!written || rename(fresh.c_str(), path_.c_str()) != 0) {
    return absl::FailedPreconditionError("cannot write " + path_ + ": " + std::strerror(errno));
  }
  return absl::OkStatus();
}

absl::StatusOr<StoredLogin> LoginStore::Load(const std::string& endpoint) const {
  PGA_ASSIGN_OR_RETURN(const auto logins, LoadAll());
  const auto found = logins.find(endpoint);
  if (found == logins.end()) return absl::NotFoundError("not signed in at " + endpoint);
  return found->second;
}

absl::Status LoginStore::Save(const std::string& endpoint, const StoredLogin& login) const {
  PGA_ASSIGN_OR_RETURN(auto logins, LoadAll());
  logins[endpoint] = login;
  return SaveAll(logins);
}

absl::Status LoginStore::Remove(const std::string& endpoint) const {
  PGA_ASSIGN_OR_RETURN(auto logins, LoadAll());
  if (logins.erase(endpoint) == 0) return absl::OkStatus();
  return SaveAll(logins);
}

absl::StatusOr<std::unique_ptr<Session>> Session::Create(const Environment& environment) {
  PGA_ASSIGN_OR_RETURN(const bool verify, Switch(environment, "PGACTL_TLS_VERIFY", true));
  absl::Duration timeout = absl::Seconds(30);
  if (const std::string text = Get(environment, "PGACTL_TIMEOUT"); !text.empty()) {
    auto parsed = config::ParseDuration(text);
    if (!parsed.ok()) return status::Annotate(parsed.status(), "PGACTL_TIMEOUT");
    timeout = *parsed;
  }
  GrpcOptions grpc;
  for (const auto& [service, variable] :
       {std::pair("auth", "PGACTL_AUTH_ADDR"), std::pair("registry", "PGACTL_REGISTRY_ADDR"),
        std::pair("query", "PGACTL_QUERY_ADDR"), std::pair("compactor", "PGACTL_COMPACTOR_ADDR"),
        std::pair("ruler", "PGACTL_RULER_ADDR")}) {
    if (const std::string address = Get(environment, variable); !address.empty()) grpc.addresses[service] = address;
  }
  std::unique_ptr<Transport> transport;
  if (!grpc.addresses.empty() && Get(environment, "PGACTL_URL").empty()) {
    PGA_ASSIGN_OR_RETURN(grpc.tls, Switch(environment, "PGACTL_TLS", false));
    grpc.ca_file = Get(environment, "PGACTL_CA_FILE");
    grpc.verify = verify;
    PGA_ASSIGN_OR_RETURN(transport, MakeGrpcTransport(std::move(grpc)));
  } else {
    RestOptions rest;
    rest.url = Get(environment, "PGACTL_URL");
    if (rest.url.empty()) rest.url = "http://127.0.0.1:8080";
    rest.ca_file = Get(environment, "PGACTL_CA_FILE");
    rest.verify = verify;
    PGA_ASSIGN_OR_RETURN(transport, MakeRestTransport(std::move(rest)));
  }
  auto session = std::make_unique<Session>(std::move(transport), LoginStore(LoginStore::DefaultPath(environment)),
                                           Get(environment, "PGACTL_TOKEN"), timeout);
  session->SignInWhenAsked(Get(environment, "PGACTL_USERNAME"), Get(environment, "PGACTL_PASSWORD_FILE"));
  return session;
}

Session::Session(std::unique_ptr<Transport> transport, LoginStore store, std::string token, absl::Duration timeout)
    : transport_(std::move(transport)), store_(std::move(store)), token_(std::move(token)), timeout_(timeout) {}

std::string Session::Token() {
  if (!token_.empty()) return token_;
  auto login = store_.Load(endpoint());
  if (!login.ok()) return "";
  if (login->expires_at > clock::WallNow() + kRefreshAhead || login->refresh_token.empty()) return login->token;
  const LoginStore::Lock lock(store_);
  // Another process may have been faster.
  login = store_.Load(endpoint());
  if (!login.ok() || login->expires_at > clock::WallNow() + kRefreshAhead) return login.ok() ? login->token : "";
  auth_pb::RefreshRequest request;
  request.set_refresh_token(login->refresh_token);
  auth_pb::LoginResponse answer;
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(kRefreshMethod);
  const absl::Status refreshed =
      transport_->Call(*method, request, answer, "", timeout_, [&](const google::protobuf::Message& message) {
        answer.CopyFrom(message);
        return absl::OkStatus();
      });
  if (!refreshed.ok()) return login->token;
  StoredLogin fresh = FromAnswer(answer);
  if (fresh.username.empty()) fresh.username = login->username;
  // The token is good even if it cannot be kept.
  store_.Save(endpoint(), fresh).IgnoreError();
  return fresh.token;
}

absl::Status Session::Stream(const std::string& method, const google::protobuf::Message& request,
                             const google::protobuf::Message& prototype,
                             const std::function<absl::Status(const google::protobuf::Message&)>& on_message) {
  const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(method);
  if (descriptor == nullptr) return absl::InternalError("no method " + method);
  const bool login = method == kLoginMethod;
  absl::Status status = transport_->Call(*descriptor, request, prototype, login ? "" : Token(), timeout_, on_message);
  if (!absl::IsUnauthenticated(status) || login) return status;
  if (token_.empty() && !username_.empty() && !password_file_.empty()) {
    PGA_ASSIGN_OR_RETURN(const std::string password, ReadSecretFile(password_file_));
    PGA_RETURN_IF_ERROR(Login(username_, password).status());
    status = transport_->Call(*descriptor, request, prototype, Token(), timeout_, on_message);
    if (!absl::IsUnauthenticated(status)) return status;
  }
  return absl::UnauthenticatedError(
      absl::StrCat(std::string(status.message()), "; sign in with `pgactl login` (endpoint: ", endpoint(), ")"));
}

void Session::SignInWhenAsked(std::string username, std::string password_file) {
  username_ = std::move(username);
  password_file_ = std::move(password_file);
}

absl::StatusOr<std::string> Session::Login(const std::string& username, const std::string& password) {
  auth_pb::LoginRequest request;
  request.set_username(username);
  request.set_password(password);
  PGA_ASSIGN_OR_RETURN(const auth_pb::LoginResponse answer, Call<auth_pb::LoginResponse>(kLoginMethod, request));
  StoredLogin login = FromAnswer(answer);
  if (login.username.empty()) login.username = username;
  const LoginStore::Lock lock(store_);
  PGA_RETURN_IF_ERROR(store_.Save(endpoint(), login));
  return answer.user().role();
}

absl::Status Session::Logout() {
  const auto login = store_.Load(endpoint());
  if (absl::IsNotFound(login.status())) return absl::OkStatus();
  PGA_RETURN_IF_ERROR(login.status());
  auth_pb::LogoutRequest request;
  request.set_refresh_token(login->refresh_token);
  const absl::Status revoked = Call<auth_pb::MessageResponse>(kLogoutMethod, request).status();
  const LoginStore::Lock lock(store_);
  PGA_RETURN_IF_ERROR(store_.Remove(endpoint()));
  if (!revoked.ok()) return status::Annotate(revoked, "signed out here, but not at the server");
  return absl::OkStatus();
}

}  // namespace pga::pgactl
