#include "services/ruler/recommendation_service.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/rpc/client.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "pganalytics/query/v1/advice_service.grpc.pb.h"
#include "pganalytics/query/v1/insight_service.grpc.pb.h"
#include "pganalytics/registry/v1/registry_service.grpc.pb.h"
#include "services/ruler/json.h"

namespace pga::ruler {
namespace {

namespace pb = ::pganalytics::ruler::v1;
namespace query_pb = ::pganalytics::query::v1;
namespace registry_pb = ::pganalytics::registry::v1;

constexpr size_t kMostSources = 50;
constexpr size_t kMostReason = 1000;
constexpr double kDefaultImpact = 5;
constexpr char kPending[] = "pending";
constexpr char kNotMeasured[] = "not_measured";
// Windows of results.
constexpr int kResultMinutes = 60;
constexpr int kLeastResultMinutes = 3;
constexpr int kMostResultMinutes = 1440;
constexpr absl::Duration kRegistryTime = absl::Seconds(10);
constexpr absl::Duration kQueryTime = absl::Minutes(2);

using rpc::ToProto;

AuditRow AuditOf(const rpc::CallContext& call, const std::string& action, const std::string& id) {
  AuditRow audit;
  audit.actor = call.principal.subject;
  audit.user_id = call.principal.user_id;
  audit.action = action;
  audit.resource_type = "advice";
  audit.resource_id = id;
  audit.ip_address = call.peer;
  audit.request_id = call.request_id;
  return audit;
}

absl::StatusOr<int> ResolveLimit(int limit, int fallback, int most) {
  if (limit == 0) return fallback;
  if (limit < 1 || limit > most) return absl::InvalidArgumentError(absl::StrCat("limit is 1 to ", most));
  return limit;
}

absl::Status UnknownAdvice() {
  return status::WithReason(absl::NotFoundError("there is no such advice now"), "ADVICE_UNKNOWN");
}

// The server is on the host of its collector.
bool IsLocal(std::string_view address) {
  constexpr std::string_view kLocal[] = {"/", "localhost:", "127.", "[::1]", "::1"};
  return std::ranges::any_of(kLocal, [&](std::string_view one) { return address.starts_with(one); });
}

std::optional<double> FigureOf(const query_pb::Advice& advice, const std::string& name) {
  const auto found = advice.figures().find(name);
  if (found == advice.figures().end()) return std::nullopt;
  return found->second;
}

void Fill(const query_pb::Advice& from, absl::Time now, pb::IndexRecommendation* to) {
  to->set_id(from.id());
  to->set_source_id(from.source_id());
  to->set_source_name(from.source_name());
  to->set_database_name(from.database_name());
  to->set_schema_name(from.schema_name());
  to->set_table_name(from.table_name());
  *to->mutable_column_names() = from.column_names();
  to->set_create_statement(from.command());
  to->set_affected_query_count(from.query_id_size());
  if (const auto time = FigureOf(from, "total_time_ms")) to->set_affected_total_time_ms(*time);
  if (const auto share = FigureOf(from, "calls_share")) to->set_frequency_score(*share);
  if (from.has_time_share()) to->set_impact_score(from.time_share());
  to->set_certainty(from.certainty());
  to->set_certainty_reason(from.certainty_reason());
  *to->mutable_why() = from.why();
  to->set_dismissed(from.dismissed());
  if (from.has_dismissed_at()) *to->mutable_dismissed_at() = from.dismissed_at();
  to->set_dismissed_reason(from.dismissed_reason());
  *to->mutable_created_at() = ToProto(now);
}

}  // namespace

RecommendationService::RecommendationService(rpc::Dispatcher* dispatcher, AdviceStore* store,
                                             std::shared_ptr<grpc::Channel> query,
                                             std::shared_ptr<grpc::Channel> registry, rpc::ServiceIdentity* identity,
                                             clock::Clock* clock)
    : dispatcher_(dispatcher),
      store_(store),
      query_(std::move(query)),
      registry_(std::move(registry)),
      identity_(identity),
      clock_(clock) {}

absl::StatusOr<std::vector<RecommendationService::Server>> RecommendationService::Servers(const rpc::CallContext& call,
                                                                                          const Question& question) {
  const auto stub = registry_pb::RegistryService::NewStub(registry_);
  PGA_ASSIGN_OR_RETURN(const registry_pb::ListSourcesResponse all,
                       rpc::Call(*stub, &registry_pb::RegistryService::Stub::ListSources,
                                 registry_pb::ListSourcesRequest(), rpc::OnBehalfOf(call, kRegistryTime, identity_)));
  std::vector<Server> servers;
  std::map<std::string, std::string> hosts;
  for (const registry_pb::Source& source : all.sources()) {
    if (source.kind() == "host") hosts[source.collector_id()] = source.id();
  }
  std::set<std::string> missing(question.sources.begin(), question.sources.end());
  for (const registry_pb::Source& source : all.sources()) {
    if (!call.principal.all_groups && !token::InGroup(call.principal, source.group())) continue;
    const bool named = std::ranges::any_of(
        question.sources, [&](const std::string& one) { return one == source.id() || one == source.name(); });
    if (!question.sources.empty() && !named) continue;
    missing.erase(source.id());
    missing.erase(source.name());
    if (!question.collector.empty() && source.collector_id() != question.collector) continue;
    // What a host's figures say stands in the advice about its servers, or in alerts.
    if (source.kind() != "server") continue;
    Server& server = servers.emplace_back();
    server.source = source;
    const auto host = hosts.find(source.collector_id());
    if (host != hosts.end() && IsLocal(source.address())) server.host_id = host->second;
  }
  if (!missing.empty()) {
    return absl::NotFoundError(absl::StrCat("no such source: ", absl::StrJoin(missing, ", ")));
  }
  if (servers.size() > kMostSources) {
    return absl::InvalidArgumentError(
        absl::StrCat(servers.size(), " servers are too many at once; name up to ", kMostSources, " by source"));
  }
  return servers;
}

absl::StatusOr<query_pb::FindAdviceResponse> RecommendationService::Find(const rpc::CallContext& call,
                                                                         const Question& question) {
  if (question.least_hours && !(*question.least_hours >= 0 && *question.least_hours <= 720)) {
    return absl::InvalidArgumentError("least_hours is 0 to 720");
  }
  if (question.hours < 0 || question.hours > 720) return absl::InvalidArgumentError("hours is 1 to 720");
  PGA_ASSIGN_OR_RETURN(const std::vector<Server> servers, Servers(call, question));
  query_pb::FindAdviceRequest request;
  std::vector<std::string> ids;
  for (const Server& server : servers) {
    query_pb::AdviceSource* const one = request.add_sources();
    one->set_source_id(server.source.id());
    *one->mutable_same_cluster_as() = server.source.same_cluster_as();
    one->set_host_source_id(server.host_id);
    ids.push_back(server.source.id());
  }
  if (ids.empty()) return query_pb::FindAdviceResponse();
  request.set_hours(question.hours);
  if (question.least_hours) request.set_least_hours(*question.least_hours);
  request.set_kind(question.kind);
  request.set_database(question.database);
  const auto stub = query_pb::AdviceService::NewStub(query_);
  PGA_ASSIGN_OR_RETURN(query_pb::FindAdviceResponse found,
                       rpc::Call(*stub, &query_pb::AdviceService::Stub::FindAdvice, request,
                                 rpc::OnBehalfOf(call, kQueryTime, identity_)));
  PGA_ASSIGN_OR_RETURN(const auto dismissals, store_->Dismissals(ids, call.deadline));
  for (query_pb::Advice& advice : *found.mutable_advice()) {
    const auto dismissal = dismissals.find(advice.id());
    if (dismissal == dismissals.end()) continue;
    advice.set_dismissed(true);
    *advice.mutable_dismissed_at() = ToProto(dismissal->second.at);
    advice.set_dismissed_by(dismissal->second.who);
    advice.set_dismissed_reason(dismissal->second.reason);
  }
  return found;
}

grpc::ServerUnaryReactor* RecommendationService::ListAdvice(grpc::CallbackServerContext* context,
                                                            const pb::ListAdviceRequest* request,
                                                            pb::ListAdviceResponse* response) {
  return dispatcher_->Unary<pb::ListAdviceRequest, pb::ListAdviceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListAdviceRequest& asked,
             pb::ListAdviceResponse& answer) -> absl::Status {
        Question question;
        question.sources = {asked.source().begin(), asked.source().end()};
        question.kind = asked.kind();
        question.database = asked.database();
        question.hours = asked.hours();
        if (asked.has_least_hours()) question.least_hours = asked.least_hours();
        PGA_ASSIGN_OR_RETURN(query_pb::FindAdviceResponse found, Find(call, question));
        int left_out = 0;
        for (query_pb::Advice& advice : *found.mutable_advice()) {
          if (advice.dismissed() && !asked.dismissed()) {
            ++left_out;
            continue;
          }
          answer.add_advice()->Swap(&advice);
        }
        answer.set_count(answer.advice_size());
        answer.set_dismissed_count(left_out);
        answer.mutable_not_judged()->Swap(found.mutable_not_judged());
        if (found.has_start()) *answer.mutable_start() = found.start();
        if (found.has_end()) *answer.mutable_end() = found.end();
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RecommendationService::DismissAdvice(grpc::CallbackServerContext* context,
                                                               const pb::DismissAdviceRequest* request,
                                                               pb::DismissAdviceResponse* response) {
  return dispatcher_->Unary<pb::DismissAdviceRequest, pb::DismissAdviceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::DismissAdviceRequest& asked,
             pb::DismissAdviceResponse& answer) -> absl::Status {
        if (asked.reason().size() > kMostReason) return absl::InvalidArgumentError("reason has at most 1000 bytes");
        Question question;
        if (!asked.source().empty()) question.sources = {asked.source()};
        // Also what is only found with little history.
        question.least_hours = 0;
        PGA_ASSIGN_OR_RETURN(const query_pb::FindAdviceResponse found, Find(call, question));
        const auto advice = std::ranges::find(found.advice(), asked.id(), &query_pb::Advice::id);
        if (advice == found.advice().end()) return UnknownAdvice();
        Dismissal dismissal;
        dismissal.advice_id = advice->id();
        dismissal.kind = advice->kind();
        dismissal.source_id = advice->source_id();
        dismissal.database = advice->database_name();
        dismissal.object = advice->object();
        dismissal.reason = asked.reason();
        dismissal.who = call.principal.username.empty() ? call.principal.subject : call.principal.username;
        AuditRow audit = AuditOf(call, "advice.dismiss", asked.id());
        audit.changes_json =
            absl::StrCat("{\"kind\":", Quoted(advice->kind()), ",\"object\":", Quoted(advice->object()),
                         ",\"reason\":", Quoted(asked.reason()), "}");
        PGA_RETURN_IF_ERROR(store_->Dismiss(dismissal, audit, call.deadline));
        answer.set_id(asked.id());
        answer.set_status("dismissed");
        answer.set_reason(asked.reason());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RecommendationService::RestoreAdvice(grpc::CallbackServerContext* context,
                                                               const pb::RestoreAdviceRequest* request,
                                                               pb::RestoreAdviceResponse* response) {
  return dispatcher_->Unary<pb::RestoreAdviceRequest, pb::RestoreAdviceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::RestoreAdviceRequest& asked,
             pb::RestoreAdviceResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const Dismissal dismissal, store_->Find(asked.id(), call.deadline));
        // Only of a source that the caller may see.
        Question question;
        question.sources = {dismissal.source_id};
        const auto servers = Servers(call, question);
        if (absl::IsNotFound(servers.status())) return UnknownAdvice();
        PGA_RETURN_IF_ERROR(servers.status());
        PGA_RETURN_IF_ERROR(store_->Restore(asked.id(), AuditOf(call, "advice.restore", asked.id()), call.deadline));
        answer.set_id(asked.id());
        answer.set_status("restored");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RecommendationService::ListIndexRecommendations(
    grpc::CallbackServerContext* context, const pb::ListIndexRecommendationsRequest* request,
    pb::ListIndexRecommendationsResponse* response) {
  return dispatcher_->Unary<pb::ListIndexRecommendationsRequest, pb::ListIndexRecommendationsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListIndexRecommendationsRequest& asked,
             pb::ListIndexRecommendationsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 50));
        Question question;
        question.sources = {asked.source().begin(), asked.source().end()};
        question.kind = "index_missing";
        question.database = asked.database_name();
        PGA_ASSIGN_OR_RETURN(query_pb::FindAdviceResponse found, Find(call, question));
        std::ranges::stable_sort(*found.mutable_advice(), [](const query_pb::Advice& a, const query_pb::Advice& b) {
          return a.time_share() > b.time_share();
        });
        const absl::Time now = clock_->Now();
        for (const query_pb::Advice& advice : found.advice()) {
          if (answer.recommendations_size() == limit) break;
          Fill(advice, now, answer.add_recommendations());
        }
        answer.set_database(asked.database_name());
        answer.set_count(answer.recommendations_size());
        answer.mutable_not_judged()->Swap(found.mutable_not_judged());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RecommendationService::GenerateIndexRecommendations(
    grpc::CallbackServerContext* context, const pb::GenerateIndexRecommendationsRequest* request,
    pb::GenerateIndexRecommendationsResponse* response) {
  return dispatcher_->Unary<pb::GenerateIndexRecommendationsRequest, pb::GenerateIndexRecommendationsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GenerateIndexRecommendationsRequest& asked,
             pb::GenerateIndexRecommendationsResponse& answer) -> absl::Status {
        Question question;
        question.collector = asked.collector_id();
        question.kind = "index_missing";
        question.database = asked.database_name();
        PGA_ASSIGN_OR_RETURN(const query_pb::FindAdviceResponse found, Find(call, question));
        answer.set_database(asked.database_name());
        answer.set_recommendations_generated(found.advice_size());
        answer.set_status("success");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RecommendationService::ListOptimizationRecommendations(
    grpc::CallbackServerContext* context, const pb::ListOptimizationRecommendationsRequest* request,
    pb::ListOptimizationRecommendationsResponse* response) {
  return dispatcher_->Unary<pb::ListOptimizationRecommendationsRequest, pb::ListOptimizationRecommendationsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListOptimizationRecommendationsRequest& asked,
             pb::ListOptimizationRecommendationsResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 50, 1000));
        const double least = asked.has_min_impact() ? asked.min_impact() : kDefaultImpact;
        if (!(least >= 0 && least <= 100)) return absl::InvalidArgumentError("min_impact is 0 to 100");
        Question question;
        question.sources = {asked.source().begin(), asked.source().end()};
        question.kind = asked.source_type();
        PGA_ASSIGN_OR_RETURN(query_pb::FindAdviceResponse found, Find(call, question));
        // Findings are ordered by certainty.
        std::ranges::stable_sort(*found.mutable_advice(), [](const query_pb::Advice& a, const query_pb::Advice& b) {
          return a.time_share() > b.time_share();
        });
        for (query_pb::Advice& advice : *found.mutable_advice()) {
          if (answer.recommendations_size() == limit) break;
          if (advice.dismissed() || 100 * advice.time_share() < least) continue;
          pb::OptimizationRecommendation* const to = answer.add_recommendations();
          to->set_source_type(advice.kind());
          if (advice.has_time_share()) to->set_impact_percent(100 * advice.time_share());
          to->mutable_advice()->Swap(&advice);
        }
        answer.set_count(answer.recommendations_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RecommendationService::ImplementRecommendation(
    grpc::CallbackServerContext* context, const pb::ImplementRecommendationRequest* request,
    pb::ImplementRecommendationResponse* response) {
  return dispatcher_->Unary<pb::ImplementRecommendationRequest, pb::ImplementRecommendationResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ImplementRecommendationRequest& asked,
             pb::ImplementRecommendationResponse& answer) -> absl::Status {
        if (asked.notes().size() > kMostReason) return absl::InvalidArgumentError("notes has at most 1000 bytes");
        Question question;
        if (!asked.source().empty()) question.sources = {asked.source()};
        question.least_hours = 0;
        PGA_ASSIGN_OR_RETURN(const query_pb::FindAdviceResponse found, Find(call, question));
        const auto advice = std::ranges::find(found.advice(), asked.recommendation_id(), &query_pb::Advice::id);
        if (advice == found.advice().end()) return UnknownAdvice();
        Implementation one;
        one.advice_id = advice->id();
        one.kind = advice->kind();
        one.source_id = advice->source_id();
        one.source_name = advice->source_name();
        one.database = advice->database_name();
        one.object = advice->object();
        int64_t query_id = 0;
        if (advice->query_id_size() > 0 && absl::SimpleAtoi(advice->query_id(0), &query_id)) one.query_id = query_id;
        one.notes = asked.notes();
        one.who = call.principal.username.empty() ? call.principal.subject : call.principal.username;
        one.at = clock_->Now();
        AuditRow audit = AuditOf(call, "advice.implement", one.advice_id);
        audit.changes_json = absl::StrCat("{\"kind\":", Quoted(one.kind), ",\"object\":", Quoted(one.object),
                                          ",\"notes\":", Quoted(one.notes), "}");
        PGA_ASSIGN_OR_RETURN(const int32_t id, store_->Implement(one, audit, call.deadline));
        answer.set_id(id);
        answer.set_recommendation_id(one.advice_id);
        answer.set_status(kPending);
        *answer.mutable_implemented_at() = ToProto(one.at);
        return absl::OkStatus();
      });
}

absl::Status RecommendationService::Measure(const rpc::CallContext& call, const Implementation& implementation,
                                            absl::Duration length, pb::OptimizationResult* result) {
  if (clock_->Now() < implementation.at + length) {
    result->set_status(kPending);
    return absl::OkStatus();
  }
  result->set_status(kNotMeasured);
  if (!implementation.query_id) {
    result->set_reason("it concerns no statement; what it advised is no longer found once it is done");
    return absl::OkStatus();
  }
  query_pb::CompareQueryRequest request;
  request.set_query_hash(absl::StrCat(*implementation.query_id));
  *request.mutable_at() = ToProto(implementation.at);
  request.set_minutes(static_cast<int32_t>(absl::ToInt64Minutes(length)));
  request.add_source(implementation.source_id);
  request.set_database(implementation.database);
  const auto stub = query_pb::InsightService::NewStub(query_);
  const auto compared = rpc::Call(*stub, &query_pb::InsightService::Stub::CompareQuery, request,
                                  rpc::OnBehalfOf(call, kQueryTime, identity_));
  if (absl::IsNotFound(compared.status())) {
    result->set_reason(std::string(compared.status().message()));
    return absl::OkStatus();
  }
  PGA_RETURN_IF_ERROR(compared.status());
  const query_pb::QueryComparison& of = compared->comparison();
  result->set_status(of.improvement_status());
  result->set_reason(of.reason());
  if (of.has_before_mean_time()) result->set_before_mean_time(of.before_mean_time());
  if (of.has_after_mean_time()) result->set_after_mean_time(of.after_mean_time());
  if (of.has_mean_time_change_percent()) result->set_improvement_percent(-of.mean_time_change_percent());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* RecommendationService::ListOptimizationResults(
    grpc::CallbackServerContext* context, const pb::ListOptimizationResultsRequest* request,
    pb::ListOptimizationResultsResponse* response) {
  return dispatcher_->Unary<pb::ListOptimizationResultsRequest, pb::ListOptimizationResultsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListOptimizationResultsRequest& asked,
             pb::ListOptimizationResultsResponse& answer) -> absl::Status {
        constexpr std::string_view kStatuses[] = {"", kPending, "improved", "degraded", "unchanged", kNotMeasured};
        if (std::ranges::find(kStatuses, asked.status()) == std::end(kStatuses)) {
          return absl::InvalidArgumentError("status is pending, improved, degraded, unchanged or not_measured");
        }
        PGA_ASSIGN_OR_RETURN(const int limit, ResolveLimit(asked.limit(), 20, 50));
        const int minutes = asked.minutes() == 0 ? kResultMinutes : asked.minutes();
        if (minutes < kLeastResultMinutes || minutes > kMostResultMinutes) {
          return absl::InvalidArgumentError(
              absl::StrCat("minutes is ", kLeastResultMinutes, " to ", kMostResultMinutes));
        }
        Question question;
        question.sources = {asked.source().begin(), asked.source().end()};
        PGA_ASSIGN_OR_RETURN(const std::vector<Server> servers, Servers(call, question));
        std::vector<std::string> ids;
        for (const Server& server : servers) ids.push_back(server.source.id());
        PGA_ASSIGN_OR_RETURN(const std::vector<Implementation> found,
                             store_->Implementations(ids, asked.recommendation_id(), limit, call.deadline));
        for (const Implementation& one : found) {
          pb::OptimizationResult result;
          PGA_RETURN_IF_ERROR(Measure(call, one, absl::Minutes(minutes), &result));
          if (!asked.status().empty() && result.status() != asked.status()) continue;
          result.set_id(one.id);
          result.set_recommendation_id(one.advice_id);
          result.set_kind(one.kind);
          result.set_source_id(one.source_id);
          result.set_source_name(one.source_name);
          result.set_database_name(one.database);
          result.set_object(one.object);
          result.set_notes(one.notes);
          result.set_implemented_by(one.who);
          *result.mutable_implemented_at() = ToProto(one.at);
          if (one.query_id) result.set_query_hash(absl::StrCat(*one.query_id));
          answer.add_results()->Swap(&result);
        }
        answer.set_count(answer.results_size());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* RecommendationService::AggregateRecommendations(
    grpc::CallbackServerContext* context, const pb::AggregateRecommendationsRequest* request,
    pb::AggregateRecommendationsResponse* response) {
  return dispatcher_->Unary<pb::AggregateRecommendationsRequest, pb::AggregateRecommendationsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::AggregateRecommendationsRequest& asked,
             pb::AggregateRecommendationsResponse& answer) -> absl::Status {
        Question question;
        question.sources = {asked.source().begin(), asked.source().end()};
        PGA_ASSIGN_OR_RETURN(const query_pb::FindAdviceResponse found, Find(call, question));
        std::set<std::string> types;
        for (const query_pb::Advice& advice : found.advice()) {
          if (advice.dismissed()) continue;
          types.insert(advice.kind());
          ++(*answer.mutable_by_type())[advice.kind()];
          answer.set_recommendations_aggregated(answer.recommendations_aggregated() + 1);
        }
        for (const std::string& type : types) answer.add_source_types(type);
        return absl::OkStatus();
      });
}

}  // namespace pga::ruler
