#include "services/query/insight/quantiles.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace pga::query {

double MedianOf(std::vector<double> values) {
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle), values.end());
  const double upper = values[middle];
  if (values.size() % 2 == 1) return upper;
  return (upper + *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle))) / 2;
}

double QuantileOf(std::vector<double> values, double share) {
  const auto size = static_cast<double>(values.size());
  const double rank = std::clamp(std::ceil(share * size), 1.0, size);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace pga::query
