#include "services/ruler/advice_store.h"

#include "libs/pg/value.h"
#include "libs/status/status.h"
#include "services/ruler/audit_sql.h"

namespace pga::ruler {
namespace {

constexpr char kColumns[] =
    "SELECT advice_id, kind, source_id::text, database_name, object, reason, dismissed_by, "
    "pganalytics.micros(dismissed_at) FROM pganalytics.advice_dismissals ";

Dismissal FromRow(const pg::Row& row) {
  Dismissal dismissal;
  dismissal.advice_id = std::string(row.Text(0));
  dismissal.kind = std::string(row.Text(1));
  dismissal.source_id = std::string(row.Text(2));
  dismissal.database = std::string(row.Text(3));
  dismissal.object = std::string(row.Text(4));
  dismissal.reason = std::string(row.Text(5));
  dismissal.who = std::string(row.Text(6));
  dismissal.at = absl::FromUnixMicros(row.Int64(7));
  return dismissal;
}

absl::Status Unknown() {
  return status::WithReason(absl::NotFoundError("there is no such dismissal"), "ADVICE_UNKNOWN");
}

}  // namespace

absl::StatusOr<std::map<std::string, Dismissal>> AdviceStore::Dismissals(const std::vector<std::string>& source_ids,
                                                                         clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows, pool_->Exec(std::string(kColumns) + "WHERE source_id = ANY ($1::uuid[])",
                                                          {pg::ArrayOf(source_ids)}, deadline));
  std::map<std::string, Dismissal> dismissals;
  for (const pg::Row row : rows) {
    Dismissal one = FromRow(row);
    dismissals[one.advice_id] = std::move(one);
  }
  return dismissals;
}

absl::StatusOr<Dismissal> AdviceStore::Find(const std::string& advice_id, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       pool_->Exec(std::string(kColumns) + "WHERE advice_id = $1", {advice_id}, deadline));
  if (rows.empty()) return Unknown();
  return FromRow(rows[0]);
}

absl::Status AdviceStore::Dismiss(const Dismissal& dismissal, const AuditRow& audit, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_RETURN_IF_ERROR(tx.Exec(
        "INSERT INTO pganalytics.advice_dismissals (advice_id, kind, source_id, database_name, object, reason, "
        "dismissed_by) VALUES ($1, $2, $3::uuid, $4, $5, $6, $7) ON CONFLICT (advice_id) DO UPDATE SET reason = "
        "EXCLUDED.reason, dismissed_by = EXCLUDED.dismissed_by, dismissed_at = now()",
        {dismissal.advice_id, dismissal.kind, dismissal.source_id, dismissal.database, dismissal.object,
         dismissal.reason, dismissal.who}));
    return tx.Exec(kAudit, AuditParams(audit)).status();
  });
}

absl::Status AdviceStore::Restore(const std::string& advice_id, const AuditRow& audit, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result gone,
        tx.Exec("DELETE FROM pganalytics.advice_dismissals WHERE advice_id = $1 RETURNING 1", {advice_id}));
    if (gone.empty()) return Unknown();
    return tx.Exec(kAudit, AuditParams(audit)).status();
  });
}

}  // namespace pga::ruler
