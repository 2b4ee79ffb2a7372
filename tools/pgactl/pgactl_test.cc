// pgactl as a whole, over gRPC and through the REST gateway.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "libs/clock/clock.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/pgactl_testing.h"

namespace pga::pgactl {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_P(Pgactl, CountNeedsNoLogin) {
  const Outcome outcome = Run({"count"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "4\n");
  EXPECT_THAT(Run({"count", "-o", "json"}).out, HasSubstr("\"count\": 4"));
}

TEST_P(Pgactl, SaysHowToSignIn) {
  const Outcome outcome = Run({"sources"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("pgactl login"));
}

TEST_P(Pgactl, KeepsTheTokenForItsOwnerAlone) {
  WritePassword("correct horse");
  const Outcome login = Run({"login", "ann"});
  ASSERT_EQ(login.code, 0) << login.err;
  EXPECT_THAT(login.out, HasSubstr("as ann (admin)"));
  struct stat info {};
  ASSERT_EQ(stat(LoginFile().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  environment_.erase("PGACTL_PASSWORD_FILE");
  const Outcome sources = Run({"sources"});
  EXPECT_EQ(sources.code, 0) << sources.err;
  EXPECT_THAT(sources.out, HasSubstr("prod"));
  EXPECT_EQ(Suite::Get().auth.refreshes, 0);

  chmod(LoginFile().c_str(), 0644);
  EXPECT_EQ(Run({"sources"}).code, 1);
  chmod(LoginFile().c_str(), 0600);
  EXPECT_EQ(Run({"logout"}).code, 0);
  EXPECT_EQ(Run({"sources"}).code, 1);
}

TEST_P(Pgactl, ShowsAndChangesSources) {
  WritePassword("correct horse");
  environment_["PGACTL_USERNAME"] = "ann";
  const Outcome listed = Run({"sources"});
  EXPECT_EQ(listed.code, 0) << listed.err;
  EXPECT_THAT(listed.out, AllOf(HasSubstr("prod"), HasSubstr("down since"), HasSubstr("connection refused")));
  const Outcome renamed = Run({"sources", "rename", "prod", "orders"});
  EXPECT_EQ(renamed.code, 0) << renamed.err;
  EXPECT_EQ(Suite::Get().registry.updated.id(), "00000000-0000-0000-0000-000000000001");
  EXPECT_EQ(Suite::Get().registry.updated.name(), "orders");
  EXPECT_EQ(Run({"sources", "move", "prod", "eu"}).code, 0);
  EXPECT_EQ(Suite::Get().registry.updated.group(), "eu");
  EXPECT_EQ(Run({"sources", "delete", "prod"}).code, 0);
  EXPECT_EQ(Suite::Get().registry.deleted, "00000000-0000-0000-0000-000000000001");
  EXPECT_THAT(Run({"sources", "delete", "other"}).err, HasSubstr("no source 'other'"));
}

TEST_P(Pgactl, RefusesAWrongPassword) {
  WritePassword("wrong");
  const Outcome login = Run({"login", "ann"});
  EXPECT_EQ(login.code, 1);
  EXPECT_THAT(login.err, HasSubstr("wrong username or password"));
  EXPECT_THAT(login.err + login.out, Not(HasSubstr("correct horse")));
  EXPECT_FALSE(std::filesystem::exists(LoginFile()));
}

TEST_P(Pgactl, ExchangesATokenThatIsAboutToExpireOnce) {
  Suite::Get().auth.lifetime = absl::Seconds(5);
  WritePassword("correct horse");
  ASSERT_EQ(Run({"login", "ann"}).code, 0);
  EXPECT_EQ(Run({"sources"}).code, 0);
  EXPECT_EQ(Run({"sources"}).code, 0);
  EXPECT_EQ(Suite::Get().auth.refreshes, 1);
}

TEST_P(Pgactl, SignsInByItselfWithUsernameAndPasswordFile) {
  WritePassword("correct horse");
  environment_["PGACTL_USERNAME"] = "ann";
  const Outcome outcome = Run({"sources"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
}

TEST_P(Pgactl, ShowsTopStatementsWithoutControlCharacters) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome outcome = Run({"top", "--hours", "1", "--by", "calls"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("1,234"));
  EXPECT_THAT(outcome.out, HasSubstr("5.0 s"));
  EXPECT_THAT(outcome.out, HasSubstr("SELECT [31m$1"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("\033")));
  EXPECT_THAT(Run({"top", "--by", "nonsense"}).err, HasSubstr("mean_time, calls"));
}

TEST_P(Pgactl, DrawsSeries) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome outcome = Run({"series", "statements", "calls", "--by", "datname", "--hours", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("datname=shop"));
  EXPECT_THAT(outcome.out, HasSubstr("█"));
  EXPECT_THAT(outcome.out, HasSubstr(ZoneName(clock::WallNow())));
  const Outcome csv = Run({"series", "statements", "calls", "--hours", "1", "--csv"});
  EXPECT_THAT(csv.out, HasSubstr("time,series,value,unit,covered_ms,lower_bound\r\n"));
  EXPECT_THAT(csv.out, HasSubstr("source=prod"));
  const Outcome json = Run({"series", "statements", "calls", "--filter", "queryid=42", "-o", "json"});
  EXPECT_EQ(json.code, 0) << json.err;
  EXPECT_THAT(json.out, HasSubstr("\"column\": \"calls\""));
  const Outcome unknown = Run({"series", "statments", "calls"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("did you mean statements"));
}

TEST_P(Pgactl, ShowsAStatementOverTimeAndTwoWindows) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome timeline = Run({"timeline", "42", "--hours", "1"});
  ASSERT_EQ(timeline.code, 0) << timeline.err;
  // 5 s of 1,234 calls; a minute's edge may lie between.
  EXPECT_THAT(timeline.out, AllOf(HasSubstr("MEAN"), HasSubstr("  4.0")));
  EXPECT_THAT(timeline.out, HasSubstr("SELECT [31m$1"));
  // The one reading covers a minute of the hour: whether the statement is new is not known.
  const Outcome compare = Run({"compare"});
  ASSERT_EQ(compare.code, 0) << compare.err;
  EXPECT_THAT(compare.out, AllOf(HasSubstr("before: "), HasSubstr("after:  "), HasSubstr("0 slower, 0 faster")));
  EXPECT_EQ(Run({"compare", "--at", "1h", "--from", "2h"}).code, 2);
  EXPECT_THAT(Run({"compare", "--before-snapshot", "1", "--after-snapshot", "2"}).err, HasSubstr("DATABASE_URL"));
  EXPECT_THAT(Run({"snapshots", "list"}).err, HasSubstr("DATABASE_URL"));
}

TEST_P(Pgactl, ShowsSettingsAndWhatChanged) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome settings = Run({"settings"});
  ASSERT_EQ(settings.code, 0) << settings.err;
  EXPECT_THAT(settings.out, AllOf(HasSubstr("work_mem"), HasSubstr("65536"), Not(HasSubstr("port"))));
  EXPECT_THAT(Run({"settings", "--all"}).out, HasSubstr("port"));
  const Outcome changed = Run({"settings", "--changed", "--hours", "1"});
  EXPECT_THAT(changed.out, AllOf(HasSubstr("work_mem"), HasSubstr("4096"), HasSubstr("65536")));
  EXPECT_THAT(Run({"state", "settings", "--column", "setting_value", "--csv"}).out, HasSubstr("prod,work_mem,65536"));
  EXPECT_THAT(Run({"state", "activity"}).err, HasSubstr("no info columns"));
}

TEST_P(Pgactl, ShowsRowsWithSeveralColumns) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome rows = Run({"rows", "statements", "--column", "calls", "--column", "total_exec_time_us", "--sort",
                            "-calls", "--hours", "1"});
  ASSERT_EQ(rows.code, 0) << rows.err;
  EXPECT_THAT(rows.out, AllOf(HasSubstr("total_exec_time_us"), HasSubstr("queryid=42"), HasSubstr("1,234")));
  EXPECT_THAT(Run({"rows", "settings", "--column", "setting_value", "--csv"}).out, HasSubstr("prod,work_mem,65536"));
  EXPECT_THAT(Run({"rows", "settings", "--column", "value"}).err, HasSubstr("setting_value"));
  EXPECT_THAT(Run({"top", "--id", "42", "--hours", "1", "--csv"}).out, HasSubstr("42,"));
  EXPECT_THAT(Run({"top", "--id", "43", "--hours", "1"}).out, HasSubstr("no statements"));
}

TEST_P(Pgactl, ListsUsersFromAStream) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  const Outcome outcome = Run({"users", "list"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("ann [31m, \"]}"));
}

TEST_P(Pgactl, NameOfDigitsIsNotTakenForAnId) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  for (const auto& [word, id] : {std::pair("1", 3), std::pair("2", 2)}) {
    const Outcome outcome = Run({"users", "delete", word});
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(Suite::Get().auth.deleted, id);
  }
}

TEST_P(Pgactl, TellsWhatIsStored) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  // The first account may be taken before the compactor has made blocks of closed hours, or after.
  ASSERT_TRUE(pga::testing::WaitUntil([&] { return Run({"storage"}).out.find("frames") != std::string::npos; },
                                      absl::Seconds(60)));
  const std::string shown = Run({"storage", "--by-source"}).out;
  EXPECT_THAT(shown, AnyOf(HasSubstr("Backlog: 4 frames"), AllOf(HasSubstr("prod"), HasSubstr("Backlog: 3 frames")),
                           AllOf(HasSubstr("prod"), HasSubstr("Backlog: 0 frames"))));
  for (const char* part : {"merge", "partitions", "Texts of statements: 1", "frame "}) {
    EXPECT_THAT(shown, HasSubstr(part));
  }
  EXPECT_THAT(Run({"storage", "-o", "json"}).out, HasSubstr("\"complete\""));
  EXPECT_EQ(Run({"storage", "--sources", "x"}).code, 2);
}

TEST_P(Pgactl, ReportsFreshnessActivityAndHealth) {
  environment_["PGACTL_TOKEN"] = UserToken(absl::Hours(1));
  EXPECT_THAT(Run({"freshness"}).out, HasSubstr("statements"));
  EXPECT_THAT(Run({"activity", "--at", "5m"}).out, HasSubstr("prod: nothing was sampled at "));
  // There is no metadata database behind the test.
  const Outcome health = Run({"health"});
  EXPECT_EQ(health.code, 1);
  EXPECT_THAT(health.out, HasSubstr("metrics database answers"));
}

TEST_P(Pgactl, DoctorNamesWhatToChange) {
  environment_["TIMESCALE_URL"] = Suite::Get().database;
  const Outcome outcome = Run({"doctor", "--server", pga::testing::SharedPostgres()->Url()});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.out, HasSubstr("ok    endpoint: "));
  EXPECT_THAT(outcome.out, HasSubstr("FAIL  metadata database of the suite: does not answer"));
  EXPECT_THAT(outcome.out, HasSubstr("skip  token: not signed in"));
  EXPECT_THAT(outcome.out, HasSubstr("ok    metrics database: schema: up to date"));
  // Test servers run without fsync.
  EXPECT_THAT(outcome.out, HasSubstr("FAIL  metrics database: durability: "));
  EXPECT_THAT(outcome.out, HasSubstr("ok    watched server: preload"));
  EXPECT_THAT(outcome.out, HasSubstr("CREATE EXTENSION pg_stat_statements"));
  EXPECT_THAT(outcome.out, HasSubstr("ok    clock"));
  EXPECT_THAT(outcome.out, HasSubstr("ok    watched server: objects"));
}

TEST_P(Pgactl, DoctorCountsWhatALoginMayNotRead) {
  pga::testing::TempPostgres* const server = pga::testing::SharedPostgres();
  const std::string role = absl::StrCat("doctor_", GetParam());
  const auto url = server->CreateFreshDatabase("doctor");
  ASSERT_TRUE(url.ok()) << url.status();
  const std::string database =
      url->substr(url->find("doctor"), url->find_first_of("?& '", url->find("doctor")) - url->find("doctor"));
  for (const std::string& sql :
       {absl::StrCat("CREATE ROLE ", role, " LOGIN IN ROLE pg_monitor"),
        std::string("CREATE TABLE t (id serial, k bigserial)"), absl::StrCat("GRANT SELECT ON t_k_seq TO ", role)}) {
    ASSERT_TRUE(server->Exec(database, sql).ok()) << sql;
  }
  const std::string as_role = server->UrlAs(role, database);
  EXPECT_THAT(Run({"doctor", "--server", as_role}).out,
              HasSubstr(absl::StrCat(
                  "warn  watched server: objects: 1 of 2 sequences of this database cannot be read by ", role,
                  ", so that nobody hears that they end; 1 of 1 tables of this database cannot be read")));
  ASSERT_TRUE(server->Exec(database, absl::StrCat("GRANT pg_read_all_data TO ", role)).ok());
  EXPECT_THAT(Run({"doctor", "--server", as_role}).out, HasSubstr("ok    watched server: objects"));
  ASSERT_TRUE(server->Exec(database, absl::StrCat("DROP OWNED BY ", role, "; DROP ROLE ", role)).ok());
}

// The password that one signs in with must not become somebody else's.
TEST_P(Pgactl, AsksForANewUsersOwnPassword) {
  WritePassword("correct horse");
  const Outcome outcome = Run({"users", "create", "ann", "--email", "ann@example.com"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("PGACTL_NEW_PASSWORD_FILE"));
}

INSTANTIATE_TEST_SUITE_P(Ways, Pgactl, ::testing::Values("rest", "grpc"), [](const auto& test) { return test.param; });

TEST(PgactlAlone, SaysWhenNothingAnswers) {
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunPgactl({"count"}, {{"PGACTL_URL", "http://127.0.0.1:1"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("nothing answers at http://127.0.0.1:1"));
  err.str("");
  EXPECT_EQ(RunPgactl({"count"}, {{"PGACTL_QUERY_ADDR", "127.0.0.1:1"}, {"PGACTL_TIMEOUT", "2s"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("query service at 127.0.0.1:1"));
  err.str("");
  EXPECT_EQ(RunPgactl({"users", "list"}, {{"PGACTL_QUERY_ADDR", "127.0.0.1:1"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("PGACTL_AUTH_ADDR"));
  err.str("");
  EXPECT_EQ(RunPgactl({"count"}, {{"PGACTL_URL", "ftp://x"}}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("http:// or https://"));
}

TEST(PgactlAlone, MigratesAndTellsWhatIsMissing) {
  const std::string url = pga::testing::SharedPostgres()->CreateFreshDatabase("migrate").value();
  const Environment environment = {{"TIMESCALE_URL", url}};
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(RunPgactl({"migrate", "status", "--only", "metrics"}, environment, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("pgactl migrate up"));
  EXPECT_EQ(RunPgactl({"migrate", "up", "--only", "metrics", "--layout", "native"}, environment, out, err), 0)
      << err.str();
  EXPECT_EQ(RunPgactl({"migrate", "status", "--only", "metrics"}, environment, out, err), 0) << err.str();
  EXPECT_EQ(RunPgactl({"migrate", "up"}, environment, out, err), 2);
  EXPECT_THAT(err.str(), HasSubstr("DATABASE_URL is not set"));
}

TEST(PgactlAlone, ChecksAMetricOnAServer) {
  const pga::testing::ScopedTempDir folder;
  const std::string yaml =
      "name: queue\nschema_version: 1\ndescription: Jobs by state.\nscope: database\nqueries:\n  - sql: |\n"
      "      SELECT current_database()::text AS datname, 'new'::text AS state, 7::int8 AS jobs\ncolumns:\n"
      "  - {name: datname, type: text, kind: label, description: Database.}\n"
      "  - {name: state, type: text, kind: label, description: State.}\n"
      "  - {name: jobs, type: int8, kind: gauge, unit: \"1\", description: Jobs.}\n";
  std::ofstream(folder.path() + "/queue.yaml") << yaml;
  std::ostringstream out;
  std::ostringstream err;
  const std::string url = pga::testing::SharedPostgres()->Url();
  EXPECT_EQ(RunPgactl({"catalog", "check", folder.path() + "/queue.yaml", "--url", url}, {}, out, err), 0) << err.str();
  EXPECT_EQ(RunPgactl({"catalog", "check", "--dir", folder.path(), "--url", url}, {}, out, err), 0) << err.str();
  std::string wrong = yaml;
  wrong.replace(wrong.find("7::int8"), 7, "7::int4");
  std::ofstream(folder.path() + "/queue.yaml") << wrong;
  EXPECT_EQ(RunPgactl({"catalog", "check", "--dir", folder.path(), "--url", url}, {}, out, err), 1);
  EXPECT_THAT(err.str(), HasSubstr("jobs"));
  EXPECT_THAT(err.str(), HasSubstr("int8"));
}

}  // namespace
}  // namespace pga::pgactl
