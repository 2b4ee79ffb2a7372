#include "services/collector/delta_engine.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <tuple>

#include "libs/frame/frame_reader.h"
#include "libs/status/testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::HasSubstr;

constexpr int64_t kSecond = 1000000;
constexpr int64_t kStart = int64_t{1800000000} * kSecond;

catalogpb::Metric TableMetric() {
  catalogpb::Metric metric;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        name: "table_stats"
        schema_version: 1
        scope: SCOPE_INSTANCE
        interval_factor: 1
        skip_unchanged: true
        reset_column: "since"
        columns { name: "relid" type: COLUMN_TYPE_INT8 kind: COLUMN_KIND_LABEL since_schema_version: 1 }
        columns { name: "name" type: COLUMN_TYPE_TEXT kind: COLUMN_KIND_LABEL since_schema_version: 1 }
        columns { name: "inserted" type: COLUMN_TYPE_INT8 kind: COLUMN_KIND_COUNTER since_schema_version: 1 }
        columns { name: "size" type: COLUMN_TYPE_FLOAT8 kind: COLUMN_KIND_GAUGE since_schema_version: 1 }
        columns { name: "deleted" type: COLUMN_TYPE_INT8 kind: COLUMN_KIND_COUNTER since_schema_version: 1 }
        columns { name: "since" type: COLUMN_TYPE_TIMESTAMPTZ kind: COLUMN_KIND_INFO since_schema_version: 1 }
      )pb",
      &metric));
  return metric;
}

// `frame` must outlive what is returned.
frame::FrameReader Open(const ingestpb::Frame& frame, const catalogpb::Metric& metric) {
  frame::FrameReader reader;
  EXPECT_THAT(reader.Open(frame, metric), IsOk());
  return reader;
}

struct Values {
  int64_t relid = 0;
  std::optional<int64_t> inserted;
  std::optional<int64_t> deleted = 0;
  double size = 0;
  int64_t since = 0;
};

class DeltaEngine : public ::testing::Test {
 protected:
  DeltaEngine() { observation_.epoch = {77, 1, kStart - 1000, kStart - 2000}; }

  Reading Read(const std::vector<Values>& rows) {
    Reading reading(shape_);
    for (const Values& row : rows) {
      reading.AddRow();
      reading.SetInt(0, row.relid);
      reading.SetText(1, "t" + std::to_string(row.relid));
      if (row.inserted) reading.SetInt(2, *row.inserted);
      reading.SetDouble(3, row.size);
      if (row.deleted) reading.SetInt(4, *row.deleted);
      if (row.since != 0) reading.SetInt(5, row.since);
    }
    return reading;
  }

  // Reads at `seconds` after the start; keeps the baseline.
  Step Next(int seconds, const std::vector<Values>& rows) {
    observation_.collected_at_us = kStart + seconds * kSecond;
    auto step = Advance(baseline_.get(), Read(rows), observation_, options_);
    EXPECT_THAT(step, IsOk());
    for (ingestpb::Frame& frame : step->frames) {
      frame.set_source_id(std::string(16, 's'));
      EXPECT_THAT(frame::ValidateFrame(frame, metric_), IsOk());
    }
    baseline_ = step->next;
    return *std::move(step);
  }

  // inserted of a row in a frame; nullopt for NULL. -1000 when the row is not there.
  std::optional<int64_t> Inserted(const ingestpb::Frame& frame, int64_t relid, int* flags = nullptr) {
    const frame::FrameReader reader = Open(frame, metric_);
    for (int row = 0; row < frame.row_count(); ++row) {
      if (reader.column(0).Int(row) != relid) continue;
      if (flags != nullptr) *flags = reader.row_flags().empty() ? 0 : reader.RowFlags(row) & ~frame.flags();
      if (reader.column(2).IsNull(row)) return std::nullopt;
      return reader.column(2).Int(row);
    }
    return -1000;
  }

  catalogpb::Metric metric_ = TableMetric();
  MetricShape shape_{metric_};
  Observation observation_;
  DeltaOptions options_;
  std::shared_ptr<const Baseline> baseline_;
};

