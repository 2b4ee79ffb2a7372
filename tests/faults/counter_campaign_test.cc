// A driver that counts its own work, against a server whose statistics are reset, lost and thrown out at random while a
// real collector reads them: what is stored is never more than what was done, and exactly that where nothing is
// flagged. Counted are calls and rows of statements, rows inserted, updated and deleted by table and by database, and
// commits by database.
//
// The server is reached by one address. Behind it: resets (of a database, of one table, of all statements, of one, of
// the background writer), evictions, restarts, crashes of the server and of one backend, promotions of a standby that
// takes the address over, and kill -9 of the collector. Between two checks several of them happen, with work before,
// between and after.
//
// PGA_COUNTER_VERSIONS names the versions ("15,18"; "all"), PGA_COUNTER_STEPS the checks of each (30). Most of a step
// is waiting for the next reading, so the steps of a version are shared by PGA_COUNTER_SERVERS (6) servers.
// PGA_FAULT_SEED repeats a campaign.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/collector_process_testing.h"
#include "tests/faults/counter_campaign_testing.h"
#include "tests/servers/servers_testing.h"

namespace pga {
namespace {

namespace ingestpb = ::pganalytics::ingest::v1;
using collector::ScriptedIngest;
using testing::ScopedTempDir;
using testing::Subprocess;
using testing::TempPostgres;
using testing::WaitUntil;

constexpr int kFlags = ingestpb::FRAME_FLAG_LOWER_BOUND | ingestpb::FRAME_FLAG_UNKNOWN | ingestpb::FRAME_FLAG_GONE;
constexpr int kTables = 4;

class Campaign {
 public:
  Campaign(std::string version, uint64_t seed, uint64_t server) : random_(seed + std::stoull(version) + 100 * server) {
    summary_.version = std::move(version);
    major_ = std::stoi(summary_.version);
  }

  Summary Run(int64_t steps) {
    if (!SetUp() || !Begin()) return std::move(summary_);
    for (int64_t step = 0; step < steps && summary_.failures.empty(); ++step) {
      if (!Step()) break;
      ++summary_.steps;
    }
    for (const std::string& violation : ingest_.violations()) Fail(violation);
    for (const auto& [metric, tracker] : trackers_) {
      summary_.rows += tracker.rows;
      summary_.flagged_rows += tracker.flagged_rows;
    }
    return std::move(summary_);
  }

 private:
  bool Fail(const std::string& why) {
    summary_.failures.push_back(absl::StrCat("PostgreSQL ", summary_.version, ", step ", summary_.steps, " (",
                                             absl::StrJoin(step_events_, ", "), "): ", why));
    return false;
  }
  bool Check(const absl::Status& status, const std::string& what) {
    return status.ok() || Fail(absl::StrCat(what, ": ", status.message()));
  }
  bool Sql(const std::string& database, const std::string& sql) {
    return Check(server_->Exec(database, sql).status(), sql);
  }
  int64_t Number(const std::string& database, const std::string& sql) {
    const auto result = server_->Exec(database, absl::StrCat("SELECT coalesce((", sql, ")::int8, -1)::text"));
    int64_t value = -2;
    if (result.ok() && !absl::SimpleAtoi(std::string((*result)[0].Text(0)), &value)) value = -3;
    return value;
  }
  int64_t Any(int64_t below) { return std::uniform_int_distribution<int64_t>(0, below - 1)(random_); }

  static std::string TableOf(int64_t table) { return absl::StrCat("t", table); }
  static std::string StatementOf(const std::string& verb, const std::string& table) {
    if (verb == "INSERT") return absl::StrCat("INSERT INTO ", table, " SELECT generate_series(1, $1)");
    const std::string some = absl::StrCat(" WHERE ctid = ANY (ARRAY(SELECT ctid FROM ", table, " LIMIT $1))");
    return verb == "UPDATE" ? absl::StrCat("UPDATE ", table, " SET n = n + 1", some)
                            : absl::StrCat("DELETE FROM ", table, some);
  }

  TempPostgres::Options ServerOptions() const {
    TempPostgres::Options options;
    options.version = summary_.version;
    options.preload_statements = true;
    options.extra_conf = {"autovacuum = off", "pg_stat_statements.max = 400", "wal_level = replica",
                          "max_wal_senders = 5", "restart_after_crash = on"};
    return options;
  }

