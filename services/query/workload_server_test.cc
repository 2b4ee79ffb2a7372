// Load, blockers, patterns, suggestions and predictions through a real in-process server, each value against a
// computation in SQL over the same stored frames.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "services/query/query_testing.h"

namespace pga::query {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using Workload = pb::WorkloadService::Stub;

// 11:00 to 12:00, the last full hour.
const absl::Time kLastHour = kHour - absl::Hours(1);
constexpr absl::Duration kWeek = absl::Hours(168);
constexpr int kDays = 28;

storage::StoredRow StatementRow(int64_t id, int64_t calls, int64_t time_us, int64_t rows) {
  return {{{"userid", int64_t{10}},
           {"dbid", int64_t{5}},
           {"queryid", id},
           {"toplevel", int64_t{1}},
           {"datname", "shop"},
           {"username", "app"},
           {"calls", calls},
           {"total_exec_time_us", time_us},
           {"rows", rows},
           {"shared_blks_hit", calls * 3},
           {"shared_blks_read", calls}},
          0};
}

// Server "workday" with four weeks of hours: statement 800 takes 50 ms a call from 09:00 to 10:00 and 5 ms else, its
// time grows with no rows; statement 801 takes 0.2 ms a row. Statements 802 to 804 differ in the length of a list; 805
// inserts row by row.
Suite& WithHistory() {
  static const bool made = [] {
    Suite& suite = Suite::Get();
    suite.Exec(
        "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES "
        "(95, '00000000-0000-0000-0002-000000000095', 'workday', 1, 'default'), "
        "(96, '00000000-0000-0000-0002-000000000096', 'loaded', 1, 'default')");
    std::vector<storage::StoredFrame> frames;
    for (int hour = kDays * 24; hour >= 1; --hour) {
      const absl::Time start = kHour - absl::Hours(hour);
      storage::StoredFrame frame{.source = 95, .start = start, .end = start + absl::Hours(1), .rows = {}};
      const int64_t of_day = absl::ToUnixSeconds(start) / 3600 % 24;
      const int64_t rows = 10 + 7 * (hour % 13);
      frame.rows = {StatementRow(800, 100, of_day == 9 ? 5'000'000 : 500'000 + 1000 * of_day, 100),
                    StatementRow(801, 50, 50 * 200 * rows, 50 * rows)};
      if (hour <= 24) {
        for (const int64_t id : {802, 803, 804}) frame.rows.push_back(StatementRow(id, 10, 10'000, 20));
        frame.rows.push_back(StatementRow(805, 500, 50'000, 500));
      }
      frames.push_back(frame);
    }
    suite.StoreFrames("statements", frames);
    suite.Exec(
        "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES "
        "(95, 0, 800, 'SELECT * FROM w WHERE id NOT IN (SELECT w FROM v)'), (95, 0, 801, 'SELECT * FROM v'), "
        "(95, 0, 802, 'SELECT 1 FROM w WHERE id IN ($1, $2, $3)'), "
        "(95, 0, 803, 'SELECT 1 FROM w WHERE id IN ($1, $2, $3, $4)'), "
        "(95, 0, 804, 'SELECT 1 FROM w WHERE id IN ($1, $2, $3, $4, $5)'), "
        "(95, 0, 805, 'INSERT INTO w VALUES ($1)')");
    return true;
  }();
  EXPECT_TRUE(made);
  return Suite::Get();
}

// Server "loaded", a frame a minute from 11:00 to 12:00 and in the same hour a week before.
Suite& WithLoad() {
  static const bool made = [] {
    Suite& suite = WithHistory();
    std::vector<storage::StoredFrame> activity, databases;
    const auto session = [](const char* user, int64_t statement, const char* state, const char* wait, double sessions) {
      return storage::StoredRow{{{"datname", "shop"},
                                 {"usename", user},
                                 {"application_name", "web"},
                                 {"backend_type", "client backend"},
                                 {"query_id", statement},
                                 {"state", state},
                                 {"wait_event_type", wait},
                                 {"wait_event", *wait == '\0' ? "" : "relation"},
                                 {"samples", static_cast<int64_t>(sessions * 60)},
                                 {"sessions_avg", sessions},
                                 {"sessions_max", static_cast<int64_t>(std::ceil(sessions))}},
                                0};
    };
    for (const absl::Duration back : {kWeek, absl::ZeroDuration()}) {
      const bool now = back == absl::ZeroDuration();
      for (int minute = 1; minute <= 60; ++minute) {
        const absl::Time end = kLastHour - back + absl::Minutes(minute);
        storage::StoredFrame frame{.source = 96, .start = end - absl::Minutes(1), .end = end, .rows = {}};
        // An idle walsender is active and no load.
        frame.rows = {session("app", 11, "active", "", now ? 2 : 1), session("app", 11, "idle", "", 5),
                      session("standby", 0, "active", "Activity", 3)};
        // For a quarter of the hour somebody waits.
        if (now && minute <= 15) frame.rows.push_back(session("batch", 22, "active", "Lock", minute == 7 ? 8 : 4));
        activity.push_back(frame);
        frame.rows = {{{{"datname", "shop"},
                        {"xact_commit", int64_t{now ? 600 : 300}},
                        {"xact_rollback", int64_t{60}},
                        {"blks_read", int64_t{now ? 120 : 0}}},
                       0}};
        databases.push_back(frame);
      }
    }
    suite.StoreFrames("activity", activity);
    suite.StoreFrames("database", databases);
    return true;
  }();
  EXPECT_TRUE(made);
  return Suite::Get();
}

std::string Between(const std::string& metric, absl::Time start, absl::Time end, const std::string& source) {
  return absl::StrCat("readable.", metric, "('", storage::SqlTime(start + absl::Seconds(1)), "', '",
                      storage::SqlTime(end + absl::Seconds(1)), "') WHERE source_name = '", source, "'");
}

// Readings taken from `start` on and before `end`.
std::string Readings(const std::string& metric, absl::Time start, absl::Time end, const std::string& source) {
  return Between(metric, start - absl::Seconds(1), end - absl::Seconds(1), source);
}
// Sessions of an hour on average over its readings: 11:01 to 11:59.
constexpr char kSessions[] =
    "sum(sessions_avg) FILTER (WHERE state = 'active' AND wait_event_type <> 'Activity') / count(DISTINCT \"time\")";

TEST(GetLoad, EachSliceAgreesWithSql) {
  Suite& suite = WithLoad();
  struct Case {
    const char* by;
    const char* key;
    std::vector<std::string> keys;
  };
  const std::vector<Case> cases = {
      {"", "CASE wait_event_type WHEN '' THEN 'CPU' ELSE wait_event_type END", {"CPU", "Lock"}},
      {"wait_event",
       "CASE wait_event_type WHEN '' THEN 'CPU' ELSE wait_event_type || ': ' || wait_event END",
       {"CPU", "Lock: relation"}},
      {"statement", "query_id::text", {"11", "22"}},
      {"user", "usename", {"app", "batch"}},
      {"application", "application_name", {"web"}},
      {"database", "datname", {"shop"}},
      {"backend_type", "backend_type", {"client backend"}},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.by);
    pb::GetLoadRequest request;
    request.set_by(one.by);
    request.add_source("loaded");
    *request.mutable_start() = Stamp(kLastHour);
    *request.mutable_end() = Stamp(kHour);
    const auto answer = rpc::Call(suite.workload(), &Workload::GetLoad, request, suite.Options());
    ASSERT_THAT(answer, IsOk());
    std::vector<std::string> keys;
    for (const pb::LoadEntry& entry : answer->entries()) {
      keys.push_back(entry.key());
      const double sql = suite.Number(
          absl::StrCat("SELECT sum(sessions_avg) FILTER (WHERE state = 'active' AND wait_event_type <> 'Activity' AND ",
                       one.key, " = '", entry.key(), "') / count(DISTINCT \"time\") FROM ",
                       Readings("activity", kLastHour, kHour, "loaded")));
      EXPECT_THAT(entry.average_sessions(), DoubleNear(sql, 1e-9)) << entry.key();
      EXPECT_THAT(entry.share(), DoubleNear(entry.average_sessions() / answer->total_sessions(), 1e-12));
    }
    EXPECT_EQ(keys, one.keys);
    const double total =
        suite.Number(absl::StrCat("SELECT ", kSessions, " FROM ", Readings("activity", kLastHour, kHour, "loaded")));
    EXPECT_THAT(answer->total_sessions(), DoubleNear(total, 1e-9));
    EXPECT_EQ(answer->counts(), "active");
    EXPECT_EQ(answer->metric(), "activity");
    EXPECT_EQ(answer->completeness(), 1);
    EXPECT_EQ(answer->left_out(), 0);
  }
}

TEST(GetLoad, PeaksLimitsFiltersAndRefusals) {
  Suite& suite = WithLoad();
  pb::GetLoadRequest request;
  request.add_source("loaded");
  *request.mutable_start() = Stamp(kLastHour);
  *request.mutable_end() = Stamp(kHour);
  request.set_limit(1);
  const auto one = rpc::Call(suite.workload(), &Workload::GetLoad, request, suite.Options());
  ASSERT_THAT(one, IsOk());
  ASSERT_EQ(one->count(), 1);
  EXPECT_EQ(one->left_out(), 1);
  // 2 in all 59 readings, and 4 in fifteen of them with one of 8.
  EXPECT_THAT(one->total_sessions(), DoubleNear(2 + (14 * 4 + 8) / 59.0, 1e-9));
  request.set_limit(0);
  request.add_filter("usename=batch");
  const auto filtered = rpc::Call(suite.workload(), &Workload::GetLoad, request, suite.Options());
  ASSERT_THAT(filtered, IsOk());
  ASSERT_EQ(filtered->count(), 1);
  EXPECT_EQ(filtered->entries(0).key(), "Lock");
  EXPECT_THAT(filtered->entries(0).peak_sessions(), DoubleEq(8));
  EXPECT_EQ(absl::FromUnixSeconds(filtered->entries(0).peak_at().seconds()), kLastHour + absl::Minutes(7));
  request.set_by("colour");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::GetLoad, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("wait_event")));
  const std::vector<std::string> secret = {"secret"};
  request.set_by("");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::GetLoad, request, suite.Options("viewer", &secret)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::GetLoad, request, Suite::Anonymous()),
              StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST(CompareLoad, TheSameHourOfLastWeek) {
  Suite& suite = WithLoad();
  pb::CompareLoadRequest request;
  request.add_source("loaded");
  const auto answer = rpc::Call(suite.workload(), &Workload::CompareLoad, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(absl::FromUnixSeconds(answer->now().start().seconds()), kLastHour);
  EXPECT_EQ(absl::FromUnixSeconds(answer->before().start().seconds()), kLastHour - kWeek);
  EXPECT_EQ(answer->before().completeness(), 1);
  const auto sql = [&](const std::string& what, const std::string& from) {
    return suite.Number(absl::StrCat("SELECT ", what, " FROM ", from));
  };
  std::map<std::string, const pb::LoadFigure*> figures;
  for (const pb::LoadFigure& figure : answer->figures()) figures[figure.name()] = &figure;
  ASSERT_THAT(figures, SizeIs(8));
  for (const auto& [back, of] :
       {std::pair(kWeek, &pb::LoadFigure::before), {absl::ZeroDuration(), &pb::LoadFigure::now}}) {
    const std::string readings = Readings("activity", kLastHour - back, kHour - back, "loaded");
    const std::string counters = Between("database", kLastHour - back, kHour - back, "loaded");
    EXPECT_THAT((figures["active_sessions"]->*of)(), DoubleNear(sql(kSessions, readings), 1e-9));
    EXPECT_THAT((figures["transactions"]->*of)(),
                DoubleNear(sql("sum(xact_commit + xact_rollback) / 3600", counters), 1e-9));
    EXPECT_THAT((figures["blocks_read"]->*of)(), DoubleNear(sql("sum(blks_read) / 3600", counters), 1e-9));
  }
  EXPECT_THAT(figures["transactions"]->change_percent(), DoubleNear(100 * 300 / 360.0, 1e-6));
  // From nothing there is no share.
  EXPECT_FALSE(figures["blocks_read"]->has_change_percent());
  // What is not collected is not known.
  EXPECT_FALSE(figures["wal_bytes"]->has_now());
  ASSERT_EQ(answer->count(), 2);
  EXPECT_EQ(answer->changes(0).key(), "Lock");
  EXPECT_EQ(answer->changes(0).before(), 0);
  EXPECT_EQ(answer->changes(1).key(), "CPU");
  EXPECT_THAT(answer->changes(1).change(), DoubleNear(1, 1e-9));
  // Of two weeks before nothing is stored.
  request.set_weeks(2);
  const auto none = rpc::Call(suite.workload(), &Workload::CompareLoad, request, suite.Options());
  ASSERT_THAT(none, IsOk());
  EXPECT_EQ(none->before().completeness(), 0);
  EXPECT_FALSE(none->figures(0).has_before());
  EXPECT_FALSE(none->figures(0).has_change_percent());
  ASSERT_THAT(none->changes(), Not(IsEmpty()));
  for (const auto& one : none->changes()) EXPECT_TRUE(one.has_now() && !one.has_before() && !one.has_change());
  for (const auto& [minutes, weeks, by] : {std::tuple(10, 0, ""), {0, 53, ""}, {0, 0, "client"}, {0, 0, "x"}}) {
    request.set_minutes(minutes);
    request.set_weeks(weeks);
    request.set_by(by);
    EXPECT_THAT(rpc::Call(suite.workload(), &Workload::CompareLoad, request, suite.Options()),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

// The tree of query_testing.h: 100 waits for 200 for 32 s, 101 behind it for 26 s and then for a prepared transaction.
TEST(ListBlockers, SecondsByBlocker) {
  Suite& suite = WithLoad();
  pb::ListBlockersRequest request;
  request.add_source("prod");
  *request.mutable_start() = Stamp(kHour);
  *request.mutable_end() = Stamp(kHour + absl::Minutes(30));
  const auto answer = rpc::Call(suite.workload(), &Workload::ListBlockers, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->count(), 2);
  const pb::Blocker& prepared = answer->blockers(0);
  EXPECT_EQ(prepared.gid(), "payment-7");
  EXPECT_EQ(prepared.pid(), 0);
  EXPECT_EQ(prepared.state(), "prepared");
  EXPECT_TRUE(prepared.lasts());
  const pb::Blocker& batch = answer->blockers(1);
  EXPECT_EQ(batch.pid(), 200);
  EXPECT_EQ(batch.user_name(), "batch");
  EXPECT_EQ(batch.application_name(), "report");
  EXPECT_EQ(batch.waits(), 2);
  EXPECT_EQ(batch.blocked_sessions(), 2);
  EXPECT_THAT(batch.relations(), ElementsAre("public.orders"));
  EXPECT_EQ(batch.query_text(), "LOCK orders");
  // In SQL: from the beginning of each wait whose root is 200 to its end, or to the next tree, which no longer has it.
  const double seconds = suite.Number(
      absl::StrCat("WITH b AS (SELECT * FROM ", Between("blocking", kHour, kHour + absl::Minutes(30), "prod"),
                   "), w AS (SELECT blocked_pid, min(blocked_since) AS since, max(\"time\") AS seen, bool_or(ended) "
                   "AS ended FROM b WHERE root_pid = 200 GROUP BY blocked_pid) SELECT sum(extract(epoch FROM CASE WHEN "
                   "ended THEN seen ELSE (SELECT min(b.\"time\") FROM b WHERE b.\"time\" > w.seen) END - "
                   "since))::float8 FROM w"));
  EXPECT_THAT(batch.longest_seconds(), DoubleEq(32));
  EXPECT_THAT(batch.blocked_seconds(), DoubleEq(32 + 26));
  EXPECT_THAT(batch.blocked_seconds(), DoubleNear(seconds, 1e-6));
  EXPECT_THAT(answer->blocked_seconds(), DoubleNear(prepared.blocked_seconds() + batch.blocked_seconds(), 1e-9));
  EXPECT_THAT(batch.share(), DoubleNear(batch.blocked_seconds() / answer->blocked_seconds(), 1e-12));
  EXPECT_EQ(answer->waits_left_out(), 0);
  // A narrower range counts what lies within it.
  *request.mutable_start() = Stamp(kHour + absl::Minutes(10) + absl::Seconds(11));
  *request.mutable_end() = Stamp(kHour + absl::Minutes(10) + absl::Seconds(31));
  request.set_by("user");
  const auto part = rpc::Call(suite.workload(), &Workload::ListBlockers, request, suite.Options());
  ASSERT_THAT(part, IsOk());
  ASSERT_GE(part->count(), 1);
  EXPECT_EQ(part->blockers(0).user_name(), "batch");
  EXPECT_THAT(part->blockers(0).blocked_seconds(), DoubleEq(40));
  request.set_by("colour");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::ListBlockers, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("application")));
  // Without the right to texts there are none.
  request.set_by("");
  const auto hidden =
      rpc::Call(suite.workload(), &Workload::ListBlockers, request, suite.Options("viewer", nullptr, false));
  ASSERT_THAT(hidden, IsOk());
  for (const pb::Blocker& blocker : hidden->blockers()) EXPECT_EQ(blocker.query_text(), "");
}

TEST(Patterns, ThePeakOfEachMorningAgreesWithSql) {
  Suite& suite = WithHistory();
  pb::AnalyzePatternsRequest analyze;
  analyze.add_source("workday");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::AnalyzePatterns, analyze, suite.Options("viewer")),
              StatusIs(absl::StatusCode::kPermissionDenied));
  const auto found = rpc::Call(suite.workload(), &Workload::AnalyzePatterns, analyze, suite.Options("user"));
  ASSERT_THAT(found, IsOk());
  ASSERT_EQ(found->patterns_detected(), 1);
  EXPECT_EQ(found->databases(), 1);
  EXPECT_EQ(found->without_history(), 0);
  const pb::WorkloadPattern& peak = found->patterns(0);
  EXPECT_EQ(peak.pattern_type(), "hourly_peak");
  EXPECT_EQ(peak.source_name(), "workday");
  EXPECT_EQ(peak.database_name(), "shop");
  EXPECT_EQ(peak.when(), "09:00–10:00");
  // Whole days of 2025-12-05 to 12-31 have 24 hours, the edges twelve each.
  EXPECT_EQ(peak.days(), 27);
  EXPECT_EQ(peak.days_seen(), 27);
  EXPECT_EQ(peak.confidence(), 1);
  const std::string medians = absl::StrCat(
      "(SELECT h, percentile_cont(0.5) WITHIN GROUP (ORDER BY load) AS median FROM (SELECT extract(hour FROM "
      "interval_start AT TIME ZONE 'UTC') AS h, interval_start, sum(total_exec_time_us) / 3.6e9 AS load FROM ",
      Between("statements", absl::FromUnixSeconds(1764892800), absl::FromUnixSeconds(1767225600), "workday"),
      " GROUP BY 1, 2) hours GROUP BY h) medians");
  EXPECT_THAT(peak.load(), DoubleNear(suite.Number("SELECT median FROM " + medians + " WHERE h = 9"), 1e-9));
  EXPECT_THAT(peak.mean_load(), DoubleNear(suite.Number("SELECT avg(median) FROM " + medians), 1e-9));
  EXPECT_THAT(
      peak.z_score(),
      DoubleNear(suite.Number("SELECT (max(median) - avg(median)) / stddev_pop(median) FROM " + medians), 1e-6));

  const auto list = [&](const std::string& type, int32_t limit) {
    pb::ListPatternsRequest request;
    request.add_source("workday");
    request.set_pattern_type(type);
    request.set_limit(limit);
    std::vector<pb::WorkloadPattern> patterns;
    const absl::Status status = rpc::CallStream<Workload, pb::ListPatternsRequest, pb::WorkloadPattern>(
        suite.workload(), &Workload::ListPatterns, request, suite.Options(), [&](pb::WorkloadPattern& pattern) {
          patterns.push_back(pattern);
          return absl::OkStatus();
        });
    return std::pair(status, patterns);
  };
  EXPECT_THAT(list("", 0).second, SizeIs(1));
  EXPECT_THAT(list("hourly_peak", 0).second, SizeIs(1));
  EXPECT_THAT(list("weekday_peak", 0).second, SizeIs(0));
  EXPECT_EQ(list("monthly", 0).first.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(list("", 1001).first.code(), absl::StatusCode::kInvalidArgument);
  analyze.set_lookback_days(6);
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::AnalyzePatterns, analyze, suite.Options("user")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("7 to 365")));
  analyze.set_lookback_days(7);
  analyze.set_time_zone("Mars/Olympus");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::AnalyzePatterns, analyze, suite.Options("user")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("Europe/Zurich")));
}

