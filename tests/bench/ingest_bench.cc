// What the suite's write path takes, measured on a simulated fleet (tools/fleetsim) and a real suite, each service in a
// process of its own, on a PostgreSQL that fsyncs:
//
// - delivery: the spools of N collectors are full and are delivered through gateway and ingest, ÷ one libpq program
// that
//   copies the same readings as typed rows of wide tables (encoded beforehand, as many rows a transaction as ingest
//   wrote on average, as many connections), in turn in one run; with and without mTLS, with each number of writers.
// - acknowledgements: the collectors send as time passes, at each speed; time from durable in the spool to stored.
//
//   ingest_bench [--sources 50] [--minutes 60] [--rounds 3] [--writers 1,2] [--tls 0,1] [--changed 300]
//                [--live SECONDS (0 = no acknowledgements)] [--speeds 1,50] [--json FILE]
//
// Opening the streams is part of a delivery; with few minutes it is a good part. Only the ratios mean something beyond
// this machine.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/bench/wide_rows.h"
#include "tests/integration/suite.h"
#include "tools/fleetsim/figures.h"
#include "tools/fleetsim/wire.h"
#include "tools/fleetsim/wire_command.h"

namespace pga::bench {
namespace {

using fleetsim::Figures;
using fleetsim::WireOptions;
using fleetsim::WireOutcome;
using integration::Form;
using integration::Suite;
using integration::SuiteOptions;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "ingest_bench: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}
void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "ingest_bench: %s\n", status.ToString().c_str());
  std::exit(1);
}

struct Arguments {
  int sources = 50;
  int minutes = 60;
  int rounds = 3;
  int changed = 300;
  int live = 0;
  std::vector<int> writers = {1, 2};
  std::vector<int> tls = {0, 1};
  std::vector<int> speeds = {1, 50};
  std::string json;
};

bool Numbers(const std::string& text, std::vector<int>* numbers) {
  numbers->clear();
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    if (!absl::SimpleAtoi(part, &numbers->emplace_back()) || numbers->back() < 0) return false;
  }
  return true;
}

bool Parse(int argc, char** argv, Arguments* arguments) {
  const std::map<std::string, int*> numbers = {{"--sources", &arguments->sources},
                                               {"--minutes", &arguments->minutes},
                                               {"--rounds", &arguments->rounds},
                                               {"--changed", &arguments->changed},
                                               {"--live", &arguments->live}};
  const std::map<std::string, std::vector<int>*> lists = {
      {"--writers", &arguments->writers}, {"--tls", &arguments->tls}, {"--speeds", &arguments->speeds}};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 >= argc) return false;
    if (name == "--json") {
      arguments->json = argv[i + 1];
    } else if (const auto list = lists.find(name); list != lists.end()) {
      if (!Numbers(argv[i + 1], list->second)) return false;
    } else if (const auto number = numbers.find(name); number != numbers.end()) {
      if (!absl::SimpleAtoi(argv[i + 1], number->second) || *number->second < 0) return false;
    } else {
      return false;
    }
  }
  return arguments->sources >= 1 && arguments->minutes >= 1 && arguments->rounds >= 1;
}

pid_t PidOf(const testing::TempPostgres& postgres) {
  std::ifstream file(postgres.data_dir() + "/postmaster.pid");
  pid_t pid = 0;
  file >> pid;
  return pid;
}

class Bench {
 public:
  explicit Bench(const Arguments& arguments) : arguments_(arguments) {
    postgres_ = Must(testing::TempPostgres::Start({.durable = true}));
    wide_url_ = Must(postgres_->CreateDatabase("wide"));
    (void)Must(postgres_->Exec("wide", WideTables(*catalog_)));
    fleet_.changed_per_minute = arguments.changed;
    fleet_.statements = std::max(fleet_.statements, 2 * arguments.changed);
    fleet_.away_days = 0;
  }

