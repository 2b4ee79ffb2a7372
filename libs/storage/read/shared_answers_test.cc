#include "libs/storage/read/shared_answers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"

namespace pga::storage {
namespace {

using status::IsOk;
using status::StatusIs;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

TEST(SharedAnswers, OneCallerLooksForAll) {
  SharedAnswers<int> answers;
  absl::Notification started, go;
  std::atomic<int> reads = 0;
  std::thread first([&] {
    const auto answer = answers.Get("k", Soon(), [&](const pg::CallLimit&) -> absl::StatusOr<int> {
      ++reads;
      started.Notify();
      go.WaitForNotification();
      return 42;
    });
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(**answer, 42);
  });
  started.WaitForNotification();
  std::atomic<int> asked = 0;
  std::vector<std::thread> others;
  for (int i = 0; i < 3; ++i) {
    others.emplace_back([&] {
      // Asked once the caller waits for the one that looks.
      const auto answer =
          answers.Get("k", {Soon(), [&] { return ++asked < 0; }}, [&](const pg::CallLimit&) -> absl::StatusOr<int> {
            ++reads;
            return 7;
          });
      ASSERT_THAT(answer, IsOk());
      EXPECT_EQ(**answer, 42);
    });
  }
  while (asked < 3) std::this_thread::yield();
  EXPECT_EQ(**answers.Get("other", Soon(), [](const pg::CallLimit&) -> absl::StatusOr<int> { return 1; }), 1);
  go.Notify();
  first.join();
  for (std::thread& other : others) other.join();
  EXPECT_EQ(reads, 1);
  EXPECT_EQ(**answers.Get("k", Soon(), [](const pg::CallLimit&) -> absl::StatusOr<int> { return 2; }), 2)
      << "nothing is kept";
}

TEST(SharedAnswers, AnotherLooksWhenTheFirstGivesUp) {
  SharedAnswers<int> answers;
  absl::Notification started, go;
  std::thread first([&] {
    EXPECT_THAT(answers.Get("k", Soon(),
                            [&](const pg::CallLimit&) -> absl::StatusOr<int> {
                              started.Notify();
                              go.WaitForNotification();
                              return absl::CancelledError("gone");
                            }),
                StatusIs(absl::StatusCode::kCancelled));
  });
  started.WaitForNotification();
  std::atomic<bool> waits = false;
  std::thread second([&] {
    const auto answer = answers.Get("k",
                                    {Soon(),
                                     [&] {
                                       waits = true;
                                       return false;
                                     }},
                                    [](const pg::CallLimit&) -> absl::StatusOr<int> { return 5; });
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(**answer, 5);
  });
  while (!waits) std::this_thread::yield();
  EXPECT_THAT(
      answers.Get("k", {Soon(), [] { return true; }}, [](const pg::CallLimit&) -> absl::StatusOr<int> { return 9; }),
      StatusIs(absl::StatusCode::kCancelled));
  go.Notify();
  first.join();
  second.join();
}

TEST(SharedAnswers, ALookEndsOnlyWhenTheLastCallerHasGone) {
  SharedAnswers<int> answers;
  absl::Notification started;
  std::atomic<bool> first_gone = false, second_gone = false, second_waits = false, look_ended = false;
  std::atomic<int> seen_alive = 0;
  std::thread first([&] {
    EXPECT_THAT(answers.Get("k", {Soon(), [&] { return first_gone.load(); }},
                            [&](const pg::CallLimit& limit) -> absl::StatusOr<int> {
                              started.Notify();
                              while (limit.Check().ok()) {
                                if (first_gone) ++seen_alive;
                                std::this_thread::yield();
                              }
                              look_ended = true;
                              return limit.Check();
                            }),
                StatusIs(absl::StatusCode::kCancelled));
  });
  started.WaitForNotification();
  std::thread second([&] {
    EXPECT_THAT(answers.Get("k",
                            {Soon(),
                             [&] {
                               second_waits = true;
                               return second_gone.load();
                             }},
                            [](const pg::CallLimit&) -> absl::StatusOr<int> { return 5; }),
                StatusIs(absl::StatusCode::kCancelled));
  });
  while (!second_waits) std::this_thread::yield();
  first_gone = true;
  while (seen_alive < 100 && !look_ended) std::this_thread::yield();
  EXPECT_FALSE(look_ended) << "somebody waits for the answer";
  second_gone = true;
  second.join();
  first.join();
}

}  // namespace
}  // namespace pga::storage
