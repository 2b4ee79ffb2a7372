#include "services/ingest/stream_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/digest.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/uuid.h"
#include "libs/status/testing.h"
#include "libs/testing/subprocess.h"

namespace pga::ingest {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;
using storage::BatchOutcome;
using storage::BatchResult;
using storage::PreparedBatch;

constexpr absl::Duration kLimit = absl::Seconds(20);

catalog_v1::Metric Sample() {
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
  absl::Status StorePush(std::string_view, std::string_view, const std::vector<PushedElement>&,
                         clock::SteadyTime) override {
    return absl::OkStatus();
  }
  absl::Status Ping(clock::SteadyTime) override { return absl::OkStatus(); }

  absl::Status open_status;
  absl::Status resolve_status;
  std::atomic<int> resolved{0};
  std::atomic<int64_t> session{0};
  std::string refusal;
};

// Commits in order like the real one, unless told otherwise.
class FakeWriter final : public BatchWriter {
 public:
  struct Control {
    absl::Mutex mutex;
    bool held ABSL_GUARDED_BY(mutex) = false;
    std::map<std::string, int64_t> last ABSL_GUARDED_BY(mutex);
    std::vector<std::string> reasons ABSL_GUARDED_BY(mutex);
    // Outcome of a number, once; the number is not stored then.
    std::map<int64_t, BatchOutcome> faults ABSL_GUARDED_BY(mutex);
    bool Free() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return !held; }
    void Hold(bool hold) {
      absl::MutexLock lock(&mutex);
      held = hold;
    }
  };
  explicit FakeWriter(Control* control) : control_(control) {}
  std::vector<BatchResult> WriteGroup(const std::vector<const PreparedBatch*>& batches) override {
    absl::MutexLock lock(&control_->mutex);
    EXPECT_TRUE(control_->mutex.AwaitWithTimeout(absl::Condition(control_, &Control::Free), kLimit));
    std::vector<BatchResult> results;
    for (const PreparedBatch* batch : batches) {
      BatchResult result;
      int64_t& last = control_->last[batch->stream_id];
      const auto fault = control_->faults.find(batch->seq);
      if (fault != control_->faults.end()) {
        result.outcome = fault->second;
        result.status = absl::UnavailableError("made to fail");
        result.retry_after = absl::Milliseconds(250);
        result.expected_seq = batch->seq;
        control_->faults.erase(fault);
      } else if (batch->seq <= last) {
        result.outcome = BatchOutcome::kDuplicate;
      } else if (batch->seq > last + 1) {
        result.outcome = BatchOutcome::kGap;
        result.expected_seq = last + 1;
        result.status = absl::OutOfRangeError("gap");
      } else {
        last = batch->seq;
        result.outcome = batch->quarantine_reason.empty() ? BatchOutcome::kCommitted : BatchOutcome::kQuarantined;
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

TEST_F(StreamSessionTest, HelloGivesWatermarksAndWindow) {
  Opened call = Start();
  ASSERT_TRUE(call.sink->Send(Hello({std::string(16, 'a'), std::string(16, 'b')})));
  const auto answer = call.sink->Next();
  ASSERT_TRUE(answer.has_hello_ack());
  EXPECT_EQ(answer.hello_ack().watermarks_size(), 2);
  EXPECT_EQ(answer.hello_ack().window(), 4);
  EXPECT_GT(answer.hello_ack().server_time_us(), 0);
}

TEST_F(StreamSessionTest, OtherBytesUnderTheAcknowledgedNumberAreCountedAtHello) {
  metrics::Registry figures(false);
  SessionInstruments instruments(&figures);
  context_.instruments = &instruments;
  {
    Opened call = Start();
    ingest_v1::StreamBatchesRequest hello = Hello({frame::RandomUuid(), frame::RandomUuid(), frame::RandomUuid()});
    hello.mutable_hello()->mutable_streams(0)->set_last_acked_hash(frame::ZeroHash());
    hello.mutable_hello()->mutable_streams(1)->set_last_acked_hash(std::string(frame::kHashBytes, 'x'));
    ASSERT_TRUE(call.sink->Send(hello));
    EXPECT_TRUE(call.sink->Next().has_hello_ack());
    EXPECT_THAT(figures.Render(), ::testing::HasSubstr("pga_ingest_forked_total 1"));
    control_pool_.Drain(clock::SteadyNow() + kLimit);  // its last hold on the session
  }
  context_.instruments = nullptr;
}

TEST_F(StreamSessionTest, AcksAreCumulative) {
  Opened call = Open();
  Stream stream("c1");
  control_.Hold(true);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(call.sink->SendBatch(stream.Next()));
  control_.Hold(false);
  int64_t acked = 0;
  while (acked < 4) {
    const auto answer = call.sink->Next();
    ASSERT_TRUE(answer.has_ack()) << answer.ShortDebugString();
    ASSERT_GT(answer.ack().last_seq(), acked);
    acked = answer.ack().last_seq();
    EXPECT_EQ(answer.ack().stream_id(), stream.stream_id);
  }
  EXPECT_EQ(budget_.rows(), 0);
}

TEST_F(StreamSessionTest, ReadsNoFurtherThanTheWindow) {
  Opened call = Open();
  Stream stream("c1");
  control_.Hold(true);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(call.sink->SendBatch(stream.Next()));
  EXPECT_FALSE(call.sink->SendBatch(stream.Next(), absl::Milliseconds(50)));
  control_.Hold(false);
  while (call.sink->Next().ack().last_seq() < 4) {
  }
  EXPECT_TRUE(call.sink->SendBatch(Stream("c1").Next()));
}

TEST_F(StreamSessionTest, FirstMessageMustBeHelloAndOnlyOnce) {
  Opened batch_first = Start();
  ASSERT_TRUE(batch_first.sink->SendBatch(Stream("c1").Next()));
  EXPECT_THAT(batch_first.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kInvalidArgument));

  Opened twice = Open();
  ASSERT_TRUE(twice.sink->Send(Hello()));
  EXPECT_THAT(twice.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kInvalidArgument));

  Opened empty = Start();
  ASSERT_TRUE(empty.sink->Send({}));
  EXPECT_THAT(empty.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(StreamSessionTest, HelloThatTheDatabaseRefusesEndsTheCall) {
  store_.open_status = absl::AbortedError("newer");
  Opened call = Start();
  ASSERT_TRUE(call.sink->Send(Hello()));
  EXPECT_THAT(call.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kAborted));
}

TEST_F(StreamSessionTest, BatchWithoutIdentityEndsTheCall) {
  Opened call = Open();
  ingest_v1::Batch batch = Stream("c1").Next();
  batch.set_stream_id("short");
  ASSERT_TRUE(call.sink->SendBatch(batch));
  EXPECT_THAT(call.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kInvalidArgument));
}

struct SpoiltCase {
  const char* name;
  std::function<void(ingest_v1::Batch*)> spoil;
  const char* reason;
};

class QuarantineTest : public StreamSessionTest, public ::testing::WithParamInterface<SpoiltCase> {};

TEST_P(QuarantineTest, IsPutAsideAndTheStreamGoesOn) {
  Opened call = Open();
  Stream stream("c1");
  ingest_v1::Batch batch = stream.Next();
  GetParam().spoil(&batch);
  ASSERT_TRUE(call.sink->SendBatch(batch));
  ASSERT_TRUE(call.sink->SendBatch(stream.Next()));
  bool rejected = false;
  int64_t acked = 0;
  while (!rejected || acked < 2) {
    const auto answer = call.sink->Next();
    if (answer.has_reject()) {
      EXPECT_EQ(answer.reject().reason(), ingest_v1::REJECT_REASON_QUARANTINED);
      EXPECT_EQ(answer.reject().seq(), 1);
      EXPECT_FALSE(answer.reject().message().empty());
      rejected = true;
    } else {
      ASSERT_TRUE(answer.has_ack());
      acked = answer.ack().last_seq();
    }
  }
  absl::MutexLock lock(&control_.mutex);
  EXPECT_THAT(control_.reasons, ::testing::ElementsAre(GetParam().reason));
}

std::string SpoiltName(const ::testing::TestParamInfo<SpoiltCase>& test) {
  return test.param.name;
}

void Reseal(ingest_v1::Batch* batch, const std::function<void(ingest_v1::BatchContent*)>& change) {
  google::protobuf::Arena arena;
  auto content = frame::OpenBatch(*batch, &arena);
  ASSERT_THAT(content.status(), status::IsOk());
  change(*content);
  auto sealed = frame::SealBatch(batch->stream_id(), batch->seq(), batch->prev_hash(), **content);
  ASSERT_THAT(sealed.status(), status::IsOk());
  *batch = *std::move(sealed);
}

INSTANTIATE_TEST_SUITE_P(
    Batches, QuarantineTest,
    ::testing::Values(
        SpoiltCase{"Payload", [](auto* b) { (*b->mutable_payload())[5] ^= 1; }, "hash"},
        SpoiltCase{"Hash", [](auto* b) { (*b->mutable_hash())[5] ^= 1; }, "hash"},
        SpoiltCase{"RowCount", [](auto* b) { b->set_row_count(2); }, "malformed"},
        SpoiltCase{"NotZstd",
                   [](auto* b) {
                     b->set_payload("plain text");
                     b->set_hash(frame::ChainHash(b->prev_hash(), b->stream_id(), b->seq(), b->payload()));
                   },
                   "malformed"},
        SpoiltCase{"ColumnMissing", [](auto* b) { Reseal(b, [](auto* c) { c->mutable_frames(0)->clear_columns(); }); },
                   "malformed"},
        SpoiltCase{"KeyframeRowsBad",
                   [](auto* b) { Reseal(b, [](auto* c) { c->mutable_frames(0)->set_row_flags("xx"); }); }, "malformed"},
        SpoiltCase{"FromTheFuture",
                   [](auto* b) {
                     Reseal(b, [](auto* c) {
                       c->mutable_frames(0)->set_collected_at_us(
                           absl::ToUnixMicros(clock::WallNow() + absl::Minutes(11)));
                     });
                   },
                   "clock"},
        SpoiltCase{"FromBeforeRetention",
                   [](auto* b) {
                     Reseal(b, [](auto* c) {
                       const int64_t us = absl::ToUnixMicros(clock::WallNow() - absl::Hours(24 * 31));
                       c->mutable_frames(0)->set_collected_at_us(us);
                       c->mutable_frames(0)->set_interval_start_us(us - 1);
                     });
                   },
                   "clock"},
        SpoiltCase{"GapThatDoesNotFit",
                   [](auto* b) {
                     Reseal(b, [](auto* c) {
                       c->mutable_gap()->set_first_seq(1);
                       c->mutable_gap()->set_last_seq(5);
                       c->mutable_gap()->set_hash_before(frame::ZeroHash());
                       c->mutable_gap()->set_hash_after(frame::ZeroHash());
                     });
                   },
                   "malformed"}),
    SpoiltName);

TEST_F(StreamSessionTest, ForeignSourceIsPutAside) {
  store_.refusal = storage::quarantine_reason::kOwner;
  Opened call = Open();
  ASSERT_TRUE(call.sink->SendBatch(Stream("c1").Next()));
  EXPECT_EQ(call.sink->Next().reject().reason(), ingest_v1::REJECT_REASON_QUARANTINED);
}

TEST_F(StreamSessionTest, UnknownMetricIsNotPoison) {
  Opened call = Open();
  Stream stream("c1");
  ingest_v1::Batch batch = stream.Next();
  Reseal(&batch, [](auto* c) { c->mutable_frames(0)->set_metric("next_release"); });
  ASSERT_TRUE(call.sink->SendBatch(batch));
  const auto answer = call.sink->Next();
  ASSERT_TRUE(answer.has_reject());
  EXPECT_EQ(answer.reject().reason(), ingest_v1::REJECT_REASON_SCHEMA);
  EXPECT_EQ(answer.reject().expected_seq(), 1);
  EXPECT_GT(answer.reject().retry_after_ms(), 0);
  EXPECT_EQ(budget_.rows(), 0);
}

// After a reject everything behind it is left unread until the expected number comes; one reject is said, not many.
TEST_F(StreamSessionTest, RewindIsSaidOnceAndTheRestComesAgain) {
  Opened call = Open();
  Stream stream("c1");
  std::vector<ingest_v1::Batch> batches;
  for (int i = 0; i < 8; ++i) batches.push_back(stream.Next());
  {
    absl::MutexLock lock(&control_.mutex);
    control_.faults[2] = BatchOutcome::kRetry;
  }
  control_.Hold(true);
  for (size_t i = 0; i < 4; ++i) ASSERT_TRUE(call.sink->SendBatch(batches[i]));
  control_.Hold(false);
  int rejects = 0;
  int64_t acked = 0;
  while (rejects == 0 || acked < 1) {
    const auto answer = call.sink->Next();
    if (answer.has_reject()) {
      ++rejects;
      EXPECT_EQ(answer.reject().reason(), ingest_v1::REJECT_REASON_RETRY);
      EXPECT_EQ(answer.reject().expected_seq(), 2);
      EXPECT_EQ(answer.reject().retry_after_ms(), 250);
    } else {
      acked = answer.ack().last_seq();
    }
  }
  // What was on its way is dropped without an answer.
  for (size_t i = 4; i < 8; ++i) ASSERT_TRUE(call.sink->SendBatch(batches[i]));
  EXPECT_EQ(call.sink->Pending(), 0u);
  // The collector rewinds.
  for (size_t i = 1; i < 8; ++i) {
    ASSERT_TRUE(call.sink->SendBatch(batches[i]));
    while (acked < static_cast<int64_t>(i) + 1) {
      const auto answer = call.sink->Next();
      ASSERT_TRUE(answer.has_ack()) << answer.ShortDebugString();
      acked = answer.ack().last_seq();
    }
  }
  EXPECT_EQ(rejects, 1);
}

// A collector that sends refused batches and takes no answers is read no further than its window.
TEST_F(StreamSessionTest, UnsentRejectsFillTheWindow) {
  store_.refusal = storage::quarantine_reason::kOwner;
  Opened call = Open();
  Stream stream("c1");
  int sent = 0;
  while (sent < 20 && call.sink->SendBatch(stream.Next(), absl::Milliseconds(sent < 5 ? 20'000 : 200))) ++sent;
  // Four in the window and one answer that is being written.
  EXPECT_LE(sent, 6);
  EXPECT_GE(sent, 4);
  EXPECT_TRUE(call.sink->Next().has_reject());
  EXPECT_TRUE(call.sink->SendBatch(stream.Next()));
}

TEST_F(StreamSessionTest, StreamsOfOneCallAreIndependent) {
  Opened call = Open();
  Stream live("c1"), sealed("c1");
  {
    absl::MutexLock lock(&control_.mutex);
    control_.faults[1] = BatchOutcome::kRetry;  // the first one written
  }
  ASSERT_TRUE(call.sink->SendBatch(sealed.Next()));
  ASSERT_TRUE(call.sink->Next().has_reject());
  ASSERT_TRUE(call.sink->SendBatch(live.Next()));
  const auto answer = call.sink->Next();
  ASSERT_TRUE(answer.has_ack());
  EXPECT_EQ(answer.ack().stream_id(), live.stream_id);
}

TEST_F(StreamSessionTest, NewerSessionEndsTheOlder) {
  Opened older = Open();
  Opened newer = Open();
  EXPECT_THAT(older.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kAborted));
  Stream stream("c1");
  ASSERT_TRUE(newer.sink->SendBatch(stream.Next()));
  EXPECT_TRUE(newer.sink->Next().has_ack());
}

TEST_F(StreamSessionTest, FencedByTheDatabaseEndsTheCall) {
  Opened call = Open();
  {
    absl::MutexLock lock(&control_.mutex);
    control_.faults[1] = BatchOutcome::kFenced;
  }
  ASSERT_TRUE(call.sink->SendBatch(Stream("c1").Next()));
  EXPECT_FALSE(call.sink->AwaitFinish().ok());
}

TEST_F(StreamSessionTest, DatabaseThatDoesNotKnowTheNumbersEndsTheCallAndIsAskedAgain) {
  Opened call = Open();
  Stream stream("c1");
  ASSERT_TRUE(call.sink->SendBatch(stream.Next()));
  EXPECT_TRUE(call.sink->Next().has_ack());
  {
    absl::MutexLock lock(&control_.mutex);
    control_.faults[2] = BatchOutcome::kStale;
  }
  const ingest_v1::Batch second = stream.Next();
  ASSERT_TRUE(call.sink->SendBatch(second));
  EXPECT_EQ(status::ReasonOf(call.sink->AwaitFinish()), kReasonDatabaseChanged);
  EXPECT_EQ(store_.resolved, 1);
  Opened again = Open();
  ASSERT_TRUE(again.sink->SendBatch(second));
  EXPECT_TRUE(again.sink->Next().has_ack());
  EXPECT_EQ(store_.resolved, 2);
}

TEST_F(StreamSessionTest, NumberThatIsNotTheCollectorsEndsTheCall) {
  store_.resolve_status = status::WithReason(absl::UnavailableError("unknown"), kReasonDatabaseChanged);
  Opened call = Open();
  ASSERT_TRUE(call.sink->SendBatch(Stream("c1").Next()));
  EXPECT_EQ(status::ReasonOf(call.sink->AwaitFinish()), kReasonDatabaseChanged);
  EXPECT_EQ(budget_.rows(), 0);
}

TEST_F(StreamSessionTest, RevokedCredentialEndsTheCall) {
  Opened call = Open();
  const token::Revocation revocation{
      .number = 1, .subject = token::CollectorSubject("c1"), .issued_before = clock::WallNow()};
  revocations_.Apply(std::span(&revocation, 1), clock::Clock::Real()->BoottimeNanos());
  call.session->Tick();
  EXPECT_THAT(call.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(StreamSessionTest, DrainAcknowledgesWhatIsUnderWay) {
  Opened call = Open();
  Stream stream("c1");
  control_.Hold(true);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(call.sink->SendBatch(stream.Next()));
  call.session->BeginDrain();
  control_.Hold(false);
  int64_t acked = 0;
  while (acked < 3) acked = call.sink->Next().ack().last_seq();
  EXPECT_THAT(call.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(StreamSessionTest, ClientThatClosesItsSideGetsItsAcks) {
  Opened call = Open();
  Stream stream("c1");
  control_.Hold(true);
  ASSERT_TRUE(call.sink->SendBatch(stream.Next()));
  call.session->OnReadDone(false);
  control_.Hold(false);
  EXPECT_TRUE(call.sink->Next().has_ack());
  EXPECT_THAT(call.sink->AwaitFinish(), status::IsOk());
}

// A commit may end after the call has: nothing is touched that is gone.
TEST_F(StreamSessionTest, AnswerAfterTheEndOfTheCallIsHarmless) {
  Stream stream("c1");
  std::weak_ptr<StreamSession> weak;
  {
    Opened call = Open();
    weak = call.session;
    control_.Hold(true);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(call.sink->SendBatch(stream.Next()));
    call.session->OnCancel();
    EXPECT_THAT(call.sink->AwaitFinish(), status::StatusIs(absl::StatusCode::kCancelled));
    call.session->OnReadDone(false);
  }
  control_.Hold(false);
  queue_->Drain(clock::SteadyNow() + kLimit);
  decode_pool_.Drain(clock::SteadyNow() + kLimit);
  EXPECT_EQ(budget_.rows(), 0);
  // A thread of a pool may be about to let go of it.
  EXPECT_TRUE(testing::WaitUntil([&] { return weak.expired(); }, kLimit));
  EXPECT_EQ(registry_.size(), 0u);
}

TEST_F(StreamSessionTest, FullBudgetParksAStreamUntilRowsAreCommitted) {
  FlowBudget small(1, int64_t{1} << 30);
  context_.budget = &small;
  Opened one = Open("c1");
  Opened two = Open("c2");
  Stream first("c1"), second("c2");
  control_.Hold(true);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(one.sink->SendBatch(first.Next()));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(two.sink->SendBatch(second.Next()));
  EXPECT_LE(small.rows(), 1);
  control_.Hold(false);
  int64_t acked = 0;
  while (acked < 3) acked = one.sink->Next().ack().last_seq();
  acked = 0;
  while (acked < 3) acked = two.sink->Next().ack().last_seq();
  EXPECT_EQ(small.rows(), 0);
  EXPECT_EQ(small.waiting(), 0u);
}

TEST_F(StreamSessionTest, ConfigIsPushedOnceAndOnlyIfNewer) {
  Opened call = Start();
  ingest_v1::StreamBatchesRequest hello = Hello();
  hello.mutable_hello()->set_config_version(3);
  ASSERT_TRUE(call.sink->Send(hello));
  EXPECT_TRUE(call.sink->Next().has_hello_ack());
  EXPECT_EQ(call.session->config_version(), 3);
  call.session->PushConfig(3, "old = true");
  call.session->PushConfig(4, "new = true");
  const auto answer = call.sink->Next();
  ASSERT_TRUE(answer.has_config());
  EXPECT_EQ(answer.config().version(), 4);
  EXPECT_EQ(answer.config().toml(), "new = true");
  EXPECT_EQ(call.sink->Pending(), 0u);
}

}  // namespace
}  // namespace pga::ingest
