#include "libs/storage/read/expiry.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "libs/storage/upkeep/span.h"

namespace pga::storage {
namespace {

constexpr int64_t kMinute = kHourMicros / 60;

int64_t Micros(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M", text, absl::UTCTimeZone(), &time, &error)) << error;
  return absl::ToUnixMicros(time);
}

int64_t Day(const std::string& text) {
  return Micros(text + " 00:00") / kDayMicros;
}

// 2026-11-23 is a Monday.
const std::string kMonday = "2026-11-23";

struct EdgeCase {
  std::string name;
  int level;
  bool long_blocks;
  std::string start, end;
  int64_t least, most;
  std::string today;
  std::string first, last;
};

class ExpiryEdge : public ::testing::TestWithParam<EdgeCase> {};

TEST_P(ExpiryEdge, NamesTheDays) {
  const EdgeCase& of = GetParam();
  const bool daily = of.level >= kDayLevel;
  const Kept kept = daily ? Kept{1, 1, of.least, of.most} : Kept{of.least, of.most, 1, 1};
  const Expiry expiry = ExpiryOf(of.level, of.long_blocks, {Micros(of.start), Micros(of.end)}, kept, Day(of.today));
  EXPECT_EQ(expiry.first, Day(of.first));
  ASSERT_TRUE(expiry.last.has_value());
  EXPECT_EQ(*expiry.last, Day(of.last));
}

INSTANTIATE_TEST_SUITE_P(
    Days, ExpiryEdge,
    ::testing::Values(
        // One hour of a day, kept for 30 days: the 24th of December is its own day; two more for frames that end later.
        EdgeCase{"AnHour", kRawLevel, false, "2026-11-24 10:00", "2026-11-24 11:00", 30, 30, "2026-11-25", "2026-12-24",
                 "2026-12-26"},
        // Its last hour: a frame that is seen of it may end on the next day.
        EdgeCase{"TheLastHour", kRawLevel, false, "2026-11-24 22:00", "2026-11-24 23:00", 30, 30, "2026-11-25",
                 "2026-12-24", "2026-12-27"},
        EdgeCase{"OneMinuteLess", kRawLevel, false, "2026-11-24 22:00", "2026-11-24 22:59", 30, 30, "2026-11-25",
                 "2026-12-24", "2026-12-26"},
        EdgeCase{"Hours", kHourLevel, false, "2026-11-24 00:00", "2026-11-25 00:00", 30, 30, "2026-11-25", "2026-12-24",
                 "2026-12-27"},
        // Blocks written under a shorter and under a longer retention.
        EdgeCase{"TwoRetentions", kRawLevel, false, "2026-11-24 10:00", "2026-11-24 11:00", 7, 60, "2026-11-25",
                 "2026-12-01", "2027-01-25"},
        // Beyond 60 days up to six more, to the next Monday.
        EdgeCase{"Beyond60", kRawLevel, false, "2026-11-24 10:00", "2026-11-24 11:00", 61, 61, "2026-11-25",
                 "2027-01-24", "2027-02-01"},
        // What came late is kept until the day after it came.
        EdgeCase{"ExpiredWhenItCame", kRawLevel, false, "2026-09-01 10:00", "2026-09-01 11:00", 30, 30, "2026-11-25",
                 "2026-10-01", "2026-11-27"},
        // The outage that a long frame covers may have ended today.
        EdgeCase{"LongFrames", kRawLevel, true, "2026-11-01 10:00", "2026-11-01 11:00", 30, 30, "2026-11-25",
                 "2026-12-01", "2026-12-28"},
        // Days: the block is that of a week.
        EdgeCase{"AWeekOfDays", kDayLevel, false, "2026-11-23 00:00", "2026-11-30 00:00", 400, 400, "2026-12-01",
                 "2027-12-28", "2028-01-19"}),
    [](const auto& of) { return of.param.name; });

TEST(ExpiryTest, WithoutRetentionsNothingIsLeftOut) {
  const Expiry expiry = ExpiryOf(kRawLevel, false, {Micros("2026-11-24 10:00"), Micros("2026-11-24 11:00")},
                                 std::nullopt, Day("2026-11-25"));
  EXPECT_EQ(expiry.first, Day(kMonday));
  EXPECT_FALSE(expiry.last.has_value());
}

TEST(ExpiryTest, DaysBefore1970AreRoundedDown) {
  EXPECT_EQ(DayOf(-1), -1);
  EXPECT_EQ(DayOf(-kDayMicros), -1);
  EXPECT_EQ(DayOf(-kDayMicros - 1), -2);
  EXPECT_EQ(DayOf(kDayMicros - 1), 0);
}

// Whatever upkeep writes, and when it does, is found by every question that it reaches into.
TEST(ExpiryTest, EveryBlockThatReachesIntoASpanIsNamed) {
  std::mt19937_64 random(5);
  const auto below = [&](int64_t most) { return static_cast<int64_t>(random() % static_cast<uint64_t>(most)); };
  absl::TimeZone zones[4];
  const char* const names[4] = {"UTC", "Asia/Kolkata", "Pacific/Kiritimati", "America/St_Johns"};
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(absl::LoadTimeZone(names[i], &zones[i]));
  const int64_t base = Micros(kMonday + " 00:00");
  for (int round = 0; round < 200'000; ++round) {
    const int level = static_cast<int>(below(kLevels));
    const absl::TimeZone& zone = zones[below(4)];
    const bool long_frames = level == kRawLevel && below(3) == 0;
    // A frame, often near an edge of a day or week.
    int64_t end = base + below(30) * kDayMicros + (below(2) == 0 ? below(kDayMicros) : below(3) - 1);
    int64_t start = end - 1 - (long_frames ? kHourMicros + below(20 * kDayMicros) : below(kHourMicros));
    const Span piece = SpanOf(level, level == kRawLevel ? end : end - 1, zone);
    if (level != kRawLevel) {
      // The bucket that holds it.
      const std::vector<int64_t> edges = BucketEdges(level, piece, zone);
      const auto behind = std::upper_bound(edges.begin(), edges.end(), end - 1);
      start = *(behind - 1);
      end = *behind;
    }
    const int64_t written = DayOf(end) + below(50);
    const int64_t today = written + below(40);
    const int64_t least = 1 + below(100);
    const int64_t most = least + below(40);
    const auto kept_days = static_cast<int32_t>(least + below(most - least + 1));
    int64_t expires = ExpiresOn(level, piece, {kept_days, kept_days});
    if (level == kRawLevel) expires = std::max(expires, written + 1);
    // A question whose span the frame or bucket reaches into.
    const int64_t from = start - below(2 * kDayMicros) + below(end - start);
    const int64_t to = std::max(from, start) + 1 + (below(2) == 0 ? below(kMinute) : below(3 * kDayMicros));
    ASSERT_LT(start, to);
    ASSERT_LT(from, end);
    const Expiry expiry = ExpiryOf(level, long_frames, {from, to}, Kept{least, most, least, most}, today);
    ASSERT_LE(expiry.first, expires) << "round " << round << ", level " << level;
    ASSERT_GE(*expiry.last, expires) << "round " << round << ", level " << level << ", long " << long_frames;
  }
}

}  // namespace
}  // namespace pga::storage
