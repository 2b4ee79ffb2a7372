// Entries of logs as the query service gives them: by pages over frames and blocks, filtered, and without texts for
// those who may not read them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/query/query_testing.h"

namespace pga::query {
namespace {

using ::pga::status::IsOk;
using ::pga::status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

storage::StoredRow Row(int64_t slot, absl::Time at, std::map<std::string, columns::Value> values) {
  values.insert({{"slot", slot}, {"at", absl::ToUnixMicros(at)}});
  return {std::move(values), 0};
}

// Source prod, 10:00 to 12:00, a frame a minute with two entries: a duplicate key every ten minutes, a checkpoint else.
// Source prod-replica: one frame of 12:20 with an entry of 07:00, which was read late.
class LogReads : public ::testing::Test {
 protected:
  static constexpr int kMinutes = 120;

  static void SetUpTestSuite() {
    Suite& suite = Suite::Get();
    std::vector<storage::StoredFrame> frames;
    for (int minute = 1; minute <= kMinutes; ++minute) {
      storage::StoredFrame frame;
      frame.end = First() + absl::Minutes(minute);
      frame.start = frame.end - absl::Minutes(1);
      const bool error = minute % 10 == 0;
      frame.rows.push_back(Row(0, frame.start + absl::Seconds(10),
                               {{"class", std::string(error ? "unique_violation" : "checkpoint_complete")},
                                {"severity", std::string(error ? "ERROR" : "LOG")},
                                {"message", absl::StrCat("first of minute ", minute)}}));
      frame.rows.push_back(Row(1, frame.start + absl::Seconds(10),
                               {{"class", std::string("temporary_file")},
                                {"severity", std::string("LOG")},
                                {"message", absl::StrCat("second of minute ", minute)},
                                {"bytes", int64_t{4096}}}));
      if (error) {
        std::map<std::string, columns::Value>& values = frame.rows[0].values;
        values.insert({{"sqlstate", std::string("23505")},
                       {"datname", std::string("shop")},
                       {"usename", std::string("app")},
                       {"pid", int64_t{500 + minute}},
                       {"query_id", int64_t{11}},
                       {"detail", std::string("Key (id)=(?) already exists.")},
                       {"statement", std::string("INSERT INTO t VALUES (?)")},
                       {"duration_us", int64_t{1500}}});
      }
      frames.push_back(std::move(frame));
    }
    suite.StoreFrames("log_events", frames);
    // All but the last half an hour stands in blocks.
    suite.Merge("log_events", First() + absl::Minutes(90));
    storage::StoredFrame late{.source = 2, .start = First() - absl::Hours(3), .end = kHour + absl::Minutes(20)};
    late.rows.push_back(Row(0, First() - absl::Hours(3),
                            {{"class", std::string("deadlock_detected")},
                             {"severity", std::string("ERROR")},
                             {"sqlstate", std::string("40P01")},
                             {"message", std::string("deadlock detected")}}));
    suite.StoreFrames("log_events", {late});
  }

  static absl::Time First() { return kHour - absl::Hours(2); }

