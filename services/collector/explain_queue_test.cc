#include "services/collector/explain_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/catalog/catalog.h"

namespace pga::collector {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr int64_t kMinute = int64_t{60} * 1'000'000'000;

struct Entry {
  int64_t database = 1;
  int64_t query = 0;
  int64_t calls = 0;
  int64_t time_us = 0;
  int64_t user = 10;
  const char* user_name = "app";
};

class Queue : public ::testing::Test {
 protected:
  void Read(const std::vector<Entry>& entries, const char* without = "") {
    Reading reading(shape_);
    for (const Entry& entry : entries) {
      reading.AddRow();
      reading.SetInt(shape_.Find("userid"), entry.user);
      reading.SetInt(shape_.Find("dbid"), entry.database);
      reading.SetInt(shape_.Find("queryid"), entry.query);
      reading.SetText(shape_.Find("datname"), "db" + std::to_string(entry.database));
      reading.SetText(shape_.Find("username"), entry.user_name);
      reading.SetInt(shape_.Find("calls"), entry.calls);
      reading.SetInt(shape_.Find("total_exec_time_us"), entry.time_us);
      reading.SetInt(shape_.Find("total_plan_time_us"), 0);
    }
    queue_.Observe(reading, without, now_);
  }
  void GiveTexts() {
    for (const ExplainQueue::Id& id : queue_.WithoutText(now_)) queue_.SetText(id, "SELECT 1");
  }
  // Queries in the order in which they are taken, each of them planned.
  std::vector<int64_t> TakeAll(const std::string& database = "db1", int64_t took_us = 1000) {
    std::vector<int64_t> taken;
    while (const auto statement = queue_.Take(database, now_)) {
      taken.push_back(statement->id.second);
      queue_.Done(statement->id, true, took_us, now_);
    }
    return taken;
  }

