#include "services/collector/spool.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "google/protobuf/arena.h"
#include "libs/clock/fake_clock.h"
#include "libs/frame/batch_codec.h"
#include "libs/log/log.h"
#include "libs/status/testing.h"
#include "services/collector/failpoints.h"
#include "services/collector/spool_writer.h"

namespace pga::collector {
namespace {

namespace fs = std::filesystem;
using ::pga::status::IsOk;
using ::pga::status::IsOkAndHolds;
using ::pga::status::StatusIs;

class SpoolTest : public ::testing::Test {
 protected:
  SpoolTest() {
    log::LogOptions quiet;
    quiet.level = log::Level::off;
    log::Init(quiet);
    // In memory where there is such a place: hundreds of fsyncs on a disk take a while.
    std::string path = access("/dev/shm", W_OK) == 0 ? "/dev/shm/pga_spool_XXXXXX" : "/tmp/pga_spool_XXXXXX";
    root_ = mkdtemp(path.data());
    options_.directory = root_ + "/spool";
    source_ = std::string(16, 's');
  }
  ~SpoolTest() override {
    ArmFailpoints("");
    spool_.reset();
    fs::remove_all(root_);
  }

  void Open() {
    spool_.reset();
    auto spool = Spool::Open(options_, &clock_);
    ASSERT_THAT(spool, IsOk());
    spool_ = *std::move(spool);
  }

  // A batch that can be recognised by its number, with some bulk that does not compress.
  SpoolBatch Make(int64_t number, size_t bulk = 100) {
    SpoolBatch batch;
    auto* source = batch.content.add_sources();
    source->set_source_id(source_);
    source->set_name("db");
    ingestpb::Frame* frame = batch.content.add_frames();
    frame->set_metric("m");
    frame->set_source_id(source_);
    frame->set_interval_start_us(number * 10);
    frame->set_collected_at_us(number * 10 + 10);
    auto* text = batch.content.add_query_texts();
    text->set_source_id(source_);
    text->set_query_id(number);
    std::string bytes(bulk, ' ');
    for (char& c : bytes) c = static_cast<char>('a' + random_() % 26);
    text->set_text(bytes);
    return batch;
  }

  absl::StatusOr<BatchId> AppendOne(SpoolBatch batch) {
    std::vector<SpoolBatch> group;
    group.push_back(std::move(batch));
    return spool_->Append(std::move(group))[0];
  }

  static int64_t Number(const ingestpb::Batch& batch) {
    google::protobuf::Arena arena;
    auto content = frame::OpenBatch(batch, &arena);
    EXPECT_THAT(content, IsOk());
    if (!content.ok() || (*content)->query_texts_size() == 0) return -1;
    return (*content)->query_texts(0).query_id();
  }

  static ingestpb::Gap GapOf(const ingestpb::Batch& batch) {
    google::protobuf::Arena arena;
    auto content = frame::OpenBatch(batch, &arena);
    EXPECT_THAT(content, IsOk());
    return content.ok() ? (*content)->gap() : ingestpb::Gap();
  }

  // Every unacknowledged batch's number, in the order of sending; checks the hash chain.
  std::vector<int64_t> Pending() {
    std::vector<int64_t> numbers;
    for (const SpoolStream& stream : spool_->Streams()) {
      std::string hash;
      for (int64_t seq = stream.last_acked_seq + 1; seq <= stream.last_written_seq; ++seq) {
        auto batch = spool_->Load(stream.stream_id, seq);
        EXPECT_THAT(batch, IsOk());
        if (!batch.ok()) continue;
        if (!hash.empty()) {
          EXPECT_EQ(batch->prev_hash(), hash);
        }
        google::protobuf::Arena arena;
        auto content = frame::OpenBatch(*batch, &arena);
        EXPECT_THAT(content, IsOk());
        if (content.ok() && (*content)->has_gap()) {
          numbers.push_back(-(*content)->gap().last_seq());
          hash = (*content)->gap().hash_after();
          seq = batch->seq();
        } else {
          numbers.push_back(Number(*batch));
          hash = batch->hash();
        }
      }
    }
    return numbers;
  }

  std::vector<fs::path> Segments() {
    std::vector<fs::path> paths;
    for (const auto& item : fs::directory_iterator(options_.directory)) {
      if (item.path().extension() == ".seg") paths.push_back(item.path());
    }
    std::sort(paths.begin(), paths.end());
    return paths;
  }

  static std::string Slurp(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  static void Spill(const fs::path& path, const std::string& bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << bytes;
  }

  std::string root_;
  SpoolOptions options_;
  std::string source_;
  clock::FakeClock clock_;
  std::unique_ptr<Spool> spool_;
  std::mt19937 random_{7};
};

TEST_F(SpoolTest, NumbersWithoutHolesFromOne) {
  Open();
  for (int i = 1; i <= 5; ++i) {
    auto id = AppendOne(Make(i));
    ASSERT_THAT(id, IsOk());
    EXPECT_EQ(id->seq, i);
    EXPECT_EQ(id->stream_id, spool_->live_stream_id());
  }
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 2, 3, 4, 5}));
}

