// How long questions over many sources take, one at a time and eight at once, and how much memory they need at most.
// Prints one line per question: each figure with the least and greatest of its rounds, and the load of the machine.
//   storage_read_benchmark [options] [sources [statements changed a minute]]
//     a database of its own: statements alone, in folded blocks of the last day, of hours and of days as a compactor
//     leaves them, and one more hour of frames that are in no block yet
//   storage_read_benchmark [options] URL
//     a metrics database with history, as `fleetsim load` makes it; nothing is written
//   --json FILE    one object per line for each figure too: name, value (p95), unit, p50, p95, runs
//   --only TEXT    only questions whose name holds it
//   --rounds N     how often each question is asked 20 times, default 3
//   --restart CMD --data DIR
//     also each question once after the command restarted PostgreSQL and its files below DIR left the page cache
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/columns/block.h"
#include "libs/exec/locks.h"
#include "libs/frame/column_type.h"
#include "libs/pg/binary.h"
#include "libs/pg/copy_connection.h"
#include "libs/storage/read/activity_reader.h"
#include "libs/storage/read/names.h"
#include "libs/storage/read/series_reader.h"
#include "libs/storage/read/statement_reader.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/upkeep/span.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

constexpr int64_t kMinute = 60'000'000;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
// 2026-03-02, a Monday.
// The midnight UTC that comes next: blocks are looked for where they expire, which follows from today.
const int64_t kNow = (absl::ToUnixMicros(clock::WallNow()) / kDay + 1) * kDay;

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
      columns::Column column(frame::TypeOf(of.type()));
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
        clock::SteadyNow() + absl::Minutes(1));
    Check(done.status(), "storing a block");
  }
}

// The frames of `rows` as rows of metrics.frame.
void StoreFrames(pg::CopyConnection& connection, int source, int64_t metric_id, const catalog_pb::Metric& metric,
                 const columns::RowSet& rows) {
  std::vector<std::vector<uint32_t>> of_frame(rows.frames.size());
  for (size_t row = 0; row < rows.rows(); ++row) of_frame[rows.row_frame[row]].push_back(static_cast<uint32_t>(row));
  for (size_t f = 0; f < of_frame.size(); ++f) {
    std::string data;
    std::vector<int32_t> offsets;
    for (int i = 0; i < metric.columns_size(); ++i) {
      const auto id = static_cast<columns::ColumnId>(i + 1);
      offsets.push_back(static_cast<int32_t>(data.size()));
      const auto label = rows.labels.find(id);
      const auto value = rows.values.find(id);
      columns::Column column(frame::TypeOf(metric.columns(i).type()));
      if (label != rows.labels.end()) column.texts = label->second.texts;
      for (const uint32_t row : of_frame[f]) {
        if (label != rows.labels.end()) {
          column.AppendFrom(label->second, rows.row_series[row]);
        } else if (value != rows.values.end()) {
          column.AppendFrom(value->second, row);
        } else {
          column.AppendNull();
        }
      }
      columns::EncodeColumn(column, &data);
    }
    offsets.insert(offsets.end(), 2, static_cast<int32_t>(data.size()));
    const auto text = [](int64_t us) { return TimeText(absl::FromUnixMicros(us)); };
    const auto done = connection.Exec(
        "INSERT INTO metrics.frame (source_id, metric_id, scope_id, kind, part, flags, schema_version, collected_at, "
        "interval_start, received_at, collector_id, rows, unchanged_rows, offsets, data) VALUES ($1::int4, $2::int2, "
        "0, 1, 0, 0, 1, $3::timestamptz, $4::timestamptz, now(), 1, $5::int4, 0, $6::int4[], $7::bytea)",
        {source, metric_id, text(rows.frames[f].end_us), text(rows.frames[f].start_us),
         static_cast<int64_t>(of_frame[f].size()), absl::StrCat("{", absl::StrJoin(offsets, ","), "}"),
         pg::Bytes{data}},
        clock::SteadyNow() + absl::Minutes(1));
    Check(done.status(), "storing a frame");
  }
}

using Ask = std::function<absl::Status()>;

double ProcessMs() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  return ms(use.ru_utime) + ms(use.ru_stime);
}

struct Options {
  std::string json, only, restart, data;
  int rounds = 3;
};

Options& Chosen() {
  static Options options;
  return options;
}

bool Wanted(const std::string& name) {
  return name.find(Chosen().only) != std::string::npos;
}

