// Parses and checks one metric file. Every problem names the file, the line and what to change. Pure, thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "pganalytics/catalog/v1/catalog.pb.h"

namespace pga::catalog {

// Longest metric file, bytes.
inline constexpr size_t kMaxFileBytes = size_t{256} << 10;

struct MetricFileOptions {
  // Name of the file for messages; its stem must be the metric's name.
  std::string file_name;
  // True for a user's folder: no probes.
  bool custom = false;
};

// The metric in `yaml`, or INVALID_ARGUMENT with one line per problem, at most 20: "disk.yaml:7: column "free": ...".
absl::StatusOr<pganalytics::catalog::v1::Metric> ParseMetricFile(std::string_view yaml,
                                                                 const MetricFileOptions& options);

// What is wrong with `sql` as the one read-only statement of a metric, or empty. Exposed for tests.
std::string SqlProblem(std::string_view sql);

}  // namespace pga::catalog
