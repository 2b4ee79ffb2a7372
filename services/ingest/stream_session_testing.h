// A stream session with a store, a writer and a call that the test plays. Tests only.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/digest.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/uuid.h"
#include "libs/status/testing.h"
#include "services/ingest/stream_session.h"

namespace pga::ingest {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

inline constexpr absl::Duration kLimit = absl::Seconds(20);

inline catalog_v1::Metric Sample() {
  catalog_v1::Metric metric;
  metric.set_name("sample");
  metric.set_schema_version(1);
  metric.set_scope(catalog_v1::SCOPE_INSTANCE);
  catalog_v1::Column* column = metric.add_columns();
  column->set_name("calls");
  column->set_type(catalog_v1::COLUMN_TYPE_INT8);
  column->set_kind(catalog_v1::COLUMN_KIND_COUNTER);
  column->set_since_schema_version(1);
  return metric;
}

// The database in memory, as far as sessions ask it.
class FakeStore final : public IngestStore {
 public:
  absl::StatusOr<OpenedSession> OpenSession(std::string_view, const std::vector<StreamClaim>& streams,
                                            clock::SteadyTime) override {
    if (!open_status.ok()) return open_status;
    OpenedSession opened;
    opened.collector = 7;
    opened.session = ++session;
    for (const StreamClaim& stream : streams) opened.positions.push_back({stream.stream_id, 0, frame::ZeroHash()});
    return opened;
  }
  absl::StatusOr<std::vector<ResolvedSource>> ResolveSources(int32_t, std::string_view,
                                                             const std::vector<SourceDescription>& sources,
                                                             clock::SteadyTime) override {
    ++resolved;
    if (!resolve_status.ok()) return resolve_status;
    std::vector<ResolvedSource> answers(sources.size());
    for (ResolvedSource& answer : answers) {
      answer.id = 1;
      answer.owner_epoch = 1;
      answer.refusal = refusal;
    }
    return answers;
  }
  absl::StatusOr<std::vector<std::string>> ApplyOwners(const std::vector<OwnedSource>&, clock::SteadyTime) override {
    return std::vector<std::string>();
  }
  absl::Status Carry(int32_t, int64_t, clock::SteadyTime) override { return absl::OkStatus(); }
  absl::StatusOr<CarriedCounters> LoadCarried(int32_t, int64_t, int16_t, int64_t, clock::SteadyTime) override {
    return absl::NotFoundError("nothing is carried over");
  }
  absl::Status TouchSources(const std::vector<int32_t>&, clock::SteadyTime) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<AppliedMetric>> LoadCatalog(clock::SteadyTime) override {
    return std::vector<AppliedMetric>{{1, 1, Sample()}};
  }
  absl::StatusOr<int32_t> CollectorNumberOf(std::string_view, clock::SteadyTime) override { return 1; }
  absl::Status Ping(clock::SteadyTime) override { return absl::OkStatus(); }

  absl::Status open_status;
  absl::Status resolve_status;
  std::atomic<int> resolved{0};
  std::atomic<int64_t> session{0};
  std::string refusal;
};

// Commits in order like the real one, unless a test sets another outcome.
class FakeWriter final : public BatchWriter {
 public:
  struct Control {
    absl::Mutex mutex;
    bool held ABSL_GUARDED_BY(mutex) = false;
    std::map<std::string, int64_t> last ABSL_GUARDED_BY(mutex);
    std::vector<std::string> reasons ABSL_GUARDED_BY(mutex);
    // Outcome of a number, once; the number is not stored then.
    std::map<int64_t, storage::BatchOutcome> faults ABSL_GUARDED_BY(mutex);
    bool Free() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return !held; }
    void Hold(bool hold) {
      absl::MutexLock lock(&mutex);
      held = hold;
    }
  };
  explicit FakeWriter(Control* control) : control_(control) {}
  std::vector<storage::BatchResult> WriteGroup(const std::vector<const storage::PreparedBatch*>& batches) override {
    absl::MutexLock lock(&control_->mutex);
    EXPECT_TRUE(control_->mutex.AwaitWithTimeout(absl::Condition(control_, &Control::Free), kLimit));
    std::vector<storage::BatchResult> results;
    for (const storage::PreparedBatch* batch : batches) {
      storage::BatchResult result;
      int64_t& last = control_->last[batch->stream_id];
      const auto fault = control_->faults.find(batch->seq);
      if (fault != control_->faults.end()) {
        result.outcome = fault->second;
        result.status = absl::UnavailableError("made to fail");
        result.retry_after = absl::Milliseconds(250);
        result.expected_seq = batch->seq;
        control_->faults.erase(fault);
      } else if (batch->seq <= last) {
        result.outcome = storage::BatchOutcome::kDuplicate;
      } else if (batch->seq > last + 1) {
        result.outcome = storage::BatchOutcome::kGap;
        result.expected_seq = last + 1;
        result.status = absl::OutOfRangeError("gap");
      } else {
        last = batch->seq;
        result.outcome =
            batch->quarantine_reason.empty() ? storage::BatchOutcome::kCommitted : storage::BatchOutcome::kQuarantined;
        if (!batch->quarantine_reason.empty()) {
          control_->reasons.push_back(batch->quarantine_reason);
          result.status = absl::InvalidArgumentError(batch->quarantine_message);
        }
      }
      result.last_seq = last;
      result.last_hash = batch->hash;
      results.push_back(std::move(result));
    }
    return results;
  }

