// One collector's stream: Hello, batches in, acknowledgements out. Lives in a shared_ptr apart from the reactor,
// because a commit may end after the call has: writers and pool threads hold the session, the session points at the
// reactor only until OnDone. Knows nothing of gRPC; the reactor is a StreamSink.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/thread_pool.h"
#include "libs/metrics/registry.h"
#include "libs/retry/rate_limiter.h"
#include "libs/token/principal.h"
#include "libs/token/revocation_set.h"
#include "pganalytics/ingest/v1/ingest_service.pb.h"
#include "services/ingest/batch_preparer.h"
#include "services/ingest/flow_budget.h"
#include "services/ingest/ingest_store.h"
#include "services/ingest/source_directory.h"
#include "services/ingest/write_queue.h"

namespace pga::ingest {

// The call as the session drives it. Every call returns at once; answers come as On...Done. The session calls under its
// lock, one read and one write at a time, nothing after Finish.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  virtual void StartRead(pganalytics::ingest::v1::StreamBatchesRequest* message) = 0;
  virtual void StartWrite(const pganalytics::ingest::v1::StreamBatchesResponse* message) = 0;
  virtual void Finish(const absl::Status& status) = 0;
  // Breaks the call off: outstanding reads and writes end without success.
  virtual void Cancel() = 0;
};

class StreamSession;

// Every stream of this process, and the newest session of every collector. Thread-safe.
class SessionRegistry {
 public:
  // False when `max_streams` are open already.
  bool Add(const std::shared_ptr<StreamSession>& session, size_t max_streams);
  // Makes `session` the collector's, unless one of a greater number is. Returns the one that is not or no longer: the
  // former one, `session` itself, or null.
  std::shared_ptr<StreamSession> Replace(const std::string& collector_id, int64_t number,
                                         const std::shared_ptr<StreamSession>& session);
  // Counts a Hello of the collector that waits or is being answered; false when there are `most` already.
  bool BeginHello(const std::string& collector_id, int most);
  void EndHello(const std::string& collector_id);
  void Remove(const std::string& collector_id, const StreamSession* session);
  // Streams that are open, those before Hello included.
  std::vector<std::shared_ptr<StreamSession>> All() const;
  size_t size() const;

 private:
  mutable absl::Mutex mutex_;
  struct Newest {
    int64_t number = 0;
    std::weak_ptr<StreamSession> session;
  };
  absl::flat_hash_map<std::string, Newest> sessions_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, int> hellos_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<const StreamSession*, std::weak_ptr<StreamSession>> streams_ ABSL_GUARDED_BY(mutex_);
};

struct SessionInstruments {
  explicit SessionInstruments(metrics::Registry* registry);
  metrics::Gauge& streams;
  metrics::Counter& hellos;
  metrics::Counter& batches;
  metrics::Counter& bytes;
  metrics::Counter& rejects;
  metrics::Counter& fenced;
  metrics::Counter& went_back;
  metrics::Counter& forked;
  metrics::Counter& stale;
  metrics::Counter& moved;
  metrics::Counter& hellos_refused;
  metrics::Counter& hellos_dropped;
  metrics::Counter& dropped;
  metrics::Histogram& ack_seconds;
};

// What all sessions share. Nothing is owned; everything outlives the sessions.
struct SessionContext {
  // Batches that a collector may have unacknowledged.
  int window = 16;
  absl::Duration hello_timeout = absl::Seconds(10);
  // Hellos of one collector that wait or are being answered; further ones are refused.
  int hellos_at_once = 4;
  // Hellos of one collector a minute; null = no limit.
  retry::RateLimiter* hello_limiter = nullptr;
  int hellos_per_minute = 60;
  IngestStore* store = nullptr;
  BatchPreparer* preparer = nullptr;
  SourceDirectory* sources = nullptr;
  WriteQueue* queue = nullptr;
  FlowBudget* budget = nullptr;
  exec::ThreadPool* decode_pool = nullptr;
  exec::ThreadPool* control_pool = nullptr;
  SessionRegistry* registry = nullptr;
  const token::RevocationSet* revocations = nullptr;  // may be null
  // Whether streams may be opened now; may be empty. Called on the control pool.
  std::function<absl::Status()> admission;
  clock::Clock* clock = nullptr;
  SessionInstruments* instruments = nullptr;  // may be null
};

