// A collector goes on after its suite's databases were restored from a backup: what was acknowledged after the backup
// is sent again and counted once, and nothing is reported as lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "libs/backup/backup_key.h"
#include "libs/backup/create.h"
#include "libs/backup/dump_source.h"
#include "libs/backup/restore.h"
#include "libs/backup/vault.h"
#include "libs/clock/steady.h"
#include "libs/pg/conninfo.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/integration/suite.h"

namespace pga {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(90);

class BackupDelivery : public ::testing::Test {
 protected:
  BackupDelivery() : suite_({.env = {{"INGEST_HELLOS_PER_MINUTE", "0"}}}) {}

  void SetUp() override {
    auto server = testing::TempPostgres::Start({});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->Exec("postgres", "CREATE TABLE work (n int8)").ok());
    metrics_ = *pg::ConninfoValue(suite_.databases().metrics_url, "dbname");
  }

  void StartCollector() {
    auto started =
        testing::Subprocess::Start({.argv = {testing::Program("pganalytics-collector")},
                                    .env = {{"COLLECTOR_ID", "one"},
                                            {"STATE_DIR", dir_ / "state"},
                                            {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", suite_.port())},
                                            {"BACKEND_RETRY_MAX", "1"},
                                            {"REGISTRATION_SECRET", integration::Suite::kRegistrationSecret},
                                            {"SOURCE_NAME", "db"},
                                            {"POSTGRES_HOST", server_->socket_dir()},
                                            {"POSTGRES_PORT", absl::StrCat(server_->port())},
                                            {"COLLECTION_INTERVAL", "1"},
                                            {"HOST_METRICS", "false"},
                                            {"METRICS_LISTEN", "off"}},
                                    .output_path = dir_ / "log"});
    ASSERT_TRUE(started.ok()) << started.status();
    collector_ = *std::move(started);
  }
  // The first reading has nothing of the work.
  void AwaitFirstFrame() {
    ASSERT_TRUE(testing::WaitUntil(
        [&] {
          return Number(
                     "SELECT count(*) FROM readable.table_stats(now() - interval '1 day', now() + interval '1 day') "
                     "WHERE relname = 'work'") > 0;
        },
        kPatience))
        << Logs();
  }

  int64_t Number(const std::string& sql) {
    const auto result = testing::SharedPostgres()->Exec(metrics_, sql);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() && !result->empty() ? (*result)[0].Int64(0) : -1;
  }
  // Key frame and increases: what is stored of the worked table.
  int64_t Stored() {
    return Number(
        "WITH t AS (SELECT * FROM readable.table_stats(now() - interval '1 day', now() + interval '1 day') WHERE "
        "relname = 'work') SELECT coalesce((SELECT n_tup_ins FROM t WHERE kind = 'keyframe' ORDER BY \"time\" LIMIT "
        "1), "
        "0)::int8 + coalesce((SELECT sum(n_tup_ins) FROM t WHERE kind = 'delta'), 0)::int8");
  }
  // What the server itself counts.
  int64_t Counted() {
    const auto counted = server_->Exec("postgres", "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'work'");
    return counted.ok() && !counted->empty() ? (*counted)[0].Int64(0) : -1;
  }
  // Rows, and the moment at which all of them are stored.
  void Work(int64_t rows) {
    done_ += rows;
    ASSERT_TRUE(server_->Exec("postgres", absl::StrCat("INSERT INTO work SELECT generate_series(1, ", rows, ")")).ok());
    ASSERT_TRUE(testing::WaitUntil([&] { return Counted() == done_; }, kPatience));
    // Stored before more is done, so that the increases are several.
    ASSERT_TRUE(testing::WaitUntil([&] { return Stored() >= done_; }, kPatience))
        << Stored() << " of " << done_ << Logs();
  }
  std::string Logs() { return absl::StrCat("\n", collector_->Output(), suite_.Outputs()); }

  backup::BackupKey Key() { return *backup::BackupKey::FromText(std::string(64, 'a')); }

  void Backup() {
    backup::CreateOptions options;
    options.metadata_url = suite_.databases().metadata_url;
    options.metrics_url = suite_.databases().metrics_url;
    const auto made = backup::CreateBackup(backup::Vault(dir_ / "vault"), Key(), options);
    ASSERT_TRUE(made.ok()) << made.status();
    manifest_ = *made;
  }

  void Restore() {
    backup::RestoreOptions options;
    options.metadata_url = suite_.databases().metadata_url;
    options.metrics_url = suite_.databases().metrics_url;
    options.replace = true;
    const backup::BackupKey key = Key();
    std::vector<std::unique_ptr<backup::DumpSource>> sources;
    for (const backup::ManifestDatabase& database : manifest_.databases) {
      auto source = backup::OpenSealed(absl::StrCat(dir_ / "vault", "/", manifest_.id), manifest_, database, key);
      ASSERT_TRUE(source.ok()) << source.status();
      sources.push_back(*std::move(source));
    }
    const absl::Status restored = backup::Restore(std::move(sources), options);
    ASSERT_TRUE(restored.ok()) << restored;
  }

  void StopSuite() {
    suite_.process("pganalytics-api").Signal(SIGTERM);
    ASSERT_TRUE(suite_.process("pganalytics-api").Wait(clock::SteadyNow() + kPatience).ok());
  }

  integration::Suite suite_;
  testing::ScopedTempDir dir_;
  std::unique_ptr<testing::TempPostgres> server_;
  std::unique_ptr<testing::Subprocess> collector_;
  std::string metrics_;
  backup::Manifest manifest_;
  int64_t done_ = 0;
};

TEST_F(BackupDelivery, NothingIsCountedTwiceAndNothingIsLost) {
  StartCollector();
  AwaitFirstFrame();
  Work(7);
  Work(11);
  Backup();
  const int64_t at_backup = done_;
  Work(1'000);
  Work(3'000);
  const int64_t frames = Number("SELECT metrics.frame_count()");
  StopSuite();
  Restore();
  ASSERT_LT(Number("SELECT metrics.frame_count()"), frames) << "an older state";
  ASSERT_LE(Stored(), at_backup);
  suite_.StartAgain("pganalytics-api");
  Work(50'000);
  EXPECT_EQ(Stored(), done_);
  EXPECT_EQ(Counted(), done_);
  EXPECT_EQ(Number("SELECT count(*) FROM metrics.lost_interval"), 0);
  EXPECT_EQ(Number("SELECT count(*) FROM metrics.quarantine"), 0);
  // Every batch once.
  EXPECT_EQ(Number("SELECT count(*) FROM (SELECT FROM metrics.ingest_receipt GROUP BY stream_id, seq HAVING count(*) > "
                   "1) twice"),
            0);
}

}  // namespace
}  // namespace pga
