#include "libs/catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "libs/catalog/docs_page.h"
#include "libs/catalog/guide_testing.h"
#include "libs/catalog/metric_file.h"
#include "libs/catalog/server_check.h"

namespace pga::catalog {
namespace {

namespace v1 = pganalytics::catalog::v1;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// A custom metric as a user writes it.
constexpr char kGood[] = R"(name: queue
schema_version: 1
description: Length of the job queue.
scope: database
queries:
  - sql: |
      SELECT current_database()::text AS datname, state, count(*) AS jobs, sum(done)::int8 AS done
      FROM app.job GROUP BY state
columns:
  - {name: datname, type: text, kind: label, description: Database.}
  - {name: state, type: text, kind: label, description: State of the jobs.}
  - {name: jobs, type: int8, kind: gauge, unit: "1", description: Jobs waiting.}
  - {name: done, type: int8, kind: counter, unit: "1", description: Jobs done.}
)";

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

absl::StatusOr<v1::Metric> ParseCustom(const std::string& yaml) {
  return ParseMetricFile(yaml, {.file_name = "custom/queue.yaml", .custom = true});
}

TEST(MetricFile, ReadsACustomMetric) {
  const auto metric = ParseCustom(kGood);
  ASSERT_TRUE(metric.ok()) << metric.status();
  EXPECT_EQ(metric->name(), "queue");
  EXPECT_TRUE(metric->custom());
  EXPECT_EQ(metric->scope(), v1::SCOPE_DATABASE);
  EXPECT_EQ(metric->interval_factor(), 1);
  EXPECT_EQ(metric->columns_size(), 4);
  EXPECT_EQ(metric->columns(3).kind(), v1::COLUMN_KIND_COUNTER);
  EXPECT_EQ(metric->columns(3).since_schema_version(), 1);
  EXPECT_TRUE(HasCounters(*metric));
  EXPECT_THAT(IdentityColumns(*metric), ::testing::ElementsAre(0, 1));
}

struct BadFile {
  const char* name;
  const char* from;
  const char* to;
  const char* message;  // file, line, and what to do
};

class MetricFileRefuses : public ::testing::TestWithParam<BadFile> {};

TEST_P(MetricFileRefuses, NamingFileLineAndRemedy) {
  const auto metric = ParseCustom(Replaced(kGood, GetParam().from, GetParam().to));
  ASSERT_FALSE(metric.ok());
  EXPECT_EQ(metric.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(metric.status().message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Table, MetricFileRefuses,
    ::testing::Values(
        BadFile{"NotYaml", "scope: database", "scope: [", "custom/queue.yaml:"},
        BadFile{"NotAMapping", kGood, "- a\n", "queue.yaml:1: want one mapping"},
        BadFile{"Empty", kGood, "", "queue.yaml:1: want one mapping"},
        BadFile{"UnknownKey",
                "scope:", "interval: 3\nscope:", "queue.yaml:4: unknown key \"interval\"; known are name"},
        BadFile{"KeyTwice", "scope: database", "scope: database\nscope: host",
                "queue.yaml:5: key \"scope\" is there twice"},
        BadFile{"BadName", "name: queue", "name: Queue-1", "queue.yaml:1: name \"Queue-1\" must match"},
        BadFile{"LongName", "name: queue", "name: a1234567890123456789012345678901234567890", "must match"},
        BadFile{"OtherFile", "name: queue", "name: queues", "call the file queues.yaml"},
        BadFile{"ReservedName", "name: queue", "name: push", "taken by the suite"},
        BadFile{"NoVersion", "schema_version: 1\n", "", "schema_version (1 for a new metric) is missing"},
        BadFile{"VersionNoNumber", "schema_version: 1", "schema_version: one",
                "queue.yaml:2: schema_version is \"one\"; want a number from 1"},
        BadFile{"VersionAhead", "schema_version: 1", "schema_version: 2", "newest column has since 1; make them equal"},
        BadFile{"BeginsWithAComma", "name: queue", ",name: queue", "want one mapping"},
        BadFile{"NoDescription", "description: Length of the job queue.\n", "", "description is missing"},
        BadFile{"BadScope", "scope: database", "scope: server", "queue.yaml:4: scope is \"server\"; want instance"},
        BadFile{"NoScope", "scope: database\n", "", "scope is missing"},
        BadFile{"HostWithSql", "scope: database", "scope: host", "of scope host has no queries"},
        BadFile{"CustomProbe", "queries:", "probe: activity\nqueries:", "probe is for built-in metrics"},
        BadFile{"BadFactor",
                "queries:", "interval_factor: 0\nqueries:", "interval_factor is \"0\"; want a number from 1"},
        BadFile{"BadTimeout", "queries:", "timeout_ms: 5s\nqueries:", "timeout_ms is \"5s\"; want a number"},
        BadFile{"BadBool",
                "queries:", "skip_unchanged: yes\nqueries:", "skip_unchanged is \"yes\"; want true or false"},
        BadFile{"BadRetention", "queries:", "retention: {raw: 3}\nqueries:", "retention: unknown key \"raw\""},
        BadFile{"RetentionNoMap", "queries:", "retention: 30\nqueries:", "retention: want a mapping"},
        BadFile{"ResetUnknown", "queries:", "reset_column: stats_reset\nqueries:", "is no column of the metric"},
        BadFile{"ResetNoTime",
                "queries:", "reset_column: jobs\nqueries:", "must be an info column of type timestamptz"},
        BadFile{"IdentityUnknown", "queries:", "identity: [jobs]\nqueries:", "identity names \"jobs\""},
        BadFile{"LocateUnknown", "queries:", "locate_by: job\nqueries:", "locate_by names \"job\""},
        BadFile{"LocateNoLabel", "queries:", "locate_by: jobs\nqueries:", "is no label of type int8 or text"},
        BadFile{"Semicolon", "GROUP BY state", "GROUP BY state;", "must be one statement without a semicolon"},
        BadFile{"TwoStatements", "GROUP BY state", "; DROP TABLE app.job", "must be one statement"},
        BadFile{"NotSelect", "SELECT current_database()", "DELETE current_database()",
                "must begin with SELECT or WITH"},
        BadFile{"NoSql",
                "  - sql: |\n      SELECT current_database()::text AS datname, state, count(*) AS jobs, "
                "sum(done)::int8 AS done\n"
                "      FROM app.job GROUP BY state\n",
                "  - role: primary\n", "queue.yaml:6: query 1: sql is missing"},
        BadFile{"BadRole", "- sql:", "- role: master\n    sql:", "role is \"master\"; want primary or standby"},
        BadFile{"BadVersions", "- sql:", "- min_version: 15\n    max_version: 14\n    sql:", "max_version is below"},
        BadFile{"ExtensionUnnamed", "- sql:", "- min_extension_version: 1.2\n    sql:", "has no key extension"},
        BadFile{"ColumnNoName", "{name: jobs, ", "{", "queue.yaml:12: column 3: name is missing"},
        BadFile{"ColumnBadName", "name: jobs", "name: Jobs", "queue.yaml:12: column \"Jobs\": name must match"},
        BadFile{"GrantNoText", "name: state, type: text, kind: label", "name: grant_needed, type: text, kind: label",
                "column \"grant_needed\": it holds the command"},
        BadFile{"ColumnReserved", "name: jobs", "name: time", "column \"time\": the name is taken"},
        BadFile{"ColumnKeyword", "name: jobs", "name: user", "column \"user\": the name is taken"},
        BadFile{"ColumnTwice", "name: done", "name: jobs", "queue.yaml:13: column \"jobs\": is there twice"},
        BadFile{"ColumnUnknownKey", "{name: jobs,", "{name: jobs, units: rows,",
                "queue.yaml:12: column \"jobs\": unknown key \"units\""},
        BadFile{"ColumnBadType", "name: jobs, type: int8", "name: jobs, type: bigint",
                "type is \"bigint\"; want bool, int8"},
        BadFile{"ColumnNoType", "name: jobs, type: int8,", "name: jobs,", "needs a type and a kind"},
        BadFile{"ColumnBadKind", "kind: gauge", "kind: value", "kind is \"value\"; want label"},
        BadFile{"CounterFloat", "name: done, type: int8", "name: done, type: float8",
                "a counter must be int8; round it"},
        BadFile{"GaugeText", "name: jobs, type: int8", "name: jobs, type: text", "make it kind info"},
        BadFile{"LabelFloat", "name: state, type: text", "name: state, type: float8",
                "a label must be text, int8 or bool"},
        BadFile{"NoUnit", "kind: gauge, unit: \"1\"", "kind: gauge", "unit is missing; known are 1, bytes"},
        BadFile{"BadUnit", "kind: gauge, unit: \"1\"", "kind: gauge, unit: megabytes",
                "unit is \"megabytes\"; known are"},
        BadFile{"TextUnit", "name: state, type: text, kind: label", "name: state, type: text, kind: label, unit: rows",
                "a text has no unit"},
        BadFile{"NoColumnDescription", ", description: Jobs waiting.", "", "description is missing"},
        BadFile{"BadSince", "description: Jobs waiting.", "description: Jobs waiting., since: 0", "since is \"0\""},
        BadFile{"SinceOrder", "description: Jobs waiting.", "since: 2, description: Jobs waiting.",
                "columns are only added at the end"},
        BadFile{"LateLabel", "description: State of the jobs.", "since: 2, description: State of the jobs.",
                "a label cannot be added later"},
        BadFile{"NoDatname", "{name: datname", "{name: db", "needs the text label datname"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(MetricFile, ReportsEveryProblemAtOnce) {
  std::string yaml = Replaced(kGood, "scope: database", "scope: server");
  yaml = Replaced(yaml, "unit: \"1\"", "unit: apples");
  yaml = Replaced(yaml, "GROUP BY state", "GROUP BY state;");
  const auto metric = ParseCustom(yaml);
  EXPECT_THAT(std::string(metric.status().message()),
              AllOf(HasSubstr("queue.yaml:4:"), HasSubstr("queue.yaml:6:"), HasSubstr("queue.yaml:12:")));
}

TEST(MetricFile, ShadowedQueryIsAProblem) {
  const auto metric = ParseCustom(Replaced(kGood, "columns:", "  - {min_version: 14, sql: SELECT 1}\ncolumns:"));
  EXPECT_THAT(std::string(metric.status().message()), HasSubstr("query 2: never chosen"));
}

TEST(MetricFile, RefusesHugeAndDeepFiles) {
  EXPECT_THAT(std::string(ParseCustom(std::string(kMaxFileBytes + 1, ' ')).status().message()), HasSubstr("takes"));
  EXPECT_EQ(ParseCustom(std::string(100'000, '[')).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseCustom(std::string("name: \0", 7)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MetricFile, DamagedFilesNeverPassSilentlyAsSomethingElse) {
  const std::string good = kGood;
  int parsed = 0;
  for (size_t cut = 0; cut < good.size(); ++cut) {
    parsed += ParseCustom(good.substr(0, cut)).ok() ? 1 : 0;
    std::string changed = good;
    changed[cut] = '\x01';
    (void)ParseCustom(changed).ok();
  }
  // Only cuts between two columns leave a whole metric.
  EXPECT_LT(parsed, 20);
}

TEST(SqlProblem, UnderstandsQuotesAndComments) {
  for (const char* sql :
       {"SELECT ';'", "select \"a;b\" from t", "-- a; b\nSELECT 1", "/* ; */ WITH x AS (SELECT 1) TABLE x",
        "SELECT $$;$$", "SELECT $tag$;$tag$", "SELECT 1 -- end"}) {
    EXPECT_EQ(SqlProblem(sql), "") << sql;
  }
  for (const char* sql : {"", "  ", "SELECT 1;", "SELECT ';", "SELECT $1", "SHOW ALL", "(SELECT 1)", "/* x",
                          "VALUES (1)", "SELECT $a$;$b$", "SELECTED"}) {
    EXPECT_NE(SqlProblem(sql), "") << sql;
  }
}

TEST(Builtin, IsValidAndComplete) {
  const auto catalog = Catalog::Builtin();
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  for (const char* name :
       {"database",      "table_stats",       "index_stats", "statements",  "activity",        "blocking",
        "replication",   "replication_slots", "wal",         "bgwriter",    "checkpointer",    "settings",
        "database_size", "table_size",        "host_cpu",    "host_memory", "host_filesystem", "io",
        "recovery",      "archiver"}) {
    EXPECT_NE((*catalog)->Find(name), nullptr) << name;
  }
  EXPECT_EQ((*catalog)->Find("none"), nullptr);
  EXPECT_EQ((*catalog)->version().size(), 32u);
}

TEST(Builtin, EverySupportedVersionHasSqlForBothRoles) {
  // Metrics that exist only for some servers.
  const std::map<std::string, int> first_major = {
      {"io", 16},          {"statements_info", 14},  {"progress_copy", 14},       {"recovery_prefetch", 15},
      {"io_backends", 18}, {"wal_backends", 18},     {"replication_origins", 14}, {"shared_memory", 15},
      {"lock_stats", 19},  {"autovacuum_scores", 19}};
  const std::set<std::string> standby_only = {"recovery"};
  const auto catalog = *Catalog::Builtin();
  for (const v1::Metric& metric : catalog->metrics()) {
    if (!metric.probe().empty() && metric.queries().empty()) continue;
    for (int major = 13; major <= 18; ++major) {
      for (const bool standby : {false, true}) {
        const auto first = first_major.find(metric.name());
        const bool expected = (first == first_major.end() || major >= first->second) &&
                              (standby || !standby_only.contains(metric.name()));
        EXPECT_EQ(SelectQuery(metric, major * 10'000 + 4, standby, "1.9") != nullptr, expected)
            << metric.name() << " " << major << (standby ? " standby" : " primary");
      }
    }
  }
}

TEST(Catalog, VersionDependsOnContentNotOnOrder) {
  v1::Metric a = *ParseCustom(kGood);
  v1::Metric b = a;
  b.set_name("other");
  const auto ab = *Catalog::FromMetrics({a, b});
  const auto ba = *Catalog::FromMetrics({b, a});
  EXPECT_EQ(ab->version(), ba->version());
  b.mutable_columns(0)->set_description("Something else.");
  EXPECT_NE((*Catalog::FromMetrics({a, b}))->version(), ab->version());
  EXPECT_EQ(Catalog::FromMetrics({a, a}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MetricsPage, OfTheRepositoryIsCurrent) {
  const char* root = std::getenv("PGA_SOURCE_DIR");
  if (root == nullptr) GTEST_SKIP() << "PGA_SOURCE_DIR is not set; ctest sets it";
  std::ifstream in(std::filesystem::path(root) / "docs" / "metrics.md");
  const std::string stored((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto prometheus = *PrometheusNames::Create(*Catalog::Builtin());
  EXPECT_TRUE(stored == MetricsPage(**Catalog::Builtin(), *prometheus)) << "docs/metrics.md is old: run tools/docs.sh";
}

// The examples of docs/adding-a-metric.md are files as they stand there.
TEST(AddingAMetric, ExamplesOfTheGuideAreValid) {
  const char* root = std::getenv("PGA_SOURCE_DIR");
  if (root == nullptr) GTEST_SKIP() << "PGA_SOURCE_DIR is not set; ctest sets it";
  const auto examples = testing::GuideExamples(root);
  ASSERT_EQ(examples.size(), 2u);
  for (const testing::GuideExample& example : examples) {
    const auto metric = ParseMetricFile(example.yaml, {.file_name = example.file_name, .custom = true});
    EXPECT_TRUE(metric.ok()) << metric.status();
  }
}

// A folder of custom metrics that goes away with the test.
class CustomFolderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "pga_catalog_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(std::filesystem::path(folder_) / name) << text;
  }
  std::string folder_;
};

TEST_F(CustomFolderTest, AFileAddsAMetric) {
  Write("queue.yaml", kGood);
  Write("README.md", "not a metric");
  Write(".queue.yaml", "an editor's file");
  const auto catalog = Catalog::WithCustom(folder_);
  ASSERT_TRUE(catalog.ok()) << catalog.status();
  ASSERT_NE((*catalog)->Find("queue"), nullptr);
  EXPECT_TRUE((*catalog)->Find("queue")->custom());
  EXPECT_NE((*catalog)->Find("wal"), nullptr);
  EXPECT_NE((*catalog)->version(), (*Catalog::Builtin())->version());
}

TEST_F(CustomFolderTest, CannotReplaceABuiltinMetric) {
  Write("wal.yaml", Replaced(kGood, "name: queue", "name: wal"));
  EXPECT_THAT(std::string(Catalog::WithCustom(folder_).status().message()), HasSubstr("wal.yaml:1: wal is a built-in"));
}

TEST_F(CustomFolderTest, MissingFolderIsNamed) {
  const absl::Status status = Catalog::WithCustom(folder_ + "/none").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/none"));
}

TEST_F(CustomFolderTest, BadFileIsRefusedAndTheLastGoodSetStays) {
  Write("queue.yaml", kGood);
  CustomFolder source(folder_);
  EXPECT_EQ(source.last_error(), absl::OkStatus());
  const auto before = source.current();
  ASSERT_NE(before->Find("queue"), nullptr);

  Write("queue.yaml", Replaced(kGood, "unit: \"1\"", "unit: apples"));
  EXPECT_THAT(std::string(source.Reload().message()), HasSubstr("queue.yaml:12:"));
  EXPECT_EQ(source.current(), before);
  EXPECT_FALSE(source.last_error().ok());

  // A changed meaning of a stored column is refused too.
  Write("queue.yaml", Replaced(kGood, "kind: gauge", "kind: counter"));
  EXPECT_THAT(std::string(source.Reload().message()), HasSubstr("cannot change"));
  EXPECT_EQ(source.current(), before);

  // Adding a column is fine.
  Write("queue.yaml", Replaced(Replaced(kGood, "schema_version: 1", "schema_version: 2"), "description: Jobs done.}",
                               "description: Jobs done.}\n  - {name: failed, type: int8, kind: counter, unit: \"1\", "
                               "since: 2, description: Jobs failed.}"));
  EXPECT_EQ(source.Reload(), absl::OkStatus());
  EXPECT_EQ(source.current()->Find("queue")->schema_version(), 2);
  EXPECT_EQ(ColumnsAt(*source.current()->Find("queue"), 1).size(), 4u);
  EXPECT_EQ(ColumnsAt(*source.current()->Find("queue"), 2).size(), 5u);
}

TEST(CustomFolder, WithoutAFolderIsTheBuiltinCatalog) {
  CustomFolder source("");
  EXPECT_EQ(source.Reload(), absl::OkStatus());
  EXPECT_EQ(source.current(), *Catalog::Builtin());
}

TEST(CheckEvolution, OnlyAdditionsPass) {
  const v1::Metric older = *ParseCustom(kGood);
  EXPECT_EQ(CheckEvolution(older, older), absl::OkStatus());
  const auto refused = [&](const std::function<void(v1::Metric&)>& change) {
    v1::Metric newer = older;
    change(newer);
    return CheckEvolution(older, newer).code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](v1::Metric& m) { m.set_scope(v1::SCOPE_INSTANCE); }));
  EXPECT_TRUE(refused([](v1::Metric& m) { m.set_schema_version(0); }));
  EXPECT_TRUE(refused([](v1::Metric& m) { m.mutable_columns()->RemoveLast(); }));
  EXPECT_TRUE(refused([](v1::Metric& m) { m.mutable_columns(2)->set_name("x"); }));
  EXPECT_TRUE(refused([](v1::Metric& m) { m.mutable_columns(2)->set_unit("rows"); }));
  EXPECT_TRUE(refused([](v1::Metric& m) { m.add_identity("state"); }));
  EXPECT_TRUE(refused([](v1::Metric& m) { m.set_locate_by("state"); }));
  EXPECT_TRUE(refused([](v1::Metric& m) { m.set_interval_factor(30); }));
  EXPECT_FALSE(refused([](v1::Metric& m) { m.set_interval_factor(29); }));
  EXPECT_TRUE(refused([](v1::Metric& m) {
    *m.add_columns() = m.columns(3);
    m.mutable_columns(4)->set_name("late");
  }));
}

TEST(SelectQuery, PicksByVersionRoleAndExtension) {
  v1::Metric metric;
  const auto add = [&](int min, int max, v1::ServerRole role, const char* extension, const char* sql) {
    v1::Query* query = metric.add_queries();
    query->set_min_version(min);
    query->set_max_version(max);
    query->set_role(role);
    query->set_min_extension_version(extension);
    query->set_sql(sql);
  };
  add(17, 0, v1::SERVER_ROLE_UNSPECIFIED, "", "new");
  add(14, 15, v1::SERVER_ROLE_STANDBY, "", "standby");
  add(14, 16, v1::SERVER_ROLE_PRIMARY, "1.10", "extension");
  add(14, 16, v1::SERVER_ROLE_PRIMARY, "", "primary");
  const auto sql = [&](int version, bool standby, const char* extension = "") {
    const v1::Query* query = SelectQuery(metric, version, standby, extension);
    return query == nullptr ? std::string("none") : query->sql();
  };
  EXPECT_EQ(sql(180001, false), "new");
  EXPECT_EQ(sql(170000, true), "new");
  EXPECT_EQ(sql(160004, false), "primary");
  EXPECT_EQ(sql(160004, false, "1.9"), "primary");
  EXPECT_EQ(sql(160004, false, "1.10"), "extension");
  EXPECT_EQ(sql(160004, true), "none");
  EXPECT_EQ(sql(150020, true), "standby");
  EXPECT_EQ(sql(130020, false), "none");
}

TEST(SelectQuery, StatementsFollowTheExtensionNotTheServer) {
  const v1::Metric* metric = (*Catalog::Builtin())->Find("statements");
  const v1::Query* old = SelectQuery(*metric, 170004, false, "1.10");
  ASSERT_NE(old, nullptr);
  EXPECT_THAT(old->sql(), HasSubstr("s.blk_read_time"));
  EXPECT_THAT(SelectQuery(*metric, 170004, false, "1.11")->sql(), HasSubstr("s.stats_since"));
  EXPECT_EQ(SelectQuery(*metric, 170004, false, ""), nullptr);
  EXPECT_THAT(RenderSql(*old, "my \"ext"), HasSubstr("FROM \"my \"\"ext\".pg_stat_statements(false)"));
}

TEST(CompareVersions, ComparesNumbersNotText) {
  EXPECT_LT(CompareVersions("1.9", "1.10"), 0);
  EXPECT_GT(CompareVersions("2", "1.10"), 0);
  EXPECT_EQ(CompareVersions("1.0", "1"), 0);
  EXPECT_EQ(CompareVersions("", ""), 0);
  EXPECT_GT(CompareVersions("1.10-beta", "1.9"), 0);
}

TEST(PrometheusName, HasBaseUnitsAndTotals) {
  const auto catalog = *Catalog::Builtin();
  const auto name = [&](const char* metric, const char* column) {
    for (const v1::Column& c : catalog->Find(metric)->columns()) {
      if (c.name() == column) return PrometheusName(*catalog->Find(metric), c);
    }
    return std::string("no such column");
  };
  EXPECT_EQ(name("statements", "total_exec_time_us"), "pganalytics_statements_total_exec_time_seconds_total");
  EXPECT_EQ(name("database", "xact_commit"), "pganalytics_database_xact_commit_total");
  EXPECT_EQ(name("database", "temp_bytes"), "pganalytics_database_temp_bytes_total");
  EXPECT_EQ(name("database_size", "size_bytes"), "pganalytics_database_size_size_bytes");
  EXPECT_EQ(name("host_cpu", "user_us"), "pganalytics_host_cpu_user_seconds_total");
  EXPECT_EQ(name("host_cpu", "load_1m"), "pganalytics_host_cpu_load_1m");
  EXPECT_EQ(name("database", "datname"), "");
  EXPECT_EQ(name("database", "stats_reset"), "");
}

TEST(PrometheusName, IsUniqueOverTheCatalog) {
  std::set<std::string> names;
  for (const v1::Metric& metric : (*Catalog::Builtin())->metrics()) {
    for (const v1::Column& column : metric.columns()) {
      const std::string name = PrometheusName(metric, column);
      if (name.empty()) continue;
      EXPECT_TRUE(names.insert(name).second) << name;
    }
  }
}

TEST(CheckResultColumns, ComparesNamesAndTypes) {
  const v1::Metric metric = *ParseCustom(kGood);
  using Columns = std::vector<ResultColumn>;
  const auto message = [&](const Columns& columns) {
    return std::string(CheckResultColumns(metric, columns).message());
  };
  EXPECT_EQ(message({{"state", 25}, {"jobs", 20}, {"datname", 25}, {"done", 20}}), "");
  EXPECT_EQ(message({{"datname", 25}, {"state", 25}}), "") << "a value left out is NULL";
  EXPECT_THAT(message({{"datname", 19}, {"state", 25}}), HasSubstr("datname has type OID 19; cast it: (...)::text"));
  EXPECT_THAT(message({{"datname", 25}, {"state", 25}, {"x", 25}}), HasSubstr("x is no column"));
  EXPECT_THAT(message({{"datname", 25}, {"state", 25}, {"state", 25}}), HasSubstr("there twice"));
  EXPECT_THAT(message({{"datname", 25}}), HasSubstr("label state is missing"));
}

}  // namespace
}  // namespace pga::catalog
