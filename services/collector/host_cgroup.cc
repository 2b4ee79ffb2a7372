// The collector's own control group. A container sees its group as the root of the mount; without a namespace of its
// own the path in /proc/self/cgroup begins with the mount's root, which is taken off. Limits hold for all groups below,
// so that the least one up to the root counts.
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "services/collector/host_files.h"

namespace pga::collector {
namespace {

// Version 1 says "no limit" by the largest number of whole pages.
constexpr int64_t kNoLimit = int64_t{1} << 62;

struct MountOfGroups {
  std::string point;
  std::string root;
};

// One hierarchy: where its files are, and the group's path in it.
struct Hierarchy {
  std::string mount;
  std::string path;  // empty for the root, else with a slash in front
};

std::string SelfOf(const HostFiles& files) {
  return files.is_own() ? "/proc/self" : "/proc/1";
}

// Mounts of cgroup filesystems by controller; version 2 under the empty name.
std::map<std::string, MountOfGroups> MountsOfGroups(const HostFiles& files) {
  std::map<std::string, MountOfGroups> mounts;
  const std::string text = files.Read(SelfOf(files) + "/mountinfo");
  for (const std::string_view line : HostLines(text)) {
    const auto words = HostWords(line);
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 10 || dash == words.end() || words.end() - dash < 4) continue;
    const MountOfGroups mount = {std::string(words[4]), std::string(words[3])};
    if (*(dash + 1) == "cgroup2") mounts.emplace("", mount);
    if (*(dash + 1) != "cgroup") continue;
    std::string_view options = *(dash + 3);
    while (!options.empty()) {
      const size_t end = std::min(options.find(','), options.size());
      mounts.emplace(std::string(options.substr(0, end)), mount);
      options.remove_prefix(std::min(end + 1, options.size()));
    }
  }
  return mounts;
}

// Paths of the group by controller; version 2 under the empty name.
std::map<std::string, std::string> PathsOfGroup(const HostFiles& files) {
  std::map<std::string, std::string> paths;
  const std::string text = files.Read(SelfOf(files) + "/cgroup");
  for (const std::string_view line : HostLines(text)) {
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string path(line.substr(second + 1));
    if (controllers.empty()) paths[""] = path;
    while (!controllers.empty()) {
      const size_t end = std::min(controllers.find(','), controllers.size());
      paths[std::string(controllers.substr(0, end))] = path;
      controllers.remove_prefix(std::min(end + 1, controllers.size()));
    }
  }
  return paths;
}

class Group {
 public:
  Group(const HostFiles& files, Reading* reading) : files_(files), reading_(reading) {
    mounts_ = MountsOfGroups(files);
    paths_ = PathsOfGroup(files);
  }

  absl::Status Fill() {
    const std::optional<Hierarchy> unified = Find("");
    // Version 2 is in use when it has the controllers; beside version 1 its tree may be there without any.
    if (unified.has_value() && !files_.Read(unified->mount + "/cgroup.controllers").empty() &&
        HostWords(files_.Read(unified->mount + "/cgroup.controllers")).size() > 0) {
      reading_->AddRow();
      FillVersion2(*unified);
      return absl::OkStatus();
    }
    const std::optional<Hierarchy> memory = Find("memory");
    const std::optional<Hierarchy> cpu = Find("cpu");
    if (!memory.has_value() && !cpu.has_value()) {
      return absl::NotFoundError("no cgroup filesystem with a controller is mounted");
    }
    reading_->AddRow();
    FillVersion1(cpu, memory);
    return absl::OkStatus();
  }

 private:
  std::optional<Hierarchy> Find(const std::string& controller) const {
    const auto mount = mounts_.find(controller);
    const auto path = paths_.find(controller);
    if (mount == mounts_.end() || path == paths_.end()) return std::nullopt;
    std::string own = path->second;
    const std::string& root = mount->second.root;
    if (root != "/" && (own == root || own.starts_with(root + "/"))) own = own.substr(root.size());
    while (!own.empty() && own.back() == '/') own.pop_back();
    // A path outside what is mounted: all that can be seen is the mount's root.
    if (!files_.Exists(mount->second.point + own)) own.clear();
    return Hierarchy{mount->second.point, own};
  }

  void Set(const char* column, int64_t value) { reading_->SetInt(reading_->shape().Find(column), value); }

  std::string Own(const Hierarchy& at, const char* name) const { return files_.Read(at.mount + at.path + "/" + name); }

  void Take(const Hierarchy& at, const char* name, const char* column, int64_t divide = 1) {
    int64_t value = 0;
    if (HostNumber(Own(at, name), &value)) Set(column, value / divide);
  }

