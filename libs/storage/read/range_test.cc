#include "libs/storage/read/range.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "libs/status/testing.h"

namespace pga::storage {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime(absl::RFC3339_full, text, &time, &error)) << error;
  return time;
}

RangeRequest Request(const std::string& start, const std::string& end, int64_t step, const std::string& zone = "") {
  return {At(start), At(end), step, zone};
}

const absl::Time kNow = absl::FromUnixSeconds(1767225600);  // 2026-01-01

struct StepCase {
  std::string name;
  int64_t step;
  int64_t expected_step;
  Resolution resolution;
  int buckets;
};

class PlanBucketsStep : public ::testing::TestWithParam<StepCase> {};

TEST_P(PlanBucketsStep, ChoosesTheCoarsestLevelWhoseBucketsFit) {
  const auto plan = PlanBuckets(Request("2025-12-31T10:00:00Z", "2025-12-31T12:00:00Z", GetParam().step),
                                ReadRetention(), DayZone(), kNow);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->step_seconds, GetParam().expected_step);
  EXPECT_EQ(plan->resolution, GetParam().resolution);
  EXPECT_EQ(plan->buckets(), GetParam().buckets);
}

INSTANTIATE_TEST_SUITE_P(Steps, PlanBucketsStep,
                         ::testing::Values(StepCase{"chosen", 0, 60, Resolution::kRaw, 120},
                                           StepCase{"seconds", 15, 15, Resolution::kRaw, 480},
                                           StepCase{"odd", 90, 90, Resolution::kRaw, 80},
                                           StepCase{"minutes", 120, 120, Resolution::kRaw, 60},
                                           StepCase{"ten_minutes", 600, 600, Resolution::kRaw, 12},
                                           StepCase{"half_hour", 1800, 1800, Resolution::kRaw, 4},
                                           StepCase{"hour", 3600, 3600, Resolution::k1h, 2}),
                         [](const auto& test) { return test.param.name; });

TEST(PlanBuckets, WidensTheRangeToWholeBuckets) {
  const auto plan =
      PlanBuckets(Request("2025-12-31T10:00:30Z", "2025-12-31T10:02:01Z", 60), ReadRetention(), DayZone(), kNow);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->start(), At("2025-12-31T10:00:00Z"));
  EXPECT_EQ(plan->end(), At("2025-12-31T10:03:00Z"));
}

TEST(PlanBuckets, ChosenStepFitsWhatIsStillKept) {
  const auto plan =
      PlanBuckets(Request("2025-11-01T00:00:00Z", "2025-11-01T02:00:00Z", 0), ReadRetention(), DayZone(), kNow);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->step_seconds, 86400);
  EXPECT_EQ(plan->resolution, Resolution::k1d);
  EXPECT_FALSE(plan->raw_kept);
}

TEST(PlanBuckets, SaysWhichStepIsStillKept) {
  EXPECT_THAT(
      PlanBuckets(Request("2025-11-01T00:00:00Z", "2025-11-01T02:00:00Z", 60), ReadRetention(), DayZone(), kNow),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiple of 86400")));
}

struct BadCase {
  std::string name;
  RangeRequest request;
  std::string message;
};

class PlanBucketsRefusal : public ::testing::TestWithParam<BadCase> {};

TEST_P(PlanBucketsRefusal, SaysWhatToChange) {
  EXPECT_THAT(PlanBuckets(GetParam().request, ReadRetention(), DayZone(), kNow),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().message)));
}

INSTANTIATE_TEST_SUITE_P(
    Requests, PlanBucketsRefusal,
    ::testing::Values(
        BadCase{"empty", Request("2025-12-31T10:00:00Z", "2025-12-31T10:00:00Z", 0), "start must lie before"},
        BadCase{"long", Request("2024-11-01T00:00:00Z", "2025-12-31T00:00:00Z", 0), "at most 400 days"},
        BadCase{"step", Request("2025-12-31T10:00:00Z", "2025-12-31T11:00:00Z", 90000), "1 to 86400"},
        BadCase{"points", Request("2025-12-30T00:00:00Z", "2025-12-31T00:00:00Z", 1), "at least 8 s"},
        BadCase{"zone", Request("2025-12-30T00:00:00Z", "2025-12-31T00:00:00Z", 3600, "Mars/Base"), "IANA name"},
        BadCase{"path", Request("2025-12-30T00:00:00Z", "2025-12-31T00:00:00Z", 3600, "../../etc/passwd"), "IANA name"},
        BadCase{"zone_step", Request("2025-12-30T00:00:00Z", "2025-12-31T00:00:00Z", 18000, "Europe/Zurich"),
                "divide a day"}),
    [](const auto& test) { return test.param.name; });

