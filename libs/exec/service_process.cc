#include "libs/exec/service_process.h"

#include "libs/exec/heap.h"
#include "libs/exec/locks.h"
#include "libs/exec/open_files.h"
#include "libs/exec/shutdown.h"

namespace pga::exec {

void BeginService() {
  BoundHeap();
  SkipLockOrderChecks();
  RaiseOpenFiles();
  ShutdownSignal::Install();
}

}  // namespace pga::exec
