#include "libs/storage/catalog_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/catalog/catalog.h"
#include "libs/pg/errors.h"
#include "libs/storage/rollup_job.h"
#include "libs/storage/schema_testing.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

absl::Time Soon() {
  return absl::Now() + absl::Seconds(60);
}

const std::vector<std::string> kColumns = {"name text label", "calls int8 counter", "size float8 gauge",
                                           "ok bool gauge", "plan text info"};

class CatalogSchemaTest : public ::testing::Test {
 protected:
  void SetUp() override {
    metric_ = MakeMetric("probe", catalog_pb::SCOPE_DATABASE, kColumns);
    database_ = MetricsDatabase::Create({&metric_});
    ASSERT_NE(database_, nullptr);
  }
  absl::Status Apply(const catalog_pb::Metric& metric) {
    auto connection = pg::CopyConnection::Connect({.url = database_->url()}, Soon());
    if (!connection.ok()) return connection.status();
    lines_.clear();
    return ApplyCatalog(
        **connection, {&metric}, [&](const std::string& line) { lines_.push_back(line); }, Soon());
  }
  std::string Columns(const std::string& table) {
    return database_->Value(
        absl::StrCat("SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attname) FROM pg_attribute "
                     "WHERE attrelid = '",
                     table, "'::regclass AND attnum > 0 AND NOT attisdropped"));
  }
  catalog_pb::Metric metric_;
  std::unique_ptr<MetricsDatabase> database_;
  std::vector<std::string> lines_;
};

TEST_F(CatalogSchemaTest, TablesFollowFromTheMetric) {
  const std::string raw =
      "calls bigint, flags smallint, name bigint, ok boolean, plan bigint, scope integer, size double "
      "precision, source_id integer, time timestamp with time zone";
  EXPECT_EQ(Columns("metrics.probe"), raw);
  EXPECT_EQ(Columns("metrics.probe_baseline"), raw);
  for (const char* table : {"metrics.probe_1m", "metrics.probe_10m", "metrics.probe_1h"}) {
    EXPECT_EQ(
        Columns(table),
        "bucket timestamp with time zone, calls bigint, covered_ms bigint, flags smallint, name bigint, ok_count "
        "bigint, "
        "ok_last boolean, ok_max boolean, ok_min boolean, ok_sum bigint, plan bigint, scope integer, size_count "
        "bigint, "
        "size_last double precision, size_max double precision, size_min double precision, size_sum double precision, "
        "source_id integer");
  }
  EXPECT_EQ(database_->Value(
                "SELECT string_agg(name || ' ' || granularity || ' ' || retention_days, ', ' ORDER BY name) FROM "
                "metrics.time_table WHERE metric_id = 1"),
            "probe day 30, probe_10m month 90, probe_1h month 400, probe_1m day 30, probe_baseline month 32");
  EXPECT_EQ(database_->Value("SELECT retention_days FROM metrics.time_table WHERE name = 'metrics'"), "31");
}

TEST_F(CatalogSchemaTest, RepeatingChangesNothing) {
  const std::string before = database_->Value("SELECT xmin::text || applied_at FROM metrics.catalog_metric");
  EXPECT_EQ(Apply(metric_), absl::OkStatus());
  EXPECT_THAT(lines_, IsEmpty());
  EXPECT_EQ(database_->Value("SELECT xmin::text || applied_at FROM metrics.catalog_metric"), before);
}

TEST_F(CatalogSchemaTest, ColumnsAreAddedEverywhereAndOldRowsStay) {
  database_->Exec("INSERT INTO metrics.probe (time, source_id, scope, flags, calls) VALUES (now(), 1, 0, 0, 7)");
  auto columns = kColumns;
  columns.push_back("blocks int8 counter 2");
  columns.push_back("lag interval_us gauge 2");
  ASSERT_EQ(Apply(MakeMetric("probe", catalog_pb::SCOPE_DATABASE, columns, 2)), absl::OkStatus());
  EXPECT_THAT(Columns("metrics.probe"), HasSubstr("blocks bigint"));
  EXPECT_THAT(Columns("metrics.probe_baseline"), HasSubstr("lag bigint"));
  EXPECT_THAT(Columns("metrics.probe_1h"), HasSubstr("lag_last bigint"));
  EXPECT_THAT(Columns("readable.probe"), HasSubstr("blocks bigint"));
  EXPECT_EQ(database_->Value("SELECT calls::text || coalesce(blocks::text, 'null') FROM metrics.probe"), "7null");
  EXPECT_EQ(database_->Value("SELECT schema_version FROM metrics.catalog_metric"), "2");
  // The older program does not take it back.
  EXPECT_EQ(Apply(metric_), absl::OkStatus());
  EXPECT_THAT(lines_, Contains(HasSubstr("stays at version 2")));
  EXPECT_EQ(database_->Value("SELECT schema_version FROM metrics.catalog_metric"), "2");
}

