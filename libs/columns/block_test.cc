// Row sets, blocks and roll-ups: what comes out of a block equals what went in, whatever way it was put together.
#include "libs/columns/block.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "libs/columns/int_codec.h"
#include "libs/columns/rollup.h"
#include "libs/columns/row_set.h"

namespace pga::columns {
namespace {

constexpr int64_t kMinute = 60'000'000;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kStart = 1'767'139'200'000'000;

// Labels name (text) and number, counters calls and blocks, gauges size (double) and live, info owner (text).
const std::vector<MetricColumn>& Columns() {
  static const auto* const kColumns = new std::vector<MetricColumn>{
      {1, Type::kText, Kind::kLabel},  {2, Type::kInt, Kind::kLabel},    {3, Type::kInt, Kind::kCounter},
      {4, Type::kInt, Kind::kCounter}, {5, Type::kDouble, Kind::kGauge}, {6, Type::kInt, Kind::kGauge},
      {7, Type::kText, Kind::kInfo},
  };
  return *kColumns;
}

// A frame as stored, with the bytes that it points to.
struct StoredFrame {
  FrameInfo info;
  std::vector<std::string> chunks;
  std::string row_flags;

  FrameBytes Bytes() const {
    FrameBytes bytes;
    bytes.info = info;
    for (const std::string& chunk : chunks) bytes.chunks.emplace_back(chunk);
    bytes.row_flags = row_flags;
    return bytes;
  }
};

StoredFrame RandomFrame(std::mt19937_64& random, int64_t start, int64_t end, int64_t scope, uint64_t names = 9) {
  StoredFrame frame;
  frame.info.start_us = start;
  frame.info.end_us = end;
  frame.info.scope = scope;
  frame.info.collector = 3;
  std::vector<Column> columns = {Column(Type::kText),   Column(Type::kInt), Column(Type::kInt), Column(Type::kInt),
                                 Column(Type::kDouble), Column(Type::kInt), Column(Type::kText)};
  columns[6].texts = {"ann", "bob"};
  std::vector<int64_t> flags;
  for (uint64_t name = 0; name < names; ++name) {
    if (random() % 3 == 0) {
      ++frame.info.unchanged_rows;
      continue;
    }
    columns[0].texts.push_back("name" + std::to_string(name));
    columns[0].ints.push_back(static_cast<int64_t>(columns[0].texts.size()) - 1);
    columns[1].ints.push_back(static_cast<int64_t>(name % 2));
    const bool gone = random() % 20 == 0, unknown = random() % 15 == 0;
    flags.push_back(gone ? kGoneFlag : unknown ? kUnknownFlag : random() % 30 == 0 ? kLowerBoundFlag : 0);
    for (const size_t column : {2, 3, 4, 5, 6}) {
      Column& to = columns[column];
      const bool counter = column < 4;
      if (gone || (unknown && counter) || (!counter && random() % 4 == 0)) {
        to.AppendNull();
        continue;
      }
      if (!to.nulls.empty()) to.nulls.push_back(0);
      if (column == 4) {
        to.doubles.push_back(static_cast<double>(random() % 1000) / 8);
      } else {
        to.ints.push_back(static_cast<int64_t>(random() % (column == 6 ? 2 : 1000)));
      }
    }
  }
  frame.info.rows = static_cast<int64_t>(flags.size());
  for (const Column& column : columns) EncodeColumn(column, &frame.chunks.emplace_back());
  if (std::any_of(flags.begin(), flags.end(), [](int64_t bits) { return bits != 0; })) {
    EncodeInts(flags.data(), flags.size(), &frame.row_flags);
  }
  return frame;
}

std::vector<StoredFrame> RandomFrames(std::mt19937_64& random, int64_t from, int64_t to, uint64_t names = 9) {
  std::vector<StoredFrame> frames;
  for (const int64_t scope : {5, 6}) {
    int64_t at = from + static_cast<int64_t>(random() % kMinute);
    while (at < to) {
      int64_t length = kMinute + static_cast<int64_t>(random() % 2'000'000);
      if (random() % 30 == 0) length = static_cast<int64_t>(random() % (50 * kMinute));
      frames.push_back(RandomFrame(random, at, at + length, scope, names));
      at += length;
      if (random() % 20 == 0) at += static_cast<int64_t>(random() % (20 * kMinute));
    }
  }
  return frames;
}

RowSet Open(const Shape& shape, const StoredFrame& frame) {
  RowSet rows;
  const absl::Status status = OpenFrame(shape, frame.Bytes(), &rows);
  EXPECT_TRUE(status.ok()) << status;
  return rows;
}

RowSet MergeAll(const Shape& shape, const std::vector<RowSet>& sets) {
  Merger merger(shape);
  for (const RowSet& rows : sets) merger.Add(rows);
  return merger.Finish();
}

std::string ValueText(const Column& column, size_t row) {
  if (column.IsNull(row)) return "-";
  if (column.type == Type::kText) return column.Text(row);
  if (column.type == Type::kDouble) return std::to_string(column.doubles[row]);
  return std::to_string(column.ints[row]);
}

// Everything a row set says, in a form that does not depend on numbering: columns without any value are left out.
std::map<std::string, std::string> Contents(const RowSet& rows, ColumnId without = 0) {
  std::map<std::string, std::string> contents;
  for (const FrameInfo& frame : rows.frames) {
    contents["frame " + std::to_string(frame.end_us) + " " + std::to_string(frame.scope)] =
        std::to_string(frame.start_us) + " " + std::to_string(frame.flags) + " " + std::to_string(frame.frames) + " " +
        std::to_string(frame.unchanged_rows) + " " + std::to_string(frame.covered_us) + " " +
        std::to_string(frame.collector);
  }
  for (size_t row = 0; row < rows.rows(); ++row) {
    const FrameInfo& frame = rows.frames[rows.row_frame[row]];
    const uint32_t series = rows.row_series[row];
    EXPECT_EQ(rows.series_scope[series], frame.scope);
    std::string key = "row " + std::to_string(frame.end_us) + " " + std::to_string(frame.scope);
    for (const auto& [id, column] : rows.labels) key += " " + ValueText(column, series);
    std::string value = std::to_string(rows.FlagsOf(row));
    if (!rows.row_last_us.empty()) value += " at " + std::to_string(rows.row_last_us[row]);
    for (const auto& [id, column] : rows.values) {
      if (!column.IsNull(row) && id != without) value += " " + std::to_string(id) + "=" + ValueText(column, row);
    }
    EXPECT_TRUE(contents.emplace(key, value).second) << key;
  }
  return contents;
}

BlockBytes BytesOf(const Block& block) {
  BlockBytes bytes;
  bytes.frames = block.frames;
  bytes.series = block.series;
  bytes.rows = block.rows;
  bytes.ids = block.ids;
  for (size_t i = 0; i < block.ids.size(); ++i) {
    const size_t start = SectionStart(block.ids, block.offsets, i);
    const auto begin = static_cast<size_t>(block.offsets[start]);
    bytes.sections.push_back(
        std::string_view(block.data).substr(begin, static_cast<size_t>(block.offsets[start + 1]) - begin));
  }
  return bytes;
}

// Sums of a counter by scope and name over everything.
std::map<std::string, int64_t> Totals(const RowSet& rows, ColumnId id) {
  std::map<std::string, int64_t> totals;
  const auto column = rows.values.find(id);
  for (size_t row = 0; column != rows.values.end() && row < rows.rows(); ++row) {
    const uint32_t series = rows.row_series[row];
    if (column->second.IsNull(row)) continue;
    totals[std::to_string(rows.series_scope[series]) + ValueText(rows.labels.at(1), series)] +=
        column->second.ints[row];
  }
  return totals;
}

TEST(Block, GivesBackWhatWasPutIn) {
  std::mt19937_64 random(1);
  const Shape shape = RawShape(Columns(), 1);
  for (int round = 0; round < 40; ++round) {
    std::vector<RowSet> opened;
    for (const StoredFrame& frame : RandomFrames(random, kStart, kStart + 2 * kHour, 1 + random() % 30)) {
      opened.push_back(Open(shape, frame));
    }
    const RowSet rows = MergeAll(shape, opened);
    const std::map<std::string, std::string> contents = Contents(rows);
    for (const uint32_t most : {1000U, 7U, 1U}) {
      std::vector<RowSet> again;
      int64_t count = 0;
      std::string last_key;
      for (const Block& block : EncodeBlocks(shape, rows, most)) {
        EXPECT_LE(last_key, block.locate_min);
        last_key = block.locate_max;
        EXPECT_LE(block.locate_min, block.locate_max);
        RowSet read;
        const absl::Status status = OpenBlock(shape, BytesOf(block), &read);
        ASSERT_TRUE(status.ok()) << status;
        EXPECT_TRUE(std::is_sorted(read.row_series.begin(), read.row_series.end()));
        std::vector<size_t> counts(read.series());
        for (const uint32_t series : read.row_series) ++counts[series];
        EXPECT_TRUE(std::is_sorted(counts.rbegin(), counts.rend()));
        std::vector<std::string> keys;
        for (size_t series = 0; series < read.series(); ++series) {
          keys.push_back(LocateKey(read.labels.at(1), series));
          if (series > 0 && counts[series] == counts[series - 1]) {
            EXPECT_LE(keys[series - 1], keys[series]);
          }
        }
        EXPECT_EQ(*std::min_element(keys.begin(), keys.end()), block.locate_min);
        EXPECT_EQ(*std::max_element(keys.begin(), keys.end()), block.locate_max);
        count += block.rows;
        again.push_back(std::move(read));
      }
      EXPECT_EQ(count, static_cast<int64_t>(rows.rows()));
      EXPECT_TRUE(Contents(MergeAll(shape, again)) == contents) << most;
    }
  }
}

TEST(Block, IsTheSameWhicheverWayFramesAreJoined) {
  std::mt19937_64 random(2);
  const Shape shape = RawShape(Columns(), 1);
  for (int round = 0; round < 20; ++round) {
    std::vector<StoredFrame> frames = RandomFrames(random, kStart, kStart + kHour);
    std::vector<RowSet> opened;
    for (const StoredFrame& frame : frames) opened.push_back(Open(shape, frame));
    const auto contents = Contents(MergeAll(shape, opened));
    std::shuffle(opened.begin(), opened.end(), random);
    const std::vector<RowSet> first(opened.begin(), opened.begin() + static_cast<ptrdiff_t>(opened.size() / 2));
    const std::vector<RowSet> second(opened.begin() + static_cast<ptrdiff_t>(opened.size() / 2), opened.end());
    EXPECT_TRUE(Contents(MergeAll(shape, {MergeAll(shape, first), MergeAll(shape, second)})) == contents);
  }
}

TEST(Block, OpensFramesWithoutRowsAndChosenColumnsAlone) {
  std::mt19937_64 random(3);
  const Shape shape = RawShape(Columns(), 1);
  std::vector<RowSet> opened;
  for (const StoredFrame& frame : RandomFrames(random, kStart, kStart + kHour)) opened.push_back(Open(shape, frame));
  const RowSet rows = MergeAll(shape, opened);
  const std::vector<Block> blocks = EncodeBlocks(shape, rows);
  ASSERT_EQ(blocks.size(), 1u);
  const BlockBytes whole = BytesOf(blocks[0]);
  const auto only = [&](auto keep) {
    BlockBytes some = whole;
    some.ids.clear();
    some.sections.clear();
    for (size_t i = 0; i < whole.ids.size(); ++i) {
      if (!keep(whole.ids[i])) continue;
      some.ids.push_back(whole.ids[i]);
      some.sections.push_back(whole.sections[i]);
    }
    return some;
  };
  RowSet frames;
  ASSERT_TRUE(OpenBlock(shape, only([](ColumnId id) {
                          return std::find(FrameIds().begin(), FrameIds().end(), id) != FrameIds().end();
                        }),
                        &frames)
                  .ok());
  EXPECT_EQ(frames.frames.size(), rows.frames.size());
  EXPECT_EQ(frames.rows(), 0u);
  RowSet calls;
  ASSERT_TRUE(OpenBlock(shape, only([](ColumnId id) { return id < 0 || id == 1 || id == 3; }), &calls).ok());
  EXPECT_EQ(calls.rows(), rows.rows());
  EXPECT_EQ(calls.values.size(), 1u);
  EXPECT_EQ(calls.labels.size(), 1u);
  EXPECT_EQ(Totals(calls, 3), Totals(rows, 3));
}

TEST(Block, RefusesDamage) {
  std::mt19937_64 random(4);
  const Shape shape = RawShape(Columns(), 1);
  std::vector<RowSet> opened;
  for (const StoredFrame& frame : RandomFrames(random, kStart, kStart + kHour)) opened.push_back(Open(shape, frame));
  const std::vector<Block> blocks = EncodeBlocks(shape, MergeAll(shape, opened));
  RowSet read;
  for (int round = 0; round < 5000; ++round) {
    Block damaged = blocks[0];
    damaged.data[random() % damaged.data.size()] = static_cast<char>(random());
    if (round % 3 == 0) damaged.rows += static_cast<int64_t>(random() % 5) - 2;
    if (round % 5 == 0) damaged.series += static_cast<int32_t>(random() % 5) - 2;
    if (round % 7 == 0) damaged.frames += static_cast<int32_t>(random() % 5) - 2;
    (void)OpenBlock(shape, BytesOf(damaged), &read);
  }
  const Shape buckets = BucketShape(Columns(), 1);
  const RowSet hours =
      RollUp(Columns(), MergeAll(shape, opened), nullptr, {kStart - kHour, kStart, kStart + kHour, kStart + 3 * kHour});
  const Block level = EncodeBlocks(buckets, hours)[0];
  for (int round = 0; round < 5000; ++round) {
    Block damaged = level;
    damaged.data[random() % damaged.data.size()] = static_cast<char>(random());
    if (OpenBlock(buckets, BytesOf(damaged), &read).ok()) {
      EXPECT_EQ(read.row_last_us.size(), read.rows());
    }
  }
  Block wrong = blocks[0];
  ++wrong.rows;
  EXPECT_FALSE(OpenBlock(shape, BytesOf(wrong), &read).ok());
  wrong.rows = kMaxOpenRows + 1;
  EXPECT_FALSE(OpenBlock(shape, BytesOf(wrong), &read).ok());
}

// The bytes of section `id`; 0 when it is not there.
size_t SectionBytes(const Block& block, ColumnId id) {
  const auto at = static_cast<size_t>(std::find(block.ids.begin(), block.ids.end(), id) - block.ids.begin());
  return at == block.ids.size() ? 0 : static_cast<size_t>(block.offsets[at + 1] - block.offsets[at]);
}

TEST(Block, InstantsOfNewestRowsStandOnce) {
  RowSet rows;
  for (int hour = 0; hour < 24; ++hour) {
    FrameInfo bucket;
    bucket.start_us = kStart + hour * kHour;
    bucket.end_us = bucket.start_us + kHour;
    rows.frames.push_back(bucket);
  }
  std::mt19937_64 random(9);
  Column names(Type::kText);
  for (uint32_t series = 0; series < 500; ++series) {
    rows.series_scope.push_back(0);
    names.texts.push_back(std::to_string(series));
    names.ints.push_back(series);
    for (uint32_t hour = 0; hour < 24; ++hour) {
      rows.row_series.push_back(series);
      rows.row_frame.push_back(hour);
      // Frames come every minute and some milliseconds; now and then the newest is one of the hour after.
      const int64_t minute = hour * 60 + 58 + static_cast<int64_t>(random() % 4);
      rows.row_last_us.push_back(kStart + minute * kMinute + minute * 7919 % 30'000'000);
    }
  }
  rows.labels.emplace(1, names);
  const Shape shape = BucketShape(Columns(), 1);
  const std::vector<Block> blocks = EncodeBlocks(shape, rows);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_LE(SectionBytes(blocks[0], kRowLast), rows.rows() * 3 / 8 + 700);
  RowSet read;
  ASSERT_TRUE(OpenBlock(shape, BytesOf(blocks[0]), &read).ok());
  EXPECT_EQ(read.row_last_us, rows.row_last_us);
}

TEST(Block, ColumnsThatAreEqualStandOnceAndLengthsFollowFromEnds) {
  std::mt19937_64 random(31);
  const std::vector<MetricColumn> columns = {
      {1, Type::kInt, Kind::kLabel}, {2, Type::kInt, Kind::kInfo}, {3, Type::kInt, Kind::kInfo}};
  const Shape shape = RawShape(columns, 1);
  RowSet rows;
  std::map<int64_t, int64_t> ends;
  for (int frame = 0; frame < 200; ++frame) {
    FrameInfo info;
    info.scope = 5 + frame % 2;
    info.end_us = kStart + frame * kMinute + static_cast<int64_t>(random() % 100'000);
    info.start_us = ends.contains(info.scope) ? ends[info.scope] : info.end_us - kMinute;
    if (frame == 120) info.start_us += 7;
    ends[info.scope] = info.end_us;
    rows.frames.push_back(info);
  }
  Column label(Type::kInt), first(Type::kInt);
  for (uint32_t series = 0; series < 2; ++series) {
    rows.series_scope.push_back(5 + series);
    label.ints.push_back(series);
    for (uint32_t frame = series; frame < 200; frame += 2) {
      rows.row_series.push_back(series);
      rows.row_frame.push_back(frame);
      first.ints.push_back(static_cast<int64_t>(random() % 1'000'000));
      ++rows.frames[frame].rows;
    }
  }
  rows.labels.emplace(1, label);
  rows.values.emplace(2, first);
  rows.values.emplace(3, first);
  const std::vector<Block> blocks = EncodeBlocks(shape, rows);
  ASSERT_EQ(blocks.size(), 1u);
  EXPECT_GT(SectionBytes(blocks[0], 2), 0u);
  EXPECT_EQ(SectionBytes(blocks[0], 3), 0u);
  EXPECT_EQ(SectionBytes(blocks[0], kFrameLength), 0u);
  EXPECT_LT(SectionBytes(blocks[0], kFrameGap), 60u);
  RowSet read;
  ASSERT_TRUE(OpenBlock(shape, BytesOf(blocks[0]), &read).ok());
  EXPECT_EQ(read.values.at(3).ints, first.ints);
  for (size_t frame = 0; frame < rows.frames.size(); ++frame) {
    EXPECT_EQ(read.frames[frame].start_us, rows.frames[frame].start_us) << frame;
  }
}

TEST(Block, GaugesOfLevelsNeedTheLeastReading) {
  const std::vector<MetricColumn> columns = {{1, Type::kInt, Kind::kLabel}, {2, Type::kInt, Kind::kGauge}};
  RowSet rows;
  FrameInfo frame;
  frame.start_us = kStart;
  frame.end_us = kStart + kMinute;
  frame.rows = 1;
  rows.frames.push_back(frame);
  rows.series_scope = {0};
  rows.row_series = {0};
  rows.row_frame = {0};
  Column label(Type::kInt), size(Type::kInt);
  label.ints = {1};
  size.ints = {INT64_MIN + 5};
  rows.labels.emplace(1, label);
  rows.values.emplace(2, size);
  const RowSet rolled = RollUp(columns, rows, nullptr, {kStart - kHour, kStart + kHour});
  const Shape shape = BucketShape(columns, 1);
  const std::vector<Block> blocks = EncodeBlocks(shape, rolled);
  ASSERT_EQ(blocks.size(), 1u);
  RowSet read;
  BlockBytes bytes = BytesOf(blocks[0]);
  ASSERT_TRUE(OpenBlock(shape, bytes, &read).ok());
  for (const ColumnId by : {kMin, kMax, kSum, kLast}) {
    EXPECT_EQ(read.values.at(static_cast<ColumnId>(2 + by)).ints, size.ints) << by;
  }
  const auto least = std::find(bytes.ids.begin(), bytes.ids.end(), static_cast<ColumnId>(2 + kMin));
  ASSERT_NE(least, bytes.ids.end());
  bytes.sections.erase(bytes.sections.begin() + (least - bytes.ids.begin()));
  bytes.ids.erase(least);
  EXPECT_FALSE(OpenBlock(shape, bytes, &read).ok());
}

std::vector<int64_t> Edges(int64_t width, int64_t from, int64_t to) {
  std::vector<int64_t> edges;
  for (int64_t edge = from; edge <= to; edge += width) edges.push_back(edge);
  return edges;
}

TEST(RollUp, AddsUpToTheUnitAndInPieces) {
  std::mt19937_64 random(5);
  const Shape shape = RawShape(Columns(), 1);
  const Shape buckets = BucketShape(Columns(), 1);
  for (int round = 0; round < 20; ++round) {
    std::vector<RowSet> opened;
    for (const StoredFrame& frame : RandomFrames(random, kStart, kStart + 5 * kHour))
      opened.push_back(Open(shape, frame));
    const RowSet rows = MergeAll(shape, opened);
    for (const int64_t width : {kHour, 24 * kHour, 30 * kMinute}) {
      const std::vector<int64_t> edges = Edges(width, kStart - 24 * kHour, kStart + 48 * kHour);
      const RowSet rolled = RollUp(Columns(), rows, nullptr, edges);
      EXPECT_EQ(Totals(rolled, 3), Totals(rows, 3));
      EXPECT_EQ(Totals(rolled, 4), Totals(rows, 4));
      int64_t covered = 0, expected = 0;
      for (const FrameInfo& frame : rolled.frames) covered += frame.covered_us;
      for (const FrameInfo& frame : rows.frames) expected += frame.end_us - frame.start_us;
      EXPECT_EQ(covered, expected);
      // In pieces, through blocks.
      std::vector<RowSet> pieces;
      for (size_t piece = 0; piece < 3; ++piece) {
        std::vector<RowSet> part;
        for (size_t i = piece; i < opened.size(); i += 3) part.push_back(opened[i]);
        const RowSet rolled_part = RollUp(Columns(), MergeAll(shape, part), nullptr, edges);
        for (const Block& block : EncodeBlocks(buckets, rolled_part, 5)) {
          RowSet read;
          const absl::Status status = OpenBlock(buckets, BytesOf(block), &read);
          ASSERT_TRUE(status.ok()) << status;
          pieces.push_back(std::move(read));
        }
      }
      // Which info is the newest known follows from rows, not by infos.
      EXPECT_TRUE(Contents(MergeAll(buckets, pieces), 7) == Contents(rolled, 7));
    }
  }
}

// By the written rule, straight from the frames.
TEST(RollUp, GaugesAreThoseOfTheReadings) {
  std::mt19937_64 random(6);
  const Shape shape = RawShape(Columns(), 1);
  std::vector<RowSet> opened;
  for (const StoredFrame& frame : RandomFrames(random, kStart, kStart + 4 * kHour))
    opened.push_back(Open(shape, frame));
  const RowSet rows = MergeAll(shape, opened);
  struct Readings {
    double least = 0, greatest = 0, sum = 0, last = 0;
    int64_t count = 0;
  };
  std::map<std::tuple<int64_t, int64_t, std::string>, Readings> expected;
  for (size_t row = 0; row < rows.rows(); ++row) {
    const Column& size = rows.values.at(5);
    if (size.IsNull(row)) continue;
    const FrameInfo& frame = rows.frames[rows.row_frame[row]];
    Readings& readings = expected[{frame.end_us - frame.end_us % kHour, frame.scope,
                                   ValueText(rows.labels.at(1), rows.row_series[row])}];
    const double value = size.doubles[row];
    readings.least = readings.count == 0 ? value : std::min(readings.least, value);
    readings.greatest = readings.count == 0 ? value : std::max(readings.greatest, value);
    readings.sum += value;
    readings.last = value;
    ++readings.count;
  }
  const RowSet rolled = RollUp(Columns(), rows, nullptr, Edges(kHour, kStart, kStart + 8 * kHour));
  size_t found = 0;
  for (size_t row = 0; row < rolled.rows(); ++row) {
    if (rolled.values.at(5 + kCount).IsNull(row)) continue;
    const FrameInfo& frame = rolled.frames[rolled.row_frame[row]];
    const auto at =
        expected.find({frame.start_us, frame.scope, ValueText(rolled.labels.at(1), rolled.row_series[row])});
    ASSERT_NE(at, expected.end());
    ++found;
    EXPECT_EQ(rolled.values.at(5 + kMin).doubles[row], at->second.least);
    EXPECT_EQ(rolled.values.at(5 + kMax).doubles[row], at->second.greatest);
    EXPECT_EQ(rolled.values.at(5 + kSum).doubles[row], at->second.sum);
    EXPECT_EQ(rolled.values.at(5 + kLast).doubles[row], at->second.last);
    EXPECT_EQ(rolled.values.at(5 + kCount).ints[row], at->second.count);
  }
  EXPECT_EQ(found, expected.size());
}

TEST(RollUp, AKeyframeCountsAsReadingOnlyWhereNoRowOfTheInstantIs) {
  std::mt19937_64 random(7);
  const Shape shape = RawShape(Columns(), 1);
  const auto frame_at = [&](int64_t end, int64_t length) {
    StoredFrame frame;
    do {
      frame = RandomFrame(random, end - length, end, 5, 1);
      RowSet rows = Open(shape, frame);
      if (rows.rows() == 1 && !rows.values.at(6).IsNull(0)) return std::pair(frame, rows);
    } while (true);
  };
  auto [delta, delta_rows] = frame_at(kStart + kMinute, kMinute);
  const auto [same, same_rows] = frame_at(kStart + kMinute, 0);
  const auto [later, later_rows] = frame_at(kStart + 2 * kMinute, 0);
  const RowSet keyframes = MergeAll(shape, {same_rows, later_rows});
  const RowSet rolled = RollUp(Columns(), delta_rows, &keyframes, Edges(kHour, kStart, kStart + kHour));
  ASSERT_EQ(rolled.rows(), 1u);
  EXPECT_EQ(rolled.values.at(6 + kCount).ints[0], 2);
  EXPECT_EQ(rolled.values.at(6 + kLast).ints[0], later_rows.values.at(6).ints[0]);
  EXPECT_EQ(rolled.values.at(6 + kSum).ints[0], delta_rows.values.at(6).ints[0] + later_rows.values.at(6).ints[0]);
  EXPECT_EQ(rolled.frames[0].frames, 2);
}

TEST(LocateKey, SortsAsTheValuesDo) {
  std::mt19937_64 random(8);
  for (int round = 0; round < 1000; ++round) {
    const auto a = static_cast<int64_t>(random() >> (random() % 64)) * (random() % 2 == 0 ? 1 : -1);
    const auto b = static_cast<int64_t>(random() >> (random() % 64)) * (random() % 2 == 0 ? 1 : -1);
    EXPECT_EQ(LocateKey(a) < LocateKey(b), a < b);
  }
}

}  // namespace
}  // namespace pga::columns
