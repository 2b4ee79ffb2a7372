// Rule files: what they may say, and what is said of bad ones.
#include "services/ruler/rule_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "libs/catalog/prometheus.h"
#include "libs/status/testing.h"
#include "libs/testing/temp_dir.h"
#include "services/ruler/expression.h"
#include "services/ruler/prometheus_rules.h"
#include "services/ruler/quantity.h"
#include "services/ruler/rule_set.h"

namespace pga::ruler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kGood[] = R"(name: probe
summary: "{source}: {value}"
severity: warning
terms:
  held: {metric: replication_slots, column: retained_bytes, group_by: [slot_name]}
above: 10GiB
resolve: 8GiB
for: 2m
runbook: look
tests:
  - name: fires
    rows: [{source: a, slot_name: s, held: 1GiB 11GiBx9}]
    expect: [{at: 3m, firing: [{source: a, slot_name: s}], summary: "a: 11 GiB"}]
)";

absl::StatusOr<Rule> Parse(const std::string& yaml, bool custom = true) {
  return ParseRuleFile(yaml, **catalog::Catalog::Builtin(), {.file_name = "probe.yaml", .custom = custom});
}

TEST(RuleFile, IsRead) {
  const auto rule = Parse(kGood);
  ASSERT_THAT(rule, status::IsOk());
  EXPECT_EQ(rule->threshold, 10.0 * (1 << 30));
  EXPECT_EQ(rule->resolve, 8.0 * (1 << 30));
  EXPECT_EQ(rule->hold, absl::Minutes(2));
  EXPECT_EQ(rule->unit, "bytes");
  EXPECT_EQ(rule->tests.size(), 1U);
}

TEST(RuleFile, BadOnesAreRefusedWithLineAndRemedy) {
  const std::vector<std::pair<std::pair<std::string, std::string>, std::string>> cases = {
      {{"metric: replication_slots", "metric: slots"},
       "probe.yaml:5: term held: metric \"slots\" is not in the catalog"},
      {{"column: retained_bytes", "column: bytes"}, "probe.yaml:5: term held: column \"bytes\" is no column"},
      {{"group_by: [slot_name]", "group_by: [slot]"}, "probe.yaml:5: term held: group_by: \"slot\" is no label"},
      {{"above: 10GiB", "above: 10m"}, "probe.yaml:6: above: \"10m\": the value is in bytes; use B, KiB"},
      {{"resolve: 8GiB", "resolve: 12GiB"}, "probe.yaml:7: resolve: lies above the threshold"},
      {{"for: 2m", "for: 2"}, "probe.yaml:8: for: \"2\" has no unit; write 2s, 2m"},
      {{"severity: warning", "severity: bad"}, "probe.yaml:3: severity is \"bad\"; use info, warning or critical"},
      {{"name: probe", "name: other"}, "probe.yaml:1: name: the file is called probe.yaml"},
      {{"runbook: look", "rumbook: look"}, "probe.yaml:9: unknown key \"rumbook\"; known are name"},
      {{"above: 10GiB", "above: 10GiB\nbelow: 1GiB"}, "want above or below"},
      {{"severity:", "value: held +\nseverity:"}, "value: a number or the name of a term is missing at the end"},
      {{"severity:", "value: held / size\nseverity:"}, "value: there is no term called size"},
      {{"held: 1GiB 11GiBx9", "held: much"}, "\"much\" is no number"},
      {{"rows: [", "rows: {"}, "not valid YAML"},
      {{"group_by: [slot_name]", "where: [slot_type=physical]"}, "where: is for columns of kind info; use filter"},
      {{"retained_bytes, group_by: [slot_name]", "wal_status, where: [nothing=1]"},
       "where: \"nothing\" is to be an info column of replication_slots"},
      {{"group_by: [slot_name]", "rate: true"}, "rate: retained_bytes is no counter"},
      {{"group_by: [slot_name]", "filter: [\"slot_name~(((((a{1,100}){1,100}){1,100}\"]"},
       "probe.yaml:5: term held: filter: the regular expression for slot_name is not understood: invalid repetition"},
      {{"group_by: [slot_name]", "filter: [\"slot_name~(a\"]"}, "slot_name is not understood: missing )"},
      {{"group_by: [slot_name]", "filter: [slot_name]"},
       "filter: filter 'slot_name' is not understood; write label=value"},
      {{"group_by: [slot_name]", "aggregate: middle"}, "aggregate is \"middle\"; use sum, avg, min, max or last"},
  };
  for (const auto& [change, message] : cases) {
    const auto rule = Parse(absl::StrReplaceAll(kGood, {{change.first, change.second}}));
    ASSERT_FALSE(rule.ok()) << change.second;
    EXPECT_THAT(std::string(rule.status().message()), HasSubstr(message)) << change.second;
    EXPECT_THAT(std::string(rule.status().message()), HasSubstr("probe.yaml:"));
  }
  EXPECT_THAT(std::string(Parse(kGood, false).status().message()), HasSubstr("tests: a built-in rule has at least 3"));
  for (const char* text : {"", ",", "[]", "a: [", "%", "- a", "name: {a: b}"}) EXPECT_FALSE(Parse(text).ok()) << text;
}

