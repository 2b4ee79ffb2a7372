// Advice on a real server: problems are planted, a real collector reads them, the API finds each by name and says
// nothing about what is healthy; its commands are run, and what they do is measured.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <simdjson.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/json_value.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"
#include "tests/integration/suite.h"

namespace pga::integration {
namespace {

using ::testing::HasSubstr;
using testing::JsonNumber;
using testing::JsonText;

constexpr absl::Duration kPatience = absl::Seconds(90);

clock::SteadyTime Soon() {
  return clock::SteadyNow() + kPatience;
}

// Metrics that the rules read, and that such a server has.
constexpr const char* kNeeded[] = {
    "index_stats",      "index_definitions", "index_size",   "table_size",   "table_stats",
    "schema_relations", "vacuum_state",      "xmin_holders", "bloat_tables", "bloat_indexes",
    "settings",         "checkpointer",      "wal",          "database",     "statements",
    "sequences",        "replication_slots", "extensions",   "databases",    "roles",
    "schemas",          "connections",       "server"};

// What is planted, before anybody looks. %: what must not be in any advice is named fine*.
constexpr const char* kPlanted[] = {
    "CREATE EXTENSION pg_stat_statements VERSION '1.9'",
    // Healthy: used indexes, vacuumed, analyzed.
    "CREATE TABLE fine (id bigserial PRIMARY KEY, kind int NOT NULL, note text NOT NULL)",
    "INSERT INTO fine (kind, note) SELECT g % 1000, md5(g::text) FROM generate_series(1, 20000) g",
    "CREATE INDEX fine_kind ON fine (kind)", "VACUUM (ANALYZE) fine",
    // The table of a shop.
    "CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, note text NOT "
    "NULL)",
    "INSERT INTO orders (customer_id, status, note) SELECT g % 3000, 's' || g % 7, md5(g::text) FROM "
    "generate_series(1, "
    "30000) g",
    "CREATE INDEX orders_note ON orders (note)", "CREATE INDEX orders_status ON orders (status)",
    "CREATE INDEX orders_status_again ON orders (status)", "VACUUM (ANALYZE) orders",
    "CREATE TABLE events (a int NOT NULL, b int NOT NULL)",
    "INSERT INTO events SELECT g % 500, g FROM generate_series(1, 20000) g", "CREATE INDEX events_a ON events (a)",
    "CREATE INDEX events_ab ON events (a, b)", "VACUUM (ANALYZE) events", "CREATE TABLE broken (v int NOT NULL)",
    "INSERT INTO broken VALUES (1), (0)", "VACUUM (ANALYZE) broken",
    // An old table and a large index whose rows are mostly gone.
    "CREATE TABLE fat (id int PRIMARY KEY, payload text NOT NULL)",
    "INSERT INTO fat SELECT g, repeat(md5(g::text), 6) FROM generate_series(1, 60000) g",
    "CREATE INDEX fat_payload ON fat (payload)", "DELETE FROM fat WHERE id % 20 <> 0", "VACUUM (ANALYZE) fat",
    "CREATE TABLE big (m text NOT NULL)", "INSERT INTO big SELECT md5(g::text) FROM generate_series(1, 100000) g",
    "VACUUM (ANALYZE) big", "CREATE TABLE quiet (v int NOT NULL) WITH (autovacuum_enabled = false)",
    "VACUUM (ANALYZE) quiet", "CREATE TABLE stale (v int NOT NULL)", "ANALYZE stale",
    "INSERT INTO stale SELECT g FROM generate_series(1, 20000) g", "CREATE TABLE seqs (id serial, v int)",
    "SELECT setval('seqs_id_seq', 2000000000)", "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "CREATE ROLE boss LOGIN SUPERUSER", "CREATE ROLE fine_role LOGIN",
    "CREATE ROLE fine_watcher LOGIN IN ROLE pg_monitor, pg_read_all_data", "CREATE ROLE soon LOGIN",
    "SELECT pg_create_physical_replication_slot('left_behind', true)",
    // What vacuum cannot remove, and what it was not asked to.
    "CREATE TABLE held (v int NOT NULL)", "INSERT INTO held SELECT g FROM generate_series(1, 6000) g", "ANALYZE held",
    "CREATE TABLE churn (v int NOT NULL)", "INSERT INTO churn SELECT g FROM generate_series(1, 20000) g",
    "ANALYZE churn", "CREATE TABLE wal_load (m text NOT NULL) WITH (autovacuum_analyze_threshold = 1000000)"};

struct Found {
  std::string id;
  std::string kind;
  std::string database;
  std::string object;
  std::string command;
  std::string certainty;
  bool operator<(const Found& other) const {
    return std::tie(kind, database, object) < std::tie(other.kind, other.database, other.object);
  }
};

class AdviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = testing::TempPostgres::Start(
        {.preload_statements = true,
         .extra_conf = {"autovacuum = off", "max_wal_size = '32MB'", "min_wal_size = '32MB'",
                        "max_prepared_transactions = 10", "work_mem = '64kB'", "password_encryption = md5",
                        "logging_collector = on", "log_destination = 'jsonlog'", "compute_query_id = on",
                        "max_parallel_workers_per_gather = 0", "auto_explain.log_format = json",
                        "auto_explain.log_verbose = on"}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->CreateDatabase("shop").ok());
    suite_ = std::make_unique<Suite>(SuiteOptions{.env = {{"INGEST_HELLOS_PER_MINUTE", "0"}}});
    token_ = suite_->AdminToken();
  }
  void TearDown() override { StopCollector(); }

