// A block: many frames of one metric, source and level as sections of bytes, one per column, so that a reader fetches
// only those it needs. A row of metrics.block holds `ids`, `offsets` and `data`: section i is data[offsets[i],
// offsets[i + 1]).
//
//   ids below 0, ints (int_codec.h) unless said otherwise
//     -1 end of each frame, us      -2 end - start        -3 scope                 -4 collector
//     -5 flags                      -6 frames             -7 unchanged rows        -8 covered us (levels)
//    -16 scope of each series      -17 rows per series    -18 frame of each row: in a series the first is its number,
//                                       each further one the distance to the one before, less 1
//    -21 row flags (absent = none)
//    -22 instant of the newest row of each row (levels): count:varint, ints of the `count` different instants, growing,
//        and ints of one per row: how many instants before the last one that is not after the end of its frame
//    -23 rows of each frame as they came (absent = as many as are here)
//    -24 in place of -2 where that is smaller: start of each frame - end of the one before it of its scope; of the
//    first
//        of a scope, start - its own end
//   ids above 0: chunks (column.h): a label's of one value per series, any other's of one value per row. An empty one
//     is the same bytes as the section before it (SectionStart). At levels the greatest and the newest reading of an
//     integer gauge stand as differences to the least one, the sum as the difference to count times the least one.
//
// Rows are in order of series and in it of frame. Series stand by falling number of rows, those of equal number in
// order of locate_by: then values of one kind stand together, and series of all frames, whose rows are alike, too. The
// series of the blocks of one row set are apart in locate_by. -5 to -8 are absent when all 0, -6 when all 1. The number
// of frames and series stand in the row of metrics.block.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/columns/row_set.h"

namespace pga::columns {

inline constexpr ColumnId kFrameEnd = -1;
inline constexpr ColumnId kFrameLength = -2;
inline constexpr ColumnId kFrameScope = -3;
inline constexpr ColumnId kFrameCollector = -4;
inline constexpr ColumnId kFrameFlags = -5;
inline constexpr ColumnId kFrameCount = -6;
inline constexpr ColumnId kFrameUnchanged = -7;
inline constexpr ColumnId kFrameCovered = -8;
inline constexpr ColumnId kSeriesScope = -16;
inline constexpr ColumnId kSeriesRows = -17;
inline constexpr ColumnId kRowFrame = -18;
inline constexpr ColumnId kRowFlags = -21;
inline constexpr ColumnId kRowLast = -22;
inline constexpr ColumnId kFrameRowsSent = -23;
inline constexpr ColumnId kFrameGap = -24;

// Most series of one block.
inline constexpr uint32_t kMaxBlockSeries = 1000;

struct Block {
  std::vector<ColumnId> ids;
  std::vector<int32_t> offsets;
  std::string data;
  // 0 for the first block of a row set, 1.. for those with further series of it. Frames count in part 0 alone.
  int32_t part = 0;
  int32_t frames = 0;
  int32_t series = 0;
  int64_t rows = 0;
  int64_t unchanged_rows = 0;
  int64_t starts_us = 0;
  int64_t first_us = 0;
  int64_t last_us = 0;
  // Least and greatest key (LocateKey) of its series; empty when the metric has no locate_by.
  std::string locate_min;
  std::string locate_max;
};

// Place of the section whose bytes section `at` of a block has: its own, or that of the last one before that is not
// empty. `offsets` grow.
size_t SectionStart(const std::vector<ColumnId>& ids, const std::vector<int32_t>& offsets, size_t at);

// A value of the locate_by label as bytes that sort as the values do: integers as 8 big-endian bytes with the sign bit
// inverted, texts as their first 32 bytes; a NULL label is empty.
std::string LocateKey(const Column& label, size_t row);
std::string LocateKey(int64_t value);
std::string LocateKey(std::string_view text);

// Blocks of at most `max_series` series each, cut in the order of `rows`; one without series when there are frames
// alone, none without frames.
std::vector<Block> EncodeBlocks(const Shape& shape, const RowSet& rows, uint32_t max_series = kMaxBlockSeries);

// What was fetched of a block: sections by id; those that were not fetched are left out.
struct BlockBytes {
  std::vector<ColumnId> ids;
  std::vector<std::string_view> sections;
  int32_t frames = 0;
  int32_t series = 0;
  int64_t rows = 0;
};

// Ids a reader fetches besides the columns it wants: all that say which series and frame a row belongs to.
const std::vector<ColumnId>& StructureIds();
// Those that describe frames alone, without rows.
const std::vector<ColumnId>& FrameIds();

// Opens what was fetched: frames always; series and rows when their structure is there. Columns of `shape` whose
// sections are missing are left out; of an integer gauge at a level kMin and kCount must be there with any other of its
// columns. INVALID_ARGUMENT for bytes that are not what they should be; takes no more memory
// than 16 bytes a value that the counts allow. What `rows` held goes, and its memory is used again. Counts are checked
// against `kMaxOpenRows`.
inline constexpr int64_t kMaxOpenRows = 4'000'000;
absl::Status OpenBlock(const Shape& shape, const BlockBytes& block, RowSet* rows);

// Which frames of a block count.
struct FrameUse {
  enum Part : uint8_t { kNone, kWhole, kPart };
  // One per frame.
  std::vector<Part> parts;
  // Of the frames with kPart the time that counts (ShareBefore).
  std::vector<std::pair<int64_t, int64_t>> spans;
};

// Sums of integers per series of a block, over the rows of the frames that count.
struct SeriesSums {
  // One per series: some row counts that has a value or kUnknownFlag; only then the rest says anything.
  std::vector<uint8_t> present;
  // Joined flags of these rows, kInterpolatedFlag for parts of frames; without kGoneFlag.
  std::vector<uint8_t> flags;
  // Per column: one sum per series, and whether there is a value.
  struct Sums {
    std::vector<__int128> sums;
    std::vector<uint8_t> known;
  };
  std::vector<Sums> columns;

  // Of use to one call after the other.
  Column values;
  std::vector<int64_t> counts, counted, gaps;
  std::vector<uint8_t> row_flags, absent;
  std::vector<uint32_t> row_frame, found;
  // FrameUse::Part of each row's frame; empty = all count. And the rows of frames with kPart.
  std::vector<uint8_t> row_counts;
  std::vector<uint32_t> cut_rows;
};

// Of which series more is said than their sums.
enum class SumKind : uint8_t {
  kAll,
  // Only of those with a sum that is not 0, of these no flags, and a sum of 0 as not known: all that an order by sums
  // wants.
  kOthersThanZero,
};

// As OpenBlock, with the rows added up while they are decoded: `rows` has frames (without FrameInfo::rows), series and
// labels, and no row. `choose` is asked once the frames are known. False when this block has to be opened row by row:
// when `choose` says so, or `shape` has values that are no integers of `columns`.
absl::StatusOr<bool> SumBlock(const Shape& shape, const BlockBytes& block, const std::vector<ColumnId>& columns,
                              const std::function<bool(const std::vector<FrameInfo>&, FrameUse*)>& choose, RowSet* rows,
                              SeriesSums* sums, SumKind kind = SumKind::kAll);

}  // namespace pga::columns
