#include "libs/storage/schema/catalog_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/steady.h"
#include "libs/storage/schema/schema_testing.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(60);
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
  // Everything that DDL makes.
  std::string Objects() {
    return database_->Value(
        "SELECT concat_ws(' ', (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_attribute), "
        "(SELECT count(*) FROM pg_proc))");
  }
  catalog_pb::Metric metric_;
  std::unique_ptr<MetricsDatabase> database_;
  std::vector<std::string> lines_;
};

TEST_F(CatalogSchemaTest, MetricIsARowAndNoTable) {
  const std::string before = Objects();
  auto custom = MakeMetric("own", catalog_pb::SCOPE_INSTANCE, {"size int8 gauge"});
  custom.set_custom(true);
  ASSERT_EQ(Apply(custom), absl::OkStatus());
  EXPECT_THAT(lines_, ::testing::ElementsAre("metrics: metric own made (version 1)"));
  EXPECT_EQ(Objects(), before);
  EXPECT_EQ(
      database_->Value("SELECT string_agg(concat_ws(' ', id, name, schema_version, custom), ', ' ORDER BY id) FROM "
                       "metrics.catalog_metric"),
      "1 probe 1 f, 2 own 1 t");
}

TEST_F(CatalogSchemaTest, RepeatingChangesNothing) {
  const std::string before = database_->Value("SELECT xmin::text || applied_at FROM metrics.catalog_metric");
  EXPECT_EQ(Apply(metric_), absl::OkStatus());
  EXPECT_THAT(lines_, IsEmpty());
  EXPECT_EQ(database_->Value("SELECT xmin::text || applied_at FROM metrics.catalog_metric"), before);
}

TEST_F(CatalogSchemaTest, ColumnsAreAddedAtTheEnd) {
  auto columns = kColumns;
  columns.push_back("blocks int8 counter 2");
  columns.push_back("lag interval_us gauge 2");
  const auto next = MakeMetric("probe", catalog_pb::SCOPE_DATABASE, columns, 2);
  const std::string before = Objects();
  ASSERT_EQ(Apply(next), absl::OkStatus());
  EXPECT_EQ(Objects(), before);
  EXPECT_EQ(database_->Value("SELECT id || ' ' || schema_version FROM metrics.catalog_metric"), "1 2");
  EXPECT_EQ(database_
                ->Value("SELECT definition FROM metrics.catalog_metric WHERE definition = $1::bytea",
                        {pg::Bytes{next.SerializeAsString()}})
                .empty(),
            false);
  // The older program does not take it back.
  EXPECT_EQ(Apply(metric_), absl::OkStatus());
  EXPECT_THAT(lines_, Contains(HasSubstr("stays at version 2")));
  EXPECT_EQ(database_->Value("SELECT schema_version FROM metrics.catalog_metric"), "2");
}

// Readers look for blocks where any of the retentions that were in force makes them expire.
TEST_F(CatalogSchemaTest, RetentionsThatWereInForceAreKnown) {
  const auto kept = [&] {
    return database_->Value(
        "SELECT concat_ws(' ', raw_days_least, raw_days_most, daily_days_least, daily_days_most) "
        "FROM metrics.catalog_metric");
  };
  EXPECT_EQ(kept(), "30 30 400 400");
  auto metric = metric_;
  metric.mutable_retention()->set_raw_days(7);
  metric.mutable_retention()->set_daily_days(500);
  ASSERT_EQ(Apply(metric), absl::OkStatus());
  EXPECT_EQ(kept(), "7 30 400 500");
  metric.mutable_retention()->set_raw_days(90);
  metric.mutable_retention()->set_daily_days(450);
  ASSERT_EQ(Apply(metric), absl::OkStatus());
  EXPECT_EQ(kept(), "7 90 400 500");
}