  void Sql(const std::string& text) const {
    const auto done = server_->Exec("shop", text);
    EXPECT_TRUE(done.ok()) << text << ": " << done.status();
  }
  // Each statement of a command by itself, as psql sends them.
  void Run(const std::string& command) const {
    for (const std::string& one : std::vector<std::string>(absl::StrSplit(command, '\n'))) Sql(one);
  }
  std::string Value(const std::string& text) const {
    const auto done = server_->Exec("shop", text);
    EXPECT_TRUE(done.ok()) << text << ": " << done.status();
    return done.ok() && !done->empty() ? std::string((*done)[0].Text(0)) : "";
  }
  double Number(const std::string& text) const {
    double value = -1;
    EXPECT_TRUE(absl::SimpleAtod(Value(text), &value)) << text;
    return value;
  }
  double Cost(const std::string& statement) const {
    const auto plan = server_->Exec("shop", "EXPLAIN (FORMAT JSON) " + statement);
    EXPECT_TRUE(plan.ok()) << plan.status();
    simdjson::dom::parser parser;
    double cost = -1;
    EXPECT_EQ(parser.parse(std::string((*plan)[0].Text(0))).at_pointer("/0/Plan/Total Cost").get_double().get(cost),
              simdjson::SUCCESS);
    return cost;
  }

