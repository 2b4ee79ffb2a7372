// What dashboards and rules that are published for postgres_exporter ask for: the forms of their queries, and rows of
// one server by which each has an answer. Tests only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "libs/storage/testing/frame_store.h"

namespace pga::integration {

// By metric; `now` is in seconds since 1970.
inline std::map<std::string, std::vector<storage::StoredRow>> PeerRows(int64_t now) {
  using storage::StoredRow;
  const auto setting = [](const char* name, const char* value, const char* unit, const char* type) {
    return StoredRow{{{"setting_name", name}, {"setting_value", value}, {"setting_unit", unit}, {"vartype", type}}, 0};
  };
  const auto session = [](const char* state, int64_t query_id, double sessions) {
    return StoredRow{{{"datname", "db0"},
                      {"usename", "app"},
                      {"backend_type", "client backend"},
                      {"state", state},
                      {"query_id", query_id},
                      {"sessions_avg", sessions},
                      {"max_xact_age_us", int64_t{5'000'000} * query_id}},
                     0};
  };
  const int64_t day_ago = (now - 86'400) * 1'000'000;
  return std::map<std::string, std::vector<StoredRow>>{
      {"server",
       {{{{"server_version", "16.4"},
          {"full_version", "PostgreSQL 16.4"},
          {"started_at", day_ago},
          {"is_in_recovery", 0}},
         0}}},
      {"settings",
       {setting("max_connections", "100", "", "integer"), setting("superuser_reserved_connections", "3", "", "integer"),
        setting("max_locks_per_transaction", "64", "", "integer"), setting("shared_buffers", "16384", "8kB", "integer"),
        setting("effective_cache_size", "524288", "8kB", "integer"),
        setting("maintenance_work_mem", "65536", "kB", "integer"), setting("work_mem", "4096", "kB", "integer"),
        setting("max_wal_size", "1024", "MB", "integer"), setting("random_page_cost", "4", "", "real"),
        setting("seq_page_cost", "1", "", "real"), setting("max_worker_processes", "8", "", "integer"),
        setting("max_parallel_workers", "8", "", "integer"),
        setting("autovacuum_vacuum_scale_factor", "0.2", "", "real"),
        setting("autovacuum_vacuum_threshold", "50", "", "integer"),
        setting("autovacuum_analyze_threshold", "50", "", "integer"), setting("fsync", "on", "", "bool")}},
      {"activity", {session("active", 1, 1.5), session("active", 2, 0.5), session("idle in transaction", 3, 1)}},
      {"locks",
       {{{{"datname", "db0"},
          {"lock_type", "relation"},
          {"lock_mode", "AccessShareLock"},
          {"is_granted", 1},
          {"locks", 3}},
         0},
        {{{"datname", "db0"},
          {"lock_type", "relation"},
          {"lock_mode", "ExclusiveLock"},
          {"is_granted", 0},
          {"locks", 2}},
         0}}},
      {"long_transactions", {{{{"pid", 7}, {"datname", "db0"}, {"xact_age_us", 9'000'000}}, 0}}},
      {"database_size", {{{{"datname", "db0"}, {"size_bytes", 8'000'000}}, 0}}},
      {"wraparound", {{{{"datname", "db0"}, {"xid_age", 1'000}, {"mxid_age", 10}}, 0}}},
      {"bgwriter",
       {{{{"buffers_clean", 5},
          {"maxwritten_clean", 1},
          {"buffers_alloc", 9},
          {"buffers_backend", 3},
          {"buffers_backend_fsync", 1}},
         0}}},
      {"checkpointer",
       {{{{"checkpoints_timed", 1},
          {"checkpoints_requested", 1},
          {"write_time_us", 5'000},
          {"sync_time_us", 500},
          {"buffers_written", 7}},
         0}}},
      {"archiver", {{{{"archived_count", 1}, {"failed_count", 1}}, 0}}},
      {"wal", {{{{"segments", 5}, {"directory_bytes", 83'886'080}}, 0}}},
      {"transaction_ids", {{{{"xids_assigned", 50}}, 0}}},
      {"replication",
       {{{{"pid", 8},
          {"application_name", "standby"},
          {"state", "streaming"},
          {"slot_name", "standby"},
          {"replay_lag_bytes", 64}},
         0}}},
      {"replication_slots",
       {{{{"slot_name", "standby"}, {"slot_type", "physical"}, {"is_active", 1}, {"retained_bytes", 64}}, 0}}},
      {"recovery", {{{{"receiver_status", "streaming"}, {"replay_delay_us", 250'000}}, 0}}},
      {"table_stats",
       {{{{"datname", "db9"},
          {"schemaname", "public"},
          {"relname", "kept"},
          {"relid", 9},
          {"seq_scan", 1},
          {"idx_scan", 2},
          {"n_tup_ins", 0},
          {"n_tup_upd", 400},
          {"n_tup_del", 1},
          {"n_tup_hot_upd", 1},
          {"n_live_tup", 1'000},
          {"n_dead_tup", 20'000},
          {"last_autovacuum", day_ago},
          {"last_autoanalyze", day_ago}},
         0}}},
      {"index_stats",
       {{{{"datname", "db9"},
          {"schemaname", "public"},
          {"relname", "kept"},
          {"indexrelname", "kept_key"},
          {"indexrelid", 10},
          {"idx_blks_read", 1},
          {"idx_blks_hit", 0}},
         0}}}};
}

// The forms of PromQL by which dashboards and rules for postgres_exporter ask, each over what is scraped and over
// remote read; docs/prometheus.md names those that were tried. $ stands for the matchers of the data.
struct PeerForm {
  const char* promql;
  // Metrics that a scrape has only where it names them.
  bool by_name = false;
};
inline constexpr PeerForm kPeerForms[] = {
    {"pg_up{$}"},
    {"sum by (server) (pg_up{$})"},
    {"pg_static{$,short_version!=\"\"}"},
    {"pg_postmaster_start_time_seconds{$} * 1000"},
    {"time() - pg_postmaster_start_time_seconds{$} > 60"},
    {"pg_replication_is_replica{$} == 0"},
    {"changes(pg_replication_is_replica{$}[5m])"},
    {"pg_replication_lag_seconds{$}"},
    {"pg_replication_lag{$} < 30"},
    {"pg_settings_max_connections{$}"},
    {"pg_settings_shared_buffers_bytes{$}"},
    {"pg_settings_effective_cache_size_bytes{$}"},
    {"pg_settings_maintenance_work_mem_bytes{$}"},
    {"pg_settings_work_mem_bytes{$}"},
    {"pg_settings_max_wal_size_bytes{$}"},
    {"pg_settings_random_page_cost{$}"},
    {"pg_settings_seq_page_cost{$}"},
    {"pg_settings_max_worker_processes{$}"},
    {"pg_settings_max_parallel_workers{$}"},
    {"{__name__=~\"pg_settings_.*mem.*\",$}"},
    {"pg_stat_activity_count{$,state=\"active\"} != 0"},
    {"pg_stat_activity_count{$,state=~\"idle|idle in transaction|idle in transaction (aborted)\"}"},
    {"sum by (datname) (pg_stat_activity_count{$,datname!~\"template.*|postgres\"}) < 5"},
    {"sum by (server) (pg_stat_activity_count{$}) / max by (server) (pg_settings_max_connections{$})"},
    {"sum by (server) (pg_stat_activity_count{$}) < sum by (server) (pg_settings_max_connections{$}) - sum by (server) "
     "(pg_settings_superuser_reserved_connections{$})"},
    {"pg_stat_activity_max_tx_duration{$,state=\"active\"} > 1"},
    {"avg by (datname) (rate(pg_stat_activity_max_tx_duration{$}[5m]))"},
    {"pg_long_running_transactions{$}"},
    {"pg_long_running_transactions_oldest_timestamp_seconds{$}"},
    {"pg_locks_count{$,mode=~\"accesssharelock|exclusivelock\"} != 0"},
    {"sum by (server) (pg_locks_count{$}) / (max by (server) (pg_settings_max_locks_per_transaction{$}) * max by "
     "(server) "
     "(pg_settings_max_connections{$}))"},
    {"max by (datname, server) (pg_locks_count{$,datname!~\"template.*\"} / on (server) group_left () "
     "(pg_settings_max_locks_per_transaction{$} * pg_settings_max_connections{$}))"},
    {"sum(irate(pg_stat_database_xact_commit{$}[5m])) + sum(irate(pg_stat_database_xact_rollback{$}[5m]))"},
    {"sum(irate(pg_stat_database_tup_fetched{$}[5m]))"},
    {"pg_stat_database_tup_returned{$,datname=~\"db.*\"} >= 0"},
    {"pg_stat_database_numbackends{$}"},
    {"pg_stat_database_blks_hit{$} / (pg_stat_database_blks_read{$} + pg_stat_database_blks_hit{$})"},
    {"irate(pg_stat_database_temp_bytes{$}[5m])"},
    {"sum(pg_stat_database_conflicts{$})"},
    {"max without (server) (rate(pg_stat_database_deadlocks{$}[5m]) * 60)"},
    {"increase(pg_stat_database_xact_commit{$,datname!~\"template.*|postgres\",datid!=\"0\"}[5m])"},
    {"pg_database_size_bytes{$}"},
    {"pg_database_wraparound_age_datfrozenxid_seconds{$}"},
    {"irate(pg_stat_bgwriter_buffers_alloc_total{$}[5m])"},
    {"irate(pg_stat_bgwriter_buffers_backend_total{$}[5m])"},
    {"irate(pg_stat_bgwriter_buffers_backend_fsync_total{$}[5m])"},
    {"irate(pg_stat_bgwriter_buffers_clean_total{$}[5m])"},
    {"irate(pg_stat_bgwriter_buffers_checkpoint_total{$}[5m])"},
    {"rate(pg_stat_bgwriter_maxwritten_clean_total{$}[5m])"},
    {"irate(pg_stat_bgwriter_checkpoint_write_time_total{$}[5m])"},
    {"irate(pg_stat_bgwriter_checkpoint_sync_time_total{$}[5m])"},
    {"rate(pg_stat_bgwriter_checkpoints_timed_total{$}[5m]) + rate(pg_stat_bgwriter_checkpoints_req_total{$}[5m])"},
    {"rate(pg_stat_checkpointer_num_timed_total{$}[5m])"},
    {"rate(pg_stat_archiver_failed_count{$}[5m])"},
    {"pg_wal_segments{$}"},
    {"rate(pg_txid_current{$}[5m])"},
    {"max by (server) (pg_stat_replication_pg_wal_lsn_diff{$,state=\"streaming\"})"},
    {"pg_replication_slots_active{$} == 1"},
    {"pg_replication_slots_pg_wal_lsn_diff{$}"},
    {"pg_stat_user_tables_n_dead_tup{$} / (pg_stat_user_tables_n_live_tup{$} + pg_stat_user_tables_n_dead_tup{$} + 1) "
     "> 0.1"},
    {"(time() - pg_stat_user_tables_last_autovacuum{$}) and pg_stat_user_tables_last_autovacuum{$} > 0"},
    {"(time() - pg_stat_user_tables_last_autoanalyze{$}) > 3600"},
    {"pg_stat_user_tables_n_dead_tup{$} > pg_stat_user_tables_n_live_tup{$} * on (server) group_left () "
     "pg_settings_autovacuum_vacuum_scale_factor{$} + on (server) group_left () "
     "pg_settings_autovacuum_vacuum_threshold{$}"},
    {"sum(pg_stat_user_tables_seq_scan{$}) / (sum(pg_stat_user_tables_seq_scan{$}) + "
     "sum(pg_stat_user_tables_idx_scan{$}))"},
    {"topk(5, rate(pg_stat_statements_calls_total{$}[5m]))", true},
    {"topk(5, pg_stat_statements_seconds_total{$} / (pg_stat_statements_calls_total{$} + 1))", true},
    {"(pg_statio_user_indexes_idx_blks_hit_total{$} == 0) and (pg_statio_user_indexes_idx_blks_read_total{$} > 0)",
     true},
};

}  // namespace pga::integration
