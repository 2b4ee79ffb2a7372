// Every metric's SQL on every supported server: it runs as a member of pg_monitor, read-only, with search_path =
// pg_catalog, on a primary and on a standby, and its result has the declared names and types. PGA_CATALOG_VERSIONS
// limits the versions ("15,17").
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/coverage.h"
#include "libs/catalog/grant_column.h"
#include "libs/catalog/guide_testing.h"
#include "libs/catalog/metric_file.h"
#include "libs/catalog/server_check.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "libs/testing/temp_postgres.h"

namespace pga::catalog {
namespace {

namespace v1 = pganalytics::catalog::v1;
using ::testing::HasSubstr;
using TestServer = pga::testing::TempPostgres;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Seconds(30);
}

// A primary with something to see, and a standby that follows it.
struct Pair {
  std::unique_ptr<TestServer> primary;
  std::unique_ptr<TestServer> standby;
  std::string missing;  // why the version cannot be tested
  absl::Status status;  // how the set-up went
};

absl::Status Fill(TestServer& server) {
  const char* statements[] = {
      "CREATE SCHEMA extensions; CREATE EXTENSION pg_stat_statements SCHEMA extensions",
      "CREATE ROLE monitor LOGIN IN ROLE pg_monitor; GRANT USAGE ON SCHEMA extensions TO monitor",
      "CREATE ROLE nobody LOGIN; GRANT USAGE ON SCHEMA extensions TO nobody",
      "CREATE SCHEMA app;"
      "CREATE TABLE app.job (id int8 PRIMARY KEY, state text, payload text);"
      "CREATE INDEX job_state ON app.job (state);"
      "INSERT INTO app.job SELECT n, 'new', repeat('x', 10) FROM generate_series(1, 2000) n;"
      "UPDATE app.job SET state = 'done' WHERE id % 3 = 0; DELETE FROM app.job WHERE id % 7 = 0;"
      "CREATE TABLE app.no_index (v int); INSERT INTO app.no_index VALUES (1);"
      "CREATE MATERIALIZED VIEW app.summary AS SELECT state, count(*) FROM app.job GROUP BY 1;"
      "CREATE TABLE app.part (k int) PARTITION BY RANGE (k);"
      "CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM (0) TO (10);"
      "CREATE TABLE \"app\".\"Odd \"\"Name\" (v int)",
      "CREATE TABLE app.tuned (id int, n int, t text) WITH (autovacuum_vacuum_threshold = 100, "
      "autovacuum_vacuum_scale_factor = 0.01, autovacuum_enabled = off, autovacuum_freeze_max_age = 1000000, "
      "toast.autovacuum_vacuum_threshold = 7); INSERT INTO app.tuned SELECT n, n, 'x' FROM generate_series(1, 2000) n;"
      "CREATE INDEX tuned_n ON app.tuned (n); CREATE INDEX twin ON app.tuned (n);"
      "CREATE INDEX longer ON app.tuned (n, id); CREATE INDEX partial ON app.tuned (n) WHERE t = 'planted-condition';"
      "CREATE INDEX broken ON app.tuned (t); UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
      "'app.broken'::regclass; ANALYZE app.tuned;"
      "CREATE TABLE app.due (n int) WITH (autovacuum_enabled = on); INSERT INTO app.due SELECT generate_series(1, "
      "2000)",
      "CREATE TABLE app.small (id smallserial, s text DEFAULT 'planted-default' CHECK (s <> 'planted-check'));"
      "SELECT setval('app.small_id_seq', 30000); GRANT SELECT ON app.small_id_seq TO monitor;"
      "CREATE SEQUENCE app.secret_numbers; SELECT nextval('app.secret_numbers');"
      "CREATE TABLE app.part_2 PARTITION OF app.part DEFAULT; INSERT INTO app.part SELECT generate_series(1, 20);"
      "CREATE TABLE app.child (job_id int8 REFERENCES app.job ON DELETE CASCADE);"
      "CREATE VIEW app.seen AS SELECT 'planted-view'::text AS s;"
      "CREATE FUNCTION app.body() RETURNS text LANGUAGE sql AS $$SELECT 'planted-body'::text$$;"
      "ALTER FUNCTION app.body() SET app.token = 'planted-option';"
      "CREATE FUNCTION app.watch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
      "CREATE TRIGGER watched BEFORE INSERT OR UPDATE ON app.child FOR EACH ROW EXECUTE FUNCTION "
      "app.watch('planted-argument');"
      "CREATE POLICY seen_by ON app.child USING (job_id::text <> 'planted-policy');"
      "CREATE PUBLICATION jobs FOR TABLE app.job;"
      "ALTER ROLE monitor SET work_mem = '8MB'; ALTER ROLE monitor SET app.password = 'planted-setting';"
      "CREATE TABLE app.bloated (n int, t text); INSERT INTO app.bloated SELECT n, repeat('x', 60) FROM "
      "generate_series(1, 50000) n; CREATE TABLE app.hidden AS SELECT * FROM app.bloated;"
      "DELETE FROM app.bloated WHERE n <= 30000; ANALYZE app.bloated; ANALYZE app.hidden;"
      "GRANT SELECT ON app.bloated TO monitor",
      "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER far FOREIGN DATA WRAPPER none;"
      "CREATE USER MAPPING FOR monitor SERVER far OPTIONS (password 'planted-mapping')",
      "DELETE FROM app.due; ALTER ROLE postgres PASSWORD 'planted-password'",
      "GRANT EXECUTE ON FUNCTION pg_show_replication_origin_status(), pg_get_shmem_allocations() TO monitor;"
      "CREATE EXTENSION pgstattuple SCHEMA extensions",
      "GRANT USAGE ON SCHEMA app TO monitor; GRANT SELECT ON app.job TO monitor; ANALYZE app.job",
      // Functions that wait for the advisory lock 1 while somebody holds it, and tables whose work calls them.
      "CREATE FUNCTION app.wait(v int) RETURNS int LANGUAGE sql IMMUTABLE AS "
      "$$SELECT v FROM (SELECT pg_advisory_xact_lock_shared(1)) x$$;"
      "CREATE TABLE app.slow (v int); INSERT INTO app.slow SELECT generate_series(1, 10);"
      "CREATE TABLE app.clustered (v int); INSERT INTO app.clustered SELECT generate_series(1, 10);"
      "CREATE INDEX clustered_wait ON app.clustered (app.wait(v));"
      "CREATE TABLE app.analyzed (v int); INSERT INTO app.analyzed SELECT generate_series(1, 10);"
      "CREATE INDEX ON app.analyzed (app.wait(v));"
      "CREATE TABLE app.pinned (v int); INSERT INTO app.pinned SELECT generate_series(1, 10);"
      "CREATE FUNCTION app.wait_for_row() RETURNS int LANGUAGE plpgsql AS "
      "'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN 1; END';"
      "CREATE TABLE app.copied (v int, w int DEFAULT app.wait_for_row());"
      "CREATE SEQUENCE app.numbers; SELECT nextval('app.numbers'); GRANT SELECT ON app.numbers TO monitor;"
      "CREATE FUNCTION app.counted(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'",
      "SELECT app.counted(1), app.counted(2)",
      "SELECT pg_create_physical_replication_slot('physical', true)",
      "SELECT pg_create_logical_replication_slot('logical', 'test_decoding')",
      "SELECT pg_create_physical_replication_slot('never_used')",
      // After the slots, which wait for transactions to end.
      "BEGIN; CREATE TABLE app.prepared (v int); PREPARE TRANSACTION 'open one'",
      "CREATE SUBSCRIPTION sub CONNECTION 'dbname=none password=planted-conninfo' PUBLICATION pub WITH (connect = "
      "false)",
      "CREATE DATABASE second",
  };
  for (const char* statement : statements) {
    if (const auto result = server.Exec("postgres", statement); !result.ok()) {
      return absl::Status(result.status().code(), absl::StrCat(statement, ": ", result.status().message()));
    }
  }
  const char* const in_second[] = {
      "CREATE SUBSCRIPTION sub CONNECTION 'dbname=none' PUBLICATION pub WITH (connect = false)", "CHECKPOINT"};
  for (const char* statement : in_second) {
    if (const auto result = server.Exec("second", statement); !result.ok()) return result.status();
  }
  return absl::OkStatus();
}

absl::Status MakePair(const std::string& version, Pair* pair) {
  pga::testing::TempPostgresOptions options;
  options.version = version;
  options.preload_statements = true;
  options.extra_conf = {"wal_level = logical",   "max_wal_senders = 5",       "hot_standby = on",
                        "track_io_timing = on",  "max_worker_processes = 4",  "max_prepared_transactions = 5",
                        "track_functions = all", "autovacuum_naptime = 86400"};
  auto primary = TestServer::Start(options);
  if (primary.status().code() == absl::StatusCode::kNotFound) {
    pair->missing = std::string(primary.status().message());
    return absl::OkStatus();
  }
  if (!primary.ok()) return primary.status();
  auto standby = TestServer::Start(options);
  if (!standby.ok()) return standby.status();
  if (absl::Status status = Fill(**primary); !status.ok()) return status;

  // A base backup by hand: both stopped, the primary's files copied, the standby's own configuration kept.
  if (absl::Status status = (*standby)->StopFast(); !status.ok()) return status;
  if (absl::Status status = (*primary)->StopFast(); !status.ok()) return status;
  const std::string from = (*primary)->data_dir();
  const std::string to = (*standby)->data_dir();
  const std::string keep = to + ".conf";
  const std::string commands =
      absl::StrCat("cp -p ", to, "/postgresql.conf ", keep, " && find ", to, " -mindepth 1 -delete && cp -a ", from,
                   "/. ", to, "/ && cp -p ", keep, " ", to, "/postgresql.conf && touch -r ", keep, " ", to,
                   "/standby.signal && chown --reference=", keep, " ", to, "/standby.signal && rm ", keep);
  if (std::system(commands.c_str()) != 0) return absl::InternalError("copying the primary's files failed");
  std::ofstream(to + "/postgresql.conf", std::ios::app)
      << "primary_conninfo = 'host=" << (*primary)->socket_dir() << " port=" << (*primary)->port()
      << " user=postgres password=never-shown application_name=follower'\nprimary_slot_name = 'physical'\n";
  if (absl::Status status = (*primary)->StartServer(); !status.ok()) return status;
  if (absl::Status status = (*standby)->StartServer(); !status.ok()) return status;
  const bool follows = pga::testing::WaitUntil(
      [&] {
        const auto streaming =
            (*primary)->Exec("postgres", "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'");
        return streaming.ok() && streaming->rows() == 1;
      },
      absl::Seconds(30));
  if (!follows) return absl::DeadlineExceededError("the standby does not follow: " + (*standby)->Log());
  pair->primary = *std::move(primary);
  pair->standby = *std::move(standby);
  return absl::OkStatus();
}

// As the collector runs it: pg_monitor's rights, read-only, no schema but pg_catalog.
class MetricSession {
 public:
  explicit MetricSession(TestServer& server, const std::string& login = "monitor") {
    auto connection = pg::CopyConnection::Connect({.url = server.UrlAs(login, "postgres")}, Soon());
    if (!connection.ok()) {
      status_ = connection.status();
      return;
    }
    connection_ = *std::move(connection);
    for (const char* setting :
         {"SET search_path = pg_catalog", "SET default_transaction_read_only = on", "SET lock_timeout = '1s'"}) {
      if (const auto result = connection_->Exec(setting, Soon()); !result.ok()) status_ = result.status();
    }
    facts_.version_num = connection_->server_version_num();
    const auto recovery = connection_->Exec("SELECT pg_is_in_recovery()", Soon());
    if (recovery.ok()) facts_.in_recovery = (*recovery)[0].Bool(0);
    const auto extension = connection_->Exec(
        "SELECT e.extversion, n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'pg_stat_statements'",
        Soon());
    if (extension.ok() && extension->rows() == 1) {
      facts_.extension_version = std::string((*extension)[0].Text(0));
      facts_.extension_schema = std::string((*extension)[0].Text(1));
    }
  }

