// A built-in metric on the product's own schema, with a reader of its series. Tests only.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>
#include "absl/strings/str_cat.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/storage/read/freshness_reader.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/series_reader.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/storage/testing/frame_store.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {

class SeriesReaderTest : public ::testing::Test {
 protected:
  static clock::SteadyTime Deadline() { return clock::SteadyNow() + absl::Seconds(60); }

  void SetUp() override {
    const std::string url = MetricsDatabase::FreshUrl("series");
    auto catalog = catalog::Catalog::Builtin();
    ASSERT_THAT(catalog, status::IsOk());
    catalog_ = *catalog;
    MigrateOptions migrate;
    migrate.layout = MetricsDatabase::TestLayout();
    for (const auto& metric : catalog_->metrics()) migrate.metrics.push_back(&metric);
    ASSERT_THAT(MigrateUp(url, Database::kMetrics, migrate), status::IsOk());
    auto pool = pg::Pool::Create({.url = url});
    ASSERT_THAT(pool, status::IsOk());
    pool_ = *std::move(pool);
    auto reads = pg::ReadPool::Create({.url = url});
    ASSERT_THAT(reads, status::IsOk());
    reads_ = *std::move(reads);
    Exec("INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'c')");
    Exec(
        "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES (1, "
        "'00000000-0000-0000-0000-000000000001', 'a', 1, 'default'), (2, '00000000-0000-0000-0000-000000000002', 'b', "
        "1, 'default')");
    reader_ = std::make_unique<SeriesReader>(reads_.get(), catalog_, &clock_);
    store_ = std::make_unique<FrameStore>(pool_.get(), *catalog_->Find("table_stats"));
    clock_.SetNow(start_ + absl::Hours(24 * 10));
  }

  void Exec(const std::string& sql, const pg::Params& params = {}) {
    const absl::Status done = pool_->Exec(sql, params, Deadline()).status();
    ASSERT_THAT(done, status::IsOk()) << sql.substr(0, 300);
  }

  // Frames for two sources and two databases; most rows are left out as unchanged.
  std::vector<StoredFrame> Frames(absl::Duration span, absl::Duration apart) {
    std::mt19937_64 random(17);
    std::vector<StoredFrame> frames;
    for (int32_t source : {1, 2}) {
      for (int64_t scope : {5, 6}) {
        absl::Time at = start_ + absl::Milliseconds(static_cast<int64_t>(random() % 60000));
        absl::Time next_keyframe = at;
        bool first = true;
        while (at < start_ + span) {
          absl::Duration length = apart + absl::Milliseconds(static_cast<int64_t>(random() % 400));
          if (random() % 60 == 0) length = absl::Minutes(static_cast<int64_t>(5 + random() % 200));
          absl::Time from = at;
          if (!first) at += length;
          // An increase of an instant, now and then at the very edge of an hour.
          if (!first && random() % 40 == 0) {
            if (random() % 2 == 0) at = absl::FromUnixSeconds((absl::ToUnixSeconds(at) / 3600 + 1) * 3600);
            from = at;
          }
          if (!first) {
            StoredFrame frame{source, 1, scope, from, at, false, 0, 0, 2, {}};
            for (const char* table : {"t0", "t1", "t3", "t4", "t5", "t6"}) {
              if (random() % 3 != 0) continue;
              const auto scans = static_cast<int64_t>(random() % 1000);
              frame.rows.push_back(Row(table, scans, static_cast<int64_t>(random() % 100000)));
              total_scans_ += scans;
            }
            frames.push_back(std::move(frame));
          }
          if (at >= next_keyframe) {
            next_keyframe += absl::Hours(24);
            StoredFrame keyframe{source, 1, scope, at, at, true, 0, 0, 0, {}};
            // t2 never changes: it stands in keyframes alone.
            for (const char* table : {"t0", "t1", "t2"}) {
              keyframe.rows.push_back(
                  Row(table, 5, table == std::string("t2") ? 7 : static_cast<int64_t>(random() % 9)));
            }
            frames.push_back(std::move(keyframe));
          }
          first = false;
        }
      }
    }
    return frames;
  }

  static StoredRow Row(const std::string& table, int64_t scans, int64_t live) {
    return {
        {{"datname", "shop"}, {"schemaname", "public"}, {"relname", table}, {"seq_scan", scans}, {"n_live_tup", live}},
        0};
  }

  void Fill() { store_->Store(Frames(absl::Hours(6), absl::Seconds(60))); }

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
    EXPECT_THAT(answer, status::IsOk());
    std::string text;
    if (!answer.ok()) return text;
    for (const SeriesData& series : answer->series) {
      absl::StrAppend(&text, "\n", series.source_uuid.empty() ? "" : series.source_uuid.substr(35));
      for (const auto& [name, value] : series.labels) absl::StrAppend(&text, " ", name, "=", value);
      absl::StrAppend(&text, ":");
      for (const SeriesPoint& point : series.points) {
        absl::StrAppend(&text, " ", point.value ? absl::StrCat(*point.value) : "-", point.interpolated ? "~" : "",
                        point.lower_bound ? "<" : "", "/", static_cast<int64_t>(point.covered_ms));
      }
    }
    return text;
  }

  // A Monday.
  const absl::Time start_ = absl::FromUnixSeconds(1764547200);
  int64_t total_scans_ = 0;
  clock::FakeClock clock_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  std::unique_ptr<pg::Pool> pool_;
  std::unique_ptr<pg::ReadPool> reads_;
  std::unique_ptr<FrameStore> store_;
  std::unique_ptr<SeriesReader> reader_;
};

}  // namespace pga::storage
