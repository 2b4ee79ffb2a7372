// What people and scripts see of the API through the gateway: routes, bodies, errors, identity, CORS, rate limits.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "libs/testing/subprocess.h"
#include "services/gateway/gateway_testing.h"
#include "services/gateway/gzip.h"

namespace pga::gateway {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// One gateway for tests that leave no trace in it.
GatewayUnderTest& Shared() {
  static auto* const kGateway = new GatewayUnderTest(Unlimited());
  return *kGateway;
}

TEST(HttpApi, HealthIsJsonWithEverySecurityHeader) {
  const HttpReply reply = Fetch(Shared().port(), "GET", "/api/v1/health", "", {"X-Request-Id: abc-1"});
  EXPECT_EQ(reply.code, 200);
  EXPECT_EQ(reply.body, R"({"status":"healthy","version":"3.2.0","timestamp":"2026-02-26T10:03:00.005Z",)"
                        R"("uptime":0,"database_ok":false,"timescale_ok":false})");
  EXPECT_EQ(reply.Header("content-type"), "application/json");
  EXPECT_EQ(reply.Header("x-request-id"), "abc-1");
  EXPECT_EQ(reply.Header("x-frame-options"), "DENY");
  EXPECT_EQ(reply.Header("x-content-type-options"), "nosniff");
  EXPECT_EQ(reply.Header("x-xss-protection"), "1; mode=block");
  EXPECT_EQ(reply.Header("referrer-policy"), "strict-origin-when-cross-origin");
  EXPECT_THAT(reply.Header("content-security-policy"), HasSubstr("frame-ancestors 'none'"));
  EXPECT_THAT(reply.Header("permissions-policy"), HasSubstr("geolocation=()"));
  EXPECT_EQ(reply.Header("strict-transport-security"), "");
  EXPECT_EQ(reply.Header("server"), "");
}

TEST(HttpApi, ProductionAddsStrictTransportSecurity) {
  GatewayUnderTest::Options options;
  options.config.environment = "production";
  GatewayUnderTest gateway(options);
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").Header("strict-transport-security"),
            "max-age=31536000; includeSubDomains; preload");
  // Refusals carry the headers too, even of requests that cannot be read.
  RawClient client(gateway.port());
  client.Send("BAD\r\n\r\n");
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.code, 400);
  EXPECT_NE(reply.Header("strict-transport-security"), "");
  EXPECT_EQ(reply.Header("x-frame-options"), "DENY");
}

TEST(HttpApi, AHandlerMayChooseTheStatusAndKeepItsBody) {
  const HttpReply reply = Fetch(Shared().port(), "GET", "/api/v1/health", "", {"X-Request-Id: degraded"});
  EXPECT_EQ(reply.code, 503);
  EXPECT_THAT(reply.body, HasSubstr(R"("status":"degraded")"));
  EXPECT_EQ(reply.Header("x-http-code"), "");
}

TEST(HttpApi, NumbersStayExactTo2To53) {
  EXPECT_EQ(Fetch(Shared().port(), "GET", "/api/v1/metrics/count").body, R"({"count":9007199254740991})");
}

struct RouteCase {
  std::string name;
  std::string method;
  std::string target;
  std::string body;
  std::vector<std::string> headers;
  int code;
  std::string want;
};

class Routes : public ::testing::TestWithParam<RouteCase> {};

TEST_P(Routes, AnswerAsTheContractSays) {
  std::vector<std::string> headers = GetParam().headers;
  for (auto& header : headers) {
    if (header.rfind("as ", 0) == 0) header = Bearer(Shared().UserToken(header.substr(3)));
    if (header == "collector") header = Bearer(Shared().CollectorToken("c1"));
  }
  const HttpReply reply = Fetch(Shared().port(), GetParam().method, GetParam().target, GetParam().body, headers);
  EXPECT_EQ(reply.code, GetParam().code) << reply.body;
  EXPECT_TRUE(reply.complete);
  EXPECT_THAT(reply.body, HasSubstr(GetParam().want));
  EXPECT_NE(reply.Header("x-request-id"), "");
  if (reply.code >= 400) {
    EXPECT_THAT(reply.body, AllOf(StartsWith("{\"error\":\""), HasSubstr("\"message\":\""),
                                  HasSubstr("\"code\":" + std::to_string(reply.code)), HasSubstr("\"request_id\":\"")));
    EXPECT_EQ(reply.Header("content-type"), "application/json");
  }
}

