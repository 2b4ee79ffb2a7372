#include "libs/storage/upkeep/upkeep_testing.h"

#include <gtest/gtest.h>

#include <numeric>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/columns/block.h"
#include "libs/columns/column.h"
#include "libs/columns/rollup.h"
#include "libs/status/status.h"
#include "libs/storage/upkeep/copy_rows.h"
#include "libs/storage/write/records.h"

namespace pga::storage {
namespace {

constexpr columns::ColumnId kCalls = 3;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(60);
}

const std::vector<columns::MetricColumn>& Columns() {
  static const auto* const kColumns =
      new std::vector<columns::MetricColumn>{{1, columns::Type::kText, columns::Kind::kLabel},
                                             {2, columns::Type::kInt, columns::Kind::kLabel},
                                             {3, columns::Type::kInt, columns::Kind::kCounter},
                                             {4, columns::Type::kInt, columns::Kind::kGauge}};
  return *kColumns;
}

int64_t SumOf(const columns::RowSet& rows) {
  const auto column = rows.values.find(kCalls);
  if (column == rows.values.end()) return 0;
  int64_t sum = 0;
  for (size_t row = 0; row < column->second.size(); ++row) {
    if (!column->second.IsNull(row)) sum += column->second.ints[row];
  }
  return sum;
}

// The chunks of a frame's columns.
std::vector<std::string> ChunksOf(const TestFrame& frame) {
  std::vector<columns::Column> cells = {columns::Column(columns::Type::kText), columns::Column(columns::Type::kInt),
                                        columns::Column(columns::Type::kInt), columns::Column(columns::Type::kInt)};
  for (size_t i = 0; i < frame.calls.size(); ++i) {
    const int64_t key = frame.first_key + static_cast<int64_t>(i);
    cells[0].texts.push_back(absl::StrCat("name ", key));
    cells[0].ints.push_back(static_cast<int64_t>(i));
    cells[1].ints.push_back(key);
    cells[2].ints.push_back(frame.calls[i]);
    cells[3].ints.push_back(key * 10);
  }
  std::vector<std::string> chunks(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) columns::EncodeColumn(cells[i], &chunks[i]);
  return chunks;
}

// A block's bytes of a row that has ids, offsets and data next.
absl::Status OpenRow(CopyRow& row, int level, columns::BlockBytes block, columns::RowSet* rows) {
  const columns::Shape shape =
      level == kRawLevel ? columns::RawShape(Columns(), 2) : columns::BucketShape(Columns(), 2);
  block.ids = row.Int2Array();
  const std::vector<int32_t> offsets = row.Int4Array();
  const std::string_view data = row.Bytes();
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    const size_t start = columns::SectionStart(block.ids, offsets, i);
    block.sections.push_back(
        data.substr(static_cast<size_t>(offsets[start]), static_cast<size_t>(offsets[start + 1] - offsets[start])));
  }
  return columns::OpenBlock(shape, block, rows);
}

}  // namespace

pganalytics::catalog::v1::Metric UpkeepMetric(const std::string& name) {
  auto metric = MakeMetric(name, pganalytics::catalog::v1::SCOPE_INSTANCE,
                           {"name text label", "key int8 label", "calls int8 counter", "size int8 gauge"});
  metric.set_locate_by("key");
  return metric;
}

int64_t TestFrame::Sum() const {
  return std::accumulate(calls.begin(), calls.end(), int64_t{0});
}

std::unique_ptr<UpkeepDatabase> UpkeepDatabase::Create(const std::vector<std::string>& metrics) {
  std::vector<pganalytics::catalog::v1::Metric> made;
  for (const std::string& name : metrics) made.push_back(UpkeepMetric(name));
  std::vector<const pganalytics::catalog::v1::Metric*> pointers;
  for (const auto& metric : made) pointers.push_back(&metric);
  auto database = std::make_unique<UpkeepDatabase>();
  database->db_ = MetricsDatabase::Create(pointers);
  if (database->db_ == nullptr) return nullptr;
  database->db_->Exec(
      "INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'one'); CREATE TABLE public.test_expected "
      "(source_id "
      "int4 NOT NULL, calls int8 NOT NULL, frames int8 NOT NULL)");
  if (MetricsDatabase::TestLayout() == Layout::kCitus) {
    database->db_->Exec(
        "SELECT create_distributed_table('public.test_expected', 'source_id', colocate_with => 'metrics.frame')");
  }
  return database;
}

