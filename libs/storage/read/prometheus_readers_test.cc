// Last values and samples on the product's own schema: whatever order frames come in and however they are merged, last
// counters are the server's own figures, and differences of samples are the increases that series show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/columns/row_set.h"
#include "libs/pg/pool.h"
#include "libs/status/testing.h"
#include "libs/storage/read/last_values.h"
#include "libs/storage/read/sample_reader.h"
#include "libs/storage/read/series_reader.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/storage/testing/frame_store.h"

namespace pga::storage {
namespace {

namespace catalog_pb = ::pganalytics::catalog::v1;

using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// 2026-01-01 12:00
const absl::Time kNoon = absl::FromUnixSeconds(1767268800);

absl::Time At(int minute) {
  return kNoon + absl::Minutes(minute);
}

class PrometheusReadersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string url = MetricsDatabase::FreshUrl("prometheus");
    catalog_ = *catalog::Catalog::Builtin();
    MigrateOptions migrate;
    migrate.layout = MetricsDatabase::TestLayout();
    for (const auto& metric : catalog_->metrics()) migrate.metrics.push_back(&metric);
    ASSERT_THAT(MigrateUp(url, Database::kMetrics, migrate), IsOk());
    auto pool = pg::Pool::Create({.url = url});
    ASSERT_THAT(pool, IsOk());
    pool_ = *std::move(pool);
    auto reads = pg::ReadPool::Create({.url = url});
    ASSERT_THAT(reads, IsOk());
    reads_ = *std::move(reads);
    const absl::Status made =
        pool_->Exec("INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'c')", {}, Deadline()).status();
    ASSERT_THAT(made, IsOk());
    sources_ = {{1, "00000000-0000-0000-0000-000000000001", "a"}};
    SetNow(At(10));
  }

  static clock::SteadyTime Deadline() { return clock::SteadyNow() + absl::Seconds(60); }
  void SetNow(absl::Time now) { clock_.SetNow(now); }
  const catalog_pb::Metric& Find(const char* name) const { return *catalog_->Find(name); }
  FrameStore& Store(const char* metric) {
    auto& store = stores_[metric];
    if (store == nullptr) store = std::make_unique<FrameStore>(pool_.get(), Find(metric));
    return *store;
  }

  int Column(const char* metric, const char* column) const {
    const auto& columns = Find(metric).columns();
    for (int i = 0; i < columns.size(); ++i) {
      if (columns[i].name() == column) return i;
    }
    ADD_FAILURE() << metric << "." << column;
    return 0;
  }

  // "label: value" per row; ? = not known.
  std::string Last(LastValues* last, const char* metric, const char* label, const char* value) {
    LastWanted wanted;
    wanted.metric = &Find(metric);
    for (int i = 0; i < wanted.metric->columns_size(); ++i) {
      if (wanted.metric->columns(i).kind() == catalog_pb::COLUMN_KIND_LABEL) wanted.labels.push_back(i);
    }
    wanted.values = {Column(metric, value)};
    const auto answer = last->Read({wanted}, sources_, Deadline());
    EXPECT_THAT(answer, IsOk());
    if (!answer.ok()) return "";
    size_t at = 0;
    while (wanted.metric->columns(wanted.labels[at]).name() != label) ++at;
    std::map<std::string, std::string> rows;
    left_out_ = 0;
    for (const auto& scope : (*answer)[0][0]) {
      left_out_ += scope->beyond.size();
      for (const auto& [key, row] : scope->rows) {
        rows[row.labels[at]] = std::isnan(row.values[0]) ? "?" : absl::StrCat(row.values[0]);
      }
    }
    return absl::StrJoin(rows, " ", absl::PairFormatter("="));
  }
  std::string Commits(LastValues* last) { return Last(last, "database", "datname", "xact_commit"); }

