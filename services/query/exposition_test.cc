#include "services/query/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "libs/status/testing.h"
#include "services/query/prometheus_rows.h"

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

  // The same rows of both sources; of the second one they are old.
  void Add(const char* metric, const std::map<std::string, std::string>& row) { Add(names_->Find(metric), {row}); }
  void Add(const catalog::PrometheusMetric* entry, const std::vector<std::map<std::string, std::string>>& rows) {
    ASSERT_NE(entry, nullptr);
    storage::LastScope scope;
    scope.newest_us = kNowUs - kMinuteUs;
    scope.length_us = kMinuteUs;
    const storage::LastWanted wanted = WantedOf(*entry);
    for (const auto& row : rows) {
      storage::LastRow& to = scope.rows["key" + std::to_string(scope.rows.size())];
      for (const int column : wanted.labels) {
        const auto value = row.find(entry->metric->columns(column).name());
        to.labels.push_back(value == row.end() ? "" : value->second);
      }
      for (const int column : wanted.values) {
        const auto value = row.find(entry->metric->columns(column).name());
        to.values.push_back(value == row.end() ? std::nan("") : std::stod(value->second));
      }
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

// The entry of a metric that has a series of this name.
const catalog::PrometheusMetric* EntryOf(const catalog::PrometheusNames& names, const std::string& series) {
  for (const catalog::PrometheusMetric& entry : names.metrics()) {
    for (const catalog::PrometheusSeries& one : entry.series) {
      if (one.name == series) return &entry;
    }
  }
  return nullptr;
}

TEST_F(ExpositionTest, RowsThatAgreeInTheirLabelsAreJoined) {
  const std::map<std::string, std::string> row = {
      {"datname", "shop"}, {"state", "active"}, {"query_id", "1"}, {"sessions_avg", "1.5"}, {"max_xact_age_us", "2e6"}};
  std::map<std::string, std::string> other = row, idle = row;
  other["query_id"] = "2";
  other["sessions_avg"] = "0.25";
  other["max_xact_age_us"] = "7e6";
  idle["state"] = "idle";
  idle.erase("max_xact_age_us");
  Add(EntryOf(*names_, "pg_stat_activity_count"), {row, other, idle});
  Add(EntryOf(*names_, "pg_stat_activity_max_tx_duration"), {row, other, idle});
  Add(EntryOf(*names_, "pg_long_running_transactions"), {row, other});
  const std::string text = Write();
  EXPECT_THAT(text, HasSubstr("datname=\"shop\",state=\"active\"} 1.75\n"));
  EXPECT_THAT(text, HasSubstr("datname=\"shop\",state=\"idle\"} 1.5\n"));
  EXPECT_THAT(text, HasSubstr("datname=\"shop\",state=\"active\"} 7\n"));
  EXPECT_THAT(text,
              Not(HasSubstr("pg_stat_activity_max_tx_duration{source=\"shop \\\"one\\\"\",source_group=\"default\","
                            "server=\"shop \\\"one\\\"\",datname=\"shop\",state=\"idle\"")));
  EXPECT_THAT(text, HasSubstr("server=\"shop \\\"one\\\"\"} 2\n# HELP pganalytics_export_series "));
}

TEST_F(ExpositionTest, WhereRowsAreCountedNoneIsZero) {
  Add(EntryOf(*names_, "pg_long_running_transactions"), {});
  EXPECT_THAT(Write(), HasSubstr("pg_long_running_transactions{source=\"shop \\\"one\\\"\",source_group=\"default\","
                                 "server=\"shop \\\"one\\\"\"} 0\n"));
}

TEST_F(ExpositionTest, RowsMayHaveNamesOfTheirOwn) {
  const auto setting = [](const char* name, const char* value, const char* unit, const char* type) {
    return std::map<std::string, std::string>{
        {"setting_name", name}, {"setting_value", value}, {"setting_unit", unit}, {"vartype", type}};
  };
  Add(names_->Find("settings"),
      {setting("shared_buffers", "16384", "8kB", "integer"), setting("fsync", "on", "", "bool"),
       setting("log_min_duration_statement", "-1", "ms", "integer"),
       setting("checkpoint_timeout", "300", "s", "integer"), setting("random_page_cost", "1.1", "", "real"),
       setting("pg_stat_statements.max", "5000", "", "integer"), setting("bonjour_name", "x", "", "string"),
       setting("broken", "", "kB", "integer"), setting("unheard", "1", "parsec", "integer")});
  const std::string text = Write();
  const std::string source = "{source=\"shop \\\"one\\\"\",source_group=\"default\",server=\"shop \\\"one\\\"\"}";
  EXPECT_THAT(text, HasSubstr("# TYPE pg_settings_shared_buffers_bytes gauge\npg_settings_shared_buffers_bytes" +
                              source + " 134217728\n"));
  EXPECT_THAT(text, HasSubstr("pg_settings_fsync" + source + " 1\n"));
  EXPECT_THAT(text, HasSubstr("pg_settings_log_min_duration_statement_seconds" + source + " -1\n"));
  EXPECT_THAT(text, HasSubstr("pg_settings_checkpoint_timeout_seconds" + source + " 300\n"));
  EXPECT_THAT(text, HasSubstr("pg_settings_random_page_cost" + source + " 1.1\n"));
  EXPECT_THAT(text, HasSubstr("pg_settings_pg_stat_statements_max" + source + " 5000\n"));
  for (const char* none : {"bonjour", "broken", "unheard"}) EXPECT_THAT(text, Not(HasSubstr(none)));
  EXPECT_THAT(text, HasSubstr("pganalytics_export_series" + source + " 8\n"));
}

TEST_F(ExpositionTest, LabelsMayBeInSmallLetters) {
  Add("locks", {{"datname", "shop"}, {"lock_mode", "AccessShareLock"}, {"is_granted", "true"}, {"locks", "3"}});
  EXPECT_THAT(Write(), HasSubstr("mode=\"accesssharelock\",is_granted=\"true\"} 3\n"));
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
