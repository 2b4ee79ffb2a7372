#include "libs/storage/read/fetch.h"

#include <algorithm>
#include <limits>
#include <map>

#include "libs/columns/block.h"
#include "libs/status/status.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using columns::Cell;
using columns::ColumnId;
using columns::Shape;
using internal::AppendTo;
using internal::Cat;

constexpr int64_t kHourMicros = 3'600'000'000;
constexpr int64_t kDayMicros = 24 * kHourMicros;
// Frames of one block lie in one day (blocks of days: in one week), and cover no more than an hour unless the block is
// long: what is seen of a time lies in blocks that end at most this much later. Days of a zone have up to 25 hours.
constexpr int64_t kReachOfRaw = kDayMicros + kHourMicros;
constexpr int64_t kReachOfHours = kDayMicros;
constexpr int64_t kReachOfDays = 7 * kDayMicros + kHourMicros;

constexpr int kDelta = 1;
constexpr int kKeyframe = 2;

// Columns of the answer.
enum Field {
  kSource,
  kLevel,
  kKind,
  kFrameEnd,
  kFrameStart,
  kScope,
  kPart,
  kFlags,
  kCollector,
  kRows,
  kUnchanged,
  kFrameEntries,
  kSeries,
  kOffsets,
  kData,
  kIds,
  kSections,
  kMetric,
};

struct Span {
  int64_t start = 0;
  int64_t end = 0;
};

// Neighbouring cells of one level joined.
std::map<int, std::vector<Span>> SpansOf(const columns::Cells& cells) {
  std::map<int, std::vector<Span>> spans;
  for (const Cell& cell : cells) {
    std::vector<Span>& of_level = spans[cell.level];
    if (!of_level.empty() && of_level.back().end == cell.start_us) {
      of_level.back().end = cell.end_us;
    } else {
      of_level.push_back({cell.start_us, cell.end_us});
    }
  }
  return spans;
}

std::string MicrosText(int64_t us) {
  return TimeText(absl::FromUnixMicros(us));
}

Shape Chosen(Shape shape, const std::vector<ColumnId>& wanted) {
  std::erase_if(shape.parts, [&](const Shape::Part& part) {
    return std::find(wanted.begin(), wanted.end(), part.id) == wanted.end();
  });
  return shape;
}

std::string ByteaText(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "\\\\x";
  for (const char byte : bytes) {
    text.push_back(kDigits[static_cast<unsigned char>(byte) >> 4]);
    text.push_back(kDigits[static_cast<unsigned char>(byte) & 15]);
  }
  return "\"" + text + "\"";
}

class SpecSql {
 public:
  explicit SpecSql(const FetchSpec& spec) : spec_(spec) {}

  std::string Make(pg::Params* params) {
    params_ = params;
    sources_ = Add(ArrayOf(spec_.source_ids), "int4[]");
    metric_ = Add(ArrayOf(std::vector<int32_t>(spec_.metric_ids.begin(), spec_.metric_ids.end())), "int2[]");
    std::vector<int32_t> kinds;
    if (spec_.deltas) kinds.push_back(kDelta);
    if (spec_.keyframes) kinds.push_back(kKeyframe);
    kinds_ = Add(ArrayOf(kinds), "int2[]");
    const columns::Cells& cells = *spec_.cells;
    std::string inner =
        Cat("SELECT f.source_id, (-1)::int2 AS level, f.kind, f.collected_at AS e, f.interval_start AS s, f.scope_id, "
            "f.part, ",
            "f.flags, f.collector_id, f.rows::int8 AS rows, f.unchanged_rows::int8 AS unchanged, 1 AS frame_entries, "
            "0 AS series, f.offsets, ",
            spec_.frames_only ? "NULL::bytea" : "f.data",
            " AS data, NULL::int2[] AS ids, false AS chosen, f.metric_id FROM metrics.frame f WHERE f.source_id = ANY(",
            sources_, ") AND f.metric_id = ANY(", metric_, ") AND f.kind = ANY(", kinds_,
            ") AND f.collected_at >= ", Time(cells.front().start_us), " AND f.interval_start < ",
            Time(cells.back().end_us));
    for (const auto& [level, spans] : SpansOf(cells)) {
      if (level > 0 && !spec_.deltas) continue;
      const int64_t reach = level == 0 ? kReachOfRaw : level == 1 ? kReachOfHours : kReachOfDays;
      AppendTo(&inner, " UNION ALL ", Blocks(level, spans), level == 0 ? " AND NOT b.long" : "",
               " AND b.last <= ", Time(spans.back().end + reach));
      if (level == 0) AppendTo(&inner, " UNION ALL ", Blocks(level, spans), " AND b.long");
    }
    if (spec_.by_source) AppendTo(&inner, " ORDER BY 1, 3 DESC");
    // Sections are cut out behind the order, so that none is sorted with its bytes.
    return Cat(
        "SELECT q.source_id, q.level, q.kind, q.e, q.s, q.scope_id, q.part, q.flags, q.collector_id, q.rows, "
        "q.unchanged, q.frame_entries, q.series, q.offsets, CASE WHEN q.level < 0 THEN q.data END, x.ids, "
        "x.sections, q.metric_id FROM (",
        inner,
        ") q LEFT JOIN LATERAL (SELECT array_agg(u.id) AS ids, array_agg(substring(q.data FROM "
        "q.offsets[u.i] + 1 FOR q.offsets[u.i + 1] - q.offsets[u.i])) AS sections FROM (SELECT w.id, w.i::int4 "
        "AS i FROM unnest(q.ids) WITH ORDINALITY AS w(id, i)) u WHERE u.id = ANY(CASE WHEN q.chosen THEN ",
        Add(IdsText(), "int2[]"), " ELSE ", Add(FrameIdsText(), "int2[]"), " END)) x ON q.level >= 0");
  }

