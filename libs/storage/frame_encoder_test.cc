#include "libs/storage/frame_encoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "libs/frame/frame_builder.h"
#include "libs/frame/frame_reader.h"
#include "libs/frame/text.h"
#include "libs/frame/uuid.h"
#include "libs/pg/binary.h"
#include "libs/status/testing.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;
namespace ingest_v1 = pganalytics::ingest::v1;
using status::IsOk;

constexpr int64_t kCollectedUs = 1'767'225'600'123'456;  // 2026-01-01
constexpr int32_t kSource = 4711;

catalog_v1::Metric TestMetric(catalog_v1::Scope scope) {
  catalog_v1::Metric metric;
  metric.set_name("sample");
  metric.set_schema_version(2);
  metric.set_scope(scope);
  const auto add = [&](const char* name, catalog_v1::ColumnType type, catalog_v1::ColumnKind kind, int since = 1) {
    catalog_v1::Column* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
    column->set_since_schema_version(since);
  };
  add("label", catalog_v1::COLUMN_TYPE_TEXT, catalog_v1::COLUMN_KIND_LABEL);
  add("calls", catalog_v1::COLUMN_TYPE_INT8, catalog_v1::COLUMN_KIND_COUNTER);
  add("ratio", catalog_v1::COLUMN_TYPE_FLOAT8, catalog_v1::COLUMN_KIND_GAUGE);
  add("active", catalog_v1::COLUMN_TYPE_BOOL, catalog_v1::COLUMN_KIND_INFO);
  add("since", catalog_v1::COLUMN_TYPE_TIMESTAMPTZ, catalog_v1::COLUMN_KIND_INFO);
  add("lag", catalog_v1::COLUMN_TYPE_INTERVAL_US, catalog_v1::COLUMN_KIND_GAUGE);
  add("position", catalog_v1::COLUMN_TYPE_PG_LSN, catalog_v1::COLUMN_KIND_GAUGE);
  add("note", catalog_v1::COLUMN_TYPE_TEXT, catalog_v1::COLUMN_KIND_INFO, 2);
  return metric;
}

std::string TableSql(const catalog_v1::Metric& metric, const char* name) {
  return absl::StrCat("CREATE SCHEMA IF NOT EXISTS metrics; CREATE TABLE metrics.", name,
                      " (time timestamptz, source_id int4, ",
                      metric.scope() == catalog_v1::SCOPE_DATABASE ? "scope int4, " : "",
                      "flags int2, label int8, calls int8, ratio float8, active bool, since timestamptz, lag int8, "
                      "position int8, note int8)");
}

struct Case {
  const char* name;
  catalog_v1::Scope scope;
  int rows;
  // Sets cells of a row; what it leaves out is NULL.
  std::function<void(int row, frame::FrameBuilder* builder)> fill;
  int frame_flags = 0;
  ingest_v1::FrameKind kind = ingest_v1::FRAME_KIND_DELTA;
};

void FillAll(int row, frame::FrameBuilder* builder) {
  builder->SetText(0, absl::StrCat("label ", row % 7));
  builder->SetInt(1, row * 1'000'003LL);
  builder->SetDouble(2, row / 3.0);
  builder->SetBool(3, row % 2 == 0);
  builder->SetInt(4, kCollectedUs - row * 1'000'000LL);
  builder->SetInt(5, -row);
  builder->SetInt(6, INT64_MAX - row);
  builder->SetText(7, "zwölf Boxkämpfer \"quoted\" \\ {braces}");
  builder->EndRow();
}

