// What a test and the programs it has preloaded with libpga_stepped_clock.so share (stepped_clock.cc).
#pragma once

#include <atomic>
#include <cstdint>

namespace pga::testing {

struct SteppedClockState {
  // Added to the wall clock of the programs.
  std::atomic<int64_t> offset_nanos;
  // Timed waits on the wall clock so far.
  std::atomic<int64_t> waits;
};

}  // namespace pga::testing