TEST_F(SpoolTest, FilesAreForTheOwnerAlone) {
  Open();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  ASSERT_THAT(spool_->Maintain(true), IsOk());
  for (const auto& item : fs::directory_iterator(options_.directory)) {
    struct stat info {};
    ASSERT_EQ(stat(item.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << item.path();
  }
}

TEST_F(SpoolTest, SecondProcessIsRefused) {
  Open();
  EXPECT_THAT(Spool::Open(options_, &clock_), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(SpoolTest, RestartKeepsBatchesAndOpensAnotherStream) {
  Open();
  const std::string old = spool_->live_stream_id();
  for (int i = 1; i <= 3; ++i) ASSERT_THAT(AppendOne(Make(i)), IsOk());
  Open();
  EXPECT_NE(spool_->live_stream_id(), old);
  ASSERT_THAT(AppendOne(Make(4)), IsOk());
  EXPECT_EQ(Pending(), (std::vector<int64_t>{4, 1, 2, 3}));  // live first
  const auto streams = spool_->Streams();
  ASSERT_EQ(streams.size(), 2u);
  EXPECT_TRUE(streams[1].sealed);
}

TEST_F(SpoolTest, AcksSurviveWithTheNextBatch) {
  Open();
  const std::string old = spool_->live_stream_id();
  for (int i = 1; i <= 3; ++i) ASSERT_THAT(AppendOne(Make(i)), IsOk());
  auto second = spool_->Load(old, 2);
  ASSERT_THAT(second, IsOk());
  EXPECT_TRUE(spool_->Ack(old, 2, second->hash()));
  ASSERT_THAT(AppendOne(Make(4)), IsOk());
  Open();
  EXPECT_EQ(Pending(), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(spool_->Streams()[1].last_acked_hash, second->hash());
}

TEST_F(SpoolTest, TornTailIsCutAtEveryByte) {
  Open();
  ASSERT_THAT(AppendOne(Make(1, 20)), IsOk());
  const size_t first = Slurp(Segments()[0]).size();
  ASSERT_THAT(AppendOne(Make(2, 20)), IsOk());
  spool_.reset();
  const fs::path path = Segments()[0];
  const std::string whole = Slurp(path);
  for (size_t cut = first; cut < whole.size(); cut += 3) {
    fs::remove_all(options_.directory);
    fs::create_directory(options_.directory);
    Spill(path, whole.substr(0, cut));
    Open();
    EXPECT_EQ(Pending(), std::vector<int64_t>{1}) << "cut at " << cut;
    EXPECT_EQ(spool_->stats().torn_bytes, static_cast<int64_t>(cut - first));
    EXPECT_EQ(fs::file_size(path), first);
  }
}

TEST_F(SpoolTest, BitRotLosesOneRecordAndReportsItsNumber) {
  Open();
  std::vector<size_t> ends;
  for (int i = 1; i <= 4; ++i) {
    ASSERT_THAT(AppendOne(Make(i, 60)), IsOk());
    ends.push_back(Slurp(Segments()[0]).size());
  }
  spool_.reset();
  const fs::path path = Segments()[0];
  const std::string whole = Slurp(path);
  for (size_t at = ends[0]; at < ends[1]; at += 7) {
    fs::remove_all(options_.directory);
    fs::create_directory(options_.directory);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    Spill(path, damaged);
    Open();
    EXPECT_EQ(Pending(), (std::vector<int64_t>{1, -2, 3, 4})) << "flip at " << at;
    EXPECT_EQ(spool_->stats().rotten_records, 1);
  }
}

TEST_F(SpoolTest, BitRotWhileRunningIsReportedAsAGapWithItsInterval) {
  Open();
  for (int i = 1; i <= 3; ++i) ASSERT_THAT(AppendOne(Make(i, 60)), IsOk());
  const fs::path path = Segments()[0];
  std::string bytes = Slurp(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  {
    std::fstream out(path, std::ios::in | std::ios::out | std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, -2, 3}));
  bool is_gap = false;
  auto gap = spool_->Load(spool_->live_stream_id(), 2, &is_gap);
  ASSERT_THAT(gap, IsOk());
  EXPECT_TRUE(is_gap);
  EXPECT_THAT(spool_->Load(spool_->live_stream_id(), 3, &is_gap), IsOk());
  EXPECT_FALSE(is_gap);
  const ingestpb::Gap record = GapOf(*gap);
  ASSERT_EQ(record.lost_size(), 1);
  EXPECT_EQ(record.lost(0).start_us(), 20);
  EXPECT_EQ(record.lost(0).end_us(), 30);
  EXPECT_EQ(record.hash_before(), spool_->Load(spool_->live_stream_id(), 1)->hash());
  EXPECT_EQ(record.hash_after(), spool_->Load(spool_->live_stream_id(), 3)->prev_hash());
}

TEST_F(SpoolTest, BatchThatCouldNotBeReadBackIsRefused) {
  Open();
  SpoolBatch many = Make(1);
  for (int i = 0; i < 4000; ++i) {
    auto* source = many.content.add_sources();
    source->set_source_id(absl::StrCat("source ", absl::Dec(i, absl::kZeroPad9)));
  }
  EXPECT_THAT(AppendOne(std::move(many)), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT(AppendOne(Make(2)), IsOk());
  Open();
  EXPECT_EQ(Pending(), std::vector<int64_t>{2});
  EXPECT_EQ(spool_->stats().rotten_records, 0);
}

TEST_F(SpoolTest, LimitRefusesNewBatchesAndKeepsOldOnes) {
  options_.limit_bytes = 20000;
  options_.segment_bytes = 4000;
  Open();
  int accepted = 0;
  absl::Status refused;
  for (int i = 1; i <= 100 && refused.ok(); ++i) {
    refused = AppendOne(Make(i, 1000)).status();
    if (refused.ok()) accepted = i;
  }
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_GT(accepted, 5);
  EXPECT_EQ(Pending().size(), static_cast<size_t>(accepted));
  EXPECT_EQ(spool_->stats().refused_batches, 1);
  // Room comes from acknowledged batches, even within the replay window.
  EXPECT_TRUE(spool_->Ack(spool_->live_stream_id(), accepted, ""));
  EXPECT_THAT(AppendOne(Make(200, 1000)), IsOk());
  EXPECT_EQ(Pending(), std::vector<int64_t>{200});
}

TEST_F(SpoolTest, DropOldestReportsWhatItDropped) {
  options_.limit_bytes = 20000;
  options_.segment_bytes = 4000;
  options_.drop_oldest = true;
  Open();
  for (int i = 1; i <= 60; ++i) ASSERT_THAT(AppendOne(Make(i, 1000)), IsOk());
  auto pending = Pending();
  ASSERT_LT(pending[0], 0);
  const int64_t last_lost = -pending[0];
  EXPECT_EQ(last_lost, spool_->stats().dropped_batches);
  EXPECT_EQ(pending.size(), static_cast<size_t>(60 - last_lost + 1));
  auto gap = spool_->Load(spool_->live_stream_id(), 1);
  ASSERT_THAT(gap, IsOk());
  EXPECT_EQ(gap->seq(), last_lost);
  const ingestpb::Gap record = GapOf(*gap);
  EXPECT_EQ(record.first_seq(), 1);
  EXPECT_EQ(record.lost_size(), last_lost);
  EXPECT_EQ(record.lost(0).source_id(), source_);
  // The next process knows it too.
  Open();
  EXPECT_EQ(Pending().front(), -last_lost);
}

TEST_F(SpoolTest, FullDiskRefusesAndGoesOnWhenThereIsRoom) {
  Open();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  ArmFailpoints("spool.write:1:enospc");
  EXPECT_THAT(AppendOne(Make(2)), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(AppendOne(Make(3)), StatusIs(absl::StatusCode::kResourceExhausted));
  ArmFailpoints("");
  ASSERT_THAT(AppendOne(Make(4)), IsOk());
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 4}));
  Open();
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 4}));
}

TEST_F(SpoolTest, FullDiskAtANewSegmentRefuses) {
  options_.segment_bytes = 500;
  Open();
  ASSERT_THAT(AppendOne(Make(1, 600)), IsOk());
  ArmFailpoints("spool.create:1:enospc");
  EXPECT_THAT(AppendOne(Make(2)), StatusIs(absl::StatusCode::kResourceExhausted));
  ArmFailpoints("");
  ASSERT_THAT(AppendOne(Make(3)), IsOk());
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 3}));
}

