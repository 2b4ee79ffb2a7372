// What changed on a real PostgreSQL: its own pg_stat_statements, indexes, tables and settings before and after a change
// whose cause is known, read by the catalog's SQL. Each round of work stands for a minute.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "libs/catalog/metric.h"
#include "libs/rpc/client.h"
#include "libs/status/testing.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"
#include "services/query/query_testing.h"

namespace pga::query {
namespace {

using status::IsOk;
using ::testing::HasSubstr;

// Rounds of a window, and calls of one.
constexpr int kRounds = 10;
constexpr int kCalls = 5;
// 11:00; the change comes after kRounds minutes.
const absl::Time kStart = kHour - absl::Hours(1);

class Server {
 public:
  Server(int32_t source, std::string name) : source_(source), name_(std::move(name)) {
    auto made =
        testing::TempPostgres::Start({.preload_statements = true, .extra_conf = {"autovacuum = off", "jit = off"}});
    EXPECT_THAT(made, IsOk());
    postgres_ = *std::move(made);
    auto connection = postgres_->Connect();
    EXPECT_THAT(connection, IsOk());
    connection_ = *std::move(connection);
    Exec("CREATE EXTENSION pg_stat_statements");
    Exec(
        "CREATE TABLE orders (id int8 PRIMARY KEY, customer int4, note text); INSERT INTO orders SELECT i, i % 2000, "
        "repeat('x', 50) FROM generate_series(1, 40000) i; CREATE INDEX orders_customer_idx ON orders (customer); "
        "CREATE TABLE steady (id int4 PRIMARY KEY); INSERT INTO steady SELECT generate_series(1, 5000)");
    Exec("VACUUM ANALYZE");
    Suite::Get().Exec(
        "INSERT INTO metrics.source (id, uuid, name, collector_id, group_name) VALUES ($1::int4, gen_random_uuid(), "
        "$2, "
        "1, 'default')",
        {source_, name_});
    auto catalog = catalog::Catalog::Builtin();
    EXPECT_THAT(catalog, IsOk());
    catalog_ = *catalog;
    Read(0, true);
  }

  pg::Result Exec(const std::string& sql) {
    auto done = connection_->Exec(sql, clock::SteadyNow() + absl::Seconds(60));
    EXPECT_THAT(done, IsOk()) << sql;
    return done.ok() ? *std::move(done) : pg::Result();
  }

  // Rounds of the statement under test, and of one that stays as it is.
  void Work(int first, const std::string& statement) {
    for (int round = 0; round < kRounds; ++round) {
      for (int call = 0; call < kCalls; ++call) {
        Exec(statement);
        Exec(absl::StrCat("SELECT count(*) FROM steady WHERE id > ", call));
      }
      Read(first + round + 1, false);
    }
  }

  pb::CompareQueriesResponse Compare() {
    Suite& suite = Suite::Get();
    for (const auto& [metric, frames] : frames_) suite.StoreFrames(metric, frames);
    pb::CompareQueriesRequest request;
    *request.mutable_at() = Stamp(kStart + absl::Minutes(kRounds));
    request.set_minutes(kRounds);
    request.set_limit(100);
    request.add_source(name_);
    const auto answer = rpc::Call(suite.insight(), &pb::InsightService::Stub::CompareQueries, request, suite.Options());
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? *answer : pb::CompareQueriesResponse();
  }

 private:
  using Values = std::map<std::string, columns::Value>;

  static columns::Value ValueOf(const pg::Row& row, size_t column, ::pganalytics::catalog::v1::ColumnType type) {
    if (row.IsNull(column)) return std::monostate();
    switch (type) {
      case ::pganalytics::catalog::v1::COLUMN_TYPE_TEXT:
        return std::string(row.Text(column));
      case ::pganalytics::catalog::v1::COLUMN_TYPE_FLOAT8:
        return row.Double(column);
      case ::pganalytics::catalog::v1::COLUMN_TYPE_BOOL:
        return int64_t{row.Text(column) == "t" || row.Text(column) == "true" ? 1 : 0};
      case ::pganalytics::catalog::v1::COLUMN_TYPE_TIMESTAMPTZ:
        return std::monostate();
      default:
        return row.Int64(column);
    }
  }

