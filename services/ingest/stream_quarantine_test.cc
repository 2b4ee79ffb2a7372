// What a session puts aside: batches that are spoilt, of a foreign source or of an unknown metric.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/clock/clock.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/digest.h"
#include "libs/status/testing.h"
#include "services/ingest/stream_session.h"
#include "services/ingest/stream_session_testing.h"

namespace pga::ingest {
namespace {

namespace ingest_v1 = pganalytics::ingest::v1;

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

}  // namespace
}  // namespace pga::ingest
