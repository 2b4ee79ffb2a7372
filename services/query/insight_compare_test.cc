// Two windows through a real in-process server, on a real database with the product's own schema: regressions with a
// known cause, statements that did not change, snapshots, and what requests may say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <set>

#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "services/query/insight/compare_cases_testing.h"
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

// Sources and texts of the cases; statements of every minute, of them some that do not change.
class Cases {
 public:
  static constexpr int32_t kFirstSource = 100;
  static constexpr int kSteady = 12;

  static Cases& Get() {
    static auto* const cases = new Cases();
    return *cases;
  }
  const std::vector<CompareCase>& all() const { return cases_; }
  static std::string SourceOf(size_t number) { return absl::StrCat("case-", number); }

 private:
  Cases() : cases_(CompareCases()) {
    Suite& suite = Suite::Get();
    std::map<std::string, std::vector<storage::StoredFrame>> frames;
    for (size_t i = 0; i < cases_.size(); ++i) {
      const auto source = kFirstSource + static_cast<int32_t>(i);
      suite.Exec(
          "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES ($1::int4, "
          "('00000000-0000-0000-0001-' || lpad($2, 12, '0'))::uuid, $3, 1, 'default')",
          {source, absl::StrCat(source), SourceOf(i)});
      CaseWorld world(source);
      cases_[i].change(world);
      Statements(world);
      for (auto& [metric, made] : world.frames) {
        auto& all = frames[metric];
        all.insert(all.end(), made.begin(), made.end());
      }
      const auto text = [&](int64_t id, const std::string& words) {
        suite.Exec(
            "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES ($1::int4, 0, $2::int8, "
            "$3)",
            {absl::StrCat(source), absl::StrCat(id), words});
      };
      text(world.before.query_id, world.text);
      if (world.after.query_id != world.before.query_id) text(world.after.query_id, world.text);
      for (const auto& [id, tree] : world.trees) text(id, tree);
      for (int n = 0; n < kSteady; ++n) text(n + 1, absl::StrCat("SELECT x", n, " FROM steady"));
    }
    for (const auto& [metric, made] : frames) suite.StoreFrames(metric, made);
  }

  void Statements(CaseWorld& world) {
    for (int minute = 1; minute <= kCaseMinutes; ++minute) {
      const CaseFigures& figures = minute > 30 ? world.after : world.before;
      std::vector<storage::StoredRow> rows;
      const auto add = [&](int64_t id, int64_t calls, int64_t time_us, const CaseFigures& of) {
        rows.push_back({{{"userid", int64_t{10}},
                         {"dbid", int64_t{5}},
                         {"queryid", id},
                         {"toplevel", int64_t{1}},
                         {"datname", "shop"},
                         {"username", "app"},
                         {"calls", calls},
                         {"total_exec_time_us", time_us},
                         {"rows", calls * of.rows},
                         {"shared_blks_hit", calls * of.hit},
                         {"shared_blks_read", calls * of.read},
                         {"temp_blks_written", calls * of.temp},
                         {"wal_bytes", calls * of.wal},
                         {"shared_blk_read_time_us", calls * of.io_us}},
                        0});
      };
      std::lognormal_distribution<double> noise(0, 0.1);
      add(figures.query_id, figures.calls,
          std::llround(static_cast<double>(figures.calls * figures.time_us) * noise(random_)), figures);
      for (int n = 0; n < kSteady; ++n) {
        // From one that runs once a minute to one that runs a thousand times, some steady and some not at all.
        std::poisson_distribution<int64_t> calls(std::pow(10, n % 4));
        std::lognormal_distribution<double> of(0, 0.05 * (n + 1));
        const int64_t count = calls(random_);
        if (count > 0) add(n + 1, count, std::llround(static_cast<double>(count) * 3000 * of(random_)), CaseFigures());
      }
      world.Read("statements", minute, false, std::move(rows), 0, 1);
      rows.clear();
      if (minute % 5 != 0) continue;
      const auto sampled = [&](int64_t id, const std::string& wait, double sessions) {
        rows.push_back({{{"datname", "shop"},
                         {"usename", "app"},
                         {"application_name", ""},
                         {"backend_type", "client backend"},
                         {"query_id", id},
                         {"state", "active"},
                         {"wait_event_type", wait},
                         {"wait_event", wait},
                         {"samples", std::llround(sessions * 60)},
                         {"sessions_avg", sessions},
                         {"sessions_max", int64_t{1}}},
                        0});
      };
      for (const auto& [wait, sessions] : figures.sessions) sampled(figures.query_id, wait, sessions);
      sampled(99, "", figures.others);
      world.Read("activity", minute, false, std::move(rows), 0, 5);
    }
  }

