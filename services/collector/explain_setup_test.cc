// Function pganalytics.explain on real servers: what it plans, what it refuses, and that nothing is run by it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/pg/errors.h"
#include "libs/status/testing.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/explain_setup_testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::testing::TempPostgres;
using ::testing::HasSubstr;
using ::testing::Not;

struct Answer {
  std::string outcome;
  std::string detail;
  std::string plan;
};

class ExplainSetup : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto started = TempPostgres::Start({.version = GetParam(), .preload_statements = true});
    if (absl::IsNotFound(started.status())) GTEST_SKIP() << started.status();
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
    Sql("CREATE ROLE monitor LOGIN IN ROLE pg_monitor");
    Sql("CREATE TABLE orders (id int PRIMARY KEY, customer int, note text);"
        "CREATE INDEX orders_customer ON orders (customer);"
        "INSERT INTO orders SELECT g, g % 500, 'hunter2x' || g FROM generate_series(1, 5000) g; ANALYZE orders");
  }

  void Sql(const std::string& sql, const std::string& database = "postgres") const {
    EXPECT_THAT(server_->Exec(database, sql), IsOk()) << sql;
  }
  std::string One(const std::string& sql, const std::string& database = "postgres") const {
    const auto result = server_->Exec(database, sql);
    EXPECT_THAT(result, IsOk()) << sql;
    return result.ok() && !result->empty() ? std::string((*result)[0].Text(0)) : "";
  }
  void Install(const std::string& rights = "write", const std::string& database = "postgres") const {
    const auto outcome = InstallExplain(*server_, database, "monitor", rights);
    ASSERT_THAT(outcome, IsOk());
    ASSERT_EQ(outcome->exit_code, 0) << outcome->output;
  }
  // As the login sees it, in a session of its own.
  Answer Explain(const std::string& text, const std::string& user = "0",
                 const std::string& database = "postgres") const {
    auto session = pg::CopyConnection::Connect({.url = server_->UrlAs("monitor", database)},
                                               clock::SteadyNow() + absl::Seconds(10));
    EXPECT_THAT(session, IsOk());
    if (!session.ok()) return {};
    const auto row = (*session)->Exec(
        absl::StrCat("BEGIN READ ONLY; SET LOCAL statement_timeout = '2s'; SELECT outcome, coalesce(detail, ''), "
                     "coalesce(plan, '') FROM pganalytics.explain($text$",
                     text, "$text$, ", user, ")"),
        clock::SteadyNow() + absl::Seconds(10));
    EXPECT_THAT(row, IsOk()) << text;
    if (!row.ok()) return {};
    return {std::string((*row)[0].Text(0)), std::string((*row)[0].Text(1)), std::string((*row)[0].Text(2))};
  }

  std::unique_ptr<TempPostgres> server_;
};

