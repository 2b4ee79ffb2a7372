// What idle servers cost: servers of all versions with tables, indexes and statements that nobody uses are watched by
// one real collector. Rows read and rows stored are counted by metric and version, and printed.
//
// PGA_IDLE_VERSIONS names the versions ("all"), PGA_IDLE_SECONDS how long they are watched (12), PGA_IDLE_INTERVAL the
// collection interval in seconds (1), PGA_IDLE_TABLES the tables of each (200; three statements for each). Ten minutes
// as in production: PGA_IDLE_SECONDS=600 PGA_IDLE_INTERVAL=60.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/clock/steady.h"
#include "libs/status/testing.h"
#include "libs/testing/settings.h"
#include "libs/testing/subprocess.h"
#include "libs/testing/temp_dir.h"
#include "libs/testing/temp_postgres.h"
#include "services/collector/collector_process_testing.h"
#include "tests/servers/servers_testing.h"

namespace pga::servers {
namespace {

namespace ingestpb = ::pganalytics::ingest::v1;
using ::pga::collector::ScriptedIngest;
using ::pga::status::IsOk;
using ::pga::testing::ScopedTempDir;
using ::pga::testing::Subprocess;
using ::pga::testing::TempPostgres;
using ::pga::testing::WaitUntil;
using ::testing::IsEmpty;

// Readings of one metric on one version, the first of each server or database left out: it stores everything.
struct Count {
  int64_t readings = 0;
  int64_t read = 0;
  int64_t stored = 0;
};

struct Server {
  std::string version;
  std::unique_ptr<TempPostgres> postgres;
  std::map<std::string, Count> counts;
  // Of each metric and database, those of the first reading.
  std::map<std::pair<std::string, int64_t>, int64_t> first_at;
};

absl::Status Fill(TempPostgres& server, int64_t tables) {
  const auto extension = server.Exec("postgres", "CREATE EXTENSION pg_stat_statements");
  if (!extension.ok()) return extension.status();
  const std::string sql =
      absl::StrCat("DO $$BEGIN FOR i IN 1..", tables,
                   " LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, n int)', i); "
                   "EXECUTE format('CREATE INDEX ON t%s (n)', i); "
                   "EXECUTE format('INSERT INTO t%s SELECT k, k FROM generate_series(1, 20) k', i); "
                   "EXECUTE format('UPDATE t%s SET n = 0 WHERE id = 7', i); "
                   "EXECUTE format('DELETE FROM t%s WHERE id = 9', i); END LOOP; END$$");
  const auto filled = server.Exec("postgres", sql);
  if (!filled.ok()) return filled.status();
  return server.Exec("postgres", "CHECKPOINT").status();
}

TEST(IdleServers, HardlyARowIsStored) {
  const int64_t seconds = testing::Setting("PGA_IDLE_SECONDS", 12);
  const int64_t interval = testing::Setting("PGA_IDLE_INTERVAL", 1);
  const int64_t tables = testing::Setting("PGA_IDLE_TABLES", 200);
  std::vector<Server> servers;
  std::string yaml = "sources:\n";
  for (const std::string& version : Versions("PGA_IDLE_VERSIONS", "all")) {
    TempPostgres::Options options;
    options.version = version;
    options.preload_statements = true;
    auto started = TempPostgres::Start(options);
    if (absl::IsNotFound(started.status())) {
      std::printf("left out: %s\n", std::string(started.status().message()).c_str());
      continue;
    }
    ASSERT_THAT(started, IsOk());
    ASSERT_THAT(Fill(**started, tables), IsOk());
    absl::StrAppend(&yaml, "  - {name: v", version, ", host: ", (*started)->socket_dir(), ", user: postgres}\n");
    servers.push_back({version, *std::move(started), {}, {}});
  }
  ASSERT_FALSE(servers.empty());

  ScopedTempDir state;
  ScriptedIngest ingest;
  ASSERT_THAT(pga::testing::WriteFile(state / "fleet.yaml", yaml), IsOk());
  auto collector = collector::StartCollector(
      state, collector::CollectorVariables(*servers[0].postgres, ingest, state,
                                           {{"COLLECTOR_CONFIG", state / "fleet.yaml"},
                                            {"HOST_METRICS", "false"},
                                            {"COLLECTION_INTERVAL", absl::StrCat(interval)}}));
  ASSERT_THAT(collector, IsOk());
  std::map<std::string, Server*> by_id;
  for (Server& server : servers) by_id[ScriptedIngest::SourceId("v" + server.version)] = &server;

  int64_t cursor = 0;
  int64_t begun_us = 0;
  int64_t newest_us = 0;
  const auto take = [&] {
    ingest.Visit(&cursor, [&](const ingestpb::Frame& frame, const frame::FrameReader&) {
      Server& server = *by_id.at(frame.source_id());
      const std::pair<std::string, int64_t> tracker = {frame.metric(), frame.scope_id()};
      const int64_t first = server.first_at.emplace(tracker, frame.collected_at_us()).first->second;
      Count& count = server.counts[frame.metric()];
      if (frame.collected_at_us() == first) return;
      if (begun_us == 0) begun_us = frame.collected_at_us();
      newest_us = std::max(newest_us, frame.collected_at_us());
      count.readings += frame.part() == 0 ? 1 : 0;
      count.stored += frame.row_count();
      // A daily key frame repeats what the delta beside it has read.
      if (frame.kind() != ingestpb::FRAME_KIND_KEYFRAME) count.read += frame.row_count() + frame.unchanged_row_count();
    });
    return begun_us != 0 && newest_us - begun_us >= seconds * 1'000'000;
  };
  EXPECT_TRUE(WaitUntil(take, absl::Seconds(seconds + 2 * interval + 120))) << (*collector)->Output().substr(0, 4000);
  ASSERT_THAT(collector::StopCollector(collector->get()), IsOk());
  EXPECT_THAT(ingest.violations(), IsEmpty());

  const auto catalog = *catalog::Catalog::Builtin();
  std::printf("rows stored of rows read in %ld s, every %ld s, %ld tables, first readings left out\n%-18s",
              static_cast<long>(seconds), static_cast<long>(interval), static_cast<long>(tables), "metric");
  for (const Server& server : servers) std::printf(" %15s", server.version.c_str());
  std::printf("\n");
  const auto cells = [&](const std::string& title, const auto& count_of) {
    std::printf("%-18s", title.c_str());
    for (const Server& server : servers) {
      const Count count = count_of(server);
      std::printf(" %15s", count.readings == 0 ? "-" : absl::StrCat(count.stored, " / ", count.read).c_str());
    }
    std::printf("\n");
  };
  for (const auto& metric : catalog->metrics()) {
    const auto of_metric = [&](const Server& server) {
      const auto found = server.counts.find(metric.name());
      return found == server.counts.end() ? Count() : found->second;
    };
    if (std::any_of(servers.begin(), servers.end(), [&](const Server& s) { return of_metric(s).readings > 0; })) {
      cells(absl::StrCat(metric.name(), metric.skip_unchanged() ? " *" : ""), of_metric);
    }
  }
  const auto sum = [&](const Server& server, bool skipping_only) {
    Count all;
    for (const auto& [name, count] : server.counts) {
      if (skipping_only && !catalog->Find(name)->skip_unchanged()) continue;
      all.readings += count.readings;
      all.read += count.read;
      all.stored += count.stored;
    }
    return all;
  };
  const auto left_out = [](const Count& count) {
    return 100.0 * (1.0 - static_cast<double>(count.stored) / static_cast<double>(std::max<int64_t>(count.read, 1)));
  };
  for (const bool skipping_only : {false, true}) {
    cells(skipping_only ? "all of *" : "all", [&](const Server& server) { return sum(server, skipping_only); });
    std::printf("%-18s", "  left out");
    for (const Server& server : servers) std::printf(" %13.2f %%", left_out(sum(server, skipping_only)));
    std::printf("\n");
  }
  std::fflush(stdout);

  for (Server& server : servers) {
    SCOPED_TRACE(absl::StrCat("PostgreSQL ", server.version));
    // Nobody touches the tables.
    for (const char* metric : {"table_stats", "index_stats"}) {
      EXPECT_GT(server.counts[metric].read, 0) << metric;
      EXPECT_EQ(server.counts[metric].stored, 0) << metric;
    }
    EXPECT_GE(left_out(sum(server, true)), 95.0);
  }
}

}  // namespace
}  // namespace pga::servers
