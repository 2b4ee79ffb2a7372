// The collector as a process, against a real PostgreSQL and an ingest that misbehaves on request: whatever is killed or
// lost, what was stored adds up to what the server counted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/loopback_listener.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/collector_process_testing.h"

namespace pga::collector {
namespace {

using ::pga::status::IsOk;
using ::pga::status::IsOkAndHolds;
using ::pga::testing::ScopedTempDir;
using ::pga::testing::Subprocess;
using ::pga::testing::TempPostgres;
using ::pga::testing::WaitUntil;
using ::testing::Contains;
using ::testing::IsEmpty;

// Exit code of a process that SIGKILL ended.
constexpr int kKilled = 128 + SIGKILL;

TempPostgres* Server() {
  static TempPostgres* const server = [] {
    TempPostgres::Options options;
    options.preload_statements = true;
    options.extra_conf = {"autovacuum = off", "track_io_timing = on", "compute_query_id = on"};
    auto started = TempPostgres::Start(options);
    EXPECT_THAT(started, IsOk());
    if (!started.ok()) return static_cast<TempPostgres*>(nullptr);
    EXPECT_THAT((*started)->Exec("postgres", "CREATE EXTENSION pg_stat_statements"), IsOk());
    return started->release();
  }();
  return server;
}

class CollectorProcess : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(Server(), nullptr);
    auto url = Server()->CreateFreshDatabase("bench");
    ASSERT_THAT(url, IsOk());
    database_ = url->substr(url->find("bench"));
    database_ = database_.substr(0, database_.find_first_of("?& '"));
    Sql("CREATE TABLE t (n int)");
  }

  void TearDown() override {
    if (collector_ != nullptr) Stop();
    EXPECT_THAT(ingest_.violations(), IsEmpty());
  }

  void Sql(const std::string& sql) { ASSERT_THAT(Server()->Exec(database_, sql), IsOk()); }

  void Start(const std::string& failpoint = "", std::map<std::string, std::string> more = {}) {
    more.insert({{"BACKEND_RETRY_MAX", "1"}, {"LOG_LEVEL", "debug"}});
    if (!failpoint.empty()) more["PGA_FAILPOINT"] = failpoint;
    auto process = StartCollector(state_, CollectorVariables(*Server(), ingest_, state_, more));
    ASSERT_THAT(process, IsOk());
    collector_ = *std::move(process);
  }

  void Kill() {
    collector_->Signal(SIGKILL);
    ASSERT_THAT(collector_->Wait(clock::SteadyNow() + absl::Seconds(10)), IsOk());
  }

  void Stop() {
    EXPECT_THAT(StopCollector(collector_.get()), IsOk());
    collector_.reset();
  }

  static std::string Tail(const std::string& text) {
    return text.substr(text.size() - std::min<size_t>(text.size(), 4000));
  }

  // What the server itself says.
  int64_t Truth(const std::string& column = "xact_commit") {
    auto result = Server()->Exec(
        "postgres", absl::StrCat("SELECT ", column, "::text FROM pg_stat_database WHERE datname = '", database_, "'"));
    EXPECT_THAT(result, IsOk());
    int64_t value = -1;
    if (result.ok()) {
      EXPECT_TRUE(absl::SimpleAtoi(std::string((*result)[0].Text(0)), &value));
    }
    return value;
  }

  int64_t Stored(const std::string& column = "xact_commit") {
    return ingest_.Total("database", "datname", database_, column);
  }

  void ExpectSumsMeetTheServer() {
    for (const char* column : {"xact_commit", "tup_inserted"}) {
      const int64_t truth = Truth(column);
      EXPECT_TRUE(WaitUntil([&] { return Stored(column) >= truth; }, absl::Seconds(60)))
          << column << ": stored " << Stored(column) << ", server says " << truth << ", collector "
          << (collector_->running() ? "runs" : "has ended") << "\n"
          << Tail(collector_->Output());
      EXPECT_EQ(Stored(column), Truth(column)) << column;
    }
  }

