#include "libs/storage/group_rows.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"
#include "libs/pg/binary.h"
#include "libs/status/status.h"
#include "libs/storage/array_text.h"

namespace pga::storage {
namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;
// COPY data goes to libpq in pieces of about this size: large enough that the message header and the call do not count,
// small enough to stay in the cache.
constexpr size_t kCopyChunkBytes = 256 * 1024;
// Partitions that this connection knows to exist; beyond it the set starts again from nothing.
constexpr size_t kMaxKnown = 100'000;
constexpr size_t kMaxMessageBytes = 2'000;

constexpr char kLedgerCopy[] =
    "COPY metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, bytes) FROM "
    "STDIN BINARY";
constexpr char kReceiptCopy[] =
    "COPY metrics.ingest_receipt (received_at, collector_id, stream_id, seq, hash, rows, bytes, clock_offset_us) FROM "
    "STDIN BINARY";
// Known texts come again every hour or two (KnownTexts) and are noted as in use twice a day.
constexpr char kInsertTexts[] =
    "INSERT INTO metrics.text AS t (source_id, id, value) SELECT s, i, v FROM unnest($1::int4[], $2::int8[], "
    "$3::text[]) AS k(s, i, v) ON CONFLICT (source_id, id) DO UPDATE SET last_seen = now() WHERE t.last_seen < now() - "
    "interval '12 hours'";
constexpr char kUpsertQueryTexts[] =
    "INSERT INTO metrics.query_text (source_id, database_id, query_id, text, last_seen) SELECT s, d, q, t, now() FROM "
    "unnest($1::int4[], $2::int8[], $3::int8[], $4::text[]) AS k(s, d, q, t) ON CONFLICT (source_id, database_id, "
    "query_id) DO UPDATE SET text = EXCLUDED.text, last_seen = EXCLUDED.last_seen";
// An existing mark is locked, not written: the rollup job, which deletes marks before it reads rows, then waits until
// these rows are visible to it.
constexpr char kMarkDirty[] =
    "INSERT INTO metrics.rollup_dirty (metric_id, source_id, hour) SELECT m, s, to_timestamp(h * 3600) FROM "
    "unnest($1::int2[], $2::int4[], $3::int8[]) AS k(m, s, h) ON CONFLICT (metric_id, source_id, hour) DO UPDATE SET "
    "hour = EXCLUDED.hour WHERE false";
constexpr char kInsertLost[] =
    "INSERT INTO metrics.lost_interval (received_at, collector_id, source_id, start_time, end_time, first_seq, "
    "last_seq) VALUES (timestamptz 'epoch' + $1::int8 * interval '1 us', $2, $3, timestamptz 'epoch' + $4::int8 * "
    "interval '1 us', timestamptz 'epoch' + $5::int8 * interval '1 us', $6, $7)";
constexpr char kInsertQuarantine[] =
    "INSERT INTO metrics.quarantine (received_at, collector_id, stream_id, seq, reason, message, payload) VALUES "
    "(timestamptz 'epoch' + $1::int8 * interval '1 us', $2, $3::uuid, $4, $5, $6, $7::bytea)";
constexpr char kEnsurePartitions[] =
    "SELECT metrics.ensure_partitions($1::text, timestamptz 'epoch' + $2::int8 * interval '1 us', timestamptz 'epoch' "
    "+ $3::int8 * interval '1 us')";

}  // namespace

void GroupRows::Forget() {
  known_partitions_.clear();
  if (known_texts_ != nullptr) known_texts_->Clear();
}

absl::Status GroupRows::InsertTexts(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                    absl::Time deadline) {
  std::map<std::pair<int32_t, int64_t>, const std::string*> texts;
  for (const GroupItem* item : group) {
    if (!item->quarantine_reason.empty()) continue;
    for (const TextEntry& text : item->batch->texts) {
      if (known_texts_ != nullptr && known_texts_->Contains(text.source, text.id)) continue;
      texts.try_emplace({text.source, text.id}, &text.value);
    }
  }
  if (texts.empty()) return absl::OkStatus();
  ArrayText sources, ids, values;
  std::vector<std::pair<int32_t, int64_t>> inserted;
  inserted.reserve(texts.size());
  for (const auto& [key, value] : texts) {
    sources.AddInt(key.first);
    ids.AddInt(key.second);
    values.AddQuoted(*value);
    inserted.push_back(key);
  }
  auto result = connection.Exec(kInsertTexts, {sources.Take(), ids.Take(), values.Take()}, deadline);
  if (!result.ok()) return result.status();
  if (known_texts_ != nullptr) known_texts_->Insert(inserted);
  return absl::OkStatus();
}

