#include "services/collector/outbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <filesystem>
#include <optional>
#include <set>

#include "google/protobuf/arena.h"
#include "libs/clock/fake_clock.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/frame_reader.h"
#include "libs/log/log.h"
#include "libs/status/testing.h"
#include "services/collector/failpoints.h"

namespace pga::collector {
namespace {

namespace fs = std::filesystem;
using ::pga::status::IsOk;

constexpr int64_t kSecond = 1000000;
constexpr int64_t kStart = int64_t{1800000000} * kSecond;
constexpr int kCounters = 20;

catalogpb::Metric StatementsMetric() {
  catalogpb::Metric metric;
  metric.set_name("statements_probe");
  metric.set_schema_version(1);
  metric.set_scope(catalogpb::SCOPE_INSTANCE);
  metric.set_interval_factor(1);
  metric.set_skip_unchanged(true);
  const auto add = [&](const std::string& name, catalogpb::ColumnType type, catalogpb::ColumnKind kind) {
    auto* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
    column->set_since_schema_version(1);
  };
  add("queryid", catalogpb::COLUMN_TYPE_INT8, catalogpb::COLUMN_KIND_LABEL);
  add("usename", catalogpb::COLUMN_TYPE_TEXT, catalogpb::COLUMN_KIND_LABEL);
  for (int i = 0; i < kCounters; ++i) {
    add(absl::StrCat("n", i), catalogpb::COLUMN_TYPE_INT8, catalogpb::COLUMN_KIND_COUNTER);
  }
  return metric;
}

// A collector without sources: the engine's steps on their way through an outbox to a spool.
class Collector {
 public:
  Collector(const SpoolOptions& options, const catalogpb::Metric& metric) : metric_(metric), shape_(metric_) {
    auto spool = Spool::Open(options, &clock_);
    EXPECT_THAT(spool, IsOk());
    spool_ = *std::move(spool);
    trackers_ = std::make_unique<Trackers>(spool_->baselines());
    writer_ = std::make_unique<SpoolWriter>(spool_.get(), 100);
    outbox_ = std::make_unique<Outbox>(&loop_, writer_.get(), std::chrono::milliseconds(1));
  }

  // What became of it, once that is known.
  absl::StatusOr<BatchId> Publish(const Reading& reading, int64_t at_us, const DeltaOptions& options = DeltaOptions()) {
    Trackers::Tracker& tracker = trackers_->Get("tracker");
    Observation observation;
    observation.collected_at_us = at_us;
    observation.epoch = {77, 1, kStart - 1000, kStart - 2000};
    auto step = Advance(tracker.baseline.get(), reading, observation, options);
    if (!step.ok()) return step.status();
    Outbox::Parcel parcel;
    parcel.source.set_source_id(std::string(16, 's'));
    parcel.source.set_name("db");
    for (ingestpb::Frame& frame : step->frames) frame.set_source_id(std::string(16, 's'));
    parcel.frames = std::move(step->frames);
    parcel.baselines.push_back({"tracker", std::move(step->patch), step->next});
    std::optional<absl::StatusOr<BatchId>> answer;
    auto working = boost::asio::make_work_guard(loop_);
    parcel.done = [&](const absl::StatusOr<BatchId>& result) {
      if (result.ok()) tracker.baseline = step->next;
      answer = result;
      working.reset();
    };
    outbox_->Add(std::move(parcel));
    loop_.restart();
    loop_.run_for(std::chrono::seconds(60));
    return answer.value_or(absl::DeadlineExceededError("no answer"));
  }

  // Every frame that lies in the spool, in the order of its streams; `batches` counts theirs.
  std::vector<ingestpb::Frame> Frames(int* batches) {
    std::vector<ingestpb::Frame> frames;
    *batches = 0;
    for (const SpoolStream& stream : spool_->Streams()) {
      for (int64_t seq = 1; seq <= stream.last_written_seq; ++seq) {
        const auto batch = spool_->Load(stream.stream_id, seq);
        EXPECT_THAT(batch, IsOk());
        google::protobuf::Arena arena;
        const auto content = frame::OpenBatch(*batch, &arena);
        EXPECT_THAT(content, IsOk());
        EXPECT_FALSE((*content)->has_gap());
        ++*batches;
        for (const ingestpb::Frame& frame : (*content)->frames()) frames.push_back(frame);
      }
    }
    return frames;
  }

  Reading NewReading() const { return Reading(shape_); }

 private:
  const catalogpb::Metric metric_;
  const MetricShape shape_;
  clock::FakeClock clock_;
  boost::asio::io_context loop_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<Trackers> trackers_;
  std::unique_ptr<SpoolWriter> writer_;
  std::unique_ptr<Outbox> outbox_;
};

class OutboxTest : public ::testing::Test {
 protected:
  OutboxTest() {
    log::LogOptions quiet;
    quiet.level = log::Level::off;
    log::Init(quiet);
    std::string path = access("/dev/shm", W_OK) == 0 ? "/dev/shm/pga_outbox_XXXXXX" : "/tmp/pga_outbox_XXXXXX";
    root_ = mkdtemp(path.data());
    options_.directory = root_ + "/spool";
    options_.limit_bytes = int64_t{500} << 20;
  }
  ~OutboxTest() override { fs::remove_all(root_); }

