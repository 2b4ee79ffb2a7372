#include "libs/storage/write/group_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/frame/digest.h"
#include "libs/frame/uuid.h"
#include "libs/status/testing.h"
#include "libs/storage/write/writer_testing.h"

namespace pga::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::unique_ptr<GroupWriter> MakeWriter(const std::string& url, std::function<void(WritePoint)> on_point = nullptr,
                                        absl::Duration lookup_timeout = absl::Seconds(10)) {
  GroupWriterOptions options;
  options.url = url;
  options.on_point = std::move(on_point);
  options.lookup_timeout = lookup_timeout;
  options.connect_timeout = absl::Seconds(3);
  auto writer = GroupWriter::Create(std::move(options));
  if (!writer.ok()) std::abort();
  return *std::move(writer);
}

std::vector<BatchResult> Write(GroupWriter& writer, const std::vector<std::unique_ptr<PreparedBatch>>& batches) {
  std::vector<const PreparedBatch*> group;
  for (const auto& batch : batches) group.push_back(batch.get());
  return writer.WriteGroup(group);
}

BatchResult WriteOne(GroupWriter& writer, const std::unique_ptr<PreparedBatch>& batch) {
  return writer.WriteGroup({batch.get()})[0];
}

std::vector<BatchOutcome> Outcomes(const std::vector<BatchResult>& results) {
  std::vector<BatchOutcome> outcomes;
  for (const BatchResult& result : results) outcomes.push_back(result.outcome);
  return outcomes;
}

bool Eventually(const std::function<bool()>& condition) {
  return testing::WaitUntil(condition, absl::Seconds(20));
}

class GroupWriterTest : public ::testing::Test {
 protected:
  int64_t Watermark(const StreamMaker& stream) {
    return db_.Number(absl::StrCat("SELECT last_seq FROM metrics.ingest_watermark WHERE stream_id = '",
                                   frame::FormatUuid(stream.stream_id()), "'"));
  }
  // Every batch 1..seq of the stream, of `rows` rows, is stored exactly once.
  void ExpectExactly(const StreamMaker& stream, int64_t first, int64_t last, int rows) {
    const std::map<int64_t, int64_t> stored = db_.StoredCalls();
    for (int64_t seq = first; seq <= last; ++seq) {
      for (const int64_t calls : StreamMaker::Calls(stream.base(), seq, rows)) {
        const auto found = stored.find(calls);
        ASSERT_EQ(found == stored.end() ? 0 : found->second, 1) << "batch " << seq << ", row " << calls;
      }
    }
  }

  WriterDatabase db_{testing::SharedPostgres()};
};

TEST_F(GroupWriterTest, FramesReceiptsAndWatermarkCommitTogether) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  auto writer = MakeWriter(db_.url());
  std::vector<std::unique_ptr<PreparedBatch>> batches;
  batches.push_back(a.Next());
  batches.push_back(b.Next(5));
  batches.push_back(a.Next());
  const auto results = Write(*writer, batches);
  EXPECT_THAT(Outcomes(results),
              ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kCommitted, BatchOutcome::kCommitted));
  EXPECT_EQ(results[0].last_seq, 2);  // cumulative
  EXPECT_EQ(results[2].last_hash, batches[2]->hash);
  EXPECT_EQ(db_.StoredRows(), 11);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.frame"), 3);
  EXPECT_EQ(db_.Number("SELECT min(extract(epoch FROM collected_at - interval_start))::int8 FROM metrics.frame"), 60);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.ingest_receipt"), 3);
  EXPECT_EQ(Watermark(a), 2);
  EXPECT_EQ(Watermark(b), 1);
  ExpectExactly(a, 1, 2, 3);
  EXPECT_EQ(writer->stats().rows, 11);
}

TEST_F(GroupWriterTest, RepeatedBatchesAreAcceptedOnce) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  std::vector<std::unique_ptr<PreparedBatch>> batches;
  for (int i = 0; i < 3; ++i) batches.push_back(a.Next());
  Write(*writer, batches);
  const auto again = Write(*writer, batches);
  EXPECT_THAT(Outcomes(again),
              ElementsAre(BatchOutcome::kDuplicate, BatchOutcome::kDuplicate, BatchOutcome::kDuplicate));
  EXPECT_EQ(again[0].last_seq, 3);
  EXPECT_EQ(again[0].last_hash, batches[2]->hash);
  // Twice in one group.
  auto fourth = a.Next();
  const auto twice = writer->WriteGroup({fourth.get(), fourth.get()});
  EXPECT_THAT(Outcomes(twice), ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kDuplicate));
  ExpectExactly(a, 1, 4, 3);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.ingest_receipt"), 4);
}

TEST_F(GroupWriterTest, BatchBehindAHoleIsRefusedWithTheExpectedNumber) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  auto first = a.Next();
  auto second = a.Next();
  auto third = a.Next();
  const auto results = writer->WriteGroup({first.get(), third.get()});
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kGap));
  EXPECT_EQ(results[1].expected_seq, 2);
  EXPECT_EQ(Watermark(a), 1);
  const auto rest = writer->WriteGroup({second.get(), third.get()});
  EXPECT_THAT(Outcomes(rest), ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kCommitted));
  ExpectExactly(a, 1, 3, 3);
}

TEST_F(GroupWriterTest, NewStreamMustStartAtOne) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  a.Next();
  const BatchResult result = WriteOne(*writer, a.Next());
  EXPECT_EQ(result.outcome, BatchOutcome::kGap);
  EXPECT_EQ(result.expected_seq, 1);
}

