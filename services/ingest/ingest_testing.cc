#include "services/ingest/ingest_testing.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/digest.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/uuid.h"
#include "libs/rpc/http_metadata.h"
#include "libs/storage/write/writer_testing.h"

namespace pga::ingest {
namespace ingest_v1 = pganalytics::ingest::v1;

namespace {

// How long a call may take to end.
constexpr absl::Duration kMostForEnd = absl::Seconds(30);

constexpr char kSecret[] = "the secret of tests, of which everybody knows";

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "test set-up: %s\n", status.ToString().c_str());
  std::abort();
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) Die(value.status());
  return *std::move(value);
}

const pganalytics::catalog::v1::Metric& TheSample() {
  static const auto* const metric = new pganalytics::catalog::v1::Metric(storage::SampleMetric());
  return *metric;
}

std::string Sign(token::Principal principal) {
  principal.issued_at = clock::WallNow() - absl::Minutes(1);
  principal.expires_at = clock::WallNow() + absl::Hours(1);
  token::Claims claims;
  claims.principal = std::move(principal);
  return Must(Must(token::Signer::FromSecret(kSecret))->Sign(claims));
}

}  // namespace

std::string CollectorToken(const std::string& collector_id) {
  token::Principal principal;
  principal.kind = token::Principal::kCollector;
  principal.collector_id = collector_id;
  principal.hostname = "test";
  return Sign(std::move(principal));
}

std::string UserToken(const std::string& role) {
  token::Principal principal;
  principal.kind = token::Principal::kUser;
  principal.user_id = 1;
  principal.username = "test";
  principal.role = role;
  return Sign(std::move(principal));
}

absl::StatusOr<std::vector<OwnedSource>> TrustingAuthority::OwnersOf(std::string_view collector_id,
                                                                     const std::vector<SourceDescription>& sources,
                                                                     clock::SteadyTime) {
  std::vector<OwnedSource> owners;
  for (const SourceDescription& source : sources) {
    if (frame::SourceUuid(collector_id, source.name) != source.uuid) continue;
    owners.push_back({.uuid = source.uuid,
                      .name = source.name,
                      .group = "default",
                      .collector_id = std::string(collector_id),
                      .owner_epoch = source.owner_epoch,
                      .owned_since_us = absl::ToUnixMicros(clock::WallNow())});
  }
  return owners;
}

absl::StatusOr<std::vector<SourceDescription>> TrustingAuthority::Report(std::string_view collector_id,
                                                                         const std::vector<PushedSource>& sources,
                                                                         clock::SteadyTime) {
  std::vector<SourceDescription> owned;
  for (const PushedSource& source : sources) {
    owned.push_back(
        {frame::SourceUuid(collector_id, source.name), source.name, std::max<int64_t>(1, source.held_epoch)});
  }
  return owned;
}

IngestHarness::IngestHarness(Options options) {
  // Collectors of tests connect as often as they like.
  if (options.unlimited_hellos) options.config.hellos_per_minute = 0;
  if (absl::Status status = verifier_.SetHmacSecrets({kSecret}); !status.ok()) Die(status);
  signer_ = Must(token::Signer::FromSecret(kSecret));
  revocations_.Apply({}, clock::Clock::Real()->BoottimeNanos());
  authenticator_ = std::make_unique<rpc::Authenticator>(&verifier_, &revocations_);
  identity_ = rpc::ServiceIdentity::Local(signer_.get(), "ingest");
  ingest_ = Must(
      IngestServer::Create(options.config, {.metrics = &metrics_,
                                            .clock = clock::Clock::Real(),
                                            .authenticator = authenticator_.get(),
                                            .revocations = &revocations_,
                                            .identity = identity_.get(),
                                            .registry = options.registry,
                                            .authority = options.authority != nullptr ? options.authority : &trusting_,
                                            .on_write_point = options.on_write_point}));
  rpc::Server::Options server;
  server.name = "ingest";
  server.listen = options.listen;
  server.services = ingest_->services();
  server.max_receive_bytes = kMaxReceiveBytes;
  server_ = Must(rpc::Server::Start(std::move(server)));
}

