// Forecasts over stored frames, against lines that are known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pganalytics/query/v1/advice_service.grpc.pb.h"
#include "services/query/query_testing.h"

namespace pga::query {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;

// 40 hours of two filesystems up to 12:30: one loses 100 bytes an hour and has 1,000 left at the last reading, one
// stays. A third one was read for two hours.
void Store() {
  static const bool once = [] {
    std::vector<storage::StoredFrame> frames;
    const absl::Time last = kHour + absl::Minutes(30);
    for (int i = 240; i >= 0; --i) {
      storage::StoredFrame frame;
      frame.end = last - absl::Minutes(10) * i;
      frame.start = frame.end - absl::Minutes(10);
      const auto row = [](const char* mount, int64_t available) {
        return storage::StoredRow{
            {{"device", "d"}, {"mountpoint", mount}, {"fstype", "ext4"}, {"available_bytes", available}}, 0};
      };
      frame.rows = {row("/falls", 1000 + i * 100 / 6), row("/stays", 5000)};
      if (i < 12) frame.rows.push_back(row("/young", 10 * i));
      frames.push_back(frame);
    }
    Suite::Get().StoreFrames("host_filesystem", frames);
    return true;
  }();
  EXPECT_TRUE(once);
}

absl::StatusOr<pb::ForecastResponse> Ask(const std::string& mount, double limit) {
  Store();
  pb::ForecastRequest request;
  request.set_metric("host_filesystem");
  request.set_column("available_bytes");
  request.set_limit_value(limit);
  request.add_filter("mountpoint=" + mount);
  request.add_source("prod");
  request.set_hours(48);
  return rpc::Call(Suite::Get().advice(), &pb::AdviceService::Stub::Forecast, request, Suite::Get().Options());
}

TEST(Forecast, ALineReachesItsLimitWhenItDoes) {
  const auto answer = Ask("/falls", 0);
  ASSERT_THAT(answer, status::IsOk());
  ASSERT_EQ(answer->series_size(), 1);
  const pb::ForecastSeries& series = answer->series(0);
  EXPECT_EQ(series.source_name(), "prod");
  EXPECT_EQ(series.method(), "theil_sen");
  EXPECT_EQ(series.unit(), "bytes");
  EXPECT_EQ(series.not_judged(), "");
  EXPECT_THAT(series.per_hour(), DoubleNear(-100, 0.5));
  EXPECT_THAT(series.now(), DoubleNear(1000, 60));
  EXPECT_LT(series.residual(), 20);
  // 1,000 bytes at 100 an hour: ten hours after the last reading.
  ASSERT_TRUE(series.has_at());
  const double hours = static_cast<double>(series.at().seconds() - absl::ToUnixSeconds(kHour)) / 3600;
  EXPECT_THAT(hours, DoubleNear(10.25, 0.75));
  EXPECT_LE(series.earliest().seconds(), series.at().seconds());
  EXPECT_GE(series.latest().seconds(), series.at().seconds());
}

TEST(Forecast, WhatStaysReachesNothing) {
  const auto answer = Ask("/stays", 0);
  ASSERT_THAT(answer, status::IsOk());
  ASSERT_EQ(answer->series_size(), 1);
  EXPECT_EQ(answer->series(0).per_hour(), 0);
  EXPECT_FALSE(answer->series(0).has_at());
}

TEST(Forecast, TooLittleHistoryIsSaid) {
  const auto answer = Ask("/young", 0);
  ASSERT_THAT(answer, status::IsOk());
  ASSERT_EQ(answer->series_size(), 1);
  EXPECT_THAT(answer->series(0).not_judged(), HasSubstr("too little history: 3 hours"));
  EXPECT_FALSE(answer->series(0).has_at());
  EXPECT_FALSE(answer->series(0).has_per_hour());
}

TEST(Forecast, RefusesWhatMakesNoSense) {
  pb::ForecastRequest request;
  request.set_metric("host_filesystem");
  request.set_column("available_bytes");
  request.set_hours(5);
  EXPECT_EQ(rpc::Call(Suite::Get().advice(), &pb::AdviceService::Stub::Forecast, request, Suite::Get().Options())
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  request.set_hours(48);
  request.set_metric("nonsense");
  EXPECT_FALSE(
      rpc::Call(Suite::Get().advice(), &pb::AdviceService::Stub::Forecast, request, Suite::Get().Options()).ok());
}

}  // namespace
}  // namespace pga::query