TEST_F(DeltaEngine, FirstReadingIsAKeyframeAndClaimsNoIncrease) {
  const Step step = Next(0, {{.relid = 1, .inserted = 100}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_EQ(step.frames[0].kind(), ingestpb::FRAME_KIND_KEYFRAME);
  EXPECT_EQ(step.frames[0].interval_start_us(), step.frames[0].collected_at_us());
  EXPECT_EQ(Inserted(step.frames[0], 1), 100);
}

TEST_F(DeltaEngine, SecondReadingIsTheIncreaseOverTheInterval) {
  Next(0, {{.relid = 1, .inserted = 100}});
  const Step step = Next(60, {{.relid = 1, .inserted = 130}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_EQ(step.frames[0].kind(), ingestpb::FRAME_KIND_DELTA);
  EXPECT_EQ(step.frames[0].interval_start_us(), kStart);
  EXPECT_EQ(step.frames[0].collected_at_us(), kStart + 60 * kSecond);
  EXPECT_EQ(Inserted(step.frames[0], 1), 30);
}

TEST_F(DeltaEngine, UnchangedRowsAreLeftOutAndCounted) {
  Next(0, {{.relid = 1, .inserted = 100}, {.relid = 2, .inserted = 5}});
  const Step step = Next(60, {{.relid = 1, .inserted = 100}, {.relid = 2, .inserted = 6}});
  EXPECT_EQ(step.frames[0].row_count(), 1);
  EXPECT_EQ(step.frames[0].unchanged_row_count(), 1);
  EXPECT_EQ(Inserted(step.frames[0], 1), -1000);
}

TEST_F(DeltaEngine, ChangedGaugeAloneIsSent) {
  Next(0, {{.relid = 1, .inserted = 100, .size = 1.5}});
  const Step step = Next(60, {{.relid = 1, .inserted = 100, .size = 2.5}});
  EXPECT_EQ(Inserted(step.frames[0], 1), 0);
}

TEST_F(DeltaEngine, BackwardsCounterIsAResetUnseen) {
  Next(0, {{.relid = 1, .inserted = 100, .deleted = 3}});
  const Step step = Next(60, {{.relid = 1, .inserted = 7, .deleted = 10}});
  ASSERT_EQ(step.frames.size(), 2u);
  int flags = 0;
  // All it has may be older than the last reading: a restored entry, a position that fell.
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), std::nullopt);
  EXPECT_TRUE(flags & ingestpb::FRAME_FLAG_LOWER_BOUND);
  // The column that did not go back claims the smaller of the two possible increases.
  EXPECT_EQ(Open(step.frames[0], metric_).column(4).Int(0), 7);
  EXPECT_EQ(step.frames[1].kind(), ingestpb::FRAME_KIND_KEYFRAME);
  EXPECT_EQ(Inserted(step.frames[1], 1), 7);
}

TEST_F(DeltaEngine, ToldResetClaimsTheReading) {
  Next(0, {{.relid = 1, .inserted = 100, .since = kStart - 5}});
  const Step step = Next(60, {{.relid = 1, .inserted = 150, .since = kStart + 5}});
  ASSERT_EQ(step.frames.size(), 2u);
  int flags = 0;
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), 150);
  EXPECT_TRUE(flags & ingestpb::FRAME_FLAG_LOWER_BOUND);
}

TEST_F(DeltaEngine, ResetTimeThatAppearsClaimsTheSmallerIncrease) {
  Next(0, {{.relid = 1, .inserted = 100}});
  const Step step = Next(60, {{.relid = 1, .inserted = 150, .since = kStart + 5}});
  int flags = 0;
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), 50);
  EXPECT_TRUE(flags & ingestpb::FRAME_FLAG_LOWER_BOUND);
}

TEST_F(DeltaEngine, NewKeyStartedSinceTheLastReading) {
  Next(0, {{.relid = 1, .inserted = 100}});
  const Step step = Next(60, {{.relid = 1, .inserted = 100}, {.relid = 2, .inserted = 12}});
  int flags = 0;
  EXPECT_EQ(Inserted(step.frames[0], 2, &flags), 12);
  EXPECT_EQ(flags, 0);
}

TEST_F(DeltaEngine, VanishedKeySendsAGoneRowOnce) {
  Next(0, {{.relid = 1, .inserted = 100}, {.relid = 2, .inserted = 5}});
  Step step = Next(60, {{.relid = 1, .inserted = 100}});
  int flags = 0;
  EXPECT_EQ(Inserted(step.frames[0], 2, &flags), std::nullopt);
  EXPECT_EQ(flags, ingestpb::FRAME_FLAG_GONE);
  step = Next(120, {{.relid = 1, .inserted = 100}});
  EXPECT_EQ(step.frames[0].row_count(), 0);
}

TEST_F(DeltaEngine, IdentityFollowsARenamedObjectAndNotItsName) {
  metric_.mutable_columns(0)->set_kind(catalogpb::COLUMN_KIND_INFO);
  metric_.add_identity("relid");
  const MetricShape shape(metric_);
  const auto read = [&](const std::vector<std::tuple<int64_t, std::string, int64_t>>& rows) {
    Reading reading(shape);
    for (const auto& [relid, name, inserted] : rows) {
      reading.AddRow();
      reading.SetInt(0, relid);
      reading.SetText(1, name);
      reading.SetInt(2, inserted);
      reading.SetInt(4, 0);
    }
    return reading;
  };
  observation_.collected_at_us = kStart;
  auto first = Advance(nullptr, read({{1, "a", 1000}, {2, "b", 50}}), observation_);
  ASSERT_THAT(first, IsOk());
  // a is renamed to c; b is dropped and made again.
  observation_.collected_at_us += kSecond;
  auto second = Advance(first->next.get(), read({{1, "c", 1010}, {3, "b", 60}}), observation_);
  ASSERT_THAT(second, IsOk());
  for (ingestpb::Frame& frame : second->frames) frame.set_source_id(std::string(16, 's'));
  const frame::FrameReader reader = Open(second->frames[0], metric_);
  std::map<std::string, std::string> seen;
  for (int row = 0; row < second->frames[0].row_count(); ++row) {
    const std::string name(reader.column(1).Text(row));
    seen[name] = reader.column(2).IsNull(row) ? "gone" : std::to_string(reader.column(2).Int(row));
  }
  EXPECT_EQ(seen, (std::map<std::string, std::string>{{"a", "gone"}, {"b", "60"}, {"c", "10"}}));
  EXPECT_EQ(second->frames.size(), 1u);
  auto applied = Baseline::Apply(first->next.get(), second->patch);
  ASSERT_THAT(applied, IsOk());
  EXPECT_EQ((*applied)->Serialize(), second->next->Serialize());
}