  ScopedTempDir state_;
  ScriptedIngest ingest_;
  std::unique_ptr<Subprocess> collector_;
  std::string database_;
};

TEST_F(CollectorProcess, StoresEveryKindOfMetric) {
  Start("", {{"POSTGRES_DATABASES", "*"}});
  Sql("INSERT INTO t SELECT generate_series(1, 10)");
  EXPECT_TRUE(WaitUntil(
      [&] {
        const auto metrics = ingest_.Metrics();
        return metrics.contains("database") && metrics.contains("statements") && metrics.contains("activity") &&
               metrics.contains("table_stats") && metrics.contains("host_cpu") && metrics.contains("host_memory") &&
               metrics.contains("settings") && metrics.contains("wal");
      },
      absl::Seconds(20)))
      << ::testing::PrintToString(ingest_.Metrics()) << collector_->Output().substr(0, 3000);
  EXPECT_THAT(ingest_.Sources(), Contains("db"));
  EXPECT_EQ(ingest_.enrolments(), 1);
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Total("table_stats", "datname", database_, "n_tup_ins") == 10; }));
}

TEST_F(CollectorProcess, SumsMeetTheServerWithoutTrouble) {
  Start();
  ASSERT_TRUE(WaitUntil([&] { return Stored() >= 0; }, absl::Seconds(15))) << collector_->Output().substr(0, 3000);
  for (int i = 0; i < 20; ++i) Sql("INSERT INTO t SELECT generate_series(1, 7)");
  ExpectSumsMeetTheServer();
  EXPECT_GE(ingest_.Increase("database", "datname", database_, "tup_inserted"), 0);
}

TEST_F(CollectorProcess, KilledAtEveryFailpointNothingIsLostOrDoubled) {
  Start();
  ASSERT_TRUE(WaitUntil([&] { return Stored() >= 0; }, absl::Seconds(15))) << collector_->Output().substr(0, 3000);
  Kill();
  std::atomic<bool> done{false};
  std::thread load([&] {
    while (!done) {
      (void)Server()->Exec(database_, "INSERT INTO t SELECT generate_series(1, 3)");
    }
  });
  for (const char* point : {"spool.before_append:2", "spool.after_append:2", "spool.before_fsync:3",
                            "spool.after_fsync:2", "delivery.after_send:2", "delivery.after_ack:2"}) {
    Start(point);
    const auto code = collector_->Wait(clock::SteadyNow() + absl::Seconds(20));
    EXPECT_THAT(code, IsOkAndHolds(kKilled)) << point << "\n" << collector_->Output().substr(0, 3000);
  }
  Start("spool.after_snapshot:1");
  ASSERT_TRUE(WaitUntil([&, before = ingest_.batches()] { return ingest_.batches() > before + 2; }, absl::Seconds(15)));
  collector_->Signal(SIGTERM);  // the last snapshot is where it ends
  EXPECT_THAT(collector_->Wait(clock::SteadyNow() + absl::Seconds(20)), IsOkAndHolds(kKilled));
  for (int i = 0; i < 3; ++i) {
    const int64_t before = ingest_.batches();
    Start();
    EXPECT_TRUE(WaitUntil([&] { return ingest_.batches() > before + i; }, absl::Seconds(15)));
    Kill();
  }
  done = true;
  load.join();
  Start();
  ExpectSumsMeetTheServer();
  EXPECT_EQ(ingest_.gaps(), 0);
}

TEST_F(CollectorProcess, LostAcksRetriesAndOutagesStoreOnce) {
  Start();
  ASSERT_TRUE(WaitUntil([&] { return Stored() >= 0; }, absl::Seconds(15)));
  ingest_.LoseAcks(3);
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ExpectSumsMeetTheServer();
  ingest_.AskToRetry(4);
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ExpectSumsMeetTheServer();
  ingest_.StopServer();
  for (int i = 0; i < 5; ++i) Sql("INSERT INTO t SELECT generate_series(1, 100)");
  Kill();
  Start();
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ingest_.StartServer();
  ExpectSumsMeetTheServer();
}

