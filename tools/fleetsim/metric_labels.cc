// Labels and texts of series.
#include <algorithm>
#include <array>
#include <functional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/fleetsim/metric_models.h"
#include "tools/fleetsim/random.h"

namespace pga::fleetsim {
namespace {

template <size_t N>
std::string Pick(const std::array<std::string_view, N>& texts, uint64_t hash) {
  return std::string(texts[hash % N]);
}

constexpr std::array<std::string_view, 12> kNouns = {"order",   "invoice", "customer", "payment", "shipment", "event",
                                                     "session", "product", "stock",    "message", "account",  "audit"};
constexpr std::array<std::string_view, 6> kParts = {"items", "history", "log", "lines", "status", "archive"};
constexpr std::array<std::string_view, 5> kUsers = {"web", "worker", "batch", "report", "admin"};
constexpr std::array<std::string_view, 6> kApplications = {"checkout", "invoices", "sync", "psql", "dashboard", ""};
constexpr std::array<std::string_view, 4> kStates = {"active", "idle", "idle in transaction", "active"};
constexpr std::array<std::string_view, 5> kWaitTypes = {"Client", "IO", "LWLock", "Lock", ""};
constexpr std::array<std::string_view, 5> kWaits = {"ClientRead", "DataFileRead", "WALWrite", "transactionid", ""};
constexpr std::array<std::string_view, 8> kModes = {
    "AccessShareLock", "RowShareLock",          "RowExclusiveLock", "ShareUpdateExclusiveLock",
    "ShareLock",       "ShareRowExclusiveLock", "ExclusiveLock",    "AccessExclusiveLock"};
constexpr std::array<std::string_view, 6> kProcesses = {"client backend", "autovacuum worker", "background writer",
                                                        "checkpointer",   "walsender",         "startup"};
constexpr std::array<std::string_view, 5> kContexts = {"normal", "vacuum", "bulkread", "bulkwrite", "init"};
constexpr std::array<std::string_view, 3> kDevices = {"/dev/vda1", "/dev/vdb", "/dev/vdc"};
constexpr std::array<std::string_view, 3> kMounts = {"/", "/var/lib/postgresql", "/backup"};

constexpr std::array<std::string_view, 3> kDisks = {"vda", "vdb", "vdc"};
constexpr std::array<std::string_view, 2> kInterfaces = {"eth0", "lo"};
constexpr std::array<std::string_view, 3> kResources = {"io", "cpu", "memory"};
constexpr std::array<std::string_view, 8> kCaches = {
    "Xact", "Subtrans", "MultiXactOffset", "CommitTs", "MultiXactMember", "Notify", "Serial", "other"};
constexpr std::array<std::string_view, 12> kCatalogs = {"pg_class",  "pg_attribute", "pg_type",      "pg_index",
                                                        "pg_proc",   "pg_statistic", "pg_namespace", "pg_operator",
                                                        "pg_authid", "pg_database",  "pg_depend",    "pg_constraint"};
constexpr std::array<std::string_view, 8> kColumnTypes = {
    "bigint",        "text",  "timestamp with time zone", "integer", "boolean",
    "numeric(12,2)", "jsonb", "character varying(64)"};
// Metrics of a server whose rows name the database of a session, and those that have one row per database.
constexpr std::array<std::string_view, 12> kOfSessions = {
    "activity",         "blocking",          "locks",
    "connections",      "long_transactions", "progress_vacuum",
    "progress_copy",    "progress_analyze",  "progress_create_index",
    "progress_cluster", "role_settings",     "xmin_holders"};
constexpr std::array<std::string_view, 4> kOfDatabases = {"database", "database_size", "databases", "wraparound"};

template <size_t N>
bool IsIn(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// A hash as md5() of the server and the like would give it.
std::string Hex(uint64_t hash, int digits) {
  return absl::StrFormat("%016x", hash).substr(0, static_cast<size_t>(digits));
}

std::string TableName(int table) {
  const auto hash = Mix(static_cast<uint64_t>(table) + 77);
  return absl::StrCat(Pick(kNouns, static_cast<uint64_t>(table)), "_", Pick(kParts, hash), "_", table);
}

// Tables of the system: catalogs first, then TOAST tables.
std::string SystemTable(int series) {
  constexpr int kPlain = 68;
  if (series >= kPlain) return absl::StrCat("pg_toast_", 2'600 + series * 23);
  const auto number = static_cast<size_t>(series);
  const std::string name(kCatalogs[number % kCatalogs.size()]);
  return number < kCatalogs.size() ? name : absl::StrCat(name, "_", number / kCatalogs.size());
}

std::string ColumnList(uint64_t hash) {
  std::string list = "id bigint not null";
  const uint64_t columns = 4 + hash % 17;
  for (uint64_t i = 0; i < columns; ++i) {
    const uint64_t of = Mix(hash, i);
    absl::StrAppend(&list, "\n", Pick(kNouns, of), "_", Pick(kParts, of >> 8), " ", Pick(kColumnTypes, of >> 16),
                    of % 3 == 0 ? " not null" : "", of % 5 == 0 ? " default #" : "", of % 5 == 0 ? Hex(of, 8) : "");
  }
  return list;
}

}  // namespace

std::string DatabaseName(int scope) {
  static constexpr std::array<std::string_view, 4> kNames = {"app", "billing", "warehouse", "postgres"};
  const auto number = static_cast<size_t>(scope);
  return number < kNames.size() ? std::string(kNames[number]) : absl::StrCat("tenant_", number);
}

int64_t LabelInt(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series) {
  const uint64_t hash = Mix(source_hash, static_cast<uint64_t>(scope * 100'003 + series));
  if (column == "query_id") return static_cast<int64_t>(Mix(hash, 3));
  if (metric == "blocking") return 2'000 + static_cast<int64_t>(Mix(hash, column == "blocked_pid" ? 1 : 2) % 4'000);
  if (column == "cpu" || column == "slot") return series;
  if (column == "ssl_bits") return series % 2 == 1 ? 256 : 0;
  if (column == "pid") return 1'500 + static_cast<int64_t>(hash % 900);
  return static_cast<int64_t>(hash >> 40);
}

std::string LabelText(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series) {
  const uint64_t hash = Mix(Mix(source_hash, static_cast<uint64_t>(scope * 100'003 + series)), 9);
  const auto number = static_cast<uint64_t>(series);
  if (column == "datname") {
    if (IsIn(kOfDatabases, metric)) return DatabaseName(series);
    return DatabaseName(IsIn(kOfSessions, metric) ? static_cast<int>(hash % 3) : scope);
  }
  if (metric == "log_counts") {
    if (column == "severity") return series % 3 == 0 ? "LOG" : "ERROR";
    if (column == "sqlstate") return series % 3 == 0 ? "00000" : absl::StrCat(22'000 + series);
  }
  if (metric == "log_vacuums" && column == "relation") return absl::StrCat("app.public.", TableName(series / 2));
  if (metric == "log_vacuums" && column == "kind") return series % 2 == 0 ? "vacuum" : "analyze";
  if (metric == "explain_runs") return series == 0 ? "planned" : series == 1 ? "over_budget" : "42501";
  if (metric == "log_checkpoints") return column == "kind" ? "checkpoint" : absl::StrCat("cause ", series);
  if (metric == "log_files") return column == "head" ? Hex(hash, 16) : absl::StrCat("postgresql-", series, ".log");
  const bool of_system = metric.starts_with("system_");
  if (of_system && column == "schemaname") {
    return SystemTable(metric == "system_index_stats" ? series * 2 / 3 : series).starts_with("pg_toast_")
               ? "pg_toast"
               : "pg_catalog";
  }
  if (metric == "schemas" && column == "schemaname") return absl::StrCat(Pick(kNouns, number), series);
  if (column == "schemaname") return series % 4 == 3 ? "history" : "public";
  if (metric == "system_table_stats" && column == "relname") return SystemTable(series);
  if (metric == "system_index_stats") {
    const std::string table = SystemTable(series * 2 / 3);
    if (column == "relname") return table;
    if (column == "indexrelname") return absl::StrCat(table, series % 3 == 1 ? "_name_index" : "_oid_index");
  }
  if (column == "relname") {
    if (metric.starts_with("index_") || metric == "bloat_indexes") return TableName(series / 3);
    if (metric == "schema_constraints") return TableName(series * 2 / 5);
    if (metric == "relation_locks") return TableName(series / 4);
    if (metric == "sequences") return absl::StrCat(TableName(series), "_id_seq");
    if (metric == "vacuum_state" && series % 8 >= 5) return absl::StrCat("pg_toast_", 40'000 + series * 7);
    if (metric == "schema_relations" && series % 17 >= 10) {
      return absl::StrCat(TableName(series), series % 17 == 10 ? "_view" : "_id_seq");
    }
    return TableName(series);
  }
  if (column == "constraint_name") {
    return absl::StrCat(TableName(series * 2 / 5), series % 5 == 0 ? "_pkey" : "_fkey", series);
  }
  if (column == "funcname") return absl::StrCat(Pick(kNouns, number), "_", Pick(kParts, hash >> 8), "_", series);
  if (column == "arguments") return series % 2 == 0 ? "bigint, text" : "";
  if (column == "object_kind") return series % 5 == 4 ? "policy" : "trigger";
  if (column == "indexrelname") {
    return absl::StrCat(TableName(series / 3), series % 3 == 0   ? "_pkey"
                                               : series % 3 == 1 ? "_created_idx"
                                                                 : "_ref_idx");
  }
  if (column == "usename" || column == "username") return Pick(kUsers, hash);
  if (metric == "connections") {
    if (column == "application_name") return Pick(kApplications, hash >> 8);
    if (column == "client_addr") return absl::StrCat("10.1.0.", 20 + hash % 8);
    if (column == "backend_type") return "client backend";
    if (column == "ssl_version") return series % 2 == 1 ? "TLSv1.3" : "";
    if (column == "ssl_cipher") return series % 2 == 1 ? "TLS_AES_256_GCM_SHA384" : "";
    return "";
  }
  if (metric == "long_transactions" && column == "application_name") return Pick(kApplications, hash >> 8);
  if (metric == "activity" && column == "application_name") {
    return absl::StrCat(Pick(kApplications, hash >> 8), hash % 3 == 0 ? "-2" : "");
  }
  if (column == "application_name") return "standby_1";
  if (column == "client_addr") return "10.1.0.12";
  if (column == "backend_type") return metric == "activity" ? "client backend" : Pick(kProcesses, number);
  if (column == "state") return Pick(kStates, hash >> 16);
  if (column == "wait_event_type") return Pick(kWaitTypes, hash >> 24);
  if (column == "wait_event") return Pick(kWaits, hash >> 24);
  if (column == "lock_type") return series % 4 == 0 ? "transactionid" : "relation";
  if (column == "lock_mode") return Pick(kModes, number / 2);
  if (column == "io_object") return number % 7 == 6 ? "temp relation" : "relation";
  if (column == "io_context") return Pick(kContexts, number / kProcesses.size());
  if (column == "device") return metric == "host_disk" ? Pick(kDisks, number) : Pick(kDevices, number);
  if (column == "interface") return Pick(kInterfaces, number);
  if (column == "resource") return Pick(kResources, number % 3);
  if (column == "degree") return number < 3 ? "some" : "full";
  if (column == "slru") return Pick(kCaches, number);
  if (column == "holder_class") return "backend";
  if (column == "holder") return absl::StrCat(1'500 + series);
  if (column == "tablespace_name") return series == 0 ? "pg_default" : absl::StrCat("tablespace_", series);
  if (column == "mountpoint") return Pick(kMounts, number);
  if (column == "fstype") return "ext4";
  if (column == "slot_name") return "standby_1";
  if (column == "setting_name")
    return absl::StrCat(Pick(kNouns, hash), "_", Pick(kParts, hash >> 8), "_setting_", series);
  return absl::StrCat(std::string(column), "_", series);
}

std::string OwnText(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series) {
  const uint64_t hash = Mix(Mix(source_hash, static_cast<uint64_t>(scope * 100'003 + series)),
                            23 + std::hash<std::string_view>()(column));
  if (column == "columns") return ColumnList(hash);
  if (column == "columns_hash" || column == "definition_hash") return Hex(hash, 16);
  if (column.ends_with("_hash")) return Hex(hash, 8);
  if (column == "definition") {
    return absl::StrCat("CREATE ", series % 3 == 0 ? "UNIQUE " : "", "INDEX ",
                        LabelText(metric, "indexrelname", source_hash, scope, series), " ON public.",
                        LabelText(metric, "relname", source_hash, scope, series), " USING btree (",
                        series % 3 == 0 ? "id" : absl::StrCat(Pick(kNouns, hash), "_", Pick(kParts, hash >> 8)),
                        hash % 4 == 0 ? ", created_at DESC)" : ")");
  }
  if (column == "constraint_name" || column == "indexrelname") {
    return series % 3 == 0 ? absl::StrCat(TableName(series / 3), "_pkey") : "";
  }
  if (column == "relation_kind") return series % 17 < 10 ? "table" : series % 17 == 10 ? "view" : "sequence";
  if (column == "owner_table") return absl::StrCat("public.", TableName(series));
  if (column == "toast_of") return series % 8 >= 5 ? TableName(series) : "";
  if (column == "relation") return absl::StrCat("public.", TableName(static_cast<int>(hash % 100)));
  if (column == "table_list") return "public.order_items_0, public.customer_log_2, public.payment_status_3";
  if (column == "versions") return hash % 2 == 0 ? "1.0, 1.1, 1.2" : "1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6";
  return absl::StrCat(Pick(kNouns, hash), " ", Pick(kParts, hash >> 8), " of ", Pick(kNouns, hash >> 16), " number ",
                      series);
}

}  // namespace pga::fleetsim