TEST_F(GroupWriterTest, OtherBytesUnderAStoredNumberAreAFork) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  std::vector<std::unique_ptr<PreparedBatch>> batches;
  for (int i = 0; i < 4; ++i) batches.push_back(a.Next());
  Write(*writer, batches);

  // A clone that went on from batch 1: its 2 differs from ours, found by the receipt; its 4 by the watermark.
  a.Rewind(3);
  std::vector<std::unique_ptr<PreparedBatch>> clone;
  for (int i = 0; i < 4; ++i) clone.push_back(a.Next());
  const auto results = Write(*writer, clone);
  EXPECT_THAT(Outcomes(results),
              ElementsAre(BatchOutcome::kFork, BatchOutcome::kFork, BatchOutcome::kFork, BatchOutcome::kFork));
  EXPECT_EQ(results[0].expected_seq, 2);
  EXPECT_EQ(Watermark(a), 4);
  EXPECT_EQ(db_.StoredRows(), 12);
}

TEST_F(GroupWriterTest, PoisonBatchGoesToQuarantineAndTheOthersAreStored) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  auto writer = MakeWriter(db_.url());
  std::vector<std::unique_ptr<PreparedBatch>> batches;
  batches.push_back(a.Next());
  batches.push_back(b.Next());
  batches.push_back(b.NextPoison());
  batches.push_back(b.Next());
  batches.push_back(a.Next());
  const auto results = Write(*writer, batches);
  EXPECT_THAT(Outcomes(results),
              ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kCommitted, BatchOutcome::kQuarantined,
                          BatchOutcome::kCommitted, BatchOutcome::kCommitted));
  EXPECT_TRUE(results[2].poison);
  EXPECT_FALSE(results[3].poison);
  EXPECT_EQ(results[4].last_seq, 2);
  EXPECT_EQ(Watermark(b), 3);
  ExpectExactly(a, 1, 2, 3);
  ExpectExactly(b, 1, 1, 3);
  ExpectExactly(b, 3, 3, 3);
  EXPECT_EQ(db_.Text("SELECT reason FROM metrics.quarantine"), "refused");
  EXPECT_THAT(db_.Text("SELECT message FROM metrics.quarantine"), HasSubstr("timestamp out of range"));
  EXPECT_EQ(db_.Text("SELECT substr(payload, 1, 20) = 'payload of 2 refused'::bytea FROM metrics.quarantine"), "t");
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.ingest_receipt"), 5);
  EXPECT_EQ(writer->stats().split_groups, 1);
  // What was refused comes again: known.
  EXPECT_EQ(WriteOne(*writer, batches[2]).outcome, BatchOutcome::kDuplicate);
}

TEST_F(GroupWriterTest, MarkedBatchIsPutAsideWithItsBytes) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  auto batch = a.Next();
  batch->quarantine_reason = quarantine_reason::kClock;
  batch->quarantine_message = std::string("collected in 1970\0x\xff", 20);
  auto next = a.Next();
  const auto results = writer->WriteGroup({batch.get(), next.get()});
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kQuarantined, BatchOutcome::kCommitted));
  EXPECT_FALSE(results[0].poison);
  EXPECT_EQ(results[0].last_seq, 2);
  EXPECT_EQ(db_.Text("SELECT reason FROM metrics.quarantine"), "clock");
  EXPECT_EQ(db_.StoredRows(), 3);
}

TEST_F(GroupWriterTest, LockedWatermarkDoesNotHoldUpTheOthers) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  auto writer = MakeWriter(db_.url());
  WriteOne(*writer, a.Next());
  WriteOne(*writer, b.Next());
  db_.Exec(absl::StrCat("BEGIN; SELECT 1 FROM metrics.ingest_watermark WHERE collector_id = ", a.collector(),
                        " FOR UPDATE"));
  auto a2 = a.Next();
  auto b2 = b.Next();
  const clock::SteadyTime started = clock::SteadyNow();
  const auto results = writer->WriteGroup({a2.get(), b2.get()});
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(2));
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kLocked, BatchOutcome::kCommitted));
  db_.Exec("ROLLBACK");
  EXPECT_EQ(WriteOne(*writer, a2).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 2, 3);
}

TEST_F(GroupWriterTest, TwoWritersWithTheSameBatchesStoreThemOnce) {
  StreamMaker a(&db_, "a");
  std::vector<std::unique_ptr<PreparedBatch>> batches;
  for (int i = 0; i < 40; ++i) batches.push_back(a.Next());
  const auto run = [&] {
    auto writer = MakeWriter(db_.url());
    for (const auto& batch : batches) {
      ASSERT_TRUE(Eventually([&] {
        const BatchOutcome outcome = WriteOne(*writer, batch).outcome;
        return outcome == BatchOutcome::kCommitted || outcome == BatchOutcome::kDuplicate;
      }));
    }
  };
  std::thread one(run), two(run);
  one.join();
  two.join();
  ExpectExactly(a, 1, 40, 3);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.frame"), 40);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.ingest_receipt"), 40);
}

TEST_F(GroupWriterTest, NewerSessionFencesTheOlder) {
  StreamMaker a(&db_, "a", 5);
  auto writer = MakeWriter(db_.url());
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  a.session = 6;
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  a.session = 5;
  const BatchResult stale = WriteOne(*writer, a.Next());
  EXPECT_EQ(stale.outcome, BatchOutcome::kFenced);
  EXPECT_THAT(stale.status, status::StatusIs(absl::StatusCode::kAborted));
  // Nor may it open a stream of its own.
  StreamMaker other(&db_, "a", 5);
  EXPECT_EQ(WriteOne(*writer, other.Next()).outcome, BatchOutcome::kFenced);
  EXPECT_EQ(Watermark(a), 2);
}

