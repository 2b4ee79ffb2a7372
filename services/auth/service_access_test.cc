// What services ask of auth: tokens for their secrets, revocations, and Envoy's question who calls.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "envoy/service/auth/v3/authorization_service.grpc.pb.h"
#include "libs/clock/steady.h"
#include "libs/rpc/auth_watch.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "services/auth/auth_testing.h"
#include "services/auth/service_secrets.h"

namespace pga::auth {
namespace {

namespace v1 = pganalytics::auth::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

TEST_F(AuthTest, IdentityServiceIsForServices) {
  Start();
  const std::string admin = Admin().token();
  const auto as_admin = rpc::Call(*instance_->identity, &v1::IdentityService::Stub::RevokeCollector,
                                  v1::RevokeCollectorRequest(), Options(admin));
  EXPECT_THAT(as_admin, StatusIs(absl::StatusCode::kPermissionDenied));
  for (const char* name : {"query", "ingest", "compactor", "gateway"}) {
    const auto service = rpc::ServiceIdentity::Local(instance_->server->signer(), name, &clock_);
    EXPECT_THAT(rpc::Call(*instance_->identity, &v1::IdentityService::Stub::IssueCollectorCredentials,
                          v1::IssueCollectorCredentialsRequest(), rpc::OwnWork(absl::Seconds(20), service.get())),
                StatusIs(absl::StatusCode::kPermissionDenied))
        << name;
  }
  const auto as_nobody = rpc::Call(*instance_->identity, &v1::IdentityService::Stub::IssueCollectorCredentials,
                                   v1::IssueCollectorCredentialsRequest(), Options());
  EXPECT_THAT(as_nobody, StatusIs(absl::StatusCode::kUnauthenticated));
}

// A service gets tokens of its own name alone, for its own secret.
TEST_F(AuthTest, ServiceTokensAreExchangedForTheServicesOwnSecret) {
  Start();
  const auto issued = IssueServiceToken("query", "the secret of query");
  ASSERT_THAT(issued, IsOk());
  const auto principal = instance_->verifier.Verify(issued->token(), clock_.Now());
  ASSERT_THAT(principal, IsOk());
  EXPECT_EQ(principal->kind, token::Principal::kService);
  EXPECT_EQ(principal->service, "query");
  const std::pair<const char*, const char*> refused[] = {
      {"query", "another"},
      {"query", ""},
      {"query", "the secret of gateway"},
      {"registry", "the secret of query"},
      {"collector", "the secret of query"},
      {"", "the secret of query"},
      {"auth", "the secret of query"},
      {"../query", "the secret of query"},
  };
  for (const auto& [service, secret] : refused) {
    EXPECT_THAT(IssueServiceToken(service, secret), StatusIs(absl::StatusCode::kUnauthenticated)) << service;
  }
}

// Both secrets are good while one is rotated; the folder is read again without a restart, and a file that cannot be
// used changes nothing.
TEST_F(AuthTest, ServiceSecretIsRotatedWithoutARestart) {
  Start();
  const auto works = [&](const char* secret) {
    clock_.Advance(ServiceSecrets::kReadAgainAfter);
    return IssueServiceToken("query", secret).ok();
  };
  EXPECT_TRUE(works("the secret of query"));
  SetServiceSecret("query", "a new one\nthe secret of query\n");
  EXPECT_TRUE(works("a new one"));
  EXPECT_TRUE(works("the secret of query"));
  SetServiceSecret("query", "a new one\n");
  EXPECT_TRUE(works("a new one"));
  EXPECT_FALSE(works("the secret of query"));
  for (const char* bad : {"", "one\ntwo\nthree\n", "the secret of gateway\n"}) {
    SetServiceSecret("query", bad);
    EXPECT_TRUE(works("a new one")) << bad;
    EXPECT_FALSE(works("the secret of gateway")) << bad;
  }
  ASSERT_EQ(unlink((service_secrets_ / "query").c_str()), 0);
  EXPECT_FALSE(works("a new one"));
}

TEST_F(AuthTest, ServiceSecretsThatCannotBeUsedEndTheStart) {
  SetServiceSecret("query", "the secret of gateway\n");
  Instance shared(config_, &clock_);
  EXPECT_THAT(shared.start, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one of its own")));
  SetServiceSecret("query", "the secret of query\n");
  config_.environment = "production";
  config_.jwt_secret = log::Secret("u8Xq2mZ0sR4vT6yB1nK3pL5wE7hJ9dFg");
  config_.registration_secret = log::Secret();
  Instance weak(config_, &clock_);
  EXPECT_THAT(weak.start, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("32 characters")));
  config_.service_secrets_dir = "/nowhere/at/all";
  Instance missing(config_, &clock_);
  EXPECT_THAT(missing.start, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no folder")));
}

TEST_F(AuthTest, FollowersHearOfRevocationsAndHeartbeats) {
  Start();
  ASSERT_THAT(Issue("early", true), IsOk());
  token::RevocationSet set;
  rpc::RevocationWatcher watcher(instance_->channel, instance_->service.get(), &set, &clock_);
  const auto is_revoked = [&](const std::string& id) {
    token::Principal principal;
    principal.kind = token::Principal::kCollector;
    principal.subject = token::CollectorSubject(id);
    principal.issued_at = clock_.Now() - absl::Seconds(1);
    return set.IsRevoked(principal);
  };
  EXPECT_TRUE(testing::WaitUntil([&] { return is_revoked("early"); })) << "what happened before it subscribed";
  const clock::SteadyTime subscribed = clock::SteadyNow();
  ASSERT_THAT(Issue("late", true), IsOk());
  EXPECT_TRUE(testing::WaitUntil([&] { return is_revoked("late"); }));
  EXPECT_LT(clock::SteadyNow() - subscribed, absl::Seconds(5));
  // Without revocations there is news, too.
  clock_.Advance(absl::Minutes(1));
  EXPECT_TRUE(testing::WaitUntil([&] { return set.HasNews(clock_.BoottimeNanos()); }));
  watcher.Stop();
}

TEST_F(AuthTest, EndingServiceDoesNotWaitForFollowers) {
  Start();
  token::RevocationSet set;
  rpc::RevocationWatcher watcher(instance_->channel, instance_->service.get(), &set, &clock_);
  ASSERT_TRUE(testing::WaitUntil([&] { return set.HasNews(clock_.BoottimeNanos()); }));
  const clock::SteadyTime before = clock::SteadyNow();
  instance_->server->PrepareDrain();
  instance_->grpc->Drain(clock::SteadyNow() + absl::Seconds(60));
  EXPECT_LT(clock::SteadyNow() - before, absl::Seconds(20));
  watcher.Stop();
}

TEST_F(AuthTest, EnvoyIsToldWhatTheServicesWouldSay) {
  Start();
  const v1::LoginResponse admin = Admin();
  ASSERT_THAT(CreateUser(admin.token(), "victor", "viewer"), IsOk());
  const auto viewer = Login("victor", "a password of victor");
  const auto stub = envoy::service::auth::v3::Authorization::NewStub(instance_->channel);
  struct Case {
    std::string name, path, bearer, secret;
    int http_code;  // 0 = may pass
  };
  const std::string list = "/pganalytics.auth.v1.AuthService/ListRegistrationSecrets";
  const std::vector<Case> cases = {
      {"admin", list, admin.token(), "", 0},
      {"query is no part of the method", list + "?x=/pganalytics.auth.v1.AuthService/Login", "", "", 401},
      {"viewer", list, viewer->token(), "", 403},
      {"nobody", list, "", "", 401},
      {"bad token", list, "x.y.z", "", 401},
      {"open method", "/pganalytics.auth.v1.AuthService/Login", "", "", 0},
      {"open method, stale token", "/pganalytics.auth.v1.AuthService/Login", "x.y.z", "", 0},
      {"services' method", "/pganalytics.auth.v1.IdentityService/RevokeCollector", admin.token(), "", 403},
      {"registration", "/pganalytics.registry.v1.RegistryService/RegisterCollector", "", "s", 0},
      {"registration without secret", "/pganalytics.registry.v1.RegistryService/RegisterCollector", "", "", 401},
      {"query", "/pganalytics.query.v1.SystemService/GetVersion", "", "", 0},
      {"ingest without token", "/pganalytics.ingest.v1.IngestService/StreamBatches", "", "", 401},
      {"unknown method", "/pganalytics.auth.v1.AuthService/Drop", admin.token(), "", 403},
      {"REST path", "/api/v1/users", admin.token(), "", 403},
      {"no path", "", admin.token(), "", 403},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    envoy::service::auth::v3::CheckRequest request;
    auto* http = request.mutable_attributes()->mutable_request()->mutable_http();
    http->set_path(c.path);
    if (!c.bearer.empty()) (*http->mutable_headers())["authorization"] = "Bearer " + c.bearer;
    if (!c.secret.empty()) (*http->mutable_headers())["x-registration-secret"] = c.secret;
    const auto answer = rpc::Call(*stub, &envoy::service::auth::v3::Authorization::Stub::Check, request, Options());
    ASSERT_THAT(answer, IsOk());
    if (c.http_code == 0) {
      EXPECT_EQ(answer->status().code(), 0);
      EXPECT_THAT(answer->ok_response().headers_to_remove(), ::testing::Contains("x-service-authorization"));
    } else {
      EXPECT_NE(answer->status().code(), 0);
      EXPECT_EQ(answer->denied_response().status().code(), c.http_code);
      EXPECT_THAT(answer->denied_response().body(), HasSubstr(absl::StrCat("\"code\":", c.http_code)));
    }
  }
}

}  // namespace
}  // namespace pga::auth
