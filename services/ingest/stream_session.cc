#include "services/ingest/stream_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/limits.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/log/log.h"
#include "libs/status/status.h"

namespace pga::ingest {
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

using storage::BatchOutcome;
using storage::BatchResult;

constexpr int kMaxHelloStreams = 1'000;
// Streams of one call that may have been rejected; far beyond what a collector opens.
constexpr size_t kMaxProgress = 4'096;
// Batches that one turn on the decode pool handles before other streams get theirs.
constexpr int kBatchesPerTurn = 4;
// A call that is to end gets this long to take what is being written.
constexpr absl::Duration kFinishGrace = absl::Seconds(5);
constexpr absl::Duration kDefaultRetry = absl::Seconds(1);

int32_t Millis(absl::Duration duration) {
  return static_cast<int32_t>(std::clamp<int64_t>(absl::ToInt64Milliseconds(duration), 0, 3'600'000));
}

}  // namespace

std::shared_ptr<StreamSession> SessionRegistry::Replace(const std::string& collector_id, int64_t number,
                                                        const std::shared_ptr<StreamSession>& session) {
  absl::MutexLock lock(&mutex_);
  Newest& newest = sessions_[collector_id];
  std::shared_ptr<StreamSession> former = newest.session.lock();
  // Answers of the database may be looked at in another order than they were given in.
  if (former != nullptr && newest.number > number) return session;
  newest = {number, session};
  return former == session ? nullptr : former;
}

bool SessionRegistry::BeginHello(const std::string& collector_id, int most) {
  absl::MutexLock lock(&mutex_);
  int& hellos = hellos_[collector_id];
  if (hellos >= most) return false;
  ++hellos;
  return true;
}

void SessionRegistry::EndHello(const std::string& collector_id) {
  absl::MutexLock lock(&mutex_);
  const auto found = hellos_.find(collector_id);
  if (found != hellos_.end() && --found->second <= 0) hellos_.erase(found);
}

bool SessionRegistry::Add(const std::shared_ptr<StreamSession>& session, size_t max_streams) {
  absl::MutexLock lock(&mutex_);
  if (streams_.size() >= max_streams) return false;
  streams_[session.get()] = session;
  return true;
}

void SessionRegistry::Remove(const std::string& collector_id, const StreamSession* session) {
  absl::MutexLock lock(&mutex_);
  streams_.erase(session);
  const auto found = sessions_.find(collector_id);
  if (found == sessions_.end()) return;
  const std::shared_ptr<StreamSession> held = found->second.session.lock();
  if (held == nullptr || held.get() == session) sessions_.erase(found);
}

std::vector<std::shared_ptr<StreamSession>> SessionRegistry::All() const {
  std::vector<std::shared_ptr<StreamSession>> all;
  absl::MutexLock lock(&mutex_);
  all.reserve(streams_.size());
  for (const auto& [id, weak] : streams_) {
    if (std::shared_ptr<StreamSession> session = weak.lock()) all.push_back(std::move(session));
  }
  return all;
}

size_t SessionRegistry::size() const {
  absl::MutexLock lock(&mutex_);
  return streams_.size();
}

SessionInstruments::SessionInstruments(metrics::Registry* registry)
    : streams(registry->AddGauge("pga_ingest_streams", "Open streams of collectors")),
      hellos(registry->AddCounter("pga_ingest_hellos_total", "Streams opened by a valid Hello")),
      batches(registry->AddCounter("pga_ingest_batches_received_total", "Batches read from streams")),
      bytes(registry->AddCounter("pga_ingest_payload_bytes_total", "Bytes of payload read from streams")),
      rejects(registry->AddCounter("pga_ingest_rejects_total", "Batches answered with Reject")),
      fenced(registry->AddCounter("pga_ingest_fenced_total", "Streams ended because a newer one took over")),
      went_back(registry->AddCounter("pga_ingest_database_went_back_total",
                                     "Streams whose acknowledged batches the database does not hold any more")),
      forked(registry->AddCounter("pga_ingest_forked_total",
                                  "Streams whose acknowledged bytes are not those that the database holds")),
      stale(registry->AddCounter("pga_ingest_stale_total",
                                 "Streams ended because the database does not know their collector or sources")),
      moved(registry->AddCounter("pga_ingest_moved_total",
                                 "Batches prepared anew because a source passed to another owner meanwhile")),
      hellos_refused(registry->AddCounter("pga_ingest_hellos_refused_total",
                                          "Hellos refused because their collector says too many")),
      hellos_dropped(registry->AddCounter("pga_ingest_hellos_dropped_total",
                                          "Hellos left unanswered because their call had ended")),
      dropped(registry->AddCounter("pga_ingest_dropped_after_reject_total",
                                   "Batches left unread because an earlier one of their stream has to come again")),
      ack_seconds(registry->AddHistogram("pga_ingest_ack_seconds", "Time from a batch's arrival to its commit")) {}

