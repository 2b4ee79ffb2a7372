#include "services/ingest/write_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "absl/synchronization/notification.h"
#include "libs/clock/steady.h"

namespace pga::ingest {
namespace {

using storage::BatchOutcome;
using storage::BatchResult;
using storage::PreparedBatch;
using ::testing::ElementsAre;

constexpr absl::Duration kLimit = absl::Seconds(20);

std::unique_ptr<PreparedBatch> Batch(int32_t collector, int64_t seq, int32_t rows = 1) {
  auto batch = std::make_unique<PreparedBatch>();
  batch->collector = collector;
  batch->stream_id = std::string(16, 's');
  batch->first_seq = batch->seq = seq;
  batch->row_count = rows;
  return batch;
}

// Answers what a test sets, records the groups, and can be held up.
class ScriptedWriter final : public BatchWriter {
 public:
  struct Script {
    absl::Mutex mutex;
    std::vector<std::vector<std::pair<int32_t, int64_t>>> groups ABSL_GUARDED_BY(mutex);
    bool held ABSL_GUARDED_BY(mutex) = false;
    bool busy ABSL_GUARDED_BY(mutex) = false;
    std::function<BatchResult(const PreparedBatch&)> answer;
    bool Free() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return !held; }
    bool Busy() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) { return busy; }
    void Hold() {
      absl::MutexLock lock(&mutex);
      held = true;
    }
    void Go() {
      absl::MutexLock lock(&mutex);
      held = false;
    }
    void AwaitBusy() {
      absl::MutexLock lock(&mutex);
      ASSERT_TRUE(mutex.AwaitWithTimeout(absl::Condition(this, &Script::Busy), kLimit));
    }
  };
  explicit ScriptedWriter(Script* script) : script_(script) {}
  std::vector<BatchResult> WriteGroup(const std::vector<const PreparedBatch*>& batches) override {
    std::vector<BatchResult> results;
    absl::MutexLock lock(&script_->mutex);
    script_->busy = true;
    EXPECT_TRUE(script_->mutex.AwaitWithTimeout(absl::Condition(script_, &Script::Free), kLimit));
    std::vector<std::pair<int32_t, int64_t>> group;
    for (const PreparedBatch* batch : batches) {
      group.emplace_back(batch->collector, batch->seq);
      BatchResult result;
      result.outcome = BatchOutcome::kCommitted;
      result.last_seq = batch->seq;
      if (script_->answer) result = script_->answer(*batch);
      results.push_back(std::move(result));
    }
    script_->groups.push_back(std::move(group));
    script_->busy = false;
    return results;
  }

 private:
  Script* const script_;
};

// Counts answers and waits for them.
class Answers {
 public:
  WriteQueue::Done For(int32_t collector) {
    return [this, collector](const BatchResult& result) {
      absl::MutexLock lock(&mutex_);
      all_.emplace_back(collector, result);
    };
  }
  void Await(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return all_.size() >= count; };
    ASSERT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&enough), kLimit)) << all_.size() << " of " << count;
  }
  std::vector<int64_t> Seqs(int32_t collector) {
    absl::MutexLock lock(&mutex_);
    std::vector<int64_t> seqs;
    for (const auto& [from, result] : all_) {
      if (from == collector) seqs.push_back(result.last_seq);
    }
    return seqs;
  }
  std::vector<BatchOutcome> Outcomes() {
    absl::MutexLock lock(&mutex_);
    std::vector<BatchOutcome> outcomes;
    for (const auto& [from, result] : all_) outcomes.push_back(result.outcome);
    return outcomes;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::pair<int32_t, BatchResult>> all_ ABSL_GUARDED_BY(mutex_);
};

std::vector<std::unique_ptr<BatchWriter>> Writers(std::vector<ScriptedWriter::Script*> scripts) {
  std::vector<std::unique_ptr<BatchWriter>> writers;
  for (ScriptedWriter::Script* script : scripts) writers.push_back(std::make_unique<ScriptedWriter>(script));
  return writers;
}

TEST(WriteQueue, WhatWaitsIsJoinedToOneGroup) {
  ScriptedWriter::Script script;
  Answers answers;
  WriteQueue queue({}, Writers({&script}), nullptr);
  script.Hold();
  ASSERT_TRUE(queue.Submit(Batch(1, 1), answers.For(1)));
  script.AwaitBusy();
  for (int64_t seq = 2; seq <= 4; ++seq) ASSERT_TRUE(queue.Submit(Batch(1, seq), answers.For(1)));
  ASSERT_TRUE(queue.Submit(Batch(2, 1), answers.For(2)));
  EXPECT_EQ(queue.queued(), 4u);
  script.Go();
  answers.Await(5);
  absl::MutexLock lock(&script.mutex);
  ASSERT_EQ(script.groups.size(), 2u);
  EXPECT_EQ(script.groups[1].size(), 4u);
  EXPECT_THAT(answers.Seqs(1), ElementsAre(1, 2, 3, 4));
}

