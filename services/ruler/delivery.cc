#include "services/ruler/delivery.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/log/log.h"
#include "libs/status/status.h"
#include "services/ruler/json.h"

namespace pga::ruler {
namespace {

constexpr absl::Duration kRound = absl::Seconds(1);
constexpr absl::Duration kDatabaseTime = absl::Seconds(10);
constexpr absl::Duration kRequestTime = absl::Seconds(10);
constexpr absl::Duration kSweep = absl::Minutes(1);
constexpr int kDueAtOnce = 20;
// Messages are this process's for so long: what it has not sent when it dies is sent by the next one.
constexpr absl::Duration kClaim = absl::Seconds(20);

clock::SteadyTime Soon() {
  return clock::SteadyNow() + kDatabaseTime;
}

}  // namespace

Courier::Courier(AlertStore* store, clock::Clock* clock, metrics::Registry* metrics, DeliveryOptions options)
    : store_(store),
      clock_(clock),
      metrics_(metrics),
      options_(std::move(options)),
      sender_(options_.ca_path),
      began_(clock->Now()),
      pause_(options_.first_pause) {}

Courier::~Courier() {
  Stop();
}

void Courier::Start() {
  task_ = std::make_unique<exec::PeriodicTask>("ruler-delivery", kRound, clock_, [this] { RunOnce(); });
}

void Courier::Stop() {
  sender_.Stop();
  if (task_ != nullptr) task_->Stop();
}

void Courier::Wake() {
  {
    absl::MutexLock lock(&mutex_);
    changed_ = true;
  }
  if (task_ != nullptr) task_->Wake();
}

void Courier::SetState(bool leading, bool evaluates) {
  absl::MutexLock lock(&mutex_);
  leading_ = leading;
  evaluates_ = evaluates;
}

void Courier::Count(const std::string& receiver, const absl::Status& status) {
  metrics_
      ->AddCounter("pga_ruler_deliveries_total", "Messages to receivers of alerts, by outcome",
                   {{"receiver", receiver}, {"outcome", status.ok() ? "delivered" : "failed"}})
      .Increment();
}

void Courier::RunOnce() {
  {
    absl::MutexLock lock(&mutex_);
    if (!leading_) return;
  }
  if (has_alertmanager()) TellAlertmanager();
  if (!options_.webhooks.empty()) TellWebhooks();
}

absl::Status Courier::Post(const std::string& body) {
  absl::Status last = absl::UnavailableError("no Alertmanager");
  bool taken = false;
  for (const std::string& base : options_.alertmanagers) {
    HttpRequest request;
    request.url = log::Secret(absl::StrCat(base, "/api/v2/alerts"));
    request.body = body;
    request.authorization = options_.alertmanager_authorization;
    request.limit = kRequestTime;
    last = sender_.Deliver(request).status();
    Count("alertmanager", last);
    taken = taken || last.ok();
  }
  return taken ? absl::OkStatus() : last;
}

void Courier::TellAlertmanager() {
  bool evaluates = false;
  {
    absl::MutexLock lock(&mutex_);
    if (!changed_ && clock::SteadyNow() < resend_at_) return;
    changed_ = false;
    evaluates = evaluates_;
  }
  absl::StatusOr<std::vector<StoredAlert>> alerts = store_->ForAlertmanager(Soon());
  if (!alerts.ok()) {
    PGA_LOG(warn, "alerts cannot be read, so Alertmanager does not hear of them", {{"status", alerts.status()}});
    resend_at_ = clock::SteadyNow() + options_.first_pause;
    return;
  }
  const absl::Time now = clock_->Now();
  std::vector<int64_t> ended;
  for (const StoredAlert& alert : *alerts) {
    if (alert.state != "firing") ended.push_back(alert.alert.id);
  }
  if (evaluates) {
    alerts->push_back(Synthetic(kWatchdog, "none",
                                "Alerting works. Let somebody know when this alert is away for five minutes.",
                                "Route it to a service that speaks when nothing comes (docs/alerts.md).", began_));
  }
  const absl::Status sent =
      alerts->empty() ? absl::OkStatus() : Post(AlertmanagerBody(*alerts, now + 4 * options_.resend, options_.context));
  if (!sent.ok()) {
    PGA_LOG(warn, "Alertmanager takes no alerts; they are sent again", {{"status", sent}, {"alerts", alerts->size()}});
    resend_at_ = clock::SteadyNow() + std::min(pause_, options_.resend);
    pause_ = std::min(2 * pause_, options_.longest_pause);
    return;
  }
  pause_ = options_.first_pause;
  resend_at_ = clock::SteadyNow() + options_.resend;
  if (ended.empty()) return;
  if (const absl::Status noted = store_->EndsSent(ended, Soon()); !noted.ok()) {
    PGA_LOG(warn, "ends of alerts will be sent to Alertmanager again", {{"status", noted}});
  }
}

absl::Status Courier::Deliver(const Webhook& webhook, const std::string& event, const StoredAlert& alert) {
  HttpRequest request;
  request.url = webhook.url;
  request.authorization = webhook.authorization;
  request.limit = kRequestTime;
  request.body = WebhookBody(webhook.receiver.name, event, alert, webhook.key.Reveal(), options_.context);
  const absl::Status status = sender_.Deliver(request).status();
  Count(webhook.receiver.name, status);
  return status;
}

void Courier::TellWebhooks() {
  if (clock::SteadyNow() >= swept_at_) {
    swept_at_ = clock::SteadyNow() + kSweep;
    int64_t dropped = 0;
    const absl::StatusOr<int64_t> waiting = store_->Waiting(&dropped, Soon());
    if (waiting.ok()) {
      metrics_->AddGauge("pga_ruler_outbox", "Messages that webhooks have not taken yet")
          .Set(static_cast<double>(*waiting));
    }
    if (dropped > 0) PGA_LOG(error, "messages to webhooks were given up after a day", {{"messages", dropped}});
  }
  const clock::SteadyTime begun = clock::SteadyNow();
  const absl::StatusOr<std::vector<Delivery>> due = store_->TakeDue(kDueAtOnce, kClaim, Soon());
  if (!due.ok()) {
    PGA_LOG(warn, "the queue of webhooks cannot be read", {{"status", due.status()}});
    return;
  }
  for (const Delivery& delivery : *due) {
    // A request that begins now ends while the message is still this process's.
    if (sender_.stopping() || clock::SteadyNow() - begun > kClaim - kRequestTime) return;
    const auto webhook = std::ranges::find_if(
        options_.webhooks, [&](const Webhook& known) { return known.receiver.name == delivery.receiver; });
    // A receiver that is no longer set up gets nothing.
    if (webhook == options_.webhooks.end()) {
      store_->Delivered(delivery.id, Soon()).IgnoreError();
      continue;
    }
    const absl::Status sent = Deliver(*webhook, delivery.event, delivery.alert);
    absl::Status noted;
    if (sent.ok()) {
      noted = store_->Delivered(delivery.id, Soon());
    } else {
      absl::Duration pause = options_.first_pause;
      for (int i = 1; i < delivery.attempts && pause < options_.longest_pause; ++i) pause *= 2;
      pause = std::min(pause, options_.longest_pause);
      PGA_LOG(warn, "a webhook did not take an alert; it is sent again",
              {{"receiver", delivery.receiver}, {"attempt", delivery.attempts}, {"after", pause}, {"status", sent}});
      noted = store_->Failed(delivery.id, std::string(sent.message()), pause, Soon());
    }
    if (!noted.ok()) PGA_LOG(warn, "a message to a webhook may be sent again", {{"status", noted}});
  }
  if (due->size() == static_cast<size_t>(kDueAtOnce) && task_ != nullptr) task_->Wake();
}

std::vector<TestOutcome> Courier::SendTest(const std::string& message) {
  const absl::Time now = clock_->Now();
  StoredAlert alert =
      Synthetic(kTestAlert, "info", message, "Nothing is wrong: somebody tests the way of alerts.", now);
  std::vector<TestOutcome> outcomes;
  const auto attempt = [&](const std::string& receiver, const std::function<absl::Status()>& send) {
    const clock::SteadyTime begun = clock::SteadyNow();
    const absl::Status status = send();
    outcomes.push_back({receiver, status, clock::SteadyNow() - begun});
  };
  if (has_alertmanager()) {
    attempt("alertmanager", [&] { return Post(AlertmanagerBody({alert}, now + absl::Minutes(1), options_.context)); });
  }
  for (const Webhook& webhook : options_.webhooks) {
    attempt(webhook.receiver.name, [&]() -> absl::Status {
      PGA_RETURN_IF_ERROR(Deliver(webhook, "firing", alert));
      // PagerDuty would keep it open.
      return webhook.receiver.name == "pagerduty" ? Deliver(webhook, "resolved", alert) : absl::OkStatus();
    });
  }
  return outcomes;
}

absl::StatusOr<HttpResponse> Courier::Ask(const std::string& method, const std::string& path, const std::string& body) {
  absl::Status last = absl::UnavailableError("no Alertmanager is set up");
  for (const std::string& base : options_.alertmanagers) {
    HttpRequest request;
    request.method = method;
    request.url = log::Secret(base + path);
    request.body = body;
    request.authorization = options_.alertmanager_authorization;
    request.limit = absl::Seconds(5);
    absl::StatusOr<HttpResponse> response = sender_.Deliver(request);
    if (response.ok() || !(absl::IsUnavailable(response.status()) || absl::IsDeadlineExceeded(response.status()))) {
      return response;
    }
    last = response.status();
  }
  return status::Annotate(last, "Alertmanager");
}

absl::StatusOr<std::vector<Silence>> Courier::AlertmanagerSilences() {
  PGA_ASSIGN_OR_RETURN(const HttpResponse response, Ask("GET", "/api/v2/silences", ""));
  return SilencesFromAlertmanager(response.body);
}

absl::StatusOr<std::string> Courier::AddAlertmanagerSilence(const Silence& silence) {
  PGA_ASSIGN_OR_RETURN(const HttpResponse response, Ask("POST", "/api/v2/silences", AlertmanagerSilence(silence)));
  return SilenceIdFromAlertmanager(response.body);
}

absl::Status Courier::EndAlertmanagerSilence(const std::string& id) {
  return Ask("DELETE", absl::StrCat("/api/v2/silence/", id), "").status();
}

}  // namespace pga::ruler
