#include "libs/testing/bench_lines.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace pga::testing {

double Percentile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(values.size())));
  return values[std::min(std::max<size_t>(rank, 1), values.size()) - 1];
}

BenchLines::BenchLines(const std::string& path) {
  if (path.empty()) return;
  file_ = std::fopen(path.c_str(), "ae");
  if (file_ != nullptr) return;
  std::fprintf(stderr, "cannot write %s\n", path.c_str());
  std::exit(1);
}

BenchLines::~BenchLines() {
  if (file_ != nullptr) std::fclose(file_);
}

void BenchLines::Add(const BenchLine& line) {
  if (file_ == nullptr) return;
  std::fprintf(file_, "{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"", line.name.c_str(), line.value,
               line.unit.c_str());
  if (line.repeated.size() > 1) {
    std::fprintf(file_, ", \"p50\": %.6g, \"p95\": %.6g, \"p99\": %.6g, \"runs\": %zu", Percentile(line.repeated, 0.5),
                 Percentile(line.repeated, 0.95), Percentile(line.repeated, 0.99), line.repeated.size());
  }
  if (line.target.has_value()) std::fprintf(file_, ", \"target\": %.6g", *line.target);
  std::fprintf(file_, "}\n");
  std::fflush(file_);
}

void BenchLines::Add(const std::string& name, const std::string& unit, const std::vector<double>& repeated,
                     std::optional<double> target) {
  if (repeated.empty()) return;
  Add({.name = name, .value = Percentile(repeated, 0.5), .unit = unit, .repeated = repeated, .target = target});
}

}  // namespace pga::testing
