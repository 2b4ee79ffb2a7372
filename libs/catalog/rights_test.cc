// What a login with pg_monitor alone may not read: the row says so, and the command that it names is the one that
// helps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/grant_column.h"
#include "libs/catalog/metric.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/testing/temp_postgres.h"

namespace pga::catalog {
namespace {

namespace v1 = pganalytics::catalog::v1;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(30);
}

class Rights : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto server = testing::TempPostgres::Start({.version = GetParam(), .extra_conf = {"autovacuum = off"}});
    if (absl::IsNotFound(server.status())) GTEST_SKIP() << server.status().message();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    for (const char* const statement :
         {"CREATE ROLE \"the monitor\" LOGIN IN ROLE pg_monitor; CREATE SCHEMA \"Shut\"",
          "CREATE SEQUENCE \"Shut\".numbers; SELECT nextval('\"Shut\".numbers')",
          "CREATE TABLE \"Shut\".many AS SELECT n, md5(n::text) AS m FROM generate_series(1, 50000) n",
          "CREATE INDEX many_n ON \"Shut\".many (n); CREATE INDEX many_m ON \"Shut\".many (upper(m))",
          "CREATE TABLE \"Shut\".guarded AS TABLE \"Shut\".many; CREATE INDEX guarded_n ON \"Shut\".guarded (n)",
          "ALTER TABLE \"Shut\".guarded ENABLE ROW LEVEL SECURITY", "VACUUM ANALYZE \"Shut\".many",
          "VACUUM ANALYZE \"Shut\".guarded"}) {
      Run(statement);
    }
  }

  void Run(const std::string& sql) {
    const auto done = server_->Exec("postgres", sql);
    ASSERT_TRUE(done.ok()) << sql << ": " << done.status();
  }

  // What the login reads: the value, a bar, and the command.
  std::string Read(const std::string& metric, const std::string& label, const std::string& object,
                   const std::string& value) {
    const auto catalog = *Catalog::Builtin();
    auto connection = pg::CopyConnection::Connect({.url = server_->UrlAs("the monitor", "postgres")}, Soon());
    if (!connection.ok()) return connection.status().ToString();
    const v1::Query* const query = SelectQuery(*catalog->Find(metric), (*connection)->server_version_num(), false);
    const auto rows =
        (*connection)
            ->Exec(
                absl::StrCat("SELECT coalesce((", value, " IS NOT NULL)::text, '') || '|' || coalesce(", kGrantColumn,
                             ", '') FROM (", RenderSql(*query), ") q WHERE ", label, " = '", object, "'"),
                Soon());
    if (!rows.ok()) return rows.status().ToString();
    return rows->rows() == 1 ? std::string((*rows)[0].Text(0)) : absl::StrCat(rows->rows(), " rows");
  }

  std::unique_ptr<testing::TempPostgres> server_;
};

TEST_P(Rights, TheCommandThatARowNamesHelps) {
  const bool before_14 = GetParam() == "13";
  const std::string sequences = "GRANT SELECT ON ALL SEQUENCES IN SCHEMA \"Shut\" TO \"the monitor\"";
  const std::string tables = before_14 ? "GRANT SELECT ON ALL TABLES IN SCHEMA \"Shut\" TO \"the monitor\""
                                       : "GRANT pg_read_all_data TO \"the monitor\"";
  const std::string every_row = "ALTER ROLE \"the monitor\" BYPASSRLS";
  EXPECT_EQ(Read("sequences", "relname", "numbers", "last_value"), "false|" + sequences);
  EXPECT_EQ(Read("sequences", "relname", "numbers", "values_left"), "false|" + sequences);
  Run(sequences);
  EXPECT_EQ(Read("sequences", "relname", "numbers", "values_left"), "true|");

  EXPECT_EQ(Read("bloat_tables", "relname", "many", "bloat_bytes"), "false|" + tables);
  EXPECT_EQ(Read("bloat_tables", "relname", "guarded", "bloat_bytes"), "false|" + tables);
  EXPECT_EQ(Read("bloat_indexes", "indexrelname", "many_n", "bloat_bytes"), "false|" + tables);
  EXPECT_EQ(Read("bloat_indexes", "indexrelname", "guarded_n", "bloat_bytes"), "false|" + tables);
  // Statistics of an expression are its owner's alone before 14.
  EXPECT_EQ(Read("bloat_indexes", "indexrelname", "many_m", "bloat_bytes"), before_14 ? "false|" : "false|" + tables);
  Run(tables);
  EXPECT_EQ(Read("bloat_tables", "relname", "many", "bloat_bytes"), "true|");
  EXPECT_EQ(Read("bloat_indexes", "indexrelname", "many_n", "bloat_bytes"), "true|");
  EXPECT_EQ(Read("bloat_indexes", "indexrelname", "many_m", "bloat_bytes"), before_14 ? "false|" : "true|");

  EXPECT_EQ(Read("bloat_tables", "relname", "guarded", "bloat_bytes"), "false|" + every_row);
  EXPECT_EQ(Read("bloat_indexes", "indexrelname", "guarded_n", "bloat_bytes"), "false|" + every_row);
  Run(every_row);
  EXPECT_EQ(Read("bloat_tables", "relname", "guarded", "bloat_bytes"), "true|");
  EXPECT_EQ(Read("bloat_indexes", "indexrelname", "guarded_n", "bloat_bytes"), "true|");
}

INSTANTIATE_TEST_SUITE_P(Versions, Rights, ::testing::Values("13", "14", "15", "18"),
                         [](const auto& version) { return "Postgres" + version.param; });

}  // namespace
}  // namespace pga::catalog
