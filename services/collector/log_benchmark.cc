// How fast a log is read, classified and stripped of literals: bytes a second on one processor.
#include <benchmark/benchmark.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "services/collector/log_pass.h"

namespace pga::collector {
namespace {

// A flood as a busy server writes it: errors, slow statements, temporary files, connections.
std::string Flood(size_t bytes) {
  std::string text;
  for (int i = 0; text.size() < bytes; ++i) {
    const std::string prefix =
        absl::StrCat("2026-11-28 12:00:", 10 + i / 1000 % 50, ".", 100 + i % 900, " UTC [", 1000 + i % 97, "] ");
    absl::StrAppend(&text, prefix, "ERROR:  duplicate key value violates unique constraint \"account_pkey\"\n", prefix,
                    "DETAIL:  Key (id)=(", i, ") already exists.\n", prefix,
                    "STATEMENT:  INSERT INTO account (id, email) VALUES (", i, ", 'a@example.org')\n");
    absl::StrAppend(&text, prefix, "LOG:  duration: ", i % 1000,
                    ".123 ms  statement: SELECT *\n\tFROM account\n\tWHERE id = ", i, "\n");
    absl::StrAppend(&text, prefix, "LOG:  temporary file: path \"base/pgsql_tmp/pgsql_tmp", i,
                    ".0\", size 140000000\n");
    absl::StrAppend(&text, prefix, "LOG:  connection received: host=10.0.0.", i % 250, " port=", 1024 + i % 60000,
                    "\n");
  }
  return text;
}

void ReadFlood(benchmark::State& state) {
  const std::string text = Flood(16 << 20);
  const auto parser = MakeStderrParser(LogLinePrefix("%m [%p] ", 180000), LogClock("UTC"));
  const auto catalog = *catalog::Catalog::Builtin();
  const MetricShape events(*catalog->Find("log_events"));
  const MetricShape counts(*catalog->Find("log_counts"));
  LogShapes shapes;
  shapes.events = &events;
  shapes.counts = &counts;
  size_t kept = 0;
  for (auto _ : state) {
    LogPass pass(
        &LogClasses::Builtin(), shapes, QueryTextMode::kNormalized, [](const MetricShape&) { return nullptr; }, 1);
    LogParseCounts parsed;
    parser->Parse(
        text, LogEnd::kQuiet, [&pass](const LogEntry& entry) { pass.Add(entry); }, &parsed);
    kept = pass.kept();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
  state.counters["kept"] = static_cast<double>(kept);
}
BENCHMARK(ReadFlood)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pga::collector