// One that is refused takes the others with it: a catalog is applied as a whole.
TEST_F(CatalogSchemaTest, AllOrNone) {
  const auto fine = MakeMetric("fine", catalog_pb::SCOPE_INSTANCE, {"size int8 gauge"});
  const auto bad = MakeMetric("probe", catalog_pb::SCOPE_DATABASE, {"name text label"}, 2);
  auto connection = pg::CopyConnection::Connect({.url = database_->url()}, Soon());
  ASSERT_TRUE(connection.ok());
  EXPECT_EQ(ApplyCatalog(**connection, {&fine, &bad}, {}, Soon()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE((*connection)->in_transaction());
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.catalog_metric"), "1");
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
        Refusal{"Moved",
                {"name text label", "size float8 gauge", "calls int8 counter", "ok bool gauge", "plan text info"},
                2,
                "calls has another place"},
        Refusal{"NotAtTheEnd",
                {"name text label", "calls int8 counter", "size float8 gauge", "ok bool gauge", "more int8 gauge 2",
                 "plan text info"},
                2,
                "before that of the column before it"},
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
  EXPECT_FALSE(shape("push", {"calls int8 counter"}).ok());
  EXPECT_FALSE(shape("statement_texts", {"calls int8 counter"}).ok());
  EXPECT_FALSE(shape("probe", {"calls int8 counter", "calls int8 gauge"}).ok());
  EXPECT_FALSE(shape("probe", {"calls int8 counter 2"}).ok());
  EXPECT_FALSE(shape("probe", {"calls float8 counter"}).ok());
  EXPECT_FALSE(shape("probe", {"name text gauge"}).ok());
  EXPECT_FALSE(shape("Probe", {"calls int8 counter"}).ok());
}

TEST(BuiltinCatalog, Applies) {
  const auto builtin = catalog::Catalog::Builtin();
  ASSERT_TRUE(builtin.ok()) << builtin.status();
  std::vector<const catalog_pb::Metric*> metrics;
  for (const catalog_pb::Metric& metric : (*builtin)->metrics()) metrics.push_back(&metric);
  const clock::SteadyTime start = clock::SteadyNow();
  const auto database = MetricsDatabase::Create(metrics);
  ASSERT_NE(database, nullptr);
  RecordProperty("migrate_ms", static_cast<int>(absl::ToInt64Milliseconds(clock::SteadyNow() - start)));
  EXPECT_EQ(database->Value("SELECT count(*) FROM metrics.catalog_metric"), absl::StrCat(metrics.size()));
}

TEST_F(CatalogSchemaTest, UnitIsPartOfTheMeaning) {
  auto changed = metric_;
  changed.mutable_columns(1)->set_unit("ms");
  changed.set_schema_version(2);
  EXPECT_THAT(std::string(Apply(changed).message()), HasSubstr("calls has another unit"));
}

// Somebody else is applying: waited for as long as there is time, and then said.
TEST_F(CatalogSchemaTest, TurnIsWaitedForAndThenGivenUp) {
  auto other = pg::CopyConnection::Connect({.url = database_->url()}, Soon());
  auto connection = pg::CopyConnection::Connect({.url = database_->url()}, Soon());
  ASSERT_TRUE(other.ok() && connection.ok());
  ASSERT_TRUE(
      (*other)->Exec("BEGIN; SELECT pg_advisory_xact_lock(hashtext('pganalytics catalog')::int8)", Soon()).ok());
  const auto fine = MakeMetric("fine", catalog_pb::SCOPE_INSTANCE, {"size int8 gauge"});
  const auto locked = ApplyCatalog(**connection, {&fine}, {}, clock::SteadyNow() + absl::Milliseconds(200));
  EXPECT_THAT(locked.code(), ::testing::AnyOf(absl::StatusCode::kAborted, absl::StatusCode::kDeadlineExceeded))
      << locked;
  ASSERT_TRUE((*other)->Exec("ROLLBACK", Soon()).ok());
  EXPECT_EQ(Apply(fine), absl::OkStatus());
}

}  // namespace
}  // namespace pga::storage