  // A reading of pg_stat_database a minute long.
  static StoredFrame Database(int minute, std::map<std::string, int64_t> commits, bool keyframe = false,
                              int flags = 0) {
    StoredFrame frame;
    frame.start = keyframe ? At(minute) : At(minute - 1);
    frame.end = At(minute);
    frame.keyframe = keyframe;
    for (const auto& [name, count] : commits) {
      frame.rows.push_back({{{"datname", name},
                             {"datid", static_cast<int64_t>(name.front())},
                             {"xact_commit", count},
                             {"numbackends", count % 7}},
                            flags});
    }
    return frame;
  }

  SampleQuery Query(const char* metric, const char* value, absl::Time start, absl::Time end) {
    SampleQuery query;
    query.metric = &Find(metric);
    for (int i = 0; i < query.metric->columns_size(); ++i) {
      if (query.metric->columns(i).kind() == catalog_pb::COLUMN_KIND_LABEL) query.labels.push_back(i);
    }
    query.values = {Column(metric, value)};
    query.sources = sources_;
    query.start_ms = absl::ToUnixMillis(start);
    query.end_ms = absl::ToUnixMillis(end);
    query.keep = [](const auto&) { return true; };
    return query;
  }
  // Per series "label: minute=value ..."; minutes from noon, x = it ended.
  std::vector<std::string> Samples(const SampleQuery& query, size_t label = 0) {
    SampleReader reader(reads_.get(), &clock_);
    const auto found = reader.Read(query, Deadline());
    EXPECT_THAT(found, IsOk());
    std::vector<std::string> texts;
    if (!found.ok()) return texts;
    for (const SampleSeries& series : *found) {
      std::string text = absl::StrCat(series.labels.empty() ? "" : series.labels[label], ":");
      for (const Sample& sample : series.samples[0]) {
        const double minute = static_cast<double>(sample.time_ms - absl::ToUnixMillis(kNoon)) / 60000;
        absl::StrAppend(&text, " ", minute, "=");
        if (std::bit_cast<uint64_t>(sample.value) == std::bit_cast<uint64_t>(StaleValue())) {
          text += "x";
        } else {
          absl::StrAppend(&text, sample.value);
        }
      }
      texts.push_back(text);
    }
    return texts;
  }

  std::shared_ptr<const catalog::Catalog> catalog_;
  std::unique_ptr<pg::Pool> pool_;
  std::unique_ptr<pg::ReadPool> reads_;
  std::map<std::string, std::unique_ptr<FrameStore>> stores_;
  std::vector<SourceRef> sources_;
  clock::FakeClock clock_;
  size_t left_out_ = 0;
};

TEST_F(PrometheusReadersTest, LastCountersAreTheKeyFrameAndWhatCameSince) {
  FrameStore& store = Store("database");
  store.Store({Database(0, {{"shop", 100}, {"mail", 7}}, true), Database(1, {{"shop", 5}, {"mail", 0}}),
               Database(2, {{"shop", 6}, {"mail", 1}})});
  LastValues last(reads_.get(), &clock_, 100);
  EXPECT_EQ(Commits(&last), "mail=8 shop=111");
  EXPECT_EQ(Last(&last, "database", "datname", "numbackends"), "mail=1 shop=6");
  store.Store({Database(3, {{"shop", 1}, {"mail", 1}, {"wiki", 4}})});
  EXPECT_EQ(Commits(&last), "mail=9 shop=112 wiki=4");
  // Whoever looks for the first time finds the same, in blocks as well.
  store.Merge(At(60));
  LastValues fresh(reads_.get(), &clock_, 100);
  EXPECT_EQ(Commits(&fresh), "mail=9 shop=112 wiki=4");
  EXPECT_EQ(Commits(&last), "mail=9 shop=112 wiki=4");
  // One that is not read any more is not there any more.
  store.Store({Database(4, {{"shop", 2}})});
  EXPECT_EQ(Commits(&last), "shop=114");
}

