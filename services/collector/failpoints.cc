#include "services/collector/failpoints.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"

namespace pga::collector {
namespace {

// Numbers of the crash points in docs/delivery.md.
constexpr std::pair<std::string_view, std::string_view> kNumbered[] = {
    {"C1", "spool.before_append"}, {"C2", "spool.mid_append"},   {"C3", "spool.after_append"},
    {"C5", "spool.fsync"},         {"C6", "spool.after_fsync"},  {"C7", "delivery.mid_send"},
    {"C8", "delivery.after_send"}, {"C9", "delivery.after_ack"}, {"C10", "spool.mid_trim"},
    {"C11", "spool.write"},
};

constexpr useconds_t kDelayMicros = 300'000;

enum class Action { kKill, kFail, kDelay };

struct Point {
  int remaining = 0;
  Action action = Action::kKill;
  int error = 0;
  int times = 0;  // left; 0 = without end
  bool said = false;
};

using Points = std::map<std::string, Point, std::less<>>;

struct State {
  absl::Mutex mutex;
  Points points ABSL_GUARDED_BY(mutex);
};

std::atomic<bool> armed{false};

State& GetState() {
  static State* const state = new State;
  return *state;
}

bool ParsePoint(const std::vector<std::string>& parts, Point* point) {
  if (parts.size() < 2 || parts.size() > 4) return false;
  if (!absl::SimpleAtoi(parts[1], &point->remaining) || point->remaining < 1) return false;
  const std::string action = parts.size() > 2 ? parts[2] : "kill";
  if (action == "enospc" || action == "eio") {
    point->action = Action::kFail;
    point->error = action == "eio" ? EIO : ENOSPC;
  } else if (action == "delay") {
    point->action = Action::kDelay;
    point->times = 1;
  } else if (action != "kill") {
    return false;
  }
  return parts.size() < 4 || (absl::SimpleAtoi(parts[3], &point->times) && point->times > 0);
}

}  // namespace

bool ArmFailpoints(std::string_view text) {
  State& state = GetState();
  absl::MutexLock lock(&state.mutex);
  state.points.clear();
  armed = false;
  if (text.empty()) return true;
  Points points;
  for (const absl::string_view item : absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    const std::vector<std::string> parts = absl::StrSplit(item, ':');
    Point point;
    if (!ParsePoint(parts, &point)) return false;
    std::string name = parts[0];
    for (const auto& [number, words] : kNumbered) {
      if (name == number) name = std::string(words);
    }
    points[name] = point;
  }
  state.points = std::move(points);
  armed = true;
  return true;
}

bool ArmFailpointsFromEnvironment() {
#ifdef PGA_FAILPOINTS
  const char* text = std::getenv("PGA_FAILPOINT");
  return text == nullptr || ArmFailpoints(text);
#else
  return true;
#endif
}

bool FailpointsArmed() {
  return armed.load(std::memory_order_relaxed);
}

int Failpoint(std::string_view name) {
  if (!FailpointsArmed()) return 0;
  State& state = GetState();
  Point acting;
  {
    absl::MutexLock lock(&state.mutex);
    const auto it = state.points.find(name);
    if (it == state.points.end()) return 0;
    Point& point = it->second;
    if (point.remaining > 1) {
      --point.remaining;
      return 0;
    }
    acting = point;
    point.said = true;
    if (point.times > 0 && --point.times == 0) state.points.erase(it);
  }
  if (!acting.said) {
    const std::string line = absl::StrCat("failpoint ", absl::string_view(name.data(), name.size()), " acts\n");
    (void)!write(STDERR_FILENO, line.data(), line.size());
  }
  if (acting.action == Action::kFail) return acting.error;
  if (acting.action == Action::kDelay) {
    usleep(kDelayMicros);
    return 0;
  }
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

}  // namespace pga::collector
