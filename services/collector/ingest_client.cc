#include "services/collector/ingest_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/support/client_callback.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/uuid.h"
#include "libs/log/frame_stop.h"
#include "libs/retry/retry.h"
#include "libs/rpc/client.h"
#include "libs/rpc/status.h"
#include "libs/status/status.h"
#include "pganalytics/ingest/v1/ingest_service.grpc.pb.h"
#include "services/collector/failpoints.h"

namespace pga::collector {
namespace {

using ingestpb::IngestService;
using ingestpb::StreamBatchesRequest;
using ingestpb::StreamBatchesResponse;

constexpr absl::Duration kHelloTimeout = absl::Seconds(20);
constexpr int kMaxWindow = 64;
// Hello names at most this many streams.
constexpr size_t kMaxHelloStreams = 1000;
// After so many refusals of the token, with the certificate failing in between, a collector with a secret enrols anew.
constexpr int kRefusalsWithoutCertificate = 3;

}  // namespace

// One call. gRPC's threads put what comes into `inbox`; the delivery thread takes it out and starts the writes. The
// delivery thread alone ends the call and destroys this object: what it holds of the channel must not be given back on
// gRPC's own thread, which would then wait for itself.
class IngestClient::Session : public grpc::ClientBidiReactor<StreamBatchesRequest, StreamBatchesResponse> {
 public:
  explicit Session(std::function<void()> wake) : wake_(std::move(wake)) {}

  void Begin(IngestService::Stub* stub, const std::string& token) {
    if (!token.empty()) context_.AddMetadata("authorization", absl::StrCat("Bearer ", token));
    stub->async()->StreamBatches(&context_, this);
    AddHold();  // writes are started from outside the reactor
    StartCall();
    StartRead(&incoming_);
  }

  // One write at a time; false while the last one is still under way or the call has failed.
  bool TryWrite(StreamBatchesRequest* request) {
    {
      absl::MutexLock lock(&mutex_);
      if (writing_ || broken_) return false;
      writing_ = true;
      outgoing_.Swap(request);
    }
    StartWrite(&outgoing_);
    return true;
  }

  bool can_write() {
    absl::MutexLock lock(&mutex_);
    return !writing_ && !broken_;
  }
  bool broken() {
    absl::MutexLock lock(&mutex_);
    return broken_;
  }
  int64_t written() {
    absl::MutexLock lock(&mutex_);
    return written_;
  }

  std::optional<StreamBatchesResponse> Take() {
    absl::MutexLock lock(&mutex_);
    if (inbox_.empty()) return std::nullopt;
    StreamBatchesResponse response = std::move(inbox_.front());
    inbox_.pop_front();
    return response;
  }

  // Ends the call and waits until gRPC has let go of it; nothing may be called afterwards.
  absl::Status End() {
    context_.TryCancel();
    RemoveHold();
    ended_->done.WaitForNotification();
    return rpc::FromGrpc(ended_->status);
  }

  void OnReadDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      if (ok) {
        inbox_.push_back(std::move(incoming_));
        incoming_.Clear();
      } else {
        broken_ = true;
      }
    }
    if (ok) StartRead(&incoming_);
    wake_();
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = false;
      if (ok) ++written_;
      if (!ok) broken_ = true;
    }
    wake_();
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<Ended> ended = ended_;  // this object may go as soon as the delivery thread is notified
    ended->status = status;
    ended->done.Notify();
  }

 private:
  struct Ended {
    grpc::Status status;  // set before `done`
    absl::Notification done;
  };

  const std::function<void()> wake_;
  const std::shared_ptr<Ended> ended_ = std::make_shared<Ended>();
  grpc::ClientContext context_;
  StreamBatchesRequest outgoing_;
  StreamBatchesResponse incoming_;
  absl::Mutex mutex_;
  std::deque<StreamBatchesResponse> inbox_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t written_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What is known within one call.
