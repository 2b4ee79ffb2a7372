// What callers may hold of large answers.
#include "services/query/answer_budget.h"

#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "libs/clock/steady.h"

namespace pga::query {
namespace {

pg::CallLimit Of(const char* caller, absl::Duration within = absl::Seconds(20)) {
  return {clock::SteadyNow() + within, nullptr, caller};
}

constexpr absl::Duration kAtOnce = absl::Milliseconds(1);

TEST(AnswerBudget, HoldsOneCallerToHalf) {
  AnswerBudget budget(100);
  AnswerBudget::Part first, second, other;
  EXPECT_TRUE(budget.Take(40, Of("a"), &first).ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(budget.Take(20, Of("a", kAtOnce), &second)));
  EXPECT_TRUE(budget.Take(50, Of("b", kAtOnce), &other).ok());
  first.Shrink(30);
  // 80 are held in all.
  EXPECT_TRUE(budget.Take(20, Of("a", kAtOnce), &second).ok());
}

TEST(AnswerBudget, WhatIsLargerThanAShareTakesAWholeOne) {
  AnswerBudget budget(100);
  std::optional<AnswerBudget::Part> whole(std::in_place);
  EXPECT_TRUE(budget.Take(1'000, Of("a", kAtOnce), &*whole).ok());
  AnswerBudget::Part next, other;
  EXPECT_TRUE(absl::IsDeadlineExceeded(budget.Take(1, Of("a", kAtOnce), &next)));
  EXPECT_TRUE(budget.Take(1'000, Of("b", kAtOnce), &other).ok());
  std::thread waits([&] { EXPECT_TRUE(budget.Take(1, Of("a"), &next).ok()); });
  whole.reset();
  waits.join();
}

TEST(AnswerBudget, WhoHasGoneWaitsForNothing) {
  AnswerBudget budget(100);
  AnswerBudget::Part first, second;
  EXPECT_TRUE(budget.Take(50, Of("a"), &first).ok());
  EXPECT_TRUE(
      absl::IsCancelled(budget.Take(50, {clock::SteadyNow() + absl::Seconds(20), [] { return true; }, "a"}, &second)));
}

}  // namespace
}  // namespace pga::query
