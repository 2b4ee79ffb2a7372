// Who a caller is, through the gateway: tokens, cookies, addresses, request ids, and what services get to know.

#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/testing/subprocess.h"
#include "libs/token/keys.h"
#include "libs/token/signer.h"
#include "services/gateway/gateway_testing.h"

namespace pga::gateway {
namespace {

using ::testing::HasSubstr;

TEST(HttpIdentity, TokensEndByTimeAndByRevocation) {
  GatewayUnderTest gateway(Unlimited());
  const std::string target = "/api/v1/metrics";
  const std::string old = Bearer(gateway.UserToken("viewer", 7, absl::Hours(2)));
  EXPECT_THAT(Fetch(gateway.port(), "GET", target, "", {old}).body, HasSubstr("TOKEN_EXPIRED"));
  const std::string good = Bearer(gateway.UserToken("viewer"));
  EXPECT_EQ(Fetch(gateway.port(), "GET", target, "", {good}).code, 200);
  token::Revocation revocation;
  revocation.number = 1;
  revocation.subject = "user:7";
  revocation.issued_before = gateway.clock.Now() + absl::Seconds(1);
  gateway.revocations.Apply({&revocation, 1}, gateway.clock.BoottimeNanos());
  const HttpReply reply = Fetch(gateway.port(), "GET", target, "", {good});
  EXPECT_EQ(reply.code, 401);
  EXPECT_THAT(reply.body, HasSubstr("TOKEN_REVOKED"));
  // Counted when the answer is out.
  EXPECT_TRUE(testing::WaitUntil([&] {
    const std::string text = gateway.metrics.Render();
    return text.find("pganalytics_auth_failures_total{reason=\"invalid_token\"} 2") != std::string::npos &&
           text.find("duration_seconds_count{method=\"QueryService.GetMetrics\"} 3") != std::string::npos;
  }));
}

TEST(HttpIdentity, ATokenIsNotRefusedBeforeTheKeysOfAuthAreRead) {
  GatewayUnderTest gateway(Unlimited());
  gateway.verifier.OnUnknownKey([] {});
  const auto signer = *token::Signer::FromPrivateKeyPem(*token::GenerateKeyPem());
  token::Claims claims;
  claims.principal.kind = token::Principal::kUser;
  claims.principal.user_id = 7;
  claims.principal.role = "admin";
  claims.principal.issued_at = gateway.clock.Now();
  claims.principal.expires_at = gateway.clock.Now() + absl::Minutes(15);
  const std::string token = Bearer(*signer->Sign(claims));
  struct Case {
    const char* target;
    bool needs_token;
  };
  for (const Case& c : {Case{"/api/v1/metrics", true}, {"/mcp", true}, {"/api/v1/health", false}}) {
    const std::string method = c.target == std::string_view("/mcp") ? "POST" : "GET";
    const HttpReply reply = Fetch(gateway.port(), method, c.target, "", {token});
    if (!c.needs_token) {
      EXPECT_EQ(reply.code, 200) << c.target;
      continue;
    }
    EXPECT_EQ(reply.code, 503) << c.target << reply.body;
    EXPECT_THAT(reply.body, HasSubstr("TOKEN_KEYS_NOT_READ"));
    EXPECT_EQ(reply.Header("retry-after"), "1") << c.target;
    EXPECT_EQ(reply.Header("www-authenticate"), "") << c.target;
  }
  EXPECT_THAT(gateway.metrics.Render(), HasSubstr("pganalytics_auth_failures_total{reason=\"invalid_token\"} 0"));
  ASSERT_TRUE(gateway.verifier.SetJwks(token::JwksFromKeys(std::vector{*signer->public_key()})).ok());
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/metrics", "", {token}).code, 200);
}

TEST(HttpIdentity, ServicesGetIdentityAddressAndRequestIdAndNothingElse) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.trusted_proxies = {"127.0.0.0/8"};
  GatewayUnderTest gateway(options);
  const std::string token = gateway.UserToken("viewer");
  ASSERT_EQ(Fetch(gateway.port(), "GET", "/api/v1/metrics", "",
                  {Bearer(token), "X-Forwarded-For: 198.51.100.1, 203.0.113.9", "X-Request-Id: r-7", "grpc-timeout: 1n",
                   "te: trailers", "X-Collector-Id: c9", "X-Service-Authorization: Bearer forged",
                   "X-Service-Secret: x", "Cookie: a=b", "X-Registration-Secret: rs", "Connection: keep-alive, X-Hop",
                   "X-Hop: 1", "grpc-status-details-bin: AAAA"})
                .code,
            200);
  Observed& seen = gateway.stand_ins.observed;
  EXPECT_EQ(seen.Metadata("authorization"), "Bearer " + token);
  EXPECT_EQ(seen.Metadata("x-request-id"), "r-7");
  EXPECT_EQ(seen.Metadata("x-forwarded-for"), "203.0.113.9");
  EXPECT_EQ(seen.Metadata("x-service-authorization"), "Bearer gateway-token");
  EXPECT_EQ(seen.Metadata("x-registration-secret"), "rs");
  for (const char* key : {"x-collector-id", "x-service-secret", "cookie", "x-hop", "grpc-timeout", "te", "connection",
                          "grpc-status-details-bin", "host", "content-length"}) {
    EXPECT_EQ(seen.Metadata(key), "") << key;
  }
}

// What is shown and cannot be passed on must not count as nothing: a logout would say success and end no session.
TEST(HttpIdentity, CredentialsThatCannotBePassedOnAreRefused) {
  GatewayUnderTest gateway(Unlimited());
  for (const std::string& odd :
       {std::string("Authorization: Bearer\tx.y.z"), "Authorization: Bearer " + std::string(9000, 'x'),
        std::string("Authorization: Bearer \xc3\xa9"), std::string("X-Registration-Secret: a\tb")}) {
    const HttpReply reply = Fetch(gateway.port(), "POST", "/api/v1/auth/logout", "{}", {odd});
    EXPECT_EQ(reply.code, 400) << odd.substr(0, 40);
    EXPECT_THAT(reply.body, HasSubstr("HEADER_MALFORMED"));
  }
}

TEST(HttpIdentity, SessionCookieGoesOnAlone) {
  GatewayUnderTest gateway(Unlimited());
  Fetch(gateway.port(), "GET", "/api/v1/health", "",
        {"Cookie: theme=dark; pganalytics_session=a.b.c; id=1", "Origin: https://ui.example.org", "X-Session: cookie",
         "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example"});
  Observed& seen = gateway.stand_ins.observed;
  EXPECT_EQ(seen.Metadata("cookie"), "pganalytics_session=a.b.c");
  EXPECT_EQ(seen.Metadata("origin"), "https://ui.example.org");
  EXPECT_EQ(seen.Metadata("x-session"), "cookie");
  EXPECT_EQ(seen.Metadata("x-forwarded-proto"), "http") << "a stranger is not believed";
  EXPECT_NE(seen.Metadata("x-forwarded-host"), "evil.example");
}

TEST(HttpIdentity, ForwardedAddressesOfStrangersAreNotBelieved) {
  GatewayUnderTest gateway(Unlimited());
  Fetch(gateway.port(), "GET", "/api/v1/health", "", {"X-Forwarded-For: 203.0.113.9"});
  EXPECT_EQ(gateway.stand_ins.observed.Metadata("x-forwarded-for"), "127.0.0.1");
}

TEST(HttpIdentity, OddRequestIdsAreReplaced) {
  GatewayUnderTest gateway(Unlimited());
  for (const char* odd : {"a b", "<script>", "\xc3\xa9"}) {
    const std::string id = Fetch(gateway.port(), "GET", "/api/v1/health", "", {std::string("X-Request-Id: ") + odd})
                               .Header("x-request-id");
    EXPECT_EQ(id.size(), 32u);
  }
}

}  // namespace
}  // namespace pga::gateway
