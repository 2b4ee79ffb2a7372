#include "libs/storage/testing/frame_store.h"
#include "libs/frame/column_type.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/catalog/metric.h"
#include "libs/clock/clock.h"
#include "libs/clock/micros.h"
#include "libs/clock/steady.h"
#include "libs/columns/block.h"
#include "libs/columns/int_codec.h"
#include "libs/storage/read/names.h"

namespace pga::storage {
namespace {

using columns::RowSet;

using clock::kDayMicros;

clock::SteadyTime Deadline() {
  return clock::SteadyNow() + absl::Seconds(60);
}

template <typename T>
std::string IntArray(const std::vector<T>& values) {
  return absl::StrCat("{", absl::StrJoin(values, ","), "}");
}

std::string MicrosText(int64_t us) {
  return TimeText(absl::FromUnixMicros(us));
}

columns::Column ColumnOf(const catalog_pb::Column& of, const std::vector<StoredRow>& rows) {
  columns::Column column(frame::TypeOf(of.type()));
  for (const StoredRow& row : rows) {
    const auto value = row.values.find(of.name());
    if (value == row.values.end() || std::holds_alternative<std::monostate>(value->second)) {
      column.AppendNull();
      continue;
    }
    if (!column.nulls.empty()) column.nulls.push_back(0);
    if (column.type == columns::Type::kText) {
      const auto& text = std::get<std::string>(value->second);
      const auto at = std::find(column.texts.begin(), column.texts.end(), text);
      column.ints.push_back(at - column.texts.begin());
      if (at == column.texts.end()) column.texts.push_back(text);
    } else if (column.type == columns::Type::kDouble) {
      column.doubles.push_back(std::get<double>(value->second));
    } else {
      column.ints.push_back(std::get<int64_t>(value->second));
    }
  }
  // A text column of NULL alone has no text that its rows could point at.
  return column;
}

// Buckets of days or weeks that hold an instant.
std::vector<int64_t> EdgesOf(int level, int64_t instant, absl::TimeZone zone) {
  std::vector<int64_t> edges;
  if (level == 1) {
    const int64_t day = instant / kDayMicros * kDayMicros;
    for (int hour = 0; hour <= 24; ++hour) edges.push_back(day + hour * (kDayMicros / 24));
    return edges;
  }
  const absl::TimeZone of = level == 2 ? absl::UTCTimeZone() : zone;
  absl::CivilDay day = absl::ToCivilDay(absl::FromUnixMicros(instant), of);
  day -= static_cast<int>(absl::GetWeekday(day));
  for (int i = 0; i <= 7; ++i) edges.push_back(absl::ToUnixMicros(absl::FromCivil(day + i, of)));
  return edges;
}

}  // namespace

FrameStore::FrameStore(pg::Pool* pool, const catalog_pb::Metric& metric) : pool_(pool), metric_(metric) {
  const auto id = pool->Exec("SELECT id FROM metrics.catalog_metric WHERE name = $1", {metric.name()}, Deadline());
  EXPECT_TRUE(id.ok() && !id->empty()) << metric.name();
  if (id.ok() && !id->empty()) metric_id_ = (*id)[0].Int32(0);
}

void FrameStore::Exec(const std::string& sql, const pg::Params& params) {
  const absl::Status done = pool_->Exec(sql, params, Deadline()).status();
  EXPECT_TRUE(done.ok()) << done << "\n" << sql.substr(0, 300);
}

void FrameStore::Store(const std::vector<StoredFrame>& frames) {
  for (const StoredFrame& frame : frames) {
    std::string data;
    std::vector<int32_t> offsets;
    for (const catalog_pb::Column& column : metric_.columns()) {
      offsets.push_back(static_cast<int32_t>(data.size()));
      columns::EncodeColumn(ColumnOf(column, frame.rows), &data);
    }
    offsets.push_back(static_cast<int32_t>(data.size()));
    std::vector<int64_t> flags;
    int some = 0;
    for (const StoredRow& row : frame.rows) {
      flags.push_back(row.flags);
      some |= row.flags;
    }
    if (some != 0) columns::EncodeInts(flags.data(), flags.size(), &data);
    offsets.push_back(static_cast<int32_t>(data.size()));
    const int marks =
        frame.flags | ((some & columns::kLowerBoundFlag) != 0 && (frame.flags & columns::kLowerBoundFlag) == 0
                           ? columns::kSomeLowerBoundFlag
                           : 0);
    Exec(
        "INSERT INTO metrics.frame (source_id, metric_id, scope_id, kind, part, flags, schema_version, collected_at, "
        "interval_start, received_at, collector_id, rows, unchanged_rows, offsets, data) VALUES ($1::int4, $2::int2, "
        "$3::int8, $4::int2, $5::int2, $6::int2, $7::int2, $8::timestamptz, $9::timestamptz, $8::timestamptz, "
        "$10::int4, $11::int4, $12::int4, $13::int4[], $14::bytea)",
        {frame.source, metric_id_, frame.scope, frame.keyframe ? 2 : 1, frame.part, marks, metric_.schema_version(),
         TimeText(frame.end), TimeText(frame.start), frame.collector, static_cast<int64_t>(frame.rows.size()),
         frame.unchanged_rows, IntArray(offsets), pg::Bytes{data}});
  }
}

void FrameStore::Merge(absl::Time until, const std::string& zone_name) {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone(zone_name, &zone));
  Exec("INSERT INTO metrics.setting (name, value) VALUES ('time_zone', $1) ON CONFLICT (name) DO UPDATE SET value = $1",
       {zone_name});
  // As if it had been set before the first frame.
  Exec("UPDATE metrics.setting SET value = '0' WHERE name = 'time_zone_since'", {});
  // Partitions are for days on which blocks expire; one will do.
  const std::string expires =
      absl::FormatTime("%Y-%m-%d", clock::WallNow() + absl::Hours(24 * 900), absl::UTCTimeZone());
  Exec("SELECT metrics.ensure_block_partitions($1::date, $1::date)", {expires});
  Exec("UPDATE metrics.catalog_metric SET raw_days_least = NULL WHERE id = $1::int2", {metric_id_});
  const std::vector<columns::MetricColumn> all = ColumnsOf(metric_);
  const columns::Shape raw = columns::RawShape(all, LocateBy(metric_));
  const columns::Shape buckets = columns::BucketShape(all, LocateBy(metric_));

