#include "services/ruler/advice_store.h"

#include "libs/pg/value.h"
#include "libs/status/status.h"
#include "services/ruler/audit_sql.h"

namespace pga::ruler {
namespace {

// The oldest go when there are more.
constexpr int kMostImplementations = 10'000;
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

absl::StatusOr<int32_t> AdviceStore::Implement(const Implementation& implementation, const AuditRow& audit,
                                               clock::SteadyTime deadline) {
  int32_t id = 0;
  const auto write = [&](pg::Transaction& tx) -> absl::Status {
    const std::string statement = implementation.query_id ? std::to_string(*implementation.query_id) : "";
    PGA_ASSIGN_OR_RETURN(
        const pg::Result made,
        tx.Exec("INSERT INTO pganalytics.advice_implementations (advice_id, kind, source_id, source_name, "
                "database_name, object, query_hash, notes, implemented_by, implemented_at) VALUES ($1, $2, $3::uuid, "
                "$4, $5, $6, nullif($7, '')::int8, $8, $9, pganalytics.at($10::int8)) RETURNING id",
                {implementation.advice_id, implementation.kind, implementation.source_id, implementation.source_name,
                 implementation.database, implementation.object, statement, implementation.notes, implementation.who,
                 absl::ToUnixMicros(implementation.at)}));
    id = static_cast<int32_t>(made[0].Int64(0));
    PGA_RETURN_IF_ERROR(tx.Exec("DELETE FROM pganalytics.advice_implementations WHERE id <= (SELECT id FROM "
                                "pganalytics.advice_implementations ORDER BY id DESC OFFSET $1::int4 LIMIT 1)",
                                {kMostImplementations})
                            .status());
    return tx.Exec(kAudit, AuditParams(audit)).status();
  };
  PGA_RETURN_IF_ERROR(pool_->InTransaction(deadline, write));
  return id;
}

absl::StatusOr<std::vector<Implementation>> AdviceStore::Implementations(const std::vector<std::string>& source_ids,
                                                                         const std::string& advice_id, int limit,
                                                                         clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec("SELECT id, advice_id, kind, source_id::text, source_name, database_name, object, query_hash, notes, "
                  "implemented_by, pganalytics.micros(implemented_at) FROM pganalytics.advice_implementations WHERE "
                  "source_id = ANY ($1::uuid[]) AND $2 IN ('', advice_id) ORDER BY implemented_at DESC, id DESC LIMIT "
                  "$3::int4",
                  {pg::ArrayOf(source_ids), advice_id, limit}, deadline));
  std::vector<Implementation> found;
  for (const pg::Row row : rows) {
    Implementation& one = found.emplace_back();
    one.id = static_cast<int32_t>(row.Int64(0));
    one.advice_id = std::string(row.Text(1));
    one.kind = std::string(row.Text(2));
    one.source_id = std::string(row.Text(3));
    one.source_name = std::string(row.Text(4));
    one.database = std::string(row.Text(5));
    one.object = std::string(row.Text(6));
    one.query_id = row.OptInt64(7);
    one.notes = std::string(row.Text(8));
    one.who = std::string(row.Text(9));
    one.at = absl::FromUnixMicros(row.Int64(10));
  }
  return found;
}

}  // namespace pga::ruler
