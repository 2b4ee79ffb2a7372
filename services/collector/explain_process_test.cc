// The collector as a process on servers without auto_explain: plans come from pganalytics.explain, within its budget.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"
#include "services/collector/collector_process_testing.h"
#include "services/collector/explain_setup_testing.h"
#include "services/collector/explain_statements_testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::testing::ScopedTempDir;
using ::pga::testing::Subprocess;
using ::pga::testing::TempPostgres;
using ::pga::testing::WaitUntil;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

int64_t NumberOf(std::string_view text) {
  int64_t number = -1;
  EXPECT_TRUE(absl::SimpleAtoi(std::string(text), &number)) << text;
  return number;
}

class ExplainProcess : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto started = TempPostgres::Start({.version = GetParam(), .preload_statements = true});
    if (absl::IsNotFound(started.status())) GTEST_SKIP() << started.status();
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
    Sql("CREATE EXTENSION pg_stat_statements; CREATE ROLE monitor LOGIN IN ROLE pg_monitor");
    auto session = server_->Connect();
    ASSERT_THAT(session, IsOk());
    session_ = *std::move(session);
  }
  void TearDown() override {
    if (collector_ != nullptr) {
      EXPECT_THAT(StopCollector(collector_.get()), IsOk());
    }
    EXPECT_THAT(ingest_.violations(), IsEmpty());
  }

  void Sql(const std::string& sql) const { EXPECT_THAT(server_->Exec("postgres", sql), IsOk()) << sql; }
  void Run(const std::string& sql) {
    EXPECT_THAT(session_->Exec(sql, clock::SteadyNow() + absl::Seconds(30)), IsOk()) << sql;
  }
  int64_t Number(const std::string& sql) const {
    const auto result = server_->Exec("postgres", sql);
    EXPECT_THAT(result, IsOk()) << sql;
    return result.ok() && !result->empty() ? NumberOf((*result)[0].Text(0)) : -1;
  }
  Variables With(Variables more) const {
    more.insert({{"POSTGRES_USER", "monitor"},
                 {"HOST_METRICS", "false"},
                 {"STATEMENT_TEXT_INTERVAL", "1"},
                 {"BACKEND_RETRY_MAX", "1"}});
    return CollectorVariables(*server_, ingest_, state_, more);
  }
  void Start(const Variables& more = {}) {
    auto process = StartCollector(state_, With(more));
    ASSERT_THAT(process, IsOk());
    collector_ = *std::move(process);
  }
  void Install(const std::string& rights) const {
    const auto outcome = InstallExplain(*server_, "postgres", "monitor", rights);
    ASSERT_THAT(outcome, IsOk());
    ASSERT_EQ(outcome->exit_code, 0) << outcome->output;
  }

  // Two more readings of statements are stored.
  bool AwaitReadings() {
    const int64_t frames = ingest_.Frames("statements");
    return WaitUntil([&] { return ingest_.Frames("statements") >= frames + 2; }, absl::Seconds(60));
  }
  // Plans of all statements: query, tree and the reading in which it was first.
  struct Plan {
    int64_t query = 0;
    std::string tree;
    int64_t at_us = 0;
  };
  std::vector<Plan> Plans() const {
    std::vector<Plan> plans;
    const std::map<int64_t, std::string> texts = ingest_.Texts();
    std::set<std::pair<int64_t, int64_t>> seen;
    int64_t cursor = 0;
    ingest_.Visit(&cursor, [&](const pganalytics::ingest::v1::Frame& frame, const frame::FrameReader& columns) {
      if (frame.metric() != "explained_plans") return;
      const frame::ColumnView& query = columns.column(columns.FindColumn("query_id"));
      const frame::ColumnView& plan = columns.column(columns.FindColumn("plan_id"));
      for (int row = 0; row < frame.row_count(); ++row) {
        if (!seen.emplace(query.Int(row), plan.Int(row)).second) continue;
        const auto tree = texts.find(plan.Int(row));
        plans.push_back({query.Int(row), tree == texts.end() ? "" : tree->second, frame.collected_at_us()});
      }
    });
    return plans;
  }
  int64_t Counted(const std::string& outcome, const std::string& column = "statements") const {
    return std::max<int64_t>(ingest_.Total("explain_runs", "outcome", outcome, column), 0);
  }

  std::unique_ptr<TempPostgres> server_;
  std::unique_ptr<pg::CopyConnection> session_;
  ScopedTempDir state_;
  ScriptedIngest ingest_;
  std::unique_ptr<Subprocess> collector_;
};

