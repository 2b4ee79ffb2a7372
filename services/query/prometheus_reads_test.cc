// Scrapes and remote read through a real in-process server: who sees which sources, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <snappy.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "prometheus/remote_read.pb.h"
#include "services/query/query_testing.h"

namespace pga::query {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const std::vector<std::string> kDefault = {"default"};
const std::vector<std::string> kSecretGroup = {"secret"};

absl::StatusOr<std::string> Scrape(const std::vector<std::string>& metrics, const rpc::CallOptions& options) {
  pb::ExportMetricsRequest request;
  for (const std::string& metric : metrics) request.add_metric(metric);
  std::string text;
  const absl::Status status =
      rpc::CallStream<pb::PrometheusService::Stub, pb::ExportMetricsRequest, google::api::HttpBody>(
          Suite::Get().prometheus(), &pb::PrometheusService::Stub::ExportMetrics, request, options,
          [&](google::api::HttpBody& body) {
            text += body.data();
            return absl::OkStatus();
          });
  if (!status.ok()) return status;
  return text;
}

// Series of a metric from 12:00 to 12:30: "source: first .. last", by whoever `options` is.
absl::StatusOr<std::vector<std::string>> Read(const std::string& name, const std::string& query_id,
                                              const rpc::CallOptions& options) {
  prometheus::ReadRequest read;
  prometheus::Query* const query = read.add_queries();
  query->set_start_timestamp_ms(absl::ToUnixMillis(kHour));
  query->set_end_timestamp_ms(absl::ToUnixMillis(kHour + absl::Minutes(30)));
  const auto add = [&](const std::string& label, const std::string& value) {
    prometheus::LabelMatcher* const matcher = query->add_matchers();
    matcher->set_name(label);
    matcher->set_value(value);
  };
  add("__name__", name);
  if (!query_id.empty()) add("queryid", query_id);
  const std::string bytes = read.SerializeAsString();
  pb::RemoteReadRequest request;
  snappy::Compress(bytes.data(), bytes.size(), request.mutable_body()->mutable_data());
  const auto answer = rpc::Call(Suite::Get().prometheus(), &pb::PrometheusService::Stub::RemoteRead, request, options);
  if (!answer.ok()) return answer.status();
  std::string unpacked;
  prometheus::ReadResponse response;
  if (!snappy::Uncompress(answer->data().data(), answer->data().size(), &unpacked) ||
      !response.ParseFromString(unpacked) || response.results_size() != 1) {
    return absl::InternalError("no answer of remote read");
  }
  std::vector<std::string> series;
  for (const prometheus::TimeSeries& one : response.results(0).timeseries()) {
    std::string source;
    for (const prometheus::Label& label : one.labels()) {
      if (label.name() == "source") source = label.value();
    }
    series.push_back(
        absl::StrCat(source, ": ", one.samples(0).value(), " .. ", one.samples(one.samples_size() - 1).value()));
  }
  return series;
}

TEST(Prometheus, AScrapeHasTheSourcesOfTheCallersGroups) {
  Suite& suite = Suite::Get();
  const auto own = Scrape({"activity"}, suite.Options("viewer", &kDefault));
  ASSERT_THAT(own, IsOk());
  EXPECT_THAT(*own, AllOf(HasSubstr("pganalytics_activity_sessions_avg{source=\"prod\",source_group=\"default\","
                                    "server=\"prod\",datname=\"shop\",usename=\"app\",query_id=\"11\",state=\"active\","
                                    "wait_event_type=\"Lock\",wait_event=\"transactionid\"} 0.5\n"),
                          HasSubstr("pg_up{source=\"prod-replica\""), Not(HasSubstr("payroll"))));
  const auto other = Scrape({"activity"}, suite.Options("viewer", &kSecretGroup));
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT(*other, AllOf(HasSubstr("pg_up{source=\"payroll\",source_group=\"secret\",server=\"payroll\"} 0\n"),
                            Not(HasSubstr("prod"))));
  // No key frame was stored of statements: none of their counters is known.
  const auto statements = Scrape({"statements"}, suite.Options());
  ASSERT_THAT(statements, IsOk());
  EXPECT_THAT(*statements, Not(HasSubstr("pg_stat_statements")));
  EXPECT_THAT(Scrape({"activty"}, suite.Options()).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean activity")));
  EXPECT_THAT(Scrape({}, Suite::Anonymous()).status(), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST(Prometheus, RemoteReadHasTheSourcesOfTheCallersGroups) {
  Suite& suite = Suite::Get();
  const auto own = Read("pg_stat_statements_calls_total", "11", suite.Options("viewer", &kDefault));
  ASSERT_THAT(own, IsOk());
  EXPECT_THAT(*own, ElementsAre("prod: 0 .. 300"));
  const auto other = Read("pg_stat_statements_calls_total", "11", suite.Options("viewer", &kSecretGroup));
  ASSERT_THAT(other, IsOk());
  EXPECT_THAT(*other, IsEmpty());
  const auto up = Read("pg_up", "", suite.Options("viewer", &kSecretGroup));
  ASSERT_THAT(up, IsOk());
  EXPECT_THAT(*up, ElementsAre("payroll: 1 .. 1"));
  EXPECT_THAT(Read("pg_up", "", Suite::Anonymous()).status(), StatusIs(absl::StatusCode::kUnauthenticated));
}

}  // namespace
}  // namespace pga::query