absl::StatusOr<pb::PredictPerformanceResponse> PredictIt(const std::string& id, absl::Time at,
                                                         std::optional<double> rows) {
  pb::PredictPerformanceRequest request;
  request.set_query_hash(id);
  request.add_source("workday");
  *request.mutable_at() = Stamp(at);
  if (rows) request.set_rows(*rows);
  return rpc::Call(WithHistory().workload(), &Workload::PredictPerformance, request, Suite::Get().Options());
}

TEST(Predictions, ByHourAndBySizeAgreeWithSql) {
  Suite& suite = WithHistory();
  // Tomorrow at half past nine, by the median of such hours of the week.
  const absl::Time morning = kHour + absl::Hours(21) + absl::Minutes(30);
  const auto by_hour = PredictIt("800", morning, std::nullopt);
  ASSERT_THAT(by_hour, IsOk());
  EXPECT_EQ(by_hour->not_judged(), "");
  EXPECT_EQ(by_hour->method(), "hour_of_week");
  EXPECT_THAT(by_hour->predicted_execution_time_ms(),
              DoubleNear(suite.Number(absl::StrCat(
                             "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY total_exec_time_us / 1000.0 / calls) "
                             "FROM ",
                             Between("statements", kHour - absl::Hours(kDays * 24), kHour, "workday"),
                             " AND queryid = 800 AND extract(hour FROM interval_start AT TIME ZONE 'UTC') = 9 AND "
                             "extract(dow FROM interval_start AT TIME ZONE 'UTC') = 5")),
                         1e-9));
  EXPECT_EQ(by_hour->hours(), kDays * 24);
  EXPECT_EQ(by_hour->tested_hours(), 48);
  EXPECT_EQ(by_hour->median_error_percent(), 0);
  EXPECT_EQ(by_hour->confidence(), 1);
  EXPECT_THAT(by_hour->completeness(), DoubleNear(kDays / 30.0, 1e-9));
  // 0.2 ms a row.
  const auto by_rows = PredictIt("801", morning, 500);
  ASSERT_THAT(by_rows, IsOk());
  EXPECT_EQ(by_rows->method(), "by_rows");
  EXPECT_THAT(by_rows->predicted_execution_time_ms(),
              DoubleNear(500 * suite.Number(absl::StrCat(
                                   "SELECT regr_slope(total_exec_time_us / 1000.0 / calls, rows::float8 / calls) FROM ",
                                   Between("statements", kHour - absl::Hours(kDays * 24), kHour, "workday"),
                                   " AND queryid = 801")),
                         1e-6));
  EXPECT_EQ(by_rows->rows(), 500);
  // A statement of 24 hours: not enough for hours of the day.
  const auto young = PredictIt("805", morning, std::nullopt);
  ASSERT_THAT(young, IsOk());
  EXPECT_EQ(young->method(), "all_hours");
  EXPECT_THAT(young->predicted_execution_time_ms(), DoubleNear(0.1, 1e-9));
  EXPECT_EQ(young->tested_hours(), 12);
  EXPECT_THAT(PredictIt("999", morning, std::nullopt), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(PredictIt("x", morning, std::nullopt), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(PredictIt("801", morning, -1), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("rows")));
  EXPECT_THAT(PredictIt("801", kHour + absl::Hours(31 * 24), std::nullopt),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("30 days")));
  EXPECT_NE(PredictIt("801", kHour - absl::Hours(kDays * 24 - 5), std::nullopt)->not_judged(), "");
}