TEST_P(ExplainProcess, ADroppedIndexIsAnotherPlanWithinTwoReadings) {
  Sql("CREATE TABLE t AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 20000) g;"
      "CREATE INDEX t_id ON t (id); ANALYZE t");
  Start();
  // Without the function nothing is wrong; what would bring plans is said.
  ASSERT_TRUE(AwaitReadings()) << collector_->Output();
  const auto run = [&] { Run("SELECT note FROM t WHERE id = 77 AND note <> 'hunter2x'"); };
  EXPECT_TRUE(WaitUntil(
      [&] {
        run();
        return absl::StrContains(ingest_.NotCollected("db")["explained plans"],
                                 "pganalytics-collector --explain-setup | psql -v login=monitor -d postgres");
      },
      absl::Seconds(30)))
      << collector_->Output();
  EXPECT_EQ(ingest_.Frames("explained_plans"), 0);
  const auto checked = CheckCollector(With({}));
  ASSERT_THAT(checked, IsOk());
  EXPECT_THAT(checked->output, HasSubstr("db: not set up: explained plans: function pganalytics.explain is not in "));
  Install("read");
  const auto trees = [&] {
    std::map<std::string, int64_t> found;
    for (const Plan& plan : Plans()) {
      if (absl::StrContains(plan.tree, "(note <> ")) found.try_emplace(plan.tree, plan.at_us);
    }
    return found;
  };
  const auto await = [&](size_t count) {
    return WaitUntil(
        [&] {
          run();
          return trees().size() == count;
        },
        absl::Seconds(60));
  };
  ASSERT_TRUE(await(1)) << collector_->Output();
  // As auto_explain's is, in log_process_test.
  EXPECT_EQ(trees().begin()->first, "Index Scan using t_id on t\n    Filter: (note <> ?)\n    Index Cond: (id = ?)\n");
  EXPECT_TRUE(WaitUntil([&] { return !ingest_.NotCollected("db").contains("explained plans"); }, absl::Seconds(30)));
  // Counts go on after a kill; what is known of statements begins anew, and gives the same plan.
  const auto explained = [&] { return ingest_.Total("explained_plans", "datname", "postgres", "explained"); };
  const int64_t before = explained();
  EXPECT_GE(before, 1);
  collector_->Signal(SIGKILL);
  ASSERT_THAT(collector_->Wait(clock::SteadyNow() + absl::Seconds(10)), IsOk());
  Start();
  EXPECT_TRUE(WaitUntil(
      [&] {
        run();
        return explained() > before;
      },
      absl::Seconds(60)))
      << explained() << collector_->Output();
  EXPECT_EQ(trees().size(), 1u);
  Sql("DROP INDEX t_id");
  run();
  const int64_t dropped_us = absl::ToUnixMicros(clock::WallNow());
  ASSERT_TRUE(await(2)) << collector_->Output();
  const auto found = trees();
  EXPECT_THAT(found.rbegin()->first, StartsWith("Seq Scan on t\n    Filter: "));
  int readings = 0;
  for (const ScriptedIngest::Interval& interval : ingest_.Intervals("explained_plans")) {
    if (!interval.keyframe && interval.end_us > dropped_us && interval.end_us <= found.rbegin()->second) ++readings;
  }
  std::cout << "PostgreSQL " << GetParam() << ": another plan in reading " << readings
            << " after the index was dropped\n";
  EXPECT_LE(readings, 2);
}

