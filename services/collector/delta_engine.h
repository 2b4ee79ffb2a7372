// Exact deltas from readings of monotonic counters: pure code without I/O or clocks. One Baseline per (source, metric,
// scope) holds the last reading that is safe on disk; Advance() compares a new reading with it and says what to send
// and what the next baseline is. The caller makes the next baseline current only once its frames are fsynced, so that
// the sum of all deltas telescopes exactly whatever is lost on the way.
//
// What can be trusted, in this order:
//   no baseline, or one of another ownership epoch
//                                    -> key frame only, marked as opening: ingest knows what is stored of others
//   another epoch (other server, other timeline, statistics not continued over a restart)
//                                    -> key frame only; no increase is claimed
//   the row's reset column changed   -> everything read happened since: the reading itself, marked lower_bound
//   likewise, where it may tell of a part of what the row counts, or one of the view's objects was reset and it is not
//   known which                      -> a counter that went backwards began anew: the reading itself; of the others no
//                                       more than the difference is sure; all marked lower_bound
//   a counter went backwards         -> a reset that the view cannot show: unknown; the reading itself, marked
//                                       lower_bound, where entries were thrown out; the row's other counters are
//                                       marked lower_bound
//   likewise, on a host              -> counters of a host end with the boot alone, so it is a dip of the kernel's
//                                       (proc(5)): no increase
//   likewise, of a position          -> the position was read elsewhere: no increase until it passes the highest one
//   an object that was not there     -> it started since: the reading itself, marked lower_bound where entries were
//                                       thrown out or reset since, because it may have been there and been among them
//   otherwise                        -> reading - baseline
// Objects are matched by the metric's identity columns where it has them (a renamed table goes on, one that was dropped
// and made again under its name starts anew), else by their labels. A counter that is NULL keeps its place in the
// baseline: the next reading covers the time between.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "libs/frame/limits.h"
#include "pganalytics/ingest/v1/frame.pb.h"
#include "services/collector/reading.h"

namespace pga::collector {

namespace ingestpb = ::pganalytics::ingest::v1;

// Which run of a server's statistics a reading belongs to. 0 = not known. Times are microseconds since 1970.
struct Epoch {
  int64_t system_identifier = 0;
  int64_t timeline = 0;
  // backend_start of the checkpointer: changes with every start and every crash of a backend.
  int64_t checkpointer_start_us = 0;
  // stats_reset of pg_stat_bgwriter: survives a clean restart, changes when statistics are lost in a crash.
  int64_t statistics_reset_us = 0;
  // The login lacks the role that lets it see every row. Rows that a GRANT brings to light did not begin then.
  bool partial = false;