struct IngestClient::Streaming {
  int window = 1;
  std::map<std::string, int64_t> next_seq;
  std::deque<BatchId> out;  // sent, not acknowledged
  std::set<std::string> suspects;
  clock::SteadyTime paused_until = clock::SteadyTime::InfinitePast();
  clock::SteadyTime last_progress = clock::SteadyNow();
  bool greeted = false;
};

IngestClient::IngestClient(IngestClientOptions options, Spool* spool, SpoolWriter* writer, metrics::Registry* metrics,
                           IngestEvents events)
    : options_(std::move(options)),
      spool_(spool),
      writer_(writer),
      events_(std::move(events)),
      canceller_(std::make_unique<rpc::Canceller>()),
      credentials_(options_.state_dir, options_.collector_id, options_.collector_name, options_.registration_secret),
      config_version_(options_.config_version),
      sent_(metrics->AddCounter("pga_collector_batches_sent_total", "Batches written to the stream.")),
      acked_(metrics->AddCounter("pga_collector_batches_acked_total", "Batches acknowledged as stored.")),
      sent_bytes_(metrics->AddCounter("pga_collector_sent_bytes_total", "Payload bytes written to the stream.")),
      reconnects_(metrics->AddCounter("pga_collector_connects_total", "Streams opened to the backend.")),
      forks_(metrics->AddCounter("pga_collector_forks_total",
                                 "Streams in which the backend holds other bytes: a copy of this collector runs.")),
      gaps_(metrics->AddCounter("pga_collector_gaps_sent_total", "Gap records sent for lost batches.")),
      rejects_(metrics->AddCounter("pga_collector_rejects_total", "Batches that the backend did not take.")),
      replayed_(metrics->AddCounter("pga_collector_batches_replayed_total",
                                    "Acknowledged batches sent again because the backend lost them.")),
      renewals_(metrics->AddCounter("pga_collector_credential_renewals_total", "Credentials obtained or renewed.")),
      up_(metrics->AddGauge("pga_collector_backend_up", "1 while the stream to the backend is open.")),
      clock_offset_(metrics->AddGauge("pga_collector_clock_offset_seconds", "Backend's clock minus ours.")) {}

IngestClient::~IngestClient() {
  Stop();
}

void IngestClient::Start() {
  thread_ = std::thread([this] { Run(); });
}

void IngestClient::Wake() {
  absl::MutexLock lock(&mutex_);
  news_ = true;
}

void IngestClient::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  canceller_->Cancel();
  if (thread_.joinable()) thread_.join();
}

bool IngestClient::WaitFor(absl::Duration duration) {
  absl::MutexLock lock(&mutex_);
  const auto stirred = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopping_ || news_; };
  mutex_.AwaitWithTimeout(absl::Condition(&stirred), duration);
  news_ = false;
  return !stopping_;
}

IngestClient::Access IngestClient::access() const {
  absl::MutexLock lock(&mutex_);
  return access_;
}

