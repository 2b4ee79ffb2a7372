#include "libs/rpc/auth.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <memory>

#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/certificates_testing.h"
#include "libs/rpc/peer_certificate.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "libs/status/testing.h"
#include "libs/token/signer.h"
#include "pganalytics/common/v1/common.pb.h"
#include "protos/service_files.h"

namespace pga::rpc {
namespace {

using status::IsOk;
using status::StatusIs;
using token::Principal;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";

// Every method of every service: names who may call it, and is found by its request type.
TEST(Access, EveryMethodHasARuleAndItsOwnRequestType) {
  token::Verifier verifier;
  token::RevocationSet revocations;
  Authenticator authenticator(&verifier, &revocations);
  int methods = 0;
  for (const auto* file : ServiceFiles()) {
    ASSERT_NE(file, nullptr);
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const auto* method = file->service(s)->method(m);
        const std::string name = "/" + file->service(s)->full_name() + "/" + method->name();
        const auto access = authenticator.AccessOf(name);
        ASSERT_THAT(access.status(), IsOk()) << name;
        EXPECT_TRUE(access->anonymous || access->user != token::Role::kNone || access->collector ||
                    access->services != 0 || access->registration_secret)
            << name << " can be called by nobody";
        for (const std::string& service : method->options().GetExtension(pganalytics::common::v1::access).services()) {
          EXPECT_NE(token::FindService(service), nullptr) << name << " names " << service << ", which is no service";
        }
        EXPECT_EQ(MethodOfRequest(method->input_type()), name);
        EXPECT_EQ(authenticator.AccessOf(method->full_name())->anonymous, access->anonymous);
        ++methods;
      }
    }
  }
  EXPECT_GT(methods, 40);
}

class AuthenticatorTest : public ::testing::Test {
 protected:
  AuthenticatorTest() : signer_(*token::Signer::FromSecret(kSecret)) {
    EXPECT_THAT(verifier_.SetHmacSecrets({kSecret}), IsOk());
    revocations_.Apply({}, clock_.BoottimeNanos());
  }

  std::string Bearer(const Principal& principal) {
    token::Claims claims{.principal = principal};
    claims.principal.issued_at = clock_.Now();
    claims.principal.expires_at = clock_.Now() + absl::Minutes(15);
    return "Bearer " + *signer_->Sign(claims);
  }
  std::string UserBearer(const std::string& role) {
    Principal p;
    p.kind = Principal::kUser;
    p.user_id = 7;
    p.role = role;
    p.all_groups = true;
    return Bearer(p);
  }
  std::string CollectorBearer(const std::string& id) {
    Principal p;
    p.kind = Principal::kCollector;
    p.collector_id = id;
    p.all_groups = true;
    return Bearer(p);
  }
  std::string ServiceBearer(const std::string& name) {
    Principal p;
    p.kind = Principal::kService;
    p.service = name;
    return Bearer(p);
  }
  absl::StatusOr<Principal> Admit(const std::string& method, const Credentials& credentials, bool may_wait = true) {
    return authenticator_.Admit(method, credentials, clock::SteadyNow() + absl::Seconds(30), may_wait);
  }

  clock::FakeClock clock_{clock::WallNow()};
  token::Verifier verifier_;
  token::RevocationSet revocations_;
  std::unique_ptr<token::Signer> signer_;
  absl::StatusOr<bool> revocation_answer_ = false;
  int revocation_questions_ = 0;
  Authenticator authenticator_{&verifier_,
                               &revocations_,
                               {.check_revocation =
                                    [this](const Principal&, clock::SteadyTime) {
                                      ++revocation_questions_;
                                      return revocation_answer_;
                                    }},
                               &clock_};
};

constexpr char kListUsers[] = "/pganalytics.auth.v1.AuthService/ListUsers";         // admin
constexpr char kPush[] = "/pganalytics.ingest.v1.IngestService/PushMetrics";        // user, collector
constexpr char kHealth[] = "/pganalytics.query.v1.SystemService/GetHealth";         // anybody
constexpr char kEnrol[] = "/pganalytics.registry.v1.EnrolmentService/Enrol";        // secret, service
constexpr char kRenew[] = "/pganalytics.registry.v1.EnrolmentService/Renew";        // collector, service
constexpr char kRevoke[] = "/pganalytics.auth.v1.IdentityService/RevokeCollector";  // service

