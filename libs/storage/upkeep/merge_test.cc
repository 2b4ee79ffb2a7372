// What is merged and folded adds up to what was stored, at every level; what fails leaves the rest alone.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/storage/upkeep/span.h"
#include "libs/storage/upkeep/upkeep.h"
#include "libs/storage/upkeep/upkeep_fixture_testing.h"
#include "libs/storage/upkeep/upkeep_testing.h"

namespace pga::storage {
namespace {

TEST_F(UpkeepTest, ClosedHoursBecomeBlocksOfEveryLevel) {
  // From before midnight, so that increases cross the edge of hours and of the day.
  database_->Store(Minutes(source_, first_, yesterday_ - absl::Minutes(30), 150, 7));
  TestFrame key = Minutes(source_, first_, yesterday_ + absl::Minutes(5), 1, 9)[0];
  key.kind = 2;
  database_->Store({key});
  const StoredSums before = database_->Sums();
  ExpectExact(before);
  EXPECT_EQ(before.queued_frames, 151);

  Merge(yesterday_ + absl::Minutes(121));  // hour 1 has ended, and is not settled
  const StoredSums between = database_->Sums();
  ExpectExact(between);
  EXPECT_EQ(between.queued_frames, 60);
  Merge(yesterday_ + absl::Minutes(123));
  const StoredSums after = database_->Sums();
  ExpectExact(after);
  EXPECT_EQ(after.queued_frames, 0);
  EXPECT_EQ(after.rows, before.rows);

  EXPECT_EQ(database_->Blocks(first_, kRawLevel).frames.size(), 150u);
  EXPECT_EQ(database_->Blocks(first_, kRawLevel, 2).rows(), 9u);
  // 23:00 to 02:00.
  EXPECT_EQ(database_->Blocks(first_, kHourLevel).frames.size(), 3u);
  EXPECT_EQ(database_->Blocks(first_, kDayLevel).frames.size(), 2u);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE level = 1 AND (first AT TIME ZONE "
                              "'UTC' - interval '1 us')::date <> (last AT TIME ZONE 'UTC' - interval '1 us')::date"),
            0);
  // Raw and hours: 30 days after the day is over; days: at least 400 after the week is.
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE level < 2 AND expires_on <> (last AT TIME ZONE "
                              "'UTC' - CASE level WHEN 1 THEN interval '1 us' ELSE interval '0' END)::date + 31"),
            0);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE level = 2 AND (extract(isodow FROM expires_on) "
                              "<> 1 OR expires_on - (last AT TIME ZONE 'UTC')::date NOT BETWEEN 400 AND 415)"),
            0);
}

TEST_F(UpkeepTest, AMetricThatIsReadRarelyHasNoHours) {
  // Field 5 of the definition, interval_factor: 30.
  database_->db().Exec("UPDATE metrics.catalog_metric SET definition = definition || '\\x281e' WHERE name = 'second'");
  for (const int16_t metric : {first_, second_}) database_->Store(Minutes(source_, metric, yesterday_, 150, 7));
  Merge(yesterday_ + absl::Hours(4));
  EXPECT_EQ(database_->Blocks(first_, kHourLevel).frames.size(), 4u);
  EXPECT_EQ(database_->Blocks(second_, kHourLevel).frames.size(), 0u);
  EXPECT_EQ(database_->Blocks(second_, kRawLevel).rows(), 150u * 7);
  const StoredSums sums = database_->Sums();
  EXPECT_EQ(sums.calls[kRawLevel], sums.expected_calls);
  EXPECT_EQ(sums.calls[kDayLevel], sums.expected_calls);
}

TEST_F(UpkeepTest, DaysOfAZoneAddUpToo) {
  database_->db().Exec("INSERT INTO metrics.setting (name, value) VALUES ('time_zone', 'Asia/Kolkata')");
  database_->Store(Minutes(source_, first_, yesterday_ + absl::Hours(17), 180, 5));
  Merge(Today());
  const StoredSums sums = database_->Sums();
  ExpectExact(sums);
  EXPECT_EQ(sums.calls[kZoneDayLevel], sums.expected_calls);
  // Midnight there is 18:30 UTC.
  EXPECT_EQ(database_->Blocks(first_, kZoneDayLevel).frames.size(), 2u);
}