StreamSession::StreamSession(const SessionContext* context, token::Principal principal)
    : context_(context), principal_(std::move(principal)) {
  if (context_->instruments != nullptr) context_->instruments->streams.Increment();
}

StreamSession::~StreamSession() {
  if (context_->instruments != nullptr) context_->instruments->streams.Decrement();
}

int64_t StreamSession::Rows(const Arrival& arrival) {
  return std::clamp<int64_t>(arrival.batch.row_count(), 0, frame::Limits().max_rows);
}

int64_t StreamSession::Bytes(const Arrival& arrival) {
  // The payload stays for quarantine; the content lives twice for a moment, as protobuf and as tuples.
  const int64_t content = std::clamp<int64_t>(arrival.batch.content_size(), 0, frame::kMaxContentBytes);
  return static_cast<int64_t>(arrival.batch.payload().size()) + 2 * content;
}

void StreamSession::Start(StreamSink* sink) {
  absl::MutexLock lock(&mutex_);
  sink_ = sink;
  Pump();
}

int32_t StreamSession::config_version() const {
  absl::MutexLock lock(&mutex_);
  return config_version_;
}

// Starts whatever may be started: the next write, the next read, or the end.
void StreamSession::Pump() {
  if (sink_ == nullptr || finished_) return;
  const bool stopping = closing_.has_value() || cancelled_;
  if (!writing_ && !stopping && NextResponse()) {
    writing_ = true;
    sink_->StartWrite(&outgoing_);
  }
  if (!reading_ && !read_ended_ && !stopping && !draining_ && phase_ != Phase::kOpening &&
      unsettled_ + static_cast<int64_t>(rejects_.size()) < context_->window) {
    reading_ = true;
    incoming_.Clear();
    sink_->StartRead(&incoming_);
  }
  if (writing_) return;
  if (stopping) {
    finished_ = true;
    sink_->Finish(closing_.value_or(absl::CancelledError("the collector has gone")));
    return;
  }
  const bool idle = unsettled_ == 0 && phase_ != Phase::kOpening;
  if (draining_ && idle) {
    finished_ = true;
    sink_->Finish(status::WithReason(absl::UnavailableError("the service is stopping; connect again"), "DRAINING"));
  } else if (read_ended_ && idle) {
    finished_ = true;
    sink_->Finish(absl::OkStatus());
  }
}

bool StreamSession::NextResponse() {
  outgoing_.Clear();
  if (hello_ack_) {
    *outgoing_.mutable_hello_ack() = *std::move(hello_ack_);
    hello_ack_.reset();
    return true;
  }
  if (!rejects_.empty()) {
    *outgoing_.mutable_reject() = std::move(rejects_.front());
    rejects_.pop_front();
    return true;
  }
  if (!acks_.empty()) {
    *outgoing_.mutable_ack() = std::move(acks_.begin()->second);
    acks_.erase(acks_.begin());
    outgoing_.mutable_ack()->set_server_time_us(absl::ToUnixMicros(context_->clock->Now()));
    return true;
  }
  if (config_) {
    *outgoing_.mutable_config() = *std::move(config_);
    config_.reset();
    return true;
  }
  return false;
}

void StreamSession::OnReadDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  reading_ = false;
  if (!ok) {
    read_ended_ = true;
    Pump();
    return;
  }
  switch (incoming_.message_case()) {
    case Request::kHello: {
      if (phase_ != Phase::kAwaitHello) {
        CloseLocked(absl::InvalidArgumentError("a second Hello on one stream"));
        break;
      }
      TakeHello(std::move(*incoming_.mutable_hello()));
      break;
    }
    case Request::kBatch: {
      if (phase_ != Phase::kOpen) {
        CloseLocked(absl::InvalidArgumentError("a batch before Hello was answered"));
        break;
      }
      auto arrival = std::make_unique<Arrival>();
      arrival->batch = std::move(*incoming_.mutable_batch());
      arrival->at = clock::SteadyNow();
      if (context_->instruments != nullptr) {
        context_->instruments->batches.Increment();
        context_->instruments->bytes.Increment(static_cast<double>(arrival->batch.payload().size()));
      }
      if (const auto found = progress_.find(arrival->batch.stream_id()); found != progress_.end()) {
        Progress& progress = found->second;
        if (progress.awaited_seq != 0 && arrival->batch.seq() > progress.awaited_seq) {
          if (context_->instruments != nullptr) context_->instruments->dropped.Increment();
          break;
        }
        progress.awaited_seq = 0;
        arrival->generation = progress.generation;
      }
      PGA_BATCH_STOP(arrival->batch.stream_id(), arrival->batch.seq());
      ++unsettled_;
      inbox_.push_back(std::move(arrival));
      Schedule();
      break;
    }
    default:
      CloseLocked(absl::InvalidArgumentError("a message that is neither Hello nor batch"));
  }
  Pump();
}