int32_t UpkeepDatabase::Source(const std::string& name) {
  db_->Exec(
      "INSERT INTO metrics.source (uuid, name, collector_id) SELECT md5($1)::uuid, $1, 1 WHERE NOT EXISTS (SELECT FROM "
      "metrics.source WHERE name = $1)",
      {name});
  const auto id = static_cast<int32_t>(db_->Exec("SELECT id FROM metrics.source WHERE name = $1", {name})[0].Int64(0));
  if (Number(absl::StrCat("SELECT count(*) FROM public.test_expected WHERE source_id = ", id)) == 0) {
    db_->Exec("INSERT INTO public.test_expected VALUES ($1::int4, 0, 0)", {id});
  }
  return id;
}

int16_t UpkeepDatabase::Metric(const std::string& name) {
  return static_cast<int16_t>(db_->Exec("SELECT id FROM metrics.catalog_metric WHERE name = $1", {name})[0].Int64(0));
}

absl::Status UpkeepDatabase::Store(pg::CopyConnection& connection, const std::vector<TestFrame>& frames) {
  RecordSets records;
  struct Stored {
    int64_t calls = 0, frames = 0;
  };
  std::map<int32_t, Stored> stored;
  std::vector<std::vector<std::string>> chunks;
  for (const TestFrame& frame : frames) {
    chunks.push_back(ChunksOf(frame));
    FrameRecord record;
    record.source = frame.source;
    record.metric_id = frame.metric;
    record.scope = frame.scope;
    record.kind = frame.kind;
    record.part = frame.part;
    record.schema_version = 1;
    record.collected_us = absl::ToUnixMicros(frame.end);
    record.interval_start_us = absl::ToUnixMicros(frame.start);
    record.received_us = record.collected_us;
    record.collector = 1;
    record.rows = static_cast<int32_t>(frame.calls.size());
    record.unchanged_rows = static_cast<int32_t>(frame.unchanged_rows);
    for (const std::string& chunk : chunks.back()) record.chunks.emplace_back(chunk);
    AppendFrame(record, &records);
    if (frame.kind == 1) stored[frame.source].calls += frame.Sum();
    stored[frame.source].frames += frame.part == 0 ? 1 : 0;
  }
  std::string copy;
  pg::AppendCopyHeader(&copy);
  copy += records[RecordKind::kFrame].tuples;
  pg::AppendCopyTrailer(&copy);
  PGA_RETURN_IF_ERROR(connection.Exec("BEGIN", Soon()));
  PGA_RETURN_IF_ERROR(connection.BeginCopy(TypeOf(RecordKind::kFrame).copy_sql, Soon()));
  PGA_RETURN_IF_ERROR(connection.PutCopyData(copy, Soon()));
  PGA_RETURN_IF_ERROR(connection.EndCopy(Soon()));
  for (const auto& [source, added] : stored) {
    PGA_RETURN_IF_ERROR(
        connection.Exec("UPDATE public.test_expected SET calls = calls + $1::int8, frames = frames + $2::int8 WHERE "
                        "source_id = $3::int4",
                        {added.calls, added.frames, source}, Soon()));
  }
  return connection.Commit(Soon());
}

void UpkeepDatabase::Store(const std::vector<TestFrame>& frames) {
  auto connection = pg::CopyConnection::Connect({.url = url()}, Soon());
  ASSERT_TRUE(connection.ok()) << connection.status();
  const absl::Status stored = Store(**connection, frames);
  ASSERT_TRUE(stored.ok()) << stored;
}

