#include "libs/storage/write/records.h"

#include "libs/pg/binary.h"

namespace pga::storage {
namespace {

constexpr int32_t kInt4Oid = 23;

// In the order of RecordKind, which is the order of writing.
constexpr std::array<RecordType, kRecordKinds> kTypes = {{
    {"metrics.frame",
     "COPY metrics.frame (source_id, metric_id, scope_id, kind, part, flags, schema_version, collected_at, "
     "interval_start, received_at, collector_id, rows, unchanged_rows, offsets, data) FROM STDIN BINARY",
     nullptr, nullptr},
    // COPY has no ON CONFLICT: texts go by a table of the session. Of equal keys the last one stays; in order of keys,
    // so that two writers do not wait for each other.
    {"metrics.query_text", "COPY pg_temp.query_text_in (source_id, database_id, query_id, text) FROM STDIN BINARY",
     "CREATE TEMPORARY TABLE IF NOT EXISTS query_text_in (source_id int4, database_id int8, query_id int8, text text) "
     "ON COMMIT DELETE ROWS",
     "INSERT INTO metrics.query_text AS t (source_id, database_id, query_id, text, last_seen) SELECT DISTINCT ON "
     "(source_id, database_id, query_id) source_id, database_id, query_id, text, now() FROM pg_temp.query_text_in "
     "ORDER "
     "BY source_id, database_id, query_id, ctid DESC ON CONFLICT (source_id, database_id, query_id) DO UPDATE SET text "
     "= EXCLUDED.text, last_seen = EXCLUDED.last_seen"},
    {"metrics.lost_interval",
     "COPY metrics.lost_interval (received_at, collector_id, source_id, start_time, end_time, first_seq, last_seq) "
     "FROM "
     "STDIN BINARY",
     nullptr, nullptr},
    // Batches may come in any order: the newest key frame stays.
    {"metrics.counter_run",
     "COPY pg_temp.counter_run_in (source_id, metric_id, scope_id, collected_at, run) FROM STDIN BINARY",
     "CREATE TEMPORARY TABLE IF NOT EXISTS counter_run_in (source_id int4, metric_id int2, scope_id int8, collected_at "
     "timestamptz, run bytea) ON COMMIT DELETE ROWS",
     "INSERT INTO metrics.counter_run AS t (source_id, metric_id, scope_id, collected_at, run) SELECT DISTINCT ON "
     "(source_id, metric_id, scope_id) source_id, metric_id, scope_id, collected_at, run FROM pg_temp.counter_run_in "
     "ORDER BY source_id, metric_id, scope_id, collected_at DESC ON CONFLICT (source_id, metric_id, scope_id) DO "
     "UPDATE "
     "SET collected_at = EXCLUDED.collected_at, run = EXCLUDED.run WHERE t.collected_at <= EXCLUDED.collected_at"},
    {"metrics.superseded",
     "COPY metrics.superseded (received_at, collector_id, stream_id, seq, source_id, owner_epoch, frames, rows, "
     "start_time, end_time) FROM STDIN BINARY",
     nullptr, nullptr},
    {"metrics.ingest_receipt",
     "COPY metrics.ingest_receipt (received_at, collector_id, stream_id, seq, hash, rows, bytes, clock_offset_us) FROM "
     "STDIN BINARY",
     nullptr, nullptr},
    {"metrics.quarantine",
     "COPY metrics.quarantine (received_at, collector_id, stream_id, seq, reason, message, payload) FROM STDIN BINARY",
     nullptr, nullptr},
}};

std::string* Start(RecordKind kind, int16_t fields, RecordSets* records) {
  RecordSet& set = (*records)[kind];
  ++set.rows;
  pg::AppendRowHeader(&set.tuples, fields);
  return &set.tuples;
}

}  // namespace

const RecordType& TypeOf(RecordKind kind) {
  return kTypes[static_cast<size_t>(kind)];
}

size_t RecordSets::MemoryBytes() const {
  size_t bytes = 0;
  for (const RecordSet& set : sets_) bytes += set.tuples.capacity();
  return bytes;
}

void AppendFrame(const FrameRecord& frame, RecordSets* records) {
  std::string* out = Start(RecordKind::kFrame, 15, records);
  pg::AppendInt4(out, frame.source);
  pg::AppendInt2(out, frame.metric_id);
  pg::AppendInt8(out, frame.scope);
  pg::AppendInt2(out, frame.kind);
  pg::AppendInt2(out, frame.part);
  pg::AppendInt2(out, frame.flags);
  pg::AppendInt2(out, frame.schema_version);
  pg::AppendTimestamptz(out, frame.collected_us);
  pg::AppendTimestamptz(out, frame.interval_start_us);
  pg::AppendTimestamptz(out, frame.received_us);
  pg::AppendInt4(out, frame.collector);
  pg::AppendInt4(out, frame.rows);
  pg::AppendInt4(out, frame.unchanged_rows);

  // int4[]: dimensions, has NULLs, element type; length and lower bound; elements. Start of each chunk and of the row
  // flags, and the end.
  const auto count = static_cast<int32_t>(frame.chunks.size()) + 2;
  pg::internal::AppendBigEndian<int32_t>(out, 20 + 8 * count);
  pg::internal::AppendBigEndian<int32_t>(out, 1);
  pg::internal::AppendBigEndian<int32_t>(out, 0);
  pg::internal::AppendBigEndian<int32_t>(out, kInt4Oid);
  pg::internal::AppendBigEndian<int32_t>(out, count);
  pg::internal::AppendBigEndian<int32_t>(out, 1);
  int32_t at = 0;
  for (const std::string_view chunk : frame.chunks) {
    pg::AppendInt4(out, at);
    at += static_cast<int32_t>(chunk.size());
  }
  pg::AppendInt4(out, at);
  at += static_cast<int32_t>(frame.row_flags.size());
  pg::AppendInt4(out, at);

  pg::internal::AppendBigEndian<int32_t>(out, at);
  for (const std::string_view chunk : frame.chunks) out->append(chunk);
  out->append(frame.row_flags);
}

void AppendQueryText(const QueryTextRecord& text, RecordSets* records) {
  std::string* out = Start(RecordKind::kQueryText, 4, records);
  pg::AppendInt4(out, text.source);
  pg::AppendInt8(out, text.database_id);
  pg::AppendInt8(out, text.query_id);
  pg::AppendText(out, text.text);
}

void AppendLostInterval(const LostIntervalRecord& lost, RecordSets* records) {
  std::string* out = Start(RecordKind::kLostInterval, 7, records);
  pg::AppendTimestamptz(out, lost.received_us);
  pg::AppendInt4(out, lost.collector);
  pg::AppendInt4(out, lost.source);
  pg::AppendTimestamptz(out, lost.start_us);
  pg::AppendTimestamptz(out, lost.end_us);
  pg::AppendInt8(out, lost.first_seq);
  pg::AppendInt8(out, lost.last_seq);
}

void AppendCounterRun(const CounterRunRecord& run, RecordSets* records) {
  std::string* out = Start(RecordKind::kCounterRun, 5, records);
  pg::AppendInt4(out, run.source);
  pg::AppendInt2(out, run.metric_id);
  pg::AppendInt8(out, run.scope);
  pg::AppendTimestamptz(out, run.collected_us);
  pg::AppendBytes(out, run.run);
}

void AppendSuperseded(const SupersededRecord& superseded, RecordSets* records) {
  std::string* out = Start(RecordKind::kSuperseded, 10, records);
  pg::AppendTimestamptz(out, superseded.received_us);
  pg::AppendInt4(out, superseded.collector);
  pg::AppendBytes(out, superseded.stream_id);
  pg::AppendInt8(out, superseded.seq);
  pg::AppendInt4(out, superseded.source);
  pg::AppendInt8(out, superseded.owner_epoch);
  pg::AppendInt4(out, superseded.frames);
  pg::AppendInt8(out, superseded.rows);
  pg::AppendTimestamptz(out, superseded.start_us);
  pg::AppendTimestamptz(out, superseded.end_us);
}

void AppendReceipt(const ReceiptRecord& receipt, RecordSets* records) {
  std::string* out = Start(RecordKind::kReceipt, 8, records);
  pg::AppendTimestamptz(out, receipt.received_us);
  pg::AppendInt4(out, receipt.collector);
  pg::AppendBytes(out, receipt.stream_id);
  pg::AppendInt8(out, receipt.seq);
  pg::AppendBytes(out, receipt.hash);
  pg::AppendInt4(out, receipt.rows);
  pg::AppendInt4(out, receipt.bytes);
  pg::AppendInt8(out, receipt.clock_offset_us);
}

void AppendQuarantine(const QuarantineRecord& aside, RecordSets* records) {
  std::string* out = Start(RecordKind::kQuarantine, 7, records);
  pg::AppendTimestamptz(out, aside.received_us);
  pg::AppendInt4(out, aside.collector);
  pg::AppendBytes(out, aside.stream_id);
  pg::AppendInt8(out, aside.seq);
  pg::AppendText(out, aside.reason);
  pg::AppendText(out, aside.message);
  pg::AppendBytes(out, aside.payload);
}

}  // namespace pga::storage
