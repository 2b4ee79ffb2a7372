#include "libs/door/byte_budget.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pga::door {
namespace {

using ::testing::ElementsAre;
using Level = ByteBudget::Level;

constexpr ByteBudget::Limits kLimits{.wait_total = 100, .most_total = 120, .wait_each = 40, .most_each = 60};

TEST(ByteBudget, SaysWhenOneCallerShouldWaitAndWhenItIsOver) {
  ByteBudget budget(kLimits);
  EXPECT_EQ(budget.Charge("a", 40), Level::kFree);
  EXPECT_EQ(budget.Charge("a", 1), Level::kWait);
  EXPECT_EQ(budget.Charge("a", 20), Level::kOver);
  EXPECT_EQ(budget.LevelOf("b"), Level::kFree) << "one caller does not use the others' memory";
  budget.Give("a", 21);
  EXPECT_EQ(budget.LevelOf("a"), Level::kFree);
}

TEST(ByteBudget, BoundsAllCallersTogether) {
  ByteBudget budget(kLimits);
  EXPECT_EQ(budget.Charge("a", 40), Level::kFree);
  EXPECT_EQ(budget.Charge("b", 40), Level::kFree);
  EXPECT_EQ(budget.Charge("c", 30), Level::kWait);
  EXPECT_EQ(budget.Charge("d", 11), Level::kOver);
  EXPECT_EQ(budget.used(), 121);
}

TEST(ByteBudget, TakesAllOrNothing) {
  ByteBudget budget(kLimits);
  EXPECT_TRUE(budget.Take("a", 40));
  EXPECT_FALSE(budget.Take("a", 1));
  EXPECT_TRUE(budget.Take("b", 40));
  EXPECT_FALSE(budget.Take("c", 21));
  EXPECT_EQ(budget.used(), 80);
}

TEST(ByteBudget, ThoseWhoWaitComeInTheirOrder) {
  ByteBudget budget(kLimits);
  ASSERT_TRUE(budget.Take("a", 40));
  std::vector<std::string> order;
  std::vector<ByteBudget::Ticket> tickets;
  for (const char* const name : {"first", "second", "third"}) {
    tickets.push_back(budget.TakeOrWait("a", 20, [&order, name] { order.emplace_back(name); }));
    ASSERT_NE(tickets.back(), nullptr);
  }
  EXPECT_FALSE(budget.Take("a", 1)) << "others wait already";
  EXPECT_TRUE(budget.Take("b", 40)) << "which is nothing to other callers";
  EXPECT_TRUE(order.empty());
  budget.Give("a", 20);
  EXPECT_THAT(order, ElementsAre("first"));
  EXPECT_FALSE(budget.Leave(tickets[1])) << "it went before its turn";
  budget.Give("a", 20);
  EXPECT_THAT(order, ElementsAre("first", "third"));
  EXPECT_TRUE(budget.Granted(tickets[2]));
  EXPECT_TRUE(budget.Leave(tickets[0]));
  EXPECT_TRUE(budget.Leave(tickets[2]));
  budget.Give("a", 40);
  budget.Give("b", 40);
  EXPECT_EQ(budget.used(), 0);
  EXPECT_EQ(budget.keys(), 0u);
  EXPECT_EQ(budget.waiting(), 0u);
}

TEST(ByteBudget, RoomInAllIsForThoseOfOtherKeys) {
  ByteBudget budget(kLimits);
  ASSERT_TRUE(budget.Take("a", 40));
  ASSERT_TRUE(budget.Take("b", 40));
  bool ready = false;
  const auto ticket = budget.TakeOrWait("c", 40, [&ready] { ready = true; });
  ASSERT_NE(ticket, nullptr);
  bool small = false;
  const auto behind = budget.TakeOrWait("c", 10, [&small] { small = true; });
  ASSERT_NE(behind, nullptr) << "one of the same caller waits before it";
  budget.Give("a", 10);
  EXPECT_FALSE(ready);
  EXPECT_FALSE(budget.Leave(ticket));
  EXPECT_TRUE(small) << "the large one before it is gone";
  budget.Give("b", 40);
  EXPECT_TRUE(budget.Leave(behind));
}

TEST(ByteBudget, RemembersNobodyWithoutBytes) {
  ByteBudget budget(kLimits);
  for (int i = 0; i < 1000; ++i) {
    const std::string key = std::to_string(i);
    budget.Charge(key, 1);
    budget.Charge("nothing" + key, 0);
    EXPECT_TRUE(budget.Take("nothing" + key, 0));
    EXPECT_FALSE(budget.Take("refused" + key, 1'000));
    budget.Give(key, 1);
  }
  EXPECT_EQ(budget.keys(), 0u);
  EXPECT_EQ(budget.used(), 0);
}

}  // namespace
}  // namespace pga::door
