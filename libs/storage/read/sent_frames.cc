#include "libs/storage/read/sent_frames.h"

#include <algorithm>
#include <utility>

#include "libs/columns/block.h"
#include "libs/status/status.h"
#include "libs/storage/read/names.h"

namespace pga::storage {
namespace {

// One statement, so that what is merged meanwhile is seen once. Blocks that hold an edge come with their structure.
constexpr char kSql[] =
    "SELECT f.source_id, f.metric_id, count(*) FILTER (WHERE f.part = 0), sum(f.rows)::int8, max(f.collected_at), "
    "0, 0, 0::int8, 0::int2, NULL::int2[], NULL::bytea[] FROM metrics.frame f WHERE f.collected_at >= $1::timestamptz "
    "AND f.collected_at < $4::timestamptz AND "
    "($5::int4[] IS NULL OR f.source_id = ANY($5::int4[])) "
    "GROUP BY 1, 2 UNION ALL "
    "SELECT b.source_id, b.metric_id, sum(b.frames)::int8, sum(b.rows)::int8, max(b.last), 0, 0, 0::int8, 0::int2, "
    "NULL, NULL FROM metrics.block b WHERE b.level = 0 AND b.first >= $1::timestamptz AND b.last < $4::timestamptz AND "
    "b.expires_on > $2::date AND ($5::int4[] IS NULL OR b.source_id = ANY($5::int4[])) "
    "GROUP BY 1, 2 UNION ALL "
    "SELECT b.source_id, b.metric_id, 0::int8, 0::int8, b.last, b.frame_entries, b.series, b.rows, b.part, x.ids, "
    "x.sections FROM metrics.block b, LATERAL (SELECT array_agg(b.ids[i]) AS ids, array_agg(substring(b.data FROM "
    "b.offsets[i] + 1 FOR b.offsets[i + 1] - b.offsets[i])) AS sections FROM generate_subscripts(b.ids, 1) i WHERE "
    "b.ids[i] = ANY($3::int2[])) x WHERE b.level = 0 AND b.first < $4::timestamptz AND b.last >= $1::timestamptz AND "
    "(b.first < $1::timestamptz OR b.last >= $4::timestamptz) AND b.expires_on > $2::date AND ($5::int4[] IS NULL OR "
    "b.source_id = ANY($5::int4[]))";

}  // namespace

absl::StatusOr<std::vector<SentFrames>> LoadSentFrames(pg::ReadTransaction& tx, const std::vector<int32_t>* source_ids,
                                                       absl::Time since, absl::Time until) {
  std::vector<int32_t> ids;
  for (const columns::ColumnId id : columns::StructureIds()) ids.push_back(id);
  const std::string day = absl::FormatTime("%Y-%m-%d", since - absl::Hours(24), absl::UTCTimeZone());
  const int64_t since_us = absl::ToUnixMicros(since);
  const int64_t until_us = absl::ToUnixMicros(until);
  const pg::Param sources = source_ids == nullptr ? pg::Param() : pg::Param(ArrayOf(*source_ids));
  std::vector<SentFrames> all;
  columns::BlockBytes block;
  columns::RowSet rows;
  const absl::Status done = tx.Query(kSql, {TimeText(since), day, ArrayOf(ids), TimeText(until), sources},
                                     [&](const pg::BinaryRow& row) -> absl::Status {
                                       SentFrames sent;
                                       PGA_ASSIGN_OR_RETURN(const int64_t source, row.Int(0));
                                       PGA_ASSIGN_OR_RETURN(const int64_t metric, row.Int(1));
                                       PGA_ASSIGN_OR_RETURN(sent.frames, row.Int(2));
                                       PGA_ASSIGN_OR_RETURN(sent.rows, row.Int(3));
                                       PGA_ASSIGN_OR_RETURN(sent.newest_us, row.UnixMicros(4));
                                       sent.source_id = static_cast<int32_t>(source);
                                       sent.metric_id = static_cast<int16_t>(metric);
                                       if (!row.IsNull(9)) {
                                         PGA_ASSIGN_OR_RETURN(const int64_t frames, row.Int(5));
                                         PGA_ASSIGN_OR_RETURN(const int64_t series, row.Int(6));
                                         PGA_ASSIGN_OR_RETURN(block.rows, row.Int(7));
                                         PGA_ASSIGN_OR_RETURN(const int64_t part, row.Int(8));
                                         sent.newest_us = INT64_MIN;
                                         block.frames = static_cast<int32_t>(frames);
                                         block.series = static_cast<int32_t>(series);
                                         PGA_RETURN_IF_ERROR(row.Int16Array(9, &block.ids));
                                         PGA_RETURN_IF_ERROR(row.BytesArray(10, &block.sections));
                                         PGA_RETURN_IF_ERROR(columns::OpenBlock(columns::Shape(), block, &rows));
                                         std::vector<int64_t> rows_of(rows.frames.size());
                                         for (const uint32_t frame : rows.row_frame) ++rows_of[frame];
                                         for (size_t i = 0; i < rows.frames.size(); ++i) {
                                           if (rows.frames[i].end_us < since_us || rows.frames[i].end_us >= until_us)
                                             continue;
                                           sent.newest_us = std::max(sent.newest_us, rows.frames[i].end_us);
                                           if (part == 0) sent.frames += rows.frames[i].frames;
                                           sent.rows += rows_of[i];
                                         }
                                       }
                                       if (sent.frames > 0 || sent.rows > 0) all.push_back(sent);
                                       return absl::OkStatus();
                                     });
  PGA_RETURN_IF_ERROR(done);
  return all;
}

absl::StatusOr<SentInLastDay::Answer> SentInLastDay::Get(pg::ReadTransaction& tx, clock::SteadyTime deadline) {
  return kept_.Get(deadline, [&]() -> absl::StatusOr<Answer> {
    PGA_ASSIGN_OR_RETURN(std::vector<SentFrames> sent, LoadSentFrames(tx, nullptr, clock_->Now() - absl::Hours(24),
                                                                      absl::FromUnixSeconds(7258118400)));
    return std::make_shared<const std::vector<SentFrames>>(std::move(sent));
  });
}

}  // namespace pga::storage
