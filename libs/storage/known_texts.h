// Texts that are known to be in metrics.text; keeps the same labels from being sent with every frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace pga::storage {

// Thread-safe and bounded: a text is forgotten after one to two periods, or earlier when `max_entries` are reached, so
// that texts which were removed from the table come back with the next frame that uses them.
class KnownTexts {
 public:
  explicit KnownTexts(size_t max_entries = 1'000'000, absl::Duration period = absl::Hours(1));
  ~KnownTexts();
  bool Contains(int32_t source, int64_t id) const;
  // Only what is committed.
  void Insert(const std::vector<std::pair<int32_t, int64_t>>& texts);
  void Clear();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pga::storage
