// Settings of the tests with many servers, from the environment. Tests only.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"

namespace pga::servers {

// Major versions, separated by commas; "all" = 13 to 18.
inline std::vector<std::string> Versions(const char* name, const std::string& fallback) {
  const char* text = std::getenv(name);
  const std::string chosen = text == nullptr ? fallback : text;
  return absl::StrSplit(chosen == "all" ? "13,14,15,16,17,18" : chosen, ',');
}

}  // namespace pga::servers