  friend bool operator==(const Epoch&, const Epoch&) = default;
};

// Whether counters read in epoch `now` continue those of `before`: the same server on the same timeline, and either no
// restart in between or one that kept the statistics.
bool Continues(const Epoch& before, const Epoch& now);

// The time of a reading in microseconds, as of the millisecond that it is in: what is finer says nothing of a reading
// that takes longer, and would be most of what an instant takes where it is stored.
inline int64_t TimeOfReading(absl::Time now) {
  return absl::ToUnixMillis(now) * 1'000;
}

// Circumstances of one reading.
struct Observation {
  // Wall clock (TimeOfReading).
  int64_t collected_at_us = 0;
  // The same instant as clock::Clock::BoottimeNanos, which tells how long an interval was when the wall clock was set
  // within it. 0 = not known: it means nothing after a restart of the process and is not stored.
  int64_t boot_nanos = 0;
  Epoch epoch;
  // Ownership epoch of the source, as registry granted it: another one begins with a key frame.
  int64_t owner_epoch = 0;
  // Reset of the whole view, where it has one (pg_stat_statements_info.stats_reset); 0 = none or not known.
  int64_t view_reset_us = 0;
  // Entries thrown out for lack of room so far (pg_stat_statements_info.dealloc); 0 where not known.
  int64_t evictions = 0;
  // Entries were thrown out while the view was read; `evictions` is then what it was before.
  bool evicting = false;
  // When any of the view's objects was last reset, where the server does not tell which (pg_stat_database.stats_reset
  // of tables and indexes); 0 = never or not known.
  int64_t objects_reset_us = 0;
  // Objects were reset while the view was read; `objects_reset_us` is then what it was before.
  bool resetting = false;
  // A reading without counters speaks of the time from here on at least, even if that is before the last reading: when
  // the oldest entry of a log was written. At most kMostSpokenUs back. 0 = as far as readings do.
  int64_t speaks_from_us = 0;
};
inline constexpr int64_t kMostSpokenUs = int64_t{30} * 24 * 3600 * 1000000;

// The last durable reading of one (source, metric, scope). Immutable once made; safe to share between threads.
class Baseline {
 public:
  struct Row {
    std::string_view key;     // the identity, else the labels
    std::string_view labels;  // empty if the key is the labels
    const int64_t* counters;  // one per counter column
    uint64_t null_counters;   // bit i: counter i was never read
    int64_t reset_us;         // value of the reset column, 0 = NULL
    uint64_t others_hash;     // over gauges and infos
  };

  Baseline(const Baseline&) = delete;
  Baseline& operator=(const Baseline&) = delete;

  // Grows by one with every reading; patches apply to the generation before their own.
  uint64_t generation() const { return generation_; }
  int64_t collected_at_us() const { return observation_.collected_at_us; }
  const Observation& observation() const { return observation_; }
  // When the last key frame (or full frame of a metric without counters) was taken.
  int64_t keyframe_at_us() const { return keyframe_at_us_; }
  size_t rows() const { return key_ends_.size(); }
  Row row(size_t i) const;
  // Index of a key, or -1.
  int64_t Find(std::string_view key) const;
  const std::vector<std::string>& counter_names() const { return counter_names_; }

  // The whole baseline as bytes, and back. INVALID_ARGUMENT / DATA_LOSS for bytes that are not one.
  std::string Serialize() const;
  static absl::StatusOr<std::shared_ptr<const Baseline>> Parse(std::string_view bytes);

  // The change from `before` (may be null) to this one, and its application. Apply returns FAILED_PRECONDITION if the
  // patch belongs to another generation: a record in between is missing, the baseline must be dropped.
  std::string PatchFrom(const Baseline* before) const;
  static absl::StatusOr<std::shared_ptr<const Baseline>> Apply(const Baseline* before, std::string_view patch);

 private:
  friend class BaselineBuilder;
  Baseline() = default;

