// A simulated fleet for benches, tests and trials. Flags and their defaults: fleetsim without arguments.
//
// load: applies the built-in catalog to a metrics database, migrating it first, and writes the days before today's
// midnight UTC of sources `first` to `first + sources - 1` as blocks of every level. Prints what it did as JSON.
// recorded: readings of a real server (record.sh) as the frames of a source, one a minute from yesterday's midnight UTC
// on, repeated for as long as `days` goes, through the queue and the merges and folds of the compactor.
// measure: prints a line of tabs for each section of the blocks of every metric, level (0 raw, 1 hours, 2 days) and
// kind (1 delta, 2 keyframe): its id (libs/columns/block.h) and column, sections, bytes, values, NULLs, zeros, bits per
// value that is neither; and at the end, as JSON, the sums.
// wire: the same sources as collectors that enrol with a running suite on this machine and deliver to it. Exit code 1
// when something was not acknowledged or not taken by a spool.
// frames: the readings of the last minutes as JSON lines, for programs of other kinds.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/shutdown.h"
#include "libs/log/log.h"
#include "libs/pg/copy_connection.h"
#include "libs/status/status.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/upkeep/upkeep.h"
#include "libs/storage/write/records.h"
#include "tools/fleetsim/frame_lines.h"
#include "tools/fleetsim/loader.h"
#include "tools/fleetsim/measure.h"
#include "tools/fleetsim/model.h"
#include "tools/fleetsim/recorded.h"
#include "tools/fleetsim/wire.h"
#include "tools/fleetsim/wire_command.h"

