// Activity, blocking, states and freshness, what a caller may see of them, and that merging changes no answer.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/pg/errors.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "libs/storage/read/names.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/schema_testing.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "services/query/query_testing.h"
#include "services/query/read_errors.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;
using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(Groups, EnterEveryRead) {
  Suite& suite = Suite::Get();
  const std::vector<std::string> only_default = {"default"};
  EXPECT_EQ(rpc::Call(suite.queries(), &Stub::GetMetrics, pb::GetMetricsRequest(), suite.Options())
                ->by_type()
                .count("database"),
            1u);
  const auto totals =
      rpc::Call(suite.queries(), &Stub::GetMetrics, pb::GetMetricsRequest(), suite.Options("viewer", &only_default));
  ASSERT_THAT(totals, IsOk());
  EXPECT_EQ(totals->by_type().count("database"), 0u);
  EXPECT_EQ(totals->by_type().at("statements"), 30);

  // A source of another group is to the caller as if it were not there.
  const rpc::CallOptions caller = suite.Options("viewer", &only_default);
  pb::QuerySeriesRequest series = CallsSeries();
  series.clear_source();
  series.add_source("payroll");
  pb::TopQueriesRequest top;
  top.add_source("payroll");
  pb::QueryTimelineRequest timeline;
  timeline.set_query_hash("11");
  timeline.add_source("payroll");
  pb::GetActivityRequest activity;
  activity.add_source("payroll");
  pb::GetStateRequest state;
  state.set_metric("settings");
  state.add_source("payroll");
  pb::GetRowsRequest rows;
  rows.set_metric("database");
  rows.add_source("payroll");
  pb::ListLogEventsRequest logs;
  logs.add_source("payroll");
  pb::ListPlansRequest plans;
  plans.add_source("payroll");
  pb::GetFreshnessRequest freshness;
  freshness.add_source("payroll");
  const std::map<std::string, absl::Status> hidden = {
      {"QuerySeries", suite.Series(series, caller).status()},
      {"TopQueries", rpc::Call(suite.queries(), &Stub::TopQueries, top, caller).status()},
      {"QueryTimeline", rpc::Call(suite.queries(), &Stub::QueryTimeline, timeline, caller).status()},
      {"GetActivity", rpc::Call(suite.queries(), &Stub::GetActivity, activity, caller).status()},
      {"GetState", rpc::Call(suite.queries(), &Stub::GetState, state, caller).status()},
      {"GetRows", rpc::Call(suite.queries(), &Stub::GetRows, rows, caller).status()},
      {"ListLogEvents", rpc::Call(suite.queries(), &Stub::ListLogEvents, logs, caller).status()},
      {"ListPlans", rpc::Call(suite.queries(), &Stub::ListPlans, plans, caller).status()},
      {"GetFreshness", rpc::Call(suite.queries(), &Stub::GetFreshness, freshness, caller).status()},
  };
  // Looked at above, open to anybody, or not for people.
  const std::set<std::string> others = {"SourceActivity", "GetMetrics", "CountMetrics", "CollectorActivity",
                                        "LogPositions"};
  const google::protobuf::ServiceDescriptor* service =
      pb::CountMetricsRequest::descriptor()->file()->FindServiceByName("QueryService");
  ASSERT_NE(service, nullptr);
  for (int i = 0; i < service->method_count(); ++i) {
    const std::string& name = service->method(i)->name();
    if (others.contains(name)) continue;
    ASSERT_TRUE(hidden.contains(name)) << "a new read: say here how groups enter it";
    EXPECT_THAT(hidden.at(name), StatusIs(absl::StatusCode::kNotFound, HasSubstr("may not see"))) << name;
  }
}

