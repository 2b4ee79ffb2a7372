// Blocks that are summed while they are opened, against their rows opened and added one by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "libs/columns/block.h"
#include "libs/columns/kernels.h"
#include "libs/columns/rollup.h"

namespace pga::columns {
namespace {

constexpr int64_t kMinute = 60'000'000;
constexpr ColumnId kName = 1, kNumber = 2, kCalls = 3, kTime = 4;

const Shape& TheShape() {
  static const auto* const kShape = new Shape(RawShape({{kName, Type::kText, Kind::kLabel},
                                                        {kNumber, Type::kInt, Kind::kLabel},
                                                        {kCalls, Type::kInt, Kind::kCounter},
                                                        {kTime, Type::kInt, Kind::kCounter}},
                                                       kNumber));
  return *kShape;
}

// Frames of a minute that begin 20 s after the full one.
RowSet RandomRows(std::mt19937_64& random, bool nulls, bool flags) {
  RowSet rows;
  for (int f = 0; f < 90; ++f) {
    FrameInfo frame;
    frame.start_us = f * kMinute + kMinute / 3;
    frame.end_us = frame.start_us + kMinute;
    rows.frames.push_back(frame);
  }
  Column name(Type::kText), number, calls, time;
  name.texts = {"one", "two", "three"};
  const auto value = [&](Column* column) {
    if (nulls && random() % 4 == 0) {
      column->AppendNull();
      return;
    }
    if (!column->nulls.empty()) column->nulls.push_back(0);
    const uint64_t kind = random() % 8;
    column->ints.push_back(kind == 0 ? static_cast<int64_t>(random() >> 1) : static_cast<int64_t>(random() % kind));
  };
  for (uint32_t s = 0; s < 40; ++s) {
    rows.series_scope.push_back(s % 3);
    name.ints.push_back(static_cast<int64_t>(random() % 3));
    number.ints.push_back(s / 2);
    for (uint32_t f = 0; f < 90; ++f) {
      if (s % 5 != 0 && random() % 3 != 0) continue;
      rows.row_series.push_back(s);
      rows.row_frame.push_back(f);
      value(&calls);
      value(&time);
      if (flags) rows.row_flags.push_back(random() % 6 == 0 ? static_cast<uint8_t>(random() % 16) : 0);
    }
  }
  rows.labels.emplace(kName, std::move(name));
  rows.labels.emplace(kNumber, std::move(number));
  rows.values.emplace(kCalls, std::move(calls));
  rows.values.emplace(kTime, std::move(time));
  return rows;
}

BlockBytes BytesOf(const Block& block) {
  BlockBytes bytes;
  bytes.ids = block.ids;
  for (size_t i = 0; i < block.ids.size(); ++i) {
    const auto from = static_cast<size_t>(block.offsets[i]), to = static_cast<size_t>(block.offsets[i + 1]);
    bytes.sections.push_back(std::string_view(block.data).substr(from, to - from));
  }
  bytes.frames = block.frames;
  bytes.series = block.series;
  bytes.rows = block.rows;
  return bytes;
}

using Seen = std::tuple<int32_t, int64_t, std::vector<Value>, int, std::vector<std::optional<double>>>;

std::vector<Seen> SeenIn(const std::vector<GroupRow>& rows) {
  std::vector<Seen> seen;
  for (const GroupRow& row : rows) seen.emplace_back(row.source, row.scope, row.labels, row.flags, row.values);
  return seen;
}

class SumBlockTest : public ::testing::TestWithParam<std::tuple<bool, bool, int>> {};

TEST_P(SumBlockTest, EqualsTheRowsOneByOne) {
  const auto& [nulls, flags, minutes] = GetParam();
  std::mt19937_64 random(static_cast<uint64_t>(minutes));
  // All frames, or some with two that are cut.
  const int64_t start = minutes == 500 ? 0 : 10 * kMinute;
  const Cells cells = {{start, start + minutes * kMinute, 0, 0}};
  const std::vector<ColumnId> columns = {kCalls, kTime};
  const std::vector<RowFilter> filters = {
      {kName, [](std::optional<std::string_view> text) { return text && *text != "two"; }, {}}};
  Grouping grouping;
  grouping.by = {kName, kNumber};
  grouping.max_groups = 1000;
  CounterSums by_row(cells, columns, grouping, filters), summed(cells, columns, grouping, filters);
  CounterSums in_steps(cells, columns, grouping, filters);
  for (int32_t source = 1; source <= 3; ++source) {
    for (int piece = 0; piece < 2; ++piece) {
      for (const Block& block : EncodeBlocks(TheShape(), RandomRows(random, nulls, flags), 16)) {
        RowSet rows;
        ASSERT_TRUE(OpenBlock(TheShape(), BytesOf(block), &rows).ok());
        by_row.Add(source, 0, rows);
        SeriesSums sums;
        const absl::StatusOr<bool> done = SumBlock(
            TheShape(), BytesOf(block), columns,
            [&](const std::vector<FrameInfo>& frames, FrameUse* use) { return summed.UseOf(0, frames, use); }, &rows,
            &sums);
        ASSERT_TRUE(done.ok()) << done.status();
        ASSERT_TRUE(*done);
        EXPECT_EQ(rows.rows(), 0U);
        RowSet copy = rows;
        SeriesSums same = sums;
        summed.AddSeries(source, &copy, &same);
        in_steps.AddSeries(source, &rows, &sums);
      }
    }
    in_steps.KeepTop({0}, 1, 7);
  }
  EXPECT_EQ(SeenIn(summed.Finish().rows), SeenIn(by_row.Finish().rows));
  EXPECT_FALSE(by_row.Finish().rows.empty());
  for (const int divisor : {-1, 1}) {
    EXPECT_EQ(SeenIn(summed.Top({0}, divisor, 7)), SeenIn(by_row.Top({0}, divisor, 7)));
  }
  EXPECT_EQ(SeenIn(in_steps.Top({0}, 1, 7)), SeenIn(by_row.Top({0}, 1, 7)));
  EXPECT_EQ(in_steps.Totals(), by_row.Totals());
}

INSTANTIATE_TEST_SUITE_P(Blocks, SumBlockTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(), ::testing::Values(7, 30, 500)));

// The first groups, source after source: of the later ones only what may be of them is looked at.
class FirstGroupsTest : public ::testing::TestWithParam<std::tuple<bool, int, int, bool>> {};

TEST_P(FirstGroupsTest, AreThoseOfAllRows) {
  const auto& [nulls, divisor, minutes, negative] = GetParam();
  std::mt19937_64 random(static_cast<uint64_t>(minutes));
  const int64_t start = minutes == 500 ? 0 : 10 * kMinute;
  const Cells cells = {{start, start + minutes * kMinute, 0, 0}};
  const std::vector<ColumnId> columns = {kCalls, kTime};
  const std::vector<RowFilter> filters;
  Grouping grouping;
  grouping.by = {kName, kNumber};
  grouping.max_groups = 1000;
  const std::vector<int> sum = {1};
  // What comes in steps is shared by two, one source here and one there.
  CounterSums by_row(cells, columns, grouping, filters), here(cells, columns, grouping, filters),
      there(cells, columns, grouping, filters);
  for (int32_t source = 1; source <= 6; ++source) {
    CounterSums& in_steps = source % 2 == 0 ? here : there;
    for (int piece = 0; piece < 3; ++piece) {
      RowSet all = RandomRows(random, nulls, true);
      for (int64_t& value : all.values.at(kTime).ints)
        value = negative && value % 3 == 1 ? -(value % 1000) : value % 1000;
      for (const Block& block : EncodeBlocks(TheShape(), all, 16)) {
        RowSet rows;
        ASSERT_TRUE(OpenBlock(TheShape(), BytesOf(block), &rows).ok());
        by_row.Add(source, 0, rows);
        // Some of the rows are in no block yet.
        if (piece == 2) {
          in_steps.Add(source, 0, rows);
          continue;
        }
        SeriesSums sums;
        const absl::StatusOr<bool> done = SumBlock(
            TheShape(), BytesOf(block), columns,
            [&](const std::vector<FrameInfo>& frames, FrameUse* use) { return in_steps.UseOf(0, frames, use); }, &rows,
            &sums, SumKind::kOthersThanZero);
        ASSERT_TRUE(done.ok()) << done.status();
        ASSERT_TRUE(*done);
        in_steps.AddSeries(source, &rows, &sums);
      }
    }
    in_steps.KeepTop(sum, divisor, 7);
  }
  here.Join(std::move(there), 7);
  // All that is said of sums of this kind.
  const auto sums_of = [](std::vector<GroupRow> rows) {
    for (GroupRow& row : rows) {
      row.flags = 0;
      for (std::optional<double>& value : row.values) value = value.value_or(0);
    }
    return SeenIn(rows);
  };
  const std::vector<GroupRow> first = here.Top(sum, divisor, 7);
  ASSERT_EQ(first.size(), 7U);
  ASSERT_GT(first.back().values[1].value_or(0), 0);
  EXPECT_EQ(sums_of(first), sums_of(by_row.Top(sum, divisor, 7)));
  // Groups that were not looked at count in the total.
  EXPECT_EQ(here.Totals()[1], by_row.Totals()[1]);
}

INSTANTIATE_TEST_SUITE_P(Blocks, FirstGroupsTest,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(-1, 0), ::testing::Values(7, 500),
                                            ::testing::Bool()));

