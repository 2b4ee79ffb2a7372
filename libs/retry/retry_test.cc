#include "libs/retry/retry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "libs/clock/fake_clock.h"
#include "libs/status/testing.h"

namespace pga::retry {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class FakeSleeper final : public Sleeper {
 public:
  explicit FakeSleeper(clock::FakeClock* clock) : clock_(clock) {}
  bool Sleep(absl::Duration duration) override {
    slept.push_back(duration);
    clock_->Advance(duration);
    return static_cast<int>(slept.size()) != interrupt_at;
  }
  std::vector<absl::Duration> slept;
  int interrupt_at = 0;

 private:
  clock::FakeClock* clock_;
};

constexpr BackoffPolicy kSteady{.initial = absl::Seconds(1), .max = absl::Seconds(5), .multiplier = 2, .jitter = 0};

class RetryLoopTest : public testing::Test {
 protected:
  absl::Status Run(RetryPolicy policy, int failures, absl::Status failure) {
    policy.backoff = kSteady;
    calls_ = 0;
    return RetryLoop(policy, IsTransient, &sleeper_, &clock_,
                     [&] { return ++calls_ <= failures ? failure : absl::OkStatus(); });
  }
  clock::FakeClock clock_;
  FakeSleeper sleeper_{&clock_};
  int calls_ = 0;
};

TEST(Backoff, GrowsToItsMaximumAndStartsOver) {
  Backoff backoff(kSteady);
  std::vector<absl::Duration> delays;
  for (int i = 0; i < 5; ++i) delays.push_back(backoff.Next());
  EXPECT_THAT(delays,
              ElementsAre(absl::Seconds(1), absl::Seconds(2), absl::Seconds(4), absl::Seconds(5), absl::Seconds(5)));
  backoff.Reset();
  EXPECT_EQ(backoff.Next(), absl::Seconds(1));
}

TEST(Backoff, JitterStaysInItsShare) {
  Backoff backoff({.initial = absl::Seconds(10), .max = absl::Seconds(10), .multiplier = 1, .jitter = 0.5});
  for (int i = 0; i < 1000; ++i) {
    const absl::Duration delay = backoff.Next();
    EXPECT_GE(delay, absl::Seconds(5));
    EXPECT_LE(delay, absl::Seconds(10));
  }
}

TEST_F(RetryLoopTest, RepeatsTransientFailuresOnly) {
  EXPECT_THAT(Run({}, 2, absl::UnavailableError("x")), IsOk());
  EXPECT_THAT(sleeper_.slept, ElementsAre(absl::Seconds(1), absl::Seconds(2)));
  EXPECT_THAT(Run({}, 2, absl::InvalidArgumentError("x")), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(calls_, 1);
}

TEST_F(RetryLoopTest, GivesUpAfterItsAttempts) {
  EXPECT_THAT(Run({.max_attempts = 3, .backoff = {}}, 9, absl::UnavailableError("x")),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(calls_, 3);
  EXPECT_THAT(sleeper_.slept, SizeIs(2));
}

TEST_F(RetryLoopTest, NeverWaitsPastTheDeadline) {
  EXPECT_THAT(Run({.max_attempts = 0, .backoff = {}, .deadline = clock_.Steady() + absl::Seconds(6)}, 99,
                  absl::UnavailableError("x")),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(sleeper_.slept, ElementsAre(absl::Seconds(1), absl::Seconds(2)));
}

TEST_F(RetryLoopTest, HonoursRetryAfter) {
  EXPECT_THAT(Run({}, 1, status::WithRetryAfter(absl::ResourceExhaustedError("x"), absl::Seconds(30))), IsOk());
  EXPECT_THAT(sleeper_.slept, ElementsAre(absl::Seconds(30)));
}

TEST_F(RetryLoopTest, InterruptEndsTheLoop) {
  sleeper_.interrupt_at = 1;
  EXPECT_THAT(Run({}, 9, absl::UnavailableError("x")), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(calls_, 1);
}

TEST(InterruptibleSleeper, WakesAtOnce) {
  InterruptibleSleeper sleeper;
  EXPECT_TRUE(sleeper.Sleep(absl::ZeroDuration()));
  std::thread interrupter([&] { sleeper.Interrupt(); });
  EXPECT_FALSE(sleeper.Sleep(absl::Hours(1)));
  EXPECT_FALSE(sleeper.Sleep(absl::Hours(1)));
  interrupter.join();
}

}  // namespace
}  // namespace pga::retry