void IngestClient::Run() {
  retry::Backoff backoff(
      {.initial = options_.first_backoff, .max = options_.max_backoff, .multiplier = 2, .jitter = 0.8});
  if (absl::Status status = credentials_.Load(); !status.ok()) {
    PGA_LOG(error, "the collector's key cannot be read or made", {{"reason", status}});
  }
  std::string last_reason;
  for (;;) {
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
    }
    const clock::SteadyTime began = clock::SteadyNow();
    absl::Status status = Connect();
    if (status.ok()) {
      {
        absl::MutexLock lock(&mutex_);
        access_ = {channel_, credentials_.token()};
      }
      status = Stream();
    }
    up_.Set(0);
    const bool was_connected = connected_.exchange(false);
    if (was_connected) refused_without_certificate_ = 0;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
    }
    // A fresh channel next time: an old one would wait out its own pause on top of ours. A certificate that the backend
    // does not trust (its CA was lost and made anew) ends the handshake, which looks like a backend that is down: every
    // second attempt goes with the token alone.
    if (status.code() == absl::StatusCode::kUnavailable) {
      channel_.reset();
      leave_out_certificate_ = !was_connected && !leave_out_certificate_;
    }
    if (status.code() == absl::StatusCode::kUnauthenticated && leave_out_certificate_ &&
        credentials_.has_certificate() &&
        (!credentials_.may_enrol() || ++refused_without_certificate_ < kRefusalsWithoutCertificate)) {
      // The certificate may be good after all, and the backend have been away when it was tried.
      leave_out_certificate_ = false;
      channel_.reset();
    } else if (status.code() == absl::StatusCode::kUnauthenticated) {
      // The certificate may still be good when the token is not; without either only the secret helps.
      absl::Status renewed = absl::UnauthenticatedError("no certificate");
      if (credentials_.enrolled() && credentials_.has_certificate() && channel_ != nullptr) {
        renewed = credentials_.Renew(channel_, /*token_refused=*/true, canceller_.get());
      }
      if (!renewed.ok() && renewed.code() == absl::StatusCode::kUnauthenticated) credentials_.Forget();
      if (renewed.ok()) renewals_.Increment();
      channel_.reset();
    }
    if (clock::SteadyNow() - began > absl::Seconds(30)) backoff.Reset();
    const absl::Duration delay = std::max(backoff.Next(), status::RetryAfterOf(status));
    const std::string reason = status.ToString();
    if (reason != last_reason) {
      PGA_LOG(warn, "no stream to the backend; batches gather in the spool",
              {{"backend", options_.backend.target}, {"reason", status}, {"retry_in_s", delay}});
      last_reason = reason;
    }
    const clock::SteadyTime until = clock::SteadyNow() + delay;
    while (clock::SteadyNow() < until) {
      if (!WaitFor(until - clock::SteadyNow())) return;
    }
  }
}

absl::Status IngestClient::Connect() {
  if (channel_ == nullptr) {
    rpc::TlsOptions tls;
    tls.enabled = options_.backend.tls;
    tls.ca_path = options_.ca_file;
    tls.verify_server = options_.tls_verify;
    if (tls.enabled && credentials_.has_certificate() && !leave_out_certificate_) {
      tls.cert_path = credentials_.certificate_path();
      tls.key_path = credentials_.key_path();
    }
    PGA_ASSIGN_OR_RETURN(channel_, rpc::Connect(options_.backend.target, tls));
  }
  if (!credentials_.enrolled()) {
    PGA_RETURN_IF_ERROR(status::Annotate(credentials_.Enrol(channel_, canceller_.get()), "enrolment"));
    renewals_.Increment();
    PGA_LOG(info, "enrolled", {{"collector_id", options_.collector_id}, {"backend", options_.backend.target}});
    if (options_.backend.tls && credentials_.has_certificate()) {
      leave_out_certificate_ = false;
      channel_.reset();  // to present the new certificate
      return Connect();
    }
  }
  return absl::OkStatus();
}

