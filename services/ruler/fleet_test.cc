// Many that are hit at once: one alert with its members, from beginning to end.
#include "services/ruler/fleet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"
#include "services/ruler/rule_file.h"

namespace pga::ruler {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kBegin = absl::FromUnixSeconds(1'767'225'600);

Rule Lag(int together) {
  const auto rule =
      ParseRuleFile(absl::StrCat(R"(
name: probe
summary: "{source} lags by {value}"
severity: warning
terms:
  lag: {metric: replication, column: sent_lag_bytes}
above: 10
resolve: 5
for: 2m
)",
                                 together == 0 ? "" : absl::StrCat("together: ", together, "\n"), "runbook: look\n"),
                    **catalog::Catalog::Builtin(), {.file_name = "probe.yaml", .custom = true});
  EXPECT_THAT(rule, status::IsOk());
  return rule.ok() ? *rule : Rule();
}

// Six sources of one group and one of another, a minute a round.
class Fleet {
 public:
  explicit Fleet(int together) : rule_(Lag(together)) {
    for (const char* id : {"1", "2", "3", "4", "5", "6"}) sources_[id] = {id, absl::StrCat("db", id), "east", true, {}};
    sources_["9"] = {"9", "db9", "west", true, {}};
  }
  // Every source at 1, but for those that are named.
  std::vector<Change> Round(const std::map<std::string, double>& values) {
    Answer answer;
    for (const auto& [id, source] : sources_) {
      const auto given = values.find(id);
      answer.samples.push_back({id, {}, given == values.end() ? 1 : given->second});
    }
    auto changes = Advance(rule_, Join(rule_, {&answer}, sources_), sources_, kBegin + minute_, &book_);
    minute_ += absl::Minutes(1);
    return changes;
  }
  std::vector<Change> Rounds(int count, const std::map<std::string, double>& values) {
    std::vector<Change> changes;
    for (int i = 0; i < count; ++i) {
      for (Change& change : Round(values)) changes.push_back(std::move(change));
    }
    return changes;
  }
  // What receivers hear of: alerts that fire and are no member of another, by what they are about.
  std::vector<std::string> Told() const {
    std::vector<std::string> heard;
    for (const auto& [key, alert] : book_) {
      if (alert.phase == Phase::kFiring && !alert.joined) {
        heard.push_back(alert.fleet ? alert.labels.at("fleet") : alert.labels.at("source"));
      }
    }
    return heard;
  }
  const Alert* Gathered() const {
    for (const auto& [key, alert] : book_) {
      if (alert.fleet) return &alert;
    }
    return nullptr;
  }

