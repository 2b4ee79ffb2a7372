#include "services/query/remote_read.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <snappy.h>

#include <bit>
#include <string>

#include "libs/status/testing.h"

namespace pga::query {
namespace {

using prometheus::LabelMatcher;
using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Pack(const std::string& bytes) {
  std::string packed;
  snappy::Compress(bytes.data(), bytes.size(), &packed);
  return packed;
}

class RemoteReadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    names_ = *catalog::PrometheusNames::Create(*catalog::Catalog::Builtin());
    query_.set_start_timestamp_ms(1000);
    query_.set_end_timestamp_ms(9000);
  }
  void Add(LabelMatcher::Type type, const char* name, const char* value) {
    LabelMatcher* const matcher = query_.add_matchers();
    matcher->set_type(type);
    matcher->set_name(name);
    matcher->set_value(value);
  }
  absl::StatusOr<std::vector<MetricQuestion>> Ask() { return QuestionsOf(query_, *names_, sources_); }
  // Names of the series that are asked for.
  std::vector<std::string> Asked() {
    const auto questions = Ask();
    EXPECT_THAT(questions, IsOk());
    std::vector<std::string> asked;
    if (!questions.ok()) return asked;
    for (const MetricQuestion& question : *questions) {
      if (question.up) asked.push_back("up");
      if (question.metric->by_row && !question.up) asked.push_back(question.metric->by_row->prefix);
      for (const auto* series : question.series) asked.push_back(series->name);
    }
    return asked;
  }

  std::shared_ptr<const catalog::PrometheusNames> names_;
  prometheus::Query query_;
  const std::vector<storage::SourceRef> sources_ = {{1, "u1", "a", "default"}, {2, "u2", "b", "sales"}};
};

TEST_F(RemoteReadTest, BytesThatAreNoRequestAreRefused) {
  EXPECT_THAT(ParseReadRequest("").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("snappy")));
  EXPECT_THAT(ParseReadRequest("plain text").status(), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseReadRequest(Pack("plain text")).status(), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseReadRequest(Pack(std::string(2 << 20, 'a'))).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1 MiB")));
  prometheus::ReadRequest request;
  *request.add_queries() = query_;
  const auto parsed = ParseReadRequest(Pack(request.SerializeAsString()));
  ASSERT_THAT(parsed, IsOk());
  EXPECT_EQ(parsed->queries(0).end_timestamp_ms(), 9000);
}

TEST_F(RemoteReadTest, NamesAreMatchedWhole) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_stat_database_xact_commit");
  EXPECT_THAT(Asked(), ElementsAre("pg_stat_database_xact_commit"));
  query_.mutable_matchers(0)->set_type(LabelMatcher::MATCHES);
  query_.mutable_matchers(0)->set_value("pg_stat_database_xact_.*|pg_u.");
  EXPECT_THAT(Asked(), ElementsAre("up", "pg_stat_database_xact_commit", "pg_stat_database_xact_rollback"));
  Add(LabelMatcher::NOT_MATCHES, "__name__", ".*rollback|pg_up");
  EXPECT_THAT(Asked(), ElementsAre("pg_stat_database_xact_commit"));
  Add(LabelMatcher::NOT_EQUAL, "__name__", "pg_stat_database_xact_commit");
  EXPECT_THAT(Asked(), IsEmpty());
}

TEST_F(RemoteReadTest, SourcesAndLabelsAreMatched) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_stat_statements_calls_total");
  Add(LabelMatcher::NOT_EQUAL, "source", "a");
  Add(LabelMatcher::MATCHES, "source_group", "sal.s");
  Add(LabelMatcher::EQUAL, "queryid", "77");
  Add(LabelMatcher::NOT_MATCHES, "user", "adm.*");
  const auto questions = Ask();
  ASSERT_THAT(questions, IsOk());
  ASSERT_EQ(questions->size(), 1u);
  const storage::SampleQuery& query = (*questions)[0].query;
  ASSERT_EQ(query.sources.size(), 1u);
  EXPECT_EQ(query.sources[0].name, "b");
  EXPECT_EQ(query.located, "77");
  // userid, dbid, queryid, toplevel, datname, user
  EXPECT_TRUE(query.keep({"1", "1", "77", "true", "shop", "app"}));
  EXPECT_FALSE(query.keep({"1", "1", "78", "true", "shop", "app"}));
  EXPECT_FALSE(query.keep({"1", "1", "77", "true", "shop", "admin"}));
}

