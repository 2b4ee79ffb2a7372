#include "services/registry/pg_managed_store.h"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "libs/log/log.h"
#include "libs/pg/errors.h"
#include "libs/status/status.h"
#include "services/registry/source.h"

namespace pga::registry {
namespace {

// As many as a collector's own configuration may name.
constexpr int kMaxOfCollector = 500;
// Instances that move to one collector at a time: each costs a connection and is watched twice until it has arrived.
constexpr int kMaxMoving = 10;
// A collector that could not reach an instance is not asked to take it over again for so long.
constexpr absl::Duration kUnreachedRest = absl::Hours(1);

constexpr char kInsert[] =
    "INSERT INTO pganalytics.managed_instances (name, description, cluster_id, instance_role, aws_region, endpoint, "
    "port, "
    "engine_version, db_instance_class, allocated_storage_gb, environment, master_username, "
    "enable_enhanced_monitoring, "
    "monitoring_interval, ssl_mode, connection_timeout, multi_az, backup_retention_days, preferred_backup_window, "
    "preferred_maintenance_window, tags, paused, group_name, collector_id, created_by, updated_by, created_at, "
    "updated_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21::jsonb, "
    "$22, "
    "coalesce($23, 'default'), coalesce($24, ''), $25, $25, pganalytics.at($26::int8), pganalytics.at($26::int8)) "
    "RETURNING id";
// Whoever watched it goes on only if nothing speaks against it.
constexpr char kUpdate[] =
    "UPDATE pganalytics.managed_instances SET name = $1, description = $2, cluster_id = $3, instance_role = $4, "
    "aws_region "
    "= $5, endpoint = $6, port = $7, engine_version = $8, db_instance_class = $9, allocated_storage_gb = $10, "
    "environment "
    "= $11, master_username = $12, enable_enhanced_monitoring = $13, monitoring_interval = $14, ssl_mode = $15, "
    "connection_timeout = $16, multi_az = $17, backup_retention_days = $18, preferred_backup_window = $19, "
    "preferred_maintenance_window = $20, tags = $21::jsonb, paused = $22, group_name = coalesce($23, group_name), "
    "collector_id = coalesce($24, collector_id), updated_by = $25, updated_at = pganalytics.at($26::int8), moves_to = "
    "'', revision = "
    "revision + 1, assigned_to = CASE WHEN $22::bool OR group_name <> coalesce($23, group_name) OR coalesce($24, "
    "collector_id) NOT IN ('', assigned_to) THEN '' ELSE assigned_to END WHERE id = $27 AND deleted_at IS NULL";
constexpr char kEndpoint[] =
    "SELECT endpoint FROM pganalytics.managed_instances WHERE id = $1 AND deleted_at IS NULL FOR UPDATE";
constexpr char kDelete[] =
    "UPDATE pganalytics.managed_instances SET deleted_at = pganalytics.at($3::int8), updated_at = "
    "pganalytics.at($3::int8), updated_by = $2, assigned_to = '', moves_to = '' WHERE id = $1 AND deleted_at IS NULL";
constexpr char kDeleteSecret[] = "DELETE FROM pganalytics.managed_secrets WHERE instance_id = $1";
constexpr char kInsertSecret[] =
    "INSERT INTO pganalytics.managed_secrets (instance_id, sealed, sealed_with, created_at) VALUES ($1, $2, $3, "
    "pganalytics.at($4::int8))";
constexpr char kList[] =
    "SELECT i.id, i.name, i.description, i.cluster_id, i.instance_role, i.aws_region, i.endpoint, i.port, "
    "i.engine_version, i.db_instance_class, i.allocated_storage_gb, i.environment, i.master_username, "
    "i.enable_enhanced_monitoring, i.monitoring_interval, i.ssl_mode, i.connection_timeout, i.multi_az, "
    "i.backup_retention_days, i.preferred_backup_window, i.preferred_maintenance_window, i.paused, i.group_name, "
    "i.collector_id, i.assigned_to, pganalytics.micros(i.tested_at), i.test_error, i.last_error_message, "
    "pganalytics.micros(i.last_error_time), pganalytics.micros(i.last_heartbeat), pganalytics.micros(i.created_at), "
    "pganalytics.micros(i.updated_at), i.created_by, i.updated_by, k.id, i.tags::text, s.up, "
    "pganalytics.micros(s.renewed_at), s.interval_ms, pganalytics.micros(s.since), s.message, "
    "pganalytics.micros(s.seen_at), pganalytics.micros(s.owned_since) "
    "FROM pganalytics.managed_instances i LEFT JOIN pganalytics.managed_secrets k ON k.instance_id = i.id "
    "LEFT JOIN pganalytics.sources s ON s.home_group = i.group_name AND s.reported_name = i.name AND s.removed_at IS "
    "NULL "
    "AND NOT s.is_host AND i.assigned_to <> '' AND s.owner = i.assigned_to "
    "WHERE i.deleted_at IS NULL AND ($1::bool OR i.group_name = ANY ($2::text[])) AND i.id = coalesce($3::int4, i.id) "
    "ORDER BY i.name, i.group_name";
constexpr char kNoteTest[] =
    "UPDATE pganalytics.managed_instances SET tested_at = pganalytics.at($2::int8), test_error = $3, last_heartbeat = "
    "CASE "
    "WHEN $3 = '' THEN pganalytics.at($2::int8) ELSE last_heartbeat END, last_error_message = CASE WHEN $3 = '' THEN "
    "last_error_message ELSE $3 END, last_error_time = CASE WHEN $3 = '' THEN last_error_time ELSE "
    "pganalytics.at($2::int8) END WHERE id = $1 AND deleted_at IS NULL";

// One assignment at a time, so that shares are true.
constexpr char kLockAssignments[] = "SELECT pg_advisory_xact_lock(hashtext('pganalytics.managed_instances.assign'))";
constexpr char kLeave[] = "DELETE FROM pganalytics.managed_collectors WHERE collector_id = $1";
constexpr char kGiveBack[] = "UPDATE pganalytics.managed_instances SET assigned_to = '' WHERE assigned_to = $1";
// Whether it has reported for a lease without a pause: one that comes and goes is given nothing that others watch.
constexpr char kTake[] =
    "INSERT INTO pganalytics.managed_collectors AS m (collector_id, seen_at, lease_until, since) SELECT id, "
    "pganalytics.at($2::int8), pganalytics.at($3::int8), pganalytics.at($2::int8) FROM pganalytics.collectors WHERE id "
    "= $1 ON CONFLICT (collector_id) DO UPDATE SET seen_at = excluded.seen_at, lease_until = excluded.lease_until, "
    "since = CASE WHEN m.lease_until > excluded.seen_at THEN m.since ELSE excluded.since END "
    "RETURNING since <= pganalytics.at($2::int8 - ($3::int8 - $2::int8))";
constexpr char kFree[] =
    "UPDATE pganalytics.managed_instances i SET assigned_to = '' WHERE i.assigned_to <> '' AND i.deleted_at IS NULL "
    "AND NOT "
    "EXISTS (SELECT FROM pganalytics.managed_collectors m JOIN pganalytics.collectors c ON c.id = m.collector_id WHERE "
    "m.collector_id = i.assigned_to AND m.lease_until > pganalytics.at($1::int8) AND c.source_group = i.group_name)";
constexpr char kEndMoves[] =
    "UPDATE pganalytics.managed_instances i SET moves_to = '' WHERE i.moves_to <> '' AND (i.assigned_to = '' OR NOT "
    "EXISTS (SELECT FROM pganalytics.managed_collectors m WHERE m.collector_id = i.moves_to AND m.lease_until > "
    "pganalytics.at($1::int8)))";
constexpr char kMoving[] =
    "SELECT id, revision, name, moves_since <= pganalytics.at($2::int8) FROM pganalytics.managed_instances WHERE "
    "moves_to = $1";
constexpr char kArrive[] =
    "UPDATE pganalytics.managed_instances SET assigned_to = moves_to, moves_to = '' WHERE id = $1";
constexpr char kStay[] = "UPDATE pganalytics.managed_instances SET moves_to = '' WHERE id = $1";
constexpr char kNoteUnreached[] =
    "INSERT INTO pganalytics.managed_unreached (instance_id, collector_id, tried_at) VALUES ($1, $2, "
    "pganalytics.at($3::int8)) ON CONFLICT (instance_id, collector_id) DO UPDATE SET tried_at = excluded.tried_at";
constexpr char kForgetUnreached[] = "DELETE FROM pganalytics.managed_unreached WHERE instance_id = $1";

// Collectors of the group of $1 that take instances at $2, and how many each watches or is about to; an instance that
// names its collector counts in no share.
#define PGA_SHARES                                                                                                  \
  "WITH me AS (SELECT c.id, c.source_group FROM pganalytics.collectors c WHERE c.id = $1), "                        \
  "shares AS (SELECT m.collector_id, (SELECT count(*) FROM pganalytics.managed_instances i WHERE i.deleted_at IS "  \
  "NULL AND i.collector_id = '' AND m.collector_id = CASE WHEN i.moves_to = '' THEN i.assigned_to ELSE i.moves_to " \
  "END) AS n FROM pganalytics.managed_collectors m JOIN pganalytics.collectors c ON c.id = m.collector_id JOIN me " \
  "ON me.source_group = c.source_group WHERE m.lease_until > pganalytics.at($2::int8)), "                           \
  "held AS (SELECT count(*) AS n FROM pganalytics.managed_instances i WHERE i.deleted_at IS NULL AND $1 IN "        \
  "(i.assigned_to, i.moves_to)), "
// Those that nobody watches, up to the share that leaves the others theirs: shares differ by one at most.
constexpr char kAssign[] = PGA_SHARES
    "wanted AS (SELECT i.id, i.assigned_to, i.collector_id FROM pganalytics.managed_instances i JOIN me ON "
    "me.source_group = i.group_name WHERE i.deleted_at IS NULL AND NOT i.paused AND i.collector_id IN ('', $1)), "
    "fair AS (SELECT (SELECT count(*) FROM wanted WHERE collector_id = '') / greatest(count(*), 1) AS low, (SELECT "
    "count(*) FROM wanted WHERE collector_id = '') % greatest(count(*), 1) AS over FROM shares), "
    "room AS (SELECT least(fair.low + (fair.over > (SELECT count(*) FROM shares WHERE collector_id <> $1 AND n > "
    "fair.low))::int - (SELECT n FROM shares WHERE collector_id = $1), $3::int8 - held.n) AS n FROM fair, held), "
    "chosen AS ((SELECT id FROM wanted WHERE assigned_to = '' AND collector_id = $1) UNION ALL (SELECT id FROM wanted "
    "WHERE assigned_to = '' AND collector_id = '' ORDER BY id LIMIT (SELECT greatest(n, 0)::int8 FROM room))) "
    "UPDATE pganalytics.managed_instances i SET assigned_to = $1 FROM chosen WHERE i.id = chosen.id";
// One that another collector reaches and that has at least two more than this one.
constexpr char kMove[] = PGA_SHARES
    "chosen AS (SELECT i.id FROM pganalytics.managed_instances i JOIN shares h ON h.collector_id = i.assigned_to JOIN "
    "pganalytics.sources s ON s.home_group = i.group_name AND s.reported_name = i.name AND s.removed_at IS NULL AND "
    "NOT s.is_host AND s.owner = i.assigned_to AND s.up WHERE i.deleted_at IS NULL AND i.collector_id = '' AND "
    "i.moves_to = '' AND h.n > (SELECT n FROM shares WHERE collector_id = $1) + 1 AND (SELECT n FROM held) < $3::int8 "
    "AND NOT EXISTS (SELECT FROM pganalytics.managed_unreached u WHERE u.instance_id = i.id AND u.collector_id = $1 "
    "AND u.tried_at > pganalytics.at($4::int8)) ORDER BY h.n DESC, i.id LIMIT 1) "
    "UPDATE pganalytics.managed_instances i SET moves_to = $1, moves_since = pganalytics.at($2::int8) FROM chosen "
    "WHERE i.id = chosen.id RETURNING i.id, i.name, i.assigned_to";
#undef PGA_SHARES
constexpr char kAssigned[] =
    "SELECT i.id, i.revision, i.name, i.endpoint, i.port, i.master_username, i.ssl_mode, i.connection_timeout, "
    "k.sealed, k.sealed_with, i.monitoring_interval FROM pganalytics.managed_instances i JOIN "
    "pganalytics.managed_secrets k ON k.instance_id = i.id WHERE $1 IN (i.assigned_to, i.moves_to) AND i.deleted_at IS "
    "NULL ORDER BY i.id LIMIT $2::int8";

absl::Status Unknown(int32_t id) {
  return status::WithReason(absl::NotFoundError(absl::StrCat("no managed instance has the id ", id)),
                            "MANAGED_INSTANCE_UNKNOWN");
}

absl::Status Named(absl::Status status, const std::string& name) {
  if (pg::SqlStateOf(status) != "23505") return status;
  return status::WithReason(absl::AlreadyExistsError(absl::StrCat("a managed instance of the group is named ", name,
                                                                  "; choose another name")),
                            "MANAGED_INSTANCE_EXISTS");
}

std::string JsonOf(const std::map<std::string, std::string>& tags) {
  google::protobuf::Struct object;
  for (const auto& [key, value] : tags) (*object.mutable_fields())[key].set_string_value(value);
  std::string json;
  static_cast<void>(google::protobuf::util::MessageToJsonString(object, &json));
  return json.empty() ? "{}" : json;
}

std::map<std::string, std::string> TagsOf(std::string_view json) {
  google::protobuf::Struct object;
  std::map<std::string, std::string> tags;
  // Written by this class; what cannot be read is nothing to fail for.
  if (!google::protobuf::util::JsonStringToMessage(std::string(json), &object).ok()) return tags;
  for (const auto& [key, value] : object.fields()) tags[key] = value.string_value();
  return tags;
}

pg::Params ParamsOf(const ManagedSpec& spec, int32_t user_id, absl::Time now) {
  return {spec.name, spec.description, spec.cluster_id, spec.instance_role, spec.aws_region, spec.endpoint, spec.port,
          spec.engine_version, spec.db_instance_class, spec.allocated_storage_gb, spec.environment, spec.username,
          spec.enhanced_monitoring, spec.monitoring_interval, spec.ssl_mode, spec.connection_timeout, spec.multi_az,
          spec.backup_retention_days, spec.backup_window, spec.maintenance_window, JsonOf(spec.tags),
          spec.status == "paused", spec.group, spec.collector_id,
          // A program's token has no person of its own.
          user_id == 0 ? pg::Param() : pg::Param(user_id), absl::ToUnixMicros(now)};
}

std::optional<int32_t> OptInt32(const pg::Row& row, size_t column) {
  return row.IsNull(column) ? std::nullopt : std::optional<int32_t>(row.Int32(column));
}

ManagedInstance FromRow(const pg::Row& row, absl::Time now) {
  ManagedInstance instance;
  ManagedSpec& spec = instance.spec;
  instance.id = row.Int32(0);
  spec.name = std::string(row.Text(1));
  spec.description = row.OptText(2);
  spec.cluster_id = OptInt32(row, 3);
  spec.instance_role = std::string(row.Text(4));
  spec.aws_region = std::string(row.Text(5));
  spec.endpoint = std::string(row.Text(6));
  spec.port = row.Int32(7);
  spec.engine_version = row.OptText(8);
  spec.db_instance_class = row.OptText(9);
  spec.allocated_storage_gb = OptInt32(row, 10);
  spec.environment = std::string(row.Text(11));
  spec.username = std::string(row.Text(12));
  spec.enhanced_monitoring = row.Bool(13);
  spec.monitoring_interval = row.Int32(14);
  spec.ssl_mode = std::string(row.Text(15));
  spec.connection_timeout = row.Int32(16);
  spec.multi_az = row.Bool(17);
  spec.backup_retention_days = OptInt32(row, 18);
  spec.backup_window = row.OptText(19);
  spec.maintenance_window = row.OptText(20);
  const bool paused = row.Bool(21);
  spec.group = std::string(row.Text(22));
  spec.collector_id = std::string(row.Text(23));
  instance.assigned_to = std::string(row.Text(24));
  const TestOutcome test{row.OptMicros(25), std::string(row.Text(26))};
  instance.last_error = row.OptText(27);
  instance.last_error_time = row.OptMicros(28);
  instance.last_heartbeat = row.OptMicros(29);
  instance.created_at = absl::FromUnixMicros(row.Int64(30));
  instance.updated_at = absl::FromUnixMicros(row.Int64(31));
  instance.created_by = OptInt32(row, 32);
  instance.updated_by = OptInt32(row, 33);
  instance.secret_id = OptInt32(row, 34);
  spec.tags = TagsOf(row.Text(35));
  Source source;
  const bool known = !row.IsNull(36);
  if (known) {
    source.up = row.Bool(36);
    source.renewed_at = row.OptMicros(37).value_or(absl::InfinitePast());
    source.interval = absl::Milliseconds(row.Int32(38));
    source.since = absl::FromUnixMicros(row.Int64(39));
    source.message = std::string(row.Text(40));
    source.seen_at = row.OptMicros(41).value_or(absl::InfinitePast());
    source.owned_since = absl::FromUnixMicros(row.Int64(42));
  }
  Judge(test, known ? &source : nullptr, paused, now, &instance);
  return instance;
}

// A password goes to the host that it was given for: whoever may change an instance must not learn it by naming a host
// of his own.
absl::Status CheckPasswordStays(pg::Transaction& transaction, int32_t id, const ManagedSpec& spec) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows, transaction.Exec(kEndpoint, {id}));
  if (rows.empty()) return Unknown(id);
  if (rows[0].Text(0) == spec.endpoint) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("master_password is missing: the stored one was given for ",
                                                 std::string(rows[0].Text(0)),
                                                 "; give the password with another endpoint"));
}

