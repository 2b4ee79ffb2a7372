// Speed of SQL for people: values a second that metrics.decode_ints gives by form of the numbers, and
// readable.statements over one source's day in blocks and an hour of it, with two columns and with all.
//   build/<preset>/bin/readable_bench [--json FILE] [statements a minute] [PostgreSQL version ...]     default: 300 15
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/columns/int_codec.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/schema/readable_testing.h"
#include "libs/testing/bench_lines.h"
#include "libs/testing/temp_postgres.h"

namespace pga::storage {
namespace {

constexpr int64_t kMinute = 60'000'000;
constexpr int64_t kDay = 1440 * kMinute;

clock::SteadyTime Soon() {
  return clock::SteadyNow() + absl::Minutes(10);
}

void Check(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "readable_bench: %s\n", std::string(status.message()).c_str());
  std::exit(1);
}

// Seconds of three times.
std::vector<double> Seconds(pg::CopyConnection& connection, const std::string& sql, const pg::Params& params = {}) {
  std::vector<double> seconds;
  for (int round = 0; round < 3; ++round) {
    const clock::SteadyTime start = clock::SteadyNow();
    Check(connection.Exec(sql, params, Soon()).status());
    seconds.push_back(absl::ToDoubleSeconds(clock::SteadyNow() - start));
  }
  return seconds;
}

// What is done a second, of each time.
std::vector<double> Rates(double work, std::vector<double> seconds) {
  for (double& of : seconds) of = work / of;
  return seconds;
}

void Decoders(pg::CopyConnection& connection, const std::string& version, testing::BenchLines* lines) {
  constexpr int32_t kCount = 60'000;
  std::mt19937_64 random(1);
  struct Form {
    const char* name;
    const char* id;
    std::function<int64_t(int64_t)> next;
  };
  const Form forms[] = {
      {"counters, wide spread", "counters",
       [&](int64_t) { return static_cast<int64_t>(std::exp(static_cast<double>(random() % 1000) / 100)); }},
      {"small numbers", "small", [&](int64_t) { return static_cast<int64_t>(random() % 200); }},
      {"instants", "instants", [&](int64_t last) { return last + kMinute + static_cast<int64_t>(random() % 1000); }},
      {"walk", "walk", [&](int64_t last) { return last + static_cast<int64_t>(random() % 100'000) - 50'000; }},
      {"mostly zero", "mostly_zero",
       [&](int64_t) { return random() % 20 == 0 ? static_cast<int64_t>(random() % 1000) : 0; }},
      {"zero", "zero", [&](int64_t) { return int64_t{0}; }},
      {"noise of 64 bits", "noise", [&](int64_t) { return static_cast<int64_t>(random()); }},
  };
  for (const Form& form : forms) {
    std::vector<int64_t> values(kCount);
    int64_t last = 1'700'000'000'000'000;
    for (int64_t& value : values) value = last = form.next(last);
    std::string bytes;
    columns::EncodeInts(values.data(), values.size(), &bytes);
    const auto rates =
        Rates(kCount, Seconds(connection, "SELECT cardinality(metrics.decode_ints($1::bytea, 0, $2::int4))",
                              {pg::Bytes{bytes}, kCount}));
    std::printf("  %-24s %8.2f million values a second\n", form.name, testing::Percentile(rates, 0.5) / 1e6);
    lines->Add(absl::StrCat("readable.pg", version, ".decode_", form.id), "values/s", rates);
  }
}

MadeFrame StatementsFrame(const pganalytics::catalog::v1::Metric& metric, std::mt19937_64& random, int64_t end,
                          int rows) {
  std::vector<columns::Column> values;
  for (const columns::MetricColumn& as : ColumnsOf(metric)) {
    const auto& column = metric.columns(as.id - 1);
    columns::Column made(as.type);
    if (as.type == columns::Type::kText) made.texts = {"shop", "billing"};
    for (int row = 0; row < rows; ++row) {
      if (as.type == columns::Type::kText || as.type == columns::Type::kBool) {
        made.ints.push_back(as.type == columns::Type::kBool ? 1 : row % 2);
      } else if (column.name() == "queryid") {
        made.ints.push_back(static_cast<int64_t>(static_cast<uint64_t>(row + 1) * 0x9e3779b97f4a7c15ULL));
      } else if (as.kind == columns::Kind::kLabel) {
        made.ints.push_back(10 + row % 2);
      } else {
        // Half of the columns are nearly always 0, as in life.
        const double scale = as.id % 2 == 0 ? 100 : 0;
        made.ints.push_back(static_cast<int64_t>(scale * static_cast<double>(random() % 1000) / (row + 1)));
      }
    }
    values.push_back(std::move(made));
  }
  columns::FrameInfo info;
  info.start_us = end - kMinute;
  info.end_us = end;
  info.collector = 1;
  return MakeFrame(values, {}, info);
}

void Questions(pg::CopyConnection& connection, int rows, const std::string& version, testing::BenchLines* lines) {
  const auto catalog = catalog::Catalog::Builtin();
  Check(catalog.status());
  const pganalytics::catalog::v1::Metric& metric = *(*catalog)->Find("statements");
  Check(StoreMetric(connection, 1, metric, Soon()));
  const auto run = [&](const std::string& sql) { Check(connection.Exec(sql, {}, Soon()).status()); };
  run("SELECT metrics.apply_readable()");
  run("INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'c1')");
  run("INSERT INTO metrics.source (id, uuid, name, collector_id) SELECT n, md5(n::text)::uuid, 'db' || n, 1 FROM "
      "generate_series(1, 2) n");
  const int64_t day = absl::ToUnixMicros(clock::WallNow()) / kDay * kDay - kDay;
  const std::string from = absl::StrCat("metrics.time_of(", day, ")"),
                    to = absl::StrCat("metrics.time_of(", day + kDay, ")");
  run(absl::StrCat("SELECT metrics.ensure_block_partitions((", from, " AT TIME ZONE 'UTC')::date + 31, (", to,
                   " AT TIME ZONE 'UTC')::date + 31)"));
  std::mt19937_64 random(1);
  for (int source = 1; source <= 2; ++source) {
    for (int hour = 0; hour < 24; hour += 2) {
      std::vector<MadeFrame> frames;
      for (int minute = 0; minute < 120; ++minute) {
        frames.push_back(StatementsFrame(metric, random, day + (hour * 60 + minute) * kMinute + kMinute / 2, rows));
      }
      Check(StoreBlocks(connection, source, 1, metric, frames, columns::kMaxBlockSeries, Soon()));
    }
  }
  // The hour behind the day is not merged yet.
  for (int minute = 0; minute < 60; ++minute) {
    Check(StoreFrame(connection, 1, 1,
                     StatementsFrame(metric, random, day + kDay + minute * kMinute + kMinute / 2, rows), Soon()));
  }
  run("ANALYZE metrics.frame, metrics.block, metrics.source");
  const double total = 1440.0 * rows;
  const auto ask = [&](const char* name, const char* id, const std::string& what, double hours,
                       const std::string& group = "", int after_hours = 0) {
    const std::vector<double> seconds =
        Seconds(connection, absl::StrCat("SELECT ", what, " FROM readable.statements(", from, " + interval '",
                                         after_hours, " hours', ", from, " + interval '", after_hours + hours,
                                         " hours') WHERE source_name = 'db1' ", group));
    const std::vector<double> rates = Rates(total * hours / 24, seconds);
    std::printf("  %-44s %8.3f s  %8.0f rows a second\n", name, testing::Percentile(seconds, 0.5),
                testing::Percentile(rates, 0.5));
    lines->Add(absl::StrCat("readable.pg", version, ".", id), "rows/s", rates);
  };
  ask("a day, count(*)", "day_count", "count(*)", 24);
  ask("a day, one column", "day_one_column", "sum(calls)", 24);
  ask("a day, by statement, two counters", "day_two_counters", "queryid, sum(calls), sum(total_exec_time_us)", 24,
      "GROUP BY queryid");
  std::string all;
  for (const auto& column : metric.columns())
    absl::StrAppend(
        &all, all.empty() ? "" : ", ", "max(",
        column.type() == pganalytics::catalog::v1::COLUMN_TYPE_BOOL ? column.name() + "::int" : column.name(), ")");
  ask("a day, all columns", "day_all_columns", all, 24);
  ask("an hour, by statement, two counters", "hour_two_counters", "queryid, sum(calls), sum(total_exec_time_us)", 1,
      "GROUP BY queryid");
  ask("an hour of frames, the same", "frames_two_counters", "queryid, sum(calls), sum(total_exec_time_us)", 1,
      "GROUP BY queryid", 24);
}

void Run(const std::string& version, int rows, testing::BenchLines* lines) {
  testing::TempPostgresOptions options;
  options.version = version;
  auto server = testing::TempPostgres::Start(options);
  Check(server.status());
  MigrateOptions migrate;
  migrate.layout = Layout::kNative;
  Check(MigrateUp((*server)->Url(), Database::kMetrics, migrate));
  auto connection = (*server)->Connect();
  Check(connection.status());
  std::printf("PostgreSQL %s, %d rows a minute\n", version.c_str(), rows);
  Decoders(**connection, version, lines);
  Questions(**connection, rows, version, lines);
}

}  // namespace
}  // namespace pga::storage

int main(int argc, char** argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  std::string json;
  if (arguments.size() >= 2 && arguments[0] == "--json") {
    json = arguments[1];
    arguments.erase(arguments.begin(), arguments.begin() + 2);
  }
  const int rows = arguments.empty() ? 300 : std::atoi(arguments[0].c_str());
  std::vector<std::string> versions(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (versions.empty()) versions = {"15"};
  pga::testing::BenchLines lines(json);
  for (const std::string& version : versions) pga::storage::Run(version, rows, &lines);
  return 0;
}
