#include "libs/storage/schema/readable_testing.h"
#include "libs/frame/column_type.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/clock/steady.h"
#include "libs/columns/int_codec.h"
#include "libs/frame/column_type.h"
#include "libs/status/status.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;

std::string IntArray(const std::vector<int32_t>& values) {
  return absl::StrCat("{", absl::StrJoin(values, ","), "}");
}

}  // namespace

std::vector<columns::MetricColumn> ColumnsOf(const catalog_pb::Metric& metric) {
  std::vector<columns::MetricColumn> all;
  for (const auto& column : metric.columns()) {
    all.push_back(
        {static_cast<columns::ColumnId>(all.size() + 1), frame::TypeOf(column.type()), frame::KindOf(column.kind())});
  }
  return all;
}

columns::FrameBytes MadeFrame::Bytes() const {
  columns::FrameBytes bytes;
  bytes.info = info;
  for (const std::string& chunk : chunks) bytes.chunks.emplace_back(chunk);
  bytes.row_flags = row_flags;
  return bytes;
}

MadeFrame MakeFrame(const std::vector<columns::Column>& values, const std::vector<int64_t>& flags,
                    const columns::FrameInfo& info, int kind) {
  MadeFrame frame;
  frame.info = info;
  frame.info.rows = values.empty() ? 0 : static_cast<int64_t>(values.front().size());
  frame.kind = kind;
  for (const columns::Column& column : values) columns::EncodeColumn(column, &frame.chunks.emplace_back());
  if (!flags.empty()) columns::EncodeInts(flags.data(), flags.size(), &frame.row_flags);
  return frame;
}

absl::Status StoreFrame(pg::CopyConnection& connection, int source_id, int metric_id, const MadeFrame& frame,
                        clock::SteadyTime deadline) {
  std::string data;
  std::vector<int32_t> offsets;
  for (const std::string& chunk : frame.chunks) {
    offsets.push_back(static_cast<int32_t>(data.size()));
    data += chunk;
  }
  offsets.push_back(static_cast<int32_t>(data.size()));
  data += frame.row_flags;
  offsets.push_back(static_cast<int32_t>(data.size()));
  return connection
      .Exec(
          "INSERT INTO metrics.frame (source_id, metric_id, scope_id, kind, part, flags, schema_version, collected_at, "
          "interval_start, received_at, collector_id, rows, unchanged_rows, offsets, data) VALUES ($1, $2, $3, $4, $5, "
          "$6, 1, metrics.time_of($7), metrics.time_of($8), now(), $9, $10, $11, $12::int4[], $13)",
          {source_id, metric_id, frame.info.scope, frame.kind, frame.part, frame.info.flags, frame.info.end_us,
           frame.info.start_us, frame.info.collector, frame.info.rows, frame.info.unchanged_rows, IntArray(offsets),
           pg::Bytes{data}},
          deadline)
      .status();
}

absl::Status StoreBlocks(pg::CopyConnection& connection, int source_id, int metric_id, const catalog_pb::Metric& metric,
                         const std::vector<MadeFrame>& frames, uint32_t max_series, clock::SteadyTime deadline) {
  const columns::Shape shape = columns::RawShape(ColumnsOf(metric), 1);
  columns::Merger merger(shape);
  for (const MadeFrame& frame : frames) {
    columns::RowSet rows;
    PGA_RETURN_IF_ERROR(columns::OpenFrame(shape, frame.Bytes(), &rows));
    merger.Add(rows);
  }
  const columns::RowSet rows = merger.Finish();
  int64_t counted = 0;
  for (const columns::FrameInfo& frame : rows.frames) counted += frame.frames;
  for (const columns::Block& block : columns::EncodeBlocks(shape, rows, max_series)) {
    std::vector<int32_t> ids(block.ids.begin(), block.ids.end());
    PGA_RETURN_IF_ERROR(
        connection
            .Exec(
                "INSERT INTO metrics.block (expires_on, source_id, metric_id, level, kind, part, long, starts, first, "
                "last, frames, series, rows, unchanged_rows, frame_entries, locate_min, locate_max, ids, offsets, "
                "data) "
                "VALUES ((metrics.time_of($1) AT TIME ZONE 'UTC')::date + 31, $2, $3, 0, $4, $5, false, "
                "metrics.time_of($6), metrics.time_of($7), metrics.time_of($1), $8, $9, $10, $11, $12, $13, $14, "
                "$15::int2[], $16::int4[], $17)",
                {block.last_us, source_id, metric_id, frames.front().kind, block.part, block.starts_us, block.first_us,
                 block.part == 0 ? counted : int64_t{0}, block.series, block.rows, block.unchanged_rows, block.frames,
                 pg::Bytes{block.locate_min}, pg::Bytes{block.locate_max}, IntArray(ids), IntArray(block.offsets),
                 pg::Bytes{block.data}},
                deadline)
            .status());
  }
  return absl::OkStatus();
}

absl::Status StoreMetric(pg::CopyConnection& connection, int metric_id, const catalog_pb::Metric& metric,
                         clock::SteadyTime deadline) {
  return connection
      .Exec(
          "INSERT INTO metrics.catalog_metric (id, name, schema_version, custom, definition) VALUES ($1, $2, $3, $4, "
          "$5) ON CONFLICT (id) DO UPDATE SET schema_version = EXCLUDED.schema_version, definition = "
          "EXCLUDED.definition",
          {metric_id, metric.name(), metric.schema_version(), metric.custom(), pg::Bytes{metric.SerializeAsString()}},
          deadline)
      .status();
}

}  // namespace pga::storage
