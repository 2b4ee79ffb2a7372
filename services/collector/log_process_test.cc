// The collector as a process on a server that writes its log: whatever is killed and however the log is rotated, each
// entry is counted once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <map>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "libs/testing/wait_until.h"
#include "services/collector/collector_process_testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::testing::ScopedTempDir;
using ::pga::testing::Subprocess;
using ::pga::testing::TempPostgres;
using ::pga::testing::WaitUntil;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct Way {
  const char* name;
  const char* destination;
  bool over_sql;
};

class LogProcess : public ::testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    TempPostgres::Options options;
    options.tcp = true;
    options.extra_conf = {"logging_collector = on",
                          absl::StrCat("log_destination = '", GetParam().destination, "'"),
                          "log_line_prefix = '%m [%p] %q%u@%d '",
                          "log_lock_waits = on",
                          "deadlock_timeout = 100ms",
                          "log_min_messages = warning"};
    auto started = TempPostgres::Start(options);
    ASSERT_THAT(started, IsOk());
    server_ = *std::move(started);
    if (GetParam().over_sql) {
      EXPECT_THAT(server_->Exec("postgres", "ALTER ROLE postgres PASSWORD 'of-the-test'"), IsOk());
    }
  }

  void TearDown() override {
    if (collector_ != nullptr) {
      EXPECT_THAT(StopCollector(collector_.get()), IsOk());
    }
    EXPECT_THAT(ingest_.violations(), IsEmpty());
  }

  void Start(Variables more = {}) {
    if (GetParam().over_sql) {
      // A name of this host that is not known to be one.
      more.insert({"POSTGRES_HOST", "127.1"});
      more.insert({"POSTGRES_PASSWORD", "of-the-test"});
      more.insert({"POSTGRES_PORT", absl::StrCat(server_->tcp_port())});
    }
    more.insert({"BACKEND_RETRY_MAX", "1"});
    auto process = StartCollector(state_, CollectorVariables(*server_, ingest_, state_, more));
    ASSERT_THAT(process, IsOk());
    collector_ = *std::move(process);
  }

  void Kill() {
    collector_->Signal(SIGKILL);
    ASSERT_THAT(collector_->Wait(clock::SteadyNow() + absl::Seconds(10)), IsOk());
  }

  // An entry of class undefined_table.
  void Fail(int number) {
    EXPECT_FALSE(server_->Exec("postgres", absl::StrCat("SELECT 'hunter2x' FROM missing_", number)).ok());
  }

  int64_t Counted(const std::string& column) {
    return ingest_.Increase("log_counts", "class", "undefined_table", column);
  }

  std::unique_ptr<TempPostgres> server_;
  ScopedTempDir state_;
  ScriptedIngest ingest_;
  std::unique_ptr<Subprocess> collector_;
};

