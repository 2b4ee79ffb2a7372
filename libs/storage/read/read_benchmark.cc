// How long questions over statements take on a database with many sources: blocks of the last hours, of hours and of
// days are made directly, as a compactor leaves them. Prints one line per question.
//   storage_read_benchmark [sources [statements changed a minute]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/fake_clock.h"
#include "libs/columns/block.h"
#include "libs/pg/binary.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/series_reader.h"
#include "libs/storage/read/statement_reader.h"
#include "libs/storage/schema/migrations.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

constexpr int64_t kMinute = 60'000'000;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
// 2026-03-02, a Monday.
constexpr int64_t kNow = 20'514 * kDay;

void Check(const absl::Status& status, const char* what) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", what, status.ToString().c_str());
  std::exit(1);
}

// Rows of `per_frame` of `statements` series in each frame; what figures come to is of no interest here.
columns::RowSet Rows(std::mt19937_64& random, const catalog_pb::Metric& metric, bool buckets, int64_t from, int64_t to,
                     int64_t width, int statements, int per_frame) {
  columns::RowSet rows;
  for (int64_t at = from; at < to; at += width) {
    columns::FrameInfo frame;
    frame.start_us = at;
    frame.end_us = at + width;
    frame.rows = per_frame;
    frame.covered_us = buckets ? width : 0;
    rows.frames.push_back(frame);
  }
  rows.series_scope.assign(static_cast<size_t>(statements), 0);
  std::vector<columns::Column*> values;
  for (int i = 0; i < metric.columns_size(); ++i) {
    const auto id = static_cast<columns::ColumnId>(i + 1);
    const catalog_pb::Column& of = metric.columns(i);
    if (of.kind() == catalog_pb::COLUMN_KIND_LABEL) {
      columns::Column column(TypeOf(of.type()));
      if (column.type == columns::Type::kText) column.texts = {"one", "two"};
      for (int s = 0; s < statements; ++s) {
        column.ints.push_back(of.name() == "queryid"                ? (int64_t{1} << 40) * s
                              : column.type == columns::Type::kText ? s % 2
                                                                    : 1);
      }
      rows.labels.emplace(id, std::move(column));
    } else if (of.kind() == catalog_pb::COLUMN_KIND_COUNTER) {
      values.push_back(&rows.values.emplace(id, columns::Column(columns::Type::kInt)).first->second);
    }
  }
  for (int s = 0; s < statements; ++s) {
    for (size_t f = 0; f < rows.frames.size(); ++f) {
      if (static_cast<int>(random() % static_cast<uint64_t>(statements)) >= per_frame) continue;
      rows.row_series.push_back(static_cast<uint32_t>(s));
      rows.row_frame.push_back(static_cast<uint32_t>(f));
      for (size_t v = 0; v < values.size(); ++v) {
        values[v]->ints.push_back(v < 4 || v % 4 == 0 ? static_cast<int64_t>(random() % 5000) : 0);
      }
    }
  }
  if (buckets) {
    for (const uint32_t frame : rows.row_frame) rows.row_last_us.push_back(rows.frames[frame].end_us - 1);
  }
  return rows;
}

void Store(pg::CopyConnection& connection, const std::string& expires, int source, int64_t metric, int level,
           const columns::Shape& shape, const columns::RowSet& rows) {
  for (const columns::Block& block : columns::EncodeBlocks(shape, rows)) {
    const auto text = [](int64_t us) { return TimeText(absl::FromUnixMicros(us)); };
    const auto done = connection.Exec(
        "INSERT INTO metrics.block (expires_on, source_id, metric_id, level, kind, part, long, starts, first, last, "
        "frames, series, rows, unchanged_rows, frame_entries, locate_min, locate_max, ids, offsets, data) VALUES "
        "($1::date, $2::int4, $3::int2, $4::int2, 1, $5::int2, false, $6::timestamptz, $7::timestamptz, "
        "$8::timestamptz, $9::int4, $10::int4, $11::int8, 0, $9::int4, $12::bytea, $13::bytea, $14::int2[], "
        "$15::int4[], $16::bytea)",
        {expires, source, metric, level, block.part, text(block.starts_us), text(block.first_us), text(block.last_us),
         block.frames, block.series, block.rows, pg::Bytes{block.locate_min}, pg::Bytes{block.locate_max},
         absl::StrCat("{", absl::StrJoin(block.ids, ","), "}"),
         absl::StrCat("{", absl::StrJoin(block.offsets, ","), "}"), pg::Bytes{block.data}},
        absl::Now() + absl::Minutes(1));
    Check(done.status(), "storing a block");
  }
}

template <typename Ask>
void Time(const char* name, const Ask& ask) {
  std::vector<double> times;
  for (int i = 0; i < 6; ++i) {
    const absl::Time start = absl::Now();
    Check(ask(), name);
    if (i > 0) times.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
  }
  std::sort(times.begin(), times.end());
  std::printf("%-44s median %7.1f ms  most %7.1f ms\n", name, times[times.size() / 2], times.back());
}

