// A browser's session by cookie, over REST through the gateway.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class ConsoleSessions : public ::testing::TestWithParam<bool> {
 protected:
  static Suite& suite() {
    static auto* const suites = new std::map<bool, std::unique_ptr<Suite>>;
    auto& suite = (*suites)[GetParam()];
    if (suite == nullptr) suite = std::make_unique<Suite>(SuiteOptions{.form = Form::kOneProcess, .tls = GetParam()});
    return *suite;
  }
  // What the test's HTTP client asks for.
  static std::string Host() { return "localhost"; }
  static std::string Origin() { return absl::StrCat(GetParam() ? "https://" : "http://", Host()); }
  using Headers = std::vector<std::pair<std::string, std::string>>;
  static HttpAnswer Post(const std::string& path, const std::string& body, Headers headers) {
    headers.emplace_back("Content-Type", "application/json");
    const auto answer = suite().Send({.method = "POST", .path = path, .headers = std::move(headers), .body = body});
    EXPECT_THAT(answer.status(), status::IsOk());
    return answer.value_or(HttpAnswer());
  }
  static HttpAnswer SignIn(Headers headers) {
    return Post("/api/v1/auth/login",
                absl::StrCat(R"({"username":"admin","password":")", Suite::kAdminPassword, R"("})"),
                std::move(headers));
  }
  // "name=value" of Set-Cookie.
  static std::string CookieOf(const HttpAnswer& answer) {
    const auto found = answer.headers.find("set-cookie");
    return found == answer.headers.end() ? "" : found->second.substr(0, found->second.find(';'));
  }
};

TEST_P(ConsoleSessions, KeepTheRefreshTokenFromScripts) {
  const HttpAnswer signed_in = SignIn({{"X-Session", "cookie"}, {"Origin", Origin()}});
  ASSERT_EQ(signed_in.status, 200) << signed_in.body;
  EXPECT_EQ(testing::JsonText(signed_in.body, "/refresh_token"), "");
  EXPECT_NE(testing::JsonText(signed_in.body, "/token"), "");
  const std::string set = signed_in.headers.at("set-cookie");
  EXPECT_THAT(set, AllOf(HasSubstr("pganalytics_session="), HasSubstr("; Path=/api/v1/auth;"), HasSubstr("; HttpOnly"),
                         HasSubstr("; SameSite=Strict"), ::testing::ContainsRegex("; Max-Age=(86399|86400);")));
  EXPECT_EQ(set.find("; Secure") != std::string::npos, GetParam()) << "over TLS alone";
  const HttpAnswer plain = SignIn({});
  EXPECT_NE(testing::JsonText(plain.body, "/refresh_token"), "");
  EXPECT_FALSE(plain.headers.contains("set-cookie"));
}

TEST_P(ConsoleSessions, AreRenewedByCookieFromTheSameOrigin) {
  const std::string first = CookieOf(SignIn({{"X-Session", "cookie"}, {"Origin", Origin()}}));
  const std::string refresh = "/api/v1/auth/refresh";
  for (const Headers& elsewhere :
       {Headers{{"Cookie", first}}, Headers{{"Cookie", first}, {"Origin", "https://evil.example"}},
        Headers{{"Cookie", first}, {"Origin", "null"}}, Headers{{"Cookie", first}, {"Origin", Origin() + "0"}},
        Headers{{"Cookie", first}, {"Origin", absl::StrCat(GetParam() ? "http://" : "https://", Host())}}}) {
    const HttpAnswer refused = Post(refresh, "{}", elsewhere);
    EXPECT_EQ(refused.status, 403) << refused.body;
    EXPECT_EQ(Post("/api/v1/auth/logout", "{}", elsewhere).status, 403);
    EXPECT_EQ(CookieOf(refused), "");
  }
  const HttpAnswer renewed = Post(refresh, "{}", {{"Cookie", "theme=dark; " + first + "; a=b"}, {"Origin", Origin()}});
  ASSERT_EQ(renewed.status, 200) << renewed.body;
  EXPECT_EQ(testing::JsonText(renewed.body, "/refresh_token"), "");
  const std::string second = CookieOf(renewed);
  EXPECT_NE(second, first);
  ASSERT_NE(second, "");
  // A token that was exchanged already ends the session, whoever shows it.
  EXPECT_EQ(Post(refresh, "{}", {{"Cookie", first}, {"Origin", Origin()}}).status, 401);
  EXPECT_EQ(Post(refresh, "{}", {{"Cookie", second}, {"Origin", Origin()}}).status, 401);
}

TEST_P(ConsoleSessions, EndByCookie) {
  const std::string cookie = CookieOf(SignIn({{"X-Session", "cookie"}, {"Origin", Origin()}}));
  const HttpAnswer ended = Post("/api/v1/auth/logout", "{}", {{"Cookie", cookie}, {"Origin", Origin()}});
  ASSERT_EQ(ended.status, 200) << ended.body;
  EXPECT_THAT(ended.headers.at("set-cookie"), AllOf(HasSubstr("pganalytics_session=;"), HasSubstr("; Max-Age=0")));
  EXPECT_EQ(Post("/api/v1/auth/refresh", "{}", {{"Cookie", cookie}, {"Origin", Origin()}}).status, 401);
  EXPECT_EQ(Post("/api/v1/auth/refresh", "{}", {{"Origin", Origin()}}).status, 400) << "nothing was shown";
}

INSTANTIATE_TEST_SUITE_P(All, ConsoleSessions, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "Tls" : "Plain"; });

}  // namespace
}  // namespace pga::integration
