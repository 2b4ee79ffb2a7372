// Figures of a benchmark as lines of JSON, which tools/bench.sh gathers into one report:
//   {"name": "upkeep.lag_s.500", "value": 131.2, "unit": "s", "p50": .., "p95": .., "p99": .., "runs": 3, "target":
//   180}
// Names are of [a-zA-Z0-9_.]. With the units "x" and "ratio", and those that end in "/s", more is better and a figure
// below its target misses it; with every other unit one that is above.
#pragma once

#include <cstdio>
#include <optional>
#include <string>
#include <vector>

namespace pga::testing {

struct BenchLine {
  std::string name;
  double value = 0;
  std::string unit;
  // Of the repetitions, if there were several: p50, p95 and p99 are written.
  std::vector<double> repeated = {};
  std::optional<double> target = {};
};

// Nearest rank; `values` is not empty, `share` in (0, 1].
double Percentile(std::vector<double> values, double share);

// Not thread-safe.
class BenchLines {
 public:
  // Appends to the file; an empty path writes nowhere. Ends the program with a message when it cannot be opened.
  explicit BenchLines(const std::string& path);
  ~BenchLines();
  BenchLines(const BenchLines&) = delete;
  BenchLines& operator=(const BenchLines&) = delete;

  // Each line is flushed, so that what a failed program has found out is kept.
  void Add(const BenchLine& line);
  // The median of repetitions.
  void Add(const std::string& name, const std::string& unit, const std::vector<double>& repeated,
           std::optional<double> target = {});

 private:
  std::FILE* file_ = nullptr;
};

}  // namespace pga::testing
