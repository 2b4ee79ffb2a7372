// An index is dropped on a real server with auto_explain, or with pganalytics.explain alone, and a real collector: the
// comparison names that first. The advice that brings it back is followed, and what came of it is measured. Minutes are
// stepped, of suite and collector alike, so that windows of whole minutes take seconds: what is read and stored is
// real, and covers a part of each minute.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <simdjson.h>

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"
#include "services/collector/explain_setup_testing.h"
#include "tests/clock/stepped_clock_testing.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using ::testing::HasSubstr;
using testing::JsonNumber;
using testing::JsonText;

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr int kMinutes = 9;
constexpr int kCalls = 20;

std::map<std::string, std::string> With(std::map<std::string, std::string> env,
                                        const std::map<std::string, std::string>& more) {
  env.insert(more.begin(), more.end());
  return env;
}

class PlanChange : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (std::getenv("PGA_PLAN_CHANGE") == nullptr) GTEST_SKIP() << "PGA_PLAN_CHANGE=1 runs it";
    auto server = testing::TempPostgres::Start(
        {.preload_statements = true,
         .extra_conf = {"logging_collector = on", "log_destination = 'jsonlog'", "compute_query_id = on",
                        "max_parallel_workers_per_gather = 0", "auto_explain.log_format = json",
                        "auto_explain.log_verbose = on", "autovacuum = off"}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->CreateDatabase("shop").ok());
    suite_ =
        std::make_unique<Suite>(SuiteOptions{.env = With(clock_.environment(), {{"INGEST_HELLOS_PER_MINUTE", "0"}})});
    token_ = suite_->AdminToken();
    for (const char* statement :
         // Advice leaves out the statements of the login that the collector has.
         {"CREATE EXTENSION pg_stat_statements", "CREATE ROLE monitor LOGIN IN ROLE pg_monitor",
          "CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int NOT NULL, note text NOT NULL)",
          "INSERT INTO orders (customer_id, note) SELECT g % 3000, md5(g::text) FROM generate_series(1, 60000) g",
          "CREATE INDEX orders_customer ON orders (customer_id)", "VACUUM (ANALYZE) orders"}) {
      Sql(statement);
    }
    auto session = server_->Connect("shop");
    ASSERT_TRUE(session.ok()) << session.status();
    session_ = *std::move(session);
    if (std::string(GetParam()) == "auto_explain") {
      for (const char* statement : {"LOAD 'auto_explain'", "SET auto_explain.log_min_duration = 0"}) {
        EXPECT_TRUE(session_->Exec(statement, clock::SteadyNow() + kPatience).ok());
      }
    } else {
      const auto installed = collector::InstallExplain(*server_, "shop", "monitor");
      ASSERT_TRUE(installed.ok() && installed->exit_code == 0) << (installed.ok() ? installed->output : "");
    }
    StartCollector();
  }
  void TearDown() override { StopCollector(); }

  void StartCollector() {
    auto process = testing::Subprocess::Start(
        {.argv = {testing::Program("pganalytics-collector")},
         .env = With(clock_.environment(), {{"COLLECTOR_ID", "one"},
                                            {"STATE_DIR", dir_ / "state"},
                                            {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", suite_->port())},
                                            {"BACKEND_RETRY_MAX", "1"},
                                            {"REGISTRATION_SECRET", Suite::kRegistrationSecret},
                                            {"SOURCE_NAME", "db"},
                                            {"POSTGRES_HOST", server_->socket_dir()},
                                            {"POSTGRES_PORT", absl::StrCat(server_->port())},
                                            {"POSTGRES_USER", "monitor"},
                                            {"POSTGRES_DATABASES", "shop"},
                                            {"STATEMENT_TEXT_INTERVAL", "1"},
                                            {"COLLECTION_INTERVAL", "1"},
                                            {"HOST_METRICS", "false"},
                                            {"METRICS_LISTEN", "off"}}),
         .output_path = dir_ / absl::StrCat("log", ++starts_)});
    ASSERT_TRUE(process.ok()) << process.status();
    collector_ = *std::move(process);
  }
  void StopCollector() {
    if (collector_ == nullptr) return;
    collector_->Signal(SIGTERM);
    EXPECT_THAT(collector_->Wait(clock::SteadyNow() + kPatience), status::IsOk());
    collector_.reset();
  }

  void Sql(const std::string& text) const {
    const auto done = server_->Exec("shop", text);
    EXPECT_TRUE(done.ok()) << text << ": " << done.status();
  }
  absl::Time Now() const { return clock::WallNow() + stepped_; }
  // The interval in which the clock is stepped still counts by the former one: what comes is read in the next.
  bool Step(absl::Duration by) {
    stepped_ += by;
    clock_.Step(by);
    return AwaitReading("statements");
  }
  std::string Get(const std::string& path) {
    const auto answer = suite_->Get(path, token_);
    EXPECT_TRUE(answer.ok() && answer->status == 200)
        << path << (answer.ok() ? answer->body : answer.status().ToString());
    return answer.ok() ? answer->body : "";
  }
  bool Await(const std::string& what, const std::string& path, const std::function<bool(const std::string&)>& good) {
    std::string body;
    const bool came = testing::WaitUntil(
        [&] {
          const auto answer = suite_->Get(path, token_);
          body = answer.ok() ? answer->body : answer.status().ToString();
          return answer.ok() && answer->status == 200 && good(body);
        },
        kPatience);
    EXPECT_TRUE(came) << what << ": " << body << collector_->Output();
    return came;
  }
  std::string Pgactl(const std::vector<std::string>& words) const {
    std::vector<std::string> argv = {testing::Program("pgactl")};
    argv.insert(argv.end(), words.begin(), words.end());
    // Its clock is the suite's.
    const auto outcome = testing::RunCommand(
        {.argv = argv,
         .env = With(clock_.environment(), {{"PGACTL_URL", absl::StrCat("http://127.0.0.1:", suite_->port())},
                                            {"PGACTL_TOKEN", token_},
                                            {"TZ", "UTC"}})});
    EXPECT_TRUE(outcome.ok() && outcome->exit_code == 0) << words[0] << (outcome.ok() ? outcome->output : "");
    return outcome.ok() ? outcome->output : "";
  }
  // What was read after now is stored.
  bool AwaitReading(const std::string& metric) {
    const std::string since = absl::FormatTime("%Y-%m-%dT%H:%M:%E3S", Now(), absl::UTCTimeZone());
    return Await(metric, "/api/v1/freshness?source=db", [&](const std::string& body) {
      simdjson::dom::parser parser;
      simdjson::dom::array entries;
      if (parser.parse(body).at_key("freshness").get_array().get(entries) != simdjson::SUCCESS) return false;
      for (const simdjson::dom::element entry : entries) {
        std::string_view name;
        std::string_view at;
        if (entry["metric"].get(name) == simdjson::SUCCESS && name == metric &&
            entry["last_collected_at"].get(at) == simdjson::SUCCESS && at > since) {
          return true;
        }
      }
      return false;
    });
  }
  // Some minutes with the same calls in each.
  bool Minutes() {
    // Tokens end with the stepped minutes.
    token_ = suite_->AdminToken();
    for (int minute = 0; minute < kMinutes; ++minute) {
      for (int i = 0; i < kCalls; ++i) {
        const auto done = session_->Exec(absl::StrCat("SELECT note FROM orders WHERE customer_id = ", i),
                                         clock::SteadyNow() + kPatience);
        EXPECT_TRUE(done.ok());
      }
      if (!AwaitReading("statements") || !Step(absl::Minutes(1))) return false;
    }
    return true;
  }

  testing::SteppedClock clock_;
  absl::Duration stepped_;
  testing::ScopedTempDir dir_;
  std::unique_ptr<testing::TempPostgres> server_;
  std::unique_ptr<Suite> suite_;
  std::unique_ptr<pg::CopyConnection> session_;
  std::unique_ptr<testing::Subprocess> collector_;
  std::string token_;
  int starts_ = 0;
};

