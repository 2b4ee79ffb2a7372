#pragma once

// Small secret files in the service's folder: created once with mode 0600, never overwritten, on disk before they are
// used.

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace pga::auth {

// Makes the folder (0700) with its parents if need be.
absl::Status MakeStateDir(const std::string& directory);

// What the file holds, without trailing line ends; NOT_FOUND if it does not exist.
absl::StatusOr<std::string> ReadKeyFile(const std::string& path);

// What the file holds; if it does not exist it is first made with what `make` returns. Of two processes that make it at
// the same time one wins, and both get its value.
absl::StatusOr<std::string> ReadOrMakeKeyFile(const std::string& path,
                                              const std::function<absl::StatusOr<std::string>()>& make);

}  // namespace pga::auth
