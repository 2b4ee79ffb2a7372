// What receivers get: the bodies of Alertmanager's API, of webhooks, of Slack and of PagerDuty. Pure, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "services/ruler/alert_store.h"

namespace pga::ruler {

struct MessageContext {
  // Where people reach the console, as https://pganalytics.example.com; empty = messages hold no links.
  std::string public_url;
};

// Name of the alert that always fires, so that its absence is noticed.
inline constexpr char kWatchdog[] = "DeadMansSwitch";
// Name of the alert that a person asks for.
inline constexpr char kTestAlert[] = "TestAlert";

// An alert that stands for no row: the dead man's switch and test alerts.
StoredAlert Synthetic(const std::string& name, const std::string& severity, const std::string& summary,
                      const std::string& runbook, absl::Time since);

// Body of POST /api/v2/alerts. Those that fire end at `ends_at` unless they are sent again before.
std::string AlertmanagerBody(const std::vector<StoredAlert>& alerts, absl::Time ends_at, const MessageContext& context);

// Body for a receiver ("webhook", "slack", "pagerduty"); `event` is firing or resolved. `key` is PagerDuty's.
std::string WebhookBody(const std::string& receiver, const std::string& event, const StoredAlert& alert,
                        const std::string& key, const MessageContext& context);

}  // namespace pga::ruler
