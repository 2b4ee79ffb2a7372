// Kills everything that takes part in delivery, at random moments and in random combination, while collectors deliver:
// ingest by SIGKILL and by SIGTERM, its database connections, the whole server by SIGKILL, a frozen server, two ingest
// processes at once. The account is kept outside of all of them, row by row: what was acknowledged to a collector is
// there exactly once at the end, and nothing else is.
//
// PGA_FAULT_SECONDS lengthens the campaign (default 25); PGA_FAULT_SEED repeats one (printed at the start).
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/rpc/client.h"
#include "libs/storage/write/writer_testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/ingest/ingest_testing.h"

namespace pga {
namespace {

class IngestProcess {
 public:
  IngestProcess(std::string url, std::string address, std::string log)
      : url_(std::move(url)), address_(std::move(address)), log_(std::move(log)) {}

  void Start() {
    testing::SubprocessOptions options;
    options.argv = {testing::Program("ingest_under_test"), url_, address_};
    options.output_path = absl::StrCat(log_, ".", ++starts_);
    auto process = testing::Subprocess::Start(options);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *std::move(process);
  }
  void Kill() { process_.reset(); }
  // The orderly way, once it has come up; it must end by itself.
  void Terminate() {
    const absl::Status ready = process_->WaitForOutput("ready", clock::SteadyNow() + absl::Seconds(20));
    ASSERT_TRUE(ready.ok()) << ready << "\n" << process_->Output();
    process_->Signal(SIGTERM);
    const auto code = process_->Wait(clock::SteadyNow() + absl::Seconds(40));
    ASSERT_TRUE(code.ok()) << code.status() << "\n" << process_->Output();
    EXPECT_EQ(*code, 0) << process_->Output();
    process_.reset();
  }
  bool running() { return process_ != nullptr && process_->running(); }
  std::string output() const { return process_ == nullptr ? "" : process_->Output(); }

