// What the blocks of a metrics database hold, column by column: bytes, values, how many of them are NULL or 0, and the
// bits that the others take. Decodes every block; for benches, not for servers in use.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "libs/clock/steady.h"
#include "libs/columns/row_set.h"

namespace pga::fleetsim {

// A section of the blocks of one metric, level and kind of frame (libs/columns/block.h).
struct SectionSize {
  // Name of the column in the catalog, empty for sections of structure.
  std::string column;
  bool label = false;
  int64_t sections = 0;
  int64_t bytes = 0;
  // Of columns alone. A value that is neither NULL nor 0 nor an empty text moves.
  int64_t values = 0;
  int64_t nulls = 0;
  int64_t zeros = 0;

  int64_t moving() const { return values - nulls - zeros; }
};

// By name of the metric, level, kind and section.
using SectionKey = std::tuple<std::string, int, int, columns::ColumnId>;

absl::StatusOr<std::map<SectionKey, SectionSize>> MeasureBlocks(const std::string& url, clock::SteadyTime deadline);

}  // namespace pga::fleetsim