// Thread-safe. No call blocks.
class StreamSession : public std::enable_shared_from_this<StreamSession> {
 public:
  // `principal` is a verified collector; `context` must outlive the session.
  StreamSession(const SessionContext* context, token::Principal principal);
  ~StreamSession();

  // Attaches the call and begins to read.
  void Start(StreamSink* sink);

  // From the reactor.
  void OnReadDone(bool ok);
  void OnWriteDone(bool ok);
  void OnCancel();
  void OnDone();

  // Ends the call with `status` after what is being written; batches under way are still committed.
  void Close(absl::Status status);
  // Reads no more, acknowledges what is under way, then ends the call with UNAVAILABLE.
  void BeginDrain();
  // Sends a newer configuration; an older or equal version than sent before is left out.
  void PushConfig(int32_t version, std::string toml);
  // To be called every few seconds: ends the stream of a revoked credential and one that never says Hello, breaks off a
  // call that cannot be finished.
  void Tick();

  const std::string& collector_id() const { return principal_.collector_id; }
  // Newest configuration version the collector has, as said in Hello or pushed since; -1 before Hello.
  int32_t config_version() const;

 private:
  using Request = pganalytics::ingest::v1::StreamBatchesRequest;
  using Response = pganalytics::ingest::v1::StreamBatchesResponse;
  enum class Phase { kAwaitHello, kOpening, kOpen };

  struct Arrival {
    pganalytics::ingest::v1::Batch batch;
    clock::SteadyTime at;
    int64_t generation = 0;
    bool reserved = false;
  };
  struct Progress {
    // Grows with every reject; answers to batches of an older generation are not news.
    int64_t generation = 0;
    // After a reject: batches beyond this number are dropped until it comes. 0 = none.
    int64_t awaited_seq = 0;
  };

  static int64_t Rows(const Arrival& arrival);
  static int64_t Bytes(const Arrival& arrival);

  // Hands a Hello to the control pool, as far as its collector may have one now.
  void TakeHello(pganalytics::ingest::v1::Hello hello) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Hello(pganalytics::ingest::v1::Hello hello);
  void ReportState(const pganalytics::ingest::v1::Hello& hello, const StreamPosition& position) const;
  void Work();
  // False: the batch waits for the budget and Work goes on when it is granted.
  bool Handle(std::unique_ptr<Arrival> arrival);
  void Granted();
  void OnResult(const std::string& stream_id, int64_t seq, int64_t generation, int64_t rows, int64_t bytes,
                clock::SteadyTime arrived, const storage::BatchResult& result);

  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Schedule() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool NextResponse() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Ends the call so that the collector says Hello again, and forgets the numbers that were wrong.
  void CloseStale() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Reject(const std::string& stream_id, int64_t seq, int64_t generation,
              pganalytics::ingest::v1::RejectReason reason, int64_t expected_seq, const absl::Status& why,
              absl::Duration retry_after) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Settled(int64_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { unsettled_ -= count; }

  const SessionContext* const context_;
  const token::Principal principal_;

  mutable absl::Mutex mutex_;
  StreamSink* sink_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kAwaitHello;
  BatchOrigin origin_ ABSL_GUARDED_BY(mutex_);
  Request incoming_;   // being read while reading_
  Response outgoing_;  // being written while writing_
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool read_ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  bool working_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> closing_ ABSL_GUARDED_BY(mutex_);
  clock::SteadyTime closing_since_ ABSL_GUARDED_BY(mutex_);
  const clock::SteadyTime started_ = clock::SteadyNow();
  int64_t unsettled_ ABSL_GUARDED_BY(mutex_) = 0;  // batches read and not settled; unsent rejects count besides
  std::deque<std::unique_ptr<Arrival>> inbox_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Arrival> parked_ ABSL_GUARDED_BY(mutex_);  // waits for the budget
  absl::flat_hash_map<std::string, Progress> progress_ ABSL_GUARDED_BY(mutex_);
  std::optional<pganalytics::ingest::v1::HelloAck> hello_ack_ ABSL_GUARDED_BY(mutex_);
  std::deque<pganalytics::ingest::v1::Reject> rejects_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, pganalytics::ingest::v1::Ack> acks_ ABSL_GUARDED_BY(mutex_);
  std::optional<pganalytics::ingest::v1::ConfigUpdate> config_ ABSL_GUARDED_BY(mutex_);
  int32_t config_version_ ABSL_GUARDED_BY(mutex_) = -1;
};

}  // namespace pga::ingest