TEST_F(DeltaEngine, NullCounterKeepsItsPlace) {
  Next(0, {{.relid = 1, .inserted = 100}});
  Step step = Next(60, {{.relid = 1, .inserted = std::nullopt, .deleted = 1}});
  EXPECT_EQ(Inserted(step.frames[0], 1), std::nullopt);
  step = Next(120, {{.relid = 1, .inserted = 160, .deleted = 1}});
  EXPECT_EQ(Inserted(step.frames[0], 1), 60);
}

// Counters that a server version lacks are NULL in every reading.
TEST_F(DeltaEngine, CountersThatAreNullInBothReadingsAreNoChange) {
  Next(0,
       {{.relid = 1, .inserted = 100, .deleted = std::nullopt}, {.relid = 2, .inserted = 5, .deleted = std::nullopt}});
  const Step step = Next(60, {{.relid = 1, .inserted = 100, .deleted = std::nullopt},
                              {.relid = 2, .inserted = 6, .deleted = std::nullopt}});
  EXPECT_EQ(step.frames[0].row_count(), 1);
  EXPECT_EQ(step.frames[0].unchanged_row_count(), 1);
  EXPECT_EQ(Inserted(step.frames[0], 2), 1);
}

// Left out it would count as zero.
TEST_F(DeltaEngine, ACounterThatCannotBeReadNowIsAChange) {
  Next(0, {{.relid = 1, .inserted = 100}});
  const Step step = Next(60, {{.relid = 1, .inserted = std::nullopt}});
  EXPECT_EQ(step.frames[0].row_count(), 1);
  EXPECT_EQ(Inserted(step.frames[0], 1), std::nullopt);
}

TEST_F(DeltaEngine, CounterNeverReadBeforeIsUnknown) {
  Next(0, {{.relid = 1, .inserted = std::nullopt}});
  const Step step = Next(60, {{.relid = 1, .inserted = 1000}});
  EXPECT_EQ(Inserted(step.frames[0], 1), std::nullopt);
}

struct EpochCase {
  const char* name;
  Epoch now;
  bool continues;
};

TEST_F(DeltaEngine, EpochDecidesWhetherCountersContinue) {
  const Epoch was{77, 1, 1000, 500};
  const EpochCase cases[] = {
      {"same", {77, 1, 1000, 500}, true},
      {"statistics of the background writer reset", {77, 1, 1000, 900}, true},
      {"clean restart", {77, 1, 2000, 500}, true},
      {"crash lost the statistics", {77, 1, 2000, 2000}, false},
      {"another server", {78, 1, 1000, 500}, false},
      {"another timeline", {77, 2, 1000, 500}, false},
      {"nothing known", {77, 1, 0, 0}, false},
  };
  for (const EpochCase& c : cases) EXPECT_EQ(Continues(was, c.now), c.continues) << c.name;
}

TEST_F(DeltaEngine, NewEpochSendsAKeyframeAlone) {
  Next(0, {{.relid = 1, .inserted = 100}});
  observation_.epoch.checkpointer_start_us += 10;
  observation_.epoch.statistics_reset_us += 10;
  const Step step = Next(60, {{.relid = 1, .inserted = 5000}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_TRUE(step.epoch_changed);
  EXPECT_EQ(step.frames[0].kind(), ingestpb::FRAME_KIND_KEYFRAME);
}

// Seconds from the start to a time of the day after it.
int OfNextDay(int hour, int minute, int second) {
  constexpr int64_t kDay = 86400;
  const int64_t start_s = kStart / kSecond;
  return static_cast<int>((start_s / kDay + 1) * kDay - start_s) + hour * 3600 + minute * 60 + second;
}

bool HasKeyframe(const Step& step) {
  return step.frames.back().kind() == ingestpb::FRAME_KIND_KEYFRAME;
}

TEST_F(DeltaEngine, KeyframeOnceADayBesideTheDelta) {
  options_.keyframe_offset_us = 300 * kSecond;
  Next(0, {{.relid = 1, .inserted = 1}});
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, -1, 30), {{.relid = 1, .inserted = 1}})));
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, 4, 59), {{.relid = 1, .inserted = 2}})));
  const Step step = Next(OfNextDay(0, 5, 0), {{.relid = 1, .inserted = 5}});
  ASSERT_EQ(step.frames.size(), 2u);
  EXPECT_EQ(Inserted(step.frames[0], 1), 3);
  EXPECT_EQ(Inserted(step.frames[1], 1), 5);
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, 6, 0), {{.relid = 1, .inserted = 5}})));
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(23, 59, 59), {{.relid = 1, .inserted = 5}})));
  EXPECT_TRUE(HasKeyframe(Next(OfNextDay(24, 5, 0), {{.relid = 1, .inserted = 5}})));
}

TEST_F(DeltaEngine, ACollectorStartedBeforeMidnightSendsTheKeyframeOfTheDay) {
  options_.keyframe_offset_us = 30 * kSecond;
  EXPECT_TRUE(HasKeyframe(Next(OfNextDay(0, -1, 0), {{.relid = 1, .inserted = 1}})));
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, 0, 0), {{.relid = 1, .inserted = 1}})));
  EXPECT_TRUE(HasKeyframe(Next(OfNextDay(0, 1, 0), {{.relid = 1, .inserted = 1}})));
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, 2, 0), {{.relid = 1, .inserted = 1}})));
}

TEST_F(DeltaEngine, AKeyframeOfTheDayBeforeItsTimeIsEnough) {
  options_.keyframe_offset_us = 300 * kSecond;
  EXPECT_TRUE(HasKeyframe(Next(OfNextDay(0, 1, 0), {{.relid = 1, .inserted = 1}})));
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, 5, 0), {{.relid = 1, .inserted = 1}})));
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, 9, 59), {{.relid = 1, .inserted = 1}})));
}

