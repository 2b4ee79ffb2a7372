#include "services/ruler/alert_service.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/frame/uuid.h"
#include "libs/log/log.h"
#include "libs/rpc/proto_time.h"
#include "libs/status/status.h"
#include "services/ruler/json.h"

namespace pga::ruler {
namespace {

namespace pb = ::pganalytics::ruler::v1;

constexpr int kDefaultPageSize = 20;
constexpr int kMaxPageSize = 100;
constexpr int kMaxPage = 1'000'000;
constexpr size_t kMostComment = 1000;
constexpr size_t kMostTestMessage = 200;
constexpr int kMostSources = 1000;

using rpc::FromProto;
using rpc::ToProto;

Visible VisibleTo(const token::Principal& principal) {
  return {principal.all_groups, principal.groups};
}

// How people are named in alerts.
std::string NameOf(const rpc::CallContext& call) {
  return call.principal.username.empty() ? call.principal.subject : call.principal.username;
}

AuditRow AuditOf(const rpc::CallContext& call, const std::string& action, const std::string& type,
                 const std::string& id) {
  AuditRow audit;
  audit.actor = call.principal.subject;
  audit.user_id = call.principal.user_id;
  audit.action = action;
  audit.resource_type = type;
  audit.resource_id = id;
  audit.ip_address = call.peer;
  audit.request_id = call.request_id;
  return audit;
}

absl::StatusOr<int64_t> ParseId(const std::string& text) {
  int64_t id = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || rest != text.data() + text.size() || id < 1) {
    return absl::InvalidArgumentError("an alert's id is a whole number in decimal text");
  }
  return id;
}

void ToProto(const StoredAlert& from, const Silencer& silences, absl::Time now, pb::Alert* to) {
  const Alert& alert = from.alert;
  to->set_id(absl::StrCat(alert.id));
  to->set_rule_id(alert.rule);
  to->set_state(from.state == "closed" ? "resolved" : from.state);
  to->set_severity(from.severity);
  to->set_message(alert.summary);
  to->mutable_labels()->insert(alert.labels.begin(), alert.labels.end());
  to->set_server_id(alert.source_id);
  to->set_source_name(from.source_name);
  to->set_metric_type(from.metric);
  to->set_metric_value(from.value_text);
  if (alert.value) to->set_value(*alert.value);
  to->set_unit(from.unit);
  to->set_threshold(from.threshold);
  *to->mutable_since() = ToProto(alert.began);
  if (alert.fired != absl::InfinitePast()) *to->mutable_created_at() = ToProto(alert.fired);
  *to->mutable_seen_at() = ToProto(alert.seen);
  if (from.resolved_at) *to->mutable_resolved_at() = ToProto(*from.resolved_at);
  to->set_resolve_reason(from.resolve_reason);
  to->set_resolved_by(from.resolved_by);
  if (alert.unknown_since && !from.resolved_at) {
    *to->mutable_unknown_since() = ToProto(*alert.unknown_since);
    to->set_unknown_reason(alert.unknown_reason);
  }
  to->set_is_acknowledged(from.acknowledged_at.has_value());
  to->set_acknowledged_by(from.acknowledged_by);
  if (from.acknowledged_at) *to->mutable_acknowledged_at() = ToProto(*from.acknowledged_at);
  to->set_acknowledge_comment(from.comment);
  if (!from.resolved_at) {
    const Labels outside = OutsideLabels(alert.rule, from.severity, alert.source_group, alert.labels);
    for (const std::string& id : silences.SilencedBy(outside, now)) to->add_silenced_by(id);
  }
  to->set_runbook(from.runbook);
  to->set_page(from.page);
  to->set_query(from.query);
  to->mutable_members()->Add(alert.members.begin(), alert.members.end());
  to->set_joined(alert.joined);
}

// Whether it is for groups alone that the caller sees: others name sources and people of other groups.
bool IsWithin(const Silence& silence, const token::Principal& caller) {
  return caller.all_groups || std::ranges::any_of(silence.matchers, [&](const Matcher& matcher) {
           return matcher.name == "source_group" && !matcher.is_regex && !matcher.is_negative &&
                  token::InGroup(caller, matcher.value);
         });
}

void ToProto(const Silence& from, pb::Silence* to) {
  to->set_id(from.id);
  for (const Matcher& matcher : from.matchers) {
    pb::Matcher* const one = to->add_matchers();
    one->set_name(matcher.name);
    one->set_value(matcher.value);
    one->set_is_regex(matcher.is_regex);
    one->set_is_negative(matcher.is_negative);
  }
  *to->mutable_starts_at() = ToProto(from.starts_at);
  *to->mutable_ends_at() = ToProto(from.ends_at);
  to->set_created_by(from.created_by);
  to->set_comment(from.comment);
}

template <typename List>
absl::Status OneOf(const char* what, const std::string& value, const List& known) {
  if (value.empty() || std::find(std::begin(known), std::end(known), value) != std::end(known)) return absl::OkStatus();
  std::string names;
  for (const char* name : known) absl::StrAppend(&names, names.empty() ? "" : ", ", name);
  return absl::InvalidArgumentError(absl::StrCat(what, " is none of ", names));
}

}  // namespace