TEST(SumBlockTest, LeavesToRowsWhatIsNotASumPerSeries) {
  std::mt19937_64 random(1);
  const std::vector<Block> blocks = EncodeBlocks(TheShape(), RandomRows(random, false, false));
  RowSet rows;
  SeriesSums sums;
  const auto all = [](const std::vector<FrameInfo>& frames, FrameUse* use) {
    use->parts.assign(frames.size(), FrameUse::kWhole);
    return true;
  };
  // A value that nobody sums.
  EXPECT_THAT(SumBlock(TheShape(), BytesOf(blocks[0]), {kCalls}, all, &rows, &sums).value(), false);
  const auto refuse = [](const std::vector<FrameInfo>&, FrameUse*) { return false; };
  EXPECT_THAT(SumBlock(TheShape(), BytesOf(blocks[0]), {kCalls, kTime}, refuse, &rows, &sums).value(), false);
  // A frame that reaches over two buckets.
  const Cells cells = {{0, 5 * kMinute, 0, 0}, {5 * kMinute, 9 * kMinute, 1, 0}};
  const std::vector<ColumnId> columns = {kCalls};
  const Grouping grouping;
  const std::vector<RowFilter> filters;
  const CounterSums of_two(cells, columns, grouping, filters);
  FrameUse use;
  EXPECT_FALSE(of_two.UseOf(0, rows.frames, &use));
}

TEST(SumBlockTest, RefusesBytesThatAreCutOff) {
  std::mt19937_64 random(1);
  const std::vector<Block> blocks = EncodeBlocks(TheShape(), RandomRows(random, true, true));
  const auto all = [](const std::vector<FrameInfo>& frames, FrameUse* use) {
    use->parts.assign(frames.size(), FrameUse::kWhole);
    return true;
  };
  RowSet rows;
  SeriesSums sums;
  const BlockBytes whole = BytesOf(blocks[0]);
  for (size_t i = 0; i < whole.ids.size(); ++i) {
    // Whoever wants all rows needs neither of these.
    if (whole.ids[i] == kRowFrame || whole.sections[i].empty()) continue;
    BlockBytes cut = whole;
    cut.sections[i].remove_suffix(1);
    const auto done = SumBlock(TheShape(), cut, {kCalls, kTime}, all, &rows, &sums);
    EXPECT_TRUE(absl::IsInvalidArgument(done.status()) || cut.ids[i] == kFrameRowsSent) << cut.ids[i];
  }
}

}  // namespace
}  // namespace pga::columns
