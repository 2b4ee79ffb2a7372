#include "libs/storage/write/prepared_batch.h"

namespace pga::storage {

size_t PreparedBatch::MemoryBytes() const {
  return sizeof *this + payload.size() + records.MemoryBytes();
}

}  // namespace pga::storage