 private:
  std::string Add(pg::Param value, std::string_view type) {
    params_->push_back(std::move(value));
    return Cat("$", params_->size(), "::", type);
  }
  std::string Time(int64_t us) { return Add(MicrosText(us), "timestamptz"); }

  std::string Blocks(int level, const std::vector<Span>& spans) {
    std::string chosen = "true";
    std::string part;
    if (spec_.frames_only) {
      chosen = "false";
      part = " AND b.part = 0";
    } else if (spec_.located) {
      std::string keys = "{";
      for (const std::string& key : *spec_.located) AppendTo(&keys, keys.size() > 1 ? "," : "", ByteaText(key));
      keys += "}";
      chosen = Cat("coalesce((SELECT bool_or(k BETWEEN b.locate_min AND b.locate_max) FROM unnest(",
                   Add(std::move(keys), "bytea[]"), ") k), true)");
      part = Cat(" AND (b.part = 0 OR ", chosen, ")");
    }
    std::string sql = Cat(
        "SELECT b.source_id, b.level, b.kind, b.last, b.starts, 0::int8, b.part, 0::int2, 0, b.rows, b.unchanged_rows, "
        "b.frame_entries, b.series, b.offsets, b.data, b.ids, ",
        chosen, ", b.metric_id FROM metrics.block b WHERE b.source_id = ANY(", sources_, ") AND b.metric_id = ANY(",
        metric_, ") AND b.level = ", level, " AND b.kind = ANY(", kinds_, ")", part,
        " AND b.last >= ", Time(spans.front().start), " AND b.starts < ", Time(spans.back().end),
        " AND b.expires_on > ",
        Add(absl::FormatTime("%Y-%m-%d", absl::FromUnixMicros(spans.front().start) - absl::Hours(48),
                             absl::UTCTimeZone()),
            "date"));
    if (spans.size() > 1) {
      std::string starts = "{";
      std::string ends = "{";
      for (const Span& span : spans) {
        AppendTo(&starts, starts.size() > 1 ? "," : "", "\"", MicrosText(span.start), "\"");
        AppendTo(&ends, ends.size() > 1 ? "," : "", "\"", MicrosText(span.end), "\"");
      }
      AppendTo(&sql, " AND EXISTS (SELECT FROM unnest(", Add(starts + "}", "timestamptz[]"), ", ",
               Add(ends + "}", "timestamptz[]"), ") AS t(a, b) WHERE b.last >= t.a AND b.starts < t.b)");
    }
    return sql;
  }

  std::string IdsText() const {
    std::vector<int32_t> ids;
    for (const ColumnId id : columns::StructureIds()) ids.push_back(id);
    for (const ColumnId id : spec_.raw) ids.push_back(id);
    for (const ColumnId id : spec_.buckets) ids.push_back(id);
    return ArrayOf(ids);
  }
  static std::string FrameIdsText() {
    const std::vector<ColumnId>& ids = columns::FrameIds();
    return ArrayOf(std::vector<int32_t>(ids.begin(), ids.end()));
  }

  const FetchSpec& spec_;
  pg::Params* params_ = nullptr;
  std::string sources_, metric_, kinds_;
};

// Opens the rows of the answer.
class Opener {
 public:
  explicit Opener(const FetchSpec& spec)
      : spec_(spec),
        raw_(spec.metric == nullptr
                 ? Shape()
                 : Chosen(columns::RawShape(ColumnsOf(*spec.metric), LocateBy(*spec.metric)), spec.raw)),
        buckets_(spec.metric == nullptr
                     ? Shape()
                     : Chosen(columns::BucketShape(ColumnsOf(*spec.metric), LocateBy(*spec.metric)), spec.buckets)) {}

