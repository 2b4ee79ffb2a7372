// Pages of lists, as the 3.2.0 API counts them. Pure.
#pragma once

#include <algorithm>

#include "absl/status/statusor.h"

namespace pga::registry {

struct Page {
  // From 1.
  int number = 1;
  // 1 to 100.
  int size = 20;

  // Entries before the page.
  int offset() const { return (number - 1) * size; }
  // Pages of a list of `total` entries, at least 1.
  int Pages(int total) const { return std::max(1, (total + size - 1) / size); }
};

// What was asked for: 0 is the first page and 20 entries; sizes above 100 are lowered. InvalidArgument for negative
// numbers and pages beyond 1,000,000.
inline absl::StatusOr<Page> PageOf(int number, int size) {
  constexpr int kDefaultSize = 20;
  constexpr int kMaxSize = 100;
  if (number < 0 || size < 0) {
    return absl::InvalidArgumentError("page and page_size must not be negative; leave them out for the first 20");
  }
  if (number > 1'000'000) return absl::InvalidArgumentError("page must be at most 1000000");
  return Page{std::max(number, 1), size == 0 ? kDefaultSize : std::min(size, kMaxSize)};
}

}  // namespace pga::registry