TEST_F(SpoolTest, RealFileSizeLimitIsAFullDisk) {
  Open();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  struct rlimit old {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  struct rlimit tight = old;
  tight.rlim_cur = static_cast<rlim_t>(Slurp(Segments()[0]).size() + 100);
  signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  const absl::Status refused = AppendOne(Make(2, 5000)).status();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_THAT(AppendOne(Make(3, 5000)), IsOk());
  Open();
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(spool_->stats().torn_bytes, 0);
}

TEST_F(SpoolTest, FailedFsyncWritesAgainToANewSegment) {
  Open();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  // The point fails until it is disarmed, so both attempts fail: refused, and the stream ends.
  ArmFailpoints("spool.fsync:1:eio");
  EXPECT_FALSE(AppendOne(Make(2)).ok());
  ArmFailpoints("");
  EXPECT_EQ(spool_->stats().fsync_failures, 2);
  auto id = AppendOne(Make(3));
  ASSERT_THAT(id, IsOk());
  EXPECT_EQ(id->seq, 1);
  EXPECT_EQ(Pending(), (std::vector<int64_t>{3, 1}));
  Open();
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 3}));
}

TEST_F(SpoolTest, AcknowledgedSegmentsAreKeptForTheReplayWindow) {
  options_.segment_bytes = 1000;
  Open();
  for (int i = 1; i <= 10; ++i) ASSERT_THAT(AppendOne(Make(i, 800)), IsOk());
  const std::string stream = spool_->live_stream_id();
  EXPECT_TRUE(spool_->Ack(stream, 10, ""));
  ASSERT_THAT(spool_->Maintain(true), IsOk());
  const size_t before = Segments().size();
  EXPECT_GT(before, 3u);
  clock_.Advance(absl::Minutes(10));
  EXPECT_EQ(spool_->Rewind(stream, 4), 6);
  EXPECT_EQ(Pending(), (std::vector<int64_t>{5, 6, 7, 8, 9, 10}));
  EXPECT_TRUE(spool_->Ack(stream, 10, ""));
  ASSERT_THAT(AppendOne(Make(11, 10)), IsOk());
  clock_.Advance(absl::Minutes(16));
  ASSERT_THAT(spool_->Maintain(true), IsOk());
  EXPECT_LE(Segments().size(), 2u);
  // Beyond the window only a numbered gap can be said.
  EXPECT_GT(spool_->Rewind(stream, 4), 0);
  EXPECT_THAT(spool_->Load(stream, 5), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_TRUE(spool_->Ack(stream, 4, std::string(32, 'h')));
  auto gap = spool_->Load(stream, 5);
  ASSERT_THAT(gap, IsOk());
  EXPECT_EQ(GapOf(*gap).hash_before(), std::string(32, 'h'));
}

TEST_F(SpoolTest, StaleLiveStreamIsSealed) {
  Open();
  const std::string first = spool_->live_stream_id();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  clock_.Advance(absl::Seconds(100));
  ASSERT_THAT(AppendOne(Make(2)), IsOk());
  EXPECT_EQ(spool_->live_stream_id(), first);
  clock_.Advance(absl::Seconds(30));
  ASSERT_THAT(AppendOne(Make(3)), IsOk());
  EXPECT_NE(spool_->live_stream_id(), first);
  EXPECT_EQ(Pending(), (std::vector<int64_t>{3, 1, 2}));
}

TEST_F(SpoolTest, AckOfOtherBytesIsAFork) {
  Open();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  const std::string stream = spool_->live_stream_id();
  EXPECT_FALSE(spool_->Ack(stream, 1, std::string(32, 'x')));
  EXPECT_FALSE(spool_->Ack(stream, 2, ""));
  EXPECT_EQ(Pending(), std::vector<int64_t>{1});
}

TEST_F(SpoolTest, RestampMovesBatchesOnceEvenOverARestart) {
  Open();
  for (int i = 1; i <= 4; ++i) ASSERT_THAT(AppendOne(Make(i)), IsOk());
  const std::string old = spool_->live_stream_id();
  EXPECT_TRUE(spool_->Ack(old, 2, ""));
  auto moved = spool_->Restamp(old, 3);
  ASSERT_THAT(moved, IsOk());
  EXPECT_EQ(*moved, 2);
  EXPECT_EQ(Pending(), (std::vector<int64_t>{3, 4}));
  EXPECT_NE(spool_->live_stream_id(), old);
  Open();
  // The old numbers are void; at most a gap of them is offered to the forked stream.
  std::vector<int64_t> numbers;
  for (const int64_t number : Pending()) {
    if (number > 0) numbers.push_back(number);
  }
  EXPECT_EQ(numbers, (std::vector<int64_t>{3, 4}));
}

// What was lost of a forked stream is lost for its source whatever the stream is called.
TEST_F(SpoolTest, RestampTellsWhatWasLostInTheStreamThatGoesOn) {
  Open();
  for (int i = 1; i <= 5; ++i) ASSERT_THAT(AppendOne(Make(i, 60)), IsOk());
  const fs::path path = Segments()[0];
  std::string bytes = Slurp(path);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  Spill(path, bytes);
  const std::string old = spool_->live_stream_id();
  EXPECT_TRUE(spool_->Ack(old, 1, ""));
  // The first of two forks; the second one finds a gap record among what it moves.
  for (int round = 1; round <= 2; ++round) {
    const std::string from = spool_->live_stream_id();
    EXPECT_THAT(spool_->Restamp(from, round == 1 ? 2 : 1), IsOkAndHolds(3));
    ASSERT_NE(spool_->live_stream_id(), from);
    EXPECT_EQ(Pending(), (std::vector<int64_t>{2, 4, 5, -4})) << "round " << round;
    const auto gap = spool_->Load(spool_->live_stream_id(), 4);
    ASSERT_THAT(gap, IsOk());
    const ingestpb::Gap record = GapOf(*gap);
    EXPECT_EQ(record.first_seq(), 4);
    ASSERT_EQ(record.lost_size(), 1);
    EXPECT_EQ(record.lost(0).source_id(), source_);
    EXPECT_EQ(record.lost(0).start_us(), 30);
    EXPECT_EQ(record.lost(0).end_us(), 40);
  }
  // Numbers go on behind the gap, and its hash is the one that acknowledges it.
  ASSERT_THAT(AppendOne(Make(6)), IsOk());
  EXPECT_EQ(Pending(), (std::vector<int64_t>{2, 4, 5, -4, 6}));
  const ingestpb::Gap record = GapOf(*spool_->Load(spool_->live_stream_id(), 4));
  EXPECT_FALSE(spool_->Ack(spool_->live_stream_id(), 4, std::string(32, 'x')));
  EXPECT_TRUE(spool_->Ack(spool_->live_stream_id(), 4, record.hash_after()));
  EXPECT_EQ(Pending(), std::vector<int64_t>{6});
  ASSERT_THAT(AppendOne(Make(7)), IsOk());
  Open();
  std::vector<int64_t> numbers;
  for (const int64_t number : Pending()) {
    if (number > 0) numbers.push_back(number);
  }
  EXPECT_EQ(numbers, (std::vector<int64_t>{6, 7}));
}

TEST_F(SpoolTest, RestampKeepsWhatWasLostBeforeTheFork) {
  options_.limit_bytes = 20000;
  options_.segment_bytes = 4000;
  options_.drop_oldest = true;
  Open();
  for (int i = 1; i <= 30; ++i) ASSERT_THAT(AppendOne(Make(i, 1000)), IsOk());
  const std::string old = spool_->live_stream_id();
  const int64_t lost = spool_->stats().dropped_batches;
  ASSERT_GT(lost, 2);
  // Moving writes, and room is made no more.
  options_.limit_bytes = 1 << 20;
  Open();
  EXPECT_THAT(spool_->Restamp(old, 29), IsOkAndHolds(2));
  EXPECT_EQ(GapOf(*spool_->Load(old, 1)).lost_size(), lost);
  // And of what was dropped, the part that is moved is told where it is moved to.
  EXPECT_THAT(spool_->Restamp(old, 3), IsOkAndHolds(28 - lost));
  EXPECT_EQ(GapOf(*spool_->Load(old, 1)).lost_size(), 2);
  const std::string live = spool_->live_stream_id();
  EXPECT_EQ(GapOf(*spool_->Load(live, 2 + 28 - lost + 1)).lost_size(), lost - 2);
}

TEST_F(SpoolTest, DeltasCountedFromAnOlderStateAreTakenOut) {
  options_.has_counters = [](const std::string& metric) { return metric == "m"; };
  Open();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  const std::string old = spool_->live_stream_id();
  // What the server has of this stream, and when its last reading was taken.
  ASSERT_THAT(spool_->NewestCollected(old), IsOkAndHolds(20));
  for (int i = 2; i <= 4; ++i) {
    if (i > 2) Open();  // younger streams, of this process and of one before it
    SpoolBatch batch = Make(i);
    batch.content.mutable_frames(0)->set_kind(i == 3 ? ingestpb::FRAME_KIND_KEYFRAME : ingestpb::FRAME_KIND_DELTA);
    if (i < 4) batch.content.mutable_frames(0)->set_interval_start_us(15);
    if (i == 2) {
      // Readings of gauges are no increases, wherever the time begins that they speak for.
      ingestpb::Frame gauge = batch.content.frames(0);
      gauge.set_metric("gauges");
      *batch.content.add_frames() = gauge;
    }
    ASSERT_THAT(AppendOne(std::move(batch)), IsOk());
  }
  EXPECT_THAT(spool_->DropDeltas({old, 1}, 20), IsOkAndHolds(1));
  const auto frames = [&] {
    std::vector<std::pair<int64_t, int>> found;  // number, frames
    for (const SpoolStream& stream : spool_->Streams()) {
      for (int64_t seq = stream.last_acked_seq + 1; seq <= stream.last_written_seq; ++seq) {
        const auto batch = spool_->Load(stream.stream_id, seq);
        google::protobuf::Arena arena;
        const auto content = frame::OpenBatch(*batch, &arena);
        if (Number(*batch) > 0) found.emplace_back(Number(*batch), (*content)->frames_size());
      }
    }
    std::sort(found.begin(), found.end());
    return found;
  };
  const std::vector<std::pair<int64_t, int>> expected = {{1, 1}, {2, 1}, {3, 1}, {4, 1}};
  EXPECT_EQ(frames(), expected);
  Open();
  EXPECT_EQ(frames(), expected);
}

// A metric with one label and one counter.
catalogpb::Metric CounterMetric() {
  catalogpb::Metric metric;
  metric.set_name("m");
  metric.set_schema_version(1);
  for (const char* name : {"id", "n"}) {
    auto* column = metric.add_columns();
    column->set_name(name);
    column->set_type(catalogpb::COLUMN_TYPE_INT8);
    column->set_kind(name[0] == 'i' ? catalogpb::COLUMN_KIND_LABEL : catalogpb::COLUMN_KIND_COUNTER);
    column->set_since_schema_version(1);
  }
  return metric;
}

// The increase that the rotten record carried may be stored already: it must not be counted again.
TEST_F(SpoolTest, BitRotTakesTheBaselinesThatNoLaterPatchConfirms) {
  const catalogpb::Metric metric = CounterMetric();
  const MetricShape shape(metric);
  const struct {
    int rotten;  // number of the batch whose record is damaged
    bool snapshot_after = false;
    bool head = false;  // its head, not its body
    bool first_is_kept = false;
    bool second_is_kept = false;
  } cases[] = {
      // Batches 1 and 2 have patches of both trackers, batch 3 one of the first, 4 and 5 none.
      {.rotten = 1},
      {.rotten = 2},
      {.rotten = 2, .head = true},
      {.rotten = 3, .first_is_kept = false, .second_is_kept = false},
      {.rotten = 4, .first_is_kept = false, .second_is_kept = false},
      {.rotten = 2, .snapshot_after = true, .first_is_kept = true, .second_is_kept = true},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.rotten);
    fs::remove_all(options_.directory);
    Open();
    std::vector<size_t> ends = {0};
    std::shared_ptr<const Baseline> first;
    std::shared_ptr<const Baseline> second;
    Observation observation;
    observation.epoch = {1, 1, 1, 1};
    for (int tick = 1; tick <= 5; ++tick) {
      Reading reading(shape);
      reading.AddRow();
      reading.SetInt(0, 1);
      reading.SetInt(1, tick * 100);
      observation.collected_at_us = tick * 1000000;
      SpoolBatch batch = Make(tick, 200);
      const auto add = [&](const char* tracker, std::shared_ptr<const Baseline>* baseline) {
        auto step = Advance(baseline->get(), reading, observation);
        ASSERT_THAT(step, IsOk());
        batch.baselines.push_back({tracker, step->patch, step->next});
        *baseline = step->next;
      };
      if (tick <= 3) add("first", &first);
      if (tick <= 2) add("second", &second);
      ASSERT_THAT(AppendOne(std::move(batch)), IsOk());
      ends.push_back(Slurp(Segments()[0]).size());
    }
    if (c.snapshot_after) {
      ASSERT_THAT(spool_->Maintain(true), IsOk());
    }
    spool_.reset();
    const fs::path path = Segments()[0];
    std::string bytes = Slurp(path);
    const auto number = static_cast<size_t>(c.rotten);
    const size_t at = c.head ? ends[number - 1] + 20 : ends[number] - 5;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    Spill(path, bytes);
    Open();
    EXPECT_EQ(spool_->stats().rotten_records, 1);
    EXPECT_EQ(spool_->baselines().Find("first") != nullptr, c.first_is_kept);
    EXPECT_EQ(spool_->baselines().Find("second") != nullptr, c.second_is_kept);
    EXPECT_EQ(spool_->stats().baselines_lost > 0, !c.first_is_kept);
  }
}