TEST_F(UpkeepTest, LateFramesMakePiecesAndFoldingKeepsEveryRow) {
  for (int round = 0; round < 9; ++round) {
    // Every ninth second of the same two hours.
    std::vector<TestFrame> frames = Minutes(source_, first_, yesterday_ + absl::Hours(1), 120, 6, 7 + round);
    for (TestFrame& frame : frames) frame.end += absl::Seconds(round), frame.start += absl::Seconds(round);
    database_->Store(frames);
    Merge(Today());
  }
  const StoredSums before = database_->Sums();
  ExpectExact(before);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE level = 0"), 9);
  const columns::RowSet hours = database_->Blocks(first_, kHourLevel);
  // The usual look, at the last days.
  Fold(false);
  const StoredSums after = database_->Sums();
  ExpectExact(after);
  EXPECT_EQ(after.rows, before.rows);
  EXPECT_EQ(database_->Number("SELECT max(n) FROM (SELECT count(*) AS n FROM metrics.block GROUP BY level) l"), 1);
  const columns::RowSet folded = database_->Blocks(first_, kHourLevel);
  EXPECT_EQ(folded.rows(), hours.rows());
  ASSERT_EQ(folded.frames.size(), hours.frames.size());
  for (size_t i = 0; i < hours.frames.size(); ++i) {
    EXPECT_EQ(folded.frames[i].frames, hours.frames[i].frames);
    EXPECT_EQ(folded.frames[i].covered_us, hours.frames[i].covered_us);
  }
}

TEST_F(UpkeepTest, PiecesOfManySeriesFoldAsAWhole) {
  // 2,500 series are three blocks a piece.
  for (int round = 0; round < 6; ++round) {
    database_->Store(Minutes(source_, first_, yesterday_ + absl::Minutes(10 * round), 1, 2500, 3 + round));
    Merge(Today());
  }
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE level = 0"), 18);
  Fold();
  ExpectExact(database_->Sums());
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE level = 0"), 3);
  EXPECT_EQ(database_->Number("SELECT sum(frames) FROM metrics.block WHERE level = 0"), 6);
  // Nothing is left that may fold: another run takes nothing.
  const int64_t newest = database_->Number("SELECT max(xmin::text::int8) FROM metrics.block");
  Fold();
  EXPECT_EQ(database_->Number("SELECT max(xmin::text::int8) FROM metrics.block"), newest);
}

TEST_F(UpkeepTest, AFoldedPieceStaysBelowItsRows) {
  UpkeepOptions options = Options();
  options.fold.max_rows = 1000;
  for (int round = 0; round < 7; ++round) {
    database_->Store(Minutes(source_, first_, yesterday_ + absl::Hours(round), 60, 6, 3 + round));
    Merge(Today());
  }
  auto upkeep = Upkeep::Create(options);
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kFold, true).ok());
  ExpectExact(database_->Sums());
  EXPECT_LE(database_->Number("SELECT max(rows) FROM metrics.block WHERE level = 0"), 1000);
  EXPECT_LT(database_->Number("SELECT count(*) FROM metrics.block WHERE level = 0"), 7);
}

