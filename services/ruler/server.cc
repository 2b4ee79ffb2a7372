#include "services/ruler/server.h"

#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "libs/catalog/catalog.h"
#include "libs/exec/thread_pool.h"
#include "libs/log/log.h"
#include "libs/pg/pool.h"
#include "libs/rpc/unary.h"
#include "libs/status/status.h"
#include "services/ruler/advice_store.h"
#include "services/ruler/alert_service.h"
#include "services/ruler/delivery.h"
#include "services/ruler/evaluator.h"
#include "services/ruler/pg_alert_store.h"
#include "services/ruler/questions_client.h"
#include "services/ruler/recommendation_service.h"
#include "services/ruler/rule_set.h"

namespace pga::ruler {
namespace {

absl::StatusOr<Severity> ParseSeverity(const char* variable, const std::string& text) {
  if (const std::optional<Severity> severity = SeverityOf(text)) return *severity;
  return absl::InvalidArgumentError(absl::StrCat(variable, " is none of info, warning, critical"));
}

absl::Status CheckUrl(const char* variable, const std::string& url) {
  if (absl::StartsWith(url, "http://") || absl::StartsWith(url, "https://")) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(variable, " must begin with http:// or https://"));
}

absl::StatusOr<DeliveryOptions> ReceiversOf(const RulerConfig& config) {
  DeliveryOptions options;
  for (std::string base : config.alertmanagers) {
    PGA_RETURN_IF_ERROR(CheckUrl("ALERTMANAGER_URL", base));
    while (absl::EndsWith(base, "/")) base.pop_back();
    options.alertmanagers.push_back(std::move(base));
  }
  options.alertmanager_authorization = config.alertmanager_authorization;
  if (!config.webhook_url.empty()) {
    PGA_RETURN_IF_ERROR(CheckUrl("ALERT_WEBHOOK_URL", config.webhook_url.Reveal()));
    PGA_ASSIGN_OR_RETURN(const Severity least, ParseSeverity("ALERT_WEBHOOK_SEVERITY", config.webhook_severity));
    options.webhooks.push_back({{"webhook", least}, config.webhook_url, log::Secret(), config.webhook_authorization});
  }
  if (!config.slack_url.empty()) {
    PGA_RETURN_IF_ERROR(CheckUrl("ALERT_SLACK_URL", config.slack_url.Reveal()));
    PGA_ASSIGN_OR_RETURN(const Severity least, ParseSeverity("ALERT_SLACK_SEVERITY", config.slack_severity));
    options.webhooks.push_back({{"slack", least}, config.slack_url, log::Secret(), log::Secret()});
  }
  if (!config.pagerduty_key.empty()) {
    PGA_RETURN_IF_ERROR(CheckUrl("ALERT_PAGERDUTY_URL", config.pagerduty_url));
    PGA_ASSIGN_OR_RETURN(const Severity least, ParseSeverity("ALERT_PAGERDUTY_SEVERITY", config.pagerduty_severity));
    options.webhooks.push_back(
        {{"pagerduty", least}, log::Secret(config.pagerduty_url), config.pagerduty_key, log::Secret()});
  }
  if (!config.ca_path.empty() && !std::ifstream(config.ca_path)) {
    return absl::InvalidArgumentError(absl::StrCat("ALERT_CA_PATH=", config.ca_path, " cannot be read"));
  }
  options.ca_path = config.ca_path;
  options.resend = config.resend;
  options.context.public_url = config.public_url;
  while (absl::EndsWith(options.context.public_url, "/")) options.context.public_url.pop_back();
  if (!options.context.public_url.empty()) PGA_RETURN_IF_ERROR(CheckUrl("PUBLIC_URL", config.public_url));
  return options;
}

}  // namespace

// Members in the order they are built; they go in reverse.
struct RulerServer::Parts {
  std::unique_ptr<pg::Pool> pool;
  std::optional<PgAlertStore> store;
  std::optional<RuleSource> rules;
  std::optional<QuestionsClient> questions;
  std::optional<Courier> courier;
  std::optional<Evaluator> evaluator;
  std::optional<exec::ThreadPool> threads;
  std::optional<rpc::Dispatcher> dispatcher;
  std::optional<AlertService> service;
  std::optional<AdviceStore> advice;
  std::optional<RecommendationService> recommendations;
};

absl::StatusOr<std::unique_ptr<RulerServer>> RulerServer::Create(const RulerConfig& config, const RulerDeps& deps) {
  if (config.database_url.empty()) {
    return absl::InvalidArgumentError("DATABASE_URL is missing: postgresql:// URL of the metadata database");
  }
  auto parts = std::make_unique<Parts>();
  auto pool = pg::Pool::Create({.url = config.database_url.Reveal(),
                                .application_name = "pganalytics-ruler",
                                .size = config.connections,
                                .role = "pganalytics_ruler"});
  if (!pool.ok()) return status::Annotate(pool.status(), "DATABASE_URL");
  parts->pool = *std::move(pool);
  PGA_ASSIGN_OR_RETURN(DeliveryOptions receivers, ReceiversOf(config));
  std::vector<Receiver> notified;
  for (const Webhook& webhook : receivers.webhooks) notified.push_back(webhook.receiver);
  parts->store.emplace(parts->pool.get(), std::move(notified), !receivers.alertmanagers.empty());
  RuleSetOptions rules;
  rules.folder = config.rules_folder;
  rules.disabled = config.disabled_rules;
  rules.without_builtin = config.without_builtin;
  rules.catalog_folder = config.catalog_folder;
  parts->rules.emplace(std::move(rules));
  parts->questions.emplace(deps.query, deps.registry, deps.compactor, deps.identity, &*parts->rules);
  PGA_RETURN_IF_ERROR(parts->rules->Reload());
  LogNewProblems(&*parts->rules);
  parts->courier.emplace(&*parts->store, deps.clock, deps.metrics, std::move(receivers));
  EvaluatorOptions evaluation;
  evaluation.interval = config.interval;
  evaluation.lease = config.lease;
  evaluation.history = config.history;
  parts->evaluator.emplace(&*parts->store, &*parts->questions, &*parts->rules, &*parts->courier, deps.clock,
                           deps.metrics, std::move(evaluation));
  parts->threads.emplace("ruler", 4, 64);
  rpc::Dispatcher::Options calls;
  calls.request_timeout = config.request_timeout;
  calls.stream_timeout = config.request_timeout;
  calls.error_domain = "ruler.pganalytics";
  // Deadlines of calls are points of real time.
  parts->dispatcher.emplace(deps.authenticator, &*parts->threads, deps.metrics, clock::Clock::Real(), calls);
  parts->service.emplace(&*parts->dispatcher, &*parts->store, &*parts->rules, &*parts->evaluator, &*parts->courier,
                         deps.clock);
  parts->advice.emplace(parts->pool.get());
  parts->recommendations.emplace(&*parts->dispatcher, &*parts->advice, deps.query, deps.registry, deps.identity,
                                 deps.clock);
  parts->courier->Start();
  parts->evaluator->Start();
  return std::unique_ptr<RulerServer>(new RulerServer(std::move(parts)));
}

RulerServer::RulerServer(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

RulerServer::~RulerServer() {
  Drain(clock::SteadyNow());
}

std::vector<grpc::Service*> RulerServer::services() {
  return {&*parts_->service, &*parts_->recommendations};
}

void RulerServer::Drain(clock::SteadyTime deadline) {
  parts_->evaluator->Stop();
  parts_->courier->Stop();
  parts_->threads->Drain(deadline);
}

}  // namespace pga::ruler
