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
    // Of metrics each source has 1 at every time, unless something else is said.
    if (term.from == Term::From::kSuite) return world.suite.at(term.metric + "." + term.column);
    Answer answer;
    for (const auto& [id, source] : world.sources) answer.samples.push_back({id, {}, value_});
    return answer;
  }
  absl::StatusOr<History> AskHistory(const Term&, int64_t hour) override {
    ++histories_;
    History history;
    history.hour = hour;
    for (const auto& [id, source] : world_->sources) {
      for (int week = 1; week <= weeks_; ++week) {
        for (const int64_t at : {hour - 1, hour}) history.rows[{id, {}}][at - 168 * week] = 1;
      }
    }
    return history;
  }
  void SetValue(double value) { value_ = value; }
  void SetWeeks(int weeks) { weeks_ = weeks; }
  int histories() const { return histories_; }
  void Cancel() override {}

 private:
  absl::StatusOr<World> world_;
  double value_ = 1;
  int weeks_ = 0;
  int histories_ = 0;
};

class Rounds : public ::testing::Test {
 protected:
  // A process that evaluates.
  struct Process {
    Process(Rounds* rounds, const std::string& holder)
        : store(rounds->pool_.get(), {{"webhook", Severity::kInfo}, {"pagerduty", Severity::kCritical}}, false),
          rules({.folder = rounds->rules_.path(), .disabled = {}, .without_builtin = true, .catalog_folder = {}}),
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

TEST_F(Rounds, ManyAtOnceAreToldOnceAndEndOnce) {
  std::ofstream(rules_ / "probe.yaml") << kRule << "together: 3\n";
  Process process(this, "a");
  const std::map<std::string, bool> all = {{"db1", true}, {"db2", true}, {"db3", true}, {"db4", true}};
  answers_.Set(all);
  Round(process);
  EXPECT_THAT(Queued(), SizeIs(0));
  Round(process);
  Round(process);
  EXPECT_THAT(Queued(), UnorderedElementsAre("webhook firing", "pagerduty firing"));
  const pg::Result rows = Sql("SELECT id, source_group, members::text FROM pganalytics.alerts WHERE fleet");
  ASSERT_FALSE(rows.empty());
  EXPECT_EQ(Sql("SELECT count(*) FROM pganalytics.alerts WHERE fleet")[0].Int64(0), 1);
  EXPECT_EQ(rows[0].Text(1), "default");
  EXPECT_EQ(rows[0].Text(2), R"(["db1", "db2", "db3", "db4"])");
  EXPECT_THAT(*process.store.ForAlertmanager(Soon()), SizeIs(1));
  // The list has it in place of its members, for those who see its group.
  auto page = process.store.List({.all = false, .groups = {"default"}}, {}, Soon());
  ASSERT_THAT(page, status::IsOk());
  ASSERT_THAT(page->alerts, SizeIs(1));
  EXPECT_THAT(page->alerts[0].alert.members, SizeIs(4));
  EXPECT_EQ(page->firing, 1);
  EXPECT_EQ(process.store.List({.all = false, .groups = {"other"}}, {}, Soon())->total, 0);
  page = process.store.List({.all = true}, {.sources = {"db2"}}, Soon());
  ASSERT_THAT(page->alerts, SizeIs(1));
  EXPECT_TRUE(page->alerts[0].alert.joined);
  // Another process goes on with it.
  Process second(this, "b");
  Sql("UPDATE pganalytics.alert_lease SET expires_at = now() - interval '1 second'");
  Round(second);
  EXPECT_THAT(Queued(), SizeIs(2));
  answers_.Set({{"db1", false}, {"db2", false}, {"db3", false}, {"db4", false}});
  Round(second);
  EXPECT_THAT(Queued(),
              UnorderedElementsAre("webhook firing", "pagerduty firing", "webhook resolved", "pagerduty resolved"));
  EXPECT_EQ(Sql("SELECT count(*) FROM pganalytics.alerts WHERE state <> 'resolved'")[0].Int64(0), 0);
  EXPECT_EQ(Sql("SELECT count(*) FROM pganalytics.alerts WHERE NOT end_sent AND joined")[0].Int64(0), 0);
}

TEST_F(Rounds, TheFewThatAreLeftAreToldThen) {
  std::ofstream(rules_ / "probe.yaml") << kRule << "together: 3\n";
  Process process(this, "a");
  answers_.Set({{"db1", true}, {"db2", true}, {"db3", true}});
  Round(process);
  Round(process);
  EXPECT_THAT(Queued(), SizeIs(2));
  answers_.Set({{"db1", true}, {"db2", false}, {"db3", false}});
  for (int i = 0; i < 5; ++i) Round(process);
  EXPECT_THAT(Queued(), SizeIs(6));
  EXPECT_EQ(Sql("SELECT source_name FROM pganalytics.alerts WHERE state = 'firing'")[0].Text(0), "db1");
}

TEST_F(Rounds, TheListBeginsWithWhatFiresAndIsSevere) {
  Process process(this, "a");
  struct Case {
    const char* state;
    const char* severity;
    int minutes_ago;
  };
  std::vector<std::string> ids;
  for (const Case& each : std::vector<Case>{{"firing", "critical", 90},
                                            {"firing", "warning", 20},
                                            {"firing", "warning", 80},
                                            {"firing", "info", 1},
                                            {"firing", "info", 2},
                                            {"pending", "critical", 70},
                                            {"pending", "info", 3},
                                            {"resolved", "info", 4},
                                            {"resolved", "critical", 60}}) {
    ids.push_back(
        absl::StrCat(Sql(absl::StrCat("INSERT INTO pganalytics.alerts (rule, fingerprint, state, severity, labels, "
                                      "summary, metric, value_text, unit, "
                                      "threshold, runbook, page, query, began_at, seen_at) VALUES ('r', '",
                                      each.minutes_ago, "', '", each.state, "', '", each.severity,
                                      "', '{}', 's', '', '', '', '', '', '', '', now() - interval '", each.minutes_ago,
                                      " minutes', now()) RETURNING id"))[0]
                         .Int64(0)));
  }
  std::vector<std::string> found;
  // Pages of two: none is left out and none comes twice.
  for (int offset = 0; offset < 10; offset += 2) {
    const auto page = process.store.List({.all = true}, {.offset = offset, .limit = 2}, Soon());
    ASSERT_THAT(page, status::IsOk());
    for (const StoredAlert& alert : page->alerts) found.push_back(absl::StrCat(alert.alert.id));
  }
  EXPECT_EQ(found, ids);
}

TEST_F(Rounds, BeyondTheLastPageTheTotalIsStillTold) {
  Process process(this, "a");
  answers_.Set({{"db1", true}, {"db2", true}});
  Round(process);
  EXPECT_EQ(process.store.List({.all = true}, {.offset = 40, .limit = 20}, Soon())->total, 2);
}

constexpr char kUnusual[] = R"(name: probe
summary: "{source}: {value}"
severity: warning
terms:
  done: {metric: database, column: xact_commit, rate: true, window: 1h}
value: done / usual(done)
above: 2
runbook: look
)";

TEST_F(Rounds, EarlierWeeksAreAskedForOnceAnHourAndTooFewOfThemAreSaid) {
  std::ofstream(rules_ / "probe.yaml") << kUnusual;
  Process process(this, "a");
  answers_.Set({{"db1", false}});
  answers_.SetValue(5);
  answers_.SetWeeks(2);
  clock_.Advance(absl::Hours(1) -
                 (clock_.Now() - absl::FromUnixSeconds(absl::ToUnixSeconds(clock_.Now()) / 3600 * 3600)));
  Round(process);
  Round(process);
  EXPECT_EQ(answers_.histories(), 1);
  EXPECT_THAT(States(), SizeIs(0));
  EXPECT_EQ(process.evaluator.Problems().at("probe"),
            "1 of 1 have no baseline: it takes this hour of 3 of the last 4 weeks");
  answers_.SetWeeks(3);
  clock_.Advance(absl::Hours(1));
  Round(process);
  EXPECT_EQ(answers_.histories(), 2);
  EXPECT_THAT(States(), UnorderedElementsAre("db1 firing"));
  EXPECT_EQ(process.evaluator.Problems().count("probe"), 0U);
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