TEST_F(CollectorProcess, ReplaysWhatARestoredServerHasLost) {
  Start();
  ASSERT_TRUE(WaitUntil([&] { return ingest_.batches() >= 6; }, absl::Seconds(20)));
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ExpectSumsMeetTheServer();
  ingest_.StopServer();
  ingest_.GoBack(3);
  ingest_.StartServer();
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ExpectSumsMeetTheServer();
}

TEST_F(CollectorProcess, ForkMovesWhatIsNotStoredToANewStream) {
  Start();
  ASSERT_TRUE(WaitUntil([&] { return Stored() >= 0; }, absl::Seconds(15)));
  ingest_.Fork();
  for (int i = 0; i < 3; ++i) Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ExpectSumsMeetTheServer();
  EXPECT_GE(ingest_.forks(), 1);
}

TEST_F(CollectorProcess, RestoredDiskStoresNoBatchTwice) {
  Start();
  ASSERT_TRUE(WaitUntil([&] { return Stored() >= 0; }, absl::Seconds(15)));
  Kill();
  ingest_.StopServer();
  Start();
  const auto spooled = [&] {
    uintmax_t bytes = 0;
    for (const auto& item : std::filesystem::directory_iterator(state_ / "spool")) {
      if (item.path().extension() == ".seg") bytes += item.file_size();
    }
    return bytes;
  };
  uintmax_t before = spooled();
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ASSERT_TRUE(WaitUntil([&] { return spooled() > before; }, absl::Seconds(15)));
  // A copy of the disk while the stream goes on.
  ScopedTempDir copy;
  std::filesystem::copy(state_.path(), copy / "state", std::filesystem::copy_options::recursive);
  before = spooled();
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ASSERT_TRUE(WaitUntil([&] { return spooled() > before; }, absl::Seconds(15)));
  ingest_.StartServer();
  ExpectSumsMeetTheServer();
  Kill();
  std::filesystem::remove_all(state_.path());
  std::filesystem::copy(copy / "state", state_.path(), std::filesystem::copy_options::recursive);
  const int64_t batches = ingest_.batches();
  const int64_t duplicates = ingest_.duplicates();
  // It counts on from the restored baselines until the backend can say that they are old.
  ingest_.StopServer();
  Start();
  before = spooled();
  ASSERT_TRUE(WaitUntil([&] { return spooled() > before + 20000; }, absl::Seconds(20)));
  Kill();
  Start();  // and so does the one after it
  before = spooled();
  ASSERT_TRUE(WaitUntil([&] { return spooled() > before + 5000; }, absl::Seconds(20)));
  ingest_.StartServer();
  ASSERT_TRUE(WaitUntil([&] { return ingest_.batches() > batches + 2; }, absl::Seconds(30)));
  EXPECT_TRUE(WaitUntil([&] { return ingest_.duplicates() > duplicates; }, absl::Seconds(30)));
  EXPECT_EQ(ingest_.forks(), 0);
  // The restored baselines are older than what is stored: nothing may be counted from them.
  const int64_t frames = ingest_.Frames("database");
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ASSERT_TRUE(WaitUntil([&] { return ingest_.Frames("database") > frames + 3; }, absl::Seconds(30)));
  EXPECT_LE(ingest_.Increase("database", "datname", database_, "tup_inserted"), Truth("tup_inserted"));
  ExpectSumsMeetTheServer();
}

TEST_F(CollectorProcess, FullSpoolLosesResolutionAndNoCounts) {
  // A source is read once it is granted.
  Start();
  ExpectSumsMeetTheServer();
  Kill();
  // Every write fails as on a full disk from the third one on; the process stays up and says so.
  ingest_.StopServer();
  Start("spool.write:3:enospc");
  for (int i = 0; i < 10; ++i) Sql("INSERT INTO t SELECT generate_series(1, 50)");
  ASSERT_THAT(collector_->WaitForOutput("takes no batches", clock::SteadyNow() + absl::Seconds(40)), IsOk());
  EXPECT_THAT(collector_->Output(), ::testing::HasSubstr("No space left on device"));
  ASSERT_TRUE(collector_->running());
  Kill();
  ingest_.StartServer();
  Start();
  ExpectSumsMeetTheServer();
}