struct Refusal {
  const char* name;
  std::vector<std::string> columns;
  int version;
  const char* message;
};

class CatalogRefusals : public CatalogSchemaTest, public ::testing::WithParamInterface<Refusal> {};

TEST_P(CatalogRefusals, StoredColumnsAreAPromise) {
  const std::string before = database_->Value("SELECT md5(definition) FROM metrics.catalog_metric");
  const auto refused = Apply(MakeMetric("probe", catalog_pb::SCOPE_DATABASE, GetParam().columns, GetParam().version));
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(GetParam().message));
  EXPECT_EQ(database_->Value("SELECT md5(definition) FROM metrics.catalog_metric"), before);
}

INSTANTIATE_TEST_SUITE_P(
    All, CatalogRefusals,
    ::testing::Values(
        Refusal{"Removed",
                {"name text label", "calls int8 counter", "size float8 gauge", "ok bool gauge"},
                2,
                "plan was removed"},
        Refusal{"OtherType",
                {"name text label", "calls int8 counter", "size int8 gauge", "ok bool gauge", "plan text info"},
                2,
                "size has another type"},
        Refusal{"OtherKind",
                {"name text label", "calls int8 gauge", "size float8 gauge", "ok bool gauge", "plan text info"},
                2,
                "calls has another kind"},
        Refusal{"NewLabel",
                {"name text label", "calls int8 counter", "size float8 gauge", "ok bool gauge", "plan text info",
                 "more text label 2"},
                2,
                "label more was added"},
        Refusal{"NoHigherVersion",
                {"name text label", "calls int8 counter", "size float8 gauge", "ok bool gauge", "plan text info",
                 "more int8 gauge"},
                1,
                "without a higher schema_version"}),
    [](const auto& test) { return test.param.name; });

TEST(CatalogShape, OurOwnNamesAreRefused) {
  const auto shape = [](const std::string& name, const std::vector<std::string>& columns) {
    return CheckShape(MakeMetric(name, catalog_pb::SCOPE_INSTANCE, columns));
  };
  EXPECT_EQ(shape("probe", {"calls int8 counter"}), absl::OkStatus());
  EXPECT_FALSE(shape("lease", {"calls int8 counter"}).ok());
  EXPECT_FALSE(shape("probe_1m", {"calls int8 counter"}).ok());
  EXPECT_FALSE(shape("probe", {"time timestamptz gauge"}).ok());
  EXPECT_FALSE(shape("probe", {"a int8 gauge", "a_min int8 counter"}).ok());
  EXPECT_FALSE(shape("probe", {"calls float8 counter"}).ok());
  EXPECT_FALSE(shape("probe", {"name text gauge"}).ok());
  EXPECT_FALSE(shape("Probe", {"calls int8 counter"}).ok());
}

TEST(BuiltinCatalog, Applies) {
  const auto builtin = catalog::Catalog::Builtin();
  ASSERT_TRUE(builtin.ok()) << builtin.status();
  std::vector<const catalog_pb::Metric*> metrics;
  for (const catalog_pb::Metric& metric : (*builtin)->metrics()) metrics.push_back(&metric);
  const absl::Time start = absl::Now();
  const auto database = MetricsDatabase::Create(metrics);
  ASSERT_NE(database, nullptr);
  RecordProperty("migrate_ms", static_cast<int>(absl::ToInt64Milliseconds(absl::Now() - start)));
  EXPECT_EQ(database->Value("SELECT count(*) FROM metrics.catalog_metric"), absl::StrCat(metrics.size()));
  EXPECT_EQ(database->Value("SELECT count(*) FROM information_schema.views WHERE table_schema = 'readable'"),
            absl::StrCat(metrics.size()));
  // Every statement of every rollup is understood by the server.
  for (const catalog_pb::Metric* metric : metrics) {
    AppliedMetric applied;
    applied.id = 1;
    applied.metric = *metric;
    const RollupStatements statements = MakeRollupStatements(applied);
    std::vector<std::string> all = statements.deletes;
    all.push_back(statements.insert);
    for (const std::string& sql : all) {
      const auto planned = database->pool().Exec(
          "EXPLAIN " + sql, {"{1}", "{\"2026-01-01 00:00:00+00\"}", "2026-01-01 00:00:00+00", "2026-01-01 01:00:00+00"},
          Soon());
      EXPECT_TRUE(planned.ok()) << metric->name() << ": " << planned.status();
    }
  }
}

