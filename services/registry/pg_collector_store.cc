#include "services/registry/pg_collector_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/clock/steady.h"
#include "libs/status/status.h"

namespace pga::registry {

namespace {

constexpr char kColumns[] =
    "id, name, description, hostname, address, version, pganalytics.micros(last_seen), certificate_thumbprint, "
    "pganalytics.micros(certificate_expires_at), config_version, metrics_count_total, metrics_count_24h, "
    "health_check_interval, pganalytics.micros(created_at), pganalytics.micros(updated_at), EXISTS (SELECT FROM "
    "pganalytics.collector_config g WHERE g.collector_id = collectors.id)";

// $1: all are seen; $2: groups.
constexpr char kSeen[] =
    "($1::bool OR source_group = ANY ($2::text[]) OR EXISTS (SELECT FROM pganalytics.sources s WHERE s.removed_at IS "
    "NULL AND s.group_name = ANY ($2::text[]) AND (s.owner = collectors.id OR EXISTS (SELECT FROM "
    "pganalytics.source_watchers w WHERE w.source_id = s.id AND w.collector_id = collectors.id))))";

// One registration at a time decides about the limit.
constexpr char kLockRegistrations[] = "SELECT pg_advisory_xact_lock(hashtext('pganalytics.collectors.limit'))";

constexpr char kCountOthers[] =
    "SELECT count(*) FROM pganalytics.collectors "
    "WHERE id <> $1 AND coalesce(last_seen, created_at) >= pganalytics.at($2::int8)";

constexpr char kUpsert[] =
    "INSERT INTO pganalytics.collectors (id, name, hostname, address, version, created_at, updated_at, "
    "source_group) VALUES ($1, $2, $3, $4, $5, pganalytics.at($6::int8), pganalytics.at($6::int8), $7) "
    "ON CONFLICT (id) DO UPDATE SET name = excluded.name, hostname = excluded.hostname, address = excluded.address, "
    "version = excluded.version, source_group = excluded.source_group, updated_at = excluded.updated_at, registrations "
    "= collectors.registrations + 1 "
    "RETURNING registrations > 1";

constexpr char kExists[] = "SELECT 1 FROM pganalytics.collectors WHERE id = $1";

constexpr char kSetCertificate[] =
    "UPDATE pganalytics.collectors SET certificate_thumbprint = $2, certificate_expires_at = pganalytics.at($3::int8), "
    "version = coalesce(nullif($5, ''), version), updated_at = pganalytics.at($4::int8) WHERE id = $1";

constexpr char kDelete[] = "DELETE FROM pganalytics.collectors WHERE id = $1";

constexpr char kGetConfig[] =
    "SELECT version, config FROM pganalytics.collector_config WHERE collector_id = $1 ORDER BY version DESC LIMIT 1";

// The first stored configuration is version 1; the row lock keeps two writers from taking one number.
constexpr char kLockCollector[] = "SELECT 1 FROM pganalytics.collectors WHERE id = $1 FOR UPDATE";
constexpr char kPutConfig[] =
    "INSERT INTO pganalytics.collector_config (collector_id, version, config, created_at, updated_by) "
    "SELECT $1, coalesce(max(version), 0) + 1, $2, pganalytics.at($4::int8), $3 "
    "FROM pganalytics.collector_config WHERE collector_id = $1 RETURNING version";
constexpr char kNoteConfigVersion[] =
    "UPDATE pganalytics.collectors SET config_version = $2::int4, updated_at = pganalytics.at($3::int8) WHERE id = $1";

constexpr char kAudit[] =
    "INSERT INTO pganalytics.audit_log (actor, action, outcome, resource_type, resource_id, ip_address, request_id) "
    "VALUES ($1, $2, $3, $7, $4, $5, $6)";

absl::Status UnknownCollector(const std::string& id) {
  return status::WithReason(absl::NotFoundError(absl::StrCat("no collector has the id ", id)), "COLLECTOR_UNKNOWN");
}

Collector FromRow(const pg::Row& row) {
  Collector collector;
  collector.id = std::string(row.Text(0));
  collector.name = std::string(row.Text(1));
  collector.description = std::string(row.Text(2));
  collector.hostname = std::string(row.Text(3));
  collector.address = std::string(row.Text(4));
  collector.version = std::string(row.Text(5));
  collector.last_seen = row.OptMicros(6);
  collector.certificate_thumbprint = std::string(row.Text(7));
  collector.certificate_expires_at = row.OptMicros(8);
  collector.config_version = row.Int32(9);
  collector.metrics_count_total = row.Int64(10);
  collector.metrics_count_24h = row.Int64(11);
  collector.health_check_interval_seconds = row.Int32(12);
  collector.created_at = absl::FromUnixMicros(row.Int64(13));
  collector.updated_at = absl::FromUnixMicros(row.Int64(14));
  collector.config_stored = row.Bool(15);
  return collector;
}

}  // namespace

absl::StatusOr<bool> PgCollectorStore::Register(const Registration& registration, int limit, absl::Time counted_since,
                                                absl::Time now, clock::SteadyTime deadline) {
  bool known = false;
  const absl::Status committed = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    if (limit > 0) {
      PGA_RETURN_IF_ERROR(transaction.Exec(kLockRegistrations));
      PGA_ASSIGN_OR_RETURN(const pg::Result exists, transaction.Exec(kExists, {registration.collector_id}));
      PGA_ASSIGN_OR_RETURN(
          const pg::Result others,
          transaction.Exec(kCountOthers, {registration.collector_id, absl::ToUnixMicros(counted_since)}));
      if (exists.empty() && others[0].Int64(0) >= limit) {
        return status::WithReason(
            absl::PermissionDeniedError(absl::StrCat(
                "MAX_CONCURRENT_COLLECTORS=", limit, " is reached: ", others[0].Int64(0),
                " other collectors were seen within 7 days. Raise the limit, or delete collectors that are gone "
                "(DELETE /api/v1/collectors/<id>)")),
            "COLLECTOR_LIMIT_REACHED");
      }
    }
    PGA_ASSIGN_OR_RETURN(const pg::Result row,
                         transaction.Exec(kUpsert, {registration.collector_id, registration.name, registration.hostname,
                                                    registration.address, registration.version, absl::ToUnixMicros(now),
                                                    registration.group}));
    known = row[0].Bool(0);
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(committed);
  return known;
}

absl::Status PgCollectorStore::SetCertificate(const std::string& id, const std::string& thumbprint,
                                              absl::Time expires_at, const std::string& version, absl::Time now,
                                              clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec(kSetCertificate, {id, thumbprint, absl::ToUnixMicros(expires_at), absl::ToUnixMicros(now), version},
                  deadline));
  return result.affected_rows() == 1 ? absl::OkStatus() : UnknownCollector(id);
}

