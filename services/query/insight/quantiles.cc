#include "services/query/insight/quantiles.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace pga::query {

double QuantileOf(std::vector<double> values, double share) {
  const auto size = static_cast<double>(values.size());
  const double rank = std::clamp(std::ceil(share * size), 1.0, size);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace pga::query
