// Counts, statements and series through a real in-process server, on a real database with the product's own schema.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "libs/rpc/client.h"
#include "libs/rpc/deadline.h"
#include "libs/status/testing.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "services/query/query_testing.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CountMetrics, NeedsNoTokenAndEqualsTheRelation) {
  Suite& suite = Suite::Get();
  const auto answer = rpc::Call(suite.queries(), &Stub::CountMetrics, pb::CountMetricsRequest(), Suite::Anonymous());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->count(), 78);
}

TEST(GetMetrics, CountsByMetricAndNeedsAToken) {
  Suite& suite = Suite::Get();
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::GetMetrics, pb::GetMetricsRequest(), Suite::Anonymous()),
              StatusIs(absl::StatusCode::kUnauthenticated));
  const auto answer = rpc::Call(suite.queries(), &Stub::GetMetrics, pb::GetMetricsRequest(), suite.Options());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->count(), 78);
  EXPECT_EQ(answer->by_type().at("statements"), 30);
  EXPECT_EQ(answer->by_type().at("blocking"), 4);
}

TEST(TopQueries, SumsTheRangeWithTextsDatabaseAndUser) {
  Suite& suite = Suite::Get();
  pb::TopQueriesRequest request;
  request.set_hours(1);
  const auto answer = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->count(), 2);
  const pb::TopQuery& first = answer->queries(0);
  EXPECT_EQ(first.query_id(), "11");
  EXPECT_EQ(first.total_time(), 600);
  EXPECT_EQ(first.calls(), 300);
  EXPECT_EQ(first.mean_time(), 2);
  EXPECT_EQ(first.rows(), 900);
  EXPECT_EQ(first.database_name(), "shop");
  EXPECT_EQ(first.user_name(), "app");
  EXPECT_EQ(first.query_text(), "SELECT $1");
  EXPECT_EQ(first.source_name(), "prod");
  EXPECT_FALSE(first.lower_bound());
  EXPECT_EQ(answer->queries(1).total_time(), 500);
  EXPECT_TRUE(answer->queries(1).lower_bound());

  request.set_order_by("mean_time");
  request.set_limit(1);
  const auto by_mean = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
  ASSERT_THAT(by_mean, IsOk());
  ASSERT_EQ(by_mean->count(), 1);
  EXPECT_EQ(by_mean->queries(0).query_id(), "22");
}

TEST(TopQueries, SharesAreOfTheWholeAndOfTheOrderedFigure) {
  Suite& suite = Suite::Get();
  pb::TopQueriesRequest request;
  request.set_hours(1);
  for (const int limit : {1, 20}) {
    request.set_limit(limit);
    request.clear_order_by();
    const auto by_time = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
    ASSERT_THAT(by_time, IsOk());
    EXPECT_EQ(by_time->total(), 1100);
    EXPECT_NEAR(by_time->queries(0).share(), 600.0 / 1100, 1e-9) << limit;
    request.set_order_by("calls");
    const auto by_calls = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
    ASSERT_THAT(by_calls, IsOk());
    EXPECT_EQ(by_calls->total(), 310);
    EXPECT_NEAR(by_calls->queries(0).share(), 300.0 / 310, 1e-9) << limit;
  }
  request.set_order_by("mean_time");
  const auto by_mean = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
  ASSERT_THAT(by_mean, IsOk());
  EXPECT_FALSE(by_mean->has_total());
  EXPECT_FALSE(by_mean->queries(0).has_share());
}

TEST(TopQueries, OfSomeStatementsAlone) {
  Suite& suite = Suite::Get();
  pb::TopQueriesRequest request;
  request.set_hours(1);
  request.add_query_id("22,-7");
  request.add_query_id("-5");
  const auto answer = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->count(), 1);
  EXPECT_EQ(answer->queries(0).query_id(), "22");
  EXPECT_EQ(answer->queries(0).calls(), 10);
  EXPECT_EQ(answer->queries(0).query_text(), "UPDATE t SET x = $1");
  EXPECT_EQ(answer->total(), 500);
  request.add_query_id("abc");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("query_id")));
}

TEST(TopQueries, KeepsTextsFromCallersWithoutTheRight) {
  Suite& suite = Suite::Get();
  pb::TopQueriesRequest request;
  request.set_hours(1);
  const auto answer = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options("viewer", nullptr, false));
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->count(), 2);
  EXPECT_EQ(answer->queries(0).query_text(), "");
}