TEST(RuleFolder, BadFilesAreRefusedAndTheOthersGoOn) {
  const testing::ScopedTempDir dir;
  const auto write = [&](const std::string& name, const std::string& text) { std::ofstream(dir / name) << text; };
  write("probe.yaml", kGood);
  write("other.yaml",
        absl::StrReplaceAll(kGood, {{"name: probe", "name: other"}, {"severity: warning", "severity: bad"}}));
  write("notes.txt", "no rule");
  RuleSource source({.folder = dir.path(), .disabled = {"disk_full", "nonsense"}, .catalog_folder = {}});
  ASSERT_THAT(source.Reload(), status::IsOk());
  const auto set = source.current();
  EXPECT_TRUE(set->rules.contains("probe"));
  EXPECT_FALSE(set->rules.contains("other"));
  EXPECT_FALSE(set->rules.contains("disk_full"));
  EXPECT_TRUE(set->rules.contains("deadlocks"));
  EXPECT_THAT(set->problems, ElementsAre(HasSubstr("other.yaml:3: severity is"), HasSubstr("nonsense")));
  // A good file that turns bad keeps its last good rule; one whose tests fail is bad.
  write("probe.yaml", absl::StrReplaceAll(kGood, {{"above: 10GiB", "above: 20GiB"}}));
  ASSERT_THAT(source.Reload(), status::IsOk());
  EXPECT_EQ(source.current()->rules.at("probe").threshold, 10.0 * (1 << 30));
  EXPECT_THAT(source.current()->problems,
              ElementsAre(HasSubstr("other.yaml"), HasSubstr("test \"fires\": at 3m: firing []"), HasSubstr("it says"),
                          HasSubstr("nonsense")));
  std::filesystem::remove(std::string(dir / "probe.yaml"));
  ASSERT_THAT(source.Reload(), status::IsOk());
  EXPECT_FALSE(source.current()->rules.contains("probe"));
}

TEST(RuleSource, KnowsAMetricThatIsAddedToTheCatalogLater) {
  const testing::ScopedTempDir rules;
  const testing::ScopedTempDir catalog;
  std::ofstream(rules / "probe.yaml")
      << "name: probe\nsummary: x\nseverity: info\nrunbook: x\nabove: 1\nterms:\n  jobs: "
         "{metric: own_jobs, column: jobs}\n";
  RuleSource source(
      {.folder = rules.path(), .disabled = {}, .without_builtin = true, .catalog_folder = catalog.path()});
  ASSERT_THAT(source.Reload(), status::IsOk());
  EXPECT_THAT(source.current()->problems, ElementsAre(HasSubstr("metric \"own_jobs\" is not in the catalog")));
  EXPECT_THAT(source.TakeNewProblems(), ::testing::SizeIs(1));
  std::ofstream(catalog / "own_jobs.yaml") << R"(name: own_jobs
schema_version: 1
description: Jobs.
scope: instance
queries:
  - min_version: 13
    sql: SELECT 1::int8 AS jobs
columns:
  - {name: jobs, type: int8, kind: gauge, unit: "1", description: Jobs.}
)";
  ASSERT_THAT(source.Reload(), status::IsOk());
  EXPECT_THAT(source.current()->problems, IsEmpty());
  EXPECT_TRUE(source.current()->rules.contains("probe"));
  // A bad file leaves the last good catalog in force, and is said once.
  std::ofstream(catalog / "bad.yaml") << "name: bad\n";
  ASSERT_THAT(source.Reload(), status::IsOk());
  EXPECT_TRUE(source.current()->rules.contains("probe"));
  EXPECT_THAT(source.current()->problems, ::testing::Not(IsEmpty()));
  EXPECT_THAT(source.TakeNewProblems(), ::testing::Not(IsEmpty()));
  EXPECT_THAT(source.TakeNewProblems(), IsEmpty());
}