// What became of the move of an instance.
struct Move {
  int32_t id = 0;
  std::string name;
  const char* what = "";
};

// What moves to the collector has arrived once it reports that it holds and reaches it; what it has not reached since
// `late` stays where it is. Returns how many are still under way.
absl::StatusOr<int> EndMoves(pg::Transaction& transaction, const ManagedReport& report, absl::Time late, absl::Time now,
                             std::vector<Move>* moves) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       transaction.Exec(kMoving, {report.collector_id, absl::ToUnixMicros(late)}));
  int under_way = 0;
  for (const pg::Row row : rows) {
    const int32_t id = row.Int32(0);
    const std::string name(row.Text(2));
    if (report.held.contains({id, row.Int64(1)}) && report.reached.contains(name)) {
      PGA_RETURN_IF_ERROR(transaction.Exec(kArrive, {id}));
      PGA_RETURN_IF_ERROR(transaction.Exec(kForgetUnreached, {id}));
      moves->push_back({id, name, "managed instance has moved"});
    } else if (row.Bool(3)) {
      PGA_RETURN_IF_ERROR(transaction.Exec(kStay, {id}));
      PGA_RETURN_IF_ERROR(transaction.Exec(kNoteUnreached, {id, report.collector_id, absl::ToUnixMicros(now)}));
      moves->push_back({id, name, "managed instance stays where it is: this collector does not reach it"});
    } else {
      ++under_way;
    }
  }
  return under_way;
}

