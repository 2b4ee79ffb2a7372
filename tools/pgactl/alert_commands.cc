// Alerts: what is wrong, who takes care of it, silences, rules, and whether they arrive.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/status/status.h"
#include "pganalytics/ruler/v1/alert_service.pb.h"
#include "tools/pgactl/command.h"
#include "tools/pgactl/ranges.h"
#include "tools/pgactl/table.h"

namespace pga::pgactl {
namespace {

namespace pb = ::pganalytics::ruler::v1;

constexpr char kService[] = "pganalytics.ruler.v1.AlertService.";

std::string Method(const char* name) {
  return absl::StrCat(kService, name);
}

std::string YesNo(bool yes) {
  return yes ? "yes" : "no";
}

// How the alert stands, in a word or two.
std::string StateText(const pb::Alert& alert) {
  std::string text = alert.state();
  if (alert.has_unknown_since()) text += ", unknown";
  if (alert.silenced_by_size() > 0) text += ", silenced";
  return text;
}

absl::Status ListAlerts(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  pb::ListAlertsRequest request;
  request.set_state(context.arguments->Get("state", "active"));
  if (request.state() == "all") request.clear_state();
  request.set_severity(context.arguments->Get("severity"));
  request.set_rule_id(context.arguments->Get("rule"));
  for (const std::string& source : context.arguments->All("source")) request.add_source(source);
  PGA_ASSIGN_OR_RETURN(const int page, context.arguments->Int("page", 1, 1, 1'000'000));
  PGA_ASSIGN_OR_RETURN(const int limit, context.arguments->Int("limit", 50, 1, 100));
  request.set_page(page);
  request.set_page_size(limit);
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::ListAlertsResponse>(Method("ListAlerts"), request));
  if (context.json) return context.PrintJson(answer);
  Table table({"ID", "SEVERITY", "STATE", "SINCE", "ALERT", "TAKEN BY", "RULE"}, {"RULE"});
  for (const pb::Alert& alert : answer.data()) {
    table.Add({alert.id(), alert.severity(), StateText(alert), Ago(FromProto(alert.since()), context.now),
               alert.message(), alert.acknowledged_by(), alert.rule_id()});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "no such alerts"));
  if (answer.total() > answer.data_size()) {
    context.Say() << answer.data_size() << " of " << answer.total() << "; see --page and --limit\n";
  }
  if (!answer.has_evaluated_at()) {
    context.Say() << "no rule has been evaluated yet\n";
  } else if (context.now - FromProto(answer.evaluated_at()) > absl::Minutes(5)) {
    context.Say() << "rules were last evaluated " << Ago(FromProto(answer.evaluated_at()), context.now)
                  << ": what is shown may be over\n";
  }
  return absl::OkStatus();
}

absl::Status PrintAlert(const Context& context, const pb::Alert& alert) {
  if (context.json) return context.PrintJson(alert);
  Table table({"WHAT", "VALUE"});
  table.Add({"alert", alert.message()});
  table.Add({"rule", absl::StrCat(alert.rule_id(), " (", alert.severity(), ")")});
  table.Add({"state", StateText(alert)});
  table.Add({"seen", absl::StrCat(alert.metric_value(), ", fires ", alert.threshold())});
  table.Add({"since", Minute(FromProto(alert.since()))});
  if (alert.has_created_at()) table.Add({"fires since", Minute(FromProto(alert.created_at()))});
  if (alert.has_unknown_since()) {
    table.Add({"unknown since", absl::StrCat(Minute(FromProto(alert.unknown_since())), ": ", alert.unknown_reason())});
  }
  if (alert.has_resolved_at()) {
    table.Add({"ended", absl::StrCat(Minute(FromProto(alert.resolved_at())), ": ", alert.resolve_reason(),
                                     alert.resolved_by().empty() ? "" : absl::StrCat(" (", alert.resolved_by(), ")"))});
  }
  if (alert.is_acknowledged()) {
    table.Add({"taken by", absl::StrCat(alert.acknowledged_by(), " ", Minute(FromProto(alert.acknowledged_at())))});
  }
  if (!alert.acknowledge_comment().empty()) table.Add({"comment", alert.acknowledge_comment()});
  std::vector<std::string> labels;
  for (const auto& [name, value] : alert.labels()) labels.push_back(absl::StrCat(name, "=", value));
  std::sort(labels.begin(), labels.end());
  table.Add({"labels", absl::StrJoin(labels, " ")});
  table.Add({"query", alert.query()});
  PGA_RETURN_IF_ERROR(context.Print(table));
  context.Say() << "\n" << alert.runbook() << "\n";
  return absl::OkStatus();
}