absl::StatusOr<std::vector<Silence>> AlertService::Silences(clock::SteadyTime deadline) {
  return courier_->has_alertmanager() ? courier_->AlertmanagerSilences() : store_->Silences(deadline);
}

grpc::ServerUnaryReactor* AlertService::ListAlerts(grpc::CallbackServerContext* context,
                                                   const pb::ListAlertsRequest* request,
                                                   pb::ListAlertsResponse* response) {
  return dispatcher_->Unary<pb::ListAlertsRequest, pb::ListAlertsResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListAlertsRequest& asked,
             pb::ListAlertsResponse& answer) -> absl::Status {
        if (asked.page() < 0 || asked.page_size() < 0 || asked.page() > kMaxPage) {
          return absl::InvalidArgumentError(
              "page is 1 to 1000000 and page_size 1 to 100; leave them out for the first 20");
        }
        if (!asked.severity().empty() && !SeverityOf(asked.severity())) {
          return absl::InvalidArgumentError("severity is none of info, warning, critical");
        }
        PGA_RETURN_IF_ERROR(OneOf("state", asked.state(),
                                  std::initializer_list<const char*>{"active", "pending", "firing", "resolved"}));
        if (asked.source_size() > kMostSources) return absl::InvalidArgumentError("more than 1000 sources are named");
        const int page = std::max(asked.page(), 1);
        const int size = asked.page_size() == 0 ? kDefaultPageSize : std::min(asked.page_size(), kMaxPageSize);
        AlertFilter filter;
        filter.severity = asked.severity();
        filter.state = asked.state();
        filter.rule = asked.rule_id();
        filter.sources = {asked.source().begin(), asked.source().end()};
        filter.offset = (page - 1) * size;
        filter.limit = size;
        PGA_ASSIGN_OR_RETURN(const AlertPage found, store_->List(VisibleTo(call.principal), filter, call.deadline));
        // Alerts are shown also while it is not known which are silenced.
        const Silencer silences(Silences(call.deadline).value_or(std::vector<Silence>()));
        const absl::Time now = clock_->Now();
        for (const StoredAlert& alert : found.alerts) ToProto(alert, silences, now, answer.add_data());
        answer.set_total(found.total);
        answer.set_count(found.total);
        answer.set_page(page);
        answer.set_page_size(size);
        answer.set_total_pages(std::max(1, (found.total + size - 1) / size));
        answer.set_firing(found.firing);
        answer.set_pending(found.pending);
        if (found.evaluated_at) *answer.mutable_evaluated_at() = ToProto(*found.evaluated_at);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AlertService::GetAlert(grpc::CallbackServerContext* context,
                                                 const pb::GetAlertRequest* request, pb::Alert* response) {
  return dispatcher_->Unary<pb::GetAlertRequest, pb::Alert>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::GetAlertRequest& asked, pb::Alert& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const int64_t id, ParseId(asked.id()));
        PGA_ASSIGN_OR_RETURN(const StoredAlert alert, store_->Get(VisibleTo(call.principal), id, call.deadline));
        ToProto(alert, Silencer(Silences(call.deadline).value_or(std::vector<Silence>())), clock_->Now(), &answer);
        return absl::OkStatus();
      });
}

