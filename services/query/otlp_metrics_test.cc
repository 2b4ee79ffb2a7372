#include "services/query/otlp_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "libs/status/testing.h"

namespace pga::query {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

constexpr int64_t kNowUs = int64_t{1'767'268'800} * 1'000'000;
constexpr int64_t kMinuteUs = 60'000'000;

using Row = std::map<std::string, std::string>;

class OtlpMetricsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto metrics = OtlpMetrics::Create(*catalog::Catalog::Builtin());
    ASSERT_THAT(metrics, IsOk());
    metrics_ = *std::move(metrics);
    values_.assign(metrics_->wanted().size(), std::vector<storage::LastSource>(sources_.size()));
  }

  // Rows of a source, read so long ago.
  void Add(const char* metric, size_t source, const std::vector<Row>& rows, int64_t age_us = kMinuteUs) {
    for (size_t i = 0; i < metrics_->wanted().size(); ++i) {
      const storage::LastWanted& wanted = metrics_->wanted()[i];
      if (wanted.metric->name() != metric) continue;
      storage::LastScope scope;
      scope.newest_us = kNowUs - age_us;
      scope.length_us = kMinuteUs;
      for (const Row& row : rows) {
        storage::LastRow& to = scope.rows[absl::StrCat(scope.rows.size())];
        for (const int column : wanted.labels) {
          const auto text = row.find(wanted.metric->columns(column).name());
          to.labels.push_back(text == row.end() ? "" : text->second);
        }
        for (const int column : wanted.values) {
          const auto text = row.find(wanted.metric->columns(column).name());
          to.values.push_back(text == row.end() ? std::nan("") : std::stod(text->second));
        }
      }
      values_[i][source].push_back(std::make_shared<const storage::LastScope>(std::move(scope)));
      return;
    }
    FAIL() << metric;
  }

  std::vector<otlp::ExportMetricsServiceRequest> Write(int64_t max_points = 1000) {
    std::vector<otlp::ExportMetricsServiceRequest> requests;
    EXPECT_THAT(metrics_->Write(
                    sources_, values_, kNowUs, max_points,
                    [&](const otlp::ExportMetricsServiceRequest& request) {
                      requests.push_back(request);
                      return absl::OkStatus();
                    },
                    &left_out_),
                IsOk());
    return requests;
  }

  // Points of the first source: "name{attributes}" and the value.
  static std::map<std::string, double> Points(const otlp::ResourceMetrics& resource) {
    std::map<std::string, double> points;
    for (const auto& metric : resource.scope_metrics(0).metrics()) {
      for (const auto* of : {&metric.gauge().data_points(), &metric.sum().data_points()}) {
        for (const otlp::NumberDataPoint& point : *of) {
          std::string name = metric.name();
          for (const auto& pair : point.attributes())
            absl::StrAppend(&name, " ", pair.key(), "=", pair.value().string_value());
          EXPECT_EQ(point.time_unix_nano(), static_cast<uint64_t>(kNowUs) * 1000);
          points[name] = point.value_case() == otlp::NumberDataPoint::kAsInt ? static_cast<double>(point.as_int())
                                                                             : point.as_double();
        }
      }
    }
    return points;
  }

  const std::vector<storage::SourceRef> sources_ = {{1, "u1", "one", "default"}, {2, "u2", "two", "sales"}};
  std::unique_ptr<const OtlpMetrics> metrics_;
  std::vector<std::vector<storage::LastSource>> values_;
  int64_t left_out_ = 0;
};

TEST_F(OtlpMetricsTest, FiguresHaveNamesUnitsAndAttributesOfTheReceiver) {
  Add("database", 0,
      {{{"datname", "shop"}, {"xact_commit", "12"}, {"numbackends", "3"}, {"confl_lock", "1"}},
       {{"xact_commit", "9"}}});
  Add("table_stats", 0,
      {{{"datname", "shop"},
        {"schemaname", "public"},
        {"relname", "orders"},
        {"n_tup_ins", "7"},
        {"n_dead_tup", "2"}}});
  Add("checkpointer", 0, {{{"write_time_us", "2500"}, {"checkpoints_requested", "4"}}});
  const auto requests = Write();
  ASSERT_EQ(requests.size(), 1u);
  ASSERT_EQ(requests[0].resource_metrics_size(), 1);
  const otlp::ResourceMetrics& resource = requests[0].resource_metrics(0);
  std::vector<std::string> of_server;
  for (const auto& pair : resource.resource().attributes())
    of_server.push_back(pair.key() + "=" + pair.value().string_value());
  EXPECT_THAT(of_server, ElementsAre("service.instance.id=u1", "service.name=one", "service.namespace=default",
                                     "db.system.name=postgresql"));
  EXPECT_THAT(
      Points(resource),
      ElementsAre(Pair("postgresql.backends db.namespace=shop", 3),
                  Pair("postgresql.bgwriter.checkpoint.count type=requested", 4),
                  Pair("postgresql.bgwriter.duration type=write", 2.5),
                  Pair("postgresql.commits db.namespace=shop", 12),
                  Pair("postgresql.operations db.collection.name=orders db.namespace=shop|public operation=ins", 7),
                  Pair("postgresql.query.conflicts db.namespace=shop postgresql.conflict.type=lock", 1),
                  Pair("postgresql.rows db.collection.name=orders db.namespace=shop|public state=dead", 2),
                  Pair("postgresql.table.count db.namespace=shop", 1)));
  EXPECT_EQ(PointsOf(requests[0]), 8);
  for (const auto& metric : resource.scope_metrics(0).metrics()) {
    EXPECT_EQ(metric.sum().aggregation_temporality(), otlp::AGGREGATION_TEMPORALITY_CUMULATIVE) << metric.name();
    const bool amount = metric.name() == "postgresql.backends" || metric.name() == "postgresql.rows" ||
                        metric.name() == "postgresql.table.count";
    EXPECT_EQ(metric.sum().is_monotonic(), !amount) << metric.name();
    EXPECT_EQ(metric.unit() == "ms", metric.name() == "postgresql.bgwriter.duration") << metric.name();
  }
}

