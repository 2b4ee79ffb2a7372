// Pairs of collectors, each pair for one server: the owners are killed with SIGKILL while they hold what they have not
// sent, the others take over, and the killed ones come back with their spools and wait in their turn. Meanwhile a table
// of each server gets a known number of rows. After each round what is stored of them is what was done, and the samples
// that the killed ones held are there.
//
// PGA_TAKEOVER_SOURCES (2) says how many servers, whose owners are killed all at once, PGA_TAKEOVER_KILLS (4) how many
// kills, PGA_TAKEOVER_UNSENT (3) for how many seconds the owners cannot send before, PGA_TAKEOVER_INTERVAL (2) the
// seconds of an interval. tests/faults/README.md has the whole campaign: 100 kills with five minutes unsent.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/clock/steady.h"
#include "libs/pg/copy_connection.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "tests/integration/suite.h"

namespace pga {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(60);
constexpr char kStandsBy[] = "another collector owns the source";

// Counters that the work moves, each read once: `stored` grows by the frames that came since.
struct Figure {
  const char* metric;
  const char* column;
  const char* rows;
  // Read every so many intervals.
  int factor;
};
constexpr std::array kFigures = {
    Figure{"database", "tup_inserted", "datname = 'work'", 1},
    Figure{"statements", "rows", "datname = 'work' AND queryid = ANY ($1::int8[])", 1},
    Figure{"statements", "calls", "datname = 'work' AND queryid = ANY ($1::int8[])", 1},
    Figure{"table_stats", "n_tup_ins", "relname = 'work'", 5},
};
constexpr size_t kCalls = 2;

struct Watched {
  std::string name;
  std::unique_ptr<testing::TempPostgres> server;
  std::string query_id;
  std::array<std::unique_ptr<testing::Subprocess>, 2> collectors;
  std::atomic<int64_t> rows{0};
  std::atomic<int64_t> calls{0};
  // Of each figure: what is stored, and the newest instant that was read of it.
  std::array<int64_t, kFigures.size()> stored{};
  std::array<int64_t, kFigures.size()> until_us{};

  int64_t Done(size_t figure) const { return figure == kCalls ? calls : rows; }
};

struct Owned {
  int owner = -1;  // 0 or 1; -1 while the epoch has not begun
  int64_t epoch = 0;
};

int64_t NowUs() {
  return absl::ToUnixMicros(clock::WallNow());
}
double Seconds(int64_t us) {
  return static_cast<double>(us) / 1e6;
}
std::string Instant(int64_t us) {
  return absl::StrCat("'epoch'::timestamptz + ", us, " * interval '1 microsecond'");
}

// A look twice a second, for what costs the databases more than a wait of the test.
template <typename Condition>
bool Await(Condition condition, absl::Duration limit) {
  clock::SteadyTime next;
  return testing::WaitUntil(
      [&] {
        if (clock::SteadyNow() < next) return false;
        const bool holds = condition();
        next = clock::SteadyNow() + absl::Milliseconds(500);
        return holds;
      },
      limit);
}

class Campaign : public ::testing::Test {
 protected:
  Campaign() : suite_({.env = {{"INGEST_HELLOS_PER_MINUTE", "0"}, {"INGEST_WINDOW", "1"}}}) {}

  void SetUp() override {
    const std::string& url = suite_.databases().metrics_url;
    const size_t name = url.find("@/") + 2;
    metrics_ = url.substr(name, url.find('?') - name);
    for (int64_t i = 0; i < testing::Setting("PGA_TAKEOVER_SOURCES", 2); ++i) {
      auto watched = std::make_unique<Watched>();
      watched->name = absl::StrCat("db", i);
      auto server = testing::TempPostgres::Start(
          {.preload_statements = true, .extra_conf = {"autovacuum = off", "shared_buffers = 16MB"}});
      ASSERT_TRUE(server.ok()) << server.status();
      watched->server = *std::move(server);
      ASSERT_TRUE(watched->server->CreateDatabase("work").ok());
      for (const char* sql : {"CREATE EXTENSION pg_stat_statements", "CREATE TABLE work (n int8)",
                              "INSERT INTO work SELECT generate_series(1, 1)"}) {
        const auto made = watched->server->Exec("work", sql);
        ASSERT_TRUE(made.ok()) << made.status();
      }
      const auto id = watched->server->Exec(
          "work", "SELECT queryid::text FROM pg_stat_statements WHERE query LIKE 'INSERT INTO work %'");
      ASSERT_TRUE(id.ok() && id->rows() == 1) << id.status();
      watched->query_id = std::string((*id)[0].Text(0));
      all_.push_back(std::move(watched));
    }
  }

