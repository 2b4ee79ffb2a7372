// A simulated fleet delivers to the suite as real processes: what the spools accepted is stored once, also when ingest
// is killed meanwhile.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/testing/temp_dir.h"
#include "tests/integration/suite.h"
#include "tools/fleetsim/wire.h"

namespace pga::fleetsim {
namespace {

using integration::Form;
using integration::Suite;
using integration::SuiteOptions;

const catalog::Catalog& Builtin() {
  static const auto* const kCatalog = new std::shared_ptr<const catalog::Catalog>(*catalog::Catalog::Builtin());
  return **kCatalog;
}

class WireTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (HasFailure() && suite_ != nullptr) std::fprintf(stderr, "%s\n", suite_->Outputs().c_str());
  }

  void Start(bool tls) {
    suite_ = std::make_unique<Suite>(SuiteOptions{.form = Form::kApart, .tls = tls, .peer_tls = false});
    // What is stored is counted in frames; none of them is to be merged meanwhile.
    suite_->process("compactor").Signal(SIGTERM);
    ASSERT_TRUE(suite_->process("compactor").Wait(clock::SteadyNow() + absl::Seconds(20)).ok());
  }

  // A small fleet: a minute of its time is sent in a second.
  WireOptions Options() {
    WireOptions options;
    options.backend = absl::StrCat(suite_->ca_pem().empty() ? "http" : "https", "://localhost:", suite_->port());
    if (!suite_->ca_pem().empty()) {
      options.ca_file = dir_ / "ca.pem";
      EXPECT_TRUE(testing::WriteFile(options.ca_file, suite_->ca_pem()).ok());
    }
    options.registration_secret = log::Secret(Suite::kRegistrationSecret);
    options.state_dir = dir_.path();
    options.collectors = 5;
    options.speed = 60;
    options.duration = absl::Seconds(3);
    options.fleet.statements = 200;
    options.fleet.changed_per_minute = 40;
    options.fleet.tables = 10;
    options.fleet.away_days = 0;
    options.watched["ingest"] = suite_->process("ingest").pid();
    return options;
  }

  std::map<std::string, WireCount> Stored() {
    std::map<std::string, WireCount> stored;
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(30);
    auto connection = pg::CopyConnection::Connect({.url = suite_->databases().metrics_url}, deadline);
    EXPECT_TRUE(connection.ok()) << connection.status();
    if (!connection.ok()) return stored;
    const auto result = (*connection)
                            ->Exec(
                                "SELECT m.name, count(*), sum(f.rows)::int8 FROM metrics.frame f JOIN "
                                "metrics.catalog_metric m ON m.id = f.metric_id GROUP BY m.name",
                                deadline);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return stored;
    for (const pg::Row row : *result) stored[std::string(row.Text(0))] = {.frames = row.Int64(1), .rows = row.Int64(2)};
    return stored;
  }

  int64_t Count(const std::string& sql) {
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Seconds(30);
    auto connection = pg::CopyConnection::Connect({.url = suite_->databases().metrics_url}, deadline);
    if (!connection.ok()) return -1;
    const auto result = (*connection)->Exec(sql, deadline);
    return result.ok() ? (*result)[0].Int64(0) : -1;
  }

  void ExpectStoredOnce(const WireOutcome& outcome) {
    EXPECT_EQ(outcome.pending_batches, 0);
    EXPECT_EQ(outcome.refused, WireCount());
    EXPECT_GT(outcome.sent.size(), 10u);
    EXPECT_GT(outcome.all.rows, 1'000);
    const auto stored = Stored();
    EXPECT_EQ(stored.size(), outcome.sent.size());
    for (const auto& [metric, count] : outcome.sent) {
      const auto found = stored.find(metric);
      ASSERT_NE(found, stored.end()) << metric;
      EXPECT_EQ(found->second.frames, count.frames) << metric;
      EXPECT_EQ(found->second.rows, count.rows) << metric;
    }
    EXPECT_EQ(Count("SELECT count(*) FROM public.metrics"), outcome.all.frames);
    EXPECT_EQ(Count("SELECT count(*) FROM metrics.query_text"), outcome.texts);
    EXPECT_EQ(Count("SELECT count(*) FROM metrics.quarantine"), 0);
  }

  std::unique_ptr<Suite> suite_;
  testing::ScopedTempDir dir_;
};

TEST_F(WireTest, WhatIsSentIsStoredOnce) {
  Start(false);
  const auto outcome = RunWire(Builtin(), Options());
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ExpectStoredOnce(*outcome);
  EXPECT_EQ(static_cast<int64_t>(outcome->ack_ms.size()), outcome->batches);
  EXPECT_GT(outcome->texts, 0);
  // What is counted by the linker's means.
  EXPECT_GT(outcome->costs.fsyncs, 0);
  EXPECT_GT(outcome->costs.zstd_cpu_s, 0);
  EXPECT_GT(outcome->costs.sha_cpu_s, 0);
  EXPECT_LT(outcome->costs.fsync_cpu_s + outcome->costs.zstd_cpu_s + outcome->costs.sha_cpu_s, outcome->cpu_s);
}

TEST_F(WireTest, OverTlsAndAgainFromTheSameFolder) {
  Start(true);
  const auto outcome = RunWire(Builtin(), Options());
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ExpectStoredOnce(*outcome);
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(testing::ReadFile(absl::StrCat(dir_.path(), "/fleetsim-00", i, "/collector.crt")).ok());
  }
  // The folder is used again: nobody enrols anew.
  WireOptions again = Options();
  again.registration_secret = log::Secret("wrong");
  again.backlog = true;
  again.duration = absl::Seconds(1);
  again.texts = false;
  // Other instants than before.
  again.fleet.seed = 2;
  const auto second = RunWire(Builtin(), again);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->pending_batches, 0);
  EXPECT_GT(second->spool_costs.fsyncs, 0);
  EXPECT_EQ(Count("SELECT count(*) FROM public.metrics"), outcome->all.frames + second->all.frames);
}

TEST_F(WireTest, AKilledIngestLosesAndRepeatsNothing) {
  Start(false);
  bool killed = false;
  std::thread killer([this, &killed] {
    killed = testing::WaitUntil([this] { return Count("SELECT count(*) FROM metrics.frame") > 0; }, absl::Seconds(30));
    suite_->process("ingest").Signal(SIGKILL);
    suite_->StartAgain("ingest");
  });
  const auto outcome = RunWire(Builtin(), Options());
  killer.join();
  ASSERT_TRUE(killed);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ExpectStoredOnce(*outcome);
}

TEST(Wire, RefusesOptionsOutOfTheirRanges) {
  WireOptions options;
  options.backend = "http://localhost:1";
  options.state_dir = "/nonexistent";
  const auto code = [&] { return RunWire(Builtin(), options).status().code(); };
  options.collectors = 0;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  options.collectors = 1;
  options.speed = 1001;
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  options.speed = 1;
  options.duration = absl::Hours(7);
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
  options.duration = absl::Seconds(1);
  // Not on this machine.
  options.backend = "http://192.0.2.1:8080";
  EXPECT_EQ(code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pga::fleetsim
