// Settings of the ruler service. The same struct serves pga-ruler and the composed pganalytics-api.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "libs/config/config.h"
#include "libs/log/log.h"

namespace pga::ruler {

struct RulerConfig {
  // postgresql:// of the metadata database (DATABASE_URL).
  log::Secret database_url;
  // Folder with the user's rules; empty = built-in ones only. Names of rules that are left out.
  std::string rules_folder;
  std::vector<std::string> disabled_rules;
  bool without_builtin = false;
  absl::Duration interval = absl::Minutes(1);
  absl::Duration lease = absl::Seconds(20);
  absl::Duration history = absl::Hours(24 * 90);

  // Receivers; an empty address = not used. What holds keys is secret.
  std::vector<std::string> alertmanagers;
  log::Secret alertmanager_authorization;
  absl::Duration resend = absl::Minutes(1);
  log::Secret webhook_url;
  log::Secret webhook_authorization;
  std::string webhook_severity = "info";
  log::Secret slack_url;
  std::string slack_severity = "warning";
  log::Secret pagerduty_key;
  std::string pagerduty_url;
  std::string pagerduty_severity = "critical";
  std::string ca_path;
  std::string public_url;

  // Folder with custom metrics; empty = built-in ones only.
  std::string catalog_folder;
  int connections = 4;
  // Longest time of a call whose caller names no deadline.
  absl::Duration request_timeout = absl::Seconds(30);
};

// Registers every setting with its default; `config` must outlive the loader's Parse().
void RegisterOptions(config::Loader& loader, RulerConfig* config);

}  // namespace pga::ruler
