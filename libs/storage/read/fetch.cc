#include "libs/storage/read/fetch.h"

#include <algorithm>
#include <map>

#include "libs/clock/clock.h"
#include "libs/clock/micros.h"
#include "libs/columns/block.h"
#include "libs/status/status.h"
#include "libs/storage/read/expiry.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/text.h"

namespace pga::storage {
namespace {

using clock::kDayMicros;
using clock::kHourMicros;
using columns::Cell;
using columns::ColumnId;
using columns::Shape;
using internal::AppendTo;
using internal::Cat;

// Frames of one block lie in one day (blocks of days: in one week), and cover no more than an hour unless the block is
// long: what is seen of a time lies in blocks that end at most this much later. Days of a zone have up to 25 hours.
constexpr int64_t kReachOfRaw = kDayMicros + kHourMicros;
constexpr int64_t kReachOfHours = kDayMicros;
constexpr int64_t kReachOfDays = 7 * kDayMicros + kHourMicros;

// Spans of one level that are asked for one by one; of more, one statement looks at all between the first and the last.
constexpr size_t kMostSpans = 4;

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
  kIds,
  kMetric,
  // The structure of a block, or the row flags of a frame; behind it one slice per run of columns.
  kStructure,
  kSlices,
};

// Neighbouring cells of one level joined.
std::map<int, std::vector<TimeSpan>> SpansOf(const columns::Cells& cells) {
  std::map<int, std::vector<TimeSpan>> spans;
  for (const Cell& cell : cells) {
    std::vector<TimeSpan>& of_level = spans[cell.level];
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

std::string DayText(int64_t day) {
  return absl::FormatTime("%Y-%m-%d", absl::FromUnixMicros(day * kDayMicros), absl::UTCTimeZone());
}

// nullopt when that is not known of all of them.
absl::StatusOr<std::optional<Kept>> FindKept(pg::ReadTransaction& tx, const std::string& metric_ids) {
  Kept kept;
  int64_t unknown = 1;
  PGA_RETURN_IF_ERROR(tx.Query(
      "SELECT count(*) - count(raw_days_least), min(raw_days_least), max(raw_days_most), min(daily_days_least), "
      "max(daily_days_most) FROM metrics.catalog_metric WHERE id = ANY($1::int2[])",
      {metric_ids}, [&](const pg::BinaryRow& row) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(unknown, row.Int(0));
        PGA_ASSIGN_OR_RETURN(kept.raw_least, row.Int(1));
        PGA_ASSIGN_OR_RETURN(kept.raw_most, row.Int(2));
        PGA_ASSIGN_OR_RETURN(kept.daily_least, row.Int(3));
        PGA_ASSIGN_OR_RETURN(kept.daily_most, row.Int(4));
        if (row.IsNull(1)) unknown = 1;
        return absl::OkStatus();
      }));
  return unknown != 0 ? std::nullopt : std::optional<Kept>(kept);
}

Shape Chosen(Shape shape, const std::vector<ColumnId>& wanted) {
  std::erase_if(shape.parts, [&](const Shape::Part& part) {
    return std::find(wanted.begin(), wanted.end(), part.id) == wanted.end();
  });
  return shape;
}

// Neighbouring columns, brought as one slice of the bytes. Columns between two wanted ones that take little space come
// along: labels stand once per series.
struct Run {
  ColumnId first = 0;
  ColumnId last = 0;
};

// `parts` are all columns of a level in the order in which they are stored.
std::vector<Run> RunsOf(const Shape& shape, const std::vector<ColumnId>& wanted) {
  std::vector<Run> runs;
  bool open = false;
  for (const Shape::Part& part : shape.parts) {
    if (std::find(wanted.begin(), wanted.end(), part.id) != wanted.end()) {
      if (!open) runs.push_back({part.id, part.id});
      runs.back().last = part.id;
      open = true;
    } else if (!part.label) {
      open = false;
    }
  }
  return runs;
}

// What is brought of a metric's rows.
struct Wanted {
  Shape raw;
  Shape buckets;
  std::vector<Run> raw_runs;
  std::vector<Run> bucket_runs;

  explicit Wanted(const FetchSpec& spec) {
    if (spec.metric == nullptr) return;
    const auto columns = ColumnsOf(*spec.metric);
    raw = columns::RawShape(columns, LocateBy(*spec.metric));
    buckets = columns::BucketShape(columns, LocateBy(*spec.metric));
    if (!spec.frames_only) {
      raw_runs = RunsOf(raw, spec.raw);
      bucket_runs = RunsOf(buckets, spec.buckets);
    }
    raw = Chosen(std::move(raw), spec.raw);
    buckets = Chosen(std::move(buckets), spec.buckets);
  }
  const std::vector<Run>& RunsAt(int64_t level) const { return level > 0 ? bucket_runs : raw_runs; }
};

std::string ByteaText(const std::string& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "\\\\x";
  for (const char byte : bytes) {
    text.push_back(kDigits[static_cast<unsigned char>(byte) >> 4]);
    text.push_back(kDigits[static_cast<unsigned char>(byte) & 15]);
  }
  return "\"" + text + "\"";
}

std::string MetricIds(const FetchSpec& spec) {
  return ArrayOf(std::vector<int32_t>(spec.metric_ids.begin(), spec.metric_ids.end()));
}

class SpecSql {
 public:
  SpecSql(const FetchSpec& spec, const Wanted& wanted, const std::optional<Kept>& kept)
      : spec_(spec), wanted_(wanted), kept_(kept), today_(DayOf(absl::ToUnixMicros(clock::WallNow()))) {}

  std::string Make(pg::Params* params) {
    params_ = params;
    sources_ = Add(ArrayOf(spec_.source_ids), "int4[]");
    metric_ = Add(MetricIds(spec_), "int2[]");
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
    std::string part;
    chosen_ = ChosenOf(&part);
    for (const auto& [level, spans] : SpansOf(cells)) {
      if (level > 0 && !spec_.deltas) continue;
      Choice choice;
      choice.part = part;
      if (spans.size() > kMostSpans) {
        choice.span = {spans.front().start, spans.back().end};
        choice.more = OneOf(spans);
        AppendTo(&inner, Blocks(level, choice));
        continue;
      }
      for (size_t i = 0; i < spans.size(); ++i) {
        // What reaches into two spans comes once.
        if (i > 0) {
          AppendTo(&choice.more, " AND NOT (b.last >= ", Time(spans[i - 1].start), " AND b.starts < ",
                   Time(spans[i - 1].end), ")");
        }
        choice.span = spans[i];
        AppendTo(&inner, Blocks(level, choice));
      }
    }
    if (spec_.by_source) AppendTo(&inner, " ORDER BY 1, 3 DESC");
    // Slices are cut out behind the order, so that none is sorted with its bytes.
    std::string slices;
    if (spec_.frames_only) {
      AppendTo(&slices, "CASE WHEN q.level >= 0 THEN ", BlockSlice("1", StructureEnd()), " END");
    } else {
      AppendTo(&slices, "CASE WHEN q.level < 0 THEN ",
               Slice("q.offsets[cardinality(q.offsets) - 1]", "q.offsets[cardinality(q.offsets)]"), " ELSE ",
               BlockSlice("1", StructureEnd()), " END");
    }
    for (size_t i = 0; i < std::max(wanted_.raw_runs.size(), wanted_.bucket_runs.size()); ++i) {
      AppendTo(&slices, ", CASE");
      if (i < wanted_.raw_runs.size()) {
        const Run& run = wanted_.raw_runs[i];
        AppendTo(&slices, " WHEN q.level < 0 THEN ",
                 Slice(Cat("q.offsets[least(", run.first, ", cardinality(q.offsets) - 1)]"),
                       Cat("q.offsets[least(", run.last + 1, ", cardinality(q.offsets) - 1)]")),
                 " WHEN q.chosen AND q.level = 0 THEN ", RunSlice(run));
      }
      if (i < wanted_.bucket_runs.size()) {
        AppendTo(&slices, " WHEN q.chosen AND q.level > 0 THEN ", RunSlice(wanted_.bucket_runs[i]));
      }
      slices += " END";
    }
    return Cat(
        "SELECT q.source_id, q.level, q.kind, q.e, q.s, q.scope_id, q.part, q.flags, q.collector_id, q.rows, "
        "q.unchanged, q.frame_entries, q.series, q.offsets, q.ids, q.metric_id, ",
        slices, " FROM (", inner, ") q");
  }

 private:
  std::string Add(pg::Param value, std::string_view type) {
    params_->push_back(std::move(value));
    return Cat("$", params_->size(), "::", type);
  }
  static std::string Slice(const std::string& from, const std::string& to) {
    return Cat("substring(q.data FROM ", from, " + 1 FOR ", to, " - ", from, ")");
  }
  // Of the sections at the places `from` to before `to` of a block.
  static std::string BlockSlice(const std::string& from, const std::string& to) {
    return Slice(Cat("q.offsets[", from, "]"), Cat("q.offsets[", to, "]"));
  }
  // Place behind the sections up to column `id`: columns grow, and everything before them is below 0.
  static std::string PlaceBehind(int id) { return Cat("width_bucket(", id, "::int2, q.ids) + 1"); }
  // An empty section at the front has the bytes of one before it (columns::SectionStart): the slice begins with the
  // last section that begins before the first one ends.
  static std::string RunSlice(const Run& run) {
    const std::string from = PlaceBehind(run.first - 1);
    return BlockSlice(Cat("least(", from, ", width_bucket(q.offsets[", from, " + 1] - 1, q.offsets))"),
                      PlaceBehind(run.last));
  }
  // The structure ends before the columns, without instants before these; frames end where series begin.
  std::string StructureEnd() const {
    const auto before = [](ColumnId id) {
      return Cat("coalesce(array_position(q.ids, (", id, ")::int2), ", PlaceBehind(0), ")");
    };
    return Cat("CASE WHEN q.chosen THEN ", spec_.instants ? PlaceBehind(0) : before(columns::kRowLast), " ELSE ",
               before(columns::kSeriesScope), " END");
  }
  std::string Time(int64_t us) { return Add(MicrosText(us), "timestamptz"); }

  // Which blocks of a level: what reaches into the span, and further conditions.
  struct Choice {
    TimeSpan span;
    std::string part, more;
  };

  // Says of a block whether more than its frames is wanted; appends to `part` which of a row set's blocks come at all.
  std::string ChosenOf(std::string* part) {
    if (spec_.frames_only) {
      *part = " AND b.part = 0";
      return "false";
    }
    if (spec_.first_parts) *part = " AND b.part = 0";
    if (!spec_.located) return "true";
    std::string keys = "{";
    std::vector<int32_t> of;
    for (const FetchSpec::Located& located : *spec_.located) {
      AppendTo(&keys, keys.size() > 1 ? "," : "", ByteaText(located.key));
      of.push_back(located.source_id);
    }
    keys += "}";
    const std::string chosen =
        Cat("coalesce((SELECT bool_or(coalesce(k BETWEEN b.locate_min AND b.locate_max, true)) FROM unnest(",
            Add(std::move(keys), "bytea[]"), ", ", Add(ArrayOf(of), "int4[]"),
            ") AS t(k, s) WHERE s IN (0, b.source_id)), false)");
    AppendTo(part, spec_.located_only ? Cat(" AND ", chosen) : Cat(" AND (b.part = 0 OR ", chosen, ")"));
    return chosen;
  }

  std::string OneOf(const std::vector<TimeSpan>& spans) {
    std::string starts = "{";
    std::string ends = "{";
    for (const TimeSpan& span : spans) {
      AppendTo(&starts, starts.size() > 1 ? "," : "", "\"", MicrosText(span.start), "\"");
      AppendTo(&ends, ends.size() > 1 ? "," : "", "\"", MicrosText(span.end), "\"");
    }
    return Cat(" AND EXISTS (SELECT FROM unnest(", Add(starts + "}", "timestamptz[]"), ", ",
               Add(ends + "}", "timestamptz[]"), ") AS t(a, b) WHERE b.last >= t.a AND b.starts < t.b)");
  }

  std::string Blocks(int level, const Choice& choice) {
    const int64_t reach = level == 0 ? kReachOfRaw : level == 1 ? kReachOfHours : kReachOfDays;
    std::string sql = Cat(BlocksOf(level, false, choice), level == 0 ? " AND NOT b.long" : "",
                          " AND b.last <= ", Time(choice.span.end + reach));
    if (level == 0) AppendTo(&sql, BlocksOf(level, true, choice), " AND b.long");
    return sql;
  }

  std::string BlocksOf(int level, bool long_blocks, const Choice& choice) {
    const Expiry expiry = ExpiryOf(level, long_blocks, choice.span, kept_, today_);
    std::string sql =
        Cat(" UNION ALL SELECT b.source_id, b.level, b.kind, b.last, b.starts, 0::int8, b.part, 0::int2, 0, b.rows, "
            "b.unchanged_rows, b.frame_entries, b.series, b.offsets, b.data, b.ids, ",
            chosen_, ", b.metric_id FROM metrics.block b WHERE b.source_id = ANY(", sources_,
            ") AND b.metric_id = ANY(", metric_, ") AND b.level = ", level, " AND b.kind = ANY(", kinds_, ")",
            choice.part, choice.more, " AND b.last >= ", Time(choice.span.start), " AND b.starts < ",
            Time(choice.span.end), " AND b.expires_on >= ", Add(DayText(expiry.first), "date"));
    if (expiry.last) AppendTo(&sql, " AND b.expires_on <= ", Add(DayText(*expiry.last), "date"));
    return sql;
  }

  const FetchSpec& spec_;
  const Wanted& wanted_;
  const std::optional<Kept>& kept_;
  const int64_t today_;
  std::string chosen_;
  pg::Params* params_ = nullptr;
  std::string sources_, metric_, kinds_;
};

// Opens the rows of the answer.
class Opener {
 public:
  Opener(const FetchSpec& spec, const Wanted& wanted) : spec_(spec), wanted_(wanted) {}

  absl::Status Open(const pg::BinaryRow& row, Fetched* out) {
    PGA_ASSIGN_OR_RETURN(const int64_t source, row.Int(kSource));
    PGA_ASSIGN_OR_RETURN(const int64_t level, row.Int(kLevel));
    PGA_ASSIGN_OR_RETURN(const int64_t kind, row.Int(kKind));
    PGA_ASSIGN_OR_RETURN(const int64_t metric, row.Int(kMetric));
    out->source_id = static_cast<int32_t>(source);
    out->metric_id = static_cast<int16_t>(metric);
    out->level = static_cast<int8_t>(level);
    out->keyframes = kind == kKeyframe;
    out->summed = false;
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
    if (offsets_.size() < 2) return absl::InvalidArgumentError("a frame without columns");
    const size_t columns = offsets_.size() - 2;
    frame.chunks.resize(columns);
    for (size_t i = 0; i < wanted_.raw_runs.size(); ++i) {
      const auto first = static_cast<size_t>(wanted_.raw_runs[i].first - 1);
      const size_t last = std::min(static_cast<size_t>(wanted_.raw_runs[i].last), columns);
      if (!Cut(row.Bytes(kSlices + i), first, last,
               [&](size_t c, std::string_view chunk) { frame.chunks[c] = chunk; })) {
        return absl::InvalidArgumentError("the offsets of a frame do not fit its bytes");
      }
    }
    frame.row_flags = row.Bytes(kStructure);
    return columns::OpenFrame(wanted_.raw, frame, &out->rows);
  }

  // Cuts a slice into the sections [first, last) of offsets_.
  template <typename Take>
  bool Cut(std::string_view slice, size_t first, size_t last, const Take& take) const {
    for (size_t i = first; i < last; ++i) {
      const int64_t start = int64_t{offsets_[i]} - offsets_[first], end = int64_t{offsets_[i + 1]} - offsets_[first];
      if (start < 0 || end < start || static_cast<uint64_t>(end) > slice.size()) return false;
      take(i, slice.substr(static_cast<size_t>(start), static_cast<size_t>(end - start)));
    }
    return true;
  }

  // The same for columns of a block, whose slice begins where SectionStart says.
  template <typename Take>
  bool CutColumns(std::string_view slice, size_t first, size_t last, const Take& take) const {
    if (first == last) return true;
    const int64_t base = offsets_[columns::SectionStart(ids_, offsets_, first)];
    for (size_t i = first; i < last; ++i) {
      const size_t at = columns::SectionStart(ids_, offsets_, i);
      const int64_t start = offsets_[at] - base, end = offsets_[at + 1] - base;
      if (start < 0 || end < start || static_cast<uint64_t>(end) > slice.size()) return false;
      take(i, slice.substr(static_cast<size_t>(start), static_cast<size_t>(end - start)));
    }
    return true;
  }

  absl::Status OpenOneBlock(const pg::BinaryRow& row, Fetched* out) {
    columns::BlockBytes block;
    PGA_ASSIGN_OR_RETURN(const int64_t frames, row.Int(kFrameEntries));
    PGA_ASSIGN_OR_RETURN(const int64_t series, row.Int(kSeries));
    PGA_ASSIGN_OR_RETURN(const int64_t part, row.Int(kPart));
    PGA_ASSIGN_OR_RETURN(block.rows, row.Int(kRows));
    block.frames = static_cast<int32_t>(frames);
    block.series = static_cast<int32_t>(series);
    PGA_RETURN_IF_ERROR(row.Int16Array(kIds, &ids_));
    PGA_RETURN_IF_ERROR(row.Int32Array(kOffsets, &offsets_));
    if (offsets_.size() != ids_.size() + 1) {
      return absl::InvalidArgumentError("a block has not as many sections as ids");
    }
    const auto take = [&](size_t i, std::string_view section) {
      block.ids.push_back(ids_[i]);
      block.sections.push_back(section);
    };
    const std::string_view structure = row.Bytes(kStructure);
    size_t behind = 0;
    while (behind < ids_.size() && ids_[behind] < 0 && offsets_[behind + 1] - offsets_[0] <= Length(structure))
      ++behind;
    bool good = Cut(structure, 0, behind, take);
    const std::vector<Run>& runs = wanted_.RunsAt(out->level);
    for (size_t i = 0; i < runs.size() && good; ++i) {
      if (row.IsNull(kSlices + i)) continue;
      const auto place_behind = [&](int id) {
        return static_cast<size_t>(
            std::partition_point(ids_.begin(), ids_.end(), [id](ColumnId each) { return each <= id; }) - ids_.begin());
      };
      good = CutColumns(row.Bytes(kSlices + i), place_behind(runs[i].first - 1), place_behind(runs[i].last), take);
    }
    if (!good) return absl::InvalidArgumentError("the offsets of a block do not fit its bytes");
    const Shape& shape = out->level == 0 ? wanted_.raw : wanted_.buckets;
    if (spec_.sums != nullptr) {
      const auto choose = [&](const std::vector<columns::FrameInfo>& of, columns::FrameUse* use) {
        return spec_.sums->UseOf(out->level, of, use);
      };
      PGA_ASSIGN_OR_RETURN(out->summed, columns::SumBlock(shape, block, spec_.sums->columns(), choose, &out->rows,
                                                          &out->sums, spec_.sum_kind));
    }
    if (!out->summed) PGA_RETURN_IF_ERROR(columns::OpenBlock(shape, block, &out->rows));
    // What is said of frames is said in the first part.
    if (part > 0 && out->level == 0) {
      for (columns::FrameInfo& frame : out->rows.frames) frame.frames = 0;
    }
    return absl::OkStatus();
  }

  static int64_t Length(std::string_view bytes) { return static_cast<int64_t>(bytes.size()); }

  const FetchSpec& spec_;
  const Wanted& wanted_;
  std::vector<ColumnId> ids_;
  std::vector<int32_t> offsets_;
};

}  // namespace

absl::Status FetchRows(pg::ReadTransaction& tx, const FetchSpec& spec,
                       const std::function<absl::Status(Fetched&)>& sink) {
  if (spec.cells->empty() || spec.source_ids.empty()) return absl::OkStatus();
  pg::Params params;
  const Wanted wanted(spec);
  PGA_ASSIGN_OR_RETURN(const std::optional<Kept> kept, FindKept(tx, MetricIds(spec)));
  const std::string sql = SpecSql(spec, wanted, kept).Make(&params);
  Opener opener(spec, wanted);
  Fetched fetched;
  return tx.Query(sql, params, [&](const pg::BinaryRow& row) -> absl::Status {
    PGA_RETURN_IF_ERROR(opener.Open(row, &fetched));
    return sink(fetched);
  });
}

}  // namespace pga::storage
