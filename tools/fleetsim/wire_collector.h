// One collector of a simulated fleet: the collector's own spool, writer, outbox and ingest client around the frames of
// a source model.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/catalog/catalog.h"
#include "libs/metrics/registry.h"
#include "services/collector/config.h"
#include "services/collector/ingest_client.h"
#include "services/collector/outbox.h"
#include "services/collector/ownership.h"
#include "services/collector/ownership_client.h"
#include "services/collector/spool.h"
#include "services/collector/spool_writer.h"
#include "tools/fleetsim/model.h"
#include "tools/fleetsim/wire.h"

namespace pga::fleetsim {

using SteadyTime = std::chrono::steady_clock::time_point;

// A frame or the texts of a source, and when it is to go into the outbox.
struct WireParcel {
  SteadyTime due;
  std::string metric;  // empty = texts
  pganalytics::ingest::v1::Frame frame;
  std::vector<pganalytics::ingest::v1::QueryText> texts;
};

// "Loop" below: to be called on the thread that runs the loop. Close before the object is destroyed.
class WireCollector {
 public:
  // Makes or opens the collector's folder. `catalog` and `loop` outlive the collector.
  static absl::StatusOr<std::unique_ptr<WireCollector>> Open(const catalog::Catalog& catalog,
                                                             const WireOptions& options,
                                                             const collector::BackendAddress& backend, int number,
                                                             boost::asio::io_context* loop);
  ~WireCollector();
  WireCollector(const WireCollector&) = delete;
  WireCollector& operator=(const WireCollector&) = delete;

  // Obtains credentials and the grant of the source, unless the folder holds both. Blocks for up to 40 s. To be called
  // before Connect, Frames and Texts.
  absl::Status Enrol();
  // Starts delivery.
  void Connect() {
    client_->Start();
    ownership_->Start();
  }
  bool connected() const { return client_->connected(); }
  // Ends delivery and writing. Repeating is safe.
  void Close();

  // Frames that end in (from, to] of the fleet's time, in order; `due` is not set. For one thread.
  absl::StatusOr<std::vector<WireParcel>> Frames(int64_t from_us, int64_t to_us) const;
  WireParcel Texts(int64_t at_us) const;

  // Loop: takes parcels in the order of their times; each goes into the outbox when its time has come.
  void Take(std::vector<WireParcel> parcels);
  // Loop: all that were taken are durable or refused, except for those that wait for company.
  bool idle() const { return waiting_.empty() && open_ == 0; }
  // Loop: what waits for company goes to the spool.
  void Flush() { outbox_->Flush(); }

  // Loop, or after the loop has ended.
  const std::map<std::string, WireCount>& sent() const { return sent_; }
  WireCount refused() const { return refused_; }
  int64_t texts() const { return texts_; }
  double behind_s() const { return behind_s_; }

  // Thread-safe.
  int64_t pending_batches() const { return spool_->stats().pending_batches; }
  int64_t written_batches() const { return spool_->stats().appended_batches; }
  // From durable to acknowledged, of batches that became durable since the start; milliseconds.
  std::vector<double> ack_ms() const;
  // Of the newest acknowledgement.
  SteadyTime last_ack() const;

 private:
  collector::OwnershipClient::Request Report() const;
  struct Stream {
    int64_t noted = 0;
    int64_t acked = 0;
    std::deque<std::pair<int64_t, SteadyTime>> durable;
  };

  WireCollector(const catalog::Catalog& catalog, const WireOptions& options, int number, boost::asio::io_context* loop)
      : catalog_(catalog), options_(options), model_(catalog, options.fleet, number), timer_(*loop) {}

  void AddDue();
  void Add(WireParcel parcel);
  void NoteDurable();
  void NoteAck(const std::string& stream_id, int64_t last_seq);

  const catalog::Catalog& catalog_;
  const WireOptions options_;
  collector::BackendAddress backend_;
  const SourceModel model_;
  collector::Grant grant_;  // not changed after Enrol
  std::string folder_;
  boost::asio::steady_timer timer_;
  std::deque<WireParcel> waiting_;
  int64_t open_ = 0;  // in the outbox or on their way to the disk
  std::map<std::string, WireCount> sent_;
  WireCount refused_;
  int64_t texts_ = 0;
  double behind_s_ = 0;

  mutable absl::Mutex mutex_;
  std::map<std::string, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  std::vector<double> ack_ms_ ABSL_GUARDED_BY(mutex_);
  SteadyTime last_ack_ ABSL_GUARDED_BY(mutex_);

  metrics::Registry metrics_{/*process_metrics=*/false};
  std::unique_ptr<collector::Spool> spool_;
  std::unique_ptr<collector::SpoolWriter> writer_;
  std::unique_ptr<collector::Outbox> outbox_;
  std::unique_ptr<collector::IngestClient> client_;
  std::unique_ptr<collector::OwnershipClient> ownership_;
};

}  // namespace pga::fleetsim
