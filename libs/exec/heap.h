// How a long-running service lets glibc keep memory (docs/adr/2026-11-23-process-memory.md).
#pragma once

namespace pga::exec {

// Blocks of a megabyte and more go back to the system as soon as they are freed, whatever was freed before, and threads
// share four arenas. To be called before threads are started.
void BoundHeap();

}  // namespace pga::exec
