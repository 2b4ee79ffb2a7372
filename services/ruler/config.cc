#include "services/ruler/config.h"

namespace pga::ruler {

void RegisterOptions(config::Loader& loader, RulerConfig* config) {
  loader.Secret(&config->database_url, "DATABASE_URL", "postgresql:// URL of the metadata database");
  loader.String(&config->rules_folder, "RULES_DIR", "rules-dir", "",
                "folder with YAML files of rules for alerts; empty = built-in rules only");
  loader.List(&config->disabled_rules, "RULES_DISABLED", "rules-disabled", "",
              "names of rules that are not evaluated, with commas between");
  loader.Bool(&config->without_builtin, "RULES_WITHOUT_BUILTIN", "rules-without-builtin", false,
              "whether only the rules of RULES_DIR are evaluated");
  loader.Duration(&config->interval, "RULES_INTERVAL", "rules-interval", config->interval,
                  "how often a rule that names no interval is evaluated", absl::Seconds(1), absl::Hours(1));
  loader.Duration(&config->lease, "RULER_LEASE", "ruler-lease", config->lease,
                  "how long a process that evaluates rules may be away before another takes over", absl::Seconds(1),
                  absl::Minutes(10));
  loader.Duration(&config->history, "ALERT_RETENTION", "alert-retention", config->history,
                  "how long alerts that ended are kept", absl::Hours(1), absl::Hours(24 * 3660));
  loader.List(
      &config->alertmanagers, "ALERTMANAGER_URL", "alertmanager-url", "",
      "bases of the Alertmanagers of one cluster, as http://alertmanager:9093, with commas between; empty = none");
  loader.Secret(&config->alertmanager_authorization, "ALERTMANAGER_AUTHORIZATION",
                "Authorization header for Alertmanager, as `Bearer ...`");
  loader.Duration(&config->resend, "ALERTMANAGER_RESEND", "alertmanager-resend", config->resend,
                  "how often Alertmanager hears what fires; it ends an alert after four times as long",
                  absl::Seconds(1), absl::Minutes(30));
  loader.Secret(&config->webhook_url, "ALERT_WEBHOOK_URL", "address that gets alerts as JSON; empty = none");
  loader.Secret(&config->webhook_authorization, "ALERT_WEBHOOK_AUTHORIZATION",
                "Authorization header for ALERT_WEBHOOK_URL, as `Bearer ...`");
  loader.String(&config->webhook_severity, "ALERT_WEBHOOK_SEVERITY", "alert-webhook-severity", config->webhook_severity,
                "least severity that ALERT_WEBHOOK_URL gets: info, warning or critical");
  loader.Secret(&config->slack_url, "ALERT_SLACK_URL", "address of an incoming webhook of Slack; empty = none");
  loader.String(&config->slack_severity, "ALERT_SLACK_SEVERITY", "alert-slack-severity", config->slack_severity,
                "least severity that Slack gets: info, warning or critical");
  loader.Secret(&config->pagerduty_key, "ALERT_PAGERDUTY_KEY",
                "routing key of PagerDuty (Events API v2); empty = none");
  loader.String(&config->pagerduty_url, "ALERT_PAGERDUTY_URL", "alert-pagerduty-url",
                "https://events.pagerduty.com/v2/enqueue", "where PagerDuty takes events");
  loader.String(&config->pagerduty_severity, "ALERT_PAGERDUTY_SEVERITY", "alert-pagerduty-severity",
                config->pagerduty_severity, "least severity that PagerDuty gets: info, warning or critical");
  loader.String(&config->ca_path, "ALERT_CA_PATH", "alert-ca-path", "",
                "PEM of the authorities that receivers' certificates are checked with; empty = the system's");
  loader.String(
      &config->public_url, "PUBLIC_URL", "public-url", "",
      "where people reach the console, as https://pganalytics.example.com; alerts link there; empty = no links");
  loader.String(&config->catalog_folder, "CATALOG_DIR", "catalog-dir", "",
                "folder with YAML files of custom metrics; empty = built-in metrics only");
  loader.Int(&config->connections, "RULER_CONNECTIONS", "ruler-connections", config->connections,
             "connections of the ruler service to the metadata database", "connections", 2, 100);
  loader.Duration(&config->request_timeout, "REQUEST_TIMEOUT", "request-timeout", config->request_timeout,
                  "time of a call whose caller names no deadline", absl::Milliseconds(100), absl::Minutes(10));
}

}  // namespace pga::ruler
