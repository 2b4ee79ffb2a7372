// Tokens of programs over REST, through the gateway, on services that run apart: what one may do, and that it ends
// everywhere at once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using status::IsOk;
using ::testing::HasSubstr;
using ::testing::Not;

class ApiTokens : public ::testing::Test {
 protected:
  static Suite& suite() {
    static auto* const suite = new Suite({.form = Form::kApart});
    return *suite;
  }
  struct Made {
    std::string id;
    std::string token;
  };
  static Made Make(const std::string& name, const std::string& fields, const std::string& by) {
    const auto answer = suite().Post("/api/v1/tokens", absl::StrCat(R"({"name":")", name, "\"", fields, "}"), by);
    EXPECT_EQ(StatusOf(answer), 201) << (answer.ok() ? answer->body : answer.status().ToString());
    return answer.ok()
               ? Made{testing::JsonText(answer->body, "/api_token/id"), testing::JsonText(answer->body, "/token")}
               : Made{};
  }
  static int StatusOf(const absl::StatusOr<HttpAnswer>& answer) { return answer.ok() ? answer->status : -1; }
  static int Get(const std::string& path, const std::string& token) { return StatusOf(suite().Get(path, token)); }
  static int Post(const std::string& path, const std::string& body, const std::string& token) {
    return StatusOf(suite().Post(path, body, token));
  }
  static int Revoke(const std::string& id, const std::string& by) {
    return StatusOf(suite().Post("/api/v1/tokens/" + id, "", by, "DELETE"));
  }
  static bool EndsEverywhere(const std::string& token) {
    // Registry, query and compactor learn of it by themselves; the gateway would refuse it before.
    return testing::WaitUntil([&] {
      return Get("/api/v1/collectors", token) == 401 && Get("/api/v1/sources", token) == 401 &&
             Get("/api/v1/storage", token) == 401;
    });
  }
  static int64_t Count(const std::string& from) {
    auto pool = pg::Pool::Create({.url = suite().databases().metadata_url});
    const auto result =
        (*pool)->Exec("SELECT count(*) FROM pganalytics." + from, {}, clock::SteadyNow() + absl::Seconds(10));
    EXPECT_THAT(result, IsOk());
    return result.ok() ? (*result)[0].Int64(0) : -1;
  }
};

TEST_F(ApiTokens, DoWhatTheirRoleAllowsUntilTheyAreRevoked) {
  const std::string admin = suite().AdminToken();
  const Made grafana = Make("grafana", R"(,"role":"viewer")", admin);
  ASSERT_FALSE(grafana.token.empty());
  for (const char* path : {"/api/v1/collectors", "/api/v1/sources", "/api/v1/storage", "/api/v1/metrics"}) {
    EXPECT_EQ(Get(path, grafana.token), 200) << path;
  }
  EXPECT_EQ(Get("/api/v1/users", grafana.token), 403);
  EXPECT_EQ(Get("/api/v1/tokens", grafana.token), 403);
  EXPECT_EQ(Post("/api/v1/metrics/push", R"({"collector_id":"c","metrics":[]})", grafana.token), 403);
  EXPECT_EQ(Post("/api/v1/auth/refresh", absl::StrCat(R"({"refresh_token":")", grafana.token, "\"}"), ""), 401);

  const auto listed = suite().Get("/api/v1/tokens", admin);
  ASSERT_EQ(StatusOf(listed), 200);
  EXPECT_THAT(listed->body, HasSubstr(grafana.id));
  EXPECT_THAT(listed->body, Not(HasSubstr(grafana.token.substr(grafana.token.rfind('.'))))) << "shown once";
  EXPECT_EQ(Count(absl::StrCat("api_tokens WHERE id = '", grafana.id, "' AND length(token_hash) = 32")), 1);
  EXPECT_TRUE(testing::WaitUntil(
      [&] { return Count(absl::StrCat("api_tokens WHERE id = '", grafana.id, "' AND last_used_at IS NOT NULL")) == 1; },
      absl::Seconds(40)))
      << "the last use is shown";

  EXPECT_EQ(Revoke(grafana.id, admin), 204);
  EXPECT_TRUE(EndsEverywhere(grafana.token));
  EXPECT_EQ(Revoke(grafana.id, admin), 404);
  EXPECT_EQ(Revoke("nonsense", admin), 404);
  EXPECT_EQ(
      Count(absl::StrCat("audit_log WHERE action = 'api_token.create' AND outcome = 'success' AND resource_id = '",
                         grafana.id, "' AND changes->>'role' = 'viewer'")),
      1);
  EXPECT_EQ(Count(absl::StrCat("audit_log WHERE action = 'api_token.revoke' AND resource_id = '", grafana.id, "'")), 1);
  // The name is free again.
  const Made again = Make("grafana", "", admin);
  EXPECT_NE(again.id, grafana.id);
  EXPECT_EQ(Get("/api/v1/collectors", again.token), 200);
}

