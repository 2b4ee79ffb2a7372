// What fsync, zstd and SHA-256 cost this process. A program that links this library calls them through counting
// functions (the linker's --wrap), so that the code that is measured is the product's own.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace pga::fleetsim {

// Since the start of the process.
struct WireCosts {
  int64_t fsyncs = 0;
  // CPU seconds of the calling threads; waiting for the disk is not in it.
  double fsync_cpu_s = 0;
  double fsync_wall_s = 0;
  double zstd_cpu_s = 0;
  double sha_cpu_s = 0;
};
// Thread-safe.
WireCosts CostsSoFar();
WireCosts operator-(const WireCosts& a, const WireCosts& b);

// CPU seconds of this process so far.
double OwnCpuSeconds();
// CPU seconds of the calling thread so far.
double ThreadCpuSeconds();
// CPU seconds of a process and of its descendants, ended ones that were waited for included. 0 when there is none.
double TreeCpuSeconds(pid_t pid);

}  // namespace pga::fleetsim
