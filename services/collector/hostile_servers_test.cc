// The collector against servers whose configuration, rights and poolers stand in its way: what can be read is read and
// true, what cannot is said, and the server's log stays quiet.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/status/testing.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_pooler.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/collector_process_testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::testing::ScopedTempDir;
using ::pga::testing::Subprocess;
using ::pga::testing::TempPooler;
using ::pga::testing::TempPostgres;
using ::pga::testing::WaitUntil;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class HostileServer : public ::testing::Test {
 protected:
  void SetUp() override {
    TempPostgres::Options options;
    options.preload_statements = true;
    options.tcp = true;
    options.extra_conf = {"autovacuum = off", "log_min_messages = warning", "max_prepared_transactions = 5"};
    auto started = TempPostgres::Start(options);
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
    Sql("CREATE EXTENSION pg_stat_statements");
    Sql("CREATE ROLE monitor LOGIN");
    Sql("GRANT pg_monitor TO monitor");
  }

  void TearDown() override {
    if (collector_ != nullptr) Stop();
    EXPECT_THAT(ingest_.violations(), IsEmpty());
  }

  void Sql(const std::string& sql, const std::string& database = "postgres") {
    ASSERT_THAT(server_->Exec(database, sql), IsOk()) << sql;
  }

  Variables With(Variables more) {
    more.insert({{"POSTGRES_USER", "monitor"}, {"HOST_METRICS", "false"}});
    return CollectorVariables(*server_, ingest_, state_, more);
  }

  void Start(const Variables& more = {}) {
    auto process = StartCollector(state_, With(more));
    ASSERT_THAT(process, IsOk());
    collector_ = *std::move(process);
  }

  void Stop() {
    EXPECT_THAT(StopCollector(collector_.get()), IsOk());
    collector_.reset();
  }

  std::string Check(const Variables& more = {}) {
    auto outcome = CheckCollector(With(more));
    EXPECT_THAT(outcome, IsOk());
    return outcome.ok() ? outcome->output : "";
  }

  bool Frames(const std::string& metric, int64_t count) {
    return WaitUntil([&] { return ingest_.Frames(metric) >= count; }, absl::Seconds(60));
  }

  // Lines of refusals in the server's log since `mark`, with how often each was written.
  std::map<std::string, int> Complaints(size_t mark) {
    std::map<std::string, int> complaints;
    const std::string log = server_->Log().substr(mark);
    for (const absl::string_view line : absl::StrSplit(log, '\n')) {
      for (const char* severity : {"ERROR:", "FATAL:"}) {
        const size_t at = line.find(severity);
        if (at != absl::string_view::npos) ++complaints[std::string(line.substr(at))];
      }
    }
    return complaints;
  }

  std::string Setting(const std::string& name, const std::string& column) {
    return ingest_.TextOf("settings", "setting_name", name, column);
  }

  ScopedTempDir state_;
  ScriptedIngest ingest_;
  std::unique_ptr<TempPostgres> server_;
  std::unique_ptr<Subprocess> collector_;
};

// A role of the customer's makes a function that looks like the catalog's; it must never run as the monitor.
constexpr char kTrap[] =
    "CREATE TABLE public.trap (n int); GRANT INSERT ON public.trap TO PUBLIC; "
    "CREATE FUNCTION public.pg_has_role(name, text, text) RETURNS bool LANGUAGE plpgsql AS "
    "$$BEGIN INSERT INTO public.trap VALUES (1); RETURN true; END$$";