TEST(PlanBuckets, DaysOfATimeZoneBeginAtLocalMidnight) {
  // Summer time begins on 2025-03-30 in Zurich: that day has 23 hours.
  const auto plan = PlanBuckets(Request("2025-03-29T12:00:00Z", "2025-03-31T12:00:00Z", 86400, "Europe/Zurich"),
                                ReadRetention{400, 400}, DayZone(), kNow);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->edges, (std::vector<absl::Time>{At("2025-03-28T23:00:00Z"), At("2025-03-29T23:00:00Z"),
                                                  At("2025-03-30T22:00:00Z"), At("2025-03-31T22:00:00Z")}));
  EXPECT_EQ(plan->resolution, Resolution::k1h);
}

std::string Text(const columns::Cells& cells) {
  std::string text;
  int level = -1, count = 0;
  const auto flush = [&] {
    if (count > 0) text += std::to_string(count) + (level == 0 ? " raw " : level == 1 ? " hours " : " days ");
    count = 0;
  };
  for (const columns::Cell& cell : cells) {
    if (cell.level != level) flush();
    level = cell.level;
    ++count;
  }
  flush();
  return text;
}

TEST(PlanBuckets, OffsetsOfHalfAnHourTakeRawEdges) {
  const auto plan = PlanBuckets(Request("2025-12-29T00:00:00Z", "2025-12-31T00:00:00Z", 86400, "Asia/Kolkata"),
                                ReadRetention(), DayZone(), kNow);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->start(), At("2025-12-28T18:30:00Z"));
  EXPECT_EQ(plan->resolution, Resolution::kRaw);
  EXPECT_EQ(Text(CellsOfIncreases(*plan)), "1 raw 23 hours 2 raw 23 hours 2 raw 23 hours 1 raw ");
}

TEST(PlanBuckets, DaysOfTheConfiguredZoneOutliveRawRows) {
  const RangeRequest old = Request("2025-10-01T00:00:00Z", "2025-10-20T00:00:00Z", 86400, "Europe/Zurich");
  EXPECT_THAT(PlanBuckets(old, ReadRetention(), DayZone(), kNow),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("only days of UTC")));
  absl::TimeZone zurich;
  ASSERT_TRUE(absl::LoadTimeZone("Europe/Zurich", &zurich));
  const auto plan = PlanBuckets(old, ReadRetention(), {"Europe/Zurich", zurich}, kNow);
  ASSERT_THAT(plan, IsOk());
  EXPECT_TRUE(plan->zone_days);
  for (const columns::Cell& cell : CellsOfIncreases(*plan)) EXPECT_EQ(cell.level, 3);
}

TEST(PlanBuckets, DaysOfAZoneThatWasSetLaterAreNotTakenBefore) {
  DayZone zone{"Europe/Zurich", {}, At("2025-12-10T12:00:00Z")};
  ASSERT_TRUE(absl::LoadTimeZone(zone.name, &zone.zone));
  const auto plan = [&](const char* start) {
    return PlanBuckets(Request(start, "2025-12-30T23:00:00Z", 86400, zone.name), ReadRetention(), zone, kNow);
  };
  // The day of the change began before it.
  const auto across = plan("2025-12-10T13:00:00Z");
  ASSERT_THAT(across, IsOk());
  EXPECT_FALSE(across->zone_days);
  for (const columns::Cell& cell : CellsOfIncreases(*across)) EXPECT_LT(cell.level, 2);
  const auto behind = plan("2025-12-11T00:00:00Z");
  ASSERT_THAT(behind, IsOk());
  EXPECT_TRUE(behind->zone_days);
  EXPECT_THAT(plan("2025-11-01T00:00:00Z"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("was set to Europe/Zurich later, and its days are kept from 2025-12-10 on")));
}

