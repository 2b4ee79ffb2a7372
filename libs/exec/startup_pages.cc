#include "libs/exec/startup_pages.h"

#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

namespace pga::exec {
namespace {

int ReleaseObject(dl_phdr_info* object, size_t /*size*/, void* total) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  for (int i = 0; i < object->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = object->dlpi_phdr[i];
    // Writable segments hold relocations and data of this process: giving those up would lose them.
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_W) != 0) continue;
    const uintptr_t begin = (object->dlpi_addr + segment.p_vaddr + page - 1) & ~(page - 1);
    const uintptr_t end = (object->dlpi_addr + segment.p_vaddr + segment.p_memsz) & ~(page - 1);
    if (begin >= end) continue;
    if (madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED) == 0) {
      *static_cast<size_t*>(total) += end - begin;
    }
  }
  return 0;
}

}  // namespace

size_t ReleaseStartupPages() {
  size_t total = 0;
  dl_iterate_phdr(&ReleaseObject, &total);
  return total;
}

}  // namespace pga::exec
