#include "libs/exec/heap.h"

#include <malloc.h>

#include "absl/time/time.h"
#include "libs/clock/clock.h"

namespace pga::exec {

void BoundHeap() {
  // Each of these settings also keeps glibc from raising its thresholds to the largest block that was freed, after
  // which bodies and answers of megabytes would stay in the arenas of whichever threads had them.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 2 << 20);
  mallopt(M_ARENA_MAX, 4);
}

std::unique_ptr<PeriodicTask> TrimHeap() {
  return std::make_unique<PeriodicTask>("malloc-trim", absl::Seconds(30), clock::Clock::Real(), [] { malloc_trim(0); });
}

}  // namespace pga::exec
