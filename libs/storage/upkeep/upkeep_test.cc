// Each job of upkeep on a real server: what is merged and folded adds up to what was stored, at every level; what fails
// leaves the rest alone.
#include "libs/storage/upkeep/upkeep.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/storage/upkeep/span.h"
#include "libs/storage/upkeep/upkeep_testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

// The start of today, so that retention by the server's clock does not reach what tests store.
absl::Time Today() {
  return absl::FromUnixMicros(FloorTo(absl::ToUnixMicros(clock::WallNow()), kDayMicros));
}

// A frame of each minute from 17 seconds before `from` on.
std::vector<TestFrame> Minutes(int32_t source, int16_t metric, absl::Time from, int minutes, int rows,
                               uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::vector<TestFrame> frames;
  for (int minute = 0; minute < minutes; ++minute) {
    TestFrame frame;
    frame.source = source;
    frame.metric = metric;
    frame.start = from + absl::Minutes(minute) - absl::Seconds(17);
    frame.end = frame.start + absl::Minutes(1);
    frame.first_key = static_cast<int64_t>(random() % 5);
    for (int row = 0; row < rows; ++row) frame.calls.push_back(static_cast<int64_t>(random() % 1000));
    frames.push_back(std::move(frame));
  }
  return frames;
}

class UpkeepTest : public ::testing::Test {
 protected:
  void SetUp() override {
    database_ = UpkeepDatabase::Create({"first", "second"});
    ASSERT_NE(database_, nullptr);
    source_ = database_->Source("alpha");
    first_ = database_->Metric("first");
    second_ = database_->Metric("second");
  }

  UpkeepOptions Options() {
    UpkeepOptions options;
    options.url = database_->url();
    options.clock = &clock_;
    options.holder = "test";
    return options;
  }
  // Merges what is closed at `now`.
  void Merge(absl::Time now, UpkeepOptions options) {
    clock_.SetNow(now);
    auto upkeep = Upkeep::Create(std::move(options));
    const auto done = upkeep->RunJob(UpkeepJob::kMerge, true);
    ASSERT_TRUE(done.ok()) << done.status();
    ASSERT_TRUE(*done);
  }
  void Merge(absl::Time now) { Merge(now, Options()); }
  void Fold(bool force = true) {
    auto upkeep = Upkeep::Create(Options());
    const auto done = upkeep->RunJob(UpkeepJob::kFold, force);
    ASSERT_TRUE(done.ok()) << done.status();
  }
  void ExpectExact(const StoredSums& sums) {
    for (int level = kRawLevel; level <= kDayLevel; ++level) {
      EXPECT_EQ(sums.calls[static_cast<size_t>(level)], sums.expected_calls) << "level " << level;
    }
    EXPECT_EQ(sums.frames, sums.expected_frames);
  }

  clock::FakeClock clock_{clock::WallNow()};
  std::unique_ptr<UpkeepDatabase> database_;
  int32_t source_ = 0;
  int16_t first_ = 0, second_ = 0;
  const absl::Time yesterday_ = Today() - absl::Hours(24);
};

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

TEST_F(UpkeepTest, PartitionsAreMadeAheadAndExpiredOnesDropped) {
  clock_.SetNow(clock::WallNow());
  auto upkeep = Upkeep::Create(Options());
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kPartitions, true).ok());
  const std::string count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'metrics.block'::regclass";
  const int64_t made = database_->Number(count);
  if (MetricsDatabase::TestLayout() == Layout::kTimescaledb) {
    EXPECT_EQ(made, 0) << "chunks come by themselves";
  } else if (MetricsDatabase::TestLayout() == Layout::kCitus) {
    EXPECT_GE(made, 4) << "two or three weeks of raw and hours, as many of days";
    EXPECT_LE(made, 6);
  } else {
    // Nine days of raw and hours, two or three weeks of days.
    EXPECT_GE(made, 11);
    EXPECT_LE(made, 12);
  }
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kPartitions, true).ok());
  EXPECT_EQ(database_->Number(count), made);
  database_->db().Exec("SELECT metrics.ensure_block_partitions(current_date - 13, current_date - 11)");
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kRetention, true).ok());
  EXPECT_EQ(database_->Number(count), made);
}