  // What the counters of `rows` statements say after `ticks` readings; hardly anything of it can be compressed.
  static int64_t Value(int row, int counter, int ticks) {
    int64_t value = 0;
    for (int tick = 0; tick <= ticks; ++tick) {
      uint64_t noise = static_cast<uint64_t>((row * kCounters + counter) * 97 + tick + 1) * 0x9E3779B97F4A7C15u;
      noise = (noise ^ (noise >> 30)) * 0xBF58476D1CE4E5B9u;
      value += static_cast<int64_t>((noise ^ (noise >> 27)) >> 12);
    }
    return value;
  }

  static void Fill(int rows, int ticks, Reading* reading) {
    for (int row = 0; row < rows; ++row) {
      reading->AddRow();
      reading->SetInt(0, row * 7919LL);
      reading->SetText(1, absl::StrCat("user ", row % 17));
      for (int i = 0; i < kCounters; ++i) reading->SetInt(2 + i, Value(row, i, ticks));
    }
  }

  const catalogpb::Metric metric_ = StatementsMetric();
  std::string root_;
  SpoolOptions options_;
};

TEST_F(OutboxTest, FramesOfAMomentTravelTogether) {
  Collector collector(options_, metric_);
  Reading reading = collector.NewReading();
  Fill(10, 0, &reading);
  ASSERT_THAT(collector.Publish(reading, kStart), IsOk());
  int batches = 0;
  const auto frames = collector.Frames(&batches);
  EXPECT_EQ(batches, 1);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].part_count(), 0);
}

// A parcel beyond a batch although each of its frames is small enough.
TEST_F(OutboxTest, ManyFramesAreSpread) {
  Collector collector(options_, metric_);
  Reading reading = collector.NewReading();
  Fill(40'000, 0, &reading);
  DeltaOptions options;
  options.parts.max_rows = 1000;
  const auto id = collector.Publish(reading, kStart, options);
  ASSERT_THAT(id, IsOk());
  int batches = 0;
  const auto frames = collector.Frames(&batches);
  EXPECT_EQ(frames.size(), 40u);
  EXPECT_EQ(batches, id->seq);
  EXPECT_GT(batches, 1);
  EXPECT_LT(batches, 4);
}

// A process that ends at any point of writing 100,000 rows: what is delivered in the end adds up to the true increase.
TEST_F(OutboxTest, LargeReadingsAddUpWhereverTheProcessDies) {
  constexpr int kRows = 100'000;
  const auto publish = [&](int tick, const char* failpoint) {
    Collector collector(options_, metric_);
    Reading reading = collector.NewReading();
    Fill(kRows, tick, &reading);
    ArmFailpoints(failpoint);
    const absl::Status status = collector.Publish(reading, kStart + tick * 60 * kSecond).status();
    ArmFailpoints("");
    return status;
  };
  ASSERT_THAT(publish(0, ""), IsOk());
  int batches = 0;
  ASSERT_GE(Collector(options_, metric_).Frames(&batches).size(), 4u);
  ASSERT_GE(batches, 3);

  // Before and between the records, when all are written, and when they are safe.
  const char* const deaths[] = {"spool.write:1", "spool.write:2", "spool.write:3", "spool.before_fsync:1",
                                "spool.after_fsync:1"};
  int tick = 0;
  for (const char* const death : deaths) {
    ++tick;
    EXPECT_EXIT((void)publish(tick, death), ::testing::KilledBySignal(SIGKILL), "") << death;
  }
  // A disk that is full between two records.
  ++tick;
  EXPECT_FALSE(publish(tick, "spool.write:2:enospc").ok());
  ++tick;
  ASSERT_THAT(publish(tick, ""), IsOk());

  Collector collector(options_, metric_);
  const auto frames = collector.Frames(&batches);
  std::vector<int64_t> sums(static_cast<size_t>(kRows) * kCounters);
  std::set<std::tuple<int64_t, int, int>> parts;  // time, kind, part
  std::map<std::pair<int64_t, int>, int> part_counts;
  std::map<std::pair<int64_t, int>, int> rows;
  frame::FrameReader reader;
  for (const ingestpb::Frame& frame : frames) {
    ASSERT_THAT(reader.Open(frame, metric_), IsOk());
    EXPECT_TRUE(parts.emplace(frame.collected_at_us(), frame.kind(), frame.part()).second);
    part_counts[{frame.collected_at_us(), frame.kind()}] = frame.part_count();
    rows[{frame.collected_at_us(), frame.kind()}] += frame.row_count();
    if (frame.kind() == ingestpb::FRAME_KIND_KEYFRAME) continue;
    for (int row = 0; row < reader.row_count(); ++row) {
      const auto at = static_cast<size_t>(reader.column(0).Int(row) / 7919);
      for (int i = 0; i < kCounters; ++i) {
        sums[at * kCounters + static_cast<size_t>(i)] += reader.column(2 + i).Int(row);
      }
    }
  }
  // The first reading, what was written before the process died, and what came after: all of them whole.
  size_t expected_parts = 0;
  for (const auto& [frame, count] : part_counts) {
    EXPECT_EQ(rows[frame], kRows);
    EXPECT_GT(count, 1);
    expected_parts += static_cast<size_t>(count);
  }
  EXPECT_EQ(parts.size(), expected_parts);
  EXPECT_EQ(part_counts.size(), 4u);
  for (int row = 0; row < kRows; ++row) {
    for (int i = 0; i < kCounters; ++i) {
      const auto at = static_cast<size_t>(row) * kCounters + static_cast<size_t>(i);
      ASSERT_EQ(sums[at], Value(row, i, tick) - Value(row, i, 0)) << "row " << row << ", counter " << i;
    }
  }
}

}  // namespace
}  // namespace pga::collector