TEST_F(GroupWriterTest, BatchPreparedBeforeATakeoverIsPreparedAnew) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  auto writer = MakeWriter(db_.url());
  WriteOne(*writer, a.Next());
  db_.Exec(absl::StrCat("UPDATE metrics.source SET owner_epoch = 3 WHERE id = ", a.source()));
  auto former = a.Next();
  auto own = b.Next();
  const auto results = writer->WriteGroup({former.get(), own.get()});
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kMoved, BatchOutcome::kCommitted));
  EXPECT_EQ(Watermark(a), 1);
  a.Rewind(1);
  a.owner_epoch = 3;
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
  EXPECT_EQ(db_.StoredRows(), 9);
}

// The first key frame of a new owner is compared with what is stored once, whoever stores it.
TEST_F(GroupWriterTest, OpeningIsStoredOnce) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  db_.Exec(absl::StrCat(
      "INSERT INTO metrics.carried (source_id, owner_epoch, metric_id, scope_id, last_stored, run, state) VALUES (",
      a.source(), ", 0, ", db_.SampleMetricId(), ", 0, now(), '', '')"));
  const storage::OpeningClaim opening{a.source(), 0, static_cast<int16_t>(db_.SampleMetricId()), 0, 1'000'000};
  auto first = a.Next();
  first->openings = {opening};
  EXPECT_EQ(WriteOne(*writer, first).outcome, BatchOutcome::kCommitted);
  // A further part of the same key frame.
  auto part = a.Next();
  part->openings = {opening};
  EXPECT_EQ(WriteOne(*writer, part).outcome, BatchOutcome::kCommitted);
  auto second = a.Next();
  second->openings = {opening};
  second->openings[0].collected_us = 2'000'000;
  EXPECT_EQ(WriteOne(*writer, second).outcome, BatchOutcome::kMoved);
  EXPECT_EQ(Watermark(a), 2);
}

TEST_F(GroupWriterTest, GapRecordIsTheOnlyWayOverAHole) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  WriteOne(*writer, a.Next());
  auto gap = a.NextGap(5);  // 2..6
  auto next = a.Next();     // 7
  EXPECT_EQ(WriteOne(*writer, next).outcome, BatchOutcome::kGap);
  const auto results = writer->WriteGroup({gap.get(), next.get()});
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kCommitted));
  EXPECT_EQ(results[1].last_seq, 7);
  EXPECT_EQ(WriteOne(*writer, gap).outcome, BatchOutcome::kDuplicate);
  EXPECT_EQ(db_.Text("SELECT first_seq || '-' || last_seq FROM metrics.lost_interval"), "2-6");
}

TEST_F(GroupWriterTest, GapRecordMayBeginBeforeTheWatermark) {
  // Batch 2 had arrived, its acknowledgement had not, and the collector has dropped 2 and 3.
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  WriteOne(*writer, a.Next());
  auto second = a.Next();
  WriteOne(*writer, second);
  a.Rewind(1);
  auto gap = a.NextGap(2);
  EXPECT_EQ(WriteOne(*writer, gap).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(Watermark(a), 4);
}

TEST_F(GroupWriterTest, MissingTableHoldsBackItsBatchAlone) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  auto writer = MakeWriter(db_.url());
  auto wanting = a.Next();
  AppendQueryText({.source = a.source(), .database_id = 5, .query_id = 77, .text = "SELECT 1"}, &wanting->records);
  auto fine = b.Next();
  db_.Exec("ALTER TABLE metrics.query_text RENAME TO query_text_away");
  const auto results = writer->WriteGroup({wanting.get(), fine.get()});
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kSchema, BatchOutcome::kCommitted));
  EXPECT_THAT(results[0].status, status::StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_GT(results[0].retry_after, absl::ZeroDuration());
  EXPECT_EQ(Watermark(a), 0);
  // However often: nothing is wrong with the batch.
  for (int i = 0; i < 2 * kMaxFailuresAlone; ++i) {
    EXPECT_EQ(WriteOne(*writer, wanting).outcome, BatchOutcome::kSchema);
  }
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
  db_.Exec("ALTER TABLE metrics.query_text_away RENAME TO query_text");
  EXPECT_EQ(WriteOne(*writer, wanting).outcome, BatchOutcome::kCommitted);
}

TEST_F(GroupWriterTest, FramesAreStoredAsTheyCame) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  auto batch = a.Next(0);
  const std::string big(20'000, 'x');
  batch->records.Clear();
  FrameRecord frame{.source = a.source(),
                    .metric_id = 7,
                    .scope = 4'000'000'000,
                    .kind = 2,
                    .part = 3,
                    .flags = 9,
                    .schema_version = 4,
                    .collected_us = 1'700'000'000'000'001,
                    .interval_start_us = 1'700'000'000'000'000,
                    .received_us = 1'700'000'000'000'002,
                    .collector = a.collector(),
                    .rows = 5,
                    .unchanged_rows = 6,
                    .chunks = {"one", "", big},
                    .row_flags = "flags"};
  AppendFrame(frame, &batch->records);
  frame.part = 4;
  frame.chunks = {};
  frame.row_flags = {};
  AppendFrame(frame, &batch->records);
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(db_.Text("SELECT concat_ws(' ', metric_id, scope_id, kind, part, flags, schema_version, rows, "
                     "unchanged_rows, offsets, octet_length(data), extract(epoch FROM collected_at) * 1000000, "
                     "extract(epoch FROM interval_start) * 1000000, extract(epoch FROM received_at) * 1000000) FROM "
                     "metrics.frame WHERE part = 3"),
            "7 4000000000 2 3 9 4 5 6 {0,3,3,20003,20008} 20008 1700000000000001.000000 1700000000000000.000000 "
            "1700000000000002.000000");
  EXPECT_EQ(db_.Text("SELECT concat_ws(' ', convert_from(substring(data FROM offsets[1] + 1 FOR offsets[2] - "
                     "offsets[1]), 'UTF8'), octet_length(substring(data FROM offsets[2] + 1 FOR offsets[3] - "
                     "offsets[2])), convert_from(substring(data FROM offsets[4] + 1 FOR offsets[5] - offsets[4]), "
                     "'UTF8')) FROM metrics.frame WHERE part = 3"),
            "one 0 flags");
  EXPECT_EQ(db_.Text("SELECT offsets::text || ' ' || octet_length(data) FROM metrics.frame WHERE part = 4"), "{0,0} 0");
}

