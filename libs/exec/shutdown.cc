#include "libs/exec/shutdown.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>

#include "libs/clock/steady.h"

namespace pga::exec {
namespace {

std::atomic<int> g_signal{0};
std::atomic<bool> g_requested{false};
std::atomic<int> g_write_fd{-1};

struct Pipe {
  int fds[2] = {-1, -1};
  Pipe() {
    // Without the pipe nothing could ever stop the process cleanly.
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) std::abort();
    g_write_fd.store(fds[1]);
  }
};

Pipe& GetPipe() {
  static Pipe pipe;
  return pipe;
}

// Async-signal-safe: atomics and write(2) alone.
void Raise(int number) {
  const int saved_errno = errno;
  int expected = 0;
  if (number != 0) g_signal.compare_exchange_strong(expected, number);
  if (!g_requested.exchange(true)) {
    const char byte = 1;
    [[maybe_unused]] const ssize_t written = write(g_write_fd.load(), &byte, 1);
  }
  errno = saved_errno;
}

extern "C" void HandleShutdownSignal(int number) {
  Raise(number);
}

}  // namespace

void ShutdownSignal::IgnoreBrokenPipes() {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigemptyset(&ignore.sa_mask);
  sigaction(SIGPIPE, &ignore, nullptr);
}

void ShutdownSignal::Install() {
  GetPipe();
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_handler = HandleShutdownSignal;
    sigemptyset(&action.sa_mask);
    action.sa_flags = SA_RESTART;
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    IgnoreBrokenPipes();
    return true;
  }();
  (void)installed;
}

bool ShutdownSignal::WaitUntil(clock::SteadyTime deadline) {
  pollfd entry{.fd = GetPipe().fds[0], .events = POLLIN, .revents = 0};
  while (!requested()) {
    int timeout_ms = -1;
    if (deadline != clock::SteadyTime::InfiniteFuture()) {
      const absl::Duration left = deadline - clock::SteadyNow();
      if (left <= absl::ZeroDuration()) return false;
      timeout_ms = static_cast<int>(
          absl::ToInt64Milliseconds(absl::Ceil(std::min(left, absl::Hours(24)), absl::Milliseconds(1))));
    }
    poll(&entry, 1, timeout_ms);  // EINTR and timeouts come round again
  }
  return true;
}

bool ShutdownSignal::requested() {
  return g_requested.load();
}

int ShutdownSignal::signal() {
  return g_signal.load();
}

void ShutdownSignal::Request() {
  GetPipe();
  Raise(0);
}

int ShutdownSignal::fd() {
  return GetPipe().fds[0];
}

void ShutdownSignal::ResetForTest() {
  char buffer[16];
  while (read(GetPipe().fds[0], buffer, sizeof(buffer)) > 0) {
  }
  g_signal.store(0);
  g_requested.store(false);
}

namespace {
std::atomic<int64_t> waits_until_nanos{clock::SteadyTime::InfiniteFuture().nanos()};
std::atomic<int> starting{0};
}  // namespace

ProcessStart::ProcessStart() {
  ++starting;
}

ProcessStart::~ProcessStart() {
  --starting;
}

clock::SteadyTime ProcessEnd::Begin(absl::Duration timeout) {
  const clock::SteadyTime until = clock::SteadyNow() + timeout - std::min(timeout / 3, absl::Seconds(3));
  waits_until_nanos = until.nanos();
  return until;
}

clock::SteadyTime ProcessEnd::waits_until() {
  if (starting > 0 && ShutdownSignal::requested()) return clock::SteadyTime::InfinitePast();
  return clock::SteadyTime::FromNanos(waits_until_nanos);
}

void ProcessEnd::ResetForTest() {
  waits_until_nanos = clock::SteadyTime::InfiniteFuture().nanos();
}

}  // namespace pga::exec
