#include "libs/clock/steady.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "absl/base/internal/raw_logging.h"
#include "absl/base/internal/thread_identity.h"
#include "absl/synchronization/internal/create_thread_identity.h"
#include "absl/synchronization/internal/per_thread_sem.h"
#include "absl/synchronization/internal/waiter.h"

namespace pga::clock {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;

int64_t NanosOf(clockid_t clock) {
  timespec ts{};
  clock_gettime(clock, &ts);
  return static_cast<int64_t>(ts.tv_sec) * kNanosPerSecond + ts.tv_nsec;
}

timespec TimespecOf(int64_t nanos) {
  return {.tv_sec = static_cast<time_t>(nanos / kNanosPerSecond),
          .tv_nsec = static_cast<long>(nanos % kNanosPerSecond)};
}

}  // namespace

SteadyTime SteadyNow() {
  return SteadyTime::FromNanos(NanosOf(CLOCK_MONOTONIC));
}

bool AwaitUntil(absl::Mutex& mutex, const absl::Condition& condition, SteadyTime deadline) {
  if (deadline == SteadyTime::InfiniteFuture()) {
    mutex.Await(condition);
    return true;
  }
  return mutex.AwaitWithTimeout(condition, std::max(deadline - SteadyNow(), absl::ZeroDuration()));
}

void SleepFor(absl::Duration duration) {
  const timespec until = TimespecOf((SteadyNow() + std::max(duration, absl::ZeroDuration())).nanos());
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

namespace {

// What a wait of Abseil until `wall_nanos` of the wall clock means on CLOCK_MONOTONIC. The two clocks are compared
// once for each wait: a wait that is taken up again with the same end keeps the end it had. Abseil makes that end from
// a timeout just before it waits.
int64_t SteadyEnd(int64_t wall_nanos) {
  struct Known {
    int64_t wall = 0;
    int64_t steady = 0;
  };
  thread_local Known last;
  if (last.wall != wall_nanos) {
    const int64_t left = std::max<int64_t>(wall_nanos - NanosOf(CLOCK_REALTIME), 0);
    last = {wall_nanos, (SteadyNow() + absl::Nanoseconds(left)).nanos()};
  }
  return last.steady;
}

}  // namespace
}  // namespace pga::clock

// Abseil's own extension point for how a thread waits; the definition in the program goes before the library's weak
// one, for calls from inside gRPC's and Abseil's shared objects too. Posting stays the library's: it adds one to the
// thread's futex word and wakes one waiter.
static_assert(ABSL_WAITER_MODE == ABSL_WAITER_MODE_FUTEX);
static_assert(sizeof(absl::synchronization_internal::Waiter) == sizeof(std::atomic<int32_t>),
              "the waiter of a thread is its futex word");

extern "C" bool ABSL_INTERNAL_C_SYMBOL(AbslInternalPerThreadSemWait)(
    absl::synchronization_internal::KernelTimeout timeout) {
  using absl::synchronization_internal::GetOrCreateCurrentThreadIdentity;
  absl::base_internal::ThreadIdentity* const identity = GetOrCreateCurrentThreadIdentity();
  auto* const word = reinterpret_cast<std::atomic<int32_t>*>(identity->waiter_state.data);

  timespec until{};
  if (timeout.has_timeout()) {
    const timespec wall = timeout.MakeAbsTimespec();
    until = pga::clock::TimespecOf(
        pga::clock::SteadyEnd(static_cast<int64_t>(wall.tv_sec) * pga::clock::kNanosPerSecond + wall.tv_nsec));
  }
  std::atomic<int>* const blocked = identity->blocked_count_ptr;
  if (blocked != nullptr) blocked->fetch_add(1, std::memory_order_relaxed);
  bool posted = false;
  while (true) {
    int32_t count = word->load(std::memory_order_relaxed);
    while (count != 0 && !posted) {
      posted = word->compare_exchange_weak(count, count - 1, std::memory_order_acquire, std::memory_order_relaxed);
    }
    if (posted) break;
    // Without FUTEX_CLOCK_REALTIME the absolute time is one of CLOCK_MONOTONIC.
    if (syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0, timeout.has_timeout() ? &until : nullptr,
                nullptr, FUTEX_BITSET_MATCH_ANY) == 0) {
      continue;
    }
    if (errno == ETIMEDOUT) break;
    if (errno != EINTR && errno != EAGAIN) ABSL_RAW_LOG(FATAL, "futex wait failed: %d", errno);
  }
  if (blocked != nullptr) blocked->fetch_sub(1, std::memory_order_relaxed);
  return posted;
}
