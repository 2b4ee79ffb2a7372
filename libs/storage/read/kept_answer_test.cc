#include "libs/storage/read/kept_answer.h"

#include <gtest/gtest.h>

#include <thread>

#include "absl/synchronization/notification.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"

namespace pga::storage {
namespace {

clock::SteadyTime Later() {
  return clock::SteadyNow() + absl::Seconds(20);
}

TEST(KeptAnswer, OneReadsAndTheOthersWaitNoLongerThanTheirDeadline) {
  clock::FakeClock clock;
  KeptAnswer<int> answer(&clock, absl::Seconds(5));
  absl::Notification begun, go;
  std::thread reader([&] {
    const auto got = answer.Get(Later(), [&]() -> absl::StatusOr<int> {
      begun.Notify();
      go.WaitForNotification();
      clock.Advance(absl::Seconds(1));
      return 7;
    });
    EXPECT_EQ(*got, 7);
  });
  begun.WaitForNotification();
  const auto not_asked = []() -> absl::StatusOr<int> {
    ADD_FAILURE() << "two read at a time";
    return 0;
  };
  EXPECT_EQ(answer.Get(clock::SteadyNow() + absl::Milliseconds(5), not_asked).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  std::thread waiter([&] { EXPECT_EQ(*answer.Get(Later(), not_asked), 7); });
  go.Notify();
  reader.join();
  waiter.join();
  clock.Advance(absl::Seconds(5));
  EXPECT_EQ(*answer.Get(Later(), []() -> absl::StatusOr<int> { return 8; }), 8) << "kept for too long";
}

TEST(KeptAnswer, FailureIsNotKeptAndTheNextOneReads) {
  clock::FakeClock clock;
  KeptAnswer<int> answer(&clock, absl::Seconds(5));
  EXPECT_FALSE(answer.Get(Later(), []() -> absl::StatusOr<int> { return absl::UnavailableError("away"); }).ok());
  EXPECT_EQ(*answer.Get(Later(), []() -> absl::StatusOr<int> { return 9; }), 9);
}

}  // namespace
}  // namespace pga::storage