TEST_F(CollectorProcess, SourceThatComesLateIsWatched) {
  ASSERT_THAT(Server()->StopFast(), IsOk());
  Start();
  ASSERT_TRUE(WaitUntil([&] { return collector_->WaitForOutput("not collected", clock::SteadyNow()).ok(); },
                        absl::Seconds(10)));
  ASSERT_THAT(Server()->StartServer(), IsOk());
  EXPECT_TRUE(WaitUntil([&] { return Stored() >= 0; }, absl::Seconds(20)));
  // A clean restart keeps the statistics: sums go on without a hole.
  ASSERT_THAT(Server()->Restart(), IsOk());
  Sql("INSERT INTO t SELECT generate_series(1, 100)");
  ExpectSumsMeetTheServer();
}

TEST_F(CollectorProcess, CrashOfTheServerStartsAnEpochAndInventsNothing) {
  Start();
  Sql("INSERT INTO t SELECT generate_series(1, 1000)");
  ASSERT_TRUE(WaitUntil([&] { return Stored("tup_inserted") >= 1000; }, absl::Seconds(20)));
  Server()->KillServer();
  ASSERT_THAT(Server()->StartServer(), IsOk());
  Sql("INSERT INTO t SELECT generate_series(1, 500)");
  const int64_t frames = ingest_.Frames("database");
  ASSERT_TRUE(WaitUntil([&] { return ingest_.Frames("database") > frames + 3; }, absl::Seconds(30)));
  EXPECT_LE(Stored("tup_inserted"), 1500);
}

TEST_F(CollectorProcess, TextsHaveNoLiteralsAndNoPasswords) {
  Start();
  Sql("CREATE ROLE collector_test_role PASSWORD 'top-secret-1'");
  Sql("DROP ROLE collector_test_role");
  Sql("SELECT 'literal-in-a-statement', count(*) FROM t WHERE n = 4711");
  EXPECT_TRUE(WaitUntil([&] { return !ingest_.Texts().empty(); }, absl::Seconds(20)));
  for (const auto& [id, text] : ingest_.Texts()) {
    EXPECT_THAT(text, ::testing::Not(::testing::HasSubstr("top-secret")));
    EXPECT_THAT(text, ::testing::Not(::testing::HasSubstr("literal-in")));
  }
  // Nothing of it lies on the disk either.
  Stop();
  for (const auto& item : std::filesystem::recursive_directory_iterator(state_.path())) {
    if (!item.is_regular_file()) continue;
    std::ifstream in(item.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    EXPECT_EQ(bytes.find("top-secret"), std::string::npos) << item.path();
  }
}

TEST_F(CollectorProcess, BlockingTreeIsStoredWhenItChanges) {
  Start();
  auto blocker = Server()->Connect(database_);
  ASSERT_THAT(blocker, IsOk());
  Sql("INSERT INTO t VALUES (1)");
  ASSERT_THAT((*blocker)->Exec("BEGIN", {}, clock::SteadyNow() + absl::Seconds(10)), IsOk());
  ASSERT_THAT((*blocker)->Exec("UPDATE t SET n = 2", {}, clock::SteadyNow() + absl::Seconds(10)), IsOk());
  std::thread waiter([&] { (void)Server()->Exec(database_, "UPDATE t SET n = 3"); });
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Rows("blocking") >= 1; }, absl::Seconds(20)))
      << collector_->Output().substr(0, 3000);
  EXPECT_EQ(ingest_.TextValues("blocking", "lock_type"), std::set<std::string>{"transactionid"});
  // Named only in the database that is sampled from; its oid is known in any.
  EXPECT_EQ(ingest_.Values("blocking", "relation_oid").size(), 1u);
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Values("blocking", "root_pid").size() == 1; }));
  // What blocks and what waits, without the literals.
  EXPECT_TRUE(WaitUntil([&] {
    std::set<std::string> texts;
    for (const auto& [id, text] : ingest_.Texts()) texts.insert(text);
    return texts.contains("UPDATE t SET n = ?");
  })) << collector_->Output().substr(0, 3000);
  const int64_t frames = ingest_.Frames("blocking");
  ASSERT_THAT((*blocker)->Exec("COMMIT", {}, clock::SteadyNow() + absl::Seconds(10)), IsOk());
  waiter.join();
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Frames("blocking") > frames; }, absl::Seconds(20)));
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Values("blocking", "ended").contains(1); }));
  EXPECT_TRUE(WaitUntil([&] { return ingest_.TextValues("activity", "wait_event_type").contains("Lock"); }));
}

