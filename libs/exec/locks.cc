#include "libs/exec/locks.h"

#include "absl/synchronization/mutex.h"

namespace pga::exec {

void SkipLockOrderChecks() {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace pga::exec
