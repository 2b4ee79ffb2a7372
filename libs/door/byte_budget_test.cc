#include "libs/door/byte_budget.h"

#include "gtest/gtest.h"

namespace pga::door {
namespace {

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
