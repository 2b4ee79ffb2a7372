// Series of a built-in metric on the product's own schema, with the product's own rollup job: answers must not change
// when hours are rolled up, and must equal what was put in.
#include "libs/storage/series_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/fake_clock.h"
#include "libs/frame/text.h"
#include "libs/status/testing.h"
#include "libs/storage/ledger_reader.h"
#include "libs/storage/reader_sql.h"
#include "libs/storage/rollup_job.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

using status::IsOk;

// The rollup job works by real time: hours of the last days are due.
absl::Time Midnight() {
  const int64_t now = absl::ToUnixSeconds(absl::Now());
  return absl::FromUnixSeconds(now - now % 86400 - 86400);
}

class SeriesReaderTest : public ::testing::Test {
 protected:
  static absl::Time Deadline() { return absl::Now() + absl::Seconds(60); }

  void SetUp() override {
    auto url = pga::testing::SharedPostgres()->CreateFreshDatabase("series");
    ASSERT_THAT(url, IsOk());
    auto catalog = catalog::Catalog::Builtin();
    ASSERT_THAT(catalog, IsOk());
    catalog_ = *catalog;
    MigrateOptions migrate;
    migrate.layout = Layout::kNative;
    for (const auto& metric : catalog_->metrics()) migrate.metrics.push_back(&metric);
    ASSERT_THAT(MigrateUp(*url, Database::kMetrics, migrate), IsOk());
    PoolOptions(*url);
    for (const char* table : {"metrics", "table_stats"}) {
      Exec("SELECT metrics.ensure_partitions($1, $2::timestamptz, $3::timestamptz)",
           {table, TimeText(start_ - absl::Hours(30)), TimeText(start_ + absl::Hours(30))});
    }
    Exec("INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'c')");
    Exec(
        "INSERT INTO metrics.source (id, uuid, name, collector_id) VALUES (1, '00000000-0000-0000-0000-000000000001', "
        "'a', 1), "
        "(2, '00000000-0000-0000-0000-000000000002', 'b', 1)");
    for (const char* text : {"shop", "public", "t0", "t1", "t2"}) {
      Exec("INSERT INTO metrics.text SELECT s, $1::int8, $2 FROM (VALUES (1), (2)) v(s)", {frame::TextId(text), text});
    }
    reader_ = std::make_unique<SeriesReader>(pool_.get(), catalog_, &clock_);
    clock_.SetNow(start_ + absl::Hours(24));
  }

  void PoolOptions(const std::string& url) {
    pg::PoolOptions options;
    options.url = url;
    auto pool = pg::Pool::Create(options);
    ASSERT_THAT(pool, IsOk());
    pool_ = *std::move(pool);
  }

  void Exec(const std::string& sql, const pg::Params& params = {}) {
    const absl::Status done = pool_->Exec(sql, params, Deadline()).status();
    ASSERT_THAT(done, IsOk()) << sql.substr(0, 300);
  }

  // Six hours of frames a minute for two sources and two databases; most rows are left out as unchanged.
  void Fill() {
    std::mt19937_64 random(17);
    std::string ledger;
    std::string rows;
    std::string baseline;
    std::string dirty;
    for (int32_t source : {1, 2}) {
      for (int32_t scope : {5, 6}) {
        absl::Time at = start_ + absl::Milliseconds(static_cast<int64_t>(random() % 60000));
        bool first = true;
        while (at < start_ + absl::Hours(6)) {
          absl::Duration length = absl::Seconds(60) + absl::Milliseconds(static_cast<int64_t>(random() % 400));
          if (random() % 60 == 0) length = absl::Minutes(static_cast<int64_t>(5 + random() % 90));
          absl::Time from = at;
          if (!first) at += length;
          int64_t interval = first ? 0 : absl::ToInt64Milliseconds(length);
          // An increase of an instant, now and then at the very edge of an hour.
          if (!first && random() % 40 == 0) {
            if (random() % 2 == 0) at = absl::FromUnixSeconds((absl::ToUnixSeconds(at) / 3600 + 1) * 3600);
            from = at;
            interval = 0;
          }
          absl::StrAppend(&ledger, ledger.empty() ? "" : ",", "('", TimeText(at), "',", source, ",1,(SELECT id FROM ",
                          "metrics.catalog_metric WHERE name = 'table_stats'),", first ? 1 : 0, ",", scope, ",",
                          interval, ",0,0)");
          for (absl::Time hour = from; hour < at + absl::Hours(1); hour += absl::Hours(1)) {
            const absl::Time point = std::min(hour, at);
            absl::StrAppend(&dirty, dirty.empty() ? "" : ",", "(", source, ",'", TimeText(point), "'::timestamptz)");
          }
          for (const char* table : {"t0", "t1", "t2"}) {
            // t2 has never changed: it stands in the keyframe alone.
            if (!first && (random() % 3 != 0 || std::string(table) == "t2")) continue;
            const auto scans = static_cast<int64_t>(random() % 1000);
            const auto live = static_cast<int64_t>(random() % 100000);
            std::string& target = first ? baseline : rows;
            absl::StrAppend(&target, target.empty() ? "" : ",", "('", TimeText(at), "',", source, ",", scope, ",0,",
                            frame::TextId("shop"), ",", frame::TextId("public"), ",", frame::TextId(table), ",", scans,
                            ",", live, ")");
            if (!first) total_scans_ += scans;
          }
          first = false;
        }
      }
    }
    Exec(
        "INSERT INTO metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, "
        "bytes) VALUES " +
        ledger);
    const std::string columns =
        " (time, source_id, scope, flags, datname, schemaname, relname, seq_scan, n_live_tup) VALUES ";
    Exec("INSERT INTO metrics.table_stats" + columns + rows);
    Exec("INSERT INTO metrics.table_stats_baseline" + columns + baseline);
    Exec(
        "INSERT INTO metrics.rollup_dirty SELECT DISTINCT (SELECT id FROM metrics.catalog_metric WHERE name = "
        "'table_stats'), s, "
        "date_trunc('hour', t, 'UTC') FROM (VALUES " +
        dirty + ") v(s, t)");
  }