// Of readings that may miss the rest of the window, the last one within it is taken.
TEST_F(DeltaEngine, RareReadingsTakeTheFirstOneOfTheDay) {
  options_.keyframe_offset_us = 599 * kSecond;
  options_.interval_us = 3600 * kSecond;
  Next(0, {{.relid = 1, .inserted = 1}});
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(0, -30, 0), {{.relid = 1, .inserted = 1}})));
  EXPECT_TRUE(HasKeyframe(Next(OfNextDay(0, 2, 0), {{.relid = 1, .inserted = 1}})));
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(1, 2, 0), {{.relid = 1, .inserted = 1}})));
  // And where none falls into it, the first one after it.
  EXPECT_TRUE(HasKeyframe(Next(OfNextDay(24, 30, 0), {{.relid = 1, .inserted = 1}})));
  options_.interval_us = 60 * kSecond;
  EXPECT_FALSE(HasKeyframe(Next(OfNextDay(48, 8, 30), {{.relid = 1, .inserted = 1}})));
  EXPECT_TRUE(HasKeyframe(Next(OfNextDay(48, 9, 30), {{.relid = 1, .inserted = 1}})));
}

TEST_F(DeltaEngine, DailyKeyframesAreSpreadOverTheirWindow) {
  std::map<int64_t, int> minutes;
  for (int scope = 0; scope < 1000; ++scope) {
    const auto options = OptionsOf(shape_, TrackerKey(std::string(16, 's'), scope, "table_stats"), 60 * kSecond);
    ++minutes[options.keyframe_offset_us / (60 * kSecond)];
  }
  ASSERT_EQ(minutes.size(), 10u);
  EXPECT_EQ(minutes.rbegin()->first, 9);
  for (const auto& [minute, count] : minutes) EXPECT_GT(count, 50) << minute;
}

TEST_F(DeltaEngine, OptionsFollowTheMetric) {
  metric_.set_interval_factor(5);
  DeltaOptions options = OptionsOf(shape_, "t", 60 * kSecond);
  EXPECT_EQ(options.interval_us, 300 * kSecond);
  EXPECT_EQ(options.reach_us, 600 * kSecond);
  metric_.set_probe("blocking");
  options = OptionsOf(shape_, "t", 60 * kSecond);
  EXPECT_EQ(options.reach_us, 1200 * kSecond);
}

// Rows as they are in a metric that has a gauge alone.
class GaugesAlone : public ::testing::Test {
 protected:
  GaugesAlone() {
    metric_.set_name("sizes");
    metric_.set_schema_version(1);
    const auto add = [this](const char* name, catalogpb::ColumnKind kind) {
      auto* column = metric_.add_columns();
      column->set_name(name);
      column->set_type(catalogpb::COLUMN_TYPE_INT8);
      column->set_kind(kind);
      column->set_since_schema_version(1);
    };
    add("id", catalogpb::COLUMN_KIND_LABEL);
    add("size", catalogpb::COLUMN_KIND_GAUGE);
    observation_.epoch = {77, 1, kStart - 1000, kStart - 2000};
  }

  // Start of the time that the reading speaks for, seconds after the start.
  int64_t From(int seconds) {
    const MetricShape shape(metric_);
    Reading reading(shape);
    reading.AddRow();
    reading.SetInt(0, 1);
    reading.SetInt(1, seconds);
    observation_.collected_at_us = kStart + seconds * kSecond;
    auto step = Advance(baseline_.get(), reading, observation_, options_);
    EXPECT_THAT(step, IsOk());
    EXPECT_EQ(step->frames.size(), 1u);
    step->frames[0].set_source_id(std::string(16, 's'));
    EXPECT_THAT(frame::ValidateFrame(step->frames[0], metric_), IsOk());
    EXPECT_EQ(step->frames[0].collected_at_us(), observation_.collected_at_us);
    EXPECT_EQ(step->frames[0].kind(), ingestpb::FRAME_KIND_DELTA);
    baseline_ = step->next;
    return (step->frames[0].interval_start_us() - kStart) / kSecond;
  }

  catalogpb::Metric metric_;
  Observation observation_;
  DeltaOptions options_;
  std::shared_ptr<const Baseline> baseline_;
};

TEST_F(GaugesAlone, SpeakForTheTimeSinceTheReadingBefore) {
  for (const bool skip_unchanged : {false, true}) {
    metric_.set_skip_unchanged(skip_unchanged);
    baseline_.reset();
    EXPECT_EQ(From(0), 0);
    EXPECT_EQ(From(60), 0);
    EXPECT_EQ(From(125), 60);
    // At most two intervals.
    EXPECT_EQ(From(1000), 880);
    EXPECT_EQ(From(1120), 1000);
    // Another run of the server: what was before it says nothing.
    ++observation_.epoch.checkpointer_start_us;
    ++observation_.epoch.statistics_reset_us;
    EXPECT_EQ(From(1180), 1180);
    EXPECT_EQ(From(1240), 1180);
  }
}

TEST_F(GaugesAlone, SpeakFromWhenTheOldestOfTheirRowsWasWritten) {
  From(60);
  observation_.speaks_from_us = kStart - 3600 * kSecond;
  EXPECT_EQ(From(120), -3600);
  observation_.speaks_from_us = kStart + 170 * kSecond;
  EXPECT_EQ(From(180), 120);
  observation_.speaks_from_us = kStart - 2 * kMostSpokenUs;
  EXPECT_EQ(From(240), 240 - kMostSpokenUs / kSecond);
}

