#include "services/query/insight/history_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "libs/storage/read/range.h"

namespace pga::query {
namespace {

using storage::Figure;

constexpr int64_t kHourSeconds = 3600;
constexpr int kMostDatabases = 1000;

}  // namespace

int64_t HourOf(absl::Time time) {
  return absl::ToUnixSeconds(time) / kHourSeconds;
}

HistorySpan HistoryBefore(absl::Time now, int days) {
  const absl::Time end = absl::UnixEpoch() + absl::Floor(now - absl::UnixEpoch(), absl::Hours(1));
  return {end - absl::Hours(24) * std::min(days, storage::ReadRetention().raw), end};
}

absl::StatusOr<std::map<int64_t, StatementHistory>> ReadCallHours(const Readers& readers,
                                                                  const std::vector<storage::SourceRef>& sources,
                                                                  const std::set<int64_t>& query_ids,
                                                                  const std::string& database, const HistorySpan& span,
                                                                  const pg::CallLimit& limit) {
  std::map<int64_t, StatementHistory> found;
  if (query_ids.empty()) return found;
  storage::StatementBucketsQuery query;
  query.sources = sources;
  query.range = {span.start, span.end, kHourSeconds, ""};
  query.query_ids = query_ids;
  query.database = database;
  PGA_ASSIGN_OR_RETURN(const storage::StatementWindow window, readers.statements->Buckets(query, limit));
  for (const storage::StatementBuckets& statement : window.statements) {
    StatementHistory& history = found[statement.query_id];
    for (size_t i = 0; i < statement.buckets.size(); ++i) {
      const auto& figures = statement.buckets[i];
      if (!figures || figures->Of(Figure::kCalls) <= 0) continue;
      CallHour& hour = history.hours[HourOf(window.edges[i])];
      hour.calls += figures->Of(Figure::kCalls);
      hour.time_ms += figures->Of(Figure::kTotalTime) / 1000;
      hour.rows += figures->Of(Figure::kRows);
      CallTotals& totals = history.totals;
      totals.calls += figures->Of(Figure::kCalls);
      totals.time_ms += figures->Of(Figure::kTotalTime) / 1000;
      totals.rows += figures->Of(Figure::kRows);
      totals.blocks_read += figures->Of(Figure::kSharedBlksRead);
      totals.blocks += figures->Of(Figure::kSharedBlksRead) + figures->Of(Figure::kSharedBlksHit);
      totals.io_ms += figures->Of(Figure::kIoTime) / 1000;
    }
    if (history.hours.empty()) found.erase(statement.query_id);
  }
  return found;
}

absl::StatusOr<std::vector<DatabaseLoad>> ReadLoadHours(const Readers& readers,
                                                        const std::vector<storage::SourceRef>& sources,
                                                        const std::string& database, const HistorySpan& span,
                                                        const pg::CallLimit& limit) {
  storage::SeriesQuery query;
  query.metric = "statements";
  query.column = "total_exec_time_us";
  query.sources = sources;
  if (!database.empty()) query.filters = {absl::StrCat("datname=", database)};
  query.range = {span.start, span.end, kHourSeconds, ""};
  query.rate = true;
  query.group_by = {"source", "datname"};
  query.limit = kMostDatabases;
  PGA_ASSIGN_OR_RETURN(const storage::SeriesAnswer found, readers.series->Read(query, limit));
  std::vector<DatabaseLoad> loads;
  for (const storage::SeriesData& data : found.series) {
    DatabaseLoad& load = loads.emplace_back();
    load.source_id = data.source_uuid;
    const auto name = data.labels.find("datname");
    if (name != data.labels.end()) load.database = name->second;
    for (const storage::SeriesPoint& point : data.points) {
      if (!point.value) continue;
      load.hours[HourOf(point.time)] = {*point.value / 1e6, point.covered_ms / 1000};
    }
  }
  return loads;
}

}  // namespace pga::query