  const absl::Status& status() const { return status_; }
  const ServerFacts& facts() const { return facts_; }

  absl::StatusOr<std::vector<ResultColumn>> Describe(const std::string& sql) {
    last_ = connection_->Exec(sql, Soon());
    if (!last_.ok()) return last_.status();
    std::vector<ResultColumn> columns;
    for (size_t i = 0; i < last_->columns(); ++i) columns.push_back({last_->column_name(i), last_->column_type_oid(i)});
    return columns;
  }
  // Rows of a result as text; every column is cast to it.
  absl::StatusOr<std::vector<std::vector<std::string>>> Rows(const std::string& sql) {
    const auto result = connection_->Exec(sql, Soon());
    if (!result.ok()) return result.status();
    std::vector<std::vector<std::string>> rows;
    for (const pg::Row row : *result) {
      std::vector<std::string>& texts = rows.emplace_back();
      for (size_t i = 0; i < result->columns(); ++i) texts.emplace_back(row.Text(i));
    }
    return rows;
  }
  absl::Status Check(const v1::Metric& metric) {
    return CheckMetricOnServer(metric, facts_, [this](const std::string& sql) { return Describe(sql); });
  }
  // Result of the last check.
  const pg::Result& last() const { return *last_; }

  // The value in the row where `key` is `value`, as text; "NULL" or "no row".
  std::string Cell(const std::string& key, const std::string& value, const std::string& column) const {
    const auto index = [this](const std::string& name) {
      for (size_t i = 0; i < last_->columns(); ++i) {
        if (last_->column_name(i) == name) return i;
      }
      return last_->columns();
    };
    const size_t key_index = index(key);
    const size_t column_index = index(column);
    if (key_index == last_->columns() || column_index == last_->columns()) return "no column";
    for (const pg::Row row : *last_) {
      if (row.Text(key_index) != value) continue;
      return row.IsNull(column_index) ? "NULL" : std::string(row.Text(column_index));
    }
    return "no row";
  }