TEST_P(LogProcess, EachEntryOnceOverKillsAndRotation) {
  Fail(-1);  // before anybody looked
  Start();
  ASSERT_TRUE(WaitUntil([&] { return ingest_.Frames("log_files") > 0; }, absl::Seconds(60))) << collector_->Output();
  int written = 0;
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 50; ++i) Fail(++written);
    if (round % 3 == 0) {
      Kill();
      for (int i = 0; i < 10; ++i) Fail(++written);
      Start();
    } else if (round % 3 == 1) {
      EXPECT_THAT(server_->Exec("postgres", "SELECT pg_rotate_logfile()"), IsOk());
    }
  }
  EXPECT_TRUE(WaitUntil([&] { return Counted("entries") >= written; }, absl::Seconds(60)))
      << Counted("entries") << " of " << written << "\n"
      << collector_->Output();
  EXPECT_EQ(Counted("entries"), written);
  // Rules over the log go by the SQLSTATE, which stderr with Debian's prefix does not have.
  EXPECT_EQ(ingest_.Increase("log_counts", "sqlstate", "42P01", "entries"), written);
  const bool has_states = std::string_view(GetParam().destination) != "stderr";
  const std::map<std::string, std::string> missing = ingest_.NotCollected("db");
  EXPECT_EQ(missing.contains("SQLSTATE of log entries"), !has_states) << collector_->Output();
  if (!has_states) {
    EXPECT_THAT(collector_->Output(), HasSubstr(R"("message":"the server is not set up for it","source":"db",)"
                                                R"("what":"SQLSTATE of log entries")"));
    auto checked = CheckCollector(CollectorVariables(*server_, ingest_, ScopedTempDir(), {}));
    ASSERT_THAT(checked, IsOk());
    EXPECT_THAT(checked->output, HasSubstr("db: not set up: SQLSTATE of log entries: log_line_prefix has no %e"));
    EXPECT_THAT(missing.at("SQLSTATE of log entries"),
                HasSubstr("ALTER SYSTEM SET log_line_prefix = '%m [%p] %e %q%u@%d '"));
    EXPECT_THAT(server_->Exec("postgres", "ALTER SYSTEM SET log_line_prefix = '%m [%p] %e %q%u@%d '"), IsOk());
    EXPECT_THAT(server_->Exec("postgres", "SELECT pg_reload_conf()"), IsOk());
    EXPECT_TRUE(
        WaitUntil([&] { return !ingest_.NotCollected("db").contains("SQLSTATE of log entries"); }, absl::Seconds(60)));
  }
  std::map<std::string, int> events;
  int64_t cursor = 0;
  ingest_.Visit(&cursor, [&](const pganalytics::ingest::v1::Frame& frame, const frame::FrameReader& columns) {
    if (frame.metric() != "log_events") return;
    const frame::ColumnView& message = columns.column(columns.FindColumn("message"));
    const frame::ColumnView& text = columns.column(columns.FindColumn("statement"));
    for (int row = 0; row < frame.row_count(); ++row) {
      if (message.IsNull(row)) continue;
      const std::string said(message.Text(row));
      if (said.find("missing_") == std::string::npos) continue;
      ++events[said];
      EXPECT_EQ(std::string(text.Text(row)).substr(0, 14), "SELECT ? FROM ");
    }
  });
  for (const auto& [message, times] : events) EXPECT_EQ(times, 1) << message;
  EXPECT_FALSE(events.contains("relation \"missing_-1\" does not exist"));
  EXPECT_EQ(static_cast<int64_t>(events.size()) + std::max<int64_t>(Counted("left_out"), 0), written);
}

TEST_P(LogProcess, AWaitForALockIsSampledAtOnce) {
  if (GetParam().over_sql) GTEST_SKIP() << "a log that is read over SQL is looked at once an interval";
  Start({{"ACTIVITY_SAMPLE_INTERVAL", "600"}});
  ASSERT_TRUE(WaitUntil([&] { return ingest_.Frames("log_files") > 0; }, absl::Seconds(60))) << collector_->Output();
  auto holder = server_->Connect();
  ASSERT_THAT(holder, IsOk());
  EXPECT_THAT(server_->Exec("postgres", "CREATE TABLE t (n int)"), IsOk());
  EXPECT_THAT((*holder)->Exec("BEGIN", clock::SteadyNow() + absl::Seconds(10)), IsOk());
  EXPECT_THAT((*holder)->Exec("LOCK TABLE t", clock::SteadyNow() + absl::Seconds(10)), IsOk());
  EXPECT_FALSE(server_->Exec("postgres", "SET lock_timeout = '5s'; SELECT * FROM t").ok());
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Rows("blocking") > 0; }, absl::Seconds(20))) << collector_->Output();
}

