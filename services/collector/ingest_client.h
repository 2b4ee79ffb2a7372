// Delivers the spool to ingest over one bidirectional stream, exactly once: Hello, window, resend from the server's
// watermark, forks, renewal of credentials. Runs on a thread of its own; gRPC's callback threads only leave notes.
// Rules: docs/delivery.md.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/log/log.h"
#include "libs/metrics/registry.h"
#include "pganalytics/ingest/v1/ingest_service.pb.h"
#include "services/collector/config.h"
#include "services/collector/credentials.h"
#include "services/collector/spool.h"
#include "services/collector/spool_writer.h"

namespace grpc {
class Channel;
}
namespace pga::rpc {
class Canceller;
}

namespace pga::collector {

struct IngestClientOptions {
  BackendAddress backend;
  std::string ca_file;
  bool tls_verify = true;
  log::Secret registration_secret;
  std::string collector_id;
  std::string collector_name;
  std::string catalog_version;
  std::string state_dir;
  int32_t config_version = 0;
  absl::Duration first_backoff = absl::Milliseconds(500);
  absl::Duration max_backoff = absl::Seconds(60);
  // Without an acknowledgement for this long while batches are out, the connection is made anew.
  absl::Duration ack_timeout = absl::Seconds(90);
  // When this process began, microseconds.
  int64_t started_at_us = 0;
};

// Called on the delivery thread; must not block.
struct IngestEvents {
  // Everything up to last_seq of the stream is stored.
  std::function<void(const std::string& stream_id, int64_t last_seq)> on_ack;
  // The server lost batches it had acknowledged, or the numbers of batches changed.
  std::function<void()> on_history_changed;
  // The server holds more of a stream than the spool ever wrote: the spool is an older state of this disk, and so are
  // the baselines that were read up to then (microseconds). Returns once no reading will be compared with them any more
  // and all that were have been handed to the writer; an error makes the client try again.
  std::function<absl::Status(int64_t up_to_us)> on_rolled_back;
  std::function<void(int32_t version, const std::string& toml)> on_config;
};

class IngestClient {
 public:
  // All pointers outlive the client.
  IngestClient(IngestClientOptions options, Spool* spool, SpoolWriter* writer, metrics::Registry* metrics,
               IngestEvents events);
  // Stops.
  ~IngestClient();
  IngestClient(const IngestClient&) = delete;
  IngestClient& operator=(const IngestClient&) = delete;

  void Start();
  // There is something new in the spool. Thread-safe, does not block.
  void Wake();
  // Ends the stream and joins the thread; what is out is resent by the next start. Repeating is safe.
  void Stop();

  bool connected() const { return connected_; }
  // The connection and the token it is used with; no channel before the first one. Thread-safe.
  struct Access {
    std::shared_ptr<grpc::Channel> channel;
    std::string token;
  };
  Access access() const;

 private:
  class Session;
  struct Streaming;

  void Run();
  absl::Status Connect();
  absl::Status Stream();
  absl::Status SendHello(Session* session, Streaming* state);
  absl::Status Handle(const ingestpb::StreamBatchesResponse& response, Streaming* state);
  absl::Status HandleReject(const ingestpb::Reject& reject, Streaming* state);
  void Fork(const std::string& stream_id, int64_t from_seq, Streaming* state);
  // The server holds other or more bytes of the stream than the spool: its batches are offered one by one, so that each
  // is known to be stored or not.
  absl::Status Suspect(const std::string& stream_id, int64_t server_seq, Streaming* state);
  absl::Status NoteAck(const std::string& stream_id, int64_t server_seq, const std::string& last_hash,
                       Streaming* state);
  // The next batch to send: live first, then sealed ones, oldest first. NOT_FOUND if there is none.
  absl::StatusOr<ingestpb::Batch> PickNext(Streaming* state);
  bool WaitFor(absl::Duration duration);

  const IngestClientOptions options_;
  Spool* const spool_;
  SpoolWriter* const writer_;
  const IngestEvents events_;
  // Ends a question for credentials when the client stops.
  const std::unique_ptr<rpc::Canceller> canceller_;
  Credentials credentials_;
  std::shared_ptr<grpc::Channel> channel_;
  // The next attempt goes with the token alone; how often such an attempt was refused in a row.
  bool leave_out_certificate_ = false;
  int refused_without_certificate_ = 0;
  // Streams of which the server holds more than the spool, and how much, that have been dealt with.
  std::map<std::string, int64_t> rolled_back_;
  std::atomic<int32_t> config_version_{0};
  std::atomic<bool> connected_{false};

  mutable absl::Mutex mutex_;
  Access access_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  bool news_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;

  metrics::Counter& sent_;
  metrics::Counter& acked_;
  metrics::Counter& sent_bytes_;
  metrics::Counter& reconnects_;
  metrics::Counter& forks_;
  metrics::Counter& gaps_;
  metrics::Counter& rejects_;
  metrics::Counter& replayed_;
  metrics::Counter& renewals_;
  metrics::Gauge& up_;
  metrics::Gauge& clock_offset_;
};

}  // namespace pga::collector