  static pb::ListLogEventsRequest Asked() {
    pb::ListLogEventsRequest request;
    *request.mutable_start() = Stamp(First());
    *request.mutable_end() = Stamp(kHour);
    request.add_source("prod");
    request.set_limit(1000);
    return request;
  }
  static absl::StatusOr<pb::ListLogEventsResponse> Ask(const pb::ListLogEventsRequest& request, bool texts = true) {
    return rpc::Call(Suite::Get().queries(), &Stub::ListLogEvents, request,
                     Suite::Get().Options("viewer", nullptr, texts));
  }
  static std::vector<std::string> Messages(const pb::ListLogEventsResponse& answer) {
    std::vector<std::string> messages;
    for (const pb::LogEvent& event : answer.events()) messages.push_back(event.message());
    return messages;
  }
  // How many entries pass the filter.
  static int Count(const std::function<void(pb::ListLogEventsRequest*)>& filter) {
    pb::ListLogEventsRequest request = Asked();
    filter(&request);
    const auto answer = Ask(request);
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? answer->events_size() : -1;
  }
};

TEST_F(LogReads, PagesGiveEachEntryOnceNewestFirst) {
  std::vector<std::string> expected;
  for (int minute = kMinutes; minute >= 1; --minute) {
    expected.push_back(absl::StrCat("second of minute ", minute));
    expected.push_back(absl::StrCat("first of minute ", minute));
  }
  for (const int limit : {1000, 7, 1}) {
    pb::ListLogEventsRequest request = Asked();
    request.set_limit(limit);
    std::vector<std::string> read;
    for (int page = 0; page < 300; ++page) {
      const auto answer = Ask(request);
      ASSERT_THAT(answer, IsOk());
      EXPECT_LE(answer->events_size(), limit);
      for (const std::string& message : Messages(*answer)) read.push_back(message);
      if (answer->next_page().empty()) break;
      request.set_page(answer->next_page());
    }
    EXPECT_EQ(read, expected) << limit;
  }
}

TEST_F(LogReads, AnEntrySaysWhatIsKnownOfIt) {
  pb::ListLogEventsRequest request = Asked();
  request.add_class_("unique_violation");
  request.set_limit(1);
  const auto answer = Ask(request);
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->events_size(), 1);
  const pb::LogEvent& event = answer->events(0);
  EXPECT_EQ(event.time().seconds(), absl::ToUnixSeconds(kHour - absl::Seconds(50)));
  EXPECT_EQ(event.source_name(), "prod");
  EXPECT_EQ(event.severity(), "ERROR");
  EXPECT_EQ(event.sqlstate(), "23505");
  EXPECT_EQ(event.pid(), 500 + kMinutes);
  EXPECT_EQ(event.database_name(), "shop");
  EXPECT_EQ(event.user_name(), "app");
  EXPECT_EQ(event.query_id(), "11");
  EXPECT_EQ(event.message(), absl::StrCat("first of minute ", kMinutes));
  EXPECT_EQ(event.detail(), "Key (id)=(?) already exists.");
  EXPECT_EQ(event.statement(), "INSERT INTO t VALUES (?)");
  EXPECT_EQ(event.duration_ms(), 1.5);
  EXPECT_FALSE(event.has_bytes());
  EXPECT_FALSE(answer->texts_hidden());
  EXPECT_THAT(event.truncated(), IsEmpty());

