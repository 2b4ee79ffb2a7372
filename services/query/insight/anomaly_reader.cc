#include "services/query/insight/anomaly_reader.h"

#include <map>
#include <set>
#include <utility>

#include "libs/clock/steady.h"
#include "libs/status/status.h"
#include "services/query/insight/anomaly.h"
#include "services/query/insight/fingerprint.h"
#include "services/query/insight/history_reader.h"

namespace pga::query {
namespace {

using storage::Figure;

constexpr int kMostStatements = 200;
constexpr absl::Duration kHistory = absl::Hours(28 * 24);

absl::Status SearchSource(const Readers& readers, const storage::SourceRef& source, absl::Time start, absl::Time end,
                          const pg::CallLimit& limit, AnomalySearch* search) {
  storage::TopStatementsQuery top;
  top.sources = {source};
  top.start = start;
  top.end = end;
  top.limit = kMostStatements;
  top.with_texts = false;
  PGA_ASSIGN_OR_RETURN(const storage::TopStatements heaviest, readers.statements->Top(top, limit));
  storage::StatementBucketsQuery query;
  query.sources = {source};
  query.range = {start - kHistory, end, 3600, ""};
  for (const storage::TopStatement& statement : heaviest.statements) query.query_ids.insert(statement.query_id);
  if (query.query_ids.empty()) return absl::OkStatus();
  PGA_ASSIGN_OR_RETURN(const storage::StatementWindow window, readers.statements->Buckets(query, limit));
  const auto covered = window.covered_ms.find(source.id);
  std::vector<StoredAnomaly> found;
  for (const storage::StatementBuckets& statement : window.statements) {
    std::map<int64_t, HourFigures> history;
    for (size_t i = 0; i < statement.buckets.size(); ++i) {
      HourFigures hour;
      if (covered != window.covered_ms.end()) hour.covered_s = covered->second[i] / 1000;
      if (hour.covered_s <= 0) continue;
      if (const auto& figures = statement.buckets[i]) {
        hour.calls = figures->Of(Figure::kCalls);
        hour.time_ms = figures->Of(Figure::kTotalTime) / 1000;
        hour.blocks_read = figures->Of(Figure::kSharedBlksRead);
        hour.blocks = hour.blocks_read + figures->Of(Figure::kSharedBlksHit);
        hour.io_ms = figures->Of(Figure::kIoTime) / 1000;
      }
      history[HourOf(window.edges[i])] = hour;
    }
    ++search->statements;
    bool without = false;
    for (absl::Time hour = start; hour < end; hour += absl::Hours(1)) {
      const HourVerdict verdict = JudgeHour(history, HourOf(hour));
      without |= verdict.without_baseline;
      for (const FoundAnomaly& anomaly : verdict.anomalies) {
        StoredAnomaly& one = found.emplace_back();
        one.source_id = source.uuid;
        one.source_name = source.name;
        one.source_group = source.group;
        one.database = statement.database;
        one.query_id = statement.query_id;
        one.found = anomaly;
        one.calls = history[HourOf(hour)].calls;
        one.hour = hour;
      }
    }
    if (without) ++search->without_baseline;
  }
  std::set<std::pair<int32_t, int64_t>> keys;
  for (const StoredAnomaly& one : found) keys.insert({source.id, one.query_id});
  PGA_ASSIGN_OR_RETURN(const auto texts,
                       readers.statements->Texts({keys.begin(), keys.end()}, kMostFingerprintCharacters, limit));
  for (StoredAnomaly& one : found) {
    const auto text = texts.find({source.id, one.query_id});
    if (text != texts.end() && !text->second.truncated) one.fingerprint = FingerprintOf(text->second.text);
    search->found.push_back(std::move(one));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AnomalySearch> SearchAnomalies(const Readers& readers, const std::vector<storage::SourceRef>& sources,
                                              absl::Time end, int hours, const pg::CallLimit& limit) {
  AnomalySearch search;
  const clock::SteadyTime began = clock::SteadyNow();
  const absl::Duration time = (limit.deadline - began) / 2;
  for (const storage::SourceRef& source : sources) {
    if (search.sources > 0 && clock::SteadyNow() - began > time) break;
    PGA_RETURN_IF_ERROR(SearchSource(readers, source, end - absl::Hours(hours), end, limit, &search));
    ++search.sources;
  }
  return search;
}

}  // namespace pga::query
