// The whole catalog against every kind of server: versions x (primary, hot standby, cascading standby) x (direct,
// PgBouncer in session and in transaction mode) x logins (with and without pg_monitor, with hostile settings, acting as
// another role). One real collector reads them all; what it stores and what the servers log is counted and printed.
//
// PGA_MATRIX_VERSIONS names the versions ("13,14,15,16,17,18"); PGA_MATRIX_READINGS how many readings of each metric
// are waited for (3).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_pooler.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/collector_process_testing.h"
#include "tests/servers/servers_testing.h"

namespace pga::servers {
namespace {

namespace catalogpb = ::pganalytics::catalog::v1;
namespace ingestpb = ::pganalytics::ingest::v1;
using ::pga::collector::ScriptedIngest;
using ::pga::status::IsOk;
using ::pga::testing::ScopedTempDir;
using ::pga::testing::Subprocess;
using ::pga::testing::TempPooler;
using ::pga::testing::TempPostgres;
using ::pga::testing::WaitUntil;
using ::testing::IsEmpty;

constexpr std::array<const char*, 3> kRoles = {"primary", "standby", "cascade"};
constexpr std::array<const char*, 3> kWays = {"direct", "session", "transaction"};
// `acting` has SET ROLE in its settings.
constexpr std::array<const char*, 4> kRights = {"monitor", "plain", "hostile", "acting"};

std::string LoginOf(const std::string& way, const std::string& rights) {
  return absl::StrCat(way, "_", rights);
}

// What a role may carry along from the days of another application. Some of it changes what statements mean, how values
// are written, or how long they may take.
std::vector<std::string> HostileSettings(int version, const std::string& way) {
  std::vector<std::string> settings = {"search_path = public, pg_catalog",
                                       "\"DateStyle\" = 'German, DMY'",
                                       "\"IntervalStyle\" = 'sql_standard'",
                                       "\"TimeZone\" = 'Asia/Kathmandu'",
                                       "bytea_output = 'escape'",
                                       "extra_float_digits = -15",
                                       "default_transaction_read_only = on",
                                       "default_transaction_deferrable = on",
                                       "statement_timeout = '1s'",
                                       "lock_timeout = '1ms'",
                                       "idle_in_transaction_session_timeout = '1s'",
                                       "standard_conforming_strings = off",
                                       "backslash_quote = 'on'",
                                       "quote_all_identifiers = on",
                                       "transform_null_equals = on",
                                       "array_nulls = off",
                                       "row_security = off",
                                       "client_min_messages = 'debug1'",
                                       "client_encoding = 'LATIN1'",
                                       "work_mem = '64kB'",
                                       "temp_file_limit = 0",
                                       "enable_seqscan = off",
                                       "enable_hashjoin = off",
                                       "join_collapse_limit = 1",
                                       "plan_cache_mode = 'force_generic_plan'",
                                       "parallel_setup_cost = 0",
                                       "parallel_tuple_cost = 0",
                                       "min_parallel_table_scan_size = 0",
                                       "jit = on",
                                       "jit_above_cost = 0",
                                       "track_activities = off",
                                       "xmlbinary = 'hex'",
                                       "check_function_bodies = off",
                                       "application_name = 'of the role'"};
  // On a hot standby PgBouncer's own DISCARD ALL, with which it takes a session back, is refused as serializable.
  settings.push_back(
      absl::StrCat("default_transaction_isolation = '", way == "session" ? "repeatable read" : "serializable", "'"));
  settings.push_back(version >= 16 ? "debug_parallel_query = 'on'" : "force_parallel_mode = 'on'");
  if (version >= 17) settings.push_back("transaction_timeout = '250ms'");
  // Behind a pooler the sessions are the pooler's, and this ends them.
  if (version >= 14 && way == "direct") settings.push_back("idle_session_timeout = '700ms'");
  return settings;
}

// Servers of one version: a primary, a standby, and a standby of that one.
class Fleet {
 public:
  explicit Fleet(std::string version) : version_(std::move(version)) {}
  ~Fleet() {
    // They wait for what it holds.
    Unblock();
    for (auto& waiter : waiters_) waiter.join();
  }

