// Rollups against a computation done here, row by row, from the same random frames.
#include "libs/storage/rollup_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "libs/storage/schema/schema_testing.h"

namespace pga::storage {
namespace {

namespace catalog_pb = pganalytics::catalog::v1;

using Number = std::optional<int64_t>;

constexpr int64_t kMinute = 60'000'000;
constexpr int64_t kHour = 60 * kMinute;

struct Row {
  int64_t label = 0;
  int flags = 0;
  Number calls;
  Number blocks;
  Number size;  // gauge
  Number plan;  // info
};

struct Frame {
  int source = 1;
  int scope = 0;
  int64_t end_us = 0;
  int64_t interval_ms = 0;
  bool keyframe = false;
  bool lower_bound = false;
  std::vector<Row> rows;
  int64_t start_us() const { return end_us - interval_ms * 1000; }
};

// What a bucket of a series holds.
struct Bucket {
  int flags = 0;
  int64_t last_at = INT64_MIN;
  bool gone = false;
  Number calls, blocks;
  Number size_min, size_max, size_last, plan;
  int64_t size_last_at = INT64_MIN, plan_at = INT64_MIN;
  __int128 size_sum = 0;
  int64_t size_count = 0;
  int64_t covered_us = 0;
};
using Key = std::tuple<int64_t, int, int, int64_t>;  // bucket, source, scope, label

__int128 FloorShare(int64_t delta, int64_t start, int64_t end, int64_t until) {
  return static_cast<__int128>(delta) * (until - start) / (end - start);
}

void Add(Number* sum, const std::optional<__int128>& part) {
  if (!part) return;
  const __int128 total = (sum->has_value() ? static_cast<__int128>(**sum) : 0) + *part;
  *sum = static_cast<int64_t>(std::clamp<__int128>(total, INT64_MIN, INT64_MAX));
}

// The definition, at one width of buckets.
std::map<Key, Bucket> Expect(const std::vector<Frame>& frames, int64_t width) {
  std::map<Key, Bucket> buckets;
  std::map<std::tuple<int64_t, int, int>, int64_t> covered;
  std::set<std::tuple<int, int, int64_t, int64_t>> delta_rows;
  for (const Frame& frame : frames) {
    if (frame.keyframe) continue;
    for (const Row& row : frame.rows) delta_rows.emplace(frame.source, frame.scope, frame.end_us, row.label);
  }
  const auto read = [&](Bucket& bucket, const Frame& frame, const Row& row) {
    if (frame.end_us >= bucket.last_at) {
      bucket.last_at = frame.end_us;
      bucket.gone = (row.flags & 4) != 0;
    }
    if (row.size) {
      bucket.size_min = std::min(bucket.size_min.value_or(INT64_MAX), *row.size);
      bucket.size_max = std::max(bucket.size_max.value_or(INT64_MIN), *row.size);
      bucket.size_sum += *row.size;
      ++bucket.size_count;
      if (frame.end_us > bucket.size_last_at) {
        bucket.size_last = row.size;
        bucket.size_last_at = frame.end_us;
      }
    }
    if (row.plan && frame.end_us > bucket.plan_at) {
      bucket.plan = row.plan;
      bucket.plan_at = frame.end_us;
    }
  };
  for (const Frame& frame : frames) {
    const int64_t s = frame.start_us(), e = frame.end_us;
    const int64_t home = e / width * width;
    if (frame.keyframe) {
      for (const Row& row : frame.rows) {
        if (delta_rows.contains({frame.source, frame.scope, e, row.label})) continue;
        Bucket& bucket = buckets[{home, frame.source, frame.scope, row.label}];
        bucket.flags |= row.flags & ~4;
        read(bucket, frame, row);
      }
      continue;
    }
    for (int64_t b = s / width * width; b <= home; b += width) {
      const int64_t lo = std::max(s, b), hi = std::min(e, b + width);
      covered[{b, frame.source, frame.scope}] += hi - lo;
      const bool whole = s >= b && e <= b + width;
      for (const Row& row : frame.rows) {
        if (b != home && (row.flags & 4) != 0) continue;  // nothing before it vanished
        Bucket& bucket = buckets[{b, frame.source, frame.scope, row.label}];
        bucket.flags |= (row.flags & ~4) | (frame.lower_bound ? 1 : 0);
        const auto part = [&](const Number& delta) -> std::optional<__int128> {
          if (!delta) return std::nullopt;
          if (s == e) return static_cast<__int128>(*delta);
          return FloorShare(*delta, s, e, hi) - FloorShare(*delta, s, e, lo);
        };
        Add(&bucket.calls, part(row.calls));
        Add(&bucket.blocks, part(row.blocks));
        // Interpolated at the minute is interpolated above.
        if (!whole) bucket.flags |= 16;
        if (b == home) {
          read(bucket, frame, row);
        } else {
          bucket.last_at = e;  // goes on beyond the bucket
          bucket.gone = false;
        }
      }
    }
    // Any minute edge inside the interval marks every wider bucket that it touches.
    for (int64_t b = s / kMinute * kMinute; width > kMinute && b <= e / kMinute * kMinute; b += kMinute) {
      if (s >= b && e <= b + kMinute) continue;
      for (const Row& row : frame.rows) {
        if ((row.flags & 4) != 0 && b != e / kMinute * kMinute) continue;
        auto found = buckets.find({b / width * width, frame.source, frame.scope, row.label});
        if (found != buckets.end()) found->second.flags |= 16;
      }
    }
  }
  for (auto& [key, bucket] : buckets) {
    bucket.covered_us = covered[{std::get<0>(key), std::get<1>(key), std::get<2>(key)}];
    if (bucket.gone) bucket.flags |= 4;
  }
  return buckets;
}

class RollupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    metric_ = MakeMetric(
        "probe", catalog_pb::SCOPE_DATABASE,
        {"name text label", "calls int8 counter", "blocks int8 counter", "size int8 gauge", "plan text info"});
    metric_.set_skip_unchanged(true);
    readings_ = MakeMetric("readings", catalog_pb::SCOPE_INSTANCE,
                           {"level float8 gauge", "ok bool gauge", "since timestamptz gauge", "bytes int8 gauge"});
    database_ = MetricsDatabase::Create({&metric_, &readings_});
    ASSERT_NE(database_, nullptr);
    database_->Exec(
        "INSERT INTO metrics.collector (collector_id) VALUES ('col');"
        "INSERT INTO metrics.source (uuid, name, collector_id) SELECT md5(i::text)::uuid, 's' || i, 1 FROM "
        "generate_series(1, 3) i");
    // Yesterday's start, so that nothing is in a running hour.
    const int64_t now = absl::ToUnixMicros(absl::Now());
    base_us_ = (now / (24 * kHour) - 2) * 24 * kHour;
    for (const char* table : {"probe", "probe_1m", "probe_10m", "probe_1h", "metrics", "readings"}) {
      database_->Exec("SELECT metrics.ensure_partitions($1, $2::timestamptz, $3::timestamptz)",
                      {table, SqlTime(absl::FromUnixMicros(base_us_ - 24 * kHour)),
                       SqlTime(absl::FromUnixMicros(base_us_ + 48 * kHour))});
    }
  }

