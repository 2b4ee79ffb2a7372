// Fingerprints, plans and anomalies through a real in-process server, on a real database with the product's own schema.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "services/query/query_testing.h"

namespace pga::query {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Insight = pb::InsightService::Stub;

// 11:00 to 12:00, the last full hour.
const absl::Time kLastHour = kHour - absl::Hours(1);

// Two servers with one statement under two query ids, by the hour, in that hour and those a week, two, three and four
// weeks before; and its plans.
Suite& WithWeeks() {
  static const bool made = [] {
    Suite& suite = Suite::Get();
    suite.Exec(
        "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES "
        "(90, '00000000-0000-0000-0002-000000000090', 'weekly', 1, 'default'), "
        "(91, '00000000-0000-0000-0002-000000000091', 'weekly-two', 1, 'default')");
    const auto row = [](int64_t id, int64_t calls, int64_t time_us) {
      return storage::StoredRow{{{"userid", int64_t{10}},
                                 {"dbid", int64_t{5}},
                                 {"queryid", id},
                                 {"toplevel", int64_t{1}},
                                 {"datname", "shop"},
                                 {"username", "app"},
                                 {"calls", calls},
                                 {"total_exec_time_us", time_us},
                                 {"rows", calls}},
                                0};
    };
    std::vector<storage::StoredFrame> frames;
    for (int week = 4; week >= 0; --week) {
      const absl::Time start = kLastHour - absl::Hours(168) * week;
      // 1.9, 2, 2.1 and 2.2 ms a call, and 20 ms in the last hour; the second server has no such hour.
      const int64_t mean = week == 0 ? 20'000 : 1800 + 100 * week;
      storage::StoredFrame frame{.source = 90, .start = start, .end = start + absl::Hours(1), .rows = {}};
      frame.rows = {row(500, 1000, 1000 * mean), row(501, 1000, 3'000'000)};
      if (week == 0) frame.rows.push_back(row(502, 100, 100'000));
      frames.push_back(frame);
      frame.source = 91;
      frame.rows = {row(600, 1000, 2'000'000)};
      frames.push_back(frame);
    }
    suite.StoreFrames("statements", frames);
    const auto plan = [](int minute, int64_t id, int64_t logged) {
      const absl::Time end = kLastHour + absl::Minutes(minute);
      return storage::StoredFrame{.source = 90,
                                  .start = end - absl::Minutes(1),
                                  .end = end,
                                  .rows = {{{{"query_id", int64_t{500}},
                                             {"plan_id", id},
                                             {"datname", "shop"},
                                             {"logged", logged},
                                             {"duration_us", logged * 5000}},
                                            0}}};
    };
    suite.StoreFrames("plans", {plan(5, 71, 1), plan(6, 71, 2), plan(7, 72, 4)});
    suite.Exec(
        "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES "
        "(90, 0, 500, 'SELECT * FROM w WHERE id = $1'), (90, 0, 501, 'SELECT count(*) FROM v'), "
        "(90, 0, 502, '<insufficient privilege>'), (91, 0, 600, 'select * from W where ID = $1'), "
        "(90, 0, 71, $1), (90, 0, 72, $2)",
        {"Nested Loop\n  Index Scan using w_pkey on w\n    Index Cond: (id = ?)\n  Bitmap Heap Scan on v\n",
         "Parallel Seq Scan on w\n  Filter: (id = ?)\n"});
    return true;
  }();
  EXPECT_TRUE(made);
  return Suite::Get();
}

pb::ListFingerprintsRequest OfLastHour() {
  pb::ListFingerprintsRequest request;
  *request.mutable_start() = Stamp(kLastHour);
  *request.mutable_end() = Stamp(kHour);
  request.add_source("weekly");
  request.add_source("weekly-two");
  return request;
}

TEST(Fingerprints, JoinStatementsOverServersAndAgreeWithSql) {
  Suite& suite = WithWeeks();
  const auto answer = rpc::Call(suite.insight(), &Insight::ListFingerprints, OfLastHour(), suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->count(), 2);
  const pb::Fingerprint& first = answer->data(0);
  EXPECT_THAT(first.fingerprint_hash(), SizeIs(16));
  const auto sql = [&](const std::string& sum) {
    return suite.Number(absl::StrCat("SELECT ", sum, "::float8 FROM readable.statements('",
                                     storage::SqlTime(kLastHour + absl::Seconds(1)), "', '",
                                     storage::SqlTime(kHour + absl::Seconds(1)),
                                     "') WHERE source_name IN ('weekly', 'weekly-two') AND queryid IN (500, 600)"));
  };
  EXPECT_EQ(first.total_calls(), sql("sum(calls)"));
  EXPECT_EQ(first.total_calls(), 2000);
  EXPECT_NEAR(first.total_time(), sql("sum(total_exec_time_us) / 1000.0"), 1e-6);
  EXPECT_NEAR(first.avg_execution_time(), sql("sum(total_exec_time_us) / 1000.0 / sum(calls)"), 1e-9);
  EXPECT_EQ(first.unique_query_count(), 2);
  EXPECT_THAT(first.source_names(), ElementsAre("weekly", "weekly-two"));
  EXPECT_EQ(first.normalized_query(), "SELECT * FROM w WHERE id = $1");
  EXPECT_THAT(first.sample_queries(), SizeIs(2));
  EXPECT_EQ(absl::FromUnixSeconds(first.first_seen().seconds()), kLastHour);
  EXPECT_EQ(absl::FromUnixSeconds(first.last_seen().seconds()), kHour);
  EXPECT_EQ(answer->completeness(), 1);
  // 100 of 25,100 ms have a text that is no statement.
  EXPECT_NEAR(answer->unknown_share(), 100 / 25'100.0, 1e-9);

  const auto hidden =
      rpc::Call(suite.insight(), &Insight::ListFingerprints, OfLastHour(), suite.Options("viewer", nullptr, false));
  ASSERT_THAT(hidden, IsOk());
  EXPECT_EQ(hidden->data(0).fingerprint_hash(), first.fingerprint_hash());
  EXPECT_EQ(hidden->data(0).normalized_query(), "");
  EXPECT_THAT(hidden->data(0).sample_queries(), IsEmpty());

  pb::ListFingerprintQueriesRequest of;
  of.set_fingerprint_hash(first.fingerprint_hash());
  *of.mutable_start() = Stamp(kLastHour);
  *of.mutable_end() = Stamp(kHour);
  const auto queries = rpc::Call(suite.insight(), &Insight::ListFingerprintQueries, of, suite.Options());
  ASSERT_THAT(queries, IsOk());
  ASSERT_EQ(queries->count(), 2);
  EXPECT_EQ(queries->queries(0).query_hash(), "500");
  EXPECT_EQ(queries->queries(0).mean_time(), 20);
  EXPECT_EQ(queries->queries(1).source_name(), "weekly-two");
  EXPECT_EQ(queries->queries(1).mean_time(), 2);
  of.set_fingerprint_hash("0000000000000000");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ListFingerprintQueries, of, suite.Options()),
              StatusIs(absl::StatusCode::kNotFound));
  of.set_fingerprint_hash("42");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ListFingerprintQueries, of, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16 hexadecimal")));
}

TEST(Plans, TheLastOneAndAllOfThem) {
  Suite& suite = WithWeeks();
  pb::ExplainQueryRequest request;
  request.set_query_hash("500");
  const auto last = rpc::Call(suite.insight(), &Insight::ExplainQuery, request, suite.Options());
  ASSERT_THAT(last, IsOk());
  EXPECT_EQ(last->plan().id(), "72");
  EXPECT_EQ(last->plan().logged(), 4);
  EXPECT_EQ(last->plan().execution_duration_ms(), 5);
  EXPECT_TRUE(last->plan().has_seq_scan());
  EXPECT_FALSE(last->plan().has_index_scan());
  EXPECT_THAT(last->plan().query_fingerprint_hash(), SizeIs(16));
  EXPECT_EQ(absl::FromUnixSeconds(last->plan().collected_at().seconds()), kLastHour + absl::Minutes(7));

  pb::ListQueryPlansRequest history;
  history.set_query_hash("500");
  const auto all =
      rpc::Call(suite.insight(), &Insight::ListQueryPlans, history, suite.Options("viewer", nullptr, false));
  ASSERT_THAT(all, IsOk());
  ASSERT_EQ(all->count(), 2);
  EXPECT_EQ(all->plans(1).id(), "71");
  EXPECT_EQ(all->plans(1).logged(), 3);
  EXPECT_TRUE(all->plans(1).has_index_scan());
  EXPECT_TRUE(all->plans(1).has_nested_loop());
  EXPECT_TRUE(all->plans(1).has_bitmap_scan());
  EXPECT_FALSE(all->plans(1).has_seq_scan());
  EXPECT_EQ(all->plans(1).plan_text(), "");
  history.set_query_hash("501");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ListQueryPlans, history, suite.Options()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("auto_explain")));
  history.set_limit(51);
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ListQueryPlans, history, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument));

  pb::StoreExplainPlanRequest store;
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::StoreExplainPlan, store, suite.Options("user")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("query_hash")));
  store.set_query_hash("500");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::StoreExplainPlan, store, suite.Options("user")),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("auto_explain")));
}

