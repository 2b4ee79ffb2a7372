// How a long-running service lets glibc keep memory (docs/adr/2026-11-23-process-memory.md).
#pragma once

#include <memory>

#include "libs/exec/periodic_task.h"

namespace pga::exec {

// Blocks of a megabyte and more go back to the system as soon as they are freed, whatever was freed before, and threads
// share four arenas. To be called before threads are started.
void BoundHeap();

// Gives free pages back to the system every 30 s while it lives: glibc keeps those of bursts unless asked.
std::unique_ptr<PeriodicTask> TrimHeap();

}  // namespace pga::exec
