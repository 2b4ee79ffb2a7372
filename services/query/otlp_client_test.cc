#include "services/query/otlp_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "libs/clock/fake_clock.h"
#include "libs/status/testing.h"
#include "libs/testing/temp_dir.h"
#include "services/query/otlp_receiver_testing.h"

namespace pga::query {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

const absl::Time kNow = absl::FromUnixSeconds(1767270630);

TEST(ParseOtlpEndpoint, IsAUrlWithoutAPath) {
  EXPECT_EQ(ParseOtlpEndpoint("http://collector:4317")->address, "collector:4317");
  EXPECT_FALSE(ParseOtlpEndpoint("http://collector:4317")->tls);
  EXPECT_EQ(ParseOtlpEndpoint("https://otel.example.com/")->address, "otel.example.com:4317");
  EXPECT_TRUE(ParseOtlpEndpoint("https://otel.example.com")->tls);
  EXPECT_EQ(ParseOtlpEndpoint("http://[::1]")->address, "[::1]:4317");
  EXPECT_EQ(ParseOtlpEndpoint("http://[::1]:9")->address, "[::1]:9");
  for (const char* bad : {"", "collector:4317", "http://", "http://host/v1/metrics", "http://a@b", "ftp://host"}) {
    EXPECT_THAT(ParseOtlpEndpoint(bad), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

TEST(ParseOtlpHeaders, AreLinesOfNameAndValue) {
  const auto headers = ParseOtlpHeaders("# who\nAuthorization: Bearer abc:def\n\n x-scope : one \r\n");
  ASSERT_THAT(headers, IsOk());
  EXPECT_THAT(*headers, ElementsAre(Pair("authorization", "Bearer abc:def"), Pair("x-scope", "one")));
  const auto bad = ParseOtlpHeaders("a: b\nsecret-without-colon\n");
  EXPECT_THAT(bad, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("line 2")));
  EXPECT_THAT(bad.status().ToString(), ::testing::Not(HasSubstr("secret")));
  for (const char* text : {":a: b", "a:", "grpc-timeout: 1", "key-bin: x", "a b: c", "a: \x01"}) {
    EXPECT_THAT(ParseOtlpHeaders(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  EXPECT_THAT(ParseOtlpHeaders(std::string(70'000, '\n')), StatusIs(absl::StatusCode::kInvalidArgument));
}

class OtlpExporterTest : public ::testing::Test {
 protected:
  void SetUp() override { options_.endpoint = receiver_.endpoint(); }

  // One database of one source.
  absl::StatusOr<OtlpExporter::Readings> Readings(const std::vector<storage::LastWanted>& wanted) {
    OtlpExporter::Readings readings;
    readings.sources = {{1, "u1", "one", "default"}};
    readings.values.assign(wanted.size(), std::vector<storage::LastSource>(1));
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (wanted[i].metric->name() != "database") continue;
      storage::LastScope scope;
      scope.newest_us = absl::ToUnixMicros(clock_.Now()) - 1'000'000;
      storage::LastRow& row = scope.rows["key"];
      row.labels = {"shop"};
      row.values.assign(wanted[i].values.size(), 5);
      readings.values[i][0].push_back(std::make_shared<const storage::LastScope>(std::move(scope)));
    }
    return readings;
  }
  std::unique_ptr<OtlpExporter> Start(OtlpExporter::Reader read = nullptr) {
    if (read == nullptr) {
      read = [this](const std::vector<storage::LastWanted>& wanted, const pg::CallLimit&) { return Readings(wanted); };
    }
    auto exporter = OtlpExporter::Create(options_, *OtlpMetrics::Create(*catalog::Catalog::Builtin()), std::move(read),
                                         &registry_, &clock_);
    EXPECT_THAT(exporter, IsOk());
    return exporter.ok() ? *std::move(exporter) : nullptr;
  }
  static clock::SteadyTime Soon() { return clock::SteadyNow() + absl::Seconds(30); }

  OtlpReceiver receiver_;
  OtlpOptions options_;
  clock::FakeClock clock_{kNow};
  metrics::Registry registry_{false};
};

TEST_F(OtlpExporterTest, PushesWhatWasReadWithItsHeaders) {
  testing::ScopedTempDir dir;
  options_.headers_file = dir / "headers";
  std::ofstream(options_.headers_file) << "authorization: Bearer first\n";
  const auto exporter = Start();
  ASSERT_TRUE(exporter->PushNow(Soon()));
  const auto requests = receiver_.requests();
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_GT(PointsOf(requests[0]), 10);
  EXPECT_EQ(requests[0].resource_metrics(0).scope_metrics(0).scope().name(), "pganalytics");
  EXPECT_THAT(receiver_.metadata(), Contains(Pair("authorization", "Bearer first")));
  // A token that was changed goes along with the next push.
  std::ofstream(options_.headers_file) << "authorization: Bearer second\n";
  ASSERT_TRUE(exporter->PushNow(Soon()));
  EXPECT_THAT(receiver_.metadata(), Contains(Pair("authorization", "Bearer second")));
  EXPECT_THAT(registry_.Render(), AllOf(HasSubstr("pga_query_otlp_pushes_total{outcome=\"ok\"} 2\n"),
                                        HasSubstr("pga_query_otlp_pushes_total{outcome=\"failed\"} 0\n"),
                                        HasSubstr("pga_query_otlp_last_success_seconds 1767270630\n")));
}

TEST_F(OtlpExporterTest, WhatIsAwayForAMomentIsAskedAgain) {
  receiver_.AnswerNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "starting"));
  const auto exporter = Start();
  ASSERT_TRUE(exporter->PushNow(Soon()));
  EXPECT_EQ(receiver_.calls(), 2);
  EXPECT_EQ(receiver_.requests().size(), 1u);
  EXPECT_THAT(registry_.Render(), HasSubstr("pga_query_otlp_pushes_total{outcome=\"ok\"} 1\n"));
}

TEST_F(OtlpExporterTest, WhatIsRefusedIsNotSentAgain) {
  receiver_.AnswerNext(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "no"));
  receiver_.AnswerNext(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full"));
  receiver_.AnswerNext(grpc::Status::OK, 3);
  const auto exporter = Start();
  ASSERT_TRUE(exporter->PushNow(Soon()));
  EXPECT_EQ(receiver_.calls(), 1);
  // Full, without a word of when: the next push has newer figures.
  ASSERT_TRUE(exporter->PushNow(Soon()));
  EXPECT_EQ(receiver_.calls(), 2);
  EXPECT_TRUE(receiver_.requests().empty());
  ASSERT_TRUE(exporter->PushNow(Soon()));
  EXPECT_THAT(registry_.Render(), AllOf(HasSubstr("pga_query_otlp_pushes_total{outcome=\"failed\"} 2\n"),
                                        HasSubstr("pga_query_otlp_rejected_points_total 3\n")));
}

TEST_F(OtlpExporterTest, AStopEndsAPushThatWaits) {
  absl::Notification reading;
  auto exporter = Start([&](const std::vector<storage::LastWanted>& wanted, const pg::CallLimit& limit) {
    if (!reading.HasBeenNotified()) reading.Notify();
    return limit.Check().ok() ? Readings(wanted) : absl::StatusOr<OtlpExporter::Readings>(limit.Check());
  });
  for (int i = 0; i < 5; ++i) receiver_.AnswerNext(grpc::Status(grpc::StatusCode::UNAVAILABLE, "away"));
  std::thread push([&] { exporter->PushNow(Soon()); });
  reading.WaitForNotification();
  exporter->Stop();
  push.join();
  EXPECT_TRUE(receiver_.requests().empty());
}

TEST_F(OtlpExporterTest, WhatIsOfNoUseIsRefusedAtTheStart) {
  const auto create = [&] {
    return OtlpExporter::Create(
               options_, *OtlpMetrics::Create(*catalog::Catalog::Builtin()),
               [this](const auto& wanted, const auto&) { return Readings(wanted); }, &registry_, &clock_)
        .status();
  };
  options_.headers_file = "/nowhere/headers";
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("OTLP_HEADERS_FILE")));
  options_.headers_file.clear();
  options_.endpoint = "collector";
  EXPECT_THAT(create(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("OTLP_ENDPOINT")));
  options_.endpoint = "https://collector";
  options_.ca_file = "/nowhere/ca.pem";
  EXPECT_FALSE(create().ok());
}

}  // namespace
}  // namespace pga::query