  request.set_text_length(5);
  const auto cut = Ask(request);
  ASSERT_THAT(cut, IsOk());
  EXPECT_EQ(cut->events(0).message(), "first");
  EXPECT_THAT(cut->events(0).truncated(), UnorderedElementsAre("message", "detail", "statement"));
}

TEST_F(LogReads, FiltersHoldTogether) {
  const int errors = kMinutes / 10;
  EXPECT_EQ(Count([](auto*) {}), 2 * kMinutes);
  EXPECT_EQ(Count([](auto* asked) { asked->add_severity("ERROR"); }), errors);
  EXPECT_EQ(Count([](auto* asked) {
              asked->add_severity("ERROR");
              asked->add_severity("LOG");
            }),
            2 * kMinutes);
  EXPECT_EQ(Count([](auto* asked) { asked->add_class_("temporary_file"); }), kMinutes);
  EXPECT_EQ(Count([](auto* asked) { asked->add_sqlstate("23505"); }), errors);
  EXPECT_EQ(Count([](auto* asked) { asked->add_sqlstate("23"); }), errors);
  EXPECT_EQ(Count([](auto* asked) { asked->add_sqlstate("23503"); }), 0);
  EXPECT_EQ(Count([](auto* asked) { asked->add_database("shop"); }), errors);
  EXPECT_EQ(Count([](auto* asked) { asked->add_user("other"); }), 0);
  EXPECT_EQ(Count([](auto* asked) { asked->set_query_id("11"); }), errors);
  EXPECT_EQ(Count([](auto* asked) { asked->set_query_id("12"); }), 0);
  EXPECT_EQ(Count([](auto* asked) { asked->set_pid(510); }), 1);
  // Whatever text it is in, and in any case.
  EXPECT_EQ(Count([](auto* asked) { asked->set_text("ALREADY exists"); }), errors);
  EXPECT_EQ(Count([](auto* asked) { asked->set_text("insert into T"); }), errors);
  EXPECT_EQ(Count([](auto* asked) { asked->set_text("of minute 77"); }), 2);
  EXPECT_EQ(Count([](auto* asked) {
              asked->set_text("of minute 77");
              asked->add_severity("ERROR");
            }),
            0);
}

TEST_F(LogReads, TheRangeIsThatOfTheServersTimes) {
  const auto at = [](absl::Time start, absl::Time end) {
    return Count([&](pb::ListLogEventsRequest* asked) {
      *asked->mutable_start() = Stamp(start);
      *asked->mutable_end() = Stamp(end);
    });
  };
  const absl::Time written = First() + absl::Minutes(5) + absl::Seconds(10);
  EXPECT_EQ(at(written, written + absl::Seconds(1)), 2);
  EXPECT_EQ(at(written - absl::Seconds(1), written), 0);
  // Read hours after it was written.
  pb::ListLogEventsRequest request = Asked();
  request.clear_source();
  *request.mutable_start() = Stamp(First() - absl::Hours(4));
  *request.mutable_end() = Stamp(First() - absl::Hours(2));
  const auto late = Ask(request);
  ASSERT_THAT(late, IsOk());
  EXPECT_THAT(Messages(*late), ElementsAre("deadlock detected"));
  EXPECT_EQ(late->next_page(), "");
}

TEST_F(LogReads, TextsAreForThoseWhoMayReadThem) {
  pb::ListLogEventsRequest request = Asked();
  request.add_class_("unique_violation");
  const auto answer = Ask(request, false);
  ASSERT_THAT(answer, IsOk());
  EXPECT_TRUE(answer->texts_hidden());
  ASSERT_EQ(answer->events_size(), kMinutes / 10);
  for (const pb::LogEvent& event : answer->events()) {
    EXPECT_EQ(event.sqlstate(), "23505");
    EXPECT_EQ(event.message() + event.detail() + event.hint() + event.context() + event.statement(), "");
  }
  request.set_text("minute");
  EXPECT_THAT(Ask(request, false), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("right to read")));

