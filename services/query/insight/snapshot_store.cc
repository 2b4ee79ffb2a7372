#include "services/query/insight/snapshot_store.h"

#include "absl/strings/str_cat.h"
#include "libs/pg/value.h"
#include "libs/status/status.h"

namespace pga::query {
namespace {

constexpr char kColumns[] =
    "s.id, s.name, s.description, s.snapshot_type, pganalytics.micros(s.created_at), s.created_by";
// The oldest go when there are more.
constexpr int kMostSnapshots = 10'000;
constexpr char kForget[] =
    "DELETE FROM pganalytics.performance_snapshots WHERE id <= (SELECT id FROM pganalytics.performance_snapshots ORDER "
    "BY "
    "id DESC OFFSET $1::int4 LIMIT 1)";
constexpr char kAudit[] =
    "INSERT INTO pganalytics.audit_log (actor, user_id, action, outcome, resource_type, resource_id, ip_address, "
    "request_id) VALUES ($1, nullif($2::int4, 0), 'snapshot.create', 'success', 'snapshot', $3, $4, $5)";

StoredSnapshot FromRow(const pg::Row& row) {
  StoredSnapshot snapshot;
  snapshot.id = static_cast<int32_t>(row.Int64(0));
  snapshot.name = std::string(row.Text(1));
  snapshot.description = std::string(row.Text(2));
  snapshot.type = std::string(row.Text(3));
  snapshot.created_at = row.OptMicros(4).value_or(absl::UnixEpoch());
  snapshot.created_by = std::string(row.Text(5));
  return snapshot;
}

}  // namespace

absl::Status SnapshotStore::CheckPool() const {
  if (pool_ != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "snapshots are kept in the metadata database, which this query service was not given; set DATABASE_URL");
}

absl::StatusOr<StoredSnapshot> SnapshotStore::Create(const std::string& name, const std::string& description,
                                                     const std::string& type, absl::Time at, const ChangedBy& by,
                                                     clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(CheckPool());
  StoredSnapshot snapshot;
  const auto write = [&](pg::Transaction& tx) -> absl::Status {
    const auto made =
        tx.Exec(absl::StrCat("INSERT INTO pganalytics.performance_snapshots AS s (name, description, snapshot_type, "
                             "created_at, created_by) VALUES ($1, $2, $3, pganalytics.at($4::int8), $5) RETURNING ",
                             kColumns),
                {name, description, type, absl::ToUnixMicros(at), by.name});
    PGA_RETURN_IF_ERROR(made.status());
    snapshot = FromRow((*made)[0]);
    PGA_RETURN_IF_ERROR(tx.Exec(kForget, {kMostSnapshots}).status());
    return tx.Exec(kAudit, {by.actor, by.user_id, absl::StrCat(snapshot.id), by.peer, by.request_id}).status();
  };
  PGA_RETURN_IF_ERROR(pool_->InTransaction(deadline, write));
  return snapshot;
}

absl::StatusOr<std::vector<StoredSnapshot>> SnapshotStore::List(int limit, clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(CheckPool());
  PGA_ASSIGN_OR_RETURN(const pg::Result found,
                       pool_->Exec(absl::StrCat("SELECT ", kColumns,
                                                " FROM pganalytics.performance_snapshots s ORDER BY s.created_at DESC, "
                                                "s.id DESC LIMIT $1::int4"),
                                   {limit}, deadline));
  std::vector<StoredSnapshot> snapshots;
  for (const pg::Row row : found) snapshots.push_back(FromRow(row));
  return snapshots;
}

absl::StatusOr<StoredSnapshot> SnapshotStore::Get(int32_t id, clock::SteadyTime deadline) {
  PGA_RETURN_IF_ERROR(CheckPool());
  PGA_ASSIGN_OR_RETURN(
      const pg::Result found,
      pool_->Exec(absl::StrCat("SELECT ", kColumns, " FROM pganalytics.performance_snapshots s WHERE s.id = $1::int4"),
                  {id}, deadline));
  if (found.empty())
    return absl::NotFoundError(absl::StrCat("there is no snapshot ", id, "; GET /api/v1/snapshots lists them"));
  return FromRow(found[0]);
}

}  // namespace pga::query
