// The collector while its wall clock is set by an hour and by a day, both ways: streams come back, no increase is lost,
// and no interval is lost, negative or bent.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/scripted_ingest_testing.h"
#include "tests/clock/stepped_clock_testing.h"

namespace pga::collector {
namespace {

using status::IsOk;
using testing::WaitUntil;

constexpr int64_t kSecondUs = 1'000'000;

TEST(SteppedClock, CollectorGoesOnAndBendsNoInterval) {
  testing::TempPostgres* const server = testing::SharedPostgres();
  const auto url = server->CreateFreshDatabase("stepped");
  ASSERT_THAT(url, IsOk());
  std::string database = url->substr(url->find("stepped"));
  database = database.substr(0, database.find_first_of("?& '"));
  ASSERT_THAT(server->Exec(database, "CREATE TABLE t (n int)"), IsOk());

  testing::ScopedTempDir state;
  testing::SteppedClock clock;
  ScriptedIngest ingest;
  testing::SubprocessOptions options;
  options.argv = {testing::Program("pganalytics-collector")};
  options.env = clock.environment();
  options.env.insert({{"COLLECTOR_ID", "test"},
                      {"STATE_DIR", state.path()},
                      {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", ingest.port())},
                      {"REGISTRATION_SECRET", ScriptedIngest::kSecret},
                      {"POSTGRES_HOST", server->socket_dir()},
                      {"POSTGRES_PORT", absl::StrCat(server->port())},
                      {"POSTGRES_USER", "postgres"},
                      {"POSTGRES_DATABASES", "postgres"},
                      {"SOURCE_NAME", "db"},
                      {"COLLECTION_INTERVAL", "1"},
                      {"METRICS_LISTEN", "off"},
                      {"BACKEND_RETRY_MAX", "1"}});
  options.output_path = state / "log";
  auto started = testing::Subprocess::Start(options);
  ASSERT_THAT(started, IsOk());
  testing::Subprocess& collector = **started;

  const auto truth = [&] {
    const auto result = server->Exec(
        "postgres", absl::StrCat("SELECT tup_inserted::text FROM pg_stat_database WHERE datname = '", database, "'"));
    int64_t value = -1;
    EXPECT_TRUE(result.ok() && absl::SimpleAtoi(std::string((*result)[0].Text(0)), &value));
    return value;
  };
  const auto increase = [&] { return ingest.Increase("database", "datname", database, "tup_inserted"); };
  ASSERT_TRUE(WaitUntil(
      [&] {
        return ingest.Total("database", "datname", database, "tup_inserted") >= 0 && ingest.Frames("database") > 2;
      },
      absl::Seconds(30)))
      << collector.Output();
  const int64_t base = ingest.Total("database", "datname", database, "tup_inserted") - increase();

  for (const absl::Duration step : {-absl::Hours(1), absl::Hours(1), -absl::Hours(24), absl::Hours(24)}) {
    SCOPED_TRACE(absl::StrCat(absl::ToInt64Hours(step), " h"));
    clock.Step(step);
    ASSERT_THAT(server->Exec(database, "INSERT INTO t SELECT generate_series(1, 7)"), IsOk());
    // The stream is lost after the step, so that the back-off is waited for under the new time.
    const int64_t hellos = ingest.hellos();
    ingest.StopServer();
    ingest.StartServer();
    EXPECT_TRUE(WaitUntil([&] { return ingest.hellos() > hellos; }, absl::Seconds(10)))
        << "the stream did not come back";
    const int64_t frames = ingest.Frames("database");
    EXPECT_TRUE(WaitUntil([&] { return ingest.Frames("database") > frames + 2; }, absl::Seconds(20)));
    EXPECT_TRUE(WaitUntil([&] { return base + increase() >= truth(); }, absl::Seconds(20)))
        << base + increase() << " of " << truth();
    EXPECT_EQ(base + increase(), truth());
  }
  collector.Signal(SIGTERM);
  EXPECT_THAT(collector.Wait(clock::SteadyNow() + absl::Seconds(20)), IsOk());
  EXPECT_EQ(clock.waits(), 0) << collector.Output();
  EXPECT_THAT(ingest.violations(), ::testing::IsEmpty());

  int jumps = 0;
  int64_t end = 0;
  for (const ScriptedIngest::Interval& interval : ingest.Intervals("database")) {
    if (interval.keyframe) {
      if (end == 0) end = interval.end_us;
      continue;
    }
    EXPECT_GT(interval.end_us, interval.start_us);
    EXPECT_LT(interval.end_us - interval.start_us, 20 * kSecondUs) << "a step is in the interval's length";
    if (end != 0 && interval.start_us != end) ++jumps;
    end = interval.end_us;
  }
  EXPECT_EQ(jumps, 4) << "each step moves one interval, and all others touch";
  if (HasFailure()) std::fprintf(stderr, "%s\n", collector.Output().c_str());
}

}  // namespace
}  // namespace pga::collector
