// Readings of the server's log: a server with log_checkpoints, log_lock_waits and log_autovacuum_min_duration of a few
// seconds, whose clients make a few errors a minute.
#include "tools/fleetsim/metric_models.h"

namespace pga::fleetsim {
namespace {

using enum Behaviour;

}  // namespace

std::vector<MetricModel> LogModels() {
  return {
      {.metric = "log_events",
       .series = 60,
       .present = 3,
       .columns = {{"at", kEvent, 20},
                   {"class", kText, 0, 0, 1, {"unique_violation", "lock_wait", "temporary_file", "autovacuum"}},
                   {"severity", kText, 0, 0, 1, {"ERROR", "LOG"}},
                   {"sqlstate", kText, 0, 0, 1, {"23505", "00000", "57014"}},
                   {"pid", kUniform, 4e5},
                   {"datname", kText, 0, 0, 1, {"app", "billing"}},
                   {"usename", kText, 0, 0, 1, {"web", "worker", "batch"}},
                   {"application_name", kText, 0, 0, 1, {"checkout", "invoices", "sync"}},
                   {"client", kText, 0, 0, 1, {"10.1.0.12", "10.1.0.13"}},
                   {"backend_type", kText, 0, 0, 1, {"client backend", "autovacuum worker"}},
                   {"query_id", kUniform, 9e18},
                   {"message", kOwnText},
                   {"detail", kOwnText},
                   {"statement", kOwnText},
                   {"object", kOwnText},
                   {"duration_us", kUniform, 3e6, 0, 0.3},
                   {"bytes", kUniform, 3e8, 0, 0.1}}},
      {.metric = "log_counts",
       .series = 40,
       .work = 60,
       .exponent = 1.5,
       .columns = {{"entries", kCount, 1},
                   {"left_out", kCount, 0.05, 0, 0.1},
                   {"duration_us", kCount, 4e5, 0.8, 0.3},
                   {"bytes", kCount, 1e6, 0.8, 0.1}}},
      {.metric = "log_files",
       .series = 2,
       .work = 60,
       .exponent = 3,
       .columns = {{"bytes_read", kCount, 400, 0.3},
                   {"entries", kCount, 1},
                   {"size_bytes", kSize, 4e7, 0.2},
                   {"position_bytes", kSize, 4e7, 0.2}}},
      {.metric = "log_checkpoints",
       .series = 3,
       .work = 0.2,
       .exponent = 2,
       .columns = {{"completed", kCount, 1},
                   {"buffers_written", kCount, 8e3, 0.5},
                   {"wal_recycled", kCount, 20, 0.5},
                   {"write_us", kCount, 2.6e8, 0.1},
                   {"sync_us", kCount, 4e4, 0.8},
                   {"total_us", kCount, 2.7e8, 0.1},
                   {"sync_files", kCount, 120, 0.5},
                   {"distance_bytes", kCount, 3e8, 0.5}}},
      {.metric = "plans",
       .series = 120,
       .work = 10,
       .exponent = 1.5,
       .columns = {{"logged", kCount, 1}, {"duration_us", kCount, 2e6, 0.9}}},
      {.metric = "log_vacuums",
       .series = 0,
       .work = 1.5,
       .exponent = 1.2,
       .columns = {{"runs", kCount, 1},
                   {"duration_us", kCount, 6e6, 0.9},
                   {"cpu_user_us", kCount, 1e6, 0.9},
                   {"cpu_system_us", kCount, 3e5, 0.9},
                   {"index_scans", kCount, 1, 0, 0.6},
                   {"tuples_removed", kCount, 4e4, 1},
                   {"tuples_dead", kCount, 300, 1, 0.2},
                   {"buffer_hits", kCount, 9e4, 0.9},
                   {"buffer_misses", kCount, 4e4, 0.9},
                   {"buffers_dirtied", kCount, 2e4, 0.9},
                   {"wal_records", kCount, 5e4, 0.9},
                   {"wal_full_page_images", kCount, 2e3, 0.9},
                   {"wal_bytes", kCount, 3e7, 0.9}}},
  };
}

}  // namespace pga::fleetsim
