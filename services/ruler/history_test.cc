// What a figure is as a rule at this hour of the week: usual() and spread() in rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/columns/baseline.h"
#include "libs/status/testing.h"
#include "services/ruler/alerts.h"
#include "services/ruler/rule_file.h"

namespace pga::ruler {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kHour = 490'000;

absl::StatusOr<Rule> Parse(const std::string& term, const std::string& value) {
  return ParseRuleFile(
      absl::StrCat("name: probe\nsummary: x\nseverity: info\nrunbook: x\nabove: 1\nterms:\n  done: {", term,
                   "}\n  back: {metric: database, column: xact_rollback, rate: true, window: "
                   "1h, absent: 0}\nvalue: ",
                   value, "\n"),
      **catalog::Catalog::Builtin(), {.file_name = "probe.yaml", .custom = true});
}

constexpr char kDone[] = "metric: database, column: xact_commit, rate: true, window: 1h";

class Hours : public ::testing::Test {
 protected:
  Hours() { sources_["1"] = {"1", "db1", "default", true, {}}; }
  // This hour and the one before it, a week and more ago.
  void Past(History* history, int weeks, double before, double now) {
    history->hour = kHour;
    for (int week = 1; week <= weeks; ++week) {
      history->rows[{"1", {}}][kHour - week * columns::kHoursOfWeek] = now;
      history->rows[{"1", {}}][kHour - 1 - week * columns::kHoursOfWeek] = before;
    }
  }
  Outcome Of(const std::string& value, double done, double back) {
    const auto rule = Parse(kDone, value);
    EXPECT_THAT(rule, status::IsOk());
    if (!rule.ok()) return {};
    const Answer first{absl::OkStatus(), {{"1", {}, done}}, std::make_shared<const History>(done_)};
    const Answer second{absl::OkStatus(), {{"1", {}, back}}, std::make_shared<const History>(back_)};
    return Join(*rule, {&first, &second}, sources_);
  }

  Sources sources_;
  History done_;
  History back_;
};

TEST_F(Hours, UsualIsTheMedianAndSpreadHowFarItStrays) {
  Past(&done_, 4, 100, 100);
  done_.rows[{"1", {}}][kHour - columns::kHoursOfWeek] = 900;
  Past(&back_, 4, 1, 1);
  EXPECT_EQ(Of("done / usual(done)", 200, 1).readings.at(0).value, 2);
  EXPECT_EQ(Of("spread(done)", 200, 1).readings.at(0).value, 10);
  EXPECT_EQ(Of("(done - usual(done)) / spread(done)", 200, 1).readings.at(0).value, 10);
}

TEST_F(Hours, BetweenTwoHoursWhatIsUsualInEitherIsUsual) {
  // At nine the day begins.
  Past(&done_, 4, 10, 100);
  Past(&back_, 4, 1, 1);
  for (const double present : {10.0, 55.0, 100.0}) {
    EXPECT_EQ(Of("done / usual(done)", present, 1).readings.at(0).value, 1) << present;
  }
  EXPECT_EQ(Of("done / usual(done)", 200, 1).readings.at(0).value, 2);
  EXPECT_EQ(Of("done / usual(done)", 5, 1).readings.at(0).value, 0.5);
}

TEST_F(Hours, ExpressionsAreTakenHourByHour) {
  // Twice the load in odd weeks, with the same share.
  Past(&done_, 4, 0, 0);
  Past(&back_, 4, 0, 0);
  for (int week = 1; week <= 4; ++week) {
    for (const int64_t hour : {kHour - 1, kHour}) {
      done_.rows[{"1", {}}][hour - week * columns::kHoursOfWeek] = week % 2 == 1 ? 180 : 90;
      back_.rows[{"1", {}}][hour - week * columns::kHoursOfWeek] = week % 2 == 1 ? 20 : 10;
    }
  }
  EXPECT_DOUBLE_EQ(*Of("(back / (back + done)) / usual(back / (back + done))", 60, 40).readings.at(0).value, 4);
}

TEST_F(Hours, ShortHistoryIsUnknownAndSaysSo) {
  Past(&done_, 2, 100, 100);
  Past(&back_, 4, 1, 1);
  const Outcome outcome = Of("done / usual(done)", 200, 1);
  EXPECT_FALSE(outcome.readings.at(0).known);
  EXPECT_EQ(outcome.readings.at(0).reason, "too little history of this hour of the week");
  EXPECT_EQ(outcome.without_baseline, 1);
  // Three weeks of the one hour and two of the other are too few as well.
  done_.rows[{"1", {}}][kHour - 3 * columns::kHoursOfWeek] = 100;
  EXPECT_FALSE(Of("done / usual(done)", 200, 1).readings.at(0).known);
  done_.rows[{"1", {}}][kHour - 1 - 3 * columns::kHoursOfWeek] = 100;
  EXPECT_EQ(Of("done / usual(done)", 200, 1).readings.at(0).value, 2);
}

TEST_F(Hours, ARowThatWasNotThereIsWhatTheTermSaysWhileTheSourceWasRead) {
  Past(&done_, 4, 100, 100);
  back_.hour = kHour;
  EXPECT_FALSE(Of("back - usual(back)", 100, 5).readings.at(0).known);
  for (int week = 1; week <= 3; ++week) {
    for (const int64_t hour : {kHour - 1, kHour}) back_.covered["1"].insert(hour - week * columns::kHoursOfWeek);
  }
  EXPECT_EQ(Of("back - usual(back)", 100, 5).readings.at(0).value, 5);
}

TEST(HistoryTerms, AreOfWholeHoursAndSaySo) {
  EXPECT_THAT(Parse(kDone, "done / usual(done + back)"), status::IsOk());
  const std::vector<std::pair<std::pair<std::string, std::string>, std::string>> cases = {
      {{"metric: database, column: xact_commit, rate: true, window: 30m", "done / usual(done) + back"},
       "term done: within usual() and spread() a term has window: 1h"},
      {{"metric: database, column: numbackends", "done / usual(done) + back"}, "has window: 1h"},
      {{"metric: server, column: is_in_recovery", "done / usual(done) + back"}, "need a counter or gauge"},
      {{absl::StrCat(kDone, ", offset: 1d"), "done / usual(done) + back"}, "without slope and offset"},
      {{kDone, "done / usual(more)"}, "there is no term called more"},
      {{kDone, "done / usual(3)"}, "take an expression over terms"},
      {{kDone, "done / usual(usual(done))"}, "takes no other function inside"},
      {{kDone, "done / median(done)"}, "\"median\" is no function"},
      {{kDone, "done / usual(done"}, "a parenthesis is not closed"},
      {{kDone, "done / usual()"}, "is missing"},
  };
  for (const auto& [given, message] : cases) {
    const auto rule = Parse(given.first, given.second);
    ASSERT_FALSE(rule.ok()) << given.second;
    EXPECT_THAT(std::string(rule.status().message()), HasSubstr(message)) << given.first << " " << given.second;
  }
}

}  // namespace
}  // namespace pga::ruler