  std::vector<CompareCase> cases_;
  std::mt19937_64 random_{42};
};

pb::CompareQueriesRequest Request(const std::string& source) {
  pb::CompareQueriesRequest request;
  *request.mutable_at() = Stamp(kCaseChange);
  request.set_minutes(30);
  request.set_limit(100);
  if (!source.empty()) request.add_source(source);
  return request;
}

absl::StatusOr<pb::CompareQueriesResponse> Compare(const pb::CompareQueriesRequest& request, bool texts = true) {
  Suite& suite = Suite::Get();
  return rpc::Call(suite.insight(), &Insight::CompareQueries, request, suite.Options("viewer", nullptr, texts));
}

const pb::QueryComparison* Find(const pb::CompareQueriesResponse& answer, const std::string& id) {
  for (const pb::QueryComparison& comparison : answer.comparisons()) {
    for (const std::string& other : comparison.query_hashes()) {
      if (other == id) return &comparison;
    }
  }
  return nullptr;
}

// Of each case the first cause is the known one; what did not change is not called changed.
TEST(CompareQueries, NamesTheKnownCauseOfScriptedRegressions) {
  const Cases& cases = Cases::Get();
  int named = 0;
  int steady = 0;
  int false_alarms = 0;
  for (size_t i = 0; i < cases.all().size(); ++i) {
    const CompareCase& wanted = cases.all()[i];
    SCOPED_TRACE(wanted.name);
    const auto answer = Compare(Request(Cases::SourceOf(i)));
    ASSERT_THAT(answer, IsOk());
    const pb::QueryComparison* const found = Find(*answer, "1000");
    ASSERT_NE(found, nullptr);
    const std::string cause = found->causes().empty() ? "" : found->causes(0).kind();
    EXPECT_EQ(found->improvement_status(), wanted.status);
    EXPECT_EQ(cause, wanted.cause) << found->ShortDebugString();
    if (!found->causes().empty()) {
      EXPECT_THAT(found->causes(0).summary(), HasSubstr(wanted.says));
    }
    // To the bucket of two minutes that was tested.
    EXPECT_EQ(absl::FromUnixSeconds(found->since().seconds()), kCaseChange);
    if (cause == wanted.cause && found->improvement_status() == wanted.status) ++named;
    for (const pb::QueryComparison& other : answer->comparisons()) {
      if (&other == found) continue;
      ++steady;
      if (other.improvement_status() != "unchanged") ++false_alarms;
    }
    EXPECT_EQ(answer->improved_count() + answer->degraded_count() + answer->unchanged_count() + answer->new_count() +
                  answer->gone_count(),
              answer->count());
  }
  std::printf("causes: %d of %zu named first; %d of %d unchanged statements called changed\n", named,
              cases.all().size(), false_alarms, steady);
  EXPECT_GE(steady, 300);
  EXPECT_LE(false_alarms * 100, steady);
}

