// Filesystems of a host: which are mounted (proc_pid_mounts(5)) and how full each is (statvfs(3)).
#pragma once

#include <sys/statvfs.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace pga::collector {

struct Mount {
  std::string device;
  std::string path;
  std::string type;
};
// Mounts of real filesystems in a file such as /proc/self/mounts; every device once.
std::vector<Mount> ParseMounts(std::string_view mounts);

struct MountAnswer {
  Mount mount;
  struct statvfs info {};
};

// Asks mounts on threads of their own, because statvfs of a mount whose server is away may never return. Thread-safe.
class MountProbe {
 public:
  // statvfs() of a path; false is an error.
  using Statvfs = std::function<bool(const std::string& path, struct statvfs* info)>;

  // What the mounts of one reading answered. Thread-safe. An answer that comes late belongs to its own round.
  class Round {
   public:
    Round();
    ~Round();
    bool finished() const;
    // The answers until now, each mount at most once, without those that failed.
    std::vector<MountAnswer> answers() const;

   private:
    friend class MountProbe;
    struct State;
    std::unique_ptr<State> state_;
  };

  MountProbe();
  explicit MountProbe(Statvfs statvfs);

  // Begins a round without the mounts that another round still waits for. `root` stands before each path.
  // DeadlineExceeded when too many mounts hang to begin one more thread.
  absl::StatusOr<std::shared_ptr<const Round>> Ask(const std::vector<Mount>& mounts, const std::string& root);

 private:
  struct Shared;
  // Shared with threads that may hang in the kernel.
  std::shared_ptr<Shared> shared_;
};

}  // namespace pga::collector