absl::Status GroupRows::EnsurePartitions(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                         absl::Time deadline) {
  std::set<std::pair<std::string, int64_t>> needed;
  const auto need = [&](const std::string& table, int64_t time_us) {
    const int64_t day = time_us / kMicrosPerDay - (time_us % kMicrosPerDay < 0 ? 1 : 0);
    if (!known_partitions_.contains(std::pair<std::string, int64_t>(table, day))) needed.emplace(table, day);
  };
  for (const GroupItem* item : group) {
    need("ingest_receipt", item->batch->received_us);
    if (!item->quarantine_reason.empty()) continue;
    for (const LedgerEntry& entry : item->batch->ledger) need("metrics", entry.time_us);
    for (const auto& [table, time_us] : item->batch->partition_times) need(table, time_us);
  }
  for (const auto& [table, day] : needed) {
    const int64_t from = day * kMicrosPerDay;
    auto result = connection.Exec(kEnsurePartitions, {table, from, from + kMicrosPerDay}, deadline);
    if (!result.ok()) return result.status();
    if (known_partitions_.size() >= kMaxKnown) known_partitions_.clear();
    known_partitions_.emplace(table, day);
  }
  return absl::OkStatus();
}

absl::Status GroupRows::Copy(pg::CopyConnection& connection, const std::string& sql,
                             const std::vector<std::string_view>& pieces, int64_t rows, bool strike,
                             absl::Time deadline) {
  PGA_RETURN_IF_ERROR(connection.BeginCopy(sql, deadline));
  buffer_.clear();
  pg::AppendCopyHeader(&buffer_);
  for (const std::string_view piece : pieces) {
    if (piece.size() >= kCopyChunkBytes) {
      PGA_RETURN_IF_ERROR(connection.PutCopyData(buffer_, deadline));
      buffer_.clear();
      PGA_RETURN_IF_ERROR(connection.PutCopyData(piece, deadline));
      continue;
    }
    buffer_.append(piece);
    if (buffer_.size() >= kCopyChunkBytes) {
      PGA_RETURN_IF_ERROR(connection.PutCopyData(buffer_, deadline));
      buffer_.clear();
    }
  }
  pg::AppendCopyTrailer(&buffer_);
  PGA_RETURN_IF_ERROR(connection.PutCopyData(buffer_, deadline));
  if (strike && on_mid_copy_) on_mid_copy_();
  auto stored = connection.EndCopy(deadline);
  if (!stored.ok()) return stored.status();
  if (*stored != rows) return absl::InternalError(absl::StrCat("COPY stored ", *stored, " rows of ", rows));
  return absl::OkStatus();
}

absl::Status GroupRows::CopyRows(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                 absl::Time deadline) {
  struct Part {
    std::vector<std::string_view> pieces;
    int64_t rows = 0;
  };
  // Keyed by the command, which names table and columns and hence metric, kind and schema version.
  std::map<std::string, Part> parts;
  for (const GroupItem* item : group) {
    if (!item->stored()) continue;
    for (const PreparedRows& rows : item->batch->rows) {
      if (rows.rows == 0) continue;
      Part& part = parts[rows.layout->copy_sql(rows.kind)];
      part.pieces.push_back(rows.tuples);
      part.rows += rows.rows;
    }
  }
  for (const auto& [sql, part] : parts) {
    PGA_RETURN_IF_ERROR(Copy(connection, sql, part.pieces, part.rows, true, deadline));
  }
  return absl::OkStatus();
}