TEST(Anomalies, AreFoundOnceListedAndResolved) {
  Suite& suite = WithWeeks();
  pb::DetectAnomaliesRequest detect;
  detect.add_source("weekly");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::DetectAnomalies, detect, suite.Options("viewer")),
              StatusIs(absl::StatusCode::kPermissionDenied));
  const auto first = rpc::Call(suite.insight(), &Insight::DetectAnomalies, detect, suite.Options("user"));
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(first->status(), "success");
  EXPECT_EQ(first->statements(), 3);
  EXPECT_EQ(first->without_baseline(), 1);
  EXPECT_EQ(first->found(), 1);
  EXPECT_EQ(first->added(), 1);
  EXPECT_EQ(first->completeness(), 1);
  EXPECT_EQ(absl::FromUnixSeconds(first->start().seconds()), kLastHour);
  const auto again = rpc::Call(suite.insight(), &Insight::DetectAnomalies, detect, suite.Options("user"));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->found(), 1);
  EXPECT_EQ(again->added(), 0);

  const auto list = [&](const std::vector<std::string>* groups = nullptr) {
    return rpc::Call(suite.insight(), &Insight::ListAnomalies, pb::ListAnomaliesRequest(),
                     suite.Options("viewer", groups));
  };
  const auto open = list();
  ASSERT_THAT(open, IsOk());
  ASSERT_EQ(open->count(), 1);
  const pb::QueryAnomaly& anomaly = open->anomalies(0);
  EXPECT_EQ(anomaly.query_hash(), "500");
  EXPECT_EQ(anomaly.anomaly_type(), "execution_time_spike");
  EXPECT_EQ(anomaly.metric_value(), 20);
  // Median of 1.9, 2.0, 2.1 and 2.2 ms; their deviations are 0.05 and 0.15, so a tenth of the median is the spread.
  EXPECT_DOUBLE_EQ(anomaly.baseline_value(), 2.05);
  EXPECT_DOUBLE_EQ(anomaly.spread(), 0.205);
  EXPECT_NEAR(anomaly.z_score(), 17.95 / 0.205, 1e-9);
  EXPECT_EQ(anomaly.method(), "hour_of_week");
  EXPECT_EQ(anomaly.baseline_hours(), 4);
  EXPECT_EQ(anomaly.calls(), 1000);
  EXPECT_THAT(anomaly.query_fingerprint_hash(), SizeIs(16));
  EXPECT_FALSE(anomaly.resolved());
  // Callers of other groups do not see it, nor can they resolve it.
  const std::vector<std::string> secret = {"secret"};
  EXPECT_EQ(list(&secret)->count(), 0);
  pb::ResolveAnomalyRequest resolve;
  resolve.set_id(anomaly.id());
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ResolveAnomaly, resolve, suite.Options("user", &secret)),
              StatusIs(absl::StatusCode::kNotFound));
  const auto resolved = rpc::Call(suite.insight(), &Insight::ResolveAnomaly, resolve, suite.Options("user"));
  ASSERT_THAT(resolved, IsOk());
  EXPECT_EQ(resolved->status(), "resolved");
  EXPECT_EQ(list()->count(), 0);
  // It stays known, and the same hour brings no other one.
  EXPECT_EQ(rpc::Call(suite.insight(), &Insight::DetectAnomalies, detect, suite.Options("user"))->added(), 0);
  pb::ListQueryAnomaliesRequest of;
  of.set_query_hash("500");
  const auto past = rpc::Call(suite.insight(), &Insight::ListQueryAnomalies, of, suite.Options());
  ASSERT_THAT(past, IsOk());
  ASSERT_EQ(past->count(), 1);
  EXPECT_EQ(past->days(), 7);
  EXPECT_TRUE(past->anomalies(0).resolved());
  EXPECT_EQ(past->anomalies(0).resolved_by(), "ann");
  of.set_days(31);
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ListQueryAnomalies, of, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  resolve.set_id(1'000'000);
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ResolveAnomaly, resolve, suite.Options("user")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no anomaly 1000000")));
  pb::ListAnomaliesRequest bad;
  bad.set_severity("huge");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ListAnomalies, bad, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("low, medium, high")));
}

}  // namespace
}  // namespace pga::query
