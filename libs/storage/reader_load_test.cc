// The SQL of the readers on a real server against a brute-force expectation from the same frames.
#include "libs/storage/reader_load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/frame/text.h"
#include "libs/status/testing.h"
#include "libs/storage/reader_testing.h"

namespace pga::storage {
namespace {

using status::IsOk;
using status::StatusIs;
using ::testing::HasSubstr;

const absl::Time kDay = absl::FromUnixSeconds(1767139200);  // 2025-12-31

absl::Time Deadline() {
  return absl::Now() + absl::Seconds(30);
}

// Key of a sum: source, scope, bucket, label name.
using Key = std::tuple<int32_t, int32_t, int, std::string>;

int64_t SharesIn(int64_t delta, const TestFrame& frame, absl::Time from, absl::Time to) {
  const int64_t s =
      absl::ToUnixMicros(frame.time - absl::Milliseconds(absl::ToInt64Milliseconds(frame.time - frame.start)));
  const int64_t e = absl::ToUnixMicros(frame.time);
  return ShareBefore(delta, s, e, absl::ToUnixMicros(to)) - ShareBefore(delta, s, e, absl::ToUnixMicros(from));
}

std::map<Key, int64_t> ExpectedSums(const std::vector<TestFrame>& frames, const std::vector<absl::Time>& edges) {
  std::map<Key, int64_t> sums;
  for (const TestFrame& frame : frames) {
    if ((frame.flags & 3) != 0) continue;
    for (int bucket = 0; bucket + 1 < static_cast<int>(edges.size()); ++bucket) {
      const absl::Time lo = edges[static_cast<size_t>(bucket)];
      const absl::Time hi = edges[static_cast<size_t>(bucket) + 1];
      if (hi <= frame.start || lo >= frame.time) continue;
      for (const TestRow& row : frame.rows) {
        if (row.calls) sums[{frame.source, frame.scope, bucket, row.label}] += SharesIn(*row.calls, frame, lo, hi);
      }
    }
  }
  return sums;
}

std::vector<TestFrame> RandomFrames(std::mt19937_64& random, absl::Time from, absl::Time to) {
  std::vector<TestFrame> frames;
  for (int32_t source : {1, 2}) {
    for (int32_t scope : {5, 6}) {
      absl::Time at = from + absl::Microseconds(static_cast<int64_t>(random() % 60000000));
      while (at < to) {
        // Mostly a minute; sometimes a long absence that one frame covers, sometimes a hole.
        absl::Duration length = absl::Seconds(60) + absl::Milliseconds(static_cast<int64_t>(random() % 200) - 100);
        if (random() % 40 == 0) length = absl::Minutes(static_cast<int64_t>(random() % 200));
        length += absl::Milliseconds(1);
        const bool hole = random() % 50 == 0;
        TestFrame frame{source, scope, at, at + length, random() % 30 == 0 ? 4 : 0, {}};
        for (const char* label : {"a", "b", "c"}) {
          if (random() % 3 == 0) continue;
          TestRow row;
          row.label = label;
          row.number = static_cast<int64_t>(random() % 2);
          if (random() % 10 != 0)
            row.calls = static_cast<int64_t>(random() % 1000);
          else
            row.flags = 2;
          row.blocks = static_cast<int64_t>(random() % 3);
          if (random() % 4 != 0) row.size = static_cast<double>(random() % 1000);
          if (random() % 30 == 0) row = {label, row.number, std::nullopt, std::nullopt, std::nullopt, 4};
          frame.rows.push_back(row);
        }
        if (!hole) frames.push_back(frame);
        at = frame.time;
      }
    }
  }
  return frames;
}

MetricRead ReadOf(const pganalytics::catalog::v1::Metric& metric, absl::Time start, absl::Time end, int64_t step) {
  MetricRead read;
  read.metric = &metric;
  read.metric_id = 7;
  read.source_ids = {1, 2};
  auto plan = PlanBuckets({start, end, step, ""}, RetentionDays(), kDay + absl::Hours(24));
  EXPECT_THAT(plan, IsOk());
  read.plan = *plan;
  return read;
}

std::map<Key, int64_t> LoadSums(ReaderDatabase& database, const MetricRead& read) {
  std::map<Key, int64_t> sums;
  EXPECT_THAT(
      database.pool()->InTransaction(
          Deadline(),
          [&](pg::Transaction& tx) -> absl::Status {
            auto raw = FindRawSpan(tx, read);
            if (!raw.ok()) return raw.status();
            Grouping grouping;
            grouping.labels = {&read.metric->columns(0)};
            grouping.max_groups = 1000;
            auto rows = LoadGroupRows(tx, CounterSql(read, {&read.metric->columns(2)}, grouping, *raw), 1, 1);
            if (!rows.ok()) return rows.status();
            for (const GroupRow& row : rows->rows) {
              for (const char* label : {"a", "b", "c"}) {
                if (row.labels[0] == absl::StrCat(frame::TextId(label)) && row.values[0]) {
                  sums[{row.scope.first, row.scope.second, row.bucket, label}] += static_cast<int64_t>(*row.values[0]);
                }
              }
            }
            return absl::OkStatus();
          },
          pg::Isolation::kSnapshot),
      IsOk());
  return sums;
}

TEST(CounterSql, EqualsBruteForceFromRawRollupsAndAMixOfBoth) {
  std::mt19937_64 random(3);
  const auto metric = ReaderDatabase::TestMetric();
  for (int round = 0; round < 3; ++round) {
    auto database = ReaderDatabase::Create();
    ASSERT_NE(database, nullptr);
    const std::vector<TestFrame> frames = RandomFrames(random, kDay, kDay + absl::Hours(8));
    std::set<std::pair<int32_t, absl::Time>> dirty;
    for (int hour = -1; hour < 14; ++hour) {
      for (int32_t source : {1, 2}) {
        if (random() % 3 == 0) dirty.insert({source, kDay + absl::Hours(hour)});
      }
    }
    database->Insert(frames);
    database->RollUp(frames, dirty);
    for (int64_t step : {17, 60, 420, 600, 1800, 3600, 7200, 86400}) {
      const MetricRead read = ReadOf(metric, kDay + absl::Minutes(61), kDay + absl::Hours(6), step);
      std::map<Key, int64_t> expected = ExpectedSums(frames, read.plan.edges);
      std::map<Key, int64_t> actual = LoadSums(*database, read);
      std::erase_if(expected, [](const auto& item) { return item.second == 0; });
      std::erase_if(actual, [](const auto& item) { return item.second == 0; });
      EXPECT_EQ(actual, expected) << "step " << step << ", round " << round;
    }
    // One bucket over an odd range: hours from the hourly table, the rest from minutes.
    MetricRead whole = ReadOf(metric, kDay, kDay + absl::Hours(1), 60);
    whole.plan = *PlanWholeRange(kDay + absl::Minutes(47), kDay + absl::Minutes(311), RetentionDays(), kDay);
    std::map<Key, int64_t> expected = ExpectedSums(frames, whole.plan.edges);
    std::map<Key, int64_t> actual = LoadSums(*database, whole);
    std::erase_if(expected, [](const auto& item) { return item.second == 0; });
    std::erase_if(actual, [](const auto& item) { return item.second == 0; });
    EXPECT_EQ(actual, expected);
  }
}

struct Readings {
  double min = 0, max = 0, sum = 0, count = 0, last = 0;
  bool operator==(const Readings&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Readings& r) {
  return out << "{min " << r.min << " max " << r.max << " sum " << r.sum << " count " << r.count << " last " << r.last
             << "}";
}

// Source, scope, bucket, name, number.
using GaugeKey = std::tuple<int32_t, int32_t, int, std::string, int64_t>;

// By the written rule: readings of a cell; a cell with frames but without a row of the key repeats the last reading.
std::map<GaugeKey, Readings> ExpectedReadings(const std::vector<TestFrame>& frames, const MetricRead& read) {
  std::vector<absl::Time> cells;
  for (absl::Time hour = read.from(); hour < read.plan.start(); hour += absl::Hours(1)) cells.push_back(hour);
  const std::vector<absl::Time> inner =
      read.plan.resolution == Resolution::kRaw ? read.plan.edges : CellEdges(read.plan);
  cells.insert(cells.end(), inner.begin(), inner.end());
  std::set<std::tuple<int32_t, int32_t, std::string, int64_t>> keys;
  for (const TestFrame& frame : frames) {
    for (const TestRow& row : frame.rows) keys.insert({frame.source, frame.scope, row.label, row.number});
  }
  std::map<GaugeKey, Readings> expected;
  for (const auto& [source, scope, label, number] : keys) {
    std::optional<double> held;
    absl::Time held_since;
    for (size_t cell = 0; cell + 1 < cells.size(); ++cell) {
      std::vector<double> own;
      int frames_seen = 0;
      bool gone = false;
      absl::Time row_time;
      for (const TestFrame& frame : frames) {
        if (frame.source != source || frame.scope != scope || frame.time < cells[cell] ||
            frame.time >= cells[cell + 1]) {
          continue;
        }
        ++frames_seen;
        for (const TestRow& row : frame.rows) {
          if (row.label != label || row.number != number) continue;
          gone = (row.flags & 4) != 0;
          row_time = frame.time;
          if (row.size) own.push_back(*row.size);
        }
      }
      std::vector<double> values = own;
      const bool known = !own.empty() || gone;
      if (!known && held && cells[cell] < held_since + read.lookback)
        values.assign(static_cast<size_t>(frames_seen), *held);
      if (known) {
        held = own.empty() || gone ? std::nullopt : std::optional<double>(own.back());
        held_since = row_time;
      }
      const int bucket = BucketOf(read.plan.edges, cells[cell]);
      if (bucket < 0 || values.empty()) continue;
      auto [at, fresh] = expected.try_emplace(GaugeKey{source, scope, bucket, label, number});
      Readings& readings = at->second;
      for (double value : values) {
        readings.min = fresh ? value : std::min(readings.min, value);
        readings.max = fresh ? value : std::max(readings.max, value);
        fresh = false;
        readings.sum += value;
        readings.count += 1;
        readings.last = value;
      }
    }
  }
  return expected;
}

TEST(GaugeSql, EqualsBruteForceFromRawRollupsAndAMixOfBoth) {
  std::mt19937_64 random(21);
  const auto metric = ReaderDatabase::TestMetric();
  for (int round = 0; round < 3; ++round) {
    auto database = ReaderDatabase::Create();
    ASSERT_NE(database, nullptr);
    const std::vector<TestFrame> frames = RandomFrames(random, kDay - absl::Hours(3), kDay + absl::Hours(5));
    std::set<std::pair<int32_t, absl::Time>> dirty;
    for (int hour = -4; hour < 9; ++hour) {
      for (int32_t source : {1, 2}) {
        if (random() % 3 == 0) dirty.insert({source, kDay + absl::Hours(hour)});
      }
    }
    database->Insert(frames);
    database->RollUp(frames, dirty);
    for (int64_t step : {45, 60, 420, 600, 3600, 7200}) {
      MetricRead read = ReadOf(metric, kDay + absl::Minutes(3), kDay + absl::Hours(4), step);
      read.lookback = absl::Hours(25);
      std::map<GaugeKey, Readings> actual;
      ASSERT_THAT(database->pool()->InTransaction(
                      Deadline(),
                      [&](pg::Transaction& tx) -> absl::Status {
                        auto raw = FindRawSpan(tx, read);
                        if (!raw.ok()) return raw.status();
                        Grouping grouping;
                        grouping.labels = LabelsOf(metric);
                        grouping.max_groups = 1000;
                        auto rows = LoadGroupRows(tx, GaugeSql(read, metric.columns(4), grouping, *raw), 6, 2);
                        if (!rows.ok()) return rows.status();
                        for (const GroupRow& row : rows->rows) {
                          for (const char* label : {"a", "b", "c"}) {
                            if (row.labels[0] != absl::StrCat(frame::TextId(label))) continue;
                            actual[{row.scope.first, row.scope.second, row.bucket, label, *row.labels[1] == "1"}] = {
                                *row.values[0], *row.values[1], *row.values[2], *row.values[3], *row.values[5]};
                          }
                        }
                        return absl::OkStatus();
                      },
                      pg::Isolation::kSnapshot),
                  IsOk());
      EXPECT_EQ(actual, ExpectedReadings(frames, read)) << "step " << step << ", round " << round;
    }
  }
}

TEST(CounterSql, BucketsOfAnyStepAddUpToTheIncrease) {
  std::mt19937_64 random(5);
  const auto metric = ReaderDatabase::TestMetric();
  auto database = ReaderDatabase::Create();
  const std::vector<TestFrame> frames = RandomFrames(random, kDay, kDay + absl::Hours(3));
  database->Insert(frames);
  database->RollUp(frames, {{1, kDay + absl::Hours(1)}});
  int64_t total = 0;
  for (const TestFrame& frame : frames) {
    for (const TestRow& row : frame.rows) total += row.calls.value_or(0);
  }
  for (int64_t step : {41, 60, 600, 3600, 43200}) {
    const MetricRead read = ReadOf(metric, kDay - absl::Hours(1), kDay + absl::Hours(14), step);
    int64_t sum = 0;
    for (const auto& [key, value] : LoadSums(*database, read)) sum += value;
    EXPECT_EQ(sum, total) << "step " << step;
  }
}

TEST(CounterSql, BoundsAreReportedWithTheNumbersFound) {
  const auto metric = ReaderDatabase::TestMetric();
  auto database = ReaderDatabase::Create();
  TestFrame frame{1, 5, kDay, kDay + absl::Minutes(1), 0, {}};
  for (int i = 0; i < 25; ++i) frame.rows.push_back({absl::StrCat("label", i), 0, 1, 1, 1, 0});
  database->Insert({frame});
  const MetricRead read = ReadOf(metric, kDay, kDay + absl::Minutes(1), 30);
  Grouping grouping;
  grouping.labels = {&metric.columns(0)};
  grouping.max_groups = 20;
  ASSERT_THAT(database->pool()->InTransaction(
                  Deadline(),
                  [&](pg::Transaction& tx) -> absl::Status {
                    auto raw = FindRawSpan(tx, read);
                    auto rows = LoadGroupRows(tx, CounterSql(read, {&metric.columns(2)}, grouping, *raw), 1, 1);
                    EXPECT_THAT(rows, IsOk());
                    EXPECT_EQ(rows->groups_found, 25);
                    EXPECT_TRUE(rows->rows.empty());
                    EXPECT_THAT(CheckBounds(*rows, grouping),
                                StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("25 series, more than the limit of 20")));
                    return absl::OkStatus();
                  }),
              IsOk());
}

TEST(Coverage, IsTheTimeThatFramesCover) {
  std::mt19937_64 random(9);
  const auto metric = ReaderDatabase::TestMetric();
  auto database = ReaderDatabase::Create();
  const std::vector<TestFrame> frames = RandomFrames(random, kDay, kDay + absl::Hours(4));
  database->Insert(frames);
  const MetricRead read = ReadOf(metric, kDay + absl::Minutes(7), kDay + absl::Hours(3), 420);
  std::map<std::tuple<int32_t, int32_t, int>, double> expected;
  for (const TestFrame& frame : frames) {
    const absl::Time start = frame.time - absl::Milliseconds(absl::ToInt64Milliseconds(frame.time - frame.start));
    for (int bucket = 0; bucket < read.plan.buckets(); ++bucket) {
      const absl::Duration covered = std::min(frame.time, read.plan.edges[static_cast<size_t>(bucket) + 1]) -
                                     std::max(start, read.plan.edges[static_cast<size_t>(bucket)]);
      if (covered > absl::ZeroDuration()) {
        expected[{frame.source, frame.scope, bucket}] += absl::ToDoubleMilliseconds(covered);
      }
    }
  }
  Coverage coverage;
  ASSERT_THAT(database->pool()->InTransaction(Deadline(),
                                              [&](pg::Transaction& tx) -> absl::Status {
                                                auto loaded = LoadCoverage(tx, read, kDay + absl::Hours(24));
                                                if (loaded.ok()) coverage = *std::move(loaded);
                                                return loaded.status();
                                              }),
              IsOk());
  int compared = 0;
  for (const auto& [scope, buckets] : coverage.covered_ms) {
    for (size_t bucket = 0; bucket < buckets.size(); ++bucket) {
      EXPECT_NEAR(static_cast<double>(buckets[bucket]),
                  (expected[{scope.first, scope.second, static_cast<int>(bucket)}]), 2.0);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 4 * read.plan.buckets());
}

struct FilterCase {
  std::string name;
  std::string filter;
  std::set<std::string> labels;
};

class LabelFilterRead : public ::testing::TestWithParam<FilterCase> {};

TEST_P(LabelFilterRead, KeepsTheRightRows) {
  const auto metric = ReaderDatabase::TestMetric();
  static ReaderDatabase* database = [] {
    auto made = ReaderDatabase::Create();
    made->Insert({{1,
                   5,
                   kDay,
                   kDay + absl::Seconds(60),
                   0,
                   {{"a", 1, 5, 1, 1, 0}, {"b", 2, 6, 1, 1, 0}, {"c", 2, 7, 1, 1, 0}}}});
    return made.release();
  }();
  MetricRead read = ReadOf(metric, kDay, kDay + absl::Minutes(1), 30);
  const auto filter = ParseLabelFilter(metric, GetParam().filter);
  ASSERT_THAT(filter, IsOk());
  read.filters = {*filter};
  std::set<std::string> labels;
  for (const auto& [key, sum] : LoadSums(*database, read)) labels.insert(std::get<3>(key));
  EXPECT_EQ(labels, GetParam().labels);
}

INSTANTIATE_TEST_SUITE_P(Filters, LabelFilterRead,
                         ::testing::Values(FilterCase{"equals", "name=a", {"a"}},
                                           FilterCase{"not_equals", "name!=a", {"b", "c"}},
                                           FilterCase{"matches", "name~^[ac]$", {"a", "c"}},
                                           FilterCase{"number", "number=2", {"b", "c"}},
                                           FilterCase{"number_matches", "number~1", {"a"}},
                                           FilterCase{"quoting", "name='; DROP TABLE metrics.text; --", {}}),
                         [](const auto& test) { return test.param.name; });

TEST(ParseLabelFilter, SaysWhatToChange) {
  const auto metric = ReaderDatabase::TestMetric();
  EXPECT_THAT(ParseLabelFilter(metric, "plain"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label=value")));
  EXPECT_THAT(ParseLabelFilter(metric, "nam=x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("name, number")));
  EXPECT_THAT(ParseLabelFilter(metric, "number=x"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("whole number")));
  EXPECT_THAT(FindValueColumn(metric, "callz"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("calls, blocks, size")));
}

TEST(NearestNames, ListsWhatResembles) {
  const std::vector<std::string> names = {"database", "table_stats", "index_stats", "statements", "database_size"};
  EXPECT_THAT(NearestNames("databse", names), ::testing::ElementsAre("database", "database_size"));
  EXPECT_THAT(NearestNames("statement", names), ::testing::Contains("statements"));
  EXPECT_THAT(NearestNames("zzzzzzzzzz", names), ::testing::IsEmpty());
}

}  // namespace
}  // namespace pga::storage