const char kPush[] = "/api/v1/metrics/push";

INSTANTIATE_TEST_SUITE_P(
    Contract, Routes,
    ::testing::Values(
        RouteCase{"PushWithoutTokenBeforeBody", "POST", kPush, "{}", {}, 401, "TOKEN_MISSING"},
        RouteCase{"PushWithoutTokenGarbageBody", "POST", kPush, "{{{", {}, 401, "TOKEN_MISSING"},
        RouteCase{"PushAsUser",
                  "POST",
                  kPush,
                  R"({"collector_id":"col_001","metrics":[]})",
                  {"as user"},
                  200,
                  R"("status":"success")"},
        RouteCase{"PushAsViewer", "POST", kPush, "{}", {"as viewer"}, 403, "users of role user or higher, collectors"},
        RouteCase{"PushAsCollector", "POST", kPush, "0123456789", {"collector"}, 200, R"("bytes_received":10)"},
        RouteCase{"MetricsAsViewer", "GET", "/api/v1/metrics", "", {"as viewer"}, 200, R"({"count":42,)"},
        RouteCase{"MetricsAsCollector", "GET", "/api/v1/metrics", "", {"collector"}, 403, "NOT_ALLOWED"},
        RouteCase{"BadToken", "GET", "/api/v1/metrics", "", {"Authorization: Bearer nonsense"}, 401, "TOKEN_MALFORMED"},
        RouteCase{"BadScheme", "GET", "/api/v1/metrics", "", {"Authorization: Basic eDp5"}, 401, "TOKEN_MALFORMED"},
        RouteCase{"LowerCaseScheme", "GET", "/api/v1/metrics", "", {"Authorization: bearer x"}, 401, "TOKEN_MALFORMED"},
        RouteCase{"LoginGood",
                  "POST",
                  "/api/v1/auth/login",
                  R"({"username":"ann","password":"secret"})",
                  {},
                  200,
                  R"({"token":"abc")"},
        RouteCase{"LoginWithStaleToken",
                  "POST",
                  "/api/v1/auth/login",
                  R"({"username":"ann","password":"secret"})",
                  {"Authorization: Bearer nonsense"},
                  200,
                  R"({"token":"abc")"},
        RouteCase{"LoginBad",
                  "POST",
                  "/api/v1/auth/login",
                  R"({"username":"ann","password":"x"})",
                  {},
                  401,
                  "Wrong username or password."},
        RouteCase{"LoginLocked", "POST", "/api/v1/auth/login", R"({"username":"locked"})", {}, 429, "ACCOUNT_LOCKED"},
        RouteCase{"LoginBrokenJson", "POST", "/api/v1/auth/login", "{", {}, 400, "The body is not valid JSON"},
        RouteCase{
            "LoginPasswordInUrl", "POST", "/api/v1/auth/login?password=x", "", {}, 400, "must be sent in the body"},
        RouteCase{"CreateUser", "POST", "/api/v1/users", R"({"username":"bob"})", {"as admin"}, 201, R"({"id":8,)"},
        RouteCase{"CreateUserAsUser", "POST", "/api/v1/users", R"({"username":"bob"})", {"as user"}, 403, "role admin"},
        RouteCase{"UpdateUser",
                  "PUT",
                  "/api/v1/users/5",
                  R"({"is_active":true,"full_name":"ignored"})",
                  {"as admin"},
                  200,
                  R"("role":"unchanged","is_active":true)"},
        RouteCase{
            "UpdateUserOtherId", "PUT", "/api/v1/users/5", R"({"id":6})", {"as admin"}, 400, "differs from the path"},
        RouteCase{"UpdateUserBadId",
                  "PUT",
                  "/api/v1/users/x",
                  "{}",
                  {"as admin"},
                  400,
                  R"(id: \"x\" is not valid; it must be a whole number)"},
        RouteCase{"DeleteUserUnknown", "DELETE", "/api/v1/users/404", "", {"as admin"}, 404, "No such user."},
        RouteCase{"GetConfig", "GET", "/api/v1/config/c1", "", {"as viewer"}, 200, "# of c1\n"},
        RouteCase{"PutConfig",
                  "PUT",
                  "/api/v1/config/c1",
                  "a = 1",
                  {"as admin", "Content-Type: text/plain"},
                  200,
                  "text/plain|a = 1"},
        RouteCase{"RegisterWithoutSecret",
                  "POST",
                  "/api/v1/collectors/register",
                  "{",
                  {},
                  401,
                  "REGISTRATION_SECRET_MISSING"},
        RouteCase{"RegisterWithSecret",
                  "POST",
                  "/api/v1/collectors/register",
                  R"({"name":"n1"})",
                  {"X-Registration-Secret: s"},
                  200,
                  R"("collector_id":"n1")"},
        RouteCase{
            "UnknownPath", "GET", "/api/v1/nothing", "", {}, 404, "Could not resolve /api/v1/nothing to a method."},
        RouteCase{"WrongMethod", "PATCH", "/api/v1/health", "", {}, 405, "use GET, HEAD, OPTIONS"},
        RouteCase{"UnknownParameter",
                  "GET",
                  "/api/v1/health?x=1",
                  "",
                  {},
                  400,
                  R"(Could not find field \"x\" in the type \"pganalytics.query.v1.GetHealthRequest\".)"},
        RouteCase{"Parameters",
                  "GET",
                  "/api/v1/queries/top?hours=3&source=a&source=b&start=2026-02-26T10:03:00%2B02:00",
                  "",
                  {"as viewer"},
                  200,
                  R"("count":3002,"start":"2026-02-26T08:03:00Z","completeness":0)"},
        RouteCase{"ServiceOnlyMethodByName",
                  "POST",
                  "/pganalytics.query.v1.QueryService/CollectorActivity",
                  "{}",
                  {"as admin"},
                  404,
                  "Could not resolve"},
        RouteCase{"BodyOnGet", "GET", "/api/v1/health", "[]", {}, 400, "takes no body"},
        RouteCase{"EmptyObjectOnGet", "GET", "/api/v1/health", "{}", {}, 200, "healthy"}),
    [](const auto& test) { return test.param.name; });