// What the answer says of a statement is what SQL says of the same frames.
TEST(CompareQueries, FiguresAreThoseOfTheFrames) {
  Suite& suite = Suite::Get();
  (void)Cases::Get();
  const auto answer = Compare(Request(Cases::SourceOf(1)));
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->before().completeness(), 1);
  EXPECT_EQ(answer->after().completeness(), 1);
  // A frame is of the time up to its instant, which SQL takes as the beginning of what it is asked for.
  constexpr absl::Duration kBehind = absl::Seconds(1);
  int checked = 0;
  for (const pb::QueryComparison& found : answer->comparisons()) {
    SCOPED_TRACE(found.query_hash());
    const auto sum = [&](const std::string& column, bool after) {
      return suite.Number(absl::StrCat("SELECT coalesce(sum(", column, "), 0)::float8 FROM readable.statements('",
                                       storage::SqlTime((after ? kCaseChange : kCaseStart) + kBehind), "', '",
                                       storage::SqlTime((after ? kCaseEnd : kCaseChange) + kBehind),
                                       "') WHERE source_name = 'case-1' AND queryid = $1::int8"),
                          {found.query_hash()});
    };
    EXPECT_EQ(found.before_calls(), sum("calls", false));
    EXPECT_EQ(found.after_calls(), sum("calls", true));
    EXPECT_GT(found.after_calls(), 0);
    EXPECT_NEAR(found.before_total_time(), sum("total_exec_time_us", false) / 1000, 1e-6);
    EXPECT_NEAR(found.after_mean_time(), sum("total_exec_time_us", true) / 1000 / sum("calls", true), 1e-6);
    EXPECT_EQ(found.before_rows(), sum("rows", false));
    EXPECT_EQ(found.after_cache_hits(), sum("shared_blks_hit", true));
    EXPECT_EQ(found.before_cache_reads(), sum("shared_blks_read", false));
    EXPECT_NEAR(found.mean_time_change(), found.after_mean_time() - found.before_mean_time(), 1e-9);
    EXPECT_NEAR(found.calls_change_percent(), 100 * (found.after_calls() / found.before_calls() - 1), 1e-6);
    ++checked;
  }
  EXPECT_EQ(checked, 1 + Cases::kSteady);
}

TEST(CompareQueries, EvidenceSaysWhatWasReadAndWhenItHappened) {
  (void)Cases::Get();
  const auto answer = Compare(Request(Cases::SourceOf(0)));
  ASSERT_THAT(answer, IsOk());
  ASSERT_FALSE(answer->comparisons().empty());
  const pb::QueryComparison& found = answer->comparisons(0);
  EXPECT_EQ(found.query_hash(), "1000");
  EXPECT_EQ(found.reason(), "changed");
  EXPECT_EQ(found.load_status(), "more");
  ASSERT_THAT(found.causes(), ::testing::Not(IsEmpty()));
  const pb::Cause& cause = found.causes(0);
  ASSERT_GE(cause.evidence_size(), 3);
  EXPECT_EQ(cause.evidence(0).what(), "plan");
  EXPECT_EQ(cause.evidence(0).before(), "71");
  EXPECT_EQ(cause.evidence(0).after(), "72");
  EXPECT_EQ(absl::FromUnixSeconds(cause.evidence(0).seen_before().seconds()), kCaseChange);
  EXPECT_EQ(absl::FromUnixSeconds(cause.evidence(0).seen_after().seconds()), kCaseChange + absl::Minutes(1));
  EXPECT_EQ(cause.evidence(1).what(), "index");
  EXPECT_EQ(cause.evidence(1).object(), "orders_customer_idx");
  EXPECT_EQ(absl::FromUnixSeconds(cause.evidence(1).seen_after().seconds()), kCaseChange + absl::Minutes(10));
  EXPECT_EQ(cause.evidence(2).what(), "blocks_per_call");
  EXPECT_EQ(cause.evidence(2).before_value(), 51);
  EXPECT_EQ(cause.evidence(2).after_value(), 5001);
  std::map<std::string, double> read;
  for (const pb::EvidenceSource& source : answer->evidence()) {
    EXPECT_EQ(source.not_read(), "") << source.metric();
    read[source.metric()] = source.completeness();
  }
  EXPECT_EQ(read.at("plans"), 1);
  EXPECT_EQ(read.at("index_stats"), 1);
  EXPECT_EQ(read.at("settings"), 0);
}

