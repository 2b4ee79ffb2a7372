// The folder of backups. A backup is a folder in it, named by its UTC time: sealed dumps and the manifest. It is made
// under a name that begins with a dot and gets its own once all of it is on the disk; folders are 0700, files 0600.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/backup/backup_key.h"
#include "libs/backup/manifest.h"

namespace pga::backup {

inline constexpr std::string_view kManifestFile = "manifest";

// A file that is written from its beginning to its end. Not thread-safe.
class NewFile {
 public:
  // Mode 0600; the file must not exist. RESOURCE_EXHAUSTED when the disk is full, else INTERNAL, with the path.
  static absl::StatusOr<std::unique_ptr<NewFile>> Create(const std::string& path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  absl::Status Write(std::string_view bytes);
  // fsync and close.
  absl::Status Finish();

 private:
  NewFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

// A file that is read from its beginning. Not thread-safe.
class OldFile {
 public:
  // NOT_FOUND, or INTERNAL, with the path.
  static absl::StatusOr<std::unique_ptr<OldFile>> Open(const std::string& path);
  ~OldFile();
  OldFile(const OldFile&) = delete;
  OldFile& operator=(const OldFile&) = delete;
  // Fewer than `size` bytes only at the end.
  absl::StatusOr<size_t> Read(char* to, size_t size);
  int64_t size() const { return size_; }

 private:
  OldFile(int fd, std::string path, int64_t size) : fd_(fd), path_(std::move(path)), size_(size) {}
  int fd_;
  std::string path_;
  int64_t size_;
};

// A backup that is being made. It is gone with the object unless Publish came to its end.
class NewBackup {
 public:
  ~NewBackup();
  NewBackup(const NewBackup&) = delete;
  NewBackup& operator=(const NewBackup&) = delete;
  const std::string& id() const { return id_; }
  std::string Path(std::string_view file) const;
  // Writes the manifest, makes sure that all is on the disk, and gives the folder its name.
  absl::Status Publish(std::string_view manifest);

 private:
  friend class Vault;
  NewBackup(std::string folder, std::string id, int lock)
      : folder_(std::move(folder)), id_(std::move(id)), lock_(lock) {}
  std::string folder_;
  std::string id_;
  int lock_;
  bool published_ = false;
};

struct ListedBackup {
  std::string id;
  std::string path;
  // Why it cannot be used, or its manifest.
  absl::StatusOr<Manifest> manifest;
};

// Which backups may go: all but the `keep` newest good ones, and of those only what is older than `days` days. Pure.
// `listed` as List gives it; backups that cannot be read are neither counted nor named.
std::vector<std::string> Superfluous(const std::vector<ListedBackup>& listed, int keep, int days, absl::Time now);

class Vault {
 public:
  explicit Vault(std::string folder) : folder_(std::move(folder)) {}

  // Makes the folder if it is missing. ABORTED when another process makes a backup there. Removes what a process that
  // was killed left.
  absl::StatusOr<std::unique_ptr<NewBackup>> Begin(absl::Time now) const;
  // Oldest first. `key` may be null. NOT_FOUND when there is no such folder.
  absl::StatusOr<std::vector<ListedBackup>> List(const BackupKey* key) const;
  // The folder of a backup: a path, the name of a backup here, or "latest". FAILED_PRECONDITION when the manifest of
  // the latest does not even parse: an older one is named by whoever wants it.
  absl::StatusOr<std::string> Find(const std::string& name) const;
  // Removes a backup; a reader that comes between finds no manifest.
  absl::Status Remove(const std::string& id) const;

  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
};

absl::StatusOr<std::string> ReadManifestFile(const std::string& backup_folder);

}  // namespace pga::backup