  void PointTo(const TempPostgres& server) {
    // At one stroke: there is no moment without an address.
    std::filesystem::create_directory_symlink(server.socket_dir(), address_ / "next");
    std::filesystem::rename(address_ / "next", address_ / "db");
  }

  bool SetUp() {
    auto started = TempPostgres::Start(ServerOptions());
    if (absl::IsNotFound(started.status())) {
      summary_.missing = std::string(started.status().message());
      return false;
    }
    if (!Check(started.status(), "start")) return false;
    server_ = *std::move(started);
    PointTo(*server_);
    if (!Sql("postgres", "CREATE EXTENSION pg_stat_statements") || !Sql("postgres", "CREATE DATABASE work") ||
        !Sql("postgres", "CREATE DATABASE quiet")) {
      return false;
    }
    for (int64_t table = 0; table < kTables; ++table) {
      for (const char* database : {"work", "quiet"}) {
        if (!Sql(database, absl::StrCat("CREATE TABLE ", TableOf(table), " (n int)"))) return false;
      }
      for (const std::string verb : {"INSERT", "UPDATE", "DELETE"}) {
        const std::string sql = StatementOf(verb, TableOf(table));
        if (!Check(server_->Exec("work", sql, {int64_t{1}}).status(), sql)) return false;
        const int64_t id = Number("postgres", absl::StrCat("SELECT queryid FROM pg_stat_statements WHERE query LIKE '",
                                                           verb, "% ", TableOf(table), " %'"));
        if (id == -1 || id == -2) return Fail(absl::StrCat("no id of ", sql));
        statements_[id] = absl::StrCat(verb, " ", TableOf(table));
      }
    }
    // What a connection without a statement commits.
    const std::string commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'quiet'";
    const int64_t before = Settled(commits);
    for (int i = 0; i < 5; ++i) {
      if (!Check(server_->Connect("quiet").status(), "connect")) return false;
    }
    if (!WaitUntil([&] { return Number("postgres", commits) > before; })) return Fail("no commits of connections");
    const int64_t after = Settled(commits);
    if ((after - before) % 5 != 0) return Fail(absl::StrCat("commits of 5 connections: ", after - before));
    commits_of_connection_ = (after - before) / 5;
    return true;
  }

  // The value once it is the same over a second: servers before 15 report with a delay.
  int64_t Settled(const std::string& sql) {
    int64_t value = Number("postgres", sql);
    clock::SteadyTime since = clock::SteadyNow();
    WaitUntil(
        [&] {
          const int64_t now = Number("postgres", sql);
          if (now != value) since = clock::SteadyNow();
          value = now;
          return clock::SteadyNow() - since > absl::Seconds(1.2);
        },
        absl::Seconds(20));
    return value;
  }

  bool StartCollector() {
    auto process =
        collector::StartCollector(state_, collector::CollectorVariables(*server_, ingest_, state_,
                                                                        {{"POSTGRES_HOST", address_ / "db"},
                                                                         {"POSTGRES_DATABASES", "postgres,work"},
                                                                         {"HOST_METRICS", "false"},
                                                                         {"ACTIVITY_SAMPLE_INTERVAL", "0"},
                                                                         {"BACKEND_RETRY_MAX", "1"},
                                                                         {"QUERY_TEXT", "none"}}));
    if (!Check(process.status(), "collector")) return false;
    collector_ = *std::move(process);
    return true;
  }

  // Counting begins behind the first reading of everything.
  bool Begin() {
    for (const char* column : {"n_tup_ins", "n_tup_upd", "n_tup_del"}) {
      for (int64_t table = 0; table < kTables; ++table) {
        shown_[{"table_stats", TableOf(table), column}] =
            Number("work", ShownSql({"table_stats", TableOf(table), column}));
      }
    }
    for (const char* column : {"tup_inserted", "tup_updated", "tup_deleted", "xact_commit"}) {
      const Key key = {"database", "quiet", column};
      shown_[key] = Settled(ShownSql(key));
    }
    for (const char* metric : {"statements", "table_stats", "database"}) trackers_[metric];
    if (!StartCollector()) return false;
    const bool all = WaitUntil(
        [&] {
          Take();
          return std::all_of(trackers_.begin(), trackers_.end(),
                             [](const auto& entry) { return !entry.second.keyframes.empty(); });
        },
        absl::Seconds(60));
    if (!all) return Fail(absl::StrCat("nothing is read: ", collector_->Output().substr(0, 2000)));
    for (auto& [metric, tracker] : trackers_) tracker.checked_until_us = *tracker.keyframes.begin();
    return true;
  }

