// Series that are joined of several, and buckets between readings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"
#include "libs/storage/read/series_reader_testing.h"

namespace pga::storage {
namespace {

using status::IsOk;

TEST_F(SeriesReaderTest, GaugesThatAreJoinedAddUp) {
  FrameStore databases(pool_.get(), *catalog_->Find("database"));
  std::vector<StoredFrame> frames;
  for (int minute = 1; minute <= 10; ++minute) {
    for (const int32_t source : {1, 2}) {
      const absl::Time at = start_ + absl::Minutes(minute);
      StoredFrame frame{source, 1, 0, at - absl::Minutes(1), at, false, 0, 0, 0, {}};
      for (const auto& [name, sessions] : {std::pair("a", 10), std::pair("b", 12), std::pair("c", 8)}) {
        frame.rows.push_back({{{"datid", name[0]}, {"datname", name}, {"numbackends", sessions * source}}, 0});
      }
      frames.push_back(std::move(frame));
    }
  }
  databases.Store(frames);
  SeriesQuery query = Query("numbackends", 300);
  query.metric = "database";
  query.range = {start_ + absl::Minutes(5), start_ + absl::Minutes(10), 300, ""};
  query.group_by = {"none"};
  const std::vector<std::pair<Aggregate, double>> cases = {{Aggregate::kDefault, 90},
                                                           {Aggregate::kSum, 90},
                                                           {Aggregate::kAvg, 15},
                                                           {Aggregate::kMax, 24},
                                                           {Aggregate::kMin, 8}};
  for (const bool merged : {false, true}) {
    if (merged) databases.Merge(start_ + absl::Hours(1));
    for (const auto& [aggregate, expected] : cases) {
      query.aggregate = aggregate;
      const auto answer = reader_->Read(query, Deadline());
      ASSERT_THAT(answer, IsOk());
      ASSERT_EQ(answer->series.size(), 1u);
      EXPECT_EQ(answer->series[0].points[0].value, std::optional<double>(expected))
          << static_cast<int>(aggregate) << " merged " << merged;
    }
  }
}

// A kind of session that is in no row of a frame was not there in its interval.
TEST_F(SeriesReaderTest, SessionsThatComeAndGoCountForTheTimeTheyWereThere) {
  FrameStore activity(pool_.get(), *catalog_->Find("activity"));
  std::vector<StoredFrame> frames;
  for (int minute = 1; minute <= 120; ++minute) {
    const absl::Time at = start_ + absl::Minutes(minute);
    StoredFrame frame{1, 1, 0, at - absl::Minutes(1), at, false, 0, 0, 0, {}};
    const auto add = [&](const char* state, const char* wait, double sessions) {
      frame.rows.push_back({{{"datname", "shop"},
                             {"usename", "app"},
                             {"state", state},
                             {"wait_event", wait},
                             {"samples", static_cast<int64_t>(sessions * 60)},
                             {"sessions_avg", sessions}},
                            0});
    };
    add("idle", "ClientRead", 3);
    if (minute % 5 == 0) add("active", "DataFileRead", 10);
    if (minute % 5 == 1) add("active", "", 5);
    frames.push_back(std::move(frame));
  }
  activity.Store(frames);
  SeriesQuery query = Query("sessions_avg", 300);
  query.metric = "activity";
  query.sources.resize(1);
  for (const bool merged : {false, true}) {
    if (merged) activity.Merge(start_ + absl::Hours(3));
    for (const int64_t step : {300, 3600}) {
      query.range = {start_ + absl::Minutes(60), start_ + absl::Minutes(120), step, ""};
      query.group_by = {"state"};
      const auto answer = reader_->Read(query, Deadline());
      ASSERT_THAT(answer, IsOk());
      ASSERT_EQ(answer->series.size(), 2u);
      for (const SeriesData& series : answer->series) {
        for (const SeriesPoint& point : series.points) {
          ASSERT_TRUE(point.value) << step;
          EXPECT_NEAR(*point.value, 3, 1e-9) << step << " merged " << merged;
        }
      }
      query.group_by = {"wait_event"};
      query.filters = {"state=active", "wait_event="};
      const auto running = reader_->Read(query, Deadline());
      ASSERT_THAT(running, IsOk());
      ASSERT_EQ(running->series.size(), 1u);
      EXPECT_NEAR(running->series[0].points[0].value.value_or(-1), 1, 1e-9) << step << " merged " << merged;
      query.filters.clear();
    }
    // Where nobody was seen in an interval that frames cover there are no sessions, which is known.
    query.range = {start_ + absl::Minutes(60), start_ + absl::Minutes(64), 60, ""};
    query.group_by = {"state"};
    query.filters = {"state=active"};
    const auto answer = reader_->Read(query, Deadline());
    ASSERT_THAT(answer, IsOk());
    ASSERT_EQ(answer->series.size(), 1u);
    EXPECT_EQ(answer->series[0].points[2].value, std::optional<double>(0)) << merged;
    query.filters.clear();
  }
}

// A step below the interval: buckets without a reading are not known, whatever frames cover them.
TEST_F(SeriesReaderTest, BetweenTwoReadingsNoNumberIsKnown) {
  struct Case {
    const char* metric;
    const char* column;
    std::map<std::string, columns::Value> labels;
    columns::Value value;
    double expected;
  };
  const std::vector<Case> cases = {
      {"activity", "sessions_avg", {{"state", "active"}}, 3.0, 3},
      {"connections", "sessions", {{"datname", "shop"}, {"usename", "app"}}, int64_t{7}, 7},
      {"locks", "locks", {{"datname", "shop"}, {"mode", "ShareLock"}}, int64_t{5}, 5},
      {"database", "numbackends", {{"datname", "shop"}}, int64_t{4}, 4},
      {"wal", "segments", {}, int64_t{8}, 8},
  };
  for (const Case& each : cases) {
    FrameStore store(pool_.get(), *catalog_->Find(each.metric));
    std::vector<StoredFrame> frames;
    for (int minute = 1; minute <= 180; ++minute) {
      const absl::Time at = start_ + absl::Minutes(minute) - absl::Seconds(5);
      StoredFrame frame{1, 1, 0, at - absl::Minutes(1), at, false, 0, 0, 0, {}};
      StoredRow row{each.labels, 0};
      row.values[each.column] = each.value;
      frame.rows.push_back(std::move(row));
      frames.push_back(std::move(frame));
    }
    store.Store(frames);
    SeriesQuery query = Query(each.column, 20);
    query.metric = each.metric;
    query.sources.resize(1);
    for (const bool merged : {false, true}) {
      if (merged) store.Merge(start_ + absl::Hours(5));
      for (const int step : {10, 20, 30}) {
        query.range = {start_ + absl::Minutes(60), start_ + absl::Minutes(70), step, ""};
        for (const Aggregate aggregate : {Aggregate::kDefault, Aggregate::kLast, Aggregate::kMax}) {
          query.aggregate = aggregate;
          const auto answer = reader_->Read(query, Deadline());
          ASSERT_THAT(answer, IsOk());
          ASSERT_EQ(answer->series.size(), 1u);
          for (const SeriesPoint& point : answer->series[0].points) {
            const absl::Duration into = (point.time - start_) % absl::Minutes(1);
            const bool taken = into + absl::Seconds(step) > absl::Seconds(55);
            EXPECT_EQ(point.value, taken ? std::optional<double>(each.expected) : std::nullopt)
                << each.metric << "." << each.column << " step " << step << " at " << into << " merged " << merged;
            EXPECT_EQ(point.covered_ms, step * 1000);
          }
        }
      }
    }
  }
}

// Sums of series that were not all read in a bucket say so.
TEST_F(SeriesReaderTest, ASumWithoutAReadingOfAllIsALowerBound) {
  FrameStore activity(pool_.get(), *catalog_->Find("activity"));
  std::vector<StoredFrame> frames;
  for (int minute = 1; minute <= 20; ++minute) {
    for (const int32_t source : {1, 2}) {
      const absl::Time at = start_ + absl::Minutes(minute) - absl::Seconds(source == 1 ? 5 : 35);
      StoredFrame frame{source, 1, 0, at - absl::Minutes(1), at, false, 0, 0, 0, {}};
      frame.rows.push_back({{{"state", "active"}, {"sessions_avg", 2.0 * source}}, 0});
      frames.push_back(std::move(frame));
    }
  }
  activity.Store(frames);
  SeriesQuery query = Query("sessions_avg", 30);
  query.metric = "activity";
  query.group_by = {"none"};
  query.range = {start_ + absl::Minutes(5), start_ + absl::Minutes(10), 30, ""};
  for (const auto& [step, expected] : {std::pair(30, 0.0), std::pair(60, 6.0)}) {
    query.range.step_seconds = step;
    const auto answer = reader_->Read(query, Deadline());
    ASSERT_THAT(answer, IsOk());
    ASSERT_EQ(answer->series.size(), 1u);
    for (size_t i = 0; i < answer->series[0].points.size(); ++i) {
      const SeriesPoint& point = answer->series[0].points[i];
      EXPECT_EQ(point.value, std::optional<double>(step == 60 ? expected : i % 2 == 0 ? 4.0 : 2.0)) << step << " " << i;
      EXPECT_EQ(point.lower_bound, step == 30) << step << " " << i;
    }
  }
}

}  // namespace
}  // namespace pga::storage