 private:
  absl::Status status_;
  std::unique_ptr<pg::CopyConnection> connection_;
  ServerFacts facts_;
  absl::StatusOr<pg::Result> last_ = absl::UnknownError("nothing ran yet");
};

std::vector<std::string> Versions() {
  const char* chosen = std::getenv("PGA_CATALOG_VERSIONS");
  return absl::StrSplit(chosen == nullptr ? "13,14,15,16,17,18" : chosen, ',');
}

class MetricsOnServer : public ::testing::TestWithParam<std::string> {
 protected:
  static void TearDownTestSuite() { pairs_.clear(); }

  void SetUp() override {
    auto& pair = pairs_[GetParam()];
    if (pair == nullptr) {
      pair = std::make_unique<Pair>();
      pair->status = MakePair(GetParam(), pair.get());
    }
    ASSERT_TRUE(pair->status.ok()) << pair->status;
    if (!pair->missing.empty()) GTEST_SKIP() << "PostgreSQL " << GetParam() << ": " << pair->missing;
    pair_ = pair.get();
  }

  static std::map<std::string, std::unique_ptr<Pair>> pairs_;
  Pair* pair_ = nullptr;
};
std::map<std::string, std::unique_ptr<Pair>> MetricsOnServer::pairs_;

TEST_P(MetricsOnServer, EveryStatementRunsAndMatchesItsShape) {
  const auto catalog = *Catalog::Builtin();
  for (TestServer* server : {pair_->primary.get(), pair_->standby.get()}) {
    MetricSession session(*server);
    ASSERT_TRUE(session.status().ok()) << session.status();
    ASSERT_EQ(session.facts().in_recovery, server == pair_->standby.get());
    ASSERT_FALSE(session.facts().extension_version.empty());
    int checked = 0;
    for (const v1::Metric& metric : catalog->metrics()) {
      if (metric.queries().empty()) continue;
      const clock::SteadyTime start = clock::SteadyNow();
      const absl::Status status = session.Check(metric);
      const auto took = clock::SteadyNow() - start;
      if (status.code() == absl::StatusCode::kNotFound) continue;
      EXPECT_TRUE(status.ok()) << "PostgreSQL " << GetParam() << (session.facts().in_recovery ? " standby: " : ": ")
                               << status;
      EXPECT_LT(took, absl::Seconds(2)) << metric.name();
      ++checked;
    }
    EXPECT_GE(checked, 15);
  }
}

// Against what the statements in Fill did.
TEST_P(MetricsOnServer, NumbersAreThoseOfTheServer) {
  const auto catalog = *Catalog::Builtin();
  MetricSession session(*pair_->primary);
  ASSERT_TRUE(session.status().ok()) << session.status();

  ASSERT_EQ(session.Check(*catalog->Find("table_stats")), absl::OkStatus());
  EXPECT_EQ(session.Cell("relname", "job", "schemaname"), "app");
  EXPECT_EQ(session.Cell("relname", "job", "datname"), "postgres");
  EXPECT_EQ(session.Cell("relname", "no_index", "idx_scan"), "NULL");
  EXPECT_EQ(session.Cell("relname", "Odd \"Name", "schemaname"), "app");
  // A clean shutdown keeps the figures.
  EXPECT_EQ(session.Cell("relname", "job", "n_tup_ins"), "2000");
  EXPECT_EQ(session.Cell("relname", "job", "n_tup_upd"), "666");

  ASSERT_EQ(session.Check(*catalog->Find("index_stats")), absl::OkStatus());
  EXPECT_EQ(session.Cell("indexrelname", "job_pkey", "is_primary"), "t");
  EXPECT_EQ(session.Cell("indexrelname", "job_pkey", "is_constraint"), "t");
  EXPECT_EQ(session.Cell("indexrelname", "job_state", "is_constraint"), "f");

  ASSERT_EQ(session.Check(*catalog->Find("database")), absl::OkStatus());
  EXPECT_EQ(session.Cell("datid", "0", "datname"), "");
  EXPECT_NE(session.Cell("datname", "postgres", "xact_commit"), "0");

  ASSERT_EQ(session.Check(*catalog->Find("table_size")), absl::OkStatus());
  EXPECT_EQ(session.Cell("relname", "summary", "is_matview"), "t");
  const auto total = pair_->primary->Exec("postgres", "SELECT pg_total_relation_size('app.job')::text");
  EXPECT_EQ(session.Cell("relname", "job", "total_bytes"), std::string((*total)[0].Text(0)));

  ASSERT_EQ(session.Check(*catalog->Find("replication")), absl::OkStatus());
  EXPECT_EQ(session.Cell("application_name", "follower", "state"), "streaming");
  EXPECT_EQ(session.Cell("application_name", "follower", "slot_name"), "physical");
  EXPECT_NE(session.Cell("application_name", "follower", "replay_lag_bytes"), "NULL");

  ASSERT_EQ(session.Check(*catalog->Find("replication_slots")), absl::OkStatus());
  EXPECT_EQ(session.Cell("slot_name", "logical", "plugin"), "test_decoding");
  EXPECT_EQ(session.Cell("slot_name", "physical", "is_active"), "t");

  ASSERT_EQ(session.Check(*catalog->Find("statements")), absl::OkStatus());
  EXPECT_GT(session.last().rows(), 5u);
  for (size_t i = 0; i < session.last().columns(); ++i) EXPECT_NE(session.last().column_name(i), "query");
}

// Against what the statements in Fill did.
TEST_P(MetricsOnServer, AdvisersSeeWhatIsThere) {
  const auto catalog = *Catalog::Builtin();
  MetricSession session(*pair_->primary);
  ASSERT_TRUE(session.status().ok()) << session.status();
  const struct {
    const char* metric;
    const char* key;
    const char* value;
    const char* column;
    const char* expected;
  } cells[] = {
      // 100 + 0.01 * 2000 dead rows, the lesser of the table's and the server's age; analyze as the server's settings
      // say.
      {"vacuum_state", "relname", "tuned", "vacuum_threshold", "120"},
      {"vacuum_state", "relname", "tuned", "insert_threshold", "1400"},
      {"vacuum_state", "relname", "tuned", "analyze_threshold", "250"},
      {"vacuum_state", "relname", "tuned", "freeze_max_age", "1000000"},
      {"vacuum_state", "relname", "tuned", "is_autovacuum_enabled", "f"},
      {"vacuum_state", "relname", "tuned", "is_vacuum_due", "f"},
      {"vacuum_state", "toast_of", "tuned", "vacuum_threshold", "7"},
      {"vacuum_state", "toast_of", "tuned", "is_autovacuum_enabled", "t"},
      {"vacuum_state", "relname", "due", "is_vacuum_due", "t"},
      {"index_definitions", "indexrelname", "twin", "duplicate_of", "tuned_n"},
      {"index_definitions", "indexrelname", "tuned_n", "duplicate_of", "NULL"},
      {"index_definitions", "indexrelname", "tuned_n", "prefix_of", "longer"},
      {"index_definitions", "indexrelname", "partial", "duplicate_of", "NULL"},
      {"index_definitions", "indexrelname", "broken", "is_valid", "f"},
      {"index_definitions", "indexrelname", "job_pkey", "constraint_name", "job_pkey"},
      // The column's type ends it, not the sequence's.
      {"sequences", "relname", "small_id_seq", "limit_value", "32767"},
      {"sequences", "relname", "small_id_seq", "last_value", "30000"},
      {"sequences", "relname", "small_id_seq", "values_left", "2767"},
      {"sequences", "relname", "small_id_seq", "owner_type", "smallint"},
      {"sequences", "relname", "small_id_seq", "grant_needed", "NULL"},
      {"sequences", "relname", "secret_numbers", "last_value", "NULL"},
      {"sequences", "relname", "secret_numbers", "grant_needed",
       "GRANT SELECT ON ALL SEQUENCES IN SCHEMA app TO monitor"},
      {"partitioned_tables", "relname", "part", "partitions", "2"},
      {"partitioned_tables", "relname", "part", "n_tup_ins", "20"},
      {"partitioned_tables", "relname", "part", "strategy", "range"},
      {"prepared_transactions", "gid", "open one", "datname", "postgres"},
      {"xmin_holders", "holder", "open one", "holder_class", "prepared"},
      {"xmin_holders", "holder", "logical", "holder_class", "slot"},
      {"xmin_holders", "holder", "open one", "state", "prepared"},
      {"functions", "funcname", "counted", "calls", "2"},
      {"extensions", "extension_name", "pg_stat_statements", "schemaname", "extensions"},
      {"tablespaces", "tablespace_name", "pg_default", "location", ""},
      {"wraparound", "datname", "template0", "is_connectable", "f"},
      {"databases", "datname", "template0", "is_template", "t"},
      {"roles", "rolname", "monitor", "memberships", "pg_monitor"},
      {"role_settings", "setting_name", "work_mem", "setting_value", "8MB"},
      {"role_settings", "setting_name", "app.password", "setting_value", "(not shown)"},
      {"schema_relations", "relname", "tuned", "relation_kind", "table"},
      {"schema_relations", "relname", "summary", "relation_kind", "materialized view"},
      {"schema_constraints", "constraint_name", "child_job_id_fkey", "referenced_table", "app.job"},
      {"schema_constraints", "constraint_name", "child_job_id_fkey", "actions",
       "on update no action, on delete cascade"},
      {"schema_routines", "funcname", "counted", "arguments", "integer"},
      {"schema_triggers", "object_name", "watched", "fires", "before insert update for each row"},
      {"publications", "pubname", "jobs", "table_list", "app.job"},
      {"connections", "application_name", "follower", "backend_type", "walsender"},
  };
  std::string checked;
  for (const auto& cell : cells) {
    if (checked != cell.metric) {
      ASSERT_EQ(session.Check(*catalog->Find(cell.metric)), absl::OkStatus()) << cell.metric;
    }
    checked = cell.metric;
    EXPECT_EQ(session.Cell(cell.key, cell.value, cell.column), cell.expected)
        << cell.metric << " " << cell.value << "." << cell.column;
  }
  // Three of five pages are empty; an estimate may be off by a page or two.
  ASSERT_EQ(session.Check(*catalog->Find("bloat_tables")), absl::OkStatus());
  EXPECT_EQ(session.Cell("relname", "bloated", "has_statistics"), "t");
  const double share = std::stod(session.Cell("relname", "bloated", "bloat_percent"));
  EXPECT_GT(share, 55);
  EXPECT_LT(share, 65);
  EXPECT_EQ(session.Cell("relname", "hidden", "has_statistics"), "f");
  EXPECT_EQ(session.Cell("relname", "hidden", "bloat_bytes"), "NULL");
}

// As a superuser no more is seen than as a member of pg_monitor, but of rows that say which right they lack.
TEST_P(MetricsOnServer, NothingIsLeftOutForWantOfARightUnsaid) {
  const auto catalog = *Catalog::Builtin();
  MetricSession monitor(*pair_->primary);
  MetricSession superuser(*pair_->primary, "postgres");
  ASSERT_TRUE(monitor.status().ok()) << monitor.status();
  ASSERT_TRUE(superuser.status().ok()) << superuser.status();
  // Values by column.
  const auto known = [](const pg::Result& rows) {
    std::map<std::string, int> values;
    for (const pg::Row row : rows) {
      for (size_t i = 0; i < rows.columns(); ++i) values[std::string(rows.column_name(i))] += row.IsNull(i) ? 0 : 1;
    }
    return values;
  };
  for (const v1::Metric& metric : catalog->metrics()) {
    // The second reading has the statements of the first one.
    if (metric.queries().empty() || metric.name() == "statements") continue;
    if (!monitor.Check(metric).ok() || !superuser.Check(metric).ok()) continue;
    std::map<std::string, int> of_monitor = known(monitor.last());
    const int said = of_monitor[kGrantColumn];
    for (const auto& [column, values] : known(superuser.last())) {
      // A login of its own has settings of its own.
      if (metric.name() == "settings" && column == "setting_value") continue;
      EXPECT_GE(of_monitor[column] + said, values)
          << "PostgreSQL " << GetParam() << ": " << metric.name() << "." << column;
    }
  }
}

// What schemas are made of is read without the literals in it.
TEST_P(MetricsOnServer, NothingThatIsReadHoldsAPlantedSecret) {
  const auto catalog = *Catalog::Builtin();
  MetricSession session(*pair_->primary);
  ASSERT_TRUE(session.status().ok()) << session.status();
  for (const v1::Metric& metric : catalog->metrics()) {
    if (metric.queries().empty()) continue;
    const absl::Status checked = session.Check(metric);
    // Not for this server.
    if (absl::IsNotFound(checked)) continue;
    EXPECT_TRUE(checked.ok()) << metric.name() << ": " << checked;
    if (!checked.ok()) continue;
    for (const pg::Row row : session.last()) {
      for (size_t i = 0; i < session.last().columns(); ++i) {
        // The collector takes literals out of definitions.
        if (row.IsNull(i) || session.last().column_name(i) == "definition") continue;
        EXPECT_THAT(std::string(row.Text(i)), ::testing::Not(HasSubstr("planted")))
            << metric.name() << "." << session.last().column_name(i);
      }
    }
  }
}

TEST_P(MetricsOnServer, StandbyTellsHowFarItIs) {
  MetricSession session(*pair_->standby);
  ASSERT_TRUE(session.status().ok()) << session.status();
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("recovery")), absl::OkStatus());
  ASSERT_EQ(session.last().rows(), 1u);
  EXPECT_EQ(session.Cell("receiver_status", "streaming", "slot_name"), "physical");
}

