// The query service through a real in-process server, on a real database with the product's own schema.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/errors.h"
#include "libs/pg/pool.h"
#include "libs/rpc/client.h"
#include "libs/rpc/server.h"
#include "libs/status/testing.h"
#include "libs/storage/read/names.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/storage/testing/frame_store.h"
#include "libs/testing/temp_postgres.h"
#include "libs/token/signer.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "services/query/read_errors.h"
#include "services/query/server.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

using status::IsOk;
using status::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";
// 2026-01-01 12:30:30
const absl::Time kNow = absl::FromUnixSeconds(1767270630);
const absl::Time kHour = absl::FromUnixSeconds(1767268800);  // 12:00

// One database and service for all tests of the file.
class Suite {
 public:
  Suite() : clock_(kNow), metrics_(false) {
    url_ = storage::MetricsDatabase::FreshUrl("query");
    auto catalog = catalog::Catalog::Builtin();
    EXPECT_THAT(catalog, IsOk());
    storage::MigrateOptions migrate;
    migrate.layout = storage::MetricsDatabase::TestLayout();
    catalog_ = *catalog;
    for (const auto& metric : catalog_->metrics()) migrate.metrics.push_back(&metric);
    EXPECT_THAT(storage::MigrateUp(url_, storage::Database::kMetrics, migrate), IsOk());
    auto pool = pg::Pool::Create({.url = url_});
    EXPECT_THAT(pool, IsOk());
    pool_ = *std::move(pool);
    FillDatabase();

    EXPECT_THAT(verifier_.SetHmacSecrets({kSecret}), IsOk());
    revocations_.Apply({}, clock_.BoottimeNanos());
    authenticator_ =
        std::make_unique<rpc::Authenticator>(&verifier_, &revocations_, rpc::Authenticator::Hooks{}, &clock_);
    QueryConfig config;
    config.metrics_url = log::Secret(url_);
    auto query = QueryServer::Create(config, {&metrics_, &clock_, authenticator_.get(), nullptr, nullptr});
    EXPECT_THAT(query, IsOk());
    query_ = *std::move(query);
    rpc::Server::Options options;
    options.name = "query";
    options.services = query_->services();
    auto server = rpc::Server::Start(std::move(options));
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
    channel_ = server_->InProcessChannel();
    queries_ = pb::QueryService::NewStub(channel_);
    system_ = pb::SystemService::NewStub(channel_);
    auto signer = token::Signer::FromSecret(kSecret);
    EXPECT_THAT(signer, IsOk());
    signer_ = *std::move(signer);
  }
  ~Suite() {
    server_->Drain(clock::SteadyNow() + absl::Seconds(5));
    query_->Drain(clock::SteadyNow() + absl::Seconds(5));
  }

  static Suite& Get() {
    static auto* const suite = new Suite();
    return *suite;
  }

  rpc::CallOptions Options(const std::string& role = "viewer", const std::vector<std::string>* groups = nullptr,
                           bool texts = true) {
    token::Claims claims;
    claims.type = token::TokenType::kAccess;
    token::Principal& p = claims.principal;
    p.kind = token::Principal::kUser;
    p.user_id = 7;
    p.subject = token::UserSubject(7);
    p.username = "ann";
    p.role = role;
    p.query_texts = texts;
    p.all_groups = groups == nullptr;
    if (groups != nullptr) p.groups = *groups;
    p.issued_at = kNow - absl::Minutes(1);
    p.expires_at = kNow + absl::Minutes(10);
    p.jti = "t1";
    auto token = signer_->Sign(claims);
    EXPECT_THAT(token, IsOk());
    rpc::CallOptions options;
    options.deadline = clock::SteadyNow() + absl::Seconds(20);
    options.bearer = *token;
    return options;
  }
  std::unique_ptr<rpc::ServiceIdentity> Identity(const std::string& service) {
    return rpc::ServiceIdentity::Local(signer_.get(), service, &clock_);
  }
  static rpc::CallOptions Anonymous() {
    rpc::CallOptions options;
    options.deadline = clock::SteadyNow() + absl::Seconds(20);
    return options;
  }