// auto_explain's plans in both formats: one for all values, another one within two readings after an index is gone.
TEST(LogPlans, ADroppedIndexIsAnotherPlanWithinTwoReadings) {
  for (const std::string format : {"text", "json"}) {
    auto server = TempPostgres::Start(
        {.extra_conf = {"logging_collector = on", "log_destination = 'jsonlog'",
                        "session_preload_libraries = 'auto_explain'", "auto_explain.log_min_duration = 0",
                        "compute_query_id = on", absl::StrCat("auto_explain.log_format = ", format)}});
    ASSERT_THAT(server, IsOk());
    ScopedTempDir state;
    ScriptedIngest ingest;
    EXPECT_THAT((*server)->Exec("postgres",
                                "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS note FROM generate_series(1, 20000) "
                                "g; CREATE INDEX t_id ON t (id); ANALYZE t"),
                IsOk());
    auto collector = StartCollector(state, CollectorVariables(**server, ingest, state, {{"BACKEND_RETRY_MAX", "1"}}));
    ASSERT_THAT(collector, IsOk());
    ASSERT_TRUE(WaitUntil([&] { return ingest.Frames("log_files") > 0; }, absl::Seconds(60))) << (*collector)->Output();
    const auto run = [&](int value) {
      EXPECT_THAT(
          (*server)->Exec("postgres", absl::StrCat("SELECT note FROM t WHERE id = ", value, " AND note <> 'hunter2x'")),
          IsOk());
    };
    // Trees of plans of the statement, with the first reading that has each.
    const auto trees = [&] {
      std::map<std::string, int64_t> found;
      const std::map<int64_t, std::string> texts = ingest.Texts();
      int64_t cursor = 0;
      ingest.Visit(&cursor, [&](const pganalytics::ingest::v1::Frame& frame, const frame::FrameReader& columns) {
        if (frame.metric() != "plans") return;
        const frame::ColumnView& plan = columns.column(columns.FindColumn("plan_id"));
        for (int row = 0; row < frame.row_count(); ++row) {
          const auto text = texts.find(plan.Int(row));
          if (text == texts.end() || text->second.find("(note <> ") == std::string::npos) continue;
          found.try_emplace(text->second, frame.collected_at_us());
        }
      });
      return found;
    };
    for (int i = 0; i < 20; ++i) run(1000 + i);
    ASSERT_TRUE(WaitUntil([&] { return trees().size() == 1; }, absl::Seconds(30))) << (*collector)->Output();
    EXPECT_EQ(trees().begin()->first,
              "Index Scan using t_id on t\n    Filter: (note <> ?)\n    Index Cond: (id = ?)\n");
    EXPECT_THAT((*server)->Exec("postgres", "DROP INDEX t_id"), IsOk());
    run(2000);
    const int64_t dropped_us = absl::ToUnixMicros(clock::WallNow());
    ASSERT_TRUE(WaitUntil([&] { return trees().size() == 2; }, absl::Seconds(30))) << (*collector)->Output();
    const auto found = trees();
    EXPECT_THAT(found.rbegin()->first, ::testing::StartsWith("Seq Scan on t\n    Filter: "));
    EXPECT_EQ(found.rbegin()->first.find("hunter2x"), std::string::npos);
    int readings = 0;
    for (const ScriptedIngest::Interval& interval : ingest.Intervals("log_files")) {
      if (!interval.keyframe && interval.end_us > dropped_us && interval.end_us <= found.rbegin()->second) ++readings;
    }
    std::cout << format << ": another plan in reading " << readings << " after the index was dropped\n";
    EXPECT_LE(readings, 2);
    EXPECT_GE(ingest.Values("plans", "logged").size(), 1u);
    EXPECT_THAT(StopCollector(collector->get()), IsOk());
    EXPECT_THAT(ingest.violations(), IsEmpty());
  }
}

// A log that the test writes itself, faster than any server: all is counted, what is kept is bounded.
TEST(LogFlood, CountedAndBounded) {
  auto server = TempPostgres::Start({.extra_conf = {"log_line_prefix = '%m [%p] '"}});
  ASSERT_THAT(server, IsOk());
  ScopedTempDir state;
  ScopedTempDir logs;
  ScriptedIngest ingest;
  const auto entry = [](int64_t i) {
    return absl::StrCat("2026-11-28 12:00:00.", 100 + i % 900, " GMT [", 1 + i % 97, "] ERROR:  division by zero\n",
                        "2026-11-28 12:00:00.", 100 + i % 900, " GMT [", 1 + i % 97, "] STATEMENT:  SELECT ", i,
                        ", 'hunter2x' / 0 FROM a_table_of_some_length\n");
  };
  std::ofstream file(logs / "server.log", std::ios::binary);
  file << entry(0) << std::flush;
  auto collector = StartCollector(
      state,
      CollectorVariables(**server, ingest, state, {{"BACKEND_RETRY_MAX", "1"}, {"POSTGRES_LOG_PATH", logs.path()}}));
  ASSERT_THAT(collector, IsOk());
  ASSERT_TRUE(WaitUntil([&] { return ingest.Frames("log_files") > 0; }, absl::Seconds(60))) << (*collector)->Output();
  const int64_t megabytes = ::pga::testing::Setting("PGA_LOG_FLOOD_MB", 80);
  int64_t written = 0;
  int64_t bytes = 0;
  while (bytes < megabytes << 20) {
    const std::string text = entry(++written);
    bytes += static_cast<int64_t>(text.size());
    file << text;
  }
  file.close();
  const auto counted = [&](const char* column) {
    return std::max<int64_t>(ingest.Increase("log_counts", "class", "division_by_zero", column), 0);
  };
  EXPECT_TRUE(WaitUntil([&] { return counted("entries") >= written; }, absl::Seconds(120)))
      << counted("entries") << " of " << written << "\n"
      << (*collector)->Output();
  EXPECT_EQ(counted("entries"), written);
  const int64_t events = ingest.Rows("log_events");
  EXPECT_EQ(counted("left_out") + events, written);
  EXPECT_LE(events, 1000 * ingest.Frames("log_events"));
  for (const std::string& text : ingest.TextValues("log_events", "statement")) {
    EXPECT_EQ(text.find("hunter2x"), std::string::npos);
  }
  std::ifstream status(absl::StrCat("/proc/", (*collector)->pid(), "/status"));
  std::string peak;
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM", 0) == 0) peak = line;
  }
  std::cout << megabytes << " MB, entries " << written << ", counted " << counted("entries") << ", kept " << events
            << ", " << peak << "\n";
  EXPECT_THAT(StopCollector(collector->get()), IsOk());
  EXPECT_THAT(ingest.violations(), IsEmpty());
}