  void Delivery(bool tls, int writers) {
    std::map<std::string, std::vector<double>> runs;
    double rows_each = 0;
    for (int round = 0; round < arguments_.rounds; ++round) {
      const absl::Time until = clock::WallNow();
      const WireOutcome outcome = Deliver(tls, writers, until, &rows_each);
      const auto rows = static_cast<double>(outcome.all.rows);
      const int64_t to = absl::ToUnixMicros(until);
      // Encoding is not measured.
      const auto transactions =
          Must(EncodeWide(*catalog_, fleet_, arguments_.sources, to - arguments_.minutes * fleetsim::kMinuteUs, to,
                          static_cast<int64_t>(rows_each)));
      (void)Must(postgres_->Exec("wide", TruncateWideTables(*catalog_)));
      (void)Must(postgres_->Exec("wide", "CHECKPOINT"));
      const double server = fleetsim::TreeCpuSeconds(PidOf(*postgres_));
      const WideRun wide = Must(WriteWide(wide_url_, transactions, writers));
      const double wide_server = fleetsim::TreeCpuSeconds(PidOf(*postgres_)) - server;
      if (wide.rows != outcome.all.rows) {
        Must(absl::InternalError(absl::StrCat(outcome.all.rows, " readings delivered, ", wide.rows, " copied")));
      }
      const auto each = [&](double seconds) { return seconds * 1e6 / rows; };
      runs["rows"].push_back(rows / outcome.seconds);
      runs["wide"].push_back(rows / wide.seconds);
      runs["ratio"].push_back(wide.seconds / outcome.seconds);
      runs["collectors_cpu"].push_back(each(outcome.cpu_s));
      runs["spool_cpu"].push_back(each(outcome.spool_cpu_s));
      runs["spool_fsync"].push_back(each(outcome.spool_costs.fsync_cpu_s));
      runs["spool_zstd"].push_back(each(outcome.spool_costs.zstd_cpu_s));
      runs["spool_sha"].push_back(each(outcome.spool_costs.sha_cpu_s));
      for (const auto& [name, seconds] : outcome.watched_cpu_s) runs[name + "_cpu"].push_back(each(seconds));
      runs["wide_postgres_cpu"].push_back(each(wide_server));
      runs["wide_program_cpu"].push_back(each(wide.own_cpu_s));
      runs["rows_each"].push_back(rows_each);
    }
    const std::string name = absl::StrFormat("ingest.%s.%dw.", tls ? "mtls" : "plain", writers);
    const auto median = [&](const std::string& what) {
      std::vector<double> values = runs.at(what);
      std::sort(values.begin(), values.end());
      return fleetsim::Percentile(values, 0.5);
    };
    std::printf("%-6s %7d %10.0f %10.0f %6.2f %8.0f %9.2f %8.2f %8.2f %9.2f %10.2f %10.2f\n", tls ? "mTLS" : "plain",
                writers, median("rows"), median("wide"), median("ratio"), median("rows_each"), median("collectors_cpu"),
                median("gateway_cpu"), median("ingest_cpu"), median("postgres_cpu"), median("wide_postgres_cpu"),
                median("wide_program_cpu"));
    std::printf("       spools: %.2f us a reading, of it fsync %.2f, zstd %.2f, SHA-256 %.2f\n", median("spool_cpu"),
                median("spool_fsync"), median("spool_zstd"), median("spool_sha"));
    std::fflush(stdout);
    figures_.AddRuns(name + "rows_per_second", runs["rows"], "rows/s");
    figures_.AddRuns(name + "wide_rows_per_second", runs["wide"], "rows/s");
    // The target is for two writers.
    figures_.AddRuns(name + "ratio", runs["ratio"], "ratio", writers == 2 ? std::optional<double>(2.0) : std::nullopt);
    for (const auto& [what, values] : runs) {
      if (what == "rows" || what == "wide" || what == "ratio") continue;
      figures_.AddRuns(name + what, values, what == "rows_each" ? "rows/transaction" : "us/reading");
    }
  }

  void Acknowledgements(bool tls, int speed) {
    const auto suite = Start(tls, 2);
    testing::ScopedTempDir dir;
    WireOptions options = Options(*suite, tls, dir);
    options.speed = speed;
    options.duration = absl::Seconds(arguments_.live);
    const WireOutcome outcome = Must(fleetsim::RunWire(*catalog_, options));
    CheckStored(*suite, outcome);
    std::printf("%s, %dx:\n%s", tls ? "mTLS" : "plain", speed, fleetsim::Summary(outcome).c_str());
    std::fflush(stdout);
    const Figures figures =
        fleetsim::FiguresOf(outcome, absl::StrFormat("ingest.%s.%dx.", tls ? "mtls" : "plain", speed));
    if (!arguments_.json.empty()) Must(figures.AppendTo(arguments_.json));
  }

  void Keep() const {
    if (!arguments_.json.empty()) Must(figures_.AppendTo(arguments_.json));
  }

 private:
  std::unique_ptr<Suite> Start(bool tls, int writers) {
    // TLS as the Helm chart sets it up: gateway and ingest's port for collectors.
    auto suite = std::make_unique<Suite>(SuiteOptions{.form = Form::kApart,
                                                      .tls = tls,
                                                      .peer_tls = false,
                                                      .env = {{"INGEST_WRITERS", absl::StrCat(writers)}},
                                                      .postgres = postgres_.get()});
    (void)Must(postgres_->Exec("wide", "CHECKPOINT"));
    return suite;
  }

