// Rounds on a real PostgreSQL with answers of the test's own: leases, alerts in the database, what webhooks get.
#include "services/ruler/evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "libs/clock/fake_clock.h"
#include "libs/pg/pool.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/ruler/pg_alert_store.h"

namespace pga::ruler {
namespace {

using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

constexpr char kRule[] = R"(name: probe
summary: "{source} is down"
severity: critical
terms:
  down: {metric: suite_source, column: is_down}
above: 0
for: 1m
runbook: look
)";

// Answers that the test sets.
class Answers final : public Questions {
 public:
  Answers() { Set({}); }
  void Set(const std::map<std::string, bool>& down) {
    Answer answer;
    World world;
    for (const auto& [name, is_down] : down) {
      const std::string id = "00000000-0000-0000-0000-00000000000" + name.substr(name.size() - 1);
      world.sources[id] = {id, name, "default", true, {}};
      answer.samples.push_back({id, {}, is_down ? 1 : 0});
    }
    world.suite["suite_source.is_down"] = answer;
    world_ = world;
  }
  void Fail(const absl::Status& status) { world_ = status; }
  absl::StatusOr<World> Look(absl::Time) override { return world_; }
  Answer Ask(const Term& term, const World& world, absl::Time) override {
    return world.suite.at(term.metric + "." + term.column);
  }
  void Cancel() override {}

 private:
  absl::StatusOr<World> world_;
};

class Rounds : public ::testing::Test {
 protected:
  // A process that evaluates.
  struct Process {
    Process(Rounds* rounds, const std::string& holder)
        : store(rounds->pool_.get(), {{"webhook", Severity::kInfo}, {"pagerduty", Severity::kCritical}}, false),
          rules(*catalog::Catalog::Builtin(),
                {.folder = rounds->rules_.path(), .disabled = {}, .without_builtin = true}),
          courier(&store, &rounds->clock_, &metrics, {}),
          evaluator(&store, &rounds->answers_, &rules, &courier, &rounds->clock_, &metrics,
                    {.lease = absl::Seconds(60), .holder = holder}) {}
    PgAlertStore store;
    RuleSource rules;
    metrics::Registry metrics{false};
    Courier courier;
    Evaluator evaluator;
  };

  void SetUp() override {
    const auto url = testing::SharedPostgres()->CreateFreshDatabase("ruler");
    ASSERT_THAT(url, status::IsOk());
    ASSERT_THAT(storage::MigrateUp(*url, storage::Database::kMetadata, {}), status::IsOk());
    auto pool = pg::Pool::Create({.url = *url, .size = 4});
    ASSERT_THAT(pool, status::IsOk());
    pool_ = *std::move(pool);
    std::ofstream(rules_ / "probe.yaml") << kRule;
  }
  pg::Result Sql(const std::string& text) {
    auto rows = pool_->Exec(text, {}, Soon());
    EXPECT_THAT(rows, status::IsOk()) << text;
    return rows.ok() ? *std::move(rows) : pg::Result();
  }
  // A round a minute later than the last.
  void Round(Process& process) {
    clock_.Advance(absl::Minutes(1));
    EXPECT_THAT(process.evaluator.RunOnce(), status::IsOk());
  }
  std::vector<std::string> States() {
    std::vector<std::string> states;
    for (const pg::Row row : Sql("SELECT source_name || ' ' || state FROM pganalytics.alerts ORDER BY id")) {
      states.emplace_back(row.Text(0));
    }
    return states;
  }
  std::vector<std::string> Queued() {
    std::vector<std::string> queued;
    for (const pg::Row row : Sql("SELECT receiver || ' ' || event FROM pganalytics.alert_outbox ORDER BY id")) {
      queued.emplace_back(row.Text(0));
    }
    return queued;
  }

