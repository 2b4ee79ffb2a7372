// A spool of a test's own, with batches that are known by a number. Tests only.
#pragma once

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
#include "services/collector/spool.h"
#include "services/collector/spool_writer.h"

namespace pga::collector {

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

// A metric with one label and one counter.
inline catalogpb::Metric CounterMetric() {
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

}  // namespace pga::collector