  static std::string Text(const Number& number) { return number ? absl::StrCat(*number) : "NULL"; }
  static std::string TimeOf(int64_t us) { return "'" + SqlTime(absl::FromUnixMicros(us)) + "'"; }

  // Writes frames as ingest would: rows, ledger, marks.
  void Store(const std::vector<Frame>& frames) {
    std::vector<std::string> rows, baseline, ledger;
    std::set<std::pair<int, int64_t>> dirty;
    for (const Frame& frame : frames) {
      for (const Row& row : frame.rows) {
        (frame.keyframe ? baseline : rows)
            .push_back(absl::StrCat("(", TimeOf(frame.end_us), ",", frame.source, ",", frame.scope, ",", row.flags, ",",
                                    row.label, ",", Text(row.calls), ",", Text(row.blocks), ",", Text(row.size), ",",
                                    Text(row.plan), ")"));
      }
      ledger.push_back(absl::StrCat("(", TimeOf(frame.end_us), ",", frame.source, ",1,1,",
                                    (frame.keyframe ? 1 : 0) | (frame.lower_bound ? 4 : 0), ",", frame.scope, ",",
                                    frame.interval_ms, ",", frame.rows.size(), ",0)"));
      for (int64_t h = frame.start_us() / kHour; h <= frame.end_us / kHour; ++h) dirty.emplace(frame.source, h);
    }
    const char* columns = "(time, source_id, scope, flags, name, calls, blocks, size, plan)";
    if (!rows.empty()) {
      database_->Exec(absl::StrCat("INSERT INTO metrics.probe ", columns, " VALUES ", absl::StrJoin(rows, ",")));
    }
    if (!baseline.empty()) {
      database_->Exec(
          absl::StrCat("INSERT INTO metrics.probe_baseline ", columns, " VALUES ", absl::StrJoin(baseline, ",")));
    }
    database_->Exec(
        absl::StrCat("INSERT INTO metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, "
                     "interval_ms, rows, bytes) VALUES ",
                     absl::StrJoin(ledger, ",")));
    std::vector<std::string> marks;
    for (const auto& [source, hour] : dirty)
      marks.push_back(absl::StrCat("(1,", source, ",to_timestamp(", hour * 3600, "))"));
    if (!marks.empty()) {
      database_->Exec(absl::StrCat("INSERT INTO metrics.rollup_dirty (metric_id, source_id, hour) VALUES ",
                                   absl::StrJoin(marks, ","), " ON CONFLICT DO NOTHING"));
    }
  }