void WriteJson(const std::string& line) {
  if (Chosen().json.empty()) return;
  std::ofstream(Chosen().json, std::ios::app) << line << "\n";
}

double Percentile(const std::vector<double>& sorted, size_t percent) {
  return sorted[std::min(sorted.size() - 1, (sorted.size() * percent + 99) / 100 - 1)];
}

// Of several rounds: p50 and p95 of all calls, and between which the rounds' own lie.
void Print(const std::string& name, std::vector<std::vector<double>> rounds, double own_ms) {
  std::vector<double> all, p50s, p95s;
  for (std::vector<double>& times : rounds) {
    std::sort(times.begin(), times.end());
    p50s.push_back(Percentile(times, 50));
    p95s.push_back(Percentile(times, 95));
    all.insert(all.end(), times.begin(), times.end());
  }
  std::sort(all.begin(), all.end());
  std::sort(p50s.begin(), p50s.end());
  std::sort(p95s.begin(), p95s.end());
  double load = 0;
  getloadavg(&load, 1);
  std::printf("%-46s least %6.1f  p50 %6.1f (%.0f-%.0f)  p95 %6.1f (%.0f-%.0f) ms   own CPU %6.1f ms   load %.1f\n",
              name.c_str(), all.front(), Percentile(all, 50), p50s.front(), p50s.back(), Percentile(all, 95),
              p95s.front(), p95s.back(), own_ms / static_cast<double>(all.size()), load);
  std::fflush(stdout);
  WriteJson(absl::StrCat("{\"name\": \"read: ", name, "\", \"value\": ", Percentile(all, 95),
                         ", \"unit\": \"ms\", \"p50\": ", Percentile(all, 50), ", \"p95\": ", Percentile(all, 95),
                         ", \"runs\": ", all.size(), "}"));
}

// After one call to warm up.
void Time(const std::string& name, const Ask& ask) {
  if (!Wanted(name)) return;
  Check(ask(), name.c_str());
  std::vector<std::vector<double>> rounds(static_cast<size_t>(Chosen().rounds));
  const double before = ProcessMs();
  for (std::vector<double>& times : rounds) {
    for (int i = 0; i < 20; ++i) {
      const clock::SteadyTime start = clock::SteadyNow();
      Check(ask(), name.c_str());
      times.push_back(absl::ToDoubleMilliseconds(clock::SteadyNow() - start));
    }
  }
  Print(name, std::move(rounds), ProcessMs() - before);
}

// Eight callers at once, each the next question when it has its answer.
void TimeTogether(const std::string& name, const std::vector<Ask>& asks) {
  if (!Wanted(name)) return;
  constexpr size_t kCallers = 8;
  constexpr size_t kEach = 8;
  std::vector<std::vector<double>> rounds(static_cast<size_t>(Chosen().rounds));
  const double before = ProcessMs();
  for (std::vector<double>& all : rounds) {
    std::vector<std::vector<double>> times(kCallers);
    std::vector<std::thread> callers;
    for (size_t caller = 0; caller < kCallers; ++caller) {
      callers.emplace_back([&, caller] {
        for (size_t i = 0; i < kEach; ++i) {
          const clock::SteadyTime start = clock::SteadyNow();
          Check(asks[(caller + i) % asks.size()](), name.c_str());
          times[caller].push_back(absl::ToDoubleMilliseconds(clock::SteadyNow() - start));
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    for (const auto& of_caller : times) all.insert(all.end(), of_caller.begin(), of_caller.end());
  }
  Print(name, std::move(rounds), ProcessMs() - before);
}

// Lets the kernel forget every file below the folder.
void ForgetFiles(const std::string& folder) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    const int file = open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    fdatasync(file);
    if (posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) != 0) {
      std::fprintf(stderr, "%s stays in the page cache\n", entry.path().c_str());
    }
    close(file);
  }
}

// The first call after a restart; `ask` finds its connections closed and opens others.
void TimeCold(const std::string& name, const Ask& ask) {
  if (Chosen().restart.empty() || !Wanted(name)) return;
  std::vector<std::vector<double>> rounds(1);
  const double before = ProcessMs();
  for (int i = 0; i < Chosen().rounds; ++i) {
    ForgetFiles(Chosen().data);
    if (std::system(Chosen().restart.c_str()) != 0) Check(absl::UnavailableError(Chosen().restart), "restart");
    ForgetFiles(Chosen().data);
    const clock::SteadyTime start = clock::SteadyNow();
    Check(ask(), name.c_str());
    rounds[0].push_back(absl::ToDoubleMilliseconds(clock::SteadyNow() - start));
  }
  Print("cold: " + name, std::move(rounds), ProcessMs() - before);
}

void PrintPeakMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("VmHWM")) continue;
    const int kib = std::atoi(line.c_str() + 6);
    std::printf("peak memory of this process: %d KiB\n", kib);
    WriteJson(absl::StrCat("{\"name\": \"read: peak memory\", \"value\": ", kib, ", \"unit\": \"KiB\"}"));
  }
}

