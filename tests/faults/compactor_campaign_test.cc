// Kills compactors at every step of a merge and of a fold in turn, and at random moments, and the whole server now and
// then, while two of them work at once, frames are stored and sums are read. Every snapshot that is read holds exactly
// what was stored by then, at every level: no frame is lost, none is there twice, not even while it is moved.
//
// PGA_COMPACTOR_KILLS says how many compactors are killed (40); PGA_FAULT_SEED repeats a campaign.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/storage/upkeep/upkeep.h"
#include "libs/storage/upkeep/upkeep_testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"

namespace pga {
namespace {

using storage::StoredSums;
using storage::TestFrame;
using storage::UpkeepDatabase;

class CompactorProcess {
 public:
  CompactorProcess(std::string url, std::string log) : url_(std::move(url)), log_(std::move(log)) {}

  void Start(const std::string& point, int64_t count) {
    testing::SubprocessOptions options;
    options.argv = {testing::Program("compactor_under_test"), url_, point, absl::StrCat(count)};
    options.output_path = absl::StrCat(log_, ".", ++starts_);
    auto process = testing::Subprocess::Start(options);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = *std::move(process);
  }
  void Kill() { process_.reset(); }
  // Whether it ended by itself, at its moment.
  bool Died(absl::Duration limit) {
    const auto code = process_->Wait(clock::SteadyNow() + limit);
    return code.ok() && *code == 128 + SIGKILL;
  }
  void Terminate() {
    process_->Signal(SIGTERM);
    const auto code = process_->Wait(clock::SteadyNow() + absl::Seconds(30));
    ASSERT_TRUE(code.ok()) << code.status() << "\n" << process_->Output();
    EXPECT_EQ(*code, 0) << process_->Output();
  }

 private:
  const std::string url_, log_;
  int starts_ = 0;
  std::unique_ptr<testing::Subprocess> process_;
};

// Stores frames and reads sums, each on a thread of its own, through whatever happens to the server.
class Traffic {
 public:
  Traffic(UpkeepDatabase* database, uint64_t seed) : database_(*database), seed_(seed) {
    for (const char* name : {"alpha", "beta"}) sources_.push_back(database_.Source(name));
    for (const char* name : {"first", "second"}) metrics_.push_back(database_.Metric(name));
    writer_ = std::thread([this] { Write(); });
    for (int i = 0; i < 2; ++i) readers_.emplace_back([this] { Read(); });
  }
  ~Traffic() { Stop(); }
  void StopWriting() {
    writing_ = false;
    if (writer_.joinable()) writer_.join();
  }
  void Stop() {
    StopWriting();
    reading_ = false;
    for (std::thread& reader : readers_) {
      if (reader.joinable()) reader.join();
    }
  }
  int64_t reads() const { return reads_; }
  int64_t writes() const { return writes_; }
  // What was wrong in the first answer that was; empty = none.
  std::string Wrong() const {
    absl::MutexLock lock(&mutex_);
    return wrong_;
  }
  static std::string Check(const StoredSums& sums) {
    for (int level = storage::kRawLevel; level <= storage::kDayLevel; ++level) {
      if (sums.calls[static_cast<size_t>(level)] != sums.expected_calls) {
        return absl::StrCat("level ", level, " adds up to ", sums.calls[static_cast<size_t>(level)], " of ",
                            sums.expected_calls);
      }
    }
    if (sums.frames != sums.expected_frames) {
      return absl::StrCat(sums.frames, " frames of ", sums.expected_frames);
    }
    return "";
  }

 private:
  absl::StatusOr<std::unique_ptr<pg::CopyConnection>> Connect() {
    return pg::CopyConnection::Connect({.url = database_.url()}, clock::SteadyNow() + absl::Seconds(5));
  }

