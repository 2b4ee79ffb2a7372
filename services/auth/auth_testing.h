// The auth service on a real database, called through a real gRPC server inside the process. Tests only.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/server.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/pem.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "services/auth/server.h"

namespace pga::auth {

namespace v1 = pganalytics::auth::v1;

inline constexpr char kAdminPassword[] = "a good admin password";
inline constexpr char kRegistrationSecret[] = "the registration secret of the settings";

// One database, migrated once; every test gets a copy of it.
inline std::string FreshDatabase() {
  [[maybe_unused]] static const bool made = [] {
    const auto created = testing::SharedPostgres()->CreateDatabase("auth_base");
    if (!created.ok()) {
      ADD_FAILURE() << created.status();
      std::abort();
    }
    const absl::Status migrated = storage::MigrateUp(*created, storage::Database::kMetadata, {});
    if (!migrated.ok()) {
      ADD_FAILURE() << migrated;
      std::abort();
    }
    return true;
  }();
  static std::atomic<int> counter{0};
  const std::string name = absl::StrCat("auth_", ++counter);
  const auto copied =
      testing::SharedPostgres()->Exec("postgres", absl::StrCat("CREATE DATABASE ", name, " TEMPLATE auth_base"));
  EXPECT_THAT(copied, status::IsOk());
  return testing::SharedPostgres()->Url(name);
}

inline std::string NewRequest() {
  const token::KeyPtr key = token::NewP256Key();
  const token::RequestPtr request(X509_REQ_new());
  X509_REQ_set_pubkey(request.get(), key.get());
  // Names in a request have no effect.
  X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request.get()), "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>("somebody else"), -1, -1, 0);
  X509_REQ_sign(request.get(), key.get(), EVP_sha256());
  return token::CertificateRequestPem(request.get());
}

// One running service.
struct Instance {
  explicit Instance(const AuthConfig& config, clock::Clock* clock)
      : authenticator(&verifier, &revocations,
                      {.check_revocation =
                           [this](const token::Principal& principal, clock::SteadyTime deadline) {
                             return server->CheckRevocation(principal, deadline);
                           }},
                      clock) {
    auto created = AuthServer::Create(config, {.metrics = &metrics,
                                               .clock = clock,
                                               .verifier = &verifier,
                                               .revocations = &revocations,
                                               .authenticator = &authenticator});
    start = created.status();
    if (!start.ok()) return;
    server = *std::move(created);
    rpc::Server::Options options;
    options.name = "auth";
    options.services = server->services();
    grpc = *rpc::Server::Start(std::move(options));
    channel = grpc->InProcessChannel();
    auth = v1::AuthService::NewStub(channel);
    identity = v1::IdentityService::NewStub(channel);
    service = rpc::ServiceIdentity::Local(server->signer(), "registry", clock);
  }
  ~Instance() {
    if (server == nullptr) return;
    server->PrepareDrain();
    grpc->Drain(clock::SteadyNow() + absl::Seconds(10));
    server->Drain(clock::SteadyNow() + absl::Seconds(10));
  }

  metrics::Registry metrics;
  token::Verifier verifier;
  token::RevocationSet revocations;
  rpc::Authenticator authenticator;
  absl::Status start;
  std::unique_ptr<AuthServer> server;
  std::unique_ptr<rpc::Server> grpc;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::AuthService::Stub> auth;
  std::unique_ptr<v1::IdentityService::Stub> identity;
  std::unique_ptr<rpc::ServiceIdentity> service;
};

