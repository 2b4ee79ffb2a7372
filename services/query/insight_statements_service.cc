// Fingerprints, plans and anomalies of InsightService.
#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/callers.h"
#include "services/query/insight/anomaly_reader.h"
#include "services/query/insight/fingerprint.h"
#include "services/query/insight/fingerprint_reader.h"
#include "services/query/insight_service.h"
#include "services/query/request_ranges.h"
#include "services/query/request_rules.h"
#include "services/query/statement_figures.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

constexpr int kTextLength = 500;
constexpr int kMostPlans = 50;
constexpr int kPlanCharacters = 16'000;
constexpr int kPlanHours = 168;
constexpr int kMostDetectHours = 24;
constexpr int kMostDays = 30;

using rpc::ToProto;

void Fill(const storage::TopStatement& from, absl::Time end, pb::QueryStats* to) {
  FillStatement(from, to);
  *to->mutable_time() = ToProto(end);
  to->set_query_hash(absl::StrCat(from.query_id));
  to->set_query_plan_time(Millis(from.figures.Of(storage::Figure::kPlanTime)));
}

// A node's line begins with its kind; a condition's line with its name and a colon.
void FillNodes(const std::string& tree, pb::ExplainPlan* to) {
  for (absl::string_view line : absl::StrSplit(tree, '\n')) {
    line = absl::StripLeadingAsciiWhitespace(line);
    absl::ConsumePrefix(&line, "Parallel ");
    if (absl::StartsWith(line, "Seq Scan")) to->set_has_seq_scan(true);
    if (absl::StartsWith(line, "Index Scan") || absl::StartsWith(line, "Index Only Scan")) to->set_has_index_scan(true);
    if (absl::StartsWith(line, "Bitmap ")) to->set_has_bitmap_scan(true);
    if (absl::StartsWith(line, "Nested Loop")) to->set_has_nested_loop(true);
  }
}

void Fill(const StoredAnomaly& from, pb::QueryAnomaly* to) {
  to->set_id(from.id);
  to->set_query_hash(absl::StrCat(from.query_id));
  to->set_query_fingerprint_hash(from.fingerprint);
  to->set_anomaly_type(from.found.type);
  to->set_severity(from.found.severity);
  *to->mutable_detected_at() = ToProto(from.detected_at);
  to->set_metric_name(from.found.metric);
  to->set_metric_value(from.found.value);
  to->set_baseline_value(from.found.baseline);
  to->set_spread(from.found.spread);
  to->set_z_score(from.found.z);
  to->set_method(from.found.method);
  to->set_baseline_hours(from.found.hours);
  to->set_calls(from.calls);
  *to->mutable_hour_start() = ToProto(from.hour);
  to->set_resolved(from.resolved_at.has_value());
  if (from.resolved_at) *to->mutable_resolved_at() = ToProto(*from.resolved_at);
  to->set_resolved_by(from.resolved_by);
  to->set_source_id(from.source_id);
  to->set_source_name(from.source_name);
  to->set_database_name(from.database);
}

}  // namespace