// What is asked about: every source, one of its statements, and the end of the ranges.
struct Asked {
  std::vector<SourceRef> sources;
  int64_t statement = 0;
  absl::Time now;
  bool activity = false;
};

struct Readers {
  std::unique_ptr<pg::ReadPool> pool;
  std::unique_ptr<clock::FakeClock> clock;
  std::unique_ptr<StatementReader> statements;
  std::unique_ptr<SeriesReader> series;
  std::unique_ptr<ActivityReader> activity;
};

Readers MakeReaders(const std::string& url, const std::shared_ptr<const catalog::Catalog>& catalog, absl::Time now) {
  Readers readers;
  auto pool = pg::ReadPool::Create({.url = url, .size = 8});
  Check(pool.status(), "pool");
  readers.pool = *std::move(pool);
  readers.clock = std::make_unique<clock::FakeClock>(now);
  readers.statements = std::make_unique<StatementReader>(readers.pool.get(), catalog, readers.clock.get());
  readers.series = std::make_unique<SeriesReader>(readers.pool.get(), catalog, readers.clock.get());
  readers.activity = std::make_unique<ActivityReader>(readers.pool.get(), catalog);
  return readers;
}

clock::SteadyTime Until() {
  return clock::SteadyNow() + absl::Minutes(1);
}

Ask Top(const Readers& readers, const std::vector<SourceRef>& sources, absl::Time now, int hours) {
  return [&readers, sources, now, hours] {
    TopStatementsQuery query;
    query.sources = sources;
    query.start = now - absl::Hours(hours);
    query.end = now;
    return readers.statements->Top(query, Until()).status();
  };
}

void Questions(const Readers& readers, const Asked& asked) {
  const absl::Time now = asked.now;
  const std::vector<SourceRef> one = {asked.sources[0]};
  const auto timeline = [&](int hours) -> Ask {
    return [&readers, &asked, one, now, hours] {
      const RangeRequest range{now - absl::Hours(hours), now, hours <= 24 ? 3600 : 86400, ""};
      return readers.statements->Timeline(asked.statement, one, range, true, Until()).status();
    };
  };
  const auto series = [&](const std::vector<SourceRef>& sources, int hours) -> Ask {
    return [&readers, sources, now, hours] {
      SeriesQuery query;
      query.metric = "statements";
      query.column = "calls";
      query.sources = sources;
      query.range = {now - absl::Hours(hours), now, hours <= 1 ? 60 : hours <= 24 ? 3600 : 86400, ""};
      query.group_by = {"source"};
      return readers.series->Read(query, Until()).status();
    };
  };
  const auto activity = [&](const std::vector<SourceRef>& sources, bool instant) -> Ask {
    return [&readers, sources, now, instant] {
      ActivityQuery query;
      query.sources = sources;
      query.start = now - absl::Hours(1);
      query.end = now;
      query.instant = instant;
      query.limit = 1000;
      // More blocking edges than the limit are an answer too.
      const absl::Status status = readers.activity->Read(query, Until()).status();
      return absl::IsInvalidArgument(status) ? absl::OkStatus() : status;
    };
  };
  std::vector<Ask> fleet, single;
  std::vector<std::pair<std::string, Ask>> cold;
  const auto time = [&](const std::string& name, const Ask& ask) {
    cold.emplace_back(name, ask);
    Time(name, ask);
  };
  for (const int hours : {1, 24, 24 * 7, 24 * 30}) {
    fleet.push_back(Top(readers, asked.sources, now, hours));
    single.push_back(Top(readers, one, now, hours));
    time(absl::StrCat("top 20 of all sources, ", hours, " h"), fleet.back());
  }
  for (const int hours : {24, 24 * 30}) {
    single.push_back(timeline(hours));
    time(absl::StrCat("timeline of one statement, ", hours, " h"), single.back());
  }
  for (const int hours : {1, 24, 24 * 30}) {
    fleet.push_back(series(asked.sources, hours));
    single.push_back(series(one, hours));
    time(absl::StrCat("series by source, ", hours, " h"), fleet.back());
  }
  if (asked.activity) {
    fleet.push_back(activity(asked.sources, false));
    single.push_back(activity(one, false));
    time("activity and blocking of all sources, 1 h", fleet.back());
    time("activity and blocking of one source, 1 h", single.back());
    Time("activity and blocking of all, an instant", activity(asked.sources, true));
  }
  TimeTogether("8 at once, one source each", single);
  TimeTogether("8 at once, all sources each", fleet);
  for (const auto& [name, ask] : cold) TimeCold(name, ask);
}

