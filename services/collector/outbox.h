// Joins the frames of a moment to batches, or spreads many over several, and hands them to the spool; baselines become
// current only when the batch that carries their frames is durable. Lives on the event loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "services/collector/delta_engine.h"
#include "services/collector/spool_writer.h"

namespace pga::collector {

// Baselines by tracker, and whether a reading is on its way to the disk. Used on the event loop alone.
class Trackers {
 public:
  struct Tracker {
    std::shared_ptr<const Baseline> baseline;
    bool pending = false;
    // Grows when the baseline is thrown away; a reading from before must not bring it back.
    int generation = 0;
  };

  explicit Trackers(const BaselineStore& recovered) {
    for (const auto& [key, baseline] : recovered.all()) trackers_[key].baseline = baseline;
  }
  Tracker& Get(const std::string& key) { return trackers_[key]; }
  // Forgets baselines that were read up to then: their metrics begin with key frames.
  void DropUpTo(int64_t collected_at_us) {
    for (auto& [key, tracker] : trackers_) {
      if (tracker.baseline == nullptr || tracker.baseline->collected_at_us() > collected_at_us) continue;
      tracker.baseline.reset();
      ++tracker.generation;
    }
  }
  // Those with a reading on its way to the disk, or without a baseline, stay.
  void EraseOld() {
    EraseOldTrackers(&trackers_,
                     [](const auto& entry) { return entry.second.pending ? nullptr : entry.second.baseline.get(); });
  }
  size_t size() const { return trackers_.size(); }

 private:
  std::unordered_map<std::string, Tracker> trackers_;
};

class Outbox {
 public:
  // Called on the event loop once the frames are durable, or refused.
  using Done = std::function<void(const absl::StatusOr<BatchId>&)>;

  struct Parcel {
    ingestpb::SourceInfo source;
    std::vector<ingestpb::Frame> frames;
    std::vector<ingestpb::QueryText> texts;
    std::vector<BaselineUpdate> baselines;
    Done done;
  };

  // Frames wait at most `linger` for company. Both pointers outlive the outbox.
  Outbox(boost::asio::io_context* loop, SpoolWriter* writer, std::chrono::milliseconds linger);

  // Takes a parcel; all of it travels in one batch, or in several that are accepted together if one cannot hold it.
  void Add(Parcel parcel);
  // Sends what waits.
  void Flush();
  // Batches handed to the spool and not yet answered.
  int in_flight() const { return in_flight_; }

 private:
  struct Open {
    SpoolBatch batch;
    std::vector<Done> done;
    size_t bytes = 0;
    int64_t rows = 0;
  };

  // Sends a parcel that is too large for one batch.
  void SubmitAlone(Parcel parcel);
  void Submit(Open batch);

  boost::asio::io_context* const loop_;
  SpoolWriter* const writer_;
  const std::chrono::milliseconds linger_;
  boost::asio::steady_timer timer_;
  Open open_;
  int in_flight_ = 0;
};

}  // namespace pga::collector