TEST(Cells, WithoutHoursAreTheSamePiecesFromRawRows) {
  for (const char* end : {"2025-12-30T20:00:00Z", "2025-12-31T20:00:00Z", "2026-01-10T20:00:00Z"}) {
    const auto plan = PlanWholeRange(At("2025-12-29T10:30:00Z"), At(end), ReadRetention(), kNow);
    ASSERT_THAT(plan, IsOk());
    const auto expect_same = [&](columns::Cells with, const columns::Cells& without) {
      size_t hours = 0;
      for (columns::Cell& cell : with) {
        if (cell.level != 1) continue;
        cell.level = 0;
        ++hours;
      }
      EXPECT_GT(hours, 0u);
      ASSERT_EQ(with.size(), without.size());
      for (size_t i = 0; i < with.size(); ++i) {
        EXPECT_EQ(with[i].start_us, without[i].start_us);
        EXPECT_EQ(with[i].end_us, without[i].end_us);
        EXPECT_EQ(with[i].bucket, without[i].bucket);
        EXPECT_EQ(with[i].level, without[i].level);
      }
    };
    expect_same(CellsOfIncreases(*plan), CellsOfIncreases(*plan, false));
    expect_same(CellsOfReadings(*plan, absl::Hours(25)), CellsOfReadings(*plan, absl::Hours(25), false));
  }
}

TEST(CellsOfIncreases, LongRangesReadHoursAndDays) {
  const auto cells = [](const std::string& start, const std::string& end) {
    return Text(CellsOfIncreases(*PlanWholeRange(At(start), At(end), ReadRetention(), kNow)));
  };
  EXPECT_EQ(cells("2025-12-30T10:30:00Z", "2025-12-30T20:00:00Z"), "1 raw ");
  EXPECT_EQ(cells("2025-12-30T10:30:00Z", "2025-12-31T20:00:00Z"), "34 hours ");
  EXPECT_EQ(cells("2025-12-20T22:30:00Z", "2025-12-30T01:10:00Z"), "2 hours 9 days 1 hours 1 raw ");
}

TEST(CellsOfReadings, LookBackByHoursAndCutRawPiecesAtHours) {
  const auto plan =
      PlanBuckets(Request("2025-12-31T10:20:00Z", "2025-12-31T12:40:00Z", 1200), ReadRetention(), DayZone(), kNow);
  ASSERT_THAT(plan, IsOk());
  const columns::Cells cells = CellsOfReadings(*plan, absl::Hours(25));
  EXPECT_EQ(Text(cells), "25 hours 8 raw ");
  EXPECT_EQ(cells[24].bucket, -1);
  EXPECT_EQ(cells[25].bucket, -1) << "from the full hour to the start";
  EXPECT_EQ(cells[26].bucket, 0);
}