TEST_P(MetricsOnServer, ASlotThatWasNeverUsedKeepsNothingThatIsKnown) {
  MetricSession session(*pair_->primary);
  ASSERT_TRUE(session.status().ok()) << session.status();
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("replication_slots")), absl::OkStatus());
  for (const char* column : {"restart_lsn", "retained_bytes", "confirmed_flush_lag_bytes"}) {
    EXPECT_EQ(session.Cell("slot_name", "never_used", column), "NULL") << column;
  }
  EXPECT_NE(session.Cell("slot_name", "physical", "retained_bytes"), "NULL");
}

TEST_P(MetricsOnServer, SubscriptionsOfOneNameAreTwoRows) {
  MetricSession session(*pair_->primary);
  ASSERT_TRUE(session.status().ok()) << session.status();
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("subscription")), absl::OkStatus());
  EXPECT_EQ(session.last().rows(), 2u);
}

TEST_P(MetricsOnServer, SettingsAreThoseOfTheServerAndNotOfTheSession) {
  MetricSession session(*pair_->primary);
  ASSERT_TRUE(session.status().ok()) << session.status();
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("settings")), absl::OkStatus());
  EXPECT_EQ(session.Cell("setting_name", "lock_timeout", "setting_value"), "0");
  EXPECT_EQ(session.Cell("setting_name", "default_transaction_read_only", "setting_value"), "off");
  EXPECT_NE(session.Cell("setting_name", "search_path", "setting_value"), "pg_catalog");
}