TEST(SourceActivity, TellsRegistryWhatWasStored) {
  Suite& suite = Suite::Get();
  const auto registry = suite.Identity("registry");
  const auto answer = rpc::Call(suite.queries(), &Stub::SourceActivity, pb::SourceActivityRequest(),
                                rpc::OwnWork(absl::Seconds(20), registry.get()));
  ASSERT_THAT(answer, IsOk());
  std::map<std::string, pb::SourceActivityEntry> by_id;
  for (const pb::SourceActivityEntry& source : answer->sources()) by_id[source.source_id()] = source;
  const pb::SourceActivityEntry& prod = by_id["00000000-0000-0000-0000-000000000001"];
  EXPECT_EQ(prod.frames_24h(), 77);
  EXPECT_GE(prod.rows_24h(), prod.frames_24h());
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::SourceActivity, pb::SourceActivityRequest(), suite.Options("admin")),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST(GetActivity, ShowsOneInstant) {
  Suite& suite = Suite::Get();
  pb::GetActivityRequest request;
  *request.mutable_at() = Stamp(kHour + absl::Seconds(10 * 60 + 30));
  const auto answer = rpc::Call(suite.queries(), &Stub::GetActivity, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->rows_size(), 1);
  EXPECT_EQ(answer->rows(0).samples(), 30);
  EXPECT_EQ(answer->rows(0).state(), "active");
  EXPECT_EQ(answer->rows(0).wait_event(), "transactionid");
  EXPECT_EQ(answer->rows(0).query_text(), "SELECT $1");
  EXPECT_EQ(answer->rows(0).time().seconds(), absl::ToUnixSeconds(kHour + absl::Minutes(11)));
  EXPECT_EQ(answer->rows(0).source_name(), "prod");
}

TEST(GetActivity, ShowsNothingWhereNothingWasSampled) {
  Suite& suite = Suite::Get();
  pb::GetActivityRequest request;
  request.add_source("prod");
  // The last sample is of 12:30:00, the interval a minute.
  for (const auto& [seconds, sampled] : {std::pair(30, true), std::pair(120, false), std::pair(3600 * 5, false)}) {
    *request.mutable_at() = Stamp(kHour + absl::Minutes(30) + absl::Seconds(seconds));
    const auto answer = rpc::Call(suite.queries(), &Stub::GetActivity, request, suite.Options());
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->rows_size(), sampled ? 1 : 0) << seconds;
    EXPECT_EQ(answer->blocking_size(), sampled ? 1 : 0) << seconds;
    ASSERT_EQ(answer->sources_size(), 1);
    EXPECT_EQ(answer->sources(0).source_name(), "prod");
    EXPECT_EQ(answer->sources(0).sampled(), sampled) << seconds;
    EXPECT_EQ(answer->sources(0).last_sampled_at().seconds(), absl::ToUnixSeconds(kHour + absl::Minutes(30)));
  }
  // Before the first sample nothing is known, whatever came later.
  *request.mutable_at() = Stamp(kHour - absl::Minutes(3));
  const auto before = rpc::Call(suite.queries(), &Stub::GetActivity, request, suite.Options());
  ASSERT_THAT(before, IsOk());
  EXPECT_EQ(before->rows_size(), 0);
  EXPECT_FALSE(before->sources(0).has_last_sampled_at());
}