// A batch before which `before` others come, and the baseline of one tracker.
class SpoolGroupTest : public SpoolTest {
 protected:
  SpoolGroupTest() { observation_.epoch = {1, 1, 1, 1}; }

  // Numbers `first` to `last` as one group, with the next reading of the tracker.
  SpoolBatch Group(int64_t first, int64_t last) {
    SpoolBatch group = Make(last, 60);
    for (int64_t number = first; number < last; ++number) group.before.push_back(Make(number, 60).content);
    Reading reading(shape_);
    reading.AddRow();
    reading.SetInt(0, 1);
    reading.SetInt(1, last);
    observation_.collected_at_us += 1000000;
    auto step = Advance(accepted_.get(), reading, observation_);
    EXPECT_THAT(step, IsOk());
    group.baselines.push_back({"tracker", step->patch, step->next});
    next_ = step->next;
    return group;
  }

  std::string DurableBaseline() {
    const auto found = spool_->baselines().Find("tracker");
    return found == nullptr ? "" : found->Serialize();
  }

  const catalogpb::Metric metric_ = CounterMetric();
  const MetricShape shape_{metric_};
  Observation observation_;
  std::shared_ptr<const Baseline> accepted_;
  std::shared_ptr<const Baseline> next_;
};

TEST_F(SpoolGroupTest, IsNumberedInOrderAndKnownByItsLastBatch) {
  Open();
  std::vector<SpoolBatch> batches;
  batches.push_back(Make(1));
  batches.push_back(Group(2, 4));
  batches.push_back(Make(5));
  const auto results = spool_->Append(std::move(batches));
  ASSERT_EQ(results.size(), 3u);
  for (const auto& result : results) ASSERT_THAT(result, IsOk());
  EXPECT_EQ(results[0]->seq, 1);
  EXPECT_EQ(results[1]->seq, 4);
  EXPECT_EQ(results[2]->seq, 5);
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(spool_->baselines().Find("tracker"), next_);
  Open();
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 2, 3, 4, 5}));
  EXPECT_EQ(DurableBaseline(), next_->Serialize());
}

