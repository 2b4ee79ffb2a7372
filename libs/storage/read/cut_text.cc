#include "libs/storage/read/cut_text.h"

#include <algorithm>

#include "libs/text/utf8.h"

namespace pga::storage {

CutText CutText::Of(std::string_view whole, int64_t most) {
  const std::string_view first = text::FirstCharacters(whole, static_cast<size_t>(std::max<int64_t>(most, 0)));
  return {std::string(first), first.size() < whole.size()};
}

}  // namespace pga::storage
