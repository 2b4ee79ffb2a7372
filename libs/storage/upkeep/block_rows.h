// Rows of metrics.block: made of row sets, written by COPY, and taken out again by DELETE ... RETURNING.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/columns/block.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/upkeep/metric_table.h"

namespace pga::storage {

// What all blocks of a piece have in common.
struct PieceKey {
  int32_t expires_on = 0;
  int32_t source_id = 0;
  int16_t metric_id = 0;
  int16_t level = 0;
  int16_t kind = 1;
  bool long_frames = false;
};

// Blocks that wait for being written, as bytes of a binary COPY.
class BlockCopy {
 public:
  BlockCopy();
  // Appends the blocks of `rows`; nothing when it has no frames.
  void Add(const PieceKey& key, const columns::Shape& shape, const columns::RowSet& rows);

  int64_t blocks() const { return blocks_; }
  int64_t bytes() const { return static_cast<int64_t>(copy_.size()); }
  // Days on which the added blocks expire, each once.
  const std::vector<int32_t>& expiry_days() const { return expiry_days_; }

  // Writes all in the open transaction; INTERNAL when the server stored another number. `half_way`, if set, is called
  // when half of the bytes are sent.
  absl::Status Write(pg::CopyConnection& connection, const std::function<void()>& half_way, clock::SteadyTime deadline);

 private:
  std::string copy_;
  int64_t blocks_ = 0;
  std::vector<int32_t> expiry_days_;
};

// DELETE of the blocks that `condition` names; each opened block goes to `sink`. In part > 0 the figures of frames are
// 0, so that adding up the parts of a piece counts each frame once. INVALID_ARGUMENT, after which only rolling back
// helps, for a block that cannot be opened.
absl::Status TakeBlocks(pg::CopyConnection& connection, const columns::Shape& shape, const std::string& condition,
                        const std::function<void(const columns::RowSet&)>& sink, clock::SteadyTime deadline);

}  // namespace pga::storage