TEST(HttpApi, UnimplementedAndMissingHandlersSaySo) {
  const HttpReply reply =
      Fetch(Shared().port(), "GET", "/api/v1/registration-secrets", "", {Bearer(Shared().UserToken("admin"))});
  EXPECT_EQ(reply.code, 501);
}

TEST(HttpApi, NoContentHasNoBody) {
  RawClient client(Shared().port());
  const std::string request = MakeRequest("DELETE", "/api/v1/users/5", "", {Bearer(Shared().UserToken("admin"))});
  client.Send(request);
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.code, 204);
  EXPECT_EQ(reply.Header("content-length"), "");
  EXPECT_EQ(reply.Header("content-type"), "");
  // The connection goes on right behind the head.
  client.Send(MakeRequest("GET", "/api/v1/health"));
  EXPECT_EQ(client.Read().code, 200);
}

TEST(HttpApi, ErrorsCarryTheirHeaders) {
  HttpReply reply = Fetch(Shared().port(), "GET", "/api/v1/metrics");
  EXPECT_EQ(reply.Header("www-authenticate"), "Bearer realm=\"pganalytics\"");
  reply = Fetch(Shared().port(), "GET", "/api/v1/metrics", "", {"Authorization: Bearer x"});
  EXPECT_EQ(reply.Header("www-authenticate"), "Bearer realm=\"pganalytics\", error=\"invalid_token\"");
  reply = Fetch(Shared().port(), "POST", "/api/v1/auth/login", R"({"username":"locked"})");
  EXPECT_EQ(reply.Header("retry-after"), "41");
  EXPECT_THAT(reply.body, HasSubstr("Too many failed sign-ins."));
  reply = Fetch(Shared().port(), "POST", "/api/v1/health", "{}");
  EXPECT_EQ(reply.Header("allow"), "GET, HEAD, OPTIONS");
}

TEST(HttpApi, FreeBodiesAndPassedMetadataBecomeHttp) {
  const HttpReply reply =
      Fetch(Shared().port(), "GET", "/api/v1/config/c1", "", {Bearer(Shared().UserToken("viewer"))});
  EXPECT_EQ(reply.Header("content-type"), "text/plain");
  EXPECT_EQ(reply.Header("x-config-version"), "17");
  EXPECT_EQ(reply.Header("x-internal"), "");
}

