#include "libs/backup/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "libs/status/status.h"

namespace pga::backup {
namespace {

namespace fs = std::filesystem;

// Of a backup that is being made, and of one that is being removed.
constexpr char kMaking[] = ".making-";
constexpr char kRemoving[] = ".removing-";
constexpr size_t kMostManifest = 1 << 20;

absl::Status Errno(std::string_view what, const std::string& path) {
  const std::string message = absl::StrCat(std::string(what), " ", path, ": ", strerror(errno));
  if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG) return absl::ResourceExhaustedError(message);
  if (errno == ENOENT) return absl::NotFoundError(message);
  return absl::InternalError(message);
}

absl::Status SyncFolder(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Errno("opening", path);
  const absl::Status synced = fsync(fd) == 0 ? absl::OkStatus() : Errno("writing", path);
  close(fd);
  return synced;
}

bool IsId(const std::string& name) {
  // 20261128T160501Z, with -2 and so on behind.
  return name.size() >= 16 && name[8] == 'T' && name[15] == 'Z' &&
         std::all_of(name.begin(), name.begin() + 8, [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

absl::StatusOr<std::unique_ptr<NewFile>> NewFile::Create(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Errno("making", path);
  return std::unique_ptr<NewFile>(new NewFile(fd, path));
}

NewFile::~NewFile() {
  if (fd_ >= 0) close(fd_);
}

absl::Status NewFile::Write(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(fd_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Errno("writing", path_);
    bytes.remove_prefix(static_cast<size_t>(put));
  }
  return absl::OkStatus();
}

absl::Status NewFile::Finish() {
  if (fsync(fd_) != 0) return Errno("writing", path_);
  if (close(std::exchange(fd_, -1)) != 0) return Errno("writing", path_);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<OldFile>> OldFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Errno("opening", path);
  struct stat about {};
  if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) {
    close(fd);
    return absl::FailedPreconditionError(absl::StrCat(path, " is no file"));
  }
  posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
  return std::unique_ptr<OldFile>(new OldFile(fd, path, about.st_size));
}

OldFile::~OldFile() {
  close(fd_);
}

absl::StatusOr<size_t> OldFile::Read(char* to, size_t size) {
  size_t done = 0;
  while (done < size) {
    const ssize_t got = read(fd_, to + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Errno("reading", path_);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

NewBackup::~NewBackup() {
  if (!published_) {
    std::error_code ignored;
    fs::remove_all(Path(""), ignored);
  }
  close(lock_);
}

std::string NewBackup::Path(std::string_view file) const {
  return absl::StrCat(folder_, "/", kMaking, id_, "/", std::string(file));
}

absl::Status NewBackup::Publish(std::string_view manifest) {
  PGA_ASSIGN_OR_RETURN(const auto file, NewFile::Create(Path(kManifestFile)));
  PGA_RETURN_IF_ERROR(file->Write(manifest));
  PGA_RETURN_IF_ERROR(file->Finish());
  PGA_RETURN_IF_ERROR(SyncFolder(Path("")));
  const std::string from = absl::StrCat(folder_, "/", kMaking, id_);
  const std::string to = absl::StrCat(folder_, "/", id_);
  if (rename(from.c_str(), to.c_str()) != 0) return Errno("naming", to);
  published_ = true;
  return SyncFolder(folder_);
}

std::vector<std::string> Superfluous(const std::vector<ListedBackup>& listed, int keep, int days, absl::Time now) {
  std::vector<std::string> names;
  int newer = 0;
  for (auto backup = listed.rbegin(); backup != listed.rend(); ++backup) {
    if (!backup->manifest.ok()) continue;
    const bool old = now - backup->manifest->finished_at > absl::Hours(24) * days;
    if (newer >= keep && old) names.push_back(backup->id);
    ++newer;
  }
  return names;
}

absl::StatusOr<std::unique_ptr<NewBackup>> Vault::Begin(absl::Time now) const {
  std::error_code failed;
  if (fs::create_directories(folder_, failed)) fs::permissions(folder_, fs::perms::owner_all, failed);
  if (failed) return absl::FailedPreconditionError(absl::StrCat("making ", folder_, ": ", failed.message()));
  const std::string lock_path = folder_ + "/.lock";
  const int lock = open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) return Errno("making", lock_path);
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    close(lock);
    return absl::AbortedError(absl::StrCat("another backup is being made in ", folder_));
  }
  for (const auto& entry : fs::directory_iterator(folder_, failed)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(kMaking) || name.starts_with(kRemoving)) fs::remove_all(entry.path(), failed);
  }
  const std::string base = absl::FormatTime("%Y%m%dT%H%M%SZ", now, absl::UTCTimeZone());
  std::string id = base;
  for (int i = 2; fs::exists(absl::StrCat(folder_, "/", id)); ++i)
    id = absl::StrCat(base, "-", absl::StrFormat("%02d", i));
  std::unique_ptr<NewBackup> backup(new NewBackup(folder_, id, lock));
  if (mkdir(backup->Path("").c_str(), 0700) != 0) return Errno("making", backup->Path(""));
  return backup;
}

absl::StatusOr<std::vector<ListedBackup>> Vault::List(const BackupKey* key) const {
  std::error_code failed;
  fs::directory_iterator entries(folder_, failed);
  if (failed) return absl::NotFoundError(absl::StrCat("reading ", folder_, ": ", failed.message()));
  std::vector<ListedBackup> listed;
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    if (!IsId(name) || !entry.is_directory(failed)) continue;
    ListedBackup backup{name, entry.path().string(), absl::UnknownError("")};
    const auto text = ReadManifestFile(backup.path);
    if (text.ok()) {
      backup.manifest = ParseManifest(*text, key);
      if (backup.manifest.ok() && backup.manifest->id != name) {
        backup.manifest = absl::FailedPreconditionError("its folder has the name of another backup");
      }
    } else {
      backup.manifest = text.status();
    }
    listed.push_back(std::move(backup));
  }
  std::sort(listed.begin(), listed.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return listed;
}

absl::StatusOr<std::string> Vault::Find(const std::string& name) const {
  std::error_code ignored;
  if (name == "latest") {
    PGA_ASSIGN_OR_RETURN(const std::vector<ListedBackup> listed, List(nullptr));
    if (listed.empty()) return absl::NotFoundError(absl::StrCat("there is no backup in ", folder_));
    if (!listed.back().manifest.ok()) {
      return status::Annotate(listed.back().manifest.status(), "the latest backup, " + listed.back().path);
    }
    return listed.back().path;
  }
  for (const std::string& path : {name, absl::StrCat(folder_, "/", name)}) {
    if (fs::is_directory(path, ignored) && fs::exists(absl::StrCat(path, "/", std::string(kManifestFile)), ignored)) {
      return path;
    }
  }
  return absl::NotFoundError(absl::StrCat("there is no backup ", name, " in ", folder_));
}

absl::Status Vault::Remove(const std::string& id) const {
  const std::string from = absl::StrCat(folder_, "/", id);
  const std::string to = absl::StrCat(folder_, "/", kRemoving, id);
  if (rename(from.c_str(), to.c_str()) != 0) return Errno("removing", from);
  std::error_code failed;
  fs::remove_all(to, failed);
  if (failed) return absl::InternalError(absl::StrCat("removing ", to, ": ", failed.message()));
  return SyncFolder(folder_);
}

absl::StatusOr<std::string> ReadManifestFile(const std::string& backup_folder) {
  PGA_ASSIGN_OR_RETURN(const auto file, OldFile::Open(absl::StrCat(backup_folder, "/", std::string(kManifestFile))));
  std::string text(std::min<size_t>(static_cast<size_t>(file->size()), kMostManifest), '\0');
  PGA_ASSIGN_OR_RETURN(const size_t got, file->Read(text.data(), text.size()));
  text.resize(got);
  return text;
}

}  // namespace pga::backup
