// A limit of memory that the kernel keeps, as Kubernetes and systemd set it: a control group of version 2 or 1,
// whichever the machine has. Tests only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::attack {

class MemoryGroup {
 public:
  // FAILED_PRECONDITION when no group can be made here (no such file system, or not root).
  static absl::StatusOr<std::unique_ptr<MemoryGroup>> Make(const std::string& name, int64_t bytes);
  // Its processes must have ended.
  ~MemoryGroup();
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  // The command that enters the group and then becomes the program.
  std::vector<std::string> Launch(const std::vector<std::string>& argv) const;
  int64_t limit() const { return limit_; }
  // Processes that the kernel killed for memory.
  int64_t Kills() const;

 private:
  MemoryGroup(std::string folder, bool v2, int64_t limit) : folder_(std::move(folder)), v2_(v2), limit_(limit) {}
  const std::string folder_;
  const bool v2_;
  const int64_t limit_;
};

// From the chart's values (services.<name>.resources.limits.memory), and from the unit of the whole in one process
// ("pganalytics-api"). NOT_FOUND when they say nothing.
absl::StatusOr<int64_t> DeployedMemoryLimit(const std::string& name);

}  // namespace pga::attack
