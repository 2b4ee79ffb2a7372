// Figures of a host from the files its kernel shows under /proc and /sys, below a root that tests and containers can
// set. The files are small and in memory, so that they are read on the event loop. One reader has no state; used by one
// thread at a time.
//
// Each Fill function adds the rows of one metric. INVALID_ARGUMENT if the files do not look as expected, NOT_FOUND if
// the kernel does not have them; what single figures a kernel lacks are NULL.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "services/collector/reading.h"

namespace pga::collector {

class HostFiles {
 public:
  // `root` is "/" or the folder under which the host's files are mounted, with or without a slash at its end.
  explicit HostFiles(std::string root);

  const std::string& root() const { return root_; }
  // The host's own files and not those of another tree.
  bool is_own() const { return root_.empty(); }
  // Content of a file, empty if it cannot be read. `path` begins with a slash.
  std::string Read(std::string_view path) const;
  bool Exists(std::string_view path) const;

 private:
  std::string root_;  // without the last slash; "/" is empty
};

absl::Status FillHostCpu(const HostFiles& files, int64_t ticks_per_second, Reading* reading);
absl::Status FillHostCpuCores(const HostFiles& files, int64_t ticks_per_second, Reading* reading);
absl::Status FillHostMemory(const HostFiles& files, Reading* reading);
absl::Status FillHostPressure(const HostFiles& files, Reading* reading);
absl::Status FillHostDisks(const HostFiles& files, Reading* reading);
absl::Status FillHostNetwork(const HostFiles& files, Reading* reading);
absl::Status FillHostTcp(const HostFiles& files, Reading* reading);
// In host_cgroup.cc.
absl::Status FillHostCgroup(const HostFiles& files, Reading* reading);

// Words of a line, apart by blanks and tabs.
std::vector<std::string_view> HostWords(std::string_view line);
// The file's lines without their ends.
std::vector<std::string_view> HostLines(std::string_view text);
// The whole of `text`, blanks around it left out, as a number. False if it is none.
bool HostNumber(std::string_view text, int64_t* value);

}  // namespace pga::collector