  RollupOutcome Roll(absl::Time ended_before = absl::Now()) {
    RollupOptions options;
    options.ended_before = ended_before;
    options.stop_at = absl::Now() + absl::Seconds(60);
    auto outcome = RunRollups(database_->pool(), options);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.ok() ? *outcome : RollupOutcome();
  }

  void Compare(const std::vector<Frame>& frames) {
    for (const auto& [suffix, width] :
         std::vector<std::pair<std::string, int64_t>>{{"_1m", kMinute}, {"_10m", 10 * kMinute}, {"_1h", kHour}}) {
      SCOPED_TRACE(suffix);
      const auto expected = Expect(frames, width);
      const pg::Result actual = database_->Exec(
          "SELECT (extract(epoch FROM bucket) * 1000000)::int8, source_id, scope, name, flags, covered_ms, calls, "
          "blocks, "
          "size_min, size_max, size_sum, size_count, size_last, plan FROM metrics.probe" +
          suffix + " ORDER BY 1, 2, 3, 4");
      std::set<Key> seen;
      int reported = 0;
      for (const pg::Row row : actual) {
        const Key key{row.Int64(0), row.Int32(1), row.Int32(2), row.Int64(3)};
        const auto found = expected.find(key);
        const std::string where = absl::StrCat("bucket ", (row.Int64(0) - base_us_) / kMinute, " min, source ",
                                               row.Int32(1), ", scope ", row.Int32(2), ", label ", row.Int64(3));
        ASSERT_TRUE(found != expected.end()) << "unexpected " << where;
        ASSERT_TRUE(seen.insert(key).second) << "twice " << where;
        const Bucket& want = found->second;
        const bool same =
            row.Int32(4) == want.flags && row.Int64(5) == (want.covered_us + 500) / 1000 &&
            row.OptInt64(6) == want.calls && row.OptInt64(7) == want.blocks && row.OptInt64(8) == want.size_min &&
            row.OptInt64(9) == want.size_max && row.Int64(11) == want.size_count &&
            (want.size_count == 0 ? row.IsNull(10) : row.Int64(10) == static_cast<int64_t>(want.size_sum)) &&
            row.OptInt64(12) == want.size_last && row.OptInt64(13) == want.plan;
        EXPECT_TRUE(same) << where << ": flags " << row.Int32(4) << " want " << want.flags << "; covered "
                          << row.Int64(5) << " want " << want.covered_us / 1000 << "; calls " << row.Text(6) << " want "
                          << Text(want.calls) << "; blocks " << row.Text(7) << " want " << Text(want.blocks)
                          << "; size " << row.Text(8) << ".." << row.Text(9) << " sum " << row.Text(10) << " count "
                          << row.Text(11) << " last " << row.Text(12) << " want " << Text(want.size_min) << ".."
                          << Text(want.size_max) << " count " << want.size_count << " last " << Text(want.size_last)
                          << "; plan " << row.Text(13) << " want " << Text(want.plan);
        if (!same && ++reported > 5) return;
      }
      EXPECT_EQ(seen.size(), expected.size());
    }
  }

