// Brings alerts to Alertmanager and to webhooks. Alertmanager hears again and again what fires, so that it needs no
// queue; webhooks get each beginning and each end, from a queue in the database, until they take it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "libs/clock/clock.h"
#include "libs/exec/periodic_task.h"
#include "libs/metrics/registry.h"
#include "services/ruler/alert_store.h"
#include "services/ruler/http_sender.h"
#include "services/ruler/messages.h"

namespace pga::ruler {

// Where a kind of message goes.
struct Webhook {
  Receiver receiver;
  log::Secret url;
  // PagerDuty's routing key.
  log::Secret key;
  // Of the generic webhook: value of its Authorization header.
  log::Secret authorization;
};

struct DeliveryOptions {
  // Bases of Alertmanagers of one cluster, as http://alertmanager:9093; each gets all.
  std::vector<std::string> alertmanagers;
  log::Secret alertmanager_authorization;
  std::vector<Webhook> webhooks;
  std::string ca_path;
  // How often Alertmanager hears what fires; an alert that it does not hear of for four times as long ends there.
  absl::Duration resend = absl::Minutes(1);
  // First and longest pause before a message is sent again.
  absl::Duration first_pause = absl::Seconds(2);
  absl::Duration longest_pause = absl::Minutes(2);
  MessageContext context;
};

struct TestOutcome {
  std::string receiver;
  absl::Status status;
  absl::Duration took;
};

class Courier {
 public:
  // All must outlive it. Nothing is sent before Start.
  Courier(AlertStore* store, clock::Clock* clock, metrics::Registry* metrics, DeliveryOptions options);
  ~Courier();

  void Start();
  // Ends running requests. Repeating is safe.
  void Stop();
  // There is something to say. Never blocks.
  void Wake();
  // Whether this process sends, and whether evaluation works: only then the dead man's switch is held.
  void SetState(bool leading, bool evaluates);

  // Sends a test alert to every receiver and waits for the answers.
  std::vector<TestOutcome> SendTest(const std::string& message);

  bool has_alertmanager() const { return !options_.alertmanagers.empty(); }
  // Alertmanager's silences that have not ended; asks the first that answers.
  absl::StatusOr<std::vector<Silence>> AlertmanagerSilences();
  absl::StatusOr<std::string> AddAlertmanagerSilence(const Silence& silence);
  absl::Status EndAlertmanagerSilence(const std::string& id);

  // One round, as the thread does it; for tests.
  void RunOnce();

 private:
  void TellAlertmanager();
  void TellWebhooks();
  absl::Status Post(const std::string& body);
  absl::StatusOr<HttpResponse> Ask(const std::string& method, const std::string& path, const std::string& body);
  absl::Status Deliver(const Webhook& webhook, const std::string& event, const StoredAlert& alert);
  void Count(const std::string& receiver, const absl::Status& status);

  AlertStore* const store_;
  clock::Clock* const clock_;
  metrics::Registry* const metrics_;
  const DeliveryOptions options_;
  HttpSender sender_;
  const absl::Time began_;
  absl::Mutex mutex_;
  bool leading_ ABSL_GUARDED_BY(mutex_) = false;
  bool evaluates_ ABSL_GUARDED_BY(mutex_) = false;
  bool changed_ ABSL_GUARDED_BY(mutex_) = true;
  // The thread's own.
  clock::SteadyTime resend_at_;
  absl::Duration pause_;
  clock::SteadyTime swept_at_;
  std::unique_ptr<exec::PeriodicTask> task_;
};

}  // namespace pga::ruler