TEST_F(RemoteReadTest, ALabelThatIsNotThereIsEmpty) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_stat_database_xact_commit");
  Add(LabelMatcher::EQUAL, "job", "");
  EXPECT_THAT(Asked(), ElementsAre("pg_stat_database_xact_commit"));
  query_.mutable_matchers(1)->set_value("other");
  EXPECT_THAT(Asked(), IsEmpty());
}

TEST_F(RemoteReadTest, WhatCannotBeAnsweredIsRefused) {
  EXPECT_THAT(Ask().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("__name__")));
  Add(LabelMatcher::MATCHES, "__name__", "(");
  EXPECT_THAT(Ask().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular expression")));
  query_.mutable_matchers(0)->set_value(std::string(9000, 'a'));
  EXPECT_THAT(Ask().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("longer")));
  query_.mutable_matchers(0)->set_value("a");
  query_.mutable_matchers(0)->set_type(static_cast<LabelMatcher::Type>(9));
  EXPECT_THAT(Ask().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unknown kind")));
  for (int i = 0; i < 70; ++i) Add(LabelMatcher::EQUAL, "x", "");
  EXPECT_THAT(Ask().status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 64")));
}

TEST_F(RemoteReadTest, HintsChooseWhatIsSaidBetweenAndOfBuckets) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_stat_database_numbackends");
  EXPECT_GT((*Ask())[0].query.repeat_every_ms, 0);
  query_.mutable_hints()->set_range_ms(600'000);
  query_.mutable_hints()->set_func("max_over_time");
  const auto questions = Ask();
  EXPECT_EQ((*questions)[0].query.repeat_every_ms, 0);
  EXPECT_EQ((*questions)[0].query.window_ms, 600'000);
  EXPECT_EQ((*questions)[0].query.bucket_value, storage::BucketValue::kGreatest);
}

TEST_F(RemoteReadTest, SettingsAreChosenByTheNamesOfTheirRows) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_settings_shared_buffers_bytes");
  EXPECT_THAT(Asked(), ElementsAre("pg_settings_"));
  const auto questions = Ask();
  const storage::SampleQuery& query = (*questions)[0].query;
  EXPECT_TRUE(query.keep({"shared_buffers", "16384", "8kB", "integer"}));
  EXPECT_FALSE(query.keep({"work_mem", "4096", "kB", "integer"}));
  EXPECT_EQ(query.value_of({"shared_buffers", "16384", "8kB", "integer"}), 134217728);
  EXPECT_EQ(query.value_of({"shared_buffers", "", "8kB", "integer"}), std::nullopt);
  storage::SampleSeries series;
  series.source_id = 1;
  series.labels = {"shared_buffers", "16384", "8kB", "integer"};
  series.samples = {{{1000, 134217728}}};
  prometheus::QueryResult result;
  AddSeries((*questions)[0], sources_, {series}, &result);
  ASSERT_EQ(result.timeseries_size(), 1);
  EXPECT_EQ(result.timeseries(0).labels(0).value(), "pg_settings_shared_buffers_bytes");
  EXPECT_EQ(result.timeseries(0).labels_size(), 4);

  query_.mutable_matchers(0)->set_type(LabelMatcher::MATCHES);
  query_.mutable_matchers(0)->set_value("pg_settings_.*|pg_stat_archiver_failed_count");
  EXPECT_THAT(Asked(), ElementsAre("pg_stat_archiver_failed_count", "pg_settings_"));
  query_.mutable_matchers(0)->set_value("pg_stat_archiver_.*");
  EXPECT_THAT(Asked(), ElementsAre("pg_stat_archiver_archived_count", "pg_stat_archiver_failed_count"));
}

TEST_F(RemoteReadTest, RowsThatAgreeInTheirLabelsAreOneSeries) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_stat_activity_count");
  Add(LabelMatcher::EQUAL, "state", "active");
  const auto questions = Ask();
  ASSERT_THAT(questions, IsOk());
  ASSERT_EQ(questions->size(), 1u);
  // The last one is query_id, by which rows differ until they are joined.
  const std::vector<std::string> labels = {"shop", "app", "", "client backend", "active", "", "", "1"};
  std::vector<std::string> others = labels;
  others.back() = "2";
  EXPECT_TRUE((*questions)[0].query.keep(labels));
  storage::SampleSeries one{1, labels, {{{1000, 1}, {2000, 2}, {3000, storage::StaleValue()}}}};
  storage::SampleSeries other{1, others, {{{2000, 0.5}, {3000, storage::StaleValue()}}}};
  storage::SampleSeries elsewhere{2, labels, {{{2000, 9}}}};
  prometheus::QueryResult result;
  AddSeries((*questions)[0], sources_, {one, other, elsewhere}, &result);
  ASSERT_EQ(result.timeseries_size(), 2);
  ASSERT_EQ(result.timeseries(0).samples_size(), 3);
  EXPECT_EQ(result.timeseries(0).samples(0).value(), 1);
  EXPECT_EQ(result.timeseries(0).samples(1).value(), 2.5);
  EXPECT_EQ(std::bit_cast<uint64_t>(result.timeseries(0).samples(2).value()), uint64_t{0x7ff0000000000002});
  EXPECT_EQ(result.timeseries(1).samples(0).value(), 9);
}

