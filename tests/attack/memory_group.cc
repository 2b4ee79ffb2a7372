#include "tests/attack/memory_group.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "libs/testing/temp_dir.h"

namespace pga::attack {
namespace {

bool Write(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text << std::flush;
  return out.good();
}

std::string Read(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Where the hierarchy of memory is mounted, and its version.
struct Mount {
  std::string folder;
  bool v2 = false;
};
absl::StatusOr<Mount> FindMount() {
  for (const auto line : absl::StrSplit(Read("/proc/mounts"), '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    if (fields.size() < 4) continue;
    if (fields[2] == "cgroup" && absl::StrContains(absl::StrCat(",", fields[3], ","), ",memory,")) {
      return Mount{fields[1], false};
    }
    if (fields[2] == "cgroup2" && absl::StrContains(Read(fields[1] + "/cgroup.controllers"), "memory")) {
      (void)Write(fields[1] + "/cgroup.subtree_control", "+memory");
      return Mount{fields[1], true};
    }
  }
  return absl::FailedPreconditionError("no control group of memory is mounted");
}

int64_t BytesOf(const std::string& number, const std::string& suffix) {
  const int64_t value = std::atoll(number.c_str());
  return suffix == "G" || suffix == "Gi" ? value << 30 : value << 20;
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryGroup>> MemoryGroup::Make(const std::string& name, int64_t bytes) {
  const auto mount = FindMount();
  if (!mount.ok()) return mount.status();
  const std::string folder = absl::StrCat(mount->folder, "/pganalytics-test-", getpid(), "-", name);
  if (mkdir(folder.c_str(), 0755) != 0) return absl::FailedPreconditionError("cannot make " + folder);
  std::unique_ptr<MemoryGroup> group(new MemoryGroup(folder, mount->v2, bytes));
  if (!Write(folder + (mount->v2 ? "/memory.max" : "/memory.limit_in_bytes"), absl::StrCat(bytes))) {
    return absl::FailedPreconditionError("cannot limit " + folder);
  }
  return group;
}

MemoryGroup::~MemoryGroup() {
  rmdir(folder_.c_str());
}

std::vector<std::string> MemoryGroup::Launch(const std::vector<std::string>& argv) const {
  std::vector<std::string> out = {"/bin/sh", "-c", "echo $$ >\"$0\"/cgroup.procs && exec \"$@\"", folder_};
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

int64_t MemoryGroup::Kills() const {
  for (const auto line : absl::StrSplit(Read(folder_ + (v2_ ? "/memory.events" : "/memory.oom_control")), '\n')) {
    const std::vector<std::string> fields = absl::StrSplit(line, ' ');
    if (fields.size() == 2 && fields[0] == "oom_kill") return std::atoll(fields[1].c_str());
  }
  return -1;
}

absl::StatusOr<int64_t> DeployedMemoryLimit(const std::string& name) {
  const char* const source = std::getenv("PGA_SOURCE_DIR");
  const std::string root = source == nullptr ? "." : source;
  const bool one_process = name == "pganalytics-api";
  const std::string text =
      Read(root + (one_process ? "/tools/deploy/systemd/pganalytics.service" : "/helm/pganalytics/values.yaml"));
  // The section of a service ends where a line begins at its margin again.
  const std::regex pattern(one_process
                               ? "\nMemoryMax=([0-9]+)(G|M)\n"
                               : "\n" + name + ":\n(?:(?: .*|#.*)?\n)*?    limits: \\{memory: ([0-9]+)(Gi|Mi)\\}");
  std::smatch found;
  if (!std::regex_search(text, found, pattern)) return absl::NotFoundError("no limit of memory for " + name);
  return BytesOf(found[1], found[2]);
}

}  // namespace pga::attack