grpc::ServerUnaryReactor* InsightService::ListFingerprints(grpc::CallbackServerContext* context,
                                                           const pb::ListFingerprintsRequest* request,
                                                           pb::ListFingerprintsResponse* response) {
  return calls_.Run<pb::ListFingerprintsRequest, pb::ListFingerprintsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListFingerprintsRequest& asked,
             pb::ListFingerprintsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(24), clock_->Now()));
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 100));
        FingerprintQuery query;
        query.start = range.start;
        query.end = range.end;
        query.database = asked.database();
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), limit, kTextLength));
        PGA_ASSIGN_OR_RETURN(query.sources, SourcesOf(call, *authenticator_, readers_.sources,
                                                      {asked.source().begin(), asked.source().end()}));
        PGA_ASSIGN_OR_RETURN(FingerprintAnswer found, ReadFingerprints(readers_, query, Limit(call)));
        if (found.groups.size() > static_cast<size_t>(limit)) found.groups.resize(static_cast<size_t>(limit));
        PGA_ASSIGN_OR_RETURN(const std::vector<SeenSpan> seen, ReadSeen(readers_, query, found.groups, Limit(call)));
        for (size_t i = 0; i < found.groups.size(); ++i) {
          const FingerprintGroup& from = found.groups[i];
          pb::Fingerprint* const to = answer.add_data();
          to->set_fingerprint_hash(from.fingerprint);
          if (!from.samples.empty()) to->set_normalized_query(from.samples[0].text);
          for (const storage::CutText& text : from.samples) to->add_sample_queries(text.text);
          to->set_total_calls(from.figures.Of(storage::Figure::kCalls));
          to->set_total_time(Millis(from.figures.Of(storage::Figure::kTotalTime)));
          if (to->total_calls() > 0) to->set_avg_execution_time(to->total_time() / to->total_calls());
          to->set_rows(from.figures.Of(storage::Figure::kRows));
          std::set<std::tuple<int32_t, std::string, int64_t>> ids;
          std::set<std::string> names;
          for (const storage::TopStatement& statement : from.statements) {
            ids.emplace(statement.source.id, statement.database, statement.query_id);
            names.insert(statement.source.name);
          }
          to->set_unique_query_count(static_cast<int32_t>(ids.size()));
          for (const std::string& name : names) to->add_source_names(name);
          if (seen[i].first < seen[i].last) {
            *to->mutable_first_seen() = ToProto(seen[i].first);
            *to->mutable_last_seen() = ToProto(seen[i].last);
          }
        }
        answer.set_count(answer.data_size());
        *answer.mutable_start() = ToProto(found.start);
        *answer.mutable_end() = ToProto(found.end);
        if (found.total_us > 0) answer.set_unknown_share(found.unknown_us / found.total_us);
        PGA_ASSIGN_OR_RETURN(
            const double completeness,
            readers_.freshness->Completeness("statements", query.sources, found.start, found.end, Limit(call)));
        answer.set_completeness(completeness);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::ListFingerprintQueries(grpc::CallbackServerContext* context,
                                                                 const pb::ListFingerprintQueriesRequest* request,
                                                                 pb::ListFingerprintQueriesResponse* response) {
  return calls_.Run<pb::ListFingerprintQueriesRequest, pb::ListFingerprintQueriesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListFingerprintQueriesRequest& asked,
             pb::ListFingerprintQueriesResponse& answer) -> absl::Status {
        const std::string& wanted = asked.fingerprint_hash();
        if (wanted.size() != 16 || wanted.find_first_not_of("0123456789abcdef") != std::string::npos) {
          return absl::InvalidArgumentError(
              "fingerprint_hash is 16 hexadecimal digits, as /api/v1/queries/fingerprints has them");
        }
        PGA_ASSIGN_OR_RETURN(const Range range, RangeOf(asked, absl::Hours(24), clock_->Now()));
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 100));
        FingerprintQuery query;
        query.start = range.start;
        query.end = range.end;
        query.with_texts = call.principal.query_texts;
        PGA_ASSIGN_OR_RETURN(query.text_length, ResolveTextLength(asked.text_length(), limit, kTextLength));
        PGA_ASSIGN_OR_RETURN(query.sources, SourcesOf(call, *authenticator_, readers_.sources,
                                                      {asked.source().begin(), asked.source().end()}));
        PGA_ASSIGN_OR_RETURN(const FingerprintAnswer found, ReadFingerprints(readers_, query, Limit(call)));
        const auto group = std::find_if(found.groups.begin(), found.groups.end(),
                                        [&](const FingerprintGroup& one) { return one.fingerprint == wanted; });
        if (group == found.groups.end()) {
          return absl::NotFoundError(
              absl::StrCat("no statement with fingerprint ", wanted,
                           " ran in the range; /api/v1/queries/fingerprints lists those that did"));
        }
        answer.set_fingerprint_hash(wanted);
        for (const storage::TopStatement& statement : group->statements) {
          if (answer.queries_size() < limit) Fill(statement, found.end, answer.add_queries());
        }
        answer.set_count(answer.queries_size());
        *answer.mutable_start() = ToProto(found.start);
        *answer.mutable_end() = ToProto(found.end);
        PGA_ASSIGN_OR_RETURN(
            const double completeness,
            readers_.freshness->Completeness("statements", query.sources, found.start, found.end, Limit(call)));
        answer.set_completeness(completeness);
        return absl::OkStatus();
      });
}

