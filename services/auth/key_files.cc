#include "services/auth/key_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "libs/status/status.h"
#include "libs/token/keys.h"

namespace pga::auth {
namespace {

absl::Status FileError(const std::string& path, const char* what) {
  return absl::FailedPreconditionError(absl::StrCat(path, ": ", what, ": ", std::generic_category().message(errno)));
}

absl::Status WriteNew(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return FileError(path, "cannot be made");
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = write(fd, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done += static_cast<size_t>(written);
  }
  const bool ok = done == text.size() && fsync(fd) == 0;
  const absl::Status failure = ok ? absl::OkStatus() : FileError(path, "cannot be written");
  close(fd);
  return failure;
}

}  // namespace

absl::Status MakeStateDir(const std::string& directory) {
  std::error_code error;
  if (std::filesystem::is_directory(directory, error)) return absl::OkStatus();
  std::filesystem::create_directories(directory, error);
  if (error || chmod(directory.c_str(), 0700) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("STATE_DIR ", directory, " cannot be made; choose a folder that this user may write"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadKeyFile(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rbe");
  if (file == nullptr) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat(path, " does not exist"));
    return FileError(path, "cannot be read");
  }
  std::array<char, 64 * 1024> buffer{};
  const size_t size = std::fread(buffer.data(), 1, buffer.size(), file);
  std::fclose(file);
  std::string text(buffer.data(), size);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) return absl::FailedPreconditionError(absl::StrCat(path, " is empty"));
  return text;
}

absl::StatusOr<std::string> ReadOrMakeKeyFile(const std::string& path,
                                              const std::function<absl::StatusOr<std::string>()>& make) {
  absl::StatusOr<std::string> existing = ReadKeyFile(path);
  if (!absl::IsNotFound(existing.status())) return existing;
  PGA_ASSIGN_OR_RETURN(const std::string text, make());
  // Written beside it and linked into place: nobody ever sees half a file, and the first one stays.
  const std::string draft = absl::StrCat(path, ".", token::RandomHex(8));
  if (const absl::Status written = WriteNew(draft, text + "\n"); !written.ok()) {
    // Half a private key is of use to nobody but a thief.
    unlink(draft.c_str());
    return written;
  }
  const int linked = link(draft.c_str(), path.c_str());
  const int link_errno = errno;
  unlink(draft.c_str());
  if (linked != 0 && link_errno != EEXIST) {
    errno = link_errno;
    return FileError(path, "cannot be made");
  }
  const int directory = open(std::filesystem::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    fsync(directory);
    close(directory);
  }
  return ReadKeyFile(path);
}

}  // namespace pga::auth