  // NOT_FOUND when the version is not installed.
  absl::Status Start() {
    TempPostgres::Options options;
    options.version = version_;
    options.preload_statements = true;
    options.extra_conf = {"wal_level = logical",
                          "autovacuum = off",
                          "max_connections = 300",
                          "max_wal_senders = 5",
                          "log_line_prefix = '%e %u|%d|'",
                          "log_error_verbosity = terse",
                          "log_min_error_statement = panic",
                          "log_min_messages = warning",
                          "track_io_timing = on",
                          "wal_receiver_status_interval = 1"};
    // Where there is one: what is refused is distinguished by codes, not by words.
    options.messages = version_ == "15" ? "de_DE" : "";
    auto started = TempPostgres::Start(options);
    if (!started.ok() && !options.messages.empty()) {
      options.messages.clear();
      started = TempPostgres::Start(options);
    }
    if (!started.ok()) return started.status();
    servers_.push_back(*std::move(started));
    translated_ = !options.messages.empty();
    if (auto status = Fill(); !status.ok()) return status;
    for (int i = 0; i < 2; ++i) {
      auto standby = TempPostgres::StartStandby(*servers_.back(), options);
      if (!standby.ok()) return standby.status();
      servers_.push_back(*std::move(standby));
    }
    return absl::OkStatus();
  }

  bool translated() const { return translated_; }
  TempPostgres& server(size_t role) { return *servers_[role]; }

  absl::Status StartPoolers() {
    std::vector<std::string> users;
    for (const char* way : kWays) {
      for (const char* rights : kRights) users.push_back(LoginOf(way, rights));
    }
    for (const auto& server : servers_) {
      for (const char* way : {"session", "transaction"}) {
        auto pooler = TempPooler::Start(*server, way, users);
        if (!pooler.ok()) return pooler.status();
        poolers_[{server.get(), way}] = *std::move(pooler);
      }
    }
    return absl::OkStatus();
  }

  std::string HostOf(size_t role, const std::string& way) {
    return way == "direct" ? servers_[role]->socket_dir() : poolers_.at({servers_[role].get(), way})->socket_dir();
  }
  int PortOf(size_t role, const std::string& way) {
    return way == "direct" ? servers_[role]->port() : TempPooler::port();
  }

  // A table is locked on the primary, hence on the standbys, and a session waits for it on each server.
  absl::Status Block() {
    auto holder = servers_[0]->Connect();
    if (!holder.ok()) return holder.status();
    holder_ = *std::move(holder);
    for (const char* sql : {"BEGIN", "LOCK TABLE app.locked IN ACCESS EXCLUSIVE MODE",
                            // Its record reaches the standbys with the next one that is flushed.
                            "SELECT pg_switch_wal()"}) {
      if (auto done = holder_->Exec(sql, Soon()); !done.ok()) return done.status();
    }
    for (const auto& server : servers_) {
      if (!WaitUntil([&] {
            const auto held = server->Exec("postgres",
                                           "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND "
                                           "relation = 'app.locked'::regclass");
            return held.ok() && held->rows() == 1;
          })) {
        return absl::DeadlineExceededError("the lock does not reach the standby");
      }
      waiters_.emplace_back([url = server->Url()] {
        auto waiter = pg::CopyConnection::Connect({.url = url}, Soon());
        if (waiter.ok()) (void)(*waiter)->Exec("SELECT count(*) FROM app.locked", clock::SteadyNow() + absl::Hours(1));
      });
    }
    return absl::OkStatus();
  }
  void Unblock() { holder_.reset(); }

  void Mark() {
    for (const auto& server : servers_) marks_.push_back(server->Log().size());
  }