absl::StatusOr<StoredSums> UpkeepDatabase::Sums(pg::CopyConnection& connection, std::optional<int32_t> source) {
  StoredSums sums;
  const std::string of_source = source.has_value() ? absl::StrCat(" WHERE source_id = ", *source) : "";
  const columns::Shape raw = columns::RawShape(Columns(), 2);
  const absl::Status read = CopyOutRows(
      connection,
      absl::StrCat("SELECT source_id, 0::int2 AS what, 0::int2 AS level, kind, part, rows::int8, (part = 0)::int4 AS "
                   "frames, 0 AS entries, 0 AS series, '{}'::int2[] AS ids, offsets, data FROM metrics.frame",
                   of_source,
                   " UNION ALL SELECT source_id, 1::int2, level, kind, part, rows, frames, frame_entries, series, ids, "
                   "offsets, data FROM metrics.block",
                   of_source,
                   " UNION ALL SELECT source_id, 2::int2, 0::int2, 0::int2, 0::int2, calls, frames::int4, 0, 0, "
                   "'{}'::int2[], '{}'::int4[], ''::bytea FROM public.test_expected",
                   of_source),
      [&](CopyRow& row) -> absl::Status {
        row.Int4();
        const int16_t what = row.Int2();
        const int16_t level = row.Int2();
        const int16_t kind = row.Int2();
        row.Int2();
        const int64_t rows = row.Int8();
        const int32_t frames = row.Int4();
        columns::BlockBytes block;
        block.frames = row.Int4();
        block.series = row.Int4();
        block.rows = rows;
        if (what == 2) {
          sums.expected_calls += rows;
          sums.expected_frames += frames;
          return absl::OkStatus();
        }
        columns::RowSet opened;
        if (what == 1) {
          ++sums.blocks;
          PGA_RETURN_IF_ERROR(OpenRow(row, level, block, &opened));
        } else {
          row.Int2Array();
          const std::vector<int32_t> offsets = row.Int4Array();
          const std::string_view data = row.Bytes();
          columns::FrameBytes bytes;
          bytes.info.rows = rows;
          for (size_t i = 0; i + 2 < offsets.size(); ++i) {
            bytes.chunks.push_back(
                data.substr(static_cast<size_t>(offsets[i]), static_cast<size_t>(offsets[i + 1] - offsets[i])));
          }
          PGA_RETURN_IF_ERROR(columns::OpenFrame(raw, bytes, &opened));
          sums.queued_frames += frames;
        }
        if (!row.ok()) return absl::InternalError("a row of another form");
        if (level == kRawLevel) {
          sums.frames += frames;
          sums.rows += rows;
        }
        if (kind != 1) return absl::OkStatus();
        const int64_t calls = SumOf(opened);
        if (what == 1) {
          sums.calls[static_cast<size_t>(level)] += calls;
        } else {
          for (int64_t& of_level : sums.calls) of_level += calls;
        }
        return absl::OkStatus();
      },
      Soon());
  if (!read.ok()) return read;
  return sums;
}

StoredSums UpkeepDatabase::Sums() {
  auto connection = pg::CopyConnection::Connect({.url = url()}, Soon());
  EXPECT_TRUE(connection.ok()) << connection.status();
  if (!connection.ok()) return {};
  auto sums = Sums(**connection);
  EXPECT_TRUE(sums.ok()) << sums.status();
  return sums.ok() ? *sums : StoredSums();
}

columns::RowSet UpkeepDatabase::Blocks(int16_t metric, int level, int kind) {
  const columns::Shape shape =
      level == kRawLevel ? columns::RawShape(Columns(), 2) : columns::BucketShape(Columns(), 2);
  columns::Merger merger(shape);
  auto connection = pg::CopyConnection::Connect({.url = url()}, Soon());
  EXPECT_TRUE(connection.ok()) << connection.status();
  if (!connection.ok()) return {};
  const absl::Status read = CopyOutRows(
      **connection,
      absl::StrCat("SELECT frame_entries, series, rows, ids, offsets, data FROM metrics.block WHERE metric_id = ",
                   metric, " AND level = ", level, " AND kind = ", kind),
      [&](CopyRow& row) -> absl::Status {
        columns::BlockBytes block;
        block.frames = row.Int4();
        block.series = row.Int4();
        block.rows = row.Int8();
        columns::RowSet rows;
        PGA_RETURN_IF_ERROR(OpenRow(row, level, block, &rows));
        merger.Add(rows);
        return absl::OkStatus();
      },
      Soon());
  EXPECT_TRUE(read.ok()) << read;
  return merger.Finish();
}

int64_t UpkeepDatabase::Number(const std::string& sql) {
  const pg::Result result = db_->Exec(sql);
  return result.empty() ? 0 : result[0].Int64(0);
}

}  // namespace pga::storage