void StreamSession::Schedule() {
  if (working_ || parked_ != nullptr || inbox_.empty()) return;
  working_ = true;
  auto self = shared_from_this();
  if (!context_->decode_pool->TrySubmit([self] { self->Work(); })) {
    working_ = false;
    CloseLocked(status::WithRetryAfter(absl::ResourceExhaustedError("too many streams are busy"), kDefaultRetry));
  }
}

void StreamSession::TakeHello(ingest_v1::Hello hello) {
  phase_ = Phase::kOpening;
  const std::string& collector = principal_.collector_id;
  absl::Duration wait;
  if (context_->hello_limiter != nullptr)
    wait = context_->hello_limiter->Take(collector, context_->hellos_per_minute).retry_after;
  if (wait > absl::ZeroDuration() || !context_->registry->BeginHello(collector, context_->hellos_at_once)) {
    if (context_->instruments != nullptr) context_->instruments->hellos_refused.Increment();
    CloseLocked(status::WithRetryAfter(absl::ResourceExhaustedError("this collector opens too many streams"),
                                       std::max(wait, kDefaultRetry)));
    return;
  }
  auto self = shared_from_this();
  if (context_->control_pool->TrySubmit([self, hello = std::make_shared<ingest_v1::Hello>(std::move(hello))] {
        self->Hello(std::move(*hello));
        self->context_->registry->EndHello(self->principal_.collector_id);
      })) {
    return;
  }
  context_->registry->EndHello(collector);
  CloseLocked(status::WithRetryAfter(absl::ResourceExhaustedError("too many streams open at once"), kDefaultRetry));
}

void StreamSession::Hello(ingest_v1::Hello hello) {
  {
    absl::MutexLock lock(&mutex_);
    // Nobody waits for the answer, and a newer call of the collector may be open already.
    if (cancelled_ || closing_.has_value() || finished_) {
      if (context_->instruments != nullptr) context_->instruments->hellos_dropped.Increment();
      return;
    }
  }
  std::vector<StreamClaim> streams;
  absl::Status status;
  if (hello.streams_size() > kMaxHelloStreams) {
    status = absl::InvalidArgumentError(absl::StrCat("Hello names more than ", kMaxHelloStreams, " streams"));
  }
  for (const ingest_v1::StreamState& stream : hello.streams()) {
    if (stream.stream_id().size() != frame::kUuidBytes) {
      status = absl::InvalidArgumentError("Hello names a stream_id that is not 16 bytes");
      break;
    }
    streams.push_back({stream.stream_id(), stream.sealed()});
  }
  if (status.ok() && context_->admission) status = context_->admission();
  absl::StatusOr<OpenedSession> opened = absl::UnknownError("not asked");
  if (!status.ok()) {
    opened = status;
  } else {
    opened =
        context_->store->OpenSession(principal_.collector_id, streams, clock::SteadyNow() + context_->hello_timeout);
  }
  std::shared_ptr<StreamSession> former;
  {
    absl::MutexLock lock(&mutex_);
    if (!opened.ok()) {
      PGA_LOG(info, "a stream was not opened",
              {{"collector_id", principal_.collector_id}, {"status", opened.status().ToString()}});
      CloseLocked(opened.status());
      Pump();
      return;
    }
    const std::shared_ptr<StreamSession> self = shared_from_this();
    former = context_->registry->Replace(principal_.collector_id, opened->session, self);
    if (former == self) {
      if (context_->instruments != nullptr) context_->instruments->fenced.Increment();
      CloseLocked(absl::AbortedError("a newer session of this collector has taken over"));
      Pump();
      return;
    }
    phase_ = Phase::kOpen;
    origin_ = {principal_.collector_id, opened->collector, opened->session};
    config_version_ = std::max(config_version_, hello.config_version());
    ingest_v1::HelloAck& answer = hello_ack_.emplace();
    for (StreamPosition& position : opened->positions) {
      ReportState(hello, position);
      ingest_v1::StreamWatermark* watermark = answer.add_watermarks();
      watermark->set_stream_id(std::move(position.stream_id));
      watermark->set_last_seq(position.last_seq);
      watermark->set_last_hash(std::move(position.last_hash));
    }
    answer.set_window(context_->window);
    answer.set_server_time_us(absl::ToUnixMicros(context_->clock->Now()));
    if (context_->instruments != nullptr) context_->instruments->hellos.Increment();
    Pump();
  }
  if (former != nullptr) {
    if (context_->instruments != nullptr) context_->instruments->fenced.Increment();
    former->Close(absl::AbortedError("a newer session of this collector has taken over"));
  }
}