TEST_F(GroupWriterTest, SecondFrameOfOneInstantIsRefused) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  auto batch = a.Next();
  auto again = a.Next();
  again->records = batch->records;
  EXPECT_THAT(Outcomes(writer->WriteGroup({batch.get(), again.get()})),
              ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kQuarantined));
  EXPECT_EQ(db_.Text("SELECT reason FROM metrics.quarantine"), "refused");
  EXPECT_EQ(db_.StoredRows(), 3);
}

// Errors of the server that pass, made by a trigger.
class PassingErrorTest : public GroupWriterTest {
 protected:
  void RaiseOnInsert(const std::string& sqlstate, int times) {
    db_.Exec(
        absl::StrCat("CREATE SEQUENCE IF NOT EXISTS faults; GRANT ALL ON SEQUENCE faults TO PUBLIC;"
                     "CREATE OR REPLACE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                     "nextval('public.faults') <= ",
                     times, " THEN RAISE 'struck' USING ERRCODE = '", sqlstate,
                     "'; END IF; RETURN NEW; END $$;"
                     "CREATE OR REPLACE TRIGGER fault BEFORE INSERT ON metrics.frame FOR EACH ROW EXECUTE "
                     "FUNCTION fault()"));
  }
};

TEST_F(PassingErrorTest, FullDiskIsNotAcknowledgedAndPasses) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  RaiseOnInsert("53100", 1);
  auto batch = a.Next();
  const BatchResult full = WriteOne(*writer, batch);
  EXPECT_EQ(full.outcome, BatchOutcome::kRetry);
  EXPECT_THAT(full.status, status::StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_GE(full.retry_after, absl::Seconds(1));
  EXPECT_EQ(db_.StoredRows(), 0);
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
}

TEST_F(PassingErrorTest, SerializationFailuresAndDeadlocksAreRetriedInside) {
  for (const char* sqlstate : {"40001", "40P01", "55P03"}) {
    SCOPED_TRACE(sqlstate);
    StreamMaker a(&db_, absl::StrCat("retry ", sqlstate));
    auto writer = MakeWriter(db_.url());
    db_.Exec("DROP SEQUENCE IF EXISTS faults");
    RaiseOnInsert(sqlstate, 2);
    EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
    EXPECT_EQ(writer->stats().serialization_retries, 2);
    ExpectExactly(a, 1, 1, 3);
  }
}

TEST_F(PassingErrorTest, OtherServerErrorsAreNotPoison) {
  const std::pair<const char*, BatchOutcome> errors[] = {
      {"57014", BatchOutcome::kRetry}, {"57P01", BatchOutcome::kRetry}, {"58030", BatchOutcome::kRetry},
      {"53200", BatchOutcome::kRetry}, {"55P03", BatchOutcome::kRetry}, {"XX001", BatchOutcome::kRetry},
      {"42501", BatchOutcome::kSchema}};
  for (const auto& [sqlstate, outcome] : errors) {
    SCOPED_TRACE(sqlstate);
    StreamMaker a(&db_, absl::StrCat("other ", sqlstate)), b(&db_, absl::StrCat("another ", sqlstate));
    auto writer = MakeWriter(db_.url());
    db_.Exec("DROP SEQUENCE IF EXISTS faults");
    RaiseOnInsert(sqlstate, 100);
    auto batch = a.Next();
    auto other = b.Next();
    for (int i = 0; i <= kMaxFailuresAlone; ++i) {
      EXPECT_THAT(Outcomes(writer->WriteGroup({batch.get(), other.get()})), ElementsAre(outcome, outcome));
    }
    db_.Exec("DROP TRIGGER fault ON metrics.frame");
    EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  }
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
}

// One batch of a group, of seven rows, fails each time; how, is the parameter: an SQLSTATE, or "skip" = its rows are
// not stored and nothing is said.
class LoneFailureTest : public GroupWriterTest, public ::testing::WithParamInterface<std::string> {
 protected:
  void MakeFault() {
    const std::string what = GetParam() == "skip" ? std::string("RETURN NULL")
                                                  : absl::StrCat("RAISE 'struck' USING ERRCODE = '", GetParam(), "'");
    db_.Exec(absl::StrCat("CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.rows = 7 THEN ",
                          what,
                          "; END IF; RETURN NEW; END $$; CREATE TRIGGER fault BEFORE INSERT ON metrics.frame FOR EACH "
                          "ROW EXECUTE FUNCTION fault()"));
  }
};