TEST_F(ApiTokens, MakeNoFurtherOnesAndRefuseOddFields) {
  const std::string admin = suite().AdminToken();
  const Made script = Make("script", R"(,"role":"admin","query_texts":true)", admin);
  EXPECT_EQ(Get("/api/v1/users", script.token), 200);
  EXPECT_EQ(Post("/api/v1/tokens", R"({"name":"child"})", script.token), 403) << "it would outlive its maker";
  EXPECT_EQ(
      Post("/api/v1/auth/change-password",
           absl::StrCat(R"({"old_password":")", Suite::kAdminPassword, R"(","new_password":"another-Password-9"})"),
           script.token),
      403);
  for (const char* odd :
       {R"({"name":""})", R"({"name":"script"})", R"({"name":"x","role":"owner"})", R"({"name":"x","groups":[""]})",
        R"({"name":"x","expires_at":"2020-01-01T00:00:00Z"})", R"({"name":"x","expires_at":"2900-01-01T00:00:00Z"})"}) {
    const int status = Post("/api/v1/tokens", odd, admin);
    EXPECT_TRUE(status == 400 || status == 409) << odd << " " << status;
  }
  EXPECT_EQ(Post("/api/v1/tokens", R"({"name":"x"})", ""), 401);
}

TEST_F(ApiTokens, AreMadeAndRevokedByPgactl) {
  const std::string admin = suite().AdminToken();
  const auto pgactl = [&](std::vector<std::string> words) {
    words.insert(words.begin(), testing::Program("pgactl"));
    const auto done = testing::RunCommand(
        {.argv = words,
         .env = {{"PGACTL_URL", absl::StrCat("http://127.0.0.1:", suite().port())}, {"PGACTL_TOKEN", admin}}});
    EXPECT_THAT(done, IsOk());
    if (!done.ok()) return std::string();
    EXPECT_EQ(done->exit_code, 0) << done->output;
    return done->output;
  };
  const std::string made =
      pgactl({"tokens", "create", "ci", "--role", "user", "--days", "7", "--group", "a", "--texts"});
  const std::string token = made.substr(made.rfind(' ') + 1, made.find('\n') - made.rfind(' ') - 1);
  EXPECT_EQ(Get("/api/v1/collectors", token), 200) << made;
  EXPECT_EQ(Get("/api/v1/users", token), 403);
  EXPECT_THAT(pgactl({"tokens", "list"}), ::testing::ContainsRegex("ci +user +a +yes"));
  pgactl({"tokens", "revoke", "ci"});
  EXPECT_TRUE(EndsEverywhere(token));
  EXPECT_THAT(pgactl({"tokens", "list"}), ::testing::ContainsRegex("ci .*revoked"));
}

TEST_F(ApiTokens, SeeTheirGroupsAlone) {
  const std::string admin = suite().AdminToken();
  ASSERT_EQ(
      Post("/api/v1/metrics/push",
           R"({"collector_id":"groups_1","metrics":[{"type":"pg_stats","database":"postgres","tables":[]}]})", admin),
      200);
  const Made none = Make("other group", R"(,"groups":["payments"])", admin);
  const auto seen = suite().Get("/api/v1/sources", none.token);
  ASSERT_EQ(StatusOf(seen), 200);
  EXPECT_THAT(seen->body, HasSubstr(R"("count":0)"));
}

// Nobody's tokens outlive what the person may do.
TEST_F(ApiTokens, EndWithTheRightsOfWhoMadeThem) {
  const std::string admin = suite().AdminToken();
  const auto created = suite().Post(
      "/api/v1/users",
      R"({"username":"eve","email":"eve@example.com","password":"a-Password-of-eve-7","role":"admin"})", admin);
  ASSERT_EQ(StatusOf(created), 201) << created->body;
  const int64_t id = testing::JsonNumber(created->body, "/id");
  ASSERT_GT(id, 0);
  const std::string eve = suite().Login("eve", "a-Password-of-eve-7");
  const Made of_admin = Make("eves admin", R"(,"role":"admin")", eve);
  const Made of_viewer = Make("eves viewer", R"(,"role":"viewer")", eve);
  const std::string user = absl::StrCat("/api/v1/users/", id);
  ASSERT_EQ(StatusOf(suite().Post(user, R"({"role":"user"})", admin, "PUT")), 200);
  EXPECT_TRUE(EndsEverywhere(of_admin.token));
  EXPECT_EQ(Get("/api/v1/collectors", of_viewer.token), 200);
  ASSERT_EQ(StatusOf(suite().Post(user, "", admin, "DELETE")), 204);
  EXPECT_TRUE(EndsEverywhere(of_viewer.token));
}

}  // namespace
}  // namespace pga::integration
