// What ctest and the environment say to a test: sizes, folders, programs. Tests only.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "absl/strings/numbers.h"

namespace pga::testing {

// A whole number of the environment; `otherwise` where it is not set or is none.
inline int64_t Setting(const char* name, int64_t otherwise) {
  const char* const text = std::getenv(name);
  int64_t value = 0;
  return text != nullptr && absl::SimpleAtoi(text, &value) ? value : otherwise;
}

// The checkout: PGA_SOURCE_DIR, which ctest sets, or else the working directory.
inline std::string SourceDir() {
  const char* const folder = std::getenv("PGA_SOURCE_DIR");
  return folder == nullptr ? "." : folder;
}

// A program or library of the build that runs: under PGA_BINARY_DIR, which ctest sets, or else the working directory.
inline std::string Program(std::string_view name) {
  const char* const folder = std::getenv("PGA_BINARY_DIR");
  return std::string(folder == nullptr ? "." : folder) + "/bin/" + std::string(name);
}

}  // namespace pga::testing