absl::Status BeginMoves(pg::Transaction& transaction, const std::string& collector_id, int most, absl::Time now,
                        std::vector<Move>* moves) {
  for (int i = 0; i < most; ++i) {
    PGA_ASSIGN_OR_RETURN(const pg::Result begun,
                         transaction.Exec(kMove, {collector_id, absl::ToUnixMicros(now), int64_t{kMaxOfCollector},
                                                  absl::ToUnixMicros(now - kUnreachedRest)}));
    if (begun.empty()) break;
    moves->push_back({begun[0].Int32(0), std::string(begun[0].Text(1)), "managed instance begins to move"});
  }
  return absl::OkStatus();
}

absl::Status PutSecret(pg::Transaction& transaction, int32_t id, const PgManagedStore::Seal& seal, absl::Time now) {
  PGA_ASSIGN_OR_RETURN(const SealedPassword password, seal(id));
  PGA_RETURN_IF_ERROR(transaction.Exec(kDeleteSecret, {id}));
  return transaction
      .Exec(kInsertSecret, {id, pg::Bytes{password.sealed}, password.sealed_with, absl::ToUnixMicros(now)})
      .status();
}

}  // namespace

absl::StatusOr<int32_t> PgManagedStore::Create(const ManagedSpec& spec, int32_t user_id, const Seal& seal,
                                               absl::Time now, clock::SteadyTime deadline) {
  int32_t id = 0;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(const pg::Result made, transaction.Exec(kInsert, ParamsOf(spec, user_id, now)));
    id = made[0].Int32(0);
    return PutSecret(transaction, id, seal, now);
  });
  if (!done.ok()) return Named(done, spec.name);
  return id;
}