TEST(Predictions, ValidationFeaturesAndTraining) {
  Suite& suite = WithHistory();
  pb::ValidatePredictionRequest validate;
  validate.set_query_hash("800");
  validate.add_source("workday");
  const auto tested = rpc::Call(suite.workload(), &Workload::ValidatePrediction, validate, suite.Options());
  ASSERT_THAT(tested, IsOk());
  ASSERT_EQ(tested->methods_size(), 4);
  std::map<std::string, const pb::PredictionMethod*> methods;
  for (const pb::PredictionMethod& method : tested->methods()) methods[method.method()] = &method;
  EXPECT_TRUE(methods["hour_of_week"]->used());
  EXPECT_EQ(methods["hour_of_week"]->median_error_percent(), 0);
  EXPECT_EQ(methods["by_rows"]->tested_hours(), 0);
  EXPECT_FALSE(methods["by_rows"]->has_median_error_percent());
  EXPECT_GT(methods["all_hours"]->median_error_percent(), 0);

  pb::GetFeaturesRequest features;
  features.set_query_hash("801");
  features.add_source("workday");
  const auto of = rpc::Call(suite.workload(), &Workload::GetFeatures, features, suite.Options());
  ASSERT_THAT(of, IsOk());
  const auto sql = [&](const std::string& what) {
    return suite.Number(absl::StrCat("SELECT (", what, ")::float8 FROM ",
                                     Between("statements", kHour - absl::Hours(kDays * 24), kHour, "workday"),
                                     " AND queryid = 801"));
  };
  const std::map<std::string, std::string> wanted = {
      {"hours", "count(*)"},
      {"calls", "sum(calls)"},
      {"mean_time_ms", "sum(total_exec_time_us) / 1000.0 / sum(calls)"},
      {"rows_per_call", "sum(rows)::float8 / sum(calls)"},
      {"blocks_per_call", "sum(shared_blks_hit + shared_blks_read)::float8 / sum(calls)"},
      {"blocks_read_per_call", "sum(shared_blks_read)::float8 / sum(calls)"},
      {"io_time_ms_per_call", "0"},
      {"least_ms", "min(total_exec_time_us / 1000.0 / calls)"},
      {"most_ms", "max(total_exec_time_us / 1000.0 / calls)"},
      {"median_ms", "percentile_cont(0.5) WITHIN GROUP (ORDER BY total_exec_time_us / 1000.0 / calls)"}};
  ASSERT_EQ(of->features().size(), wanted.size());
  for (const auto& [name, expression] : wanted) {
    EXPECT_THAT(of->features().at(name), DoubleNear(sql(expression), 1e-6)) << name;
  }

  pb::TrainRequest train;
  train.add_source("workday");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::Train, train, suite.Options("viewer")),
              StatusIs(absl::StatusCode::kPermissionDenied));
  const auto job = rpc::Call(suite.workload(), &Workload::Train, train, suite.Options("user"));
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->status(), "completed");
  EXPECT_EQ(job->model_type(), "history");
  EXPECT_EQ(job->statements(), 6);
  EXPECT_EQ(job->fitted(), 6);
  EXPECT_EQ(absl::FromUnixSeconds(job->fitted_at().seconds()), kNow);
  EXPECT_EQ(absl::FromUnixSeconds(job->end().seconds()), kHour);
  EXPECT_EQ(job->methods().at("by_rows"), 1);
  pb::GetTrainingRequest get;
  get.add_source("workday");
  get.set_job_id(job->job_id());
  const auto again = rpc::Call(suite.workload(), &Workload::GetTraining, get, suite.Options());
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->SerializeAsString().size(), job->SerializeAsString().size());
  EXPECT_EQ(again->median_error_percent(), job->median_error_percent());
  for (const char* const bad : {"x", "1-30", "1767268800-5", "1767272400-90", "1767268801-90"}) {
    get.set_job_id(bad);
    EXPECT_THAT(rpc::Call(suite.workload(), &Workload::GetTraining, get, suite.Options()),
                StatusIs(absl::StatusCode::kNotFound))
        << bad;
  }
  train.set_model_type("random_forest");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::Train, train, suite.Options("user")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("history")));
  const auto health =
      rpc::Call(suite.workload(), &Workload::GetModelHealth, pb::GetModelHealthRequest(), Suite::Anonymous());
  ASSERT_THAT(health, IsOk());
  EXPECT_EQ(health->status(), "healthy");
  EXPECT_EQ(health->metrics_database(), "ok");
  const auto breaker =
      rpc::Call(suite.workload(), &Workload::GetCircuitBreaker, pb::GetCircuitBreakerRequest(), Suite::Anonymous());
  ASSERT_THAT(breaker, IsOk());
  EXPECT_EQ(breaker->state(), "closed");
}

