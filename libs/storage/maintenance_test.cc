#include "libs/storage/maintenance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/testing/subprocess.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;
using ::testing::HasSubstr;

class MaintenanceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    metric_ =
        MakeMetric("probe", catalog_pb::SCOPE_INSTANCE, {"name text label", "calls int8 counter", "size int8 gauge"});
    metric_.mutable_retention()->set_raw_days(5);
    database_ = MetricsDatabase::Create({&metric_});
    ASSERT_NE(database_, nullptr);
    database_->Exec(
        "INSERT INTO metrics.collector (collector_id) VALUES ('col'); INSERT INTO metrics.source (uuid, name, "
        "collector_id) "
        "VALUES (md5('s')::uuid, 's', 1)");
  }

  MaintenanceOptions Options(const std::string& holder) {
    MaintenanceOptions options;
    options.pool = &database_->pool();
    options.registry = &registry_;
    options.holder = holder;
    return options;
  }

  // One frame with one row, as ingest stores it: 30 minutes ago, but not before midnight, and `days` earlier.
  void StoreFrame(int days, bool dirty) {
    const std::string at = absl::StrCat(
        "(greatest(now() - interval '30 minutes', date_trunc('day', now(), 'UTC')) - interval '", days, " days')");
    database_->Exec(absl::StrCat("SELECT metrics.ensure_partitions('probe', ", at, ", ", at,
                                 "), metrics.ensure_partitions('metrics', ", at, ", ", at, ")"));
    database_->Exec(absl::StrCat("INSERT INTO metrics.probe (time, source_id, flags, name, calls, size) VALUES (", at,
                                 ", 1, 0, 1, 60, 5); INSERT INTO metrics.metrics (time, source_id, collector_id, "
                                 "metric_id, flags, scope, interval_ms, "
                                 "rows, bytes) VALUES (",
                                 at, ", 1, 1, 1, 0, 0, 60000, 1, 0)"));
    if (dirty) {
      database_->Exec(absl::StrCat(
          "INSERT INTO metrics.rollup_dirty SELECT DISTINCT 1, 1, date_trunc('hour', t) FROM unnest(ARRAY[", at, ", ",
          at, " - interval '1 minute']) t ON CONFLICT DO NOTHING"));
    }
  }
  void ExpectCountsAgree() {
    EXPECT_EQ(database_->Value("SELECT metrics.ledger_count()"),
              database_->Value("SELECT count(*) FROM public.metrics"));
  }

  catalog_pb::Metric metric_;
  metrics::Registry registry_{false};
  std::unique_ptr<MetricsDatabase> database_;
};

TEST_F(MaintenanceTest, RollsUpClosesDaysAndDropsWhatIsOld) {
  for (int day = 0; day < 9; ++day) StoreFrame(day, true);
  auto maintenance = Maintenance::Create(Options("a"));
  const auto done = maintenance->RunOnce(true);
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_TRUE(*done);
  // Nine hours touched, the running one apart; each increase is whole in the rollups.
  EXPECT_GE(database_->Value("SELECT sum(calls) FROM metrics.probe_1h"), "480");
  EXPECT_NE(database_->Value("SELECT count(*) FROM metrics.ledger_day"), "0");
  ExpectCountsAgree();
  // Raw rows of more than five days ago are gone, their rollups stay.
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.probe WHERE time < now() - interval '7 days'"), "0");
  EXPECT_NE(database_->Value("SELECT count(*) FROM metrics.probe_1h WHERE bucket < now() - interval '7 days'"), "0");
  EXPECT_NE(database_->Value("SELECT count(*) FROM metrics.probe WHERE time > now() - interval '5 days'"), "0");
  // Days that the ledger has dropped have no fixed count either.
  EXPECT_EQ(database_->Value(
                "SELECT count(*) FROM metrics.ledger_day l, metrics.time_table t WHERE t.name = 'metrics' AND l.day < "
                "t.dropped_before::date"),
            "0");
  ExpectCountsAgree();
  EXPECT_THAT(registry_.Render(), HasSubstr("pga_storage_maintenance_leader 1"));

  const std::string before =
      database_->Value("SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM metrics.probe_1m t");
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  EXPECT_EQ(database_->Value("SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM metrics.probe_1m t"), before);
}