absl::Status GroupRows::WriteRecords(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                     absl::Time deadline) {
  std::string receipts, ledger;
  int64_t receipt_rows = 0, ledger_rows = 0;
  std::set<std::tuple<int16_t, int32_t, int64_t>> dirty;
  std::map<std::tuple<int32_t, int64_t, int64_t>, const std::string*> query_texts;
  for (const GroupItem* item : group) {
    if (!item->accepted) continue;
    const PreparedBatch& batch = *item->batch;
    pg::AppendRowHeader(&receipts, 8);
    pg::AppendTimestamptz(&receipts, batch.received_us);
    pg::AppendInt4(&receipts, batch.collector);
    pg::AppendBytes(&receipts, batch.stream_id);
    pg::AppendInt8(&receipts, batch.seq);
    pg::AppendBytes(&receipts, batch.hash);
    pg::AppendInt4(&receipts, item->stored() ? batch.row_count : 0);
    pg::AppendInt4(&receipts, batch.wire_bytes);
    pg::AppendInt8(&receipts, batch.clock_offset_us);
    ++receipt_rows;
    if (!item->stored()) {
      bool replaced = false;
      auto aside = connection.Exec(
          kInsertQuarantine,
          {batch.received_us, static_cast<int64_t>(batch.collector), frame::FormatUuid(batch.stream_id), batch.seq,
           item->quarantine_reason, frame::SanitizeText(item->quarantine_message, kMaxMessageBytes, &replaced),
           pg::Bytes{batch.payload}},
          deadline);
      if (!aside.ok()) return aside.status();
      continue;
    }
    for (const LedgerEntry& entry : batch.ledger) {
      pg::AppendRowHeader(&ledger, 9);
      pg::AppendTimestamptz(&ledger, entry.time_us);
      pg::AppendInt4(&ledger, entry.source);
      pg::AppendInt4(&ledger, batch.collector);
      pg::AppendInt2(&ledger, entry.metric_id);
      pg::AppendInt2(&ledger, entry.flags);
      pg::AppendInt4(&ledger, entry.scope);
      pg::AppendInt8(&ledger, std::max<int64_t>((entry.interval_us + 500) / 1000, 0));
      pg::AppendInt4(&ledger, entry.rows);
      pg::AppendInt4(&ledger, entry.bytes);
      ++ledger_rows;
    }
    for (const DirtyHours& hours : batch.dirty) {
      for (int64_t hour = hours.first_hour; hour <= hours.last_hour; ++hour) {
        dirty.emplace(hours.metric_id, hours.source, hour);
      }
    }
    for (const PreparedQueryText& text : batch.query_texts) {
      query_texts[{text.source, text.database_id, text.query_id}] = &text.text;
    }
    for (const LostSpan& span : batch.lost) {
      auto lost =
          connection.Exec(kInsertLost,
                          {batch.received_us, static_cast<int64_t>(batch.collector), static_cast<int64_t>(span.source),
                           span.start_us, span.end_us, batch.first_seq, batch.seq},
                          deadline);
      if (!lost.ok()) return lost.status();
    }
  }
  if (receipt_rows > 0) PGA_RETURN_IF_ERROR(Copy(connection, kReceiptCopy, {receipts}, receipt_rows, false, deadline));
  if (ledger_rows > 0) PGA_RETURN_IF_ERROR(Copy(connection, kLedgerCopy, {ledger}, ledger_rows, false, deadline));
  if (!dirty.empty()) {
    ArrayText metrics, sources, hours;
    for (const auto& [metric, source, hour] : dirty) {
      metrics.AddInt(metric);
      sources.AddInt(source);
      hours.AddInt(hour);
    }
    auto marked = connection.Exec(kMarkDirty, {metrics.Take(), sources.Take(), hours.Take()}, deadline);
    if (!marked.ok()) return marked.status();
  }
  if (!query_texts.empty()) {
    ArrayText sources, databases, queries, texts;
    for (const auto& [key, text] : query_texts) {
      sources.AddInt(std::get<0>(key));
      databases.AddInt(std::get<1>(key));
      queries.AddInt(std::get<2>(key));
      texts.AddQuoted(*text);
    }
    auto stored =
        connection.Exec(kUpsertQueryTexts, {sources.Take(), databases.Take(), queries.Take(), texts.Take()}, deadline);
    if (!stored.ok()) return stored.status();
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
