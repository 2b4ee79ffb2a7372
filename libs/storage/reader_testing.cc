#include "libs/storage/reader_testing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "libs/frame/text.h"
#include "libs/storage/reader_range.h"
#include "libs/storage/reader_sql.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

constexpr char kSchema[] = R"(
CREATE SCHEMA metrics;
CREATE TABLE metrics.collector(id int4 PRIMARY KEY, collector_id text UNIQUE, first_seen timestamptz DEFAULT now());
CREATE TABLE metrics.source(id int4 PRIMARY KEY, uuid uuid UNIQUE, name text, collector_id int4, owner_epoch int8,
  system_identifier int8 NOT NULL DEFAULT 0, server_version_num int4 NOT NULL DEFAULT 0, in_recovery bool NOT NULL DEFAULT false,
  first_seen timestamptz DEFAULT now(), last_seen timestamptz DEFAULT now(), group_name text DEFAULT 'default');
CREATE TABLE metrics.catalog_metric(id int2 PRIMARY KEY, name text UNIQUE);
CREATE TABLE metrics.text(source_id int4, id int8, value text, PRIMARY KEY(source_id, id));
CREATE TABLE metrics.metrics(time timestamptz, source_id int4, collector_id int4, metric_id int2, flags int2, scope int4,
  interval_ms int8, rows int4, bytes int4) PARTITION BY RANGE (time);
CREATE TABLE metrics.metrics_all PARTITION OF metrics.metrics DEFAULT;
CREATE INDEX ON metrics.metrics(source_id, metric_id, time);
CREATE TABLE metrics.ledger_day(day date PRIMARY KEY, rows int8);
CREATE TABLE metrics.lost_interval(received_at timestamptz, collector_id int4, source_id int4, start_time timestamptz,
  end_time timestamptz, first_seq int8, last_seq int8);
CREATE TABLE metrics.rollup_dirty(metric_id int2, source_id int4, hour timestamptz, PRIMARY KEY(metric_id, source_id, hour));
CREATE TABLE metrics.probe_m(time timestamptz, source_id int4, scope int4, flags int2, name int8, number int8, calls int8,
  blocks int8, size float8);
CREATE TABLE metrics.probe_m_baseline(LIKE metrics.probe_m);
CREATE INDEX ON metrics.probe_m(source_id, time);
CREATE TABLE metrics.probe_m_1m(bucket timestamptz, source_id int4, scope int4, name int8, number int8, flags int2,
  covered_ms int8, calls int8, blocks int8, size_min float8, size_max float8, size_sum float8, size_count int8,
  size_last float8);
CREATE TABLE metrics.probe_m_10m(LIKE metrics.probe_m_1m);
CREATE TABLE metrics.probe_m_1h(LIKE metrics.probe_m_1m);
INSERT INTO metrics.catalog_metric VALUES (7, 'probe_m');
INSERT INTO metrics.collector VALUES (1, 'col_001');
)";

constexpr int kMetricId = 7;

std::string Number(const std::optional<int64_t>& value) {
  return value ? absl::StrCat(*value) : "NULL";
}

int64_t IntervalMs(const TestFrame& frame) {
  return absl::ToInt64Milliseconds(frame.time - frame.start);
}

// The ledger keeps whole milliseconds.
absl::Time StartOf(const TestFrame& frame) {
  return frame.time - absl::Milliseconds(IntervalMs(frame));
}

int64_t ShareIn(int64_t delta, const TestFrame& frame, absl::Time from, absl::Time to) {
  const int64_t s = absl::ToUnixMicros(StartOf(frame));
  const int64_t e = absl::ToUnixMicros(frame.time);
  return ShareBefore(delta, s, e, absl::ToUnixMicros(to)) - ShareBefore(delta, s, e, absl::ToUnixMicros(from));
}

}  // namespace