int Run(int sources, int per_minute) {
  auto server = testing::SharedPostgres();
  auto url = server->CreateFreshDatabase("readbench");
  Check(url.status(), "database");
  auto catalog = catalog::Catalog::Builtin();
  Check(catalog.status(), "catalog");
  const catalog_pb::Metric& metric = *(*catalog)->Find("statements");
  MigrateOptions migrate;
  migrate.layout = Layout::kNative;
  for (const auto& each : (*catalog)->metrics()) migrate.metrics.push_back(&each);
  Check(MigrateUp(*url, Database::kMetrics, migrate), "schema");
  auto connection = pg::CopyConnection::Connect({.url = *url}, absl::Now() + absl::Seconds(10));
  Check(connection.status(), "connecting");
  const auto exec = [&](const std::string& sql) {
    auto result = (*connection)->Exec(sql, absl::Now() + absl::Minutes(1));
    Check(result.status(), sql.c_str());
    return *std::move(result);
  };
  const int64_t metric_id = exec("SELECT id FROM metrics.catalog_metric WHERE name = 'statements'")[0].Int64(0);
  const auto today = absl::ToCivilDay(absl::Now(), absl::UTCTimeZone());
  exec(absl::StrCat("SELECT metrics.ensure_block_partitions(current_date + 1, current_date + 90)"));
  const auto expires = [&](int64_t days) { return absl::FormatCivilTime(today + static_cast<int>(days)); };

  std::mt19937_64 random(1);
  const std::vector<columns::MetricColumn> all = ColumnsOf(metric);
  const columns::Shape raw = columns::RawShape(all, LocateBy(metric));
  const columns::Shape buckets = columns::BucketShape(all, LocateBy(metric));
  const int statements = 2 * per_minute;
  std::vector<SourceRef> refs;
  // The rows of one source serve all: what they cost does not depend on what they say.
  std::vector<columns::RowSet> hours_raw, days_hours, weeks;
  for (int hour = 0; hour < 25; ++hour) {
    const int64_t from = kNow - (hour + 1) * kHour;
    hours_raw.push_back(Rows(random, metric, false, from, from + kHour, kMinute, statements, per_minute));
  }
  for (int day = 0; day < 8; ++day) {
    const int64_t from = kNow - (day + 1) * kDay;
    days_hours.push_back(Rows(random, metric, true, from, from + kDay, kHour, statements, statements));
  }
  for (int week = 0; week < 5; ++week) {
    const int64_t from = kNow - (week + 1) * 7 * kDay;
    weeks.push_back(Rows(random, metric, true, from, from + 7 * kDay, kDay, statements, statements));
  }
  for (int source = 1; source <= sources; ++source) {
    refs.push_back(
        {source, absl::StrCat("00000000-0000-0000-0000-", 100000000000 + source), absl::StrCat("s", source)});
    exec("BEGIN");
    for (const columns::RowSet& rows : hours_raw) Store(**connection, expires(31), source, metric_id, 0, raw, rows);
    for (size_t day = 0; day < days_hours.size(); ++day) {
      Store(**connection, expires(30 - static_cast<int64_t>(day)), source, metric_id, 1, buckets, days_hours[day]);
    }
    for (size_t week = 0; week < weeks.size(); ++week) {
      Store(**connection, expires(80 - static_cast<int64_t>(week)), source, metric_id, 2, buckets, weeks[week]);
    }
    exec("COMMIT");
  }
  exec("VACUUM ANALYZE metrics.block");
  const pg::Result size =
      exec("SELECT level, count(*), sum(length(data))::int8, sum(rows)::int8 FROM metrics.block GROUP BY 1 ORDER BY 1");
  for (const pg::Row row : size) {
    std::printf("level %d: %lld blocks, %.1f MB, %lld rows\n", row.Int32(0), static_cast<long long>(row.Int64(1)),
                static_cast<double>(row.Int64(2)) / 1e6, static_cast<long long>(row.Int64(3)));
  }

  auto pool = pg::ReadPool::Create({.url = *url});
  Check(pool.status(), "pool");
  clock::FakeClock clock(absl::FromUnixMicros(kNow));
  StatementReader statements_reader(pool->get(), *catalog, &clock);
  SeriesReader series_reader(pool->get(), *catalog, &clock);
  const auto until = [] { return absl::Now() + absl::Minutes(1); };
  const absl::Time now = absl::FromUnixMicros(kNow);
  for (const int hours : {1, 24, 24 * 7, 24 * 30}) {
    Time(absl::StrCat("top 20 of all sources, ", hours, " h").c_str(), [&] {
      TopStatementsQuery query;
      query.sources = refs;
      query.start = now - absl::Hours(hours);
      query.end = now;
      return statements_reader.Top(query, until()).status();
    });
  }
  for (const int hours : {24, 24 * 30}) {
    Time(absl::StrCat("timeline of one statement, ", hours, " h").c_str(), [&] {
      return statements_reader
          .Timeline((int64_t{1} << 40) * 7, {refs[0]}, {now - absl::Hours(hours), now, hours == 24 ? 3600 : 86400, ""},
                    true, until())
          .status();
    });
  }
  Time("series by source, 720 h", [&] {
    SeriesQuery query;
    query.metric = "statements";
    query.column = "calls";
    query.sources = refs;
    query.range = {now - absl::Hours(24 * 30), now, 86400, ""};
    query.group_by = {"source"};
    return series_reader.Read(query, until()).status();
  });
  return 0;
}

}  // namespace
}  // namespace pga::storage

int main(int argc, char** argv) {
  const int sources = argc > 1 ? std::atoi(argv[1]) : 50;
  // Anything else than a number asks for the smallest run.
  if (sources < 1) return pga::storage::Run(2, 20);
  return pga::storage::Run(sources, argc > 2 ? std::max(1, std::atoi(argv[2])) : 300);
}