TEST_F(UpkeepTest, ADayThatIsSettledFoldsIntoFewerAndLargerPieces) {
  const absl::Time day = Today() - absl::Hours(48);
  UpkeepOptions options = Options();
  options.fold.max_rows = 1000;
  for (int round = 0; round < 8; ++round) {
    database_->Store(Minutes(source_, first_, day + absl::Hours(round) + absl::Minutes(1), 60, 6, 3 + round));
    Merge(day + absl::Hours(24));
  }
  const int64_t rows = database_->Sums().rows;
  const auto pieces_after_fold_at = [&](absl::Time now) {
    clock_.SetNow(now);
    auto upkeep = Upkeep::Create(options);
    EXPECT_TRUE(upkeep->RunJob(UpkeepJob::kFold, true).ok());
    ExpectExact(database_->Sums());
    EXPECT_EQ(database_->Sums().rows, rows);
    // Neighbours were joined: no piece reaches into another.
    EXPECT_EQ(
        database_->Number("SELECT count(*) FROM metrics.block a JOIN metrics.block b ON a.level = 0 AND b.level = "
                          "0 AND a.first < b.first AND b.first <= a.last"),
        0);
    return database_->Number("SELECT count(*) FROM metrics.block WHERE level = 0");
  };
  EXPECT_EQ(pieces_after_fold_at(Today() - absl::Seconds(1)), 4);
  EXPECT_LE(database_->Number("SELECT max(rows) FROM metrics.block WHERE level = 0"), 1000);
  EXPECT_EQ(pieces_after_fold_at(Today()), 2);
  EXPECT_LE(database_->Number("SELECT max(rows) FROM metrics.block WHERE level = 0"), 2000);
  const int64_t newest = database_->Number("SELECT max(xmin::text::int8) FROM metrics.block");
  EXPECT_EQ(pieces_after_fold_at(Today() + absl::Hours(1)), 2);
  EXPECT_EQ(database_->Number("SELECT max(xmin::text::int8) FROM metrics.block"), newest);
}

TEST_F(UpkeepTest, FoldsOfRandomPiecesKeepEveryRowAndEnd) {
  const absl::Time day = Today() - absl::Hours(48);
  std::mt19937_64 random(11);
  UpkeepOptions options = Options();
  options.fold.max_rows = 700;
  for (int round = 0; round < 24; ++round) {
    const auto at = static_cast<int64_t>(random() % (23 * 60));
    const int minutes = 1 + static_cast<int>(random() % 50);
    const int rows = 1 + static_cast<int>(random() % 30);
    database_->Store(Minutes(source_, first_, day + absl::Minutes(at) + absl::Seconds(18) + absl::Milliseconds(round),
                             minutes, rows, random()));
    const bool settled = random() % 3 == 0;
    Merge(settled ? Today() + absl::Hours(1) : Today() - absl::Hours(1));
    const int64_t before = database_->Sums().rows;
    auto upkeep = Upkeep::Create(options);
    if (random() % 2 == 0) {
      ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kFold, true).ok());
    }
    ExpectExact(database_->Sums());
    EXPECT_EQ(database_->Sums().rows, before);
  }
  clock_.SetNow(Today());
  auto upkeep = Upkeep::Create(options);
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kFold, true).ok());
  ExpectExact(database_->Sums());
  // No two neighbours would fit into one piece.
  EXPECT_EQ(
      database_->Number("SELECT count(*) FROM (SELECT rows + lead(rows) OVER (ORDER BY first, last, starts) AS two "
                        "FROM metrics.block WHERE level = 0 AND NOT long AND expires_on = (SELECT max(expires_on) "
                        "FROM metrics.block WHERE level = 0)) p WHERE two <= 1400"),
      0);
  EXPECT_EQ(database_->Number("SELECT count(*) - count(DISTINCT expires_on) FROM metrics.block WHERE level = 1"), 0);
}

TEST_F(UpkeepTest, LongFramesHavePiecesOfTheirOwn) {
  TestFrame outage;
  outage.source = source_;
  outage.metric = first_;
  outage.start = yesterday_ - absl::Hours(50) - absl::Seconds(13);
  outage.end = yesterday_ + absl::Minutes(90);
  for (int row = 0; row < 20; ++row) outage.calls.push_back(1'000'003 + row);
  std::vector<TestFrame> frames = Minutes(source_, first_, yesterday_ + absl::Minutes(91), 20, 5);
  frames.push_back(outage);
  database_->Store(frames);
  Merge(Today());
  ExpectExact(database_->Sums());
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE long AND level = 0 AND frames = 1"), 1);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.block WHERE NOT long AND level = 0 AND frames = 20"), 1);
  // 52 hours, from the hour of its start to that of its end.
  EXPECT_EQ(database_->Blocks(first_, kHourLevel).frames.size(), 53u);
}