TEST_F(OtlpMetricsTest, RowsThatAgreeInTheirAttributesAreOnePoint) {
  const Row lock = {{"datname", "shop"},
                    {"lock_type", "relation"},
                    {"lock_mode", "ShareLock"},
                    {"is_granted", "true"},
                    {"locks", "3"}};
  Row waiting = lock;
  waiting["is_granted"] = "false";
  waiting["locks"] = "1";
  Add("locks", 0, {lock, waiting});
  Add("replication", 0,
      {{{"pid", "1"}, {"replay_lag_bytes", "10"}, {"replay_lag_us", "1500000"}},
       {{"pid", "2"}, {"replay_lag_bytes", "70"}}});
  Add("database_size", 0, {{{"datname", "a"}, {"size_bytes", "1"}}, {{"datname", "b"}, {"size_bytes", "2"}}});
  const auto points = Points(Write()[0].resource_metrics(0));
  EXPECT_THAT(points,
              Contains(Pair("postgresql.database.locks db.namespace=shop lock_type=relation mode=ShareLock", 4)));
  EXPECT_THAT(points, Contains(Pair("postgresql.replication.data_delay replication_client=unix", 70)));
  EXPECT_THAT(points, Contains(Pair("postgresql.wal.delay operation=replay replication_client=unix", 1.5)));
  EXPECT_THAT(points, Contains(Pair("postgresql.database.count", 2)));
}

TEST_F(OtlpMetricsTest, WhatIsOldOrUnknownOrBeyondTheBoundIsLeftOut) {
  Add("database", 0, {{{"datname", "shop"}, {"xact_commit", "12"}, {"deadlocks", "1"}}});
  Add("database", 1, {{{"datname", "shop"}, {"xact_commit", "12"}}}, 5 * kMinuteUs);
  const auto requests = Write();
  ASSERT_EQ(requests.size(), 1u);
  ASSERT_EQ(requests[0].resource_metrics_size(), 1);
  EXPECT_THAT(Points(requests[0].resource_metrics(0)), Not(Contains(Key("postgresql.rollbacks db.namespace=shop"))));
  EXPECT_EQ(left_out_, 0);
  EXPECT_EQ(PointsOf(Write(1)[0]), 1);
  EXPECT_EQ(left_out_, 1);
}

TEST_F(OtlpMetricsTest, RequestsAreNoLargerThanReceiversTake) {
  std::vector<Row> tables;
  for (int i = 0; i < 9000; ++i) {
    tables.push_back({{"datname", "shop"},
                      {"schemaname", "public"},
                      {"relname", absl::StrCat(std::string(50, 't'), i)},
                      {"seq_scan", "1"}});
  }
  Add("table_stats", 0, tables);
  Add("table_stats", 1, tables);
  const auto requests = Write(100'000);
  ASSERT_EQ(requests.size(), 1u) << "both fit";
  values_.assign(metrics_->wanted().size(), std::vector<storage::LastSource>(sources_.size()));
  for (Row& table : tables) table["n_tup_ins"] = table["n_tup_upd"] = table["n_live_tup"] = "1";
  Add("table_stats", 0, tables);
  Add("table_stats", 1, tables);
  const auto larger = Write(100'000);
  EXPECT_EQ(larger.size(), 2u);
  EXPECT_THAT(metrics_->Write(
                  sources_, values_, kNowUs, 100'000,
                  [](const otlp::ExportMetricsServiceRequest&) { return absl::UnavailableError("away"); }, &left_out_),
              StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace pga::query