  absl::StatusOr<std::vector<pb::Series>> Series(const pb::QuerySeriesRequest& request,
                                                 const rpc::CallOptions& options) {
    std::vector<pb::Series> all;
    const absl::Status status = rpc::CallStream<pb::QueryService::Stub, pb::QuerySeriesRequest, pb::Series>(
        *queries_, &pb::QueryService::Stub::QuerySeries, request, options, [&](pb::Series& series) {
          all.push_back(series);
          return absl::OkStatus();
        });
    if (!status.ok()) return status;
    return all;
  }

  pb::QueryService::Stub& queries() { return *queries_; }
  pb::SystemService::Stub& system() { return *system_; }

  // Moves frames before `until` into blocks.
  void Merge(absl::Time until) {
    for (auto& [metric, store] : stores_) store->Merge(until);
  }

  void Merge(const std::string& metric, absl::Time until) { stores_[metric]->Merge(until); }

  void Exec(const std::string& sql, const pg::Params& params = {}) {
    const absl::Status done = pool_->Exec(sql, params, clock::SteadyNow() + absl::Seconds(30)).status();
    EXPECT_THAT(done, IsOk()) << sql;
  }

 private:
  storage::FrameStore& Store(const std::string& metric) {
    auto& store = stores_[metric];
    if (store == nullptr) store = std::make_unique<storage::FrameStore>(pool_.get(), *catalog_->Find(metric));
    return *store;
  }

  // Two servers, 12:00 to 12:30, a frame a minute: statements, activity, a blocking tree from 12:10 to 12:12.
  void FillDatabase() {
    Exec("INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'col_001')");
    Exec(
        "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) "
        "VALUES "
        "(1, '00000000-0000-0000-0000-000000000001', 'prod', 1, 'default'), "
        "(2, '00000000-0000-0000-0000-000000000002', 'prod-replica', 1, 'default'), "
        "(3, '00000000-0000-0000-0000-000000000003', 'payroll', 1, 'secret')");
    std::vector<storage::StoredFrame> statements, activity;
    for (int minute = 1; minute <= 30; ++minute) {
      const absl::Time time = kHour + absl::Minutes(minute);
      storage::StoredFrame frame;
      frame.start = time - absl::Minutes(1);
      frame.end = time;
      // Statement 11 runs 10 times a minute for 2 ms each, statement 22 once for 50 ms, the first ten minutes only.
      const auto statement = [](int64_t query, int64_t calls, int64_t time_us, int64_t rows, int flags) {
        return storage::StoredRow{{{"userid", 10},
                                   {"dbid", 5},
                                   {"queryid", query},
                                   {"toplevel", 1},
                                   {"datname", "shop"},
                                   {"username", "app"},
                                   {"calls", calls},
                                   {"total_exec_time_us", time_us},
                                   {"rows", rows}},
                                  flags};
      };
      frame.rows = {statement(11, 10, 20000, 30, 0)};
      if (minute <= 10) frame.rows.push_back(statement(22, 1, 50000, 1, 1));
      statements.push_back(frame);
      if (minute == 1) frame.start = time;
      frame.rows = {{{{"datname", "shop"},
                      {"usename", "app"},
                      {"application_name", ""},
                      {"backend_type", ""},
                      {"query_id", 11},
                      {"state", "active"},
                      {"wait_event_type", "Lock"},
                      {"wait_event", "transactionid"},
                      {"samples", 30},
                      {"sessions_avg", 0.5},
                      {"sessions_max", 2}},
                     0}};
      activity.push_back(frame);
    }
    Store("statements").Store(statements);
    Store("activity").Store(activity);
    StoreTrees();
    StoreSettings();
    Store("database").Store({{.source = 3, .start = kHour, .end = kHour + absl::Minutes(1), .rows = {{}}}});
    Exec(
        "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (1, 0, 11, 'SELECT $1'), "
        "(1, 0, 22, 'UPDATE t SET x = $1')");
  }

