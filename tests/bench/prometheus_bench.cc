// What a scrape of many sources costs: time to put the first values together, time of the scrapes after it, size, and
// what a bound on series leaves out.
//
//   prometheus_bench [--json FILE] [--sources N] [--tables N] [--minutes N]
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/catalog/prometheus.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/locks.h"
#include "libs/pg/pool.h"
#include "libs/pg/read_pool.h"
#include "libs/storage/read/last_values.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/testing/frame_store.h"
#include "libs/testing/bench_lines.h"
#include "libs/testing/temp_postgres.h"
#include "services/query/exposition.h"
#include "services/query/prometheus_rows.h"

namespace pga::query {
namespace {

namespace catalog_v1 = pganalytics::catalog::v1;

struct Options {
  std::string json;
  int sources = 1000;
  int tables = 50;
  int minutes = 10;
};

// 2026-01-01 12:00
const absl::Time kNow = absl::FromUnixSeconds(1767268800);

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}
void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

clock::SteadyTime Deadline() {
  return clock::SteadyNow() + absl::Minutes(10);
}

// Rows of a server of ordinary size.
int RowsOf(const catalog_v1::Metric& metric, const Options& options) {
  static const std::map<std::string, int> kRows = {{"database", 4},
                                                   {"database_size", 4},
                                                   {"wraparound", 4},
                                                   {"replication", 2},
                                                   {"replication_slots", 2},
                                                   {"locks", 12},
                                                   {"activity", 40},
                                                   {"long_transactions", 2},
                                                   {"settings", 350},
                                                   {"io", 60},
                                                   {"slru", 8},
                                                   {"host_disk", 2},
                                                   {"host_filesystem", 3},
                                                   {"host_network", 2},
                                                   {"host_pressure", 6},
                                                   {"xmin_holders", 3},
                                                   {"sequences", 10},
                                                   {"tablespaces", 2},
                                                   {"temp_files", 1},
                                                   {"lock_stats", 0},
                                                   {"partitioned_tables", 0},
                                                   {"prepared_transactions", 0},
                                                   {"subscription", 0},
                                                   {"subscription_workers", 0},
                                                   {"shared_memory", 20}};
  if (metric.name() == "table_stats" || metric.name() == "table_size") return options.tables;
  if (metric.name().starts_with("progress_")) return 0;
  const auto rows = kRows.find(metric.name());
  return rows == kRows.end() ? 1 : rows->second;
}

storage::StoredFrame FrameOf(const catalog_v1::Metric& metric, int rows, absl::Time end, bool keyframe) {
  storage::StoredFrame frame;
  frame.start = keyframe ? end : end - absl::Minutes(metric.interval_factor());
  frame.end = end;
  frame.keyframe = keyframe;
  for (int row = 0; row < rows; ++row) {
    storage::StoredRow made;
    for (const catalog_v1::Column& column : metric.columns()) {
      columns::Value& value = made.values[column.name()];
      const bool counter = column.kind() == catalog_v1::COLUMN_KIND_COUNTER;
      const bool text = column.type() == catalog_v1::COLUMN_TYPE_TEXT;
      if (text && metric.name() == "settings" && column.name() != "setting_name") {
        value = column.name() == "vartype" ? "integer" : column.name() == "setting_unit" ? "kB" : "128";
      } else if (text) {
        value = absl::StrCat(column.name(), "_", row);
      } else if (column.type() == catalog_v1::COLUMN_TYPE_FLOAT8) {
        value = 0.25 * row;
      } else if (column.type() == catalog_v1::COLUMN_TYPE_BOOL) {
        value = int64_t{row % 2};
      } else {
        value = int64_t{counter ? (keyframe ? 123'456'789 : 1'234) : 1} * (row + 1);
      }
    }
    frame.rows.push_back(std::move(made));
  }
  return frame;
}

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options), catalog_(Must(catalog::Catalog::Builtin())) {
    names_ = Must(catalog::PrometheusNames::Create(catalog_));
    const std::string url = Must(testing::SharedPostgres()->CreateFreshDatabase("prometheus"));
    storage::MigrateOptions migrate;
    for (const auto& metric : catalog_->metrics()) migrate.metrics.push_back(&metric);
    Must(storage::MigrateUp(url, storage::Database::kMetrics, migrate));
    pool_ = Must(pg::Pool::Create({.url = url, .statement_timeout = absl::Minutes(10)}));
    reads_ = Must(pg::ReadPool::Create({.url = url, .statement_timeout = absl::Minutes(10)}));
    clock_.SetNow(kNow + absl::Seconds(20));
    Exec("INSERT INTO metrics.collector (id, collector_id) VALUES (1, 'c')");
    Exec(
        absl::StrCat("INSERT INTO metrics.source (id, uuid, name, collector_id) SELECT i, gen_random_uuid(), "
                     "'source-' || i, 1 FROM generate_series(1, ",
                     options.sources, ") i"));
    for (int i = 1; i <= options.sources; ++i) sources_.push_back({i, "", absl::StrCat("source-", i), "default"});
    for (const catalog::PrometheusMetric& metric : names_->metrics()) {
      if (metric.scraped) metrics_.push_back(&metric);
    }
  }

  // Frames of the last minutes; `newest` alone, if there are some already.
  void Fill(absl::Time newest, int minutes, bool keyframes) {
    std::set<const catalog_v1::Metric*> filled;
    for (const catalog::PrometheusMetric* const entry : metrics_) {
      const catalog_v1::Metric& metric = *entry->metric;
      if (!filled.insert(&metric).second) continue;
      const int rows = RowsOf(metric, options_);
      bool counters = false;
      for (const auto& series : entry->series) counters = counters || series.counter;
      std::vector<storage::StoredFrame> frames;
      if (keyframes && counters) frames.push_back(FrameOf(metric, rows, newest - absl::Minutes(minutes), true));
      for (int minute = minutes - 1; minute >= 0; --minute) {
        if (minute % metric.interval_factor() != 0) continue;
        frames.push_back(FrameOf(metric, rows, newest - absl::Minutes(minute), false));
      }
      storage::FrameStore(pool_.get(), metric).Store(frames);
    }
    const std::string since =
        absl::FormatTime("%Y-%m-%d %H:%M:%S+00", newest - absl::Minutes(minutes), absl::UTCTimeZone());
    Exec(absl::StrCat(
        "INSERT INTO metrics.frame SELECT i, metric_id, scope_id, kind, part, flags, schema_version, collected_at, "
        "interval_start, received_at, collector_id, rows, unchanged_rows, offsets, data FROM metrics.frame, "
        "generate_series(2, ",
        options_.sources, ") i WHERE source_id = 1 AND collected_at ", keyframes ? ">= '" : "> '", since, "'"));
    Exec("ANALYZE metrics.frame");
  }

  struct Scrape {
    double read_s = 0;
    double write_s = 0;
    size_t bytes = 0;
    size_t lines = 0;
    // Of the last source.
    int64_t left_out = 0;
  };
  Scrape Once(storage::LastValues* last, int64_t max_series) {
    std::vector<storage::LastWanted> wanted;
    for (const catalog::PrometheusMetric* const metric : metrics_) wanted.push_back(WantedOf(*metric));
    Scrape scrape;
    const clock::SteadyTime begun = clock::SteadyNow();
    const auto values = Must(last->Read(wanted, sources_, Deadline()));
    const clock::SteadyTime read = clock::SteadyNow();
    Exposition exposition;
    exposition.names = names_.get();
    exposition.metrics = metrics_;
    exposition.sources = sources_;
    exposition.values = &values;
    for (size_t i = 0; i < metrics_.size(); ++i) {
      if (metrics_[i] == &names_->up()) exposition.up = &values[i];
    }
    exposition.now_us = absl::ToUnixMicros(clock_.Now());
    exposition.max_series = max_series;
    std::string end;
    Must(WriteExposition(exposition, [&](std::string piece) {
      scrape.bytes += piece.size();
      for (const char c : piece) scrape.lines += c == '\n' ? 1 : 0;
      end = std::move(piece);
      return absl::OkStatus();
    }));
    scrape.left_out = std::atoll(end.substr(end.rfind(' ')).c_str());
    scrape.read_s = absl::ToDoubleSeconds(read - begun);
    scrape.write_s = absl::ToDoubleSeconds(clock::SteadyNow() - read);
    return scrape;
  }

  void Run() {
    testing::BenchLines lines(options_.json);
    Fill(kNow, options_.minutes, true);
    storage::LastValues last(reads_.get(), &clock_, 5000);
    const auto say = [&](const char* name, const Scrape& scrape) {
      std::printf("%s: read %.2f s, write %.2f s, %.1f MB, %zu lines, left out of a source %lld\n", name, scrape.read_s,
                  scrape.write_s, static_cast<double>(scrape.bytes) / 1e6, scrape.lines,
                  static_cast<long long>(scrape.left_out));
      const std::string prefix = absl::StrCat("prometheus.", name, ".");
      lines.Add({.name = prefix + "read_s", .value = scrape.read_s, .unit = "s"});
      lines.Add({.name = prefix + "write_s", .value = scrape.write_s, .unit = "s"});
      lines.Add({.name = prefix + "bytes", .value = static_cast<double>(scrape.bytes), .unit = "bytes"});
    };
    std::printf("%d sources, %d tables each, %d minutes\n", options_.sources, options_.tables, options_.minutes);
    say("first", Once(&last, 5000));
    for (int minute = 1; minute <= 3; ++minute) {
      Fill(kNow + absl::Minutes(minute), 1, false);
      clock_.SetNow(kNow + absl::Minutes(minute) + absl::Seconds(20));
      say("next", Once(&last, 5000));
    }
    say("again", Once(&last, 5000));
    say("bounded_500", Once(&last, 500));
  }

 private:
  void Exec(const std::string& sql) { Must(pool_->Exec(sql, {}, Deadline()).status()); }

  const Options options_;
  std::shared_ptr<const catalog::Catalog> catalog_;
  std::shared_ptr<const catalog::PrometheusNames> names_;
  std::vector<const catalog::PrometheusMetric*> metrics_;
  std::vector<storage::SourceRef> sources_;
  std::unique_ptr<pg::Pool> pool_;
  std::unique_ptr<pg::ReadPool> reads_;
  clock::FakeClock clock_;
};

}  // namespace
}  // namespace pga::query

int main(int argc, char** argv) {
  // As the services run.
  pga::exec::SkipLockOrderChecks();
  pga::query::Options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--json") options.json = argv[i + 1];
    if (flag == "--sources") options.sources = std::atoi(argv[i + 1]);
    if (flag == "--tables") options.tables = std::atoi(argv[i + 1]);
    if (flag == "--minutes") options.minutes = std::atoi(argv[i + 1]);
  }
  pga::query::Bench(options).Run();
  return 0;
}