  WireOptions Options(Suite& suite, bool tls, const testing::ScopedTempDir& dir) {
    WireOptions options;
    options.backend = absl::StrCat(tls ? "https" : "http", "://localhost:", suite.port());
    if (tls) {
      options.ca_file = dir / "ca.pem";
      Must(testing::WriteFile(options.ca_file, suite.ca_pem()));
    }
    options.registration_secret = log::Secret(Suite::kRegistrationSecret);
    options.state_dir = dir.path();
    options.collectors = arguments_.sources;
    options.texts = false;
    options.fleet = fleet_;
    options.watched = {{"ingest", suite.process("ingest").pid()},
                       {"gateway", suite.process("gateway").pid()},
                       {"postgres", PidOf(*postgres_)}};
    return options;
  }

  void CheckStored(Suite& suite, const WireOutcome& outcome) {
    if (outcome.pending_batches > 0 || outcome.refused.frames > 0) {
      Must(absl::InternalError(fleetsim::Summary(outcome)));
    }
    const int64_t frames = Query(suite, "SELECT count(*) FROM public.metrics");
    if (frames != outcome.all.frames) {
      const std::string reasons =
          Text(suite,
               "SELECT coalesce(string_agg(DISTINCT reason || ' ' || message, '; '), 'none') FROM metrics.quarantine");
      Must(absl::InternalError(
          absl::StrCat(outcome.all.frames, " frames sent, ", frames, " stored; reasons in quarantine: ", reasons)));
    }
  }

  static pg::Result Ask(Suite& suite, const std::string& sql) {
    const clock::SteadyTime deadline = clock::SteadyNow() + absl::Minutes(2);
    const auto connection = Must(pg::CopyConnection::Connect({.url = suite.databases().metrics_url}, deadline));
    return Must(connection->Exec(sql, deadline));
  }
  static int64_t Query(Suite& suite, const std::string& sql) { return Ask(suite, sql)[0].Int64(0); }
  static std::string Text(Suite& suite, const std::string& sql) { return std::string(Ask(suite, sql)[0].Text(0)); }

  WireOutcome Deliver(bool tls, int writers, absl::Time until, double* rows_each) {
    const auto suite = Start(tls, writers);
    testing::ScopedTempDir dir;
    WireOptions options = Options(*suite, tls, dir);
    options.backlog = true;
    options.backlog_until = until;
    options.speed = 60;
    options.duration = absl::Seconds(arguments_.minutes);
    const int64_t before = Query(*suite, kTransactions);
    WireOutcome outcome = Must(fleetsim::RunWire(*catalog_, options));
    const int64_t transactions = Query(*suite, kTransactions) - before;
    CheckStored(*suite, outcome);
    *rows_each = static_cast<double>(outcome.all.rows) / static_cast<double>(std::max<int64_t>(1, transactions));
    return outcome;
  }

  static constexpr char kTransactions[] = "SELECT count(DISTINCT xmin::text) FROM metrics.ingest_receipt";

  const Arguments arguments_;
  const std::shared_ptr<const catalog::Catalog> catalog_ = Must(catalog::Catalog::Builtin());
  std::unique_ptr<testing::TempPostgres> postgres_;
  std::string wide_url_;
  fleetsim::FleetOptions fleet_;
  Figures figures_;
};

int Run(const Arguments& arguments) {
  Bench bench(arguments);
  std::printf("%d sources, %d minutes; microseconds of CPU a reading\n", arguments.sources, arguments.minutes);
  std::printf("%-6s %7s %10s %10s %6s %8s %9s %8s %8s %9s %10s %10s\n", "", "writers", "rows/s", "wide", "ratio",
              "rows/tx", "senders", "gateway", "ingest", "postgres", "wide: pg", "program");
  for (const int tls : arguments.tls) {
    for (const int writers : arguments.writers) bench.Delivery(tls != 0, writers);
  }
  bench.Keep();
  if (arguments.live > 0) {
    for (const int tls : arguments.tls) {
      for (const int speed : arguments.speeds) bench.Acknowledgements(tls != 0, speed);
    }
  }
  return 0;
}

}  // namespace
}  // namespace pga::bench

int main(int argc, char** argv) {
  pga::log::LogOptions options;
  options.level = pga::log::Level::error;
  pga::log::Init(options);
  pga::bench::Arguments arguments;
  if (!pga::bench::Parse(argc, argv, &arguments)) {
    std::fprintf(stderr,
                 "usage: ingest_bench [--sources 50] [--minutes 60] [--rounds 3] [--writers 1,2] [--tls 0,1]\n"
                 "                    [--changed 300] [--live SECONDS] [--speeds 1,50] [--json FILE]\n");
    return 2;
  }
  return pga::bench::Run(arguments);
}