TEST_P(MetricsOnServer, WhatALoginMayNotSeeIsUnknown) {
  MetricSession session(*pair_->standby, "nobody");
  ASSERT_TRUE(session.status().ok()) << session.status();
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("recovery")), absl::OkStatus());
  EXPECT_EQ(session.Cell("is_paused", "f", "receiver_status"), "NULL") << "it streams";
}

// Alone it begins with a standby that has replayed no commit yet.
TEST_P(MetricsOnServer, ADelayIsThatOfACommitThatWasReplayed) {
  TestServer& standby = *pair_->standby;
  ASSERT_TRUE(standby.Exec("postgres", "SELECT pg_wal_replay_pause()").ok());
  const auto paused_at = pair_->primary->Exec("postgres", "SELECT pg_switch_wal(), pg_current_wal_flush_lsn()::text");
  EXPECT_TRUE(paused_at.ok()) << paused_at.status();
  MetricSession session(standby);
  EXPECT_TRUE(session.status().ok()) << session.status();
  const auto cell = [&](const char* column) {
    EXPECT_EQ(session.Check(*(*Catalog::Builtin())->Find("recovery")), absl::OkStatus());
    return session.Cell("is_paused", "t", column);
  };
  EXPECT_TRUE(pga::testing::WaitUntil(
      [&] {
        const std::string backlog = cell("replay_backlog_bytes");
        return backlog != "NULL" && backlog != "0";
      },
      absl::Seconds(30)));
  EXPECT_EQ(cell("replay_delay_us") == "NULL", cell("last_replayed_commit_at") == "NULL");
  ASSERT_TRUE(standby.Exec("postgres", "SELECT pg_wal_replay_resume()").ok());
}