void PrintSizes(pg::CopyConnection& connection) {
  auto size = connection.Exec(
      "SELECT level, count(*), sum(length(data))::int8, sum(rows)::int8 FROM metrics.block GROUP BY 1 UNION ALL SELECT "
      "-1, count(*), coalesce(sum(length(data)), 0)::int8, coalesce(sum(rows), 0)::int8 FROM metrics.frame ORDER BY 1",
      clock::SteadyNow() + absl::Minutes(1));
  Check(size.status(), "sizes");
  for (const pg::Row row : *size) {
    const std::string of = row.Int32(0) < 0 ? "frames" : absl::StrCat("blocks of level ", row.Int32(0));
    std::printf("%s: %lld, %.1f MB, %lld rows\n", of.c_str(), static_cast<long long>(row.Int64(1)),
                static_cast<double>(row.Int64(2)) / 1e6, static_cast<long long>(row.Int64(3)));
  }
}

// A database with history: asked about the end of it.
int RunOn(const std::string& url) {
  auto catalog = catalog::Catalog::Builtin();
  Check(catalog.status(), "catalog");
  auto connection = pg::CopyConnection::Connect({.url = url}, clock::SteadyNow() + absl::Seconds(10));
  Check(connection.status(), "connecting");
  const auto exec = [&](const std::string& sql) {
    auto result = (*connection)->Exec(sql, clock::SteadyNow() + absl::Minutes(1));
    Check(result.status(), sql.c_str());
    return *std::move(result);
  };
  Asked asked;
  asked.activity = true;
  for (const pg::Row row : exec("SELECT id, uuid::text, name FROM metrics.source ORDER BY 1")) {
    asked.sources.push_back({row.Int32(0), std::string(row.Text(1)), std::string(row.Text(2))});
  }
  const pg::Result end = exec(
      "SELECT coalesce(max(extract(epoch FROM date_trunc('minute', last)))::int8, 0) FROM metrics.block WHERE level = "
      "0 AND metric_id = (SELECT id FROM metrics.catalog_metric WHERE name = 'statements')");
  if (asked.sources.empty() || end[0].Int64(0) == 0) {
    std::fprintf(stderr, "the database has no blocks of statements\n");
    return 1;
  }
  asked.now = absl::FromUnixSeconds(end[0].Int64(0));
  const Readers readers = MakeReaders(url, *catalog, asked.now);
  TopStatementsQuery query;
  query.sources = {asked.sources[0]};
  query.start = asked.now - absl::Hours(24);
  query.end = asked.now;
  const auto top = readers.statements->Top(query, Until());
  Check(top.status(), "statements");
  if (!top->statements.empty()) asked.statement = top->statements[0].query_id;
  PrintSizes(**connection);
  Questions(readers, asked);
  PrintPeakMemory();
  return 0;
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
  auto connection = pg::CopyConnection::Connect({.url = *url}, clock::SteadyNow() + absl::Seconds(10));
  Check(connection.status(), "connecting");
  const auto exec = [&](const std::string& sql) {
    auto result = (*connection)->Exec(sql, clock::SteadyNow() + absl::Minutes(1));
    Check(result.status(), sql.c_str());
    return *std::move(result);
  };
  const int64_t metric_id = exec("SELECT id FROM metrics.catalog_metric WHERE name = 'statements'")[0].Int64(0);
  exec("SELECT metrics.ensure_block_partitions(current_date - 10, current_date + 430)");
  // Where the block that ends then is looked for.
  const auto expires = [](int level, int64_t last_us) {
    const absl::TimeZone utc = absl::UTCTimeZone();
    return absl::FormatCivilTime(absl::CivilDay(1970) + ExpiresOn(level, SpanOfLast(level, last_us, utc), {}));
  };

  std::mt19937_64 random(1);
  const std::vector<columns::MetricColumn> all = ColumnsOf(metric);
  const columns::Shape raw = columns::RawShape(all, LocateBy(metric));
  const columns::Shape buckets = columns::BucketShape(all, LocateBy(metric));
  const int statements = 2 * per_minute;
  std::vector<SourceRef> refs;
  // The rows of one source serve all: what they cost does not depend on what they say. Pieces of three hours are what
  // folding leaves at 300 statements a minute.
  std::vector<columns::RowSet> pieces, days_hours, weeks;
  for (int piece = 0; piece < 9; ++piece) {
    const int64_t from = kNow - (piece + 1) * 3 * kHour;
    pieces.push_back(Rows(random, metric, false, from, from + 3 * kHour, kMinute, statements, per_minute));
  }
  for (int day = 0; day < 8; ++day) {
    const int64_t from = kNow - (day + 1) * kDay;
    days_hours.push_back(Rows(random, metric, true, from, from + kDay, kHour, statements, statements));
  }
  for (int week = 0; week < 5; ++week) {
    const int64_t from = kNow - (week + 1) * 7 * kDay;
    weeks.push_back(Rows(random, metric, true, from, from + 7 * kDay, kDay, statements, statements));
  }
  const columns::RowSet queue = Rows(random, metric, false, kNow, kNow + kHour, kMinute, statements, per_minute);
  for (int source = 1; source <= sources; ++source) {
    refs.push_back(
        {source, absl::StrCat("00000000-0000-0000-0000-", 100000000000 + source), absl::StrCat("s", source)});
    exec("BEGIN");
    for (size_t piece = 0; piece < pieces.size(); ++piece) {
      const int64_t last = kNow - static_cast<int64_t>(piece) * 3 * kHour - 1;
      Store(**connection, expires(0, last), source, metric_id, 0, raw, pieces[piece]);
    }
    for (size_t day = 0; day < days_hours.size(); ++day) {
      Store(**connection, expires(1, kNow - static_cast<int64_t>(day) * kDay), source, metric_id, 1, buckets,
            days_hours[day]);
    }
    for (size_t week = 0; week < weeks.size(); ++week) {
      Store(**connection, expires(2, kNow - static_cast<int64_t>(week) * 7 * kDay), source, metric_id, 2, buckets,
            weeks[week]);
    }
    StoreFrames(**connection, source, metric_id, metric, queue);
    exec("COMMIT");
  }
  exec("VACUUM ANALYZE metrics.block");
  exec("VACUUM ANALYZE metrics.frame");
  PrintSizes(**connection);

  const absl::Time now = absl::FromUnixMicros(kNow);
  const Readers readers = MakeReaders(*url, *catalog, now + absl::Hours(1));
  Questions(readers, {refs, (int64_t{1} << 40) * 7, now, false});
  Time("top 20 of all sources, 1 h of frames alone", Top(readers, refs, now + absl::Hours(1), 1));
  PrintPeakMemory();
  return 0;
}

}  // namespace
}  // namespace pga::storage

