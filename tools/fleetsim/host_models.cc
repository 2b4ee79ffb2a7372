// Readings of the machine. The kernel counts processor time in ticks of 10 ms, times of disks in milliseconds and bytes
// of disks in pages.
#include "tools/fleetsim/metric_models.h"

namespace pga::fleetsim {
namespace {

using enum Behaviour;

constexpr double kMb = 1024.0 * 1024.0;
constexpr double kGb = 1024.0 * kMb;
constexpr double kTick = 10'000;
constexpr double kPage = 4'096;

ColumnModel In(double unit, ColumnModel model) {
  model.unit = unit;
  return model;
}

}  // namespace

std::vector<MetricModel> HostModels() {
  return {
      {.metric = "host_cpu",
       .work = 1,
       .columns = {In(kTick, {"user_us", kCount, 9'000, 0.2}),
                   In(kTick, {"system_us", kCount, 2'000, 0.2}),
                   In(kTick, {"idle_us", kCount, 34'000, 0.05}),
                   In(kTick, {"iowait_us", kCount, 800, 0.6}),
                   In(kTick, {"softirq_us", kCount, 200, 0.3}),
                   In(kTick, {"steal_us", kCount, 1, 1.0, 0.2}),
                   {"context_switches", kCount, 9e5, 0.2},
                   {"load_1m", kWalk, 1.9, 0.8},
                   {"load_5m", kWalk, 1.9, 0.6},
                   {"load_15m", kWalk, 1.9, 0.4},
                   {"cpus", kConstant, 8}}},
      {.metric = "host_cpu_core",
       .series = 8,
       .work = 8,
       .exponent = 0.1,
       .columns = {In(kTick, {"user_us", kCount, 1'100, 0.3}), In(kTick, {"nice_us", kCount, 1, 0.5, 0.05}),
                   In(kTick, {"system_us", kCount, 250, 0.3}), In(kTick, {"idle_us", kCount, 4'250, 0.05}),
                   In(kTick, {"iowait_us", kCount, 100, 0.6}), In(kTick, {"softirq_us", kCount, 25, 0.5}),
                   In(kTick, {"steal_us", kCount, 0.1, 1.0, 0.2})}},
      {.metric = "host_memory",
       .work = 1,
       .columns = {{"total_bytes", kConstant, 64 * kGb},
                   In(kPage, {"free_bytes", kWalk, 2 * kGb, 0.5}),
                   In(kPage, {"available_bytes", kWalk, 40 * kGb, 0.1}),
                   In(kPage, {"buffers_bytes", kWalk, 0.5 * kGb, 0.1}),
                   In(kPage, {"cached_bytes", kWalk, 38 * kGb, 0.1}),
                   {"shared_bytes", kConstant, 16 * kGb},
                   In(kPage, {"dirty_bytes", kWalk, 80 * kMb, 0.9}),
                   {"swap_total_bytes", kConstant, 8 * kGb},
                   {"swap_free_bytes", kConstant, 8 * kGb}}},
      {.metric = "host_filesystem",
       .series = 3,
       .columns = {{"total_bytes", kConstant, 900 * kGb},
                   {"used_bytes", kSize, 300 * kGb, 0.004},
                   In(kPage, {"free_bytes", kWalk, 500 * kGb, 0.01}),
                   In(kPage, {"available_bytes", kWalk, 480 * kGb, 0.01}),
                   {"inodes_total", kConstant, 6e7},
                   {"inodes_free", kWalk, 5.9e7, 0.001}}},
      // The disk of the system, that of the data and that of backups, which sleeps most of the day.
      {.metric = "host_disk",
       .series = 3,
       .work = 6'000,
       .exponent = 6,
       .columns = {{"reads", kCount, 0.5, 0.5},
                   {"reads_merged", kCount, 0.01, 0.8, 0.6},
                   In(kPage, {"read_bytes", kCount, 2, 0.6}),
                   In(1'000, {"read_time_us", kCount, 0.3, 0.6}),
                   {"writes", kCount, 1.5, 0.3},
                   {"writes_merged", kCount, 0.6, 0.4},
                   In(kPage, {"write_bytes", kCount, 8, 0.5}),
                   In(1'000, {"write_time_us", kCount, 1.2, 0.6}),
                   {"in_flight", kUniform, 3, 0, 0.2},
                   In(1'000, {"busy_time_us", kCount, 0.8, 0.3}),
                   In(1'000, {"queue_time_us", kCount, 1.6, 0.6}),
                   {"flushes", kCount, 0.2, 0.2},
                   In(1'000, {"flush_time_us", kCount, 0.2, 0.5})}},
      // The interface to the network and that of the machine with itself.
      {.metric = "host_network",
       .series = 2,
       .work = 60'000,
       .exponent = 5,
       .columns = {{"received_bytes", kCount, 900, 0.2},
                   {"received_packets", kCount, 2, 0.15},
                   {"receive_drops", kCount, 1e-6, 0, 1},
                   {"sent_bytes", kCount, 2'500, 0.2},
                   {"sent_packets", kCount, 2.2, 0.15}}},
      {.metric = "host_tcp",
       .work = 60'000,
       .columns = {{"established", kWalk, 120, 0.3},
                   {"active_opens", kCount, 0.002, 0.3},
                   {"passive_opens", kCount, 0.006, 0.3},
                   {"attempt_failures", kCount, 2e-5, 0, 1},
                   {"resets", kCount, 2e-4, 0.4},
                   {"segments_received", kCount, 2, 0.15},
                   {"segments_sent", kCount, 2.4, 0.15},
                   {"segments_retransmitted", kCount, 3e-4, 0.6},
                   {"timeouts", kCount, 5e-5, 0.5}}},
      // some and full of processor, memory and io; the first of io and of the processor are the ones that move.
      {.metric = "host_pressure",
       .series = 6,
       .work = 60,
       .exponent = 4,
       .columns = {{"stalled_us", kCount, 9e3, 0.6},
                   {"avg_10s", kWalk, 1.2, 0.9, 0.6},
                   {"avg_60s", kWalk, 1.2, 0.7, 0.6},
                   {"avg_300s", kWalk, 1.2, 0.5, 0.6}}},
      {.metric = "host_cgroup",
       .work = 1,
       .columns = {{"cgroup_version", kConstant, 2},
                   {"cgroup_path", kText, 0, 0, 1, {"/system.slice/postgresql.service"}},
                   {"cpus_allowed", kConstant, 8},
                   {"cpu_weight", kConstant, 100},
                   {"cpu_usage_us", kCount, 8e7, 0.2},
                   {"cpu_user_us", kCount, 6e7, 0.2},
                   {"cpu_system_us", kCount, 2e7, 0.2},
                   In(kPage, {"memory_bytes", kWalk, 44 * kGb, 0.05}),
                   {"memory_peak_bytes", kConstant, 48 * kGb},
                   In(kPage, {"memory_working_bytes", kWalk, 24 * kGb, 0.1}),
                   In(kPage, {"memory_anonymous_bytes", kWalk, 3 * kGb, 0.3}),
                   In(kPage, {"memory_file_bytes", kWalk, 38 * kGb, 0.05}),
                   In(kPage, {"memory_shared_bytes", kWalk, 16 * kGb, 0.001}),
                   {"pids", kWalk, 90, 0.3},
                   {"cpu_stalled_us", kCount, 3e5, 0.6},
                   {"memory_stalled_us", kCount, 50, 1.0, 0.05},
                   {"io_stalled_us", kCount, 2e5, 0.8}}},
  };
}

}  // namespace pga::fleetsim