// Nobody knows how far the primary has gone meanwhile.
TEST_P(MetricsOnServer, AStandbyWithoutItsPrimaryKnowsNoBacklog) {
  TestServer& standby = *pair_->standby;
  const auto receivers = [&](const char* expected) {
    return pga::testing::WaitUntil(
        [&] {
          const auto count =
              standby.Exec("postgres", "SELECT count(*)::text FROM pg_stat_wal_receiver WHERE status = 'streaming'");
          return count.ok() && (*count)[0].Text(0) == expected;
        },
        absl::Seconds(30));
  };
  ASSERT_TRUE(receivers("1"));
  // A receiver that is stopped in the middle of a record has received more than can ever be replayed.
  const auto end = pair_->primary->Exec("postgres", "SELECT pg_switch_wal(), pg_current_wal_flush_lsn()::text");
  ASSERT_TRUE(end.ok()) << end.status();
  const std::string caught_up = "SELECT (pg_last_wal_replay_lsn() >= '" + std::string((*end)[0].Text(1)) +
                                "' AND pg_last_wal_replay_lsn() = pg_last_wal_receive_lsn())::text";
  EXPECT_TRUE(pga::testing::WaitUntil(
      [&] {
        const auto answer = standby.Exec("postgres", caught_up);
        return answer.ok() && (*answer)[0].Text(0) == "true";
      },
      absl::Seconds(30)));
  ASSERT_TRUE(standby.Exec("postgres", "ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'").ok());
  ASSERT_TRUE(standby.Exec("postgres", "SELECT pg_reload_conf()").ok());
  EXPECT_TRUE(receivers("0"));
  MetricSession session(standby);
  ASSERT_TRUE(session.status().ok()) << session.status();
  const auto cell = [&](const char* column) {
    EXPECT_EQ(session.Check(*(*Catalog::Builtin())->Find("recovery")), absl::OkStatus());
    return session.Cell("is_paused", "f", column);
  };
  EXPECT_TRUE(pga::testing::WaitUntil([&] { return cell("replay_backlog_bytes") == "NULL"; }, absl::Seconds(30)));
  EXPECT_EQ(cell("replay_delay_us"), "NULL");
  EXPECT_EQ(cell("receiver_status"), "not connected");
  ASSERT_TRUE(standby.Exec("postgres", "ALTER SYSTEM RESET primary_conninfo").ok());
  ASSERT_TRUE(standby.Exec("postgres", "SELECT pg_reload_conf()").ok());
  EXPECT_TRUE(receivers("1"));
}