TEST_F(SpoolGroupTest, CutOffAtAnyByteItNeverWas) {
  Open();
  ASSERT_THAT(AppendOne(Group(1, 1)), IsOk());
  accepted_ = next_;
  const size_t first = Slurp(Segments()[0]).size();
  ASSERT_THAT(AppendOne(Group(2, 4)), IsOk());
  spool_.reset();
  const fs::path path = Segments()[0];
  const std::string whole = Slurp(path);
  const auto start = [&](const std::string& bytes) {
    fs::remove_all(options_.directory);
    fs::create_directory(options_.directory);
    Spill(path, bytes);
    Open();
  };
  for (size_t cut = first; cut < whole.size(); cut += 3) {
    start(whole.substr(0, cut));
    ASSERT_EQ(Pending(), std::vector<int64_t>{1}) << "cut at " << cut;
    ASSERT_EQ(DurableBaseline(), accepted_->Serialize()) << "cut at " << cut;
    EXPECT_EQ(spool_->stats().torn_bytes, static_cast<int64_t>(cut - first));
    EXPECT_EQ(fs::file_size(path), first);
    EXPECT_EQ(spool_->stats().baselines_lost, 0);
  }
  start(whole);
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(DurableBaseline(), next_->Serialize());
}

// Of what a snapshot was taken of, nothing was cut off: it rotted.
TEST_F(SpoolGroupTest, MissingEndOfAnAcceptedGroupIsReported) {
  Open();
  ASSERT_THAT(AppendOne(Group(1, 3)), IsOk());
  ASSERT_THAT(spool_->Maintain(true), IsOk());
  spool_.reset();
  const fs::path path = Segments()[0];
  const std::string whole = Slurp(path);
  Spill(path, whole.substr(0, whole.size() - 10));
  Open();
  EXPECT_EQ(DurableBaseline(), next_->Serialize());
  EXPECT_EQ(Pending(), std::vector<int64_t>{-2});
}

