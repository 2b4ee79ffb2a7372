// What upkeep of the metrics database costs, with frames of a simulated fleet, server and merges on one processor:
// CPU seconds of compactor and PostgreSQL per source and day, the lag behind now, and how many times faster than
// frames arrive they are merged; a backlog that arrives as fast as it can; the queue while a snapshot is held.
//
//   upkeep_bench [--json FILE] [--sources 50] [--hours 24] [--fleet 500] [--fleet-hours 3] [--backlog-days 30]
//                [--snapshot-hours 3] [--statements 5000] [--changed 300] [--models 20] [--processors 1]
//
// An hour arrives minute by minute, each minute's frames of all sources in one transaction; then it is merged, and the
// minutely folds of an hour run. Sources beyond --models repeat the readings of earlier ones. Times of day come from a
// clock of the bench; nothing waits; every five minutes of it there is a checkpoint. Fewer
// than 16 hours are those from nine o'clock on. A count of 0 leaves a part out.
// Every part ends with a comparison of the rows in blocks with those that arrived.
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/clock.h"
#include "libs/clock/fake_clock.h"
#include "libs/clock/steady.h"
#include "libs/exec/locks.h"
#include "libs/log/log.h"
#include "libs/storage/schema/migrations.h"
#include "libs/storage/upkeep/upkeep.h"
#include "libs/testing/bench_lines.h"
#include "libs/testing/temp_postgres.h"
#include "tools/fleetsim/loader.h"
#include "tools/fleetsim/model.h"

namespace pga {
namespace {

using fleetsim::kDayUs;
using fleetsim::kHourUs;
using fleetsim::kMinuteUs;
using storage::UpkeepJob;
using testing::Percentile;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::fprintf(stderr, "upkeep_bench: %s\n", value.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(value);
}
void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "upkeep_bench: %s\n", status.ToString().c_str());
  std::exit(1);
}

clock::SteadyTime Far() {
  return clock::SteadyNow() + absl::Hours(2);
}

// CPU seconds of a process, and of its children that have ended; its parent.
struct ProcessTimes {
  double own = 0;
  double ended_children = 0;
  int parent = 0;
};
ProcessTimes TimesOf(const std::string& pid) {
  std::ifstream stat(absl::StrCat("/proc/", pid, "/stat"));
  std::stringstream text;
  text << stat.rdbuf();
  const std::string line = text.str();
  const size_t after = line.rfind(')');
  ProcessTimes times;
  if (after == std::string::npos) return times;
  std::istringstream fields(line.substr(after + 2));
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  std::string field;
  for (int i = 3; i <= 17 && fields >> field; ++i) {
    const double value = std::strtod(field.c_str(), nullptr);
    if (i == 4) times.parent = static_cast<int>(value);
    if (i == 14 || i == 15) times.own += value / ticks;
    if (i == 16 || i == 17) times.ended_children += value / ticks;
  }
  return times;
}

// Of all processes of a server, those that have ended included.
double ServerSeconds(const testing::TempPostgres& server) {
  std::ifstream file(server.data_dir() + "/postmaster.pid");
  std::string postmaster;
  std::getline(file, postmaster);
  const ProcessTimes root = TimesOf(postmaster);
  double seconds = root.own + root.ended_children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const ProcessTimes times = TimesOf(name);
    if (absl::StrCat(times.parent) == postmaster) seconds += times.own;
  }
  return seconds;
}

double ThreadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

// What some work took: of this thread, of the server, and of the wall's clock.
struct Cost {
  double own = 0;
  double server = 0;
  double wall = 0;
  double cpu() const { return own + server; }
  Cost& operator+=(const Cost& more) {
    own += more.own;
    server += more.server;
    wall += more.wall;
    return *this;
  }
};

struct Arguments {
  std::string json;
  int sources = 50;
  int hours = 24;
  int fleet = 500;
  int fleet_hours = 3;
  int backlog_days = 30;
  int snapshot_hours = 3;
  int models = 20;
  int processors = 1;
  fleetsim::FleetOptions options;
};

// Frames of one minute, by metric.
using MinuteFrames = std::map<int16_t, std::vector<pganalytics::ingest::v1::Frame>>;