TEST(HttpApi, HeadIsGetWithoutBody) {
  RawClient client(Shared().port());
  client.Send(MakeRequest("HEAD", "/api/v1/health"));
  const HttpReply reply = client.Read(true);
  EXPECT_EQ(reply.code, 200);
  EXPECT_GT(std::stoi(reply.Header("content-length")), 50);
  client.Send(MakeRequest("GET", "/api/v1/health"));
  EXPECT_EQ(client.Read().code, 200);
}

TEST(HttpApi, NumbersOfEnumsAreThoseOfTheirNames) {
  GatewayUnderTest gateway(Unlimited());
  const std::string bearer = Bearer(gateway.UserToken("viewer"));
  const std::string path = "/api/v1/series?metric=statements&column=calls&aggregate=";
  // The stand-in has no series: what matters is that the question is understood.
  EXPECT_EQ(Fetch(gateway.port(), "GET", path + "1", "", {bearer}).code, 501);
  for (const char* odd : {"-1", "99", "nonsense"}) {
    EXPECT_EQ(Fetch(gateway.port(), "GET", path + odd, "", {bearer}).code, 400) << odd;
  }
}

// Of a browser's cookies the session's alone goes on, with what distinguishes the own pages from others'.
// ---- CORS ----

TEST(Cors, PreflightFromAListedOrigin) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.cors_allowed_origins = {"https://ui.example.org", "https://other.example.org"};
  GatewayUnderTest gateway(options);
  const HttpReply reply = Fetch(gateway.port(), "OPTIONS", "/api/v1/users", "",
                                {"Origin: https://ui.example.org", "Access-Control-Request-Method: POST",
                                 "Access-Control-Request-Headers: authorization"});
  EXPECT_EQ(reply.code, 204);
  EXPECT_EQ(reply.Header("access-control-allow-origin"), "https://ui.example.org");
  EXPECT_EQ(reply.Header("access-control-allow-credentials"), "true");
  EXPECT_EQ(reply.Header("access-control-max-age"), "3600");
  EXPECT_EQ(reply.Header("access-control-allow-methods"), "GET, POST, PUT, DELETE, PATCH, OPTIONS");
  EXPECT_THAT(reply.Header("access-control-allow-headers"),
              AllOf(HasSubstr("Content-Type"), HasSubstr("Authorization"), HasSubstr("X-Registration-Secret")));
  EXPECT_EQ(reply.Header("vary"), "Origin");
  EXPECT_EQ(reply.Header("x-frame-options"), "DENY");
}

TEST(Cors, OnlyExactOriginsAreAllowed) {
  GatewayUnderTest::Options options = Unlimited();
  options.config.cors_allowed_origins = {"https://ui.example.org"};
  GatewayUnderTest gateway(options);
  for (const char* origin : {"https://ui.example.org.evil.net", "http://ui.example.org", "https://ui.example.org:8443",
                             "null", "https://UI.example.org", "https://ui.example.or"}) {
    const std::string header = std::string("Origin: ") + origin;
    HttpReply reply = Fetch(gateway.port(), "GET", "/api/v1/health", "", {header});
    EXPECT_EQ(reply.code, 200);
    EXPECT_EQ(reply.Header("access-control-allow-origin"), "") << origin;
    reply = Fetch(gateway.port(), "OPTIONS", "/api/v1/health", "", {header, "Access-Control-Request-Method: GET"});
    EXPECT_EQ(reply.code, 403);
    EXPECT_EQ(reply.Header("access-control-allow-origin"), "") << origin;
  }
  const HttpReply reply = Fetch(gateway.port(), "GET", "/api/v1/metrics", "", {"Origin: https://ui.example.org"});
  EXPECT_EQ(reply.code, 401);
  // A browser must be able to read refusals as well.
  EXPECT_EQ(reply.Header("access-control-allow-origin"), "https://ui.example.org");
  EXPECT_THAT(reply.Header("access-control-expose-headers"), HasSubstr("X-Request-Id"));
}

