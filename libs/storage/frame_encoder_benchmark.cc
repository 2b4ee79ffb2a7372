// Cost of one row on its way from columns to COPY bytes. Bar: decode and encode together stay under 200 ns a row.
#include <benchmark/benchmark.h>

#include "absl/strings/str_cat.h"
#include "google/protobuf/arena.h"
#include "libs/frame/batch_codec.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"
#include "libs/storage/frame_encoder.h"

namespace pga::storage {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;

constexpr int kRows = 200;

// A statement-like row: two labels and twenty counters.
catalog_v1::Metric StatementMetric() {
  catalog_v1::Metric metric;
  metric.set_name("statements");
  metric.set_schema_version(1);
  metric.set_scope(catalog_v1::SCOPE_INSTANCE);
  const auto add = [&](const std::string& name, catalog_v1::ColumnType type, catalog_v1::ColumnKind kind) {
    catalog_v1::Column* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
    column->set_since_schema_version(1);
  };
  add("datname", catalog_v1::COLUMN_TYPE_TEXT, catalog_v1::COLUMN_KIND_LABEL);
  add("rolname", catalog_v1::COLUMN_TYPE_TEXT, catalog_v1::COLUMN_KIND_LABEL);
  add("queryid", catalog_v1::COLUMN_TYPE_INT8, catalog_v1::COLUMN_KIND_LABEL);
  for (int i = 0; i < 20; ++i) add(absl::StrCat("c", i), catalog_v1::COLUMN_TYPE_INT8, catalog_v1::COLUMN_KIND_COUNTER);
  return metric;
}

ingest_v1::Frame StatementFrame(const catalog_v1::Metric& metric, const std::string& source, bool nulls,
                                bool own_text) {
  ingest_v1::Frame frame;
  frame::FrameBuilder builder(metric, &frame);
  frame.set_source_id(source);
  frame.set_collected_at_us(1'767'225'600'000'000);
  frame.set_interval_start_us(1'767'225'540'000'000);
  frame.set_kind(ingest_v1::FRAME_KIND_DELTA);
  for (int row = 0; row < kRows; ++row) {
    builder.SetText(0, own_text ? absl::StrCat("public.table_number_", row) : "app");
    builder.SetText(1, "app_user");
    builder.SetInt(2, row * 7'919'000'000'017LL);
    for (int i = 0; i < 20; ++i) {
      if (!nulls || (row + i) % 5 != 0) builder.SetInt(3 + i, (row * 31 + i * 17) % 1'000);
    }
    builder.EndRow();
  }
  if (!builder.Finish().ok()) std::abort();
  return frame;
}

void Encode(benchmark::State& state, bool nulls, bool own_text) {
  const catalog_v1::Metric metric = StatementMetric();
  const ingest_v1::Frame frame = StatementFrame(metric, frame::RandomUuid(), nulls, own_text);
  const auto layout = *FrameLayout::Create(metric, 1, 1);
  KnownTexts known;
  std::string tuples;
  for (auto _ : state) {
    tuples.clear();
    TextCollector texts(&known);
    if (!EncodeFrame(*layout, frame, 1, &tuples, &texts).ok()) std::abort();
    std::vector<std::pair<int32_t, int64_t>> fresh;
    for (const TextEntry& text : texts.values()) fresh.emplace_back(text.source, text.id);
    known.Insert(fresh);
    benchmark::DoNotOptimize(tuples.data());
  }
  state.SetItemsProcessed(state.iterations() * kRows);
  state.counters["bytes_per_row"] = static_cast<double>(tuples.size()) / kRows;
  state.counters["s_per_row"] =
      benchmark::Counter(kRows, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK_CAPTURE(Encode, no_nulls, false, false);
BENCHMARK_CAPTURE(Encode, one_fifth_null, true, false);
BENCHMARK_CAPTURE(Encode, a_text_per_row, false, true);

// Everything ingest does with a batch before it is queued: hash, zstd, protobuf, validation, COPY bytes.
void OpenValidateEncode(benchmark::State& state) {
  const catalog_v1::Metric metric = StatementMetric();
  const std::string source = frame::RandomUuid();
  ingest_v1::BatchContent content;
  ingest_v1::SourceInfo* info = content.add_sources();
  info->set_source_id(source);
  info->set_name("db");
  *content.add_frames() = StatementFrame(metric, source, false, false);
  const ingest_v1::Batch batch = *frame::SealBatch(frame::RandomUuid(), 1, frame::ZeroHash(), content);
  const auto layout = *FrameLayout::Create(metric, 1, 1);
  for (auto _ : state) {
    google::protobuf::Arena arena;
    const auto opened = frame::OpenBatch(batch, &arena);
    if (!opened.ok() || !frame::ValidateFrame((*opened)->frames(0), metric).ok()) std::abort();
    std::string tuples;
    TextCollector texts;
    if (!EncodeFrame(*layout, (*opened)->frames(0), 1, &tuples, &texts).ok()) std::abort();
    benchmark::DoNotOptimize(tuples.data());
  }
  state.SetItemsProcessed(state.iterations() * kRows);
  state.counters["s_per_row"] =
      benchmark::Counter(kRows, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}
BENCHMARK(OpenValidateEncode);

void HashText(benchmark::State& state) {
  const std::string text = "public.table_number_123";
  for (auto _ : state) benchmark::DoNotOptimize(frame::TextId(text));
}
BENCHMARK(HashText);

}  // namespace
}  // namespace pga::storage
