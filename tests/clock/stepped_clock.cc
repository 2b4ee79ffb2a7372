// Preloaded into a program under test: its wall clock is the host's plus an offset that the test changes while the
// program runs, and every timed wait on the wall clock is counted and named on stderr. The host's clock is never set.
//
// PGA_STEPPED_CLOCK names a file of stepped_clock.h's struct, which is mapped. A wait on the wall clock is done in
// slices, so that it bends with the offset as it would with the kernel's clock.
#include "tests/clock/stepped_clock.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

namespace {

using pga::testing::SteppedClockState;

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kSlice = 20'000'000;
// Points before this are on a clock that began at boot.
constexpr int64_t kWallBegins = int64_t{1'000'000'000} * kSecond;

SteppedClockState* Map() {
  static SteppedClockState none{};
  const char* path = getenv("PGA_STEPPED_CLOCK");
  if (path == nullptr) return &none;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) abort();
  void* mapped = mmap(nullptr, sizeof(SteppedClockState), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (mapped == MAP_FAILED) abort();
  return static_cast<SteppedClockState*>(mapped);
}

SteppedClockState* State() {
  static SteppedClockState* const state = Map();
  return state;
}

// By number, not by name: names lead back here.
long Raw(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0) {
  register long r10 asm("r10") = d;
  register long r8 asm("r8") = e;
  register long r9 asm("r9") = f;
  long result = number;
  asm volatile("syscall" : "+a"(result) : "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  return result;
}

int64_t NanosOf(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * kSecond + time.tv_nsec;
}
timespec TimespecOf(int64_t nanos) {
  return {.tv_sec = static_cast<time_t>(nanos / kSecond), .tv_nsec = static_cast<long>(nanos % kSecond)};
}

int64_t RawNow(clockid_t clock) {
  timespec ts{};
  Raw(SYS_clock_gettime, clock, reinterpret_cast<long>(&ts));
  return NanosOf(ts);
}

bool IsWall(clockid_t clock) {
  return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI;
}

int64_t WallNow() {
  return RawNow(CLOCK_REALTIME) + State()->offset_nanos.load(std::memory_order_relaxed);
}

void Report(const char* what, void* caller) {
  State()->waits.fetch_add(1, std::memory_order_relaxed);
  Dl_info info{};
  dladdr(caller, &info);
  char line[512];
  const int size =
      snprintf(line, sizeof line, "wait on the wall clock: %s, called from %s (%s)\n", what,
               info.dli_sname == nullptr ? "?" : info.dli_sname, info.dli_fname == nullptr ? "?" : info.dli_fname);
  Raw(SYS_write, 2, reinterpret_cast<long>(line), std::min<long>(size, sizeof line - 1));
}

template <typename F>
F Next(const char* name) {
  void* found = dlsym(RTLD_NEXT, name);
  if (found == nullptr) abort();
  return reinterpret_cast<F>(found);
}

// The end of the next slice of a wait until `until` of the wall clock, on CLOCK_MONOTONIC; false when it is over.
bool Slice(int64_t until, timespec* end) {
  const int64_t left = until - WallNow();
  if (left <= 0) return false;
  *end = TimespecOf(RawNow(CLOCK_MONOTONIC) + std::min(left, kSlice));
  return true;
}

long Futex(long word, long op, long value, const timespec* until, long word2, long mask) {
  timespec end{};
  while (Slice(NanosOf(*until), &end)) {
    const long result =
        Raw(SYS_futex, word, op & ~FUTEX_CLOCK_REALTIME, value, reinterpret_cast<long>(&end), word2, mask);
    if (result != -ETIMEDOUT) return result;
  }
  return -ETIMEDOUT;
}

}  // namespace

extern "C" {

// For a test that runs under its own stepped clock.
SteppedClockState* pga_stepped_clock_state();
SteppedClockState* pga_stepped_clock_state() {
  return State();
}

int clock_gettime(clockid_t clock, timespec* ts) noexcept {
  const long result = Raw(SYS_clock_gettime, clock, reinterpret_cast<long>(ts));
  if (result < 0) {
    errno = static_cast<int>(-result);
    return -1;
  }
  if (IsWall(clock)) *ts = TimespecOf(NanosOf(*ts) + State()->offset_nanos.load(std::memory_order_relaxed));
  return 0;
}

int gettimeofday(timeval* tv, void*) noexcept {
  const int64_t now = WallNow();
  *tv = {.tv_sec = now / kSecond, .tv_usec = now % kSecond / 1000};
  return 0;
}

time_t time(time_t* out) noexcept {
  const time_t now = static_cast<time_t>(WallNow() / kSecond);
  if (out != nullptr) *out = now;
  return now;
}

int timespec_get(timespec* ts, int base) noexcept {
  if (base != TIME_UTC) return 0;
  *ts = TimespecOf(WallNow());
  return base;
}

long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  long result = 0;
  const long command = a[1] & FUTEX_CMD_MASK;
  const bool waits = number == SYS_futex && a[3] != 0 &&
                     ((a[1] & FUTEX_CLOCK_REALTIME) != 0 || command == FUTEX_LOCK_PI) &&
                     (command == FUTEX_WAIT_BITSET || command == FUTEX_WAIT || command == FUTEX_WAIT_REQUEUE_PI ||
                      command == FUTEX_LOCK_PI || command == FUTEX_LOCK_PI2);
  if (waits) {
    Report("futex", __builtin_return_address(0));
    result = command == FUTEX_WAIT_BITSET ? Futex(a[0], a[1], a[2], reinterpret_cast<const timespec*>(a[3]), a[4], a[5])
                                          : Raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  } else if (number == SYS_clock_gettime) {
    return clock_gettime(static_cast<clockid_t>(a[0]), reinterpret_cast<timespec*>(a[1]));
  } else {
    result = Raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  }
  if (result < 0 && result > -4096) {
    errno = static_cast<int>(-result);
    return -1;
  }
  return result;
}

int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* until) {
  static const auto next =
      Next<int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>("pthread_cond_clockwait");
  if (!IsWall(clock)) return next(condition, mutex, clock, until);
  Report("pthread_cond_clockwait", __builtin_return_address(0));
  timespec end{};
  while (Slice(NanosOf(*until), &end)) {
    const int result = next(condition, mutex, CLOCK_MONOTONIC, &end);
    if (result != ETIMEDOUT) return result;
  }
  return ETIMEDOUT;
}

int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* until) {
  static const auto next =
      Next<int (*)(pthread_cond_t*, pthread_mutex_t*, clockid_t, const timespec*)>("pthread_cond_clockwait");
  // The condition's clock cannot be asked for; the time decides.
  if (NanosOf(*until) < kWallBegins) return next(condition, mutex, CLOCK_MONOTONIC, until);
  Report("pthread_cond_timedwait", __builtin_return_address(0));
  timespec end{};
  while (Slice(NanosOf(*until), &end)) {
    const int result = next(condition, mutex, CLOCK_MONOTONIC, &end);
    if (result != ETIMEDOUT) return result;
  }
  return ETIMEDOUT;
}