// What the collector says of a stream against what the database holds; the collector acts on it, people should know.
void StreamSession::ReportState(const ingest_v1::Hello& hello, const StreamPosition& position) const {
  for (const ingest_v1::StreamState& stream : hello.streams()) {
    if (stream.stream_id() != position.stream_id) continue;
    if (stream.last_acked_seq() > position.last_seq) {
      if (context_->instruments != nullptr) context_->instruments->went_back.Increment();
      PGA_LOG(warn,
              "the metrics database has gone back behind what was acknowledged; the collector sends again what it kept",
              {{"collector_id", principal_.collector_id},
               {"stream", frame::FormatUuid(position.stream_id)},
               {"acknowledged", stream.last_acked_seq()},
               {"stored", position.last_seq}});
    } else if (stream.last_acked_seq() == position.last_seq && !stream.last_acked_hash().empty() &&
               stream.last_acked_hash() != position.last_hash) {
      if (context_->instruments != nullptr) context_->instruments->forked.Increment();
      PGA_LOG(warn,
              "a stream has forked: other bytes are stored under the number that was acknowledged; a clone of the "
              "collector's disk has delivered, or the database was restored and written by one",
              {{"collector_id", principal_.collector_id},
               {"stream", frame::FormatUuid(position.stream_id)},
               {"acknowledged", stream.last_acked_seq()}});
    } else if (stream.last_written_seq() < position.last_seq) {
      PGA_LOG(warn, "a collector's spool has gone back behind what is stored: a clone, or an older state of its disk",
              {{"collector_id", principal_.collector_id},
               {"stream", frame::FormatUuid(position.stream_id)},
               {"written", stream.last_written_seq()},
               {"stored", position.last_seq}});
    }
  }
}

void StreamSession::Work() {
  for (int turn = 0; turn < kBatchesPerTurn; ++turn) {
    std::unique_ptr<Arrival> arrival;
    {
      absl::MutexLock lock(&mutex_);
      if (parked_ != nullptr) {
        arrival = std::move(parked_);
      } else if (!inbox_.empty()) {
        arrival = std::move(inbox_.front());
        inbox_.pop_front();
      }
      if (arrival == nullptr) {
        working_ = false;
        return;
      }
    }
    if (!Handle(std::move(arrival))) return;
  }
  absl::MutexLock lock(&mutex_);
  working_ = false;
  Schedule();
  Pump();
}

