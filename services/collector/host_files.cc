#include "services/collector/host_files.h"

#include <sys/stat.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace pga::collector {
namespace {

constexpr int64_t kSectorBytes = 512;  // of /proc/diskstats, whatever the disk has

bool Number(std::string_view word, double* value) {
  return absl::SimpleAtod(absl::string_view(word.data(), word.size()), value);
}

constexpr const char* kCpuColumns[] = {"user_us",   "nice_us", "system_us",  "idle_us",
                                       "iowait_us", "irq_us",  "softirq_us", "steal_us"};

// The times of a line `cpu...` of /proc/stat.
absl::Status FillTimes(const std::vector<std::string_view>& words, int64_t ticks_per_second, Reading* reading) {
  for (size_t i = 0; i < std::size(kCpuColumns) && i + 1 < words.size(); ++i) {
    int64_t value = 0;
    if (!HostNumber(words[i + 1], &value)) return absl::InvalidArgumentError("/proc/stat: not a number");
    reading->SetInt(reading->shape().Find(kCpuColumns[i]), value * (1000000 / ticks_per_second));
  }
  return absl::OkStatus();
}

// Values of `name value` lines under their columns.
void FillByName(std::string_view text, const std::map<std::string_view, const char*>& columns, int64_t factor,
                Reading* reading) {
  for (const std::string_view line : HostLines(text)) {
    const auto words = HostWords(line);
    int64_t value = 0;
    if (words.size() < 2 || !HostNumber(words[1], &value)) continue;
    const auto column = columns.find(words[0]);
    if (column != columns.end()) reading->SetInt(reading->shape().Find(column->second), value * factor);
  }
}

// The two lines of `name` in /proc/net/snmp and netstat: names, then values.
std::map<std::string, int64_t> Protocol(std::string_view text, std::string_view name) {
  std::vector<std::string_view> names;
  std::map<std::string, int64_t> values;
  for (const std::string_view line : HostLines(text)) {
    const auto words = HostWords(line);
    if (words.empty() || words[0] != name) continue;
    if (names.empty()) {
      names = words;
      continue;
    }
    for (size_t i = 1; i < words.size() && i < names.size(); ++i) {
      int64_t value = 0;
      if (HostNumber(words[i], &value)) values[std::string(names[i])] = value;
    }
    break;
  }
  return values;
}

}  // namespace

HostFiles::HostFiles(std::string root) : root_(std::move(root)) {
  while (!root_.empty() && root_.back() == '/') root_.pop_back();
}