std::vector<Case> Cases() {
  return {
      {"NoNulls", catalog_v1::SCOPE_INSTANCE, 100, FillAll},
      {"OneRow", catalog_v1::SCOPE_INSTANCE, 1, FillAll},
      {"NoRows", catalog_v1::SCOPE_INSTANCE, 0, FillAll},
      {"DatabaseScope", catalog_v1::SCOPE_DATABASE, 10, FillAll, ingest_v1::FRAME_FLAG_LOWER_BOUND},
      {"Keyframe", catalog_v1::SCOPE_DATABASE, 10, FillAll, 0, ingest_v1::FRAME_KIND_KEYFRAME},
      {"AllNullColumns", catalog_v1::SCOPE_INSTANCE, 20,
       [](int row, frame::FrameBuilder* builder) {
         builder->SetText(0, "only label and calls");
         builder->SetInt(1, row);
         builder->EndRow();
       }},
      {"SomeNulls", catalog_v1::SCOPE_INSTANCE, 60,
       [](int row, frame::FrameBuilder* builder) {
         static std::minstd_rand random(1);
         if (random() % 2) builder->SetText(0, absl::StrCat("l", row % 13));
         if (random() % 2) builder->SetInt(1, row);
         if (random() % 2) builder->SetDouble(2, -row);
         if (random() % 2) builder->SetBool(3, true);
         if (random() % 2) builder->SetInt(4, row);
         if (random() % 2) builder->SetInt(5, row);
         if (random() % 2) builder->SetInt(6, row);
         if (random() % 2) builder->SetText(7, "");
         builder->EndRow(row % 3 == 0 ? ingest_v1::FRAME_FLAG_TEXT_REPLACED : 0);
       }},
      {"ExtremeValues", catalog_v1::SCOPE_INSTANCE, 4,
       [](int row, frame::FrameBuilder* builder) {
         constexpr double kDoubles[] = {std::numeric_limits<double>::infinity(),
                                        -std::numeric_limits<double>::infinity(),
                                        std::numeric_limits<double>::quiet_NaN(), -0.0};
         constexpr int64_t kInts[] = {INT64_MAX, INT64_MIN, 0, -1};
         builder->SetText(0, "x");
         builder->SetInt(1, kInts[row]);
         builder->SetDouble(2, kDoubles[row]);
         builder->SetBool(3, false);
         builder->SetInt(4, kInts[row]);  // infinity, -infinity, the epoch, just before it
         builder->SetInt(5, kInts[row]);
         builder->SetInt(6, kInts[row]);
         builder->SetText(7, "y");
         builder->EndRow(0);
       }},
  };
}

class EncodeFrameTest : public ::testing::TestWithParam<Case> {};