  const absl::Status done = pool_->InTransaction(Deadline(), [&](pg::Transaction& tx) -> absl::Status {
    const auto taken = tx.Exec(
        "DELETE FROM metrics.frame WHERE metric_id = $1::int2 AND collected_at < $2::timestamptz RETURNING source_id, "
        "scope_id, kind, part, flags, (extract(epoch FROM collected_at) * 1000000)::int8, (extract(epoch FROM "
        "interval_start) * 1000000)::int8, collector_id, rows, unchanged_rows, offsets::text, data",
        {metric_id_, TimeText(until)});
    if (!taken.ok()) return taken.status();
    // By source, kind, long, UTC day; and all of a source and kind.
    std::map<std::tuple<int32_t, int, bool, int64_t>, columns::Merger> blocks;
    std::map<std::pair<int32_t, int>, columns::Merger> sources;
    for (const pg::Row& row : *taken) {
      columns::FrameBytes frame;
      frame.info.scope = row.Int64(1);
      frame.info.flags = row.Int32(4);
      frame.info.end_us = row.Int64(5);
      frame.info.start_us = row.Int64(6);
      frame.info.collector = row.Int32(7);
      frame.info.frames = row.Int32(3) == 0 ? 1 : 0;
      frame.info.rows = row.Int64(8);
      frame.info.unchanged_rows = row.Int64(9);
      const std::string data = row.Bytes(11);
      std::vector<size_t> offsets;
      for (const auto piece : absl::StrSplit(row.OptText(10)->substr(1, row.OptText(10)->size() - 2), ',')) {
        offsets.push_back(std::stoul(std::string(piece)));
      }
      for (size_t i = 0; i + 1 < offsets.size(); ++i) {
        const auto chunk = std::string_view(data).substr(offsets[i], offsets[i + 1] - offsets[i]);
        if (i + 2 < offsets.size()) {
          frame.chunks.push_back(chunk);
        } else {
          frame.row_flags = chunk;
        }
      }
      RowSet rows;
      if (absl::Status status = columns::OpenFrame(raw, frame, &rows); !status.ok()) return status;
      const bool is_long = frame.info.end_us - frame.info.start_us > kDayMicros / 24;
      blocks.try_emplace({row.Int32(0), row.Int32(2), is_long, frame.info.end_us / kDayMicros}, raw)
          .first->second.Add(rows);
      sources.try_emplace({row.Int32(0), row.Int32(2)}, raw).first->second.Add(rows);
    }
    const auto insert = [&](int32_t source, int level, int kind, bool is_long, const columns::Shape& shape,
                            const RowSet& rows) -> absl::Status {
      int64_t frames = 0;
      for (const columns::FrameInfo& frame : rows.frames) frames += frame.frames;
      // Few series a block, so that there are several parts.
      for (const columns::Block& block : columns::EncodeBlocks(shape, rows, 4)) {
        const auto stored = tx.Exec(
            "INSERT INTO metrics.block (expires_on, source_id, metric_id, level, kind, part, long, starts, first, "
            "last, frames, series, rows, unchanged_rows, frame_entries, locate_min, locate_max, ids, offsets, data) "
            "VALUES ($1::date, $2::int4, $3::int2, $4::int2, $5::int2, $6::int2, $7::bool, $8::timestamptz, "
            "$9::timestamptz, $10::timestamptz, $11::int4, $12::int4, $13::int8, $14::int8, $15::int4, $16::bytea, "
            "$17::bytea, $18::int2[], $19::int4[], $20::bytea)",
            {expires,
             source,
             metric_id_,
             level,
             kind,
             block.part,
             is_long,
             MicrosText(block.starts_us),
             MicrosText(block.first_us),
             MicrosText(block.last_us),
             block.part == 0 ? frames : 0,
             block.series,
             block.rows,
             block.unchanged_rows,
             block.frames,
             shape.locate_by == 0 ? pg::Param() : pg::Param(pg::Bytes{block.locate_min}),
             shape.locate_by == 0 ? pg::Param() : pg::Param(pg::Bytes{block.locate_max}),
             IntArray(block.ids),
             IntArray(block.offsets),
             pg::Bytes{block.data}});
        if (!stored.ok()) return stored.status();
      }
      return absl::OkStatus();
    };
    for (auto& [key, merger] : blocks) {
      const auto& [source, kind, is_long, day] = key;
      if (absl::Status status = insert(source, 0, kind, is_long, raw, merger.Finish()); !status.ok()) return status;
    }
    std::map<std::pair<int32_t, int>, RowSet> joined;
    std::set<int32_t> ids;
    for (auto& [key, merger] : sources) {
      joined[key] = merger.Finish();
      ids.insert(key.first);
    }
    for (const int32_t source : ids) {
      const RowSet& deltas = joined[{source, 1}];
      const RowSet& keyframes = joined[{source, 2}];
      for (const int level : {1, 2, 3}) {
        if (level == 1 && !catalog::HasHours(metric_)) continue;
        std::map<int64_t, std::vector<int64_t>> spans;
        for (const RowSet* rows : {&deltas, &keyframes}) {
          for (const columns::FrameInfo& frame : rows->frames) {
            for (int64_t at = frame.start_us;; at = std::min(at + kDayMicros / 24, frame.end_us)) {
              std::vector<int64_t> edges = EdgesOf(level, at, zone);
              spans.try_emplace(edges.front(), edges);
              if (at >= frame.end_us) break;
            }
          }
        }
        for (const auto& [start, edges] : spans) {
          const RowSet rolled = columns::RollUp(all, deltas, &keyframes, edges);
          if (absl::Status status = insert(source, level, 1, false, buckets, rolled); !status.ok()) return status;
        }
      }
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(done.ok()) << done;
}

}  // namespace pga::storage