TEST_F(PrometheusReadersTest, WhatIsReadRarelyIsKeptUntilItsNextReadingIsLate) {
  FrameStore& store = Store("database_size");
  const auto size = [](int minute, int64_t bytes) {
    StoredFrame frame;
    frame.start = At(minute - 100);
    frame.end = At(minute);
    frame.rows.push_back({{{"datname", std::string("shop")}, {"datid", int64_t{5}}, {"size_bytes", bytes}}, 0});
    return frame;
  };
  LastValues last(reads_.get(), &clock_, 100);
  const auto seen = [&](int minute) {
    SetNow(At(minute));
    return Last(&last, "database_size", "datname", "size_bytes");
  };
  store.Store({size(0, 1000)});
  for (const int minute : {1, 40, 80, 99}) EXPECT_EQ(seen(minute), "shop=1000") << minute;
  store.Store({size(100, 2000)});
  for (const int minute : {101, 150, 200, 250, 300}) EXPECT_EQ(seen(minute), "shop=2000") << minute;
  EXPECT_EQ(seen(302), "");
}

TEST_F(PrometheusReadersTest, FramesThatComeLateAreWaitedFor) {
  FrameStore& store = Store("database");
  store.Store({Database(0, {{"shop", 100}}, true), Database(1, {{"shop", 1}})});
  LastValues last(reads_.get(), &clock_, 100);
  EXPECT_EQ(Commits(&last), "shop=101");
  store.Store({Database(4, {{"shop", 1000}})});
  EXPECT_EQ(Commits(&last), "shop=1101");
  store.Store({Database(5, {{"shop", 10000}})});
  SetNow(At(30));
  EXPECT_EQ(Commits(&last), "shop=11101");
  store.Store({Database(2, {{"shop", 2}}), Database(3, {{"shop", 20}})});
  EXPECT_EQ(Commits(&last), "shop=11123");
  store.Store({Database(6, {{"shop", 3}})});
  EXPECT_EQ(Commits(&last), "shop=11126");
}

TEST_F(PrometheusReadersTest, ACounterThatMayHaveBegunAnewIsNotKnownUntilAKeyFrame) {
  FrameStore& store = Store("database");
  store.Store({Database(0, {{"shop", 100}}, true), Database(1, {{"shop", 1}}),
               Database(2, {{"shop", 3}}, false, columns::kLowerBoundFlag)});
  LastValues last(reads_.get(), &clock_, 100);
  EXPECT_EQ(Commits(&last), "shop=?");
  store.Store({Database(2, {{"shop", 3}}, true)});
  EXPECT_EQ(Commits(&last), "shop=3");
  store.Store({Database(3, {{"shop", 4}})});
  EXPECT_EQ(Commits(&last), "shop=7");
}

TEST_F(PrometheusReadersTest, WithoutAKeyFrameNoCounterIsKnown) {
  Store("database").Store({Database(1, {{"shop", 1}}), Database(2, {{"shop", 2}})});
  LastValues last(reads_.get(), &clock_, 100);
  EXPECT_EQ(Commits(&last), "shop=?");
  Store("database").Store({Database(3, {{"shop", 300}}, true)});
  EXPECT_EQ(Commits(&last), "shop=300");
}

