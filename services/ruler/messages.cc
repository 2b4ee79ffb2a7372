#include "services/ruler/messages.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "services/ruler/json.h"
#include "services/ruler/silences.h"

namespace pga::ruler {
namespace {

constexpr size_t kMostNamed = 50;

std::string Time(absl::Time time) {
  return Quoted(Rfc3339(time));
}

std::string Link(const StoredAlert& alert, const MessageContext& context) {
  if (context.public_url.empty()) return "";
  return absl::StrCat(context.public_url, alert.page.empty() ? "/alerts" : alert.page);
}

Labels OutsideLabelsOf(const StoredAlert& alert) {
  return OutsideLabels(alert.alert.rule, alert.severity, alert.alert.source_group, alert.alert.labels);
}

absl::Time Began(const StoredAlert& alert) {
  return alert.alert.fired == absl::InfinitePast() ? alert.alert.began : alert.alert.fired;
}

// One id for an alert, whatever is said of it: receivers join messages by it.
std::string KeyOf(const StoredAlert& alert) {
  return alert.alert.id == 0 ? absl::StrCat("pganalytics-", alert.alert.rule)
                             : absl::StrCat("pganalytics-", alert.alert.id);
}

// As many names as people read.
std::string MembersOf(const StoredAlert& alert) {
  const std::vector<std::string>& all = alert.alert.members;
  const std::vector<std::string> named(all.begin(),
                                       all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), kMostNamed)));
  return absl::StrCat(absl::StrJoin(named, ", "),
                      all.size() > named.size() ? absl::StrCat(" and ", all.size() - named.size(), " more") : "");
}

std::string Generic(const std::string& event, const StoredAlert& alert, const MessageContext& context) {
  std::string out =
      absl::StrCat("{\"version\":1,\"status\":", Quoted(event), ",\"key\":", Quoted(KeyOf(alert)),
                   ",\"id\":", Quoted(absl::StrCat(alert.alert.id)), ",\"rule\":", Quoted(alert.alert.rule),
                   ",\"severity\":", Quoted(alert.severity), ",\"summary\":", Quoted(alert.alert.summary),
                   ",\"labels\":", ToJson(OutsideLabelsOf(alert)), ",\"value\":", Quoted(alert.value_text),
                   ",\"threshold\":", Quoted(alert.threshold));
  if (alert.alert.fleet) absl::StrAppend(&out, ",\"members\":", ToJson(alert.alert.members));
  absl::StrAppend(&out, ",\"since\":", Time(alert.alert.began), ",\"firing_since\":", Time(Began(alert)));
  if (alert.resolved_at) absl::StrAppend(&out, ",\"resolved_at\":", Time(*alert.resolved_at));
  if (!alert.resolve_reason.empty()) absl::StrAppend(&out, ",\"resolve_reason\":", Quoted(alert.resolve_reason));
  if (!alert.resolved_by.empty()) absl::StrAppend(&out, ",\"resolved_by\":", Quoted(alert.resolved_by));
  absl::StrAppend(&out, ",\"runbook\":", Quoted(alert.runbook), ",\"query\":", Quoted(alert.query));
  if (const std::string link = Link(alert, context); !link.empty()) absl::StrAppend(&out, ",\"url\":", Quoted(link));
  return out + "}";
}