  void Start(Watched* watched, int which) {
    auto started = testing::Subprocess::Start(
        {.argv = {testing::Program("pganalytics-collector")},
         .env = {{"COLLECTOR_ID", absl::StrCat(watched->name, "-", which)},
                 {"STATE_DIR", StateDir(*watched, which)},
                 {"BACKEND_URL", absl::StrCat("http://127.0.0.1:", suite_.port())},
                 {"BACKEND_RETRY_MAX", "1"},
                 {"REGISTRATION_SECRET", integration::Suite::kRegistrationSecret},
                 {"SOURCE_NAME", watched->name},
                 {"POSTGRES_HOST", watched->server->socket_dir()},
                 {"POSTGRES_PORT", absl::StrCat(watched->server->port())},
                 {"POSTGRES_DATABASES", "work"},
                 {"COLLECTION_INTERVAL", absl::StrCat(interval_)},
                 {"ACTIVITY_SAMPLE_INTERVAL", absl::StrCat(interval_)},
                 {"HOST_METRICS", "false"},
                 {"METRICS_LISTEN", "off"}},
         .output_path = absl::StrCat(dir_ / watched->name, "-", which, ".", ++starts_, ".log")});
    ASSERT_TRUE(started.ok()) << started.status();
    watched->collectors[static_cast<size_t>(which)] = *std::move(started);
  }
  std::string StateDir(const Watched& watched, int which) {
    return absl::StrCat(dir_ / watched.name, "-", which, ".state");
  }
  int64_t BytesOfState(const Watched& watched, int which) {
    int64_t bytes = 0;
    std::error_code problem;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(StateDir(watched, which), problem)) {
      if (entry.is_regular_file(problem)) bytes += static_cast<int64_t>(entry.file_size(problem));
    }
    return bytes;
  }
  static bool StandsBy(const Watched& watched, int which) {
    return watched.collectors[static_cast<size_t>(which)]->Output().find(kStandsBy) != std::string::npos;
  }

  pg::Result Query(const std::string& sql, const pg::Params& params = {}) {
    auto result = testing::SharedPostgres()->Exec(metrics_, sql, params);
    EXPECT_TRUE(result.ok()) << result.status() << "\n" << sql;
    return result.ok() ? *std::move(result) : pg::Result();
  }
  int64_t Number(const std::string& sql) {
    const pg::Result result = Query(sql);
    return result.empty() ? -1 : result[0].Int64(0);
  }
  std::map<std::string, Owned> Owners() {
    const pg::Result rows = Query(
        "SELECT s.name, CASE WHEN s.carried_epoch = s.owner_epoch THEN right(c.collector_id, 1)::int8 ELSE -1 "
        "END, s.owner_epoch FROM metrics.source s JOIN metrics.collector c ON c.id = s.collector_id");
    std::map<std::string, Owned> owners;
    for (size_t i = 0; i < rows.rows(); ++i) {
      owners[std::string(rows[i].Text(0))] = {static_cast<int>(rows[i].Int64(1)), rows[i].Int64(2)};
    }
    return owners;
  }
  // Instants at which a metric without counters was read, as far as they are stored, by server and collector.
  std::map<std::string, std::array<std::vector<int64_t>, 2>> Sampled(int64_t since_us) {
    const pg::Result rows = Query(absl::StrCat(
        "SELECT s.name, right(c.collector_id, 1)::int8, (extract(epoch FROM f.collected_at) * 1000000)::int8 FROM "
        "metrics.source s JOIN metrics.frame f ON f.source_id = s.id JOIN metrics.collector c ON c.id = f.collector_id "
        "WHERE f.metric_id = (SELECT id FROM metrics.catalog_metric WHERE name = 'locks') AND f.collected_at > ",
        Instant(since_us), " ORDER BY 3"));
    std::map<std::string, std::array<std::vector<int64_t>, 2>> sampled;
    for (size_t i = 0; i < rows.rows(); ++i) {
      sampled[std::string(rows[i].Text(0))][static_cast<size_t>(rows[i].Int64(1))].push_back(rows[i].Int64(2));
    }
    return sampled;
  }

