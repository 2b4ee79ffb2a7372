// Files and folders of the collector's state that a power failure must not take: mode 0600 and 0700, their names
// fsynced. All functions block on the disk and are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pga::collector {

// Writes a file anew, or leaves the old one: a temporary file is fsynced and renamed. INTERNAL with the reason.
absl::Status WritePrivateFile(const std::string& path, const std::string& bytes);

// What an errno means: RESOURCE_EXHAUSTED if the disk, a quota or a file is full, else INTERNAL. `what` names the act.
absl::Status ErrnoStatus(int error, std::string_view what);

// Errors as ErrnoStatus.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path);

// Writes all bytes at an offset of an open file. Errors as ErrnoStatus; some of the bytes may be written then.
absl::Status WriteAllAt(int fd, std::string_view bytes, int64_t offset, std::string_view what);

// Makes a folder and its missing parents. FAILED_PRECONDITION with the reason.
absl::Status MakePrivateDirectory(const std::string& path);

}  // namespace pga::collector