  static std::string ShownSql(const Key& key) {
    return key[0] == "database"
               ? absl::StrCat("SELECT ", key[2], " FROM pg_stat_database WHERE datname = '", key[1], "'")
               : absl::StrCat("SELECT ", key[2], " FROM pg_stat_user_tables WHERE relname = '", key[1], "'");
  }

  // Work on one connection, counted where it is done.
  bool Work() {
    const bool quiet = Any(3) == 0;
    const std::string database = quiet ? "quiet" : "work";
    auto connection = server_->Connect(database);
    if (!Check(connection.status(), "connect")) return false;
    if (quiet) Count({"database", "quiet", "xact_commit"}, commits_of_connection_);
    // Few objects at a time, sometimes much: figures grow beyond those that were reset.
    const int64_t table_of_burst = Any(kTables);
    const int64_t times = 1 + Any(Any(2) == 0 ? 5 : 60);
    for (int64_t i = 0; i < times; ++i) {
      const std::string table = TableOf(Any(4) == 0 ? Any(kTables) : table_of_burst);
      const int64_t kind = Any(5);
      const std::string verb = kind < 3 ? "INSERT" : kind == 3 ? "UPDATE" : "DELETE";
      const auto result =
          (*connection)->Exec(StatementOf(verb, table), {1 + Any(9)}, clock::SteadyNow() + absl::Seconds(20));
      if (!Check(result.status(), verb)) return false;
      const int64_t rows = result->affected_rows();
      if (quiet) {
        Count({"database", "quiet", "xact_commit"}, 1);
        Count({"database", "quiet",
               verb == "INSERT"   ? "tup_inserted"
               : verb == "UPDATE" ? "tup_updated"
                                  : "tup_deleted"},
              rows);
      } else {
        Count({"statements", absl::StrCat(verb, " ", table), "calls"}, 1);
        Count({"statements", absl::StrCat(verb, " ", table), "rows"}, rows);
        Count({"table_stats", table,
               verb == "INSERT"   ? "n_tup_ins"
               : verb == "UPDATE" ? "n_tup_upd"
                                  : "n_tup_del"},
              rows);
      }
    }
    return true;
  }

  void Count(const Key& key, int64_t increase) {
    done_[key] += increase;
    if (key[0] != "statements") shown_[key] += increase;
  }

  // Of the server's figures: `matches` says which begin at 0 again.
  template <typename Matches>
  void Forget(Matches matches) {
    for (auto& [key, value] : shown_) {
      if (matches(key)) value = 0;
    }
  }
  void ForgetAll() {
    full_ = false;
    Forget([](const Key&) { return true; });
  }

