// What sources sent of every metric in a range, from the counts that frames and blocks carry; only blocks that hold an
// edge of the range are looked into.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/pg/read_pool.h"

namespace pga::storage {

struct SentFrames {
  int32_t source_id = 0;
  int16_t metric_id = 0;
  int64_t frames = 0;
  int64_t rows = 0;
  // Newest collected_at, microseconds since 1970.
  int64_t newest_us = 0;
};

// Frames collected in [since, until), keyframes too; several entries of one source and metric add up. Of these sources;
// nullptr = of all.
absl::StatusOr<std::vector<SentFrames>> LoadSentFrames(pg::ReadTransaction& tx, const std::vector<int32_t>* source_ids,
                                                       absl::Time since, absl::Time until);

}  // namespace pga::storage