TEST_P(LoneFailureTest, OthersAreStoredAndItGoesAsideAfterSomeAttempts) {
  StreamMaker a(&db_, "a"), b(&db_, "b"), c(&db_, "c");
  auto writer = MakeWriter(db_.url());
  MakeFault();
  auto one = a.Next();
  auto bad = b.Next(7);
  auto three = c.Next();
  for (int attempt = 1; attempt < kMaxFailuresAlone; ++attempt) {
    const auto results = writer->WriteGroup({one.get(), bad.get(), three.get()});
    const BatchOutcome good = attempt == 1 ? BatchOutcome::kCommitted : BatchOutcome::kDuplicate;
    EXPECT_THAT(Outcomes(results), ElementsAre(good, BatchOutcome::kRetry, good)) << attempt;
    EXPECT_TRUE(results[1].poison);
    EXPECT_FALSE(results[0].poison);
    EXPECT_EQ(Watermark(b), 0);
  }
  const BatchResult aside = WriteOne(*writer, bad);
  EXPECT_EQ(aside.outcome, BatchOutcome::kQuarantined);
  EXPECT_TRUE(aside.poison);
  EXPECT_EQ(db_.Text("SELECT reason || ' ' || octet_length(payload) FROM metrics.quarantine"),
            absl::StrCat("refused ", bad->payload.size()));
  EXPECT_EQ(Watermark(b), 1);
  EXPECT_EQ(WriteOne(*writer, b.Next()).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
  ExpectExactly(b, 2, 2, 3);
  ExpectExactly(c, 1, 1, 3);
  EXPECT_EQ(db_.StoredRows(), 9);
}

// The database takes it after all: the count begins anew.
TEST_P(LoneFailureTest, PassingFailureLeavesNothingBehind) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  MakeFault();
  auto batch = a.Next(7);
  for (int i = 1; i < kMaxFailuresAlone; ++i) EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kRetry);
  db_.Exec("DROP TRIGGER fault ON metrics.frame");
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
  ExpectExactly(a, 1, 1, 7);
}

INSTANTIATE_TEST_SUITE_P(Errors, LoneFailureTest,
                         ::testing::Values("XX000", "0A000", "42804", "P0001", "55000", "skip"),
                         [](const auto& test) { return test.param; });

// A server whose messages are in German: what an error means does not depend on its words.
TEST(GroupWriterLanguage, OtherLanguageOfMessagesChangesNothing) {
  auto server = testing::TempPostgres::Start({.messages = "de_DE"});
  if (server.status().code() == absl::StatusCode::kNotFound) GTEST_SKIP() << server.status();
  ASSERT_THAT(server.status(), status::IsOk());
  WriterDatabase db(server->get());
  StreamMaker a(&db, "a"), b(&db, "b");
  auto writer = MakeWriter(db.url());
  auto poison = b.NextPoison();
  auto one = a.Next();
  EXPECT_THAT(Outcomes(writer->WriteGroup({one.get(), poison.get()})),
              ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kQuarantined));
  // The test is one of another language only if the server speaks it.
  EXPECT_THAT(db.Text("SELECT message FROM metrics.quarantine"), HasSubstr("au\xc3\x9f"
                                                                           "erhalb"));
  // Locked until the writer gives up: passes, however often.
  auto two = a.Next();
  db.Exec("BEGIN; LOCK TABLE metrics.frame IN SHARE MODE");
  GroupWriterOptions options;
  options.url = db.url();
  options.lookup_timeout = absl::Milliseconds(20);  // bounds the wait for locks too
  auto hasty = *GroupWriter::Create(std::move(options));
  for (int i = 0; i <= kMaxFailuresAlone; ++i) EXPECT_EQ(WriteOne(*hasty, two).outcome, BatchOutcome::kRetry);
  db.Exec("ROLLBACK");
  EXPECT_EQ(WriteOne(*hasty, two).outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(db.Number("SELECT count(*) FROM metrics.quarantine"), 1);
}

// The writer's backend is killed at each moment; nothing is lost and nothing stored twice.
class KilledBackendTest : public GroupWriterTest, public ::testing::WithParamInterface<WritePoint> {};

TEST_P(KilledBackendTest, BatchIsStoredOnce) {
  StreamMaker a(&db_, "a");
  std::unique_ptr<GroupWriter> writer;
  bool armed = false;
  writer = MakeWriter(db_.url(), [&](WritePoint point) {
    if (!armed || point != GetParam()) return;
    armed = false;
    const int pid = writer->backend_pid();
    db_.Exec(absl::StrCat("SELECT pg_terminate_backend(", pid, ", 5000)"));
  });
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  armed = true;
  auto batch = a.Next(300);
  const BatchOutcome outcome = WriteOne(*writer, batch).outcome;
  EXPECT_FALSE(armed);
  if (GetParam() == WritePoint::kBeforeCommit) {
    // COMMIT went to a connection that was gone: looked up, found undone, and left to the collector.
    EXPECT_EQ(outcome, BatchOutcome::kRetry);
    EXPECT_EQ(writer->stats().unknown_commits, 1);
    EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  } else {
    EXPECT_EQ(outcome, BatchOutcome::kCommitted);
  }
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
  ExpectExactly(a, 2, 2, 300);
  ExpectExactly(a, 3, 3, 3);
  EXPECT_EQ(Watermark(a), 3);
}

std::string PointName(const ::testing::TestParamInfo<WritePoint>& test) {
  static constexpr const char* kNames[] = {"Connected", "Begun", "Locked", "MidCopy", "BeforeCommit", "Committed"};
  return kNames[static_cast<size_t>(test.param)];
}