  // One reading of everything, at `minute`.
  void Read(int minute, bool keyframe) {
    ReadMetric("statements", minute, keyframe, 0);
    ReadMetric("index_stats", minute, keyframe, 5);
    ReadMetric("table_stats", minute, keyframe, 5);
    ReadMetric("settings", minute, keyframe, 0);
    const pg::Result texts =
        Exec("SELECT DISTINCT ON (queryid) queryid, query FROM pg_stat_statements WHERE queryid IS NOT NULL");
    for (const pg::Row row : texts) {
      if (!texts_.insert(row.Int64(0)).second) continue;
      Suite::Get().Exec(
          "INSERT INTO metrics.query_text (source_id, database_id, query_id, text) VALUES ($1::int4, 0, $2::int8, $3)",
          {source_, row.Int64(0), std::string(row.Text(1))});
    }
  }

  // As a collector does: counters as increases, rows that went as such.
  void ReadMetric(const std::string& name, int minute, bool keyframe, int64_t scope) {
    const auto* const metric = catalog_->Find(name);
    ASSERT_NE(metric, nullptr);
    const auto* const query = catalog::SelectQuery(*metric, 150000, false, "1.10");
    ASSERT_NE(query, nullptr);
    const pg::Result read = Exec(catalog::RenderSql(*query));
    storage::StoredFrame frame;
    frame.source = source_;
    frame.scope = scope;
    frame.end = kStart + absl::Minutes(minute);
    frame.start = keyframe ? frame.end : frame.end - absl::Minutes(1);
    frame.keyframe = keyframe;
    std::map<std::string, Values> now;
    for (const pg::Row row : read) {
      Values values;
      std::string key;
      for (size_t i = 0; i < read.columns(); ++i) {
        for (const auto& column : metric->columns()) {
          if (column.name() != read.column_name(i)) continue;
          values[column.name()] = ValueOf(row, i, column.type());
          if (column.kind() == ::pganalytics::catalog::v1::COLUMN_KIND_LABEL) {
            absl::StrAppend(&key, row.IsNull(i) ? "" : std::string(row.Text(i)), "\n");
          }
        }
      }
      now[key] = std::move(values);
    }
    std::map<std::string, Values>& before = last_[name];
    for (const auto& [key, values] : now) {
      storage::StoredRow row{values, 0};
      for (const auto& column : metric->columns()) {
        if (keyframe || column.kind() != ::pganalytics::catalog::v1::COLUMN_KIND_COUNTER) continue;
        const auto then = before.find(key);
        const auto* const number = std::get_if<int64_t>(&row.values[column.name()]);
        if (number == nullptr) continue;
        int64_t increase = *number;
        if (then != before.end()) {
          if (const auto* const old = std::get_if<int64_t>(&then->second[column.name()])) increase -= *old;
        }
        row.values[column.name()] = increase;
      }
      frame.rows.push_back(std::move(row));
    }
    for (const auto& [key, values] : before) {
      if (now.contains(key)) continue;
      storage::StoredRow gone{{}, 4};
      for (const auto& column : metric->columns()) {
        if (column.kind() != ::pganalytics::catalog::v1::COLUMN_KIND_LABEL) continue;
        if (const auto value = values.find(column.name()); value != values.end()) gone.values.insert(*value);
      }
      frame.rows.push_back(std::move(gone));
    }
    before = std::move(now);
    frames_[name].push_back(std::move(frame));
  }