class AuthTest : public ::testing::Test {
 protected:
  void SetUp() override {
    config_.database_url = log::Secret(FreshDatabase());
    config_.state_dir = state_.path();
    config_.jwt_secret = log::Secret("a secret of the tests, long enough");
    config_.registration_secret = log::Secret(kRegistrationSecret);
    SetServiceSecret("query", "the secret of query\n");
    SetServiceSecret("gateway", "the secret of gateway\n");
    config_.service_secrets_dir = service_secrets_.path();
    config_.admin_password = log::Secret(kAdminPassword);
    config_.encryption_key = log::Secret("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    config_.startup_timeout = absl::Seconds(10);
  }
  void Start() {
    instance_ = std::make_unique<Instance>(config_, &clock_);
    ASSERT_THAT(instance_->start, status::IsOk());
  }

  rpc::CallOptions Options(const std::string& bearer = "") {
    rpc::CallOptions options = rpc::OwnWork(absl::Seconds(20), nullptr);
    options.bearer = bearer;
    return options;
  }
  rpc::CallOptions AsService() { return rpc::OwnWork(absl::Seconds(20), instance_->service.get()); }

  template <typename Req, typename Resp>
  absl::StatusOr<Resp> Call(grpc::Status (v1::AuthService::Stub::*method)(grpc::ClientContext*, const Req&, Resp*),
                            const Req& request, const std::string& bearer = "") {
    return rpc::Call(*instance_->auth, method, request, Options(bearer));
  }
  template <typename Req, typename Resp>
  absl::StatusOr<Resp> Call(grpc::Status (v1::IdentityService::Stub::*method)(grpc::ClientContext*, const Req&, Resp*),
                            const Req& request) {
    return rpc::Call(*instance_->identity, method, request, AsService());
  }

  absl::StatusOr<v1::LoginResponse> Login(const std::string& username, const std::string& password) {
    v1::LoginRequest request;
    request.set_username(username);
    request.set_password(password);
    return Call(&v1::AuthService::Stub::Login, request);
  }
  // As the gateway passes it on for a client of that address.
  absl::StatusOr<v1::LoginResponse> LoginFrom(const std::string& address, const std::string& username,
                                              const std::string& password) {
    v1::LoginRequest request;
    request.set_username(username);
    request.set_password(password);
    if (gateway_ == nullptr) {
      gateway_ = rpc::ServiceIdentity::Local(instance_->server->signer(), "gateway", &clock_);
    }
    rpc::CallOptions options = Options();
    options.metadata = {{rpc::kForwardedFor, address}, {rpc::kServiceAuthorization, "Bearer " + gateway_->Token()}};
    return rpc::Call(*instance_->auth, &v1::AuthService::Stub::Login, request, options);
  }
  absl::StatusOr<v1::LoginResponse> Refresh(const std::string& token) {
    v1::RefreshRequest request;
    request.set_refresh_token(token);
    return Call(&v1::AuthService::Stub::Refresh, request);
  }
  v1::LoginResponse Admin() {
    auto response = Login("admin", kAdminPassword);
    EXPECT_THAT(response, status::IsOk());
    return response.value_or(v1::LoginResponse());
  }
  // Whether the access token opens a call that needs a role.
  absl::Status Use(const std::string& bearer) {
    return Call(&v1::AuthService::Stub::ListRegistrationSecrets, v1::ListRegistrationSecretsRequest(), bearer).status();
  }
  // Waits until the token is refused (or accepted), as the feed brings the news.
  absl::Status UseUntil(const std::string& bearer, absl::StatusCode code) {
    absl::Status last;
    testing::WaitUntil([&] {
      last = Use(bearer);
      return last.code() == code;
    });
    return last;
  }
  absl::StatusOr<v1::User> CreateUser(const std::string& bearer, const std::string& username, const std::string& role) {
    v1::CreateUserRequest request;
    request.set_username(username);
    request.set_email(username + "@example.com");
    request.set_password("a password of " + username);
    request.set_role(role);
    return Call(&v1::AuthService::Stub::CreateUser, request, bearer);
  }
  absl::StatusOr<v1::IssueCollectorCredentialsResponse> Issue(const std::string& id, bool revoke_former,
                                                              const std::string& csr = "") {
    v1::IssueCollectorCredentialsRequest request;
    request.set_collector_id(id);
    request.set_hostname("host-of-" + id);
    request.set_revoke_former(revoke_former);
    request.set_csr_pem(csr);
    return Call(&v1::IdentityService::Stub::IssueCollectorCredentials, request);
  }
  absl::StatusOr<v1::IssueServiceTokenResponse> IssueServiceToken(const std::string& service,
                                                                  const std::string& secret) {
    v1::IssueServiceTokenRequest request;
    request.set_service(service);
    rpc::CallOptions options = Options();
    if (!secret.empty()) options.metadata.emplace_back(rpc::kServiceSecret, secret);
    return rpc::Call(*instance_->identity, &v1::IdentityService::Stub::IssueServiceToken, request, options);
  }
  bool Revoked(const std::string& token) {
    const auto principal = instance_->verifier.Verify(token, clock_.Now());
    EXPECT_THAT(principal, status::IsOk());
    return instance_->server->CheckRevocation(*principal, clock::SteadyNow() + absl::Seconds(10)).value();
  }
  void Sql(const std::string& statement) {
    auto pool = pg::Pool::Create({.url = config_.database_url.Reveal()});
    EXPECT_THAT((*pool)->Exec(statement, {}, clock::SteadyNow() + absl::Seconds(10)), status::IsOk());
  }
  // Makes `call` wait for a lock, with what it has read before, and runs `change` before it goes on. With
  // `change_first` the change itself is what it waits for.
  template <typename Resp>
  absl::StatusOr<Resp> Overtaken(const std::string& lock, const std::string& change,
                                 const std::function<absl::StatusOr<Resp>()>& call, bool change_first = false) {
    auto pool = pg::Pool::Create({.url = config_.database_url.Reveal()});
    absl::StatusOr<Resp> answer = absl::UnknownError("not called");
    std::thread caller;
    const auto waits = [&] {
      const auto waiting = (*pool)->Exec(
          "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", {},
          clock::SteadyNow() + absl::Seconds(10));
      return waiting.ok() && (*waiting)[0].Int64(0) > 0;
    };
    EXPECT_THAT((*pool)->InTransaction(clock::SteadyNow() + absl::Seconds(20),
                                       [&](pg::Transaction& tx) -> absl::Status {
                                         PGA_RETURN_IF_ERROR(tx.Exec(change_first ? change : lock));
                                         caller = std::thread([&] { answer = call(); });
                                         EXPECT_TRUE(testing::WaitUntil(waits));
                                         return change_first ? absl::OkStatus() : tx.Exec(change).status();
                                       }),
                status::IsOk());
    if (caller.joinable()) caller.join();
    return answer;
  }
  int64_t Count(const std::string& from) {
    auto pool = pg::Pool::Create({.url = config_.database_url.Reveal()});
    const auto result =
        (*pool)->Exec("SELECT count(*) FROM pganalytics." + from, {}, clock::SteadyNow() + absl::Seconds(10));
    EXPECT_THAT(result, status::IsOk());
    return result.ok() ? (*result)[0].Int64(0) : -1;
  }

  clock::FakeClock clock_{clock::WallNow()};
  void SetServiceSecret(const std::string& service, const std::string& text) {
    ASSERT_THAT(testing::WriteFile(service_secrets_ / service, text), status::IsOk());
  }

  testing::ScopedTempDir state_;
  testing::ScopedTempDir service_secrets_;
  std::unique_ptr<rpc::ServiceIdentity> gateway_;
  AuthConfig config_;
  std::unique_ptr<Instance> instance_;
};

}  // namespace pga::auth