TEST(CompareQueries, OneStatementOverServersAndWithoutTexts) {
  (void)Cases::Get();
  pb::CompareQueriesRequest request = Request("");
  for (const size_t number : {0, 1, 2}) request.add_source(Cases::SourceOf(number));
  const auto apart = Compare(request);
  ASSERT_THAT(apart, IsOk());
  request.set_across(true);
  const auto joined = Compare(request);
  ASSERT_THAT(joined, IsOk());
  EXPECT_EQ(apart->count(), 3 * joined->count());
  const pb::QueryComparison* const found = Find(*joined, "1000");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->source_name(), "");
  EXPECT_EQ(found->before_calls(), 9000);
  EXPECT_THAT(found->fingerprint_hash(), SizeIs(16));
  EXPECT_THAT(found->query_text(), HasSubstr("FROM orders"));
  const auto hidden = Compare(request, false);
  ASSERT_THAT(hidden, IsOk());
  EXPECT_EQ(Find(*hidden, "1000")->query_text(), "");
  EXPECT_EQ(Find(*hidden, "1000")->fingerprint_hash(), found->fingerprint_hash());
}

// The upgrade's case: the query id is another one, the statement is the same.
TEST(CompareQuery, JoinsTheQueryIdsOfOneFingerprint) {
  const Cases& cases = Cases::Get();
  Suite& suite = Suite::Get();
  size_t number = 0;
  while (cases.all()[number].name != "upgrade with other query ids") ++number;
  pb::CompareQueryRequest request;
  request.set_query_hash("1000");
  *request.mutable_before_from() = Stamp(kCaseStart);
  *request.mutable_before_to() = Stamp(kCaseChange);
  *request.mutable_after_from() = Stamp(kCaseChange);
  *request.mutable_after_to() = Stamp(kCaseEnd);
  request.add_source(Cases::SourceOf(number));
  const auto answer = rpc::Call(suite.insight(), &Insight::CompareQuery, request, suite.Options());
  ASSERT_THAT(answer, IsOk());
  EXPECT_THAT(answer->comparison().query_hashes(), ElementsAre("1000", "2000"));
  EXPECT_EQ(answer->comparison().before_calls(), 3000);
  EXPECT_EQ(answer->comparison().after_calls(), 3000);
  EXPECT_EQ(answer->before().step(), 60);
  request.set_query_hash("4711");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::CompareQuery, request, suite.Options()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("4711")));
  request.set_query_hash("x");
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::CompareQuery, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("query_hash")));
}

// Statements of one window alone are new or gone where the other one is covered, and else not known.
TEST(CompareQueries, NewAndGoneNeedACoveredWindow) {
  Suite& suite = Suite::Get();
  pb::CompareQueriesRequest request;
  request.add_source("prod");
  // Statement 22 runs up to 12:10.
  *request.mutable_at() = Stamp(kHour + absl::Minutes(10));
  request.set_minutes(10);
  const auto gone = rpc::Call(suite.insight(), &Insight::CompareQueries, request, suite.Options());
  ASSERT_THAT(gone, IsOk());
  EXPECT_EQ(gone->gone_count(), 1);
  EXPECT_EQ(gone->unchanged_count(), 1);
  EXPECT_EQ(Find(*gone, "22")->improvement_status(), "gone");
  EXPECT_FALSE(Find(*gone, "22")->has_after_mean_time());
  // Nothing was read before 12:00.
  *request.mutable_at() = Stamp(kHour);
  const auto unknown = rpc::Call(suite.insight(), &Insight::CompareQueries, request, suite.Options());
  ASSERT_THAT(unknown, IsOk());
  EXPECT_EQ(unknown->count(), 0);
  EXPECT_EQ(unknown->before().completeness(), 0);
}

