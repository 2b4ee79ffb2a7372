// What sources sent of every metric in a range, from the counts that frames and blocks carry; only blocks that hold an
// edge of the range are looked into.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/kept_answer.h"

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

// Of all sources in the last 24 hours, for the questions that show it: one answer for all of them, kept as long as
// KeptAnswer says and at most a minute. Thread-safe.
class SentInLastDay {
 public:
  using Answer = std::shared_ptr<const std::vector<SentFrames>>;
  // The clock must outlive this.
  explicit SentInLastDay(clock::Clock* clock) : clock_(clock), kept_(clock, kLongestKept) {}

  absl::StatusOr<Answer> Get(pg::ReadTransaction& tx, clock::SteadyTime deadline);

 private:
  clock::Clock* const clock_;
  KeptAnswer<Answer> kept_;
};

}  // namespace pga::storage