INSTANTIATE_TEST_SUITE_P(Points, KilledBackendTest,
                         ::testing::Values(WritePoint::kBegun, WritePoint::kLocked, WritePoint::kMidCopy,
                                           WritePoint::kBeforeCommit, WritePoint::kCommitted),
                         PointName);

class UnknownCommitTest : public GroupWriterTest {
 protected:
  LossyProxy proxy_{testing::SharedPostgres()->socket_dir() + "/.s.PGSQL." +
                    absl::StrCat(testing::SharedPostgres()->port())};
};

TEST_F(UnknownCommitTest, CommittedButUnanswered) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  bool armed = true;
  std::thread breaker;
  auto writer = MakeWriter(proxy_.Url(db_.name()), [&](WritePoint point) {
    if (!armed || point != WritePoint::kBeforeCommit) return;
    armed = false;
    proxy_.HoldReplies();
    breaker = std::thread([&] {
      EXPECT_TRUE(Eventually([&] { return Watermark(a) == 1; }));
      proxy_.DropAll();
    });
  });
  auto one = a.Next();
  auto two = b.Next();
  const auto results = writer->WriteGroup({one.get(), two.get()});
  breaker.join();
  EXPECT_THAT(Outcomes(results), ElementsAre(BatchOutcome::kCommitted, BatchOutcome::kCommitted));
  EXPECT_EQ(results[0].last_hash, one->hash);
  EXPECT_EQ(writer->stats().unknown_commits, 1);
  EXPECT_EQ(WriteOne(*writer, one).outcome, BatchOutcome::kDuplicate);
  ExpectExactly(a, 1, 1, 3);
  ExpectExactly(b, 1, 1, 3);
}

TEST_F(UnknownCommitTest, NeverArrived) {
  StreamMaker a(&db_, "a");
  bool armed = true;
  std::thread breaker;
  auto writer = MakeWriter(proxy_.Url(db_.name()), [&](WritePoint point) {
    if (!armed || point != WritePoint::kBeforeCommit) return;
    armed = false;
    proxy_.HoldRequests();
    breaker = std::thread([&] {
      EXPECT_TRUE(proxy_.AwaitHeldRequest("COMMIT"));
      proxy_.DropAll();
    });
  });
  auto batch = a.Next();
  const BatchResult result = WriteOne(*writer, batch);
  breaker.join();
  EXPECT_EQ(result.outcome, BatchOutcome::kRetry);
  EXPECT_EQ(writer->stats().unknown_commits, 1);
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 1, 3);
}

// The old backend still lives behind a half-open connection; the look-up waits for its lock until COMMIT gets through.
TEST_F(UnknownCommitTest, DecidedLateByTheOldBackend) {
  StreamMaker a(&db_, "a");
  bool armed = true;
  std::thread breaker;
  auto writer = MakeWriter(proxy_.Url(db_.name()), [&](WritePoint point) {
    if (!armed || point != WritePoint::kBeforeCommit) return;
    armed = false;
    proxy_.HoldRequests();
    breaker = std::thread([&] {
      EXPECT_TRUE(proxy_.AwaitHeldRequest("COMMIT"));
      proxy_.DropClients();
      EXPECT_TRUE(Eventually([&] {
        return db_.Number(
                   "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE "
                   "'%ingest_watermark%'") > 0;
      }));
      proxy_.DeliverRequests();
    });
  });
  auto batch = a.Next();
  const BatchResult result = WriteOne(*writer, batch);
  breaker.join();
  EXPECT_EQ(result.outcome, BatchOutcome::kCommitted);
  EXPECT_EQ(result.last_seq, 1);
  ExpectExactly(a, 1, 1, 3);
}

// It does not decide in time: nothing is acknowledged.
TEST_F(UnknownCommitTest, UndecidedIsNotAcknowledged) {
  StreamMaker a(&db_, "a");
  bool armed = true;
  std::thread breaker;
  auto writer = MakeWriter(
      proxy_.Url(db_.name()),
      [&](WritePoint point) {
        if (!armed || point != WritePoint::kBeforeCommit) return;
        armed = false;
        proxy_.HoldRequests();
        breaker = std::thread([&] {
          EXPECT_TRUE(proxy_.AwaitHeldRequest("COMMIT"));
          proxy_.DropClients();
        });
      },
      absl::Seconds(1));
  auto batch = a.Next();
  const clock::SteadyTime started = clock::SteadyNow();
  const BatchResult result = WriteOne(*writer, batch);
  breaker.join();
  EXPECT_EQ(result.outcome, BatchOutcome::kRetry);
  EXPECT_LT(clock::SteadyNow() - started, absl::Seconds(10));
  proxy_.DropAll();
  ASSERT_TRUE(Eventually([&] {
    const BatchOutcome outcome = WriteOne(*writer, batch).outcome;
    return outcome == BatchOutcome::kCommitted || outcome == BatchOutcome::kDuplicate;
  }));
  ExpectExactly(a, 1, 1, 3);
}

TEST_F(GroupWriterTest, ServerThatIsNotThereMeansRetry) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter("host=/nonexistent dbname=x");
  const BatchResult result = WriteOne(*writer, a.Next());
  EXPECT_EQ(result.outcome, BatchOutcome::kRetry);
  EXPECT_GT(result.retry_after, absl::ZeroDuration());
}

