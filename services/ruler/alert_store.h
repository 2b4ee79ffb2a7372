// What the service keeps in the metadata database. Thread-safe; every call blocks until its deadline at most.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "services/ruler/alerts.h"
#include "services/ruler/silences.h"

namespace pga::ruler {

// An alert with all that is kept of it.
struct StoredAlert {
  Alert alert;
  // pending, firing, closed, resolved.
  std::string state;
  std::string severity;
  std::string source_name;
  std::string metric;
  std::string value_text;
  std::string unit;
  std::string threshold;
  std::string runbook;
  std::string page;
  std::string query;
  std::optional<absl::Time> resolved_at;
  std::string resolve_reason;
  std::string resolved_by;
  std::optional<absl::Time> acknowledged_at;
  std::string acknowledged_by;
  std::string comment;
};

// Whose alerts: of these groups, or all, those without a source included.
struct Visible {
  bool all = false;
  std::vector<std::string> groups = {};
};

struct AlertFilter {
  std::string severity = {};
  std::string state = {};
  std::string rule = {};
  std::vector<std::string> sources = {};
  int offset = 0;
  int limit = 20;
};

struct AlertPage {
  std::vector<StoredAlert> alerts;
  int total = 0;
  int firing = 0;
  int pending = 0;
  std::optional<absl::Time> evaluated_at;
};

// What one evaluation writes.
struct Commit {
  std::vector<Change> changes;
  // Ids of alerts that were read and did not change.
  std::vector<int64_t> seen;
  // Of the rules of the changes.
  const std::map<std::string, Rule>* rules = nullptr;
  const Sources* sources = nullptr;
  absl::Time now;
};

// A receiver of webhooks, as the queue knows it.
struct Receiver {
  std::string name;
  Severity least = Severity::kInfo;
};

// A message that a webhook has not taken yet.
struct Delivery {
  int64_t id = 0;
  std::string receiver;
  std::string event;
  int attempts = 0;
  StoredAlert alert;
};

struct AuditRow {
  std::string actor = {};
  int32_t user_id = 0;
  std::string action = {};
  std::string resource_type = {};
  std::string resource_id = {};
  std::string changes_json = "{}";
  std::string ip_address = {};
  std::string request_id = {};
};

class AlertStore {
 public:
  virtual ~AlertStore() = default;

  // Takes the lease or makes it longer; false when another process has it.
  virtual absl::StatusOr<bool> TakeLease(const std::string& holder, absl::Duration length,
                                         clock::SteadyTime deadline) = 0;
  virtual absl::Status ReturnLease(const std::string& holder, clock::SteadyTime deadline) = 0;
  // Alerts that have not ended.
  virtual absl::StatusOr<AlertBook> LoadOpen(clock::SteadyTime deadline) = 0;
  // Writes the changes and queues what webhooks are to get, all or nothing. ABORTED when the lease is another's.
  // `silences` keep alerts from webhooks.
  virtual absl::Status Write(const std::string& holder, const Commit& commit, const std::vector<Silence>& silences,
                             clock::SteadyTime deadline) = 0;

  // Alerts that Alertmanager has to hear: those that fire, and ended ones whose end it has not taken, of the last day.
  virtual absl::StatusOr<std::vector<StoredAlert>> ForAlertmanager(clock::SteadyTime deadline) = 0;
  virtual absl::Status EndsSent(const std::vector<int64_t>& ids, clock::SteadyTime deadline) = 0;

  // Messages that are due, at most `limit`, which are due again after `again` unless they are Delivered before. Of one
  // alert and receiver the earlier message comes first.
  virtual absl::StatusOr<std::vector<Delivery>> TakeDue(int limit, absl::Duration again,
                                                        clock::SteadyTime deadline) = 0;
  virtual absl::Status Delivered(int64_t id, clock::SteadyTime deadline) = 0;
  virtual absl::Status Failed(int64_t id, const std::string& why, absl::Duration again, clock::SteadyTime deadline) = 0;
  // Messages that wait; those older than a day are given up, and counted in `dropped`.
  virtual absl::StatusOr<int64_t> Waiting(int64_t* dropped, clock::SteadyTime deadline) = 0;

  virtual absl::StatusOr<AlertPage> List(const Visible& visible, const AlertFilter& filter,
                                         clock::SteadyTime deadline) = 0;
  // NOT_FOUND for an id that is not there or not visible.
  virtual absl::StatusOr<StoredAlert> Get(const Visible& visible, int64_t id, clock::SteadyTime deadline) = 0;
  // FAILED_PRECONDITION for an alert that has ended.
  virtual absl::Status Acknowledge(int64_t id, const std::string& who, const std::string& comment,
                                   const AuditRow& audit, clock::SteadyTime deadline) = 0;
  virtual absl::Status Resolve(int64_t id, const std::string& who, const std::string& comment, const AuditRow& audit,
                               clock::SteadyTime deadline) = 0;
  // Alerts that ended before `before` are deleted, at most 10,000.
  virtual absl::Status Prune(absl::Time before, clock::SteadyTime deadline) = 0;

  virtual absl::StatusOr<std::vector<Silence>> Silences(clock::SteadyTime deadline) = 0;
  virtual absl::StatusOr<std::string> AddSilence(const Silence& silence, clock::SteadyTime deadline) = 0;
  // NOT_FOUND.
  virtual absl::Status EndSilence(const std::string& id, clock::SteadyTime deadline) = 0;
  virtual absl::Status Audit(const AuditRow& audit, clock::SteadyTime deadline) = 0;
};

}  // namespace pga::ruler
