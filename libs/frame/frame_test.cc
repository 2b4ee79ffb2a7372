#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "google/protobuf/util/message_differencer.h"
#include "libs/columns/int_codec.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/frame_testing.h"

namespace pga::frame {
namespace {

namespace v1 = pganalytics::ingest::v1;
using ::pga::frame::testing::TestFrame;
using ::pga::frame::testing::TestMetric;
using ::testing::HasSubstr;

TEST(FrameBuilder, RowsComeBackAsTheyWentIn) {
  const auto metric = TestMetric();
  v1::Frame frame;
  FrameBuilder builder(metric, &frame);
  frame.set_source_id(pga::frame::testing::TestSource());
  frame.set_collected_at_us(2);
  frame.set_interval_start_us(1);
  frame.set_kind(v1::FRAME_KIND_DELTA);
  builder.SetText(0, "a");
  builder.SetInt(1, std::numeric_limits<int64_t>::min());
  builder.SetDouble(2, std::numeric_limits<double>::quiet_NaN());
  builder.SetBool(3, true);
  builder.SetInt(4, 5);
  builder.EndRow();
  builder.SetText(0, "b\xff");
  builder.SetInt(1, std::numeric_limits<int64_t>::max());
  builder.SetDouble(2, -std::numeric_limits<double>::infinity());
  builder.EndRow();
  builder.SetText(0, "a");
  builder.EndRow(v1::FRAME_FLAG_GONE);
  ASSERT_TRUE(builder.Finish().ok());

  FrameReader reader;
  ASSERT_EQ(reader.Open(frame, metric), absl::OkStatus());
  ASSERT_EQ(reader.row_count(), 3);
  ASSERT_EQ(reader.column_count(), 5);
  EXPECT_EQ(reader.FindColumn("n"), 1);
  EXPECT_EQ(reader.FindColumn("none"), -1);
  EXPECT_EQ(reader.column(0).Text(0), "a");
  EXPECT_EQ(reader.column(0).Text(1), "b\xEF\xBF\xBD");
  EXPECT_EQ(reader.column(0).Text(2), "a");
  EXPECT_EQ(reader.column(0).dictionary_size(), 2);
  EXPECT_FALSE(reader.column(0).has_nulls());
  EXPECT_EQ(reader.column(1).Int(0), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(reader.column(1).Int(1), std::numeric_limits<int64_t>::max());
  EXPECT_TRUE(reader.column(1).IsNull(2));
  EXPECT_TRUE(std::isnan(reader.column(2).Double(0)));
  EXPECT_TRUE(std::isinf(reader.column(2).Double(1)));
  EXPECT_TRUE(reader.column(3).Bool(0));
  EXPECT_TRUE(reader.column(3).IsNull(1));
  EXPECT_EQ(reader.RowFlags(0), 0);
  EXPECT_EQ(reader.RowFlags(1), v1::FRAME_FLAG_TEXT_REPLACED);
  EXPECT_EQ(reader.RowFlags(2), v1::FRAME_FLAG_GONE);
}

TEST(FrameBuilder, EmptyFrameIsValid) {
  const auto metric = TestMetric();
  EXPECT_EQ(ValidateFrame(TestFrame(metric, 0), metric), absl::OkStatus());
}

TEST(FrameBuilder, WrongUseIsReportedByFinish) {
  const auto metric = TestMetric();
  const std::pair<const char*, std::function<void(FrameBuilder&)>> cases[] = {
      {"of 5 set", [](FrameBuilder& b) { b.SetInt(5, 1); }},
      {"of 5 set", [](FrameBuilder& b) { b.SetInt(-1, 1); }},
      {"another type", [](FrameBuilder& b) { b.SetText(1, "1"); }},
      {"another type", [](FrameBuilder& b) { b.SetInt(0, 1); }},
      {"twice", [](FrameBuilder& b) { b.SetInt(1, 1), b.SetInt(1, 2); }},
  };
  for (const auto& [message, use] : cases) {
    v1::Frame frame;
    FrameBuilder builder(metric, &frame);
    use(builder);
    builder.EndRow();
    const absl::Status status = builder.Finish();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << message;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  }
}

TEST(FrameBuilder, RefusesTooManyRows) {
  const auto metric = TestMetric();
  v1::Frame frame;
  FrameBuilder builder(metric, &frame);
  for (int row = 0; row < kMaxFrameRows; ++row) builder.EndRow();
  builder.EndRow();
  EXPECT_EQ(builder.Finish().code(), absl::StatusCode::kResourceExhausted);
}

// A chunk of `values`, and row flags of `count` rows.
std::string Chunk(const columns::Column& values) {
  std::string chunk;
  columns::EncodeColumn(values, &chunk);
  return chunk;
}

std::string Flags(size_t count, int64_t flags) {
  const std::vector<int64_t> values(count, flags);
  std::string bytes;
  columns::EncodeInts(values.data(), count, &bytes);
  return bytes;
}

columns::Column Texts(int rows, const std::string& text) {
  columns::Column column(columns::Type::kText);
  column.texts = {"other", text};
  for (int row = 0; row < rows; ++row) column.ints.push_back(row % 2);
  return column;
}

columns::Column Doubles(int rows) {
  columns::Column column(columns::Type::kDouble);
  for (int row = 0; row < rows; ++row) column.doubles.push_back(row);
  return column;
}

// Unlike a run of equal values, these take bytes for every row.
columns::Column Ints(int rows) {
  columns::Column column(columns::Type::kInt);
  for (int row = 0; row < rows; ++row) column.ints.push_back((row * int64_t{2654435761}) % 1'000'003);
  return column;
}

// Rows with texts, NULLs and flags, some of them in stretches.
void FillRows(int rows, FrameBuilder* builder) {
  for (int row = 0; row < rows; ++row) {
    if (row % 11 != 0) builder->SetText(0, "name " + std::to_string(row % 97) + (row > rows / 2 ? "\xff" : ""));
    builder->SetInt(1, row * 1'000'003LL);
    if (row % 100 < 50) builder->SetDouble(2, row / 7.0);
    builder->EndRow();
  }
}

TEST(FrameBuilder, PartsHoldEveryRowOnce) {
  const auto metric = TestMetric();
  const v1::Frame model = TestFrame(metric, 0);
  constexpr int kRows = 10'007;
  v1::Frame whole;
  FrameBuilder whole_builder(metric, &whole);
  whole.set_source_id(model.source_id());
  whole.set_collected_at_us(model.collected_at_us());
  whole.set_interval_start_us(model.interval_start_us());
  whole.set_kind(model.kind());
  whole.set_unchanged_row_count(3);
  FillRows(kRows, &whole_builder);
  ASSERT_TRUE(whole_builder.Finish().ok());
  FrameReader expected;
  ASSERT_EQ(expected.Open(whole, metric), absl::OkStatus());

  const std::pair<PartLimits, size_t> cases[] = {
      {PartLimits(), 1},
      {{.max_rows = 10'007}, 1},
      {{.max_rows = 10'006}, 2},
      {{.max_values = (6 + kValuesPerNearText) * 1'000}, 11},  // 5 columns, texts, flags
      {{.max_bytes = whole.ByteSizeLong()}, 1},
      {{.max_bytes = whole.ByteSizeLong() / 4}, 0},
  };
  for (const auto& [limits, count] : cases) {
    v1::Frame frame;
    FrameBuilder builder(metric, &frame);
    frame.set_source_id(model.source_id());
    frame.set_collected_at_us(model.collected_at_us());
    frame.set_interval_start_us(model.interval_start_us());
    frame.set_kind(model.kind());
    frame.set_unchanged_row_count(3);
    FillRows(kRows, &builder);
    std::vector<v1::Frame> parts;
    ASSERT_EQ(builder.FinishInParts(limits, &parts), absl::OkStatus());
    if (count > 0) {
      EXPECT_EQ(parts.size(), count);
    } else {
      EXPECT_GE(parts.size(), 4u);
      EXPECT_LE(parts.size(), 12u);
    }
    int at = 0;
    FrameReader reader;
    for (size_t i = 0; i < parts.size(); ++i) {
      const v1::Frame& part = parts[i];
      ASSERT_EQ(reader.Open(part, metric), absl::OkStatus());
      EXPECT_EQ(part.part_count(), parts.size() == 1 ? 0 : static_cast<int>(parts.size()));
      EXPECT_EQ(part.part(), static_cast<int>(i));
      EXPECT_EQ(part.unchanged_row_count(), i == 0 ? 3 : 0);
      EXPECT_LE(part.ByteSizeLong(), limits.max_bytes);
      EXPECT_LE(part.row_count(), limits.max_rows);
      for (int row = 0; row < reader.row_count(); ++row, ++at) {
        ASSERT_EQ(reader.column(1).Int(row), expected.column(1).Int(at));
        ASSERT_EQ(reader.RowFlags(row), expected.RowFlags(at));
        ASSERT_EQ(reader.column(0).IsNull(row), expected.column(0).IsNull(at));
        if (!reader.column(0).IsNull(row)) {
          ASSERT_EQ(reader.column(0).Text(row), expected.column(0).Text(at));
        }
        ASSERT_EQ(reader.column(2).IsNull(row), expected.column(2).IsNull(at));
        if (!reader.column(2).IsNull(row)) {
          ASSERT_EQ(reader.column(2).Double(row), expected.column(2).Double(at));
        }
      }
    }
    EXPECT_EQ(at, kRows);
  }
}

TEST(FrameBuilder, MoreRowsThanAFrameTakesAreParts) {
  const auto metric = TestMetric();
  v1::Frame frame;
  FrameBuilder builder(metric, &frame);
  for (int row = 0; row <= kMaxFrameRows; ++row) builder.EndRow();
  std::vector<v1::Frame> parts;
  ASSERT_TRUE(builder.FinishInParts(PartLimits(), &parts).ok());
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].row_count() + parts[1].row_count(), kMaxFrameRows + 1);
}

TEST(FrameBuilder, RefusesTooManyParts) {
  const auto metric = TestMetric();
  v1::Frame frame;
  FrameBuilder builder(metric, &frame);
  for (int row = 0; row <= kMaxFrameParts; ++row) builder.EndRow();
  std::vector<v1::Frame> parts;
  EXPECT_EQ(builder.FinishInParts({.max_rows = 1}, &parts).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(parts.empty());
}

TEST(FrameReader, KeepsOneFrameAtATime) {
  const auto metric = TestMetric();
  FrameReader reader;
  const v1::Frame large = TestFrame(metric, 500);
  ASSERT_EQ(reader.Open(large, metric), absl::OkStatus());
  EXPECT_EQ(reader.column(1).Int(499), 499 * 1'000'003LL);
  EXPECT_EQ(reader.column(4).values().size(), 500u);
  v1::Frame older = TestFrame(metric, 3);
  older.set_schema_version(1);
  older.mutable_columns()->RemoveLast();
  ASSERT_EQ(reader.Open(older, metric), absl::OkStatus());
  EXPECT_EQ(reader.column_count(), 4);
  EXPECT_EQ(reader.row_count(), 3);
  EXPECT_EQ(reader.column(1).values().size(), 3u);
  EXPECT_EQ(reader.column(1).Int(2), 2 * 1'000'003LL);
  v1::Frame bad = large;
  bad.set_columns(4, "x");
  EXPECT_FALSE(reader.Open(bad, metric).ok());
  EXPECT_EQ(reader.row_count(), 0);
  EXPECT_EQ(reader.column_count(), 0);
  EXPECT_EQ(reader.FindColumn("n"), -1);
}

TEST(FrameReader, RefusesMoreValuesThanABatchTakes) {
  // Columns of NULL take a byte each, whatever the rows.
  auto metric = TestMetric();
  while (metric.columns_size() < 90) {
    *metric.add_columns() = metric.columns(2);
    metric.mutable_columns(metric.columns_size() - 1)->set_name("c" + std::to_string(metric.columns_size()));
  }
  v1::Frame frame = TestFrame(metric, 0);
  frame.set_row_count(kMaxFrameRows);
  EXPECT_THAT(std::string(ValidateFrame(frame, metric).message()), HasSubstr("more than 8000000 values"));
  frame.set_row_count(80'000);
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
}

struct BadFrame {
  const char* name;
  const char* message;
  std::function<void(v1::Frame&)> spoil;
};

class ValidateFrameRefuses : public ::testing::TestWithParam<BadFrame> {};

TEST_P(ValidateFrameRefuses, Named) {
  const auto metric = TestMetric();
  v1::Frame frame = TestFrame(metric, 20);
  ASSERT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
  GetParam().spoil(frame);
  const absl::Status status = ValidateFrame(frame, metric);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Table, ValidateFrameRefuses,
    ::testing::Values(
        BadFrame{"OtherMetric", "is not of metric", [](v1::Frame& f) { f.set_metric("other"); }},
        BadFrame{"NoVersion", "schema version", [](v1::Frame& f) { f.set_schema_version(0); }},
        BadFrame{"ShortSource", "source_id", [](v1::Frame& f) { f.set_source_id("x"); }},
        BadFrame{"NoKind", "kind", [](v1::Frame& f) { f.set_kind(v1::FRAME_KIND_UNSPECIFIED); }},
        BadFrame{"UnknownKind", "kind", [](v1::Frame& f) { f.set_kind(static_cast<v1::FrameKind>(9)); }},
        BadFrame{"NoTime", "collected_at", [](v1::Frame& f) { f.set_collected_at_us(0); }},
        BadFrame{"Backwards", "interval", [](v1::Frame& f) { f.set_interval_start_us(f.collected_at_us() + 1); }},
        BadFrame{"KeyframeInterval", "keyframe", [](v1::Frame& f) { f.set_kind(v1::FRAME_KIND_KEYFRAME); }},
        BadFrame{"Scope", "scope_id", [](v1::Frame& f) { f.set_scope_id(5); }},
        BadFrame{"NegativeRows", "row_count", [](v1::Frame& f) { f.set_row_count(-1); }},
        BadFrame{"HugeRows", "row_count", [](v1::Frame& f) { f.set_row_count(kMaxFrameRows + 1); }},
        BadFrame{"FewerRows", "malformed", [](v1::Frame& f) { f.set_row_count(10); }},
        BadFrame{"MoreRows", "malformed", [](v1::Frame& f) { f.set_row_count(90); }},
        BadFrame{"NegativeUnchanged", "unchanged", [](v1::Frame& f) { f.set_unchanged_row_count(-1); }},
        BadFrame{"UnknownFlags", "flags", [](v1::Frame& f) { f.set_flags(64); }},
        BadFrame{"ShortRowFlags", "row_flags", [](v1::Frame& f) { f.set_row_flags("x"); }},
        BadFrame{"LongRowFlags", "row_flags", [](v1::Frame& f) { f.set_row_flags(Flags(20, 0) + "x"); }},
        BadFrame{"UnknownRowFlags", "row flags", [](v1::Frame& f) { f.set_row_flags(Flags(20, 64)); }},
        BadFrame{"HugeRowFlags", "row flags", [](v1::Frame& f) { f.set_row_flags(Flags(20, int64_t{1} << 40)); }},
        BadFrame{"NegativeRowFlags", "row flags", [](v1::Frame& f) { f.set_row_flags(Flags(20, -1)); }},
        BadFrame{"OnePart", "part_count", [](v1::Frame& f) { f.set_part_count(1); }},
        BadFrame{"NegativeParts", "part_count", [](v1::Frame& f) { f.set_part_count(-1); }},
        BadFrame{"TooManyParts", "part_count", [](v1::Frame& f) { f.set_part_count(kMaxFrameParts + 1); }},
        BadFrame{"PartOfNone", "part", [](v1::Frame& f) { f.set_part(1); }},
        BadFrame{"PartBeyond", "part",
                 [](v1::Frame& f) {
                   f.set_part_count(2);
                   f.set_part(2);
                 }},
        BadFrame{"NegativePart", "part",
                 [](v1::Frame& f) {
                   f.set_part_count(2);
                   f.set_part(-1);
                 }},
        BadFrame{"UnchangedTwice", "further part",
                 [](v1::Frame& f) {
                   f.set_part_count(2);
                   f.set_part(1);
                   f.set_unchanged_row_count(1);
                 }},
        BadFrame{"MissingColumn", "4 columns", [](v1::Frame& f) { f.mutable_columns()->RemoveLast(); }},
        BadFrame{"ExtraColumn", "6 columns", [](v1::Frame& f) { f.add_columns(); }},
        BadFrame{"NoBytes", "no bytes", [](v1::Frame& f) { f.mutable_columns(1)->clear(); }},
        BadFrame{"OtherType", "column n is malformed: a column is of another type",
                 [](v1::Frame& f) { f.set_columns(1, Chunk(Doubles(20))); }},
        BadFrame{"FewerValues", "malformed", [](v1::Frame& f) { f.set_columns(1, Chunk(Ints(10))); }},
        BadFrame{"MoreValues", "malformed", [](v1::Frame& f) { f.set_columns(1, Chunk(Ints(40))); }},
        BadFrame{"CutChunk", "malformed", [](v1::Frame& f) { f.mutable_columns(1)->pop_back(); }},
        BadFrame{"BytesBehind", "behind", [](v1::Frame& f) { f.mutable_columns(1)->push_back('x'); }},
        BadFrame{"BadUtf8", "UTF-8", [](v1::Frame& f) { f.set_columns(0, Chunk(Texts(20, "\xff"))); }},
        BadFrame{"Nul", "UTF-8", [](v1::Frame& f) { f.set_columns(0, Chunk(Texts(20, std::string("a\0", 2)))); }},
        BadFrame{"LongText", "bytes",
                 [](v1::Frame& f) { f.set_columns(0, Chunk(Texts(20, std::string(kMaxTextBytes + 1, 'a')))); }},
        BadFrame{"GoneWithValues", "gone",
                 [](v1::Frame& f) { f.set_row_flags(Flags(20, v1::FRAME_FLAG_GONE)); }},
        BadFrame{"UnknownWithCounters", "unknown increase",
                 [](v1::Frame& f) { f.set_flags(v1::FRAME_FLAG_UNKNOWN); }}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(ValidateFrame, OlderSchemaVersionHasFewerColumns) {
  const auto metric = TestMetric();
  v1::Frame frame = TestFrame(metric, 20);
  frame.set_schema_version(1);
  EXPECT_THAT(std::string(ValidateFrame(frame, metric).message()), HasSubstr("schema version 1 has 4"));
  frame.mutable_columns()->RemoveLast();
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
}

TEST(ValidateFrame, NewerSchemaVersionIsNotPoison) {
  auto metric = TestMetric();
  v1::Frame frame = TestFrame(metric, 20);
  frame.set_schema_version(3);
  EXPECT_EQ(ValidateFrame(frame, metric).code(), absl::StatusCode::kUnavailable);
}

TEST(ValidateFrame, DatabaseScopeNeedsAnOid) {
  auto metric = TestMetric();
  metric.set_scope(pganalytics::catalog::v1::SCOPE_DATABASE);
  v1::Frame frame = TestFrame(metric, 1);
  for (const int64_t oid : {int64_t{0}, int64_t{-1}, int64_t{1} << 32}) {
    frame.set_scope_id(oid);
    EXPECT_EQ(ValidateFrame(frame, metric).code(), absl::StatusCode::kInvalidArgument) << oid;
  }
  frame.set_scope_id(4'294'967'295);
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
}

TEST(ValidateFrame, PartsOfACutFrame) {
  const auto metric = TestMetric();
  v1::Frame frame = TestFrame(metric, 20);
  frame.set_part_count(kMaxFrameParts);
  frame.set_unchanged_row_count(5);
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
  frame.set_part(kMaxFrameParts - 1);
  frame.set_unchanged_row_count(0);
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
}

// Readings of gauges cover the time since the reading before.
TEST(ValidateFrame, MetricsWithoutCountersHaveIntervals) {
  auto metric = TestMetric();
  metric.mutable_columns(1)->set_kind(pganalytics::catalog::v1::COLUMN_KIND_GAUGE);
  v1::Frame frame = TestFrame(metric, 20);
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
  frame.set_interval_start_us(frame.collected_at_us());
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
}

TEST(ValidateFrame, KeyframesNeedCounters) {
  auto metric = TestMetric();
  v1::Frame frame = TestFrame(metric, 1);
  frame.set_kind(v1::FRAME_KIND_KEYFRAME);
  frame.set_interval_start_us(frame.collected_at_us());
  EXPECT_EQ(ValidateFrame(frame, metric), absl::OkStatus());
  metric.mutable_columns(1)->set_kind(pganalytics::catalog::v1::COLUMN_KIND_GAUGE);
  EXPECT_EQ(ValidateFrame(frame, metric).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pga::frame