  SeriesQuery Query(const std::string& column, int64_t step) {
    SeriesQuery query;
    query.metric = "table_stats";
    query.column = column;
    query.sources = {{1, "00000000-0000-0000-0000-000000000001", "a"},
                     {2, "00000000-0000-0000-0000-000000000002", "b"}};
    query.range = {start_ - absl::Hours(1), start_ + absl::Hours(9), step, ""};
    query.limit = 1000;
    return query;
  }

  std::string Read(const SeriesQuery& query) {
    const auto answer = reader_->Read(query, Deadline());
    EXPECT_THAT(answer, IsOk());
    std::string text;
    if (!answer.ok()) return text;
    for (const SeriesData& series : answer->series) {
      absl::StrAppend(&text, "\n", series.source_uuid.empty() ? "" : series.source_uuid.substr(35));
      for (const auto& [name, value] : series.labels) absl::StrAppend(&text, " ", name, "=", value);
      absl::StrAppend(&text, ":");
      for (const SeriesPoint& point : series.points) {
        absl::StrAppend(&text, " ", point.value ? absl::StrCat(*point.value) : "-");
      }
    }
    return text;
  }

  const absl::Time start_ = Midnight();
  int64_t total_scans_ = 0;
  clock::FakeClock clock_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  std::unique_ptr<pg::Pool> pool_;
  std::unique_ptr<SeriesReader> reader_;
};

TEST_F(SeriesReaderTest, AnswersDoNotChangeWhenHoursAreRolledUp) {
  Fill();
  std::vector<SeriesQuery> queries;
  for (int64_t step : {60, 600, 3600, 86400}) {
    for (const char* column : {"seq_scan", "n_live_tup"}) {
      queries.push_back(Query(column, step));
      queries.push_back(Query(column, step));
      queries.back().group_by = {"relname"};
    }
    queries.push_back(Query("seq_scan", step));
    queries.back().rate = true;
    queries.push_back(Query("n_live_tup", step));
    queries.back().aggregate = Aggregate::kLast;
    queries.push_back(Query("n_live_tup", step));
    queries.back().aggregate = Aggregate::kMax;
    queries.back().filters = {"relname=t1"};
  }
  queries.push_back(Query("seq_scan", 86400));
  queries.back().range.time_zone = "Asia/Kolkata";
  std::vector<std::string> before;
  for (const SeriesQuery& query : queries) before.push_back(Read(query));
  const auto rolled = RunRollups(*pool_, {.ended_before = start_ + absl::Hours(20), .stop_at = Deadline()});
  ASSERT_THAT(rolled, IsOk());
  ASSERT_GT(rolled->rows, 0);
  EXPECT_EQ(rolled->failed, 0);
  for (size_t i = 0; i < queries.size(); ++i) {
    EXPECT_EQ(Read(queries[i]), before[i]) << queries[i].column << " step " << queries[i].range.step_seconds;
  }
}

TEST_F(SeriesReaderTest, BucketsAddUpToWhatWasPutIn) {
  Fill();
  for (bool rolled : {false, true}) {
    if (rolled) {
      ASSERT_THAT(RunRollups(*pool_, {.ended_before = start_ + absl::Hours(3), .stop_at = Deadline()}), IsOk());
    }
    for (int64_t step : {17, 60, 600, 3600, 86400}) {
      SeriesQuery query = Query("seq_scan", step);
      query.group_by = {"none"};
      const auto answer = reader_->Read(query, Deadline());
      ASSERT_THAT(answer, IsOk());
      ASSERT_EQ(answer->series.size(), 1u);
      double sum = 0;
      for (const SeriesPoint& point : answer->series[0].points) sum += point.value.value_or(0);
      EXPECT_EQ(sum, static_cast<double>(total_scans_)) << "step " << step << " rolled " << rolled;
    }
  }
}