absl::Status IngestClient::Stream() {
  const auto stub = IngestService::NewStub(channel_);
  Session session([this] { Wake(); });
  session.Begin(stub.get(), credentials_.token());
  Streaming state;
  absl::Status status = SendHello(&session, &state);
  clock::SteadyTime renew_after;
  int64_t written = 0;
  while (status.ok()) {
    while (auto response = session.Take()) {
      status = Handle(*response, &state);
      if (!status.ok()) break;
    }
    if (!status.ok() || session.broken()) break;
    if (session.written() > written) {
      written = session.written();
      if (Failpoint("delivery.after_send") != 0) {
        status = absl::UnavailableError("made to fail after sending");
        break;
      }
    }
    const clock::SteadyTime now = clock::SteadyNow();
    if (now > renew_after && credentials_.NeedsRenewal(clock::WallNow())) {
      renew_after = now + absl::Minutes(5);
      const absl::Status renewed = credentials_.Renew(channel_, /*token_refused=*/false, canceller_.get());
      if (renewed.ok()) {
        renewals_.Increment();
        {
          absl::MutexLock lock(&mutex_);
          access_.token = credentials_.token();
        }
        PGA_LOG(info, "credentials renewed", {{"collector_id", options_.collector_id}});
      } else {
        PGA_LOG(warn, "credentials could not be renewed", {{"reason", renewed}});
      }
    }
    if (!state.out.empty() && now - state.last_progress > options_.ack_timeout) {
      status = absl::DeadlineExceededError("batches are not acknowledged");
      break;
    }
    if (static_cast<int>(state.out.size()) < state.window && now >= state.paused_until && session.can_write()) {
      absl::StatusOr<ingestpb::Batch> next = PickNext(&state);
      if (!next.ok() && next.status().code() != absl::StatusCode::kNotFound) {
        status = next.status();
        break;
      }
      if (next.ok()) {
        StreamBatchesRequest request;
        *request.mutable_batch() = *std::move(next);
        const BatchId id{request.batch().stream_id(), request.batch().seq()};
        const size_t bytes = request.batch().payload().size();
        if (session.TryWrite(&request)) {
          PGA_BATCH_STOP(id.stream_id, id.seq);
          if (state.out.empty()) state.last_progress = now;
          state.out.push_back(id);
          state.next_seq[id.stream_id] = id.seq + 1;
          sent_.Increment();
          sent_bytes_.Increment(static_cast<double>(bytes));
          if (Failpoint("delivery.mid_send") != 0) {
            status = absl::UnavailableError("made to fail while sending");
            break;
          }
        }
        continue;
      }
    }
    const absl::Duration pause = state.paused_until - clock::SteadyNow();
    if (!WaitFor(std::clamp(pause > absl::ZeroDuration() ? pause : absl::Seconds(1), absl::Milliseconds(10),
                            absl::Seconds(1)))) {
      status = absl::CancelledError("shutting down");
    }
  }
  connected_ = false;
  // A broken call's own status says why; ours counts if we ended it.
  const absl::Status end = session.End();
  return status.ok() ? (end.ok() ? absl::UnavailableError("the backend ended the stream") : end) : status;
}

absl::Status IngestClient::SendHello(Session* session, Streaming* state) {
  StreamBatchesRequest request;
  ingestpb::Hello* hello = request.mutable_hello();
  hello->set_collector_version(PGA_VERSION);
  hello->set_catalog_version(options_.catalog_version);
  hello->set_config_version(config_version_);
  for (const SpoolStream& stream : spool_->Streams()) {
    if (static_cast<size_t>(hello->streams_size()) == kMaxHelloStreams) break;
    ingestpb::StreamState* item = hello->add_streams();
    item->set_stream_id(stream.stream_id);
    item->set_last_written_seq(stream.last_written_seq);
    item->set_last_acked_seq(stream.last_acked_seq);
    item->set_last_acked_hash(stream.last_acked_hash);
    item->set_sealed(stream.sealed);
  }
  if (!session->TryWrite(&request)) return absl::OkStatus();  // broken; the caller sees it
  const clock::SteadyTime deadline = clock::SteadyNow() + kHelloTimeout;
  while (!state->greeted) {
    if (auto response = session->Take()) {
      PGA_RETURN_IF_ERROR(Handle(*response, state));
      continue;
    }
    if (session->broken()) return absl::OkStatus();
    if (clock::SteadyNow() > deadline) return absl::DeadlineExceededError("the backend does not answer Hello");
    if (!WaitFor(deadline - clock::SteadyNow())) return absl::CancelledError("shutting down");
  }
  up_.Set(1);
  connected_ = true;
  reconnects_.Increment();
  PGA_LOG(info, "stream to the backend is open",
          {{"backend", options_.backend.target}, {"streams", hello->streams_size()}, {"window", state->window}});
  return absl::OkStatus();
}