// A damaged head in the middle: what is left of the group may not be counted, and its baseline is not to be trusted.
TEST_F(SpoolGroupTest, BrokenGroupIsReportedAsAGap) {
  for (const int64_t broken : {2, 3, 4}) {
    SCOPED_TRACE(broken);
    fs::remove_all(options_.directory);
    accepted_.reset();
    Open();
    ASSERT_THAT(AppendOne(Make(1, 60)), IsOk());
    ASSERT_THAT(AppendOne(Group(2, 4)), IsOk());
    ASSERT_THAT(AppendOne(Make(5, 60)), IsOk());
    spool_.reset();
    const fs::path path = Segments()[0];
    std::string bytes = Slurp(path);
    size_t at = 0;
    for (int64_t i = 1; i < broken; ++i) at = bytes.find("PGAR", at + 1);
    ++bytes[at + 30];
    Spill(path, bytes);
    Open();
    EXPECT_EQ(Pending(), (std::vector<int64_t>{1, -4, 5}));
    EXPECT_EQ(DurableBaseline(), "");
  }
}

TEST_F(SpoolGroupTest, RefusedAsAWhole) {
  Open();
  ASSERT_THAT(AppendOne(Group(1, 2)), IsOk());
  accepted_ = next_;
  // A disk that is full at the second record.
  ArmFailpoints("spool.write:2:enospc");
  EXPECT_THAT(AppendOne(Group(3, 5)), StatusIs(absl::StatusCode::kResourceExhausted));
  ArmFailpoints("spool.fsync:1:eio");
  EXPECT_FALSE(AppendOne(Group(3, 5)).ok());
  ArmFailpoints("");
  // One that is too large.
  SpoolBatch large = Group(3, 5);
  for (int i = 0; i < 4000; ++i) {
    large.before[1].add_sources()->set_source_id(absl::StrCat("source ", absl::Dec(i, absl::kZeroPad9)));
  }
  EXPECT_THAT(AppendOne(std::move(large)), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(spool_->baselines().Find("tracker"), accepted_);
  ASSERT_THAT(AppendOne(Make(6)), IsOk());
  EXPECT_EQ(Pending(), (std::vector<int64_t>{6, 1, 2}));
  Open();
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 2, 6}));
  EXPECT_EQ(DurableBaseline(), accepted_->Serialize());
}