absl::Status PgManagedStore::Update(int32_t id, const ManagedSpec& spec, int32_t user_id, const Seal& seal,
                                    absl::Time now, clock::SteadyTime deadline) {
  return Named(pool_->InTransaction(deadline,
                                    [&](pg::Transaction& transaction) -> absl::Status {
                                      if (!seal) PGA_RETURN_IF_ERROR(CheckPasswordStays(transaction, id, spec));
                                      pg::Params params = ParamsOf(spec, user_id, now);
                                      params.emplace_back(id);
                                      PGA_ASSIGN_OR_RETURN(const pg::Result changed, transaction.Exec(kUpdate, params));
                                      if (changed.affected_rows() == 0) return Unknown(id);
                                      // Whoever did not reach it may now.
                                      PGA_RETURN_IF_ERROR(transaction.Exec(kForgetUnreached, {id}));
                                      return seal ? PutSecret(transaction, id, seal, now) : absl::OkStatus();
                                    }),
               spec.name);
}

absl::Status PgManagedStore::Delete(int32_t id, int32_t user_id, absl::Time now, clock::SteadyTime deadline) {
  return pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    PGA_ASSIGN_OR_RETURN(
        const pg::Result deleted,
        transaction.Exec(kDelete, {id, user_id == 0 ? pg::Param() : pg::Param(user_id), absl::ToUnixMicros(now)}));
    if (deleted.affected_rows() == 0) return Unknown(id);
    return transaction.Exec(kDeleteSecret, {id}).status();
  });
}

