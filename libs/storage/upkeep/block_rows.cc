#include "libs/storage/upkeep/block_rows.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"
#include "libs/storage/upkeep/copy_rows.h"

namespace pga::storage {

BlockCopy::BlockCopy() {
  pg::AppendCopyHeader(&copy_);
}

void BlockCopy::Add(const PieceKey& key, const columns::Shape& shape, const columns::RowSet& rows) {
  if (rows.frames.empty()) return;
  const int64_t frames =
      std::accumulate(rows.frames.begin(), rows.frames.end(), int64_t{0},
                      [](int64_t sum, const columns::FrameInfo& frame) { return sum + frame.frames; });
  for (const columns::Block& block : columns::EncodeBlocks(shape, rows)) {
    pg::AppendRowHeader(&copy_, 20);
    AppendDate(&copy_, key.expires_on);
    pg::AppendInt4(&copy_, key.source_id);
    pg::AppendInt2(&copy_, key.metric_id);
    pg::AppendInt2(&copy_, key.level);
    pg::AppendInt2(&copy_, key.kind);
    pg::AppendInt2(&copy_, static_cast<int16_t>(block.part));
    pg::AppendBool(&copy_, key.long_frames);
    pg::AppendTimestamptz(&copy_, block.starts_us);
    pg::AppendTimestamptz(&copy_, block.first_us);
    pg::AppendTimestamptz(&copy_, block.last_us);
    pg::AppendInt4(&copy_, block.part == 0 ? static_cast<int32_t>(frames) : 0);
    pg::AppendInt4(&copy_, block.series);
    pg::AppendInt8(&copy_, block.rows);
    pg::AppendInt8(&copy_, block.unchanged_rows);
    pg::AppendInt4(&copy_, block.frames);
    if (shape.locate_by == 0 || block.series == 0) {
      pg::AppendNull(&copy_);
      pg::AppendNull(&copy_);
    } else {
      pg::AppendBytes(&copy_, block.locate_min);
      pg::AppendBytes(&copy_, block.locate_max);
    }
    AppendInt2Array(&copy_, block.ids);
    AppendInt4Array(&copy_, block.offsets);
    pg::AppendBytes(&copy_, block.data);
    ++blocks_;
  }
  if (std::find(expiry_days_.begin(), expiry_days_.end(), key.expires_on) == expiry_days_.end()) {
    expiry_days_.push_back(key.expires_on);
  }
}

absl::Status BlockCopy::Write(pg::CopyConnection& connection, const std::function<void()>& half_way,
                              clock::SteadyTime deadline) {
  pg::AppendCopyTrailer(&copy_);
  PGA_RETURN_IF_ERROR(connection.BeginCopy(
      "COPY metrics.block (expires_on, source_id, metric_id, level, kind, part, long, starts, first, last, frames, "
      "series, rows, unchanged_rows, frame_entries, locate_min, locate_max, ids, offsets, data) FROM STDIN (FORMAT "
      "binary)",
      deadline));
  const std::string_view copy = copy_;
  const size_t half = copy.size() / 2;
  PGA_RETURN_IF_ERROR(connection.PutCopyData(copy.substr(0, half), deadline));
  if (half_way) half_way();
  PGA_RETURN_IF_ERROR(connection.PutCopyData(copy.substr(half), deadline));
  PGA_ASSIGN_OR_RETURN(const int64_t stored, connection.EndCopy(deadline));
  if (stored != blocks_) {
    return absl::InternalError(absl::StrCat("COPY stored ", stored, " of ", blocks_, " blocks"));
  }
  return absl::OkStatus();
}

absl::Status TakeBlocks(pg::CopyConnection& connection, const columns::Shape& shape, const std::string& condition,
                        const std::function<void(const columns::RowSet&)>& sink, clock::SteadyTime deadline) {
  // A bad block is reported at the end, so that the connection stays usable.
  absl::Status bad;
  PGA_RETURN_IF_ERROR(CopyOutRows(
      connection,
      absl::StrCat("DELETE FROM metrics.block WHERE ", condition,
                   " RETURNING part, frame_entries, series, rows, ids, offsets, data"),
      [&](CopyRow& row) -> absl::Status {
        if (!bad.ok()) return absl::OkStatus();
        const int16_t part = row.Int2();
        columns::BlockBytes block;
        block.frames = row.Int4();
        block.series = row.Int4();
        block.rows = row.Int8();
        block.ids = row.Int2Array();
        const std::vector<int32_t> offsets = row.Int4Array();
        const std::string_view data = row.Bytes();
        bool fits = row.ok() && offsets.size() == block.ids.size() + 1 && offsets.front() == 0 &&
                    offsets.back() == static_cast<int64_t>(data.size());
        for (size_t i = 0; fits && i + 1 < offsets.size(); ++i) fits = offsets[i] <= offsets[i + 1];
        if (!fits) {
          bad = absl::InvalidArgumentError("a block's sections do not fit its bytes");
          return absl::OkStatus();
        }
        for (size_t i = 0; i + 1 < offsets.size(); ++i) {
          const size_t start = columns::SectionStart(block.ids, offsets, i);
          block.sections.push_back(data.substr(static_cast<size_t>(offsets[start]),
                                               static_cast<size_t>(offsets[start + 1] - offsets[start])));
        }
        columns::RowSet rows;
        bad = columns::OpenBlock(shape, block, &rows);
        if (!bad.ok()) return absl::OkStatus();
        if (part > 0) {
          for (columns::FrameInfo& frame : rows.frames) {
            frame.frames = frame.rows = frame.unchanged_rows = frame.covered_us = 0;
          }
        }
        sink(rows);
        return absl::OkStatus();
      },
      deadline));
  return bad;
}

}  // namespace pga::storage