 private:
  const std::string url_, address_, log_;
  int starts_ = 0;
  std::unique_ptr<testing::Subprocess> process_;
};

TEST(IngestCampaign, WhatWasAcknowledgedIsThereOnce) {
  const int64_t seconds = testing::Setting("PGA_FAULT_SECONDS", 25);
  const int64_t seed = testing::Setting("PGA_FAULT_SEED", absl::ToUnixMillis(clock::WallNow()) % 1'000'000);
  std::printf("campaign of %ld s with PGA_FAULT_SEED=%ld\n", static_cast<long>(seconds), static_cast<long>(seed));
  std::mt19937_64 random(static_cast<uint64_t>(seed));

  auto server = testing::TempPostgres::Start({});
  ASSERT_TRUE(server.ok()) << server.status();
  storage::WriterDatabase db(server->get());
  testing::ScopedTempDir dir;
  const std::string addresses[2] = {"unix:" + (dir / "one.sock"), "unix:" + (dir / "two.sock")};
  IngestProcess ingest[2] = {{db.url(), addresses[0], dir / "one.log"}, {db.url(), addresses[1], dir / "two.log"}};
  for (IngestProcess& process : ingest) process.Start();

  // Collectors go to either process, as behind a load balancer.
  std::vector<std::unique_ptr<ingest::SimulatedCollector>> collectors;
  std::atomic<uint64_t> turn{0};
  const auto channel = [&] {
    rpc::ChannelOptions options;
    options.first_backoff = absl::Milliseconds(20);
    options.max_backoff = absl::Milliseconds(200);
    return *rpc::Connect(addresses[turn++ % 2], {}, options);
  };
  for (int i = 0; i < 6; ++i) {
    ingest::SimulatedCollector::Options options;
    options.collector_id = absl::StrCat("collector-", i);
    options.base = (i + 1) * 1'000'000'000LL;
    options.rows = 1 + static_cast<int>(random() % 60);
    collectors.push_back(std::make_unique<ingest::SimulatedCollector>(options, channel));
  }
  const auto acked = [&] {
    int64_t sum = 0;
    for (const auto& collector : collectors) sum += collector->acked();
    return sum;
  };
  const auto made = [&] {
    int64_t sum = 0;
    for (const auto& collector : collectors) sum += collector->made();
    return sum;
  };
  ASSERT_TRUE(testing::WaitUntil([&] { return acked() > 20; }, absl::Seconds(30))) << ingest[0].output();

  std::map<std::string, int> faults;
  const clock::SteadyTime end = clock::SteadyNow() + absl::Seconds(seconds);
  while (clock::SteadyNow() < end) {
    // A fault while deliveries are under way: after progress of a random length.
    const int64_t next = acked() + 4 + static_cast<int64_t>(random() % 40);
    testing::WaitUntil([&] { return acked() >= next; }, absl::Seconds(15));
    IngestProcess& victim = ingest[random() % 2];
    switch (random() % 7) {
      case 0:
      case 1:
        victim.Kill();
        victim.Start();
        ++faults["ingest SIGKILL"];
        break;
      case 2:
        for (IngestProcess& process : ingest) process.Kill();
        for (IngestProcess& process : ingest) process.Start();
        ++faults["both SIGKILL"];
        break;
      case 3:
        victim.Terminate();
        victim.Start();
        ++faults["ingest SIGTERM"];
        break;
      case 4:
        (void)(*server)->Exec(db.name(),
                              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE "
                              "'pga-ingest%' AND random() < 0.7");
        ++faults["connections"];
        break;
      case 5:
        (*server)->KillServer();
        ASSERT_TRUE((*server)->StartServer().ok()) << (*server)->Log();
        ++faults["PostgreSQL SIGKILL"];
        break;
      case 6:
        (*server)->Pause();
        {
          // At a random filling of the collectors' windows.
          const auto under_way = static_cast<int64_t>(random() % 48);
          testing::WaitUntil([&] { return made() - acked() >= under_way; }, absl::Milliseconds(300));
        }
        victim.Kill();
        (*server)->Resume();
        victim.Start();
        ++faults["frozen PostgreSQL, ingest SIGKILL"];
        break;
    }
  }
  for (const auto& [what, count] : faults) std::printf("%3d x %s\n", count, what.c_str());

  for (auto& collector : collectors) collector->Stop();
  int64_t rows = 0, batches = 0, connections = 0;
  for (auto& collector : collectors) {
    ASSERT_TRUE(testing::WaitUntil([&] { return collector->Done(); }, absl::Seconds(60)))
        << collector->options().collector_id << " delivered " << collector->acked() << " of " << collector->made()
        << "\n"
        << ingest[0].output() << ingest[1].output();
    batches += collector->acked();
    rows += collector->acked() * collector->options().rows;
    connections += collector->connections();
  }
  // The account.
  const std::map<int64_t, int64_t> stored = db.StoredCalls();
  int64_t missing = 0, doubled = 0;
  for (const auto& collector : collectors) {
    const auto& options = collector->options();
    for (int64_t seq = 1; seq <= collector->acked(); ++seq) {
      for (int row = 0; row < options.rows; ++row) {
        const auto found = stored.find(options.base + seq * 1000 + row);
        missing += found == stored.end();
        doubled += found != stored.end() && found->second != 1;
      }
    }
  }
  EXPECT_EQ(missing, 0);
  EXPECT_EQ(doubled, 0);
  EXPECT_EQ(static_cast<int64_t>(stored.size()), rows);
  EXPECT_EQ(db.Number("SELECT count(*) FROM metrics.frame"), batches);
  EXPECT_EQ(db.Number("SELECT count(*) FROM metrics.ingest_receipt"), batches);
  EXPECT_EQ(db.Number("SELECT sum(last_seq) FROM metrics.ingest_watermark"), batches);
  EXPECT_EQ(db.Number("SELECT count(*) FROM metrics.quarantine"), 0);
  EXPECT_GE(faults.size(), 3u);
  std::printf("%ld rows in %ld batches over %ld connections: missing %ld, doubled %ld\n", static_cast<long>(rows),
              static_cast<long>(batches), static_cast<long>(connections), static_cast<long>(missing),
              static_cast<long>(doubled));
  for (IngestProcess& process : ingest) process.Terminate();
}

}  // namespace
}  // namespace pga
