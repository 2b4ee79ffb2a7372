// Rows of one metric of one source in memory, as columns: what a stored frame, a block and a merge of several are once
// they are opened. Labels stand once per series, values once per row, times once per frame. Plain data; not
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "libs/columns/column.h"

namespace pga::columns {

// Names of columns, for ever: 1 to 999 = place in the metric's definition, from 1 (definitions only grow at their end).
// At a level above raw a gauge c has six columns, c + kMin to c + kLastAt; a counter c keeps its name and holds the
// sum; a text info c keeps its name and holds the last value. Negative names are those of block.h.
using ColumnId = int16_t;
inline constexpr ColumnId kMin = 1000;
inline constexpr ColumnId kMax = 2000;
// Sum and count of the readings.
inline constexpr ColumnId kSum = 3000;
inline constexpr ColumnId kCount = 4000;
// The newest reading, and how many microseconds it is older than the row's newest row (RowSet::row_last_us).
inline constexpr ColumnId kLast = 5000;
inline constexpr ColumnId kLastAge = 6000;

// What becomes of two values of one series in one bucket.
enum class Combine : uint8_t { kNone, kAdd, kLeast, kGreatest, kNewest };

// The columns of a metric at one level.
struct Shape {
  struct Part {
    ColumnId id = 0;
    Type type = Type::kInt;
    bool label = false;
    Combine combine = Combine::kNone;
  };
  // In order of id.
  std::vector<Part> parts;
  // Label by which series are sorted and blocks found; 0 = none.
  ColumnId locate_by = 0;
  // Rows of one series and frame are joined by `combine`: at levels, where frames are buckets.
  bool buckets = false;

  const Part* Find(ColumnId id) const;
};

// Bits of FrameInfo::flags and of row flags beyond those of pganalytics.ingest.v1.FrameFlag (0 to 7 there). Of a bucket
// they are the joined bits of its frames or rows.
inline constexpr int kLowerBoundFlag = 1;
inline constexpr int kUnknownFlag = 2;
inline constexpr int kGoneFlag = 4;
inline constexpr int kTextReplacedFlag = 8;
// An increase that crossed the bucket's edge was split by time.
inline constexpr int kInterpolatedFlag = 16;
// Of a frame: some row has kLowerBoundFlag (kLowerBoundFlag itself says that all have it).
inline constexpr int kSomeLowerBoundFlag = 32;

// A frame, or at levels a bucket of one scope.
struct FrameInfo {
  // Microseconds since 1970: the covered time is (start, end]; `end` is collected_at, or the bucket's end.
  int64_t start_us = 0;
  int64_t end_us = 0;
  int64_t scope = 0;
  int32_t collector = 0;
  int32_t flags = 0;
  // Stored frames that it stands for: 1, or 0 for the second and further parts of a frame that was cut; at levels any
  // number.
  int64_t frames = 1;
  int64_t rows = 0;
  int64_t unchanged_rows = 0;
  // At levels: how much of the bucket the frames cover. 0 at raw, where it is end - start.
  int64_t covered_us = 0;
};

struct RowSet {
  // In order of end and scope.
  std::vector<FrameInfo> frames;

  // Series are numbered from 0; a series lives in one scope.
  std::vector<int64_t> series_scope;
  // One value per series.
  std::map<ColumnId, Column> labels;

  // Rows, in order of series and within it of frame.
  std::vector<uint32_t> row_series;
  std::vector<uint32_t> row_frame;
  // Empty = none; else one per row.
  std::vector<uint8_t> row_flags;
  // At levels: instant of the bucket's newest row of the series; empty at raw.
  std::vector<int64_t> row_last_us;
  // One value per row. A column that is not there is NULL.
  std::map<ColumnId, Column> values;

  size_t series() const { return series_scope.size(); }
  size_t rows() const { return row_series.size(); }
  int FlagsOf(size_t row) const { return row_flags.empty() ? 0 : row_flags[row]; }
  // About the bytes it takes.
  size_t MemoryBytes() const;
};

// A stored frame: one chunk per column of its schema version, then its row flags (empty or ints).
struct FrameBytes {
  FrameInfo info;
  // chunks[i] is column i + 1; an empty one was not fetched and stays out.
  std::vector<std::string_view> chunks;
  std::string_view row_flags;
};

// Opens a frame; columns of `shape` that it has no chunk of are left out (NULL). INVALID_ARGUMENT for bytes that are
// not what they should be. Series are not joined: each row is one of its own.
absl::Status OpenFrame(const Shape& shape, const FrameBytes& frame, RowSet* rows);

// Scope and labels of a series as bytes: equal for equal series of any row set of the metric.
std::string SeriesKey(const Shape& shape, const RowSet& rows, size_t series);

// Joins row sets of one metric, level and kind of frame: equal series become one, frames of one scope and end become
// one (their counts are added), rows of one series and frame are joined where the shape says so and else stand beside
// each other. The result is sorted as RowSet says, series by the locate_by label and then the other labels.
class Merger {
 public:
  // `shape` must outlive the merger.
  explicit Merger(const Shape& shape) : shape_(shape) {}
  // `rows` may go afterwards.
  void Add(const RowSet& rows);
  // Leaves the merger empty.
  RowSet Finish();

  size_t rows() const { return joined_.rows(); }

 private:
  // Appends `from`'s rows at `rows` (all when null) to the column that the joined rows have under `id`.
  void Append(ColumnId id, const Column& from, const std::vector<uint32_t>* rows, size_t before, Column* to);

  const Shape& shape_;
  RowSet joined_;
  std::unordered_map<std::string, uint32_t> series_;
  std::map<std::pair<int64_t, int64_t>, uint32_t> frames_;
  // Per text column: its texts to their index.
  std::map<ColumnId, std::unordered_map<std::string, int64_t>> texts_;
};

// The rows of the series in [first, last), with all frames.
RowSet SliceSeries(const RowSet& rows, uint32_t first, uint32_t last);

}  // namespace pga::columns