  // A keyframe at 12:00, work_mem changed at 12:20, a setting of an extension that came at 12:10 and went at 12:25; a
  // slot that was there from 12:02 to 12:04.
  void StoreSettings() {
    const auto setting = [](const char* name, const char* value, int flags = 0) {
      storage::StoredRow row{{{"setting_name", name}}, flags};
      if (flags == 0) row.values.insert({{"setting_value", value}, {"setting_unit", "kB"}, {"pending_restart", 0}});
      return row;
    };
    const auto frame = [](int minute, bool keyframe, std::vector<storage::StoredRow> rows) {
      const absl::Time end = kHour + absl::Minutes(minute);
      return storage::StoredFrame{
          .start = keyframe ? end : end - absl::Minutes(5), .end = end, .keyframe = keyframe, .rows = std::move(rows)};
    };
    Store("settings")
        .Store({frame(0, true, {setting("work_mem", "4096"), setting("port", "5432")}), frame(5, false, {}),
                frame(10, false, {setting("ext.mode", "fast")}), frame(15, false, {}),
                frame(20, false, {setting("work_mem", "65536")}), frame(25, false, {setting("ext.mode", "", 4)})});
    std::vector<storage::StoredFrame> slots;
    for (int minute = 1; minute <= 6; ++minute) {
      slots.push_back(frame(minute, false, {}));
      slots.back().rows.push_back({{{"slot_name", "standby"}, {"is_active", minute < 5 ? 1 : 0}}, 0});
      if (minute >= 2 && minute <= 4) slots.back().rows.push_back({{{"slot_name", "backup"}, {"is_active", 0}}, 0});
    }
    Store("replication_slots").Store(slots);
  }

  // 100 waits for 200 from 12:09:59 to 12:10:31; 101 waits behind it from 12:10:05 on for a row of a table, and then
  // for a prepared transaction until sampling stops at 12:30.
  void StoreTrees() {
    const auto us = [](absl::Time time) { return absl::ToUnixMicros(time); };
    const auto edge = [&](int64_t blocked, int64_t blocking, absl::Time since, absl::Time at, int64_t root,
                          int64_t depth) {
      storage::StoredRow row;
      row.values = {{"blocked_pid", blocked},
                    {"blocking_pid", blocking},
                    {"datname", "shop"},
                    {"blocked_usename", "app"},
                    {"blocked_application_name", "checkout"},
                    {"blocking_usename", blocking == 200 ? "batch" : "app"},
                    {"blocking_application_name", blocking == 200 ? "report" : "checkout"},
                    {"blocking_state", blocking == 200 ? "idle in transaction" : "active"},
                    {"blocked_query_id", 11},
                    {"blocking_text_id", blocking == 200 ? 77 : 78},
                    {"lock_type", "transactionid"},
                    {"lock_mode", "ShareLock"},
                    {"database_oid", 5},
                    {"relation_oid", 16402},
                    {"root_pid", root},
                    {"depth", depth},
                    {"cycle", 0},
                    {"blocked_since", us(since)},
                    {"blocked_us", us(at) - us(since)},
                    {"ended", 0}};
      return row;
    };
    const auto at = [](int minute, int second) { return kHour + absl::Minutes(minute) + absl::Seconds(second); };
    const auto tree = [](absl::Time time, std::vector<storage::StoredRow> rows) {
      return storage::StoredFrame{.start = time, .end = time, .rows = std::move(rows)};
    };
    storage::StoredRow ended = edge(100, 200, at(9, 59), at(10, 31), 200, 1);
    ended.values["ended"] = 1;
    storage::StoredRow behind = edge(101, -900, at(10, 31), at(10, 31), -900, 1);
    behind.values["blocking_gid"] = "payment-7";
    behind.values["blocking_state"] = "prepared";
    Store("blocking")
        .Store({tree(at(10, 0), {edge(100, 200, at(9, 59), at(10, 0), 200, 1)}),
                tree(at(10, 5),
                     {edge(100, 200, at(9, 59), at(10, 5), 200, 1), edge(101, 100, at(10, 5), at(10, 5), 200, 2)}),
                tree(at(10, 31), {ended, behind}), tree(at(25, 31), {behind})});
    storage::StoredFrame tables{
        .scope = 5, .start = kHour, .end = kHour + absl::Minutes(1), .keyframe = true, .rows = {}};
    tables.rows = {{{{"datname", "shop"}, {"schemaname", "public"}, {"relname", "orders"}, {"relid", 16402}}, 0}};
    Store("table_stats").Store({tables});
    Exec(
        "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES (1, 0, 77, 'LOCK orders'), (1, "
        "0, 78, 'UPDATE orders')");
  }

