#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/bounded_queue.h"
#include "libs/exec/locks.h"
#include "libs/exec/open_files.h"
#include "libs/exec/periodic_task.h"
#include "libs/exec/shutdown.h"
#include "libs/exec/startup_pages.h"
#include "libs/exec/thread_pool.h"
#include "libs/log/log.h"

namespace pga::exec {
namespace {

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(20);
}

TEST(BoundedQueue, RefusesWhenFullAndKeepsOrder) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_TRUE(queue.TryPush(2));
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(queue.Pop(Soon()), 1);
  EXPECT_TRUE(queue.TryPush(3));
  EXPECT_EQ(queue.Pop(Soon()), 2);
  EXPECT_EQ(queue.Pop(Soon()), 3);
  EXPECT_EQ(queue.Pop(clock::SteadyNow()), std::nullopt);
}

TEST(BoundedQueue, RefusedMoveOnlyItemIsUntouched) {
  BoundedQueue<std::unique_ptr<int>> queue(0);
  auto item = std::make_unique<int>(1);
  EXPECT_FALSE(queue.TryPush(std::move(item)));
  EXPECT_NE(item, nullptr);  // NOLINT(bugprone-use-after-move): that is what is tested
}

TEST(BoundedQueue, CloseWakesConsumersAfterTheRest) {
  BoundedQueue<int> queue(2);
  queue.TryPush(1);
  std::vector<int> seen;
  std::thread consumer([&] {
    while (auto item = queue.Pop(Soon())) seen.push_back(*item);
  });
  queue.Close();
  consumer.join();
  EXPECT_EQ(seen, std::vector<int>{1});
  EXPECT_FALSE(queue.TryPush(2));
}

TEST(ThreadPool, RefusesBeyondItsQueueAndRunsWhatItTook) {
  std::atomic<int> ran{0};
  absl::Notification started;
  absl::Notification release;
  ThreadPool pool("test", 1, 1);
  ASSERT_TRUE(pool.TrySubmit([&] {
    started.Notify();
    release.WaitForNotification();
    ++ran;
  }));
  started.WaitForNotification();
  EXPECT_EQ(pool.busy(), 1);
  EXPECT_TRUE(pool.TrySubmit([&] { ++ran; }));
  EXPECT_FALSE(pool.TrySubmit([&] { ++ran; }));
  release.Notify();
  pool.Drain(Soon());
  EXPECT_EQ(ran, 2);
  EXPECT_FALSE(pool.TrySubmit([] {}));
}

TEST(ThreadPool, OneCallerLeavesThreadsAndPlacesToOthers) {
  absl::Mutex mutex;
  std::vector<std::string> order;
  absl::Notification release;
  const auto holding = [&] { release.WaitForNotification(); };
  const auto noting = [&](std::string name) {
    return [&, name] {
      absl::MutexLock lock(&mutex);
      order.push_back(name);
    };
  };
  ThreadPool pool("test", 4, 8);
  // Three of four threads, and four of eight places.
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool.TrySubmit("many", holding));
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(pool.TrySubmit("many", noting("many")));
  EXPECT_FALSE(pool.TrySubmit("many", noting("many")));

  absl::Notification answered;
  ASSERT_TRUE(pool.TrySubmit("few", [&] { answered.Notify(); }));
  answered.WaitForNotification();
  {
    absl::MutexLock lock(&mutex);
    EXPECT_TRUE(order.empty());
  }
  release.Notify();
  pool.Drain(Soon());
  EXPECT_EQ(order.size(), 4u);
}

TEST(ThreadPool, TheCallerWithTheFewestRunningTasksIsNext) {
  absl::Mutex mutex;
  std::vector<std::string> order;
  absl::Notification release, release_last;
  absl::BlockingCounter started(4);
  const auto hold = [&](absl::Notification* until) {
    return [&started, until] {
      started.DecrementCount();
      until->WaitForNotification();
    };
  };
  ThreadPool pool("test", 4, 16);
  ASSERT_TRUE(pool.TrySubmit("a", hold(&release)));
  ASSERT_TRUE(pool.TrySubmit("a", hold(&release)));
  ASSERT_TRUE(pool.TrySubmit("b", hold(&release)));
  ASSERT_TRUE(pool.TrySubmit("last", hold(&release_last)));
  started.Wait();
  absl::BlockingCounter ran(3);
  for (const std::string name : {"a", "b", "c"}) {
    ASSERT_TRUE(pool.TrySubmit(name, [&, name] {
      {
        absl::MutexLock lock(&mutex);
        order.push_back(name);
      }
      ran.DecrementCount();
    }));
  }
  release_last.Notify();
  ran.Wait();
  EXPECT_EQ(order, (std::vector<std::string>{"c", "b", "a"}));
  release.Notify();
  pool.Drain(Soon());
}