TEST(Cells, CoverThePlanWithoutGaps) {
  std::mt19937_64 random(5);
  const std::vector<std::string> zones = {"Europe/Zurich", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"};
  for (int round = 0; round < 300; ++round) {
    const absl::Time start = At("2025-03-01T00:00:00Z") + absl::Seconds(static_cast<int64_t>(random() % 20000000));
    const std::vector<int64_t> steps = {1200, 3600, 21600, 86400};
    const RangeRequest request{start, start + absl::Seconds(static_cast<int64_t>(1 + random() % 1864000)),
                               steps[random() % steps.size()], zones[random() % zones.size()]};
    DayZone zone{"Europe/Zurich", {}};
    ASSERT_TRUE(absl::LoadTimeZone(zone.name, &zone.zone));
    const auto plan = PlanBuckets(request, ReadRetention{800, 800}, zone, kNow);
    ASSERT_THAT(plan, IsOk());
    for (const columns::Cells& cells : {CellsOfIncreases(*plan), CellsOfReadings(*plan, absl::ZeroDuration())}) {
      ASSERT_EQ(cells.front().start_us, absl::ToUnixMicros(plan->start()));
      ASSERT_EQ(cells.back().end_us, absl::ToUnixMicros(plan->end()));
      for (size_t i = 0; i < cells.size(); ++i) {
        ASSERT_LT(cells[i].start_us, cells[i].end_us);
        ASSERT_TRUE(i == 0 || cells[i].start_us == cells[i - 1].end_us);
        ASSERT_EQ(cells[i].bucket, BucketOf(plan->edges, absl::FromUnixMicros(cells[i].start_us)));
        ASSERT_EQ(cells[i].bucket, BucketOf(plan->edges, absl::FromUnixMicros(cells[i].end_us - 1)));
      }
    }
  }
}

TEST(PlanBuckets, RepeatedHourIsTwoBuckets) {
  // Summer time ends on 2025-10-26 at 03:00 local time.
  const auto plan = PlanBuckets(Request("2025-10-25T22:00:00Z", "2025-10-26T04:00:00Z", 3600, "Europe/Zurich"),
                                ReadRetention{400, 400}, DayZone(), kNow);
  ASSERT_THAT(plan, IsOk());
  EXPECT_EQ(plan->buckets(), 6);
  for (int i = 0; i < plan->buckets(); ++i) {
    EXPECT_EQ(plan->edges[static_cast<size_t>(i) + 1] - plan->edges[static_cast<size_t>(i)], absl::Hours(1)) << i;
  }
}

TEST(PlanBuckets, EdgesGrowAndCoverTheRangeInEveryZone) {
  std::mt19937_64 random(7);
  const std::vector<std::string> zones = {"Europe/Zurich",
                                          "America/New_York",
                                          "Australia/Lord_Howe",
                                          "Asia/Kathmandu",
                                          "America/St_Johns",
                                          "Pacific/Apia",
                                          "UTC"};
  for (int round = 0; round < 2000; ++round) {
    const absl::Time start = At("2025-01-01T00:00:00Z") + absl::Seconds(static_cast<int64_t>(random() % 31000000));
    RangeRequest request{start, start + absl::Seconds(static_cast<int64_t>(1 + random() % 864000)), 0,
                         zones[random() % zones.size()]};
    const std::vector<int64_t> steps = {3600, 7200, 10800, 14400, 21600, 28800, 43200, 86400};
    request.step_seconds = steps[random() % steps.size()];
    const auto plan = PlanBuckets(request, ReadRetention{800, 800}, DayZone(), kNow);
    ASSERT_THAT(plan, IsOk());
    ASSERT_LE(plan->start(), request.start);
    ASSERT_GE(plan->end(), request.end);
    for (size_t i = 0; i + 1 < plan->edges.size(); ++i) ASSERT_LT(plan->edges[i], plan->edges[i + 1]);
    ASSERT_LT(request.start, plan->edges[1]) << request.time_zone;
    ASSERT_GT(request.end, plan->edges[plan->edges.size() - 2]) << request.time_zone;
  }
}

TEST(PlanWholeRange, WidensToWholeMinutesOrHoursOrToWhatIsKept) {
  const auto recent = PlanWholeRange(At("2025-12-31T10:00:30.5Z"), At("2025-12-31T11:59:59Z"), ReadRetention(), kNow);
  ASSERT_THAT(recent, IsOk());
  EXPECT_EQ(recent->edges, (std::vector<absl::Time>{At("2025-12-31T10:00:00Z"), At("2025-12-31T12:00:00Z")}));
  const auto day = PlanWholeRange(At("2025-12-30T10:59:30Z"), At("2025-12-31T11:01:30Z"), ReadRetention(), kNow);
  ASSERT_THAT(day, IsOk());
  EXPECT_EQ(day->edges, (std::vector<absl::Time>{At("2025-12-30T10:00:00Z"), At("2025-12-31T11:02:00Z")}));
  const auto less = PlanWholeRange(At("2025-12-30T10:59:30Z"), At("2025-12-31T10:59:29Z"), ReadRetention(), kNow);
  ASSERT_THAT(less, IsOk());
  EXPECT_EQ(less->start(), At("2025-12-30T10:59:00Z"));
  const auto old = PlanWholeRange(At("2025-06-01T10:10:00Z"), At("2025-06-02T00:00:00Z"), ReadRetention(), kNow);
  ASSERT_THAT(old, IsOk());
  EXPECT_EQ(old->start(), At("2025-06-01T00:00:00Z"));
  EXPECT_EQ(old->resolution, Resolution::k1d);
}

TEST(BucketOf, IsHalfOpen) {
  const std::vector<absl::Time> edges = {At("2025-12-31T10:00:00Z"), At("2025-12-31T11:00:00Z"),
                                         At("2025-12-31T12:00:00Z")};
  EXPECT_EQ(BucketOf(edges, edges[0] - absl::Microseconds(1)), -1);
  EXPECT_EQ(BucketOf(edges, edges[0]), 0);
  EXPECT_EQ(BucketOf(edges, edges[1]), 1);
  EXPECT_EQ(BucketOf(edges, edges[2]), -1);
}

}  // namespace
}  // namespace pga::storage