TEST_F(SpoolGroupTest, NeedsRoomAsAWhole) {
  options_.limit_bytes = 1500;
  Open();
  ASSERT_THAT(AppendOne(Make(1, 60)), IsOk());
  EXPECT_THAT(AppendOne(Group(2, 9)), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(spool_->stats().refused_batches, 1);
  ASSERT_THAT(AppendOne(Make(10, 60)), IsOk());
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 10}));
}

// Each batch of a group is acknowledged, sent again and moved by itself.
TEST_F(SpoolGroupTest, IsDeliveredBatchByBatch) {
  Open();
  ASSERT_THAT(AppendOne(Group(1, 3)), IsOk());
  const std::string old = spool_->live_stream_id();
  EXPECT_TRUE(spool_->Ack(old, 1, ""));
  EXPECT_EQ(Pending(), (std::vector<int64_t>{2, 3}));
  EXPECT_THAT(spool_->Restamp(old, 2), IsOkAndHolds(2));
  EXPECT_EQ(Pending(), (std::vector<int64_t>{2, 3}));
  Open();
  std::vector<int64_t> numbers;
  for (const int64_t number : Pending()) {
    if (number > 0) numbers.push_back(number);
  }
  EXPECT_EQ(numbers, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(DurableBaseline(), next_->Serialize());
}

// Baselines come back exactly as of the last accepted batch, whatever was snapshot and whatever was refused.
TEST_F(SpoolTest, BaselinesComeBackAsOfTheLastAcceptedBatch) {
  const catalogpb::Metric metric = CounterMetric();
  const MetricShape shape(metric);
  for (uint32_t seed = 1; seed <= 25; ++seed) {
    std::mt19937 random(seed);
    fs::remove_all(options_.directory);
    options_.segment_bytes = 3000;
    options_.snapshot_patch_bytes = 1500;
    Open();
    std::shared_ptr<const Baseline> accepted;
    int64_t value = 0;
    Observation observation;
    observation.epoch = {1, 1, 1, 1};
    for (int tick = 1; tick <= 60; ++tick) {
      value += static_cast<int64_t>(random() % 50);
      Reading reading(shape);
      for (int id = 0; id < 5; ++id) {
        reading.AddRow();
        reading.SetInt(0, id);
        reading.SetInt(1, value * (id + 1));
      }
      observation.collected_at_us = tick * 1000000;
      auto step = Advance(accepted.get(), reading, observation);
      ASSERT_THAT(step, IsOk());
      SpoolBatch batch = Make(tick, 200);
      batch.baselines.push_back({"tracker", step->patch, step->next});
      const int fate = static_cast<int>(random() % 10);
      if (fate == 0) ArmFailpoints("spool.write:1:enospc");
      if (fate == 1) ArmFailpoints("spool.fsync:1:eio");
      auto id = AppendOne(std::move(batch));
      ArmFailpoints("");
      EXPECT_EQ(id.ok(), fate > 1);
      if (id.ok()) {
        accepted = step->next;
        if (random() % 2 == 0) {
          EXPECT_TRUE(spool_->Ack(id->stream_id, id->seq, ""));
        }
      }
      ASSERT_THAT(spool_->Maintain(random() % 10 == 0), IsOk());
      clock_.Advance(absl::Minutes(1));
      if (random() % 7 == 0) {
        Open();
        const auto found = spool_->baselines().Find("tracker");
        ASSERT_EQ(found == nullptr, accepted == nullptr) << "seed " << seed;
        if (found != nullptr) {
          ASSERT_EQ(found->Serialize(), accepted->Serialize()) << "seed " << seed;
        }
        EXPECT_EQ(spool_->stats().baselines_lost, 0);
      }
    }
  }
}

TEST_F(SpoolTest, DamagedSnapshotIsReportedAndTheLogStillReads) {
  Open();
  ASSERT_THAT(AppendOne(Make(1)), IsOk());
  SpoolBatch batch = Make(2);
  batch.baselines.push_back({"t", "", nullptr});
  spool_.reset();
  Spill(options_.directory + "/baselines.snap", "PGASNAP1 not a snapshot at all");
  Open();
  EXPECT_EQ(Pending(), std::vector<int64_t>{1});
  EXPECT_EQ(spool_->stats().baselines_lost, 1);
}

TEST_F(SpoolTest, RandomGarbageNeverStopsTheStart) {
  for (uint32_t seed = 1; seed <= 40; ++seed) {
    std::mt19937 random(seed);
    fs::remove_all(options_.directory);
    Open();
    for (int i = 1; i <= 5; ++i) ASSERT_THAT(AppendOne(Make(i)), IsOk());
    ASSERT_THAT(spool_->Maintain(true), IsOk());
    spool_.reset();
    for (const auto& item : fs::directory_iterator(options_.directory)) {
      std::string bytes = Slurp(item.path());
      for (int k = 0; k < 20 && !bytes.empty(); ++k) bytes[random() % bytes.size()] = static_cast<char>(random());
      Spill(item.path(), bytes);
    }
    Open();
    (void)Pending();
    ASSERT_THAT(AppendOne(Make(9)), IsOk());
  }
}

TEST_F(SpoolTest, WriterSaysWhatIsSafeAndSnapshotsAtTheEnd) {
  Open();
  SpoolWriter writer(spool_.get(), 100);
  std::atomic<int> woken{0};
  writer.set_on_accepted([&] { ++woken; });
  std::atomic<int> safe{0};
  for (int i = 1; i <= 50; ++i) {
    ASSERT_TRUE(writer.Submit(Make(i), [&](absl::StatusOr<BatchId> id) { safe += id.ok() ? 1 : 0; }));
  }
  auto moved = writer.Restamp(spool_->live_stream_id(), 1);
  ASSERT_THAT(moved, IsOk());
  writer.Stop();
  EXPECT_EQ(safe, 50);
  EXPECT_GE(woken, 1);
  EXPECT_FALSE(writer.Submit(Make(1), nullptr));
  EXPECT_EQ(Pending().size(), 50u);
}

}  // namespace
}  // namespace pga::collector