int sem_timedwait(sem_t* semaphore, const timespec* until) {
  static const auto next = Next<int (*)(sem_t*, clockid_t, const timespec*)>("sem_clockwait");
  Report("sem_timedwait", __builtin_return_address(0));
  timespec end{};
  while (Slice(NanosOf(*until), &end)) {
    if (next(semaphore, CLOCK_MONOTONIC, &end) == 0) return 0;
    if (errno != ETIMEDOUT) return -1;
  }
  errno = ETIMEDOUT;
  return -1;
}

int pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* until) noexcept {
  static const auto next = Next<int (*)(pthread_mutex_t*, clockid_t, const timespec*)>("pthread_mutex_clocklock");
  Report("pthread_mutex_timedlock", __builtin_return_address(0));
  timespec end{};
  while (Slice(NanosOf(*until), &end)) {
    const int result = next(mutex, CLOCK_MONOTONIC, &end);
    if (result != ETIMEDOUT) return result;
  }
  return ETIMEDOUT;
}

int clock_nanosleep(clockid_t clock, int flags, const timespec* request, timespec* left) {
  static const auto next = Next<int (*)(clockid_t, int, const timespec*, timespec*)>("clock_nanosleep");
  if (!IsWall(clock) || (flags & TIMER_ABSTIME) == 0) return next(clock, flags, request, left);
  Report("clock_nanosleep", __builtin_return_address(0));
  timespec end{};
  while (Slice(NanosOf(*request), &end)) {
    if (const int result = next(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, nullptr); result != 0) return result;
  }
  return 0;
}

int timerfd_create(clockid_t clock, int flags) noexcept {
  static const auto next = Next<int (*)(clockid_t, int)>("timerfd_create");
  if (IsWall(clock)) Report("timerfd_create", __builtin_return_address(0));
  return next(clock, flags);
}

}  // extern "C"