TEST(Cors, WithoutOriginsNothingIsAllowed) {
  const HttpReply reply = Fetch(Shared().port(), "GET", "/api/v1/health", "", {"Origin: https://ui.example.org"});
  EXPECT_EQ(reply.Header("access-control-allow-origin"), "");
  EXPECT_EQ(Fetch(Shared().port(), "OPTIONS", "/api/v1/health").code, 204);
  EXPECT_EQ(Fetch(Shared().port(), "OPTIONS", "/api/v1/nothing").code, 404);
}

// ---- Rate limits ----

TEST(RateLimit, AHundredHealthChecksThen429AndLater200) {
  GatewayUnderTest gateway;
  RawClient client(gateway.port());
  int good = 0;
  int refused = 0;
  HttpReply last;
  for (int i = 0; i < 150; ++i) {
    client.Send(MakeRequest("GET", "/api/v1/health"));
    last = client.Read();
    good += last.code == 200 ? 1 : 0;
    refused += last.code == 429 ? 1 : 0;
    if (i == 0) {
      EXPECT_EQ(last.Header("x-ratelimit-limit"), "100");
      EXPECT_EQ(last.Header("x-ratelimit-remaining"), "99");
      EXPECT_EQ(last.Header("x-ratelimit-reset"), "3");
    }
  }
  EXPECT_EQ(good, 100);
  EXPECT_EQ(refused, 50);
  EXPECT_EQ(last.Header("x-ratelimit-remaining"), "0");
  EXPECT_EQ(last.Header("retry-after"), "3");
  EXPECT_THAT(last.body, AllOf(HasSubstr("\"code\":429"), HasSubstr("try again in 3 s")));
  EXPECT_THAT(gateway.metrics.Render(), HasSubstr("pganalytics_http_429_total 50"));
  gateway.clock.Advance(absl::Seconds(3));
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 200);
}

TEST(Console, PagesNeedNoTokenAndTheApiIsNeverOne) {
  const int port = Shared().port();
  const HttpReply index = Fetch(port, "GET", "/");
  EXPECT_EQ(index.code, 200);
  EXPECT_EQ(index.Header("content-type"), "text/html; charset=utf-8");
  EXPECT_EQ(index.Header("cache-control"), "no-cache");
  EXPECT_THAT(index.Header("content-security-policy"),
              AllOf(HasSubstr("default-src 'self'"), Not(HasSubstr("unsafe"))));
  EXPECT_EQ(index.Header("x-frame-options"), "DENY");
  EXPECT_EQ(Fetch(port, "GET", "/s/orders/statements?from=-1h").body, index.body);
  EXPECT_EQ(Fetch(port, "GET", "/", "", {"If-None-Match: " + index.Header("etag")}).code, 304);
  const HttpReply packed = Fetch(port, "GET", "/", "", {"Accept-Encoding: gzip"});
  EXPECT_EQ(packed.Header("content-encoding"), "gzip");
  EXPECT_EQ(*Unpack(packed.body, 1 << 20), index.body);
  RawClient client(port);
  client.Send(MakeRequest("HEAD", "/"));
  const HttpReply head = client.Read(true);
  EXPECT_EQ(head.code, 200);
  EXPECT_EQ(head.Header("content-length"), std::to_string(index.body.size()));
  for (const char* path : {"/api", "/api/", "/api/v1/nothing", "/nothing", "/assets/none.js"}) {
    const HttpReply none = Fetch(port, "GET", path);
    EXPECT_EQ(none.code, 404) << path;
    EXPECT_THAT(none.body, HasSubstr("UNKNOWN_PATH")) << path;
    EXPECT_EQ(none.Header("cache-control"), "no-store") << path;
  }
  EXPECT_EQ(Fetch(port, "POST", "/", "{}").code, 404);
  // What a page sends with its requests is no business of its files.
  EXPECT_EQ(Fetch(port, "GET", "/", "", {"Authorization: Bearer nonsense"}).code, 200);
}

TEST(Console, FilesAreCountedApartFromTheApi) {
  GatewayUnderTest::Options options;
  options.config.rate_limit_per_minute = 5;
  options.config.rate_limit_console_per_minute = 20;
  GatewayUnderTest gateway(options);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Fetch(gateway.port(), "GET", "/").code, 200) << i;
  const HttpReply refused = Fetch(gateway.port(), "GET", "/");
  EXPECT_EQ(refused.code, 429);
  EXPECT_NE(refused.Header("retry-after"), "");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 200) << i;
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/api/v1/health").code, 429);
  gateway.clock.Advance(absl::Minutes(1));
  EXPECT_EQ(Fetch(gateway.port(), "GET", "/").code, 200);
}