// It listens, so that connections are made, and never says a word.
TEST_F(CollectorProcess, EndsPromptlyThoughTheBackendDoesNotAnswer) {
  const pga::testing::LoopbackListener listener;
  Start("", {{"BACKEND_URL", absl::StrCat("http://127.0.0.1:", listener.port())}});
  pollfd caller{.fd = listener.fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&caller, 1, 20'000), 1) << "the collector has connected";
  collector_->Signal(SIGTERM);
  EXPECT_THAT(collector_->Wait(clock::SteadyNow() + absl::Seconds(6)), IsOkAndHolds(0)) << Tail(collector_->Output());
  collector_.reset();
}

TEST_F(CollectorProcess, ExtensionThatIsCreatedLaterIsNoticed) {
  Start("", {{"POSTGRES_DATABASES", database_}});
  EXPECT_TRUE(WaitUntil(
      [&] { return collector_->Output().find("extension pg_stat_statements is not installed") != std::string::npos; },
      absl::Seconds(30)))
      << Tail(collector_->Output());
  EXPECT_EQ(ingest_.Frames("statements"), 0);
  Sql("CREATE EXTENSION pg_stat_statements");
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Frames("statements") > 0; }, absl::Seconds(30)))
      << Tail(collector_->Output());
  // The connection is the same: only the extension's place is learnt anew.
  Sql("ALTER EXTENSION pg_stat_statements SET SCHEMA information_schema");
  const int64_t frames = ingest_.Frames("statements");
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Frames("statements") > frames + 1; }, absl::Seconds(30)))
      << Tail(collector_->Output());
}

TEST_F(CollectorProcess, DatabaseThatIsDroppedIsNoTroubleAnyMore) {
  Sql("CREATE ROLE collector_gone_role LOGIN");
  Sql("GRANT pg_monitor TO collector_gone_role");
  Sql("CREATE DATABASE closed CONNECTION LIMIT 0");
  Start("", {{"POSTGRES_USER", "collector_gone_role"}, {"POSTGRES_DATABASES", "*"}});
  const auto says = [&](const std::string& text) { return collector_->Output().find(text) != std::string::npos; };
  EXPECT_TRUE(WaitUntil([&] { return says("\"not collected\",\"source\":\"db\",\"what\":\"database closed\""); },
                        absl::Seconds(30)))
      << Tail(collector_->Output());
  Sql("DROP DATABASE closed");
  EXPECT_TRUE(WaitUntil([&] { return says("\"its database is gone\",\"source\":\"db\",\"what\":\"database closed\""); },
                        absl::Seconds(30)))
      << Tail(collector_->Output());
  Stop();
  Sql("DROP ROLE collector_gone_role");
}

TEST_F(CollectorProcess, PushedConfigurationIsAppliedAndKept) {
  ingest_.PushConfig(7, "collection_interval = 1\n[metrics]\nsettings = false\nhost_memory = false\n");
  Start();
  ASSERT_TRUE(WaitUntil([&] { return collector_->Output().find("configuration applied") != std::string::npos; },
                        absl::Seconds(15)))
      << collector_->Output().substr(0, 3000);
  Stop();
  const int64_t frames = ingest_.Frames("host_memory");
  Start();
  const int64_t batches = ingest_.batches();
  ASSERT_TRUE(WaitUntil([&] { return ingest_.batches() > batches + 3; }, absl::Seconds(15)));
  EXPECT_EQ(ingest_.Frames("host_memory"), frames);
}