TEST_F(AuthenticatorTest, RulesOfTheProtosHold) {
  struct Case {
    const char* name;
    const char* method;
    std::string authorization;
    std::string secret;
    absl::StatusCode code;
    const char* reason;
  };
  constexpr auto kOk = absl::StatusCode::kOk;
  constexpr auto kNoIdentity = absl::StatusCode::kUnauthenticated;
  constexpr auto kDenied = absl::StatusCode::kPermissionDenied;
  const Case cases[] = {
      {"admin lists users", kListUsers, UserBearer("admin"), "", kOk, ""},
      {"user does not", kListUsers, UserBearer("user"), "", kDenied, "ROLE_TOO_LOW"},
      {"viewer does not", kListUsers, UserBearer("viewer"), "", kDenied, "ROLE_TOO_LOW"},
      {"collector does not", kListUsers, CollectorBearer("a"), "", kDenied, "CALLER_KIND"},
      {"service does not", kListUsers, ServiceBearer("query"), "", kDenied, "CALLER_KIND"},
      {"nobody does not", kListUsers, "", "", kNoIdentity, "TOKEN_MISSING"},
      {"push without token", kPush, "", "", kNoIdentity, "TOKEN_MISSING"},
      {"push by user", kPush, UserBearer("user"), "", kOk, ""},
      {"push by viewer", kPush, UserBearer("viewer"), "", kDenied, "ROLE_TOO_LOW"},
      {"push by collector", kPush, CollectorBearer("a"), "", kOk, ""},
      {"push by service", kPush, ServiceBearer("gateway"), "", kDenied, "CALLER_KIND"},
      {"health by anybody", kHealth, "", "", kOk, ""},
      {"health with a bad token", kHealth, "Bearer nonsense", "", kOk, ""},
      {"enrol with secret", kEnrol, "", "secret", kOk, ""},
      {"enrol with secret and a bad token", kEnrol, "Bearer nonsense", "secret", kOk, ""},
      {"enrol without", kEnrol, "", "", kNoIdentity, "REGISTRATION_SECRET_MISSING"},
      {"enrol by service", kEnrol, ServiceBearer("ingest"), "", kOk, ""},
      {"enrol by user", kEnrol, UserBearer("admin"), "", kDenied, "CALLER_KIND"},
      {"renew by collector", kRenew, CollectorBearer("a"), "", kOk, ""},
      {"renew with secret only", kRenew, "", "secret", kNoIdentity, "TOKEN_MISSING"},
      {"revoke by service", kRevoke, ServiceBearer("registry"), "", kOk, ""},
      {"revoke by gateway", kRevoke, ServiceBearer("gateway"), "", kDenied, "CALLER_KIND"},
      {"revoke by ingest", kRevoke, ServiceBearer("ingest"), "", kDenied, "CALLER_KIND"},
      {"enrol by gateway", kEnrol, ServiceBearer("gateway"), "", kDenied, "CALLER_KIND"},
      {"renew by registry", kRenew, ServiceBearer("registry"), "", kDenied, "CALLER_KIND"},
      {"revoke by admin", kRevoke, UserBearer("admin"), "", kDenied, "CALLER_KIND"},
      {"basic scheme", kPush, "Basic YTpi", "", kNoIdentity, "TOKEN_MALFORMED"},
      {"lower-case scheme", kPush, "bearer x", "", kNoIdentity, "TOKEN_MALFORMED"},
      {"empty token", kPush, "Bearer ", "", kNoIdentity, "TOKEN_MALFORMED"},
      {"two blanks", kPush, "Bearer  " + UserBearer("user").substr(7), "", kNoIdentity, "TOKEN_MALFORMED"},
      {"unknown method", "/pganalytics.auth.v1.AuthService/Nothing", UserBearer("admin"), "", kDenied,
       "NO_ACCESS_RULE"},
      {"method without rule", "/grpc.health.v1.Health/Check", UserBearer("admin"), "", kDenied, "NO_ACCESS_RULE"},
      {"no method", "", UserBearer("admin"), "", kDenied, "NO_ACCESS_RULE"},
  };
  for (const Case& test : cases) {
    const auto result = Admit(test.method, {.authorization = test.authorization, .registration_secret = test.secret});
    EXPECT_EQ(result.status().code(), test.code) << test.name << ": " << result.status();
    if (test.code != kOk) {
      EXPECT_EQ(status::ReasonOf(result.status()), test.reason) << test.name;
    }
  }
}

