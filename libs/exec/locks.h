// How absl::Mutex behaves in a program of the suite.
#pragma once

namespace pga::exec {

// Locks are taken without a check of their order. Debian's Abseil is built with that check (its debug mode): each lock
// costs three times as much (exec_locks_benchmark), each mutex holds a stack trace, and a cycle that it suspects ends
// the process. gRPC uses the same mutexes, several for a call. Tests keep the check. To be called before threads are
// started.
void SkipLockOrderChecks();

}  // namespace pga::exec