  // Adds up what came since the last call. False while something is missing.
  bool ReadSums(int only_factor) {
    std::vector<std::string> ids;
    for (const auto& watched : all_) ids.push_back(watched->query_id);
    bool complete = true;
    for (size_t i = 0; i < kFigures.size(); ++i) {
      const Figure& figure = kFigures[i];
      if (figure.factor > only_factor) continue;
      int64_t since_us = INT64_MAX;
      for (const auto& watched : all_) since_us = std::min(since_us, watched->until_us[i]);
      const bool statements = std::string_view(figure.metric) == "statements";
      const pg::Result rows =
          Query(absl::StrCat("SELECT source_name, (extract(epoch FROM \"time\") * 1000000)::int8, ", figure.column,
                             " FROM readable.", figure.metric, "(", Instant(since_us), ", now() + interval '1 day') ",
                             "WHERE kind = 'delta' AND ", figure.rows),
                statements ? pg::Params{pg::ArrayOf(ids)} : pg::Params{});
      for (const auto& watched : all_) {
        const int64_t cursor_us = watched->until_us[i];
        for (size_t row = 0; row < rows.rows(); ++row) {
          if (rows[row].Text(0) != watched->name || rows[row].Int64(1) <= cursor_us || rows[row].IsNull(2)) continue;
          watched->stored[i] += rows[row].Int64(2);
          watched->until_us[i] = std::max(watched->until_us[i], rows[row].Int64(1));
        }
        complete = complete && watched->stored[i] == watched->Done(i);
      }
    }
    return complete;
  }
  std::string Sums() {
    std::string text;
    for (const auto& watched : all_) {
      for (size_t i = 0; i < kFigures.size(); ++i) {
        if (watched->stored[i] == watched->Done(i)) continue;
        absl::StrAppend(&text, watched->name, " ", kFigures[i].metric, ".", kFigures[i].column, ": ",
                        watched->stored[i], " stored of ", watched->Done(i), "\n");
      }
    }
    return text;
  }

  // What the servers themselves count; the row of SetUp is one more.
  bool ServersCountAll() {
    return std::all_of(all_.begin(), all_.end(), [](const auto& watched) {
      const auto counted =
          watched->server->Exec("work", "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'work'");
      return counted.ok() && !counted->empty() && (*counted)[0].Int64(0) == watched->rows + 1;
    });
  }

  // Rows for one server after the other, some fifty times a second in all.
  void Work(const std::stop_token& stop) {
    std::vector<std::unique_ptr<pg::CopyConnection>> connections(all_.size());
    for (int64_t turn = 0; !stop.stop_requested(); ++turn) {
      const size_t i = static_cast<size_t>(turn) % all_.size();
      if (connections[i] == nullptr) {
        auto connected = all_[i]->server->Connect("work");
        ASSERT_TRUE(connected.ok()) << connected.status();
        connections[i] = *std::move(connected);
      }
      const int64_t rows = turn % 17 + 1;
      const auto worked = connections[i]->Exec(
          absl::StrCat("INSERT INTO work SELECT generate_series(1, ", rows, "); SELECT pg_sleep(0.02)"),
          clock::SteadyNow() + kPatience);
      ASSERT_TRUE(worked.ok()) << worked.status();
      all_[i]->rows += rows;
      ++all_[i]->calls;
    }
  }

  std::string Logs() {
    std::string all;
    for (const auto& watched : all_) {
      for (const auto& process : watched->collectors) {
        if (process == nullptr) continue;
        const std::string output = process->Output();
        absl::StrAppend(&all, "--- ", watched->name, "\n",
                        output.substr(output.size() - std::min<size_t>(output.size(), 1000)));
      }
    }
    return all + suite_.Outputs();
  }