absl::Status ShowAlert(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the alert's id"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  pb::GetAlertRequest request;
  request.set_id(id);
  PGA_ASSIGN_OR_RETURN(const auto alert, session->Call<pb::Alert>(Method("GetAlert"), request));
  return PrintAlert(context, alert);
}

template <typename Request>
absl::Status ChangeAlert(Context& context, const char* method) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the alert's id"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  Request request;
  request.set_id(id);
  request.set_comment(context.arguments->Get("comment"));
  PGA_ASSIGN_OR_RETURN(const auto alert, session->Call<pb::Alert>(Method(method), request));
  return PrintAlert(context, alert);
}

// "source=db1", "source!=db1", "source=~db.*", "source!~db.*".
absl::Status AddMatcher(const std::string& text, pb::CreateSilenceRequest* request) {
  const size_t at = text.find_first_of("=!");
  if (at == std::string::npos || at == 0 || at + 1 >= text.size()) {
    return UsageError(
        absl::StrCat("'", text, "' is no matcher; write source=db1, source!=db1, source=~db.* or source!~db.*"));
  }
  pb::Matcher* const matcher = request->add_matchers();
  matcher->set_name(text.substr(0, at));
  size_t value = at + 1;
  if (text[at] == '!') {
    matcher->set_is_negative(true);
    if (text[value] != '=' && text[value] != '~') return UsageError(absl::StrCat("'", text, "' is no matcher"));
    matcher->set_is_regex(text[value] == '~');
    ++value;
  } else if (text[value] == '~') {
    matcher->set_is_regex(true);
    ++value;
  }
  matcher->set_value(text.substr(value));
  return absl::OkStatus();
}

std::string MatcherText(const pb::Matcher& matcher) {
  return absl::StrCat(matcher.name(), matcher.is_negative() ? "!" : "", matcher.is_regex() ? "~" : "=",
                      matcher.value());
}

absl::Status PrintSilences(const Context& context, const std::vector<pb::Silence>& silences) {
  Table table({"ID", "MATCHES", "FROM", "TO", "BY", "COMMENT"});
  for (const pb::Silence& silence : silences) {
    std::vector<std::string> matchers;
    for (const pb::Matcher& matcher : silence.matchers()) matchers.push_back(MatcherText(matcher));
    table.Add({silence.id(), absl::StrJoin(matchers, " "), Minute(FromProto(silence.starts_at())),
               Minute(FromProto(silence.ends_at())), silence.created_by(), silence.comment()});
  }
  return context.Print(table, "no silences");
}

absl::Status MakeSilence(Context& context) {
  if (context.arguments->words().size() < 1) return UsageError("a matcher is missing, as source=db1");
  pb::CreateSilenceRequest request;
  for (const std::string& word : context.arguments->words()) PGA_RETURN_IF_ERROR(AddMatcher(word, &request));
  absl::Duration length;
  if (!absl::ParseDuration(context.arguments->Get("for", "2h"), &length) || length < absl::Minutes(1)) {
    return UsageError("--for wants a length of a minute or more, as 30m or 2h");
  }
  request.set_duration_seconds(static_cast<int32_t>(absl::ToInt64Seconds(length)));
  request.set_comment(context.arguments->Get("comment"));
  if (request.comment().empty()) return UsageError("--comment is missing: why there is silence");
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto silence, session->Call<pb::Silence>(Method("CreateSilence"), request));
  if (context.json) return context.PrintJson(silence);
  return PrintSilences(context, {silence});
}

absl::Status ListSilences(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::ListSilencesResponse>(Method("ListSilences"), pb::ListSilencesRequest()));
  if (context.json) return context.PrintJson(answer);
  return PrintSilences(context, {answer.silences().begin(), answer.silences().end()});
}