absl::StatusOr<Collector> PgCollectorStore::Get(const std::string& id, const SeenGroups& seen,
                                                clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(
      const pg::Result result,
      pool_->Exec(absl::StrCat("SELECT ", kColumns, " FROM pganalytics.collectors WHERE ", kSeen, " AND id = $3"),
                  {!seen.has_value(), pg::ArrayOf(seen.value_or(std::vector<std::string>())), id}, deadline));
  if (result.empty()) return UnknownCollector(id);
  return FromRow(result[0]);
}

absl::StatusOr<std::vector<Collector>> PgCollectorStore::List(const SeenGroups& seen, int offset, int count, int* total,
                                                              clock::SteadyTime deadline) {
  const std::string groups = pg::ArrayOf(seen.value_or(std::vector<std::string>()));
  PGA_ASSIGN_OR_RETURN(const pg::Result result,
                       pool_->Exec(absl::StrCat("SELECT ", kColumns, " FROM pganalytics.collectors WHERE ", kSeen,
                                                " ORDER BY created_at DESC, id LIMIT $3::int8 OFFSET $4::int8"),
                                   {!seen.has_value(), groups, count, offset}, deadline));
  PGA_ASSIGN_OR_RETURN(const pg::Result all,
                       pool_->Exec(absl::StrCat("SELECT count(*) FROM pganalytics.collectors WHERE ", kSeen),
                                   {!seen.has_value(), groups}, deadline));
  *total = all[0].Int32(0);
  std::vector<Collector> collectors;
  collectors.reserve(result.rows());
  for (const pg::Row row : result) collectors.push_back(FromRow(row));
  return collectors;
}

