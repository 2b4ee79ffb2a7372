// `pgactl logs` and `pgactl plans` on a real server's log and plans: entries by every filter, pages and forms; plans
// that auto_explain logged and plans that EXPLAIN gave, and that a statement got another one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"
#include "services/collector/explain_setup_testing.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using testing::JsonNumber;
using testing::JsonText;
using ::testing::Not;
using ::testing::StartsWith;

constexpr absl::Duration kPatience = absl::Seconds(60);

class LogPlans : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = testing::TempPostgres::Start(
        {.preload_statements = true,
         .extra_conf = {"logging_collector = on", "log_destination = 'jsonlog'", "compute_query_id = on"}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->CreateDatabase("shop").ok());
    for (const char* statement :
         {"CREATE EXTENSION pg_stat_statements", "CREATE ROLE monitor LOGIN IN ROLE pg_monitor",
          "CREATE TABLE orders (id int PRIMARY KEY, customer_id int, note text)",
          "INSERT INTO orders SELECT g, g % 3000, md5(g::text) FROM generate_series(1, 30000) g",
          "CREATE INDEX orders_customer ON orders (customer_id)", "CREATE INDEX orders_note ON orders (note)",
          "ANALYZE orders"}) {
      Sql(statement);
    }
    const auto installed = collector::InstallExplain(*server_, "shop", "monitor");
    ASSERT_TRUE(installed.ok() && installed->exit_code == 0) << (installed.ok() ? installed->output : "");
    suite_ = std::make_unique<Suite>(SuiteOptions{});
    token_ = suite_->AdminToken();
    auto process =
        testing::Subprocess::Start({.argv = {testing::Program("pganalytics-collector")},
                                    .env = {{"COLLECTOR_ID", "one"},
                                            {"STATE_DIR", dir_ / "state"},
                                            {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", suite_->port())},
                                            {"REGISTRATION_SECRET", Suite::kRegistrationSecret},
                                            {"SOURCE_NAME", "db"},
                                            {"POSTGRES_HOST", server_->socket_dir()},
                                            {"POSTGRES_PORT", absl::StrCat(server_->port())},
                                            {"POSTGRES_USER", "monitor"},
                                            {"POSTGRES_DATABASES", "shop"},
                                            {"POSTGRES_LOG_PATH", absl::StrCat(server_->data_dir(), "/log")},
                                            {"STATEMENT_TEXT_INTERVAL", "1"},
                                            {"COLLECTION_INTERVAL", "1"},
                                            {"HOST_METRICS", "false"},
                                            {"METRICS_LISTEN", "off"}},
                                    .output_path = dir_ / "log"});
    ASSERT_TRUE(process.ok()) << process.status();
    collector_ = *std::move(process);
    ASSERT_TRUE(Await("the log", "/api/v1/freshness?source=db", HasSubstr("\"log_files\"")));
    ASSERT_TRUE(Await("statements", "/api/v1/freshness?source=db", HasSubstr("\"statements\"")));
  }
  void TearDown() override {
    if (collector_ == nullptr) return;
    collector_->Signal(SIGTERM);
    EXPECT_THAT(collector_->Wait(clock::SteadyNow() + kPatience), status::IsOk());
  }

  void Sql(const std::string& text) const { EXPECT_THAT(server_->Exec("shop", text), status::IsOk()) << text; }
  void Fail(const std::string& text) const { EXPECT_FALSE(server_->Exec("shop", text).ok()) << text; }
  std::string IdOf(const std::string& pattern) const {
    const auto known = server_->Exec(
        "shop", absl::StrCat("SELECT queryid::text FROM pg_stat_statements WHERE query LIKE '", pattern, "'"));
    return known.ok() && known->rows() == 1 ? std::string((*known)[0].Text(0)) : "";
  }
  bool Await(
      const std::string& what, const std::string& path, const ::testing::Matcher<std::string>& good,
      const std::function<void()>& meanwhile = [] {}) {
    std::string body;
    const bool came = testing::WaitUntil(
        [&] {
          meanwhile();
          const auto answer = suite_->Get(path, token_);
          body = answer.ok() ? answer->body : answer.status().ToString();
          return answer.ok() && answer->status == 200 && good.Matches(body);
        },
        kPatience);
    EXPECT_TRUE(came) << what << ": " << body << collector_->Output();
    return came;
  }
  std::string Pgactl(const std::vector<std::string>& words) const {
    std::vector<std::string> argv = {testing::Program("pgactl")};
    argv.insert(argv.end(), words.begin(), words.end());
    const auto outcome = testing::RunCommand({.argv = argv,
                                              .env = {{"PGACTL_URL", absl::StrCat("http://127.0.0.1:", suite_->port())},
                                                      {"PGACTL_TOKEN", token_},
                                                      {"TZ", "UTC"}}});
    EXPECT_TRUE(outcome.ok() && outcome->exit_code == 0) << words[0] << (outcome.ok() ? outcome->output : "");
    return outcome.ok() ? outcome->output : "";
  }
  // Lines behind the heading.
  static size_t Rows(const std::string& table) {
    const std::vector<std::string> lines = absl::StrSplit(table, '\n', absl::SkipEmpty());
    return lines.empty() ? 0 : lines.size() - 1;
  }

  testing::ScopedTempDir dir_;
  std::unique_ptr<testing::TempPostgres> server_;
  std::unique_ptr<Suite> suite_;
  std::unique_ptr<testing::Subprocess> collector_;
  std::string token_;
};