absl::StatusOr<std::vector<pb::ExplainPlan>> InsightService::Plans(
    const rpc::CallContext& call, const std::string& query_hash, int hours,
    const google::protobuf::RepeatedPtrField<std::string>& wanted, int limit) {
  storage::PlanQuery query;
  PGA_ASSIGN_OR_RETURN(query.query_id, ParseId(query_hash, "query_hash"));
  PGA_ASSIGN_OR_RETURN(const int back, ResolveHours(hours, kPlanHours, 1));
  query.end = clock_->Now();
  query.start = query.end - absl::Hours(back);
  query.limit = 1000;
  query.text_length = kPlanCharacters;
  PGA_ASSIGN_OR_RETURN(query.sources,
                       SourcesOf(call, *authenticator_, readers_.sources, {wanted.begin(), wanted.end()}));
  storage::PlanAnswer found;
  PGA_ASSIGN_OR_RETURN(found, readers_.plans->Read(query, Limit(call)));
  std::stable_sort(found.plans.begin(), found.plans.end(),
                   [](const storage::StatementPlan& a, const storage::StatementPlan& b) { return a.last > b.last; });
  if (found.plans.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no plan of statement ", query_hash, " was seen in the last ", back,
                     " hours; plans come from auto_explain through the server's log, or from EXPLAIN"));
  }
  if (found.plans.size() > static_cast<size_t>(limit)) found.plans.resize(static_cast<size_t>(limit));
  std::set<std::pair<int32_t, int64_t>> keys;
  for (const storage::StatementPlan& plan : found.plans) keys.insert({plan.source.id, plan.query_id});
  PGA_ASSIGN_OR_RETURN(const auto texts,
                       readers_.statements->Texts({keys.begin(), keys.end()}, kMostFingerprintCharacters, Limit(call)));
  std::vector<pb::ExplainPlan> plans;
  for (const storage::StatementPlan& from : found.plans) {
    pb::ExplainPlan& to = plans.emplace_back();
    to.set_id(absl::StrCat(from.plan_id));
    to.set_query_hash(query_hash);
    const auto text = texts.find({from.source.id, from.query_id});
    if (text != texts.end() && !text->second.truncated) {
      to.set_query_fingerprint_hash(FingerprintOf(text->second.text));
    }
    *to.mutable_collected_at() = ToProto(from.last);
    *to.mutable_first_seen() = ToProto(from.first);
    if (call.principal.query_texts) {
      to.set_plan_text(from.tree.text);
      to.set_plan_text_truncated(from.tree.truncated);
    }
    to.set_logged(static_cast<double>(from.logged));
    to.set_explained(static_cast<double>(from.explained));
    if (from.logged > 0) {
      to.set_execution_duration_ms(Millis(static_cast<double>(from.duration_us)) / static_cast<double>(from.logged));
    }
    FillNodes(from.tree.text, &to);
    to.set_source_id(from.source.uuid);
    to.set_source_name(from.source.name);
    to.set_database_name(from.database);
  }
  return plans;
}

