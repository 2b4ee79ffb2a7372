// The test's side of a stepped clock: a file that programs are started with.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <map>
#include <string>

#include "absl/time/time.h"
#include "libs/testing/settings.h"
#include "libs/testing/temp_dir.h"
#include "tests/clock/stepped_clock.h"

namespace pga::testing {

// Thread-safe. Programs started with environment() follow it; it outlives them.
class SteppedClock {
 public:
  // Ends the test program when the file cannot be made.
  SteppedClock() {
    const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ::ftruncate(fd, sizeof(SteppedClockState)) != 0) std::abort();
    void* mapped = ::mmap(nullptr, sizeof(SteppedClockState), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (mapped == MAP_FAILED) std::abort();
    state_ = static_cast<SteppedClockState*>(mapped);
  }
  ~SteppedClock() { ::munmap(state_, sizeof(SteppedClockState)); }
  SteppedClock(const SteppedClock&) = delete;
  SteppedClock& operator=(const SteppedClock&) = delete;

  void Step(absl::Duration by) { state_->offset_nanos += absl::ToInt64Nanoseconds(by); }
  // Timed waits on the wall clock so far, of all programs; they are named in the programs' output.
  int64_t waits() const { return state_->waits; }

  std::map<std::string, std::string> environment() const {
    return {{"LD_PRELOAD", Program("libpga_stepped_clock.so")}, {"PGA_STEPPED_CLOCK", path_}};
  }

 private:
  ScopedTempDir dir_;
  const std::string path_ = dir_ / "clock";
  SteppedClockState* state_ = nullptr;
};

}  // namespace pga::testing
