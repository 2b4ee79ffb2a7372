// Where the counters of one metric and scope stand by what is stored: the newest key frame, and the increases since.
// When a source gets a new owner, its first key frame is compared with this state: what is more in it than in the state
// happened between the last stored reading and the key frame, whoever was to collect it
// (docs/adr/2026-11-28-sources.md).
//
// Increases are never too high: where a counter may have begun anew unseen the row is marked LOWER_BOUND, and where
// nothing can be said it is NULL. The rules are those of the collector (services/collector/delta_engine.h).
//
// Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "libs/columns/row_set.h"
#include "libs/frame/frame_reader.h"
#include "pganalytics/catalog/v1/catalog.pb.h"
#include "pganalytics/ingest/v1/frame.pb.h"

namespace pga::storage {

class CounterState {
 public:
  // `metric` outlives the state.
  explicit CounterState(const pganalytics::catalog::v1::Metric* metric);

  // Columns that Apply needs.
  std::vector<columns::ColumnId> Columns() const;

  // Brings the state to the newest of these stored frames: the parts of the key frame of the instant `keyframe_us`,
  // then the frames of `deltas` with later ones. Other key frames and other scopes are passed over.
  void Apply(const std::vector<columns::RowSet>& keyframes, const std::vector<columns::RowSet>& deltas, int64_t scope,
             int64_t keyframe_us);

  // The newest instant that is stored, microseconds; that of the key frame if nothing came after it, 0 if there was no
  // such key frame.
  int64_t newest_us() const { return newest_us_; }

  std::string Serialize() const;
  // INVALID_ARGUMENT for bytes that are not a state of this metric.
  absl::Status Parse(std::string_view bytes, int64_t newest_us);

  // The increase from the state to an opening key frame or one part of it, as a delta frame of the same part.
  // `before` is the run of the key frame that the state comes from. Empty when nothing can be claimed: another run of
  // the server's statistics.
  absl::StatusOr<std::vector<pganalytics::ingest::v1::Frame>> IncreaseTo(
      const frame::FrameReader& opening, const pganalytics::ingest::v1::CounterRun& before) const;

 private:
  struct Series {
    std::string labels;
    // One per counter column; those not `known` are 0.
    std::vector<int64_t> counters;
    std::vector<uint8_t> known;
    int64_t reset_us = 0;
    // Some increase was a lower bound: counters are at most what is said here.
    bool uncertain = false;
  };
  struct At;

  void ApplyKeyframe(const columns::RowSet& rows, int64_t scope, int64_t keyframe_us);
  void ApplyRow(const At& at, int flags);

  const pganalytics::catalog::v1::Metric* metric_;
  std::vector<int> labels_, identity_, counters_;
  int reset_column_ = -1;
  int64_t newest_us_ = 0;
  absl::flat_hash_map<std::string, Series> series_;
};

// Whether counters read in run `now` continue those of `before`.
bool ContinuesRun(const pganalytics::ingest::v1::CounterRun& before, const pganalytics::ingest::v1::CounterRun& now);

}  // namespace pga::storage