grpc::ServerUnaryReactor* InsightService::ExplainQuery(grpc::CallbackServerContext* context,
                                                       const pb::ExplainQueryRequest* request,
                                                       pb::ExplainQueryResponse* response) {
  return calls_.Run<pb::ExplainQueryRequest, pb::ExplainQueryResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ExplainQueryRequest& asked,
             pb::ExplainQueryResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(std::vector<pb::ExplainPlan> plans,
                             Plans(call, asked.query_hash(), asked.hours(), asked.source(), 1));
        answer.set_query_hash(asked.query_hash());
        *answer.mutable_plan() = std::move(plans[0]);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::ListQueryPlans(grpc::CallbackServerContext* context,
                                                         const pb::ListQueryPlansRequest* request,
                                                         pb::ListQueryPlansResponse* response) {
  return calls_.Run<pb::ListQueryPlansRequest, pb::ListQueryPlansResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListQueryPlansRequest& asked,
             pb::ListQueryPlansResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 10, kMostPlans));
        PGA_ASSIGN_OR_RETURN(std::vector<pb::ExplainPlan> plans,
                             Plans(call, asked.query_hash(), asked.hours(), asked.source(), limit));
        answer.set_query_hash(asked.query_hash());
        for (pb::ExplainPlan& plan : plans) *answer.add_plans() = std::move(plan);
        answer.set_count(answer.plans_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::StoreExplainPlan(grpc::CallbackServerContext* context,
                                                           const pb::StoreExplainPlanRequest* request,
                                                           pb::StoreExplainPlanResponse* response) {
  return calls_.Run<pb::StoreExplainPlanRequest, pb::StoreExplainPlanResponse>(
      context, request, response,
      [](rpc::CallContext&, const pb::StoreExplainPlanRequest& asked, pb::StoreExplainPlanResponse&) -> absl::Status {
        PGA_RETURN_IF_ERROR(ParseId(asked.query_hash(), "query_hash").status());
        return absl::UnimplementedError(
            "plans are not taken here: switch on auto_explain on the server and let its collector read the log; GET "
            "/api/v1/queries/{query_hash}/explain shows them");
      });
}

grpc::ServerUnaryReactor* InsightService::DetectAnomalies(grpc::CallbackServerContext* context,
                                                          const pb::DetectAnomaliesRequest* request,
                                                          pb::DetectAnomaliesResponse* response) {
  return calls_.Run<pb::DetectAnomaliesRequest, pb::DetectAnomaliesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::DetectAnomaliesRequest& asked,
             pb::DetectAnomaliesResponse& answer) -> absl::Status {
        if (asked.hours() < 0 || asked.hours() > kMostDetectHours) {
          return absl::InvalidArgumentError(absl::StrCat("hours is 1 to ", kMostDetectHours));
        }
        const int hours = asked.hours() == 0 ? 1 : asked.hours();
        PGA_ASSIGN_OR_RETURN(
            const std::vector<storage::SourceRef> sources,
            SourcesOf(call, *authenticator_, readers_.sources, {asked.source().begin(), asked.source().end()}));
        const absl::Time now = clock_->Now();
        const absl::Time end = absl::UnixEpoch() + absl::Floor(now - absl::UnixEpoch(), absl::Hours(1));
        PGA_ASSIGN_OR_RETURN(const AnomalySearch search, SearchAnomalies(readers_, sources, end, hours, Limit(call)));
        PGA_ASSIGN_OR_RETURN(const int added, anomalies_->Add(search.found, now, call.deadline));
        answer.set_status("success");
        answer.set_message(absl::StrCat("looked at ", search.statements, " statements of ", search.sources, " of ",
                                        sources.size(), " sources"));
        answer.set_found(static_cast<int32_t>(search.found.size()));
        answer.set_added(added);
        answer.set_statements(search.statements);
        answer.set_without_baseline(search.without_baseline);
        *answer.mutable_start() = ToProto(end - absl::Hours(hours));
        *answer.mutable_end() = ToProto(end);
        PGA_ASSIGN_OR_RETURN(
            const double completeness,
            readers_.freshness->Completeness("statements", sources, end - absl::Hours(hours), end, Limit(call)));
        answer.set_completeness(completeness);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::ListAnomalies(grpc::CallbackServerContext* context,
                                                        const pb::ListAnomaliesRequest* request,
                                                        pb::ListAnomaliesResponse* response) {
  return calls_.Run<pb::ListAnomaliesRequest, pb::ListAnomaliesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListAnomaliesRequest& asked,
             pb::ListAnomaliesResponse& answer) -> absl::Status {
        const std::string severity = asked.severity().empty() ? "high" : asked.severity();
        if (severity != "low" && severity != "medium" && severity != "high") {
          return absl::InvalidArgumentError("severity is none of low, medium, high");
        }
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 50, 100));
        PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, GroupsOf(call, *authenticator_, readers_.sources));
        PGA_ASSIGN_OR_RETURN(const std::vector<StoredAnomaly> found,
                             anomalies_->Open(groups, severity, limit, call.deadline));
        answer.set_severity(severity);
        for (const StoredAnomaly& anomaly : found) Fill(anomaly, answer.add_anomalies());
        answer.set_count(answer.anomalies_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::ListQueryAnomalies(grpc::CallbackServerContext* context,
                                                             const pb::ListQueryAnomaliesRequest* request,
                                                             pb::ListQueryAnomaliesResponse* response) {
  return calls_.Run<pb::ListQueryAnomaliesRequest, pb::ListQueryAnomaliesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListQueryAnomaliesRequest& asked,
             pb::ListQueryAnomaliesResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t id, ParseId(asked.query_hash(), "query_hash"));
        if (asked.days() < 0 || asked.days() > kMostDays) {
          return absl::InvalidArgumentError(absl::StrCat("days is 1 to ", kMostDays));
        }
        const int days = asked.days() == 0 ? 7 : asked.days();
        PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, GroupsOf(call, *authenticator_, readers_.sources));
        PGA_ASSIGN_OR_RETURN(const std::vector<StoredAnomaly> found,
                             anomalies_->OfQuery(groups, id, clock_->Now() - absl::Hours(24) * days, call.deadline));
        answer.set_query_hash(asked.query_hash());
        for (const StoredAnomaly& anomaly : found) Fill(anomaly, answer.add_anomalies());
        answer.set_count(answer.anomalies_size());
        answer.set_days(days);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* InsightService::ResolveAnomaly(grpc::CallbackServerContext* context,
                                                         const pb::ResolveAnomalyRequest* request,
                                                         pb::ResolveAnomalyResponse* response) {
  return calls_.Run<pb::ResolveAnomalyRequest, pb::ResolveAnomalyResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ResolveAnomalyRequest& asked,
             pb::ResolveAnomalyResponse& answer) -> absl::Status {
        if (asked.id() < 1) return absl::InvalidArgumentError("id is a whole number from 1 on");
        PGA_ASSIGN_OR_RETURN(const std::vector<std::string> groups, GroupsOf(call, *authenticator_, readers_.sources));
        PGA_RETURN_IF_ERROR(anomalies_->Resolve(groups, asked.id(), clock_->Now(), WhoChanges(call), call.deadline));
        answer.set_id(asked.id());
        answer.set_status("resolved");
        return absl::OkStatus();
      });
}

}  // namespace pga::query