TEST_P(MetricsOnServer, SecretsInSettingsAreNotRead) {
  MetricSession session(*pair_->standby);
  ASSERT_TRUE(session.status().ok()) << session.status();
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("settings")), absl::OkStatus());
  EXPECT_EQ(session.Cell("setting_name", "primary_conninfo", "setting_value"), "(not shown)");
  EXPECT_EQ(session.Cell("setting_name", "wal_level", "setting_value"), "logical");
  EXPECT_NE(session.Cell("setting_name", "password_encryption", "setting_value"), "(not shown)");
  for (const pg::Row row : session.last()) {
    for (size_t i = 0; i < session.last().columns(); ++i)
      EXPECT_THAT(std::string(row.Text(i)), ::testing::Not(HasSubstr("never-shown")));
  }
}

TEST_P(MetricsOnServer, LockedTableDoesNotHoldUpSizes) {
  auto holder = pair_->primary->Connect("postgres");
  ASSERT_TRUE(holder.ok());
  ASSERT_TRUE((*holder)->Exec("BEGIN; LOCK TABLE app.job IN ACCESS EXCLUSIVE MODE", Soon()).ok());
  MetricSession session(*pair_->primary);
  for (const char* name : {"table_size", "index_size", "table_stats", "index_stats", "database_size"}) {
    EXPECT_EQ(session.Check(*(*Catalog::Builtin())->Find(name)), absl::OkStatus()) << name;
  }
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("table_size")), absl::OkStatus());
  EXPECT_EQ(session.Cell("relname", "job", "total_bytes"), "NULL");
  EXPECT_NE(session.Cell("relname", "no_index", "total_bytes"), "NULL");
  ASSERT_EQ(session.Check(*(*Catalog::Builtin())->Find("index_size")), absl::OkStatus());
  EXPECT_EQ(session.Cell("indexrelname", "job_pkey", "size_bytes"), "NULL");
}

TEST_P(MetricsOnServer, ExamplesOfTheGuideRun) {
  const char* root = std::getenv("PGA_SOURCE_DIR");
  if (root == nullptr) GTEST_SKIP() << "PGA_SOURCE_DIR is not set; ctest sets it";
  MetricSession session(*pair_->primary);
  ASSERT_TRUE(session.status().ok()) << session.status();
  const auto examples = testing::GuideExamples(root);
  ASSERT_EQ(examples.size(), 2u);
  for (const testing::GuideExample& example : examples) {
    const auto metric = ParseMetricFile(example.yaml, {.file_name = example.file_name, .custom = true});
    ASSERT_TRUE(metric.ok()) << metric.status();
    EXPECT_EQ(session.Check(*metric), absl::OkStatus());
  }
  EXPECT_EQ(session.Cell("state", "done", "jobs"), "571");
}

TEST_P(MetricsOnServer, WrongCastIsNamedWithTheRightOne) {
  const auto metric = ParseMetricFile(
      "name: bad\nschema_version: 1\ndescription: A metric with a wrong cast.\nscope: instance\n"
      "queries:\n  - sql: SELECT datname, oid::int8 AS n FROM pg_database\n"
      "columns:\n  - {name: datname, type: text, kind: label, description: Database.}\n"
      "  - {name: n, type: int8, kind: gauge, unit: \"1\", description: Number.}\n",
      {.file_name = "bad.yaml", .custom = true});
  ASSERT_TRUE(metric.ok()) << metric.status();
  MetricSession session(*pair_->primary);
  const absl::Status status = session.Check(*metric);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("datname has type OID 19; cast it: (...)::text"));
}

absl::StatusOr<Coverage> ReadCoverage() {
  const char* root = std::getenv("PGA_SOURCE_DIR");
  if (root == nullptr) return absl::NotFoundError("PGA_SOURCE_DIR is not set; ctest sets it");
  const std::filesystem::path path = std::filesystem::path(root) / "libs/catalog/coverage.yaml";
  std::ifstream in(path);
  return ParseCoverage(std::string(std::istreambuf_iterator<char>(in), {}), path.filename());
}