TEST_P(ExplainSetup, PlansAndRunsNothing) {
  Install();
  Sql("CREATE SEQUENCE counted; CREATE TABLE parts (at date) PARTITION BY RANGE (at);"
      "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');"
      "CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')");
  Install();  // again: before 14 rights are those on the tables that are there
  const std::string before = One("SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o");
  struct Case {
    const char* text;
    const char* part;  // of the plan
  };
  const bool merges = std::string(GetParam()) >= "15";
  const bool generic = std::string(GetParam()) >= "16";
  for (const Case& c : {
           Case{"SELECT note FROM orders WHERE id = $1", "\"Index Name\": \"orders_pkey\""},
           {"/* a */ select * FROM orders WHERE customer = $1 AND note <> $2 LIMIT $3 ; ", "orders_customer"},
           {"-- x\n(SELECT 1) UNION ALL SELECT id FROM orders", "Append"},
           {"WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone", "\"Operation\": \"Delete\""},
           {"INSERT INTO orders SELECT nextval('counted'), 1, $1", "\"Operation\": \"Insert\""},
           {"INSERT INTO orders (id, note) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET note = $3", "orders_pkey"},
           {"UPDATE orders SET note = $1 WHERE id = $2", "\"Operation\": \"Update\""},
           {"DELETE FROM orders WHERE customer = $1", "\"Operation\": \"Delete\""},
           {"SELECT * FROM orders FOR UPDATE", "LockRows"},
           {"SELECT nextval('counted'), pg_advisory_lock(4711), set_config('a.b', $1, false)", "Result"},
           {"SELECT * FROM orders ORDER BY note COLLATE \"C\" DESC", "Sort"},
           {merges ? "MERGE INTO orders o USING (SELECT $1::int AS id) n ON o.id = n.id WHEN MATCHED THEN DELETE"
                   : "SELECT 1",
            merges ? "\"Operation\": \"Merge\"" : "Result"},
           {generic ? "SELECT * FROM parts WHERE at = $1" : "SELECT * FROM parts WHERE at > '2020-03-01'", "parts_2"},
       }) {
    const Answer answer = Explain(c.text);
    EXPECT_EQ(answer.outcome, "planned") << c.text << " " << answer.detail;
    EXPECT_THAT(answer.plan, HasSubstr(c.part)) << c.text;
  }
  // What is left of the partitions for NULL is no plan of the statement.
  if (!generic) {
    EXPECT_EQ(Explain("SELECT * FROM parts WHERE at = $1").outcome, "pruned");
  }
  EXPECT_EQ(One("SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o"), before);
  EXPECT_EQ(One("SELECT is_called::text FROM counted"), "false");
  EXPECT_EQ(One("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'"), "0");
}