TEST_F(HostileServer, ConfigurationOfServerAndRoleChangesNothing) {
  for (const char* setting : {"timezone = 'Europe/Berlin'", "statement_timeout = '90s'", "lock_timeout = '7s'",
                              "default_transaction_isolation = 'serializable'", "idle_session_timeout = '2s'"}) {
    Sql(absl::StrCat("ALTER SYSTEM SET ", setting));
  }
  Sql("ALTER ROLE monitor SET search_path = public, pg_catalog");
  Sql("ALTER ROLE monitor SET temp_file_limit = 0");
  Sql("ALTER ROLE monitor SET work_mem = '64kB'");
  Sql("ALTER ROLE monitor SET standard_conforming_strings = off");
  Sql(kTrap);
  Sql("SELECT pg_reload_conf()");
  const size_t mark = server_->Log().size();
  // Longer than idle_session_timeout.
  Start({{"COLLECTION_INTERVAL", "3"}});
  ASSERT_TRUE(Frames("settings", 1)) << collector_->Output();
  EXPECT_TRUE(Frames("database", 4)) << collector_->Output();
  struct Case {
    const char* name;
    const char* value;
  };
  for (const Case& c :
       {Case{"TimeZone", "Europe/Berlin"}, Case{"statement_timeout", "90000"}, Case{"lock_timeout", "7000"},
        Case{"default_transaction_read_only", "off"}, Case{"idle_session_timeout", "2000"},

        // The login's own values are not the server's.
        Case{"search_path", "(null)"}, Case{"work_mem", "(null)"}, Case{"application_name", "(null)"}}) {
    EXPECT_EQ(Setting(c.name, "setting_value"), c.value) << c.name;
  }
  EXPECT_EQ(Setting("default_transaction_isolation", "source"), "configuration file");
  EXPECT_THAT(Complaints(mark), IsEmpty());
  const auto trapped = server_->Exec("postgres", "SELECT count(*)::text FROM public.trap");
  ASSERT_THAT(trapped, IsOk());
  EXPECT_EQ((*trapped)[0].Text(0), "0");
}

TEST_F(HostileServer, PoolersKeepTheProtection) {
  for (const char* mode : {"transaction", "session"}) {
    SCOPED_TRACE(mode);
    auto pooler = TempPooler::Start(*server_, mode, {"monitor", "postgres"});
    ASSERT_THAT(pooler, IsOk());
    if (std::string(mode) == "transaction") {
      Sql(kTrap);
      Sql("ALTER ROLE monitor SET search_path = public, pg_catalog");
    }
    const Variables through = {{"POSTGRES_HOST", (*pooler)->socket_dir()},
                               {"POSTGRES_PORT", absl::StrCat(TempPooler::port())}};
    EXPECT_THAT(Check(through), HasSubstr("db: complete"));
    const int64_t before = std::max<int64_t>(ingest_.Frames("database"), 0);
    Start(through);
    EXPECT_TRUE(Frames("database", before + 3)) << collector_->Output();
    EXPECT_TRUE(Frames("statements", 2)) << collector_->Output();
    EXPECT_TRUE(Frames("activity", 2)) << collector_->Output();
    Stop();
  }
  const auto trapped = server_->Exec("postgres", "SELECT count(*)::text FROM public.trap");
  ASSERT_THAT(trapped, IsOk());
  EXPECT_EQ((*trapped)[0].Text(0), "0");
}

TEST_F(HostileServer, WatchedDatabasesCanBeDroppedRenamedAndCopied) {
  Sql("CREATE DATABASE app");
  Sql("CREATE TABLE t (n int)", "app");
  Start({{"POSTGRES_DATABASES", "*"}});
  ASSERT_TRUE(
      WaitUntil([&] { return ingest_.TextValues("table_stats", "datname").contains("app"); }, absl::Seconds(60)))
      << collector_->Output();
  // The server itself waits up to 5 s for sessions to end.
  Sql("CREATE DATABASE copied TEMPLATE app");
  Sql("ALTER DATABASE app RENAME TO renamed");
  Sql("DROP DATABASE renamed");
  EXPECT_TRUE(
      WaitUntil([&] { return ingest_.TextValues("table_stats", "datname").contains("copied"); }, absl::Seconds(60)));
}