TEST_F(UpkeepTest, AMetricAppliedToARunningSuiteBecomesReadable) {
  const std::string views = "SELECT count(*) FROM pg_views WHERE schemaname = 'readable' AND viewname = 'late'";
  const std::string definition = UpkeepMetric("late").SerializeAsString();
  auto connection = pg::CopyConnection::Connect({.url = database_->url()}, clock::SteadyNow() + absl::Seconds(30));
  ASSERT_TRUE(connection.ok()) << connection.status();
  const auto added = (*connection)
                         ->Exec(
                             "INSERT INTO metrics.catalog_metric (id, name, schema_version, definition) SELECT "
                             "max(id) + 1, 'late', 1, $1::bytea FROM metrics.catalog_metric",
                             {pg::Bytes{definition}}, clock::SteadyNow() + absl::Seconds(30));
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_EQ(database_->Number(views), 0);
  auto upkeep = Upkeep::Create(Options());
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kPartitions, true).ok());
  EXPECT_EQ(database_->Number(views), 1);
}

TEST_F(UpkeepTest, DataOfRemovedSourcesGoes) {
  const int32_t other = database_->Source("beta");
  for (const int32_t source : {source_, other}) {
    database_->Store(Minutes(source, first_, yesterday_, 90, 5));
    database_->Store(Minutes(source, first_, Today(), 5, 5));
    database_->db().Exec(absl::StrCat(
        "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (", source, ", 1, 1, 'x')"));
  }
  Merge(Today());
  database_->db().Exec("UPDATE metrics.source SET removed_at = now() WHERE name = 'beta'");
  auto upkeep = Upkeep::Create(Options());
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kRetention, true).ok());
  for (const char* table : {"frame", "block", "query_text"}) {
    const auto rows = [&](int32_t source) {
      return database_->Number(absl::StrCat("SELECT count(*) FROM metrics.", table, " WHERE source_id = ", source));
    };
    EXPECT_EQ(rows(other), 0) << table;
    EXPECT_GT(rows(source_), 0) << table;
  }
}

TEST_F(UpkeepTest, RowsGoByAgeAndQuarantineBySize) {
  database_->db().Exec(
      "INSERT INTO metrics.query_text (source_id, database_id, query_id, text, last_seen) SELECT 1, 1, d, 'x', now() - "
      "d "
      "* interval '1 day' FROM generate_series(1, 500, 100) d; "
      "INSERT INTO metrics.ingest_watermark (collector_id, stream_id, last_seq, last_hash, sealed, updated_at) VALUES "
      "(1, md5('a')::uuid, 5, '', true, now() - interval '50 days'), (1, md5('b')::uuid, 5, '', false, now() - "
      "interval "
      "'50 days'), (1, md5('c')::uuid, 0, '', false, now() - interval '8 days'), (1, md5('d')::uuid, 5, '', true, "
      "now()); "
      "INSERT INTO metrics.quarantine (received_at, collector_id, stream_id, seq, reason, message, payload) SELECT "
      "now() - "
      "CASE n WHEN 1 THEN interval '31 days' ELSE interval '0' END, 1 + n / 20, md5('a')::uuid, n, 'test', '', "
      "decode(repeat('00', 800), 'hex') FROM generate_series(1, 39) n");
  UpkeepOptions options = Options();
  options.clean_up.quarantine_collector_bytes = 10'000;
  options.clean_up.quarantine_bytes = 15'000;
  clock_.SetNow(clock::WallNow());
  auto upkeep = Upkeep::Create(options);
  const auto done = upkeep->RunJob(UpkeepJob::kCleanUp, true);
  ASSERT_TRUE(done.ok()) << done.status();
  // 409 days and more are beyond the longest retention.
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.query_text"), 5);
  database_->Number("UPDATE metrics.query_text SET last_seen = now() - interval '420 days' WHERE query_id > 300");
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kCleanUp, true).ok());
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.query_text"), 3);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.ingest_watermark WHERE last_seq = 0 OR sealed"), 1);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.ingest_watermark"), 2);
  // 1,000 bytes each: ten of either collector, then fifteen of both, the newest.
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.quarantine"), 15);
  EXPECT_EQ(database_->Number("SELECT count(*) FROM metrics.quarantine WHERE collector_id = 2"), 10);
  EXPECT_EQ(database_->Number("SELECT min(seq) FROM metrics.quarantine WHERE collector_id = 2"), 30);
}

