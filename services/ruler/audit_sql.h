// A row of the audit log, written in the transaction of what it is about.
#pragma once

#include "libs/pg/pool.h"
#include "services/ruler/alert_store.h"

namespace pga::ruler {

inline constexpr char kAudit[] =
    "INSERT INTO pganalytics.audit_log (actor, user_id, action, outcome, resource_type, resource_id, changes, "
    "ip_address, request_id) VALUES ($1, nullif($2::int4, 0), $3, 'success', $4, $5, $6::jsonb, $7, $8)";

inline pg::Params AuditParams(const AuditRow& audit) {
  return {audit.actor,       audit.user_id,      audit.action,     audit.resource_type,
          audit.resource_id, audit.changes_json, audit.ip_address, audit.request_id};
}

}  // namespace pga::ruler