// While the backend is away a log that never ends takes half of the buffer at most: the rest is for statistics, and the
// log is read on afterwards.
TEST(LogFlood, LeavesRoomForStatistics) {
  auto server = TempPostgres::Start({.extra_conf = {"log_line_prefix = '%m [%p] '"}});
  ASSERT_THAT(server, IsOk());
  ScopedTempDir state;
  ScopedTempDir logs;
  ScriptedIngest ingest;
  std::ofstream file(logs / "server.log", std::ios::binary);
  uint64_t random = 88172645463325252;
  int64_t written = 0;
  // Names that no compression makes small.
  const auto write = [&](int entries) {
    for (int i = 0; i < entries; ++i) {
      std::string name;
      for (int k = 0; k < 40; ++k) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        absl::StrAppend(&name, "n", absl::Hex(random));
      }
      file << "2026-11-28 12:00:00.000 GMT [1] ERROR:  relation \"" << name << "\" does not exist\n";
      ++written;
    }
    file << std::flush;
  };
  write(1);
  auto collector = StartCollector(
      state, CollectorVariables(
                 **server, ingest, state,
                 {{"BACKEND_RETRY_MAX", "1"}, {"METRICS_BUFFER_SIZE", "4000000"}, {"POSTGRES_LOG_PATH", logs.path()}}));
  ASSERT_THAT(collector, IsOk());
  ASSERT_TRUE(WaitUntil([&] { return ingest.Frames("log_files") > 0; }, absl::Seconds(60))) << (*collector)->Output();
  ingest.StopServer();
  clock::SteadyTime last = clock::SteadyNow();
  const bool waits = WaitUntil(
      [&] {
        if (clock::SteadyNow() - last > absl::Milliseconds(500)) {
          write(1000);
          last = clock::SteadyNow();
        }
        return (*collector)->Output().find("half of the buffer on disk waits") != std::string::npos;
      },
      absl::Seconds(60));
  EXPECT_TRUE(waits) << (*collector)->Output();
  ingest.StartServer();
  const auto counted = [&] { return ingest.Increase("log_counts", "class", "undefined_table", "entries"); };
  EXPECT_TRUE(WaitUntil([&] { return counted() >= written - 1; }, absl::Seconds(120)))
      << counted() << " of " << written - 1 << "\n"
      << (*collector)->Output();
  EXPECT_EQ(counted(), written - 1);
  // Nothing was given up for it, and statistics have no hole.
  EXPECT_EQ(ingest.gaps(), 0);
  // What waited on disk comes behind what is read now.
  std::map<int64_t, int64_t> intervals;
  for (const ScriptedIngest::Interval& interval : ingest.Intervals("database")) {
    if (!interval.keyframe) intervals[interval.start_us] = interval.end_us;
  }
  int64_t before = 0;
  for (const auto& [start_us, end_us] : intervals) {
    if (before != 0) {
      EXPECT_EQ(start_us, before);
    }
    before = end_us;
  }
  EXPECT_GT(before, 0);
  EXPECT_EQ((*collector)->Output().find("the spool has reached its limit"), std::string::npos)
      << (*collector)->Output();
  EXPECT_THAT(StopCollector(collector->get()), IsOk());
  EXPECT_THAT(ingest.violations(), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Ways, LogProcess,
                         ::testing::Values(Way{"stderr", "stderr", false}, Way{"csv", "stderr,csvlog", false},
                                           Way{"json", "stderr,jsonlog", false}, Way{"sql", "csvlog", true}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace pga::collector