  // A chain of frames over [from, to): irregular intervals, some rows left out, some unknown, some gone.
  std::vector<Frame> Chain(std::mt19937& random, int source, int scope, int64_t from, int64_t to, bool extreme) {
    const auto pick = [&](int64_t low, int64_t high) {
      return std::uniform_int_distribution<int64_t>(low, high)(random);
    };
    std::vector<Frame> frames;
    int64_t at = from + pick(0, 30'000'000);
    Frame first;
    first.source = source;
    first.scope = scope;
    first.end_us = at;
    first.keyframe = true;
    for (int label = 1; label <= 5; ++label)
      first.rows.push_back({label, 0, pick(0, 1000), pick(0, 1000), pick(-50, 50), pick(1, 3)});
    frames.push_back(first);
    while (true) {
      // Mostly a minute; sometimes an absence of hours, sometimes to the very edge of a bucket.
      int64_t ms = pick(0, 9) == 0 ? pick(1, 3 * 3'600'000) : pick(55'000, 65'000);
      int64_t end = at + ms * 1000;
      if (pick(0, 7) == 0) {
        end = (end / kMinute + 1) * kMinute;
        ms = (end - at + 500) / 1000;  // the ledger keeps whole milliseconds
      }
      if (end >= to) break;
      Frame frame;
      frame.source = source;
      frame.scope = scope;
      frame.end_us = end;
      frame.interval_ms = ms;
      frame.lower_bound = pick(0, 15) == 0;
      for (int label = 1; label <= 5; ++label) {
        if (pick(0, 2) == 0) continue;  // unchanged
        Row row;
        row.label = label;
        const int64_t kind = pick(0, 20);
        if (kind == 0) {
          row.flags = 4;  // gone: labels only
        } else {
          if (kind == 1) row.flags = 2;  // unknown increase
          if (kind != 1) row.calls = extreme && pick(0, 3) == 0 ? INT64_MAX - pick(0, 5) : pick(0, 100'000);
          if (kind != 1) row.blocks = pick(0, 3) == 0 ? 0 : pick(0, 1'000'000'000'000);
          if (pick(0, 4) != 0) row.size = pick(-1'000'000, 1'000'000);
          if (pick(0, 4) != 0) row.plan = pick(INT64_MIN / 2, INT64_MAX / 2);
        }
        frame.rows.push_back(row);
      }
      frames.push_back(frame);
      if (pick(0, 40) == 0) {
        Frame keyframe = frame;  // readings at the same instant, some of them in the delta frame too
        keyframe.keyframe = true;
        keyframe.interval_ms = 0;
        keyframe.lower_bound = false;
        keyframe.rows = first.rows;
        frames.push_back(keyframe);
      }
      at = end;
    }
    return frames;
  }

  catalog_pb::Metric metric_;
  catalog_pb::Metric readings_;
  std::unique_ptr<MetricsDatabase> database_;
  int64_t base_us_ = 0;
};

class RollupProperty : public RollupTest, public ::testing::WithParamInterface<int> {};

TEST_P(RollupProperty, EqualsRowByRowComputationAndLateRowsAreExact) {
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  std::vector<Frame> all, late;
  for (int source = 1; source <= 2; ++source) {
    for (int scope : {5, -7}) {
      for (Frame& frame : Chain(random, source, scope, base_us_ - kHour, base_us_ + 5 * kHour, GetParam() % 2 == 1)) {
        // Some frames come later than the rest.
        (random() % 6 == 0 ? late : all).push_back(std::move(frame));
      }
    }
  }
  Store(all);
  const RollupOutcome first = Roll();
  EXPECT_GT(first.hours, 0);
  EXPECT_EQ(first.failed, 0);
  EXPECT_TRUE(first.complete);
  Compare(all);
  if (HasFatalFailure() || HasFailure()) return;

  Store(late);
  all.insert(all.end(), late.begin(), late.end());
  Roll();
  Compare(all);

  // What was stored is found again in every rollup, to the last unit (sums that stop at the type's end apart).
  if (GetParam() % 2 == 0) {
    const std::string raw = database_->Value("SELECT sum(calls)::text || ' ' || sum(blocks) FROM metrics.probe");
    for (const char* table : {"probe_1m", "probe_10m", "probe_1h"}) {
      EXPECT_EQ(database_->Value(absl::StrCat("SELECT sum(calls)::text || ' ' || sum(blocks) FROM metrics.", table)),
                raw)
          << table;
    }
  }
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.rollup_dirty"), "0");
  EXPECT_EQ(Roll().hours, 0);
}

INSTANTIATE_TEST_SUITE_P(Seeds, RollupProperty, ::testing::Range(1, 9));

TEST_F(RollupTest, RunningHourIsLeftAlone) {
  Frame frame;
  frame.end_us = base_us_ + 90 * kMinute;
  frame.interval_ms = 60'000;
  frame.rows.push_back({1, 0, 10, 0, 5, 5});
  Store({frame});
  EXPECT_EQ(Roll(absl::FromUnixMicros(base_us_ + 2 * kHour - 1)).hours, 0);
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.rollup_dirty"), "1");
  EXPECT_EQ(Roll(absl::FromUnixMicros(base_us_ + 2 * kHour)).hours, 1);
}

TEST_F(RollupTest, HourWithoutRawRowsKeepsItsRollups) {
  Frame frame;
  frame.end_us = base_us_ + 30 * kMinute;
  frame.interval_ms = 60'000;
  frame.rows.push_back({1, 0, 10, 0, 5, 5});
  Store({frame});
  Roll();
  database_->Exec("UPDATE metrics.time_table SET dropped_before = $1::timestamptz WHERE name = 'probe'",
                  {SqlTime(absl::FromUnixMicros(base_us_ + kHour))});
  database_->Exec("DELETE FROM metrics.probe");
  database_->Exec("INSERT INTO metrics.rollup_dirty VALUES (1, 1, $1::timestamptz), (77, 1, $1::timestamptz)",
                  {SqlTime(absl::FromUnixMicros(base_us_))});
  database_->Exec("DELETE FROM metrics.ledger_day");
  const RollupOutcome outcome = Roll();
  EXPECT_EQ(outcome.hours, 0);
  EXPECT_EQ(outcome.expired, 2);
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.ledger_day WHERE reopened"), "1")
      << "the marks were all that told of late rows";
  EXPECT_EQ(database_->Value("SELECT sum(calls) FROM metrics.probe_1h"), "10");
}

TEST_F(RollupTest, ReadingsOfEveryTypeRollUp) {
  const int id = std::stoi(database_->Value("SELECT id FROM metrics.catalog_metric WHERE name = 'readings'"));
  // Ten readings, half a minute apart: frames of a metric without counters have no interval.
  for (int i = 0; i < 10; ++i) {
    const std::string at = SqlTime(absl::FromUnixMicros(base_us_ + i * 30'000'000 + 5'000'000));
    database_->Exec(
        "INSERT INTO metrics.readings (time, source_id, flags, level, ok, since, bytes) VALUES ($1::timestamptz, 1, "
        "0, $2::float8, $3::bool, $4::timestamptz, $5::int8)",
        {at, i == 9 ? pg::Param("1.7e308") : pg::Param(1.5 * i), i != 4,
         i == 3 ? pg::Param("infinity") : pg::Param(SqlTime(absl::FromUnixSeconds(1000 + i))), int64_t{INT64_MAX - i}});
    database_->Exec(
        "INSERT INTO metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, "
        "bytes) VALUES ($1::timestamptz, 1, 1, $2::int2, 0, 0, 0, 1, 0)",
        {at, id});
  }
  database_->Exec("INSERT INTO metrics.rollup_dirty VALUES ($1::int2, 1, $2::timestamptz)",
                  {id, SqlTime(absl::FromUnixMicros(base_us_))});
  EXPECT_EQ(Roll().hours, 1);
  EXPECT_EQ(database_->Value("SELECT count(*) FROM metrics.readings_1m"), "5");
  EXPECT_EQ(database_->Value("SELECT sum(level_count) FROM metrics.readings_1m"), "10");
  const pg::Result hour = database_->Exec(
      "SELECT level_min, level_max, level_count, level_last, ok_min, ok_max, ok_sum, ok_last, since_min = "
      "to_timestamp(1000), "
      "isfinite(since_max), since_sum, bytes_min, bytes_max, bytes_sum, bytes_last, covered_ms FROM "
      "metrics.readings_1h");
  ASSERT_EQ(hour.rows(), 1u);
  EXPECT_EQ(hour[0].Double(0), 0);
  EXPECT_EQ(hour[0].Double(1), 1.7e308);
  EXPECT_EQ(hour[0].Int64(2), 10);
  EXPECT_EQ(hour[0].Double(3), 1.7e308);
  EXPECT_FALSE(hour[0].Bool(4));
  EXPECT_TRUE(hour[0].Bool(5));
  EXPECT_EQ(hour[0].Int64(6), 9);
  EXPECT_TRUE(hour[0].Bool(7));
  EXPECT_TRUE(hour[0].Bool(8));
  EXPECT_FALSE(hour[0].Bool(9));
  EXPECT_EQ(hour[0].Double(10), 9 * 1000 + 45 - 3);
  EXPECT_EQ(hour[0].Int64(11), INT64_MAX - 9);
  EXPECT_EQ(hour[0].Int64(12), INT64_MAX);
  EXPECT_EQ(hour[0].Int64(13), INT64_MAX) << "a sum stops at the end of its type";
  EXPECT_EQ(hour[0].Int64(14), INT64_MAX - 9);
  EXPECT_EQ(hour[0].Int64(15), 9 * 30'000) << "between the first and the last reading";
}

TEST_F(RollupTest, UncommittedMarkIsLeftToItsWriter) {
  Frame frame;
  frame.end_us = base_us_ + 30 * kMinute;
  frame.interval_ms = 60'000;
  frame.rows.push_back({1, 0, 10, 0, 5, 5});
  Store({frame});
  auto writer = pg::CopyConnection::Connect({.url = database_->url()}, absl::Now() + absl::Seconds(10));
  ASSERT_TRUE(writer.ok());
  // The writer's way to set a mark that is there: it locks the row.
  ASSERT_TRUE(
      (*writer)
          ->Exec(
              "BEGIN; INSERT INTO metrics.rollup_dirty SELECT metric_id, source_id, hour FROM metrics.rollup_dirty ON "
              "CONFLICT (metric_id, source_id, hour) DO UPDATE SET hour = EXCLUDED.hour WHERE false",
              absl::Now() + absl::Seconds(10))
          .ok());
  EXPECT_EQ(Roll().hours, 0);
  ASSERT_EQ((*writer)->Commit(absl::Now() + absl::Seconds(10)), absl::OkStatus());
  EXPECT_EQ(Roll().hours, 1);
}

}  // namespace
}  // namespace pga::storage
