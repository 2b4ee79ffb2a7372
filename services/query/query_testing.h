// The query service on a real database with the product's own schema, called through a real in-process server. Tests
// only.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/pool.h"
#include "libs/rpc/client.h"
#include "libs/rpc/server.h"
#include "libs/status/testing.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/schema_testing.h"
#include "libs/storage/testing/frame_store.h"
#include "libs/token/signer.h"
#include "pganalytics/query/v1/advice_service.grpc.pb.h"
#include "pganalytics/query/v1/insight_service.grpc.pb.h"
#include "pganalytics/query/v1/prometheus_service.grpc.pb.h"
#include "pganalytics/query/v1/query_service.grpc.pb.h"
#include "pganalytics/query/v1/system_service.grpc.pb.h"
#include "pganalytics/query/v1/workload_service.grpc.pb.h"
#include "services/query/server.h"

namespace pga::query {

namespace pb = ::pganalytics::query::v1;

inline constexpr char kSecret[] = "0123456789abcdef0123456789abcdef";
// 2026-01-01 12:30:30
inline const absl::Time kNow = absl::FromUnixSeconds(1767270630);
inline const absl::Time kHour = absl::FromUnixSeconds(1767268800);  // 12:00

// One database and service for all tests of the file.
class Suite {
 public:
  Suite() : clock_(kNow), metrics_(false) {
    url_ = storage::MetricsDatabase::FreshUrl("query");
    auto catalog = catalog::Catalog::Builtin();
    EXPECT_THAT(catalog, status::IsOk());
    storage::MigrateOptions migrate;
    migrate.layout = storage::MetricsDatabase::TestLayout();
    catalog_ = *catalog;
    for (const auto& metric : catalog_->metrics()) migrate.metrics.push_back(&metric);
    EXPECT_THAT(storage::MigrateUp(url_, storage::Database::kMetrics, migrate), status::IsOk());
    auto pool = pg::Pool::Create({.url = url_});
    EXPECT_THAT(pool, status::IsOk());
    pool_ = *std::move(pool);
    FillDatabase();

    EXPECT_THAT(verifier_.SetHmacSecrets({kSecret}), status::IsOk());
    revocations_.Apply({}, clock_.BoottimeNanos());
    authenticator_ =
        std::make_unique<rpc::Authenticator>(&verifier_, &revocations_, rpc::Authenticator::Hooks{}, &clock_);
    QueryConfig config;
    config.metrics_url = log::Secret(url_);
    metadata_url_ = storage::MetricsDatabase::FreshUrl("query_metadata");
    EXPECT_THAT(storage::MigrateUp(metadata_url_, storage::Database::kMetadata, {}), status::IsOk());
    config.database_url = log::Secret(metadata_url_);
    auto query = QueryServer::Create(config, {&metrics_, &clock_, authenticator_.get(), nullptr, nullptr});
    EXPECT_THAT(query, status::IsOk());
    query_ = *std::move(query);
    rpc::Server::Options options;
    options.name = "query";
    options.services = query_->services();
    auto server = rpc::Server::Start(std::move(options));
    EXPECT_THAT(server, status::IsOk());
    server_ = *std::move(server);
    channel_ = server_->InProcessChannel();
    queries_ = pb::QueryService::NewStub(channel_);
    insight_ = pb::InsightService::NewStub(channel_);
    system_ = pb::SystemService::NewStub(channel_);
    prometheus_ = pb::PrometheusService::NewStub(channel_);
    advice_ = pb::AdviceService::NewStub(channel_);
    workload_ = pb::WorkloadService::NewStub(channel_);
    auto signer = token::Signer::FromSecret(kSecret);
    EXPECT_THAT(signer, status::IsOk());
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
    EXPECT_THAT(token, status::IsOk());
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
  pb::InsightService::Stub& insight() { return *insight_; }
  pb::SystemService::Stub& system() { return *system_; }
  pb::PrometheusService::Stub& prometheus() { return *prometheus_; }
  pb::AdviceService::Stub& advice() { return *advice_; }
  pb::WorkloadService::Stub& workload() { return *workload_; }

  void ExecMetadata(const std::string& sql, const pg::Params& params = {}) {
    auto pool = pg::Pool::Create({.url = metadata_url_});
    ASSERT_THAT(pool, status::IsOk());
    const absl::Status done = (*pool)->Exec(sql, params, clock::SteadyNow() + absl::Seconds(30)).status();
    EXPECT_THAT(done, status::IsOk()) << sql;
  }

  // First column of the first row.
  double Number(const std::string& sql, const pg::Params& params = {}) {
    const auto found = pool_->Exec(sql, params, clock::SteadyNow() + absl::Seconds(30));
    EXPECT_THAT(found.status(), status::IsOk()) << sql;
    return found.ok() && !found->empty() ? (*found)[0].Double(0) : 0;
  }

  // Moves frames before `until` into blocks.
  void Merge(absl::Time until) {
    for (auto& [metric, store] : stores_) store->Merge(until);
  }

  void Merge(const std::string& metric, absl::Time until) { stores_[metric]->Merge(until); }

  void StoreFrames(const std::string& metric, const std::vector<storage::StoredFrame>& frames) {
    Store(metric).Store(frames);
  }

  void Exec(const std::string& sql, const pg::Params& params = {}) {
    const absl::Status done = pool_->Exec(sql, params, clock::SteadyNow() + absl::Seconds(30)).status();
    EXPECT_THAT(done, status::IsOk()) << sql;
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
      if (minute <= 10) {
        frame.rows.push_back(statement(22, 1, 50000, 1, 1));
        frame.rows.back().values.insert({{"wal_bytes", 100},
                                         {"total_plan_time_us", 3000},
                                         {"shared_blk_read_time_us", 1500},
                                         {"temp_blk_write_time_us", 500},
                                         {"temp_blks_written", 4}});
      }
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
  std::string metadata_url_;
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
  std::unique_ptr<pb::InsightService::Stub> insight_;
  std::unique_ptr<pb::SystemService::Stub> system_;
  std::unique_ptr<pb::PrometheusService::Stub> prometheus_;
  std::unique_ptr<pb::AdviceService::Stub> advice_;
  std::unique_ptr<pb::WorkloadService::Stub> workload_;
  std::unique_ptr<token::Signer> signer_;
};

inline google::protobuf::Timestamp Stamp(absl::Time time) {
  return google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(time));
}

using Stub = pb::QueryService::Stub;

// Calls of statements from 12:00 to 12:40, in steps of ten minutes.
inline pb::QuerySeriesRequest CallsSeries() {
  pb::QuerySeriesRequest request;
  request.set_metric("statements");
  request.set_column("calls");
  *request.mutable_start() = Stamp(kHour);
  *request.mutable_end() = Stamp(kHour + absl::Minutes(40));
  request.set_step(600);
  return request;
}

}  // namespace pga::query
