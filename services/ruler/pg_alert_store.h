// AlertStore on PostgreSQL: schema pganalytics, role pganalytics_ruler.
#pragma once

#include <string>
#include <vector>

#include "libs/pg/pool.h"
#include "services/ruler/alert_store.h"

namespace pga::ruler {

class PgAlertStore final : public AlertStore {
 public:
  // `pool` outlives the store. `receivers` are notified by webhook. Without an Alertmanager no end has to be sent
  // there.
  PgAlertStore(pg::Pool* pool, std::vector<Receiver> receivers, bool alertmanager)
      : pool_(pool), receivers_(std::move(receivers)), alertmanager_(alertmanager) {}

  absl::StatusOr<bool> TakeLease(const std::string& holder, absl::Duration length, clock::SteadyTime deadline) override;
  absl::Status ReturnLease(const std::string& holder, clock::SteadyTime deadline) override;
  absl::StatusOr<AlertBook> LoadOpen(clock::SteadyTime deadline) override;
  absl::Status Write(const std::string& holder, const Commit& commit, const std::vector<Silence>& silences,
                     clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<StoredAlert>> ForAlertmanager(clock::SteadyTime deadline) override;
  absl::Status EndsSent(const std::vector<int64_t>& ids, clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<Delivery>> TakeDue(int limit, absl::Duration again, clock::SteadyTime deadline) override;
  absl::Status Delivered(int64_t id, clock::SteadyTime deadline) override;
  absl::Status Failed(int64_t id, const std::string& why, absl::Duration again, clock::SteadyTime deadline) override;
  absl::StatusOr<int64_t> Waiting(int64_t* dropped, clock::SteadyTime deadline) override;
  absl::StatusOr<AlertPage> List(const Visible& visible, const AlertFilter& filter,
                                 clock::SteadyTime deadline) override;
  absl::StatusOr<StoredAlert> Get(const Visible& visible, int64_t id, clock::SteadyTime deadline) override;
  absl::Status Acknowledge(int64_t id, const std::string& who, const std::string& comment, const AuditRow& audit,
                           clock::SteadyTime deadline) override;
  absl::Status Resolve(int64_t id, const std::string& who, const std::string& comment, const AuditRow& audit,
                       clock::SteadyTime deadline) override;
  absl::Status Prune(absl::Time before, clock::SteadyTime deadline) override;
  absl::StatusOr<std::vector<Silence>> Silences(clock::SteadyTime deadline) override;
  absl::StatusOr<std::string> AddSilence(const Silence& silence, clock::SteadyTime deadline) override;
  absl::Status EndSilence(const std::string& id, clock::SteadyTime deadline) override;
  absl::Status Audit(const AuditRow& audit, clock::SteadyTime deadline) override;

 private:
  absl::Status WriteOne(pg::Transaction& tx, const Commit& commit, const Change& change);
  absl::Status TellBeginnings(pg::Transaction& tx, const std::vector<Silence>& silences, absl::Time now);
  absl::Status TellEnd(pg::Transaction& tx, int64_t id);

  pg::Pool* const pool_;
  const std::vector<Receiver> receivers_;
  const bool alertmanager_;
};

}  // namespace pga::ruler
