// Feeds arbitrary bytes to the parser of metric files, whose only answers are a metric or a status.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "libs/catalog/metric.h"
#include "libs/catalog/metric_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view yaml(reinterpret_cast<const char*>(data), size);
  const auto metric = pga::catalog::ParseMetricFile(yaml, {.file_name = "fuzzed.yaml", .custom = size % 2 == 0});
  if (metric.ok() && metric->name() != "fuzzed") std::abort();
  return 0;
}