TEST_F(CollectorProcess, CheckSaysWhatIsMissing) {
  Sql("CREATE ROLE collector_check_role LOGIN");
  auto outcome = CheckCollector(CollectorVariables(
      *Server(), ingest_, state_,
      {{"POSTGRES_USER", "collector_check_role"}, {"POSTGRES_DATABASES", database_ + ",no_such_database"}}));
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(outcome->exit_code, 1);
  EXPECT_THAT(outcome->output, ::testing::HasSubstr("pg_monitor"));
  EXPECT_THAT(outcome->output, ::testing::HasSubstr("CREATE EXTENSION pg_stat_statements"));
  EXPECT_THAT(outcome->output, ::testing::HasSubstr("no_such_database"));
  Sql("DROP ROLE collector_check_role");
}

TEST_F(CollectorProcess, ObjectsThatTheLoginMayNotReadAreNamedWithTheRightThatIsNeeded) {
  const auto role = Server()->Exec(database_, "CREATE ROLE collector_half_role LOGIN IN ROLE pg_monitor");
  ASSERT_THAT(role, IsOk());
  Sql("CREATE EXTENSION pg_stat_statements; CREATE SCHEMA \"Own\"");
  Sql("CREATE SEQUENCE \"Own\".a; CREATE SEQUENCE \"Own\".b; CREATE SEQUENCE c; GRANT USAGE ON SEQUENCE c TO "
      "collector_half_role");
  Sql("INSERT INTO t SELECT generate_series(1, 100000)");
  Sql("VACUUM ANALYZE t");
  const Variables login = {{"POSTGRES_USER", "collector_half_role"}, {"POSTGRES_DATABASES", database_}};
  const std::string sequences = absl::StrCat("sequences of ", database_);
  const std::string tables = absl::StrCat("bloat_tables of ", database_);
  const std::string of_sequences =
      "values of 2 of 3 objects cannot be read for lack of a right; run in that database: GRANT SELECT ON ALL "
      "SEQUENCES "
      "IN SCHEMA \"Own\" TO collector_half_role";
  const std::string of_tables =
      "values of 1 of 1 objects cannot be read for lack of a right; run in that database: GRANT pg_read_all_data TO "
      "collector_half_role";
  auto checked = CheckCollector(CollectorVariables(*Server(), ingest_, state_, login));
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->exit_code, 1);
  EXPECT_THAT(checked->output,
              ::testing::HasSubstr(absl::StrCat("sequences of database ", database_, ": ", of_sequences)));
  EXPECT_THAT(checked->output,
              ::testing::HasSubstr(absl::StrCat("bloat_tables of database ", database_, ": ", of_tables)));

  // The rows are stored all the same, and registry hears what they lack.
  Start("", login);
  EXPECT_TRUE(WaitUntil([&] {
    auto missing = ingest_.NotCollected("db");
    return missing[sequences] == of_sequences && missing[tables] == of_tables;
  })) << Tail(collector_->Output());
  EXPECT_TRUE(WaitUntil([&] { return ingest_.Frames("sequences") > 0 && ingest_.Frames("bloat_tables") > 0; }));
  Stop();
  Sql("GRANT SELECT ON ALL SEQUENCES IN SCHEMA \"Own\" TO collector_half_role");
  Sql("GRANT pg_read_all_data TO collector_half_role");
  checked = CheckCollector(CollectorVariables(*Server(), ingest_, state_, login));
  ASSERT_THAT(checked, IsOk());
  EXPECT_EQ(checked->exit_code, 0) << checked->output;
  EXPECT_THAT(checked->output, ::testing::HasSubstr("db: complete"));
  Sql("DROP OWNED BY collector_half_role; DROP ROLE collector_half_role");
}

}  // namespace
}  // namespace pga::collector
