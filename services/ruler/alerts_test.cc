// What becomes of answers: beginnings, ends, what is not known; and the tests that built-in rules carry.
#include "services/ruler/alerts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"
#include "services/ruler/questions.h"
#include "services/ruler/rule_file.h"
#include "services/ruler/rule_set.h"
#include "services/ruler/silences.h"

namespace pga::ruler {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kBegin = absl::FromUnixSeconds(1'767'225'600);

const catalog::Catalog& Builtin() {
  static const auto* const catalog = new std::shared_ptr<const catalog::Catalog>(*catalog::Catalog::Builtin());
  return **catalog;
}

Rule Parsed(const std::string& yaml) {
  auto rule = ParseRuleFile(yaml, Builtin(), {.file_name = "probe.yaml", .custom = true});
  EXPECT_THAT(rule, status::IsOk());
  return rule.ok() ? *std::move(rule) : Rule();
}

Rule Slots() {
  return Parsed(R"(
name: probe
summary: "{slot_name} of {source} holds {value}"
severity: warning
terms:
  held: {metric: replication_slots, column: retained_bytes, group_by: [slot_name]}
above: 10GiB
resolve: 8GiB
for: 2m
runbook: look
)");
}

// A rule's life over rounds of a minute each.
class Life {
 public:
  explicit Life(Rule rule) : rule_(std::move(rule)) {
    sources_["1"] = {"1", "db1", "default", true, {}};
    sources_["2"] = {"2", "db2", "default", true, {}};
  }
  std::vector<Change> Round(std::vector<Sample> samples, absl::Status status = absl::OkStatus()) {
    Answer answer{std::move(status), std::move(samples), nullptr};
    std::vector<Change> changes = Advance(rule_, Join(rule_, {&answer}, sources_), sources_, kBegin + minute_, &book_);
    minute_ += absl::Minutes(1);
    return changes;
  }
  static Sample Of(const std::string& source, double gib) { return {source, {{"slot_name", "s"}}, gib * (1 << 30)}; }

  const Rule rule_;
  Sources sources_;
  AlertBook book_;
  absl::Duration minute_ = absl::ZeroDuration();
};

std::vector<Change::Kind> Kinds(const std::vector<Change>& changes) {
  std::vector<Change::Kind> kinds;
  for (const Change& change : changes) kinds.push_back(change.kind);
  return kinds;
}

TEST(Alerts, BeginWaitFireAndEndWithHysteresis) {
  Life life(Slots());
  EXPECT_THAT(life.Round({Life::Of("1", 1)}), IsEmpty());
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 11)})), ElementsAre(Change::Kind::kBegan));
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 12)})), ElementsAre(Change::Kind::kUpdated));
  const auto fired = life.Round({Life::Of("1", 12)});
  ASSERT_THAT(Kinds(fired), ElementsAre(Change::Kind::kFired));
  EXPECT_EQ(fired[0].alert.summary, "s of db1 holds 12 GiB");
  EXPECT_EQ(fired[0].alert.source_group, "default");
  EXPECT_EQ(fired[0].alert.began, kBegin + absl::Minutes(1));
  EXPECT_EQ(fired[0].alert.fired, kBegin + absl::Minutes(3));
  // Between resolve and threshold it goes on.
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 9)})), ElementsAre(Change::Kind::kUpdated));
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 8)})), ElementsAre(Change::Kind::kResolved));
  EXPECT_THAT(life.book_, IsEmpty());
}

// Names of sources are unique in their group alone.
TEST(Alerts, SourcesOfOneNameAreApart) {
  Life life(Slots());
  life.sources_["2"] = {"2", "db1", "other", true, {}};
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 11), Life::Of("2", 1)})), ElementsAre(Change::Kind::kBegan));
  for (int i = 0; i < 2; ++i) life.Round({Life::Of("1", 11), Life::Of("2", 12)});
  ASSERT_EQ(life.book_.size(), 2U);
  const auto ended = life.Round({Life::Of("1", 1), Life::Of("2", 12)});
  ASSERT_THAT(Kinds(ended), ::testing::Contains(Change::Kind::kResolved));
  ASSERT_EQ(life.book_.size(), 1U);
  EXPECT_EQ(life.book_.begin()->second.source_group, "other");
}

TEST(Alerts, PendingThatEndsIsDropped) {
  Life life(Slots());
  life.Round({Life::Of("1", 11)});
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 9)})), ElementsAre(Change::Kind::kDropped));
}