absl::Status IngestClient::Suspect(const std::string& stream_id, int64_t server_seq, Streaming* state) {
  if (!state->suspects.insert(stream_id).second) return absl::OkStatus();
  for (const SpoolStream& stream : spool_->Streams()) {
    if (stream.stream_id != stream_id) continue;
    state->next_seq[stream_id] = stream.last_acked_seq + 1;
    PGA_LOG(warn, "the backend holds more or other batches of a stream than this spool",
            {{"stream", frame::FormatUuid(stream_id)}, {"written", stream.last_written_seq}, {"stored", server_seq}});
    int64_t& known = rolled_back_[stream_id];
    if (server_seq > stream.last_written_seq && known < server_seq) {
      // What the disk holds ends there; where that cannot be read, it was written before this process began.
      const int64_t up_to_us = spool_->NewestCollected(stream_id).value_or(options_.started_at_us);
      if (events_.on_rolled_back) PGA_RETURN_IF_ERROR(events_.on_rolled_back(up_to_us));
      PGA_ASSIGN_OR_RETURN(const int64_t dropped, writer_->DropDeltas({stream_id, stream.last_written_seq}, up_to_us));
      PGA_LOG(warn, "this disk went back to an older state; what it had already delivered is not counted again",
              {{"stream", frame::FormatUuid(stream_id)}, {"frames_dropped", dropped}});
      known = server_seq;
    }
  }
  std::erase_if(state->out, [&](const BatchId& id) { return id.stream_id == stream_id; });
  return absl::OkStatus();
}

absl::Status IngestClient::NoteAck(const std::string& stream_id, int64_t server_seq, const std::string& last_hash,
                                   Streaming* state) {
  int64_t last_seq = server_seq;
  if (state->suspects.contains(stream_id)) {
    // Of such a stream an acknowledgement means the one batch that is out.
    const auto out = std::find_if(state->out.begin(), state->out.end(),
                                  [&](const BatchId& id) { return id.stream_id == stream_id; });
    if (out == state->out.end() || out->seq > server_seq) return absl::OkStatus();
    last_seq = out->seq;
    (void)spool_->Ack(stream_id, last_seq, "");
  } else if (!spool_->Ack(stream_id, last_seq, last_hash)) {
    return Suspect(stream_id, server_seq, state);
  }
  int64_t count = 0;
  std::erase_if(state->out, [&](const BatchId& id) {
    const bool stored = id.stream_id == stream_id && id.seq <= last_seq;
    count += stored ? 1 : 0;
    return stored;
  });
  acked_.Increment(static_cast<double>(count));
  if (count > 0) state->last_progress = clock::SteadyNow();
  int64_t& next = state->next_seq[stream_id];
  next = std::max(next, last_seq + 1);
  if (events_.on_ack) events_.on_ack(stream_id, last_seq);
  return absl::OkStatus();
}

absl::Status IngestClient::Handle(const StreamBatchesResponse& response, Streaming* state) {
  switch (response.message_case()) {
    case StreamBatchesResponse::kHelloAck: {
      const ingestpb::HelloAck& ack = response.hello_ack();
      state->window = std::clamp(ack.window(), 1, kMaxWindow);
      clock_offset_.Set(static_cast<double>(ack.server_time_us() - absl::ToUnixMicros(clock::WallNow())) / 1e6);
      bool history_changed = false;
      for (const ingestpb::StreamWatermark& mark : ack.watermarks()) {
        if (const int64_t lost = spool_->Rewind(mark.stream_id(), mark.last_seq()); lost > 0) {
          replayed_.Increment(static_cast<double>(lost));
          history_changed = true;
          PGA_LOG(warn, "the backend has lost acknowledged batches; they are sent again",
                  {{"stream", frame::FormatUuid(mark.stream_id())}, {"batches", lost}});
        }
        state->next_seq[mark.stream_id()] = mark.last_seq() + 1;
        PGA_RETURN_IF_ERROR(NoteAck(mark.stream_id(), mark.last_seq(), mark.last_hash(), state));
      }
      if (history_changed && events_.on_history_changed) events_.on_history_changed();
      state->greeted = true;
      return absl::OkStatus();
    }
    case StreamBatchesResponse::kAck: {
      const ingestpb::Ack& ack = response.ack();
      PGA_RETURN_IF_ERROR(NoteAck(ack.stream_id(), ack.last_seq(), ack.last_hash(), state));
      if (Failpoint("delivery.after_ack") != 0) return absl::UnavailableError("made to fail after an acknowledgement");
      return absl::OkStatus();
    }
    case StreamBatchesResponse::kReject:
      return HandleReject(response.reject(), state);
    case StreamBatchesResponse::kConfig:
      config_version_ = response.config().version();
      if (events_.on_config) events_.on_config(response.config().version(), response.config().toml());
      return absl::OkStatus();
    case StreamBatchesResponse::MESSAGE_NOT_SET:
      break;
  }
  return absl::OkStatus();
}