pganalytics::catalog::v1::Metric ReaderDatabase::TestMetric() {
  using namespace pganalytics::catalog::v1;  // NOLINT: names of one message
  Metric metric;
  metric.set_name("probe_m");
  metric.set_schema_version(1);
  metric.set_scope(SCOPE_DATABASE);
  metric.set_skip_unchanged(true);
  const auto add = [&](const char* name, ColumnType type, ColumnKind kind, const char* unit) {
    Column* column = metric.add_columns();
    column->set_name(name);
    column->set_type(type);
    column->set_kind(kind);
    column->set_unit(unit);
    column->set_since_schema_version(1);
  };
  add("name", COLUMN_TYPE_TEXT, COLUMN_KIND_LABEL, "");
  add("number", COLUMN_TYPE_INT8, COLUMN_KIND_LABEL, "");
  add("calls", COLUMN_TYPE_INT8, COLUMN_KIND_COUNTER, "1");
  add("blocks", COLUMN_TYPE_INT8, COLUMN_KIND_COUNTER, "blocks");
  add("size", COLUMN_TYPE_FLOAT8, COLUMN_KIND_GAUGE, "bytes");
  return metric;
}

std::unique_ptr<ReaderDatabase> ReaderDatabase::Create() {
  auto database = std::make_unique<ReaderDatabase>();
  auto url = testing::SharedPostgres()->CreateFreshDatabase("reader");
  EXPECT_TRUE(url.ok()) << url.status();
  if (!url.ok()) return nullptr;
  database->url_ = *url;
  pg::PoolOptions options;
  options.url = *url;
  auto pool = pg::Pool::Create(options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  if (!pool.ok()) return nullptr;
  database->pool_ = *std::move(pool);
  database->Exec(kSchema);
  return database;
}

void ReaderDatabase::Exec(const std::string& sql, const pg::Params& params) {
  const auto result = pool_->Exec(sql, params, absl::Now() + absl::Seconds(30));
  EXPECT_TRUE(result.ok()) << result.status() << "\n" << sql.substr(0, 500);
}

void ReaderDatabase::AddSource(int32_t id, const std::string& name, const std::string& group,
                               int64_t system_identifier) {
  Exec(
      "INSERT INTO metrics.source(id, uuid, name, collector_id, group_name, system_identifier) VALUES ($1::int4, "
      "lpad($1::text, 32, '0')::uuid, $2, 1, $3, $4::int8)",
      {id, name, group, system_identifier});
}

void ReaderDatabase::Insert(const std::vector<TestFrame>& frames) {
  std::string ledger;
  std::string rows;
  std::string baseline;
  std::map<std::pair<int32_t, int64_t>, std::string> texts;
  for (const TestFrame& frame : frames) {
    const std::string time = TimeText(frame.time);
    absl::StrAppend(&ledger, ledger.empty() ? "" : ",", "('", time, "',", frame.source, ",1,", kMetricId, ",",
                    frame.flags, ",", frame.scope, ",", IntervalMs(frame), ",", frame.rows.size(), ",64)");
    std::string& target = (frame.flags & 1) != 0 ? baseline : rows;
    for (const TestRow& row : frame.rows) {
      const int64_t id = frame::TextId(row.label);
      texts[{frame.source, id}] = row.label;
      absl::StrAppend(&target, target.empty() ? "" : ",", "('", time, "',", frame.source, ",", frame.scope, ",",
                      row.flags, ",", id, ",", row.number, ",", Number(row.calls), ",", Number(row.blocks), ",",
                      row.size ? absl::StrCat(*row.size) : "NULL", ")");
    }
  }
  if (!ledger.empty()) Exec("INSERT INTO metrics.metrics VALUES " + ledger);
  if (!rows.empty()) Exec("INSERT INTO metrics.probe_m VALUES " + rows);
  if (!baseline.empty()) Exec("INSERT INTO metrics.probe_m_baseline VALUES " + baseline);
  for (const auto& [key, value] : texts) {
    Exec("INSERT INTO metrics.text VALUES ($1::int4, $2::int8, $3) ON CONFLICT DO NOTHING",
         {key.first, key.second, value});
  }
}

void ReaderDatabase::RollUp(const std::vector<TestFrame>& frames,
                            const std::set<std::pair<int32_t, absl::Time>>& dirty) {
  struct Sums {
    std::optional<int64_t> calls, blocks;
    int flags = 0;
    std::optional<double> min, max, last;
    double sum = 0;
    int64_t count = 0;
    absl::Time last_at = absl::InfinitePast();
  };
  for (const auto& [source, hour] : dirty) {
    Exec("INSERT INTO metrics.rollup_dirty VALUES ($1::int2, $2::int4, $3::timestamptz)",
         {kMetricId, source, TimeText(hour)});
  }
  for (Resolution resolution : {Resolution::k1m, Resolution::k10m, Resolution::k1h}) {
    const absl::Duration width = WidthOf(resolution);
    const auto floor = [&](absl::Time t) {
      return absl::FromUnixSeconds(absl::ToUnixSeconds(t) / absl::ToInt64Seconds(width) * absl::ToInt64Seconds(width));
    };
    using Key = std::tuple<absl::Time, int32_t, int32_t, std::string, int64_t>;
    std::map<Key, Sums> sums;
    std::map<std::tuple<absl::Time, int32_t, int32_t>, int64_t> covered;
    for (const TestFrame& frame : frames) {
      if ((frame.flags & 3) != 0) continue;
      for (absl::Time bucket = floor(StartOf(frame)); bucket < frame.time; bucket += width) {
        const absl::Time lo = std::max(bucket, StartOf(frame));
        const absl::Time hi = std::min(bucket + width, frame.time);
        if (lo >= hi) continue;
        covered[{bucket, frame.source, frame.scope}] += absl::ToInt64Milliseconds(hi - lo);
        for (const TestRow& row : frame.rows) {
          Sums& sum = sums[{bucket, frame.source, frame.scope, row.label, row.number}];
          if (row.calls) sum.calls = sum.calls.value_or(0) + ShareIn(*row.calls, frame, lo, hi);
          if (row.blocks) sum.blocks = sum.blocks.value_or(0) + ShareIn(*row.blocks, frame, lo, hi);
          sum.flags |= (row.flags & ~4) | (lo > StartOf(frame) || hi < frame.time ? 16 : 0);
        }
      }
      for (const TestRow& row : frame.rows) {
        Sums& at_end = sums[{floor(frame.time), frame.source, frame.scope, row.label, row.number}];
        // Whether the key is gone says the last row of the bucket; frames come in order of time.
        at_end.flags = (at_end.flags & ~4) | (row.flags & 4);
        if (!row.size) continue;
        Sums& sum = sums[{floor(frame.time), frame.source, frame.scope, row.label, row.number}];
        sum.min = std::min(sum.min.value_or(*row.size), *row.size);
        sum.max = std::max(sum.max.value_or(*row.size), *row.size);
        sum.sum += *row.size;
        sum.count += 1;
        if (frame.time >= sum.last_at) {
          sum.last = *row.size;
          sum.last_at = frame.time;
        }
      }
    }
    std::string values;
    for (const auto& [key, sum] : sums) {
      const auto& [bucket, source, scope, label, number] = key;
      const absl::Time hour = absl::FromUnixSeconds(absl::ToUnixSeconds(bucket) / 3600 * 3600);
      const bool wrong = dirty.contains({source, hour});
      const int64_t error = wrong ? 1000000 : 0;
      const auto number_of = [&](const std::optional<int64_t>& value) {
        return value ? absl::StrCat(*value + error) : std::string("NULL");
      };
      const auto real_of = [&](const std::optional<double>& value) {
        return value ? absl::StrCat(*value + static_cast<double>(error)) : std::string("NULL");
      };
      absl::StrAppend(&values, values.empty() ? "" : ",", "('", TimeText(bucket), "',", source, ",", scope, ",",
                      frame::TextId(label), ",", number, ",", sum.flags, ",", covered[{bucket, source, scope}], ",",
                      number_of(sum.calls), ",", number_of(sum.blocks), ",", real_of(sum.min), ",", real_of(sum.max),
                      ",", sum.count == 0 ? "NULL" : absl::StrCat(sum.sum + static_cast<double>(error)), ",", sum.count,
                      ",", real_of(sum.last), ")");
    }
    if (!values.empty()) {
      Exec(absl::StrCat("INSERT INTO metrics.probe_m", std::string(TableSuffix(resolution)), " VALUES ", values));
    }
  }
}

}  // namespace pga::storage
