// The kernels against sums and readings that are found frame by frame, whichever rows are in blocks by then.
#include "libs/columns/kernels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "libs/columns/rollup.h"

namespace pga::columns {
namespace {

constexpr int64_t kSecond = 1'000'000;
constexpr int64_t kMinute = 60 * kSecond;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
constexpr int64_t kStart = 20'000 * kDay;

constexpr ColumnId kName = 1, kNumber = 2, kCalls = 3, kSize = 4, kNote = 5;

const std::vector<MetricColumn>& Metric() {
  static const auto* const kColumns = new std::vector<MetricColumn>{{kName, Type::kText, Kind::kLabel},
                                                                    {kNumber, Type::kInt, Kind::kLabel},
                                                                    {kCalls, Type::kInt, Kind::kCounter},
                                                                    {kSize, Type::kDouble, Kind::kGauge},
                                                                    {kNote, Type::kText, Kind::kInfo}};
  return *kColumns;
}

struct TestRow {
  std::string name;
  int64_t number = 0;
  std::optional<int64_t> calls;
  std::optional<double> size;
  int flags = 0;
  std::string note = {};
};

struct TestFrame {
  int32_t source = 0;
  int64_t scope = 0;
  int64_t start = 0;
  int64_t end = 0;
  bool keyframe = false;
  int flags = 0;
  std::vector<TestRow> rows;
};

RowSet Open(const TestFrame& frame) {
  RowSet rows;
  FrameInfo info;
  info.start_us = frame.start;
  info.end_us = frame.end;
  info.scope = frame.scope;
  info.flags = frame.flags;
  info.rows = static_cast<int64_t>(frame.rows.size());
  rows.frames = {info};
  Column name(Type::kText), number(Type::kInt), calls(Type::kInt), size(Type::kDouble), note(Type::kText);
  for (const TestRow& row : frame.rows) {
    rows.row_series.push_back(static_cast<uint32_t>(rows.series_scope.size()));
    rows.row_frame.push_back(0);
    rows.series_scope.push_back(frame.scope);
    rows.row_flags.push_back(static_cast<uint8_t>(row.flags | frame.flags));
    name.ints.push_back(static_cast<int64_t>(name.texts.size()));
    name.texts.push_back(row.name);
    if (!name.nulls.empty()) name.nulls.push_back(0);
    number.ints.push_back(row.number);
    if (row.calls) {
      if (!calls.nulls.empty()) calls.nulls.push_back(0);
      calls.ints.push_back(*row.calls);
    } else {
      calls.AppendNull();
    }
    if (row.size) {
      if (!size.nulls.empty()) size.nulls.push_back(0);
      size.doubles.push_back(*row.size);
    } else {
      size.AppendNull();
    }
    note.ints.push_back(static_cast<int64_t>(note.texts.size()));
    note.texts.push_back(row.note);
  }
  rows.labels.emplace(kName, std::move(name));
  rows.labels.emplace(kNumber, std::move(number));
  rows.values.emplace(kCalls, std::move(calls));
  rows.values.emplace(kSize, std::move(size));
  rows.values.emplace(kNote, std::move(note));
  return rows;
}

std::vector<TestFrame> RandomFrames(std::mt19937_64& random, int64_t from, int64_t to) {
  std::vector<TestFrame> frames;
  for (int32_t source : {1, 2}) {
    for (int64_t scope : {5, 6}) {
      int64_t at = from + static_cast<int64_t>(random() % kMinute);
      int64_t next_keyframe = at;
      while (at < to) {
        // Mostly some minutes; sometimes a long absence that one frame covers, sometimes a hole.
        int64_t length = 5 * kMinute + static_cast<int64_t>(random() % 200) * 1000;
        if (random() % 40 == 0) length = static_cast<int64_t>(random() % 200) * kMinute;
        length += 1000;
        TestFrame frame{source, scope, at, at + length, false, random() % 30 == 0 ? kLowerBoundFlag : 0, {}};
        for (const char* name : {"a", "b", "c"}) {
          if (random() % 3 == 0) continue;
          TestRow row{name, static_cast<int64_t>(random() % 2), {}, {}, 0, random() % 2 == 0 ? "x" : "y"};
          if (random() % 10 != 0) {
            row.calls = static_cast<int64_t>(random() % 1000);
          } else {
            row.flags = kUnknownFlag;
          }
          if (random() % 4 != 0) row.size = static_cast<double>(random() % 1000);
          if (random() % 30 == 0) row = {name, row.number, {}, {}, kGoneFlag, ""};
          frame.rows.push_back(row);
        }
        if (random() % 50 != 0) frames.push_back(frame);
        at = frame.end;
        if (at < next_keyframe) continue;
        next_keyframe += kDay;
        TestFrame keyframe{source, scope, at, at, true, 0, {}};
        for (const char* name : {"a", "b", "c", "d"}) {
          keyframe.rows.push_back({name, 0, 7, static_cast<double>(random() % 1000), 0, ""});
        }
        frames.push_back(keyframe);
      }
    }
  }
  return frames;
}

// Frames of one source and kind as one row set, as in a block.
RowSet Merged(const std::vector<const TestFrame*>& frames, const Shape& shape) {
  Merger merger(shape);
  for (const TestFrame* frame : frames) merger.Add(Open(*frame));
  return merger.Finish();
}

// [start, end) in hours, or days.
std::vector<int64_t> Edges(int64_t start, int64_t end, int64_t width) {
  std::vector<int64_t> edges;
  for (int64_t edge = start; edge <= end; edge += width) edges.push_back(edge);
  return edges;
}

// What a reader is handed when some frames are in blocks: the rest as frames, raw blocks, and levels 1 and 2. `feed` is
// called per source, keyframes first.
struct Piece {
  int8_t level = 0;
  bool keyframe = false;
  RowSet rows;
};
std::map<int32_t, std::vector<Piece>> Stored(const std::vector<TestFrame>& frames, const std::set<size_t>& in_blocks,
                                             int pieces) {
  const Shape raw = RawShape(Metric(), kName);
  std::map<int32_t, std::vector<Piece>> stored;
  for (int32_t source : {1, 2}) {
    std::vector<Piece> keyed, others;
    for (size_t i = 0; i < frames.size(); ++i) {
      if (frames[i].source != source || in_blocks.contains(i)) continue;
      (frames[i].keyframe ? keyed : others).push_back({kQueue, frames[i].keyframe, Open(frames[i])});
    }
    for (int piece = 0; piece < pieces; ++piece) {
      std::vector<const TestFrame*> deltas, keyframes;
      for (const size_t i : in_blocks) {
        // A keyframe is merged with the delta of its instant.
        const int64_t instant = frames[i].end / kHour;
        if (frames[i].source != source || instant % pieces != piece) continue;
        (frames[i].keyframe ? keyframes : deltas).push_back(&frames[i]);
      }
      if (deltas.empty() && keyframes.empty()) continue;
      const RowSet delta_rows = Merged(deltas, raw);
      const RowSet keyframe_rows = Merged(keyframes, raw);
      keyed.push_back({0, true, keyframe_rows});
      others.push_back({0, false, delta_rows});
      const int64_t from = kStart - 2 * kDay, until = kStart + 5 * kDay;
      others.push_back({1, false, RollUp(Metric(), delta_rows, &keyframe_rows, Edges(from, until, kHour))});
      others.push_back({2, false, RollUp(Metric(), delta_rows, &keyframe_rows, Edges(from, until, kDay))});
    }
    std::vector<Piece>& all = stored[source];
    std::move(keyed.begin(), keyed.end(), std::back_inserter(all));
    std::move(others.begin(), others.end(), std::back_inserter(all));
  }
  return stored;
}

// Buckets of `width` from raw rows, hours or days, and of all of them in turn.
Cells MakeCells(int64_t start, int64_t end, int64_t width, int64_t hour_from, int64_t day_from, bool cut_raw) {
  Cells cells;
  int32_t bucket = 0;
  for (int64_t from = start; from < end; from += width, ++bucket) {
    const int64_t until = from + width;
    for (int64_t at = from; at < until;) {
      if (at % kDay == 0 && at + kDay <= until && at >= day_from) {
        cells.push_back({at, at + kDay, bucket, 2});
      } else if (at % kHour == 0 && at + kHour <= until && at >= hour_from) {
        cells.push_back({at, at + kHour, bucket, 1});
      } else {
        const int64_t next = (at / kHour + 1) * kHour;
        int64_t to = cut_raw || next >= hour_from ? std::min(until, next) : until;
        if (to > until) to = until;
        cells.push_back({at, to, bucket, 0});
      }
      at = cells.back().end_us;
    }
  }
  return cells;
}

using SumKey = std::tuple<int32_t, int64_t, int32_t, std::string>;
struct Sum {
  double value = 0;
  int flags = 0;
  bool operator==(const Sum&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Sum& sum) {
  return out << sum.value << " flags " << sum.flags;
}

std::map<SumKey, Sum> ExpectedSums(const std::vector<TestFrame>& frames, const Cells& cells) {
  std::map<SumKey, Sum> sums;
  for (const TestFrame& frame : frames) {
    if (frame.keyframe) continue;
    for (const Cell& cell : cells) {
      if (cell.end_us <= frame.start || cell.start_us >= frame.end) continue;
      const bool whole = cell.start_us <= frame.start && frame.end <= cell.end_us;
      for (const TestRow& row : frame.rows) {
        if (!row.calls && (row.flags & kUnknownFlag) == 0) continue;
        Sum& sum = sums[{frame.source, frame.scope, cell.bucket, row.name}];
        sum.flags |= ((row.flags | frame.flags) & ~kGoneFlag) | (whole ? 0 : kInterpolatedFlag);
        if (!row.calls) continue;
        const int64_t length = frame.end - frame.start;
        const auto before = [&](int64_t until) {
          const int64_t passed = std::clamp<int64_t>(until - frame.start, 0, length);
          return static_cast<int64_t>(static_cast<__int128>(*row.calls) * passed / length);
        };
        sum.value += static_cast<double>(before(cell.end_us) - before(cell.start_us));
      }
    }
  }
  return sums;
}

std::set<size_t> SomeInBlocks(std::mt19937_64& random, const std::vector<TestFrame>& frames, int share) {
  // Hours go as a whole, so that a keyframe goes with the delta of its instant; some frames come late.
  std::set<std::pair<int32_t, int64_t>> hours;
  for (const TestFrame& frame : frames) {
    if (static_cast<int>(random() % 100) < share) hours.emplace(frame.source, frame.end / kHour);
  }
  std::set<size_t> chosen;
  for (size_t i = 0; i < frames.size(); ++i) {
    if (share == 100 || hours.contains({frames[i].source, frames[i].end / kHour})) chosen.insert(i);
  }
  return chosen;
}

TEST(CounterSums, EqualBruteForceWhateverIsInBlocks) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 12; ++round) {
    std::vector<TestFrame> frames = RandomFrames(random, kStart - 3 * kHour, kStart + 60 * kHour);
    // Also of one scope alone.
    const int64_t scope = frames[0].scope;
    if (round % 2 == 1) std::erase_if(frames, [scope](const TestFrame& frame) { return frame.scope != scope; });
    const int64_t width = std::vector<int64_t>{17 * kMinute, kHour, 7 * kHour + 30 * kMinute, 2 * kDay}[random() % 4];
    const int64_t start = kStart + static_cast<int64_t>(random() % 3) * 30 * kMinute;
    const int64_t end = start + std::max<int64_t>(1, 40 * kHour / width) * width;
    const Cells cells =
        MakeCells(start, end, width, random() % 2 == 0 ? start : end, random() % 2 == 0 ? start : end, false);
    const std::map<SumKey, Sum> expected = ExpectedSums(frames, cells);
    std::map<SumKey, Sum> expected_whole;
    for (const auto& [key, sum] : expected) {
      Sum& whole = expected_whole[{std::get<0>(key), std::get<1>(key), std::get<2>(key), ""}];
      whole.value += sum.value;
      whole.flags |= sum.flags;
    }
    Grouping grouping, whole_sources;
    grouping.by = {kName};
    const std::vector<ColumnId> columns = {kCalls};
    const std::vector<RowFilter> filters;
    for (const int share : {0, 50, 100}) {
      CounterSums sums(cells, columns, grouping, filters), whole(cells, columns, whole_sources, filters);
      for (const auto& [source, pieces] : Stored(frames, SomeInBlocks(random, frames, share), 3)) {
        for (const Piece& piece : pieces) {
          if (piece.keyframe) continue;
          sums.Add(source, piece.level, piece.rows);
          whole.Add(source, piece.level, piece.rows);
        }
      }
      std::map<SumKey, Sum> actual_whole;
      for (const GroupRow& row : whole.Finish().rows) {
        actual_whole[{row.source, row.scope, row.bucket, ""}] = {row.values[0].value_or(0), row.flags};
      }
      EXPECT_EQ(actual_whole, expected_whole) << "round " << round << " share " << share;
      std::map<SumKey, Sum> actual;
      for (const GroupRow& row : sums.Finish().rows) {
        actual[{row.source, row.scope, row.bucket, std::get<std::string>(row.labels[0])}] = {row.values[0].value_or(0),
                                                                                             row.flags};
      }
      EXPECT_EQ(actual, expected) << "round " << round << " share " << share;
    }
  }
}

struct Readings {
  double least = 0, greatest = 0, sum = 0, count = 0, last = 0;
  bool operator==(const Readings&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Readings& r) {
  return out << "{least " << r.least << " greatest " << r.greatest << " sum " << r.sum << " count " << r.count
             << " last " << r.last << "}";
}
using ReadingKey = std::tuple<int32_t, int64_t, int32_t, std::string, int64_t>;

// By the written rule: readings of a cell; a cell with frames but without a row of the key repeats the last reading.
std::map<ReadingKey, Readings> ExpectedReadings(const std::vector<TestFrame>& frames, const Cells& cells,
                                                int64_t hold) {
  std::map<std::tuple<int32_t, int64_t, int64_t>, std::vector<const TestFrame*>> by_instant;
  std::set<std::tuple<int32_t, int64_t, std::string, int64_t>> keys;
  for (const TestFrame& frame : frames) {
    by_instant[{frame.source, frame.scope, frame.end}].push_back(&frame);
    for (const TestRow& row : frame.rows) keys.insert({frame.source, frame.scope, row.name, row.number});
  }
  std::map<ReadingKey, Readings> expected;
  for (const auto& [source, scope, name, number] : keys) {
    std::optional<double> held;
    int64_t held_since = 0;
    for (const Cell& cell : cells) {
      std::vector<double> own;
      int frames_seen = 0;
      bool gone = false;
      int64_t row_time = 0;
      const auto from = by_instant.lower_bound({source, scope, cell.start_us});
      for (auto at = from; at != by_instant.end() && at->first < std::tuple(source, scope, cell.end_us); ++at) {
        ++frames_seen;
        // A row of a delta counts before that of a keyframe.
        const TestRow* found = nullptr;
        for (const bool keyframe : {true, false}) {
          for (const TestFrame* frame : at->second) {
            if (frame->keyframe != keyframe) continue;
            for (const TestRow& row : frame->rows) {
              if (row.name == name && row.number == number) found = &row;
            }
          }
        }
        if (found == nullptr) continue;
        gone = (found->flags & kGoneFlag) != 0;
        row_time = std::get<2>(at->first);
        if (found->size) own.push_back(*found->size);
      }
      std::vector<double> values = own;
      const bool known = !own.empty() || gone;
      if (!known && held && cell.start_us < held_since + hold) {
        values.assign(static_cast<size_t>(frames_seen), *held);
      }
      if (known) {
        held = own.empty() || gone ? std::nullopt : std::optional<double>(own.back());
        held_since = row_time;
      }
      if (cell.bucket < 0 || values.empty()) continue;
      auto [at, fresh] = expected.try_emplace(ReadingKey{source, scope, cell.bucket, name, number});
      Readings& readings = at->second;
      for (const double value : values) {
        readings.least = fresh ? value : std::min(readings.least, value);
        readings.greatest = fresh ? value : std::max(readings.greatest, value);
        fresh = false;
        readings.sum += value;
        readings.count += 1;
        readings.last = value;
      }
    }
  }
  return expected;
}

TEST(GaugeReadings, EqualBruteForceWhateverIsInBlocks) {
  std::mt19937_64 random(21);
  for (int round = 0; round < 12; ++round) {
    const std::vector<TestFrame> frames = RandomFrames(random, kStart - 30 * kHour, kStart + 60 * kHour);
    const int64_t width = std::vector<int64_t>{17 * kMinute, kHour, 7 * kHour + 30 * kMinute, 2 * kDay}[random() % 4];
    const int64_t start = kStart + static_cast<int64_t>(random() % 3) * 30 * kMinute;
    const int64_t end = start + std::max<int64_t>(1, 40 * kHour / width) * width;
    Cells cells = MakeCells(start - 25 * kHour, start, 25 * kHour, start - 25 * kHour, end, true);
    for (Cell& cell : cells) cell.bucket = -1;
    for (const Cell& cell :
         MakeCells(start, end, width, random() % 2 == 0 ? start : end, random() % 2 == 0 ? start : end, true)) {
      cells.push_back(cell);
    }
    const std::map<ReadingKey, Readings> expected = ExpectedReadings(frames, cells, 25 * kHour);
    Grouping grouping;
    grouping.by = {kName, kNumber};
    const std::vector<ColumnId> series = {kName, kNumber};
    const std::vector<RowFilter> filters;
    for (const int share : {0, 50, 100}) {
      GaugeReadings readings(cells, kSize, series, grouping, filters, 1, 25 * kHour);
      for (const auto& [source, pieces] : Stored(frames, SomeInBlocks(random, frames, share), 3)) {
        for (const Piece& piece : pieces) readings.Add(piece.level, piece.keyframe, piece.rows);
        readings.FinishSource(source);
      }
      std::map<ReadingKey, Readings> actual;
      for (const GroupRow& row : readings.Finish().rows) {
        actual[{row.source, row.scope, row.bucket, std::get<std::string>(row.labels[0]),
                std::get<int64_t>(row.labels[1])}] = {*row.values[0], *row.values[1], *row.values[2], *row.values[3],
                                                      *row.values[5]};
      }
      EXPECT_EQ(actual, expected) << "round " << round << " share " << share << " width " << width / kMinute;
    }
  }
}

TEST(CoverageSums, AreTheTimeThatFramesCover) {
  std::mt19937_64 random(9);
  const std::vector<TestFrame> frames = RandomFrames(random, kStart - 3 * kHour, kStart + 60 * kHour);
  const Cells cells = MakeCells(kStart, kStart + 2 * kDay, 8 * kHour, kStart + 3 * kHour, kStart + kDay, false);
  std::map<CoverageSums::Key, std::vector<int64_t>> expected;
  for (const TestFrame& frame : frames) {
    if (frame.keyframe) continue;
    for (int bucket = 0; bucket < 6; ++bucket) {
      std::vector<int64_t>& covered = expected[{frame.source, frame.scope}];
      covered.resize(6);
      covered[static_cast<size_t>(bucket)] +=
          std::max<int64_t>(0, std::min(frame.end, kStart + (bucket + 1) * 8 * kHour) -
                                   std::max(frame.start, kStart + bucket * 8 * kHour));
    }
  }
  for (const int share : {0, 50, 100}) {
    CoverageSums coverage(cells, 6);
    for (const auto& [source, pieces] : Stored(frames, SomeInBlocks(random, frames, share), 3)) {
      for (const Piece& piece : pieces) {
        if (!piece.keyframe) coverage.Add(source, piece.level, piece.rows.frames);
      }
    }
    std::map<CoverageSums::Key, std::vector<int64_t>> actual;
    for (const auto& [key, scope] : coverage.scopes()) actual[key] = scope.covered_us;
    EXPECT_EQ(actual, expected) << "share " << share;
  }
}

class CounterSumsOfOneFrame : public ::testing::Test {
 protected:
  GroupRows Sums(const Grouping& grouping, const std::vector<RowFilter>& filters) {
    CounterSums sums(cells_, columns_, grouping, filters);
    sums.Add(1, kQueue, Open(frame_));
    return sums.Finish();
  }
  const Cells cells_ = {{0, kHour, 0, 0}};
  const std::vector<ColumnId> columns_ = {kCalls};
  const TestFrame frame_{
      1,
      5,
      0,
      kMinute,
      false,
      0,
      {{"a", 1, 5, {}, 0, "x"}, {"b", 2, 6, {}, 0, "y"}, {"c", 2, 7, {}, 0, "x"}, {"d", 3, {}, {}, 0, "z"}}};
};

TEST_F(CounterSumsOfOneFrame, StayApartByLabelsAndInfos) {
  Grouping grouping;
  grouping.by = {kNote};
  const GroupRows rows = Sums(grouping, {});
  ASSERT_EQ(rows.rows.size(), 2u);
  EXPECT_EQ(rows.rows[0].labels[0], Value("x"));
  EXPECT_EQ(rows.rows[0].values[0], 12.0);
  EXPECT_EQ(rows.rows[1].values[0], 6.0);
}

TEST_F(CounterSumsOfOneFrame, FiltersAreAskedOncePerText) {
  int asked = 0;
  RowFilter filter;
  filter.column = kNote;
  filter.text = [&](std::optional<std::string_view> text) {
    ++asked;
    return text == "x";
  };
  Grouping grouping;
  grouping.infos = {kNote};
  const GroupRows rows = Sums(grouping, {filter});
  ASSERT_EQ(rows.rows.size(), 1u);
  EXPECT_EQ(rows.rows[0].values[0], 12.0);
  EXPECT_EQ(rows.rows[0].infos[0], "x");
  EXPECT_EQ(asked, 4);
}

TEST_F(CounterSumsOfOneFrame, BoundsAreToldWithTheNumbersFound) {
  Grouping grouping;
  grouping.by = {kName};
  grouping.max_groups = 2;
  const GroupRows rows = Sums(grouping, {});
  EXPECT_EQ(rows.groups_found, 3u) << "a row that says nothing makes no group";
  EXPECT_TRUE(rows.rows.empty());
}

TEST_F(CounterSumsOfOneFrame, PartsOfOtherSourcesJoinToWhatOneKernelGives) {
  for (const bool by_source : {true, false}) {
    for (const size_t max_groups : {2, 4, 8, 9}) {
      Grouping grouping;
      grouping.by = {kName};
      grouping.by_source = by_source;
      grouping.max_groups = max_groups;
      CounterSums all(cells_, columns_, grouping, {});
      std::vector<GroupRows> parts;
      for (const std::vector<int32_t>& share : std::vector<std::vector<int32_t>>{{1, 3}, {2}, {}}) {
        CounterSums part(cells_, columns_, grouping, {});
        for (const int32_t source : share) {
          part.Add(source, kQueue, Open(frame_));
          all.Add(source, kQueue, Open(frame_));
        }
        parts.push_back(part.Finish());
      }
      const GroupRows joined = JoinRows(std::move(parts), grouping);
      const GroupRows expected = all.Finish();
      EXPECT_EQ(joined.groups_found > max_groups, expected.groups_found > max_groups);
      if (expected.groups_found <= max_groups) {
        EXPECT_EQ(joined.groups_found, expected.groups_found);
        EXPECT_EQ(joined.rows_found, expected.rows_found);
      }
      ASSERT_EQ(joined.rows.size(), expected.rows.size()) << by_source << " " << max_groups;
      for (size_t i = 0; i < joined.rows.size(); ++i) {
        EXPECT_EQ(joined.rows[i].source, expected.rows[i].source);
        EXPECT_EQ(joined.rows[i].labels, expected.rows[i].labels);
        EXPECT_EQ(joined.rows[i].values, expected.rows[i].values);
      }
    }
  }
}

TEST_F(CounterSumsOfOneFrame, TopIsOrderedByTheFigure) {
  Grouping grouping;
  grouping.by = {kName};
  CounterSums sums(cells_, columns_, grouping, {});
  sums.Add(1, kQueue, Open(frame_));
  const std::vector<GroupRow> top = sums.Top({0}, -1, 2);
  ASSERT_EQ(top.size(), 2u);
  EXPECT_EQ(top[0].labels[0], Value("c"));
  EXPECT_EQ(top[1].labels[0], Value("b"));
}

}  // namespace
}  // namespace pga::columns
