// What the parts of the group writer say to each other: a batch on its way through one transaction, and the watermarks
// of streams. Plain data of one writer, used on its thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "libs/storage/write/group_writer.h"
#include "libs/storage/write/prepared_batch.h"

namespace pga::storage {

// metrics.collector.id, and the stream's 16 bytes.
using StreamKey = std::pair<int32_t, std::string>;

// One row of metrics.ingest_watermark.
struct Watermark {
  int64_t last_seq = 0;   // 0: nothing is stored yet
  std::string last_hash;  // 32 bytes
  int64_t session = 0;
  std::string collector_id;  // empty: nobody has the number
};
using Watermarks = std::map<StreamKey, Watermark>;

// The batch outlives the item.
struct GroupItem {
  const PreparedBatch* batch = nullptr;
  BatchResult result;
  // Not empty: put aside under this reason; from the batch, from the ownership check, or because the database refused
  // it.
  std::string quarantine_reason;
  std::string quarantine_message;
  bool accepted = false;
  // A source's number is unknown or somebody else's in this database.
  bool stale = false;
  // A source has another owner epoch than the batch was prepared by, or an opening was stored since.
  bool moved = false;

  StreamKey key() const { return {batch->collector, batch->stream_id}; }
  bool stored() const { return accepted && quarantine_reason.empty(); }
};

}  // namespace pga::storage