// A list holds the beginning of each text; the statement's own answer holds it whole.
TEST(TopQueries, HoldsTheBeginningOfLongTexts) {
  Suite& suite = Suite::Get();
  // 40,000 characters of two and three bytes.
  suite.Exec("UPDATE metrics.query_text SET text = repeat('é€', 20000) WHERE query_id = 11");
  pb::TopQueriesRequest request;
  request.set_hours(1);
  const auto text = [](int64_t characters) {
    std::string out;
    for (int64_t i = 0; i < characters; ++i) out += i % 2 == 0 ? "é" : "€";
    return out;
  };
  for (const int length : {0, 1, 7, 39'999, 40'000, 65'536}) {
    SCOPED_TRACE(length);
    request.set_text_length(length);
    request.set_limit(10);
    const auto answer = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
    ASSERT_THAT(answer, IsOk());
    const int64_t most = std::min(length == 0 ? 500 : length, 40'000);
    EXPECT_EQ(answer->queries(0).query_text(), text(most));
    EXPECT_EQ(answer->queries(0).query_text_truncated(), most < 40'000);
    EXPECT_EQ(answer->queries(1).query_text_truncated(), length == 1 || length == 7);
  }
  pb::QueryTimelineRequest statement;
  statement.set_query_hash("11");
  statement.set_hours(1);
  const auto whole = rpc::Call(suite.queries(), &Stub::QueryTimeline, statement, suite.Options());
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->query_text(), text(40'000));
  suite.Exec("UPDATE metrics.query_text SET text = 'SELECT $1' WHERE query_id = 11");

  // All texts of one answer are bounded.
  request.set_limit(1000);
  request.set_text_length(1'000);
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options()), IsOk());
  request.set_text_length(1'001);
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("1000000")));
  request.set_text_length(-1);
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("65536")));
}

TEST(TopQueries, CutsTheRangeAndSaysHowMuchIsCovered) {
  Suite& suite = Suite::Get();
  pb::TopQueriesRequest request;
  *request.mutable_start() = Stamp(kHour + absl::Minutes(5));
  *request.mutable_end() = Stamp(kHour + absl::Minutes(15));
  request.add_source("prod");
  const auto answer = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->queries(0).query_id(), "22");
  EXPECT_EQ(answer->queries(0).calls(), 5);
  EXPECT_EQ(answer->queries(1).calls(), 100);
  EXPECT_NEAR(answer->completeness(), 1, 1e-6);
}

TEST(QueryTimeline, IsZeroWhereCoveredAndEmptyWhereNot) {
  Suite& suite = Suite::Get();
  pb::QueryTimelineRequest request;
  request.set_query_hash("22");
  *request.mutable_start() = Stamp(kHour - absl::Minutes(10));
  *request.mutable_end() = Stamp(kHour + absl::Minutes(20));
  request.set_step(300);
  const auto answer = rpc::Call(suite.queries(), &Stub::QueryTimeline, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->query_text(), "UPDATE t SET x = $1");
  std::vector<double> calls;
  std::vector<double> covered;
  for (const pb::TimelinePoint& point : answer->data()) {
    calls.push_back(point.calls());
    covered.push_back(point.covered_ms());
  }
  EXPECT_THAT(calls, ElementsAre(0, 0, 5, 5, 0, 0));
  EXPECT_THAT(covered, ElementsAre(0, 0, 300000, 300000, 300000, 300000));
  EXPECT_EQ(answer->data(2).mean_time(), 50);
  EXPECT_EQ(answer->data(2).wal_bytes(), 500);
  EXPECT_EQ(answer->data(2).plan_time(), 15);
  EXPECT_EQ(answer->data(2).io_time(), 10);
  EXPECT_EQ(answer->data(2).temp_blks_written(), 20);
  request.set_query_hash("999");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::QueryTimeline, request, suite.Options()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("999")));
  request.set_query_hash("abc");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::QueryTimeline, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("decimal")));
}

TEST(QuerySeries, SumsRatesAndGroups) {
  Suite& suite = Suite::Get();
  pb::QuerySeriesRequest request = CallsSeries();
  auto series = suite.Series(request, suite.Options());
  ASSERT_THAT(series, IsOk());
  ASSERT_EQ(series->size(), 2u);
  EXPECT_EQ((*series)[0].labels().at("queryid"), "11");
  EXPECT_EQ((*series)[0].source_id(), "00000000-0000-0000-0000-000000000001");
  ASSERT_EQ((*series)[0].points_size(), 4);
  EXPECT_EQ((*series)[0].points(0).value(), 100);
  EXPECT_FALSE((*series)[0].points(3).has_value());
  EXPECT_EQ((*series)[1].points(0).value(), 10);
  EXPECT_TRUE((*series)[1].points(0).lower_bound());
  EXPECT_EQ((*series)[1].points(1).value(), 0);
  EXPECT_FALSE((*series)[1].points(1).lower_bound());

  request.set_rate(true);
  request.add_group_by("datname");
  series = suite.Series(request, suite.Options());
  ASSERT_THAT(series, IsOk());
  ASSERT_EQ(series->size(), 1u);
  EXPECT_EQ((*series)[0].labels().at("datname"), "shop");
  EXPECT_EQ((*series)[0].unit(), "calls/s");
  EXPECT_NEAR((*series)[0].points(0).value(), 110.0 / 600, 1e-9);
}