TEST(GetActivity, TellsEachWaitFromItsBeginningToItsEnd) {
  Suite& suite = Suite::Get();
  pb::GetActivityRequest request;
  *request.mutable_start() = Stamp(kHour);
  *request.mutable_end() = Stamp(kHour + absl::Minutes(20));
  request.add_source("prod");
  const auto answer = rpc::Call(suite.queries(), &Stub::GetActivity, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->blocking_size(), 3) << answer->DebugString();
  const auto seconds = [](const google::protobuf::Timestamp& time) {
    return time.seconds() - absl::ToUnixSeconds(kHour + absl::Minutes(10));
  };
  const pb::BlockingEdge& first = answer->blocking(0);
  EXPECT_EQ(first.blocked().pid(), 100);
  EXPECT_EQ(first.blocking().pid(), 200);
  EXPECT_EQ(seconds(first.from()), -1);
  EXPECT_EQ(seconds(first.until()), 31);
  EXPECT_FALSE(first.lasts());
  EXPECT_EQ(first.blocked_seconds(), 32);
  EXPECT_EQ(first.depth(), 1);
  EXPECT_EQ(first.lock_type(), "transactionid");
  EXPECT_EQ(first.lock_mode(), "ShareLock");
  EXPECT_EQ(first.relation(), "public.orders");
  EXPECT_EQ(first.blocked().query_text(), "SELECT $1");
  EXPECT_FALSE(first.blocked().query_text_truncated());
  const pb::BlockingEdge& second = answer->blocking(1);
  EXPECT_EQ(second.blocked().pid(), 101);
  EXPECT_EQ(second.blocking().pid(), 100);
  EXPECT_EQ(second.depth(), 2);
  EXPECT_EQ(second.blocked_seconds(), 26);
  EXPECT_EQ(second.root().pid(), 200);
  EXPECT_EQ(second.root().user(), "batch");
  EXPECT_EQ(second.root().application(), "report");
  EXPECT_EQ(second.root().state(), "idle in transaction");
  EXPECT_EQ(second.root().query_text(), "LOCK orders");
  const pb::BlockingEdge& third = answer->blocking(2);
  EXPECT_EQ(third.blocking().gid(), "payment-7");
  EXPECT_EQ(third.blocking().pid(), 0);
  EXPECT_EQ(third.root().gid(), "payment-7");
  EXPECT_TRUE(third.lasts());
  EXPECT_EQ(seconds(third.until()), 20 * 60);

  // A limit keeps the longest and says how many there are.
  request.set_limit(1);
  const auto longest = rpc::Call(suite.queries(), &Stub::GetActivity, request, suite.Options());
  ASSERT_THAT(longest, IsOk());
  ASSERT_EQ(longest->blocking_size(), 1);
  EXPECT_EQ(longest->blocking(0).blocking().gid(), "payment-7");
  EXPECT_EQ(longest->blocking_found(), 3);

  // The text that a session showed is cut as that of a statement.
  request.clear_limit();
  request.set_text_length(4);
  const auto cut = rpc::Call(suite.queries(), &Stub::GetActivity, request, suite.Options());
  ASSERT_THAT(cut, IsOk());
  EXPECT_EQ(cut->blocking(0).blocked().query_text(), "SELE");
  EXPECT_TRUE(cut->blocking(0).blocked().query_text_truncated());
  EXPECT_EQ(cut->blocking(1).root().query_text(), "LOCK");
  EXPECT_TRUE(cut->blocking(1).root().query_text_truncated());
  EXPECT_EQ(cut->rows(0).query_text(), "SELE");
  EXPECT_TRUE(cut->rows(0).query_text_truncated());

  // At an instant, the waits there were then; without the right to texts, none of these.
  pb::GetActivityRequest instant;
  *instant.mutable_at() = Stamp(kHour + absl::Minutes(10) + absl::Seconds(3));
  const auto then =
      rpc::Call(suite.queries(), &Stub::GetActivity, instant, suite.Options("viewer", nullptr, /*texts=*/false));
  ASSERT_THAT(then, IsOk());
  ASSERT_EQ(then->blocking_size(), 1);
  EXPECT_EQ(then->blocking(0).blocked().pid(), 100);
  EXPECT_EQ(then->blocking(0).root().query_text(), "");
}

TEST(GetActivity, AddsUpARange) {
  Suite& suite = Suite::Get();
  pb::GetActivityRequest request;
  *request.mutable_start() = Stamp(kHour);
  *request.mutable_end() = Stamp(kHour + absl::Minutes(20));
  const auto answer = rpc::Call(suite.queries(), &Stub::GetActivity, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->rows_size(), 1);
  EXPECT_EQ(answer->rows(0).samples(), 600);
  EXPECT_NEAR(answer->rows(0).average_sessions(), 0.5, 1e-9);
}

