// What `fleetsim wire` prints.
#pragma once

#include <string>

#include "tools/fleetsim/figures.h"
#include "tools/fleetsim/wire.h"

namespace pga::fleetsim {

// Each figure's name begins with `prefix`.
Figures FiguresOf(const WireOutcome& outcome, const std::string& prefix);

// For people, some lines.
std::string Summary(const WireOutcome& outcome);

}  // namespace pga::fleetsim