absl::StatusOr<std::vector<ManagedInstance>> PgManagedStore::List(bool all, const std::vector<std::string>& groups,
                                                                  std::optional<int32_t> id, absl::Time now,
                                                                  clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows, pool_->Exec(kList, {all, pg::ArrayOf(groups), id}, deadline));
  if (id.has_value() && rows.empty()) return Unknown(*id);
  std::vector<ManagedInstance> instances;
  for (const pg::Row row : rows) instances.push_back(FromRow(row, now));
  return instances;
}

absl::StatusOr<SealedPassword> PgManagedStore::Password(int32_t id, clock::SteadyTime deadline) {
  PGA_ASSIGN_OR_RETURN(const pg::Result rows,
                       pool_->Exec("SELECT sealed, sealed_with FROM pganalytics.managed_secrets WHERE instance_id = $1",
                                   {id}, deadline));
  if (rows.empty()) return Unknown(id);
  return SealedPassword{rows[0].Bytes(0), std::string(rows[0].Text(1))};
}

absl::Status PgManagedStore::NoteTest(int32_t id, const std::string& error, absl::Time now,
                                      clock::SteadyTime deadline) {
  return pool_->Exec(kNoteTest, {id, absl::ToUnixMicros(now), error}, deadline).status();
}

absl::StatusOr<std::vector<ManagedAssignment>> PgManagedStore::Assign(const ManagedReport& report, absl::Duration lease,
                                                                      absl::Time now, clock::SteadyTime deadline) {
  std::vector<ManagedAssignment> assignments;
  const std::string& collector_id = report.collector_id;
  if (!report.takes) {
    PGA_ASSIGN_OR_RETURN(const pg::Result left, pool_->Exec(kLeave, {collector_id}, deadline));
    if (left.affected_rows() > 0) PGA_RETURN_IF_ERROR(pool_->Exec(kGiveBack, {collector_id}, deadline));
    return assignments;
  }
  const int64_t now_us = absl::ToUnixMicros(now);
  // Logged once they are true.
  std::vector<Move> moves;
  const absl::Status done = pool_->InTransaction(deadline, [&](pg::Transaction& transaction) -> absl::Status {
    assignments.clear();
    moves.clear();
    PGA_RETURN_IF_ERROR(transaction.Exec(kLockAssignments));
    PGA_ASSIGN_OR_RETURN(const pg::Result taken,
                         transaction.Exec(kTake, {collector_id, now_us, absl::ToUnixMicros(now + lease)}));
    const bool stays = !taken.empty() && taken[0].Bool(0);
    PGA_RETURN_IF_ERROR(transaction.Exec(kFree, {now_us}));
    PGA_RETURN_IF_ERROR(transaction.Exec(kEndMoves, {now_us}));
    PGA_ASSIGN_OR_RETURN(const int moving, EndMoves(transaction, report, now - lease, now, &moves));
    PGA_RETURN_IF_ERROR(transaction.Exec(kAssign, {collector_id, now_us, int64_t{kMaxOfCollector}}));
    if (stays) PGA_RETURN_IF_ERROR(BeginMoves(transaction, collector_id, kMaxMoving - moving, now, &moves));
    PGA_ASSIGN_OR_RETURN(const pg::Result rows, transaction.Exec(kAssigned, {collector_id, kMaxOfCollector}));
    for (const pg::Row row : rows) {
      assignments.push_back({row.Int32(0), row.Int64(1), std::string(row.Text(2)), std::string(row.Text(3)),
                             row.Int32(4), std::string(row.Text(5)), std::string(row.Text(6)), row.Int32(7),
                             SealedPassword{row.Bytes(8), std::string(row.Text(9))}, row.Int32(10)});
    }
    return absl::OkStatus();
  });
  PGA_RETURN_IF_ERROR(done);
  for (const Move& move : moves) {
    PGA_LOG(info, move.what, {{"id", move.id}, {"name", move.name}, {"collector_id", collector_id}});
  }
  return assignments;
}

}  // namespace pga::registry