  const MetricShape shape_{*catalog::Catalog::Builtin().value()->Find("statements")};
  int64_t now_ = 1000 * kMinute;
  ExplainQueue queue_{ExplainLimits()};
};

TEST_F(Queue, TheGreatestCostOfTheIntervalComesFirst) {
  Read({{1, 1, 5, 900}, {1, 2, 5, 100}, {1, 3, 5, 100}, {2, 4, 1, 1}});
  GiveTexts();
  EXPECT_THAT(TakeAll(), IsEmpty());  // when they ran is not known
  Read({{1, 1, 6, 1000}, {1, 2, 6, 5000}, {1, 3, 5, 100}, {2, 4, 2, 2}});
  EXPECT_THAT(queue_.WithoutText(now_), SizeIs(3));
  GiveTexts();
  EXPECT_THAT(queue_.Databases(), ElementsAre("db1", "db2"));
  EXPECT_THAT(TakeAll(), ElementsAre(2, 1));
  EXPECT_THAT(TakeAll("db2"), ElementsAre(4));
  queue_.LookedAt("db1", "", now_);
  EXPECT_THAT(queue_.Databases(), ElementsAre("db2", "db1"));
}

TEST_F(Queue, APlanIsMadeAgainWhenItMayNoLongerHold) {
  Read({{1, 1, 0, 0}, {1, 2, 0, 0}});
  Read({{1, 1, 10, 1000}, {1, 2, 10, 1000}});
  GiveTexts();
  queue_.LookedAt("db1", "two indexes", now_);
  EXPECT_THAT(TakeAll(), SizeIs(2));
  now_ += kMinute;
  Read({{1, 1, 20, 2000}, {1, 2, 20, 2000}});
  queue_.LookedAt("db1", "two indexes", now_);
  EXPECT_THAT(TakeAll(), IsEmpty());
  Read({{1, 1, 30, 3000}, {1, 2, 30, 5000}});  // three times as long
  EXPECT_THAT(TakeAll(), ElementsAre(2));
  queue_.LookedAt("db1", "one index", now_);
  EXPECT_THAT(TakeAll(), ElementsAre(2, 1));
  now_ += 61 * kMinute;
  EXPECT_THAT(TakeAll(), IsEmpty());  // old, but nobody asks for it
  Read({{1, 1, 40, 4000}, {1, 2, 30, 5000}});
  EXPECT_THAT(TakeAll(), ElementsAre(1));
}

TEST_F(Queue, WhatTheLogTellsIsNotAskedFor) {
  Read({{1, 1, 0, 0}, {2, 1, 0, 0}});
  Read({{1, 1, 10, 1000}, {2, 1, 10, 1000}});
  GiveTexts();
  queue_.Logged("db1", 1, now_);
  EXPECT_THAT(TakeAll("db1"), IsEmpty());
  EXPECT_THAT(TakeAll("db2"), ElementsAre(1));
}

TEST_F(Queue, ItsBudgetIsKept) {
  std::vector<Entry> before, after;
  for (int64_t i = 1; i <= 100; ++i) {
    before.push_back({1, i, 0, 0});
    after.push_back({1, i, 1, i});
  }
  Read(before);
  Read(after);
  GiveTexts();
  EXPECT_THAT(TakeAll(), SizeIs(20));
  EXPECT_EQ(queue_.Waiting("db1", now_), 80);
  now_ += kMinute / 2;
  EXPECT_THAT(TakeAll(), SizeIs(10));
  now_ += 60 * kMinute;
  // 500 ms: the third of 200 ms each is begun and is the last, and what it took too long is missing later.
  EXPECT_THAT(TakeAll("db1", 200'000), SizeIs(3));
  now_ += kMinute / 10;
  EXPECT_THAT(TakeAll(), IsEmpty());
}

TEST_F(Queue, WhatFailsRestsLongerEachTime) {
  Read({{1, 1, 0, 0}});
  Read({{1, 1, 1, 10}});
  GiveTexts();
  const auto fail = [&] {
    const auto statement = queue_.Take("db1", now_);
    if (statement) queue_.Done(statement->id, false, 10, now_);
    return statement.has_value();
  };
  EXPECT_TRUE(fail());
  EXPECT_FALSE(fail());
  now_ += 10 * kMinute;
  EXPECT_TRUE(fail());
  now_ += 10 * kMinute;
  EXPECT_FALSE(fail());
  now_ += 10 * kMinute;
  EXPECT_TRUE(fail());
  // Other indexes or settings are worth a try.
  queue_.LookedAt("db1", "a", now_);
  queue_.LookedAt("db1", "b", now_);
  EXPECT_TRUE(fail());
}

TEST_F(Queue, WhatHasNoPlanAndWhoseItIs) {
  Read({{1, 1, 0, 0}, {1, 2, 0, 0}, {1, 2, 0, 0, 11, "monitor"}, {1, 3, 0, 0, 12, "other"}}, "monitor");
  Read({{1, 1, 1, 10}, {1, 2, 5, 1}, {1, 2, 9, 99, 11, "monitor"}, {1, 3, 5, 5, 12, "other"}}, "monitor");
  ASSERT_THAT(queue_.WithoutText(now_), SizeIs(3));
  queue_.SetText({1, 1}, "VACUUM");
  queue_.SetText({1, 2}, "SELECT 2");
  queue_.SetText({1, 3}, "SELECT 3");
  EXPECT_THAT(queue_.WithoutText(now_), IsEmpty());
  auto statement = queue_.Take("db1", now_);
  ASSERT_TRUE(statement);
  EXPECT_EQ(statement->user, 12);
  EXPECT_EQ(statement->text, "SELECT 3");
  statement = queue_.Take("db1", now_);
  ASSERT_TRUE(statement);
  EXPECT_EQ(statement->user, 10);
  EXPECT_FALSE(queue_.Take("db1", now_));
  queue_.LeaveOut(10);
  EXPECT_THAT(queue_.WithoutText(now_), IsEmpty());
  // What is no longer there is forgotten.
  queue_.Done({1, 2}, true, 1, now_);
  queue_.Done({1, 3}, true, 1, now_);
  Read({{1, 9, 0, 0}});
  EXPECT_EQ(queue_.size(), 1u);
}

}  // namespace
}  // namespace pga::collector