TEST_F(UpkeepTest, UsageIsThatOfTheTables) {
  database_->Store(Minutes(source_, first_, yesterday_, 120, 50));
  database_->Store(Minutes(source_, second_, Today(), 5, 5));
  Merge(Today());
  database_->db().Exec(
      "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (1, 1, 1, 'abc')");
  auto upkeep = Upkeep::Create(Options());
  EXPECT_EQ(upkeep->Usage(), nullptr);
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kAccounting, true).ok());
  const auto usage = upkeep->Usage();
  ASSERT_NE(usage, nullptr);
  EXPECT_TRUE(usage->complete);
  ASSERT_EQ(usage->entries.size(), 3u);  // raw, hours, days
  int64_t bytes = 0;
  for (const auto& entry : usage->entries) {
    EXPECT_EQ(entry.source, "alpha");
    EXPECT_EQ(entry.metric, "first");
    bytes += entry.usage.bytes;
  }
  EXPECT_EQ(usage->entries[0].usage.rows, 6000);
  EXPECT_EQ(usage->entries[0].usage.frames, 120);
  const int64_t data = database_->Number("SELECT sum(length(data)) FROM metrics.block");
  EXPECT_GT(bytes, data);
  EXPECT_LT(bytes, data + 3 * 2000);
  EXPECT_EQ(usage->queue_frames, 5);
  EXPECT_EQ(usage->queue_oldest_us, database_->Number("SELECT (extract(epoch FROM min(collected_at)) * 1000000)::int8 "
                                                      "FROM metrics.frame"));
  ASSERT_EQ(usage->texts.size(), 1u);
  EXPECT_EQ(usage->texts[0].texts, 1);
  EXPECT_GT(usage->tables.at("block"), data);
}

// Frames leave the queue while the account is between blocks and queue: they are in one of them.
TEST_F(UpkeepTest, UsageIsOfOneSnapshot) {
  const auto soon = [] { return clock::SteadyNow() + absl::Seconds(20); };
  database_->Store(Minutes(source_, first_, yesterday_, 120, 50));
  auto merging = pg::CopyConnection::Connect({.url = database_->url()}, soon());
  ASSERT_TRUE(merging.ok()) << merging.status();
  ASSERT_TRUE((*merging)->Exec("BEGIN; LOCK TABLE metrics.frame IN ACCESS EXCLUSIVE MODE", soon()).ok());
  auto upkeep = Upkeep::Create(Options());
  absl::Status ran;
  std::thread account([&] { ran = upkeep->RunJob(UpkeepJob::kAccounting, true).status(); });
  EXPECT_TRUE(testing::WaitUntil(
      [&] {
        return database_->Number(
                   "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'metrics.frame'::regclass") > 0;
      },
      absl::Seconds(20)));
  EXPECT_TRUE((*merging)->Exec("DELETE FROM metrics.frame; COMMIT", soon()).ok());
  account.join();
  ASSERT_TRUE(ran.ok()) << ran;
  EXPECT_EQ(upkeep->Usage()->queue_frames, 120);
  ASSERT_TRUE(upkeep->RunJob(UpkeepJob::kAccounting, true).ok());
  EXPECT_EQ(upkeep->Usage()->queue_frames, 0);
}

