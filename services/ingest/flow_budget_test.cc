#include "services/ingest/flow_budget.h"

#include <gtest/gtest.h>

namespace pga::ingest {
namespace {

TEST(FlowBudget, GrantsInOrderOnceThereIsRoom) {
  FlowBudget budget(100, 1'000);
  std::string order;
  EXPECT_TRUE(budget.Acquire(60, 10, [] {}));
  EXPECT_FALSE(budget.Acquire(60, 10, [&] { order += "a"; }));
  // Would fit, but does not overtake.
  EXPECT_FALSE(budget.Acquire(10, 10, [&] { order += "b"; }));
  EXPECT_EQ(budget.waiting(), 2u);
  budget.Release(60, 10);
  EXPECT_EQ(order, "ab");
  EXPECT_EQ(budget.rows(), 70);
  budget.Release(60, 10);
  budget.Release(10, 10);
  EXPECT_EQ(budget.rows(), 0);
  EXPECT_EQ(budget.bytes(), 0);
}

TEST(FlowBudget, BatchBeyondTheBudgetNeitherWaitsForTheOthersNorHoldsThemUp) {
  FlowBudget budget(100, 1'000);
  EXPECT_TRUE(budget.Acquire(60, 10, [] {}));
  EXPECT_TRUE(budget.Acquire(5'000, 10, [] {}));
  EXPECT_TRUE(budget.Acquire(40, 10, [] {}));
  EXPECT_EQ(budget.rows(), 5'100);
  // The budget is as full as without it.
  bool granted = false;
  EXPECT_FALSE(budget.Acquire(40, 10, [&] { granted = true; }));
  budget.Release(5'000, 10);
  EXPECT_FALSE(granted);
  budget.Release(40, 10);
  EXPECT_TRUE(granted);
}

TEST(FlowBudget, OneBatchBeyondTheBudgetAtATime) {
  FlowBudget budget(100, 1'000);
  std::string order;
  EXPECT_TRUE(budget.Acquire(5'000, 10, [] {}));
  EXPECT_FALSE(budget.Acquire(1, 5'000, [&] { order += "a"; }));
  EXPECT_FALSE(budget.Acquire(101, 1, [&] { order += "b"; }));
  // Others go on while they wait.
  EXPECT_TRUE(budget.Acquire(100, 1'000, [] {}));
  budget.Release(5'000, 10);
  EXPECT_EQ(order, "a");
  budget.Release(1, 5'000);
  EXPECT_EQ(order, "ab");
  budget.Release(101, 1);
  budget.Release(100, 1'000);
  EXPECT_EQ(budget.rows(), 0);
  EXPECT_EQ(budget.bytes(), 0);
  EXPECT_EQ(budget.waiting(), 0u);
}

TEST(FlowBudget, BytesBoundAsRowsDo) {
  FlowBudget budget(100, 1'000);
  EXPECT_TRUE(budget.Acquire(1, 900, [] {}));
  EXPECT_FALSE(budget.Acquire(1, 200, [] {}));
}

}  // namespace
}  // namespace pga::ingest