  // Nor by the ways that lead to every metric.
  Suite& suite = Suite::Get();
  const auto without = suite.Options("viewer", nullptr, false);
  pb::GetStateRequest state;
  state.set_metric("log_events");
  *state.mutable_end() = Stamp(kHour);
  const auto states = rpc::Call(suite.queries(), &Stub::GetState, state, without);
  ASSERT_THAT(states, IsOk());
  ASSERT_GT(states->rows_size(), 0);
  for (const pb::StateRow& row : states->rows()) {
    EXPECT_TRUE(row.values().contains("class"));
    EXPECT_FALSE(row.values().contains("message"));
  }
  EXPECT_TRUE(
      rpc::Call(suite.queries(), &Stub::GetState, state, suite.Options())->rows(0).values().contains("message"));
  state.add_column("message");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::GetState, state, without),
              StatusIs(absl::StatusCode::kPermissionDenied));
  state.clear_column();
  state.add_filter("message~minute");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::GetState, state, without),
              StatusIs(absl::StatusCode::kInvalidArgument));
  pb::GetRowsRequest rows;
  rows.set_metric("log_events");
  *rows.mutable_end() = Stamp(kHour);
  const auto found = rpc::Call(suite.queries(), &Stub::GetRows, rows, without);
  ASSERT_THAT(found, IsOk());
  ASSERT_GT(found->rows_size(), 0);
  for (const pb::MetricRow& row : found->rows()) EXPECT_FALSE(row.texts().contains("message"));
  rows.set_sort("message");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::GetRows, rows, without), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(LogReads, SaysWhatToChange) {
  const auto ask = [](const std::function<void(pb::ListLogEventsRequest*)>& change) {
    pb::ListLogEventsRequest request = Asked();
    change(&request);
    return Ask(request).status();
  };
  const auto refused = [](const char* with) { return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(with)); };
  EXPECT_THAT(ask([](auto* asked) { asked->set_page("12"); }), refused("page"));
  EXPECT_THAT(ask([](auto* asked) { asked->set_page("1.2.3.x"); }), refused("page"));
  EXPECT_THAT(ask([](auto* asked) { asked->set_query_id("x"); }), refused("query_id"));
  EXPECT_THAT(ask([](auto* asked) { asked->set_limit(1001); }), refused("limit"));
  EXPECT_THAT(ask([](auto* asked) { asked->set_text(std::string(1001, 'x')); }), refused("text"));
  EXPECT_THAT(ask([](auto* asked) {
                for (int i = 0; i <= 100; ++i) asked->add_class_(absl::StrCat("c", i));
              }),
              refused("100"));
  EXPECT_THAT(ask([](auto* asked) {
                *asked->mutable_start() = Stamp(kNow - absl::Hours(24 * 50));
                *asked->mutable_end() = Stamp(kNow - absl::Hours(24 * 40));
              }),
              refused("30 days"));
}

// Statement 11 of database shop runs with plan 100 from 10:01 on, from 11:31 on with plan 200; statement 12 with plan
// 300 all the time, and once with 301, which it had before. Statement 13 is logged with plan 450; EXPLAIN gives 400,
// from 11:31 on 450 too.
class PlanReads : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    Suite& suite = Suite::Get();
    std::vector<storage::StoredFrame> frames;
    std::vector<storage::StoredFrame> explained;
    const auto row = [](int64_t query, int64_t plan, int64_t logged) {
      return storage::StoredRow{{{"query_id", query},
                                 {"plan_id", plan},
                                 {"datname", std::string("shop")},
                                 {"logged", logged},
                                 {"duration_us", logged * 2000}},
                                0};
    };
    for (int minute = 1; minute <= 120; ++minute) {
      storage::StoredFrame frame;
      frame.end = kHour - absl::Hours(2) + absl::Minutes(minute);
      frame.start = frame.end - absl::Minutes(1);
      frame.rows = {row(11, minute <= 90 ? 100 : 200, 3), row(12, 300, 1), row(13, 450, 2)};
      if (minute == 5 || minute == 100) frame.rows.push_back(row(12, 301, 1));
      frames.push_back(frame);
      frame.rows = {storage::StoredRow{{{"query_id", int64_t{13}},
                                        {"plan_id", int64_t{minute <= 90 ? 400 : 450}},
                                        {"datname", std::string("shop")},
                                        {"explained", int64_t{1}}},
                                       0}};
      if (minute % 10 == 1) explained.push_back(std::move(frame));
    }
    suite.StoreFrames("plans", frames);
    suite.Merge("plans", kHour - absl::Hours(1));
    suite.StoreFrames("explained_plans", explained);
    suite.Merge("explained_plans", kHour - absl::Hours(1));
    suite.Exec(
        "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES "
        "(1, 0, 100, E'Index Scan using t_pkey on t\n    Index Cond: (id = ?)\n'), (1, 0, 200, 'Seq Scan on t')");
  }
  static absl::StatusOr<pb::ListPlansResponse> Ask(const std::string& query, bool texts = true) {
    pb::ListPlansRequest request;
    *request.mutable_start() = Stamp(kHour - absl::Hours(1));
    *request.mutable_end() = Stamp(kHour);
    request.add_source("prod");
    request.set_query_id(query);
    return rpc::Call(Suite::Get().queries(), &Stub::ListPlans, request, Suite::Get().Options("viewer", nullptr, texts));
  }
};