absl::Status EndSilence(Context& context) {
  PGA_ASSIGN_OR_RETURN(const std::string id, context.Word(0, "the silence's id"));
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  pb::DeleteSilenceRequest request;
  request.set_id(id);
  PGA_RETURN_IF_ERROR(session->Call<pb::DeleteSilenceResponse>(Method("DeleteSilence"), request));
  context.Say() << "the silence has ended\n";
  return absl::OkStatus();
}

absl::Status ListRules(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  PGA_ASSIGN_OR_RETURN(const auto answer,
                       session->Call<pb::ListRulesResponse>(Method("ListRules"), pb::ListRulesRequest()));
  if (context.json) return context.PrintJson(answer);
  Table table({"RULE", "SEVERITY", "FIRES", "FOR", "EVERY", "VALUE", "LAST ERROR"}, {"VALUE"});
  for (const pb::AlertRule& rule : answer.rules()) {
    table.Add({rule.name(), rule.severity(), rule.condition_value(),
               absl::FormatDuration(absl::Seconds(rule.for_seconds())),
               absl::FormatDuration(absl::Seconds(rule.evaluation_interval())), rule.expression(), rule.last_error()});
  }
  PGA_RETURN_IF_ERROR(context.Print(table, "no rules"));
  for (const std::string& problem : answer.problems()) context.Say() << "refused: " << problem << "\n";
  return absl::OkStatus();
}

absl::Status SendTest(Context& context) {
  PGA_ASSIGN_OR_RETURN(Session* const session, context.session());
  pb::SendTestAlertRequest request;
  request.set_message(context.arguments->Get("message"));
  PGA_ASSIGN_OR_RETURN(const auto answer, session->Call<pb::SendTestAlertResponse>(Method("SendTestAlert"), request));
  if (context.json) {
    PGA_RETURN_IF_ERROR(context.PrintJson(answer));
  } else {
    Table table({"RECEIVER", "DELIVERED", "MILLISECONDS", "ERROR"});
    for (const pb::TestDelivery& delivery : answer.deliveries()) {
      table.Add({delivery.receiver(), YesNo(delivery.delivered()), Number(delivery.milliseconds()), delivery.error()});
    }
    PGA_RETURN_IF_ERROR(context.Print(table,
                                      "no receiver is set up; see ALERTMANAGER_URL, ALERT_SLACK_URL, "
                                      "ALERT_PAGERDUTY_KEY and ALERT_WEBHOOK_URL in docs/alerts.md"));
  }
  return answer.delivered() ? absl::OkStatus() : absl::FailedPreconditionError("the test alert was not delivered");
}

}  // namespace

std::vector<Command> AlertCommands() {
  const OptionSpec comment{"comment", "TEXT", "why"};
  return {{"alerts list",
           "",
           "alerts that fire or wait, or those that ended",
           {{"state", "STATE", "active (default), pending, firing, resolved or all"},
            {"severity", "WORD", "info, warning or critical"},
            {"rule", "NAME", "only this rule's"},
            {"source", "NAME", "only this source; may be repeated", true},
            {"limit", "N", "most alerts, 1 to 100 (default 50)"},
            {"page", "N", "page of so many alerts, from 1"}},
           ListAlerts,
           true},
          {"alerts show", "ID", "one alert with its runbook", {}, ShowAlert},
          {"alerts ack",
           "ID",
           "say that you take care of an alert; it goes on firing",
           {comment},
           [](Context& context) { return ChangeAlert<pb::AcknowledgeAlertRequest>(context, "AcknowledgeAlert"); }},
          {"alerts resolve",
           "ID",
           "end an alert that fires, until it begins anew",
           {comment},
           [](Context& context) { return ChangeAlert<pb::ResolveAlertRequest>(context, "ResolveAlert"); }},
          {"alerts silence",
           "LABEL=VALUE [LABEL=VALUE] [LABEL=VALUE] [LABEL=VALUE]",
           "keep alerts with these labels from people for a while",
           {{"for", "LENGTH", "30m, 2h (default), 24h"}, comment},
           MakeSilence},
          {"alerts silences", "", "silences that have not ended", {}, ListSilences},
          {"alerts unsilence", "ID", "end a silence", {}, EndSilence},
          {"alerts rules", "", "the rules in force, and files that were refused", {}, ListRules},
          {"alerts test", "", "send a test alert to every receiver", {{"message", "TEXT", "what it says"}}, SendTest}};
}

}  // namespace pga::pgactl