TEST(ThreadPool, SurvivesExceptions) {
  log::Init({.level = log::Level::off, .json = true, .service = "", .sink = {}});
  std::atomic<int> ran{0};
  {
    ThreadPool pool("test", 2, 10);
    pool.TrySubmit([] { throw std::runtime_error("boom"); });
    pool.TrySubmit([] { throw 1; });
    pool.TrySubmit([&] { ++ran; });
  }
  EXPECT_EQ(ran, 1);
  log::Init({});
}

TEST(ThreadPool, DeadlineDropsWhatIsQueued) {
  std::atomic<int> ran{0};
  absl::Notification started;
  absl::Notification release;
  // The pool says so once its deadline has passed; only then the first task may end.
  log::Init(
      {.level = log::Level::warn, .json = true, .service = "", .sink = [&](const std::string&) { release.Notify(); }});
  ThreadPool pool("test", 1, 5);
  pool.TrySubmit([&] {
    started.Notify();
    release.WaitForNotification();
    ++ran;
  });
  pool.TrySubmit([&] { ++ran; });
  started.WaitForNotification();
  pool.Drain(clock::SteadyNow());
  EXPECT_EQ(ran, 1);
  log::Init({});
}

TEST(PeriodicTask, RunsWhenWokenAndByPeriod) {
  clock::FakeClock clock;
  std::atomic<int> ran{0};
  PeriodicTask slow("slow", absl::Hours(1), &clock, [&] { ++ran; });
  EXPECT_EQ(slow.runs(), 0);
  slow.Wake();
  EXPECT_TRUE(slow.AwaitRuns(1, Soon()));
  slow.Wake();
  EXPECT_TRUE(slow.AwaitRuns(2, Soon()));
  slow.Stop();
  slow.Stop();
  EXPECT_EQ(ran, 2);

  PeriodicTask fast("fast", absl::Milliseconds(1), &clock, [] {});
  EXPECT_TRUE(fast.AwaitRuns(3, Soon()));
}

TEST(PeriodicTask, GoesOnAfterAnException) {
  log::Init({.level = log::Level::off, .json = true, .service = "", .sink = {}});
  clock::FakeClock clock;
  PeriodicTask task("throws", absl::Milliseconds(1), &clock, [] { throw std::runtime_error("boom"); });
  EXPECT_TRUE(task.AwaitRuns(2, Soon()));
  task.Stop();
  log::Init({});
}

TEST(ShutdownSignal, SignalWakesWaiters) {
  ShutdownSignal::Install();
  ShutdownSignal::ResetForTest();
  EXPECT_FALSE(ShutdownSignal::WaitUntil(clock::SteadyNow()));
  raise(SIGTERM);
  EXPECT_TRUE(ShutdownSignal::WaitUntil(Soon()));
  EXPECT_TRUE(ShutdownSignal::WaitUntil(clock::SteadyTime::InfiniteFuture()));
  EXPECT_EQ(ShutdownSignal::signal(), SIGTERM);
  ShutdownSignal::ResetForTest();
  EXPECT_FALSE(ShutdownSignal::requested());
  std::thread asker([] { ShutdownSignal::Request(); });
  EXPECT_TRUE(ShutdownSignal::WaitUntil(clock::SteadyTime::InfiniteFuture()));
  asker.join();
  EXPECT_EQ(ShutdownSignal::signal(), 0);
  ShutdownSignal::ResetForTest();
}

TEST(ProcessEnd, AStartThatIsToEndWaitsForNothing) {
  ShutdownSignal::ResetForTest();
  {
    const ProcessStart start;
    EXPECT_EQ(ProcessEnd::waits_until(), clock::SteadyTime::InfiniteFuture());
    ShutdownSignal::Request();
    EXPECT_EQ(ProcessEnd::waits_until(), clock::SteadyTime::InfinitePast());
  }
  EXPECT_EQ(ProcessEnd::waits_until(), clock::SteadyTime::InfiniteFuture()) << "who serves has its time";
  ShutdownSignal::ResetForTest();
}

