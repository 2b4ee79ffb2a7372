// Cost per row of every step a frame takes: build, seal, open, validate and read. 24 columns as in a statements row.
#include <benchmark/benchmark.h>

#include <string>

#include "google/protobuf/arena.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/frame_testing.h"
#include "libs/frame/text.h"

namespace pga::frame {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

catalog_v1::Metric WideMetric() {
  catalog_v1::Metric metric;
  metric.set_name("wide");
  metric.set_schema_version(1);
  metric.set_scope(catalog_v1::SCOPE_INSTANCE);
  for (int i = 0; i < 24; ++i) {
    auto* column = metric.add_columns();
    column->set_name("c" + std::to_string(i));
    column->set_type(i < 2 ? catalog_v1::COLUMN_TYPE_TEXT : catalog_v1::COLUMN_TYPE_INT8);
    column->set_kind(i < 3 ? catalog_v1::COLUMN_KIND_LABEL : catalog_v1::COLUMN_KIND_COUNTER);
    column->set_since_schema_version(1);
  }
  return metric;
}

void Fill(const catalog_v1::Metric& metric, int rows, ingest_v1::Frame* frame) {
  FrameBuilder builder(metric, frame, rows);
  frame->set_source_id(testing::TestSource());
  frame->set_collected_at_us(1'700'000'060'000'000);
  frame->set_interval_start_us(1'700'000'000'000'000);
  frame->set_kind(ingest_v1::FRAME_KIND_DELTA);
  uint64_t state = 42;
  static const std::string kDatabases[] = {"app", "billing", "postgres"};
  static const std::string kUsers[] = {"web", "batch", "admin", "report"};
  for (int row = 0; row < rows; ++row) {
    builder.SetText(0, kDatabases[row % 3]);
    builder.SetText(1, kUsers[row % 4]);
    for (int column = 2; column < 24; ++column) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      // Most increases are small or zero, query ids are not.
      builder.SetInt(column, static_cast<int64_t>(column == 2 ? state : (state >> 33) % (column % 3 == 0 ? 5'000 : 1)));
    }
    builder.EndRow();
  }
  if (!builder.Finish().ok()) std::abort();
}

void PerRow(benchmark::State& state, int rows) {
  state.counters["ns_per_row"] = benchmark::Counter(
      static_cast<double>(rows) / 1e9, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

void BM_Build(benchmark::State& state) {
  const auto metric = WideMetric();
  const int rows = static_cast<int>(state.range(0));
  for (auto _ : state) {
    google::protobuf::Arena arena;
    auto* frame = google::protobuf::Arena::CreateMessage<ingest_v1::Frame>(&arena);
    Fill(metric, rows, frame);
    benchmark::DoNotOptimize(frame);
  }
  PerRow(state, rows);
}

void BM_Seal(benchmark::State& state) {
  const auto metric = WideMetric();
  const int rows = static_cast<int>(state.range(0));
  ingest_v1::Frame frame;
  Fill(metric, rows, &frame);
  const auto content = testing::TestContent(frame);
  size_t bytes = 0;
  for (auto _ : state) {
    auto batch = SealBatch(std::string(16, 's'), 1, ZeroHash(), content);
    bytes = batch->payload().size();
    benchmark::DoNotOptimize(batch);
  }
  PerRow(state, rows);
  state.counters["bytes_per_row"] = static_cast<double>(bytes) / rows;
}

void BM_OpenAndValidate(benchmark::State& state) {
  const auto metric = WideMetric();
  const int rows = static_cast<int>(state.range(0));
  ingest_v1::Frame frame;
  Fill(metric, rows, &frame);
  const auto batch = SealBatch(std::string(16, 's'), 1, ZeroHash(), testing::TestContent(frame));
  FrameReader reader;
  for (auto _ : state) {
    google::protobuf::Arena arena;
    auto content = OpenBatch(*batch, &arena);
    if (!content.ok() || !reader.Open((*content)->frames(0), metric).ok()) std::abort();
    benchmark::DoNotOptimize(content);
  }
  PerRow(state, rows);
}

void BM_Crc32c(benchmark::State& state) {
  const std::string data(64 << 10, 'x');
  for (auto _ : state) benchmark::DoNotOptimize(Crc32c(data));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(data.size()));
}

BENCHMARK(BM_Build)->Arg(200)->Arg(2'000);
BENCHMARK(BM_Seal)->Arg(200)->Arg(2'000);
BENCHMARK(BM_OpenAndValidate)->Arg(200)->Arg(2'000);
BENCHMARK(BM_Crc32c);

}  // namespace
}  // namespace pga::frame