TEST_F(LogPlans, EntriesByEveryFilterAndForm) {
  Fail("SELECT 'hunter2x' FROM missing_table");
  Fail("SELECT 'hunter2x', 1 / 0");
  Fail("INSERT INTO orders VALUES (1, 1, 'hunter2x')");
  Fail("INSERT INTO orders VALUES (2, 1, 'hunter2x')");
  ASSERT_TRUE(Await("the last of them", "/api/v1/logs/events?source=db&class=unique_violation",
                    ContainsRegex("unique_violation.*unique_violation")));
  const std::string all = Pgactl({"logs", "--source", "db", "--severity", "ERROR"});
  EXPECT_EQ(Rows(all), 4u) << all;
  for (const char* part :
       {"WRITTEN (UTC)", "division_by_zero", "22012", "undefined_table", "42P01", "23505", "shop",
        "STATEMENT: INSERT INTO orders VALUES (?, ?, ?)", "relation \"missing_table\" does not exist",
        "duplicate key value violates unique constraint \"orders_pkey\""}) {
    EXPECT_THAT(all, HasSubstr(part));
  }
  EXPECT_THAT(all, Not(HasSubstr("hunter2x")));
  struct Case {
    std::vector<std::string> filter;
    size_t rows;
  };
  for (const Case& c : std::vector<Case>{{{"--class", "division_by_zero"}, 1},
                                         {{"--class", "division_by_zero", "--class", "unique_violation"}, 3},
                                         {{"--sqlstate", "42P01"}, 1},
                                         {{"--sqlstate", "23"}, 2},
                                         {{"--database", "shop", "--severity", "ERROR"}, 4},
                                         {{"--user", "postgres", "--severity", "ERROR"}, 4},
                                         {{"--text", "MISSING_TABLE"}, 1}}) {
    std::vector<std::string> words = {"logs", "--source", "db"};
    words.insert(words.end(), c.filter.begin(), c.filter.end());
    const std::string found = Pgactl(words);
    EXPECT_EQ(Rows(found), c.rows) << c.filter[1] << "\n" << found;
  }
  EXPECT_THAT(Pgactl({"logs", "--source", "db", "--sqlstate", "XX000"}), HasSubstr("no entries, "));
  // Newest first, page after page.
  const std::string first = Pgactl({"logs", "--source", "db", "--severity", "ERROR", "--limit", "3"});
  EXPECT_THAT(first, HasSubstr("there may be older ones: --page "));
  const std::string json = Pgactl({"logs", "--source", "db", "--severity", "ERROR", "--limit", "3", "-o", "json"});
  EXPECT_EQ(JsonText(json, "/events/0/class"), "unique_violation");
  EXPECT_EQ(JsonText(json, "/events/2/class"), "division_by_zero");
  const std::string older =
      Pgactl({"logs", "--source", "db", "--severity", "ERROR", "--limit", "3", "--page", JsonText(json, "/next_page"),
              "-o", "json", "--from", JsonText(json, "/start"), "--to", JsonText(json, "/end")});
  EXPECT_EQ(JsonText(older, "/events/0/class"), "undefined_table") << older;
  const std::string csv = Pgactl({"logs", "--source", "db", "--class", "undefined_table", "--csv"});
  EXPECT_THAT(csv, StartsWith("time,source,severity,class,sqlstate,database,user,"));
  EXPECT_THAT(csv, HasSubstr(",db,ERROR,undefined_table,42P01,shop,postgres,"));
  EXPECT_THAT(Pgactl({"rows", "log_counts", "--source", "db"}), HasSubstr("division_by_zero"));
}