TEST(Suggestions, OfOneStatement) {
  Suite& suite = WithHistory();
  const auto rewrites = [&](const std::string& id, const std::string& role = "viewer") {
    pb::ListRewritesRequest request;
    request.set_query_hash(id);
    request.set_hours(24);
    request.add_source("workday");
    return rpc::Call(suite.workload(), &Workload::ListRewrites, request, suite.Options(role));
  };
  const auto lists = rewrites("802");
  ASSERT_THAT(lists, IsOk());
  ASSERT_EQ(lists->count(), 1);
  EXPECT_EQ(lists->suggestions(0).suggestion_type(), "in_list");
  const pb::Advice& advice = lists->suggestions(0).advice();
  EXPECT_EQ(advice.figures().at("variants"), 3);
  EXPECT_EQ(advice.source_name(), "workday");
  EXPECT_THAT(advice.query_id(), ElementsAre("802"));
  // A range of a day starts at a full hour.
  EXPECT_THAT(advice.figures().at("calls"),
              DoubleEq(suite.Number(absl::StrCat("SELECT sum(calls)::float8 FROM ",
                                                 Between("statements", kHour - absl::Hours(24), kNow, "workday"),
                                                 " AND queryid = 802"))));
  EXPECT_EQ(rewrites("800")->suggestions(0).suggestion_type(), "not_in_subquery");
  EXPECT_EQ(rewrites("805")->count(), 0);
  EXPECT_THAT(rewrites("999"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("24 hours")));
  pb::GenerateRewritesRequest generate;
  generate.set_query_hash("802");
  generate.add_source("workday");
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::GenerateRewrites, generate, suite.Options("viewer")),
              StatusIs(absl::StatusCode::kPermissionDenied));
  const auto generated = rpc::Call(suite.workload(), &Workload::GenerateRewrites, generate, suite.Options("user"));
  ASSERT_THAT(generated, IsOk());
  EXPECT_EQ(generated->suggestions_generated(), 1);
  EXPECT_THAT(generated->suggestion_types(), ElementsAre("in_list"));
  pb::GenerateParametersRequest parameters;
  parameters.set_query_hash("805");
  parameters.add_source("workday");
  const auto batch = rpc::Call(suite.workload(), &Workload::GenerateParameters, parameters, suite.Options("user"));
  ASSERT_THAT(batch, IsOk());
  ASSERT_EQ(batch->suggestions_count(), 1);
  EXPECT_EQ(batch->suggestions(0).suggestion_type(), "batch_size");
  pb::ListParametersRequest list;
  list.set_query_hash("805");
  list.add_source("workday");
  EXPECT_EQ(rpc::Call(suite.workload(), &Workload::ListParameters, list, suite.Options())->count(), 1);
  list.set_limit(101);
  EXPECT_THAT(rpc::Call(suite.workload(), &Workload::ListParameters, list, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace pga::query
