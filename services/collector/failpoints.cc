#include "services/collector/failpoints.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"

namespace pga::collector {
namespace {

struct Point {
  int remaining = 0;
  int error = 0;  // 0 = kill
};

struct State {
  absl::Mutex mutex;
  std::map<std::string, Point, std::less<>> points ABSL_GUARDED_BY(mutex);
};

std::atomic<bool> armed{false};

State& GetState() {
  static State* const state = new State;
  return *state;
}

}  // namespace

bool ArmFailpoints(std::string_view text) {
  State& state = GetState();
  absl::MutexLock lock(&state.mutex);
  state.points.clear();
  armed = false;
  if (text.empty()) return true;
  std::map<std::string, Point, std::less<>> points;
  for (const absl::string_view item : absl::StrSplit(absl::string_view(text.data(), text.size()), ',')) {
    const std::vector<std::string> parts = absl::StrSplit(item, ':');
    Point point;
    if (parts.size() < 2 || parts.size() > 3 || !absl::SimpleAtoi(parts[1], &point.remaining) || point.remaining < 1) {
      return false;
    }
    if (parts.size() == 3 && parts[2] == "enospc") {
      point.error = ENOSPC;
    } else if (parts.size() == 3 && parts[2] == "eio") {
      point.error = EIO;
    } else if (parts.size() == 3 && parts[2] != "kill") {
      return false;
    }
    points[parts[0]] = point;
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

int Failpoint(std::string_view name) {
  if (!armed.load(std::memory_order_relaxed)) return 0;
  State& state = GetState();
  absl::MutexLock lock(&state.mutex);
  const auto it = state.points.find(name);
  if (it == state.points.end()) return 0;
  Point& point = it->second;
  if (point.remaining > 1) {
    --point.remaining;
    return 0;
  }
  if (point.error != 0) return point.error;
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

}  // namespace pga::collector