  std::string url_;
  std::unique_ptr<pg::Pool> pool_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  std::map<std::string, std::unique_ptr<storage::FrameStore>> stores_;
  clock::FakeClock clock_;
  metrics::Registry metrics_;
  token::Verifier verifier_;
  token::RevocationSet revocations_;
  std::unique_ptr<rpc::Authenticator> authenticator_;
  std::unique_ptr<QueryServer> query_;
  std::unique_ptr<rpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<pb::QueryService::Stub> queries_;
  std::unique_ptr<pb::SystemService::Stub> system_;
  std::unique_ptr<token::Signer> signer_;
};

google::protobuf::Timestamp Stamp(absl::Time time) {
  return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(time));
}

using Stub = pb::QueryService::Stub;

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

TEST(TopQueries, KeepsTextsFromCallersWithoutTheRight) {
  Suite& suite = Suite::Get();
  pb::TopQueriesRequest request;
  request.set_hours(1);
  const auto answer = rpc::Call(suite.queries(), &Stub::TopQueries, request, suite.Options("viewer", nullptr, false));
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->count(), 2);
  EXPECT_EQ(answer->queries(0).query_text(), "");
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
  request.set_query_hash("999");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::QueryTimeline, request, suite.Options()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("999")));
  request.set_query_hash("abc");
  EXPECT_THAT(rpc::Call(suite.queries(), &Stub::QueryTimeline, request, suite.Options()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("decimal")));
}

pb::QuerySeriesRequest CallsSeries() {
  pb::QuerySeriesRequest request;
  request.set_metric("statements");
  request.set_column("calls");
  *request.mutable_start() = Stamp(kHour);
  *request.mutable_end() = Stamp(kHour + absl::Minutes(40));
  request.set_step(600);
  return request;
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
  pb::GetFreshnessRequest freshness;
  freshness.add_source("payroll");
  const std::map<std::string, absl::Status> hidden = {
      {"QuerySeries", suite.Series(series, caller).status()},
      {"TopQueries", rpc::Call(suite.queries(), &Stub::TopQueries, top, caller).status()},
      {"QueryTimeline", rpc::Call(suite.queries(), &Stub::QueryTimeline, timeline, caller).status()},
      {"GetActivity", rpc::Call(suite.queries(), &Stub::GetActivity, activity, caller).status()},
      {"GetState", rpc::Call(suite.queries(), &Stub::GetState, state, caller).status()},
      {"GetFreshness", rpc::Call(suite.queries(), &Stub::GetFreshness, freshness, caller).status()},
  };
  // Looked at above, open to anybody, or not for people.
  const std::set<std::string> others = {"SourceActivity", "GetMetrics", "CountMetrics", "CollectorActivity"};
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

std::string Told(const pb::GetStateResponse& answer) {
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
    EXPECT_EQ(Told(*now),
              "port: pending_restart=false setting_value=5432\nwork_mem: pending_restart=false setting_value=65536\n");
    EXPECT_EQ(now->rows(0).source_name(), "prod");
    EXPECT_EQ(now->rows(0).collected_at().seconds(), absl::ToUnixSeconds(kHour + absl::Minutes(25)));
    *request.mutable_end() = Stamp(kHour + absl::Minutes(12));
    const auto then = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
    ASSERT_THAT(then, IsOk());
    EXPECT_EQ(Told(*then),
              "ext.mode: pending_restart=false setting_value=fast\nport: pending_restart=false setting_value=5432\n"
              "work_mem: pending_restart=false setting_value=4096\n");
    request.clear_end();
    request.set_hours(1);
    const auto hour = rpc::Call(suite.queries(), &Stub::GetState, request, suite.Options());
    ASSERT_THAT(hour, IsOk());
    EXPECT_EQ(Told(*hour).substr(Told(*now).size()),
              "20-25 ext.mode vanished  >\n15-20 work_mem changed setting_value 4096>65536\n"
              "5-10 ext.mode appeared  >\n");
    EXPECT_EQ(hour->changes_found(), 3);
  }
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
  EXPECT_EQ(Told(*answer),
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
    const absl::Status told = ForCaller(c.status);
    EXPECT_EQ(told.code(), c.code) << c.status;
    EXPECT_EQ(told.message().substr(0, c.message.size()), c.message);
    EXPECT_EQ(told.message().find("CONTEXT"), absl::string_view::npos);
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

}  // namespace
}  // namespace pga::query