int main(int argc, char** argv) {
  // As the services run.
  pga::exec::SkipLockOrderChecks();
  std::vector<std::string> words;
  pga::storage::Options& options = pga::storage::Chosen();
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    // How every benchmark is asked for its smallest run.
    if (word.starts_with("--benchmark_min_time")) {
      words = {"smallest"};
      continue;
    }
    if (!word.starts_with("--")) {
      words.push_back(word);
      continue;
    }
    const std::string value = i + 1 < argc ? argv[++i] : "";
    if (word == "--json") {
      options.json = value;
    } else if (word == "--only") {
      options.only = value;
    } else if (word == "--rounds") {
      options.rounds = std::max(1, std::atoi(value.c_str()));
    } else if (word == "--restart") {
      options.restart = value;
    } else if (word == "--data") {
      options.data = value;
    } else {
      std::fprintf(stderr, "storage_read_benchmark: %s is not known; the head of read_benchmark.cc lists the options\n",
                   word.c_str());
      return 2;
    }
  }
  if (options.restart.empty() != options.data.empty()) {
    std::fprintf(stderr, "storage_read_benchmark: --restart and --data belong together\n");
    return 2;
  }
  if (!words.empty() && words[0].find("://") != std::string::npos) return pga::storage::RunOn(words[0]);
  const int sources = words.empty() ? 50 : std::atoi(words[0].c_str());
  // Anything else than a number asks for the smallest run.
  if (sources < 1) return pga::storage::Run(2, 20);
  return pga::storage::Run(sources, words.size() > 1 ? std::max(1, std::atoi(words[1].c_str())) : 300);
}
