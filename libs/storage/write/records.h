// What a batch leaves in the database, by kind: each kind is one table and one binary COPY. A new kind is one more name
// in RecordKind and one more line of the table in records.cc; whoever prepares a batch appends its tuples to the
// batch's RecordSets, and the writer needs to know nothing of them.
//
// Tuples are those of binary COPY without header and trailer (libs/pg/binary.h). Appending is not thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pga::storage {

enum class RecordKind : uint8_t { kFrame, kQueryText, kLostInterval, kCounterRun, kSuperseded, kReceipt, kQuarantine };
inline constexpr size_t kRecordKinds = 7;

// How records of a kind get into the database.
struct RecordType {
  // Of the table, for errors.
  const char* name;
  const char* copy_sql;
  // Once per connection and outside of transactions; null = nothing.
  const char* session_sql;
  // Behind the COPY, in its transaction; null = nothing.
  const char* merge_sql;
};
const RecordType& TypeOf(RecordKind kind);

struct RecordSet {
  std::string tuples;
  int64_t rows = 0;
};

// One set per kind.
class RecordSets {
 public:
  RecordSet& operator[](RecordKind kind) { return sets_[static_cast<size_t>(kind)]; }
  const RecordSet& operator[](RecordKind kind) const { return sets_[static_cast<size_t>(kind)]; }
  void Clear() { sets_ = {}; }
  size_t MemoryBytes() const;

 private:
  std::array<RecordSet, kRecordKinds> sets_;
};

// A row of metrics.frame. Times are microseconds since 1970.
struct FrameRecord {
  int32_t source = 0;
  int16_t metric_id = 0;
  int64_t scope = 0;
  // FrameKind.
  int16_t kind = 0;
  int16_t part = 0;
  // FrameFlag bits that all rows have; columns::kSomeLowerBoundFlag when some row has LOWER_BOUND.
  int16_t flags = 0;
  int16_t schema_version = 0;
  int64_t collected_us = 0;
  int64_t interval_start_us = 0;
  int64_t received_us = 0;
  int32_t collector = 0;
  int32_t rows = 0;
  int32_t unchanged_rows = 0;
  // Per column of the schema version, in order. The bytes belong to the caller and are copied.
  std::vector<std::string_view> chunks = {};
  // Empty, or the chunk of the rows' flags.
  std::string_view row_flags = {};
};
void AppendFrame(const FrameRecord& frame, RecordSets* records);

// A row of metrics.query_text, which takes the place of an older one.
struct QueryTextRecord {
  int32_t source = 0;
  int64_t database_id = 0;
  int64_t query_id = 0;
  // Valid UTF-8 without NUL.
  std::string_view text;
};
void AppendQueryText(const QueryTextRecord& text, RecordSets* records);

// A row of metrics.lost_interval.
struct LostIntervalRecord {
  int64_t received_us = 0;
  int32_t collector = 0;
  int32_t source = 0;
  int64_t start_us = 0;
  int64_t end_us = 0;
  int64_t first_seq = 0;
  int64_t last_seq = 0;
};
void AppendLostInterval(const LostIntervalRecord& lost, RecordSets* records);

// A row of metrics.counter_run, which takes the place of an older one.
struct CounterRunRecord {
  int32_t source = 0;
  int16_t metric_id = 0;
  int64_t scope = 0;
  int64_t collected_us = 0;
  // Serialised pganalytics.ingest.v1.CounterRun.
  std::string_view run;
};
void AppendCounterRun(const CounterRunRecord& run, RecordSets* records);

// A row of metrics.superseded.
struct SupersededRecord {
  int64_t received_us = 0;
  int32_t collector = 0;
  std::string_view stream_id;  // 16 bytes
  int64_t seq = 0;
  int32_t source = 0;
  int64_t owner_epoch = 0;
  int32_t frames = 0;
  int64_t rows = 0;
  int64_t start_us = 0;
  int64_t end_us = 0;
};
void AppendSuperseded(const SupersededRecord& superseded, RecordSets* records);

// A row of metrics.ingest_receipt.
struct ReceiptRecord {
  int64_t received_us = 0;
  int32_t collector = 0;
  std::string_view stream_id;  // 16 bytes
  int64_t seq = 0;
  std::string_view hash;
  int32_t rows = 0;
  int32_t bytes = 0;
  int64_t clock_offset_us = 0;
};
void AppendReceipt(const ReceiptRecord& receipt, RecordSets* records);

// A row of metrics.quarantine.
struct QuarantineRecord {
  int64_t received_us = 0;
  int32_t collector = 0;
  std::string_view stream_id;  // 16 bytes
  int64_t seq = 0;
  std::string_view reason;
  // Valid UTF-8 without NUL.
  std::string_view message;
  std::string_view payload;
};
void AppendQuarantine(const QuarantineRecord& aside, RecordSets* records);

}  // namespace pga::storage
