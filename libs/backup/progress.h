// What is being done, for people who wait.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace pga::backup {

struct Progress {
  // "metrics: dumping", "metadata: checking".
  std::string what;
  // Bytes, or parts of another measure; total 0 = not known.
  int64_t done = 0;
  int64_t total = 0;
  // What is under way; may be empty.
  std::string detail;
};

// Called on the working thread, often. May be null.
using OnProgress = std::function<void(const Progress&)>;

}  // namespace pga::backup
