// What is moved to another stream: forks, and increases that are taken out.
#include "services/collector/spool_testing.h"

namespace pga::collector {
namespace {

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

// The record of a moved batch is damaged: the numbers it had before stay void, and what is not there is said to be
// lost.
TEST_F(SpoolTest, DamageBringsNoFormerNumberBack) {
  struct Case {
    const char* name;
    int moves;
    // Which of the batch's records is made unreadable, from 0, and what is pending then.
    int damaged;
    std::vector<int64_t> pending;
  };
  for (const Case& c : std::vector<Case>{
           {"moved twice, the first move's record", 2, 1, {1, 2}},
           {"moved twice, the first record", 2, 0, {1, 2}},
           {"moved twice, the last record", 2, 2, {-1, 2}},
           {"moved once, its record", 1, 1, {-1, 2}},
           {"moved once, the first record", 1, 0, {1, 2}},
       }) {
    SCOPED_TRACE(c.name);
    spool_.reset();
    fs::remove_all(options_.directory);
    Open();
    ASSERT_THAT(AppendOne(Make(1)), IsOk());
    std::vector<BatchId> places = {{spool_->live_stream_id(), 1}};
    for (int i = 0; i < c.moves; ++i) {
      ASSERT_THAT(spool_->Restamp(spool_->live_stream_id(), 1), IsOkAndHolds(1));
      places.push_back({spool_->live_stream_id(), 1});
    }
    ASSERT_THAT(AppendOne(Make(2)), IsOk());
    spool_.reset();
    ASSERT_EQ(Segments().size(), 1u);
    std::string bytes = Slurp(Segments()[0]);
    const std::string whole = bytes;
    RecordScanner scanner(whole);
    for (RecordScanner::Found found; scanner.Next(&found);) {
      const RecordHead& head = found.record.head;
      if (head.type == RecordType::kBatch &&
          BatchId{head.stream_id, head.seq} == places[static_cast<size_t>(c.damaged)]) {
        bytes[found.offset] = 'p';
      }
    }
    ASSERT_NE(bytes, whole);
    Spill(Segments()[0], bytes);
    Open();
    EXPECT_EQ(Pending(), c.pending);
  }
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
  // And of what was dropped, the part that is moved is reported where it is moved to.
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

}  // namespace
}  // namespace pga::collector