TEST_F(PlanReads, PlansOfAStatementAndWhenItGotAnother) {
  const auto answer = Ask("11");
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->plans_size(), 2);
  // Both ran half an hour; the order is by time.
  std::map<std::string, pb::StatementPlan> plans;
  for (const pb::StatementPlan& plan : answer->plans()) plans[plan.plan_id()] = plan;
  EXPECT_EQ(plans["100"].logged(), 90);
  EXPECT_EQ(plans["100"].duration_ms(), 180);
  EXPECT_THAT(plans["100"].tree(), HasSubstr("Index Scan using t_pkey"));
  EXPECT_EQ(plans["100"].last_seen().seconds(), absl::ToUnixSeconds(kHour - absl::Minutes(30)));
  EXPECT_EQ(plans["200"].logged(), 90);
  EXPECT_EQ(plans["200"].first_seen().seconds(), absl::ToUnixSeconds(kHour - absl::Minutes(29)));
  EXPECT_EQ(plans["200"].database_name(), "shop");
  ASSERT_EQ(answer->changes_size(), 1);
  const pb::PlanChange& change = answer->changes(0);
  EXPECT_EQ(change.before_plan_id(), "100");
  EXPECT_EQ(change.after_plan_id(), "200");
  EXPECT_EQ(change.seen_before().seconds(), absl::ToUnixSeconds(kHour - absl::Minutes(30)));
  EXPECT_EQ(change.seen_after().seconds(), absl::ToUnixSeconds(kHour - absl::Minutes(29)));
}

TEST_F(PlanReads, APlanThatAStatementHadBeforeIsNoChange) {
  const auto answer = Ask("12");
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->plans_size(), 2);
  EXPECT_EQ(answer->changes_size(), 0);
}

// What EXPLAIN gives is for any values: that it is another plan than the logged one is no change.
TEST_F(PlanReads, LoggedAndExplainedPlansAreOneListAndTwoHistories) {
  const auto answer = Ask("13");
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->plans_size(), 2);
  EXPECT_EQ(answer->plans(0).plan_id(), "450");
  EXPECT_EQ(answer->plans(0).logged(), 120);
  EXPECT_EQ(answer->plans(0).explained(), 3);
  EXPECT_EQ(answer->plans(0).first_seen().seconds(), absl::ToUnixSeconds(kHour - absl::Minutes(59)));
  EXPECT_EQ(answer->plans(0).last_seen().seconds(), absl::ToUnixSeconds(kHour));
  EXPECT_EQ(answer->plans(1).plan_id(), "400");
  EXPECT_EQ(answer->plans(1).logged(), 0);
  EXPECT_EQ(answer->plans(1).explained(), 3);
  ASSERT_EQ(answer->changes_size(), 1);
  EXPECT_EQ(answer->changes(0).before_plan_id(), "400");
  EXPECT_EQ(answer->changes(0).after_plan_id(), "450");
  EXPECT_EQ(answer->changes(0).seen_before().seconds(), absl::ToUnixSeconds(kHour - absl::Minutes(39)));
  EXPECT_EQ(answer->changes(0).seen_after().seconds(), absl::ToUnixSeconds(kHour - absl::Minutes(29)));
}

TEST_F(PlanReads, OfAllStatementsAndWithoutTexts) {
  const auto answer = Ask("", false);
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->plans_found(), 6);
  EXPECT_EQ(answer->changes_found(), 2);
  EXPECT_TRUE(answer->texts_hidden());
  for (const pb::StatementPlan& plan : answer->plans()) EXPECT_EQ(plan.tree(), "");
  EXPECT_THAT(Ask("x"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("query_id")));
}

}  // namespace
}  // namespace pga::query
