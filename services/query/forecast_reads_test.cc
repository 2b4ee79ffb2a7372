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

// A server that reads its buffers anew again and again, and the host that it runs on.
TEST(FindAdvice, KnowsTheMemoryOfTheHost) {
  Suite& suite = Suite::Get();
  constexpr char kServer[] = "00000000-0000-0000-0002-000000000097";
  constexpr char kHost[] = "00000000-0000-0000-0002-000000000098";
  suite.Exec(
      "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES ($1::int4, $2::uuid, 'small', 1, "
      "'default'), ($3::int4, $4::uuid, 'its-host', 1, 'default')",
      {97, kServer, 98, kHost});
  const absl::Time end = kHour + absl::Minutes(30);
  const auto frame = [&](int source, std::vector<storage::StoredRow> rows) {
    return storage::StoredFrame{
        .source = source, .start = end - absl::Hours(1), .end = end, .keyframe = false, .rows = std::move(rows)};
  };
  // 16 MiB of buffers, 8 GiB read, a tenth of accesses finds its block.
  suite.StoreFrames(
      "database",
      {frame(97, {{{{"datname", "shop"}, {"blks_read", int64_t{1} << 20}, {"blks_hit", int64_t{100'000}}}, 0}})});
  storage::StoredFrame settings = frame(97, {{{{"setting_name", "shared_buffers"},
                                               {"setting_value", "2048"},
                                               {"setting_unit", "8kB"},
                                               {"pending_restart", int64_t{0}}},
                                              0}});
  settings.start = settings.end;
  settings.keyframe = true;
  suite.StoreFrames("settings", {settings});
  suite.StoreFrames("host_memory", {frame(98, {{{{"total_bytes", int64_t{4} << 30}}, 0}})});
  const auto find = [&](const std::string& host) {
    pb::FindAdviceRequest request;
    pb::AdviceSource* const one = request.add_sources();
    one->set_source_id(kServer);
    one->set_host_source_id(host);
    request.set_kind("setting_shared_buffers");
    rpc::CallOptions options = Suite::Anonymous();
    const auto identity = suite.Identity("ruler");
    options.identity = identity.get();
    return rpc::Call(suite.advice(), &pb::AdviceService::Stub::FindAdvice, request, options);
  };
  const auto known = find(kHost);
  ASSERT_THAT(known, status::IsOk());
  ASSERT_EQ(known->advice_size(), 1);
  EXPECT_EQ(known->advice(0).command(), "ALTER SYSTEM SET shared_buffers = '1024MB';");
  EXPECT_EQ(known->not_judged_size(), 0);
  const auto unknown = find("");
  ASSERT_THAT(unknown, status::IsOk());
  EXPECT_EQ(unknown->advice_size(), 0);
  ASSERT_EQ(unknown->not_judged_size(), 1);
  EXPECT_THAT(unknown->not_judged(0).why(), HasSubstr("its host is not watched"));
}

}  // namespace
}  // namespace pga::query
