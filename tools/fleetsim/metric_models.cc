#include "tools/fleetsim/metric_models.h"

#include <array>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "tools/fleetsim/random.h"

namespace pga::fleetsim {
namespace {

using enum Behaviour;

constexpr double kMb = 1024.0 * 1024.0;
constexpr double kGb = 1024.0 * kMb;

const std::vector<MetricModel>& Models() {
  static const auto* const models = new std::vector<MetricModel>{
      {.metric = "activity",
       .series = 240,
       .exponent = 0.9,
       .present = 24,
       .columns = {{"samples", kSamples},
                   {"sessions_avg", kSampleShare},
                   {"sessions_max", kWalk, 4, 0.8},
                   {"max_xact_age_us", kUniform, 4e6, 0, 0.5},
                   {"max_query_age_us", kUniform, 2e6, 0, 0.5},
                   {"max_state_age_us", kUniform, 6e7}}},
      {.metric = "blocking",
       .series = 60,
       .present = 2,
       .sometimes = 0.03,
       .columns = {{"datname", kText, 0, 0, 1, {"app", "billing"}},
                   {"blocked_usename", kText, 0, 0, 1, {"web", "worker", "batch"}},
                   {"blocking_usename", kText, 0, 0, 1, {"web", "admin", "batch"}},
                   {"blocked_application_name", kText, 0, 0, 1, {"checkout", "invoices", "sync"}},
                   {"blocking_application_name", kText, 0, 0, 1, {"checkout", "psql", "migrate"}},
                   {"wait_event_type", kText, 0, 0, 1, {"Lock"}},
                   {"wait_event", kText, 0, 0, 1, {"transactionid", "tuple", "relation"}},
                   {"blocked_state", kText, 0, 0, 1, {"active"}},
                   {"blocking_state", kText, 0, 0, 1, {"idle in transaction", "active"}},
                   {"blocked_query_id", kUniform, 9e18},
                   {"blocking_query_id", kUniform, 9e18},
                   {"blocking_xact_start", kEvent, 90},
                   {"lock_type", kText, 0, 0, 1, {"transactionid", "tuple", "relation"}},
                   {"lock_mode", kText, 0, 0, 1, {"ShareLock", "AccessExclusiveLock", "ExclusiveLock"}},
                   {"database_oid", kConstant, 16'384},
                   {"relation_oid", kUniform, 9e4},
                   {"root_pid", kUniform, 4e3},
                   {"depth", kUniform, 4},
                   {"cycle", kFlag, 0.001},
                   {"blocked_since", kEvent, 90},
                   {"blocked_us", kUniform, 3e7},
                   {"ended", kFlag, 0.5}}},
      {.metric = "locks", .series = 36, .present = 22, .columns = {{"locks", kWalk, 12, 0.9}}},
      {.metric = "database",
       .series = -2,
       .work = 30'000,
       .columns = {{"datid", kConstant, 16'384},
                   {"numbackends", kWalk, 25, 0.4},
                   {"xact_commit", kCount, 1, 0.02},
                   {"xact_rollback", kCount, 0.002, 0.3},
                   {"blks_read", kCount, 2, 0.5},
                   {"blks_hit", kCount, 180, 0.1},
                   {"tup_returned", kCount, 400, 0.2},
                   {"tup_fetched", kCount, 60, 0.1},
                   {"tup_inserted", kCount, 0.5, 0.1},
                   {"tup_updated", kCount, 0.8, 0.1},
                   {"tup_deleted", kCount, 0.05, 0.2},
                   {"temp_files", kCount, 0.0002, 0.5, 0.1},
                   {"temp_bytes", kCount, 4e3, 0.8, 0.1},
                   {"deadlocks", kCount, 1e-5, 0, 0.01},
                   {"blk_read_time_us", kCount, 220, 0.5},
                   {"session_time_us", kCount, 2e4, 0.1},
                   {"active_time_us", kCount, 3e3, 0.2},
                   {"idle_in_transaction_time_us", kCount, 8e2, 0.3},
                   {"sessions", kCount, 0.003, 0.3},
                   {"xid_age", kAge, 400, 4},
                   {"mxid_age", kAge, 2, 4},
                   {"stats_reset", kEvent, 86'400.0 * 90}}},
      {.metric = "database_size",
       .series = -2,
       .columns = {{"datid", kConstant, 16'384}, {"size_bytes", kSize, 40 * kGb, 0.004}}},
      {.metric = "archiver",
       .holder = Holder::kPrimary,
       .work = 1.2,
       .columns = {{"archived_count", kCount, 1, 0.1},
                   {"last_archived_wal", kChangingText, 1.2},
                   {"last_archived_time", kEvent, 50},
                   {"stats_reset", kEvent, 86'400.0 * 90}}},
      {.metric = "bgwriter",
       .work = 1'000,
       .columns = {{"buffers_clean", kCount, 0.3, 0.6, 0.7},
                   {"maxwritten_clean", kCount, 0.0005, 0.5},
                   {"buffers_alloc", kCount, 60, 0.3},
                   {"buffers_backend", kCount, 2, 0.4},
                   {"stats_reset", kEvent, 86'400.0 * 90}}},
      {.metric = "checkpointer",
       .work = 1'000,
       .columns = {{"checkpoints_timed", kCount, 0.0002, 0, 1},
                   {"checkpoints_requested", kCount, 0.00002, 0, 1},
                   {"write_time_us", kCount, 3e4, 0.3, 0.85},
                   {"sync_time_us", kCount, 30, 1.0, 0.2},
                   {"buffers_written", kCount, 4, 0.3, 0.85},
                   {"last_checkpoint_at", kEvent, 300},
                   {"last_checkpoint_lsn", kPosition, 3e5},
                   {"stats_reset", kEvent, 86'400.0 * 90}}},
      {.metric = "wal",
       .work = 100'000,
       .columns = {{"position_bytes", kCount, 180, 0.2},
                   {"segments", kConstant, 64},
                   {"directory_bytes", kConstant, 64 * 16 * kMb},
                   {"wal_records", kCount, 2, 0.15},
                   {"wal_fpi", kCount, 0.02, 0.6},
                   {"wal_bytes", kCount, 170, 0.2},
                   {"wal_buffers_full", kCount, 0.0005, 0.5},
                   {"wal_write", kCount, 0.4, 0.1},
                   {"wal_sync", kCount, 0.38, 0.1},
                   {"stats_reset", kEvent, 86'400.0 * 90}}},
      {.metric = "io",
       .holder = Holder::kSince16,
       .series = 30,
       .work = 60'000,
       .exponent = 2.2,
       .columns = {{"reads", kCount, 0.5, 0.4},
                   {"read_time_us", kCount, 90, 0.5},
                   {"writes", kCount, 0.1, 0.5, 0.6},
                   {"write_time_us", kCount, 4, 0.6, 0.6},
                   {"writebacks", kCount, 0.05, 0.5, 0.4},
                   {"extends", kCount, 0.02, 0.4, 0.5},
                   {"hits", kCount, 160, 0.2},
                   {"evictions", kCount, 0.4, 0.4, 0.8},
                   {"fsyncs", kCount, 0.002, 0.5, 0.2},
                   {"stats_reset", kEvent, 86'400.0 * 90}}},
      {.metric = "recovery",
       .holder = Holder::kStandby,
       .columns = {{"receiver_status", kText, 0, 0, 1, {"streaming"}},
                   {"sender_host", kText, 0, 0, 1, {"10.1.0.11"}},
                   {"sender_port", kConstant, 5'432},
                   {"slot_name", kText, 0, 0, 1, {"standby_1"}},
                   {"received_timeline", kConstant, 3},
                   {"received_lsn", kPosition, 3e5},
                   {"replayed_lsn", kPosition, 3e5},
                   {"replay_backlog_bytes", kUniform, 2e5, 0, 0.6},
                   {"replay_delay_us", kUniform, 4e5, 0, 0.8},
                   {"last_replayed_commit_at", kEvent, 1},
                   {"last_message_at", kEvent, 1},
                   {"is_paused", kFlag, 0}}},
      {.metric = "replication",
       .holder = Holder::kPrimary,
       .columns = {{"slot_name", kText, 0, 0, 1, {"standby_1"}},
                   {"backend_start", kEvent, 86'400.0 * 20},
                   {"state", kText, 0, 0, 1, {"streaming"}},
                   {"sync_state", kText, 0, 0, 1, {"async"}},
                   {"sent_lsn", kPosition, 3e5},
                   {"write_lsn", kPosition, 3e5},
                   {"flush_lsn", kPosition, 3e5},
                   {"replay_lsn", kPosition, 3e5},
                   {"sent_lag_bytes", kUniform, 1e5, 0, 0.3},
                   {"write_lag_bytes", kUniform, 1e5, 0, 0.5},
                   {"flush_lag_bytes", kUniform, 1e5, 0, 0.7},
                   {"replay_lag_bytes", kUniform, 2e5, 0, 0.9},
                   {"write_lag_us", kUniform, 2e3},
                   {"flush_lag_us", kUniform, 8e3},
                   {"replay_lag_us", kUniform, 9e3},
                   {"backend_xmin_age", kUniform, 900, 0, 0.8},
                   {"reply_time", kEvent, 1}}},
      {.metric = "replication_slots",
       .holder = Holder::kPrimary,
       .columns = {{"slot_type", kText, 0, 0, 1, {"physical"}},
                   {"is_temporary", kFlag, 0},
                   {"is_active", kFlag, 1},
                   {"active_pid", kConstant, 2'000},
                   {"wal_status", kText, 0, 0, 1, {"reserved"}},
                   {"restart_lsn", kPosition, 3e5},
                   {"retained_bytes", kUniform, 2e5}}},
      {.metric = "settings",
       .series = 350,
       .work = 0.05,
       .exponent = 0,
       .columns = {{"setting_value", kText, 0, 0, 1, {"on", "off", "128", "1024", "16384", "replica", "pg_catalog"}},
                   {"setting_unit", kText, 0, 0, 1, {"", "kB", "8kB", "ms", "s"}},
                   {"category", kText, 0, 0, 1, {"Autovacuum", "Resource Usage / Memory", "Query Tuning"}},
                   {"context", kText, 0, 0, 1, {"user", "sighup", "postmaster", "superuser"}},
                   {"vartype", kText, 0, 0, 1, {"bool", "integer", "string", "enum", "real"}},
                   {"source", kText, 0, 0, 1, {"default", "configuration file"}},
                   {"boot_value", kText, 0, 0, 1, {"on", "off", "128", "1024", "16384", "replica"}},
                   {"pending_restart", kFlag, 0}}},
      {.metric = "statements_info", .columns = {{"stats_reset", kEvent, 86'400.0 * 30}}},
      {.metric = "table_stats",
       .series = 0,
       .work = 3'000,
       .exponent = 1.5,
       .columns = {{"relid", kConstant, 40'000},
                   {"seq_scan", kCount, 0.01, 0.5, 0.5},
                   {"last_seq_scan", kNewest, 0, 0, 1, {}, "seq_scan"},
                   {"seq_tup_read", kCount, 20, 0.8, 0.5},
                   {"idx_scan", kCount, 1, 0.05},
                   {"last_idx_scan", kNewest, 0, 0, 1, {}, "idx_scan"},
                   {"idx_tup_fetch", kCount, 3, 0.2},
                   {"n_tup_ins", kCount, 0.2, 0.3, 0.6},
                   {"n_tup_upd", kCount, 0.3, 0.3, 0.6},
                   {"n_tup_del", kCount, 0.02, 0.4, 0.3},
                   {"n_tup_hot_upd", kCount, 0.2, 0.3, 0.6},
                   {"n_live_tup", kWalk, 2e5, 0.02},
                   {"n_dead_tup", kAge, 0.05, 0.2},
                   {"n_mod_since_analyze", kAge, 0.1, 0.3},
                   {"n_ins_since_vacuum", kAge, 0.04, 0.2},
                   {"last_autovacuum", kEvent, 20'000},
                   {"last_autoanalyze", kEvent, 15'000},
                   {"autovacuum_count", kCount, 1e-4, 0, 1},
                   {"autoanalyze_count", kCount, 1e-4, 0, 1},
                   {"heap_blks_read", kCount, 0.2, 1.0, 0.3},
                   {"heap_blks_hit", kCount, 8, 0.2},
                   {"idx_blks_read", kCount, 0.1, 1.0, 0.3},
                   {"idx_blks_hit", kCount, 6, 0.1},
                   {"toast_blks_read", kCount, 0.05, 1.0, 0.05},
                   {"toast_blks_hit", kCount, 0.4, 0.5, 0.15},
                   {"tidx_blks_read", kCount, 0.05, 1.0, 0.03},
                   {"tidx_blks_hit", kCount, 0.6, 0.5, 0.15}}},
      {.metric = "index_stats",
       .series = -1,
       .work = 3'000,
       .exponent = 1.6,
       .columns = {{"indexrelid", kConstant, 60'000},
                   {"idx_scan", kCount, 1, 0.1},
                   {"last_idx_scan", kNewest, 0, 0, 1, {}, "idx_scan"},
                   {"idx_tup_read", kCount, 4, 0.3},
                   {"idx_tup_fetch", kCount, 3, 0.2},
                   {"idx_blks_read", kCount, 0.1, 1.0, 0.3},
                   {"idx_blks_hit", kCount, 4, 0.1},
                   {"is_unique", kFlag, 0.5},
                   {"is_primary", kFlag, 0.33},
                   {"is_valid", kFlag, 1},
                   {"is_constraint", kFlag, 0.4}}},
      {.metric = "table_size",
       .series = 0,
       .work = 8,
       .exponent = 1.1,
       .columns = {{"relid", kConstant, 40'000},
                   {"is_matview", kFlag, 0.02},
                   {"total_bytes", kSize, 900 * kMb, 0.005},
                   {"table_bytes", kSize, 600 * kMb, 0.005},
                   {"index_bytes", kSize, 300 * kMb, 0.005},
                   {"toast_bytes", kSize, 20 * kMb, 0.004},
                   {"xid_age", kAge, 400, 4},
                   {"mxid_age", kAge, 2, 4}}},
      {.metric = "index_size",
       .series = -1,
       .work = 8,
       .exponent = 1.1,
       .columns = {{"indexrelid", kConstant, 60'000}, {"size_bytes", kSize, 100 * kMb, 0.005}}},
      {.metric = "host_cpu",
       .work = 1,
       .columns = {{"user_us", kCount, 90e6, 0.2},
                   {"system_us", kCount, 20e6, 0.2},
                   {"idle_us", kCount, 340e6, 0.05},
                   {"iowait_us", kCount, 8e6, 0.6},
                   {"softirq_us", kCount, 2e6, 0.3},
                   {"steal_us", kCount, 1e4, 1.0, 0.2},
                   {"context_switches", kCount, 9e5, 0.2},
                   {"load_1m", kWalk, 1.9, 0.8},
                   {"load_5m", kWalk, 1.9, 0.6},
                   {"load_15m", kWalk, 1.9, 0.4},
                   {"cpus", kConstant, 8}}},
      {.metric = "host_memory",
       .work = 1,
       .columns = {{"total_bytes", kConstant, 64 * kGb},
                   {"free_bytes", kWalk, 2 * kGb, 0.5},
                   {"available_bytes", kWalk, 40 * kGb, 0.1},
                   {"buffers_bytes", kWalk, 0.5 * kGb, 0.1},
                   {"cached_bytes", kWalk, 38 * kGb, 0.1},
                   {"shared_bytes", kConstant, 16 * kGb},
                   {"dirty_bytes", kWalk, 80 * kMb, 0.9},
                   {"swap_total_bytes", kConstant, 8 * kGb},
                   {"swap_free_bytes", kConstant, 8 * kGb}}},
      {.metric = "host_filesystem",
       .series = 3,
       .columns = {{"total_bytes", kConstant, 900 * kGb},
                   {"used_bytes", kSize, 300 * kGb, 0.004},
                   {"free_bytes", kWalk, 500 * kGb, 0.01},
                   {"available_bytes", kWalk, 480 * kGb, 0.01},
                   {"inodes_total", kConstant, 6e7},
                   {"inodes_free", kWalk, 5.9e7, 0.001}}},
  };
  return *models;
}

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

std::string TableName(int table) {
  const auto hash = Mix(static_cast<uint64_t>(table) + 77);
  return absl::StrCat(Pick(kNouns, static_cast<uint64_t>(table)), "_", Pick(kParts, hash), "_", table);
}

}  // namespace

const MetricModel* FindModel(std::string_view metric) {
  for (const MetricModel& model : Models()) {
    if (model.metric == metric) return &model;
  }
  return nullptr;
}

std::string DatabaseName(int scope) {
  static constexpr std::array<std::string_view, 4> kNames = {"app", "billing", "warehouse", "postgres"};
  const auto number = static_cast<size_t>(scope);
  return number < kNames.size() ? std::string(kNames[number]) : absl::StrCat("tenant_", number);
}

int64_t LabelInt(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series) {
  const uint64_t hash = Mix(source_hash, static_cast<uint64_t>(scope * 100'003 + series));
  if (column == "query_id") return static_cast<int64_t>(Mix(hash, 3));
  if (metric == "blocking") return 2'000 + static_cast<int64_t>(Mix(hash, column == "blocked_pid" ? 1 : 2) % 4'000);
  if (column == "pid") return 1'500 + static_cast<int64_t>(hash % 900);
  return static_cast<int64_t>(hash >> 40);
}

std::string LabelText(std::string_view metric, std::string_view column, uint64_t source_hash, int scope, int series) {
  const uint64_t hash = Mix(Mix(source_hash, static_cast<uint64_t>(scope * 100'003 + series)), 9);
  const auto number = static_cast<uint64_t>(series);
  if (column == "datname") {
    if (metric.starts_with("table_") || metric.starts_with("index_")) return DatabaseName(scope);
    if (metric == "database" || metric == "database_size") return DatabaseName(series);
    return DatabaseName(static_cast<int>(hash % 3));
  }
  if (column == "schemaname") return series % 4 == 3 ? "history" : "public";
  if (column == "relname") return TableName(metric.starts_with("index_") ? series / 3 : series);
  if (column == "indexrelname") {
    return absl::StrCat(TableName(series / 3), series % 3 == 0   ? "_pkey"
                                               : series % 3 == 1 ? "_created_idx"
                                                                 : "_ref_idx");
  }
  if (column == "usename" || column == "username") return Pick(kUsers, hash);
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
  if (column == "device") return Pick(kDevices, number);
  if (column == "mountpoint") return Pick(kMounts, number);
  if (column == "fstype") return "ext4";
  if (column == "slot_name") return "standby_1";
  if (column == "setting_name")
    return absl::StrCat(Pick(kNouns, hash), "_", Pick(kParts, hash >> 8), "_setting_", series);
  return absl::StrCat(std::string(column), "_", series);
}

}  // namespace pga::fleetsim
