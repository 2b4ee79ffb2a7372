#include "libs/storage/read/names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "libs/status/testing.h"

namespace pga::storage {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

catalog_pb::Metric TestMetric() {
  using namespace pganalytics::catalog::v1;  // NOLINT: names of one message
  Metric metric;
  metric.set_name("probe_m");
  const auto add = [&](const char* name, ColumnType type, ColumnKind kind) {
    Column* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
  };
  add("name", COLUMN_TYPE_TEXT, COLUMN_KIND_LABEL);
  add("number", COLUMN_TYPE_INT8, COLUMN_KIND_LABEL);
  add("calls", COLUMN_TYPE_INT8, COLUMN_KIND_COUNTER);
  add("blocks", COLUMN_TYPE_INT8, COLUMN_KIND_COUNTER);
  add("size", COLUMN_TYPE_FLOAT8, COLUMN_KIND_GAUGE);
  return metric;
}

struct FilterCase {
  std::string name;
  std::string filter;
  std::set<std::string> kept;
};

class LabelFilterKeeps : public ::testing::TestWithParam<FilterCase> {};

TEST_P(LabelFilterKeeps, TheRightRows) {
  const catalog_pb::Metric metric = TestMetric();
  const auto parsed = ParseLabelFilter(metric, GetParam().filter);
  ASSERT_THAT(parsed, IsOk());
  const columns::RowFilter filter = RowFilterOf(metric, *parsed);
  std::set<std::string> kept;
  if (parsed->label->type() == catalog_pb::COLUMN_TYPE_TEXT) {
    for (const char* value : {"a", "b", "c", "xay"}) {
      if (filter.text(std::string_view(value))) kept.insert(value);
    }
    if (filter.text(std::nullopt)) kept.insert("NULL");
  } else {
    for (const int64_t value : {1, 2, 12}) {
      if (filter.number(value)) kept.insert(std::to_string(value));
    }
    if (filter.number(std::nullopt)) kept.insert("NULL");
  }
  EXPECT_EQ(kept, GetParam().kept);
}

INSTANTIATE_TEST_SUITE_P(Filters, LabelFilterKeeps,
                         ::testing::Values(FilterCase{"equals", "name=a", {"a"}},
                                           FilterCase{"not_equals", "name!=a", {"b", "c", "xay", "NULL"}},
                                           FilterCase{"matches", "name~^[ac]$", {"a", "c"}},
                                           FilterCase{"matches_a_part", "name~a", {"a", "xay"}},
                                           FilterCase{"number", "number=2", {"2"}},
                                           FilterCase{"not_number", "number!=2", {"1", "12", "NULL"}},
                                           FilterCase{"number_matches", "number~1", {"1", "12"}},
                                           FilterCase{"quoting", "name='; DROP TABLE metrics.frame; --", {}}),
                         [](const auto& test) { return test.param.name; });

// A page of 200 statements asks for all of them at once.
TEST(ParseLabelFilter, TakesTwoHundredIdsOfStatements) {
  const auto metric = TestMetric();
  std::string ids;
  for (int64_t i = 0; i < 200; ++i) ids += (i == 0 ? "" : "|") + std::to_string(INT64_MIN + i);
  const auto parsed = ParseLabelFilter(metric, "number~^(" + ids + ")$");
  ASSERT_THAT(parsed, IsOk());
  const columns::RowFilter filter = RowFilterOf(metric, *parsed);
  EXPECT_TRUE(filter.number(INT64_MIN + 199));
  EXPECT_FALSE(filter.number(INT64_MIN + 200));
}

TEST(TextOf, IsAsPostgresqlWritesIt) {
  using namespace pganalytics::catalog::v1;  // NOLINT: types of columns
  EXPECT_EQ(TextOf(int64_t{0x1752EC0}, COLUMN_TYPE_PG_LSN), "0/1752EC0");
  EXPECT_EQ(TextOf(int64_t{0x16B374D848}, COLUMN_TYPE_PG_LSN), "16/B374D848");
  EXPECT_EQ(TextOf(int64_t{1}, COLUMN_TYPE_BOOL), "true");
  EXPECT_EQ(TextOf(int64_t{1767268800000000}, COLUMN_TYPE_TIMESTAMPTZ), "2026-01-01 12:00:00+00");
  EXPECT_EQ(TextOf(0.5, COLUMN_TYPE_FLOAT8), "0.5");
  EXPECT_EQ(TextOf(std::monostate(), COLUMN_TYPE_INT8), "");
}

TEST(LabelFilter, AmongNumbers) {
  const auto metric = TestMetric();
  const columns::RowFilter filter = RowFilterOf(metric, {&metric.columns(1), LabelFilter::Op::kAmong, "", {1, 12}});
  EXPECT_TRUE(filter.number(12));
  EXPECT_FALSE(filter.number(2));
  EXPECT_FALSE(filter.number(std::nullopt));
}

TEST(ParseLabelFilter, SaysWhatToChange) {
  const auto metric = TestMetric();
  EXPECT_THAT(ParseLabelFilter(metric, "plain"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label=value")));
  EXPECT_THAT(ParseLabelFilter(metric, "nam=x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name, number")));
  EXPECT_THAT(ParseLabelFilter(metric, "number=x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("whole number")));
  EXPECT_THAT(ParseLabelFilter(metric, "name~(a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular expression")));
  // Only a matcher that tries every way could answer it: seconds of a core for one label.
  EXPECT_THAT(ParseLabelFilter(metric, R"(name~(.*)(.*)(.*)\3\2\1x)"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("regular expression")));
  EXPECT_THAT(ParseLabelFilter(metric, "name=" + std::string(kMaxFilterBytes, 'x')), IsOk());
  EXPECT_THAT(ParseLabelFilter(metric, "name=" + std::string(kMaxFilterBytes + 1, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("8192 bytes")));
  EXPECT_THAT(FindValueColumn(metric, "callz"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("calls, blocks, size")));
}

}  // namespace
}  // namespace pga::storage