  bool Event(const std::string& name) {
    step_events_.push_back(name);
    ++summary_.events[name];
    if (name == "reset database") {
      const bool quiet = Any(3) == 0;
      if (!Reported()) return false;
      if (!Sql(quiet ? "quiet" : "work", "SELECT pg_stat_reset()")) return false;
      Forget([&](const Key& key) { return (key[0] == "database") == quiet; });
      if (!quiet) return true;
      // Of the connection that asked for it some commits are shown still.
      const Key commits = {"database", "quiet", "xact_commit"};
      done_[commits] += commits_of_connection_ + 1;
      shown_[commits] = Settled(ShownSql(commits));
      return true;
    }
    if (name == "reset table") {
      // The figures of its database go on, though the time of their reset is set.
      const bool quiet = Any(2) == 0;
      const std::string table = TableOf(Any(kTables));
      const std::string sql = absl::StrCat("SELECT pg_stat_reset_single_table_counters('", table, "'::regclass)");
      if (!Reported() || !Sql(quiet ? "quiet" : "work", sql)) return false;
      if (quiet) {
        Count({"database", "quiet", "xact_commit"}, commits_of_connection_ + 1);
      } else {
        Forget([&](const Key& key) { return key[0] == "table_stats" && key[1] == table; });
      }
      return true;
    }
    if (name == "reset statements") {
      all_statements_reset_ = true;
      full_ = false;
      return Sql("postgres", "SELECT pg_stat_statements_reset()");
    }
    if (name == "reset one statement") {
      auto statement = statements_.begin();
      std::advance(statement, Any(static_cast<int64_t>(statements_.size())));
      touched_statements_.insert(statement->second);
      return Sql("postgres", absl::StrCat("SELECT pg_stat_statements_reset(0, 0, ", statement->first, ")"));
    }
    if (name == "reset background writer") return Sql("postgres", "SELECT pg_stat_reset_shared('bgwriter')");
    if (name == "eviction") {
      evicted_ = true;
      full_ = true;
      std::string list = "1";
      std::string all;
      for (int i = 0; i < 410; ++i) {
        absl::StrAppend(&list, ", 1");
        absl::StrAppend(&all, "PERFORM ", list, ";");
      }
      return Sql("postgres", absl::StrCat("DO $$BEGIN ", all, " END$$"));
    }
    if (name == "restart") return Reported() && Check(server_->Restart(), name);
    if (name == "crash") {
      ForgetAll();
      if (Any(2) == 0) {
        server_->KillServer();
      } else if (!Check(server_->StopImmediate(), name)) {
        return false;
      }
      return Check(server_->StartServer(), name);
    }
    if (name == "crash of a backend") {
      auto victim = server_->Connect("postgres");
      if (!Check(victim.status(), "connect")) return false;
      // The server starts itself again: the old checkpointer is gone and new sessions are let in.
      const std::string since = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
      const int64_t before = Number("postgres", since);
      ForgetAll();
      ::kill((*victim)->backend_pid(), SIGKILL);
      return WaitUntil(
                 [&] {
                   const int64_t now = Number("postgres", since);
                   return now > 0 && now != before;
                 },
                 absl::Seconds(30)) ||
             Fail("the server does not come back");
    }
    if (name == "promotion") {
      auto standby = TempPostgres::StartStandby(*server_, ServerOptions());
      if (!Check(standby.status(), name)) return false;
      // Nothing that is written may be missing there.
      if (!Check(server_->StopFast(), name) || !Check((*standby)->Promote(), name)) return false;
      server_ = *std::move(standby);
      ForgetAll();
      PointTo(*server_);
      return true;
    }
    if (name == "kill collector") {
      collector_->Signal(SIGKILL);
      return Check(collector_->Wait(clock::SteadyNow() + absl::Seconds(10)).status(), name) && StartCollector();
    }
    return Fail("no such event");
  }

  // Waits until the server shows what was done; before 15 sessions report with a delay.
  bool Reported() {
    std::string last;
    const bool all = WaitUntil(
        [&] {
          for (const auto& [key, value] : shown_) {
            const int64_t now = Number(key[0] == "database" ? "postgres" : "work", ShownSql(key));
            if (now == value || (now == -1 && value == 0)) continue;
            last = absl::StrCat(Named(key), " is ", now, ", expected ", value);
            return false;
          }
          return true;
        },
        absl::Seconds(30));
    return all || Fail(absl::StrCat("the server's own figures: ", last));
  }

  void Take() {
    ingest_.Visit(&cursor_, [&](const ingestpb::Frame& frame, const frame::FrameReader& columns) {
      const auto found = trackers_.find(frame.metric());
      if (found == trackers_.end()) return;
      // Tables of the home database are nobody's.
      if (frame.metric() == "table_stats" && !IsOfWork(frame, columns)) return;
      Tracker& tracker = found->second;
      if (frame.kind() == ingestpb::FRAME_KIND_KEYFRAME) {
        tracker.keyframes.insert(frame.collected_at_us());
        return;
      }
      Interval& interval = tracker.by_start[frame.interval_start_us()];
      interval.end_us = frame.collected_at_us();
      interval.flagged = interval.flagged || (frame.flags() & kFlags) != 0;
      tracker.rows += frame.row_count();
      for (int row = 0; row < frame.row_count(); ++row) {
        const int flags = columns.RowFlags(row) & kFlags;
        tracker.flagged_rows += flags != 0 ? 1 : 0;
        for (const Key& key : KeysOf(frame.metric(), columns, row)) {
          const frame::ColumnView& counter = columns.column(columns.FindColumn(key[2]));
          if (flags != 0 || counter.IsNull(row)) interval.flagged_keys.insert(key);
          if (!counter.IsNull(row)) interval.increase[key] += counter.Int(row);
        }
      }
    });
  }