 private:
  Control* const control_;
};

// The call, played by the test: messages go in, answers are collected.
class FakeSink final : public StreamSink {
 public:
  explicit FakeSink(std::shared_ptr<StreamSession> session) : session_(std::move(session)) {}
  ~FakeSink() override { session_->OnDone(); }

  void StartRead(ingest_v1::StreamBatchesRequest* message) override {
    absl::MutexLock lock(&mutex_);
    ASSERT_EQ(reading_, nullptr);
    reading_ = message;
  }
  void StartWrite(const ingest_v1::StreamBatchesResponse* message) override {
    absl::MutexLock lock(&mutex_);
    ASSERT_FALSE(writing_);
    ASSERT_FALSE(finished_);
    writing_ = true;
    responses_.push_back(*message);
  }
  void Finish(const absl::Status& status) override {
    absl::MutexLock lock(&mutex_);
    ASSERT_FALSE(finished_);
    finished_ = true;
    status_ = status;
  }
  void Cancel() override {}

  // Waits until the session reads, then gives it the message. False when it does not read within `limit`.
  bool Send(const ingest_v1::StreamBatchesRequest& message, absl::Duration limit = kLimit) {
    {
      absl::MutexLock lock(&mutex_);
      if (!AwaitLocked([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return reading_ != nullptr; }, limit)) {
        return false;
      }
      *reading_ = message;
      reading_ = nullptr;
    }
    session_->OnReadDone(true);
    return true;
  }
  bool SendBatch(const ingest_v1::Batch& batch, absl::Duration limit = kLimit) {
    ingest_v1::StreamBatchesRequest request;
    *request.mutable_batch() = batch;
    return Send(request, limit);
  }
  // The next answer; acknowledges writes as it goes.
  ingest_v1::StreamBatchesResponse Next() {
    ingest_v1::StreamBatchesResponse response;
    {
      absl::MutexLock lock(&mutex_);
      if (!AwaitLocked([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return taken_ < responses_.size(); }, kLimit)) {
        ADD_FAILURE() << "no answer came";
        return response;
      }
      response = responses_[taken_++];
      writing_ = false;
    }
    session_->OnWriteDone(true);
    return response;
  }
  size_t Pending() {
    absl::MutexLock lock(&mutex_);
    return responses_.size() - taken_;
  }
  absl::Status AwaitFinish() {
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(AwaitLocked([this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return finished_; }, kLimit));
    return status_;
  }
  bool reading() {
    absl::MutexLock lock(&mutex_);
    return reading_ != nullptr;
  }

 private:
  template <typename F>
  bool AwaitLocked(const F& condition, absl::Duration limit) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), limit);
  }
  const std::shared_ptr<StreamSession> session_;
  absl::Mutex mutex_;
  ingest_v1::StreamBatchesRequest* reading_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  std::vector<ingest_v1::StreamBatchesResponse> responses_ ABSL_GUARDED_BY(mutex_);
  size_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Seals batches of one row.