absl::Status PgCollectorStore::Delete(const std::string& id, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, pool_->Exec(kDelete, {id}, deadline));
  return result.affected_rows() == 1 ? absl::OkStatus() : UnknownCollector(id);
}

absl::StatusOr<StoredConfig> PgCollectorStore::GetConfig(const std::string& id, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result result, pool_->Exec(kGetConfig, {id}, deadline));
  if (result.empty()) {
    return status::WithReason(absl::NotFoundError(absl::StrCat("no configuration was stored for collector ", id,
                                                               "; store one with PUT /api/v1/config/", id)),
                              "CONFIG_NOT_STORED");
  }
  return StoredConfig{.version = result[0].Int32(0), .toml = std::string(result[0].Text(1))};
}

absl::StatusOr<int32_t> PgCollectorStore::PutConfig(const std::string& id, const std::string& toml,
                                                    const std::string& by, absl::Time now, clock::SteadyTime deadline) {
  int32_t version = 0;
  const absl::Status committed = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result locked, transaction.Exec(kLockCollector, {id}));
    if (locked.empty()) return UnknownCollector(id);
    PGA_ASSIGN_OR_RETURN(const pg::Result stored,
                         transaction.Exec(kPutConfig, {id, toml, by, absl::ToUnixMicros(now)}));
    version = stored[0].Int32(0);
    return transaction.Exec(kNoteConfigVersion, {id, version, absl::ToUnixMicros(now)}).status();
  });
  PGA_RETURN_IF_ERROR(committed);
  return version;
}

absl::Status PgCollectorStore::NoteActivity(const std::vector<Activity>& activity, clock::SteadyTime deadline) {
  if (activity.empty()) return absl::OkStatus();
  // One statement for all.
  std::vector<std::string> ids, seen, total, day;
  for (const Activity& one : activity) {
    if (!one.last_seen.has_value()) continue;
    ids.push_back(one.collector_id);
    seen.push_back(absl::StrCat(absl::ToUnixMicros(*one.last_seen)));
    total.push_back(absl::StrCat(one.rows_total));
    day.push_back(absl::StrCat(one.rows_24h));
  }
  if (ids.empty()) return absl::OkStatus();
  return pool_
      ->Exec(
          "UPDATE pganalytics.collectors c SET last_seen = pganalytics.at(n.seen), metrics_count_total = n.total, "
          "metrics_count_24h = n.day FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[]) "
          "AS n(id, seen, total, day) WHERE c.id = n.id AND (c.last_seen IS DISTINCT FROM pganalytics.at(n.seen) OR "
          "c.metrics_count_total <> n.total OR c.metrics_count_24h <> n.day)",
          {pg::ArrayOf(ids), pg::ArrayOf(seen), pg::ArrayOf(total), pg::ArrayOf(day)}, deadline)
      .status();
}

absl::Status PgCollectorStore::Audit(const AuditEntry& entry, clock::SteadyTime deadline) {
  return pool_
      ->Exec(kAudit,
             {entry.actor, entry.action, entry.refused ? "refused" : "success", entry.resource_id, entry.ip_address,
              entry.request_id, entry.resource_type},
             deadline)
      .status();
}

}  // namespace pga::registry