TEST_F(SeriesReaderTest, AReadingInTheKeyframeHoldsOn) {
  Fill();
  SeriesQuery query = Query("n_live_tup", 600);
  query.filters = {"relname=t2"};
  query.range.start = start_ + absl::Hours(4);
  query.range.end = start_ + absl::Hours(5);
  for (bool rolled : {false, true}) {
    if (rolled) {
      ASSERT_THAT(RunRollups(*pool_, {.ended_before = start_ + absl::Hours(20), .stop_at = Deadline()}), IsOk());
    }
    const auto answer = reader_->Read(query, Deadline());
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->series.size(), 2u) << "rolled " << rolled;
    for (const SeriesData& series : answer->series) {
      int known = 0;
      for (const SeriesPoint& point : series.points) known += point.value ? 1 : 0;
      EXPECT_GT(known, 0) << "rolled " << rolled;
    }
  }
}

TEST_F(SeriesReaderTest, ASeriesThatDidNotChangeIsZeroWhereCovered) {
  Fill();
  SeriesQuery query = Query("seq_scan", 3600);
  query.filters = {"relname=t2"};
  for (bool rolled : {false, true}) {
    if (rolled) {
      ASSERT_THAT(RunRollups(*pool_, {.ended_before = start_ + absl::Hours(20), .stop_at = Deadline()}), IsOk());
    }
    const auto answer = reader_->Read(query, Deadline());
    ASSERT_THAT(answer, IsOk());
    ASSERT_EQ(answer->series.size(), 2u) << "rolled " << rolled;
    const std::vector<SeriesPoint>& points = answer->series[0].points;
    EXPECT_FALSE(points[0].value) << "nothing covers the hour before the start";
    EXPECT_EQ(points[3].value, std::optional<double>(0));
  }
}

TEST_F(SeriesReaderTest, CollectorTotalsCountOpenAndPastDays) {
  Exec(
      "INSERT INTO metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, bytes) "
      "VALUES "
      "($1::timestamptz, 1, 1, 1, 0, 0, 60000, 100, 1), ($2::timestamptz, 1, 1, 1, 0, 0, 60000, 20, 1), "
      "($3::timestamptz, 1, 1, 1, 0, 0, 60000, 3, 1)",
      {TimeText(start_ - absl::Hours(29)), TimeText(start_ + absl::Minutes(1)), TimeText(start_ + absl::Hours(23))});
  LedgerReader ledger(pool_.get(), catalog_, &clock_);
  for (int round = 0; round < 2; ++round) {
    const auto totals = ledger.Collectors({"c"}, Deadline());
    ASSERT_THAT(totals, IsOk());
    ASSERT_EQ(totals->size(), 1u);
    EXPECT_EQ((*totals)[0].rows_total, 123);
    EXPECT_EQ((*totals)[0].rows_24h, 23);
  }
  const auto count = ledger.Count(Deadline());
  ASSERT_THAT(count, IsOk());
  EXPECT_EQ(*count, 3);

  // A backlog for a day that was summed long ago, while the day is open and after it was closed.
  const auto backlog = [&] {
    Exec(
        "INSERT INTO metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, "
        "bytes) "
        "VALUES ($1::timestamptz, 1, 1, 1, 0, 0, 60000, 1000, 1)",
        {TimeText(start_ - absl::Hours(29))});
    Exec("INSERT INTO metrics.rollup_dirty VALUES (1, 1, date_trunc('hour', $1::timestamptz)) ON CONFLICT DO NOTHING",
         {TimeText(start_ - absl::Hours(29))});
  };
  const auto total = [&] {
    clock_.Advance(absl::Minutes(2));
    const auto totals = ledger.Collectors({"c"}, Deadline());
    return totals.ok() && totals->size() == 1 ? (*totals)[0].rows_total : -1;
  };
  const auto close = [&] {
    Exec("DELETE FROM metrics.rollup_dirty");
    Exec("SELECT metrics.close_ledger_days($1::timestamptz, 100)", {TimeText(clock_.Now())});
  };
  backlog();
  EXPECT_EQ(total(), 1123);
  close();
  EXPECT_EQ(total(), 1123);
  backlog();
  EXPECT_EQ(total(), 2123);
  Exec("UPDATE metrics.ledger_day SET reopened = true");
  close();
  EXPECT_EQ(total(), 2123);
}

}  // namespace
}  // namespace pga::storage