TEST(QuerySeries, RateDividesByCoveredTimeOnly) {
  Suite& suite = Suite::Get();
  pb::QuerySeriesRequest request = CallsSeries();
  request.set_step(3600);
  request.set_rate(true);
  request.add_filter("queryid=11");
  const auto series = suite.Series(request, suite.Options());
  ASSERT_THAT(series, IsOk());
  ASSERT_EQ(series->size(), 1u);
  // 300 calls in the 30 minutes that are covered.
  EXPECT_NEAR((*series)[0].points(0).value(), 300.0 / 1800, 1e-9);
  EXPECT_EQ((*series)[0].points(0).covered_ms(), 1800000);
}

TEST(QuerySeries, GaugesAverageTheirReadings) {
  Suite& suite = Suite::Get();
  pb::QuerySeriesRequest request = CallsSeries();
  request.set_metric("activity");
  request.set_column("sessions_avg");
  request.add_group_by("state");
  const auto series = suite.Series(request, suite.Options());
  ASSERT_THAT(series, IsOk());
  ASSERT_EQ(series->size(), 1u);
  EXPECT_EQ((*series)[0].labels().at("state"), "active");
  EXPECT_EQ((*series)[0].points(1).value(), 0.5);
  // The reading of 12:30:00 is the first of its bucket; what comes after it is not known.
  EXPECT_EQ((*series)[0].points(3).value(), 0.5);
}

TEST(QuerySeries, CallersThatDoNotReadHoldNoThread) {
  Suite& suite = Suite::Get();
  pb::QuerySeriesRequest request = CallsSeries();
  request.add_source("prod");
  struct Unread {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<pb::Series>> reader;
  };
  const std::string bearer = "Bearer " + suite.Options().bearer;
  std::vector<std::unique_ptr<Unread>> all;
  // One more than there are threads.
  for (int i = 0; i <= QueryConfig().threads; ++i) {
    auto unread = std::make_unique<Unread>();
    unread->context.AddMetadata("authorization", bearer);
    unread->context.set_deadline(rpc::GrpcDeadline(clock::SteadyNow() + absl::Seconds(60)));
    unread->reader = suite.queries().QuerySeries(&unread->context, request);
    all.push_back(std::move(unread));
  }
  // The last one gets an answer, and so does everybody else.
  pb::Series series;
  ASSERT_TRUE(all.back()->reader->Read(&series));
  EXPECT_THAT(suite.Series(request, suite.Options()), IsOk());
  for (const auto& unread : all) {
    int read = unread == all.back() ? 1 : 0;
    for (; unread->reader->Read(&series); ++read) {
    }
    EXPECT_EQ(read, 2);
    EXPECT_TRUE(unread->reader->Finish().ok());
  }
}

struct BadSeries {
  std::string name;
  std::function<void(pb::QuerySeriesRequest&)> change;
  absl::StatusCode code;
  std::string message;
};

class QuerySeriesRefusal : public ::testing::TestWithParam<BadSeries> {};

TEST_P(QuerySeriesRefusal, SaysWhatToChange) {
  Suite& suite = Suite::Get();
  pb::QuerySeriesRequest request = CallsSeries();
  GetParam().change(request);
  EXPECT_THAT(suite.Series(request, suite.Options()), StatusIs(GetParam().code, HasSubstr(GetParam().message)));
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
INSTANTIATE_TEST_SUITE_P(
    Requests, QuerySeriesRefusal,
    ::testing::Values(
        BadSeries{"metric", [](auto& r) { r.set_metric("statments"); }, kInvalid, "did you mean statements"},
        BadSeries{"column", [](auto& r) { r.set_column("cals"); }, kInvalid, "calls, total_exec_time_us"},
        BadSeries{"aggregate", [](auto& r) { r.set_aggregate(pb::max); }, kInvalid, "rate=true"},
        BadSeries{"aggregate_unknown", [](auto& r) { r.set_aggregate(static_cast<pb::Aggregate>(-1)); }, kInvalid,
                  "use sum, avg, min, max or last"},
        BadSeries{"filter", [](auto& r) { r.add_filter("nope=1"); }, kInvalid, "userid, dbid, queryid"},
        BadSeries{"group_by", [](auto& r) { r.add_group_by("nope"); }, kInvalid, "source, userid"},
        BadSeries{"limit", [](auto& r) { r.set_limit(1); }, kInvalid, "2 series, more than the limit of 1"},
        BadSeries{"limit_range", [](auto& r) { r.set_limit(5000); }, kInvalid, "1 to 1000"},
        BadSeries{"source", [](auto& r) { r.add_source("prd"); }, absl::StatusCode::kNotFound, "did you mean prod"},
        BadSeries{"hours", [](auto& r) { r.set_hours(5); }, kInvalid, "either hours"},
        BadSeries{"zone",
                  [](auto& r) {
                    r.set_step(3600);
                    r.set_time_zone("Nowhere");
                  },
                  kInvalid, "IANA"},
        BadSeries{"pattern", [](auto& r) { r.add_filter("datname~("); }, kInvalid, "regular expression"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace pga::query