class Bench {
 public:
  explicit Bench(const Arguments& arguments)
      : arguments_(arguments), catalog_(Must(catalog::Catalog::Builtin())), lines_(arguments.json) {
    server_ = Must(testing::TempPostgres::Start(
        {.extra_conf = {"autovacuum = off", "max_wal_size = '4GB'", "shared_buffers = '256MB'",
                        "synchronous_commit = off", "max_connections = 40"},
         .durable = true}));
  }

  // `sources` for `hours`, as they go by.
  void Steady(int sources, int hours, const std::string& name, std::optional<double> keeps_up) {
    if (sources == 0 || hours == 0) return;
    const std::string url = Database(name);
    auto connection = Must(pg::CopyConnection::Connect(Options(url), Far()));
    Fleet fleet(*this, *connection, sources);
    // Keyframes come at midnight: a day has them once, and hours of the day are without them.
    const int64_t from =
        absl::ToUnixMicros(clock::WallNow()) / kDayUs * kDayUs - kDayUs + (hours <= 15 ? 9 * kHourUs : 0);
    clock::FakeClock clock(absl::FromUnixMicros(from));
    const auto upkeep = Upkeep(url, &clock);
    std::vector<double> lag, factor, per_day;
    Cost merging, folding, vacuuming;
    int64_t rows = 0;
    double wal_arriving = 0, wal_upkeep = 0;
    for (int hour = 0; hour < hours; ++hour) {
      const std::string start = Wal(*connection);
      rows += fleet.Arrive(from + hour * kHourUs);
      (void)Must(connection->Exec("CHECKPOINT", Far()));
      const std::string arrived = Wal(*connection);
      wal_arriving += WalBytes(*connection, start, arrived);
      clock.Advance(absl::FromUnixMicros(from + (hour + 1) * kHourUs) + absl::Seconds(121) - clock.Now());
      const Cost merged = Measure([&] { Must(upkeep->RunJob(UpkeepJob::kMerge, true).status()); });
      const Cost folded = Measure([&] {
        for (int minute = 0; minute < 55; ++minute) {
          clock.Advance(absl::Minutes(1));
          Must(upkeep->RunJob(UpkeepJob::kFold).status());
        }
      });
      const Cost vacuumed = Measure([&] { Must(connection->Exec("VACUUM metrics.frame", Far()).status()); });
      wal_upkeep += WalBytes(*connection, arrived, Wal(*connection));
      // Closed after two minutes, looked for every 15 seconds.
      lag.push_back(135 + merged.wall);
      factor.push_back(3600 / (merged.cpu() + folded.cpu() + vacuumed.cpu()));
      per_day.push_back((merged.cpu() + folded.cpu() + vacuumed.cpu()) * 24 / sources);
      merging += merged;
      folding += folded;
      vacuuming += vacuumed;
    }
    Check(*connection, rows);
    const double seconds = merging.cpu() + folding.cpu() + vacuuming.cpu();
    const double arriving = static_cast<double>(rows) / hours / 3600;
    const double per = 24.0 / sources / hours;
    std::printf(
        "%d sources, %d h: %.0f rows/s arrive, %.0f rows merged per CPU second: %.1f times as fast\n"
        "  CPU s per source and day: %.2f (compactor %.2f, PostgreSQL %.2f; merge %.2f, fold %.2f, vacuum %.2f)\n"
        "  lag of the last frame of an hour: p50 %.0f s, longest %.0f s; merges of an hour took %.1f s of wall time\n"
        "  WAL a row: %.1f B arriving, %.1f B by merges, folds and vacuum\n",
        sources, hours, arriving, static_cast<double>(rows) / seconds, Percentile(factor, 0.5), seconds * per,
        (merging.own + folding.own) * per, (merging.server + folding.server + vacuuming.server) * per,
        merging.cpu() * per, folding.cpu() * per, vacuuming.cpu() * per, Percentile(lag, 0.5), Percentile(lag, 1),
        merging.wall / hours, wal_arriving / static_cast<double>(rows), wal_upkeep / static_cast<double>(rows));
    std::fflush(stdout);
    lines_.Add({absl::StrCat("upkeep.", name, ".sources"), static_cast<double>(sources), "sources"});
    lines_.Add(absl::StrCat("upkeep.", name, ".cpu_s_source_day"), "s", per_day);
    lines_.Add({absl::StrCat("upkeep.", name, ".compactor_cpu_s_source_day"), (merging.own + folding.own) * per, "s"});
    lines_.Add({absl::StrCat("upkeep.", name, ".postgres_cpu_s_source_day"),
                (merging.server + folding.server + vacuuming.server) * per, "s"});
    lines_.Add({absl::StrCat("upkeep.", name, ".rows_arriving"), arriving, "rows/s"});
    lines_.Add({absl::StrCat("upkeep.", name, ".rows_per_cpu_second"), static_cast<double>(rows) / seconds, "rows/s"});
    lines_.Add(absl::StrCat("upkeep.", name, ".keeps_up"), "x", factor, keeps_up);
    lines_.Add(absl::StrCat("upkeep.", name, ".lag"), "s", lag);
    lines_.Add({absl::StrCat("upkeep.", name, ".wal_row_arriving"), wal_arriving / static_cast<double>(rows), "B"});
    lines_.Add({absl::StrCat("upkeep.", name, ".wal_row_upkeep"), wal_upkeep / static_cast<double>(rows), "B"});
  }

