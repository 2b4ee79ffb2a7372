// Resident memory after start-up. The dynamic linker and the initialisers of gRPC, Protocol Buffers and OpenSSL touch
// megabytes of symbol tables and code that a process never reads again.
#pragma once

#include <cstddef>

namespace pga::exec {

// Unmaps the clean, read-only pages of the program and its libraries; those still in use come back from the page cache
// at their next access. Returns the bytes offered, 0 where the system does not take them. Thread-safe; a debugger's
// breakpoints set before the call are lost.
size_t ReleaseStartupPages();

}  // namespace pga::exec
