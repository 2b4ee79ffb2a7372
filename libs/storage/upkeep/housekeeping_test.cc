// Partitions, retention, accounting, who holds a snapshot, and the end of a job.
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/storage/upkeep/upkeep.h"
#include "libs/storage/upkeep/upkeep_fixture_testing.h"
#include "libs/testing/subprocess.h"

namespace pga::storage {
namespace {

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

}  // namespace
}  // namespace pga::storage