TEST_F(UpkeepTest, ABacklogIsDrainedInBoundedSteps) {
  std::vector<TestFrame> frames;
  for (int day = 5; day >= 1; --day) {
    for (TestFrame& frame : Minutes(source_, first_, Today() - absl::Hours(24 * day), 24 * 60, 10, day)) {
      frames.push_back(std::move(frame));
    }
  }
  database_->Store(frames);
  int steps = 0;
  UpkeepOptions options = Options();
  // 4 columns: some 1,136 frames of 11 "rows" a transaction.
  options.merge.max_values = 50'000;
  options.on_point = [&](UpkeepPoint point) { steps += point == UpkeepPoint::kMergeWritten ? 1 : 0; };
  Merge(Today() + absl::Minutes(30), options);
  EXPECT_EQ(steps, 10);
  const StoredSums sums = database_->Sums();
  ExpectExact(sums);
  EXPECT_EQ(sums.queued_frames, 0);
  EXPECT_EQ(database_->Number("SELECT max(rows) FROM metrics.block WHERE level = 0"), 11'360);
}

TEST_F(UpkeepTest, UnreadableFramesGoAsideAndTheOthersOn) {
  database_->Store(Minutes(source_, first_, yesterday_, 10, 5));
  database_->Store(Minutes(source_, second_, yesterday_, 10, 5));
  database_->Store(Minutes(source_, 999, yesterday_, 3, 5));
  // Bytes, offsets and a version that do not fit.
  database_->db().Exec(
      absl::StrCat("UPDATE metrics.frame SET data = overlay(data placing '\\x7f7f7f' FROM 1) WHERE "
                   "metric_id = ",
                   first_,
                   " AND collected_at = (SELECT min(collected_at) FROM "
                   "metrics.frame)"));
  database_->db().Exec(absl::StrCat("UPDATE metrics.frame SET offsets = '{0}' WHERE metric_id = ", first_,
                                    " AND collected_at = (SELECT max(collected_at) FROM metrics.frame)"));
  database_->db().Exec(absl::StrCat("UPDATE metrics.frame SET schema_version = 7 WHERE metric_id = ", second_,
                                    " AND collected_at = (SELECT max(collected_at) FROM metrics.frame)"));
  Merge(Today());
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.frame"), 0);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.quarantine WHERE reason = 'unreadable' AND bytes > 0"), 6);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.quarantine WHERE message LIKE '%metric 999,%is not known'"),
            3);
  EXPECT_EQ(database_->Number("SELECT sum(frames) FROM metrics.block WHERE level = 0"), 17);
}