TEST_P(ExplainProcess, ShareOfStatementsWithAPlanAndItsCost) {
  Sql(kWarehouse);
  Sql(kPgbench);
  Install("write");
  const std::vector<std::string> statements = WarehouseStatements();
  ASSERT_EQ(statements.size(), 200u);
  const auto run_all = [&](int n) {
    for (const std::string& statement : statements) Run(statement);
    for (const std::string& statement : PgbenchStatements(n)) Run(statement);
  };
  run_all(1);
  Start({{"EXPLAIN_STATEMENTS", "600"}, {"EXPLAIN_TIME", "30"}});
  ASSERT_TRUE(AwaitReadings()) << collector_->Output();
  run_all(2);
  std::set<int64_t> ours;
  const auto known = server_->Exec(
      "postgres",
      "SELECT queryid::text FROM pg_stat_statements WHERE query ~ 'lineitem|orders|partsupp|customer|pgbench_' "
      "AND query ~ '^(SELECT|WITH|UPDATE|INSERT INTO pgbench_history)' AND calls = 2");
  ASSERT_THAT(known, IsOk());
  for (size_t i = 0; i < known->rows(); ++i) {
    ours.insert(NumberOf((*known)[i].Text(0)));
  }
  EXPECT_EQ(ours.size(), 205u);
  const auto planned = [&] {
    std::set<int64_t> queries;
    for (const Plan& plan : Plans()) {
      if (ours.contains(plan.query)) queries.insert(plan.query);
    }
    return queries;
  };
  // Constants of a sum or a difference of constants have no types in the text that the server keeps: `$1 + $2`.
  const size_t least = ours.size() * 80 / 100;
  EXPECT_TRUE(WaitUntil([&] { return planned().size() >= least; }, absl::Seconds(60))) << planned().size();
  ASSERT_TRUE(AwaitReadings());
  const std::set<int64_t> with_plan = planned();
  const int64_t runs = Counted("planned");
  std::cout << "PostgreSQL " << GetParam() << ": " << with_plan.size() << " of " << ours.size()
            << " statements have a plan; " << runs << " were explained in " << Counted("planned", "duration_us") / 1000
            << " ms of the server, " << Counted("planned", "duration_us") / std::max<int64_t>(runs, 1)
            << " us each; other outcomes:";
  for (const std::string& outcome : ingest_.TextValues("explain_runs", "outcome")) {
    if (outcome != "planned") std::cout << " " << outcome << " " << Counted(outcome);
  }
  std::cout << "\n";
  for (const char* const outcome : {"refused", "unreadable", "over_budget"}) EXPECT_EQ(Counted(outcome), 0) << outcome;
  // Nothing was run by it.
  EXPECT_EQ(Number("SELECT count(*) FROM pgbench_history"), 2);
  EXPECT_EQ(Number("SELECT abalance FROM pgbench_accounts WHERE aid = 2"), 2);
  EXPECT_EQ(Number("SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE 'INSERT INTO pgbench_history%'"), 2);
  // Nor counted as a statement where nested ones are counted.
  if (std::string(GetParam()) >= "15") {
    EXPECT_EQ(Number("SELECT count(*) FROM pg_stat_statements WHERE query LIKE 'EXPLAIN%'"), 0);
  }
  for (const auto& [id, tree] : ingest_.Texts()) EXPECT_FALSE(absl::StrContains(tree, "hunter2x"));
}

TEST_P(ExplainProcess, TheBudgetIsKept) {
  Sql(kWarehouse);
  Install("read");
  const std::vector<std::string> statements = WarehouseStatements();
  for (const std::string& statement : statements) Run(statement);
  Start({{"EXPLAIN_STATEMENTS", "10"}, {"EXPLAIN_TIME", "5"}});
  ASSERT_TRUE(AwaitReadings()) << collector_->Output();
  const clock::SteadyTime begun = clock::SteadyNow();
  for (const std::string& statement : statements) Run(statement);
  ASSERT_TRUE(WaitUntil([&] { return Counted("over_budget") > 0; }, absl::Seconds(60))) << collector_->Output();
  ASSERT_TRUE(AwaitReadings());
  ASSERT_TRUE(AwaitReadings());
  const int64_t seconds = absl::ToInt64Seconds(clock::SteadyNow() - begun);
  std::cout << Counted("planned") << " explained within " << seconds << " s of a budget of 10 a minute\n";
  EXPECT_GE(Counted("planned"), 1);
  // Those at once, and those that the time since the collector's start brought.
  EXPECT_LE(Counted("planned"), 10 + (seconds + 10) / 6 + 1);
  EXPECT_GT(Counted("over_budget"), 100);
}

INSTANTIATE_TEST_SUITE_P(Versions, ExplainProcess, ::testing::Values("15", "18"),
                         [](const auto& each) { return std::string("of") + each.param; });

}  // namespace
}  // namespace pga::collector
