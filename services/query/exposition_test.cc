#include "services/query/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>

#include "libs/status/testing.h"

namespace pga::query {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kNowUs = int64_t{1'767'268'800} * 1'000'000;
constexpr int64_t kMinuteUs = 60'000'000;

TEST(FormatFor, IsWhatTheScraperPrefers) {
  EXPECT_EQ(FormatFor(""), ExpositionFormat::kText);
  EXPECT_EQ(FormatFor("*/*"), ExpositionFormat::kText);
  EXPECT_EQ(FormatFor("text/plain"), ExpositionFormat::kText);
  EXPECT_EQ(FormatFor("application/openmetrics-text"), ExpositionFormat::kOpenMetrics);
  EXPECT_EQ(FormatFor("Application/OpenMetrics-Text; version=1.0.0 , text/plain;q=0.5"),
            ExpositionFormat::kOpenMetrics);
  EXPECT_EQ(FormatFor("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                      "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"),
            ExpositionFormat::kOpenMetrics);
  EXPECT_EQ(FormatFor("application/openmetrics-text;q=0.4,text/plain;q=0.5"), ExpositionFormat::kText);
  EXPECT_EQ(FormatFor("application/openmetrics-text;q=0"), ExpositionFormat::kText);
  EXPECT_EQ(FormatFor("application/openmetrics-text-2"), ExpositionFormat::kText);
}

class ExpositionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    names_ = *catalog::PrometheusNames::Create(*catalog::Catalog::Builtin());
    exposition_.names = names_.get();
    exposition_.now_us = kNowUs;
    exposition_.max_series = 1000;
    exposition_.sources = {{1, "u1", "shop \"one\"", "default"}, {2, "u2", "two", "sales"}};
    Add("database", {{"datname", "a\\b"}, {"xact_commit", "12"}, {"blk_read_time_us", "1500"}});
  }

  // The same row of both sources; of the second one it is old.
  void Add(const char* metric, const std::map<std::string, std::string>& row) {
    const catalog::PrometheusMetric* const entry = names_->Find(metric);
    ASSERT_NE(entry, nullptr);
    storage::LastScope scope;
    scope.newest_us = kNowUs - kMinuteUs;
    scope.length_us = kMinuteUs;
    storage::LastRow& to = scope.rows["key"];
    for (const auto& label : entry->labels) {
      const auto value = row.find(entry->metric->columns(label.column).name());
      to.labels.push_back(value == row.end() ? "" : value->second);
    }
    for (const auto& series : entry->series) {
      const auto value = row.find(entry->metric->columns(series.column).name());
      to.values.push_back(value == row.end() ? std::nan("") : std::stod(value->second));
    }
    storage::LastScope old = scope;
    old.newest_us = kNowUs - 4 * kMinuteUs;
    exposition_.metrics.push_back(entry);
    values_.push_back(
        {{std::make_shared<const storage::LastScope>(scope)}, {std::make_shared<const storage::LastScope>(old)}});
  }

  std::string Write() {
    exposition_.values = &values_;
    exposition_.up = &values_[0];
    std::string text;
    EXPECT_THAT(WriteExposition(exposition_,
                                [&](std::string piece) {
                                  text += piece;
                                  return absl::OkStatus();
                                }),
                IsOk());
    return text;
  }

  std::shared_ptr<const catalog::PrometheusNames> names_;
  Exposition exposition_;
  std::vector<std::vector<storage::LastSource>> values_;
};

TEST_F(ExpositionTest, WritesTheTextFormat) {
  const std::string text = Write();
  EXPECT_THAT(
      text,
      AllOf(
          HasSubstr("# TYPE pg_stat_database_xact_commit counter\npg_stat_database_xact_commit{source=\"shop "
                    "\\\"one\\\"\",source_group=\"default\",server=\"shop \\\"one\\\"\",datname=\"a\\\\b\"} 12\n"),
          HasSubstr("pg_stat_database_blk_read_time{source=\"shop \\\"one\\\"\",source_group=\"default\",server=\"shop "
                    "\\\"one\\\"\",datname=\"a\\\\b\"} 1.5\n"),
          Not(HasSubstr("pg_stat_database_xact_rollback")), Not(HasSubstr("EOF"))));
}

TEST_F(ExpositionTest, OfASourceWithoutFreshReadingsIsOnlySaidThatItIsDown) {
  const std::string text = Write();
  EXPECT_THAT(text,
              HasSubstr("pg_up{source=\"shop \\\"one\\\"\",source_group=\"default\",server=\"shop \\\"one\\\"\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("pg_up{source=\"two\",source_group=\"sales\",server=\"two\"} 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("pg_stat_database_xact_commit{source=\"two\"")));
  EXPECT_THAT(text, HasSubstr("pganalytics_export_series{source=\"two\",source_group=\"sales\",server=\"two\"} 0\n"));
}

TEST_F(ExpositionTest, WritesOpenMetrics) {
  Add("host_cpu", {{"user_us", "2500000"}, {"load_1m", "0.25"}});
  exposition_.format = ExpositionFormat::kOpenMetrics;
  const std::string text = Write();
  EXPECT_THAT(text, HasSubstr("# TYPE pg_stat_database_xact_commit unknown\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE pganalytics_host_cpu_user_seconds counter\n"
                              "pganalytics_host_cpu_user_seconds_total{source="));
  EXPECT_THAT(text, HasSubstr("\"} 2.5\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE pganalytics_host_cpu_load_1m gauge\n"));
  EXPECT_THAT(text, EndsWith("# EOF\n"));
}

TEST_F(ExpositionTest, WhatIsBeyondTheBoundIsCountedAndLeftOut) {
  Add("host_cpu", {{"user_us", "1"}, {"load_1m", "1"}, {"cpus", "1"}});
  exposition_.max_series = 4;
  const std::string text = Write();
  const std::string source = "{source=\"shop \\\"one\\\"\",source_group=\"default\",server=\"shop \\\"one\\\"\"}";
  EXPECT_THAT(text, HasSubstr("pg_stat_database_xact_commit"));
  EXPECT_THAT(text, Not(HasSubstr("host_cpu_load_1m")));
  EXPECT_THAT(text, HasSubstr("pganalytics_export_series" + source + " 2\n"));
  EXPECT_THAT(text, HasSubstr("pganalytics_export_series_left_out" + source + " 3\n"));
}

TEST_F(ExpositionTest, EndsWhenTheReaderHasGone) {
  exposition_.values = &values_;
  exposition_.up = &values_[0];
  EXPECT_THAT(WriteExposition(exposition_, [](std::string) { return absl::CancelledError("gone"); }),
              StatusIs(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace pga::query
