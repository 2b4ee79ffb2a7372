// A node of the suite in the test: server, dispatcher, three services, and what nodes share. Tests only.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/client.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/token/signer.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"

namespace pga::rpc {

namespace authpb = pganalytics::auth::v1;
namespace querypb = pganalytics::query::v1;
namespace registrypb = pganalytics::registry::v1;

inline constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";
inline constexpr absl::Duration kLimit = absl::Seconds(20);

// ---- What all nodes of a test share: keys, revocations, metrics. ----
struct World {
  World() : signer(*token::Signer::FromSecret(kSecret)) {
    EXPECT_THAT(verifier.SetHmacSecrets({kSecret}), status::IsOk());
    revocations.Apply({}, std::numeric_limits<int64_t>::max());
  }
  std::string Token(token::Principal::Kind kind, const std::string& name) {
    token::Claims claims;
    claims.principal.kind = kind;
    claims.principal.all_groups = true;
    claims.principal.user_id = 7;
    claims.principal.role = name;
    claims.principal.collector_id = name;
    claims.principal.service = name;
    claims.principal.issued_at = clock::WallNow();
    claims.principal.expires_at = clock::WallNow() + absl::Minutes(15);
    return *signer->Sign(claims);
  }
  std::unique_ptr<token::Signer> signer;
  token::Verifier verifier;
  token::RevocationSet revocations;
  Authenticator authenticator{&verifier, &revocations};
  metrics::Registry metrics{/*process_metrics=*/false};
};

using VersionHandler =
    std::function<absl::Status(CallContext&, const querypb::GetVersionRequest&, querypb::GetVersionResponse&)>;
using UsersHandler =
    std::function<absl::Status(CallContext&, const authpb::ListUsersRequest&, StreamWriter<authpb::User>&)>;

class System final : public querypb::SystemService::CallbackService {
 public:
  explicit System(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* GetVersion(grpc::CallbackServerContext* context, const querypb::GetVersionRequest* request,
                                       querypb::GetVersionResponse* response) override {
    return dispatcher_->Unary<querypb::GetVersionRequest, querypb::GetVersionResponse>(context, request, response,
                                                                                       handler);
  }
  VersionHandler handler = [](CallContext&, const auto&, querypb::GetVersionResponse& response) {
    response.set_version("3.2.0");
    return absl::OkStatus();
  };

 private:
  Dispatcher* const dispatcher_;
};

class Auth final : public authpb::AuthService::CallbackService {
 public:
  explicit Auth(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* Login(grpc::CallbackServerContext* context, const authpb::LoginRequest* request,
                                  authpb::LoginResponse* response) override {
    return dispatcher_->Unary<authpb::LoginRequest, authpb::LoginResponse>(
        context, request, response, [](CallContext&, const auto& req, authpb::LoginResponse& resp) {
          resp.set_token(req.username());
          return absl::OkStatus();
        });
  }
  grpc::ServerWriteReactor<authpb::User>* ListUsers(grpc::CallbackServerContext* context,
                                                    const authpb::ListUsersRequest* request) override {
    return dispatcher_->Stream<authpb::ListUsersRequest, authpb::User>(context, request, handler);
  }
  UsersHandler handler = [](CallContext&, const auto&, StreamWriter<authpb::User>& writer) {
    for (int i = 1; i <= 3; ++i) {
      authpb::User user;
      user.set_id(i);
      PGA_RETURN_IF_ERROR(writer.Write(std::move(user)));
    }
    return absl::OkStatus();
  };

 private:
  Dispatcher* const dispatcher_;
};

class Enrolment final : public registrypb::EnrolmentService::CallbackService {
 public:
  explicit Enrolment(Dispatcher* dispatcher) : dispatcher_(dispatcher) {}
  grpc::ServerUnaryReactor* FetchConfig(grpc::CallbackServerContext* context,
                                        const registrypb::FetchConfigRequest* request,
                                        registrypb::FetchConfigResponse* response) override {
    return dispatcher_->Unary<registrypb::FetchConfigRequest, registrypb::FetchConfigResponse>(
        context, request, response, [](CallContext& call, const auto&, registrypb::FetchConfigResponse& resp) {
          resp.set_toml(call.principal.subject + "|" + call.peer_certificate_collector_id + "|" +
                        (call.principal.from_certificate ? "certificate" : "token"));
          return absl::OkStatus();
        });
  }

