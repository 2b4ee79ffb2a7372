// The metric of the fuzzer and of its seeds, and how its input names sections of blocks.
#pragma once

#include <cstdint>
#include <vector>

#include "libs/columns/block.h"
#include "libs/columns/rollup.h"

namespace pga::columns {

inline const std::vector<MetricColumn>& FuzzedColumns() {
  static const auto* const kColumns = new std::vector<MetricColumn>{
      {1, Type::kText, Kind::kLabel}, {2, Type::kInt, Kind::kCounter}, {3, Type::kDouble, Kind::kGauge},
      {4, Type::kBool, Kind::kGauge}, {5, Type::kText, Kind::kInfo},   {6, Type::kInt, Kind::kGauge},
  };
  return *kColumns;
}

// 0 to 24: structure; 25 to 40: columns 1 to 16; then the columns of a gauge at levels.
inline constexpr uint64_t kMostFuzzedId = 40 + 6 * 16;

inline ColumnId FuzzedId(uint64_t number) {
  if (number < 25) return static_cast<ColumnId>(-static_cast<int>(number));
  const auto column = static_cast<int>((number - 25) % 16) + 1;
  return static_cast<ColumnId>(static_cast<int>((number - 25) / 16) * kMin + column);
}

// The number of an id that FuzzedId gives.
inline uint64_t FuzzedNumber(ColumnId id) {
  if (id <= 0) return static_cast<uint64_t>(-id);
  return static_cast<uint64_t>(25 + id / kMin * 16 + id % kMin - 1);
}

}  // namespace pga::columns