  bool IsOfWork(const ingestpb::Frame& frame, const frame::FrameReader& columns) {
    if (work_scope_ == 0 && frame.row_count() > 0 && columns.column(columns.FindColumn("datname")).Text(0) == "work") {
      work_scope_ = frame.scope_id();
    }
    return work_scope_ == frame.scope_id();
  }

  std::vector<Key> KeysOf(const std::string& metric, const frame::FrameReader& columns, int row) const {
    const auto text = [&](const char* column) {
      return std::string(columns.column(columns.FindColumn(column)).Text(row));
    };
    if (metric == "statements") {
      const auto statement = statements_.find(columns.column(columns.FindColumn("queryid")).Int(row));
      if (statement == statements_.end() || text("datname") != "work") return {};
      return {{metric, statement->second, "calls"}, {metric, statement->second, "rows"}};
    }
    if (metric == "database") {
      if (text("datname") != "quiet") return {};
      return {{metric, "quiet", "tup_inserted"},
              {metric, "quiet", "tup_updated"},
              {metric, "quiet", "tup_deleted"},
              {metric, "quiet", "xact_commit"}};
    }
    const std::string table = text("relname");
    return {{metric, table, "n_tup_ins"}, {metric, table, "n_tup_upd"}, {metric, table, "n_tup_del"}};
  }

  // What the server does not say, as the catalog says of the metric.
  bool Unseen(const Key& key) {
    if (key[0] != "statements") return false;
    // 1.8 of the extension shows neither resets nor of evictions.
    if (major_ < 14 && (evicted_ || all_statements_reset_)) return true;
    // The reset of one entry is shown by its own time, from 17 on, if it was read before.
    if (touched_statements_.contains(key[1]) && (major_ < 17 || !there_before_.contains(key[1]))) return true;
    // What began and ended between two readings was never there. From 17 on evictions are shown entry by entry.
    if (evicted_ && major_ >= 17 && !there_before_.contains(key[1])) return true;
    if (!evicted_ && !all_statements_reset_ && !touched_statements_.contains(key[1])) return false;
    return !StatementsThere().contains(key[1]);
  }

  // The driver's statements that have an entry now.
  std::set<std::string> StatementsThere() {
    std::set<std::string> there;
    const auto result = server_->Exec("postgres",
                                      "SELECT queryid::text FROM pg_stat_statements JOIN pg_database ON oid = dbid "
                                      "WHERE datname = 'work'");
    for (size_t row = 0; result.ok() && row < result->rows(); ++row) {
      int64_t id = 0;
      if (!absl::SimpleAtoi(std::string((*result)[row].Text(0)), &id)) continue;
      if (const auto found = statements_.find(id); found != statements_.end()) there.insert(found->second);
    }
    return there;
  }

  bool Step() {
    step_events_.clear();
    touched_statements_.clear();
    // Entries that are full stay so: each one that is added throws others out.
    evicted_ = full_;
    all_statements_reset_ = false;
    there_before_ = StatementsThere();
    done_.clear();
    static const std::vector<std::string> events = {
        "reset database",          "reset table", "reset statements", "reset one statement",
        "reset background writer", "eviction",    "restart",          "crash",
        "crash of a backend",      "promotion",   "kill collector",   "kill collector"};
    if (!Work()) return false;
    // A third of the steps is work alone.
    for (int64_t i = Any(3) == 0 ? 0 : 1 + Any(3); i > 0; --i) {
      if (!Event(events[static_cast<size_t>(Any(static_cast<int64_t>(events.size())))])) return false;
      for (int64_t k = Any(3); k > 0; --k) {
        if (!Work()) return false;
      }
    }
    if (!Reported()) return false;
    const int64_t since_us = absl::ToUnixMicros(clock::WallNow());
    for (auto& [metric, tracker] : trackers_) {
      Interval joined;
      if (!WaitUntil(
              [&] {
                Take();
                return Join(&tracker, since_us, &joined);
              },
              absl::Seconds(90))) {
        return Fail(absl::StrCat("no reading of ", metric, " comes\n",
                                 collector_->Output().substr(collector_->Output().size() -
                                                             std::min<size_t>(collector_->Output().size(), 3000))));
      }
      if (!Compare(metric, joined)) return false;
    }
    return true;
  }