  clock::FakeClock clock_;
  Answers answers_;
  testing::ScopedTempDir rules_;
  std::unique_ptr<pg::Pool> pool_;
};

TEST_F(Rounds, AlertsWaitFireAndEndInTheDatabase) {
  Process process(this, "a");
  answers_.Set({{"db1", true}, {"db2", false}});
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 pending"));
  EXPECT_THAT(Queued(), SizeIs(0));
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 firing"));
  EXPECT_THAT(Queued(), UnorderedElementsAre("webhook firing", "pagerduty firing"));
  Round(process);
  answers_.Fail(absl::UnavailableError("registry is away"));
  clock_.Advance(absl::Minutes(1));
  EXPECT_THAT(process.evaluator.RunOnce(), status::StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(States(), UnorderedElementsAre("db1 firing"));
  EXPECT_EQ(Sql("SELECT unknown_reason FROM pganalytics.alerts")[0].Text(0), "registry is away");
  EXPECT_EQ(process.evaluator.Problems().at("probe"), "registry is away");
  answers_.Set({{"db1", false}, {"db2", false}});
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 resolved"));
  EXPECT_THAT(Queued(),
              UnorderedElementsAre("webhook firing", "pagerduty firing", "webhook resolved", "pagerduty resolved"));
  // Again: another alert.
  answers_.Set({{"db1", true}});
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 resolved", "db1 pending"));
}

TEST_F(Rounds, OneOfTwoProcessesEvaluatesAndTheOtherGoesOnWhereItStopped) {
  auto first = std::make_unique<Process>(this, "a");
  Process second(this, "b");
  answers_.Set({{"db1", true}});
  Round(*first);
  Round(second);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 pending"));
  // The first is gone without a word; its lease runs out.
  first.reset();
  Sql("UPDATE pganalytics.alert_lease SET expires_at = now() - interval '1 second'");
  Round(second);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 firing"));
  EXPECT_EQ(Sql("SELECT holder FROM pganalytics.alert_lease")[0].Text(0), "b");
}

TEST_F(Rounds, AProcessThatLostTheLeaseWritesNothing) {
  Process process(this, "a");
  Round(process);
  Commit commit;
  const RuleSet& set = *process.rules.current();
  const Sources sources;
  commit.rules = &set.rules;
  commit.sources = &sources;
  commit.now = clock_.Now();
  Sql("UPDATE pganalytics.alert_lease SET holder = 'b'");
  EXPECT_THAT(process.store.Write("a", commit, {}, Soon()), status::StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(process.store.Write("b", commit, {}, Soon()), status::IsOk());
}

TEST_F(Rounds, MessagesComeInOrderAgainUntilTheyAreTaken) {
  Process process(this, "a");
  answers_.Set({{"db1", true}});
  Round(process);
  Round(process);
  answers_.Set({{"db1", false}});
  Round(process);
  auto due = process.store.TakeDue(10, absl::Minutes(1), Soon());
  ASSERT_THAT(due, status::IsOk());
  // The end waits for the beginning.
  ASSERT_THAT(*due, SizeIs(2));
  for (const Delivery& delivery : *due) EXPECT_EQ(delivery.event, "firing");
  EXPECT_THAT(*process.store.TakeDue(10, absl::Minutes(1), Soon()), SizeIs(0));
  ASSERT_THAT(process.store.Failed((*due)[0].id, "away", absl::ZeroDuration(), Soon()), status::IsOk());
  ASSERT_THAT(process.store.Delivered((*due)[1].id, Soon()), status::IsOk());
  const auto again = process.store.TakeDue(10, absl::Minutes(1), Soon());
  ASSERT_THAT(again, status::IsOk());
  ASSERT_THAT(*again, SizeIs(2));
  EXPECT_EQ((*again)[0].attempts, 2);
  EXPECT_EQ((*again)[0].event, "firing");
  EXPECT_EQ((*again)[1].event, "resolved");
  EXPECT_NE((*again)[0].receiver, (*again)[1].receiver);
}

TEST_F(Rounds, ASilenceHoldsWebhooksBackUntilItEnds) {
  Process process(this, "a");
  Silence silence;
  silence.matchers = {{"source", "db1", false, false}};
  silence.starts_at = clock_.Now();
  silence.ends_at = clock::WallNow() + absl::Hours(1);
  silence.created_by = "ann";
  silence.comment = "work";
  const auto id = process.store.AddSilence(silence, Soon());
  ASSERT_THAT(id, status::IsOk());
  answers_.Set({{"db1", true}, {"db2", true}});
  Round(process);
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 firing", "db2 firing"));
  EXPECT_THAT(Queued(), SizeIs(2));
  ASSERT_THAT(process.store.EndSilence(*id, Soon()), status::IsOk());
  EXPECT_FALSE(process.store.EndSilence(*id, Soon()).ok());
  Round(process);
  EXPECT_THAT(Queued(), SizeIs(4));
}

TEST_F(Rounds, APersonsEndStaysAndIsAudited) {
  Process process(this, "a");
  answers_.Set({{"db1", true}});
  Round(process);
  Round(process);
  const int64_t id = Sql("SELECT id FROM pganalytics.alerts")[0].Int64(0);
  ASSERT_THAT(process.store.Acknowledge(id, "ann", "on it", {.actor = "user:1", .action = "alert.acknowledge"}, Soon()),
              status::IsOk());
  ASSERT_THAT(process.store.Resolve(id, "ann", "", {.actor = "user:1", .action = "alert.resolve"}, Soon()),
              status::IsOk());
  EXPECT_FALSE(process.store.Resolve(id, "ann", "", {.actor = "user:1", .action = "alert.resolve"}, Soon()).ok());
  Round(process);
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 closed"));
  answers_.Set({{"db1", false}});
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 resolved"));
  EXPECT_THAT(Queued(),
              UnorderedElementsAre("webhook firing", "pagerduty firing", "webhook resolved", "pagerduty resolved"));
  EXPECT_EQ(Sql("SELECT resolved_by || ', ' || comment FROM pganalytics.alerts")[0].Text(0), "ann, on it");
  EXPECT_EQ(Sql("SELECT count(*) FROM pganalytics.audit_log")[0].Int64(0), 2);
  // Groups see what is theirs.
  EXPECT_THAT(process.store.Get({.all = false, .groups = {"default"}}, id, Soon()), status::IsOk());
  EXPECT_FALSE(process.store.Get({.all = false, .groups = {"other"}}, id, Soon()).ok());
  EXPECT_EQ(process.store.List({.all = false, .groups = {"other"}}, {}, Soon())->total, 0);
  EXPECT_EQ(process.store.List({.all = true}, {.state = "resolved"}, Soon())->total, 1);
  ASSERT_THAT(process.store.Prune(clock_.Now() + absl::Hours(24 * 365), Soon()), status::IsOk());
}

TEST_F(Rounds, ARareRuleThatFoundNobodyToAskIsDueInTheNextRound) {
  std::ofstream(rules_ / "probe.yaml") << kRule << "interval: 1h\n";
  Process process(this, "a");
  answers_.Fail(absl::UnavailableError("no token yet"));
  clock_.Advance(absl::Minutes(1));
  EXPECT_THAT(process.evaluator.RunOnce(), status::StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(process.evaluator.Problems().count("probe"), 1u);
  answers_.Set({{"db1", true}});
  Round(process);
  EXPECT_EQ(process.evaluator.Problems().count("probe"), 0u);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 pending"));
}

TEST_F(Rounds, ARuleThatIsTakenOutEndsItsAlerts) {
  Process process(this, "a");
  answers_.Set({{"db1", true}});
  Round(process);
  Round(process);
  std::remove((rules_ / "probe.yaml").c_str());
  std::ofstream(rules_ / "other.yaml")
      << "name: other\nsummary: x\nseverity: info\nrunbook: x\nabove: 1\nterms:\n  down: "
         "{metric: suite_source, column: is_down}\n";
  Round(process);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 resolved"));
  EXPECT_EQ(Sql("SELECT resolve_reason FROM pganalytics.alerts")[0].Text(0), "the rule is there no more");
}

}  // namespace
}  // namespace pga::ruler
