// Suggestions about one statement, of WorkloadService.
#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/advice_messages.h"
#include "services/query/callers.h"
#include "services/query/insight/fingerprint.h"
#include "services/query/insight/shape.h"
#include "services/query/insight/suggestions.h"
#include "services/query/request_rules.h"
#include "services/query/workload_service.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

constexpr int kDefaultHours = 168;
constexpr int kMostStatements = 1000;
// Sources that a statement is judged on, those where it takes most time.
constexpr size_t kMostPlaces = 10;

struct Place {
  storage::SourceRef source;
  std::string database;
  double time_us = 0;
};

// Where a statement ran, most time first.
absl::StatusOr<std::vector<Place>> PlacesOf(const Readers& readers, const std::vector<storage::SourceRef>& sources,
                                            int64_t query_id, const Range& range, const pg::CallLimit& limit) {
  storage::TopStatementsQuery query;
  query.sources = sources;
  query.start = range.start;
  query.end = range.end;
  query.limit = kMostStatements;
  query.query_ids = {query_id};
  query.with_texts = false;
  PGA_ASSIGN_OR_RETURN(const storage::TopStatements found, readers.statements->Top(query, limit));
  // Its users together.
  std::map<std::pair<int32_t, std::string>, Place> places;
  for (const storage::TopStatement& statement : found.statements) {
    Place& place = places[{statement.source.id, statement.database}];
    place.source = statement.source;
    place.database = statement.database;
    place.time_us += statement.figures.Of(storage::Figure::kTotalTime);
  }
  std::vector<Place> sorted;
  for (auto& [key, place] : places) sorted.push_back(std::move(place));
  std::stable_sort(sorted.begin(), sorted.end(), [](const Place& a, const Place& b) { return a.time_us > b.time_us; });
  if (sorted.size() > kMostPlaces) sorted.resize(kMostPlaces);
  return sorted;
}

// What a statement's text says, and how many of the same fingerprint the database has.
absl::StatusOr<SuggestedStatement> Describe(const Readers& readers, const Place& place, int64_t query_id,
                                            const Range& range, const pg::CallLimit& limit) {
  SuggestedStatement statement;
  statement.query_id = query_id;
  statement.database = place.database;
  const std::pair<int32_t, int64_t> key{place.source.id, query_id};
  PGA_ASSIGN_OR_RETURN(auto texts, readers.statements->Texts({key}, kMostFingerprintCharacters, limit));
  const auto text = texts.find(key);
  if (text == texts.end() || text->second.truncated) return statement;
  statement.shape = ShapeOf(text->second.text);
  const std::string fingerprint = FingerprintOf(text->second.text);
  if (fingerprint.empty() || !statement.shape.has_in_list) return statement;
  storage::TopStatementsQuery query;
  query.sources = {place.source};
  query.start = range.start;
  query.end = range.end;
  query.limit = kMostStatements;
  query.database = place.database;
  query.with_texts = false;
  PGA_ASSIGN_OR_RETURN(const storage::TopStatements others, readers.statements->Top(query, limit));
  std::set<std::pair<int32_t, int64_t>> keys;
  for (const storage::TopStatement& one : others.statements) keys.insert({one.source.id, one.query_id});
  PGA_ASSIGN_OR_RETURN(texts, readers.statements->Texts({keys.begin(), keys.end()}, kMostFingerprintCharacters, limit));
  for (const auto& [other, of] : texts) {
    if (!of.truncated && FingerprintOf(of.text) == fingerprint) ++statement.variants;
  }
  return statement;
}

}  // namespace