std::string Shown(const pb::GetStateResponse& answer) {
  std::string text;
  const auto name = [](const auto& row) { return row.labels().begin()->second; };
  for (const pb::StateRow& row : answer.rows()) {
    absl::StrAppend(&text, name(row), ":");
    for (const auto& [column, value] : std::map<std::string, std::string>(row.values().begin(), row.values().end())) {
      absl::StrAppend(&text, " ", column, "=", value);
    }
    absl::StrAppend(&text, "\n");
  }
  for (const pb::StateChange& change : answer.changes()) {
    const auto minute = [](const google::protobuf::Timestamp& time) {
      return (time.seconds() - absl::ToUnixSeconds(kHour)) / 60;
    };
    absl::StrAppend(&text, minute(change.seen_before()), "-", minute(change.seen_after()), " ", name(change), " ",
                    change.what(), " ", change.column(), " ", change.before(), ">", change.after(), "\n");
  }
  return text;
}

TEST(GetState, TellsTheNewestValuesAndWhatChanged) {
  Suite& suite = Suite::Get();
  pb::GetStateRequest request;
  request.set_metric("settings");
  request.add_source("prod");
  request.add_column("setting_value");
  request.add_column("pending_restart");
  for (const bool merged : {false, true}) {
    if (merged && storage::MetricsDatabase::TestLayout() == storage::Layout::kCitus) break;
    if (merged) suite.Merge("settings", kHour + absl::Minutes(12));
    request.clear_hours();
    request.clear_end();
    const auto now = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
    ASSERT_THAT(now, IsOk());
    EXPECT_EQ(Shown(*now),
              "port: pending_restart=false setting_value=5432\nwork_mem: pending_restart=false setting_value=65536\n");
    EXPECT_EQ(now->rows(0).source_name(), "prod");
    EXPECT_EQ(now->rows(0).collected_at().seconds(), absl::ToUnixSeconds(kHour + absl::Minutes(25)));
    *request.mutable_end() = Stamp(kHour + absl::Minutes(12));
    const auto then = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
    ASSERT_THAT(then, IsOk());
    EXPECT_EQ(Shown(*then),
              "ext.mode: pending_restart=false setting_value=fast\nport: pending_restart=false setting_value=5432\n"
              "work_mem: pending_restart=false setting_value=4096\n");
    request.clear_end();
    request.set_hours(1);
    const auto hour = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
    ASSERT_THAT(hour, IsOk());
    EXPECT_EQ(Shown(*hour).substr(Shown(*now).size()),
              "20-25 ext.mode vanished  >\n15-20 work_mem changed setting_value 4096>65536\n"
              "5-10 ext.mode appeared  >\n");
    EXPECT_EQ(hour->changes_found(), 3);
  }
}

TEST(GetState, HoldsTheBeginningOfLongValues) {
  Suite& suite = Suite::Get();
  pb::GetStateRequest request;
  request.set_metric("settings");
  request.add_source("prod");
  request.add_column("setting_value");
  request.add_column("setting_unit");
  request.add_filter("setting_name=work_mem");
  request.set_hours(1);
  request.set_text_length(2);
  const auto cut = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
  ASSERT_THAT(cut, IsOk());
  ASSERT_EQ(cut->rows_size(), 1);
  EXPECT_EQ(cut->rows(0).values().at("setting_value"), "65");
  EXPECT_EQ(cut->rows(0).values().at("setting_unit"), "kB");
  EXPECT_THAT(cut->rows(0).truncated(), ::testing::ElementsAre("setting_value"));
  ASSERT_EQ(cut->changes_size(), 1);
  EXPECT_EQ(cut->changes(0).before(), "40");
  EXPECT_EQ(cut->changes(0).after(), "65");
  EXPECT_TRUE(cut->changes(0).truncated());
  request.set_text_length(5);
  const auto whole = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->rows(0).values().at("setting_value"), "65536");
  EXPECT_EQ(whole->rows(0).truncated_size(), 0);
  EXPECT_FALSE(whole->changes(0).truncated());
}