TEST_F(PrometheusReadersTest, RowsThatDidNotChangeStand) {
  const auto table = [](const char* name, int64_t relid, int64_t scans, int flags = 0) {
    StoredRow row{{{"datname", "shop"}, {"schemaname", "public"}, {"relname", name}}, flags};
    if (flags == 0) row.values.insert({{"relid", relid}, {"seq_scan", scans}, {"n_live_tup", scans * 10}});
    return row;
  };
  const auto frame = [](int minute, bool keyframe, std::vector<StoredRow> rows) {
    return StoredFrame{.scope = 5,
                       .start = keyframe ? At(minute) : At(minute - 1),
                       .end = At(minute),
                       .keyframe = keyframe,
                       .rows = std::move(rows)};
  };
  Store("table_stats")
      .Store({frame(0, true, {table("t", 1, 10), table("u", 2, 20), table("v", 3, 30)}), frame(1, false, {}),
              frame(2, false, {table("t", 1, 1)}),
              // u is gone, and v bears its name from now on.
              frame(3, false, {table("u", 3, 5), table("v", 0, 0, columns::kGoneFlag)})});
  LastValues last(reads_.get(), &clock_, 100);
  EXPECT_EQ(Last(&last, "table_stats", "relname", "seq_scan"), "t=11 u=35");
  EXPECT_EQ(left_out_, 0u);
  LastValues small(reads_.get(), &clock_, 2);
  Last(&small, "table_stats", "relname", "seq_scan");
  EXPECT_EQ(left_out_, 1u);

  EXPECT_THAT(Samples(Query("table_stats", "seq_scan", At(0), At(5)), 2),
              ElementsAre("t: 0=10 1=10 2=11 3=11", "u: 0=20 1=20 2=20 3=25", "v: 0=30 1=30 2=30 3=x"));
  EXPECT_THAT(Samples(Query("table_stats", "n_live_tup", At(2), At(5)), 2),
              ElementsAre("t: 2=10 3=10", "u: 2=200 3=50", "v: 2=300 3=x"));
  SampleQuery one = Query("table_stats", "seq_scan", At(1), At(2));
  one.located = "t";
  one.keep = [](const std::vector<std::string>& labels) { return labels[2] == "t"; };
  EXPECT_THAT(Samples(one, 2), ElementsAre("t: 1=10 2=11"));
}

TEST_F(PrometheusReadersTest, SamplesAreRunningTotalsOfIncreases) {
  FrameStore& store = Store("database");
  store.Store({Database(0, {{"shop", 100}}, true), Database(1, {{"shop", 1}}), Database(2, {{"shop", 2}}),
               // A reset: the reading is all there is, and a key frame says so. The total goes on.
               Database(3, {{"shop", 4}}, false, columns::kLowerBoundFlag), Database(3, {{"shop", 4}}, true),
               Database(4, {{"shop", 8}, {"wiki", 16}}), Database(5, {{"shop", 32}, {"wiki", 64}})});
  const SampleQuery all = Query("database", "xact_commit", At(0), At(9));
  const std::vector<std::string> expected = {"shop: 0=100 1=101 2=103 3=107 4=115 5=147", "wiki: 3=0 4=16 5=80"};
  EXPECT_EQ(Samples(all), expected);
  EXPECT_THAT(Samples(Query("database", "xact_commit", At(4), At(4))), ElementsAre("shop: 4=12", "wiki: 4=16"))
      << "what was read first is the server's own figure";
  store.Merge(At(60));
  EXPECT_EQ(Samples(all), expected);
  // A reading that nobody repeats, and one that is repeated until the next.
  SampleQuery repeated = Query("database", "numbackends", At(4), At(9));
  EXPECT_THAT(Samples(repeated), ElementsAre("shop: 4=1 5=4", "wiki: 4=2 5=1"));
  repeated.repeat_every_ms = 30'000;
  EXPECT_THAT(Samples(repeated),
              ElementsAre("shop: 4=1 4.5=1 5=4 5.5=4 6=4 6.5=4", "wiki: 4=2 4.5=2 5=1 5.5=1 6=1 6.5=1"));
}

