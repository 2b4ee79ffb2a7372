// What every service of the suite asks of its process before it begins.
#pragma once

namespace pga::exec {

// Bounds the heap (BoundHeap), takes locks without checks of their order (SkipLockOrderChecks), raises the limit of
// open files (RaiseOpenFiles) and turns SIGTERM and SIGINT into an event (ShutdownSignal). To be called after the log
// is set up and before threads are started.
void BeginService();

}  // namespace pga::exec