TEST(Alerts, WhatIsNotKnownNeitherEndsNorBegins) {
  Life life(Slots());
  for (int i = 0; i < 3; ++i) life.Round({Life::Of("1", 11), Life::Of("2", 1)});
  ASSERT_EQ(life.book_.size(), 1U);
  // The question fails.
  auto changes = life.Round({}, absl::UnavailableError("query is away"));
  ASSERT_THAT(Kinds(changes), ElementsAre(Change::Kind::kUpdated));
  EXPECT_EQ(changes[0].alert.unknown_reason, "query is away");
  EXPECT_TRUE(changes[0].alert.unknown_since.has_value());
  // The same again is no change.
  EXPECT_THAT(life.Round({}, absl::UnavailableError("query is away")), IsEmpty());
  // The source is silent.
  life.sources_["1"].fresh = false;
  EXPECT_THAT(Kinds(life.Round({Life::Of("2", 1)})), ElementsAre(Change::Kind::kUpdated));
  // The value alone is not known.
  EXPECT_THAT(Kinds(life.Round({{"1", {{"slot_name", "s"}}, std::nullopt}})), ElementsAre(Change::Kind::kUpdated));
  ASSERT_EQ(life.book_.size(), 1U);
  EXPECT_EQ(life.book_.begin()->second.phase, Phase::kFiring);
  // Known again.
  life.sources_["1"].fresh = true;
  changes = life.Round({Life::Of("1", 11)});
  ASSERT_THAT(Kinds(changes), ElementsAre(Change::Kind::kUpdated));
  EXPECT_FALSE(changes[0].alert.unknown_since.has_value());
}

TEST(Alerts, EndWhenTheRowIsGoneFromASourceThatIsRead) {
  Life life(Slots());
  for (int i = 0; i < 3; ++i) life.Round({Life::Of("1", 11)});
  // Not while the metric cannot be read.
  AddMissing(Builtin(), "replication_slots", "", &life.sources_["1"].missing);
  life.Round({});
  ASSERT_EQ(life.book_.size(), 1U);
  life.sources_["1"].missing = {};
  const auto changes = life.Round({});
  ASSERT_THAT(Kinds(changes), ElementsAre(Change::Kind::kResolved));
  EXPECT_EQ(changes[0].reason, "it is there no more");
}

// A part that the collector does not read, and what becomes of an alert meanwhile.
struct Gap {
  const char* metric;
  const char* column;
  const char* more;
  const char* label;
  const char* what;
  const char* database;
  // With the row gone, and with a row whose value is below the threshold.
  bool stays_without_row;
  bool stays_with_less;
};

TEST(Alerts, StayWhileWhatTheyAskIsHiddenOrNotRead) {
  const char* const of_window = ", window: 10m";
  for (const Gap& gap : std::vector<Gap>{
           {"blocking", "blocked_us", "", "", "rows of other users", "", true, true},
           {"long_transactions", "xact_age_us", "", "datname", "rows of other users", "", true, true},
           {"connections", "sessions", "", "datname", "rows of other users", "", true, true},
           {"xmin_holders", "xmin_age", "", "", "rows of other users", "", true, true},
           {"table_stats", "n_dead_tup", "", "datname", "rows of other users", "", false, false},
           {"log_counts", "entries", of_window, "datname", "log", "", true, true},
           {"log_counts", "entries", of_window, "", "log", "", true, true},
           {"log_counts", "entries", of_window, "datname", "SQLSTATE of log entries", "", false, false},
           {"activity", "sessions_avg", "", "", "connection for activity", "", true, false},
           {"blocking", "blocked_us", "", "", "activity", "", true, false},
           {"table_stats", "n_dead_tup", "", "datname", "table_stats of app", "app", true, false},
           {"table_stats", "n_dead_tup", "", "datname", "table_stats of other", "other", false, false},
           {"table_stats", "n_dead_tup", "", "", "table_stats of other", "other", true, false},
           {"table_stats", "n_tup_upd", of_window, "datname", "database app", "app", true, true},
           {"table_stats", "n_tup_upd", of_window, "datname", "database other", "other", false, false},
           {"table_stats", "n_dead_tup", "", "datname", "list of databases", "", true, false},
           {"database", "numbackends", "", "datname", "list of databases", "", false, false},
           {"table_stats", "n_dead_tup", "", "datname", "batch of table_stats", "", true, false},
       }) {
    SCOPED_TRACE(absl::StrCat(gap.metric, " ", gap.column, ", ", gap.what));
    const std::string group_by = *gap.label == 0 ? "" : absl::StrCat(", group_by: [", gap.label, "]");
    const Rule rule = Parsed(
        absl::StrCat("name: probe\nsummary: \"{source} {value}\"\nseverity: info\nterms:\n  x: {metric: ", gap.metric,
                     ", column: ", gap.column, gap.more, group_by, "}\nabove: 10\nrunbook: look\n"));
    for (const bool with_row : {false, true}) {
      Life life(rule);
      const auto at = [&](double value) {
        return Sample{"1", *gap.label == 0 ? Labels() : Labels{{gap.label, "app"}}, value};
      };
      ASSERT_THAT(Kinds(life.Round({at(11)})), ElementsAre(Change::Kind::kFired));
      AddMissing(Builtin(), gap.what, gap.database, &life.sources_["1"].missing);
      const std::vector<Sample> less = with_row ? std::vector<Sample>{at(1)} : std::vector<Sample>();
      const bool stays = with_row ? gap.stays_with_less : gap.stays_without_row;
      EXPECT_THAT(Kinds(life.Round(less)), ElementsAre(stays ? Change::Kind::kUpdated : Change::Kind::kResolved))
          << with_row;
      if (!stays || life.book_.empty()) continue;
      EXPECT_TRUE(life.book_.begin()->second.unknown_since.has_value());
      // What is seen is a lower bound.
      EXPECT_THAT(Kinds(life.Round({at(12)})), ElementsAre(Change::Kind::kUpdated));
      EXPECT_FALSE(life.book_.begin()->second.unknown_since.has_value());
      life.sources_["1"].missing = {};
      EXPECT_THAT(Kinds(life.Round(less)), ElementsAre(Change::Kind::kResolved));
    }
  }
}