bool StreamSession::Handle(std::unique_ptr<Arrival> arrival) {
  const std::string stream_id = arrival->batch.stream_id();
  const int64_t seq = arrival->batch.seq();
  const int64_t generation = arrival->generation;
  const int64_t rows = Rows(*arrival);
  const int64_t bytes = Bytes(*arrival);
  const clock::SteadyTime arrived = arrival->at;
  BatchOrigin origin;
  bool stale = false;
  {
    absl::MutexLock lock(&mutex_);
    origin = origin_;
    const auto found = progress_.find(stream_id);
    // Rejected while it waited, with all that follow.
    stale = closing_.has_value() || cancelled_ || (found != progress_.end() && found->second.generation != generation);
    if (stale) {
      Settled(1);
      Pump();
    } else if (!arrival->reserved) {
      arrival->reserved = true;
      parked_ = std::move(arrival);
      auto self = shared_from_this();
      if (!context_->budget->Acquire(rows, bytes, [self] { self->Granted(); })) return false;
      arrival = std::move(parked_);
    }
  }
  if (stale) {
    if (arrival->reserved) context_->budget->Release(rows, bytes);
    return true;
  }

  auto prepared = context_->preparer->Prepare(origin, &arrival->batch);
  arrival.reset();
  absl::Status failure = prepared.status();
  if (failure.ok()) {
    auto self = shared_from_this();
    if (context_->queue->Submit(*std::move(prepared),
                                [self, stream_id, seq, generation, rows, bytes, arrived](const BatchResult& result) {
                                  self->OnResult(stream_id, seq, generation, rows, bytes, arrived, result);
                                })) {
      return true;
    }
    failure = absl::ResourceExhaustedError("too many batches wait for the database");
  }
  context_->budget->Release(rows, bytes);
  absl::MutexLock lock(&mutex_);
  Settled(1);
  if (failure.code() == absl::StatusCode::kInvalidArgument) {
    CloseLocked(failure);
  } else if (status::ReasonOf(failure) == kReasonDatabaseChanged) {
    CloseStale();
  } else {
    const bool schema = status::ReasonOf(failure) == kReasonSchema;
    PGA_LOG(debug, "a batch has to come again",
            {{"collector_id", principal_.collector_id}, {"seq", seq}, {"status", failure.ToString()}});
    const absl::Duration wait = status::RetryAfterOf(failure);
    Reject(stream_id, seq, generation, schema ? ingest_v1::REJECT_REASON_SCHEMA : ingest_v1::REJECT_REASON_RETRY, seq,
           schema ? failure : absl::UnavailableError("the metrics database cannot take the batch now"),
           wait > absl::ZeroDuration() ? wait : kDefaultRetry);
  }
  Pump();
  return true;
}

void StreamSession::Granted() {
  // Called by whoever released, maybe under another session's work: only hands over.
  auto self = shared_from_this();
  if (context_->decode_pool->TrySubmit([self] { self->Work(); })) return;
  std::unique_ptr<Arrival> arrival;
  {
    absl::MutexLock lock(&mutex_);
    arrival = std::move(parked_);
    working_ = false;
    if (arrival != nullptr) Settled(1);
    CloseLocked(status::WithRetryAfter(absl::ResourceExhaustedError("too many streams are busy"), kDefaultRetry));
    Pump();
  }
  if (arrival != nullptr) context_->budget->Release(Rows(*arrival), Bytes(*arrival));
}

void StreamSession::Reject(const std::string& stream_id, int64_t seq, int64_t generation,
                           ingest_v1::RejectReason reason, int64_t expected_seq, const absl::Status& why,
                           absl::Duration retry_after) {
  if (progress_.size() >= kMaxProgress && !progress_.contains(stream_id)) {
    CloseLocked(absl::ResourceExhaustedError("too many streams were rejected on one call; connect again"));
    return;
  }
  Progress& progress = progress_[stream_id];
  // What was sent before an earlier reject of this stream needs no second one.
  if (progress.generation != generation) return;
  ++progress.generation;
  progress.awaited_seq = expected_seq;
  ingest_v1::Reject& reject = rejects_.emplace_back();
  reject.set_stream_id(stream_id);
  reject.set_seq(seq);
  reject.set_reason(reason);
  reject.set_expected_seq(expected_seq);
  reject.set_message(std::string(why.message()));
  reject.set_retry_after_ms(Millis(retry_after));
  if (context_->instruments != nullptr) context_->instruments->rejects.Increment();
}

