// Registration secrets and the credentials of collectors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/rpc/peer_certificate.h"
#include "libs/status/testing.h"
#include "pganalytics/auth/v1/auth_service.grpc.pb.h"
#include "pganalytics/auth/v1/identity_service.grpc.pb.h"
#include "services/auth/auth_store.h"
#include "services/auth/auth_testing.h"

namespace pga::auth {
namespace {

namespace v1 = pganalytics::auth::v1;
using status::IsOk;
using status::ReasonOf;
using status::StatusIs;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(AuthTest, RegistrationSecretsAreShownOnceAndKeptAsHashes) {
  Start();
  const std::string admin = Admin().token();
  v1::CreateRegistrationSecretRequest create;
  create.set_name("rollout");
  create.set_description("for the new racks");
  const auto created = Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin);
  ASSERT_THAT(created, IsOk());
  EXPECT_EQ(created->secret_value().size(), 43U);
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin),
              StatusIs(absl::StatusCode::kAlreadyExists));
  EXPECT_EQ(Count("registration_secrets WHERE encode(secret_hash, 'escape') LIKE '%" + created->secret_value() + "%'"),
            0);

  v1::UseRegistrationSecretRequest use;
  use.set_secret(created->secret_value());
  use.set_collector_id("db1");
  const auto used = Call(&v1::IdentityService::Stub::UseRegistrationSecret, use);
  ASSERT_THAT(used, IsOk());
  EXPECT_EQ(used->secret_id(), created->id());

  v1::GetRegistrationSecretRequest get;
  get.set_id(created->id());
  const auto secret = Call(&v1::AuthService::Stub::GetRegistrationSecret, get, admin);
  ASSERT_THAT(secret, IsOk());
  EXPECT_EQ(secret->total_registrations(), 1);
  EXPECT_TRUE(secret->has_last_used_at());
  EXPECT_EQ(secret->created_by_username(), "admin");
  EXPECT_FALSE(secret->has_expires_at());

  v1::UpdateRegistrationSecretRequest update;
  update.set_id(created->id());
  EXPECT_THAT(Call(&v1::AuthService::Stub::UpdateRegistrationSecret, update, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
  update.set_name("rollout 2");
  update.set_active(false);
  const auto updated = Call(&v1::AuthService::Stub::UpdateRegistrationSecret, update, admin);
  ASSERT_THAT(updated, IsOk());
  EXPECT_FALSE(updated->active());
  EXPECT_EQ(updated->description(), "");
  EXPECT_THAT(Call(&v1::IdentityService::Stub::UseRegistrationSecret, use),
              StatusIs(absl::StatusCode::kUnauthenticated));

  const auto listed =
      Call(&v1::AuthService::Stub::ListRegistrationSecrets, v1::ListRegistrationSecretsRequest(), admin);
  ASSERT_THAT(listed, IsOk());
  EXPECT_EQ(listed->count(), 1);
  v1::DeleteRegistrationSecretRequest remove;
  remove.set_id(created->id());
  EXPECT_THAT(Call(&v1::AuthService::Stub::DeleteRegistrationSecret, remove, admin), IsOk());
  for (const std::string& id : {created->id(), std::string("no-uuid"), std::string()}) {
    remove.set_id(id);
    EXPECT_THAT(Call(&v1::AuthService::Stub::DeleteRegistrationSecret, remove, admin),
                StatusIs(absl::StatusCode::kNotFound));
  }
}

// One secret, one collector, unless it was made for many; in the place of a collector at work only a secret that was
// made for it.
TEST_F(AuthTest, RegistrationSecretIsOfOneCollector) {
  Start();
  const std::string admin = Admin().token();
  const auto make = [&](const std::string& name, const std::string& collector, bool for_many) {
    v1::CreateRegistrationSecretRequest create;
    create.set_name(name);
    create.set_collector_id(collector);
    create.set_for_many(for_many);
    const auto created = Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin);
    EXPECT_THAT(created, IsOk());
    return created.ok() ? created->secret_value() : "";
  };
  const auto use = [&](const std::string& secret, const std::string& collector, bool replaces = false) {
    v1::UseRegistrationSecretRequest request;
    request.set_secret(secret);
    request.set_collector_id(collector);
    request.set_replaces(replaces);
    const absl::Status status = Call(&v1::IdentityService::Stub::UseRegistrationSecret, request).status();
    return status.ok() ? std::string("ok") : status::ReasonOf(status);
  };
  const std::string one = make("one", "", false);
  EXPECT_EQ(use(one, "at-work", true), "COLLECTOR_EXISTS");
  EXPECT_EQ(use(one, "a"), "ok") << "what was refused does not bind it";
  EXPECT_EQ(use(one, "a"), "ok") << "an answer may be lost";
  EXPECT_EQ(use(one, "b"), "REGISTRATION_SECRET_OF_ANOTHER");
  EXPECT_EQ(use(one, "a", true), "COLLECTOR_EXISTS") << "whoever has it is not the collector";
  const std::string many = make("many", "", true);
  for (const char* id : {"a", "b", "c"}) EXPECT_EQ(use(many, id), "ok");
  EXPECT_EQ(use(many, "a", true), "COLLECTOR_EXISTS");
  EXPECT_EQ(use(kRegistrationSecret, "d"), "ok");
  EXPECT_EQ(use(kRegistrationSecret, "d", true), "COLLECTOR_EXISTS");
  const std::string for_a = make("for a", "a", false);
  EXPECT_EQ(use(for_a, "a", true), "ok") << "an administrator made it for this";
  EXPECT_EQ(use(for_a, "b"), "REGISTRATION_SECRET_OF_ANOTHER");
  EXPECT_EQ(use("a guess", "a", true), "REGISTRATION_SECRET_INVALID") << "the answer does not show who is registered";
  v1::CreateRegistrationSecretRequest odd;
  odd.set_name("odd");
  odd.set_collector_id("..");
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, odd, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
  odd.set_collector_id("a");
  odd.set_for_many(true);
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, odd, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(AuthTest, RegistrationSecretVerdicts) {
  Start();
  const std::string admin = Admin().token();
  v1::CreateRegistrationSecretRequest create;
  create.set_name("short-lived");
  create.mutable_expires_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()) - 5);
  EXPECT_THAT(Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin),
              StatusIs(absl::StatusCode::kInvalidArgument));
  create.mutable_expires_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()) + 60);
  const auto created = Call(&v1::AuthService::Stub::CreateRegistrationSecret, create, admin);
  ASSERT_THAT(created, IsOk());

  v1::UseRegistrationSecretRequest use;
  use.set_secret(kRegistrationSecret);
  const auto fallback = Call(&v1::IdentityService::Stub::UseRegistrationSecret, use);
  ASSERT_THAT(fallback, IsOk());
  EXPECT_EQ(fallback->secret_id(), "");
  clock_.Advance(absl::Minutes(2));
  for (const std::string& secret : {created->secret_value(), std::string("guess"), std::string(),
                                    std::string(5000, 'x'), std::string(kRegistrationSecret) + "x"}) {
    use.set_secret(secret);
    const absl::Status refused = Call(&v1::IdentityService::Stub::UseRegistrationSecret, use).status();
    EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnauthenticated, Not(HasSubstr("guess"))));
  }
  EXPECT_EQ(Count("registration_secret_audit WHERE status = 'success'"), 1);
  EXPECT_EQ(Count("registration_secret_audit WHERE status = 'expired'"), 1);
  EXPECT_EQ(Count("registration_secret_audit WHERE status = 'failed'"), 2);
}

