// Two collectors for one server: the owner is killed with SIGKILL while it holds what it has not sent, the other one
// takes over, and the killed one comes back with its spool and waits in its turn. Meanwhile a table of the server gets
// a known number of rows. In the end what is stored of it is what was done.
//
// PGA_TAKEOVER_KILLS (3) says how many kills, 100 for the whole campaign, PGA_TAKEOVER_UNSENT (3) for
// how many seconds the owner cannot send before it is killed: 300 for the whole campaign, which is eight hours; ten
// programs of ten kills each at once take one.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/integration/suite.h"

namespace pga {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
// Interval of the collectors; a lease lasts two seconds at least.
constexpr int kIntervalSeconds = 2;

class Campaign : public ::testing::Test {
 protected:
  Campaign() : suite_({.env = {{"INGEST_HELLOS_PER_MINUTE", "0"}, {"INGEST_WINDOW", "1"}}}) {}

  void SetUp() override {
    auto server = testing::TempPostgres::Start({});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->Exec("postgres", "CREATE TABLE work (n int8)").ok());
    const std::string& url = suite_.databases().metrics_url;
    const size_t name = url.find("@/") + 2;
    metrics_ = url.substr(name, url.find('?') - name);
  }

  void Start(int which) {
    auto started =
        testing::Subprocess::Start({.argv = {testing::Program("pganalytics-collector")},
                                    .env = {{"COLLECTOR_ID", absl::StrCat("collector-", which)},
                                            {"STATE_DIR", absl::StrCat(dir_ / "state", which)},
                                            {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", suite_.port())},
                                            {"BACKEND_RETRY_MAX", "1"},
                                            {"REGISTRATION_SECRET", integration::Suite::kRegistrationSecret},
                                            {"SOURCE_NAME", "db"},
                                            {"POSTGRES_HOST", server_->socket_dir()},
                                            {"POSTGRES_PORT", absl::StrCat(server_->port())},
                                            {"COLLECTION_INTERVAL", absl::StrCat(kIntervalSeconds)},
                                            {"HOST_METRICS", "false"},
                                            {"METRICS_LISTEN", "off"}},
                                    .output_path = absl::StrCat(dir_ / "log", which, ".", ++starts_)});
    ASSERT_TRUE(started.ok()) << started.status();
    collectors_[which] = *std::move(started);
  }

  int64_t Number(const std::string& sql) {
    const auto result = testing::SharedPostgres()->Exec(metrics_, sql);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() && !result->empty() ? (*result)[0].Int64(0) : 0;
  }
  // 0 or 1; -1 while nobody owns the source.
  int Owner() {
    return static_cast<int>(
        Number("SELECT coalesce(max(right(c.collector_id, 1)::int8), -1) FROM metrics.source s JOIN metrics.collector "
               "c ON c.id = s.collector_id WHERE s.name = 'db' AND s.carried_epoch = s.owner_epoch"));
  }
  int64_t Epoch() { return Number("SELECT coalesce(max(owner_epoch), 0) FROM metrics.source WHERE name = 'db'"); }
  // Sum of the increases of the worked table.
  int64_t Stored() {
    return Number(
        "SELECT coalesce(sum(n_tup_ins), 0)::int8 FROM readable.table_stats(now() - interval '1 day', now() + interval "
        "'1 day') WHERE relname = 'work' AND kind = 'delta'");
  }
  int64_t First() {
    return Number(
        "SELECT n_tup_ins FROM readable.table_stats(now() - interval '1 day', now() + interval '1 day') WHERE relname "
        "= "
        "'work' AND kind = 'keyframe' ORDER BY \"time\" LIMIT 1");
  }
  int64_t Frames() {
    return Number(
        "SELECT count(*) FROM readable.table_stats(now() - interval '1 day', now() + interval '1 day') WHERE relname = "
        "'work'");
  }
  std::string Logs() {
    std::string all;
    for (const auto& [which, process] : collectors_) {
      if (process != nullptr) absl::StrAppend(&all, "--- collector ", which, "\n", process->Output());
    }
    return all + suite_.Outputs();
  }
  // What the server itself counts.
  int64_t Counted() {
    const auto counted = server_->Exec("postgres", "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'work'");
    return counted.ok() && !counted->empty() ? (*counted)[0].Int64(0) : -1;
  }

  integration::Suite suite_;
  testing::ScopedTempDir dir_;
  std::unique_ptr<testing::TempPostgres> server_;
  std::string metrics_;
  int starts_ = 0;
  std::map<int, std::unique_ptr<testing::Subprocess>> collectors_;
};

TEST_F(Campaign, KilledOwnersLoseAndDoubleNothing) {
  const int64_t kills = testing::Setting("PGA_TAKEOVER_KILLS", 3);
  const int64_t unsent = testing::Setting("PGA_TAKEOVER_UNSENT", 3);
  Start(0);
  ASSERT_TRUE(testing::WaitUntil([&] { return Frames() > 0; }, kPatience)) << Logs();
  Start(1);
  ASSERT_TRUE(testing::WaitUntil(
      [&] { return collectors_[1]->Output().find("another collector owns the source") != std::string::npos; },
      kPatience))
      << Logs();

  std::atomic<int64_t> done{0};
  std::jthread worker([&](const std::stop_token& stop) {
    auto connection = server_->Connect();
    int64_t rows = 1;
    while (!stop.stop_requested() && connection.ok()) {
      rows = rows % 17 + 1;
      const auto worked =
          (*connection)
              ->Exec(absl::StrCat("INSERT INTO work SELECT generate_series(1, ", rows, "); SELECT pg_sleep(0.02)"),
                     clock::SteadyNow() + kPatience);
      if (worked.ok()) done += rows;
    }
  });
  absl::Duration slowest;
  for (int64_t kill = 0; kill < kills; ++kill) {
    const int owner = Owner();
    ASSERT_GE(owner, 0) << Logs();
    const int other = 1 - owner;
    // The owner reads, renews its lease and cannot store: what it has is on its disk alone.
    const int64_t epoch = Epoch();
    auto lock = testing::SharedPostgres()->Connect(metrics_);
    ASSERT_TRUE(lock.ok()) << lock.status();
    for (const char* sql :
         {"BEGIN", "SET LOCAL idle_in_transaction_session_timeout = 0", "LOCK TABLE metrics.frame IN EXCLUSIVE MODE"}) {
      ASSERT_TRUE((*lock)->Exec(sql, clock::SteadyNow() + kPatience).ok());
    }
    const int64_t worked = done;
    const clock::SteadyTime until = clock::SteadyNow() + absl::Seconds(unsent);
    ASSERT_TRUE(testing::WaitUntil([&] { return done > worked && clock::SteadyNow() > until; },
                                   kPatience + absl::Seconds(unsent)));
    ASSERT_EQ(Epoch(), epoch) << Logs();
    const clock::SteadyTime killed = clock::SteadyNow();
    collectors_[owner].reset();
    ASSERT_TRUE((*lock)->Exec("COMMIT", clock::SteadyNow() + kPatience).ok());
    const int64_t taken = Frames();
    ASSERT_TRUE(testing::WaitUntil([&] { return Epoch() > epoch && Owner() == other; }, kPatience)) << Logs();
    ASSERT_TRUE(testing::WaitUntil([&] { return Frames() > taken; }, kPatience)) << Logs();
    slowest = std::max(slowest, clock::SteadyNow() - killed);
    // It comes back with its spool, and waits.
    Start(owner);
    ASSERT_TRUE(testing::WaitUntil(
        [&] { return collectors_[owner]->Output().find("another collector owns the source") != std::string::npos; },
        kPatience))
        << Logs();
  }
  worker.request_stop();
  worker.join();
  // The server shows the last rows once their session has ended.
  ASSERT_TRUE(testing::WaitUntil([&] { return Counted() == done; }, kPatience)) << Counted() << " of " << done;
  EXPECT_TRUE(testing::WaitUntil([&] { return First() + Stored() == done; }, absl::Seconds(20)))
      << First() << " + " << Stored() << " of " << done << "\n"
      << Logs();
  EXPECT_EQ(Number("SELECT count(*) FROM metrics.quarantine"), 0);
  // What the killed ones had not sent came later.
  EXPECT_TRUE(testing::WaitUntil([&] { return Number("SELECT count(*) FROM metrics.superseded") > 0; }, kPatience));
  std::printf("%ld kills: %ld rows counted, %ld stored, slowest takeover %.1f s, %ld frames superseded\n",
              static_cast<long>(kills), static_cast<long>(done), static_cast<long>(First() + Stored()),
              absl::ToDoubleSeconds(slowest),
              static_cast<long>(Number("SELECT coalesce(sum(frames), 0) FROM metrics.superseded")));
}

}  // namespace
}  // namespace pga