TEST(WriteQueue, GroupsAreBoundedByRowsAndGiveEveryCollectorItsTurn) {
  ScriptedWriter::Script script;
  Answers answers;
  WriteQueueOptions options;
  options.max_group_rows = 10;
  WriteQueue queue(options, Writers({&script}), nullptr);
  script.Hold();
  ASSERT_TRUE(queue.Submit(Batch(9, 1), answers.For(9)));
  script.AwaitBusy();
  for (int64_t seq = 1; seq <= 6; ++seq) ASSERT_TRUE(queue.Submit(Batch(1, seq, 4), answers.For(1)));
  ASSERT_TRUE(queue.Submit(Batch(2, 1, 4), answers.For(2)));
  script.Go();
  answers.Await(8);
  absl::MutexLock lock(&script.mutex);
  // A group ends at the row limit; the second collector comes second, not last.
  EXPECT_EQ(script.groups[1].size(), 2u);
  EXPECT_EQ(script.groups[2][0].first, 2);
  EXPECT_THAT(answers.Seqs(1), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(WriteQueue, BatchLargerThanAGroupIsWritten) {
  ScriptedWriter::Script script;
  Answers answers;
  WriteQueueOptions options;
  options.max_group_rows = 10;
  WriteQueue queue(options, Writers({&script}), nullptr);
  ASSERT_TRUE(queue.Submit(Batch(1, 1, 1'000), answers.For(1)));
  answers.Await(1);
}

// With two writers on one queue, batch n + 1 could commit before batch n. Here the writer of a collector is slow while
// the other one is idle, and no batch of that collector may overtake.
TEST(WriteQueue, CollectorKeepsItsOrderWhileOneWriterIsSlow) {
  ScriptedWriter::Script even, odd;
  Answers answers;
  WriteQueue queue({}, Writers({&even, &odd}), nullptr);
  even.Hold();
  ASSERT_TRUE(queue.Submit(Batch(2, 1), answers.For(2)));
  even.AwaitBusy();
  for (int64_t seq = 2; seq <= 50; ++seq) ASSERT_TRUE(queue.Submit(Batch(2, seq), answers.For(2)));
  for (int64_t seq = 1; seq <= 50; ++seq) ASSERT_TRUE(queue.Submit(Batch(1, seq), answers.For(1)));
  answers.Await(50);  // those of the idle writer
  EXPECT_TRUE(answers.Seqs(2).empty());
  even.Go();
  answers.Await(100);
  const std::vector<int64_t> seqs = answers.Seqs(2);
  for (size_t i = 0; i < seqs.size(); ++i) ASSERT_EQ(seqs[i], static_cast<int64_t>(i) + 1);
  absl::MutexLock lock(&odd.mutex);
  for (const auto& group : odd.groups) {
    for (const auto& [collector, seq] : group) ASSERT_EQ(collector, 1);
  }
}

// A batch that was put aside, or that the database did not take alone.
class PoisonTest : public ::testing::TestWithParam<BatchOutcome> {};

TEST_P(PoisonTest, SharesNoTransaction) {
  ScriptedWriter::Script script;
  Answers answers;
  script.answer = [outcome = GetParam()](const PreparedBatch& batch) {
    BatchResult result;
    result.outcome = BatchOutcome::kCommitted;
    result.last_seq = batch.seq;
    if (batch.collector == 1 && batch.seq == 1) {
      result.outcome = outcome;
      result.poison = true;
    }
    return result;
  };
  WriteQueue queue({}, Writers({&script}), nullptr);
  ASSERT_TRUE(queue.Submit(Batch(1, 1), answers.For(1)));
  answers.Await(1);
  script.Hold();
  ASSERT_TRUE(queue.Submit(Batch(9, 1), answers.For(9)));
  script.AwaitBusy();
  for (int64_t seq = 2; seq <= 3; ++seq) ASSERT_TRUE(queue.Submit(Batch(1, seq), answers.For(1)));
  for (int64_t seq = 1; seq <= 3; ++seq) ASSERT_TRUE(queue.Submit(Batch(2, seq), answers.For(2)));
  script.Go();
  answers.Await(7);
  absl::MutexLock lock(&script.mutex);
  for (const auto& group : script.groups) {
    for (const auto& [collector, seq] : group) {
      if (collector == 1) {
        EXPECT_EQ(group.size(), 1u) << seq;
      }
    }
  }
  EXPECT_THAT(answers.Seqs(1), ElementsAre(1, 2, 3));
}

INSTANTIATE_TEST_SUITE_P(Outcomes, PoisonTest, ::testing::Values(BatchOutcome::kQuarantined, BatchOutcome::kRetry),
                         [](const auto& test) { return test.param == BatchOutcome::kRetry ? "Retry" : "Quarantined"; });

TEST(WriteQueue, LockedBatchIsTriedAgainAloneAndInOrder) {
  ScriptedWriter::Script script;
  Answers answers;
  int locked = 3;
  script.answer = [&locked](const PreparedBatch& batch) {
    BatchResult result;
    result.last_seq = batch.seq;
    result.outcome = BatchOutcome::kCommitted;
    if (batch.collector == 1 && locked > 0) {
      if (batch.seq == 1) --locked;
      result.outcome = BatchOutcome::kLocked;
      result.retry_after = absl::Milliseconds(5);
    }
    return result;
  };
  WriteQueue queue({}, Writers({&script}), nullptr);
  script.Hold();
  ASSERT_TRUE(queue.Submit(Batch(9, 1), answers.For(9)));
  script.AwaitBusy();
  for (int64_t seq = 1; seq <= 3; ++seq) ASSERT_TRUE(queue.Submit(Batch(1, seq), answers.For(1)));
  ASSERT_TRUE(queue.Submit(Batch(2, 1), answers.For(2)));
  script.Go();
  answers.Await(5);
  EXPECT_THAT(answers.Seqs(1), ElementsAre(1, 2, 3));
  EXPECT_THAT(answers.Outcomes(), ::testing::Each(BatchOutcome::kCommitted));
}

TEST(WriteQueue, LockedForTooLongGoesBackToTheCollector) {
  ScriptedWriter::Script script;
  Answers answers;
  script.answer = [](const PreparedBatch&) {
    BatchResult result;
    result.outcome = BatchOutcome::kLocked;
    result.retry_after = absl::Milliseconds(5);
    return result;
  };
  WriteQueueOptions options;
  options.max_locked_wait = absl::Milliseconds(50);
  WriteQueue queue(options, Writers({&script}), nullptr);
  ASSERT_TRUE(queue.Submit(Batch(1, 1), answers.For(1)));
  answers.Await(1);
  EXPECT_THAT(answers.Outcomes(), ElementsAre(BatchOutcome::kRetry));
}

TEST(WriteQueue, FullQueueRefuses) {
  ScriptedWriter::Script script;
  Answers answers;
  WriteQueueOptions options;
  options.max_queued_batches = 2;
  WriteQueue queue(options, Writers({&script}), nullptr);
  script.Hold();
  ASSERT_TRUE(queue.Submit(Batch(1, 1), answers.For(1)));
  script.AwaitBusy();
  ASSERT_TRUE(queue.Submit(Batch(1, 2), answers.For(1)));
  ASSERT_TRUE(queue.Submit(Batch(1, 3), answers.For(1)));
  EXPECT_FALSE(queue.Submit(Batch(1, 4), answers.For(1)));
  script.Go();
  answers.Await(3);
}

TEST(WriteQueue, DrainWritesWhatIsQueuedAndRefusesMore) {
  ScriptedWriter::Script script;
  Answers answers;
  WriteQueue queue({}, Writers({&script}), nullptr);
  for (int64_t seq = 1; seq <= 100; ++seq) ASSERT_TRUE(queue.Submit(Batch(1, seq), answers.For(1)));
  queue.Drain(clock::SteadyNow() + kLimit);
  answers.Await(100);
  EXPECT_THAT(answers.Outcomes(), ::testing::Each(BatchOutcome::kCommitted));
  EXPECT_FALSE(queue.Submit(Batch(1, 101), answers.For(1)));
}

TEST(WriteQueue, DrainWithoutTimeAnswersRetry) {
  ScriptedWriter::Script script;
  Answers answers;
  WriteQueue queue({}, Writers({&script}), nullptr);
  script.Hold();
  ASSERT_TRUE(queue.Submit(Batch(1, 1), answers.For(1)));
  script.AwaitBusy();
  ASSERT_TRUE(queue.Submit(Batch(1, 2), answers.For(1)));
  std::thread drain([&] { queue.Drain(clock::SteadyNow() - absl::Seconds(1)); });
  // Until the drain has begun.
  size_t submitted = 2;
  while (queue.Submit(Batch(1, static_cast<int64_t>(submitted) + 1), answers.For(1))) ++submitted;
  script.Go();
  drain.join();
  answers.Await(submitted);
  const std::vector<BatchOutcome> outcomes = answers.Outcomes();
  EXPECT_EQ(outcomes.size(), submitted);
  EXPECT_EQ(outcomes[0], BatchOutcome::kCommitted);
  EXPECT_EQ(outcomes[1], BatchOutcome::kRetry);
}

}  // namespace
}  // namespace pga::ingest