TEST_F(PrometheusReadersTest, DifferencesOfSamplesAreTheIncreasesThatSeriesShow) {
  std::mt19937_64 random(29);
  std::vector<StoredFrame> frames = {Database(-90, {{"a", 1000}, {"b", 2000}}, true)};
  for (int minute = -89; minute <= 120; ++minute) {
    frames.push_back(
        Database(minute, {{"a", static_cast<int64_t>(random() % 1000)}, {"b", static_cast<int64_t>(random() % 3)}}));
    if (minute == 40) frames.push_back(Database(minute, {{"a", 5}, {"b", 0}}, true));
  }
  FrameStore& store = Store("database");
  store.Store(frames);
  SetNow(At(125));
  SeriesReader series(reads_.get(), catalog_, &clock_);
  for (const int merged : {0, 60, 180}) {
    if (merged > 0) store.Merge(At(merged));
    SeriesQuery asked;
    asked.metric = "database";
    asked.column = "xact_commit";
    asked.sources = sources_;
    asked.range = {At(0), At(120), 600, ""};
    const auto known = series.Read(asked, Deadline());
    ASSERT_THAT(known, IsOk());
    SampleReader reader(reads_.get(), &clock_);
    const auto samples = reader.Read(Query("database", "xact_commit", At(0), At(120)), Deadline());
    ASSERT_THAT(samples, IsOk());
    ASSERT_EQ(samples->size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      std::map<int64_t, double> at;
      for (const Sample& sample : (*samples)[i].samples[0]) at[sample.time_ms] = sample.value;
      ASSERT_EQ(at.size(), 121u);
      ASSERT_EQ(known->series[i].labels.at("datname"), (*samples)[i].labels[0]);
      for (const SeriesPoint& point : known->series[i].points) {
        const int64_t from = absl::ToUnixMillis(point.time);
        EXPECT_EQ(*point.value, at.at(from + 600'000) - at.at(from));
      }
    }
  }
}

TEST_F(PrometheusReadersTest, BeyondRawRowsDaysAnswer) {
  FrameStore& store = Store("database");
  std::vector<StoredFrame> frames = {Database(0, {{"shop", 100}}, true)};
  for (int hour = 1; hour <= 48; ++hour) {
    StoredFrame frame = Database(0, {{"shop", hour}});
    frame.start = kNoon + absl::Hours(hour - 1);
    frame.end = kNoon + absl::Hours(hour);
    frames.push_back(frame);
  }
  store.Store(frames);
  store.Merge(kNoon + absl::Hours(72));
  SetNow(kNoon + absl::Hours(24 * 50));
  // 12 hours of the first day, 24 of the second, 12 of the third.
  EXPECT_THAT(Samples(Query("database", "xact_commit", kNoon - absl::Hours(13), kNoon + absl::Hours(72))),
              ElementsAre("shop: -720=0 720=78 2160=666 3600=1176"));
  SampleQuery least = Query("database", "numbackends", kNoon, kNoon + absl::Hours(40));
  least.bucket_value = BucketValue::kGreatest;
  EXPECT_THAT(Samples(least), ElementsAre("shop: 720=6 2160=6"));

  // While raw rows are there, hours answer what they are too many for.
  SetNow(kNoon + absl::Hours(72));
  SampleQuery day = Query("database", "xact_commit", kNoon, kNoon + absl::Hours(48));
  day.max_samples = 49;
  EXPECT_EQ(Samples(day).size(), 1u);
  day.max_samples = 10;
  SampleReader reader(reads_.get(), &clock_);
  EXPECT_THAT(reader.Read(day, Deadline()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 10 samples")));
}

TEST_F(PrometheusReadersTest, ACallThatIsGivenUpEnds) {
  Store("database").Store({Database(0, {{"shop", 100}}, true)});
  SampleReader reader(reads_.get(), &clock_);
  pg::CallLimit gone(Deadline(), [] { return true; });
  EXPECT_THAT(reader.Read(Query("database", "xact_commit", At(0), At(9)), gone).status(),
              StatusIs(absl::StatusCode::kCancelled));
  LastValues last(reads_.get(), &clock_, 100);
  EXPECT_THAT(last.Read({LastWanted{&Find("database"), {}, {}}}, sources_, gone).status(),
              StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(Commits(&last), "shop=100");
}

}  // namespace
}  // namespace pga::storage
