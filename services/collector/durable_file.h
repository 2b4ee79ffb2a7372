// Files and folders of the collector's state that a power failure must not take: mode 0600 and 0700, their names
// fsynced.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace pga::collector {

// Writes a file anew, or leaves the old one: a temporary file is fsynced and renamed. INTERNAL with the reason.
absl::Status WritePrivateFile(const std::string& path, const std::string& bytes);

// Makes a folder and its missing parents. FAILED_PRECONDITION with the reason.
absl::Status MakePrivateDirectory(const std::string& path);

}  // namespace pga::collector