TEST_P(ExplainSetup, RefusesWhatIsNoSingleStatement) {
  Install();
  for (const char* const text : {"SELECT 1; DROP TABLE orders",
                                 "SELECT 1;;SELECT 2",
                                 ";SELECT 1",
                                 "SELECT 1 /* ; */",
                                 "SELECT ';'",
                                 "",
                                 "EXPLAIN ANALYZE DELETE FROM orders",
                                 "EXPLAIN SELECT 1",
                                 "ANALYZE SELECT 1",
                                 "(ANALYZE) DELETE FROM orders",
                                 "ANALYZE, VERBOSE) DELETE FROM orders",
                                 "COPY orders TO STDOUT",
                                 "COPY (SELECT 1) TO PROGRAM 'true'",
                                 "DO 'BEGIN END'",
                                 "CALL f()",
                                 "EXECUTE stolen",
                                 "DECLARE c CURSOR FOR SELECT 1",
                                 "CREATE TABLE t AS SELECT 1",
                                 "REFRESH MATERIALIZED VIEW v",
                                 "VACUUM",
                                 "SET ROLE postgres",
                                 "RESET ROLE",
                                 "PREPARE p AS SELECT 1",
                                 "TABLE orders",
                                 "VALUES (1)",
                                 "BEGIN",
                                 "COMMIT",
                                 "LISTEN x",
                                 "NOTIFY x",
                                 "select1",
                                 "SELECTED",
                                 "/* SELECT */ DROP TABLE orders",
                                 "-- SELECT\nDROP TABLE orders",
                                 "SELECT U&\"\\0069d\" FROM orders",
                                 "\\! true"}) {
    EXPECT_EQ(Explain(text).outcome, "refused") << text;
  }
  // What only looks like one is the parser's to refuse.
  for (const char* const text :
       {"/* /* */ SELECT */ DROP TABLE orders", "SELECT 1 /*", "SELECT 'a", "SELECT \"a",
        "WITH x AS (DROP TABLE orders)", "SELECT $tag$", "(SELECT 1", "SELECT 1) SELECT 2", "select\xc3\xa9 1"}) {
    EXPECT_EQ(Explain(text).outcome, "42601") << text;
  }
  EXPECT_EQ(Explain("SELECT 1/0").outcome, "22012");
  EXPECT_EQ(Explain(absl::StrCat("SELECT 1 --", std::string(70'000, 'x'))).outcome, "refused");
  EXPECT_EQ(One("SELECT count(*)::text FROM orders"), "5000");
}

// A function that takes a lock which outlives its transaction: whoever plans has run it if somebody holds the lock.
TEST_P(ExplainSetup, NoFunctionOfTheDatabaseIsRun) {
  Install();
  Sql("CREATE FUNCTION evil(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS "
      "'BEGIN PERFORM pg_advisory_lock(4711); RETURN 1; END';"
      "CREATE FUNCTION \"More Evil\"() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN evil(1); END';"
      "CREATE FUNCTION wraps() RETURNS int LANGUAGE sql AS 'SELECT evil(1)';"
      "CREATE VIEW seen AS SELECT id, evil(1) AS e FROM orders; CREATE VIEW seen_again AS SELECT id FROM seen;"
      "CREATE TABLE with_default (a int, b int DEFAULT evil(1));"
      "CREATE TABLE with_check (a int CHECK (a > evil(1)));"
      "CREATE TABLE with_index (a int); CREATE INDEX ON with_index ((a + evil(1)));"
      "CREATE TABLE with_generated (a int, b int GENERATED ALWAYS AS (a + evil(1)) STORED);"
      "CREATE DOMAIN sore AS int CHECK (VALUE <> evil(1)); CREATE TABLE with_domain (a sore);"
      "CREATE TABLE parent (a int); CREATE TABLE child (CHECK (a <> evil(1))) INHERITS (parent);"
      "CREATE TABLE with_policy (a int); ALTER TABLE with_policy ENABLE ROW LEVEL SECURITY;"
      "CREATE POLICY p ON with_policy USING (a = evil(1));"
      "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;"
      "CREATE FOREIGN TABLE afar (a int) SERVER nowhere;"
      "CREATE TABLE partitioned (a int) PARTITION BY LIST (a);"
      "CREATE FOREIGN TABLE partition_afar PARTITION OF partitioned FOR VALUES IN (1) SERVER nowhere;"
      "CREATE FUNCTION same(int, text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN evil(1) = 1; END';"
      "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = text, FUNCTION = same);"
      "CREATE TABLE far_key (a int PRIMARY KEY, b int DEFAULT evil(1));"
      "CREATE TABLE near_key (a int REFERENCES far_key (a))");
  if (std::string(GetParam()) >= "14") {
    Sql("CREATE TABLE with_statistics (a int, b int); CREATE STATISTICS s ON (a + evil(1)), b FROM with_statistics");
  }
  for (const char* const text : {"SELECT evil(1)",
                                 "SELECT EVIL ( 1 )",
                                 "SELECT \"evil\"(1)",
                                 "SELECT public.evil/**/(1)",
                                 "SELECT 1from seen",
                                 "SELECT \"More Evil\"()",
                                 "SELECT wraps()",
                                 "SELECT * FROM seen",
                                 "SELECT * FROM seen_again",
                                 "INSERT INTO with_default (a) VALUES ($1)",
                                 "SELECT * FROM with_check WHERE a = $1",
                                 "SELECT * FROM with_index WHERE a = $1",
                                 "SELECT * FROM with_generated WHERE a = 1",
                                 "SELECT * FROM with_domain WHERE a = $1",
                                 "SELECT $1::sore",
                                 "SELECT * FROM parent WHERE a = 1",
                                 "SELECT * FROM afar",
                                 "SELECT * FROM partitioned",
                                 "SELECT 1 === 'x'",
                                 "SELECT * FROM orders WHERE note = table_to_xml('seen', true, true, '')::text",
                                 "SELECT * FROM orders WHERE pg_input_is_valid('1', 'so' || 're')",
                                 "SELECT * FROM orders WHERE id = (SELECT evil(1)) OR note LIKE $1"}) {
    EXPECT_EQ(Explain(text).outcome, "runs_code") << text;
  }
  EXPECT_EQ(Explain("SELECT * FROM with_policy").outcome, "42501");
  Install();
  if (std::string(GetParam()) >= "14") {
    EXPECT_EQ(Explain("SELECT * FROM with_statistics WHERE a = 1").outcome, "runs_code");
  }
  EXPECT_EQ(Explain("SELECT note FROM orders WHERE id = $1").outcome, "planned");
  EXPECT_EQ(Explain("SELECT * FROM near_key WHERE a = $1").outcome, "planned");
  // A cast is used without being named.
  Sql("CREATE TYPE mood AS ENUM ('well'); CREATE FUNCTION to_mood(int) RETURNS mood LANGUAGE plpgsql IMMUTABLE AS "
      "'BEGIN PERFORM evil(1); RETURN NULL; END'; CREATE CAST (int AS mood) WITH FUNCTION to_mood(int) AS IMPLICIT");
  EXPECT_EQ(Explain("SELECT note FROM orders WHERE id = $1").outcome, "runs_code");
  EXPECT_EQ(One("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'"), "0");
  // The lock does tell: this is a plan that somebody else asks for.
  auto session = server_->Connect();
  ASSERT_THAT(session, IsOk());
  EXPECT_THAT((*session)->Exec("EXPLAIN SELECT * FROM seen", clock::SteadyNow() + absl::Seconds(10)), IsOk());
  EXPECT_NE(One("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'"), "0");
}

TEST_P(ExplainSetup, RightsAndCircumstances) {
  const auto unknown = InstallExplain(*server_, "postgres", "nobody");
  ASSERT_THAT(unknown, IsOk());
  EXPECT_NE(unknown->exit_code, 0);
  EXPECT_THAT(unknown->output, HasSubstr("-v login=NAME"));
  const auto rights = InstallExplain(*server_, "postgres", "monitor", "all");
  ASSERT_THAT(rights, IsOk());
  EXPECT_THAT(rights->output, HasSubstr("rights=all is not one of read, write, none"));
  Sql("CREATE ROLE mallory; CREATE SCHEMA pganalytics AUTHORIZATION mallory");
  const auto taken = InstallExplain(*server_, "postgres", "monitor");
  ASSERT_THAT(taken, IsOk());
  EXPECT_THAT(taken->output, HasSubstr("schema pganalytics belongs to somebody else"));
  Sql("DROP SCHEMA pganalytics");

  // A right that is missing is an outcome, until it is there.
  Install("none");
  EXPECT_EQ(Explain("SELECT note FROM orders WHERE id = $1").outcome, "42501");
  Install("read");
  EXPECT_EQ(Explain("SELECT note FROM orders WHERE id = $1").outcome, "planned");
  EXPECT_EQ(Explain("DELETE FROM orders WHERE id = $1").outcome, "42501");
  EXPECT_EQ(One("SELECT (rolsuper OR rolcanlogin OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
                "::text FROM pg_roles WHERE rolname = 'pganalytics_explain'"),
            "false");
  EXPECT_EQ(One("SELECT has_schema_privilege('pganalytics_explain', 'pganalytics', 'CREATE')::text"), "false");
  // Whom it is for.
  Sql("CREATE ROLE other LOGIN");
  const auto other = server_->Exec("postgres", "SET ROLE other; SELECT pganalytics.explain('SELECT 1', 0)");
  EXPECT_EQ(pg::SqlStateOf(other.status()), "42501");
  const auto writable =
      server_->Exec("postgres", "SET statement_timeout = '1s'; SELECT pganalytics.explain('SELECT 1', 0)");
  EXPECT_EQ(pg::SqlStateOf(writable.status()), "25000");
  const auto endless = server_->Exec(
      "postgres", "BEGIN READ ONLY; SET LOCAL statement_timeout = 0; SELECT pganalytics.explain('SELECT 1', 0)");
  EXPECT_EQ(pg::SqlStateOf(endless.status()), "55000");

  // What row security hides depends on the user.
  Sql("CREATE TABLE guarded (a int); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON guarded USING "
      "(a = 1)");
  EXPECT_EQ(Explain("SELECT * FROM guarded").outcome, "42501");
  // A message would tell a value of a row; nothing but the class of the error comes.
  Sql("CREATE TABLE secrets (a text); INSERT INTO secrets VALUES ('hunter2x')");
  const Answer failed = Explain("SELECT 'hunter2x'::int");
  EXPECT_EQ(failed.outcome, "22P02");
  EXPECT_EQ(failed.detail + failed.plan, "");

  // A lock that is not free is not waited for.
  auto holder = server_->Connect();
  ASSERT_THAT(holder, IsOk());
  EXPECT_THAT((*holder)->Exec("BEGIN; LOCK TABLE orders", clock::SteadyNow() + absl::Seconds(10)), IsOk());
  const clock::SteadyTime begun = clock::SteadyNow();
  EXPECT_EQ(Explain("SELECT note FROM orders").outcome, "55P03");
  EXPECT_LT(clock::SteadyNow() - begun, absl::Seconds(1));
  EXPECT_THAT((*holder)->Exec("ROLLBACK", clock::SteadyNow() + absl::Seconds(10)), IsOk());
}

TEST_P(ExplainSetup, NamesAndCostsAreThoseOfTheUser) {
  Install();
  Sql("CREATE SCHEMA app; CREATE TABLE app.t (a int PRIMARY KEY, b text); CREATE TABLE public.t (x int);"
      "INSERT INTO app.t SELECT g, g FROM generate_series(1, 5000) g; ANALYZE app.t;"
      "CREATE ROLE one; CREATE ROLE two; CREATE ROLE app; ALTER ROLE one SET search_path = app;"
      "ALTER ROLE one SET enable_indexscan = off; ALTER ROLE one SET enable_bitmapscan = off");
  Install();
  const auto of = [&](const std::string& role) { return absl::StrCat("'", role, "'::regrole::oid"); };
  const std::string text = "SELECT * FROM t WHERE a = $1";
  EXPECT_THAT(Explain(text, of("one")).plan, HasSubstr("Seq Scan"));
  EXPECT_EQ(Explain(text, of("two")).outcome, "42703");                 // public.t
  EXPECT_THAT(Explain(text, of("app")).plan, HasSubstr("Index Scan"));  // "$user"
  Sql("ALTER DATABASE postgres SET search_path = app");
  EXPECT_THAT(Explain(text, of("two")).plan, HasSubstr("t_pkey"));
  EXPECT_THAT(Explain(text).plan, HasSubstr("t_pkey"));
  // Another encoding, and names of it.
  Sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
  Sql("CREATE TABLE \"\xc3\xa9t\xc3\xa9\" (a int)", "latin");
  Install("write", "latin");
  EXPECT_EQ(Explain("SELECT * FROM \xc3\xa9t\xc3\xa9 WHERE a = $1", "0", "latin").outcome, "planned");
  Sql("CREATE FUNCTION \"\xc3\xa9vil\"() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN 1; END'", "latin");
  EXPECT_EQ(Explain("SELECT \xc3\x89VIL()", "0", "latin").outcome, "runs_code");
}

// PGA_EXPLAIN_VERSIONS=all: those between, too, which differ in nothing that matters here.
std::vector<const char*> Versions() {
  if (std::getenv("PGA_EXPLAIN_VERSIONS") != nullptr) return {"13", "14", "15", "16", "17", "18"};
  return {"13", "15", "16", "18"};
}
INSTANTIATE_TEST_SUITE_P(Versions, ExplainSetup, ::testing::ValuesIn(Versions()),
                         [](const auto& each) { return std::string("of") + each.param; });

}  // namespace
}  // namespace pga::collector
