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

#include "absl/strings/str_cat.h"
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

INSTANTIATE_TEST_SUITE_P(Ways, LogProcess,
                         ::testing::Values(Way{"stderr", "stderr", false}, Way{"csv", "stderr,csvlog", false},
                                           Way{"json", "stderr,jsonlog", false}, Way{"sql", "csvlog", true}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace pga::collector