  // One source's days at once.
  void Backlog(int days) {
    if (days == 0) return;
    const std::string url = Database("backlog");
    auto connection = Must(pg::CopyConnection::Connect(Options(url), Far()));
    Fleet fleet(*this, *connection, 1);
    const int64_t to = absl::ToUnixMicros(clock::WallNow()) / kDayUs * kDayUs;
    std::vector<storage::RecordSets> hours;
    int64_t rows = 0;
    for (int64_t at = to - days * kDayUs; at < to; at += kHourUs) rows += fleet.Gather(at, &hours.emplace_back());

    std::atomic<bool> arrived{false};
    absl::Notification done;
    absl::Duration merged_after;
    const clock::SteadyTime begun = clock::SteadyNow();
    absl::Duration arrival;
    std::thread sender([&] {
      auto own = Must(pg::CopyConnection::Connect(Options(url), Far()));
      for (storage::RecordSets& hour : hours) {
        (void)Must(fleetsim::CopyFrames(*own, hour, Far()));
        hour.Clear();
      }
      arrival = clock::SteadyNow() - begun;
      arrived = true;
    });
    std::thread merger([&] {
      const auto upkeep = Upkeep(url, clock::Clock::Real());
      for (bool last = false; !last;) {
        last = arrived;
        Must(upkeep->RunJob(UpkeepJob::kMerge, true).status());
        Must(upkeep->RunJob(UpkeepJob::kFold).status());
      }
      merged_after = clock::SteadyNow() - begun;
      done.Notify();
    });
    int64_t most_frames = 0, most_bytes = 0;
    std::printf("backlog of %d days of one source, %lld rows; seconds: frames in the queue, MB:", days,
                static_cast<long long>(rows));
    clock::SteadyTime next_print = begun;
    do {
      const pg::Result size =
          Must(connection->Exec("SELECT count(*), pg_total_relation_size('metrics.frame') FROM metrics.frame", Far()));
      most_frames = std::max(most_frames, size[0].Int64(0));
      most_bytes = std::max(most_bytes, size[0].Int64(1));
      if (clock::SteadyNow() < next_print) continue;
      std::printf(" %.0f: %lld, %.1f;", absl::ToDoubleSeconds(clock::SteadyNow() - begun),
                  static_cast<long long>(size[0].Int64(0)), static_cast<double>(size[0].Int64(1)) / 1e6);
      std::fflush(stdout);
      next_print += absl::Seconds(5);
    } while (!done.WaitForNotificationWithTimeout(absl::Milliseconds(500)));
    sender.join();
    merger.join();
    Check(*connection, rows);
    std::printf(
        "\n  arrived within %.1f s, in blocks after %.1f s; at most %lld frames, %.1f MB in the queue; %.1f s a day\n",
        absl::ToDoubleSeconds(arrival), absl::ToDoubleSeconds(merged_after), static_cast<long long>(most_frames),
        static_cast<double>(most_bytes) / 1e6, absl::ToDoubleSeconds(merged_after) / days);
    std::fflush(stdout);
    lines_.Add({"upkeep.backlog.days", static_cast<double>(days), "days"});
    lines_.Add({"upkeep.backlog.arrived", absl::ToDoubleSeconds(arrival), "s"});
    lines_.Add({"upkeep.backlog.merged", absl::ToDoubleSeconds(merged_after), "s"});
    lines_.Add({"upkeep.backlog.most_frames", static_cast<double>(most_frames), "frames"});
    lines_.Add({"upkeep.backlog.most_queue", static_cast<double>(most_bytes) / 1e6, "MB"});
  }