  uint64_t generation_ = 0;
  Observation observation_;
  int64_t keyframe_at_us_ = 0;
  std::vector<std::string> counter_names_;
  std::string keys_;
  std::vector<uint32_t> key_ends_;
  std::string labels_;
  std::vector<uint32_t> label_ends_;
  std::vector<int64_t> counters_;
  std::vector<uint64_t> null_counters_;
  std::vector<int64_t> resets_;
  std::vector<uint64_t> others_;
  absl::flat_hash_map<absl::string_view, uint32_t> index_;
};

// The daily key frame is taken in this first piece of the UTC day.
inline constexpr int64_t kKeyframeWindowUs = int64_t{600} * 1000000;

struct DeltaOptions {
  // Distance of the metric's readings.
  int64_t interval_us = int64_t{60} * 1000000;
  // A reading of a metric without counters speaks for the time since the one before, at most for so long.
  int64_t reach_us = int64_t{120} * 1000000;
  // When in kKeyframeWindowUs the daily key frame is due; readings that are too far apart to meet both take the first
  // one of the day.
  int64_t keyframe_offset_us = 0;
  // Least distance of key frames that were caused by evictions alone.
  int64_t eviction_keyframe_every_us = int64_t{3600} * 1000000;
  frame::PartLimits parts;
};

// The options of a metric of which readings are taken every interval_factor x `base_interval_us`. Its daily key frame
// has its own place in the window, which follows from the tracker's name.
DeltaOptions OptionsOf(const MetricShape& shape, std::string_view tracker, int64_t base_interval_us);

// How long counters wait for a clock that was set back to pass the last reading again.
inline constexpr int64_t kClockPatienceUs = int64_t{300} * 1000000;
// What a clock may be corrected by before an interval's length is taken from CLOCK_BOOTTIME instead: intervals that
// touch are better than intervals that are right by a moment.
inline constexpr int64_t kClockToleranceUs = 1'000'000;

// What one reading means.
struct Step {
  // At most a delta and a key frame, each in as many parts as it takes; source_id and scope_id are the caller's to set.
  std::vector<ingestpb::Frame> frames;
  std::shared_ptr<const Baseline> next;
  // next->PatchFrom(before).
  std::string patch;
  // Rows whose increase is a lower bound.
  int64_t resets_seen = 0;
  bool epoch_changed = false;
};

// Compares `reading` with the last durable one. `before` may be null. INVALID_ARGUMENT when two rows have the same
// labels, RESOURCE_EXHAUSTED beyond the parts that a frame may have, UNAVAILABLE when the clock was set back to before
// the last reading by less than kClockPatience; the baseline stands then, and the next reading covers the time. A clock
// that went back further starts an epoch. Thread-safe.
absl::StatusOr<Step> Advance(const Baseline* before, const Reading& reading, const Observation& observation,
                             const DeltaOptions& options = DeltaOptions());

// Adds row `row` of a baseline to a reading of the same metric: its labels, and the counters that the metric still has.
// For counters that the collector keeps itself, which go on after a restart from what is durable.
void AddBaselineRow(const Baseline& baseline, size_t row, Reading* reading);

// How long the baseline of a tracker that is not read any more is kept.
inline constexpr int64_t kBaselineAgeUs = int64_t{7} * 24 * 3600 * 1000000;

// Erases from a map by tracker those whose last reading is older than the newest one of all by more than
// kBaselineAgeUs: databases and metrics that are no more. `baseline_of(entry)` is null for entries that stay.
template <typename Map, typename BaselineOf>
void EraseOldTrackers(Map* trackers, BaselineOf baseline_of) {
  int64_t newest = 0;
  for (const auto& entry : *trackers) {
    if (const Baseline* baseline = baseline_of(entry)) newest = std::max(newest, baseline->collected_at_us());
  }
  std::erase_if(*trackers, [&](const auto& entry) {
    const Baseline* baseline = baseline_of(entry);
    return baseline != nullptr && baseline->collected_at_us() < newest - kBaselineAgeUs;
  });
}

// Baselines of all trackers of a process as the spool keeps them. Not thread-safe.
class BaselineStore {
 public:
  const std::map<std::string, std::shared_ptr<const Baseline>>& all() const { return baselines_; }
  std::shared_ptr<const Baseline> Find(const std::string& tracker) const;
  void Set(const std::string& tracker, std::shared_ptr<const Baseline> baseline);
  void Erase(const std::string& tracker) { baselines_.erase(tracker); }
  // Applies a patch; drops the tracker's baseline and returns the reason if it does not fit.
  absl::Status ApplyPatch(const std::string& tracker, std::string_view patch);

  void EraseOld();

  std::string Serialize() const;
  // Replaces the content. Baselines that cannot be read are left out and counted.
  static absl::StatusOr<BaselineStore> Parse(std::string_view bytes, int* dropped);

 private:
  std::map<std::string, std::shared_ptr<const Baseline>> baselines_;
};

// Name of a tracker: source id (16 bytes), scope, metric.
std::string TrackerKey(std::string_view source_id, int64_t scope_id, std::string_view metric);

}  // namespace pga::collector