  void StartCollector() {
    started_ = clock::WallNow();
    auto process =
        testing::Subprocess::Start({.argv = {testing::Program("pganalytics-collector")},
                                    .env = {{"COLLECTOR_ID", "one"},
                                            {"STATE_DIR", dir_ / "state"},
                                            {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", suite_->port())},
                                            {"BACKEND_RETRY_MAX", "1"},
                                            {"REGISTRATION_SECRET", Suite::kRegistrationSecret},
                                            {"SOURCE_NAME", "db"},
                                            {"POSTGRES_HOST", server_->socket_dir()},
                                            {"POSTGRES_PORT", absl::StrCat(server_->port())},
                                            {"POSTGRES_USER", "fine_watcher"},
                                            {"POSTGRES_DATABASES", "shop"},
                                            {"COLLECTION_INTERVAL", "1"},
                                            {"HOST_METRICS", "false"},
                                            {"METRICS_LISTEN", "off"}},
                                    .output_path = dir_ / absl::StrCat("log", ++starts_)});
    ASSERT_TRUE(process.ok()) << process.status();
    collector_ = *std::move(process);
  }
  void StopCollector() {
    if (collector_ == nullptr) return;
    collector_->Signal(SIGTERM);
    EXPECT_THAT(collector_->Wait(clock::SteadyNow() + kPatience), status::IsOk());
    collector_.reset();
  }
  std::string Get(const std::string& path) const {
    const auto answer = suite_->Get(path, token_);
    EXPECT_TRUE(answer.ok() && answer->status == 200)
        << path << (answer.ok() ? answer->body : answer.status().ToString());
    return answer.ok() ? answer->body : "";
  }
  // Everything was read since the collector was started last.
  bool AwaitReading() {
    const std::string since = absl::FormatTime("%Y-%m-%dT%H:%M:%E6S", started_, absl::UTCTimeZone());
    std::set<std::string> missing;
    const bool read = testing::WaitUntil(
        [&] {
          missing = {std::begin(kNeeded), std::end(kNeeded)};
          const auto answer = suite_->Get("/api/v1/freshness?source=db", token_);
          if (!answer.ok() || answer->status != 200) return false;
          simdjson::dom::parser parser;
          simdjson::dom::array entries;
          if (parser.parse(answer->body).at_key("freshness").get_array().get(entries) != simdjson::SUCCESS)
            return false;
          for (const simdjson::dom::element entry : entries) {
            std::string_view metric;
            std::string_view at;
            if (entry["metric"].get(metric) == simdjson::SUCCESS &&
                entry["last_collected_at"].get(at) == simdjson::SUCCESS && std::string(at) > since) {
              missing.erase(std::string(metric));
            }
          }
          return missing.empty();
        },
        kPatience);
    EXPECT_TRUE(read) << ::testing::PrintToString(missing) << collector_->Output();
    return read;
  }
  std::vector<Found> Advice(const std::string& query = "", int least_hours = 0) {
    body_ = Get(absl::StrCat("/api/v1/advice?source=db&hours=24&least_hours=", least_hours, query));
    std::vector<Found> found;
    simdjson::dom::parser parser;
    simdjson::dom::array entries;
    EXPECT_EQ(parser.parse(body_).at_key("advice").get_array().get(entries), simdjson::SUCCESS) << body_;
    for (const simdjson::dom::element entry : entries) {
      const auto text = [&](const char* name) {
        std::string_view value;
        EXPECT_EQ(entry[name].get(value), simdjson::SUCCESS) << name;
        return std::string(value);
      };
      found.push_back(
          {text("id"), text("kind"), text("database_name"), text("object"), text("command"), text("certainty")});
    }
    return found;
  }
  // Sorts on disk, and what of the server shows it.
  void Sort() const { Sql("SELECT count(*) FROM (SELECT m FROM big ORDER BY m OFFSET 0) s"); }
  double TempBytes() const {
    Sql("SELECT pg_stat_force_next_flush()");
    return Number("SELECT temp_bytes FROM pg_stat_database WHERE datname = 'shop'");
  }
  void WriteWal() const {
    for (int i = 0; i < 5; ++i) {
      Sql("INSERT INTO wal_load SELECT repeat(md5(g::text), 30) FROM generate_series(1, 20000) g");
    }
    Sql("TRUNCATE wal_load");
  }

  std::string Pgactl(const std::vector<std::string>& words) const {
    std::vector<std::string> argv = {testing::Program("pgactl")};
    argv.insert(argv.end(), words.begin(), words.end());
    const auto outcome = testing::RunCommand({.argv = argv,
                                              .env = {{"PGACTL_URL", absl::StrCat("http://127.0.0.1:", suite_->port())},
                                                      {"PGACTL_TOKEN", token_},
                                                      {"TZ", "UTC"}}});
    EXPECT_TRUE(outcome.ok() && outcome->exit_code == 0) << (outcome.ok() ? outcome->output : "");
    return outcome.ok() ? outcome->output : "";
  }
  // Of a number by its pointer; the API writes it as pgactl does.
  static double JsonDouble(const std::string& json, const std::string& pointer) {
    simdjson::dom::parser parser;
    double number = -1;
    EXPECT_EQ(parser.parse(json).at_pointer(pointer).get_double().get(number), simdjson::SUCCESS) << pointer << json;
    return number;
  }
  void ReportSaysWhatTheApiSays() const {
    const absl::Time now = clock::WallNow();
    const auto stamp = [](absl::Time at) { return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", at, absl::UTCTimeZone()); };
    const std::string from = stamp(now - absl::Hours(1));
    const std::string to = stamp(now);
    const std::string range = absl::StrCat("source=db&start=", from, "&end=", to);
    const std::string report = Pgactl({"report", "--source", "db", "--from", from, "--to", to, "--format", "json"});
    const std::string load = Get("/api/v1/rows?metric=database&filter=datname%3Dshop&" + range);
    EXPECT_EQ(JsonText(report, "/sections/0/title"), "Load");
    EXPECT_EQ(JsonText(report, "/sections/0/rows/0/database"), "shop");
    EXPECT_EQ(JsonDouble(report, "/sections/0/rows/0/xact_commit"), JsonDouble(load, "/rows/0/numbers/xact_commit"));
    EXPECT_EQ(JsonDouble(report, "/sections/0/rows/0/temp_bytes"), JsonDouble(load, "/rows/0/numbers/temp_bytes"));
    const std::string top = Get("/api/v1/queries/top?" + range);
    for (const int row : {0, 1, 2}) {
      const std::string at = absl::StrCat("/sections/1/rows/", row);
      const std::string of = absl::StrCat("/queries/", row);
      EXPECT_EQ(JsonText(report, at + "/query_id"), JsonText(top, of + "/query_id"));
      EXPECT_EQ(JsonDouble(report, at + "/total_time_ms"), JsonDouble(top, of + "/total_time"));
      EXPECT_EQ(JsonDouble(report, at + "/calls"), JsonDouble(top, of + "/calls"));
    }
    const std::string vacuum = Get("/api/v1/rows?metric=vacuum_state&sort=-dead_rows&" + range);
    EXPECT_EQ(JsonText(report, "/sections/4/title"), "Vacuum");
    EXPECT_EQ(JsonDouble(report, "/sections/4/rows/0/dead_rows"), JsonDouble(vacuum, "/rows/0/numbers/dead_rows"));
    const std::string html = Pgactl({"report", "--source", "db", "--from", from, "--to", to, "--format", "html"});
    EXPECT_THAT(html, HasSubstr("<!doctype html>"));
    EXPECT_THAT(html, HasSubstr("prepared transaction &#39;it&#39;&#39;s forgotten&#39;"));
    EXPECT_THAT(html, ::testing::Not(HasSubstr("<script")));
    EXPECT_THAT(html, ::testing::Not(HasSubstr("src=")));
    const std::string text = Pgactl({"report", "--source", "db", "--from", from, "--to", to});
    for (const char* title : {"Load", "Statements", "Waits", "Locks", "Vacuum", "Growth", "Advice", "Completeness"}) {
      EXPECT_THAT(text, HasSubstr(absl::StrCat("\n", title, "\n")));
    }
    EXPECT_THAT(Pgactl({"advice", "list", "--source", "db", "--least-hours", "0"}), HasSubstr("orders_status_again"));
  }

  std::unique_ptr<testing::TempPostgres> server_;
  std::unique_ptr<Suite> suite_;
  testing::ScopedTempDir dir_;
  std::unique_ptr<testing::Subprocess> collector_;
  std::string token_;
  std::string body_;
  absl::Time started_;
  int starts_ = 0;
};

TEST_F(AdviceTest, FindsWhatWasPlantedAndItsCommandsHelp) {
  for (const char* statement : kPlanted) Sql(statement);
  EXPECT_FALSE(server_->Exec("shop", "CREATE INDEX CONCURRENTLY broken_v ON broken ((1 / v))").ok());
  Sql(absl::StrCat("ALTER ROLE soon VALID UNTIL '",
                   absl::FormatTime("%Y-%m-%d", clock::WallNow() + absl::Hours(72), absl::UTCTimeZone()), "'"));
  Sql("BEGIN; CREATE TABLE forgotten (v int); PREPARE TRANSACTION 'it''s forgotten'");
  // Counted before the vacuum that leaves them.
  Sql("SELECT pg_stat_force_next_flush(); DELETE FROM held WHERE v > 500");
  Sql("VACUUM (ANALYZE) held");
  Sql("DELETE FROM churn WHERE v > 4000");

  StartCollector();
  ASSERT_TRUE(AwaitReading());

  // What people do.
  {
    std::vector<std::unique_ptr<pg::CopyConnection>> idle;
    for (int i = 0; i < 40; ++i) {
      auto connection = server_->Connect("shop");
      ASSERT_TRUE(connection.ok()) << connection.status();
      EXPECT_TRUE((*connection)->Exec("BEGIN; SELECT 1", Soon()).ok());
      idle.push_back(*std::move(connection));
    }
    WriteWal();
    for (const auto& connection : idle) EXPECT_TRUE(connection->Exec("COMMIT", Soon()).ok());
    for (int i = 0; i < 7; ++i) Sort();
    for (int i = 0; i < 6; ++i) Sql("SELECT m FROM big");
    for (int i = 0; i < 20; ++i) {
      Sql(absl::StrCat("SELECT count(*) FROM fine WHERE kind = ", i));
      Sql("SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT id FROM orders WHERE status = 's1' LIMIT 1");
      Sql("SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM events WHERE a = 1 AND b = 501");
      Sql("SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT id FROM fat WHERE payload = 'x'");
    }
    const auto one = server_->Connect("shop");
    ASSERT_TRUE(one.ok());
    for (int i = 0; i < 10; ++i) {
      EXPECT_TRUE((*one)->Exec("SELECT id FROM orders ORDER BY id LIMIT 20", Soon()).ok());
      for (int n = 1; n <= 20; ++n) {
        EXPECT_TRUE((*one)->Exec(absl::StrCat("SELECT note FROM orders WHERE id = ", n), Soon()).ok());
      }
    }
    EXPECT_TRUE((*one)->Exec("LOAD 'auto_explain'", Soon()).ok());
    EXPECT_TRUE((*one)->Exec("SET auto_explain.log_min_duration = 0", Soon()).ok());
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE((*one)->Exec(absl::StrCat("SELECT note FROM orders WHERE customer_id = ", i), Soon()).ok());
      // Most rows of the table: no index helps.
      EXPECT_TRUE((*one)->Exec("SELECT count(*) FROM (SELECT 1 FROM fine WHERE note > '1' OFFSET 0) x", Soon()).ok());
    }
    for (int i = 0; i < 600; ++i) Sql("SELECT 1");
  }
  const std::string child =
      Value("SELECT queryid FROM pg_stat_statements WHERE query LIKE 'SELECT note FROM orders WHERE id%'");
  const std::string spiller =
      Value("SELECT queryid FROM pg_stat_statements WHERE query LIKE '%FROM big ORDER BY m%' LIMIT 1");
  const std::string reader = Value("SELECT queryid FROM pg_stat_statements WHERE query = 'SELECT m FROM big'");
  const std::string seeker =
      Value("SELECT queryid FROM pg_stat_statements WHERE query LIKE 'SELECT note FROM orders WHERE customer%'");

  StopCollector();
  StartCollector();
  ASSERT_TRUE(AwaitReading());
  ASSERT_TRUE(testing::WaitUntil(
      [&] {
        const auto found = Advice("&kind=index_missing");
        return !found.empty();
      },
      kPatience))
      << body_ << collector_->Output();
  const std::vector<Found> before = Advice();
  std::map<std::pair<std::string, std::string>, Found> by_object;
  for (const Found& one : before) by_object[{one.kind, one.object}] = one;
  for (const Found& one : before) {
    std::cout << one.certainty << " " << one.kind << " " << one.database << " " << one.object << "\n";
    EXPECT_THAT(one.object, ::testing::Not(HasSubstr("fine"))) << one.kind;
    EXPECT_EQ(one.id.size(), 16u);
  }
  // Kind, object, database: each is found, and of these kinds nothing else.
  const std::set<std::tuple<std::string, std::string, std::string>> planted = {
      {"analyze_behind", "public.stale", "shop"},
      {"autovacuum_disabled", "public.quiet", "shop"},
      {"connection_churn", "connections", ""},
      {"extension_outdated", "pg_stat_statements", "shop"},
      {"index_bloat", "public.fat_payload", "shop"},
      {"index_duplicate", "public.orders_status_again", "shop"},
      {"index_invalid", "public.broken_v", "shop"},
      {"index_missing", "public.orders (customer_id)", "shop"},
      {"index_overlapping", "public.events_a", "shop"},
      {"index_unused", "public.orders_note", "shop"},
      {"security_password_expires", "soon", ""},
      {"security_public_create", "public", "shop"},
      {"security_superuser", "boss", ""},
      {"sequence_near_end", "public.seqs_id_seq", "shop"},
      {"setting_autovacuum", "autovacuum", ""},
      {"setting_idle_in_transaction_timeout", "idle_in_transaction_session_timeout", ""},
      {"setting_max_wal_size", "max_wal_size", ""},
      {"setting_password_encryption", "password_encryption", ""},
      {"setting_work_mem", "work_mem", "shop"},
      {"slot_holding_wal", "left_behind", ""},
      {"statement_many_rows", absl::StrCat(reader, " of postgres"), "shop"},
      {"statement_n_plus_one", absl::StrCat(child, " of postgres"), "shop"},
      {"statement_temp_spill", absl::StrCat(spiller, " of postgres"), "shop"},
      {"table_bloat", "public.fat", "shop"},
      {"vacuum_behind", "public.churn", "shop"},
      {"xmin_held", "prepared transaction 'it''s forgotten'", "shop"}};
  std::set<std::tuple<std::string, std::string, std::string>> found;
  for (const Found& one : before) found.insert({one.kind, one.object, one.database});
  EXPECT_EQ(found, planted) << body_
                            << Value(
                                   "SELECT string_agg(queryid || ' ' || calls || ' ' || rows || ' ' || left(query, "
                                   "100), chr(10)) FROM pg_stat_statements");
  if (found != planted) return;
  const auto command = [&](const char* kind, const std::string& object) {
    return by_object.at({kind, object}).command;
  };

  // The routes of 3.2.0 say the same.
  const std::string indexes = Get("/api/v1/databases/shop/index-recommendations");
  EXPECT_EQ(JsonNumber(indexes, "/count"), 1) << indexes;
  EXPECT_EQ(JsonText(indexes, "/recommendations/0/table_name"), "orders");
  EXPECT_EQ(JsonText(indexes, "/recommendations/0/column_names/0"), "customer_id");
  EXPECT_EQ(JsonText(indexes, "/recommendations/0/create_statement"),
            "CREATE INDEX CONCURRENTLY ON public.orders (customer_id);");
  EXPECT_EQ(JsonNumber(indexes, "/recommendations/0/affected_query_count"), 1);
  EXPECT_THAT(body_, HasSubstr(absl::StrCat("\"", seeker, "\"")));
  const auto generated = suite_->Post("/api/v1/databases/shop/index-recommendations/generate", "{}", token_);
  ASSERT_TRUE(generated.ok());
  EXPECT_EQ(JsonNumber(generated->body, "/recommendations_generated"), 1) << generated->body;
  const auto aggregated = suite_->Post("/api/v1/recommendations/aggregate", "{}", token_);
  ASSERT_TRUE(aggregated.ok());
  EXPECT_EQ(JsonNumber(aggregated->body, "/by_type/index_duplicate"), 1) << aggregated->body;
  const std::string ranked = Get("/api/v1/optimization-recommendations?min_impact=0.001&source=db");
  EXPECT_GE(JsonNumber(ranked, "/count"), 3) << ranked;
  EXPECT_EQ(Get("/api/v1/optimization-recommendations?min_impact=100&source=db"),
            "{\"recommendations\":[],\"count\":0}");

  // What is stored stands still for the comparison.
  StopCollector();
  ReportSaysWhatTheApiSays();

  // Somebody decides against one.
  const std::string id = by_object.at({"security_superuser", "boss"}).id;
  EXPECT_EQ(suite_->Post("/api/v1/advice/0123456789abcdef/dismiss", "{}", token_)->status, 404);
  auto answer = suite_->Post("/api/v1/index-recommendations/" + id + "/dismiss", R"({"reason":"it is ours"})", token_);
  ASSERT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(JsonText(answer->body, "/status"), "dismissed");
  EXPECT_TRUE(Advice("&kind=security_superuser").empty());
  EXPECT_EQ(JsonNumber(body_, "/dismissed_count"), 1);
  EXPECT_EQ(Advice("&kind=security_superuser&dismissed=true").size(), 1u);
  EXPECT_EQ(JsonText(body_, "/advice/0/dismissed_reason"), "it is ours");
  EXPECT_EQ(JsonText(body_, "/advice/0/dismissed_by"), "admin");
  answer = suite_->Post("/api/v1/advice/" + id + "/restore", "{}", token_);
  ASSERT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(Advice("&kind=security_superuser").size(), 1u);
  EXPECT_EQ(suite_->Post("/api/v1/advice/" + id + "/restore", "{}", token_)->status, 404);
  EXPECT_EQ(suite_->Get("/api/v1/advice?source=nobody", token_)->status, 404);
  // Somebody follows one; what came of it is measured once its time is over.
  const std::string followed = by_object.at({"index_missing", "public.orders (customer_id)"}).id;
  const std::string implement = "/api/v1/optimization-recommendations/";
  EXPECT_EQ(suite_->Post(implement + "0123456789abcdef/implement", "{}", token_)->status, 404);
  answer = suite_->Post(implement + followed + "/implement", R"({"notes":"by hand"})", token_);
  ASSERT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(JsonText(answer->body, "/status"), "pending");
  const std::string pending = Get("/api/v1/optimization-results?source=db");
  EXPECT_EQ(JsonNumber(pending, "/count"), 1) << pending;
  EXPECT_EQ(JsonText(pending, "/results/0/status"), "pending");
  EXPECT_EQ(JsonText(pending, "/results/0/query_hash"), seeker);
  EXPECT_EQ(JsonText(pending, "/results/0/notes"), "by hand");
  EXPECT_EQ(JsonNumber(Get("/api/v1/optimization-results?status=improved"), "/count"), 0);
  EXPECT_EQ(suite_->Get("/api/v1/optimization-results?status=wonderful", token_)->status, 400);
  EXPECT_EQ(suite_->Get("/api/v1/optimization-results?minutes=2", token_)->status, 400);
  // Without a week of history nothing is called unused, and that is said.
  const std::string young = Get("/api/v1/advice?source=db&kind=index_unused");
  EXPECT_EQ(JsonNumber(young, "/count"), 0);
  EXPECT_THAT(JsonText(young, "/not_judged/0/why"), HasSubstr("are needed"));

  // What each command does.
  Run(command("xmin_held", "prepared transaction 'it''s forgotten'"));
  Sql("VACUUM held");
  Sql("SELECT pg_stat_force_next_flush()");
  EXPECT_EQ(Number("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'held'"), 0);
  EXPECT_GE(Number("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'churn'"), 16000);
  Run(command("vacuum_behind", "public.churn"));
  EXPECT_EQ(Number("SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'churn'"), 0);

  const double index_bytes = Number("SELECT pg_indexes_size('orders') + pg_indexes_size('events')");
  for (const auto& [kind, object] :
       {std::pair("index_unused", "public.orders_note"), std::pair("index_duplicate", "public.orders_status_again"),
        std::pair("index_overlapping", "public.events_a")}) {
    Run(command(kind, object));
  }
  EXPECT_LT(Number("SELECT pg_indexes_size('orders') + pg_indexes_size('events')"), 0.7 * index_bytes);
  EXPECT_THAT(Value("EXPLAIN SELECT * FROM events WHERE a = 7"), HasSubstr("events_ab"));

  Sql("DELETE FROM broken WHERE v = 0");
  Run(command("index_invalid", "public.broken_v"));
  EXPECT_EQ(Value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'broken_v'::regclass"), "t");

  const double bloated_index = Number("SELECT pg_relation_size('fat_payload')");
  Run(command("index_bloat", "public.fat_payload"));
  EXPECT_LT(Number("SELECT pg_relation_size('fat_payload')"), 0.2 * bloated_index);
  const double bloated_table = Number("SELECT pg_relation_size('fat')");
  Run(command("table_bloat", "public.fat"));
  EXPECT_LT(Number("SELECT pg_relation_size('fat')"), 0.2 * bloated_table);

  const std::string seek = "SELECT note FROM orders WHERE customer_id = 5";
  const double cost = Cost(seek);
  Run(command("index_missing", "public.orders (customer_id)"));
  EXPECT_LT(Cost(seek), 0.2 * cost);
  std::cout << "cost of the statement without an index: " << cost << " -> " << Cost(seek) << "\n";

  double temp = TempBytes();
  Sort();
  EXPECT_GT(TempBytes(), temp);
  temp = TempBytes();
  Sql(command("statement_temp_spill", absl::StrCat(spiller, " of postgres")) +
      "SELECT count(*) FROM (SELECT m FROM big ORDER BY m OFFSET 0) s");
  EXPECT_EQ(TempBytes(), temp);
  Run(command("setting_work_mem", "work_mem"));
  EXPECT_NE(Value("SHOW work_mem"), "64kB");

  const auto requested = [&] { return Number("SELECT checkpoints_req FROM pg_stat_bgwriter"); };
  double checkpoints = requested();
  WriteWal();
  const double small = requested() - checkpoints;
  Run(command("setting_max_wal_size", "max_wal_size"));
  checkpoints = requested();
  WriteWal();
  EXPECT_LT(requested() - checkpoints, small / 2) << small;
  std::cout << "checkpoints of one load: " << small << " -> " << requested() - checkpoints << "\n";

  Run(command("slot_holding_wal", "left_behind"));
  Run(command("sequence_near_end", "public.seqs_id_seq"));
  Sql("SELECT setval('seqs_id_seq', 2147483647)");
  Sql("INSERT INTO seqs (v) VALUES (1)");
  EXPECT_EQ(Value("SELECT max(id) FROM seqs"), "2147483648");
  Run(command("security_public_create", "public"));
  Run(command("security_superuser", "boss"));
  Run(command("security_password_expires", "soon"));
  Run(command("extension_outdated", "pg_stat_statements"));
  Run(command("analyze_behind", "public.stale"));
  Run(command("autovacuum_disabled", "public.quiet"));
  for (const auto& [kind, setting] :
       {std::pair("setting_autovacuum", "autovacuum"), std::pair("setting_password_encryption", "password_encryption"),
        std::pair("setting_idle_in_transaction_timeout", "idle_in_transaction_session_timeout")}) {
    Run(command(kind, setting));
  }

  // Nothing of it is advised any more. Use is not judged: the indexes of today have no history.
  StopCollector();
  StartCollector();
  ASSERT_TRUE(AwaitReading());
  std::set<std::string> left;
  for (const Found& one : Advice("", 1)) {
    // Counted over an interval that has the load in it still.
    if (one.kind.rfind("statement_", 0) == 0 || one.kind == "connection_churn") continue;
    left.insert(absl::StrCat(one.kind, " ", one.database, " ", one.object));
  }
  EXPECT_EQ(left, std::set<std::string>()) << body_;
  EXPECT_THAT(body_, HasSubstr("60.0 min are needed"));
}

}  // namespace
}  // namespace pga::integration