TEST_F(GaugesAlone, SpeakForNothingWhenTheClockWentBack) {
  From(60);
  EXPECT_EQ(From(30), 30);
  EXPECT_EQ(From(90), 30);
}

TEST_F(GaugesAlone, TheFullFrameOfTheDaySpeaksForTheTimeBeforeItToo) {
  metric_.set_skip_unchanged(true);
  const int midnight = OfNextDay(0, 0, 0);
  From(midnight - 60);
  EXPECT_EQ(From(midnight), midnight - 60);
}

TEST_F(DeltaEngine, LargeFramesAreCutByRows) {
  options_.parts.max_rows = 40;
  std::vector<Values> rows;
  for (int i = 0; i < 100; ++i) rows.push_back({.relid = i, .inserted = i});
  Step step = Next(0, rows);
  ASSERT_EQ(step.frames.size(), 3u);
  for (Values& row : rows) row.inserted = *row.inserted * 2 + 1;
  rows.pop_back();       // gone
  rows[0].inserted = 0;  // unchanged
  step = Next(60, rows);
  ASSERT_EQ(step.frames.size(), 3u);
  int64_t sum = 0;
  int count = 0;
  for (int i = 0; i < 3; ++i) {
    const ingestpb::Frame& frame = step.frames[static_cast<size_t>(i)];
    EXPECT_EQ(frame.part(), i);
    EXPECT_EQ(frame.part_count(), 3);
    EXPECT_EQ(frame.interval_start_us(), kStart);
    EXPECT_EQ(frame.collected_at_us(), kStart + 60 * kSecond);
    EXPECT_EQ(frame.unchanged_row_count(), i == 0 ? 1 : 0);
    const frame::FrameReader reader = Open(frame, metric_);
    for (int row = 0; row < reader.row_count(); ++row) {
      ++count;
      if (!reader.column(2).IsNull(row)) sum += reader.column(2).Int(row);
    }
  }
  EXPECT_EQ(count, 99);  // 98 changed, 1 gone
  EXPECT_EQ(sum, 98 * 99 / 2 + 98);
}