TEST(RateLimit, KnownCallersHaveTheirOwnAllowance) {
  GatewayUnderTest gateway;
  const auto spend = [&](const std::string& token, int requests) {
    RawClient client(gateway.port());
    int good = 0;
    for (int i = 0; i < requests; ++i) {
      client.Send(MakeRequest("GET", "/api/v1/health", "",
                              token.empty() ? std::vector<std::string>{} : std::vector<std::string>{Bearer(token)}));
      good += client.Read().code == 200 ? 1 : 0;
    }
    return good;
  };
  EXPECT_EQ(spend("", 110), 100);
  EXPECT_EQ(spend(gateway.UserToken("viewer", 1), 3010), 3000);
  EXPECT_EQ(spend(gateway.UserToken("viewer", 2), 110), 110);
  EXPECT_EQ(spend(gateway.CollectorToken("c1"), 1010), 1000);
  EXPECT_EQ(spend(gateway.ServiceToken(), 1200), 1200);
  // A token that does not verify buys nothing.
  EXPECT_EQ(spend("nonsense", 5), 0);
}

TEST(RateLimit, GuessingTokensUsesUpTheAddress) {
  GatewayUnderTest gateway;
  RawClient client(gateway.port());
  int unauthenticated = 0;
  for (int i = 0; i < 120; ++i) {
    client.Send(MakeRequest("GET", "/api/v1/metrics", "", {"Authorization: Bearer guess" + std::to_string(i)}));
    unauthenticated += client.Read().code == 401 ? 1 : 0;
  }
  EXPECT_EQ(unauthenticated, 100);
}

TEST(RateLimit, ClientsBehindATrustedProxyAreToldApart) {
  GatewayUnderTest::Options options;
  options.config.trusted_proxies = {"127.0.0.1"};
  GatewayUnderTest gateway(options);
  RawClient client(gateway.port());
  for (const char* address : {"203.0.113.1", "203.0.113.2"}) {
    int good = 0;
    for (int i = 0; i < 110; ++i) {
      client.Send(MakeRequest("GET", "/api/v1/health", "", {std::string("X-Forwarded-For: 9.9.9.9, ") + address}));
      good += client.Read().code == 200 ? 1 : 0;
    }
    EXPECT_EQ(good, 100) << address;
  }
}

// ---- Streams ----

TEST(Streams, BecomeAJsonArray) {
  GatewayUnderTest gateway(Unlimited());
  RawClient client(gateway.port());
  const std::string request = MakeRequest("GET", "/api/v1/users", "", {Bearer(gateway.UserToken("admin"))});
  client.Send(request);
  HttpReply reply = client.Read();
  EXPECT_EQ(reply.code, 200);
  EXPECT_TRUE(reply.complete);
  EXPECT_EQ(reply.Header("transfer-encoding"), "chunked");
  EXPECT_THAT(reply.body, AllOf(StartsWith("[{\"id\":1,"), HasSubstr("},{\"id\":2,"), ::testing::EndsWith("}]")));

  gateway.stand_ins.observed.stream_length = 0;
  client.Send(request);
  reply = client.Read();
  EXPECT_EQ(reply.body, "[]");
  EXPECT_EQ(reply.Header("content-type"), "application/json");

  gateway.stand_ins.observed.stream_code = 5;
  client.Send(request);
  reply = client.Read();
  EXPECT_EQ(reply.code, 404);
  EXPECT_THAT(reply.body, HasSubstr("Stream failed."));
}

TEST(Streams, FailingInTheMiddleAreCut) {
  GatewayUnderTest gateway(Unlimited());
  gateway.stand_ins.observed.stream_code = 13;
  RawClient client(gateway.port());
  client.Send(MakeRequest("GET", "/api/v1/users", "", {Bearer(gateway.UserToken("admin"))}));
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.code, 200);
  EXPECT_FALSE(reply.complete);
  EXPECT_THAT(reply.body, Not(::testing::EndsWith("]")));
  EXPECT_TRUE(client.Closed());
}

