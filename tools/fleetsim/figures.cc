#include "tools/fleetsim/figures.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/fleetsim/wire.h"

namespace pga::fleetsim {

void Figures::Add(std::string_view name, double value, std::string_view unit) {
  absl::StrAppendFormat(&lines_, "{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name, value, unit);
}

void Figures::AddSpread(std::string_view name, const std::vector<double>& ascending, std::string_view unit) {
  absl::StrAppendFormat(
      &lines_, "{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"p50\": %.6g, \"p95\": %.6g, \"p99\": %.6g}\n",
      name, Percentile(ascending, 0.5), unit, Percentile(ascending, 0.5), Percentile(ascending, 0.95),
      Percentile(ascending, 0.99));
}

void Figures::AddRuns(std::string_view name, std::vector<double> runs, std::string_view unit,
                      std::optional<double> target) {
  std::sort(runs.begin(), runs.end());
  absl::StrAppendFormat(&lines_, "{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"", name, Percentile(runs, 0.5),
                        unit);
  if (runs.size() > 1) {
    absl::StrAppendFormat(&lines_, ", \"p50\": %.6g, \"p95\": %.6g, \"p99\": %.6g, \"runs\": %d", Percentile(runs, 0.5),
                          Percentile(runs, 0.95), Percentile(runs, 0.99), runs.size());
  }
  if (target.has_value()) absl::StrAppendFormat(&lines_, ", \"target\": %.6g", *target);
  lines_ += "}\n";
}

absl::Status Figures::AppendTo(const std::string& path) const {
  std::ofstream file(path, std::ios::binary | std::ios::app);
  file << lines_;
  file.close();
  if (file) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
}

}  // namespace pga::fleetsim