TEST_F(DeltaEngine, AClockThatWentBackIsWaitedForAndNothingIsLost) {
  Next(100, {{.relid = 1, .inserted = 1}});
  observation_.collected_at_us = kStart + 50 * kSecond;
  EXPECT_THAT(Advance(baseline_.get(), Read({{.relid = 1, .inserted = 3}}), observation_),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("clock")));
  const Step step = Next(101, {{.relid = 1, .inserted = 4}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_EQ(step.frames[0].interval_start_us(), kStart + 100 * kSecond);
  EXPECT_EQ(Inserted(step.frames[0], 1), 3);
}

TEST_F(DeltaEngine, AClockThatIsSetBendsNoInterval) {
  for (const int64_t step : {int64_t{-86400}, int64_t{-3600}, int64_t{-30}, int64_t{3600}, int64_t{86400}}) {
    SCOPED_TRACE(step);
    baseline_ = nullptr;
    observation_.boot_nanos = 1000 * kSecond;
    Next(200000, {{.relid = 1, .inserted = 1}});
    observation_.boot_nanos += 60 * kSecond * 1000;
    const int64_t at = 200000 + 60 + step;
    const Step set = Next(static_cast<int>(at), {{.relid = 1, .inserted = 5}});
    ASSERT_FALSE(set.frames.empty());
    EXPECT_FALSE(set.epoch_changed);
    EXPECT_EQ(set.frames[0].kind(), ingestpb::FRAME_KIND_DELTA);
    EXPECT_EQ(set.frames[0].collected_at_us(), kStart + at * kSecond);
    EXPECT_EQ(set.frames[0].interval_start_us(), kStart + (at - 60) * kSecond);
    EXPECT_EQ(Inserted(set.frames[0], 1), 4);
    observation_.boot_nanos += 60 * kSecond * 1000;
    const Step next = Next(static_cast<int>(at + 60), {{.relid = 1, .inserted = 7}});
    ASSERT_EQ(next.frames.size(), 1u);
    EXPECT_EQ(next.frames[0].interval_start_us(), kStart + at * kSecond);
    EXPECT_EQ(Inserted(next.frames[0], 1), 2);
  }
}

// A clock that runs a little fast or slow leaves no holes and no overlaps between intervals.
TEST_F(DeltaEngine, IntervalsTouchWhileTheClockIsSlewed) {
  observation_.boot_nanos = 1000 * kSecond;
  Next(0, {{.relid = 1, .inserted = 1}});
  observation_.boot_nanos += 59'700 * kSecond;
  const Step step = Next(60, {{.relid = 1, .inserted = 5}});
  EXPECT_EQ(step.frames[0].interval_start_us(), kStart);
}

TEST_F(DeltaEngine, AClockThatWentFarBackStartsAnEpoch) {
  Next(7200, {{.relid = 1, .inserted = 1}});
  const Step step = Next(0, {{.relid = 1, .inserted = 3}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_EQ(step.frames[0].kind(), ingestpb::FRAME_KIND_KEYFRAME);
  EXPECT_EQ(step.frames[0].collected_at_us(), kStart);
}

TEST_F(DeltaEngine, RowsThatAPrivilegeBringsToLightDidNotBeginThen) {
  observation_.epoch.partial = true;
  Next(0, {{.relid = 1, .inserted = 1}});
  observation_.epoch.partial = false;
  const Step step = Next(60, {{.relid = 1, .inserted = 2}, {.relid = 2, .inserted = 1000000}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_EQ(step.frames[0].kind(), ingestpb::FRAME_KIND_KEYFRAME);
}

TEST_F(DeltaEngine, ADipOfAHostsCounterIsNoReset) {
  metric_.set_scope(catalogpb::SCOPE_HOST);
  Next(0, {{.relid = 1, .inserted = 1000}});
  Step step = Next(60, {{.relid = 1, .inserted = 998, .size = 1}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_EQ(Inserted(step.frames[0], 1), 0);
  EXPECT_EQ(step.resets_seen, 0);
  step = Next(120, {{.relid = 1, .inserted = 1003}});
  EXPECT_EQ(Inserted(step.frames[0], 1), 3);
}

// The receive position of a standby falls to the start of its segment when its sender goes away.
TEST_F(DeltaEngine, APositionCountsFromTheHighestOneRead) {
  metric_.mutable_columns(2)->set_position(true);
  Next(0, {{.relid = 1, .inserted = 30'032'280}});
  Step step = Next(60, {{.relid = 1, .inserted = 29'360'128, .size = 1}});
  ASSERT_EQ(step.frames.size(), 1u);
  int flags = 0;
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), 0);
  EXPECT_EQ(flags, 0);
  step = Next(120, {{.relid = 1, .inserted = 30'032'336}});
  EXPECT_EQ(Inserted(step.frames[0], 1), 56);
}

TEST_F(DeltaEngine, EvictionsMakeLowerBoundsAndNoKeyframeEachTime) {
  Next(0, {{.relid = 1, .inserted = 100}});
  observation_.evictions = 1;
  Step step = Next(60, {{.relid = 1, .inserted = 10}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_TRUE(step.frames[0].flags() & ingestpb::FRAME_FLAG_LOWER_BOUND);
  EXPECT_EQ(Inserted(step.frames[0], 1), 10);
  observation_.evictions = 2;
  step = Next(3600, {{.relid = 1, .inserted = 9}});
  EXPECT_EQ(step.frames.size(), 2u);
}

TEST_F(DeltaEngine, EvictionsAreSeenRowByRowWhereTheViewTellsSinceWhen) {
  Next(0, {{.relid = 1, .inserted = 100, .since = 5}, {.relid = 2, .inserted = 50, .since = 6}});
  observation_.evictions = 1;
  const Step step = Next(60, {{.relid = 1, .inserted = 100, .since = 9}, {.relid = 2, .inserted = 51, .since = 6}});
  int flags = 0;
  EXPECT_EQ(step.frames[0].flags(), 0);
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), 100);
  EXPECT_EQ(flags, ingestpb::FRAME_FLAG_LOWER_BOUND);
  EXPECT_EQ(Inserted(step.frames[0], 2, &flags), 1);
  EXPECT_EQ(flags, 0);
}

TEST_F(DeltaEngine, NewEntriesMayHaveBeenEvictedBefore) {
  Next(0, {{.relid = 1, .inserted = 100, .since = 5}});
  observation_.evictions = 1;
  const Step step =
      Next(60, {{.relid = 1, .inserted = 101, .since = 5}, {.relid = 2, .inserted = 50, .since = kStart + 50}});
  int flags = 0;
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), 1);
  EXPECT_EQ(flags, 0);
  EXPECT_EQ(Inserted(step.frames[0], 2, &flags), 50);
  EXPECT_EQ(flags, ingestpb::FRAME_FLAG_LOWER_BOUND);
}

// The server tells that something of a database was reset, and not what.
TEST_F(DeltaEngine, ResetOfSomeObjectMakesLowerBoundsOfAll) {
  metric_.clear_reset_column();
  Next(0, {{.relid = 1, .inserted = 100}, {.relid = 2, .inserted = 50}});
  observation_.objects_reset_us = 20;
  Step step = Next(60, {{.relid = 1, .inserted = 120}, {.relid = 2, .inserted = 10}, {.relid = 3, .inserted = 7}});
  ASSERT_EQ(step.frames.size(), 2u);
  EXPECT_TRUE(step.frames[0].flags() & ingestpb::FRAME_FLAG_LOWER_BOUND);
  EXPECT_EQ(Inserted(step.frames[0], 1), 20);
  EXPECT_EQ(Inserted(step.frames[0], 2), 10);
  EXPECT_EQ(Inserted(step.frames[0], 3), 7);
  EXPECT_EQ(step.frames[1].kind(), ingestpb::FRAME_KIND_KEYFRAME);
  EXPECT_EQ(step.frames[1].run().objects_reset_us(), 20);
  step = Next(120, {{.relid = 1, .inserted = 121}, {.relid = 2, .inserted = 10}, {.relid = 3, .inserted = 7}});
  ASSERT_EQ(step.frames.size(), 1u);
  EXPECT_EQ(step.frames[0].flags(), 0);
}

TEST_F(DeltaEngine, ResetWhileRowsAreReadIsSeenByThisReadingAndTheNext) {
  metric_.clear_reset_column();
  Next(0, {{.relid = 1, .inserted = 100}});
  observation_.resetting = true;
  Step step = Next(60, {{.relid = 1, .inserted = 110}});
  EXPECT_TRUE(step.frames[0].flags() & ingestpb::FRAME_FLAG_LOWER_BOUND);
  observation_.resetting = false;
  observation_.objects_reset_us = 20;
  step = Next(120, {{.relid = 1, .inserted = 115}});
  EXPECT_TRUE(step.frames[0].flags() & ingestpb::FRAME_FLAG_LOWER_BOUND);
  EXPECT_EQ(Inserted(step.frames[0], 1), 5);
}

// stats_reset of a database changes when one of its tables is reset, and its own counters go on.
TEST_F(DeltaEngine, ResetOfAPartClaimsNoMoreThanTheDifference) {
  metric_.set_partial_resets(true);
  Next(0, {{.relid = 1, .inserted = 100, .deleted = 50, .since = 5}});
  Step step = Next(60, {{.relid = 1, .inserted = 120, .deleted = 50, .since = 9}});
  int flags = 0;
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), 20);
  EXPECT_EQ(flags, ingestpb::FRAME_FLAG_LOWER_BOUND);
  step = Next(120, {{.relid = 1, .inserted = 7, .deleted = 60, .since = 12}});
  EXPECT_EQ(Inserted(step.frames[0], 1, &flags), 7);
  EXPECT_EQ(flags, ingestpb::FRAME_FLAG_LOWER_BOUND);
}

TEST_F(DeltaEngine, ResetOfTheWholeViewClaimsReadings) {
  observation_.view_reset_us = 10;
  Next(0, {{.relid = 1, .inserted = 100}});
  observation_.view_reset_us = 20;
  const Step step = Next(60, {{.relid = 1, .inserted = 120}});
  ASSERT_EQ(step.frames.size(), 2u);
  EXPECT_EQ(Inserted(step.frames[0], 1), 120);
}

TEST_F(DeltaEngine, NewEntriesMayHaveBeenThereBeforeTheReset) {
  observation_.view_reset_us = 10;
  Next(0, {{.relid = 1, .inserted = 100}});
  observation_.view_reset_us = 20;
  const Step step = Next(60, {{.relid = 2, .inserted = 3}});
  EXPECT_EQ(step.frames[0].flags(), ingestpb::FRAME_FLAG_LOWER_BOUND);
  EXPECT_EQ(Inserted(step.frames[0], 2), 3);
}

// Entries that began since the last reading went with it: no row can say so.
TEST_F(DeltaEngine, ResetOfTheWholeViewMarksTheFrame) {
  observation_.view_reset_us = 10;
  Next(0, {});
  observation_.view_reset_us = 20;
  const Step step = Next(60, {});
  EXPECT_EQ(step.frames[0].flags(), ingestpb::FRAME_FLAG_LOWER_BOUND);
}

TEST_F(DeltaEngine, AResetTimeThatAppearsIsAnUpgradedExtension) {
  Next(0, {{.relid = 1, .inserted = 100}});
  observation_.view_reset_us = 20;
  const Step step = Next(60, {{.relid = 1, .inserted = 120}});
  EXPECT_EQ(Inserted(step.frames[0], 1), 20);
}

TEST_F(DeltaEngine, TwoRowsWithOneKeyAreRefused) {
  observation_.collected_at_us = kStart;
  EXPECT_THAT(Advance(nullptr, Read({{.relid = 1, .inserted = 1}, {.relid = 1, .inserted = 2}}), observation_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("same labels")));
}

TEST_F(DeltaEngine, ExtremeCountersDoNotOverflow) {
  const int64_t max = std::numeric_limits<int64_t>::max();
  Next(0, {{.relid = 1, .inserted = 0}});
  EXPECT_EQ(Inserted(Next(60, {{.relid = 1, .inserted = max}}).frames[0], 1), max);
}

TEST_F(DeltaEngine, NewCounterOfANewerCatalogIsUnknownOnce) {
  Next(0, {{.relid = 1, .inserted = 100}});
  catalogpb::Metric wider = metric_;
  wider.set_schema_version(2);
  auto* column = wider.add_columns();
  column->set_name("updated");
  column->set_type(catalogpb::COLUMN_TYPE_INT8);
  column->set_kind(catalogpb::COLUMN_KIND_COUNTER);
  column->set_since_schema_version(2);
  const MetricShape shape(wider);
  Reading reading(shape);
  reading.AddRow();
  reading.SetInt(0, 1);
  reading.SetText(1, "t1");
  reading.SetInt(2, 110);
  reading.SetInt(4, 0);
  reading.SetInt(6, 900);
  observation_.collected_at_us += kSecond;
  auto step = Advance(baseline_.get(), reading, observation_);
  ASSERT_THAT(step, IsOk());
  step->frames[0].set_source_id(std::string(16, 's'));
  const frame::FrameReader reader = Open(step->frames[0], wider);
  EXPECT_EQ(reader.column(2).Int(0), 10);
  EXPECT_TRUE(reader.column(6).IsNull(0));
  auto applied = Baseline::Apply(baseline_.get(), step->patch);
  ASSERT_THAT(applied, IsOk());
  EXPECT_EQ((*applied)->Serialize(), step->next->Serialize());
}

TEST_F(DeltaEngine, BaselineSurvivesSerialisation) {
  Next(0, {{.relid = 1, .inserted = 100, .since = 4}, {.relid = 2, .inserted = std::nullopt}});
  auto copy = Baseline::Parse(baseline_->Serialize());
  ASSERT_THAT(copy, IsOk());
  EXPECT_EQ((*copy)->Serialize(), baseline_->Serialize());
  EXPECT_EQ((*copy)->rows(), 2u);
}

TEST_F(DeltaEngine, MalformedBaselinesAreRefused) {
  Next(0, {{.relid = 1, .inserted = 100}, {.relid = 2, .inserted = 7}});
  const std::string whole = baseline_->Serialize();
  for (size_t cut = 0; cut < whole.size(); ++cut) {
    EXPECT_FALSE(Baseline::Parse(std::string_view(whole).substr(0, cut)).ok());
    EXPECT_FALSE(Baseline::Apply(nullptr, std::string_view(whole).substr(0, cut)).ok());
  }
}

TEST_F(DeltaEngine, PatchOfAnotherGenerationDropsTheBaseline) {
  BaselineStore store;
  const Step first = Next(0, {{.relid = 1, .inserted = 1}});
  ASSERT_THAT(store.ApplyPatch("a", first.patch), IsOk());
  Next(60, {{.relid = 1, .inserted = 2}});
  const Step third = Next(120, {{.relid = 1, .inserted = 3}});
  EXPECT_THAT(store.ApplyPatch("a", third.patch), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(store.Find("a"), nullptr);
}

TEST_F(DeltaEngine, MetricWithoutCountersSendsFullFramesThenChanges) {
  catalogpb::Metric settings;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        name: "settings"
        schema_version: 1
        skip_unchanged: true
        columns { name: "name" type: COLUMN_TYPE_TEXT kind: COLUMN_KIND_LABEL since_schema_version: 1 }
        columns { name: "value" type: COLUMN_TYPE_TEXT kind: COLUMN_KIND_INFO since_schema_version: 1 }
      )pb",
      &settings));
  const MetricShape shape(settings);
  const auto read = [&](const std::map<std::string, std::string>& values) {
    Reading reading(shape);
    for (const auto& [name, value] : values) {
      reading.AddRow();
      reading.SetText(0, name);
      reading.SetText(1, value);
    }
    return reading;
  };
  observation_.collected_at_us = kStart;
  auto first = Advance(nullptr, read({{"a", "1"}, {"b", "2"}, {"c", "3"}}), observation_);
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->frames[0].kind(), ingestpb::FRAME_KIND_DELTA);
  EXPECT_EQ(first->frames[0].row_count(), 3);
  observation_.collected_at_us += kSecond;
  auto second = Advance(first->next.get(), read({{"a", "1"}, {"b", "9"}}), observation_);
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->frames[0].row_count(), 2);  // b changed, c is gone
  EXPECT_EQ(second->frames[0].unchanged_row_count(), 1);
}