TEST_F(AuthenticatorTest, MethodOfAForeignProtoGetsItsRule) {
  const std::string bearer = ServiceBearer("registry");
  const std::string method = "/envoy.service.auth.v3.Authorization/Check";
  EXPECT_THAT(Admit(method, {.authorization = bearer}).status(), StatusIs(absl::StatusCode::kPermissionDenied));
  authenticator_.SetAccess(method, {.services = token::ServiceBit("registry")});
  EXPECT_THAT(Admit(method, {.authorization = bearer}).status(), IsOk());
  EXPECT_THAT(Admit(method, {}).status(), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(AuthenticatorTest, CertificateIsAnIdentity) {
  const TestCa ca;
  const std::string pem = ca.Collector("db-1").cert_pem;
  const auto p = Admit(kRenew, {.peer_certificate_pem = pem});
  ASSERT_THAT(p.status(), IsOk());
  EXPECT_EQ(p->kind, Principal::kCollector);
  EXPECT_EQ(p->collector_id, "db-1");
  EXPECT_EQ(p->subject, "collector:db-1");
  EXPECT_TRUE(p->from_certificate);
  EXPECT_EQ(p->jti.size(), 64u);
  // Token and certificate together must agree.
  EXPECT_THAT(Admit(kRenew, {.authorization = CollectorBearer("db-1"), .peer_certificate_pem = pem}).status(), IsOk());
  for (const std::string& other : {CollectorBearer("db-2"), UserBearer("admin"), ServiceBearer("ingest")}) {
    EXPECT_EQ(status::ReasonOf(Admit(kRenew, {.authorization = other, .peer_certificate_pem = pem}).status()),
              "IDENTITY_CONFLICT");
  }
}

TEST_F(AuthenticatorTest, OddCertificatesAreNone) {
  const TestCa ca;
  const absl::Time now = clock::WallNow();
  const std::string good = "pganalytics://collector/db-1";
  struct Case {
    const char* name;
    TestCa::Request request;
  };
  const Case cases[] = {
      {"no URI", {.dns = {"db-1"}}},
      {"two URIs", {.uris = {good, "pganalytics://collector/db-2"}}},
      {"the same URI twice", {.uris = {good, good}}},
      {"a further URI", {.uris = {good, "spiffe://example.org/x"}}},
      {"other scheme", {.uris = {"spiffe://collector/db-1"}}},
      {"other kind", {.uris = {"pganalytics://service/auth"}}},
      {"no id", {.uris = {"pganalytics://collector/"}}},
      {"path below", {.uris = {"pganalytics://collector/db-1/x"}}},
      {"odd characters", {.uris = {"pganalytics://collector/db%201"}}},
      {"long id", {.uris = {"pganalytics://collector/" + std::string(64, 'a')}}},
      {"expired", {.uris = {good}, .not_before = now - absl::Hours(2), .not_after = now - absl::Hours(1)}},
      {"a CA", {.uris = {good}, .is_ca = true}},
  };
  for (const Case& test : cases) {
    const std::string pem = ca.Issue(test.request).cert_pem;
    EXPECT_THAT(ReadCollectorCertificate(pem, now).status(), StatusIs(absl::StatusCode::kUnauthenticated)) << test.name;
    EXPECT_THAT(Admit(kRenew, {.peer_certificate_pem = pem}).status(), StatusIs(absl::StatusCode::kUnauthenticated))
        << test.name;
    // A collector renews such a certificate with its token.
    EXPECT_THAT(Admit(kRenew, {.authorization = CollectorBearer("db-1"), .peer_certificate_pem = pem}).status(), IsOk())
        << test.name;
  }
  EXPECT_THAT(ReadCollectorCertificate("", now).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(ReadCollectorCertificate("hello", now).status(), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(ReadCollectorCertificate(ca.Issue({.uris = {good}}).cert_pem, now).status(), IsOk());
}

TEST_F(AuthenticatorTest, RevokedCredentialsAreRefused) {
  const std::string bearer = UserBearer("admin");
  const std::string pem = TestCa().Collector("db-1").cert_pem;
  EXPECT_THAT(Admit(kListUsers, {.authorization = bearer}).status(), IsOk());
  revocations_.Apply(
      std::vector<token::Revocation>{
          {.number = 1, .subject = "user:7", .issued_before = clock_.Now() + absl::Microseconds(1), .jti = ""},
          {.number = 2, .subject = "", .jti = ReadCollectorCertificate(pem, clock_.Now())->thumbprint}},
      clock_.BoottimeNanos());
  EXPECT_EQ(status::ReasonOf(Admit(kListUsers, {.authorization = bearer}).status()), "TOKEN_REVOKED");
  EXPECT_EQ(status::ReasonOf(Admit(kRenew, {.peer_certificate_pem = pem}).status()), "TOKEN_REVOKED");
  EXPECT_EQ(Admit(kHealth, {.authorization = bearer})->kind, Principal::kAnonymous);
  EXPECT_EQ(revocation_questions_, 0);
}

// Without news for 5 s: asks per call; without an answer people are refused, collectors are not.
TEST_F(AuthenticatorTest, SilenceOfAuthRefusesPeopleAndKeepsCollectors) {
  clock_.Advance(absl::Seconds(6));
  const std::string user = UserBearer("admin");
  const std::string collector = CollectorBearer("a");
  const std::string service = ServiceBearer("registry");
  EXPECT_THAT(Admit(kListUsers, {.authorization = user}).status(), IsOk());
  EXPECT_EQ(revocation_questions_, 1);
  revocation_answer_ = true;
  EXPECT_EQ(status::ReasonOf(Admit(kListUsers, {.authorization = user}).status()), "TOKEN_REVOKED");
  EXPECT_EQ(status::ReasonOf(Admit(kPush, {.authorization = collector}).status()), "TOKEN_REVOKED");
  revocation_answer_ = absl::UnavailableError("down");
  const auto refused = Admit(kListUsers, {.authorization = user}).status();
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(status::ReasonOf(refused), "REVOCATION_UNKNOWN");
  EXPECT_GT(status::RetryAfterOf(refused), absl::ZeroDuration());
  EXPECT_THAT(Admit(kPush, {.authorization = collector}).status(), IsOk());
  const int before = revocation_questions_;
  EXPECT_THAT(Admit(kRevoke, {.authorization = service}).status(), IsOk());
  // Where waiting is forbidden nobody is asked.
  EXPECT_THAT(Admit(kPush, {.authorization = collector}, /*may_wait=*/false).status(), IsOk());
  EXPECT_THAT(Admit(kPush, {.authorization = UserBearer("user")}, /*may_wait=*/false).status(),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(revocation_questions_, before);
  revocations_.Apply({}, clock_.BoottimeNanos());
  EXPECT_THAT(Admit(kListUsers, {.authorization = user}).status(), IsOk());
  EXPECT_EQ(revocation_questions_, before);
}

// How long there was no news is not read off the wall clock.
TEST_F(AuthenticatorTest, WallClockThatIsSetMakesNoNews) {
  for (const absl::Duration step : {-absl::Hours(24), -absl::Hours(1), absl::Hours(1), absl::Hours(24)}) {
    revocations_.Apply({}, clock_.BoottimeNanos());
    const int before = revocation_questions_;
    revocation_answer_ = false;
    clock_.SetNow(clock_.Now() + step);
    EXPECT_THAT(Admit(kListUsers, {.authorization = UserBearer("admin")}).status(), IsOk()) << step;
    EXPECT_EQ(revocation_questions_, before) << step;
    clock_.Advance(absl::Seconds(6));
    clock_.SetNow(clock_.Now() + step);
    revocation_answer_ = true;
    EXPECT_EQ(status::ReasonOf(Admit(kListUsers, {.authorization = UserBearer("admin")}).status()), "TOKEN_REVOKED")
        << step;
    EXPECT_EQ(revocation_questions_, before + 1) << step;
  }
}

TEST_F(AuthenticatorTest, OnlyServicesForwardAddresses) {
  EXPECT_EQ(authenticator_.ServiceOf(ServiceBearer("gateway")), token::FindService("gateway"));
  EXPECT_EQ(authenticator_.ServiceOf(UserBearer("admin")), nullptr);
  EXPECT_EQ(authenticator_.ServiceOf(CollectorBearer("a")), nullptr);
  EXPECT_EQ(authenticator_.ServiceOf("Bearer x"), nullptr);
  EXPECT_EQ(authenticator_.ServiceOf(""), nullptr);
  // Remembered, but not beyond its time.
  const std::string bearer = ServiceBearer("gateway");
  EXPECT_NE(authenticator_.ServiceOf(bearer), nullptr);
  EXPECT_NE(authenticator_.ServiceOf(bearer), nullptr);
  clock_.Advance(absl::Minutes(17));
  EXPECT_EQ(authenticator_.ServiceOf(bearer), nullptr);
  for (int i = 0; i < 200; ++i)
    EXPECT_EQ(authenticator_.ServiceOf(ServiceBearer("gateway")), token::FindService("gateway"));
}

}  // namespace
}  // namespace pga::rpc
