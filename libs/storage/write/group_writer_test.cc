// What one transaction stores, refuses and puts aside.
#include "libs/storage/write/group_writer_testing.h"

namespace pga::storage {
namespace {

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
// nothing put aside, and the collector is asked to begin anew.
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

}  // namespace
}  // namespace pga::storage