TEST_F(UpkeepTest, AMetricThatFailsRestsAndTheOthersGoOn) {
  if (MetricsDatabase::TestLayout() == Layout::kCitus) GTEST_SKIP() << "a trigger does not reach the workers";
  database_->Store(Minutes(source_, first_, yesterday_, 10, 5));
  database_->Store(Minutes(source_, second_, yesterday_ + absl::Minutes(1), 10, 5));
  database_->db().Exec(absl::StrCat(
      "CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.metric_id = ", first_,
      " THEN RAISE EXCEPTION ''refused by the test''; END IF; RETURN NEW; END'; CREATE TRIGGER refuse BEFORE INSERT ON "
      "metrics.block FOR EACH ROW EXECUTE FUNCTION public.refuse()"));
  clock_.SetNow(Today());
  int64_t tried = 0;
  UpkeepOptions options = Options();
  options.on_point = [&](UpkeepPoint point) { tried += point == UpkeepPoint::kMergeBegun ? 1 : 0; };
  auto upkeep = Upkeep::Create(options);
  const auto done = upkeep->RunJob(UpkeepJob::kMerge);
  EXPECT_FALSE(done.ok());
  EXPECT_EQ(tried, 2);
  EXPECT_EQ(database_->Number(absl::StrCat("SELECT count(*) FROM metrics.frame WHERE metric_id = ", first_)), 10);
  EXPECT_EQ(database_->Number(absl::StrCat("SELECT count(*) FROM metrics.frame WHERE metric_id = ", second_)), 0);
  ExpectExact(database_->Sums());
  EXPECT_EQ(upkeep->States()[0].failures, 1);
  EXPECT_EQ(upkeep->States()[0].resting, 1);
  // Tried again after a minute, and then after two more; the other one meanwhile.
  clock_.Advance(absl::Seconds(61));
  EXPECT_FALSE(upkeep->RunJob(UpkeepJob::kMerge).ok());
  EXPECT_EQ(tried, 3);
  database_->Store(Minutes(source_, second_, yesterday_ + absl::Minutes(30), 10, 5));
  clock_.Advance(absl::Seconds(61));
  EXPECT_TRUE(upkeep->RunJob(UpkeepJob::kMerge).ok());
  EXPECT_EQ(tried, 4);
  EXPECT_EQ(database_->Number(absl::StrCat("SELECT count(*) FROM metrics.frame WHERE metric_id = ", second_)), 0);
  clock_.Advance(absl::Seconds(61));
  database_->db().Exec("DROP TRIGGER refuse ON metrics.block");
  EXPECT_TRUE(upkeep->RunJob(UpkeepJob::kMerge).ok());
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.frame"), 0);
  EXPECT_EQ(upkeep->States()[0].resting, 0);
  ExpectExact(database_->Sums());
}

TEST_F(UpkeepTest, TwoCompactorsAtOnceMergeAndFoldOnce) {
  clock_.SetNow(Today());
  for (int round = 0; round < 4; ++round) {
    for (int64_t source = 0; source < 3; ++source) {
      const int32_t id = database_->Source(absl::StrCat("source ", source));
      database_->Store(Minutes(id, first_, yesterday_ + absl::Hours(2 * round), 120, 4, source + 10));
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
      threads.emplace_back([&] {
        UpkeepOptions options = Options();
        options.leases = false;
        options.merge.max_values = 200;
        options.fold.max_pieces = 2;
        auto upkeep = Upkeep::Create(options);
        const auto merged = upkeep->RunJob(UpkeepJob::kMerge, true);
        EXPECT_TRUE(merged.ok() || absl::IsAborted(merged.status())) << merged.status();
        const auto folded = upkeep->RunJob(UpkeepJob::kFold, true);
        EXPECT_TRUE(folded.ok() || absl::IsAborted(folded.status())) << folded.status();
      });
    }
    for (std::thread& thread : threads) thread.join();
    ExpectExact(database_->Sums());
  }
}

TEST_F(UpkeepTest, ALeaseLetsOneWork) {
  UpkeepOptions one = Options(), two = Options();
  two.holder = "other";
  database_->Store(Minutes(source_, first_, yesterday_, 10, 5));
  clock_.SetNow(Today());
  auto first = Upkeep::Create(one), second = Upkeep::Create(two);
  EXPECT_TRUE(*first->RunJob(UpkeepJob::kMerge, true));
  const auto refused = second->RunJob(UpkeepJob::kMerge, true);
  ASSERT_TRUE(refused.ok());
  EXPECT_FALSE(*refused);
  // Each job has a lease of its own.
  EXPECT_TRUE(*second->RunJob(UpkeepJob::kFold, true));
  const auto leases = second->Leases(clock::SteadyNow() + absl::Seconds(10));
  ASSERT_TRUE(leases.ok()) << leases.status();
  EXPECT_EQ(leases->at("merge").holder, "test");
  EXPECT_EQ(leases->at("fold").holder, "other");
  database_->db().Exec("UPDATE metrics.lease SET expires_at = now() - interval '1 second' WHERE name = 'merge'");
  EXPECT_TRUE(*second->RunJob(UpkeepJob::kMerge, true));
}

