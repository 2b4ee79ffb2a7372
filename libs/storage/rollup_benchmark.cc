// One hour of statements (1000 rows a minute, 14 counters, 2 gauges) rolled up again and again. items = raw rows.
#include <benchmark/benchmark.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "libs/storage/rollup_job.h"
#include "libs/storage/schema/schema_testing.h"

namespace pga::storage {
namespace {

constexpr int kRows = 1000;

void RollUpOneHour(benchmark::State& state) {
  std::vector<std::string> columns = {"database text label", "query_id int8 label"};
  for (int i = 0; i < 14; ++i) columns.push_back(absl::StrCat("c", i, " int8 counter"));
  columns.push_back("g0 float8 gauge");
  columns.push_back("g1 int8 gauge");
  const auto metric = MakeMetric("probe", pganalytics::catalog::v1::SCOPE_INSTANCE, columns);
  const auto database = MetricsDatabase::Create({&metric});
  const std::string hour = "date_trunc('hour', now() - interval '5 hours')";
  std::string names, values;
  for (int i = 0; i < 14; ++i) {
    absl::StrAppend(&names, ", c", i);
    absl::StrAppend(&values, ", (r * ", i + 1, " * 1237) % 100000");
  }
  const auto sources = static_cast<int>(state.range(0));
  database->Exec(absl::StrCat(
      "SELECT metrics.ensure_partitions(t, ", hour, ", now()) FROM unnest(ARRAY['probe', 'metrics']) t; ",
      "INSERT INTO metrics.probe (time, source_id, flags, database, query_id", names, ", g0, g1) SELECT ", hour,
      " + m * interval '1 minute' + interval '7.3 seconds', s, 0, 1, r", values,
      ", r * 0.5, r FROM generate_series(1, ", sources, ") s, generate_series(0, 59) m, generate_series(1, ", kRows,
      ") r; ",
      "INSERT INTO metrics.metrics (time, source_id, collector_id, metric_id, flags, scope, interval_ms, rows, bytes) "
      "SELECT ",
      hour,
      " + m * interval '1 minute' + interval '7.3 seconds', s, 1, 1, 0, 0, 60000, 1000, 0 FROM generate_series(1, ",
      sources, ") s, generate_series(0, 59) m; ANALYZE metrics.probe; ANALYZE metrics.metrics"));
  for (auto _ : state) {
    state.PauseTiming();
    database->Exec(absl::StrCat("INSERT INTO metrics.rollup_dirty SELECT 1, s, ", hour, " FROM generate_series(1, ",
                                sources, ") s"));
    state.ResumeTiming();
    RollupOptions options;
    options.ended_before = absl::Now();
    options.stop_at = absl::Now() + absl::Minutes(5);
    const auto outcome = RunRollups(database->pool(), options);
    if (!outcome.ok() || outcome->hours != sources) state.SkipWithError("the rollup failed");
  }
  state.SetItemsProcessed(state.iterations() * sources * 60 * kRows);
  const auto size = [&](const std::string& tables) {
    return std::stod(
        database->Value(absl::StrCat("SELECT sum(pg_total_relation_size(i.inhrelid)) FROM pg_inherits i WHERE "
                                     "i.inhparent = ANY(ARRAY[",
                                     tables, "]::regclass[])")));
  };
  if (MetricsDatabase::TestLayout() == Layout::kNative) {
    state.counters["raw_bytes_per_row"] = size("'metrics.probe'") / (60.0 * kRows * sources);
  } else {
    database->Exec("SELECT metrics.compress_chunks('probe', now() + interval '2 days', 10)");
    for (const char* when : {"before", "after"}) {
      state.counters[absl::StrCat("raw_bytes_per_row_", when)] =
          std::stod(database->Value(absl::StrCat("SELECT ", when,
                                                 "_compression_total_bytes FROM "
                                                 "hypertable_compression_stats('metrics.probe')"))) /
          (60.0 * kRows * sources);
    }
  }
}
BENCHMARK(RollUpOneHour)->Arg(1)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace pga::storage
