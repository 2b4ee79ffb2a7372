// Rows a second of the kernels: an hour of statements, a frame a minute with 300 of 600 series.
#include <benchmark/benchmark.h>

#include <random>

#include "libs/columns/block.h"
#include "libs/columns/kernels.h"
#include "libs/columns/rollup.h"

namespace pga::columns {
namespace {

constexpr int64_t kMinute = 60'000'000;
constexpr int kCounters = 18;

std::vector<MetricColumn> Metric() {
  std::vector<MetricColumn> metric = {{1, Type::kInt, Kind::kLabel}, {2, Type::kText, Kind::kLabel}};
  for (int i = 0; i < kCounters; ++i) metric.push_back({static_cast<ColumnId>(3 + i), Type::kInt, Kind::kCounter});
  metric.push_back({static_cast<ColumnId>(3 + kCounters), Type::kDouble, Kind::kGauge});
  return metric;
}

RowSet Hour() {
  std::mt19937_64 random(1);
  RowSet rows;
  for (int64_t minute = 0; minute < 60; ++minute) {
    FrameInfo frame;
    frame.start_us = minute * kMinute;
    frame.end_us = frame.start_us + kMinute;
    rows.frames.push_back(frame);
  }
  Column id(Type::kInt), name(Type::kText);
  name.texts = {"one", "two"};
  for (const MetricColumn& column : Metric()) {
    if (column.kind != Kind::kLabel) rows.values.emplace(column.id, Column(column.type));
  }
  for (uint32_t series = 0; series < 600; ++series) {
    rows.series_scope.push_back(0);
    id.ints.push_back(series);
    name.ints.push_back(series % 2);
    for (uint32_t frame = 0; frame < 60; ++frame) {
      if (random() % 2 == 0) continue;
      rows.row_series.push_back(series);
      rows.row_frame.push_back(frame);
      for (auto& [column, values] : rows.values) {
        if (values.type == Type::kDouble) {
          values.doubles.push_back(static_cast<double>(random() % 1000));
        } else {
          values.ints.push_back(static_cast<int64_t>(random() % 1000));
        }
      }
    }
  }
  rows.labels.emplace(1, std::move(id));
  rows.labels.emplace(2, std::move(name));
  return rows;
}

const Cells& Quarters() {
  static const auto* const kCells = new Cells{{0, 15 * kMinute, 0, 0},
                                              {15 * kMinute, 30 * kMinute, 1, 0},
                                              {30 * kMinute, 45 * kMinute, 2, 0},
                                              {45 * kMinute, 60 * kMinute, 3, 0}};
  return *kCells;
}

void BM_CounterSums(benchmark::State& state) {
  const RowSet rows = Hour();
  std::vector<ColumnId> columns;
  for (int i = 0; i < state.range(0); ++i) columns.push_back(static_cast<ColumnId>(3 + i));
  Grouping grouping;
  grouping.by = {1};
  grouping.max_groups = 1000;
  const std::vector<RowFilter> filters;
  for (auto _ : state) {
    CounterSums sums(Quarters(), columns, grouping, filters);
    sums.Add(1, 0, rows);
    benchmark::DoNotOptimize(sums.Finish());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(rows.rows()));
}
BENCHMARK(BM_CounterSums)->Arg(1)->Arg(kCounters);

void BM_GaugeReadings(benchmark::State& state) {
  const RowSet rows = Hour();
  const std::vector<ColumnId> series = {1, 2};
  Grouping grouping;
  grouping.by = {2};
  const std::vector<RowFilter> filters;
  for (auto _ : state) {
    GaugeReadings readings(Quarters(), static_cast<ColumnId>(3 + kCounters), series, grouping, filters, 1,
                           25 * 60 * kMinute);
    readings.Add(0, false, rows);
    readings.FinishSource(1);
    benchmark::DoNotOptimize(readings.Finish());
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(rows.rows()));
}
BENCHMARK(BM_GaugeReadings);

void BM_OpenBlock(benchmark::State& state) {
  const std::vector<MetricColumn> metric = Metric();
  Shape shape = RawShape(metric, 1);
  const std::vector<Block> blocks = EncodeBlocks(shape, Hour());
  std::erase_if(shape.parts, [&](const Shape::Part& part) { return part.id > 2 + state.range(0); });
  BlockBytes bytes;
  bytes.ids = blocks[0].ids;
  for (size_t i = 0; i < bytes.ids.size(); ++i) {
    const size_t start = SectionStart(blocks[0].ids, blocks[0].offsets, i);
    const auto at = static_cast<size_t>(blocks[0].offsets[start]);
    bytes.sections.push_back(
        std::string_view(blocks[0].data).substr(at, static_cast<size_t>(blocks[0].offsets[start + 1]) - at));
  }
  bytes.frames = blocks[0].frames;
  bytes.series = blocks[0].series;
  bytes.rows = blocks[0].rows;
  RowSet rows;
  for (auto _ : state) benchmark::DoNotOptimize(OpenBlock(shape, bytes, &rows));
  state.SetItemsProcessed(state.iterations() * blocks[0].rows);
}
BENCHMARK(BM_OpenBlock)->Arg(1)->Arg(kCounters);

}  // namespace
}  // namespace pga::columns