TEST_F(CatalogSchemaTest, UnitIsPartOfTheMeaning) {
  auto changed = metric_;
  changed.mutable_columns(1)->set_unit("ms");
  changed.set_schema_version(2);
  EXPECT_THAT(std::string(Apply(changed).message()), HasSubstr("calls has another unit"));
}

TEST_F(CatalogSchemaTest, ReadableViewShowsTexts) {
  database_->Exec(
      "INSERT INTO metrics.collector (collector_id) VALUES ('col'); INSERT INTO metrics.source (uuid, name, "
      "collector_id) VALUES "
      "(md5('s')::uuid, 'main', 1); INSERT INTO metrics.text VALUES (1, 11, 'orders'); INSERT INTO metrics.probe "
      "(time, source_id, "
      "scope, flags, name, calls) VALUES (now(), 1, -1, 0, 11, 7), (now(), 1, -1, 0, 12, 8)");
  EXPECT_EQ(database_->Value(
                "SELECT string_agg(concat_ws('/', source_name, database_oid, name, calls), ',' ORDER BY calls) FROM "
                "readable.probe"),
            "main/4294967295/orders/7,main/4294967295/8");
}

// Columns called like those of the tables that the view joins.
TEST_F(CatalogSchemaTest, ReadableViewTakesAnyColumnName) {
  const auto odd = MakeMetric("odd", catalog_pb::SCOPE_INSTANCE,
                              {"value text label", "name text info", "id int8 gauge", "uuid text info"});
  ASSERT_EQ(Apply(odd), absl::OkStatus());
  database_->Exec(
      "INSERT INTO metrics.collector (collector_id) VALUES ('col'); INSERT INTO metrics.source (uuid, name, "
      "collector_id) VALUES (md5('s')::uuid, 'main', 1); INSERT INTO metrics.text VALUES (1, 11, 'on'), (1, 12, "
      "'fsync'); INSERT INTO metrics.odd (time, source_id, flags, value, name, id) VALUES (now(), 1, 0, 11, 12, 5)");
  EXPECT_EQ(database_->Value("SELECT concat_ws('/', source_name, value, name, id, uuid) FROM readable.odd"),
            "main/on/fsync/5");
}

TEST_F(CatalogSchemaTest, LockedTableIsWaitedForAndThenGivenUp) {
  auto reader = pg::CopyConnection::Connect({.url = database_->url()}, Soon());
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE((*reader)->Exec("BEGIN; SELECT * FROM metrics.probe", Soon()).ok());
  auto columns = kColumns;
  columns.push_back("blocks int8 counter 2");
  const auto next = MakeMetric("probe", catalog_pb::SCOPE_DATABASE, columns, 2);
  const auto locked = Apply(next);
  EXPECT_EQ(locked.code(), absl::StatusCode::kAborted) << locked;
  EXPECT_THAT(lines_, Contains(HasSubstr("are locked, trying again")));
  ASSERT_TRUE((*reader)->Exec("ROLLBACK", Soon()).ok());
  EXPECT_EQ(Apply(next), absl::OkStatus());
}

TEST_F(CatalogSchemaTest, CustomMetricsLiveInTheirOwnSchema) {
  auto custom = MakeMetric("own", catalog_pb::SCOPE_INSTANCE, {"size int8 gauge"});
  custom.set_custom(true);
  ASSERT_EQ(Apply(custom), absl::OkStatus());
  EXPECT_EQ(Columns("custom.own"), "flags smallint, size bigint, source_id integer, time timestamp with time zone");
  EXPECT_EQ(database_->Value("SELECT to_regclass('custom.own_baseline') IS NULL"), "t") << "no counters, no keyframes";
}

}  // namespace
}  // namespace pga::storage