IngestHarness::~IngestHarness() {
  Drain(absl::Seconds(10));
}

void IngestHarness::Revoke(const std::string& collector_id) {
  const token::Revocation revocation{.number = 1,
                                     .subject = token::CollectorSubject(collector_id),
                                     .issued_before = clock::WallNow() + absl::Seconds(1)};
  revocations_.Apply(std::span(&revocation, 1), clock::Clock::Real()->BoottimeNanos());
}

void IngestHarness::Drain(absl::Duration limit) {
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  ingest_->PrepareDrain();
  server_->Drain(deadline);
  ingest_->Drain(deadline);
}

BatchMaker::BatchMaker(std::string collector_id, int64_t base)
    : source_owner(collector_id),
      metric(&TheSample()),
      collector_id_(std::move(collector_id)),
      base_(base),
      stream_id_(frame::RandomUuid()),
      hash_(frame::ZeroHash()) {}

ingest_v1::Batch BatchMaker::Next(int rows) {
  ++seq_;
  const int64_t now_us = absl::ToUnixMicros(clock::WallNow());
  ingest_v1::BatchContent content;
  ingest_v1::SourceInfo* source = content.add_sources();
  source->set_source_id(frame::SourceUuid(source_owner, "main"));
  source->set_name("main");
  source->set_owner_epoch(owner_epoch);
  ingest_v1::Frame* frame = content.add_frames();
  frame::FrameBuilder builder(*metric, frame);
  frame->set_source_id(source->source_id());
  frame->set_collected_at_us(now_us);
  frame->set_interval_start_us(now_us - 1'000'000);
  frame->set_kind(ingest_v1::FRAME_KIND_DELTA);
  for (int row = 0; row < rows; ++row) {
    builder.SetText(0, absl::StrCat("label ", row));
    builder.SetInt(1, base_ + seq_ * 1000 + row);
    builder.SetDouble(2, row);
    builder.SetInt(3, now_us);
    builder.EndRow();
  }
  if (absl::Status status = builder.Finish(); !status.ok()) Die(status);
  ingest_v1::Batch batch = Must(frame::SealBatch(stream_id_, seq_, hash_, content));
  hash_ = batch.hash();
  return batch;
}

CollectorCall::CollectorCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& token)
    : stub_(ingest_v1::IngestService::NewStub(channel)) {
  if (!token.empty()) context_.AddMetadata(rpc::kAuthorization, absl::StrCat("Bearer ", token));
  context_.set_wait_for_ready(false);
  stream_ = stub_->StreamBatches(&context_);
  reader_ = std::thread([this] { Read(); });
}

CollectorCall::~CollectorCall() {
  context_.TryCancel();
  (void)Finish();
}

void CollectorCall::Read() {
  Response response;
  while (stream_->Read(&response)) {
    absl::MutexLock lock(&mutex_);
    responses_.push_back(std::move(response));
  }
  absl::MutexLock lock(&mutex_);
  ended_ = true;
}

bool CollectorCall::Write(const ingest_v1::StreamBatchesRequest& request) {
  return stream_->Write(request);
}

bool CollectorCall::WriteBatch(const ingest_v1::Batch& batch) {
  ingest_v1::StreamBatchesRequest request;
  *request.mutable_batch() = batch;
  return Write(request);
}

std::unique_ptr<ingest_v1::HelloAck> CollectorCall::Hello(const std::vector<std::string>& streams,
                                                          int32_t config_version) {
  ingest_v1::StreamBatchesRequest request;
  ingest_v1::Hello* hello = request.mutable_hello();
  hello->set_config_version(config_version);
  for (const std::string& stream : streams) hello->add_streams()->set_stream_id(stream);
  if (!Write(request)) return nullptr;
  const auto answer = Next();
  if (answer == nullptr || !answer->has_hello_ack()) return nullptr;
  return std::make_unique<ingest_v1::HelloAck>(answer->hello_ack());
}