TEST(Streams, OverHttp10EndWithTheConnection) {
  GatewayUnderTest gateway(Unlimited());
  RawClient client(gateway.port());
  client.Send("GET /api/v1/users HTTP/1.0\r\n" + Bearer(gateway.UserToken("admin")) + "\r\n\r\n");
  const HttpReply reply = client.Read();
  EXPECT_EQ(reply.Header("transfer-encoding"), "");
  EXPECT_THAT(reply.body, AllOf(StartsWith("[{"), ::testing::EndsWith("}]")));
}

TEST(Streams, HeadOfAStreamHasNoBody) {
  GatewayUnderTest gateway(Unlimited());
  RawClient client(gateway.port());
  client.Send(MakeRequest("HEAD", "/api/v1/users", "", {Bearer(gateway.UserToken("admin"))}));
  EXPECT_EQ(client.Read(true).code, 200);
  client.Send(MakeRequest("GET", "/api/v1/health"));
  EXPECT_EQ(client.Read().code, 200);
}

// ---- Compression ----

TEST(Compression, RequestsAreUnpackedWhenTheBytesSaySo) {
  const std::string admin = Bearer(Shared().UserToken("admin"));
  const std::string packed = GzipWriter().Write("a = 1", true);
  const std::vector<std::string> gzip = {admin, "Content-Type: text/plain", "Content-Encoding: gzip"};
  EXPECT_THAT(Fetch(Shared().port(), "PUT", "/api/v1/config/c1", packed, gzip).body, HasSubstr("text/plain|a = 1\""));
  EXPECT_THAT(Fetch(Shared().port(), "PUT", "/api/v1/config/c1", packed,
                    {admin, "Content-Type: text/plain", "Content-Encoding: GZip"})
                  .body,
              HasSubstr("text/plain|a = 1\""));
  // Announced, but plain.
  EXPECT_THAT(Fetch(Shared().port(), "PUT", "/api/v1/config/c1", "a = 1", gzip).body, HasSubstr("text/plain|a = 1\""));
  EXPECT_EQ(Fetch(Shared().port(), "PUT", "/api/v1/config/c1", packed.substr(0, packed.size() - 2), gzip).code, 400);
  EXPECT_EQ(Fetch(Shared().port(), "PUT", "/api/v1/config/c1", "x", {admin, "Content-Encoding: br"}).code, 415);
  // A free body may be packed in a way that only its reader knows; JSON may not.
  EXPECT_THAT(Fetch(Shared().port(), "PUT", "/api/v1/config/c1", "\x05packed",
                    {admin, "Content-Type: text/plain", "Content-Encoding: snappy"})
                  .body,
              HasSubstr("packed"));
  EXPECT_EQ(Fetch(Shared().port(), "POST", "/api/v1/auth/login", "{}", {"Content-Encoding: snappy"}).code, 415);
  const std::string bomb = GzipWriter().Write(std::string(64 << 20, 'a'), true);
  EXPECT_EQ(Fetch(Shared().port(), "PUT", "/api/v1/config/c1", bomb, gzip).code, 413);
}

TEST(Compression, AnswersAreCompressedOnRequest) {
  const std::string viewer = Bearer(Shared().UserToken("viewer"));
  const HttpReply plain = Fetch(Shared().port(), "GET", "/api/v1/metrics", "", {viewer});
  const HttpReply packed = Fetch(Shared().port(), "GET", "/api/v1/metrics", "", {viewer, "Accept-Encoding: gzip"});
  EXPECT_EQ(plain.Header("content-encoding"), "");
  EXPECT_EQ(packed.Header("content-encoding"), "gzip");
  EXPECT_EQ(plain.Header("vary"), "Accept-Encoding");
  EXPECT_LT(packed.body.size(), plain.body.size());
  const auto unpacked = Unpack(packed.body, 1 << 20);
  ASSERT_TRUE(unpacked.ok()) << unpacked.status();
  EXPECT_EQ(unpacked->size(), plain.body.size());
  const HttpReply stream = Fetch(Shared().port(), "GET", "/api/v1/users", "",
                                 {Bearer(Shared().UserToken("admin")), "Accept-Encoding: gzip"});
  EXPECT_EQ(stream.Header("content-encoding"), "gzip");
  const auto array = Unpack(stream.body, 1 << 20);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(*array, ::testing::EndsWith("}]"));
}

}  // namespace
}  // namespace pga::gateway