TEST_F(LogPlans, PlansOfTheLogAndOfExplain) {
  auto session = server_->Connect("shop");
  ASSERT_TRUE(session.ok()) << session.status();
  for (const char* statement : {"LOAD 'auto_explain'", "SET auto_explain.log_min_duration = 0"}) {
    EXPECT_TRUE((*session)->Exec(statement, clock::SteadyNow() + kPatience).ok());
  }
  const auto logged = [&] {
    EXPECT_TRUE((*session)->Exec("SELECT note FROM orders WHERE customer_id = 7", clock::SteadyNow() + kPatience).ok());
  };
  const auto asked = [&] { Sql("SELECT count(*) FROM orders WHERE note = 'hunter2x'"); };
  for (int i = 0; i < 3; ++i) logged();
  asked();
  const std::string logged_id = IdOf("SELECT note FROM orders%");
  const std::string asked_id = IdOf("SELECT count(*) FROM orders%");
  ASSERT_TRUE(!logged_id.empty() && !asked_id.empty());
  ASSERT_TRUE(Await("the logged plan", absl::StrCat("/api/v1/plans?source=db&query_id=", logged_id),
                    HasSubstr("orders_customer")));
  ASSERT_TRUE(Await("the plan of EXPLAIN", absl::StrCat("/api/v1/plans?source=db&query_id=", asked_id),
                    HasSubstr("orders_note"), asked));
  const std::string json = Pgactl({"plans", "--source", "db", "--query-id", logged_id, "-o", "json"});
  EXPECT_EQ(JsonNumber(json, "/plans/0/logged"), 3) << json;
  EXPECT_EQ(JsonNumber(json, "/plans/0/explained"), 0);
  const std::string one = absl::StrCat("/api/v1/queries/", asked_id, "/explain?source=db");
  const auto answer = suite_->Get(one, token_);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(JsonNumber(answer->body, "/plan/logged"), 0) << answer->body;
  EXPECT_GE(JsonNumber(answer->body, "/plan/explained"), 1) << answer->body;
  const std::string table = Pgactl({"plans", "--source", "db"});
  for (const char* part : {"QUERY ID", "LOGGED", "EXPLAINED", "MEAN", "FIRST (UTC)"}) {
    EXPECT_THAT(table, HasSubstr(part));
  }
  EXPECT_THAT(table, HasSubstr("Index Cond: (customer_id = ?)"));
  EXPECT_THAT(table, HasSubstr("Index Cond: (note = ?)"));
  EXPECT_THAT(table, Not(HasSubstr("hunter2x")));
  EXPECT_THAT(table, Not(HasSubstr("another plan")));
  EXPECT_THAT(Pgactl({"plans", "--source", "db", "--query-id", "1"}), HasSubstr("no plans, "));
  EXPECT_THAT(Pgactl({"plans", "--source", "db", "--limit", "1"}), ContainsRegex("1 of [0-9]+ plans; raise --limit"));
  EXPECT_THAT(Pgactl({"rows", "explain_runs", "--source", "db"}), HasSubstr("planned"));

  Sql("DROP INDEX orders_customer");
  Sql("DROP INDEX orders_note");
  for (const auto& [id, run] : std::map<std::string, std::function<void()>>{{logged_id, logged}, {asked_id, asked}}) {
    ASSERT_TRUE(
        Await("another plan", absl::StrCat("/api/v1/plans?source=db&query_id=", id), HasSubstr("after_plan_id"), run));
    const std::string changed = Pgactl({"plans", "--source", "db", "--query-id", id});
    EXPECT_THAT(changed, HasSubstr(absl::StrCat("another plan: statement ", id, " of shop on db, ")));
    EXPECT_THAT(changed, HasSubstr("Seq Scan on orders"));
    const std::string both = Pgactl({"plans", "--source", "db", "--query-id", id, "-o", "json"});
    EXPECT_EQ(JsonNumber(both, "/changes_found"), 1) << both;
  }
}

}  // namespace
}  // namespace pga::integration