TEST(FoldRowsTest, SettledDaysAndBucketsHoldTwiceTheRowsAsFarAsValuesAllow) {
  const Span span{0, kDayMicros};
  EXPECT_FALSE(IsSettled(span, 2 * kDayMicros - 1));
  EXPECT_TRUE(IsSettled(span, 2 * kDayMicros));
  const FoldOptions options{.max_rows = 1000, .max_values = 30'000};
  EXPECT_EQ(MostFoldedRows(options, kRawLevel, false, 10), 1000);
  EXPECT_EQ(MostFoldedRows(options, kRawLevel, true, 10), 2000);
  EXPECT_EQ(MostFoldedRows(options, kHourLevel, false, 10), 2000);
  EXPECT_EQ(MostFoldedRows(options, kDayLevel, true, 20), 1500);
  EXPECT_EQ(MostFoldedRows(options, kRawLevel, true, 0), 2000);
  EXPECT_EQ(MostFoldedRows(options, kRawLevel, true, 40'000), 1);
}

TEST(SpanTest, SpansAndTheirEnds) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  const auto micros = [&](const char* text) {
    absl::Time time;
    std::string error;
    EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M:%S", text, utc, &time, &error)) << error;
    return absl::ToUnixMicros(time);
  };
  const auto day = [&](const char* text) { return static_cast<int32_t>(micros(text) / kDayMicros); };
  // 2026-11-27 is a Friday.
  const Span friday{micros("2026-11-27 00:00:00"), micros("2026-11-28 00:00:00")};
  EXPECT_EQ(SpanOf(kRawLevel, micros("2026-11-27 10:00:00"), utc), friday);
  EXPECT_EQ(SpanOfLast(kRawLevel, micros("2026-11-27 00:00:00"), utc), friday);
  EXPECT_EQ(SpanOfLast(kHourLevel, micros("2026-11-28 00:00:00"), utc), friday);
  const Span week{micros("2026-11-23 00:00:00"), micros("2026-11-30 00:00:00")};
  EXPECT_EQ(SpanOf(kDayLevel, micros("2026-11-27 10:00:00"), utc), week);
  EXPECT_EQ(SpanOfLast(kDayLevel, micros("2026-11-30 00:00:00"), utc), week);
  EXPECT_EQ(ExpiresOn(kRawLevel, friday, {30, 400}), day("2026-12-28 00:00:00"));
  EXPECT_EQ(ExpiresOn(kHourLevel, friday, {60, 400}), day("2027-01-27 00:00:00"));
  // 61 days after the 28th is Thursday, the 28th of January: the next Monday.
  EXPECT_EQ(ExpiresOn(kRawLevel, friday, {61, 400}), day("2027-02-01 00:00:00"));
  // Monday the 30th and 400 days is a Tuesday, the 4th of January 2028.
  EXPECT_EQ(ExpiresOn(kDayLevel, week, {30, 400}), day("2028-01-10 00:00:00"));
  EXPECT_EQ(BucketEdges(kHourLevel, friday, utc).size(), 25u);
  EXPECT_EQ(BucketEdges(kDayLevel, week, utc).size(), 8u);
  absl::TimeZone berlin;
  ASSERT_TRUE(absl::LoadTimeZone("Europe/Berlin", &berlin));
  const Span changes = SpanOf(kZoneDayLevel, micros("2026-10-25 12:00:00"), berlin);
  EXPECT_EQ(changes.start_us, micros("2026-10-18 22:00:00"));
  EXPECT_EQ(changes.end_us, micros("2026-10-25 23:00:00"));
  const std::vector<int64_t> edges = BucketEdges(kZoneDayLevel, changes, berlin);
  ASSERT_EQ(edges.size(), 8u);
  EXPECT_EQ(edges[7] - edges[6], 25 * kHourMicros);
}

}  // namespace
}  // namespace pga::storage
