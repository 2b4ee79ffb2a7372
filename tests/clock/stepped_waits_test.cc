// Every kind of wait of this code while the wall clock is set. The program is linked with libpga_stepped_clock.so,
// which also counts timed waits on the wall clock: Abseil's and gRPC's are among what is tested.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/bounded_queue.h"
#include "libs/exec/periodic_task.h"
#include "libs/retry/retry.h"
#include "libs/rpc/client.h"
#include "libs/testing/loopback_listener.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "tests/clock/stepped_clock.h"

// Of libpga_stepped_clock.so.
extern "C" pga::testing::SteppedClockState* pga_stepped_clock_state();

namespace pga {
namespace {

constexpr absl::Duration kWait = absl::Milliseconds(100);
// Far less than a step and far more than a busy machine takes.
constexpr absl::Duration kAtMost = absl::Seconds(20);

class SteppedWaits : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { waits_ = state_->waits; }
  void TearDown() override {
    state_->offset_nanos = 0;
    EXPECT_EQ(state_->waits, waits_) << "a wait on the wall clock, named above";
  }

  // Runs `wait`, which takes kWait, with a step before it and one in its middle; it takes no longer and no shorter.
  void Check(const std::function<void()>& wait) {
    state_->offset_nanos = absl::ToInt64Nanoseconds(absl::Hours(GetParam()));
    const clock::SteadyTime begun = clock::SteadyNow();
    std::thread step([&] {
      const clock::SteadyTime half = begun + kWait / 2;
      while (clock::SteadyNow() < half) std::this_thread::yield();
      state_->offset_nanos = absl::ToInt64Nanoseconds(absl::Hours(2 * GetParam()));
    });
    wait();
    const absl::Duration took = clock::SteadyNow() - begun;
    step.join();
    EXPECT_GE(took, kWait - absl::Milliseconds(1));
    EXPECT_LT(took, kAtMost);
  }

  testing::SteppedClockState* const state_ = pga_stepped_clock_state();
  int64_t waits_ = 0;
};
std::string NameOf(const ::testing::TestParamInfo<int>& hours) {
  return absl::StrCat(hours.param < 0 ? "Back" : "On", std::abs(hours.param));
}
INSTANTIATE_TEST_SUITE_P(Hours, SteppedWaits, ::testing::Values(-24, -1, 1, 24), NameOf);

TEST_P(SteppedWaits, TheClockIsStepped) {
  const absl::Time before = clock::WallNow();
  const clock::SteadyTime steady = clock::SteadyNow();
  state_->offset_nanos = absl::ToInt64Nanoseconds(absl::Hours(GetParam()));
  EXPECT_LT(absl::AbsDuration(clock::WallNow() - before - absl::Hours(GetParam())), absl::Minutes(1));
  EXPECT_LT(clock::SteadyNow() - steady, absl::Minutes(1));
}

TEST_P(SteppedWaits, MutexWithTimeout) {
  Check([] {
    absl::Mutex mutex;
    const bool never = false;
    absl::MutexLock lock(&mutex);
    EXPECT_FALSE(mutex.AwaitWithTimeout(absl::Condition(&never), kWait));
  });
}

TEST_P(SteppedWaits, AwaitUntil) {
  Check([] {
    absl::Mutex mutex;
    const bool never = false;
    absl::MutexLock lock(&mutex);
    EXPECT_FALSE(clock::AwaitUntil(mutex, absl::Condition(&never), clock::SteadyNow() + kWait));
  });
}

TEST_P(SteppedWaits, CondVar) {
  Check([] {
    absl::Mutex mutex;
    absl::CondVar changed;
    absl::MutexLock lock(&mutex);
    EXPECT_TRUE(changed.WaitWithTimeout(&mutex, kWait));
  });
}

TEST_P(SteppedWaits, Notification) {
  Check([] {
    absl::Notification never;
    EXPECT_FALSE(never.WaitForNotificationWithTimeout(kWait));
  });
}

TEST_P(SteppedWaits, SleepFor) {
  Check([] { clock::SleepFor(kWait); });
}

TEST_P(SteppedWaits, Queue) {
  Check([] {
    exec::BoundedQueue<int> queue(1);
    EXPECT_EQ(queue.Pop(clock::SteadyNow() + kWait), std::nullopt);
  });
}

TEST_P(SteppedWaits, BackOff) {
  Check([] {
    retry::InterruptibleSleeper sleeper;
    EXPECT_TRUE(sleeper.Sleep(kWait));
  });
}

TEST_P(SteppedWaits, PeriodicTask) {
  exec::PeriodicTask task("upkeep", absl::Milliseconds(5), clock::Clock::Real(), [] {});
  for (int step = 1; step <= 3; ++step) {
    state_->offset_nanos = absl::ToInt64Nanoseconds(absl::Hours(step * GetParam()));
    EXPECT_TRUE(task.AwaitRuns(task.runs() + 3, clock::SteadyNow() + kAtMost)) << "step " << step;
  }
}

// The deadline of a call to a peer that takes the connection and says nothing.
TEST_P(SteppedWaits, Call) {
  const testing::LoopbackListener listener;
  namespace querypb = pganalytics::query::v1;
  const auto channel = rpc::Connect(absl::StrCat("127.0.0.1:", listener.port()), {});
  ASSERT_TRUE(channel.ok());
  const auto stub = querypb::SystemService::NewStub(*channel);
  Check([&] {
    rpc::CallOptions options = rpc::OwnWork(kWait, nullptr);
    options.wait_for_ready = true;
    const auto answer =
        rpc::Call(*stub, &querypb::SystemService::Stub::GetVersion, querypb::GetVersionRequest(), options);
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kDeadlineExceeded) << answer.status();
  });
}

// That a wait on the wall clock is found.
TEST(SteppedClock, CountsWaitsOnTheWallClock) {
  testing::SteppedClockState* const state = pga_stepped_clock_state();
  const int64_t before = state->waits;
  std::mutex mutex;
  std::condition_variable never;
  std::unique_lock lock(mutex);
  EXPECT_EQ(never.wait_until(lock, std::chrono::system_clock::now() + std::chrono::milliseconds(1)),
            std::cv_status::timeout);
  EXPECT_GT(state->waits, before);
}

}  // namespace
}  // namespace pga
