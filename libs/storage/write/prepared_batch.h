// A batch as the writers take it: decoded, checked, its records already in COPY form. Made on a decoding thread,
// immutable afterwards, read by one writer.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "libs/storage/write/records.h"

namespace pga::storage {

// Why a batch went to quarantine; stored in metrics.quarantine.reason.
namespace quarantine_reason {
inline constexpr char kMalformed[] = "malformed";  // does not decode, or a frame contradicts its metric
inline constexpr char kHash[] = "hash";            // the bytes do not have the hash that the batch says
inline constexpr char kClock[] = "clock";          // collected_at outside [now - raw retention, now + 10 min]
inline constexpr char kSource[] = "source";        // a source that its own batch does not describe, or a foreign id
inline constexpr char kOwner[] = "owner";          // its collector never owned the source in that epoch
inline constexpr char kRefused[] = "refused";      // the database refuses the data
}  // namespace quarantine_reason

// What the batch was prepared by: it holds as long as the source has this owner epoch.
struct SourceClaim {
  int32_t source = 0;
  // Of the source, which is later than the batch's own when a former owner sends it.
  int64_t owner_epoch = 0;
  // 16 bytes: whose number `source` was.
  std::string uuid;
};

// An increase in the batch that was counted from a row of metrics.carried, by the key frame of this instant.
struct OpeningClaim {
  int32_t source = 0;
  int64_t owner_epoch = 0;
  int16_t metric_id = 0;
  int64_t scope = 0;
  int64_t collected_us = 0;

  friend auto operator<=>(const OpeningClaim&, const OpeningClaim&) = default;
};

struct PreparedBatch {
  int32_t collector = 0;     // metrics.collector.id
  std::string collector_id;  // whose number that was when the batch was prepared
  std::string stream_id;     // 16 bytes
  int64_t session = 0;
  int64_t first_seq = 0;  // seq, or the first of the numbers that a gap record stands for
  int64_t seq = 0;
  std::string prev_hash;  // 32 bytes
  std::string hash;       // 32 bytes
  int64_t received_us = 0;
  int64_t clock_offset_us = 0;
  int32_t row_count = 0;
  int32_t wire_bytes = 0;  // size of the payload

  bool is_gap = false;
  RecordSets records;
  std::vector<SourceClaim> claims;
  std::vector<OpeningClaim> openings;

  // Not empty: the batch is not stored but put aside under this reason, and its number is used up.
  std::string quarantine_reason;
  std::string quarantine_message;
  std::string payload;  // the batch as it came; needed for quarantine

  // Bytes that the batch occupies while it waits.
  size_t MemoryBytes() const;
};

}  // namespace pga::storage