TEST_F(MaintenanceTest, LateRowsOfAClosedDayAreCountedAtOnce) {
  StoreFrame(3, true);
  StoreFrame(0, true);
  auto maintenance = Maintenance::Create(Options("a"));
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  const std::string closed = database_->Value("SELECT sum(rows) FROM metrics.ledger_day WHERE NOT reopened");
  EXPECT_EQ(closed, "1");
  StoreFrame(3, true);
  EXPECT_EQ(database_->Value("SELECT metrics.ledger_count()"), "3");
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  EXPECT_EQ(database_->Value("SELECT sum(rows) FROM metrics.ledger_day WHERE NOT reopened"), "2");
  ExpectCountsAgree();
  // Rows that came without a mark are found by the repeated count.
  StoreFrame(3, false);
  database_->Exec("UPDATE metrics.ledger_day SET checked_at = now() - interval '1 day'");
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(maintenance->RunOnce(true).ok());
  ExpectCountsAgree();
}

TEST_F(MaintenanceTest, DirtyHourKeepsItsRawRows) {
  StoreFrame(20, true);
  StoreFrame(19, true);
  database_->Exec("DELETE FROM metrics.rollup_dirty WHERE hour > now() - interval '19 days 12 hours'");
  database_->Exec(
      "BEGIN; SET LOCAL lock_timeout = '2s'; SELECT metrics.drop_partitions('probe', now() - interval '10 days', 100); "
      "COMMIT");
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.probe"), "2")
      << "the younger rows may be needed for the older hour";
  database_->Exec(
      "DELETE FROM metrics.rollup_dirty; SELECT metrics.drop_partitions('probe', now() - interval '10 days', 100)");
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.probe"), "0");
}

TEST_F(MaintenanceTest, OneHolderAtATime) {
  auto first = Maintenance::Create(Options("a"));
  auto second = Maintenance::Create(Options("b"));
  EXPECT_TRUE(*first->RunOnce());
  EXPECT_FALSE(*second->RunOnce());
  database_->Exec("UPDATE metrics.lease SET expires_at = now() - interval '1 second'");
  EXPECT_TRUE(*second->RunOnce());
  EXPECT_FALSE(*first->RunOnce());
}

TEST_F(MaintenanceTest, ThreadWorksAndGivesTheLeaseBack) {
  StoreFrame(1, true);
  {
    auto maintenance = Maintenance::Start(Options("thread"));
    EXPECT_TRUE(testing::WaitUntil([&] { return database_->Value("SELECT count(*) FROM metrics.rollup_dirty") == "0"; },
                                   absl::Seconds(30)));
  }
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.lease"), "0");
}

TEST_F(MaintenanceTest, ChunksAreCompressedAndTakeLateRows) {
  if (MetricsDatabase::TestLayout() != Layout::kTimescaledb) GTEST_SKIP() << "native partitions are not compressed";
  const auto chunks = [&](const std::string& table, bool compressed) {
    return database_->Value(
        absl::StrCat("SELECT count(*) FROM timescaledb_information.chunks WHERE hypertable_name = '", table, "' AND ",
                     compressed ? "" : "NOT ", "is_compressed"));
  };
  StoreFrame(4, true);
  StoreFrame(0, true);
  auto maintenance = Maintenance::Create(Options("a"));
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  for (const char* table : {"probe", "probe_1m", "metrics"}) {
    EXPECT_EQ(chunks(table, true), "1") << table;
  }
  EXPECT_EQ(chunks("probe", false), "1") << "today's";
  // Late rows, and the rollups that follow, go into compressed chunks.
  StoreFrame(4, true);
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  EXPECT_EQ(database_->Value("SELECT sum(calls) FROM metrics.probe_1h WHERE bucket < now() - interval '3 days'"),
            "120");
  EXPECT_EQ(database_->Value("SELECT sum(calls) FROM metrics.probe_1m WHERE bucket < now() - interval '3 days'"),
            "120");
  ExpectCountsAgree();
  // A column can be added to what is compressed.
  auto next = MakeMetric("probe", catalog_pb::SCOPE_INSTANCE,
                         {"name text label", "calls int8 counter", "size int8 gauge", "more int8 counter 2"}, 2);
  MigrateOptions options;
  options.metrics = {&next};
  EXPECT_EQ(MigrateUp(database_->url(), Database::kMetrics, options), absl::OkStatus());
  StoreFrame(4, true);
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  EXPECT_EQ(database_->Value("SELECT sum(calls) FROM metrics.probe_1h WHERE bucket < now() - interval '3 days'"),
            "180");
}