// The server came back in an older state: rows and watermark went back together.
TEST_F(GroupWriterTest, OlderServerStateAsksForTheMissingBatches) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  std::vector<std::unique_ptr<PreparedBatch>> batches;
  for (int i = 0; i < 3; ++i) batches.push_back(a.Next());
  Write(*writer, batches);
  db_.Exec("TRUNCATE metrics.frame, metrics.ingest_watermark, metrics.ingest_receipt");
  auto next = a.Next();
  EXPECT_EQ(WriteOne(*writer, next).outcome, BatchOutcome::kRetry);  // makes the stream anew
  const BatchResult gap = WriteOne(*writer, next);
  EXPECT_EQ(gap.outcome, BatchOutcome::kGap);
  EXPECT_EQ(gap.expected_seq, 1);
  Write(*writer, batches);
  EXPECT_EQ(WriteOne(*writer, next).outcome, BatchOutcome::kCommitted);
  ExpectExactly(a, 1, 4, 3);
}

// After a return to an older state numbers are missing, or given anew to somebody else: nothing is stored under them,
// nothing put aside, and the collector is told to begin anew.
TEST_F(GroupWriterTest, NumbersOfAnotherDatabaseStateAreStale) {
  StreamMaker a(&db_, "a"), b(&db_, "b");
  auto writer = MakeWriter(db_.url());
  WriteOne(*writer, a.Next());
  WriteOne(*writer, b.Next());
  const std::string uuid = db_.Text(absl::StrCat("SELECT uuid FROM metrics.source WHERE id = ", a.source()));
  auto a2 = a.Next();
  auto b2 = b.Next();
  db_.Exec(absl::StrCat("UPDATE metrics.source SET uuid = gen_random_uuid() WHERE id = ", a.source()));
  EXPECT_THAT(Outcomes(writer->WriteGroup({a2.get(), b2.get()})),
              ElementsAre(BatchOutcome::kStale, BatchOutcome::kCommitted));
  db_.Exec(absl::StrCat("DELETE FROM metrics.source WHERE id = ", a.source()));
  EXPECT_EQ(WriteOne(*writer, a2).outcome, BatchOutcome::kStale);
  db_.Exec(absl::StrCat("INSERT INTO metrics.source (id, uuid, name, collector_id) VALUES (", a.source(), ", '", uuid,
                        "', 'main', ", a.collector(), ")"));
  db_.Exec(absl::StrCat("UPDATE metrics.collector SET collector_id = 'another' WHERE id = ", a.collector()));
  EXPECT_EQ(WriteOne(*writer, a2).outcome, BatchOutcome::kStale);
  // A stream that is new to the database makes no row for a collector that has not the number.
  db_.Exec(absl::StrCat("DELETE FROM metrics.ingest_watermark WHERE collector_id = ", a.collector()));
  EXPECT_EQ(WriteOne(*writer, a2).outcome, BatchOutcome::kStale);
  EXPECT_EQ(WriteOne(*writer, a2).outcome, BatchOutcome::kStale);
  EXPECT_EQ(Watermark(a), 0);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.quarantine"), 0);
  EXPECT_EQ(db_.StoredRows(), 9);
}

// A server that takes no writes is left: the next connection may lead to the one that does.
TEST_F(GroupWriterTest, ReadOnlyServerIsLeftAndFoundAgain) {
  StreamMaker a(&db_, "a");
  std::vector<std::string> identities;
  GroupWriterOptions options;
  options.url = db_.url();
  options.on_database = [&](const std::string& identity) { identities.push_back(identity); };
  auto writer = *GroupWriter::Create(std::move(options));
  WriteOne(*writer, a.Next());
  EXPECT_NE(writer->backend_pid(), 0);
  const auto read_only = [&](const char* change, const char* shown) {
    db_.Exec(change);
    db_.Exec("SELECT pg_reload_conf()");
    ASSERT_TRUE(Eventually([&] { return db_.Text("SHOW default_transaction_read_only") == shown; }));
  };
  read_only("ALTER SYSTEM SET default_transaction_read_only = on", "on");
  auto next = a.Next();
  // The writer's session may learn of it a moment later than ours.
  EXPECT_TRUE(Eventually([&] {
    const BatchOutcome outcome = WriteOne(*writer, next).outcome;
    if (outcome == BatchOutcome::kCommitted) next = a.Next();
    return outcome == BatchOutcome::kRetry && writer->backend_pid() == 0;
  }));
  read_only("ALTER SYSTEM RESET default_transaction_read_only", "off");
  EXPECT_EQ(WriteOne(*writer, next).outcome, BatchOutcome::kCommitted);
  ASSERT_EQ(identities.size(), 2u);
  EXPECT_FALSE(identities[0].empty());
  EXPECT_EQ(identities[0], identities[1]);
}

TEST_F(GroupWriterTest, QueryTextsAreKeptAndRenewed) {
  StreamMaker a(&db_, "a");
  auto writer = MakeWriter(db_.url());
  auto batch = a.Next();
  const auto add = [&](PreparedBatch& to, int64_t query_id, std::string_view text) {
    AppendQueryText({.source = a.source(), .database_id = 5, .query_id = query_id, .text = text}, &to.records);
  };
  add(*batch, 77, "SELECT '\"' , E'\\\\' /* {}, */");
  add(*batch, 78, "older");
  add(*batch, 78, "old");
  WriteOne(*writer, batch);
  EXPECT_EQ(db_.Text("SELECT text FROM metrics.query_text WHERE query_id = 77"), "SELECT '\"' , E'\\\\' /* {}, */");
  EXPECT_EQ(db_.Text("SELECT text FROM metrics.query_text WHERE query_id = 78"), "old");
  auto next = a.Next();
  add(*next, 78, "new");
  WriteOne(*writer, next);
  EXPECT_EQ(db_.Number("SELECT count(*) FROM metrics.query_text"), 2);
  EXPECT_EQ(db_.Text("SELECT text FROM metrics.query_text WHERE query_id = 78"), "new");
}

