#include "services/query/advice_service.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "libs/columns/trend.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/query/advice_messages.h"
#include "services/query/callers.h"
#include "services/query/read_errors.h"
#include "services/query/request_rules.h"

namespace pga::query {
namespace {

namespace pb = ::pganalytics::query::v1;

constexpr int kMostSources = 50;
constexpr int kMostMembers = 100;
constexpr int kDefaultHours = 168;
constexpr int kLeastForecastHours = 24;
constexpr int kLeastForecastPoints = 12;
constexpr double kMostHoursAhead = 24 * 3650;

using rpc::ToProto;

}  // namespace

absl::Status AdviceService::Find(rpc::CallContext& call, const pb::FindAdviceRequest& asked,
                                 pb::FindAdviceResponse* answer) {
  if (asked.sources_size() < 1 || asked.sources_size() > kMostSources) {
    return absl::InvalidArgumentError(absl::StrCat("1 to ", kMostSources, " sources are judged in one call"));
  }
  PGA_ASSIGN_OR_RETURN(const int hours, ResolveHours(asked.hours(), kDefaultHours, 1));
  AdviceLimits limits;
  if (asked.has_least_hours()) limits.least_hours = asked.least_hours();
  const absl::Time end = clock_->Now();
  const absl::Time start = end - absl::Hours(hours);
  *answer->mutable_start() = ToProto(start);
  *answer->mutable_end() = ToProto(end);
  for (const pb::AdviceSource& one : asked.sources()) {
    if (one.same_cluster_as_size() > kMostMembers) {
      return absl::InvalidArgumentError(absl::StrCat("a cluster has at most ", kMostMembers, " other members"));
    }
    const auto named = SourcesOf(call, *authenticator_, sources_, {one.source_id()});
    if (!named.ok() && !absl::IsNotFound(named.status())) return named.status();
    if (!named.ok() || named->empty()) {
      pb::NotJudged* const none = answer->add_not_judged();
      none->set_source_id(one.source_id());
      none->set_why("nothing is stored of it");
      continue;
    }
    std::vector<storage::SourceRef> members;
    std::vector<std::string> unknown;
    for (const std::string& id : one.same_cluster_as()) {
      const auto member = SourcesOf(call, *authenticator_, sources_, {id});
      if (!member.ok() && !absl::IsNotFound(member.status())) return member.status();
      if (member.ok() && !member->empty()) {
        members.push_back(member->front());
      } else {
        unknown.push_back(id);
      }
    }
    std::optional<storage::SourceRef> host;
    if (!one.host_source_id().empty()) {
      const auto found = SourcesOf(call, *authenticator_, sources_, {one.host_source_id()});
      if (!found.ok() && !absl::IsNotFound(found.status())) return found.status();
      if (found.ok() && !found->empty()) host = found->front();
    }
    PGA_ASSIGN_OR_RETURN(SourceFacts facts, reader_->Read(named->front(), members, host, start, end, Limit(call)));
    facts.members_unknown.insert(facts.members_unknown.end(), unknown.begin(), unknown.end());
    const Findings findings = Judge(facts, limits);
    const auto wanted = [&](const auto& found) {
      return (asked.kind().empty() || found.kind == asked.kind()) &&
             (asked.database().empty() || found.database.empty() || found.database == asked.database());
    };
    for (const Advice& advice : findings.advice) {
      if (wanted(advice)) FillAdvice(advice, facts, answer->add_advice());
    }
    for (const NotJudged& from : findings.not_judged) {
      if (!wanted(from)) continue;
      FillNotJudged(from, facts, answer->add_not_judged());
    }
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AdviceService::FindAdvice(grpc::CallbackServerContext* context,
                                                    const pb::FindAdviceRequest* request,
                                                    pb::FindAdviceResponse* response) {
  return dispatcher_->Unary<pb::FindAdviceRequest, pb::FindAdviceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::FindAdviceRequest& asked, pb::FindAdviceResponse& answer) {
        return ForCaller(Find(call, asked, &answer));
      });
}

absl::Status AdviceService::Foretell(rpc::CallContext& call, const pb::ForecastRequest& asked,
                                     pb::ForecastResponse* answer) {
  PGA_ASSIGN_OR_RETURN(const int hours, ResolveHours(asked.hours(), kDefaultHours, kLeastForecastHours));
  if (!std::isfinite(asked.limit_value())) return absl::InvalidArgumentError("limit_value is a number");
  const absl::Time end = clock_->Now();
  storage::SeriesQuery query;
  query.metric = asked.metric();
  query.column = asked.column();
  query.filters = {asked.filter().begin(), asked.filter().end()};
  query.range = {end - absl::Hours(hours), end, 3600, ""};
  query.aggregate = storage::Aggregate::kLast;
  PGA_ASSIGN_OR_RETURN(query.limit, ResolveLimit(asked.limit(), 100, 1000));
  PGA_ASSIGN_OR_RETURN(query.sources,
                       SourcesOf(call, *authenticator_, sources_, {asked.source().begin(), asked.source().end()}));
  PGA_ASSIGN_OR_RETURN(const storage::SeriesAnswer found, series_->Read(query, Limit(call)));
  std::map<std::string, std::string> names;
  for (const storage::SourceRef& source : query.sources) names[source.uuid] = source.name;
  *answer->mutable_start() = ToProto(query.range.start);
  *answer->mutable_end() = ToProto(end);
  for (const storage::SeriesData& data : found.series) {
    std::vector<columns::TrendPoint> points;
    for (const storage::SeriesPoint& point : data.points) {
      if (point.value) points.push_back({absl::ToDoubleHours(point.time - query.range.start), *point.value});
    }
    const columns::Trend trend = columns::FitTrend(
        std::move(points), {.least_points = kLeastForecastPoints, .least_span = kLeastForecastHours - 1});
    pb::ForecastSeries* const to = answer->add_series();
    to->set_source_id(data.source_uuid);
    to->set_source_name(names[data.source_uuid]);
    to->mutable_labels()->insert(data.labels.begin(), data.labels.end());
    to->set_unit(found.unit);
    to->set_method("theil_sen");
    to->set_points(trend.points);
    to->set_span_hours(trend.span);
    if (!trend.refused.empty()) {
      to->set_not_judged(absl::StrCat(trend.refused, ": ", trend.points, " hours with a value over ",
                                      static_cast<int64_t>(trend.span), " h; ", kLeastForecastPoints, " over ",
                                      kLeastForecastHours - 1, " h are needed"));
      continue;
    }
    to->set_now(trend.at_end);
    to->set_per_hour(trend.slope);
    to->set_per_hour_low(trend.slope_low);
    to->set_per_hour_high(trend.slope_high);
    to->set_residual(trend.residual);
    const columns::Crossing crossing = columns::CrossingOf(trend, asked.limit_value());
    // The last point is the hour that begins there.
    const absl::Time last = query.range.start + absl::Hours(1) * trend.end;
    const auto set = [&](const std::optional<double>& ahead, google::protobuf::Timestamp* at) {
      if (ahead) *at = ToProto(last + absl::Hours(1) * *ahead);
    };
    const auto near = [](const std::optional<double>& ahead) { return ahead && *ahead <= kMostHoursAhead; };
    if (near(crossing.at)) set(crossing.at, to->mutable_at());
    if (near(crossing.earliest)) set(crossing.earliest, to->mutable_earliest());
    if (near(crossing.latest)) set(crossing.latest, to->mutable_latest());
    if (trend.slope_low < 0 && trend.slope_high > 0) {
      to->set_not_judged("it has no direction: slopes within its range go both ways");
      to->clear_at();
      to->clear_latest();
    }
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AdviceService::Forecast(grpc::CallbackServerContext* context,
                                                  const pb::ForecastRequest* request, pb::ForecastResponse* response) {
  return dispatcher_->Unary<pb::ForecastRequest, pb::ForecastResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ForecastRequest& asked, pb::ForecastResponse& answer) {
        return ForCaller(Foretell(call, asked, &answer));
      });
}

}  // namespace pga::query