TEST_F(AuthTest, CollectorCredentialsComeWithTheAskedIdentityAlone) {
  Start();
  const auto made = Issue("db1", false);
  ASSERT_THAT(made, IsOk());
  EXPECT_THAT(made->private_key_pem(), HasSubstr("BEGIN PRIVATE KEY"));
  EXPECT_EQ(made->ca_pem(), instance_->server->ca_certificate_pem());
  const auto signed_request = Issue("db1", false, NewRequest());
  ASSERT_THAT(signed_request, IsOk());
  EXPECT_EQ(signed_request->private_key_pem(), "");
  const auto certificate = rpc::ReadCollectorCertificate(signed_request->certificate_pem(), clock_.Now());
  ASSERT_THAT(certificate, IsOk());
  EXPECT_EQ(certificate->collector_id, "db1");
  EXPECT_EQ(certificate->thumbprint, signed_request->certificate_thumbprint());
  const auto principal = instance_->verifier.Verify(made->token(), clock_.Now());
  ASSERT_THAT(principal, IsOk());
  EXPECT_EQ(principal->collector_id, "db1");
  EXPECT_THAT(Issue("not valid!", false), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Issue("db1", false, "no request"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(AuthTest, RegisteringAgainRevokesTheFormerCredentials) {
  Start();
  const auto first = Issue("db1", true);
  const absl::Status too_soon = Issue("db1", false).status();
  EXPECT_THAT(too_soon, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(ReasonOf(too_soon), "RENEWED_TOO_SOON") << "a revoked credential must not be exchanged for a good one";
  clock_.Advance(kRenewPause + absl::Seconds(1));
  const auto renewed = Issue("db1", false);
  const auto neighbour = Issue("db2", true);
  ASSERT_THAT(renewed, IsOk());
  EXPECT_FALSE(Revoked(first->token()));
  // In the same microsecond, which is the hardest case: only ids distinguish the tokens.
  const auto second = Issue("db1", true);
  ASSERT_THAT(second, IsOk());
  const auto by_thumbprint = [&](const v1::IssueCollectorCredentialsResponse& issued, const std::string& id) {
    token::Principal principal;
    principal.kind = token::Principal::kCollector;
    principal.subject = token::CollectorSubject(id);
    principal.jti = issued.certificate_thumbprint();
    const auto certificate = rpc::ReadCollectorCertificate(issued.certificate_pem(), clock_.Now());
    principal.issued_at = certificate->not_before + absl::Seconds(1) - absl::Microseconds(1);
    return instance_->server->CheckRevocation(principal, clock::SteadyNow() + absl::Seconds(10)).value();
  };
  for (const auto* former : {&*first, &*renewed}) {
    EXPECT_TRUE(Revoked(former->token()));
    EXPECT_TRUE(by_thumbprint(*former, "db1"));
  }
  EXPECT_FALSE(Revoked(second->token()));
  EXPECT_FALSE(by_thumbprint(*second, "db1"));
  EXPECT_FALSE(Revoked(neighbour->token()));

  clock_.Advance(absl::Seconds(10));
  const auto third = Issue("db1", true);
  EXPECT_TRUE(Revoked(second->token()));
  EXPECT_TRUE(by_thumbprint(*second, "db1"));
  EXPECT_FALSE(Revoked(third->token()));
  EXPECT_FALSE(by_thumbprint(*third, "db1"));

  v1::RevokeCollectorRequest revoke;
  revoke.set_collector_id("db1");
  revoke.set_reason("deleted");
  EXPECT_THAT(Call(&v1::IdentityService::Stub::RevokeCollector, revoke), IsOk());
  EXPECT_TRUE(Revoked(third->token()));
  EXPECT_TRUE(by_thumbprint(*third, "db1"));
  EXPECT_FALSE(Revoked(neighbour->token()));
}

TEST_F(AuthTest, OfConcurrentRegistrationsOneSetOfCredentialsIsLeft) {
  Start();
  constexpr int kThreads = 8;
  std::vector<std::thread> threads;
  std::vector<std::string> tokens(kThreads);
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto issued = Issue("db1", true);
      if (issued.ok()) tokens[t] = issued->token();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(tokens, Each(Not(IsEmpty())));
  int valid = 0;
  for (const std::string& token : tokens) valid += Revoked(token) ? 0 : 1;
  EXPECT_EQ(valid, 1);
}

}  // namespace
}  // namespace pga::auth
