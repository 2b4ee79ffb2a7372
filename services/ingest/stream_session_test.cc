// A call from hello to its end: windows, acknowledgements, sessions that end one another.
#include "services/ingest/stream_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/status/testing.h"
#include "libs/testing/subprocess.h"
#include "services/ingest/stream_session_testing.h"

namespace pga::ingest {
namespace {

namespace ingest_v1 = pganalytics::ingest::v1;
using storage::BatchOutcome;

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