TEST_F(RemoteReadTest, LabelsInSmallLettersAreMatchedSo) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_locks_count");
  Add(LabelMatcher::MATCHES, "mode", "accesssharelock|exclusivelock");
  const auto questions = Ask();
  ASSERT_EQ(questions->size(), 1u);
  EXPECT_TRUE((*questions)[0].query.keep({"shop", "relation", "AccessShareLock", "true"}));
  EXPECT_FALSE((*questions)[0].query.keep({"shop", "relation", "ShareLock", "true"}));
}

TEST_F(RemoteReadTest, SeriesHaveOrderedLabelsAndBaseUnits) {
  Add(LabelMatcher::EQUAL, "__name__", "pg_stat_database_blk_read_time");
  const auto questions = *Ask();
  storage::SampleSeries series;
  series.source_id = 2;
  series.labels = {"shop", "5"};
  series.samples = {{{1000, 2500}, {2000, storage::StaleValue()}}};
  prometheus::QueryResult result;
  AddSeries(questions[0], sources_, {series}, &result);
  ASSERT_EQ(result.timeseries_size(), 1);
  std::vector<std::string> labels;
  for (const auto& label : result.timeseries(0).labels()) labels.push_back(label.name() + "=" + label.value());
  EXPECT_THAT(labels, ElementsAre("__name__=pg_stat_database_blk_read_time", "datid=5", "datname=shop", "server=b",
                                  "source=b", "source_group=sales"));
  EXPECT_EQ(result.timeseries(0).samples(0).value(), 2.5);
  EXPECT_EQ(std::bit_cast<uint64_t>(result.timeseries(0).samples(1).value()), uint64_t{0x7ff0000000000002});
  prometheus::ReadResponse response;
  *response.add_results() = result;
  const std::string packed = PackReadResponse(response);
  std::string bytes;
  ASSERT_TRUE(snappy::Uncompress(packed.data(), packed.size(), &bytes));
  EXPECT_EQ(bytes, response.SerializeAsString());
}

}  // namespace
}  // namespace pga::query
