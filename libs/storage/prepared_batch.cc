#include "libs/storage/prepared_batch.h"

namespace pga::storage {

size_t PreparedBatch::MemoryBytes() const {
  size_t bytes = sizeof *this + payload.size() + ledger.size() * sizeof(LedgerEntry);
  for (const PreparedRows& part : rows) bytes += part.tuples.size();
  for (const TextEntry& text : texts) bytes += sizeof text + text.value.size();
  for (const PreparedQueryText& text : query_texts) bytes += sizeof text + text.text.size();
  return bytes;
}

}  // namespace pga::storage
