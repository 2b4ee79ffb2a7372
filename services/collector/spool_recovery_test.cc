// Baselines over restarts and damage.
#include "services/collector/spool_testing.h"

namespace pga::collector {
namespace {

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
    // Before each batch but the first is a record that says how far the segment was safe.
    const size_t at = c.head ? bytes.find("PGAR", ends[number - 1] + 1) + 20 : ends[number] - 5;
    bytes[at] = static_cast<char>(bytes[at] ^ 1);
    Spill(path, bytes);
    Open();
    EXPECT_EQ(spool_->stats().rotten_records, 1);
    EXPECT_EQ(spool_->baselines().Find("first") != nullptr, c.first_is_kept);
    EXPECT_EQ(spool_->baselines().Find("second") != nullptr, c.second_is_kept);
    EXPECT_EQ(spool_->stats().baselines_lost > 0, !c.first_is_kept);
  }
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

// Cut between two records, a file looks as if it had ended there; the next one says how long it was.
TEST_F(SpoolTest, SegmentThatIsShorterThanItWasIsReported) {
  options_.segment_bytes = 1000;
  Open();
  SpoolBatch last = Make(2, 600);
  last.baselines.push_back({"t", "", nullptr});
  ASSERT_THAT(AppendOne(Make(1, 600)), IsOk());
  const auto end_of_first = fs::file_size(Segments()[0]);
  ASSERT_THAT(AppendOne(std::move(last)), IsOk());
  Open();
  ASSERT_THAT(AppendOne(Make(3, 600)), IsOk());
  spool_.reset();
  ASSERT_EQ(Segments().size(), 2u);
  fs::resize_file(Segments()[0], end_of_first);
  Open();
  EXPECT_EQ(Pending(), (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(spool_->stats().rotten_records, 1);
  EXPECT_GT(spool_->stats().rotten_bytes, 600);
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