// Whatever is lost between reading and fsync, and however often the process ends, the accepted deltas add up to the
// true increase between the first accepted key frame and the last accepted reading.
TEST_F(DeltaEngine, SumsTelescopeUnderRandomCrashes) {
  for (uint32_t seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
    constexpr int kTables = 12;
    std::vector<int64_t> truth(kTables, 0);
    std::vector<int64_t> sums(kTables, 0);  // key frame + accepted deltas
    std::vector<bool> known(kTables, false);
    BaselineStore memory;   // what the process knows
    BaselineStore durable;  // what the disk holds: a snapshot and the patches since
    std::string snapshot = durable.Serialize();
    std::deque<std::string> patches;
    const std::string tracker = TrackerKey(std::string(16, 's'), 0, "table_stats");
    std::vector<int64_t> last_read(kTables, 0);
    for (int tick = 0; tick < 200; ++tick) {
      for (int64_t& value : truth) {
        if (chance(40)) value += static_cast<int64_t>(random() % 1000);
      }
      std::vector<Values> rows;
      for (int i = 0; i < kTables; ++i) {
        rows.push_back({.relid = i, .inserted = truth[static_cast<size_t>(i)]});
      }
      std::shuffle(rows.begin(), rows.end(), random);
      observation_.collected_at_us = kStart + tick * 60 * kSecond;
      auto step = Advance(memory.Find(tracker).get(), Read(rows), observation_);
      ASSERT_THAT(step, IsOk());
      for (ingestpb::Frame& frame : step->frames) frame.set_source_id(std::string(16, 's'));
      const bool refused = chance(10);           // the spool is full
      const bool dies_before_fsync = chance(5);  // and the bytes are lost
      const bool dies_after_fsync = chance(5);
      if (!refused && !dies_before_fsync) {
        patches.push_back(step->patch);
        for (const ingestpb::Frame& frame : step->frames) {
          for (int i = 0; i < kTables; ++i) {
            const auto value = Inserted(frame, i);
            if (value == -1000) continue;
            auto& sum = sums[static_cast<size_t>(i)];
            if (frame.kind() == ingestpb::FRAME_KIND_KEYFRAME) {
              if (known[static_cast<size_t>(i)]) {
                ASSERT_EQ(sum, *value) << "seed " << seed << " tick " << tick;
              }
              sum = *value;
              known[static_cast<size_t>(i)] = true;
            } else {
              sum += *value;
            }
          }
        }
        last_read = truth;
        if (!dies_after_fsync) memory.Set(tracker, step->next);
      }
      if (dies_before_fsync || dies_after_fsync) {
        int dropped = 0;
        auto restored = BaselineStore::Parse(snapshot, &dropped);
        ASSERT_THAT(restored, IsOk());
        for (const std::string& patch : patches) ASSERT_THAT(restored->ApplyPatch(tracker, patch), IsOk());
        memory = *std::move(restored);
      }
      if (chance(5)) {
        snapshot = memory.Serialize();
        patches.clear();
      }
    }
    EXPECT_EQ(sums, last_read) << "seed " << seed;
  }
}

}  // namespace
}  // namespace pga::collector