// PostgreSQL reads our bytes and writes the same bytes: nothing is lost, and the form is its own.
TEST_P(EncodeFrameTest, BytesAreThoseOfPostgres) {
  const Case& test = GetParam();
  const catalog_v1::Metric metric = TestMetric(test.scope);
  ingest_v1::Frame frame;
  frame::FrameBuilder builder(metric, &frame);
  frame.set_source_id(frame::RandomUuid());
  frame.set_collected_at_us(kCollectedUs);
  frame.set_interval_start_us(test.kind == ingest_v1::FRAME_KIND_DELTA ? kCollectedUs - 60'000'000 : kCollectedUs);
  frame.set_kind(test.kind);
  frame.set_flags(test.frame_flags);
  if (test.scope == catalog_v1::SCOPE_DATABASE) frame.set_scope_id(3'000'000'000);
  for (int row = 0; row < test.rows; ++row) test.fill(row, &builder);
  ASSERT_THAT(builder.Finish(), IsOk());
  ASSERT_THAT(frame::ValidateFrame(frame, metric), IsOk());

  auto layout = FrameLayout::Create(metric, 1, 2);
  ASSERT_THAT(layout, IsOk());
  std::string tuples;
  TextCollector texts;
  ASSERT_THAT(EncodeFrame(**layout, frame, kSource, &tuples, &texts), IsOk());

  auto url = testing::SharedPostgres()->CreateFreshDatabase();
  ASSERT_THAT(url, IsOk());
  auto connection = pg::CopyConnection::Connect({.url = *url}, absl::Now() + absl::Seconds(10));
  ASSERT_THAT(connection, IsOk());
  const absl::Time deadline = absl::Now() + absl::Seconds(30);
  ASSERT_THAT((*connection)->Exec(TableSql(metric, (*layout)->table(test.kind).c_str()), deadline), IsOk());
  std::string stream;
  pg::AppendCopyHeader(&stream);
  stream += tuples;
  pg::AppendCopyTrailer(&stream);
  ASSERT_THAT((*connection)->BeginCopy((*layout)->copy_sql(test.kind), deadline), IsOk());
  ASSERT_THAT((*connection)->PutCopyData(stream, deadline), IsOk());
  auto stored = (*connection)->EndCopy(deadline);
  ASSERT_THAT(stored, IsOk());
  EXPECT_EQ(*stored, test.rows);

  std::string back;
  std::string copy_out = (*layout)->copy_sql(test.kind);
  copy_out.replace(copy_out.find("FROM STDIN BINARY"), std::string::npos, "TO STDOUT BINARY");
  ASSERT_THAT((*connection)
                  ->CopyOut(
                      copy_out,
                      [&](std::string_view chunk) {
                        back += chunk;
                        return absl::OkStatus();
                      },
                      deadline),
              IsOk());
  EXPECT_TRUE(back == stream) << "PostgreSQL writes " << back.size() << " bytes, we wrote " << stream.size();

  // The values themselves, against the frame.
  const frame::FrameReader reader(frame, metric);
  auto rows = (*connection)
                  ->Exec(absl::StrCat("SELECT label, calls, ratio::text, active, (extract(epoch FROM time) * "
                                      "1000000)::int8, source_id, flags, note FROM metrics.",
                                      (*layout)->table(test.kind)),
                         deadline);
  ASSERT_THAT(rows, IsOk());
  ASSERT_EQ(rows->rows(), static_cast<size_t>(test.rows));
  for (int row = 0; row < test.rows; ++row) {
    const pg::Row got = (*rows)[static_cast<size_t>(row)];
    ASSERT_EQ(got.IsNull(0), reader.column(0).IsNull(row)) << row;
    if (!got.IsNull(0)) {
      ASSERT_EQ(got.Int64(0), frame::TextId(reader.column(0).Text(row)));
    }
    ASSERT_EQ(got.IsNull(1), reader.column(1).IsNull(row));
    if (!got.IsNull(1)) {
      ASSERT_EQ(got.Int64(1), reader.column(1).Int(row));
    }
    ASSERT_EQ(got.IsNull(3), reader.column(3).IsNull(row));
    if (!got.IsNull(3)) {
      ASSERT_EQ(got.Bool(3), reader.column(3).Bool(row));
    }
    ASSERT_EQ(got.Int64(4), kCollectedUs);
    ASSERT_EQ(got.Int32(5), kSource);
    ASSERT_EQ(got.Int32(6), reader.RowFlags(row));
    ASSERT_EQ(got.IsNull(7), reader.column(7).IsNull(row));
  }
  if (test.scope == catalog_v1::SCOPE_DATABASE && test.rows > 0) {
    auto scope =
        (*connection)
            ->Exec(absl::StrCat("SELECT DISTINCT scope::int8 & 4294967295 FROM metrics.", (*layout)->table(test.kind)),
                   deadline);
    ASSERT_THAT(scope, IsOk());
    EXPECT_EQ((*scope)[0].Int64(0), 3'000'000'000);
  }
}

INSTANTIATE_TEST_SUITE_P(Frames, EncodeFrameTest, ::testing::ValuesIn(Cases()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(EncodeFrame, OldVersionFillsOldColumnsOnly) {
  const catalog_v1::Metric metric = TestMetric(catalog_v1::SCOPE_INSTANCE);
  auto layout = FrameLayout::Create(metric, 1, 1);
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ((*layout)->types().size(), 7u);
  EXPECT_EQ((*layout)->copy_sql(ingest_v1::FRAME_KIND_DELTA).find("note"), std::string::npos);
  EXPECT_FALSE(FrameLayout::Create(metric, 1, 3).ok());
  EXPECT_FALSE(FrameLayout::Create(metric, 1, 0).ok());
}

TEST(EncodeFrame, CustomMetricsGoToTheirSchema) {
  catalog_v1::Metric metric = TestMetric(catalog_v1::SCOPE_INSTANCE);
  metric.set_custom(true);
  auto layout = FrameLayout::Create(metric, 1, 1);
  ASSERT_THAT(layout, IsOk());
  EXPECT_EQ((*layout)->copy_sql(ingest_v1::FRAME_KIND_KEYFRAME).find("COPY custom.\"sample_baseline\""), 0u);
}

TEST(EncodeFrame, MalformedFramesAreRefusedAndLeaveNothing) {
  const catalog_v1::Metric metric = TestMetric(catalog_v1::SCOPE_INSTANCE);
  auto layout = FrameLayout::Create(metric, 1, 2);
  ASSERT_THAT(layout, IsOk());
  ingest_v1::Frame good;
  frame::FrameBuilder builder(metric, &good);
  for (int row = 0; row < 9; ++row) FillAll(row, &builder);
  ASSERT_THAT(builder.Finish(), IsOk());
  const std::vector<std::pair<const char*, std::function<void(ingest_v1::Frame*)>>> spoil = {
      {"column missing", [](auto* f) { f->mutable_columns()->RemoveLast(); }},
      {"value missing", [](auto* f) { f->mutable_columns(1)->mutable_ints()->mutable_values()->RemoveLast(); }},
      {"double missing", [](auto* f) { f->mutable_columns(2)->mutable_doubles()->mutable_values()->RemoveLast(); }},
      {"bool missing", [](auto* f) { f->mutable_columns(3)->mutable_bools()->mutable_values()->RemoveLast(); }},
      {"wrong family", [](auto* f) { f->mutable_columns(1)->mutable_doubles()->add_values(1); }},
      {"bitmap short", [](auto* f) { f->mutable_columns(1)->set_null_bitmap("x"); }},
      {"index outside", [](auto* f) { f->mutable_columns(0)->mutable_texts()->set_indexes(3, 7); }},
      {"index negative", [](auto* f) { f->mutable_columns(0)->mutable_texts()->set_indexes(3, -1); }},
      {"dictionary empty", [](auto* f) { f->mutable_columns(0)->mutable_texts()->clear_dictionary(); }},
      {"row flags short", [](auto* f) { f->set_row_flags("x"); }},
      {"row count negative", [](auto* f) { f->set_row_count(-1); }},
  };
  for (const auto& [name, change] : spoil) {
    ingest_v1::Frame frame = good;
    change(&frame);
    std::string tuples = "before";
    TextCollector texts;
    EXPECT_THAT(EncodeFrame(**layout, frame, kSource, &tuples, &texts),
                status::StatusIs(absl::StatusCode::kInvalidArgument))
        << name;
    EXPECT_EQ(tuples, "before") << name;
  }
}

TEST(TextCollector, GivesEachTextOncePerSourceAndLeavesOutKnownOnes) {
  KnownTexts known;
  known.Insert({{1, frame::TextId("known")}});
  TextCollector texts(&known);
  EXPECT_EQ(texts.Add(1, "known"), frame::TextId("known"));
  texts.Add(1, "new");
  texts.Add(1, "new");
  texts.Add(2, "known");
  ASSERT_EQ(texts.values().size(), 2u);
  EXPECT_EQ(texts.values()[0].value, "new");
  EXPECT_EQ(texts.values()[1].source, 2);
}

TEST(KnownTexts, ForgetsAfterItsSize) {
  KnownTexts known(64, absl::Hours(1));
  for (int64_t id = 0; id < 10'000; ++id) known.Insert({{1, id}});
  int remembered = 0;
  for (int64_t id = 0; id < 10'000; ++id) remembered += known.Contains(1, id);
  EXPECT_LE(remembered, 64);
  EXPECT_TRUE(known.Contains(1, 9'999));
  known.Clear();
  EXPECT_FALSE(known.Contains(1, 9'999));
}

}  // namespace
}  // namespace pga::storage
