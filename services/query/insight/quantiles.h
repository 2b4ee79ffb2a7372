// Order statistics that the conclusions of this folder share. Pure.
#pragma once

#include <vector>

namespace pga::query {

// The smallest value that at least `share` (0 to 1) of the values do not exceed. `values` is not empty.
double QuantileOf(std::vector<double> values, double share);

}  // namespace pga::query