absl::Status AlertService::Change(rpc::CallContext& call, const std::string& text, const std::string& comment,
                                  bool resolve, pb::Alert* answer) {
  PGA_ASSIGN_OR_RETURN(const int64_t id, ParseId(text));
  if (comment.size() > kMostComment) return absl::InvalidArgumentError("comment has at most 1000 bytes");
  const Visible visible = VisibleTo(call.principal);
  PGA_RETURN_IF_ERROR(store_->Get(visible, id, call.deadline));
  AuditRow audit = AuditOf(call, resolve ? "alert.resolve" : "alert.acknowledge", "alert", absl::StrCat(id));
  audit.changes_json = absl::StrCat("{\"comment\":", Quoted(comment), "}");
  PGA_RETURN_IF_ERROR(resolve ? store_->Resolve(id, NameOf(call), comment, audit, call.deadline)
                              : store_->Acknowledge(id, NameOf(call), comment, audit, call.deadline));
  if (resolve) courier_->Wake();
  PGA_ASSIGN_OR_RETURN(const StoredAlert alert, store_->Get(visible, id, call.deadline));
  ToProto(alert, Silencer(Silences(call.deadline).value_or(std::vector<Silence>())), clock_->Now(), answer);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* AlertService::AcknowledgeAlert(grpc::CallbackServerContext* context,
                                                         const pb::AcknowledgeAlertRequest* request,
                                                         pb::Alert* response) {
  return dispatcher_->Unary<pb::AcknowledgeAlertRequest, pb::Alert>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::AcknowledgeAlertRequest& asked, pb::Alert& answer) {
        return Change(call, asked.id(), asked.comment(), false, &answer);
      });
}

grpc::ServerUnaryReactor* AlertService::ResolveAlert(grpc::CallbackServerContext* context,
                                                     const pb::ResolveAlertRequest* request, pb::Alert* response) {
  return dispatcher_->Unary<pb::ResolveAlertRequest, pb::Alert>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ResolveAlertRequest& asked, pb::Alert& answer) {
        return Change(call, asked.id(), asked.comment(), true, &answer);
      });
}

