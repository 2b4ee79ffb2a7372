#include "libs/catalog/prometheus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "libs/catalog/builtin_metrics.h"
#include "libs/status/testing.h"

namespace pga::catalog {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::shared_ptr<const PrometheusNames> Names() {
  auto names = PrometheusNames::Create(*Catalog::Builtin());
  EXPECT_THAT(names, IsOk());
  return *names;
}

absl::Status Refused(const std::string& yaml) {
  return PrometheusNames::Parse(*Catalog::Builtin(), yaml).status();
}

// The series of a column, or, without one, of rows: "name/divisor".
std::vector<std::string> SeriesOf(const PrometheusNames& names, const char* metric, const char* column) {
  std::vector<std::string> found;
  for (const PrometheusMetric& entry : names.metrics()) {
    if (entry.metric->name() != metric) continue;
    for (const PrometheusSeries& series : entry.series) {
      const bool presence = series.column == PrometheusSeries::kPresence;
      if (presence ? *column != 0 : entry.metric->columns(series.column).name() != column) continue;
      found.push_back(series.name + "/" + std::to_string(static_cast<int>(series.divisor)));
    }
  }
  return found;
}

TEST(PrometheusNames, EveryCounterAndGaugeHasOne) {
  const auto names = Names();
  std::set<std::string> taken;
  for (const auto& metric : (*Catalog::Builtin())->metrics()) {
    for (const auto& column : metric.columns()) {
      const bool value = column.kind() == pganalytics::catalog::v1::COLUMN_KIND_COUNTER ||
                         column.kind() == pganalytics::catalog::v1::COLUMN_KIND_GAUGE;
      const auto series = SeriesOf(*names, metric.name().c_str(), column.name().c_str());
      EXPECT_TRUE(!value || !series.empty()) << metric.name() << "." << column.name();
      for (const std::string& name : series) EXPECT_TRUE(taken.insert(name).second) << name;
    }
  }
  EXPECT_EQ(names->up().metric->name(), "database");
}

TEST(PrometheusNames, AreThoseOfPostgresExporterWhereTheyMeanTheSame) {
  const auto names = Names();
  EXPECT_THAT(SeriesOf(*names, "database", "xact_commit"), ElementsAre("pg_stat_database_xact_commit/1"));
  EXPECT_THAT(SeriesOf(*names, "database", "blk_read_time_us"), ElementsAre("pg_stat_database_blk_read_time/1000"));
  EXPECT_THAT(SeriesOf(*names, "database", "session_time_us"),
              ElementsAre("pganalytics_database_session_time_seconds_total/1000000"));
  EXPECT_THAT(SeriesOf(*names, "checkpointer", "checkpoints_timed"),
              ElementsAre("pg_stat_checkpointer_num_timed_total/1", "pg_stat_bgwriter_checkpoints_timed_total/1"));
  EXPECT_THAT(SeriesOf(*names, "statements", "total_exec_time_us"),
              ElementsAre("pg_stat_statements_seconds_total/1000000"));
  EXPECT_EQ(names->Find("roles"), nullptr);
  const PrometheusMetric& statements = *names->Find("statements");
  EXPECT_FALSE(statements.scraped);
  std::vector<std::string> labels;
  for (const PrometheusLabel& label : statements.labels) labels.push_back(label.name);
  EXPECT_THAT(labels, ElementsAre("userid", "dbid", "queryid", "toplevel", "datname", "user"));
  EXPECT_EQ(names->Find("database")->labels.back().name, "datid");
}

std::vector<std::string> LabelsOf(const PrometheusMetric& entry) {
  std::vector<std::string> labels;
  for (const PrometheusLabel& label : entry.labels) labels.push_back(label.name + (label.lower_case ? " lower" : ""));
  return labels;
}

TEST(PrometheusNames, WhatDescribesRowsAndRowsThemselvesHaveThem) {
  const auto names = Names();
  // Instants in seconds, truths as they are.
  EXPECT_THAT(SeriesOf(*names, "server", "started_at"), ElementsAre("pg_postmaster_start_time_seconds/1000000"));
  EXPECT_THAT(SeriesOf(*names, "server", "is_in_recovery"), ElementsAre("pg_replication_is_replica/1"));
  EXPECT_THAT(SeriesOf(*names, "server", ""), ElementsAre("pg_static/1"));
  EXPECT_THAT(LabelsOf(*names->Find("locks")), ElementsAre("datname", "lock_type", "mode lower", "is_granted"));
  const PrometheusMetric& settings = *names->Find("settings");
  ASSERT_TRUE(settings.by_row.has_value());
  EXPECT_EQ(settings.by_row->prefix, "pg_settings_");
  EXPECT_TRUE(settings.series.empty());
}

TEST(PrometheusNames, JoinedRowsAreEntriesBesideTheMetricsOwn) {
  const auto names = Names();
  int joined = 0;
  for (const PrometheusMetric& entry : names->metrics()) {
    if (entry.metric->name() != "activity" || entry.join == PrometheusJoin::kNone) continue;
    ++joined;
    EXPECT_TRUE(entry.scraped);
    ASSERT_EQ(entry.series.size(), 1u);
    EXPECT_EQ(entry.series[0].name == "pg_stat_activity_max_tx_duration", entry.join == PrometheusJoin::kLargest);
    EXPECT_THAT(LabelsOf(entry), ElementsAre("datname", "usename", "application_name", "backend_type", "state",
                                             "wait_event_type", "wait_event"));
  }
  EXPECT_EQ(joined, 2);
  EXPECT_EQ(names->Find("activity")->join, PrometheusJoin::kNone);
  EXPECT_FALSE(names->Find("activity")->scraped);
}

TEST(PrometheusNames, CustomMetricsHaveOurs) {
  auto catalog = *Catalog::Builtin();
  std::vector<pganalytics::catalog::v1::Metric> metrics(catalog->metrics().begin(), catalog->metrics().end());
  metrics.push_back(*catalog->Find("archive_queue"));
  metrics.back().set_name("queue");
  const auto names = PrometheusNames::Create(*Catalog::FromMetrics(metrics));
  ASSERT_THAT(names, IsOk());
  EXPECT_THAT(SeriesOf(**names, "queue", "files_ready"), ElementsAre("pganalytics_queue_files_ready/1"));
}

// What vanishes from the catalog, or is misspelt, ends the build here and the start of the service.
TEST(PrometheusNames, WhatTheCatalogDoesNotHaveIsRefused) {
  const std::string up = "up: database\nmetrics:\n";
  EXPECT_THAT(Refused(up + "  - metric: databse\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("yaml:3"), HasSubstr("no metric databse"))));
  EXPECT_THAT(Refused(up + "  - metric: database\n    columns: {xact_comit: a}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no counter, gauge or number xact_comit")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    columns: {datname: a}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no counter, gauge or number datname")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    labels: {oid: datoid}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no info column datoid")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    rename: {datid: x}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no label datid")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    rename: {datname: source}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label source")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    columns: {xact_commit: a, xact_rollback: a}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name a is there twice")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    columns: {xact_commit: {name: a, unit: ms}}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the only other unit is ms")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    colums: {}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unknown key colums")));
  EXPECT_THAT(Refused(up + "  - {metric: wal}\n  - {metric: wal}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("metric wal is there twice")));
  EXPECT_THAT(Refused(up + "  - metric: locks\n    lower: [mode]\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no label mode")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    by: [datname]\n    columns: {xact_commit: a}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a counter cannot be joined")));
  EXPECT_THAT(Refused(up + "  - metric: table_size\n    by: [datname]\n    columns: {total_bytes: a}\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name all labels")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    present: a\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("go with by")));
  EXPECT_THAT(Refused(up + "  - metric: database\n    by: []\n    join: average\n    present: a\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sum or largest")));
  EXPECT_THAT(
      Refused(up + "  - metric: settings\n    rows: {prefix: a, name: setting_value, value: b, unit: c, type: d}\n"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no label setting_value")));
  EXPECT_THAT(Refused("up: nothing\nmetrics: []\n"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no metric nothing")));
  EXPECT_THAT(Refused("up: [\n"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("prometheus.yaml")));
}

}  // namespace
}  // namespace pga::catalog
