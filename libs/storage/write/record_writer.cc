#include "libs/storage/write/record_writer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/text.h"
#include "libs/pg/binary.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

// COPY data goes to libpq in pieces of about this size: large enough that the message header and the call do not count,
// small enough to stay in the cache.
constexpr size_t kCopyChunkBytes = 256 * 1024;
constexpr size_t kMaxMessageBytes = 2'000;

}  // namespace

absl::Status RecordWriter::Prepare(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                   clock::SteadyTime deadline) {
  for (size_t i = 0; i < kRecordKinds; ++i) {
    const auto kind = static_cast<RecordKind>(i);
    if (session_ready_[i] || TypeOf(kind).session_sql == nullptr) continue;
    const bool wanted = std::any_of(group.begin(), group.end(), [&](const GroupItem* item) {
      return item->quarantine_reason.empty() && item->batch->records[kind].rows > 0;
    });
    if (!wanted) continue;
    PGA_RETURN_IF_ERROR(connection.Exec(TypeOf(kind).session_sql, deadline).status());
    session_ready_[i] = true;
  }
  return absl::OkStatus();
}

absl::Status RecordWriter::PrepareRecords(pg::CopyConnection& connection, const RecordSets& records,
                                          clock::SteadyTime deadline) {
  for (size_t i = 0; i < kRecordKinds; ++i) {
    const auto kind = static_cast<RecordKind>(i);
    if (session_ready_[i] || TypeOf(kind).session_sql == nullptr || records[kind].rows == 0) continue;
    PGA_RETURN_IF_ERROR(connection.Exec(TypeOf(kind).session_sql, deadline).status());
    session_ready_[i] = true;
  }
  return absl::OkStatus();
}

absl::Status RecordWriter::WriteRecords(pg::CopyConnection& connection, const RecordSets& records,
                                        clock::SteadyTime deadline) {
  for (size_t i = 0; i < kRecordKinds; ++i) {
    const auto kind = static_cast<RecordKind>(i);
    if (records[kind].rows == 0) continue;
    PGA_RETURN_IF_ERROR(Copy(connection, kind, {records[kind].tuples}, records[kind].rows, deadline));
  }
  return absl::OkStatus();
}

absl::Status RecordWriter::Copy(pg::CopyConnection& connection, RecordKind kind,
                                const std::vector<std::string_view>& pieces, int64_t rows, clock::SteadyTime deadline) {
  const RecordType& type = TypeOf(kind);
  PGA_RETURN_IF_ERROR(connection.BeginCopy(type.copy_sql, deadline));
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
  if (kind == RecordKind::kFrame && on_mid_copy_) on_mid_copy_();
  PGA_ASSIGN_OR_RETURN(const int64_t stored, connection.EndCopy(deadline));
  if (stored != rows) {
    return absl::InternalError(absl::StrCat("COPY to ", type.name, " stored ", stored, " rows of ", rows));
  }
  if (type.merge_sql != nullptr) PGA_RETURN_IF_ERROR(connection.Exec(type.merge_sql, deadline).status());
  return absl::OkStatus();
}

absl::Status RecordWriter::Write(pg::CopyConnection& connection, const std::vector<GroupItem*>& group,
                                 clock::SteadyTime deadline) {
  // What depends on what became of the batches.
  RecordSets own;
  for (const GroupItem* item : group) {
    if (!item->accepted) continue;
    const PreparedBatch& batch = *item->batch;
    AppendReceipt({.received_us = batch.received_us,
                   .collector = batch.collector,
                   .stream_id = batch.stream_id,
                   .seq = batch.seq,
                   .hash = batch.hash,
                   .rows = item->stored() ? batch.row_count : 0,
                   .bytes = batch.wire_bytes,
                   .clock_offset_us = batch.clock_offset_us},
                  &own);
    if (item->stored()) continue;
    bool replaced = false;
    const std::string message = frame::SanitizeText(item->quarantine_message, kMaxMessageBytes, &replaced);
    AppendQuarantine({.received_us = batch.received_us,
                      .collector = batch.collector,
                      .stream_id = batch.stream_id,
                      .seq = batch.seq,
                      .reason = item->quarantine_reason,
                      .message = message,
                      .payload = batch.payload},
                     &own);
  }
  for (size_t i = 0; i < kRecordKinds; ++i) {
    const auto kind = static_cast<RecordKind>(i);
    std::vector<std::string_view> pieces;
    int64_t rows = 0;
    const auto add = [&](const RecordSet& set) {
      if (set.rows == 0) return;
      pieces.push_back(set.tuples);
      rows += set.rows;
    };
    for (const GroupItem* item : group) {
      if (item->stored()) add(item->batch->records[kind]);
    }
    add(own[kind]);
    if (rows > 0) PGA_RETURN_IF_ERROR(Copy(connection, kind, pieces, rows, deadline));
  }
  return absl::OkStatus();
}

}  // namespace pga::storage
