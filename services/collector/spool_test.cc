// Numbers, acknowledgements, damage, limits and failing disks.
#include "services/collector/spool_testing.h"

namespace pga::collector {
namespace {

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
  // The second write begins with a record that says how far the segment was safe.
  const size_t marked = whole.find("PGAR", first + 1);
  for (size_t cut = first; cut < whole.size(); cut += 3) {
    fs::remove_all(options_.directory);
    fs::create_directory(options_.directory);
    Spill(path, whole.substr(0, cut));
    Open();
    EXPECT_EQ(Pending(), std::vector<int64_t>{1}) << "cut at " << cut;
    const size_t kept = cut < marked ? first : marked;
    EXPECT_EQ(spool_->stats().torn_bytes, static_cast<int64_t>(cut - kept));
    EXPECT_EQ(fs::file_size(path), kept);
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
  // Before the second batch is a record that says how far the segment was safe; nothing is lost with it.
  const size_t second = whole.find("PGAR", ends[0] + 1);
  for (size_t at = ends[0]; at < ends[1]; at += 7) {
    fs::remove_all(options_.directory);
    fs::create_directory(options_.directory);
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    Spill(path, damaged);
    Open();
    EXPECT_EQ(Pending(), (std::vector<int64_t>{1, at < second ? 2 : -2, 3, 4})) << "flip at " << at;
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
  // Space comes from acknowledged batches, even within the replay window.
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

}  // namespace
}  // namespace pga::collector