absl::Status IngestClient::HandleReject(const ingestpb::Reject& reject, Streaming* state) {
  rejects_.Increment();
  const std::string& stream_id = reject.stream_id();
  const int64_t expected = reject.expected_seq() > 0 ? reject.expected_seq() : reject.seq();
  const auto rewind_cursor = [&](int64_t seq) {
    std::erase_if(state->out, [&](const BatchId& id) { return id.stream_id == stream_id && id.seq >= seq; });
    state->next_seq[stream_id] = seq;
  };
  switch (reject.reason()) {
    case ingestpb::REJECT_REASON_GAP:
      if (const int64_t lost = spool_->Rewind(stream_id, expected - 1); lost > 0) {
        replayed_.Increment(static_cast<double>(lost));
        if (events_.on_history_changed) events_.on_history_changed();
      }
      rewind_cursor(expected);
      break;
    case ingestpb::REJECT_REASON_FORK:
      Fork(stream_id, expected, state);
      break;
    case ingestpb::REJECT_REASON_QUARANTINED:
      PGA_LOG(error, "the backend put a batch aside",
              {{"stream", frame::FormatUuid(stream_id)}, {"seq", reject.seq()}, {"reason", reject.message()}});
      return NoteAck(stream_id, reject.seq(), "", state);
    default: {
      const absl::Duration pause = absl::Milliseconds(std::clamp(reject.retry_after_ms(), 100, 60000));
      state->paused_until = std::max(state->paused_until, clock::SteadyNow() + pause);
      state->last_progress = clock::SteadyNow();
      rewind_cursor(expected);
      PGA_LOG(debug, "the backend asks to wait", {{"reason", reject.message()}, {"pause_s", pause}});
    }
  }
  return absl::OkStatus();
}

void IngestClient::Fork(const std::string& stream_id, int64_t from_seq, Streaming* state) {
  forks_.Increment();
  PGA_LOG(error, "the backend holds other bytes under this stream: a copy of this collector runs",
          {{"stream", frame::FormatUuid(stream_id)}, {"from_seq", from_seq}});
  std::erase_if(state->out, [&](const BatchId& id) { return id.stream_id == stream_id; });
  const auto moved = writer_->Restamp(stream_id, from_seq);
  if (!moved.ok()) {
    PGA_LOG(warn, "batches of a forked stream could not be moved yet", {{"reason", moved.status()}});
    state->paused_until = clock::SteadyNow() + absl::Seconds(5);
  }
  state->next_seq.erase(stream_id);
  state->suspects.erase(stream_id);
  if (events_.on_history_changed) events_.on_history_changed();
}

absl::StatusOr<ingestpb::Batch> IngestClient::PickNext(Streaming* state) {
  for (const SpoolStream& stream : spool_->Streams()) {
    if (state->suspects.contains(stream.stream_id) &&
        std::any_of(state->out.begin(), state->out.end(),
                    [&](const BatchId& id) { return id.stream_id == stream.stream_id; })) {
      continue;
    }
    int64_t& next = state->next_seq[stream.stream_id];
    next = std::max(next, stream.last_acked_seq + 1);
    if (next > stream.last_written_seq) continue;
    bool is_gap = false;
    auto loaded = spool_->Load(stream.stream_id, next, &is_gap);
    if (!loaded.ok()) {
      // The next Hello says anew where the stream stands, and brings the hash that a gap record needs.
      return absl::UnavailableError(absl::StrCat("batch ", next, " of stream ", frame::FormatUuid(stream.stream_id),
                                                 " cannot be read: ", loaded.status().message()));
    }
    if (is_gap) gaps_.Increment();
    return loaded;
  }
  return absl::NotFoundError("nothing to send");
}

}  // namespace pga::collector
