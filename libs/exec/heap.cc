#include "libs/exec/heap.h"

#include <malloc.h>

namespace pga::exec {

void BoundHeap() {
  // Each of these settings also keeps glibc from raising its thresholds to the largest block that was freed, after
  // which bodies and answers of megabytes would stay in the arenas of whichever threads had them.
  mallopt(M_MMAP_THRESHOLD, 1 << 20);
  mallopt(M_TRIM_THRESHOLD, 2 << 20);
  mallopt(M_ARENA_MAX, 4);
}

}  // namespace pga::exec