 private:
  Dispatcher* const dispatcher_;
};

struct NodeOptions {
  int threads = 4;
  size_t queue = 16;
  TlsOptions tls = {};
  bool tcp = true;
  bool external = false;
  Dispatcher::Options dispatcher = {};
  TlsOptions outside_tls = {};
};

struct Node {
  Node(World* world, NodeOptions options = {})
      : pool("node", options.threads, options.queue),
        dispatcher(&world->authenticator, &pool, &world->metrics, clock::Clock::Real(), options.dispatcher),
        system(&dispatcher),
        auth(&dispatcher),
        enrolment(&dispatcher) {
    Server::Options server_options;
    server_options.name = "node";
    if (options.tcp) server_options.listen = {"127.0.0.1:0"};
    server_options.tls = options.tls;
    if (options.outside_tls.enabled) server_options.outside_listen = {"127.0.0.1:0"};
    server_options.outside_tls = options.outside_tls;
    server_options.services = {&system, &auth, &enrolment};
    server_options.dispatcher = &dispatcher;
    server_options.external_acceptor = options.external;
    auto started = Server::Start(std::move(server_options));
    EXPECT_THAT(started.status(), status::IsOk());
    server = *std::move(started);
  }
  ~Node() {
    server->Drain(clock::SteadyNow() + absl::Seconds(5));
    pool.Drain(clock::SteadyNow() + absl::Seconds(5));
  }
  std::string address() const { return "127.0.0.1:" + std::to_string(server->ports()[0]); }
  std::shared_ptr<grpc::Channel> Channel(bool tcp, const TlsOptions& tls = {}) {
    return tcp ? *Connect(address(), tls) : server->InProcessChannel();
  }
  exec::ThreadPool pool;
  Dispatcher dispatcher;
  System system;
  Auth auth;
  Enrolment enrolment;
  std::unique_ptr<Server> server;
};

inline CallOptions Within(absl::Duration limit, const std::string& bearer = "") {
  CallOptions options = OwnWork(limit, nullptr);
  options.bearer = bearer;
  return options;
}

inline absl::StatusOr<querypb::GetVersionResponse> GetVersion(const std::shared_ptr<grpc::Channel>& channel,
                                                              const CallOptions& options) {
  auto stub = querypb::SystemService::NewStub(channel);
  return Call(*stub, &querypb::SystemService::Stub::GetVersion, querypb::GetVersionRequest(), options);
}

inline absl::StatusOr<std::string> WhoAmI(const std::shared_ptr<grpc::Channel>& channel, const CallOptions& options) {
  auto stub = registrypb::EnrolmentService::NewStub(channel);
  PGA_ASSIGN_OR_RETURN(auto response, Call(*stub, &registrypb::EnrolmentService::Stub::FetchConfig,
                                           registrypb::FetchConfigRequest(), options));
  return response.toml();
}

inline absl::StatusOr<std::vector<int>> ListUsers(const std::shared_ptr<grpc::Channel>& channel,
                                                  const CallOptions& options) {
  auto stub = authpb::AuthService::NewStub(channel);
  std::vector<int> ids;
  PGA_RETURN_IF_ERROR((CallStream<authpb::AuthService::Stub, authpb::ListUsersRequest, authpb::User>(
      *stub, &authpb::AuthService::Stub::ListUsers, authpb::ListUsersRequest(), options, [&ids](authpb::User& user) {
        ids.push_back(user.id());
        return absl::OkStatus();
      })));
  return ids;
}

inline std::string Find(const Metadata& metadata, const std::string& key) {
  for (const auto& [name, value] : metadata) {
    if (name == key) return value;
  }
  return "";
}

// ---- TLS ----

// In process, or over TCP where the parameter is true.
class BothForms : public ::testing::TestWithParam<bool> {
 protected:
  World world_;
};

class Tls : public ::testing::Test {
 protected:
  Tls() {
    const TestCertificate server = server_ca_.Server();
    server_tls_.enabled = true;
    server_tls_.cert_pem = server.cert_pem;
    server_tls_.key_pem = server.key_pem;
    server_tls_.ca_pem = collector_ca_.pem();
    plain_client_.enabled = true;
    plain_client_.ca_pem = server_ca_.pem();
  }
  TlsOptions ClientWith(const TestCertificate& certificate) const {
    TlsOptions tls = plain_client_;
    tls.cert_pem = certificate.cert_pem;
    tls.key_pem = certificate.key_pem;
    return tls;
  }
  World world_;
  TestCa server_ca_{"server CA"};
  TestCa collector_ca_{"collector CA"};
  TlsOptions server_tls_;
  TlsOptions plain_client_;
};

}  // namespace pga::rpc
