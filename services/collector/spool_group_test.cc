// Batches that are accepted together.
#include "services/collector/spool_testing.h"

namespace pga::collector {
namespace {

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
  // The group's write begins with a record that says how far the segment was safe.
  const size_t marked = whole.find("PGAR", first + 1);
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
    const size_t kept = cut < marked ? first : marked;
    EXPECT_EQ(spool_->stats().torn_bytes, static_cast<int64_t>(cut - kept));
    EXPECT_EQ(fs::file_size(path), kept);
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
    // A record that says how far the segment was safe comes before the group's.
    for (int64_t i = 0; i < broken; ++i) at = bytes.find("PGAR", at + 1);
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

}  // namespace
}  // namespace pga::collector