TEST_F(HostileServer, OneRefusalCostsNothingElseAndIsSaidOnce) {
  Sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC");
  Sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC");
  Sql("REVOKE pg_monitor FROM monitor");
  Sql("CREATE DATABASE monitor");
  Sql("CREATE EXTENSION pg_stat_statements", "monitor");
  // Where the collector is at home then.
  Sql("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", "monitor");
  Sql("CREATE DATABASE closed");
  Sql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC");
  Sql("CREATE DATABASE excluded");
  Sql("CREATE DATABASE broken");
  Sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'");
  const size_t mark = server_->Log().size();
  Start({{"POSTGRES_DATABASES", "*"}, {"POSTGRES_EXCLUDE_DATABASES", "excluded"}});
  ASSERT_TRUE(Frames("database", 12)) << collector_->Output();
  EXPECT_TRUE(Frames("statements", 8)) << collector_->Output();
  for (const auto& [line, times] : Complaints(mark)) EXPECT_LE(times, 1) << line;
  // Functions that the login may not execute are asked about and not called.
  EXPECT_THAT(Complaints(mark), Not(::testing::Contains(::testing::Key(HasSubstr("permission denied for function")))));
  EXPECT_THAT(collector_->Output(), HasSubstr("may not execute pg_ls_waldir()"));
  EXPECT_THAT(ingest_.TextValues("table_stats", "datname"), Not(::testing::Contains("excluded")));
  // A GRANT ends the rest at once.
  Sql("GRANT pg_monitor TO monitor");
  EXPECT_TRUE(Frames("wal", 2)) << collector_->Output();
}

TEST_F(HostileServer, ARotatedPasswordIsReadFromItsFile) {
  Sql("ALTER ROLE monitor PASSWORD 'first-password'");
  const std::string file = state_ / "password";
  std::ofstream(file) << "first-password\n";
  Start({{"POSTGRES_HOST", "127.0.0.1"},
         {"POSTGRES_PORT", absl::StrCat(server_->tcp_port())},
         {"POSTGRES_PASSWORD_FILE", file}});
  ASSERT_TRUE(Frames("database", 2)) << collector_->Output();
  Sql("ALTER ROLE monitor PASSWORD 'second-password'");
  std::ofstream(file, std::ios::trunc) << "second-password\n";
  Sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'");
  const int64_t frames = ingest_.Frames("database");
  EXPECT_TRUE(Frames("database", frames + 3)) << collector_->Output();
  EXPECT_THAT(collector_->Output(), Not(HasSubstr("password authentication failed")));
}

TEST_F(HostileServer, AnOldExtensionIsSaidToBeOld) {
  Sql("DROP EXTENSION pg_stat_statements");
  Sql("CREATE EXTENSION pg_stat_statements VERSION '1.7'");
  EXPECT_THAT(Check(),
              HasSubstr("metric statements: extension pg_stat_statements has version 1.7, which is too old; run "
                        "in its database: ALTER EXTENSION pg_stat_statements UPDATE"));
  Start();
  ASSERT_TRUE(Frames("database", 2)) << collector_->Output();
  EXPECT_THAT(collector_->Output(), HasSubstr("which is too old"));
  Sql("ALTER EXTENSION pg_stat_statements UPDATE");
  EXPECT_TRUE(Frames("statements", 2)) << collector_->Output();
}

class HostileStandby : public HostileServer {
 protected:
  void SetUp() override {
    HostileServer::SetUp();
    Sql("ALTER ROLE monitor SET default_transaction_isolation = 'serializable'");
    primary_ = std::move(server_);
    auto started = TempPostgres::StartStandby(*primary_, {.preload_statements = true});
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
  }
  std::unique_ptr<TempPostgres> primary_;
};

// A hot standby has no serializable transactions.
TEST_F(HostileStandby, IsReadWhateverItsIsolationIs) {
  const size_t mark = server_->Log().size();
  Start();
  EXPECT_TRUE(Frames("database", 3)) << collector_->Output();
  EXPECT_TRUE(Frames("recovery", 2)) << collector_->Output();
  EXPECT_TRUE(Frames("statements", 2)) << collector_->Output();
  EXPECT_THAT(Complaints(mark), IsEmpty());
}

// Over the sessions that are open.
TEST_F(HostileStandby, ThatIsPromotedIsAPrimaryAtOnce) {
  Start();
  ASSERT_TRUE(WaitUntil([&] { return ingest_.Standbys().size() == 1; }, absl::Seconds(30))) << collector_->Output();
  Sql("SELECT pg_promote()");
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Standbys().empty(); }, absl::Seconds(30))) << collector_->Output();
}