  const int32_t source_;
  const std::string name_;
  std::unique_ptr<testing::TempPostgres> postgres_;
  std::unique_ptr<pg::CopyConnection> connection_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  std::map<std::string, std::map<std::string, Values>> last_;
  std::map<std::string, std::vector<storage::StoredFrame>> frames_;
  std::set<int64_t> texts_;
};

double Change(const pb::QueryComparison& of) {
  return std::abs(std::log(of.after_mean_time() / of.before_mean_time()));
}

// The statement is found as changed, with this cause first; the steady one changed less, however busy the machine was.
const pb::QueryComparison* Expect(const pb::CompareQueriesResponse& answer, const std::string& text,
                                  const std::string& status, const std::string& kind, const std::string& says) {
  const pb::QueryComparison* found = nullptr;
  const pb::QueryComparison* steady = nullptr;
  for (const pb::QueryComparison& one : answer.comparisons()) {
    if (one.query_text().find(text) != std::string::npos) found = &one;
    if (one.query_text().find("FROM steady") != std::string::npos) steady = &one;
  }
  EXPECT_NE(steady, nullptr);
  EXPECT_NE(found, nullptr) << answer.ShortDebugString();
  if (found == nullptr || steady == nullptr) return nullptr;
  EXPECT_TRUE(steady->improvement_status() == "unchanged" || Change(*steady) < Change(*found))
      << steady->ShortDebugString();
  EXPECT_EQ(found->improvement_status(), status) << found->ShortDebugString();
  EXPECT_EQ(found->before_calls(), kRounds * kCalls);
  EXPECT_EQ(found->after_calls(), kRounds * kCalls);
  EXPECT_FALSE(found->causes().empty()) << found->ShortDebugString();
  if (!found->causes().empty()) {
    EXPECT_EQ(found->causes(0).kind(), kind) << found->ShortDebugString();
    EXPECT_THAT(found->causes(0).summary(), HasSubstr(says));
  }
  return found;
}

TEST(RealServer, ADroppedIndex) {
  Server server(201, "real-index");
  const std::string statement = "SELECT sum(length(note)) FROM orders WHERE customer = 7";
  server.Work(0, statement);
  server.Exec("DROP INDEX orders_customer_idx");
  server.Work(kRounds, statement);
  Expect(server.Compare(), "sum(length(note))", "degraded", "index_dropped",
         "orders_customer_idx of public.orders was dropped");
}

TEST(RealServer, ACreatedIndex) {
  Server server(202, "real-created");
  server.Exec("DROP INDEX orders_customer_idx");
  const std::string statement = "SELECT max(note) FROM orders WHERE customer = 8";
  server.Work(0, statement);
  server.Exec("CREATE INDEX orders_by_customer ON orders (customer)");
  server.Work(kRounds, statement);
  Expect(server.Compare(), "max(note)", "improved", "index_created", "orders_by_customer of public.orders was created");
}

TEST(RealServer, ASettingOfTheServer) {
  Server server(203, "real-setting");
  const std::string statement = "SELECT min(note) FROM orders WHERE customer = 9";
  server.Work(0, statement);
  for (const char* name : {"enable_indexscan", "enable_bitmapscan"}) {
    server.Exec(absl::StrCat("ALTER SYSTEM SET ", name, " = off"));
  }
  server.Exec("SELECT pg_reload_conf()");
  // The session takes it before one of its next statements.
  ASSERT_TRUE(testing::WaitUntil([&] {
    return server.Exec("SHOW enable_bitmapscan")[0].Text(0) == "off" &&
           server.Exec("SHOW enable_indexscan")[0].Text(0) == "off";
  }));
  server.Work(kRounds, statement);
  Expect(server.Compare(), "min(note)", "degraded", "setting_changed", "scan changed from on to off");
}

TEST(RealServer, MoreRows) {
  Server server(204, "real-rows");
  server.Work(0, "SELECT id, note FROM orders WHERE customer BETWEEN 10 AND 12");
  server.Work(kRounds, "SELECT id, note FROM orders WHERE customer BETWEEN 10 AND 1200");
  Expect(server.Compare(), "BETWEEN", "degraded", "more_rows", "rows of each call grew from 60 to");
}

}  // namespace
}  // namespace pga::query