  // Lines that are no plain messages since Mark(), by login and text.
  std::map<std::string, std::map<std::string, int>> Complaints(size_t role) {
    std::map<std::string, std::map<std::string, int>> complaints;
    const std::string log = servers_[role]->Log().substr(marks_[role]);
    for (const absl::string_view line : absl::StrSplit(log, '\n')) {
      const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits('|', 2));
      if (parts.size() < 3 || parts[0].size() < 7 || absl::StartsWith(parts[0], "00000")) continue;
      const std::string login(parts[0].substr(6));
      if (login.find('_') == std::string::npos) continue;
      ++complaints[login][absl::StrCat(parts[0].substr(0, 5), " ", parts[1], " ", parts[2])];
    }
    return complaints;
  }

 private:
  static clock::SteadyTime Soon() { return clock::SteadyNow() + absl::Seconds(30); }

  absl::Status Run(const std::string& database, const std::string& encoding, const std::vector<std::string>& all) {
    auto connection = servers_[0]->Connect(database);
    if (!connection.ok()) return connection.status();
    if (auto done = (*connection)->Exec(absl::StrCat("SET client_encoding = ", encoding), Soon()); !done.ok()) {
      return done.status();
    }
    for (const std::string& sql : all) {
      if (auto done = (*connection)->Exec(sql, Soon()); !done.ok()) {
        return absl::Status(done.status().code(), absl::StrCat(sql, ": ", done.status().message()));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Fill() {
    std::vector<std::string> logins;
    for (const std::string way : kWays) {
      for (const std::string rights : kRights) {
        const std::string login = LoginOf(way, rights);
        logins.push_back(absl::StrCat("CREATE ROLE ", login, " LOGIN", rights == "acting" ? " NOINHERIT" : ""));
        if (rights != "plain") logins.push_back(absl::StrCat("GRANT pg_monitor TO ", login));
        if (rights == "acting") logins.push_back(absl::StrCat("ALTER ROLE ", login, " SET role = 'pg_monitor'"));
        if (rights != "hostile") continue;
        for (const std::string& setting : HostileSettings(std::stoi(version_), way)) {
          logins.push_back(absl::StrCat("ALTER ROLE ", login, " SET ", setting));
        }
      }
    }
    const std::vector<std::string> objects = {
        "CREATE SCHEMA app",
        "CREATE TABLE app.job (id int8 PRIMARY KEY, state text, payload text)",
        "CREATE INDEX job_state ON app.job (state)",
        "INSERT INTO app.job SELECT n, 'new', repeat('x', 10) FROM generate_series(1, 2000) n",
        "UPDATE app.job SET state = 'done' WHERE id % 3 = 0",
        "CREATE TABLE app.locked (n int)",
        "CREATE UNLOGGED TABLE app.unlogged (n int PRIMARY KEY)",
        "CREATE MATERIALIZED VIEW app.summary AS SELECT state, count(*) FROM app.job GROUP BY 1",
        "CREATE TABLE app.part (k int PRIMARY KEY) PARTITION BY RANGE (k)",
        "CREATE TABLE app.part_1 PARTITION OF app.part FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE \"app\".\"Odd \"\"Name\" (v int)",
        "ANALYZE"};
    const std::vector<std::string> more = {
        "SELECT pg_create_physical_replication_slot('never_used')",
        "SELECT pg_create_logical_replication_slot('logical', 'test_decoding')",
        "CREATE SUBSCRIPTION sub CONNECTION 'dbname=none' PUBLICATION pub WITH (connect = false)",
        // An object that a customer's role makes must never run with the monitor's rights.
        "CREATE TABLE public.trap (n int)", "GRANT INSERT ON public.trap TO PUBLIC",
        "CREATE FUNCTION public.pg_has_role(name, text, text) RETURNS bool LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO public.trap VALUES (1); RETURN true; END$$",
        "BEGIN", "INSERT INTO app.unlogged VALUES (1)", "PREPARE TRANSACTION 'order-17'"};
    // Bytes that are no character, in names and statements.
    const std::vector<std::string> bad = {"CREATE EXTENSION pg_stat_statements", "CREATE TABLE bad_\xe9 (a int)",
                                          "SELECT 1 AS bad_\xe9, 'hunter2\xe9'"};
    for (const absl::Status& status :
         {Run("postgres", "UTF8", logins), Run("postgres", "UTF8", {"CREATE EXTENSION pg_stat_statements"}),
          Run("postgres", "UTF8", objects), Run("postgres", "UTF8", more),
          Run("postgres", "UTF8",
              {"CREATE DATABASE bytes ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
               "CREATE DATABASE café ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"}),
          Run("bytes", "SQL_ASCII", bad),
          Run("café", "UTF8", {"CREATE TABLE größe (a int)", "SELECT 1, 2, 3 AS länge"})}) {
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  const std::string version_;
  bool translated_ = false;
  std::vector<std::unique_ptr<TempPostgres>> servers_;
  std::map<std::pair<const TempPostgres*, std::string>, std::unique_ptr<TempPooler>> poolers_;
  std::unique_ptr<pg::CopyConnection> holder_;
  std::vector<std::thread> waiters_;
  std::vector<size_t> marks_;
};

// What was stored of one source.
struct Stored {
  std::map<std::string, int64_t> frames;
  int64_t rows = 0;
  // Names of the objects of metrics whose rows are the same for everybody.
  std::map<std::string, std::set<std::string>> labels;
};

constexpr std::array<const char*, 7> kSameForAll = {"database",    "database_size", "table_stats", "table_size",
                                                    "index_stats", "index_size",    "settings"};

struct Source {
  std::string name;
  size_t role = 0;
  std::string way;
  std::string rights;
};

class ServerMatrix : public ::testing::TestWithParam<std::string> {
 protected:
  void TearDown() override {
    if (collector_ != nullptr) {
      EXPECT_THAT(collector::StopCollector(collector_.get()), IsOk());
    }
    EXPECT_THAT(ingest_.violations(), IsEmpty());
  }

  // Metrics that this server has something to read for.
  static std::set<std::string> Expected(int version_num, bool in_recovery) {
    std::set<std::string> names;
    for (const catalogpb::Metric& metric : catalog_->metrics()) {
      if (metric.scope() == catalogpb::SCOPE_HOST || metric.optional()) continue;
      const bool sampled = metric.probe() == "activity" || metric.probe() == "blocking";
      if (sampled || catalog::SelectQuery(metric, version_num, in_recovery, "9999") != nullptr) {
        names.insert(metric.name());
      }
    }
    return names;
  }

  void Take() {
    ingest_.Visit(&cursor_, [&](const ingestpb::Frame& frame, const frame::FrameReader& columns) {
      Stored& stored = stored_[frame.source_id()];
      // What is larger than a batch comes in parts, and counters begin with a key frame.
      if (frame.part() == 0) ++stored.frames[frame.metric()];
      stored.rows += frame.row_count();
      if (frame.metric() == "blocking") {
        const frame::ColumnView& relation = columns.column(columns.FindColumn("relation"));
        for (int row = 0; row < frame.row_count(); ++row) {
          if (!relation.IsNull(row)) stored.labels["blocking"].emplace(relation.Text(row));
        }
      }
      if (std::find(kSameForAll.begin(), kSameForAll.end(), frame.metric()) == kSameForAll.end()) return;
      std::set<std::string>& labels = stored.labels[frame.metric()];
      for (int row = 0; row < frame.row_count(); ++row) {
        std::string label;
        for (const frame::ColumnView& column : columns.columns()) {
          if (column.column().kind() != catalogpb::COLUMN_KIND_LABEL) continue;
          label += column.IsNull(row) ? "(null)" : column.Text(row);
          label += '/';
        }
        labels.insert(label);
      }
    });
  }

  const Stored& Of(const Source& source) { return stored_[ScriptedIngest::SourceId(source.name)]; }

  // Metrics of `source` that are neither read often enough nor said to be refused.
  std::vector<std::string> Missing(const Source& source, const std::set<std::string>& expected) {
    const auto refused = ingest_.NotCollected(source.name);
    std::vector<std::string> missing;
    for (const std::string& name : expected) {
      const catalogpb::Metric* metric = catalog_->Find(name);
      // The tree of blocked sessions is stored when it changes.
      const bool once = metric->probe() == "blocking" || metric->interval_factor() > 1;
      const auto found = Of(source).frames.find(name);
      if (found != Of(source).frames.end() && found->second >= (once ? 1 : readings_)) continue;
      if (std::any_of(refused.begin(), refused.end(), [&](const auto& entry) {
            return entry.first == name || absl::StartsWith(entry.first, name + " of ");
          })) {
        continue;
      }
      missing.push_back(name);
    }
    return missing;
  }

  static inline const std::shared_ptr<const catalog::Catalog> catalog_ = *catalog::Catalog::Builtin();
  const int64_t readings_ = testing::Setting("PGA_MATRIX_READINGS", 3);
  ScopedTempDir state_;
  ScriptedIngest ingest_;
  int64_t cursor_ = 0;
  std::map<std::string, Stored> stored_;
  std::unique_ptr<Subprocess> collector_;
};

TEST_P(ServerMatrix, EveryMetricIsReadByEveryWay) {
  Fleet fleet(GetParam());
  const absl::Status started = fleet.Start();
  if (absl::IsNotFound(started)) GTEST_SKIP() << started.message();
  ASSERT_THAT(started, IsOk());
  ASSERT_THAT(fleet.StartPoolers(), IsOk());
  ASSERT_THAT(fleet.Block(), IsOk());
  fleet.Mark();

  std::vector<Source> sources;
  std::string yaml = "sources:\n";
  for (size_t role = 0; role < kRoles.size(); ++role) {
    for (const std::string way : kWays) {
      for (const std::string rights : kRights) {
        Source source = {absl::StrCat(kRoles[role], "-", way, "-", rights), role, way, rights};
        absl::StrAppend(&yaml, "  - {name: ", source.name, ", host: ", fleet.HostOf(role, way),
                        ", port: ", fleet.PortOf(role, way), ", user: ", LoginOf(way, rights),
                        ", databases: [\"*\"]}\n");
        sources.push_back(std::move(source));
      }
    }
  }
  ASSERT_THAT(pga::testing::WriteFile(state_ / "fleet.yaml", yaml), IsOk());
  auto process = collector::StartCollector(
      state_,
      collector::CollectorVariables(
          fleet.server(0), ingest_, state_,
          {{"COLLECTOR_CONFIG", state_ / "fleet.yaml"}, {"HOST_METRICS", "false"}, {"COLLECTION_INTERVAL", "6"}}));
  ASSERT_THAT(process, IsOk());
  collector_ = *std::move(process);

  const auto version = fleet.server(0).Exec("postgres", "SELECT current_setting('server_version_num')");
  ASSERT_THAT(version, IsOk());
  const int version_num = std::stoi(std::string((*version)[0].Text(0)));
  std::array<std::set<std::string>, 3> expected;
  for (size_t role = 0; role < kRoles.size(); ++role) expected[role] = Expected(version_num, role > 0);
  // Every metric by every source, and a second reading that compares it with the first.
  const bool all = WaitUntil(
      [&] {
        Take();
        return std::all_of(sources.begin(), sources.end(),
                           [&](const Source& source) { return Missing(source, expected[source.role]).empty(); });
      },
      absl::Seconds(120));
  for (const Source& source : sources) {
    EXPECT_THAT(Missing(source, expected[source.role]), IsEmpty()) << source.name;
  }
  if (!all) ADD_FAILURE() << collector_->Output().substr(0, 6000);

  std::printf("PostgreSQL %s%s\n%-8s %-12s %-8s %8s %5s %7s %7s %7s %6s  %s\n", GetParam().c_str(),
              fleet.translated() ? ", messages in German" : "", "server", "way", "login", "metrics", "read", "refused",
              "frames", "rows", "errors", "repeated, refused metrics");
  std::map<std::string, int> first_of_kind;
  for (size_t role = 0; role < kRoles.size(); ++role) {
    const auto complaints = fleet.Complaints(role);
    for (const Source& source : sources) {
      if (source.role != role) continue;
      const Stored& stored = Of(source);
      int64_t frames = 0;
      int64_t read = 0;
      for (const auto& [name, count] : stored.frames) frames += count;
      for (const std::string& name : expected[role]) read += stored.frames.contains(name) ? 1 : 0;
      std::set<std::string> refused;
      for (const auto& [what, reason] : ingest_.NotCollected(source.name)) {
        // These servers write no log that can be read, and nobody set them up for EXPLAIN; collector_log_process_test
        // and collector_explain_test have some where that is so.
        if (what != "rows of other users" && what != "log" && what != "explained plans") refused.insert(what);
      }
      const auto of_login = complaints.find(LoginOf(source.way, source.rights));
      size_t kinds = 0;
      int repeated = 0;
      if (of_login != complaints.end()) {
        kinds = of_login->second.size();
        for (const auto& [line, times] : of_login->second) {
          repeated += times - 1;
          EXPECT_EQ(times, 1) << source.name << ": " << line;
          ++first_of_kind[line.substr(0, 5)];
        }
      }
      std::printf("%-8s %-12s %-8s %8zu %5ld %7zu %7ld %7ld %6zu  %d, %s\n", kRoles[role], source.way.c_str(),
                  source.rights.c_str(), expected[role].size(), static_cast<long>(read), refused.size(),
                  static_cast<long>(frames), static_cast<long>(stored.rows), kinds, repeated,
                  refused.empty() ? "-" : absl::StrJoin(refused, " ").c_str());
      if (source.rights != "plain") {
        EXPECT_THAT(refused, IsEmpty()) << source.name;
        EXPECT_EQ(read, static_cast<int64_t>(expected[role].size())) << source.name;
      }
      if (source.rights != "plain") {
        EXPECT_EQ(stored.labels.at("blocking"), std::set<std::string>{"app.locked"}) << source.name;
      }
      // The same objects whatever the way, the rights and the settings.
      const Stored& first = stored_[ScriptedIngest::SourceId(absl::StrCat(kRoles[role], "-direct-monitor"))];
      for (const char* metric : kSameForAll) {
        if (source.rights == "plain" && std::string(metric) == "settings") continue;
        EXPECT_EQ(stored.labels.count(metric), 1u) << source.name << " " << metric;
        if (!stored.labels.contains(metric)) continue;
        EXPECT_EQ(stored.labels.at(metric), first.labels.at(metric)) << source.name << " " << metric;
      }
    }
  }
  std::printf("lines in the servers' logs by SQLSTATE, each the first of its kind for its login and server:");
  for (const auto& [state, times] : first_of_kind) std::printf(" %s x %d", state.c_str(), times);
  std::printf("\n");
  std::fflush(stdout);
  fleet.Unblock();
  const auto trapped = fleet.server(0).Exec("postgres", "SELECT count(*)::text FROM public.trap");
  ASSERT_THAT(trapped, IsOk());
  EXPECT_EQ((*trapped)[0].Text(0), "0");
}

INSTANTIATE_TEST_SUITE_P(PostgreSQL, ServerMatrix, ::testing::ValuesIn(Versions("PGA_MATRIX_VERSIONS", "15")),
                         [](const auto& param_info) { return param_info.param; });

}  // namespace
}  // namespace pga::servers