  void Round(int64_t unsent) {
    const absl::Duration patience = kPatience + 5 * interval();
    std::jthread worker([this](const std::stop_token& stop) { Work(stop); });
    // The owners read, renew their leases and cannot store: what they have is on their disks alone.
    const std::map<std::string, Owned> before = Owners();
    auto lock = testing::SharedPostgres()->Connect(metrics_);
    ASSERT_TRUE(lock.ok()) << lock.status();
    for (const char* sql :
         {"BEGIN", "SET LOCAL idle_in_transaction_session_timeout = 0", "LOCK TABLE metrics.frame IN EXCLUSIVE MODE"}) {
      ASSERT_TRUE((*lock)->Exec(sql, clock::SteadyNow() + kPatience).ok());
    }
    const int64_t locked_us = NowUs();
    const clock::SteadyTime until = clock::SteadyNow() + absl::Seconds(unsent);
    ASSERT_TRUE(testing::WaitUntil([&] { return clock::SteadyNow() > until; }, kPatience + absl::Seconds(unsent)));
    // A machine that stands still for longer than a lease ends it: such a source takes part and does not count.
    const std::map<std::string, Owned> owners = Owners();
    const auto moved = [&](const std::string& name) { return owners.at(name).epoch != before.at(name).epoch; };
    for (const auto& watched : all_) ASSERT_GE(owners.at(watched->name).owner, 0) << watched->name << "\n" << Logs();
    ASSERT_TRUE(Sampled(locked_us).empty());
    const auto owner_of = [&](const Watched& watched) { return owners.at(watched.name).owner; };
    const int64_t killed_us = NowUs();
    for (const auto& watched : all_) {
      watched->collectors[static_cast<size_t>(owner_of(*watched))]->Signal(SIGKILL);
      unsent_bytes_ += BytesOfState(*watched, owner_of(*watched));
      ++(moved(watched->name) ? moved_ : kills_);
    }
    const int64_t all_killed_us = NowUs();
    ASSERT_TRUE((*lock)->Exec("COMMIT", clock::SteadyNow() + kPatience).ok());
    std::map<std::string, int64_t> taken_us;
    EXPECT_TRUE(Await(
        [&] {
          const auto sampled = Sampled(all_killed_us);
          const std::map<std::string, Owned> now = Owners();
          for (const auto& watched : all_) {
            const int other = 1 - owner_of(*watched);
            const auto found = sampled.find(watched->name);
            if (found == sampled.end() || now.at(watched->name).owner != other) continue;
            const std::vector<int64_t>& readings = found->second[static_cast<size_t>(other)];
            if (!readings.empty()) taken_us.try_emplace(watched->name, readings.front());
          }
          return taken_us.size() == all_.size();
        },
        patience))
        << taken_us.size() << " of " << all_.size() << " taken over\n"
        << Logs();
    if (HasFailure()) return;
    // They come back with their spools, and wait.
    for (const auto& watched : all_) {
      watched->collectors[static_cast<size_t>(owner_of(*watched))].reset();
      Start(watched.get(), owner_of(*watched));
    }
    ASSERT_TRUE(Await(
        [&] {
          return std::all_of(all_.begin(), all_.end(),
                             [&](const auto& watched) { return StandsBy(*watched, owner_of(*watched)); });
        },
        patience))
        << Logs();
    worker.request_stop();
    worker.join();
    ASSERT_FALSE(HasFailure());

    // Every sample that a killed one took while it could not send is there: two of them are not further apart than the
    // takeover took, with an interval on either side.
    std::map<std::string, int64_t> longest;
    EXPECT_TRUE(Await(
        [&] {
          const auto sampled = Sampled(locked_us - 2 * interval_us());
          bool all = true;
          for (const auto& watched : all_) {
            if (moved(watched->name)) continue;
            std::vector<int64_t> instants;
            for (const auto& readings : sampled.at(watched->name)) {
              instants.insert(instants.end(), readings.begin(), readings.end());
            }
            std::sort(instants.begin(), instants.end());
            int64_t& most = longest[watched->name] = 0;
            for (size_t i = 1; i < instants.size(); ++i) most = std::max(most, instants[i] - instants[i - 1]);
            all = all && most <= taken_us.at(watched->name) - killed_us + 2 * interval_us();
          }
          return all;
        },
        patience))
        << absl::StrJoin(longest, ", ",
                         [](std::string* out, const auto& entry) {
                           absl::StrAppend(out, entry.first, " ", Seconds(entry.second), " s");
                         })
        << "\n"
        << Logs();
    for (const auto& [name, at_us] : taken_us) {
      slowest_us_ = std::max(slowest_us_, at_us - killed_us);
      // Of an interval of a few seconds the machine's own pauses are a large part.
      if (interval_ >= 10) {
        EXPECT_LE(at_us - killed_us, 2 * interval_us()) << name;
      }
    }
    for (const auto& [name, us] : longest) longest_us_ = std::max(longest_us_, us);
    ASSERT_TRUE(Await([&] { return ServersCountAll(); }, patience));
    EXPECT_TRUE(Await([&] { return ReadSums(1); }, patience)) << Sums() << Logs();
    std::printf("%ld kills, %.0f s unsent: taken over within %.1f s, no two readings further apart than %.1f s\n",
                static_cast<long>(kills_), Seconds(killed_us - locked_us), Seconds(slowest_us_), Seconds(longest_us_));
    if (moved_ > 0) std::printf("  %ld sources had moved before the kill\n", static_cast<long>(moved_));
    std::fflush(stdout);
  }

