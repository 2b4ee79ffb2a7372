// A metrics database with two metrics and what upkeep does to it. Tests only.
#pragma once

#include <gtest/gtest.h>

#include <random>

#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/storage/upkeep/span.h"
#include "libs/storage/upkeep/upkeep.h"
#include "libs/storage/upkeep/upkeep_testing.h"

namespace pga::storage {

// The start of today, so that retention by the server's clock does not reach what tests store.
inline absl::Time Today() {
  return absl::FromUnixMicros(FloorTo(absl::ToUnixMicros(clock::WallNow()), kDayMicros));
}

// A frame of each minute from 17 seconds before `from` on.
inline std::vector<TestFrame> Minutes(int32_t source, int16_t metric, absl::Time from, int minutes, int rows,
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

}  // namespace pga::storage
