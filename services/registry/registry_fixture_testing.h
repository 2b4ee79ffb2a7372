// A registry over a real database, with auth as a double.
#pragma once

#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/thread_pool.h"
#include "libs/pg/pool.h"
#include "libs/rpc/client.h"
#include "libs/rpc/http_metadata.h"
#include "libs/rpc/server.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/signer.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "pganalytics/registry/v1/enrolment_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/registry/pg_collector_store.h"
#include "services/registry/registry.h"
#include "services/registry/server.h"

namespace pga::registry {

namespace authpb = ::pganalytics::auth::v1;
namespace pb = ::pganalytics::registry::v1;

constexpr char kSecret[] = "a registration secret of the test";
constexpr char kAdministratorsSecret[] = "made by an administrator for the collector that it registers";

// Auth's part: one good secret, credentials with running numbers.
class AuthDouble final : public authpb::IdentityService::CallbackService {
 public:
  grpc::ServerUnaryReactor* UseRegistrationSecret(grpc::CallbackServerContext* context,
                                                  const authpb::UseRegistrationSecretRequest* request,
                                                  authpb::UseRegistrationSecretResponse*) override {
    auto* reactor = context->DefaultReactor();
    const bool good = request->secret() == kSecret || request->secret() == kAdministratorsSecret;
    if (good && request->replaces() && request->secret() != kAdministratorsSecret) {
      reactor->Finish(grpc::Status(grpc::StatusCode::ALREADY_EXISTS, "registered already"));
      return reactor;
    }
    reactor->Finish(good ? grpc::Status::OK
                         : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, "the registration secret is not good"));
    return reactor;
  }
  grpc::ServerUnaryReactor* IssueCollectorCredentials(grpc::CallbackServerContext* context,
                                                      const authpb::IssueCollectorCredentialsRequest* request,
                                                      authpb::IssueCollectorCredentialsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    issued_.push_back(*request);
    response->set_token("token-" + std::to_string(issued_.size()));
    response->set_certificate_pem("certificate");
    response->set_ca_pem("ca");
    if (request->csr_pem().empty()) response->set_private_key_pem("key");
    response->set_certificate_thumbprint("thumbprint-" + std::to_string(issued_.size()));
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerUnaryReactor* RevokeCollector(grpc::CallbackServerContext* context,
                                            const authpb::RevokeCollectorRequest* request,
                                            authpb::RevokeCollectorResponse*) override {
    absl::MutexLock lock(&mutex_);
    revoked_.push_back(request->collector_id());
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  std::vector<authpb::IssueCollectorCredentialsRequest> issued() {
    absl::MutexLock lock(&mutex_);
    return issued_;
  }
  std::vector<std::string> revoked() {
    absl::MutexLock lock(&mutex_);
    return revoked_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<authpb::IssueCollectorCredentialsRequest> issued_;
  std::vector<std::string> revoked_;
};

class RegistryTest : public ::testing::Test {
 protected:
  void SetUp() override { Start(/*limit=*/0); }

  void Start(int limit) {
    Stop();
    auto url = testing::SharedPostgres()->CreateFreshDatabase("registry");
    ASSERT_THAT(url, status::IsOk());
    url_ = *url;
    ASSERT_THAT(storage::MigrateUp(url_, storage::Database::kMetadata, {}), status::IsOk());
    auto signer = token::Signer::FromSecret("0123456789012345678901234567890123456789");
    ASSERT_THAT(signer, status::IsOk());
    signer_ = *std::move(signer);
    ASSERT_THAT(verifier_.SetHmacSecrets({"0123456789012345678901234567890123456789"}), status::IsOk());
    revocations_.Apply({}, std::numeric_limits<int64_t>::max());
    authenticator_ = std::make_unique<rpc::Authenticator>(&verifier_, &revocations_);
    identity_ = rpc::ServiceIdentity::Local(signer_.get(), "registry");
    auto auth = rpc::Server::Start(
        {.name = "auth", .listen = {}, .tls = {}, .outside_listen = {}, .outside_tls = {}, .services = {&auth_}});
    ASSERT_THAT(auth, status::IsOk());
    auth_server_ = *std::move(auth);
    RegistryConfig config = config_;
    config.database_url = log::Secret(url_);
    config.max_concurrent_collectors = limit;
    auto registry = RegistryServer::Create(config, {.metrics = &metrics_,
                                                    .clock = clock::Clock::Real(),
                                                    .authenticator = authenticator_.get(),
                                                    .identity = identity_.get(),
                                                    .auth = auth_server_->InProcessChannel(),
                                                    .query = nullptr});
    ASSERT_THAT(registry, status::IsOk());
    registry_ = *std::move(registry);
    auto server = rpc::Server::Start({.name = "registry",
                                      .listen = {},
                                      .tls = {},
                                      .outside_listen = {},
                                      .outside_tls = {},
                                      .services = registry_->services()});
    ASSERT_THAT(server, status::IsOk());
    server_ = *std::move(server);
    stub_ = pb::RegistryService::NewStub(server_->InProcessChannel());
    enrolment_ = pb::EnrolmentService::NewStub(server_->InProcessChannel());
  }

  void Stop() {
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(5);
    if (server_ != nullptr) server_->Drain(deadline);
    if (registry_ != nullptr) registry_->Drain(deadline);
    server_.reset();
    registry_.reset();
    if (auth_server_ != nullptr) auth_server_->Drain(deadline);
    auth_server_.reset();
  }
  void TearDown() override { Stop(); }

  std::string TokenOf(token::Principal principal) {
    principal.issued_at = clock::WallNow();
    principal.expires_at = clock::WallNow() + absl::Minutes(5);
    token::Claims claims;
    claims.principal = std::move(principal);
    auto token = signer_->Sign(claims);
    EXPECT_THAT(token, status::IsOk());
    return *token;
  }
  std::string Person(const std::string& role) {
    token::Principal principal;
    principal.kind = token::Principal::kUser;
    principal.user_id = 7;
    principal.username = role;
    principal.role = role;
    principal.all_groups = true;
    return TokenOf(principal);
  }
  std::string CollectorToken(const std::string& id) {
    token::Principal principal;
    principal.kind = token::Principal::kCollector;
    principal.collector_id = id;
    return TokenOf(principal);
  }
  static rpc::CallOptions Options(std::string bearer, std::string secret = {}) {
    rpc::CallOptions options;
    options.deadline = clock::SteadyNow() + absl::Seconds(10);
    options.bearer = std::move(bearer);
    if (!secret.empty()) options.metadata.emplace_back("x-registration-secret", secret);
    return options;
  }
  absl::StatusOr<pb::RegisterCollectorResponse> Register(const std::string& id, const std::string& hostname,
                                                         const std::string& secret = kSecret) {
    pb::RegisterCollectorRequest request;
    request.set_collector_id(id);
    request.set_name(hostname);
    request.set_hostname(hostname);
    return rpc::Call(*stub_, &pb::RegistryService::Stub::RegisterCollector, request, Options("", secret));
  }
  absl::StatusOr<pb::ListCollectorsResponse> List(int page = 0, int page_size = 0) {
    pb::ListCollectorsRequest request;
    request.set_page(page);
    request.set_page_size(page_size);
    return rpc::Call(*stub_, &pb::RegistryService::Stub::ListCollectors, request, Options(Person("viewer")));
  }

  std::string url_;
  // What Start gives the registry beside its database and the limit.
  RegistryConfig config_;
  metrics::Registry metrics_{/*process_metrics=*/false};
  token::Verifier verifier_;
  token::RevocationSet revocations_;
  std::unique_ptr<token::Signer> signer_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<rpc::ServiceIdentity> identity_;
  AuthDouble auth_;
  std::unique_ptr<rpc::Server> auth_server_;
  std::unique_ptr<RegistryServer> registry_;
  std::unique_ptr<rpc::Server> server_;
  std::unique_ptr<pb::RegistryService::Stub> stub_;
  std::unique_ptr<pb::EnrolmentService::Stub> enrolment_;
};

}  // namespace pga::registry