std::string HostFiles::Read(std::string_view path) const {
  std::ifstream in(root_ + std::string(path));
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool HostFiles::Exists(std::string_view path) const {
  struct stat info {};
  return stat((root_ + std::string(path)).c_str(), &info) == 0;
}

std::vector<std::string_view> HostWords(std::string_view line) {
  std::vector<std::string_view> words;
  size_t at = 0;
  while ((at = line.find_first_not_of(" \t\n", at)) != std::string_view::npos) {
    const size_t end = std::min(line.find_first_of(" \t\n", at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

std::vector<std::string_view> HostLines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

bool HostNumber(std::string_view text, int64_t* value) {
  const auto words = HostWords(text);
  if (words.size() != 1) return false;
  const std::string_view word = words[0];
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), *value);
  return error == std::errc() && end == word.data() + word.size();
}

absl::Status FillHostCpu(const HostFiles& files, int64_t ticks_per_second, Reading* reading) {
  const MetricShape& shape = reading->shape();
  const std::string stat = files.Read("/proc/stat");
  reading->AddRow();
  bool found = false;
  int64_t cpus = 0;
  for (const std::string_view line : HostLines(stat)) {
    const auto words = HostWords(line);
    if (words.empty()) continue;
    int64_t value = 0;
    if (words[0] == "cpu") {
      if (absl::Status status = FillTimes(words, ticks_per_second, reading); !status.ok()) return status;
      if (words.size() > 9 && HostNumber(words[9], &value)) {
        reading->SetInt(shape.Find("guest_us"), value * (1000000 / ticks_per_second));
      }
      found = true;
    } else if (words[0].starts_with("cpu")) {
      ++cpus;
    }
  }
  if (!found) return absl::InvalidArgumentError("/proc/stat has no line `cpu`");
  reading->SetInt(shape.Find("cpus"), cpus);
  FillByName(stat,
             {{"ctxt", "context_switches"},
              {"intr", "interrupts"},
              {"processes", "processes_created"},
              {"procs_running", "processes_running"},
              {"procs_blocked", "processes_blocked"}},
             1, reading);
  const std::string loadavg = files.Read("/proc/loadavg");
  const auto words = HostWords(loadavg);
  static constexpr const char* kLoads[] = {"load_1m", "load_5m", "load_15m"};
  for (size_t i = 0; i < std::size(kLoads) && i < words.size(); ++i) {
    double value = 0;
    if (Number(words[i], &value)) reading->SetDouble(shape.Find(kLoads[i]), value);
  }
  return absl::OkStatus();
}

absl::Status FillHostCpuCores(const HostFiles& files, int64_t ticks_per_second, Reading* reading) {
  const std::string stat = files.Read("/proc/stat");
  bool found = false;
  for (const std::string_view line : HostLines(stat)) {
    const auto words = HostWords(line);
    int64_t cpu = 0;
    if (words.empty() || !words[0].starts_with("cpu") || !HostNumber(words[0].substr(3), &cpu)) continue;
    reading->AddRow();
    reading->SetInt(reading->shape().Find("cpu"), cpu);
    if (absl::Status status = FillTimes(words, ticks_per_second, reading); !status.ok()) return status;
    found = true;
  }
  return found ? absl::OkStatus() : absl::InvalidArgumentError("/proc/stat has no line of a processor");
}

absl::Status FillHostMemory(const HostFiles& files, Reading* reading) {
  const std::string meminfo = files.Read("/proc/meminfo");
  reading->AddRow();
  if (meminfo.find("MemTotal:") == std::string::npos) {
    return absl::InvalidArgumentError("/proc/meminfo does not look as expected");
  }
  FillByName(meminfo,
             {{"MemTotal:", "total_bytes"},
              {"MemFree:", "free_bytes"},
              {"MemAvailable:", "available_bytes"},
              {"Buffers:", "buffers_bytes"},
              {"Cached:", "cached_bytes"},
              {"Shmem:", "shared_bytes"},
              {"Dirty:", "dirty_bytes"},
              {"SwapTotal:", "swap_total_bytes"},
              {"SwapFree:", "swap_free_bytes"},
              {"Active:", "active_bytes"},
              {"Inactive:", "inactive_bytes"},
              {"AnonPages:", "anonymous_bytes"},
              {"Mapped:", "mapped_bytes"},
              {"Writeback:", "writeback_bytes"},
              {"Slab:", "slab_bytes"},
              {"SReclaimable:", "slab_reclaimable_bytes"},
              {"PageTables:", "page_tables_bytes"},
              {"CommitLimit:", "commit_limit_bytes"},
              {"Committed_AS:", "committed_bytes"},
              {"Hugepagesize:", "huge_page_bytes"}},
             1024, reading);
  FillByName(meminfo, {{"HugePages_Total:", "huge_pages_total"}, {"HugePages_Free:", "huge_pages_free"}}, 1, reading);
  const std::string vmstat = files.Read("/proc/vmstat");
  FillByName(vmstat,
             {{"pswpin", "swap_in_pages"},
              {"pswpout", "swap_out_pages"},
              {"pgfault", "page_faults"},
              {"pgmajfault", "major_page_faults"},
              {"oom_kill", "oom_kills"}},
             1, reading);
  // By kswapd and by programs themselves.
  int64_t scanned = 0;
  int64_t stolen = 0;
  for (const std::string_view line : HostLines(vmstat)) {
    const auto words = HostWords(line);
    int64_t value = 0;
    if (words.size() != 2 || !HostNumber(words[1], &value)) continue;
    if (words[0] == "pgscan_kswapd" || words[0] == "pgscan_direct") scanned += value;
    if (words[0] == "pgsteal_kswapd" || words[0] == "pgsteal_direct") stolen += value;
  }
  if (!vmstat.empty()) {
    reading->SetInt(reading->shape().Find("scanned_pages"), scanned);
    reading->SetInt(reading->shape().Find("stolen_pages"), stolen);
  }
  return absl::OkStatus();
}

absl::Status FillHostPressure(const HostFiles& files, Reading* reading) {
  const MetricShape& shape = reading->shape();
  bool found = false;
  for (const char* resource : {"cpu", "memory", "io", "irq"}) {
    const std::string text = files.Read(std::string("/proc/pressure/") + resource);
    for (const std::string_view line : HostLines(text)) {
      const auto words = HostWords(line);
      if (words.empty()) continue;
      reading->AddRow();
      reading->SetText(shape.Find("resource"), resource);
      reading->SetText(shape.Find("degree"), words[0]);
      for (size_t i = 1; i < words.size(); ++i) {
        const size_t equals = words[i].find('=');
        if (equals == std::string_view::npos) continue;
        const std::string_view name = words[i].substr(0, equals);
        const std::string_view value = words[i].substr(equals + 1);
        int64_t total = 0;
        double share = 0;
        if (name == "total" && HostNumber(value, &total)) {
          reading->SetInt(shape.Find("stalled_us"), total);
        } else if (name != "total" && Number(value, &share)) {
          const int column = shape.Find("avg_" + std::string(name.substr(3)) + "s");
          if (column >= 0) reading->SetDouble(column, share);
        }
      }
      found = true;
    }
  }
  return found ? absl::OkStatus() : absl::NotFoundError("the kernel shows no /proc/pressure (PSI is off)");
}

absl::Status FillHostDisks(const HostFiles& files, Reading* reading) {
  const MetricShape& shape = reading->shape();
  // Column and factor by place in the line; the first three words are numbers and name of the device.
  static constexpr std::pair<const char*, int64_t> kPlaces[] = {{"reads", 1},
                                                                {"reads_merged", 1},
                                                                {"read_bytes", kSectorBytes},
                                                                {"read_time_us", 1000},
                                                                {"writes", 1},
                                                                {"writes_merged", 1},
                                                                {"write_bytes", kSectorBytes},
                                                                {"write_time_us", 1000},
                                                                {"in_flight", 1},
                                                                {"busy_time_us", 1000},
                                                                {"queue_time_us", 1000},
                                                                {"discards", 1},
                                                                {nullptr, 0},
                                                                {"discard_bytes", kSectorBytes},
                                                                {"discard_time_us", 1000},
                                                                {"flushes", 1},
                                                                {"flush_time_us", 1000}};
  const std::string text = files.Read("/proc/diskstats");
  if (text.empty()) return absl::NotFoundError("the kernel shows no /proc/diskstats");
  const bool knows_disks = files.Exists("/sys/block");
  for (const std::string_view line : HostLines(text)) {
    const auto words = HostWords(line);
    if (words.size() < 14) continue;
    std::string device(words[2]);
    if (device.starts_with("loop") || device.starts_with("ram")) continue;
    // Whole disks have a folder; a name with a slash has an exclamation mark in it.
    std::string folder = device;
    for (char& c : folder) {
      if (c == '/') c = '!';
    }
    if (knows_disks && !files.Exists("/sys/block/" + folder)) continue;
    int64_t reads = 0;
    int64_t writes = 0;
    if (!HostNumber(words[3], &reads) || !HostNumber(words[7], &writes)) {
      return absl::InvalidArgumentError("/proc/diskstats: not a number");
    }
    if (reads == 0 && writes == 0) continue;
    reading->AddRow();
    reading->SetText(shape.Find("device"), device);
    for (size_t i = 0; i < std::size(kPlaces) && i + 3 < words.size(); ++i) {
      int64_t value = 0;
      if (kPlaces[i].first == nullptr || !HostNumber(words[i + 3], &value)) continue;
      reading->SetInt(shape.Find(kPlaces[i].first), value * kPlaces[i].second);
    }
  }
  return absl::OkStatus();
}

absl::Status FillHostNetwork(const HostFiles& files, Reading* reading) {
  const MetricShape& shape = reading->shape();
  static constexpr std::pair<size_t, const char*> kPlaces[] = {
      {0, "received_bytes"}, {1, "received_packets"}, {2, "receive_errors"}, {3, "receive_drops"},
      {8, "sent_bytes"},     {9, "sent_packets"},     {10, "send_errors"},   {11, "send_drops"}};
  const std::string text = files.Read(files.is_own() ? "/proc/net/dev" : "/proc/1/net/dev");
  if (text.empty()) return absl::NotFoundError("the kernel shows no /proc/net/dev");
  for (const std::string_view line : HostLines(text)) {
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    const auto name = HostWords(line.substr(0, colon));
    const auto words = HostWords(line.substr(colon + 1));
    if (name.size() != 1 || words.size() < 12) continue;
    int64_t received = 0;
    int64_t sent = 0;
    if (!HostNumber(words[1], &received) || !HostNumber(words[9], &sent)) {
      return absl::InvalidArgumentError("/proc/net/dev: not a number");
    }
    if (received == 0 && sent == 0) continue;
    reading->AddRow();
    reading->SetText(shape.Find("interface"), name[0]);
    for (const auto& [place, column] : kPlaces) {
      int64_t value = 0;
      if (HostNumber(words[place], &value)) reading->SetInt(shape.Find(column), value);
    }
  }
  return absl::OkStatus();
}

absl::Status FillHostTcp(const HostFiles& files, Reading* reading) {
  const std::string net = files.is_own() ? "/proc/net" : "/proc/1/net";
  const std::map<std::string, int64_t> tcp = Protocol(files.Read(net + "/snmp"), "Tcp:");
  const std::map<std::string, int64_t> more = Protocol(files.Read(net + "/netstat"), "TcpExt:");
  if (tcp.empty()) return absl::NotFoundError("the kernel shows no line Tcp in /proc/net/snmp");
  reading->AddRow();
  const auto take = [&](const std::map<std::string, int64_t>& from, const char* name, const char* column) {
    const auto value = from.find(name);
    if (value != from.end()) reading->SetInt(reading->shape().Find(column), value->second);
  };
  take(tcp, "CurrEstab", "established");
  take(tcp, "ActiveOpens", "active_opens");
  take(tcp, "PassiveOpens", "passive_opens");
  take(tcp, "AttemptFails", "attempt_failures");
  take(tcp, "EstabResets", "resets");
  take(tcp, "InSegs", "segments_received");
  take(tcp, "OutSegs", "segments_sent");
  take(tcp, "RetransSegs", "segments_retransmitted");
  take(tcp, "InErrs", "errors_received");
  take(more, "ListenOverflows", "listen_overflows");
  take(more, "ListenDrops", "listen_drops");
  take(more, "TCPTimeouts", "timeouts");
  return absl::OkStatus();
}

}  // namespace pga::collector