  bool Compare(const std::string& metric, const Interval& joined) {
    std::set<Key> keys;
    for (const auto& [key, value] : done_) keys.insert(key);
    for (const auto& [key, value] : joined.increase) keys.insert(key);
    for (const Key& key : keys) {
      if (key[0] != metric) continue;
      const int64_t done = done_[key];
      const auto found = joined.increase.find(key);
      const int64_t stored = found == joined.increase.end() ? 0 : found->second;
      ++summary_.compared;
      summary_.done += done;
      summary_.stored += stored;
      const bool flagged = joined.flagged || joined.flagged_keys.contains(key);
      if (stored > done) Fail(absl::StrCat(Named(key), ": ", stored, " are stored, ", done, " were done"));
      if (flagged) {
        ++summary_.flagged;
      } else if (stored == done) {
        ++summary_.equal;
      } else if (Unseen(key)) {
        ++summary_.unseen;
      } else {
        Fail(absl::StrCat(Named(key), ": ", stored, " are stored without a flag, ", done, " were done"));
      }
    }
    return summary_.failures.empty();
  }

  Summary summary_;
  int major_ = 0;
  std::mt19937_64 random_;
  ScopedTempDir state_;
  ScopedTempDir address_;
  ScriptedIngest ingest_;
  std::unique_ptr<TempPostgres> server_;
  std::unique_ptr<Subprocess> collector_;
  int64_t commits_of_connection_ = 0;
  std::map<int64_t, std::string> statements_;
  // What the server shows once everything is reported.
  std::map<Key, int64_t> shown_;
  int64_t cursor_ = 0;
  int64_t work_scope_ = 0;
  std::map<std::string, Tracker> trackers_;
  // Of this step.
  std::map<Key, int64_t> done_;
  std::vector<std::string> step_events_;
  std::set<std::string> touched_statements_;
  std::set<std::string> there_before_;
  bool evicted_ = false;
  // pg_stat_statements is full since an eviction.
  bool full_ = false;
  bool all_statements_reset_ = false;
};

TEST(CounterCampaign, NothingIsCountedThatWasNotDone) {
  const auto seed = static_cast<uint64_t>(testing::Setting("PGA_FAULT_SEED", std::random_device()()));
  const int64_t steps = testing::Setting("PGA_COUNTER_STEPS", 30);
  const int64_t beside = testing::Setting("PGA_COUNTER_SERVERS", 6);
  std::printf("PGA_FAULT_SEED=%lu PGA_COUNTER_STEPS=%ld PGA_COUNTER_SERVERS=%ld\n", static_cast<unsigned long>(seed),
              static_cast<long>(steps), static_cast<long>(beside));
  std::fflush(stdout);
  const std::vector<std::string> versions = servers::Versions("PGA_COUNTER_VERSIONS", "15,18");
  std::vector<Summary> summaries(versions.size());
  std::vector<Summary> parts(versions.size() * static_cast<size_t>(beside));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < parts.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto server = static_cast<int64_t>(i / versions.size());
      parts[i] = Campaign(versions[i % versions.size()], seed, static_cast<uint64_t>(server))
                     .Run(steps / beside + (server < steps % beside ? 1 : 0));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < parts.size(); ++i) summaries[i % versions.size()].Add(parts[i]);
  Print(summaries);
  for (const Summary& summary : summaries) {
    for (const std::string& failure : summary.failures) ADD_FAILURE() << failure;
    EXPECT_TRUE(!summary.missing.empty() || !summary.failures.empty() || summary.equal > 0);
  }
}

}  // namespace
}  // namespace pga
