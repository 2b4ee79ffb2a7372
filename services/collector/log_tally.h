// Counters that the collector keeps itself and that go on over restarts: rows of text labels, restored from the
// baseline that is durable. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "services/collector/delta_engine.h"
#include "services/collector/reading.h"

namespace pga::collector {

class LogTally {
 public:
  using Labels = std::vector<std::string>;

  // Labels of the metric are texts, or integers that are given as decimal texts. `shape` outlives the tally. Beyond
  // `most_rows` rows no row is begun but those of what is left over (`rest`). With `evicts` rows that nothing was added
  // to make room first: should they come again, they count from 0.
  LogTally(const MetricShape* shape, size_t most_rows, bool evicts = false)
      : shape_(shape), most_rows_(most_rows), evicts_(evicts) {}

  // Begins with what is durable; null is nothing.
  void Restore(const Baseline* baseline);
  // Adds to the counters of a row, `column` as in the shape; columns < 0 are ignored. A row that has no room becomes
  // that of `rest`.
  class Row {
   public:
    void Add(int column, int64_t value) {
      if (column >= 0 && value > 0) (*values_)[static_cast<size_t>(column)] += value;
    }

   private:
    friend class LogTally;
    explicit Row(std::vector<int64_t>* values) : values_(values) {}
    std::vector<int64_t>* values_;
  };
  Row At(const Labels& labels, const Labels& rest);

  // Replaces the content of a reading of the shape.
  void Fill(Reading* reading) const;

 private:
  const MetricShape* const shape_;
  const size_t most_rows_;
  const bool evicts_;
  std::set<Labels> touched_;  // where evicts_
  // Values by column of the shape.
  std::map<Labels, std::vector<int64_t>> rows_;
};

}  // namespace pga::collector