std::unique_ptr<CollectorCall::Response> CollectorCall::Next(absl::Duration limit) {
  absl::MutexLock lock(&mutex_);
  const auto news = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !responses_.empty() || ended_; };
  mutex_.AwaitWithTimeout(absl::Condition(&news), limit);
  if (responses_.empty()) return nullptr;
  auto response = std::make_unique<Response>(std::move(responses_.front()));
  responses_.pop_front();
  return response;
}

bool CollectorCall::AwaitAck(const std::string& stream_id, int64_t seq, absl::Duration limit) {
  const clock::SteadyTime deadline = clock::SteadyNow() + limit;
  while (clock::SteadyNow() < deadline) {
    const auto answer = Next(deadline - clock::SteadyNow());
    if (answer == nullptr) return false;
    if (answer->has_ack() && answer->ack().stream_id() == stream_id && answer->ack().last_seq() >= seq) return true;
  }
  return false;
}

grpc::Status CollectorCall::Finish() {
  if (!finished_) {
    {
      // A call that the service does not end is cancelled: the test fails by its status and does not hang.
      absl::MutexLock lock(&mutex_);
      if (!mutex_.AwaitWithTimeout(absl::Condition(&ended_), kMostForEnd)) context_.TryCancel();
    }
    reader_.join();
    status_ = stream_->Finish();
    finished_ = true;
  }
  return status_;
}

SimulatedCollector::SimulatedCollector(Options options, std::function<std::shared_ptr<grpc::Channel>()> channel)
    : options_(std::move(options)), channel_(std::move(channel)), maker_(options_.collector_id, options_.base) {
  thread_ = std::thread([this] { Run(); });
}

SimulatedCollector::~SimulatedCollector() {
  abandoned_ = true;
  thread_.join();
}

void SimulatedCollector::Run() {
  while (!abandoned_ && !done_) {
    Deliver();
    // What a real collector does after a broken call, in small.
    if (!done_ && !abandoned_) clock::SleepFor(absl::Milliseconds(20));
  }
}

void SimulatedCollector::Deliver() {
  CollectorCall call(channel_(), CollectorToken(options_.collector_id));
  ++connections_;
  const auto hello = call.Hello({maker_.stream_id()});
  if (hello == nullptr) return;
  int64_t next = hello->watermarks(0).last_seq() + 1;
  spool_.erase(spool_.begin(), spool_.lower_bound(next));
  if (acked_ < next - 1) acked_ = next - 1;
  clock::SteadyTime not_before;
  while (!abandoned_) {
    const bool more = options_.batches == 0 ? !stopping_ : maker_.seq() < options_.batches;
    if (!more && spool_.empty()) {
      done_ = true;
      call.WritesDone();
      return;
    }
    while (clock::SteadyNow() >= not_before && next - acked_ <= options_.window) {
      if (next > maker_.seq()) {
        if (!more || (options_.batches != 0 && maker_.seq() >= options_.batches)) break;
        spool_[next] = maker_.Next(options_.rows);
        made_ = next;
      }
      const auto batch = spool_.find(next);
      if (batch == spool_.end()) break;  // acknowledged meanwhile
      if (!call.WriteBatch(batch->second)) return;
      ++next;
    }
    auto answer = call.Next(absl::Milliseconds(50));
    if (answer == nullptr) {
      if (call.Ended()) return;
      continue;
    }
    while (answer != nullptr) {
      if (answer->has_ack()) {
        acked_ = std::max<int64_t>(acked_, answer->ack().last_seq());
        spool_.erase(spool_.begin(), spool_.upper_bound(acked_));
      } else if (answer->has_reject()) {
        next = answer->reject().expected_seq();
        not_before = clock::SteadyNow() +
                     std::min(absl::Milliseconds(answer->reject().retry_after_ms()), absl::Milliseconds(200));
      }
      answer = call.Next(absl::ZeroDuration());
    }
  }
}

}  // namespace pga::ingest