template <typename Request>
absl::StatusOr<WorkloadService::FoundSuggestions> WorkloadService::Suggest(const rpc::CallContext& call,
                                                                           const Request& asked, bool rewrites) {
  PGA_ASSIGN_OR_RETURN(const int64_t query_id, ParseId(asked.query_hash(), "query_hash"));
  PGA_ASSIGN_OR_RETURN(const int hours, ResolveHours(asked.hours(), kDefaultHours, 1));
  const absl::Time now = clock_->Now();
  const Range range{now - absl::Hours(hours), now};
  PGA_ASSIGN_OR_RETURN(
      const std::vector<storage::SourceRef> sources,
      SourcesOf(call, *authenticator_, readers_.sources, {asked.source().begin(), asked.source().end()}));
  PGA_ASSIGN_OR_RETURN(const std::vector<Place> places, PlacesOf(readers_, sources, query_id, range, Limit(call)));
  if (places.empty()) {
    return absl::NotFoundError(absl::StrCat("statement ", query_id, " did not run in the last ", hours, " hours"));
  }
  FoundSuggestions suggestions;
  std::map<int32_t, SourceFacts> facts;
  for (const Place& place : places) {
    if (facts.count(place.source.id) == 0) {
      PGA_ASSIGN_OR_RETURN(facts[place.source.id],
                           advice_->ReadStatements(place.source, range.start, range.end, Limit(call)));
    }
    const SourceFacts& known = facts[place.source.id];
    PGA_ASSIGN_OR_RETURN(const SuggestedStatement statement, Describe(readers_, place, query_id, range, Limit(call)));
    const Suggestions found = SuggestFor(known, statement);
    for (const Suggestion& from : found.found) {
      if (from.rewrite != rewrites) continue;
      pb::QuerySuggestion& to = suggestions.found.emplace_back();
      to.set_suggestion_type(from.type);
      FillAdvice(from.advice, known, to.mutable_advice());
    }
    for (const NotJudged& from : found.not_judged) FillNotJudged(from, known, &suggestions.not_judged.emplace_back());
  }
  return suggestions;
}

grpc::ServerUnaryReactor* WorkloadService::GenerateRewrites(grpc::CallbackServerContext* context,
                                                            const pb::GenerateRewritesRequest* request,
                                                            pb::GenerateRewritesResponse* response) {
  return calls_.Run<pb::GenerateRewritesRequest, pb::GenerateRewritesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GenerateRewritesRequest& asked,
             pb::GenerateRewritesResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const FoundSuggestions suggestions, Suggest(call, asked, true));
        std::set<std::string> types;
        for (const pb::QuerySuggestion& one : suggestions.found) types.insert(one.suggestion_type());
        answer.set_query_hash(asked.query_hash());
        answer.set_suggestions_generated(static_cast<int32_t>(suggestions.found.size()));
        for (const std::string& type : types) answer.add_suggestion_types(type);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* WorkloadService::GenerateParameters(grpc::CallbackServerContext* context,
                                                              const pb::GenerateParametersRequest* request,
                                                              pb::GenerateParametersResponse* response) {
  return calls_.Run<pb::GenerateParametersRequest, pb::GenerateParametersResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GenerateParametersRequest& asked,
             pb::GenerateParametersResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const FoundSuggestions suggestions, Suggest(call, asked, false));
        answer.set_query_hash(asked.query_hash());
        answer.set_suggestions_count(static_cast<int32_t>(suggestions.found.size()));
        for (const pb::QuerySuggestion& one : suggestions.found) *answer.add_suggestions() = one;
        return absl::OkStatus();
      });
}

template <typename Request>
absl::Status WorkloadService::ListSuggestions(const rpc::CallContext& call, const Request& asked, bool rewrites,
                                              pb::ListSuggestionsResponse* answer) {
  PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 10, 100));
  PGA_ASSIGN_OR_RETURN(const FoundSuggestions suggestions, Suggest(call, asked, rewrites));
  answer->set_query_hash(asked.query_hash());
  for (const pb::QuerySuggestion& one : suggestions.found) {
    if (answer->suggestions_size() == limit) break;
    *answer->add_suggestions() = one;
  }
  answer->set_count(answer->suggestions_size());
  for (const pb::NotJudged& one : suggestions.not_judged) *answer->add_not_judged() = one;
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* WorkloadService::ListRewrites(grpc::CallbackServerContext* context,
                                                        const pb::ListRewritesRequest* request,
                                                        pb::ListSuggestionsResponse* response) {
  return calls_.Run<pb::ListRewritesRequest, pb::ListSuggestionsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListRewritesRequest& asked, pb::ListSuggestionsResponse& answer) {
        return ListSuggestions(call, asked, true, &answer);
      });
}

grpc::ServerUnaryReactor* WorkloadService::ListParameters(grpc::CallbackServerContext* context,
                                                          const pb::ListParametersRequest* request,
                                                          pb::ListSuggestionsResponse* response) {
  return calls_.Run<pb::ListParametersRequest, pb::ListSuggestionsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListParametersRequest& asked, pb::ListSuggestionsResponse& answer) {
        return ListSuggestions(call, asked, false, &answer);
      });
}

}  // namespace pga::query
