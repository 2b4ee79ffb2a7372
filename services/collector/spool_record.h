// Records of the spool's log as they lie on the disk. A segment is nothing but records, one after the other. Pure code
// without I/O, thread-safe.
//
//   byte    size  what
//   0       4     magic, "PGAR"
//   4       4     h = size of the head in bytes, at most kMaxRecordHeadBytes
//   8       4     b = size of the body in bytes, at most kMaxRecordBodyBytes
//   12      4     CRC32C of bytes 4 to 11 and the head
//   16      4     CRC32C of the body
//   20      h     head
//   20 + h  b     body
//
// Fixed integers are unsigned and little-endian. The head holds, in this order and in the forms of bytes.h:
//
//   type             one byte, RecordType
//   stream_id        length-prefixed, 16 bytes
//   seq              signed varint
//   prev_hash, hash  length-prefixed; SHA-256, 32 bytes or none
//   batch_bytes      varint
//   start_us         signed varint
//   end_us           signed varint
//   sources          their count as a varint, then each length-prefixed
//   replaces         their count as a varint, then of each the stream, length-prefixed, and the number, signed varint
//   group_size       varint  } both or neither
//   group_place      varint  }
//
// The body of a batch is the Batch message, batch_bytes long, and then the patches of its baselines. Records of the
// other types have no body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pga::collector {

inline constexpr size_t kRecordPrefixBytes = 20;
inline constexpr uint32_t kMaxRecordHeadBytes = 64 << 10;
inline constexpr uint32_t kMaxRecordBodyBytes = 64 << 20;

enum class RecordType : uint8_t {
  kBatch = 1,
  // The stream is acknowledged up to `seq`; `hash` is the hash of that batch, empty if it is not known.
  kAck = 2,
  // The stream ends with `seq` and `hash`: records of it with higher numbers were never accepted.
  kEnd = 3,
  // The batch `seq` was dropped before it was acknowledged.
  kLost = 4,
  // The first `seq` bytes of segment `batch_bytes` were safe when this was written; its stream_id is zero bytes. What
  // follows them was written later, or, when this stands in a later segment, was never accepted.
  kSafe = 5,
  // Every batch of the stream from the number `seq` on has been moved to another one. `hash` is that of the batch
  // before them, empty if it is not known.
  kMoved = 6,
};

struct BatchId {
  std::string stream_id;
  int64_t seq = 0;

  friend auto operator<=>(const BatchId&, const BatchId&) = default;
};

// What a record says of itself. Times are microseconds since 1970.
struct RecordHead {
  RecordType type = RecordType::kBatch;
  std::string stream_id;
  int64_t seq = 0;
  // Batch, lost: of the batch before it and its own.
  std::string prev_hash;
  std::string hash;
  // Batch: size of the Batch message in the body. Safe: the number of a segment.
  uint64_t batch_bytes = 0;
  // Batch, lost: the time its frames cover and the ids of its sources; 0 and none if it has no frames.
  int64_t start_us = 0;
  int64_t end_us = 0;
  std::vector<std::string> sources;
  // Batch: the numbers that it had before it was moved here, which are void now, all of them: the record of the last
  // move may be damaged while that of the first still stands.
  std::vector<BatchId> replaces;
  // Batch: of a group that was accepted together the number of records, at least 2, and its place among them, from 0.
  // They follow one another in one segment with ascending seq. 0 and 0: it stands alone.
  uint64_t group_size = 0;
  uint64_t group_place = 0;

  friend bool operator==(const RecordHead&, const RecordHead&) = default;
};

// The bytes of a record. The caller keeps the limits: a head or body that is too large, a stream_id of another size or
// a batch without seq and hash cannot be read back.
std::string EncodeRecord(const RecordHead& head, std::string_view body);

struct Record {
  RecordHead head;
  uint32_t head_bytes = 0;
  // Points into the bytes that were decoded.
  std::string_view body;

  // On the disk.
  size_t size() const { return kRecordPrefixBytes + head_bytes + body.size(); }
};

enum class RecordState {
  kWhole,
  // The head is as it was written, the body is not.
  kRottenBody,
  // No record begins here, its head is damaged, or it is cut short.
  kUnreadable,
};

// Reads the record at the beginning of `bytes`; what follows it is not looked at. `record` is of no use if it is
// unreadable.
RecordState DecodeRecord(std::string_view bytes, Record* record);

// Walks through the records of a segment and over what is rotten between them. Not thread-safe; the segment's bytes
// must outlive the scanner and what it found.
class RecordScanner {
 public:
  struct Found {
    Record record;
    // Where it begins in the segment.
    size_t offset = 0;
    // Unreadable bytes right before it.
    size_t skipped_bytes = 0;
    // Its body is damaged.
    bool rotten = false;
  };

  explicit RecordScanner(std::string_view segment) : segment_(segment) {}

  // On to the next record with a whole head. False, and `found` is of no use, when there is none. A record at the very
  // end of the segment whose body is damaged is not found: its writing was cut off.
  bool Next(Found* found);

  // Where the last record found ends. After the last Next() the rest of the segment is a torn tail.
  size_t end() const { return end_; }

 private:
  const std::string_view segment_;
  size_t end_ = 0;
};

// Groups count as a whole or not at all. `records` are all of a segment, in its order; those of a group that is not
// whole are marked rotten. Returns how many are left: all of them, but without a group that begins at `accepted_bytes`
// or later, up to where everything is known to have been accepted, and that the end of the segment cuts off: it never
// was.
size_t CheckGroups(size_t accepted_bytes, std::vector<RecordScanner::Found>* records);

}  // namespace pga::collector