// Two to three minutes each: ranks of nine buckets before and after tell a change on a busy machine too.
TEST_P(PlanChange, IsNamedFirstAndItsCureIsMeasured) {
  ASSERT_TRUE(AwaitReading("statements"));
  ASSERT_TRUE(AwaitReading("index_stats"));
  ASSERT_TRUE(Minutes());
  const auto plans = [](int least) {
    return [least](const std::string& body) { return JsonNumber(body, "/count") >= least; };
  };
  const auto known =
      server_->Exec("shop", "SELECT queryid::text FROM pg_stat_statements WHERE query LIKE 'SELECT note FROM orders%'");
  ASSERT_TRUE(known.ok() && !known->empty()) << known.status();
  const std::string id((*known)[0].Text(0));
  const std::string history = absl::StrCat("/api/v1/queries/", id, "/explain/history?source=db");
  ASSERT_TRUE(Await("the plan", history, plans(1)));

  ASSERT_TRUE(Step(absl::Minutes(1)));
  const absl::Time at = absl::UnixEpoch() + absl::Floor(Now() - absl::UnixEpoch(), absl::Minutes(1));
  Sql("DROP INDEX orders_customer");
  ASSERT_TRUE(Minutes());
  ASSERT_TRUE(Await("the other plan", history, plans(2)));
  ASSERT_TRUE(Await("the index that went", "/api/v1/state?metric=index_stats&hours=1&source=db",
                    [](const std::string& body) { return body.find("vanished") != std::string::npos; }));
  const std::string body = Get(absl::StrCat("/api/v1/queries/comparison?source=db&minutes=", kMinutes + 2,
                                            "&at=", absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", at, absl::UTCTimeZone())));
  EXPECT_EQ(JsonText(body, "/comparisons/0/query_hash"), id);
  EXPECT_EQ(JsonText(body, "/comparisons/0/improvement_status"), "degraded") << body;
  EXPECT_EQ(JsonText(body, "/comparisons/0/causes/0/kind"), "plan_changed");
  EXPECT_THAT(JsonText(body, "/comparisons/0/causes/0/summary"), HasSubstr("orders_customer"));
  if (HasFailure()) return;
  // The same from the command line, and what else it says of these minutes.
  EXPECT_THAT(Pgactl({"compare", "--source", "db", "--at", absl::FormatTime("%Y-%m-%d %H:%M", at, absl::UTCTimeZone()),
                      "--minutes", absl::StrCat(kMinutes + 2)}),
              HasSubstr("orders_customer"));
  EXPECT_THAT(Pgactl({"load", "--source", "db", "--by", "backend_type"}), HasSubstr("active sessions on average"));
  EXPECT_THAT(Pgactl({"load", "compare", "--source", "db"}), HasSubstr("active_sessions"));
  EXPECT_THAT(Pgactl({"blockers", "--source", "db"}), HasSubstr("nobody waited"));
  EXPECT_THAT(Pgactl({"patterns", "--source", "db"}), HasSubstr("nothing recurs"));

  // The advice names the index that is missing. It is followed, and a window later known to have helped. Definitions of
  // indexes are read every few hours, and when a collector starts.
  StopCollector();
  StartCollector();
  ASSERT_TRUE(AwaitReading("index_definitions"));
  ASSERT_TRUE(AwaitReading("table_size"));
  EXPECT_THAT(Pgactl({"suggest", "--source", "db", "--hours", "1", "--", id}), HasSubstr("missing_index"));
  const std::string advice = Get("/api/v1/advice?source=db&kind=index_missing&least_hours=0&hours=1");
  ASSERT_EQ(JsonNumber(advice, "/count"), 1) << advice;
  EXPECT_EQ(JsonText(advice, "/advice/0/query_id/0"), id);
  ASSERT_TRUE(Step(absl::Minutes(1)));
  const auto noted = suite_->Post(
      absl::StrCat("/api/v1/optimization-recommendations/", JsonText(advice, "/advice/0/id"), "/implement"), "{}",
      token_);
  ASSERT_TRUE(noted.ok() && noted->status == 200) << noted->body;
  Sql(JsonText(advice, "/advice/0/command"));
  ASSERT_TRUE(Minutes());
  // The minutes between belong to both windows.
  constexpr int kWindow = kMinutes + 2;
  ASSERT_TRUE(Step(absl::Minutes(2)));
  const std::string results = Get(absl::StrCat("/api/v1/optimization-results?source=db&minutes=", kWindow));
  EXPECT_EQ(JsonNumber(results, "/count"), 1) << results;
  EXPECT_EQ(JsonText(results, "/results/0/status"), "improved") << results;
  EXPECT_EQ(JsonText(results, "/results/0/query_hash"), id);
  EXPECT_EQ(JsonNumber(Get("/api/v1/optimization-results?source=db&status=pending&minutes=1440"), "/count"), 1);
  EXPECT_THAT(Pgactl({"advice", "results", "--source", "db", "--minutes", absl::StrCat(kWindow)}),
              HasSubstr("improved"));
}

INSTANTIATE_TEST_SUITE_P(From, PlanChange, ::testing::Values("auto_explain", "explain"),
                         [](const auto& each) { return std::string(each.param); });

}  // namespace
}  // namespace pga::integration