TEST(MissingParts, GoOnUntilTheirFirstReadingHasArrived) {
  MissingParts parts(absl::Seconds(150));
  const auto lacks = [&](const char* source) { return parts.Of(Builtin(), source).Lacks("table_stats", "app"); };
  parts.Tell("1", {"table_stats of app", "app"}, kBegin);
  EXPECT_TRUE(lacks("1"));
  EXPECT_FALSE(lacks("2"));
  parts.Forget(kBegin + absl::Seconds(150));
  EXPECT_TRUE(lacks("1"));
  parts.Forget(kBegin + absl::Seconds(151));
  EXPECT_FALSE(lacks("1"));
}

TEST(Alerts, OverAWindowStayWhileTheSourceIsSilent) {
  Life life(Parsed(R"(
name: probe
summary: "{source}: {value}"
severity: info
terms:
  refused: {metric: log_counts, column: entries, window: 10m, absent: 0}
above: 10
runbook: look
)"));
  life.Round({{"1", {}, 11}});
  life.sources_["1"].fresh = false;
  EXPECT_THAT(Kinds(life.Round({{"1", {}, 1}})), ElementsAre(Change::Kind::kUpdated));
  life.sources_["1"].fresh = true;
  EXPECT_THAT(Kinds(life.Round({{"1", {}, 1}})), ElementsAre(Change::Kind::kResolved));
}

TEST(Alerts, EndWithTheirSource) {
  Life life(Slots());
  for (int i = 0; i < 3; ++i) life.Round({Life::Of("1", 11)});
  life.sources_.erase("1");
  const auto changes = life.Round({Life::Of("1", 11)});
  ASSERT_THAT(Kinds(changes), ElementsAre(Change::Kind::kResolved));
  EXPECT_EQ(changes[0].reason, "the source was removed");
}

TEST(Alerts, OneThatAPersonClosedDoesNotFireAgainWhileItHolds) {
  Life life(Slots());
  for (int i = 0; i < 3; ++i) life.Round({Life::Of("1", 11)});
  life.book_.begin()->second.phase = Phase::kClosed;
  for (int i = 0; i < 5; ++i) life.Round({Life::Of("1", 20)});
  EXPECT_EQ(life.book_.begin()->second.phase, Phase::kClosed);
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 1)})), ElementsAre(Change::Kind::kResolved));
  EXPECT_THAT(Kinds(life.Round({Life::Of("1", 20)})), ElementsAre(Change::Kind::kBegan));
}

TEST(Alerts, SayWhichLabelIsEmpty) {
  Life life(Slots());
  const auto changes = life.Round({{"1", {{"slot_name", ""}}, 11.0 * (1 << 30)}});
  ASSERT_THAT(changes, SizeIs(1));
  EXPECT_EQ(changes[0].alert.summary, "(no slot_name) of db1 holds 11 GiB");
  EXPECT_EQ(changes[0].alert.labels.at("slot_name"), "");
}

