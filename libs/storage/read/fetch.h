// Brings the stored rows that a question names into memory, one frame or block at a time: of frames and blocks, in one
// statement, so that what is merged meanwhile is neither missed nor doubled; of blocks only the columns, series and
// spans that are wanted.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/columns/block.h"
#include "libs/columns/kernels.h"
#include "libs/columns/row_set.h"
#include "libs/pg/read_pool.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::storage {

// Intervals that are apart by less touch, in microseconds: clocks are corrected by so much
// (services/collector/delta_engine.h).
inline constexpr int64_t kTouchMicros = 1'000'000;

struct FetchSpec {
  // May be null, and `metric_ids` more than one, when frames_only.
  const ::pganalytics::catalog::v1::Metric* metric = nullptr;
  std::vector<int16_t> metric_ids;
  std::vector<int32_t> source_ids;
  // Columns of raw rows and of buckets that are wanted; the rest is not brought.
  std::vector<columns::ColumnId> raw;
  std::vector<columns::ColumnId> buckets;
  // Frames alone, without any row.
  bool frames_only = false;
  // Which kinds of frames; buckets come with deltas.
  bool deltas = true;
  bool keyframes = false;
  // Where: every piece of time is fetched from its level, and from the frames that are in no block yet. Rows around
  // the cells come along.
  const columns::Cells* cells = nullptr;
  // Only series whose locate_by label has one of these keys (columns::LocateKey); nullopt = all. Blocks without such a
  // series come with their frames alone, and only the first of each row set.
  struct Located {
    // 0 = any.
    int32_t source_id = 0;
    std::string key;
  };
  std::optional<std::vector<Located>> located;
  // Blocks without a located series do not come at all.
  bool located_only = false;
  // Of a row set that is several blocks only the first; its frames say of how many rows they are in all blocks.
  bool first_parts = false;
  // RowSet::row_last_us is wanted; else it holds zeros.
  bool instants = false;
  // Rows in order of source, keyframes before deltas; else in any order.
  bool by_source = false;
  // Blocks come summed where their sums per series are all that these want to know of them.
  const columns::CounterSums* sums = nullptr;
  columns::SumKind sum_kind = columns::SumKind::kAll;
};

// What was fetched at a time. At raw, a frame with FrameInfo::frames == 0 is a further part of another one.
struct Fetched {
  int32_t source_id = 0;
  int16_t metric_id = 0;
  // columns::kQueue for frames that are in no block yet.
  int8_t level = 0;
  bool keyframes = false;
  columns::RowSet rows;
  // `rows` has no rows, and these are their sums (columns::SumBlock).
  bool summed = false;
  columns::SeriesSums sums;
};

// FAILED_PRECONDITION for rows that cannot be read; else as ReadTransaction::Query and `sink`.
absl::Status FetchRows(pg::ReadTransaction& tx, const FetchSpec& spec,
                       const std::function<absl::Status(Fetched&)>& sink);

}  // namespace pga::storage