  Rule rule_;
  Sources sources_;
  AlertBook book_;
  absl::Duration minute_ = absl::ZeroDuration();
};

TEST(Fleet, ManyAtOnceAreOneAlertWithItsMembers) {
  Fleet fleet(3);
  // They do not begin in the same minute.
  fleet.Round({{"1", 20}});
  fleet.Round({{"1", 20}, {"2", 30}, {"3", 20}, {"4", 20}});
  EXPECT_THAT(fleet.Told(), IsEmpty());
  fleet.Round({{"1", 20}, {"2", 30}, {"3", 20}, {"4", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("east"));
  ASSERT_NE(fleet.Gathered(), nullptr);
  EXPECT_THAT(fleet.Gathered()->members, ElementsAre("db1", "db2", "db3", "db4"));
  EXPECT_EQ(fleet.Gathered()->summary, "4 of 6 sources of east at once (db1, db2, db3, db4): db2 lags by 30 B");
  EXPECT_EQ(fleet.Gathered()->source_group, "east");
  EXPECT_EQ(fleet.Gathered()->began, kBegin);
  EXPECT_EQ(*fleet.Gathered()->value, 30);
  // The others fire as members, and nothing more is said.
  fleet.Rounds(2, {{"1", 20}, {"2", 30}, {"3", 20}, {"4", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("east"));
  // One that comes a few minutes later joins.
  fleet.Rounds(4, {{"1", 20}, {"2", 30}, {"3", 20}, {"4", 20}, {"5", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("east"));
  EXPECT_THAT(fleet.Gathered()->members, SizeIs(5));
}

TEST(Fleet, EndsOnceWithTheLastMember) {
  Fleet fleet(3);
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}});
  ASSERT_THAT(fleet.Told(), ElementsAre("east"));
  fleet.Round({{"1", 20}, {"2", 20}});
  EXPECT_THAT(fleet.Gathered()->members, ElementsAre("db1", "db2"));
  const auto ended = fleet.Round({});
  EXPECT_THAT(fleet.book_, IsEmpty());
  int heard = 0;
  for (const Change& change : ended) {
    EXPECT_EQ(change.kind, Change::Kind::kResolved);
    heard += change.alert.joined ? 0 : 1;
  }
  EXPECT_EQ(heard, 1);
}

TEST(Fleet, TheFewThatAreLeftGoOnAsTheirOwn) {
  Fleet fleet(4);
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}, {"4", 20}});
  ASSERT_THAT(fleet.Told(), ElementsAre("east"));
  // Half of what it takes is enough to go on.
  fleet.Rounds(10, {{"1", 20}, {"2", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("east"));
  // Fewer are not, after a while.
  fleet.Rounds(4, {{"1", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("east"));
  const auto changes = fleet.Round({{"1", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("db1"));
  ASSERT_THAT(changes, SizeIs(2));
  EXPECT_THAT(changes[1].reason, HasSubstr("1 of them are left"));
  fleet.Round({});
  EXPECT_THAT(fleet.book_, IsEmpty());
}

TEST(Fleet, OneThatIsHitLaterIsItsOwn) {
  Fleet fleet(3);
  fleet.Rounds(20, {{"1", 20}, {"2", 20}, {"3", 20}});
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}, {"6", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("east", "db6"));
}

TEST(Fleet, FewerAreAlertsEachAndGroupsAreApart) {
  Fleet fleet(4);
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}, {"9", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("db1", "db2", "db3", "db9"));
  // What people heard of stays what it was.
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}, {"4", 20}, {"5", 20}, {"9", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("db1", "db2", "db3", "db4", "db5", "db9"));
}

TEST(Fleet, OneThatAPersonEndedKeepsItsMembersQuiet) {
  Fleet fleet(3);
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}});
  for (auto& [key, alert] : fleet.book_) {
    if (alert.fleet) alert.phase = Phase::kClosed;
  }
  fleet.Rounds(20, {{"1", 20}});
  EXPECT_THAT(fleet.Told(), IsEmpty());
  fleet.Round({});
  EXPECT_THAT(fleet.book_, IsEmpty());
}

TEST(Fleet, ARuleThatJoinsNoMoreLetsItsMembersGo) {
  Fleet fleet(3);
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}});
  fleet.rule_ = Lag(0);
  fleet.Round({{"1", 20}, {"2", 20}, {"3", 20}});
  EXPECT_THAT(fleet.Told(), ElementsAre("db1", "db2", "db3"));
}

TEST(Fleet, WhatIsNotKnownNeitherEndsItNorLetsItGo) {
  Fleet fleet(3);
  fleet.Rounds(4, {{"1", 20}, {"2", 20}, {"3", 20}});
  for (auto& [id, source] : fleet.sources_) source.fresh = false;
  Answer none;
  for (int i = 0; i < 10; ++i) {
    Advance(fleet.rule_, Join(fleet.rule_, {&none}, fleet.sources_), fleet.sources_,
            kBegin + fleet.minute_ + absl::Minutes(i), &fleet.book_);
  }
  EXPECT_THAT(fleet.Told(), ElementsAre("east"));
  EXPECT_THAT(fleet.Gathered()->members, SizeIs(3));
}

TEST(Fleet, NeedsToWaitAndSaysSo) {
  for (const char* bad : {"together: 1\nfor: 2m\n", "together: many\nfor: 2m\n", "together: 5\n"}) {
    const auto rule = ParseRuleFile(
        absl::StrCat("name: probe\nsummary: x\nseverity: info\nrunbook: x\nabove: 1\nterms:\n  lag: {metric: "
                     "replication, column: sent_lag_bytes}\n",
                     bad),
        **catalog::Catalog::Builtin(), {.file_name = "probe.yaml", .custom = true});
    ASSERT_FALSE(rule.ok()) << bad;
    EXPECT_THAT(std::string(rule.status().message()), HasSubstr("together: ")) << bad;
  }
}

}  // namespace
}  // namespace pga::ruler
