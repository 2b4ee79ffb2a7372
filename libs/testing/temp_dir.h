// A private folder under /tmp that is removed with the object. The name carries the owner's process id, so that what a
// killed test left behind is swept by the next one. Paths are short enough for Unix sockets. Tests only.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pga::testing {

class ScopedTempDir {
 public:
  // Ends the test program when the folder cannot be made: no test can go on without.
  ScopedTempDir();
  ~ScopedTempDir();
  ScopedTempDir(const ScopedTempDir&) = delete;
  ScopedTempDir& operator=(const ScopedTempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

absl::Status WriteFile(const std::string& path, const std::string& content);
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace pga::testing