TEST(GetState, RowsThatAreAllSentVanishWhenTheyAreNotThere) {
  Suite& suite = Suite::Get();
  pb::GetStateRequest request;
  request.set_metric("replication_slots");
  request.add_source("prod");
  request.add_column("is_active");
  request.set_hours(1);
  const auto answer = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(Shown(*answer),
            "standby: is_active=false\n4-5 backup vanished  >\n4-5 standby changed is_active true>false\n"
            "1-2 backup appeared  >\n");
}

TEST(GetState, SaysWhatToChange) {
  Suite& suite = Suite::Get();
  const auto ask = [&](const std::function<void(pb::GetStateRequest&)>& change) {
    pb::GetStateRequest request;
    request.set_metric("settings");
    change(request);
    return rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options()).status();
  };
  EXPECT_THAT(ask([](auto& r) { r.set_metric("setings"); }), StatusIs(kInvalid, HasSubstr("did you mean settings")));
  EXPECT_THAT(ask([](auto& r) { r.set_metric("activity"); }), StatusIs(kInvalid, HasSubstr("no info columns")));
  EXPECT_THAT(ask([](auto& r) { r.add_column("value"); }), StatusIs(kInvalid, HasSubstr("it has: setting_value")));
  EXPECT_THAT(ask([](auto& r) { r.set_limit(-1); }), StatusIs(kInvalid, HasSubstr("1 to 10000")));
  EXPECT_THAT(ask([](auto& r) { *r.mutable_start() = Stamp(kHour - absl::Hours(24 * 90)); }),
              StatusIs(kInvalid, HasSubstr("are kept for")));
}