  // Values of `name value` lines.
  void TakeLines(const std::string& text, const std::map<std::string_view, const char*>& columns, int64_t divide = 1) {
    for (const std::string_view line : HostLines(text)) {
      const auto words = HostWords(line);
      int64_t value = 0;
      if (words.size() != 2 || !HostNumber(words[1], &value)) continue;
      const auto column = columns.find(words[0]);
      if (column != columns.end()) Set(column->second, value / divide);
    }
  }

  int64_t LineOf(const std::string& text, std::string_view name) const {
    for (const std::string_view line : HostLines(text)) {
      const auto words = HostWords(line);
      int64_t value = 0;
      if (words.size() == 2 && words[0] == name && HostNumber(words[1], &value)) return value;
    }
    return 0;
  }

  // The least number that a file says in the group and in those above it; "max" and no file are no limit.
  std::optional<int64_t> Least(const Hierarchy& at, const char* name) const {
    std::optional<int64_t> least;
    ForEachLevel(at, [&](const std::string& folder) {
      int64_t value = 0;
      if (!HostNumber(files_.Read(folder + "/" + name), &value) || value >= kNoLimit) return;
      least = std::min(least.value_or(value), value);
    });
    return least;
  }

  void TakeLimit(const Hierarchy& at, const char* name, const char* column) {
    const std::optional<int64_t> limit = Least(at, name);
    if (limit.has_value()) Set(column, *limit);
  }

  template <typename Visit>
  void ForEachLevel(const Hierarchy& at, Visit visit) const {
    std::string path = at.path;
    while (true) {
      visit(at.mount + path);
      if (path.empty()) return;
      path.resize(path.rfind('/'));
    }
  }

  // Processors of a list such as 0-3,8.
  void TakeCpus(const std::string& list) {
    int64_t count = 0;
    std::string_view rest = list;
    while (!rest.empty()) {
      const size_t end = std::min(rest.find(','), rest.size());
      const std::string_view part = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      const size_t dash = part.find('-');
      int64_t first = 0;
      int64_t last = 0;
      if (!HostNumber(part.substr(0, std::min(dash, part.size())), &first)) return;
      last = first;
      if (dash != std::string_view::npos && !HostNumber(part.substr(dash + 1), &last)) return;
      count += last - first + 1;
    }
    if (count > 0) Set("cpus_allowed", count);
  }

  void TakeStalled(const Hierarchy& at, const char* name, const char* column) {
    const std::string text = Own(at, name);
    for (const std::string_view line : HostLines(text)) {
      const auto words = HostWords(line);
      int64_t value = 0;
      if (words.size() == 5 && words[0] == "some" && words[4].starts_with("total=") &&
          HostNumber(words[4].substr(6), &value)) {
        Set(column, value);
      }
    }
  }

  void SetCpuLimit(double limit) { reading_->SetDouble(reading_->shape().Find("cpu_limit"), limit); }

  void FillVersion2(const Hierarchy& at) {
    Set("cgroup_version", 2);
    reading_->SetText(reading_->shape().Find("cgroup_path"), at.path.empty() ? "/" : at.path);
    std::optional<double> cpu_limit;
    ForEachLevel(at, [&](const std::string& folder) {
      const std::string text = files_.Read(folder + "/cpu.max");
      const auto words = HostWords(text);
      int64_t quota = 0;
      int64_t period = 0;
      if (words.size() != 2 || !HostNumber(words[0], &quota) || !HostNumber(words[1], &period) || period <= 0) return;
      const double limit = static_cast<double>(quota) / static_cast<double>(period);
      cpu_limit = std::min(cpu_limit.value_or(limit), limit);
    });
    if (cpu_limit.has_value()) SetCpuLimit(*cpu_limit);
    TakeCpus(Own(at, "cpuset.cpus.effective"));
    Take(at, "cpu.weight", "cpu_weight");
    TakeLines(Own(at, "cpu.stat"), {{"usage_usec", "cpu_usage_us"},
                                    {"user_usec", "cpu_user_us"},
                                    {"system_usec", "cpu_system_us"},
                                    {"nr_periods", "cpu_periods"},
                                    {"nr_throttled", "cpu_throttled_periods"},
                                    {"throttled_usec", "cpu_throttled_us"}});
    TakeLimit(at, "memory.max", "memory_limit_bytes");
    TakeLimit(at, "memory.high", "memory_high_bytes");
    TakeLimit(at, "memory.swap.max", "swap_limit_bytes");
    Take(at, "memory.current", "memory_bytes");
    Take(at, "memory.peak", "memory_peak_bytes");
    Take(at, "memory.swap.current", "swap_bytes");
    const std::string stat = Own(at, "memory.stat");
    TakeLines(stat,
              {{"anon", "memory_anonymous_bytes"}, {"file", "memory_file_bytes"}, {"shmem", "memory_shared_bytes"}});
    int64_t used = 0;
    if (HostNumber(Own(at, "memory.current"), &used) && !stat.empty()) {
      Set("memory_working_bytes", std::max<int64_t>(used - LineOf(stat, "inactive_file"), 0));
    }
    TakeLines(Own(at, "memory.events"), {{"max", "memory_limit_hits"}, {"oom_kill", "oom_kills"}});
    TakeLimit(at, "pids.max", "pids_limit");
    Take(at, "pids.current", "pids");
    TakeStalled(at, "cpu.pressure", "cpu_stalled_us");
    TakeStalled(at, "memory.pressure", "memory_stalled_us");
    TakeStalled(at, "io.pressure", "io_stalled_us");
  }