grpc::ServerUnaryReactor* AlertService::SendTestAlert(grpc::CallbackServerContext* context,
                                                      const pb::SendTestAlertRequest* request,
                                                      pb::SendTestAlertResponse* response) {
  return dispatcher_->Unary<pb::SendTestAlertRequest, pb::SendTestAlertResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::SendTestAlertRequest& asked,
             pb::SendTestAlertResponse& answer) -> absl::Status {
        if (asked.message().size() > kMostTestMessage) {
          return absl::InvalidArgumentError("message has at most 200 bytes");
        }
        PGA_RETURN_IF_ERROR(store_->Audit(AuditOf(call, "alert.test", "alert", ""), call.deadline));
        const std::vector<TestOutcome> outcomes =
            courier_->SendTest(asked.message().empty() ? "This is a test of pgAnalytics' alerts." : asked.message());
        bool delivered = !outcomes.empty();
        for (const TestOutcome& outcome : outcomes) {
          pb::TestDelivery* const delivery = answer.add_deliveries();
          delivery->set_receiver(outcome.receiver);
          delivery->set_delivered(outcome.status.ok());
          delivery->set_error(std::string(outcome.status.message()));
          delivery->set_milliseconds(absl::ToDoubleMilliseconds(outcome.took));
          delivered = delivered && outcome.status.ok();
        }
        answer.set_delivered(delivered);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AlertService::ListSilences(grpc::CallbackServerContext* context,
                                                     const pb::ListSilencesRequest* request,
                                                     pb::ListSilencesResponse* response) {
  return dispatcher_->Unary<pb::ListSilencesRequest, pb::ListSilencesResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::ListSilencesRequest&, pb::ListSilencesResponse& answer) -> absl::Status {
        PGA_ASSIGN_OR_RETURN(const std::vector<Silence> silences, Silences(call.deadline));
        for (const Silence& silence : silences) {
          if (IsWithin(silence, call.principal)) ToProto(silence, answer.add_silences());
        }
        answer.set_count(answer.silences_size());
        answer.set_kept_in(courier_->has_alertmanager() ? "alertmanager" : "pganalytics");
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AlertService::CreateSilence(grpc::CallbackServerContext* context,
                                                      const pb::CreateSilenceRequest* request, pb::Silence* response) {
  return dispatcher_->Unary<pb::CreateSilenceRequest, pb::Silence>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::CreateSilenceRequest& asked, pb::Silence& answer) -> absl::Status {
        const absl::Time now = clock_->Now();
        Silence silence;
        for (const pb::Matcher& matcher : asked.matchers()) {
          silence.matchers.push_back({matcher.name(), matcher.value(), matcher.is_regex(), matcher.is_negative()});
        }
        silence.starts_at = asked.has_starts_at() ? std::max(FromProto(asked.starts_at()), now) : now;
        if (asked.has_ends_at() == (asked.duration_seconds() != 0)) {
          return absl::InvalidArgumentError("give either ends_at or duration_seconds");
        }
        silence.ends_at = asked.has_ends_at() ? FromProto(asked.ends_at())
                                              : silence.starts_at + absl::Seconds(asked.duration_seconds());
        silence.created_by = NameOf(call);
        silence.comment = asked.comment();
        PGA_RETURN_IF_ERROR(CheckSilence(silence, now));
        // Alerts of other groups would be silenced, too.
        if (!IsWithin(silence, call.principal)) {
          return status::WithReason(
              absl::PermissionDeniedError("you see some groups alone; add the matcher source_group with one of them"),
              "SILENCE_TOO_WIDE");
        }
        AuditRow audit = AuditOf(call, "silence.create", "silence", "");
        audit.changes_json =
            absl::StrCat("{\"matchers\":", ToJson(silence.matchers), ",\"comment\":", Quoted(silence.comment), "}");
        PGA_ASSIGN_OR_RETURN(silence.id, courier_->has_alertmanager() ? courier_->AddAlertmanagerSilence(silence)
                                                                      : store_->AddSilence(silence, call.deadline));
        audit.resource_id = silence.id;
        PGA_RETURN_IF_ERROR(store_->Audit(audit, call.deadline));
        ToProto(silence, &answer);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AlertService::DeleteSilence(grpc::CallbackServerContext* context,
                                                      const pb::DeleteSilenceRequest* request,
                                                      pb::DeleteSilenceResponse* response) {
  return dispatcher_->Unary<pb::DeleteSilenceRequest, pb::DeleteSilenceResponse>(
      context, request, response,
      [this](rpc::CallContext& call, const pb::DeleteSilenceRequest& asked,
             pb::DeleteSilenceResponse&) -> absl::Status {
        const absl::Status unknown =
            status::WithReason(absl::NotFoundError("there is no such silence"), "SILENCE_UNKNOWN");
        // It becomes a part of an address.
        if (!frame::ParseUuid(asked.id()).ok()) return unknown;
        PGA_ASSIGN_OR_RETURN(const std::vector<Silence> silences, Silences(call.deadline));
        const auto silence = std::ranges::find(silences, asked.id(), &Silence::id);
        if (silence == silences.end() || !IsWithin(*silence, call.principal)) return unknown;
        PGA_RETURN_IF_ERROR(courier_->has_alertmanager() ? courier_->EndAlertmanagerSilence(asked.id())
                                                         : store_->EndSilence(asked.id(), call.deadline));
        return store_->Audit(AuditOf(call, "silence.end", "silence", asked.id()), call.deadline);
      });
}

grpc::ServerUnaryReactor* AlertService::ListRules(grpc::CallbackServerContext* context,
                                                  const pb::ListRulesRequest* request,
                                                  pb::ListRulesResponse* response) {
  return dispatcher_->Unary<pb::ListRulesRequest, pb::ListRulesResponse>(
      context, request, response,
      [this](rpc::CallContext&, const pb::ListRulesRequest&, pb::ListRulesResponse& answer) -> absl::Status {
        const std::shared_ptr<const RuleSet> set = rules_->current();
        const std::map<std::string, std::string> problems = evaluator_->Problems();
        for (const auto& [name, rule] : set->rules) {
          pb::AlertRule* const to = answer.add_rules();
          to->set_id(name);
          to->set_name(name);
          to->set_summary(rule.summary);
          to->set_area(rule.area);
          to->set_severity(std::string(ruler::NameOf(rule.severity)));
          to->set_metric_type(rule.terms[rule.leading].metric);
          to->set_condition_type("threshold");
          to->set_condition_value(absl::StrCat(rule.above ? "above " : "below ", rule.threshold_text));
          to->set_for_seconds(absl::ToDoubleSeconds(rule.hold));
          const absl::Duration interval =
              rule.interval == absl::ZeroDuration() ? evaluator_->interval() : rule.interval;
          to->set_evaluation_interval(static_cast<int32_t>(absl::ToInt64Seconds(interval)));
          to->set_runbook(rule.runbook);
          to->set_custom(rule.custom);
          to->set_expression(rule.value.text());
          to->set_enabled(true);
          if (const auto problem = problems.find(name); problem != problems.end()) {
            to->set_last_error(problem->second);
          }
        }
        answer.set_count(answer.rules_size());
        for (const std::string& problem : set->problems) answer.add_problems(problem);
        return absl::OkStatus();
      });
}

}  // namespace pga::ruler