void StreamSession::OnResult(const std::string& stream_id, int64_t seq, int64_t generation, int64_t rows, int64_t bytes,
                             clock::SteadyTime arrived, const BatchResult& result) {
  PGA_BATCH_STOP(stream_id, seq);
  context_->budget->Release(rows, bytes);
  if (context_->instruments != nullptr && result.outcome == BatchOutcome::kCommitted) {
    context_->instruments->ack_seconds.Observe(absl::ToDoubleSeconds(clock::SteadyNow() - arrived));
  }
  absl::MutexLock lock(&mutex_);
  Settled(1);
  const bool stands = result.outcome == BatchOutcome::kCommitted || result.outcome == BatchOutcome::kDuplicate ||
                      result.outcome == BatchOutcome::kQuarantined;
  if (stands) {
    ingest_v1::Ack& ack = acks_[stream_id];
    if (ack.stream_id().empty() || ack.last_seq() < result.last_seq) {
      ack.set_stream_id(stream_id);
      ack.set_last_seq(result.last_seq);
      ack.set_last_hash(result.last_hash);
    }
  }
  switch (result.outcome) {
    case BatchOutcome::kCommitted:
    case BatchOutcome::kDuplicate:
      break;
    case BatchOutcome::kQuarantined: {
      // For information: the stream goes on behind it.
      ingest_v1::Reject& reject = rejects_.emplace_back();
      reject.set_stream_id(stream_id);
      reject.set_seq(seq);
      reject.set_reason(ingest_v1::REJECT_REASON_QUARANTINED);
      reject.set_expected_seq(seq + 1);
      reject.set_message(std::string(result.status.message()));
      if (context_->instruments != nullptr) context_->instruments->rejects.Increment();
      break;
    }
    case BatchOutcome::kGap:
      Reject(stream_id, seq, generation, ingest_v1::REJECT_REASON_GAP, result.expected_seq, result.status,
             absl::ZeroDuration());
      break;
    case BatchOutcome::kFork:
      PGA_LOG(warn, "a collector's stream has forked: two processes or an older state share its spool",
              {{"collector_id", principal_.collector_id}, {"stream", frame::FormatUuid(stream_id)}, {"seq", seq}});
      Reject(stream_id, seq, generation, ingest_v1::REJECT_REASON_FORK, result.expected_seq, result.status,
             absl::ZeroDuration());
      break;
    case BatchOutcome::kFenced:
      if (context_->instruments != nullptr) context_->instruments->fenced.Increment();
      CloseLocked(result.status);
      break;
    case BatchOutcome::kStale:
      CloseStale();
      break;
    case BatchOutcome::kMoved:
      if (context_->instruments != nullptr) context_->instruments->moved.Increment();
      context_->sources->Forget(origin_.collector);
      Reject(stream_id, seq, generation, ingest_v1::REJECT_REASON_RETRY, seq, result.status,
             std::max(result.retry_after, absl::Milliseconds(100)));
      break;
    case BatchOutcome::kLocked:
    case BatchOutcome::kRetry:
    case BatchOutcome::kSchema:
      Reject(stream_id, seq, generation,
             result.outcome == BatchOutcome::kSchema ? ingest_v1::REJECT_REASON_SCHEMA : ingest_v1::REJECT_REASON_RETRY,
             seq, result.status, std::max(result.retry_after, absl::Milliseconds(100)));
      break;
  }
  Pump();
}

void StreamSession::OnWriteDone(bool ok) {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (!ok) cancelled_ = true;
  Pump();
}

void StreamSession::OnCancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  Pump();
}

void StreamSession::OnDone() {
  {
    absl::MutexLock lock(&mutex_);
    sink_ = nullptr;
    finished_ = true;
    cancelled_ = true;
  }
  context_->registry->Remove(principal_.collector_id, this);
}

void StreamSession::CloseLocked(absl::Status status) {
  if (closing_.has_value()) return;
  closing_ = std::move(status);
  closing_since_ = clock::SteadyNow();
}

void StreamSession::CloseStale() {
  if (closing_.has_value()) return;
  if (context_->instruments != nullptr) context_->instruments->stale.Increment();
  PGA_LOG(warn, "the metrics database does not know a stream's collector or source any more; the collector begins anew",
          {{"collector_id", principal_.collector_id}});
  context_->sources->Forget(origin_.collector);
  CloseLocked(status::WithReason(absl::UnavailableError("the metrics database has changed; connect again"),
                                 kReasonDatabaseChanged));
}

void StreamSession::Close(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  CloseLocked(std::move(status));
  Pump();
}

void StreamSession::BeginDrain() {
  absl::MutexLock lock(&mutex_);
  draining_ = true;
  Pump();
}

void StreamSession::PushConfig(int32_t version, std::string toml) {
  absl::MutexLock lock(&mutex_);
  if (phase_ != Phase::kOpen || version <= config_version_) return;
  config_version_ = version;
  config_.emplace();
  config_->set_version(version);
  config_->set_toml(std::move(toml));
  Pump();
}

void StreamSession::Tick() {
  const bool revoked = context_->revocations != nullptr && context_->revocations->IsRevoked(principal_);
  absl::MutexLock lock(&mutex_);
  if (revoked)
    CloseLocked(status::WithReason(absl::UnauthenticatedError("the credential was revoked"), "TOKEN_REVOKED"));
  if (phase_ == Phase::kAwaitHello && clock::SteadyNow() - started_ > context_->hello_timeout) {
    CloseLocked(absl::DeadlineExceededError("no Hello came"));
  }
  Pump();
  if (!finished_ && sink_ != nullptr && closing_.has_value() && clock::SteadyNow() - closing_since_ > kFinishGrace) {
    sink_->Cancel();
  }
}

}  // namespace pga::ingest