TEST(Alerts, OfARuleThatIsGoneEnd) {
  Life life(Slots());
  for (int i = 0; i < 3; ++i) life.Round({Life::Of("1", 11), Life::Of("2", 11)});
  EXPECT_THAT(EndRule("probe", &life.book_), SizeIs(2));
  EXPECT_THAT(life.book_, IsEmpty());
}

TEST(Join, RowsMeetThoseWithFewerLabels) {
  const Rule rule = Parsed(R"(
name: probe
summary: "{datname} of {source}: {value}"
severity: info
terms:
  used: {metric: database, column: numbackends, group_by: [datname]}
  limit: {metric: settings, column: setting_value, filter: [setting_name=max_connections]}
value: used / limit
only_if: limit > 0
unit: ratio
above: 50%
runbook: look
)");
  const Answer used{absl::OkStatus(),
                    {{"1", {{"datname", "a"}}, 60}, {"1", {{"datname", "b"}}, 10}, {"2", {{"datname", "a"}}, 60}},
                    nullptr};
  const Answer limit{absl::OkStatus(), {{"1", {}, 100}}, nullptr};
  Sources sources;
  sources["1"] = {"1", "db1", "default", true, {}};
  sources["2"] = {"2", "db2", "default", true, {}};
  const Outcome outcome = Join(rule, {&used, &limit}, sources);
  ASSERT_EQ(outcome.readings.size(), 3U);
  EXPECT_EQ(outcome.readings[0].value, 0.6);
  EXPECT_EQ(outcome.readings[1].value, 0.1);
  // The limit of the second source is not known, so its share is not, either.
  EXPECT_FALSE(outcome.readings[2].known);
}

TEST(Join, AbsentRowsAreWhatTheRuleSaysOfSourcesThatAreRead) {
  const Rule rule = Parsed(R"(
name: probe
summary: "{source}: {value}"
severity: info
terms:
  waiting: {metric: activity, column: sessions_avg, filter: [wait_event_type=Lock], aggregate: sum, absent: 0}
below: 1
runbook: look
)");
  const Answer none;
  Sources sources;
  sources["1"] = {"1", "db1", "default", true, {}};
  sources["2"] = {"2", "db2", "default", false, {}};
  const Outcome outcome = Join(rule, {&none}, sources);
  ASSERT_EQ(outcome.readings.size(), 1U);
  EXPECT_EQ(outcome.readings[0].source_id, "1");
  EXPECT_EQ(outcome.readings[0].value, 0);
}

TEST(Reduce, TakesTheNewestReadingUnlessItIsOfTheRoundsBefore) {
  Term term;
  const auto at = [](int minute) { return kBegin + absl::Minutes(minute); };
  const std::vector<SeriesPointValue> points = {{at(0), 5, 60000}, {at(1), 7, 60000}, {at(2), std::nullopt, 0}};
  EXPECT_EQ(Reduce(term, points, at(1)), std::optional<std::optional<double>>(std::optional<double>(7)));
  EXPECT_EQ(Reduce(term, points, at(2)), std::nullopt);
}

TEST(Reduce, AddsIncreasesAndWeighsRatesByCoveredTime) {
  Term term;
  term.over_window = true;
  term.counter = true;
  term.aggregate = "sum";
  const std::vector<SeriesPointValue> points = {{kBegin, 6, 60000}, {kBegin + absl::Minutes(1), 2, 20000}};
  EXPECT_EQ(**Reduce(term, points, absl::InfinitePast()), 8);
  term.rate = true;
  EXPECT_EQ(**Reduce(term, points, absl::InfinitePast()), 5);
  EXPECT_EQ(Reduce(term, {}, absl::InfinitePast()), std::optional<std::optional<double>>(std::optional<double>()));
}

TEST(Reduce, ASlopeFollowsTheLineAndSaysWhenThereIsNone) {
  Term term;
  term.over_window = true;
  term.slope = true;
  term.aggregate = "min";
  term.window = absl::Hours(2);
  std::vector<SeriesPointValue> points;
  for (int i = 0; i < 60; ++i) points.push_back({kBegin + absl::Minutes(2 * i), 1000.0 - 240 * i, 120000});
  EXPECT_EQ(**Reduce(term, points, absl::InfinitePast()), -2);
  // A reading that is nonsense changes nothing.
  points[30].value = 1e12;
  EXPECT_EQ(**Reduce(term, points, absl::InfinitePast()), -2);
  // No direction.
  for (int i = 0; i < 60; ++i) points[static_cast<size_t>(i)].value = i % 7;
  EXPECT_EQ(**Reduce(term, points, absl::InfinitePast()), 0);
  // Less than half of the window, and fewer than twelve points.
  points.resize(25);
  EXPECT_EQ(Reduce(term, points, absl::InfinitePast()), std::optional<std::optional<double>>(std::optional<double>()));
  EXPECT_EQ(Reduce(term, {}, absl::InfinitePast()), std::optional<std::optional<double>>(std::optional<double>()));
}