  void FillVersion1(const std::optional<Hierarchy>& cpu, const std::optional<Hierarchy>& memory) {
    Set("cgroup_version", 1);
    const Hierarchy& named = memory.has_value() ? *memory : *cpu;
    reading_->SetText(reading_->shape().Find("cgroup_path"), named.path.empty() ? "/" : named.path);
    if (cpu.has_value()) {
      std::optional<double> cpu_limit;
      ForEachLevel(*cpu, [&](const std::string& folder) {
        int64_t quota = 0;
        int64_t period = 0;
        if (!HostNumber(files_.Read(folder + "/cpu.cfs_quota_us"), &quota) || quota <= 0 ||
            !HostNumber(files_.Read(folder + "/cpu.cfs_period_us"), &period) || period <= 0) {
          return;
        }
        const double limit = static_cast<double>(quota) / static_cast<double>(period);
        cpu_limit = std::min(cpu_limit.value_or(limit), limit);
      });
      if (cpu_limit.has_value()) SetCpuLimit(*cpu_limit);
      Take(*cpu, "cpu.shares", "cpu_weight");
      const std::string stat = Own(*cpu, "cpu.stat");
      TakeLines(stat, {{"nr_periods", "cpu_periods"}, {"nr_throttled", "cpu_throttled_periods"}});
      TakeLines(stat, {{"throttled_time", "cpu_throttled_us"}}, 1000);
    }
    if (const auto accounting = Find("cpuacct"); accounting.has_value()) {
      Take(*accounting, "cpuacct.usage", "cpu_usage_us", 1000);
      Take(*accounting, "cpuacct.usage_user", "cpu_user_us", 1000);
      Take(*accounting, "cpuacct.usage_sys", "cpu_system_us", 1000);
    }
    if (const auto cpus = Find("cpuset"); cpus.has_value()) {
      const std::string effective = Own(*cpus, "cpuset.effective_cpus");
      TakeCpus(effective.empty() ? Own(*cpus, "cpuset.cpus") : effective);
    }
    if (const auto pids = Find("pids"); pids.has_value()) {
      TakeLimit(*pids, "pids.max", "pids_limit");
      Take(*pids, "pids.current", "pids");
    }
    if (!memory.has_value()) return;
    TakeLimit(*memory, "memory.limit_in_bytes", "memory_limit_bytes");
    Take(*memory, "memory.usage_in_bytes", "memory_bytes");
    Take(*memory, "memory.max_usage_in_bytes", "memory_peak_bytes");
    Take(*memory, "memory.failcnt", "memory_limit_hits");
    const std::string stat = Own(*memory, "memory.stat");
    TakeLines(stat, {{"total_rss", "memory_anonymous_bytes"},
                     {"total_cache", "memory_file_bytes"},
                     {"total_shmem", "memory_shared_bytes"},
                     {"total_swap", "swap_bytes"}});
    int64_t used = 0;
    if (HostNumber(Own(*memory, "memory.usage_in_bytes"), &used) && !stat.empty()) {
      Set("memory_working_bytes", std::max<int64_t>(used - LineOf(stat, "total_inactive_file"), 0));
    }
    // Memory and swap together, of which the memory is known.
    const std::optional<int64_t> both = Least(*memory, "memory.memsw.limit_in_bytes");
    const std::optional<int64_t> alone = Least(*memory, "memory.limit_in_bytes");
    if (both.has_value() && alone.has_value()) Set("swap_limit_bytes", std::max<int64_t>(*both - *alone, 0));
    TakeLines(Own(*memory, "memory.oom_control"), {{"oom_kill", "oom_kills"}});
  }

  const HostFiles& files_;
  Reading* reading_;
  std::map<std::string, MountOfGroups> mounts_;
  std::map<std::string, std::string> paths_;
};

}  // namespace

absl::Status FillHostCgroup(const HostFiles& files, Reading* reading) {
  return Group(files, reading).Fill();
}

}  // namespace pga::collector