TEST(Expression, FollowsThePrecedenceOfOperators) {
  const auto value = [](const char* text) {
    const auto parsed = Expression::Parse(text);
    EXPECT_THAT(parsed, status::IsOk()) << text;
    return parsed.ok() ? parsed->Evaluate([](size_t i) { return i == 0 ? 6.0 : 2.0; }, [](size_t) { return 3.0; })
                       : std::nullopt;
  };
  EXPECT_EQ(value("a + b * 3"), 12);
  EXPECT_EQ(value("(a + b) * 3"), 24);
  EXPECT_EQ(value("a - b - 1"), 3);
  EXPECT_EQ(value("a / b / 3"), 1);
  EXPECT_EQ(value("a + b > 7"), 1);
  EXPECT_EQ(value("a <= b"), 0);
  EXPECT_EQ(value("a / (b - 2)"), std::nullopt);
  EXPECT_EQ(value("a / usual(a + (b))"), 2);
  EXPECT_EQ(value("usual(a) * spread(b) - 1"), 8);
  for (const char* bad : {"", "a +", "+ a", "a b", "(a", "a)", "a & b", "()", "1..2 3", "a = b"}) {
    EXPECT_FALSE(Expression::Parse(bad).ok()) << bad;
  }
  EXPECT_FALSE(Expression::Parse(std::string(60, '(') + "a" + std::string(60, ')')).ok());
}

TEST(Quantity, IsReadAndWrittenWithUnits) {
  EXPECT_EQ(*ParseQuantity("1.5GiB", "bytes"), 1.5 * (1 << 30));
  EXPECT_EQ(*ParseQuantity("5m", "us"), 300e6);
  EXPECT_EQ(*ParseQuantity("5m", "s"), 300);
  EXPECT_EQ(*ParseQuantity("90%", "ratio"), 0.9);
  EXPECT_EQ(*ParseQuantity("50MiB", "bytes/s"), 50.0 * (1 << 20));
  EXPECT_FALSE(ParseQuantity("5m", "rows").ok());
  EXPECT_FALSE(ParseQuantity("", "rows").ok());
  EXPECT_FALSE(ParseSpan("-5m").ok());
  EXPECT_EQ(FormatQuantity(12.5 * (1 << 30), "bytes"), "12.5 GiB");
  EXPECT_EQ(FormatQuantity(300e6, "us"), "5 min");
  EXPECT_EQ(FormatQuantity(250, "ms"), "250 ms");
  EXPECT_EQ(FormatQuantity(0.8724, "ratio"), "87.2 %");
  EXPECT_EQ(FormatQuantity(1234567, "1"), "1,234,567");
  EXPECT_EQ(FormatQuantity(0, "s"), "0 s");
}

TEST(PrometheusRules, AreWrittenForWhatIsExportedAndTheRestIsListed) {
  RuleSource source({});
  ASSERT_THAT(source.Reload(), status::IsOk());
  const auto names = catalog::PrometheusNames::Create(*catalog::Catalog::Builtin());
  ASSERT_THAT(names, status::IsOk());
  const PrometheusRules made = MakePrometheusRules(source.current()->rules, **names, "rules.yaml");
  EXPECT_EQ(made.written + made.left_out.size(), source.current()->rules.size());
  EXPECT_GE(made.written, 30);
  EXPECT_GE(made.tested, made.written - 3);
  EXPECT_THAT(made.rules, HasSubstr("pg_replication_slots_pg_wal_lsn_diff"));
  EXPECT_TRUE(made.left_out.contains("settings_changed"));
  std::printf("%d rules for Prometheus, %zu left out\n", made.written, made.left_out.size());
}

}  // namespace
}  // namespace pga::ruler