// The server's library keeps the nested statement apart, version 1.8 of the functions does not tell which is which.
TEST_F(HostileServer, NestedStatementsUnderOldFunctionsAreAdded) {
  Sql("DROP EXTENSION pg_stat_statements");
  Sql("CREATE EXTENSION pg_stat_statements VERSION '1.8'");
  Sql("CREATE TABLE nested (n int)");
  Sql("CREATE FUNCTION clean() RETURNS void LANGUAGE sql AS 'DELETE FROM nested'");
  Sql("SELECT clean()");
  Sql("DELETE FROM nested");
  const auto entries = server_->Exec(
      "postgres", "SELECT count(*)::text FROM pg_stat_statements WHERE query = 'DELETE FROM nested' GROUP BY queryid");
  ASSERT_THAT(entries, IsOk());
  ASSERT_EQ((*entries)[0].Text(0), "2");
  Start();
  EXPECT_TRUE(Frames("statements", 2)) << collector_->Output();
}

// Between two readings of an idle server only the collector's own statements move.
TEST_F(HostileServer, IdleServerStoresNoRowsOfItsTables) {
  Sql("CREATE TABLE idle AS SELECT generate_series(1, 100) AS n");
  Start();
  ASSERT_TRUE(Frames("table_stats", 2)) << collector_->Output();
  const int64_t rows = ingest_.Rows("table_stats");
  ASSERT_TRUE(Frames("table_stats", ingest_.Frames("table_stats") + 3));
  EXPECT_EQ(ingest_.Rows("table_stats"), rows);
}

// A change of a table is a changed row of its state; literals of an index's condition stay on the server.
TEST_F(HostileServer, ChangesOfSchemasAreSentWithoutLiterals) {
  Sql("CREATE TABLE orders (id int PRIMARY KEY, state text DEFAULT 'planted-default')");
  Sql("CREATE INDEX open_orders ON orders (state) WHERE state <> 'planted-condition'");
  Start();
  ASSERT_TRUE(Frames("schema_relations", 1)) << collector_->Output();
  ASSERT_TRUE(Frames("index_definitions", 1)) << collector_->Output();
  const auto columns = [&] { return ingest_.TextOf("schema_relations", "relname", "orders", "columns"); };
  const std::string before = columns();
  EXPECT_THAT(before, HasSubstr("id integer not null\nstate text default #"));
  const std::string definition = ingest_.TextOf("index_definitions", "indexrelname", "open_orders", "definition");
  EXPECT_THAT(definition, HasSubstr("ON public.orders USING btree (state) WHERE"));
  EXPECT_THAT(definition, Not(HasSubstr("planted")));
  Sql("ALTER TABLE orders ADD COLUMN amount numeric(10, 2) NOT NULL DEFAULT 0, ALTER state SET DEFAULT 'planted-too'");
  EXPECT_TRUE(WaitUntil([&] { return columns() != before; }, absl::Seconds(90)));
  EXPECT_THAT(columns(), HasSubstr("\namount numeric(10,2) not null default #"));
  EXPECT_THAT(columns(), Not(HasSubstr("planted")));
  EXPECT_NE(columns().substr(0, before.size()), before) << "the hash of a default changes with it";
}

TEST_F(HostileServer, APreparedTransactionThatBlocksIsNamed) {
  Sql("CREATE TABLE stock (id int, n int)");
  Sql("INSERT INTO stock VALUES (1, 1)");
  Sql("BEGIN; UPDATE stock SET n = 2; PREPARE TRANSACTION 'order-17'");
  Start();
  std::thread waiter([&] { (void)server_->Exec("postgres", "UPDATE stock SET n = 3"); });
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Rows("blocking") >= 1; }, absl::Seconds(30)))
      << collector_->Output().substr(0, 3000);
  EXPECT_EQ(ingest_.TextValues("blocking", "blocking_gid"), std::set<std::string>{"order-17"});
  EXPECT_EQ(ingest_.TextValues("blocking", "blocking_state"), std::set<std::string>{"prepared"});
  EXPECT_EQ(ingest_.TextValues("blocking", "relation"), std::set<std::string>{"public.stock"});
  Sql("COMMIT PREPARED 'order-17'");
  waiter.join();
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Values("blocking", "ended").contains(1); }, absl::Seconds(30)));
}

}  // namespace
}  // namespace pga::collector