// Statements that wait for the advisory lock 1, so that what the server says of their progress stands still.
class Blocked {
 public:
  explicit Blocked(TestServer& server) : server_(server) {}
  ~Blocked() {
    if (holder_ != nullptr) {
      (void)holder_->Exec(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%/* blocked */%' "
          "AND pid <> pg_backend_pid()",
          Soon());
    }
    for (std::thread& thread : threads_) thread.join();
  }

  absl::Status Begin() {
    PGA_ASSIGN_OR_RETURN(holder_, server_.Connect("postgres"));
    PGA_RETURN_IF_ERROR(holder_->Exec("SELECT pg_advisory_lock(1)", Soon()).status());
    // Keeps a page of app.pinned, so that VACUUM FREEZE waits for it.
    return holder_->Exec("BEGIN; DECLARE c CURSOR FOR SELECT * FROM app.pinned; FETCH c", Soon()).status();
  }

  void Run(const std::string& sql) {
    threads_.emplace_back([this, sql] {
      auto connection = server_.Connect("postgres");
      if (connection.ok()) (void)(*connection)->Exec(sql + " /* blocked */", clock::SteadyNow() + absl::Minutes(2));
    });
  }

 private:
  TestServer& server_;
  std::unique_ptr<pg::CopyConnection> holder_;
  std::vector<std::thread> threads_;
};

// Every column of every statistics view is stored or left out for a reason, and what is stored is what the view says.
TEST_P(MetricsOnServer, EveryColumnOfTheViewsIsDecidedAndTrue) {
  const auto catalog = *Catalog::Builtin();
  const absl::StatusOr<Coverage> coverage = ReadCoverage();
  if (absl::IsNotFound(coverage.status())) GTEST_SKIP() << coverage.status();
  ASSERT_TRUE(coverage.ok()) << coverage.status();
  Blocked blocked(*pair_->primary);
  ASSERT_EQ(blocked.Begin(), absl::OkStatus());
  // Not VACUUM FULL as well: both are shown by the same view.
  const std::map<std::string, std::string> running = {
      {"pg_stat_progress_create_index", "CREATE INDEX ON app.slow (app.wait(v))"},
      {"pg_stat_progress_cluster", "CLUSTER app.clustered USING clustered_wait"},
      {"pg_stat_progress_analyze", "ANALYZE app.analyzed"},
      {"pg_stat_progress_vacuum", "VACUUM (FREEZE) app.pinned"},
  };
  for (const auto& [view, sql] : running) blocked.Run(sql);
  if (GetParam() != "13") blocked.Run("COPY app.copied (v) FROM PROGRAM 'seq 3'");
  ASSERT_TRUE(pga::testing::WaitUntil(
      [&] {
        const auto found = pair_->primary->Exec(
            "postgres",
            "SELECT (SELECT count(*) FROM pg_stat_progress_create_index) + (SELECT count(*) FROM "
            "pg_stat_progress_cluster) + (SELECT count(*) FROM pg_stat_progress_analyze) + (SELECT count(*) FROM "
            "pg_stat_progress_vacuum) + (SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%blocked%' AND "
            "wait_event = 'advisory'), "
            // Transactions count as long after 5 seconds.
            "(SELECT min(xact_start) < clock_timestamp() - interval '5 seconds' FROM pg_stat_activity)");
        return found.ok() && (*found)[0].Int64(0) == (GetParam() == "13" ? 4 : 5) && (*found)[0].Bool(1);
      },
      absl::Seconds(20)));
  std::map<std::string, int64_t> compared;
  for (TestServer* server : {pair_->primary.get(), pair_->standby.get()}) {
    MetricSession session(*server);
    ASSERT_TRUE(session.status().ok()) << session.status();
    const RowsFunction rows = [&](const std::string& sql) { return session.Rows(sql); };
    const auto covered = CoverageOnServer(*coverage, *catalog, session.facts(), rows,
                                          [&](const std::string& sql) { return session.Describe(sql); });
    ASSERT_TRUE(covered.ok()) << covered.status();
    std::map<std::string, std::vector<ColumnCoverage>> views;
    for (const ColumnCoverage& one : *covered) {
      views[one.view].push_back(one);
      EXPECT_FALSE(one.metric.empty() && one.left_out.empty()) << one.view << "." << one.column << " is not decided";
    }
    for (const auto& [view, columns] : views) {
      const auto sql = CompareSql(*coverage, *catalog, session.facts(), view, *covered, rows);
      ASSERT_TRUE(sql.ok()) << sql.status();
      if (sql->empty()) continue;
      const auto differences = session.Rows(*sql);
      ASSERT_TRUE(differences.ok()) << view << ": " << differences.status();
      for (const auto& row : *differences) {
        EXPECT_EQ(row[3], "0") << row[0] << "." << row[1] << ": " << row[4];
        compared[view] = std::max(compared[view], static_cast<int64_t>(std::stoll(row[2])));
      }
    }
  }
  for (const auto& [view, rows] : compared) {
    // A base backup is too short to be seen, and a subscription needs a second server.
    if (view == "pg_stat_progress_basebackup" || view == "pg_stat_subscription") continue;
    EXPECT_GT(rows, 0) << view << " had no row to compare";
  }
  EXPECT_GE(compared.size(), 20u);
}

INSTANTIATE_TEST_SUITE_P(PostgreSQL, MetricsOnServer, ::testing::ValuesIn(Versions()),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace pga::catalog
