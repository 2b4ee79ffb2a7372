#include "services/query/insight/fingerprint_reader.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "libs/status/status.h"
#include "services/query/insight/fingerprint.h"

namespace pga::query {
namespace {

constexpr int kMostStatements = 1000;
constexpr size_t kMostSamples = 5;

}  // namespace

absl::StatusOr<FingerprintAnswer> ReadFingerprints(const Readers& readers, const FingerprintQuery& query,
                                                   const pg::CallLimit& limit) {
  storage::TopStatementsQuery top;
  top.sources = query.sources;
  top.start = query.start;
  top.end = query.end;
  top.limit = kMostStatements;
  top.database = query.database;
  top.with_texts = false;
  PGA_ASSIGN_OR_RETURN(const storage::TopStatements found, readers.statements->Top(top, limit));
  std::set<std::pair<int32_t, int64_t>> keys;
  for (const storage::TopStatement& statement : found.statements)
    keys.insert({statement.source.id, statement.query_id});
  PGA_ASSIGN_OR_RETURN(const auto texts,
                       readers.statements->Texts({keys.begin(), keys.end()}, kMostFingerprintCharacters, limit));
  FingerprintAnswer answer;
  answer.start = found.start;
  answer.end = found.end;
  answer.total_us = found.total.value_or(0);
  std::map<std::string_view, std::string> known;
  std::map<std::string, FingerprintGroup> groups;
  for (storage::TopStatement statement : found.statements) {
    const auto text = texts.find({statement.source.id, statement.query_id});
    std::string fingerprint;
    if (text != texts.end() && !text->second.truncated) {
      const auto [at, added] = known.try_emplace(text->second.text);
      if (added) at->second = FingerprintOf(text->second.text);
      fingerprint = at->second;
    }
    if (fingerprint.empty()) {
      answer.unknown_us += statement.figures.Of(storage::Figure::kTotalTime);
      continue;
    }
    FingerprintGroup& group = groups[fingerprint];
    group.fingerprint = fingerprint;
    for (size_t i = 0; i < storage::kFigureCount; ++i) group.figures.values[i] += statement.figures.values[i];
    if (query.with_texts) {
      statement.text = storage::CutText::Of(text->second.text, query.text_length);
      const bool there = std::find(group.samples.begin(), group.samples.end(), statement.text) != group.samples.end();
      if (!there && group.samples.size() < kMostSamples) group.samples.push_back(statement.text);
    }
    group.statements.push_back(std::move(statement));
  }
  for (auto& [fingerprint, group] : groups) answer.groups.push_back(std::move(group));
  std::stable_sort(answer.groups.begin(), answer.groups.end(),
                   [](const FingerprintGroup& a, const FingerprintGroup& b) {
                     return a.figures.Of(storage::Figure::kTotalTime) > b.figures.Of(storage::Figure::kTotalTime);
                   });
  return answer;
}

absl::StatusOr<std::vector<SeenSpan>> ReadSeen(const Readers& readers, const FingerprintQuery& query,
                                               const std::vector<FingerprintGroup>& groups,
                                               const pg::CallLimit& limit) {
  storage::StatementBucketsQuery buckets;
  buckets.sources = query.sources;
  buckets.database = query.database;
  const absl::Duration length = query.end - query.start;
  const absl::Duration step = length <= absl::Hours(2)        ? absl::Minutes(1)
                              : length <= absl::Hours(24 * 7) ? absl::Hours(1)
                                                              : absl::Hours(24);
  buckets.range = {query.start, query.end, absl::ToInt64Seconds(step), ""};
  std::map<std::tuple<int32_t, int64_t, std::string>, size_t> group_of;
  for (size_t i = 0; i < groups.size(); ++i) {
    for (const storage::TopStatement& statement : groups[i].statements) {
      buckets.query_ids.insert(statement.query_id);
      group_of[{statement.source.id, statement.query_id, statement.database}] = i;
    }
  }
  std::vector<SeenSpan> seen(groups.size(), {absl::InfiniteFuture(), absl::InfinitePast()});
  PGA_ASSIGN_OR_RETURN(const storage::StatementWindow window, readers.statements->Buckets(buckets, limit));
  for (const storage::StatementBuckets& statement : window.statements) {
    const auto group = group_of.find({statement.source.id, statement.query_id, statement.database});
    if (group == group_of.end()) continue;
    SeenSpan& span = seen[group->second];
    for (size_t i = 0; i < statement.buckets.size(); ++i) {
      if (!statement.buckets[i] || statement.buckets[i]->Of(storage::Figure::kCalls) <= 0) continue;
      span.first = std::min(span.first, window.edges[i]);
      span.last = std::max(span.last, window.edges[i + 1]);
    }
  }
  return seen;
}

}  // namespace pga::query