TEST_F(UpkeepTest, WhoeverHoldsASnapshotForLongIsNamed) {
  const auto soon = [] { return clock::SteadyNow() + absl::Seconds(20); };
  const auto connect = [&](const std::string& name) {
    auto connection = pg::CopyConnection::Connect({.url = database_->url(), .application_name = name}, soon());
    EXPECT_TRUE(connection.ok()) << connection.status();
    return *std::move(connection);
  };
  auto dump = connect("pg_dump");
  auto reader = connect("reader");
  ASSERT_TRUE(dump->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1", soon()).ok());
  // Its transaction is as long, but each of its statements takes a snapshot of its own.
  ASSERT_TRUE(reader->Exec("BEGIN; DECLARE c CURSOR FOR SELECT 1", soon()).ok());
  database_->Store(Minutes(source_, first_, yesterday_, 120, 50));
  auto upkeep = Upkeep::Create(Options());
  const auto holders = [&] {
    const auto ran = upkeep->RunJob(UpkeepJob::kAccounting, true);
    EXPECT_TRUE(ran.ok()) << ran.status();
    std::vector<std::string> names;
    for (const auto& holder : upkeep->Usage()->holders) {
      // Of this server's other databases nothing holds frames.
      EXPECT_EQ(holder.kind, "session");
      EXPECT_GT(holder.pid, 0);
      EXPECT_EQ(holder.user, "postgres");
      EXPECT_LE(holder.since_us, absl::ToUnixMicros(clock_.Now()) - 5 * 60'000'000);
      names.push_back(holder.name);
    }
    std::sort(names.begin(), names.end());
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(holders(), Names{});
  ASSERT_TRUE(reader->Exec("CLOSE c", soon()).ok());
  Merge(Today());
  ASSERT_TRUE(reader->Exec("DECLARE c CURSOR FOR SELECT 1", soon()).ok());
  clock_.SetNow(clock::WallNow() + absl::Minutes(6));
  EXPECT_EQ(holders(), Names{"pg_dump"});
  EXPECT_GE(upkeep->Usage()->holders[0].transactions, 1);
  clock_.SetNow(clock::WallNow() + absl::Minutes(12));
  EXPECT_EQ(holders(), (Names{"pg_dump", "reader"}));
  ASSERT_TRUE(dump->Exec("COMMIT", soon()).ok());
  EXPECT_EQ(holders(), Names{"reader"});
  ASSERT_TRUE(reader->Exec("COMMIT", soon()).ok());
  EXPECT_EQ(holders(), Names{});

  // Without the right to see others' transactions the time counts from when the snapshot is first seen.
  ASSERT_TRUE(dump->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1", soon()).ok());
  const auto at_once = [&] {
    upkeep = Upkeep::Create(Options());
    clock_.SetNow(clock::WallNow() + absl::Minutes(30));
    return holders();
  };
  EXPECT_EQ(at_once(), Names{});
  database_->db().Exec("GRANT pg_read_all_stats TO pganalytics_maintenance");
  EXPECT_EQ(at_once(), Names{"pg_dump"});
  database_->db().Exec("REVOKE pg_read_all_stats FROM pganalytics_maintenance");
}

TEST_F(UpkeepTest, StoppingEndsARunningStatement) {
  database_->Store(Minutes(source_, first_, yesterday_, 10, 5));
  clock_.SetNow(Today());
  auto blocker = pg::CopyConnection::Connect({.url = database_->url()}, clock::SteadyNow() + absl::Seconds(10));
  ASSERT_TRUE(blocker.ok());
  ASSERT_TRUE((*blocker)->Exec("BEGIN; LOCK TABLE metrics.frame", clock::SteadyNow() + absl::Seconds(10)).ok());
  auto upkeep = Upkeep::Start(Options());
  ASSERT_TRUE(testing::WaitUntil([&] {
    return database_->Number(
               "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = "
               "'metrics.frame'::regclass") > 0;
  }));
  const clock::SteadyTime begun = clock::SteadyNow();
  upkeep->Stop();
  EXPECT_LT(clock::SteadyNow() - begun, absl::Seconds(4));
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