TEST(CompareQueries, RefusalsSayWhatToChange) {
  const auto refused = [](const std::function<void(pb::CompareQueriesRequest&)>& change) {
    pb::CompareQueriesRequest request;
    change(request);
    return Compare(request).status();
  };
  const auto stamp = [](int minute) { return Stamp(kCaseStart + absl::Minutes(minute)); };
  EXPECT_THAT(refused([](auto&) {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name the windows")));
  EXPECT_THAT(refused([&](auto& r) {
                *r.mutable_at() = stamp(30);
                *r.mutable_before_from() = stamp(0);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("either")));
  EXPECT_THAT(refused([&](auto& r) {
                *r.mutable_before_from() = stamp(30);
                *r.mutable_before_to() = stamp(60);
                *r.mutable_after_from() = stamp(0);
                *r.mutable_after_to() = stamp(30);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("overlap")));
  EXPECT_THAT(refused([&](auto& r) {
                *r.mutable_at() = stamp(30);
                r.set_minutes(2);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("three minutes")));
  EXPECT_THAT(refused([&](auto& r) {
                *r.mutable_at() = stamp(30);
                r.set_minutes(50'000);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("minutes")));
  EXPECT_THAT(refused([&](auto& r) {
                *r.mutable_at() = stamp(30);
                r.set_limit(101);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("limit")));
  EXPECT_THAT(refused([](auto& r) { r.set_before_snapshot(1); }), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(refused([](auto& r) {
                r.set_before_snapshot(100'000);
                r.set_after_snapshot(100'001);
              }),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no snapshot 100000")));
}

TEST(Snapshots, AreKeptWithWhoMadeThemAndCompared) {
  (void)Cases::Get();
  Suite& suite = Suite::Get();
  const auto create = [&](const std::string& name, const std::string& type, const std::string& role = "user") {
    pb::CreateSnapshotRequest request;
    request.set_name(name);
    request.set_snapshot_type(type);
    request.set_description("of the test");
    return rpc::Call(suite.insight(), &Insight::CreateSnapshot, request, suite.Options(role));
  };
  EXPECT_THAT(create("x", "", "viewer"), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(create("", ""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name")));
  EXPECT_THAT(create("x", "weekly"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("pre_deploy")));
  const auto before = create("before", "pre_deploy");
  const auto after = create("after", "");
  ASSERT_THAT(before, IsOk());
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(absl::FromUnixSeconds(before->created_at().seconds()), kNow);
  EXPECT_EQ(before->created_by(), "ann");
  EXPECT_EQ(before->snapshot_type(), "pre_deploy");
  EXPECT_EQ(after->snapshot_type(), "manual");

  pb::ListSnapshotsRequest list;
  list.set_limit(1);
  const auto listed = rpc::Call(suite.insight(), &Insight::ListSnapshots, list, suite.Options());
  ASSERT_THAT(listed, IsOk());
  ASSERT_EQ(listed->count(), 1);
  EXPECT_EQ(listed->snapshots(0).name(), "after");
  list.set_limit(101);
  EXPECT_THAT(rpc::Call(suite.insight(), &Insight::ListSnapshots, list, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument));

  // As if they had been made in the cases' time. The window of the second does not reach behind the first.
  for (const auto& [id, at] : {std::pair(before->id(), kCaseChange), std::pair(after->id(), kCaseEnd)}) {
    suite.ExecMetadata(
        "UPDATE pganalytics.performance_snapshots SET created_at = pganalytics.at($1::int8) WHERE id = $2::int4",
        {absl::ToUnixMicros(at), id});
  }
  pb::CompareQueriesRequest request;
  request.set_before_snapshot(before->id());
  request.set_after_snapshot(after->id());
  request.add_source(Cases::SourceOf(0));
  const auto compared = Compare(request);
  ASSERT_THAT(compared, IsOk());
  EXPECT_EQ(compared->before_snapshot(), before->id());
  EXPECT_EQ(absl::FromUnixSeconds(compared->after().from().seconds()), kCaseChange);
  EXPECT_EQ(compared->degraded_count(), 1);
  request.set_before_snapshot(after->id());
  request.set_after_snapshot(before->id());
  EXPECT_THAT(Compare(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the other way round")));
}

}  // namespace
}  // namespace pga::query