class Stream {
 public:
  explicit Stream(std::string collector_id) : collector_id_(std::move(collector_id)) {}
  ingest_v1::Batch Next(absl::Time collected = clock::WallNow()) {
    ingest_v1::BatchContent content;
    ingest_v1::SourceInfo* source = content.add_sources();
    source->set_source_id(frame::SourceUuid(collector_id_, "db"));
    source->set_name("db");
    const catalog_v1::Metric metric = Sample();
    ingest_v1::Frame* frame = content.add_frames();
    frame::FrameBuilder builder(metric, frame);
    frame->set_source_id(source->source_id());
    frame->set_collected_at_us(absl::ToUnixMicros(collected));
    frame->set_interval_start_us(frame->collected_at_us() - 60'000'000);
    frame->set_kind(ingest_v1::FRAME_KIND_DELTA);
    builder.SetInt(0, ++seq_);
    builder.EndRow();
    EXPECT_THAT(builder.Finish(), status::IsOk());
    auto batch = frame::SealBatch(stream_id, seq_, hash_, content);
    EXPECT_THAT(batch, status::IsOk());
    hash_ = batch->hash();
    return *std::move(batch);
  }
  const std::string stream_id = frame::RandomUuid();

 private:
  const std::string collector_id_;
  int64_t seq_ = 0;
  std::string hash_ = frame::ZeroHash();
};

class StreamSessionTest : public ::testing::Test {
 protected:
  StreamSessionTest() {
    std::vector<std::unique_ptr<BatchWriter>> writers;
    writers.push_back(std::make_unique<FakeWriter>(&control_));
    queue_ = std::make_unique<WriteQueue>(WriteQueueOptions{}, std::move(writers), nullptr);
    context_.window = 4;
    context_.store = &store_;
    context_.preparer = &preparer_;
    context_.sources = &sources_;
    context_.queue = queue_.get();
    context_.budget = &budget_;
    context_.decode_pool = &decode_pool_;
    context_.control_pool = &control_pool_;
    context_.registry = &registry_;
    context_.revocations = &revocations_;
    context_.clock = clock::Clock::Real();
  }
  ~StreamSessionTest() override {
    control_.Hold(false);
    control_pool_.Drain(clock::SteadyNow() + kLimit);
    decode_pool_.Drain(clock::SteadyNow() + kLimit);
    queue_->Drain(clock::SteadyNow() + kLimit);
  }

  struct Opened {
    std::shared_ptr<StreamSession> session;
    std::unique_ptr<FakeSink> sink;
  };
  Opened Start(const std::string& collector_id = "c1") {
    token::Principal principal;
    principal.kind = token::Principal::kCollector;
    principal.collector_id = collector_id;
    principal.subject = token::CollectorSubject(collector_id);
    principal.issued_at = clock::WallNow() - absl::Hours(1);
    Opened opened;
    opened.session = std::make_shared<StreamSession>(&context_, principal);
    EXPECT_TRUE(registry_.Add(opened.session, 100));
    opened.sink = std::make_unique<FakeSink>(opened.session);
    opened.session->Start(opened.sink.get());
    return opened;
  }
  static ingest_v1::StreamBatchesRequest Hello(const std::vector<std::string>& streams = {}) {
    ingest_v1::StreamBatchesRequest request;
    request.mutable_hello();
    for (const std::string& stream : streams) request.mutable_hello()->add_streams()->set_stream_id(stream);
    return request;
  }
  Opened Open(const std::string& collector_id = "c1") {
    Opened opened = Start(collector_id);
    EXPECT_TRUE(opened.sink->Send(Hello()));
    EXPECT_TRUE(opened.sink->Next().has_hello_ack());
    return opened;
  }

  FakeStore store_;
  FakeWriter::Control control_;
  AppliedCatalog catalog_{&store_};
  SourceDirectory sources_{&store_, nullptr};
  BatchPreparer preparer_{{}, &catalog_, &sources_, &store_, clock::Clock::Real()};
  FlowBudget budget_{10'000, int64_t{1} << 30};
  SessionRegistry registry_;
  token::RevocationSet revocations_;
  exec::ThreadPool decode_pool_{"decode", 2, 100};
  exec::ThreadPool control_pool_{"hello", 1, 100};
  std::unique_ptr<WriteQueue> queue_;
  SessionContext context_;
};

}  // namespace pga::ingest
