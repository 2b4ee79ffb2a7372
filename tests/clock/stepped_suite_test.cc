// The suite's services, each a process, while their wall clock is set by an hour and by a day, both ways: people can
// sign in, a token that was ended is refused within a second by the services that learn of it, and upkeep goes on.
#include <gtest/gtest.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/testing/json_value.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_postgres.h"
#include "tests/clock/stepped_clock_testing.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

int StatusOf(const absl::StatusOr<HttpAnswer>& answer) {
  return answer.ok() ? answer->status : -1;
}

// Empty unless the login succeeds.
std::string TryLogin(const Suite& suite) {
  const auto answer = suite.Post("/api/v1/auth/login",
                                 absl::StrCat(R"({"username":"admin","password":")", Suite::kAdminPassword, R"("})"));
  return StatusOf(answer) == 200 ? testing::JsonText(answer->body, "/token") : "";
}

TEST(SteppedClock, SuiteRefusesEndedTokensAndUpkeepGoesOn) {
  testing::SteppedClock clock;
  Suite suite({.form = Form::kApart, .env = clock.environment()});
  testing::TempPostgres* const server = testing::SharedPostgres();
  const std::string& url = suite.databases().metrics_url;
  const size_t at = url.find("@/") + 2;
  const std::string metrics = url.substr(at, url.find('?') - at);
  // The database's clock is not stepped: a lease that is renewed ends later.
  const auto leases = [&] {
    const auto rows = server->Exec(metrics,
                                   "SELECT COALESCE(max(expires_at), '-infinity')::text FROM metrics.lease WHERE "
                                   "name = 'merge'");
    return rows.ok() && rows->rows() == 1 ? std::string((*rows)[0].Text(0)) : std::string();
  };

  for (const absl::Duration step : {-absl::Hours(1), absl::Hours(1), -absl::Hours(24), absl::Hours(24)}) {
    SCOPED_TRACE(absl::StrCat(absl::ToInt64Hours(step), " h"));
    clock.Step(step);
    const std::string held = leases();
    // A token that was made in the moment before the clock was set back is of the future, as it should be.
    std::string token;
    std::string last;
    const auto answers = [&] {
      token = TryLogin(suite);
      const auto answer = suite.Get("/api/v1/collectors", token);
      last = answer.ok() ? answer->body : std::string(answer.status().message());
      return StatusOf(answer) == 200;
    };
    ASSERT_TRUE(testing::WaitUntil(answers, absl::Seconds(20))) << last << "\n" << suite.Outputs();
    ASSERT_EQ(StatusOf(suite.Post("/api/v1/auth/logout", "{}", token)), 200);
    const clock::SteadyTime ended = clock::SteadyNow();
    EXPECT_TRUE(
        testing::WaitUntil([&] { return StatusOf(suite.Get("/api/v1/collectors", token)) == 401; }, absl::Seconds(10)));
    EXPECT_LT(clock::SteadyNow() - ended, absl::Seconds(1)) << "a token was taken after its end";
    EXPECT_TRUE(testing::WaitUntil([&] { return leases() != held; }, absl::Seconds(60))) << "upkeep stands still";
  }
  EXPECT_EQ(clock.waits(), 0);
  if (HasFailure()) std::fprintf(stderr, "%s\n", suite.Outputs().c_str());
}

}  // namespace
}  // namespace pga::integration
