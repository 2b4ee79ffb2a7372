// Where pgactl connects and who it is: endpoint from the environment, token from the file that `login` wrote.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "tools/pgactl/transport.h"

namespace pga::pgactl {

using Environment = std::map<std::string, std::string>;

// What `login` keeps, per endpoint.
struct StoredLogin {
  std::string token;
  std::string refresh_token;
  // When `token` expires.
  absl::Time expires_at = absl::InfinitePast();
  std::string username;
};

// The file of logins: $XDG_CONFIG_HOME/pganalytics/pgactl.json, or ~/.config/pganalytics/pgactl.json; mode 0600,
// replaced as a whole. Blocks on the disk.
class LoginStore {
 public:
  explicit LoginStore(std::string path) : path_(std::move(path)) {}
  static std::string DefaultPath(const Environment& environment);

  // NOT_FOUND when there is no login for the endpoint; FAILED_PRECONDITION when others may read the file.
  absl::StatusOr<StoredLogin> Load(const std::string& endpoint) const;
  absl::Status Save(const std::string& endpoint, const StoredLogin& login) const;
  absl::Status Remove(const std::string& endpoint) const;
  const std::string& path() const { return path_; }

  // Keeps other pgactl processes out while it lives: a refresh token may be exchanged only once.
  class Lock {
   public:
    explicit Lock(const LoginStore& store);
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    int fd_;
  };

 private:
  absl::StatusOr<std::map<std::string, StoredLogin>> LoadAll() const;
  absl::Status SaveAll(const std::map<std::string, StoredLogin>& logins) const;
  std::string path_;
};

class Session {
 public:
  // From PGACTL_URL (default http://127.0.0.1:8080), or PGACTL_AUTH_ADDR, PGACTL_REGISTRY_ADDR, PGACTL_QUERY_ADDR,
  // PGACTL_COMPACTOR_ADDR and PGACTL_RULER_ADDR when any of them is set (then gRPC); PGACTL_TLS, PGACTL_CA_FILE,
  // PGACTL_TLS_VERIFY, PGACTL_TOKEN, PGACTL_TIMEOUT.
  static absl::StatusOr<std::unique_ptr<Session>> Create(const Environment& environment);
  // Over a given transport; for tests.
  Session(std::unique_ptr<Transport> transport, LoginStore store, std::string token, absl::Duration timeout);

  // One unary call as the signed-in user.
  template <typename Response>
  absl::StatusOr<Response> Call(const std::string& method, const google::protobuf::Message& request) {
    Response response;
    const absl::Status status =
        Stream(method, request, Response::default_instance(), [&](const google::protobuf::Message& message) {
          response.CopyFrom(message);
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    return response;
  }
  // "pganalytics.query.v1.QueryService.QuerySeries"; every message goes to `on_message`. UNAUTHENTICATED says how to
  // sign in.
  absl::Status Stream(const std::string& method, const google::protobuf::Message& request,
                      const google::protobuf::Message& prototype,
                      const std::function<absl::Status(const google::protobuf::Message&)>& on_message);

  // All that a method streams.
  template <typename Message>
  absl::StatusOr<std::vector<Message>> List(const std::string& method, const google::protobuf::Message& request) {
    std::vector<Message> all;
    const absl::Status status =
        Stream(method, request, Message::default_instance(), [&](const google::protobuf::Message& message) {
          all.emplace_back().CopyFrom(message);
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    return all;
  }

  // The role of the user.
  absl::StatusOr<std::string> Login(const std::string& username, const std::string& password);
  // Signs in as this user when a call is refused for want of a good token.
  void SignInWhenAsked(std::string username, std::string password_file);
  // Whether there is anything to show the server.
  bool has_token() { return !Token().empty(); }
  absl::Status Logout();

  std::string endpoint() const { return transport_->Describe(); }
  const LoginStore& store() const { return store_; }

 private:
  // The token to send; refreshed when it is about to expire. Empty without a login.
  std::string Token();

  std::unique_ptr<Transport> transport_;
  LoginStore store_;
  std::string token_;
  absl::Duration timeout_;
  std::string username_;
  std::string password_file_;
};

// First line of a file with a secret. NOT_FOUND, or INVALID_ARGUMENT when it is empty.
absl::StatusOr<std::string> ReadSecretFile(const std::string& path);

}  // namespace pga::pgactl