  void Write() {
    std::mt19937_64 random(seed_);
    std::unique_ptr<pg::CopyConnection> connection;
    // Frames of the last two days in any order, so that merges make additive pieces and cross midnights.
    int64_t number = 0;
    while (writing_) {
      if (connection == nullptr || !connection->ok()) {
        auto connected = Connect();
        if (!connected.ok()) {
          testing::WaitUntil([&] { return !writing_; }, absl::Milliseconds(20));
          continue;
        }
        connection = *std::move(connected);
      }
      std::vector<TestFrame> frames;
      for (int i = 0; i < 12; ++i) {
        TestFrame frame;
        frame.source = sources_[random() % sources_.size()];
        frame.metric = metrics_[random() % metrics_.size()];
        // A number of its own in each instant: a repeat after an unknown outcome is no duplicate.
        frame.end =
            absl::FromUnixMicros(absl::ToUnixMicros(clock::WallNow() - absl::Hours(3)) / 1'000'000 * 1'000'000) -
            absl::Seconds(static_cast<int64_t>(random() % 170'000)) + absl::Microseconds(++number % 1'000'000);
        frame.start = frame.end - (random() % 20 == 0 ? absl::Hours(7) : absl::Seconds(61));
        frame.kind = random() % 10 == 0 ? 2 : 1;
        frame.first_key = static_cast<int64_t>(random() % 30);
        for (uint64_t row = 0; row < 1 + random() % 8; ++row) {
          frame.calls.push_back(static_cast<int64_t>(random() % 10'000));
        }
        frames.push_back(std::move(frame));
      }
      if (UpkeepDatabase::Store(*connection, frames).ok()) {
        ++writes_;
      } else {
        // The sum of what is there is kept in the same transaction, so nothing has to be known of its outcome.
        connection.reset();
      }
      testing::WaitUntil([&] { return !writing_; }, absl::Milliseconds(15));
    }
  }

  void Read() {
    std::unique_ptr<pg::CopyConnection> connection;
    while (reading_) {
      if (connection == nullptr || !connection->ok()) {
        auto connected = Connect();
        if (!connected.ok()) {
          testing::WaitUntil([&] { return !reading_; }, absl::Milliseconds(20));
          continue;
        }
        connection = *std::move(connected);
      }
      // Over several nodes a statement has one snapshot per source.
      const auto sums = UpkeepDatabase::Sums(*connection, layout_ == storage::Layout::kCitus
                                                              ? std::optional(sources_[reads_ % sources_.size()])
                                                              : std::nullopt);
      if (!sums.ok()) {
        // A block that does not open is a finding; a lost connection is not.
        if (absl::IsInvalidArgument(sums.status())) Note(std::string(sums.status().message()));
        connection.reset();
        continue;
      }
      ++reads_;
      Note(Check(*sums));
    }
  }

  void Note(const std::string& wrong) {
    absl::MutexLock lock(&mutex_);
    if (wrong_.empty()) wrong_ = wrong;
  }

  UpkeepDatabase& database_;
  const storage::Layout layout_ = storage::MetricsDatabase::TestLayout();
  const uint64_t seed_;
  std::vector<int32_t> sources_;
  std::vector<int16_t> metrics_;
  std::atomic<bool> writing_{true}, reading_{true};
  std::atomic<int64_t> reads_{0}, writes_{0};
  mutable absl::Mutex mutex_;
  std::string wrong_ ABSL_GUARDED_BY(mutex_);
  std::thread writer_;
  std::vector<std::thread> readers_;
};

TEST(CompactorCampaign, EverySnapshotHoldsWhatWasStored) {
  const int64_t kills = testing::Setting("PGA_COMPACTOR_KILLS", 40);
  const int64_t seed = testing::Setting("PGA_FAULT_SEED", absl::ToUnixMillis(clock::WallNow()) % 1'000'000);
  std::printf("campaign of %ld kills with PGA_FAULT_SEED=%ld\n", static_cast<long>(kills), static_cast<long>(seed));
  std::mt19937_64 random(static_cast<uint64_t>(seed));
  auto database = UpkeepDatabase::Create({"first", "second"});
  ASSERT_NE(database, nullptr);
  testing::ScopedTempDir dir;
  CompactorProcess compactors[2] = {{database->url(), dir / "one.log"}, {database->url(), dir / "two.log"}};
  Traffic traffic(database.get(), static_cast<uint64_t>(seed));

  // Moments of merges and folds, each in turn.
  std::vector<std::string> points;
  for (int i = 0; i <= static_cast<int>(storage::UpkeepPoint::kFoldCommitted); ++i) {
    points.emplace_back(storage::NameOf(static_cast<storage::UpkeepPoint>(i)));
  }
  std::map<std::string, int> faults;
  const auto restart = [&](CompactorProcess& compactor, int64_t number) {
    compactor.Start(points[static_cast<size_t>(number) % points.size()], static_cast<int64_t>(random() % 6));
  };
  restart(compactors[0], 0);
  restart(compactors[1], 1);
  for (int64_t kill = 0; kill < kills && traffic.Wrong().empty(); ++kill) {
    CompactorProcess& victim = compactors[kill % 2];
    if (kill % 10 == 9) {
      testing::SharedPostgres()->KillServer();
      ASSERT_TRUE(testing::SharedPostgres()->StartServer().ok()) << testing::SharedPostgres()->Log();
      ++faults["PostgreSQL"];
    }
    if (kill % 4 == 3) {
      clock::SleepFor(absl::Microseconds(random() % 150'000));
      victim.Kill();
      ++faults["a random moment"];
    } else {
      const std::string& point = points[static_cast<size_t>(kill) % points.size()];
      // Where nothing is left to fold its moment does not come: any moment then.
      ++faults[victim.Died(absl::Seconds(4)) ? point : "a random moment"];
      victim.Kill();
    }
    restart(victim, kill + 2);
  }
  for (const auto& [what, count] : faults) std::printf("%3d x %s\n", count, what.c_str());
  EXPECT_EQ(traffic.Wrong(), "");
  traffic.StopWriting();

  // Two that nobody kills move all that is left.
  for (CompactorProcess& compactor : compactors) {
    compactor.Kill();
    compactor.Start("-", 0);
  }
  EXPECT_TRUE(testing::WaitUntil([&] { return database->Number("SELECT count(*) FROM metrics.frame") == 0; },
                                 absl::Seconds(60)));
  for (CompactorProcess& compactor : compactors) compactor.Terminate();
  traffic.Stop();
  const StoredSums sums = database->Sums();
  EXPECT_EQ(Traffic::Check(sums), "");
  EXPECT_EQ(traffic.Wrong(), "");
  EXPECT_EQ(database->Number("SELECT count(*) FROM metrics.quarantine"), 0);
  EXPECT_GT(sums.frames, 0);
  EXPECT_GT(traffic.reads(), kills);
  // Most moments came.
  EXPECT_GE(faults.size(), kills >= 40 ? points.size() - 2 : 1);
  std::printf("%ld frames in %ld blocks, %ld transactions stored, %ld snapshots read\n", static_cast<long>(sums.frames),
              static_cast<long>(sums.blocks), static_cast<long>(traffic.writes()), static_cast<long>(traffic.reads()));
}

}  // namespace
}  // namespace pga
