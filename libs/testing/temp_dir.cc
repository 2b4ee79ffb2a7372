#include "libs/testing/temp_dir.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace pga::testing {
namespace {

constexpr char kPrefix[] = "pgat-";

// Folders of processes that are gone. Another sweep may be at it too; errors do not matter.
void SweepOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/tmp", error)) {
      const std::string name = entry.path().filename();
      if (name.rfind(kPrefix, 0) != 0) continue;
      const std::vector<std::string> parts = absl::StrSplit(name, '-');
      int pid = 0;
      if (parts.size() != 3 || !absl::SimpleAtoi(parts[1], &pid) || pid <= 0) continue;
      if (::kill(pid, 0) == 0 || errno != ESRCH) continue;
      // A server that outlives its test for a moment still writes here: leave a folder that changed just now.
      const auto written = std::filesystem::last_write_time(entry.path(), error);
      if (error || std::filesystem::file_time_type::clock::now() - written < std::chrono::minutes(10)) continue;
      std::filesystem::remove_all(entry.path(), error);
    }
  });
}

}  // namespace

ScopedTempDir::ScopedTempDir() {
  SweepOnce();
  static std::atomic<int> counter{0};
  path_ = absl::StrCat("/tmp/", kPrefix, ::getpid(), "-", ++counter);
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (!std::filesystem::create_directory(path_, error)) {
    std::fprintf(stderr, "cannot make %s: %s\n", path_.c_str(), error.message().c_str());
    std::abort();
  }
  std::filesystem::permissions(path_, std::filesystem::perms::owner_all, error);
}

ScopedTempDir::~ScopedTempDir() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

}  // namespace pga::testing