namespace pga::fleetsim {
namespace {

constexpr absl::Duration kLongest = absl::Hours(12);

int Usage(const std::string& why) {
  std::fprintf(
      stderr,
      "fleetsim: %s\n"
      "usage: fleetsim load --url URL [--sources 50] [--days 30] [--threads 2] [model]\n"
      "       fleetsim recorded --url URL --file FILE [--days 1]\n"
      "       fleetsim measure --url URL\n"
      "       fleetsim wire --backend URL --state DIR [--ca FILE] [--sources 50] [--speed 1] [--seconds 300]\n"
      "                     [--patience 120] [--backlog 0] [--texts 1] [--ingest-pid PID] [--postgres-pid PID]\n"
      "                     [--json FILE] [model]      (environment: REGISTRATION_SECRET)\n"
      "       fleetsim frames [--sources 50] [--minutes 10] [model]\n"
      "model: [--first 0] [--interval 60] [--changed 300] [--statements 5000] [--databases 2] [--tables 100]\n"
      "       [--seed 1]\n",
      why.c_str());
  return 2;
}

int Failed(const absl::Status& status) {
  std::fprintf(stderr, "fleetsim: %s\n", status.ToString().c_str());
  return 1;
}

struct Arguments {
  std::string url;
  std::string file;
  std::string backend;
  std::string ca;
  std::string state;
  std::string json;
  int sources = 50;
  int days = 30;
  int first = 0;
  int threads = 2;
  int minutes = 10;
  int seconds = 300;
  int patience = 120;
  int backlog = 0;
  int texts = 1;
  int ingest_pid = 0;
  int postgres_pid = 0;
  double speed = 1;
  FleetOptions fleet;
};

absl::Status Parse(int argc, char** argv, Arguments* arguments) {
  int64_t seed = 1;
  int changed = 300;
  int interval = 60;
  const std::map<std::string, std::string*> texts = {{"--url", &arguments->url},         {"--file", &arguments->file},
                                                     {"--backend", &arguments->backend}, {"--ca", &arguments->ca},
                                                     {"--state", &arguments->state},     {"--json", &arguments->json}};
  const std::map<std::string, int*> numbers = {{"--sources", &arguments->sources},
                                               {"--days", &arguments->days},
                                               {"--first", &arguments->first},
                                               {"--threads", &arguments->threads},
                                               {"--minutes", &arguments->minutes},
                                               {"--seconds", &arguments->seconds},
                                               {"--patience", &arguments->patience},
                                               {"--backlog", &arguments->backlog},
                                               {"--texts", &arguments->texts},
                                               {"--ingest-pid", &arguments->ingest_pid},
                                               {"--postgres-pid", &arguments->postgres_pid},
                                               {"--interval", &interval},
                                               {"--statements", &arguments->fleet.statements},
                                               {"--databases", &arguments->fleet.databases},
                                               {"--tables", &arguments->fleet.tables},
                                               {"--changed", &changed}};
  for (int i = 2; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 >= argc) return absl::InvalidArgumentError(absl::StrCat(name, " needs a value"));
    const std::string value = argv[i + 1];
    if (const auto text = texts.find(name); text != texts.end()) {
      *text->second = value;
    } else if (name == "--seed") {
      if (!absl::SimpleAtoi(value, &seed)) return absl::InvalidArgumentError("--seed needs a number");
    } else if (name == "--speed") {
      if (!absl::SimpleAtod(value, &arguments->speed)) return absl::InvalidArgumentError("--speed needs a number");
    } else if (const auto number = numbers.find(name); number != numbers.end()) {
      if (!absl::SimpleAtoi(value, number->second) || *number->second < 0) {
        return absl::InvalidArgumentError(absl::StrCat(name, " needs a number"));
      }
    } else {
      return absl::InvalidArgumentError(absl::StrCat(name, " is not known"));
    }
  }
  if (arguments->threads < 1 || arguments->sources < 1) {
    return absl::InvalidArgumentError("--threads and --sources are at least 1");
  }
  if (changed < 1 || changed >= arguments->fleet.statements) {
    return absl::InvalidArgumentError("--changed is from 1 to --statements");
  }
  if (interval < 1) return absl::InvalidArgumentError("--interval is at least 1");
  arguments->fleet.seed = static_cast<uint64_t>(seed);
  arguments->fleet.changed_per_minute = changed;
  arguments->fleet.interval_us = interval * kSecondUs;
  return absl::OkStatus();
}

absl::Status Migrate(const Arguments& arguments, const catalog::Catalog& catalog) {
  storage::MigrateOptions options;
  for (const auto& metric : catalog.metrics()) options.metrics.push_back(&metric);
  return storage::MigrateUp(arguments.url, storage::Database::kMetrics, options);
}

std::string Json(const std::map<std::string, LoadOutcome::Values>& values) {
  std::string json;
  for (const auto& [metric, of] : values) {
    absl::StrAppend(&json, json.empty() ? "{" : ", ", "\"", metric, "\": {\"rows\": ", of.rows,
                    ", \"stored\": ", of.stored, ", \"moving\": ", of.moving, "}");
  }
  return json.empty() ? "{}" : absl::StrCat(json, "}");
}

absl::Status LoadRecorded(const Arguments& arguments, const catalog::Catalog& catalog) {
  const clock::SteadyTime deadline = clock::SteadyNow() + kLongest;
  PGA_RETURN_IF_ERROR(Migrate(arguments, catalog));
  const auto* const metric = catalog.Find("statements");
  PGA_ASSIGN_OR_RETURN(columns::RowSet rows, ReadRecorded(*metric, arguments.file));
  PGA_ASSIGN_OR_RETURN(const auto connection, pg::CopyConnection::Connect({.url = arguments.url}, deadline));
  const SourceModel source(catalog, arguments.fleet, arguments.first);
  int32_t collector = 0;
  PGA_ASSIGN_OR_RETURN(const int32_t source_id, Loader::Register(*connection, source, &collector, deadline));
  PGA_ASSIGN_OR_RETURN(
      const pg::Result metric_id,
      connection->Exec("SELECT id::int4 FROM metrics.catalog_metric WHERE name = 'statements'", deadline));
  const int64_t to = absl::ToUnixMicros(clock::WallNow()) / kDayUs * kDayUs;
  const auto readings = static_cast<int64_t>(rows.frames.size());
  std::map<std::string, LoadOutcome::Values> values;
  int64_t frames_stored = 0;
  for (int64_t at = to - arguments.days * kDayUs; at + readings * kMinuteUs <= to; at += readings * kMinuteUs) {
    for (int64_t i = 0; i < readings; ++i) {
      columns::FrameInfo& frame = rows.frames[static_cast<size_t>(i)];
      frame.start_us = at + i * kMinuteUs - kMinuteUs / 2;
      frame.end_us = at + i * kMinuteUs + kMinuteUs / 2;
    }
    std::vector<pganalytics::ingest::v1::Frame> frames;
    PGA_RETURN_IF_ERROR(ToFrames(*metric, source.uuid(), pganalytics::ingest::v1::FRAME_KIND_DELTA, rows, &frames));
    storage::RecordSets records;
    AppendFrames(frames, source_id, static_cast<int16_t>(metric_id[0].Int32(0)), collector, &records);
    PGA_ASSIGN_OR_RETURN(const int64_t stored, CopyFrames(*connection, records, deadline));
    frames_stored += stored;
    CountValues(rows, &values[metric->name()]);
  }
  storage::UpkeepOptions options;
  options.url = arguments.url;
  const auto upkeep = storage::Upkeep::Create(std::move(options));
  for (const storage::UpkeepJob job : {storage::UpkeepJob::kMerge, storage::UpkeepJob::kFold}) {
    PGA_RETURN_IF_ERROR(upkeep->RunJob(job, true).status());
  }
  std::printf("{\"frames\": %lld, \"values\": %s}\n", static_cast<long long>(frames_stored), Json(values).c_str());
  return absl::OkStatus();
}

int Wire(const Arguments& arguments) {
  const auto catalog = catalog::Catalog::Builtin();
  if (!catalog.ok()) return Failed(catalog.status());
  WireOptions options;
  options.backend = arguments.backend;
  options.ca_file = arguments.ca;
  const char* const secret = std::getenv("REGISTRATION_SECRET");
  options.registration_secret = log::Secret(secret == nullptr ? "" : secret);
  options.state_dir = arguments.state;
  options.collectors = arguments.sources;
  options.first = arguments.first;
  options.speed = arguments.speed;
  options.backlog = arguments.backlog != 0;
  options.duration = absl::Seconds(arguments.seconds);
  options.patience = absl::Seconds(arguments.patience);
  options.texts = arguments.texts != 0;
  if (arguments.ingest_pid > 0) options.watched["ingest"] = arguments.ingest_pid;
  if (arguments.postgres_pid > 0) options.watched["postgres"] = arguments.postgres_pid;
  options.fleet = arguments.fleet;
  // Everybody has something to send at any time.
  options.fleet.away_days = 0;
  const auto outcome = RunWire(**catalog, options);
  if (!outcome.ok()) return Failed(outcome.status());
  std::fputs(Summary(*outcome).c_str(), stdout);
  if (!arguments.json.empty()) {
    if (const auto kept = FiguresOf(*outcome, "ingest.wire.").AppendTo(arguments.json); !kept.ok()) return Failed(kept);
  }
  return outcome->pending_batches == 0 && outcome->refused.frames == 0 ? 0 : 1;
}

int Frames(const Arguments& arguments) {
  const auto catalog = catalog::Catalog::Builtin();
  if (!catalog.ok()) return Failed(catalog.status());
  FleetOptions fleet = arguments.fleet;
  fleet.away_days = 0;
  const int64_t to = absl::ToUnixMicros(clock::WallNow());
  const auto written = WriteFrameLines(**catalog, fleet, arguments.first, arguments.sources,
                                       to - arguments.minutes * kMinuteUs, to, stdout);
  return written.ok() ? 0 : Failed(written);
}

int Load(const Arguments& arguments) {
  const auto catalog = catalog::Catalog::Builtin();
  if (!catalog.ok()) return Failed(catalog.status());
  if (const auto migrated = Migrate(arguments, **catalog); !migrated.ok()) return Failed(migrated);
  const clock::SteadyTime deadline = clock::SteadyNow() + kLongest;
  const int64_t to = absl::ToUnixMicros(clock::WallNow()) / kDayUs * kDayUs;
  const int64_t from = to - arguments.days * kDayUs;
  std::atomic<int> next{0};
  std::mutex mutex;
  absl::Status failed;
  LoadOutcome all;
  const clock::SteadyTime started = clock::SteadyNow();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < arguments.threads; ++thread) {
    threads.emplace_back([&] {
      const auto fail = [&](const absl::Status& status) {
        const std::lock_guard lock(mutex);
        failed.Update(status);
        next = arguments.sources;
      };
      auto loader = Loader::Connect(arguments.url, **catalog, deadline);
      if (!loader.ok()) return fail(loader.status());
      while (true) {
        const int source = next++;
        if (source >= arguments.sources) return;
        LoadOutcome outcome;
        const SourceModel model(**catalog, arguments.fleet, arguments.first + source);
        if (const auto status = (*loader)->LoadSource(model, from, to, deadline, &outcome); !status.ok()) {
          return fail(status);
        }
        const std::lock_guard lock(mutex);
        all.frames += outcome.frames;
        all.rows += outcome.rows;
        all.blocks += outcome.blocks;
        all.bytes += outcome.bytes;
        all.texts += outcome.texts;
        for (const auto& [metric, of] : outcome.values) {
          all.values[metric].rows += of.rows;
          all.values[metric].stored += of.stored;
          all.values[metric].moving += of.moving;
        }
        all.simulate_s += outcome.simulate_s;
        all.encode_s += outcome.encode_s;
        all.write_s += outcome.write_s;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  if (!failed.ok()) return Failed(failed);
  std::printf(
      "{\"sources\": %d, \"days\": %d, \"frames\": %lld, \"rows\": %lld, \"blocks\": %lld, \"bytes\": %lld, "
      "\"texts\": %lld, \"seconds\": %.1f, \"cpu_simulate_s\": %.1f, \"cpu_encode_s\": %.1f, \"cpu_write_s\": %.1f, "
      "\"values\": %s}\n",
      arguments.sources, arguments.days, static_cast<long long>(all.frames), static_cast<long long>(all.rows),
      static_cast<long long>(all.blocks), static_cast<long long>(all.bytes), static_cast<long long>(all.texts),
      absl::ToDoubleSeconds(clock::SteadyNow() - started), all.simulate_s, all.encode_s, all.write_s,
      Json(all.values).c_str());
  return 0;
}

int Measure(const Arguments& arguments) {
  const auto sizes = MeasureBlocks(arguments.url, clock::SteadyNow() + kLongest);
  if (!sizes.ok()) return Failed(sizes.status());
  struct Sum {
    int64_t bytes = 0, values = 0, nulls = 0, zeros = 0;
  };
  // Of raw increases and readings, labels apart.
  std::map<std::string, Sum> sums;
  std::printf("metric\tlevel\tkind\tid\tcolumn\tsections\tbytes\tvalues\tnulls\tzeros\tbits\n");
  for (const auto& [key, size] : *sizes) {
    const auto& [metric, level, kind, id] = key;
    std::printf("%s\t%d\t%d\t%d\t%s\t%lld\t%lld\t%lld\t%lld\t%lld\t%.2f\n", metric.c_str(), level, kind, id,
                size.column.c_str(), static_cast<long long>(size.sections), static_cast<long long>(size.bytes),
                static_cast<long long>(size.values), static_cast<long long>(size.nulls),
                static_cast<long long>(size.zeros),
                8.0 * static_cast<double>(size.bytes) / static_cast<double>(std::max<int64_t>(size.moving(), 1)));
    if (level != 0 || kind != 1) continue;
    for (const std::string& of : {metric, std::string("all")}) {
      Sum& sum = sums[of];
      sum.bytes += size.bytes;
      if (size.label) continue;
      sum.values += size.values;
      sum.nulls += size.nulls;
      sum.zeros += size.zeros;
    }
  }
  std::string json;
  for (const auto& [metric, sum] : sums) {
    absl::StrAppend(&json, json.empty() ? "" : ", ", "\"", metric, "\": {\"bytes\": ", sum.bytes,
                    ", \"stored\": ", sum.values - sum.nulls, ", \"zeros\": ", sum.zeros, "}");
  }
  std::printf("{%s}\n", json.c_str());
  return 0;
}

}  // namespace
}  // namespace pga::fleetsim

int main(int argc, char** argv) {
  pga::log::LogOptions log_options;
  log_options.level = pga::log::Level::error;
  pga::log::Init(log_options);
  pga::fleetsim::Arguments arguments;
  const std::string command = argc < 2 ? "" : argv[1];
  if (command != "load" && command != "recorded" && command != "measure" && command != "wire" && command != "frames") {
    return pga::fleetsim::Usage("say what to do");
  }
  if (command == "recorded") arguments.days = 1;
  if (const auto parsed = pga::fleetsim::Parse(argc, argv, &arguments); !parsed.ok()) {
    return pga::fleetsim::Usage(std::string(parsed.message()));
  }
  if (command == "wire") {
    if (arguments.backend.empty() || arguments.state.empty()) {
      return pga::fleetsim::Usage("--backend and --state are needed");
    }
    // A run that is interrupted still says what it sent.
    pga::exec::ShutdownSignal::Install();
    return pga::fleetsim::Wire(arguments);
  }
  if (command == "frames") return pga::fleetsim::Frames(arguments);
  if (arguments.url.empty()) return pga::fleetsim::Usage("--url is needed");
  if (command == "load") return pga::fleetsim::Load(arguments);
  if (command == "measure") return pga::fleetsim::Measure(arguments);
  const auto catalog = pga::catalog::Catalog::Builtin();
  if (!catalog.ok()) return pga::fleetsim::Failed(catalog.status());
  const absl::Status loaded = pga::fleetsim::LoadRecorded(arguments, **catalog);
  return loaded.ok() ? 0 : pga::fleetsim::Failed(loaded);
}