  absl::Status Open(const pg::BinaryRow& row, Fetched* out) {
    PGA_ASSIGN_OR_RETURN(const int64_t source, row.Int(kSource));
    PGA_ASSIGN_OR_RETURN(const int64_t level, row.Int(kLevel));
    PGA_ASSIGN_OR_RETURN(const int64_t kind, row.Int(kKind));
    PGA_ASSIGN_OR_RETURN(const int64_t metric, row.Int(kMetric));
    out->source_id = static_cast<int32_t>(source);
    out->metric_id = static_cast<int16_t>(metric);
    out->level = static_cast<int8_t>(level);
    out->keyframes = kind == kKeyframe;
    absl::Status opened = level < 0 ? OpenOneFrame(row, out) : OpenOneBlock(row, out);
    if (!opened.ok()) {
      return absl::FailedPreconditionError(Cat("stored rows of metric ", metric, " of source ", source,
                                               " cannot be read: ", std::string(opened.message())));
    }
    return opened;
  }

 private:
  absl::Status OpenOneFrame(const pg::BinaryRow& row, Fetched* out) {
    columns::FrameBytes frame;
    PGA_ASSIGN_OR_RETURN(frame.info.end_us, row.UnixMicros(kFrameEnd));
    PGA_ASSIGN_OR_RETURN(frame.info.start_us, row.UnixMicros(kFrameStart));
    PGA_ASSIGN_OR_RETURN(frame.info.scope, row.Int(kScope));
    PGA_ASSIGN_OR_RETURN(const int64_t part, row.Int(kPart));
    PGA_ASSIGN_OR_RETURN(const int64_t flags, row.Int(kFlags));
    PGA_ASSIGN_OR_RETURN(const int64_t collector, row.Int(kCollector));
    PGA_ASSIGN_OR_RETURN(frame.info.rows, row.Int(kRows));
    PGA_ASSIGN_OR_RETURN(frame.info.unchanged_rows, row.Int(kUnchanged));
    frame.info.flags = static_cast<int32_t>(flags);
    frame.info.collector = static_cast<int32_t>(collector);
    frame.info.frames = part == 0 ? 1 : 0;
    if (spec_.frames_only) {
      out->rows = columns::RowSet();
      out->rows.frames = {frame.info};
      return absl::OkStatus();
    }
    PGA_RETURN_IF_ERROR(row.Int32Array(kOffsets, &offsets_));
    const std::string_view data = row.Bytes(kData);
    if (offsets_.size() < 2) return absl::InvalidArgumentError("a frame without columns");
    for (size_t i = 0; i + 1 < offsets_.size(); ++i) {
      if (offsets_[i] < 0 || offsets_[i] > offsets_[i + 1] || static_cast<size_t>(offsets_[i + 1]) > data.size()) {
        return absl::InvalidArgumentError("the offsets of a frame do not fit its bytes");
      }
      const std::string_view chunk =
          data.substr(static_cast<size_t>(offsets_[i]), static_cast<size_t>(offsets_[i + 1] - offsets_[i]));
      if (i + 2 < offsets_.size()) {
        frame.chunks.push_back(chunk);
      } else {
        frame.row_flags = chunk;
      }
    }
    return columns::OpenFrame(raw_, frame, &out->rows);
  }

  absl::Status OpenOneBlock(const pg::BinaryRow& row, Fetched* out) {
    columns::BlockBytes block;
    PGA_ASSIGN_OR_RETURN(const int64_t frames, row.Int(kFrameEntries));
    PGA_ASSIGN_OR_RETURN(const int64_t series, row.Int(kSeries));
    PGA_ASSIGN_OR_RETURN(const int64_t part, row.Int(kPart));
    PGA_ASSIGN_OR_RETURN(block.rows, row.Int(kRows));
    block.frames = static_cast<int32_t>(frames);
    block.series = static_cast<int32_t>(series);
    PGA_RETURN_IF_ERROR(row.Int16Array(kIds, &block.ids));
    PGA_RETURN_IF_ERROR(row.BytesArray(kSections, &block.sections));
    PGA_RETURN_IF_ERROR(columns::OpenBlock(out->level == 0 ? raw_ : buckets_, block, &out->rows));
    // What is said of frames is said in the first part.
    if (part > 0 && out->level == 0) {
      for (columns::FrameInfo& frame : out->rows.frames) frame.frames = 0;
    }
    return absl::OkStatus();
  }

  const FetchSpec& spec_;
  const Shape raw_;
  const Shape buckets_;
  std::vector<int32_t> offsets_;
};

}  // namespace

absl::Status FetchRows(pg::ReadTransaction& tx, const FetchSpec& spec,
                       const std::function<absl::Status(Fetched&)>& sink) {
  if (spec.cells->empty() || spec.source_ids.empty()) return absl::OkStatus();
  pg::Params params;
  const std::string sql = SpecSql(spec).Make(&params);
  Opener opener(spec);
  Fetched fetched;
  return tx.Query(sql, params, [&](const pg::BinaryRow& row) -> absl::Status {
    PGA_RETURN_IF_ERROR(opener.Open(row, &fetched));
    return sink(fetched);
  });
}

}  // namespace pga::storage