TEST(StepOf, ALineHasEnoughPointsAndNoneBetweenReadings) {
  Term term;
  term.slope = true;
  term.over_window = true;
  term.window = absl::Hours(48);
  EXPECT_EQ(StepOf(term), 1800);
  term.interval_factor = 60;
  EXPECT_EQ(StepOf(term), 3600);
  term.window = absl::Hours(1);
  term.interval_factor = 1;
  EXPECT_EQ(StepOf(term), 60);
}

TEST(NumberOf, ReadsFlagsNumbersAndAges) {
  Term term;
  EXPECT_EQ(NumberOf(term, "t", kBegin), 1);
  EXPECT_EQ(NumberOf(term, "off", kBegin), 0);
  EXPECT_EQ(NumberOf(term, "128", kBegin), 128);
  EXPECT_EQ(NumberOf(term, "many", kBegin), std::nullopt);
  term.equals = {"lost"};
  EXPECT_EQ(NumberOf(term, "lost", kBegin), 1);
  EXPECT_EQ(NumberOf(term, "reserved", kBegin), 0);
  term.equals.clear();
  term.age = true;
  EXPECT_EQ(NumberOf(term, "2025-12-31 23:58:30.5+00", kBegin), 89.5);
}

TEST(Silences, HoldByLabelsAndTime) {
  Silence silence;
  silence.id = "s";
  silence.matchers = {{"source", "db.*", true, false}, {"severity", "critical", false, true}};
  silence.starts_at = kBegin;
  silence.ends_at = kBegin + absl::Hours(1);
  silence.comment = "maintenance";
  EXPECT_THAT(CheckSilence(silence, kBegin), status::IsOk());
  const auto labels = [](const char* source, const char* severity) {
    return OutsideLabels("disk_full", severity, "default", {{"source", source}});
  };
  EXPECT_THAT(Silencer({silence}).SilencedBy(labels("db1", "warning"), kBegin), ElementsAre("s"));
  EXPECT_THAT(Silencer({silence}).SilencedBy(labels("db1", "critical"), kBegin), IsEmpty());
  EXPECT_THAT(Silencer({silence}).SilencedBy(labels("mydb1", "warning"), kBegin), IsEmpty());
  EXPECT_THAT(Silencer({silence}).SilencedBy(labels("db1", "warning"), silence.ends_at), IsEmpty());
  silence.matchers = {{"source", ".*", true, false}};
  EXPECT_FALSE(CheckSilence(silence, kBegin).ok());
  silence.matchers = {{"source", "(", true, false}};
  EXPECT_FALSE(CheckSilence(silence, kBegin).ok());
}

TEST(BuiltinRules, KeepWhatTheirOwnTestsSay) {
  RuleSource source({});
  ASSERT_THAT(source.Reload(), status::IsOk());
  const auto set = source.current();
  EXPECT_GE(set->rules.size(), 45U);
  size_t tests = 0;
  for (const auto& [name, rule] : set->rules) {
    tests += rule.tests.size();
    EXPECT_GE(rule.tests.size(), kLeastTests) << name;
    EXPECT_THAT(RunTests(rule), IsEmpty()) << name;
    bool fires = false;
    bool quiet = false;
    for (const RuleTest& test : rule.tests) {
      for (const RuleTest::Expectation& expected : test.expectations) {
        fires = fires || !expected.firing.empty();
        quiet = quiet || expected.firing.empty();
      }
    }
    EXPECT_TRUE(fires && quiet) << name << " has no test in which it fires, or none in which it does not";
  }
  std::printf("%zu rules, %zu tests in their files\n", set->rules.size(), tests);
}

// A test that cannot fail would say nothing.
TEST(BuiltinRules, FailTheirTestsWithAnotherThreshold) {
  RuleSource source({});
  ASSERT_THAT(source.Reload(), status::IsOk());
  for (const auto& [name, rule] : source.current()->rules) {
    Rule other = rule;
    other.threshold = other.above ? 1e300 : -1e300;
    other.resolve = other.threshold;
    EXPECT_FALSE(RunTests(other).empty()) << name << ": its tests hold although it never fires";
    other.threshold = other.above ? -1e300 : 1e300;
    other.resolve = other.threshold;
    EXPECT_FALSE(RunTests(other).empty()) << name << ": its tests hold although it always fires";
  }
}

}  // namespace
}  // namespace pga::ruler
