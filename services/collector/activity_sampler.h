// Samples what the sessions of a server do and who blocks whom. Samples are counted and handed out as one reading of
// the metric `activity` when the owner says Flush; the tree of blocked sessions is handed out when it changes, and
// again from time to time while it lasts.
//
// Used on the event loop, one Sample at a time; the owner says when. What could not be stored is kept for the next
// time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "services/collector/activity.h"
#include "services/collector/blocking.h"
#include "services/collector/metric_reader.h"
#include "services/collector/outbox.h"
#include "services/collector/sent_texts.h"
#include "services/collector/source_session.h"
#include "services/collector/text_redactor.h"

namespace pga::collector {

class ActivitySampler {
 public:
  // Sends one reading of the whole server. After OK, `done` is called once on the event loop; otherwise never.
  using Publish = std::function<absl::Status(ingestpb::SourceInfo info, const Reading& reading, Observation observation,
                                             std::vector<ingestpb::QueryText> texts, Outbox::Done done)>;

  // Clock and redactor outlive the sampler; the sampler outlives what it publishes.
  ActivitySampler(clock::Clock* clock, TextRedactor* redactor, Publish publish)
      : clock_(clock), redactor_(redactor), publish_(std::move(publish)) {}
  ActivitySampler(const ActivitySampler&) = delete;
  ActivitySampler& operator=(const ActivitySampler&) = delete;

  // Either may be null: not wanted.
  void SetTasks(std::shared_ptr<MetricTask> activity, std::shared_ptr<MetricTask> blocking);
  bool enabled() const { return activity_task_ != nullptr; }
  // Samples from now on are of this source and run of the server.
  void Connected(ingestpb::SourceInfo info, const Epoch& epoch);

  // Takes one sample. Errors are those of pg::AsyncConnection.
  boost::asio::awaitable<absl::Status> Sample(SourceSession* session);
  // Hands out what was sampled since the last time.
  void Flush();

 private:
  // `pids` wait for a lock, comma-separated. `say`: the tree is published even if it is the same as before.
  boost::asio::awaitable<absl::Status> ReadBlocking(SourceSession* session, std::string pids, bool say);
  // Adds an edge as the server reports it.
  absl::Status AddEdge(const pg::AsyncRow& row, SourceSession* session, int64_t now_us,
                       std::vector<BlockingEdge>* edges);
  // The id under which the redacted text goes out, 0 for none.
  int64_t TextId(std::string_view text, SourceSession* session);
  // Texts of these edges that were not sent for a while.
  std::vector<ingestpb::QueryText> TextsOf(const std::vector<BlockingEdge>& edges);
  int64_t WallUs() const { return TimeOfReading(clock_->Now()); }
  int64_t BootNs() const { return clock_->BoottimeNanos(); }

  clock::Clock* const clock_;
  TextRedactor* const redactor_;
  const Publish publish_;
  std::shared_ptr<MetricTask> activity_task_;
  std::shared_ptr<MetricTask> blocking_task_;
  ActivityCounts counts_;
  std::optional<ingestpb::SourceInfo> info_;
  Epoch epoch_;
  BlockingTree tree_;
  // When the tree was last published by this process; 0 = never.
  int64_t tree_said_ns_ = 0;
  // Redacted texts of the last sample by id, and those that went out within the hour.
  std::map<int64_t, std::string> texts_;
  SentTexts texts_sent_{int64_t{3600} * 1'000'000'000};
};

}  // namespace pga::collector