TEST_F(MaintenanceTest, PartitionsAreMadeAheadAndOnDemand) {
  if (MetricsDatabase::TestLayout() != Layout::kNative) GTEST_SKIP() << "chunks come by themselves";
  const auto covered = [&](const std::string& at) {
    return database_->Value(absl::StrCat(
        "SELECT to_regclass('metrics_data.' || metrics.partition_name('probe', 'day', ", at, ")) IS NOT NULL"));
  };
  for (int day = 0; day <= 7; ++day) EXPECT_EQ(covered(absl::StrCat("now() + interval '", day, " days'")), "t") << day;
  EXPECT_EQ(covered("now() - interval '4 days'"), "f");
  EXPECT_EQ(database_->Value(
                "SELECT metrics.ensure_partitions('probe', now() - interval '4 days', now() - interval '3 days')"),
            "2");
  EXPECT_EQ(database_->Value(
                "SELECT metrics.ensure_partitions('probe', now() - interval '4 days', now() - interval '3 days')"),
            "0");
  EXPECT_EQ(covered("now() - interval '4 days'"), "t");
}

TEST_F(MaintenanceTest, QuarantineOfACollectorIsBounded) {
  database_->Exec(
      "INSERT INTO metrics.quarantine (collector_id, stream_id, seq, reason, message, payload) SELECT c, "
      "md5('s')::uuid, "
      "s, 'malformed', '', repeat('x', 100)::bytea FROM generate_series(1, 2) c, generate_series(1, 10 * c) s");
  MaintenanceOptions options = Options("a");
  options.quarantine_bytes = 1'550;
  auto maintenance = Maintenance::Create(std::move(options));
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  EXPECT_EQ(database_->Value("SELECT string_agg(concat_ws(':', collector_id, n, oldest), ' ' ORDER BY collector_id) "
                             "FROM (SELECT collector_id, count(*) AS n, min(seq) AS oldest FROM metrics.quarantine "
                             "GROUP BY 1) q"),
            "1:10:1 2:15:6");
  EXPECT_THAT(registry_.Render(), HasSubstr("pga_storage_quarantine_dropped_total 5"));
}

// A stream must be remembered for as long as ingest would take its frames.
TEST_F(MaintenanceTest, DrainedStreamsAndUnusedTextsGoWhenNothingCanNameThem) {
  database_->Exec(
      "UPDATE metrics.time_table SET retention_days = 60 WHERE kind = 'raw'; INSERT INTO metrics.ingest_watermark "
      "(collector_id, stream_id, last_seq, last_hash, sealed, updated_at) SELECT 1, gen_random_uuid(), d, '', d <> 90, "
      "now() - d * interval '1 day' FROM unnest(ARRAY[50, 61, 63, 90]) d; INSERT INTO metrics.text (source_id, id, "
      "value, last_seen) VALUES (1, 1, 'used', now() - interval '400 days'), (1, 2, 'unused', now() - interval '403 "
      "days'); UPDATE metrics.source SET last_seen = now()");
  auto maintenance = Maintenance::Create(Options("a"));
  ASSERT_TRUE(maintenance->RunOnce(true).ok());
  EXPECT_EQ(database_->Value("SELECT string_agg(last_seq::text, ' ' ORDER BY last_seq) FROM metrics.ingest_watermark"),
            "50 61 90");
  EXPECT_EQ(database_->Value("SELECT string_agg(value, ' ') FROM metrics.text"), "used");
}

}  // namespace
}  // namespace pga::storage
