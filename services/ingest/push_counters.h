// Frames of pushed readings. A push has absolute counters; what is stored of a counter is its increase since the
// reading before, which is kept as bytes (metrics.push_reading) and written in the transaction that stores the frames,
// so that repeats and restarts neither lose nor double anything.
//
// Increases are never too high. The first reading is a key frame alone. Afterwards:
//   a counter that went up               -> the difference
//   one that went down                   -> it began anew: the reading itself, LOWER_BOUND. NULL where the row was
//                                           added up of another number of rows before, because one of them may be
//                                           missing now
//   a row that was not there             -> all it has, where the reading before had every row; else it may have been
//                                           below the ones that are sent: NULL, UNKNOWN
//   a row that is not there any more     -> GONE where every row is sent; else it is kept, and its increase is known
//                                           when it comes back
// Rows of the same labels are the same. Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "pganalytics/ingest/v1/frame.pb.h"
#include "services/ingest/push_reader.h"

namespace pga::ingest {

// What one reading means.
struct PushStep {
  // source_id is the caller's to set.
  std::vector<pganalytics::ingest::v1::Frame> frames;
  // A row of the increase has LOWER_BOUND.
  bool some_lower_bound = false;
  // Differs from the reading's own instant when both readings are of one second.
  int64_t collected_us = 0;
};

class PushCounters {
 public:
  // Nothing has been read.
  PushCounters() = default;
  // INVALID_ARGUMENT for bytes that are no state.
  static absl::StatusOr<PushCounters> Parse(std::string_view bytes);
  std::string Serialize() const;

  // The frames of a reading; the state is that after it. `newest_us` is the instant of the reading before, 0 = there is
  // none. FAILED_PRECONDITION when it is older than the reading before.
  absl::StatusOr<PushStep> Advance(const PushReading& reading, int64_t newest_us);

 private:
  struct Series {
    std::vector<PushCell> labels;
    // By the counter's name, so that a catalog may get more of them.
    std::map<std::string, int64_t> counters;
    int32_t merged = 1;
    int64_t seen_us = 0;
  };
  using Frames = std::vector<pganalytics::ingest::v1::Frame>;
  absl::Status AddKeyframe(const PushReading& reading, int64_t at_us, Frames* frames) const;
  absl::Status AddIncrease(const PushReading& reading, int64_t newest_us, PushStep* step);
  // Leaves out the rows that the reading before ended with.
  void CutTail(PushReading* reading);
  void Forget(int64_t now_us);

  bool begun_ = false;
  // Every row was in the last reading.
  bool whole_ = false;
  int64_t keyframe_us_ = 0;
  std::map<std::string, Series> series_;
  // Of the rows of a log that were read last.
  std::vector<uint64_t> tail_;
};

}  // namespace pga::ingest
