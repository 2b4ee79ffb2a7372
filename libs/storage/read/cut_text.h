// A text as answers with many of them hold it: its beginning, and whether there is more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pga::storage {

struct CutText {
  std::string text;
  // The text is longer.
  bool truncated = false;

  // The first `most` characters of `whole`, which is UTF-8.
  static CutText Of(std::string_view whole, int64_t most);

  friend bool operator==(const CutText&, const CutText&) = default;
};

}  // namespace pga::storage