  absl::Duration interval() const { return absl::Seconds(interval_); }
  int64_t interval_us() const { return interval_ * 1'000'000; }

  const int64_t interval_ = testing::Setting("PGA_TAKEOVER_INTERVAL", 2);
  integration::Suite suite_;
  testing::ScopedTempDir dir_;
  std::string metrics_;
  int starts_ = 0;
  std::vector<std::unique_ptr<Watched>> all_;
  int64_t kills_ = 0;
  int64_t moved_ = 0;
  int64_t unsent_bytes_ = 0;
  int64_t slowest_us_ = 0;
  int64_t longest_us_ = 0;
};

TEST_F(Campaign, KilledOwnersLoseAndDoubleNothing) {
  const int64_t kills = testing::Setting("PGA_TAKEOVER_KILLS", 4);
  const int64_t unsent = testing::Setting("PGA_TAKEOVER_UNSENT", 3);
  for (const auto& watched : all_) Start(watched.get(), 0);
  // Counting begins behind the first reading of every figure.
  ASSERT_TRUE(Await(
      [&] {
        return Number(
                   "SELECT count(DISTINCT (f.source_id, f.metric_id)) FROM metrics.frame f JOIN "
                   "metrics.catalog_metric m ON m.id = f.metric_id WHERE m.name IN ('database', 'statements', "
                   "'table_stats') AND f.kind = 2") == static_cast<int64_t>(3 * all_.size());
      },
      kPatience + 2 * interval()))
      << Logs();
  for (const auto& watched : all_) Start(watched.get(), 1);
  ASSERT_TRUE(Await(
      [&] { return std::all_of(all_.begin(), all_.end(), [](const auto& watched) { return StandsBy(*watched, 1); }); },
      kPatience + 2 * interval()))
      << Logs();
  const clock::SteadyTime begun = clock::SteadyNow();
  for (int64_t round = 0; round < kills && kills_ < kills && !HasFailure(); ++round) Round(unsent);
  ASSERT_FALSE(HasFailure());
  EXPECT_TRUE(Await([&] { return ReadSums(5); }, kPatience + 10 * interval())) << Sums() << Logs();
  // Once more as a whole: nothing was stored behind what had been read.
  int64_t done = 0;
  int64_t stored = 0;
  for (const auto& watched : all_) {
    watched->stored.fill(0);
    watched->until_us.fill(0);
  }
  EXPECT_TRUE(ReadSums(5)) << Sums();
  for (const auto& watched : all_) {
    for (size_t i = 0; i < kFigures.size(); ++i) {
      done += watched->Done(i);
      stored += watched->stored[i];
    }
  }
  EXPECT_EQ(Number("SELECT count(*) FROM metrics.quarantine"), 0);
  EXPECT_EQ(Number("SELECT count(*) FROM metrics.lost_interval"), 0);
  const int64_t superseded = Number("SELECT coalesce(sum(frames), 0) FROM metrics.superseded");
  // What the killed ones had not sent came later.
  EXPECT_GT(superseded, 0);
  std::printf(
      "%ld kills of owners with %ld s unsent (%.1f MB on their disks), interval %ld s, in %.0f s:\n"
      "  gap until the next collector's first reading at most %.2f intervals, two readings at most %.2f apart\n"
      "  %zu counters: %ld done, %ld stored; %ld frames superseded\n",
      static_cast<long>(kills_), static_cast<long>(unsent), static_cast<double>(unsent_bytes_) / 1e6,
      static_cast<long>(interval_), absl::ToDoubleSeconds(clock::SteadyNow() - begun),
      Seconds(slowest_us_) / static_cast<double>(interval_), Seconds(longest_us_) / static_cast<double>(interval_),
      all_.size() * kFigures.size(), static_cast<long>(done), static_cast<long>(stored), static_cast<long>(superseded));
}

}  // namespace
}  // namespace pga
