#include "services/query/insight/anomaly_store.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"

namespace pga::query {
namespace {

constexpr char kColumns[] =
    "a.id, a.source_id::text, a.source_name, a.source_group, a.database_name, a.query_hash, a.fingerprint, "
    "a.anomaly_type, a.severity, a.metric_name, a.metric_value, a.baseline_value, a.spread, a.z_score, a.method, "
    "a.baseline_hours, a.calls, pganalytics.micros(a.hour_start), pganalytics.micros(a.detected_at), "
    "pganalytics.micros(a.resolved_at), a.resolved_by";
constexpr char kAdd[] =
    "INSERT INTO pganalytics.query_anomalies (source_id, source_name, source_group, database_name, query_hash, "
    "fingerprint, anomaly_type, severity, metric_name, metric_value, baseline_value, spread, z_score, method, "
    "baseline_hours, calls, hour_start, detected_at) VALUES ($1::uuid, $2, $3, $4, $5::int8, $6, $7, $8, $9, "
    "$10::float8, $11::float8, $12::float8, $13::float8, $14, $15::int4, $16::float8, pganalytics.at($17::int8), "
    "pganalytics.at($18::int8)) ON CONFLICT (source_id, database_name, query_hash, metric_name, hour_start) DO NOTHING "
    "RETURNING id";
constexpr char kForget[] =
    "DELETE FROM pganalytics.query_anomalies WHERE id IN (SELECT id FROM pganalytics.query_anomalies WHERE hour_start "
    "< "
    "pganalytics.at($1::int8) - interval '90 days' LIMIT 10000)";
constexpr char kResolve[] =
    "UPDATE pganalytics.query_anomalies SET resolved_at = coalesce(resolved_at, pganalytics.at($2::int8)), resolved_by "
    "= CASE WHEN resolved_at IS NULL THEN $3 ELSE resolved_by END WHERE id = $1::int4 AND source_group = ANY "
    "($4::text[]) RETURNING id";
constexpr char kAudit[] =
    "INSERT INTO pganalytics.audit_log (actor, user_id, action, outcome, resource_type, resource_id, ip_address, "
    "request_id) VALUES ($1, nullif($2::int4, 0), 'anomaly.resolve', 'success', 'anomaly', $3, $4, $5)";

StoredAnomaly FromRow(const pg::Row& row) {
  StoredAnomaly stored;
  stored.id = row.Int32(0);
  stored.source_id = std::string(row.Text(1));
  stored.source_name = std::string(row.Text(2));
  stored.source_group = std::string(row.Text(3));
  stored.database = std::string(row.Text(4));
  stored.query_id = row.Int64(5);
  stored.fingerprint = std::string(row.Text(6));
  stored.found.type = std::string(row.Text(7));
  stored.found.severity = std::string(row.Text(8));
  stored.found.metric = std::string(row.Text(9));
  stored.found.value = row.Double(10);
  stored.found.baseline = row.Double(11);
  stored.found.spread = row.Double(12);
  stored.found.z = row.Double(13);
  stored.found.method = std::string(row.Text(14));
  stored.found.hours = row.Int32(15);
  stored.calls = row.Double(16);
  stored.hour = row.OptMicros(17).value_or(absl::UnixEpoch());
  stored.detected_at = row.OptMicros(18).value_or(absl::UnixEpoch());
  stored.resolved_at = row.OptMicros(19);
  stored.resolved_by = std::string(row.Text(20));
  return stored;
}

std::string TextArray(const std::vector<std::string>& texts) {
  return absl::StrCat("{",
                      absl::StrJoin(texts, ",",
                                    [](std::string* out, const std::string& text) {
                                      out->push_back('"');
                                      for (const char c : text) {
                                        if (c == '"' || c == '\\') out->push_back('\\');
                                        out->push_back(c);
                                      }
                                      out->push_back('"');
                                    }),
                      "}");
}

std::vector<StoredAnomaly> FromRows(const pg::Result& rows) {
  std::vector<StoredAnomaly> all;
  for (const pg::Row row : rows) all.push_back(FromRow(row));
  return all;
}

}  // namespace

absl::Status AnomalyStore::CheckPool() const {
  if (pool_ != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "anomalies are kept in the metadata database, which this query service was not given; set DATABASE_URL");
}

absl::StatusOr<int> AnomalyStore::Add(const std::vector<StoredAnomaly>& anomalies, absl::Time now,
                                      clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(CheckPool());
  int added = 0;
  const auto write = [&](pg::Transaction& tx) -> absl::Status {
    added = 0;
    for (const StoredAnomaly& one : anomalies) {
      const FoundAnomaly& found = one.found;
      const auto made =
          tx.Exec(kAdd, {one.source_id, one.source_name, one.source_group, one.database, one.query_id, one.fingerprint,
                         found.type, found.severity, found.metric, found.value, found.baseline, found.spread, found.z,
                         found.method, found.hours, one.calls, absl::ToUnixMicros(one.hour), absl::ToUnixMicros(now)});
      PGA_RETURN_IF_ERROR(made.status());
      if (!made->empty()) ++added;
    }
    return tx.Exec(kForget, {absl::ToUnixMicros(now)}).status();
  };
  PGA_RETURN_IF_ERROR(pool_->InTransaction(deadline, write));
  return added;
}

absl::StatusOr<std::vector<StoredAnomaly>> AnomalyStore::Open(const std::vector<std::string>& groups,
                                                              const std::string& severity, int limit,
                                                              clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(CheckPool());
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       pool_->Exec(absl::StrCat("SELECT ", kColumns,
                                                " FROM pganalytics.query_anomalies a WHERE a.resolved_at IS NULL AND "
                                                "a.severity = $1 AND a.source_group = ANY ($2::text[]) ORDER BY "
                                                "a.hour_start DESC, a.z_score DESC, a.id DESC LIMIT $3::int4"),
                                   {severity, TextArray(groups), limit}, deadline));
  return FromRows(rows);
}

absl::StatusOr<std::vector<StoredAnomaly>> AnomalyStore::OfQuery(const std::vector<std::string>& groups,
                                                                 int64_t query_id, absl::Time since,
                                                                 clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(CheckPool());
  PGA_ASSIGN_OR_RETURN(
      const pg::Result rows,
      pool_->Exec(absl::StrCat("SELECT ", kColumns,
                               " FROM pganalytics.query_anomalies a WHERE a.query_hash = $1::int8 AND a.source_group = "
                               "ANY ($2::text[]) AND a.hour_start >= pganalytics.at($3::int8) ORDER BY a.hour_start "
                               "DESC, a.id DESC LIMIT 1000"),
                  {query_id, TextArray(groups), absl::ToUnixMicros(since)}, deadline));
  return FromRows(rows);
}

absl::Status AnomalyStore::Resolve(const std::vector<std::string>& groups, int32_t id, absl::Time now,
                                   const ChangedBy& by, clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(CheckPool());
  return pool_->InTransaction(deadline, [&](pg::Transaction& tx) -> absl::Status {
    const auto changed = tx.Exec(kResolve, {id, absl::ToUnixMicros(now), by.name, TextArray(groups)});
    PGA_RETURN_IF_ERROR(changed.status());
    if (changed->empty()) {
      return absl::NotFoundError(absl::StrCat("there is no anomaly ", id, "; GET /api/v1/anomalies lists them"));
    }
    return tx.Exec(kAudit, {by.actor, by.user_id, absl::StrCat(id), by.peer, by.request_id}).status();
  });
}

}  // namespace pga::query