TEST(GetFreshness, TellsAgeAndCompleteness) {
  Suite& suite = Suite::Get();
  pb::GetFreshnessRequest request;
  request.add_source("prod");
  *request.mutable_start() = Stamp(kHour - absl::Minutes(30));
  *request.mutable_end() = Stamp(kHour + absl::Minutes(30));
  const auto answer = rpc::Call(suite.queries(), &Stub::GetFreshness, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  std::map<std::string, pb::Freshness> by_metric;
  for (const pb::Freshness& entry : answer->freshness()) by_metric[entry.metric()] = entry;
  EXPECT_NEAR(by_metric["statements"].completeness(), 0.5, 1e-6);
  EXPECT_NEAR(by_metric["statements"].age_seconds(), 30, 1e-6);
  EXPECT_EQ(by_metric["statements"].frames(), 29);
  EXPECT_NEAR(by_metric["activity"].completeness(), 29.0 / 60, 1e-6);
}

TEST(GetRows, AddsCountersUpAndTakesTheLastReadings) {
  Suite& suite = Suite::Get();
  pb::GetRowsRequest request;
  request.set_metric("statements");
  for (const char* column : {"calls", "total_exec_time_us"}) request.add_column(column);
  request.add_source("prod");
  *request.mutable_start() = Stamp(kHour);
  *request.mutable_end() = Stamp(kHour + absl::Minutes(30));
  request.set_sort("-calls");
  const auto answer = rpc::Call(suite.queries(), &Stub::GetRows, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->rows_size(), 2);
  const pb::MetricRow& first = answer->rows(0);
  EXPECT_EQ(first.labels().at("queryid"), "11");
  EXPECT_EQ(first.labels().at("datname"), "shop");
  EXPECT_EQ(first.numbers().at("calls"), 300);
  EXPECT_EQ(first.numbers().at("total_exec_time_us"), 600000);
  EXPECT_EQ(first.numbers().size(), 2u);
  EXPECT_EQ(first.source_name(), "prod");
  EXPECT_FALSE(first.lower_bound());
  EXPECT_EQ(answer->rows(1).numbers().at("calls"), 10);
  EXPECT_TRUE(answer->rows(1).lower_bound());
  EXPECT_NEAR(answer->completeness(), 1, 1e-6);
  ASSERT_EQ(answer->columns_size(), 2);
  EXPECT_EQ(answer->columns(1).kind(), "counter");
  EXPECT_EQ(answer->columns(1).unit(), "us");

  // Covered and not run: known to be 0. Not covered: not known.
  *request.mutable_start() = Stamp(kHour + absl::Minutes(15));
  *request.mutable_end() = Stamp(kHour + absl::Minutes(20));
  request.set_limit(1);
  request.set_sort("calls");
  auto later = rpc::Call(suite.queries(), &Stub::GetRows, request, suite.Options());
  ASSERT_THAT(later, IsOk());
  ASSERT_EQ(later->rows_size(), 1);
  EXPECT_EQ(later->rows_found(), 2);
  EXPECT_EQ(later->rows(0).labels().at("queryid"), "22");
  EXPECT_EQ(later->rows(0).numbers().at("calls"), 0);
  *request.mutable_start() = Stamp(kHour + absl::Minutes(50));
  *request.mutable_end() = Stamp(kHour + absl::Minutes(60));
  later = rpc::Call(suite.queries(), &Stub::GetRows, request, suite.Options());
  ASSERT_THAT(later, IsOk());
  ASSERT_EQ(later->rows_size(), 1);
  EXPECT_TRUE(later->rows(0).numbers().empty());
  EXPECT_EQ(later->completeness(), 0);

  pb::GetRowsRequest sessions;
  sessions.set_metric("activity");
  *sessions.mutable_end() = Stamp(kHour + absl::Seconds(10 * 60 + 30));
  const auto then = rpc::Call(suite.queries(), &Stub::GetRows, sessions, suite.Options());
  ASSERT_THAT(then, IsOk());
  ASSERT_EQ(then->rows_size(), 1);
  EXPECT_EQ(then->rows(0).numbers().at("sessions_avg"), 0.5);
  EXPECT_EQ(then->rows(0).numbers().at("samples"), 30);
  EXPECT_EQ(then->rows(0).collected_at().seconds(), absl::ToUnixSeconds(kHour + absl::Minutes(10)));
}

TEST(GetRows, AreThoseThatWereThereAtTheEnd) {
  Suite& suite = Suite::Get();
  const auto names = [&](const char* metric, const char* label, int minute) {
    pb::GetRowsRequest request;
    request.set_metric(metric);
    request.set_sort(std::string("-") + label);
    *request.mutable_end() = Stamp(kHour + absl::Minutes(minute) + absl::Seconds(30));
    const auto answer = rpc::Call(suite.queries(), &Stub::GetRows, request, suite.Options());
    EXPECT_THAT(answer, IsOk());
    std::string text;
    if (!answer.ok()) return text;
    for (const pb::MetricRow& row : answer->rows()) absl::StrAppend(&text, row.labels().at(label), " ");
    return text;
  };
  EXPECT_EQ(names("replication_slots", "slot_name", 3), "standby backup ");
  EXPECT_EQ(names("replication_slots", "slot_name", 5), "standby ");
  EXPECT_EQ(names("settings", "setting_name", 5), "work_mem port ");
  EXPECT_EQ(names("settings", "setting_name", 15), "work_mem port ext.mode ");
  EXPECT_EQ(names("settings", "setting_name", 27), "work_mem port ");
}

TEST(GetRows, SaysWhatToChange) {
  Suite& suite = Suite::Get();
  const auto ask = [&](const std::function<void(pb::GetRowsRequest&)>& change) {
    pb::GetRowsRequest request;
    request.set_metric("database");
    change(request);
    return rpc::Call(suite.queries(), &Stub::GetRows, request, suite.Options()).status();
  };
  EXPECT_THAT(ask([](auto& r) { r.set_metric("databse"); }), StatusIs(kInvalid, HasSubstr("did you mean database")));
  EXPECT_THAT(ask([](auto& r) { r.add_column("deadlock"); }), StatusIs(kInvalid, HasSubstr("deadlocks")));
  EXPECT_THAT(ask([](auto& r) { r.add_column("datname"); }), StatusIs(kInvalid, HasSubstr("besides its labels")));
  EXPECT_THAT(ask([](auto& r) { r.set_sort("deadlock"); }), StatusIs(kInvalid, HasSubstr("largest first")));
  EXPECT_THAT(ask([](auto& r) {
                r.add_column("deadlocks");
                r.set_sort("blks_hit");
              }),
              StatusIs(kInvalid, HasSubstr("nor asked for")));
  EXPECT_THAT(ask([](auto& r) { r.add_filter("nope=1"); }), StatusIs(kInvalid, HasSubstr("datname")));
  EXPECT_THAT(ask([](auto& r) { r.set_limit(10001); }), StatusIs(kInvalid, HasSubstr("1 to 10000")));
  EXPECT_THAT(ask([](auto& r) { *r.mutable_end() = Stamp(kNow - absl::Hours(24 * 40)); }),
              StatusIs(kInvalid, HasSubstr("kept for 30 days")));
}

TEST(ForCaller, SaysWhatToAskInstead) {
  const absl::Status missing = pg::MakeError("42P01", "relation \"metrics.x\" does not exist");
  const struct {
    absl::Status status;
    absl::StatusCode code;
    std::string message;
  } cases[] = {{absl::OkStatus(), absl::StatusCode::kOk, ""},
               {pg::MakeError("57014", "ERROR:  canceling statement due to statement timeout"),
                absl::StatusCode::kDeadlineExceeded, "the read took longer than allowed; ask for a shorter range"},
               {absl::DeadlineExceededError("no time left for the statement"), absl::StatusCode::kDeadlineExceeded,
                "the read took longer than allowed; ask for a shorter range"},
               {pg::MakeError("2201B", "ERROR:  invalid regular expression: parentheses () not balanced\nCONTEXT: x"),
                kInvalid, "invalid regular expression: parentheses () not balanced"},
               {absl::InvalidArgumentError("limit is 0"), kInvalid, "limit is 0"},
               {missing, missing.code(), "relation"}};
  for (const auto& c : cases) {
    const absl::Status answered = ForCaller(c.status);
    EXPECT_EQ(answered.code(), c.code) << c.status;
    EXPECT_EQ(answered.message().substr(0, c.message.size()), c.message);
    EXPECT_EQ(answered.message().find("CONTEXT"), absl::string_view::npos);
  }
}

// Behind all others: the answers above were from frames alone.
TEST(MergingFrames, ChangesNoAnswer) {
  if (storage::MetricsDatabase::TestLayout() == storage::Layout::kCitus) {
    GTEST_SKIP() << "the test's own DELETE computes in RETURNING, which is not sent to workers";
  }
  Suite& suite = Suite::Get();
  const auto answers = [&suite] {
    std::map<std::string, std::string> texts;
    const rpc::CallOptions options = suite.Options();
    const auto add = [&](const std::string& name, const auto& answer) {
      EXPECT_THAT(answer, IsOk()) << name;
      if (answer.ok()) texts[name] = answer->DebugString();
    };
    for (const char* order : {"total_time", "calls", "mean_time"}) {
      pb::TopQueriesRequest top;
      *top.mutable_start() = Stamp(kHour - absl::Hours(30));
      *top.mutable_end() = Stamp(kHour + absl::Minutes(25));
      top.set_order_by(order);
      add(std::string("top ") + order, rpc::Call(suite.queries(), &Stub::TopQueries, top, options));
    }
    for (const int step : {300, 3600}) {
      pb::QueryTimelineRequest timeline;
      timeline.set_query_hash("22");
      *timeline.mutable_start() = Stamp(kHour - absl::Hours(30));
      *timeline.mutable_end() = Stamp(kHour + absl::Minutes(25));
      timeline.set_step(step);
      add("timeline " + std::to_string(step), rpc::Call(suite.queries(), &Stub::QueryTimeline, timeline, options));
    }
    for (const int minute : {11, 14, 29}) {
      pb::GetActivityRequest activity;
      *activity.mutable_at() = Stamp(kHour + absl::Minutes(minute));
      add("at " + std::to_string(minute), rpc::Call(suite.queries(), &Stub::GetActivity, activity, options));
    }
    pb::GetActivityRequest range;
    *range.mutable_start() = Stamp(kHour);
    *range.mutable_end() = Stamp(kHour + absl::Minutes(20));
    add("activity", rpc::Call(suite.queries(), &Stub::GetActivity, range, options));
    pb::TopQueriesRequest one;
    one.add_query_id("22");
    *one.mutable_start() = Stamp(kHour - absl::Hours(30));
    *one.mutable_end() = Stamp(kHour + absl::Minutes(25));
    add("top of one", rpc::Call(suite.queries(), &Stub::TopQueries, one, options));
    for (const char* metric : {"statements", "activity", "settings", "replication_slots"}) {
      pb::GetRowsRequest rows;
      rows.set_metric(metric);
      *rows.mutable_start() = Stamp(kHour - absl::Hours(30));
      *rows.mutable_end() = Stamp(kHour + absl::Minutes(25));
      add(std::string("rows of ") + metric, rpc::Call(suite.queries(), &Stub::GetRows, rows, options));
    }
    pb::GetFreshnessRequest freshness;
    *freshness.mutable_start() = Stamp(kHour - absl::Hours(30));
    *freshness.mutable_end() = Stamp(kHour + absl::Minutes(30));
    add("freshness", rpc::Call(suite.queries(), &Stub::GetFreshness, freshness, options));
    add("count", rpc::Call(suite.queries(), &Stub::CountMetrics, pb::CountMetricsRequest(), options));
    return texts;
  };
  const std::map<std::string, std::string> before = answers();
  suite.Merge(kHour + absl::Minutes(12));
  EXPECT_EQ(answers(), before);
  suite.Merge(kHour + absl::Hours(1));
  EXPECT_EQ(answers(), before);
}

TEST(CollectorActivity, IsForServicesOnly) {
  Suite& suite = Suite::Get();
  EXPECT_THAT(
      rpc::Call(suite.queries(), &Stub::CollectorActivity, pb::CollectorActivityRequest(), suite.Options("admin")),
      StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST(GetHealth, IsDegradedWith503WhenADatabaseDoesNotAnswer) {
  Suite& suite = Suite::Get();
  rpc::CallOptions options = Suite::Anonymous();
  rpc::Metadata metadata;
  options.response_metadata = &metadata;
  const auto answer = rpc::Call(suite.system(), &pb::SystemService::Stub::GetHealth, pb::GetHealthRequest(), options);
  ASSERT_THAT(answer, IsOk());
  // The test has no auth service.
  EXPECT_EQ(answer->status(), "degraded");
  EXPECT_FALSE(answer->database_ok());
  EXPECT_TRUE(answer->timescale_ok());
  EXPECT_EQ(answer->version(), "3.2.0");
  EXPECT_THAT(metadata, ::testing::Contains(std::make_pair(std::string("x-http-code"), std::string("503"))));
}

TEST(GetVersion, NeedsNoToken) {
  Suite& suite = Suite::Get();
  const auto answer =
      rpc::Call(suite.system(), &pb::SystemService::Stub::GetVersion, pb::GetVersionRequest(), Suite::Anonymous());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->version(), "3.2.0");
  EXPECT_EQ(answer->api(), "1.0.0");
}

TEST(GetOpenApi, NeedsNoToken) {
  Suite& suite = Suite::Get();
  const auto answer =
      rpc::Call(suite.system(), &pb::SystemService::Stub::GetOpenApi, pb::GetOpenApiRequest(), Suite::Anonymous());
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->content_type(), "application/json");
  EXPECT_THAT(answer->data(), HasSubstr(R"("openapi":"3.1.0")"));
}

}  // namespace
}  // namespace pga::query