// Slack's own marks.
std::string SlackText(const std::string& text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

std::string Slack(const std::string& event, const StoredAlert& alert, const MessageContext& context) {
  const bool firing = event == "firing";
  const std::string title =
      absl::StrCat(firing ? "" : "Resolved: ", alert.alert.summary.empty() ? alert.alert.rule : alert.alert.summary);
  std::string text = absl::StrCat("*", SlackText(alert.alert.rule), "* (", alert.severity, ")");
  if (!alert.value_text.empty()) {
    absl::StrAppend(&text, "\nSeen: ", SlackText(alert.value_text), ", fires ", SlackText(alert.threshold), ", since ",
                    absl::FormatTime("%Y-%m-%d %H:%M UTC", alert.alert.began, absl::UTCTimeZone()));
  }
  if (firing && alert.alert.fleet) absl::StrAppend(&text, "\nMembers: ", SlackText(MembersOf(alert)));
  if (firing && !alert.runbook.empty()) absl::StrAppend(&text, "\n", SlackText(alert.runbook));
  if (const std::string link = Link(alert, context); !link.empty()) {
    absl::StrAppend(&text, "\n<", SlackText(link), "|Show>");
  }
  const char* const color = !firing ? "good" : (alert.severity == "critical" ? "danger" : "warning");
  return absl::StrCat("{\"text\":", Quoted(SlackText(title)), ",\"attachments\":[{\"color\":\"", color,
                      "\",\"mrkdwn_in\":[\"text\"],\"text\":", Quoted(text), "}]}");
}

std::string PagerDuty(const std::string& event, const StoredAlert& alert, const std::string& key,
                      const MessageContext& context) {
  std::string out = absl::StrCat("{\"routing_key\":", Quoted(key), ",\"event_action\":\"",
                                 event == "firing" ? "trigger" : "resolve", "\",\"dedup_key\":", Quoted(KeyOf(alert)));
  if (event == "firing") {
    const std::string source = alert.source_name.empty() ? "pganalytics" : alert.source_name;
    // At most 1024 characters.
    absl::StrAppend(
        &out, ",\"payload\":{\"summary\":", Quoted(alert.alert.summary.substr(0, 1000)), ",\"source\":", Quoted(source),
        ",\"severity\":", Quoted(alert.severity), ",\"timestamp\":", Time(Began(alert)),
        ",\"component\":", Quoted(alert.metric), ",\"class\":", Quoted(alert.alert.rule),
        ",\"custom_details\":{\"labels\":", ToJson(OutsideLabelsOf(alert)), ",\"value\":", Quoted(alert.value_text),
        ",\"threshold\":", Quoted(alert.threshold), ",\"runbook\":", Quoted(alert.runbook),
        alert.alert.fleet ? absl::StrCat(",\"members\":", Quoted(MembersOf(alert))) : "", "}}");
    if (const std::string link = Link(alert, context); !link.empty()) {
      absl::StrAppend(&out, ",\"links\":[{\"href\":", Quoted(link), ",\"text\":\"Show\"}]");
    }
  }
  return out + "}";
}

}  // namespace

StoredAlert Synthetic(const std::string& name, const std::string& severity, const std::string& summary,
                      const std::string& runbook, absl::Time since) {
  StoredAlert stored;
  stored.alert.rule = name;
  stored.alert.phase = Phase::kFiring;
  stored.alert.began = since;
  stored.alert.fired = since;
  stored.alert.summary = summary;
  stored.state = "firing";
  stored.severity = severity;
  stored.runbook = runbook;
  stored.page = "/alerts";
  return stored;
}

std::string AlertmanagerBody(const std::vector<StoredAlert>& alerts, absl::Time ends_at,
                             const MessageContext& context) {
  std::string out = "[";
  for (const StoredAlert& alert : alerts) {
    const bool firing = alert.state == "firing";
    Labels annotations;
    annotations["summary"] = alert.alert.summary;
    annotations["runbook"] = alert.runbook;
    if (!alert.value_text.empty()) annotations["value"] = alert.value_text;
    if (!alert.threshold.empty()) annotations["threshold"] = alert.threshold;
    if (!alert.query.empty()) annotations["query"] = alert.query;
    if (alert.alert.fleet) annotations["members"] = MembersOf(alert);
    if (alert.alert.unknown_since) annotations["unknown"] = alert.alert.unknown_reason;
    absl::StrAppend(&out, out.size() > 1 ? "," : "", "{\"labels\":", ToJson(OutsideLabelsOf(alert)),
                    ",\"annotations\":", ToJson(annotations), ",\"startsAt\":", Time(Began(alert)),
                    ",\"endsAt\":", Time(firing ? ends_at : alert.resolved_at.value_or(ends_at)));
    if (const std::string link = Link(alert, context); !link.empty()) {
      absl::StrAppend(&out, ",\"generatorURL\":", Quoted(link));
    }
    out += "}";
  }
  return out + "]";
}

std::string WebhookBody(const std::string& receiver, const std::string& event, const StoredAlert& alert,
                        const std::string& key, const MessageContext& context) {
  if (receiver == "slack") return Slack(event, alert, context);
  if (receiver == "pagerduty") return PagerDuty(event, alert, key, context);
  return Generic(event, alert, context);
}

}  // namespace pga::ruler