// A COMMIT whose wait for a synchronous standby is broken off is not acknowledged, and neither is its repeat until a
// later COMMIT has gone through.
TEST_F(GroupWriterTest, CommitWithoutItsStandbyIsNotAcknowledged) {
  auto server = testing::TempPostgres::Start({.extra_conf = {}});
  ASSERT_THAT(server.status(), status::IsOk());
  WriterDatabase db(server->get());
  StreamMaker a(&db, "a");
  const std::unique_ptr<GroupWriter> writer = MakeWriter(db.url(), nullptr);
  EXPECT_EQ(WriteOne(*writer, a.Next()).outcome, BatchOutcome::kCommitted);
  db.Exec("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
  db.Exec("SELECT pg_reload_conf()");
  // In force once a commit of somebody else waits for the standby.
  std::atomic<bool> seen{false}, ended{false};
  std::thread canary([&] {
    for (int i = 0; !seen; ++i) {
      (void)(*server)->Exec(db.name(),
                            absl::StrCat("/* canary */ INSERT INTO metrics.lease VALUES ('", i, "', 'canary', now())"));
    }
    ended = true;
  });
  const std::string waiting = " FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '/* canary%'";
  EXPECT_TRUE(Eventually([&] { return db.Number("SELECT count(*)" + waiting) > 0; }));
  seen = true;
  EXPECT_TRUE(Eventually([&] {
    db.Number("SELECT count(pg_cancel_backend(pid))" + waiting);
    return ended.load();
  }));
  canary.join();
  auto batch = a.Next();
  std::thread canceller([&, pid = writer->backend_pid()] {
    EXPECT_TRUE(Eventually([&] {
      return db.Number(absl::StrCat("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = ",
                                    pid)) > 0;
    }));
    db.Number(absl::StrCat("SELECT pg_cancel_backend(", pid, ")::int"));
  });
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kRetry);
  canceller.join();
  db.Exec("ALTER SYSTEM RESET synchronous_standby_names");
  db.Exec("SELECT pg_reload_conf()");
  EXPECT_EQ(WriteOne(*writer, batch).outcome, BatchOutcome::kDuplicate);
  EXPECT_EQ(db.StoredCalls().size(), 6u);
}

// Writers are killed, and the whole server crashes, while batches flow; what was answered as stored is there, once.
TEST_F(GroupWriterTest, AccountHoldsThroughKillsOfBackendsAndServer) {
  auto server = testing::TempPostgres::Start({});
  ASSERT_THAT(server.status(), status::IsOk());
  auto db = std::make_unique<WriterDatabase>(server->get());
  constexpr int kCollectors = 4;
  constexpr int kBatches = 150;
  constexpr int kRows = 20;
  std::vector<std::unique_ptr<StreamMaker>> streams;
  std::vector<std::vector<std::unique_ptr<PreparedBatch>>> batches(kCollectors);
  for (int c = 0; c < kCollectors; ++c) {
    streams.push_back(std::make_unique<StreamMaker>(db.get(), absl::StrCat("c", c)));
    for (int i = 0; i < kBatches; ++i) batches[static_cast<size_t>(c)].push_back(streams.back()->Next(kRows));
  }
  std::atomic<int> finished{0};
  std::atomic<int64_t> steps{0};
  const auto run = [&](size_t first) {
    auto writer = MakeWriter(db->url());
    size_t done[2] = {0, 0};
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(90);
    while ((done[0] < kBatches || done[1] < kBatches) && clock::SteadyNow() < deadline) {
      std::vector<const PreparedBatch*> group;
      std::vector<size_t> owner;
      for (size_t c = 0; c < 2; ++c) {
        for (size_t i = done[c]; i < std::min<size_t>(done[c] + 3, kBatches); ++i) {
          group.push_back(batches[first + c][i].get());
          owner.push_back(c);
        }
      }
      const auto results = writer->WriteGroup(group);
      for (size_t i = 0; i < results.size(); ++i) {
        if (results[i].outcome == BatchOutcome::kCommitted || results[i].outcome == BatchOutcome::kDuplicate) {
          done[owner[i]] = std::max(done[owner[i]], static_cast<size_t>(results[i].last_seq));
        }
      }
      ++steps;
    }
    EXPECT_EQ(done[0], kBatches);
    EXPECT_EQ(done[1], kBatches);
    ++finished;
  };
  std::thread one(run, 0), two(run, 2);
  std::minstd_rand random(7);
  int faults = 0;
  while (finished < 2) {
    const int64_t seen = steps;
    Eventually([&] { return steps > seen + 1 || finished == 2; });
    if (++faults % 4 == 0) {
      (*server)->KillServer();
      ASSERT_THAT((*server)->StartServer(), status::IsOk());
    } else {
      (void)(*server)->Exec(db->name(),
                            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE "
                            "'pga-ingest%'");
    }
  }
  one.join();
  two.join();
  EXPECT_GE(faults, 4);
  const std::map<int64_t, int64_t> stored = db->StoredCalls();
  EXPECT_EQ(stored.size(), static_cast<size_t>(kCollectors * kBatches * kRows));
  for (const auto& [calls, count] : stored) ASSERT_EQ(count, 1) << calls;
  EXPECT_EQ(db->Number("SELECT count(*) FROM metrics.frame"), kCollectors * kBatches);
  EXPECT_EQ(db->Number("SELECT count(*) FROM metrics.ingest_receipt"), kCollectors * kBatches);
}

}  // namespace
}  // namespace pga::storage
