// Figures of a measurement as the JSON lines that tools/bench.sh gathers (their form: libs/testing/bench_lines.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace pga::fleetsim {

class Figures {
 public:
  void Add(std::string_view name, double value, std::string_view unit);
  // `ascending` are the single observations; the median is the value.
  void AddSpread(std::string_view name, const std::vector<double>& ascending, std::string_view unit);
  // The median of some runs of the whole measurement.
  void AddRuns(std::string_view name, std::vector<double> runs, std::string_view unit,
               std::optional<double> target = {});

  const std::string& lines() const { return lines_; }
  // Appends the lines to a file. The error is that of the file system.
  absl::Status AppendTo(const std::string& path) const;

 private:
  std::string lines_;
};

}  // namespace pga::fleetsim
