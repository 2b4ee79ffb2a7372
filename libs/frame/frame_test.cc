#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "google/protobuf/util/message_differencer.h"
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
  ASSERT_EQ(ValidateFrame(frame, metric), absl::OkStatus());

  const FrameReader reader(frame, metric);
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
  EXPECT_TRUE(builder.full());
  builder.EndRow();
  EXPECT_EQ(builder.Finish().code(), absl::StatusCode::kResourceExhausted);
}

TEST(FrameBuilder, EstimateIsNearTheTrueSize) {
  const auto metric = TestMetric();
  v1::Frame frame;
  FrameBuilder builder(metric, &frame);
  for (int row = 0; row < 1'000; ++row) {
    builder.SetText(0, "table_" + std::to_string(row));
    builder.SetInt(1, int64_t{1} << (row % 60));
    builder.SetDouble(2, row);
    builder.EndRow();
  }
  const size_t estimate = builder.estimated_bytes();
  ASSERT_TRUE(builder.Finish().ok());
  const double ratio = static_cast<double>(frame.ByteSizeLong()) / static_cast<double>(estimate);
  EXPECT_GT(ratio, 0.7);
  EXPECT_LT(ratio, 1.1);
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
        BadFrame{"FewerRows", "20 values for 19", [](v1::Frame& f) { f.set_row_count(19); }},
        BadFrame{"NegativeUnchanged", "unchanged", [](v1::Frame& f) { f.set_unchanged_row_count(-1); }},
        BadFrame{"UnknownFlags", "flags", [](v1::Frame& f) { f.set_flags(64); }},
        BadFrame{"ShortRowFlags", "row_flags", [](v1::Frame& f) { f.set_row_flags(std::string(3, '\0')); }},
        BadFrame{"UnknownRowFlags", "row flags", [](v1::Frame& f) { f.set_row_flags(std::string(20, '\x40')); }},
        BadFrame{"MissingColumn", "4 columns", [](v1::Frame& f) { f.mutable_columns()->RemoveLast(); }},
        BadFrame{"ExtraColumn", "6 columns", [](v1::Frame& f) { f.add_columns(); }},
        BadFrame{"NoValues", "another type", [](v1::Frame& f) { f.mutable_columns(1)->clear_values(); }},
        BadFrame{"OtherType", "another type than int8",
                 [](v1::Frame& f) { f.mutable_columns(1)->mutable_doubles()->add_values(1); }},
        BadFrame{"MissingValue", "19 values",
                 [](v1::Frame& f) { f.mutable_columns(1)->mutable_ints()->mutable_values()->RemoveLast(); }},
        BadFrame{"ShortBitmap", "bitmap", [](v1::Frame& f) { f.mutable_columns(1)->set_null_bitmap("x"); }},
        BadFrame{"BitsBeyond", "null bits beyond",
                 [](v1::Frame& f) { (*f.mutable_columns(1)->mutable_null_bitmap())[2] = '\x10'; }},
        BadFrame{"IndexBeyond", "dictionary index 99",
                 [](v1::Frame& f) { f.mutable_columns(0)->mutable_texts()->set_indexes(0, 99); }},
        BadFrame{"IndexNegative", "dictionary index -1",
                 [](v1::Frame& f) { f.mutable_columns(0)->mutable_texts()->set_indexes(0, -1); }},
        BadFrame{"EmptyDictionary", "dictionary index",
                 [](v1::Frame& f) { f.mutable_columns(0)->mutable_texts()->clear_dictionary(); }},
        BadFrame{"BadUtf8", "UTF-8",
                 [](v1::Frame& f) { f.mutable_columns(0)->mutable_texts()->set_dictionary(0, "\xff"); }},
        BadFrame{"Nul", "UTF-8",
                 [](v1::Frame& f) {
                   f.mutable_columns(0)->mutable_texts()->set_dictionary(0, std::string("a\0", 2));
                 }},
        BadFrame{"LongText", "bytes",
                 [](v1::Frame& f) {
                   f.mutable_columns(0)->mutable_texts()->set_dictionary(0, std::string(kMaxTextBytes + 1, 'a'));
                 }},
        BadFrame{"UnusedTexts", "more texts than rows",
                 [](v1::Frame& f) {
                   for (int i = 0; i < 20; ++i) f.mutable_columns(0)->mutable_texts()->add_dictionary("u");
                 }},
        BadFrame{"GoneWithValues", "gone",
                 [](v1::Frame& f) { f.set_row_flags(std::string(20, static_cast<char>(v1::FRAME_FLAG_GONE))); }},
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
  EXPECT_EQ(FrameReader(frame, metric).column_count(), 4);
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