TEST(ProcessEnd, LeavesTimeForTheEndItself) {
  EXPECT_EQ(ProcessEnd::waits_until(), clock::SteadyTime::InfiniteFuture());
  const clock::SteadyTime begun = clock::SteadyNow();
  const clock::SteadyTime until = ProcessEnd::Begin(absl::Seconds(30));
  EXPECT_GE(until, begun + absl::Seconds(27));
  EXPECT_LT(until, begun + absl::Seconds(30));
  EXPECT_EQ(ProcessEnd::waits_until(), until);
  const clock::SteadyTime soon = ProcessEnd::Begin(absl::Seconds(3));
  EXPECT_LE(soon, clock::SteadyNow() + absl::Seconds(2));
  ProcessEnd::ResetForTest();
  EXPECT_EQ(ProcessEnd::waits_until(), clock::SteadyTime::InfiniteFuture());
}

#ifndef __SANITIZE_THREAD__
// In one thread both orders are harmless; Debian's Abseil ends a process for them all the same. (As TSan does.)
TEST(Locks, AnOrderThatIsSuspectedEndsNoProgram) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        SkipLockOrderChecks();
        absl::Mutex first;
        absl::Mutex second;
        for (const auto& [outer, inner] : {std::pair(&first, &second), std::pair(&second, &first)}) {
          absl::MutexLock outer_lock(outer);
          absl::MutexLock inner_lock(inner);
        }
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "");
}
#endif

}  // namespace
size_t ResidentFileBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssFile:")) return static_cast<size_t>(std::atoll(line.c_str() + 8)) * 1024;
  }
  return 0;
}

TEST(StartupPages, AreGivenBackAndReturnWhenNeeded) {
  const size_t before = ResidentFileBytes();
  EXPECT_GT(ReleaseStartupPages(), 0u);
  EXPECT_LT(ResidentFileBytes(), before);
  // Code and constants read as before.
  EXPECT_EQ(std::string("startup") + " pages", "startup pages");
}

// The limit of open files as it was, when the test is over.
struct FileLimit {
  FileLimit() { getrlimit(RLIMIT_NOFILE, &before); }
  ~FileLimit() { setrlimit(RLIMIT_NOFILE, &before); }
  void Set(rlim_t soft) const {
    const rlimit limit{.rlim_cur = soft, .rlim_max = before.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  rlimit before{};
};

TEST(OpenFiles, LimitIsRaisedAndSharedOut) {
  const FileLimit limit;
  limit.Set(1'024);
  EXPECT_EQ(ConnectionsThatFit("test", 200, 3), 200);
  EXPECT_EQ(ConnectionsThatFit("test", 2'000, 3), 256);
  limit.Set(256);
  EXPECT_EQ(ConnectionsThatFit("test", 2'000, 3), 8) << "however few there are, somebody may come";
  RaiseOpenFiles();
  rlimit now{};
  getrlimit(RLIMIT_NOFILE, &now);
  EXPECT_EQ(now.rlim_cur, now.rlim_max);
}

TEST(OpenFiles, WhereNoneIsLeftClientsAreRefused) {
  const FileLimit limit;
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 8), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  std::vector<int> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(clients.back(), reinterpret_cast<sockaddr*>(&address), size), 0);
  }
  SpareFile spare;
  std::vector<int> filler;
  limit.Set(static_cast<rlim_t>(clients.back()) + 8);
  for (int fd = dup(listener); fd >= 0; fd = dup(listener)) filler.push_back(fd);
  EXPECT_LT(accept(listener, nullptr, nullptr), 0);
  EXPECT_EQ(errno, EMFILE);
  EXPECT_EQ(spare.RefuseWaiting(listener, 2), 2);
  EXPECT_EQ(spare.RefuseWaiting(listener, 2), 1) << "the spare one was taken back";
  EXPECT_EQ(spare.RefuseWaiting(listener, 2), 0);
  for (const int client : clients) {
    char byte = 0;
    EXPECT_LE(recv(client, &byte, 1, 0), 0);
    close(client);
  }
  for (const int fd : filler) close(fd);
  close(listener);
}

}  // namespace pga::exec