  // Hours that go by without a snapshot, and as many with one that was taken before them.
  void Snapshot(int sources, int hours) {
    if (sources == 0 || hours == 0) return;
    const std::string url = Database("snapshot");
    auto connection = Must(pg::CopyConnection::Connect(Options(url), Far()));
    Fleet fleet(*this, *connection, sources);
    const int64_t from = absl::ToUnixMicros(clock::WallNow()) / kDayUs * kDayUs - kDayUs;
    clock::FakeClock clock(absl::FromUnixMicros(from));
    const auto upkeep = Upkeep(url, &clock);
    int64_t rows = 0;
    int hour = 0;
    const auto pass = [&](int count, double* wall) {
      for (int i = 0; i < count; ++i, ++hour) {
        rows += fleet.Arrive(from + hour * kHourUs);
        clock.Advance(absl::FromUnixMicros(from + (hour + 1) * kHourUs) + absl::Seconds(121) - clock.Now());
        *wall += Measure([&] { Must(upkeep->RunJob(UpkeepJob::kMerge, true).status()); }).wall / count;
        (void)Must(connection->Exec("VACUUM metrics.frame", Far()));
      }
      return static_cast<double>(
                 Must(connection->Exec("SELECT pg_total_relation_size('metrics.frame')", Far()))[0].Int64(0)) /
             1e6;
    };
    double free_wall = 0, held_wall = 0, after_wall = 0;
    const double free = pass(hours, &free_wall);
    pg::CopyConnectionOptions options = Options(url);
    options.application_name = "pg_dump";
    auto dump = Must(pg::CopyConnection::Connect(options, Far()));
    (void)Must(dump->Exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM metrics.frame LIMIT 1", Far()));
    Must(upkeep->RunJob(UpkeepJob::kAccounting, true).status());
    const double held = pass(hours, &held_wall);
    Must(upkeep->RunJob(UpkeepJob::kAccounting, true).status());
    const auto holders = upkeep->Usage()->holders;
    if (holders.empty() || holders[0].name != "pg_dump") Must(absl::InternalError("the holder is not reported"));
    Must(dump->Exec("COMMIT", Far()).status());
    (void)Must(connection->Exec("VACUUM metrics.frame", Far()));
    const double after = pass(1, &after_wall);
    Must(upkeep->RunJob(UpkeepJob::kAccounting, true).status());
    if (!upkeep->Usage()->holders.empty()) Must(absl::InternalError("a holder is reported that is gone"));
    Check(*connection, rows);
    const double growth = (held - free) / hours;
    std::printf(
        "queue of %d sources: %.1f MB after %d h; %.1f MB after %d h more with a snapshot held by %s (%.1f MB an hour, "
        "%.2f MB a source and hour); %.1f MB after it has ended and an hour more\n"
        "  merges of an hour: %.2f s without, %.2f s with it, %.2f s after\n",
        sources, free, hours, held, hours, holders[0].name.c_str(), growth, growth / sources, after, free_wall,
        held_wall, after_wall);
    std::fflush(stdout);
    lines_.Add({"upkeep.snapshot.queue_free", free, "MB"});
    lines_.Add({"upkeep.snapshot.queue_held", held, "MB"});
    lines_.Add({"upkeep.snapshot.growth_source_hour", growth / sources, "MB"});
    lines_.Add({"upkeep.snapshot.merge_slowdown", held_wall / std::max(free_wall, 1e-9), "times"});
  }

 private:
  // Sources that are registered, and the models that give their frames.
  class Fleet {
   public:
    Fleet(Bench& bench, pg::CopyConnection& connection, int sources) : bench_(bench), connection_(connection) {
      for (const auto& metric : bench.catalog_->metrics()) {
        const pg::Result id =
            Must(connection.Exec("SELECT id FROM metrics.catalog_metric WHERE name = $1", {metric.name()}, Far()));
        if (!id.empty()) metrics_[static_cast<int16_t>(id[0].Int64(0))] = &metric;
      }
      for (int source = 0; source < sources; ++source) {
        auto model = std::make_unique<fleetsim::SourceModel>(*bench.catalog_, bench.arguments_.options, source);
        ids_.push_back(Must(fleetsim::Loader::Register(connection, *model, &collector_, Far())));
        if (source < bench.arguments_.models) models_.push_back(std::move(model));
      }
    }

    // Writes the frames of an hour, each minute in one transaction. Returns their rows.
    int64_t Arrive(int64_t from_us) {
      std::vector<std::vector<MinuteFrames>> hours;
      for (const auto& model : models_) hours.push_back(Frames(*model, from_us));
      int64_t rows = 0;
      for (size_t minute = 0; minute < 60; ++minute) {
        storage::RecordSets records;
        for (size_t source = 0; source < ids_.size(); ++source) {
          rows += Append(hours[source % models_.size()][minute], ids_[source], &records);
        }
        (void)Must(fleetsim::CopyFrames(connection_, records, Far()));
        // As often as the server would, so that as many whole pages are in the WAL.
        if (minute % 5 == 4) (void)Must(connection_.Exec("CHECKPOINT", Far()));
      }
      return rows;
    }

    // The frames of an hour of the first source.
    int64_t Gather(int64_t from_us, storage::RecordSets* records) {
      int64_t rows = 0;
      for (const MinuteFrames& minute : Frames(*models_[0], from_us)) rows += Append(minute, ids_[0], records);
      return rows;
    }

   private:
    std::vector<MinuteFrames> Frames(const fleetsim::SourceModel& model, int64_t from_us) const {
      std::vector<MinuteFrames> minutes(60);
      for (const auto& [id, metric] : metrics_) {
        std::vector<pganalytics::ingest::v1::Frame> frames;
        // An hour as blocks have it: a frame on its edge belongs to what it opens.
        const int64_t from = from_us - 1, to = from_us + kHourUs - 1;
        Must(fleetsim::ToFrames(*metric, model.uuid(), pganalytics::ingest::v1::FRAME_KIND_DELTA,
                                model.Deltas(*metric, from, to), &frames));
        Must(fleetsim::ToFrames(*metric, model.uuid(), pganalytics::ingest::v1::FRAME_KIND_KEYFRAME,
                                model.Keyframes(*metric, from, to), &frames));
        for (auto& frame : frames) {
          const auto minute = static_cast<size_t>((frame.collected_at_us() - from_us) / kMinuteUs);
          minutes[minute][id].push_back(std::move(frame));
        }
      }
      return minutes;
    }
    int64_t Append(const MinuteFrames& minute, int32_t source, storage::RecordSets* records) const {
      int64_t rows = 0;
      for (const auto& [metric, frames] : minute) {
        for (const auto& frame : frames) rows += frame.row_count();
        fleetsim::AppendFrames(frames, source, metric, collector_, records);
      }
      return rows;
    }

    Bench& bench_;
    pg::CopyConnection& connection_;
    std::map<int16_t, const pganalytics::catalog::v1::Metric*> metrics_;
    std::vector<std::unique_ptr<fleetsim::SourceModel>> models_;
    std::vector<int32_t> ids_;
    int32_t collector_ = 0;
  };

  static pg::CopyConnectionOptions Options(const std::string& url) {
    return {.url = url,
            .application_name = "upkeep_bench",
            .statement_timeout = absl::Hours(1),
            .idle_in_transaction_timeout = absl::Hours(1)};
  }
  static std::unique_ptr<storage::Upkeep> Upkeep(const std::string& url, clock::Clock* clock) {
    storage::UpkeepOptions options;
    options.url = url;
    options.clock = clock;
    return storage::Upkeep::Create(std::move(options));
  }
  std::string Database(const std::string& name) {
    storage::MigrateOptions options;
    options.layout = storage::Layout::kNative;
    for (const auto& metric : catalog_->metrics()) options.metrics.push_back(&metric);
    const std::string url = Must(server_->CreateDatabase(name));
    Must(storage::MigrateUp(url, storage::Database::kMetrics, options));
    return url;
  }
  template <typename Work>
  Cost Measure(const Work& work) const {
    const double own = ThreadSeconds(), server = ServerSeconds(*server_);
    const clock::SteadyTime begun = clock::SteadyNow();
    work();
    Cost cost;
    cost.wall = absl::ToDoubleSeconds(clock::SteadyNow() - begun);
    cost.own = ThreadSeconds() - own;
    cost.server = ServerSeconds(*server_) - server;
    return cost;
  }
  static std::string Wal(pg::CopyConnection& connection) {
    return std::string(Must(connection.Exec("SELECT pg_current_wal_insert_lsn()::text", Far()))[0].Text(0));
  }
  static double WalBytes(pg::CopyConnection& connection, const std::string& from, const std::string& to) {
    const pg::Result bytes =
        Must(connection.Exec("SELECT pg_wal_lsn_diff($2::pg_lsn, $1::pg_lsn)::int8", {from, to}, Far()));
    return static_cast<double>(bytes[0].Int64(0));
  }
  static void Check(pg::CopyConnection& connection, int64_t rows) {
    const pg::Result found = Must(connection.Exec(
        "SELECT (SELECT count(*) FROM metrics.frame), (SELECT count(*) FROM metrics.quarantine), (SELECT "
        "coalesce(sum(rows), 0)::int8 FROM metrics.block WHERE level = 0)",
        Far()));
    if (found[0].Int64(0) == 0 && found[0].Int64(1) == 0 && found[0].Int64(2) == rows) return;
    Must(absl::InternalError(absl::StrCat(rows, " rows arrived, ", found[0].Int64(2), " are in blocks, ",
                                          found[0].Int64(0), " frames in the queue, ", found[0].Int64(1),
                                          " in quarantine")));
  }

  const Arguments arguments_;
  const std::shared_ptr<const catalog::Catalog> catalog_;
  std::unique_ptr<testing::TempPostgres> server_;
  testing::BenchLines lines_;
};

Arguments Parse(int argc, char** argv) {
  Arguments arguments;
  int changed = 300;
  const std::map<std::string, int*> numbers = {{"--sources", &arguments.sources},
                                               {"--hours", &arguments.hours},
                                               {"--fleet", &arguments.fleet},
                                               {"--fleet-hours", &arguments.fleet_hours},
                                               {"--backlog-days", &arguments.backlog_days},
                                               {"--snapshot-hours", &arguments.snapshot_hours},
                                               {"--models", &arguments.models},
                                               {"--processors", &arguments.processors},
                                               {"--statements", &arguments.options.statements},
                                               {"--changed", &changed}};
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    const std::string value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--json") {
      arguments.json = value;
    } else if (const auto number = numbers.find(name);
               number == numbers.end() || !absl::SimpleAtoi(value, number->second) || *number->second < 0) {
      Must(absl::InvalidArgumentError(absl::StrCat(name, " ", value, " is not understood")));
    }
  }
  // A day holds both halves of the part with a snapshot, and the hour behind it.
  if (arguments.hours > 24 || arguments.fleet_hours > 24 || arguments.snapshot_hours > 11 ||
      arguments.backlog_days > 30 || arguments.models < 1 || arguments.processors < 1 || changed < 1) {
    Must(absl::InvalidArgumentError("at most 24 hours, 11 with a snapshot, 30 days; at least 1 model and processor"));
  }
  arguments.options.changed_per_minute = changed;
  return arguments;
}

// The server, which is a child, as well.
void UseProcessors(int count) {
  cpu_set_t allowed, used;
  CPU_ZERO(&used);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int cpu = 0, taken = 0; cpu < CPU_SETSIZE && taken < count; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    CPU_SET(cpu, &used);
    ++taken;
  }
  if (sched_setaffinity(0, sizeof used, &used) != 0) Must(absl::InternalError("sched_setaffinity failed"));
}

}  // namespace
}  // namespace pga

int main(int argc, char** argv) {
  // As the services run.
  pga::exec::SkipLockOrderChecks();
  pga::log::LogOptions options;
  options.level = pga::log::Level::error;
  pga::log::Init(options);
  const pga::Arguments arguments = pga::Parse(argc, argv);
  pga::UseProcessors(arguments.processors);
  pga::Bench bench(arguments);
  bench.Steady(arguments.sources, arguments.hours, "sources", {});
  // 500 sources have to keep up.
  bench.Steady(arguments.fleet, arguments.fleet_hours, "fleet", 500.0 / std::max(arguments.fleet, 1));
  bench.Backlog(arguments.backlog_days);
  bench.Snapshot(arguments.sources, arguments.snapshot_hours);
  return 0;
}
